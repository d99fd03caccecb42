//! Frontends: a slave that keeps a list from Ravenry's stream (Cyrus, `mupdate-client.c` and `mupdate-slave.c`).

use std::cmp::Ordering;
use std::time::Duration;

use bytes::Bytes;
use ravenry_parsers::mupdate::{CommandBody, ServerLine};

use super::network::{ConnId, Node, Side};
use super::wire::{self, Reading};
use super::world::{Happening, List, World, name};
use crate::list::{Entry, MailboxName, Order};

/// `mupdate_retry_delay`: how long a stream may be silent before it is asked, and again before it is given up.
const SILENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(super) enum Step {
    Dial,
    Up,
    /// Whether the stream has been silent for too long.
    Silent(ConnId),
}

#[derive(Debug, Default)]
pub(super) struct Frontend {
    pub(super) list: List,
    conn: Option<ConnId>,
    reading: Reading,
    /// What was listed, until the list is whole.
    listing: Option<Vec<(MailboxName, Entry)>>,
    noops: u64,
    asked: bool,
    heard: Duration,
}

impl Frontend {
    /// Whether it has a whole list and hears what changes.
    pub(super) fn streams(&self) -> bool {
        self.conn.is_some() && self.listing.is_none()
    }

    /// A slave's merge: both lists in database-key order, compared with `strcmp`.
    fn merge(&mut self, listed: Vec<(MailboxName, Entry)>) {
        let mut ours: Vec<MailboxName> = self.list.keys().map(|key| name(key)).collect();
        ours.sort_by(|a, b| Order::DatabaseKey.compare(a, b));
        let (mut ours, mut theirs) = (ours.into_iter().peekable(), listed.into_iter().peekable());
        while let (Some(mine), Some((listed, _))) = (ours.peek(), theirs.peek()) {
            match mine.as_bytes().cmp(listed.as_bytes()) {
                Ordering::Less => drop(ours.next().and_then(|mine| self.list.remove(mine.as_bytes()))),
                order => {
                    if order == Ordering::Equal {
                        ours.next();
                    }
                    let Some((listed, entry)) = theirs.next() else { break };
                    self.list.insert(listed.as_bytes().to_vec(), entry);
                }
            }
        }
        ours.for_each(|mine| drop(self.list.remove(mine.as_bytes())));
        theirs.for_each(|(listed, entry)| drop(self.list.insert(listed.as_bytes().to_vec(), entry)));
    }
}

impl World {
    pub(super) fn frontend_step(&mut self, at: usize, step: Step) {
        match step {
            Step::Up => {
                self.comes_up(Node::Frontend(at));
                self.frontend_step(at, Step::Dial);
            }
            Step::Dial if self.frontends[at].conn.is_none() => {
                let conn = self.connect(Node::Frontend(at), Node::Ravenry);
                let heard = self.now;
                let slave = &mut self.frontends[at];
                *slave = Frontend {
                    list: std::mem::take(&mut slave.list),
                    conn: Some(conn),
                    listing: Some(Vec::new()),
                    heard,
                    ..Frontend::default()
                };
                self.after(Node::Frontend(at), SILENCE, Happening::Frontend(at, Step::Silent(conn)));
            }
            Step::Dial => {}
            Step::Silent(conn) => self.is_it_silent(at, conn),
        }
    }

    fn is_it_silent(&mut self, at: usize, conn: ConnId) {
        let (slave, now) = (&mut self.frontends[at], self.now);
        if slave.conn != Some(conn) {
            return;
        }
        if now < slave.heard + SILENCE {
            let wait = slave.heard + SILENCE - now;
            return self.after(Node::Frontend(at), wait, Happening::Frontend(at, Step::Silent(conn)));
        }
        if slave.asked || slave.listing.is_some() {
            self.close(conn, Side::Client);
            return self.slave_closed(at, conn);
        }
        slave.asked = true;
        slave.noops += 1;
        slave.heard = now;
        let noop = wire::command(&format!("N{}", slave.noops), &CommandBody::Noop);
        self.send(conn, Side::Client, noop);
        self.after(Node::Frontend(at), SILENCE, Happening::Frontend(at, Step::Silent(conn)));
    }

    pub(super) fn slave_opened(&mut self, at: usize, conn: ConnId) {
        if self.frontends[at].conn == Some(conn) {
            let update = CommandBody::Update { hosts: Vec::<Bytes>::new() };
            self.send(conn, Side::Client, wire::command("U01", &update));
        }
    }

    pub(super) fn slave_closed(&mut self, at: usize, conn: ConnId) {
        if self.frontends[at].conn == Some(conn) {
            self.frontends[at].conn = None;
            let wait = Duration::from_millis(self.rng.u64(20_000..29_000));
            self.after(Node::Frontend(at), wait, Happening::Frontend(at, Step::Dial));
        }
    }

    pub(super) fn frontend_dies(&mut self, at: usize, back: Duration) {
        self.goes_down(Node::Frontend(at));
        self.frontends[at].conn = None;
        self.at(self.now + back, Happening::Frontend(at, Step::Up));
    }

    pub(super) fn slave_heard(&mut self, at: usize, conn: ConnId, bytes: &[u8]) {
        if self.frontends[at].conn != Some(conn) {
            return;
        }
        let now = self.now;
        self.frontends[at].heard = now;
        self.frontends[at].asked = false;
        for line in self.frontends[at].reading.take(bytes) {
            let slave = &mut self.frontends[at];
            match (wire::shown(&line), &mut slave.listing) {
                (Some((name, Some(entry))), Some(listing)) => listing.push((name, entry)),
                (Some((name, Some(entry))), None) => drop(slave.list.insert(name.as_bytes().to_vec(), entry)),
                (Some((name, None)), None) => drop(slave.list.remove(name.as_bytes())),
                (Some(_), _) => {}
                // Any status at all ends the list.
                (None, listing) => {
                    if let ServerLine::Status { .. } = &line
                        && let Some(listed) = listing.take()
                    {
                        self.take_list(at, listed);
                    }
                }
            }
        }
    }

    /// The slave believes that the list is whole.
    fn take_list(&mut self, at: usize, listed: Vec<(MailboxName, Entry)>) {
        let before = self.frontends[at].list.len();
        let sent = listed.len();
        self.frontends[at].merge(listed);
        self.note(|| format!("frontend {at}: a list of {sent}, {before} before"));
        let held = self.ravenry.entries();
        if sent + 2 < before && held.is_some_and(|held| sent as u64 + 2 < held) {
            self.violated(format!(
                "frontend {at}: a list of {before} became one of {sent}, Ravenry holds {held:?}"
            ));
        }
    }
}
