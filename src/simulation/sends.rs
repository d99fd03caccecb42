//! Writes to the master, as `mupdate/client` sends them: each on a connection, in the bytes of the real one, never two
//! deletions of one name together; and what became of them.

use std::time::Duration;

use ravenry_parsers::mupdate::{ServerLine, Status};

use super::link::Step;
use super::network::{ConnId, Node, Side};
use super::ravenry;
use super::wire::Reading;
use super::world::World;
use crate::authority::machine::{Event, SendId};
use crate::authority::master::{Lost, MasterReply};
use crate::authority::write::Write;
use crate::mupdate::client::forward::{Encoded, encode};

/// As `mupdate/client/line.rs` and `deletions.rs` have them: how long the answer to a deletion that was given up is
/// waited for; how long it counts as under way after its connection ended; how long the master must have been followed.
const LINGER: Duration = Duration::from_secs(2);
const SETTLE: Duration = Duration::from_secs(1);
const FOLLOWED: Duration = Duration::from_secs(1);

/// A write at the master.
pub(super) struct Exchange {
    id: SendId,
    write: Write,
    conn: Option<ConnId>,
    sent: bool,
    replies: usize,
    reading: Reading,
    /// It was given up: only a deletion is then kept.
    given_up: bool,
}

fn is_deletion(write: &Write) -> bool {
    matches!(write, Write::Delete { .. } | Write::Forget { .. })
}

impl World {
    pub(super) fn exchange(&mut self, id: SendId, write: Write, deadline: Duration) {
        if deadline >= ravenry::policy(&self.plan).patience {
            self.violated(format!("{write:?} may take {deadline:?}: the caller is gone by then"));
        }
        let Some(link) = self.link() else { return };
        let exchange = Exchange {
            id,
            write,
            conn: None,
            sent: false,
            replies: 0,
            reading: Reading::default(),
            given_up: false,
        };
        link.exchanges.push(exchange);
        self.soon(deadline.min(Duration::from_secs(3600)), Step::SendLate(id));
        self.start_sends();
    }

    /// Begins what waits, but never two deletions of one name together.
    fn start_sends(&mut self) {
        let Some(link) = self.link() else { return };
        let mut ready = Vec::new();
        for exchange in &mut link.exchanges {
            let key = exchange.write.name().as_bytes().to_vec();
            let deletion = is_deletion(&exchange.write);
            let waits = deletion && link.deleting.contains_key(&key);
            if exchange.conn.is_some() || exchange.given_up || waits {
                continue;
            }
            if deletion {
                link.deleting.insert(key, ConnId::MAX);
            }
            ready.push(exchange.id);
        }
        for id in ready {
            let conn = self.connect(Node::Ravenry, Node::Master);
            let Some(link) = self.link() else { return };
            for exchange in link.exchanges.iter_mut().filter(|exchange| exchange.id == id) {
                exchange.conn = Some(conn);
                if is_deletion(&exchange.write) {
                    link.deleting.insert(exchange.write.name().as_bytes().to_vec(), conn);
                }
            }
            // Some connections were there before.
            let stands = link.stands();
            if stands && self.rng.bool() {
                self.send_opened(conn);
            }
        }
    }

    fn exchange_on(&mut self, conn: ConnId) -> Option<&mut Exchange> {
        self.link()?.exchanges.iter_mut().find(|exchange| exchange.conn == Some(conn))
    }

    pub(super) fn send_opened(&mut self, conn: ConnId) {
        let Some(exchange) = self.exchange_on(conn) else { return self.close(conn, Side::Client) };
        if exchange.sent {
            return;
        }
        let Encoded { bytes, replies } = encode(&exchange.write);
        exchange.sent = true;
        exchange.replies = replies;
        self.send(conn, Side::Client, bytes.to_vec());
    }

    pub(super) fn send_heard(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(exchange) = self.exchange_on(conn) else { return };
        for line in exchange.reading.take(bytes) {
            let reply = match line {
                ServerLine::Status { status: Status::Ok, .. } => MasterReply::Done,
                ServerLine::Status { text, .. } => {
                    MasterReply::Refused(String::from_utf8_lossy(&text).into_owned())
                }
                other => panic!("the model master says {other:?}"),
            };
            let Some(exchange) = self.exchange_on(conn) else { return };
            exchange.replies -= 1;
            if exchange.replies == 0 {
                return self.sent(conn, Ok(reply));
            }
        }
    }

    pub(super) fn send_closed(&mut self, conn: ConnId) {
        if let Some(exchange) = self.exchange_on(conn) {
            let why = "the connection ended".to_owned();
            let lost = if exchange.sent { Lost::InDoubt(why) } else { Lost::Unsent(why) };
            self.sent(conn, Err(lost));
        }
    }

    /// An exchange has ended on its connection.
    fn sent(&mut self, conn: ConnId, result: Result<MasterReply, Lost>) {
        self.close(conn, Side::Client);
        let Some(link) = self.link() else { return };
        let Some(at) = link.exchanges.iter().position(|exchange| exchange.conn == Some(conn)) else { return };
        let exchange = link.exchanges.remove(at);
        // What the master had read of a deletion it still carries out.
        let settled = !exchange.sent || result.is_ok();
        if is_deletion(&exchange.write) {
            match settled {
                true => self.forget_deletion(conn),
                false => self.soon(SETTLE, Step::Settled(conn)),
            }
        }
        if !exchange.given_up {
            self.feed(Event::Sent(exchange.id, result));
        }
    }

    /// The answer to a deletion that was given up did not come either.
    pub(super) fn lingered(&mut self, conn: ConnId) {
        let Some(link) = self.link() else { return };
        let before = link.exchanges.len();
        link.exchanges.retain(|exchange| !(exchange.given_up && exchange.conn == Some(conn)));
        if link.exchanges.len() < before {
            self.reset(conn, Side::Client);
            self.soon(SETTLE, Step::Settled(conn));
        }
    }

    /// A deletion whose answer nobody can hear any more is over once the master was followed for a while.
    pub(super) fn settled(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(link) = self.link() else { return };
        if link.followed.is_some_and(|since| now >= since + FOLLOWED) {
            return self.forget_deletion(conn);
        }
        self.soon(Duration::from_millis(50), Step::Settled(conn));
    }

    fn forget_deletion(&mut self, conn: ConnId) {
        let Some(link) = self.link() else { return };
        link.deleting.retain(|_, deleting| *deleting != conn);
        self.start_sends();
    }

    /// Nobody waits for the answer any more.
    pub(super) fn give_up_send(&mut self, id: SendId) {
        let Some(link) = self.link() else { return };
        let Some(at) = link.exchanges.iter().position(|exchange| exchange.id == id && !exchange.given_up)
        else {
            return;
        };
        let exchange = &mut link.exchanges[at];
        let (sent, conn) = (exchange.sent, exchange.conn);
        if sent && is_deletion(&exchange.write) {
            exchange.given_up = true;
            if let Some(conn) = conn {
                self.soon(LINGER, Step::Lingered(conn));
            }
        } else {
            let exchange = link.exchanges.remove(at);
            if let Some(conn) = conn {
                if is_deletion(&exchange.write) {
                    link.deleting.retain(|_, deleting| *deleting != conn);
                }
                self.reset(conn, Side::Client);
            }
        }
        self.start_sends();
        let why = "no reply in time".to_owned();
        self.feed(Event::Sent(id, Err(if sent { Lost::InDoubt(why) } else { Lost::Unsent(why) })));
    }
}
