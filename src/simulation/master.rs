//! The real master, as Cyrus's `mupdate` behaves (RFC 3656, and `imap/mupdate.c`): it carries out one command at a
//! time, durably; tells its streams the names that changed, every five seconds or at a NOOP, and reads each record when
//! it sends it; and dies of a DELETE of what is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::BytesMut;
use ravenry_parsers::mupdate::{Command, CommandBody, Status};

use super::network::{ConnId, Node, Side};
use super::wire::{self, Hearing};
use super::world::{Happening, Key, List, World, name};
use crate::authority::master::MasterReply;
use crate::authority::write::Write;
use crate::list::{Entry, Order};
use crate::mupdate::server::session::as_write;

/// Changes are told this often.
const FLUSH: Duration = Duration::from_secs(5);

/// How long its process master takes to start it again.
const REBIRTH: Duration = Duration::from_millis(1500);

#[derive(Clone, Debug)]
pub(super) enum Step {
    Flush,
    Up,
    /// Carries out what was laid aside for a while: a thread of it was slow.
    Late(ConnId, Command),
}

#[derive(Debug)]
pub(super) struct Master {
    pub(super) list: List,
    hearing: BTreeMap<ConnId, Hearing>,
    /// The tag of each stream, and what it is still to be told.
    streams: BTreeMap<ConnId, (Vec<u8>, BTreeSet<Key>)>,
    /// Connections one of whose commands is laid aside: what follows waits.
    slow: BTreeMap<ConnId, Vec<Command>>,
}

impl Master {
    pub(super) fn holding(list: List) -> Self {
        Self { list, hearing: BTreeMap::new(), streams: BTreeMap::new(), slow: BTreeMap::new() }
    }
}

impl World {
    pub(super) fn master_ticks(&mut self) {
        self.after(Node::Master, FLUSH, Happening::Master(Step::Flush));
    }

    pub(super) fn master_step(&mut self, step: Step) {
        match step {
            Step::Flush => {
                let streams: Vec<ConnId> = self.master.streams.keys().copied().collect();
                for conn in streams {
                    let lines = self.changed_lines(conn);
                    self.send(conn, Side::Server, lines.to_vec());
                }
                self.master_ticks();
            }
            Step::Up => {
                self.comes_up(Node::Master);
                self.note(|| "the master is up".into());
                self.master_ticks();
            }
            Step::Late(conn, command) => {
                // Read is read: it is done even where the connection is gone by now.
                let rest = self.master.slow.remove(&conn).unwrap_or_default();
                for command in std::iter::once(command).chain(rest) {
                    // Until Ravenry has put right what nobody waits for any more, the master refuses the name.
                    if let Some(write) = as_write(command.body.clone()) {
                        self.history.haunt([&write.name().as_bytes().to_vec()]);
                    }
                    self.obey(conn, command);
                }
            }
        }
    }

    /// It dies; its list stays. It comes back after this long.
    pub(super) fn master_dies(&mut self, back: Duration) {
        self.note(|| "the master is down".into());
        self.goes_down(Node::Master);
        self.master.hearing.clear();
        self.master.streams.clear();
        self.master.slow.clear();
        self.at(self.now + back, Happening::Master(Step::Up));
    }

    pub(super) fn master_left(&mut self, conn: ConnId) {
        self.master.hearing.remove(&conn);
        self.master.streams.remove(&conn);
        self.close(conn, Side::Server);
    }

    pub(super) fn master_heard(&mut self, conn: ConnId, bytes: &[u8]) {
        let commands = self.master.hearing.entry(conn).or_default().take(bytes);
        for command in commands {
            if let Some(waiting) = self.master.slow.get_mut(&conn) {
                waiting.push(command);
                continue;
            }
            // Not a DELETE: that one given up and still there may kill it is told in docs/architecture.md.
            let idle = matches!(command.body, CommandBody::Activate { .. } | CommandBody::Reserve { .. });
            let guard = matches!(&command.body, CommandBody::Reserve { location, .. } if location.starts_with(b"ravenry!"));
            if idle && !guard && !self.calm && self.rng.u8(..100) < self.plan.slow_master {
                let wait = Duration::from_millis(self.rng.u64(10..20_000));
                self.count("commands the master carried out late");
                self.master.slow.insert(conn, Vec::new());
                self.after(Node::Master, wait, Happening::Master(Step::Late(conn, command)));
                continue;
            }
            self.obey(conn, command);
        }
    }

    fn obey(&mut self, conn: ConnId, command: Command) {
        if self.net.is_down(Node::Master) {
            return;
        }
        let Command { tag, body } = command;
        let mut out = BytesMut::new();
        match body {
            CommandBody::Update { .. } => {
                let mut names: Vec<_> = self.master.list.keys().map(|key| name(key)).collect();
                names.sort_by(|a, b| Order::DatabaseKey.compare(a, b));
                for name in &names {
                    wire::line(&mut out, &tag, name.as_bytes(), self.master.list.get(name.as_bytes()));
                }
                self.master.streams.insert(conn, (tag.to_vec(), BTreeSet::new()));
                wire::status(&mut out, &tag, Status::Ok, "streaming starts");
            }
            CommandBody::Noop => {
                out = self.changed_lines(conn);
                wire::status(&mut out, &tag, Status::Ok, "Noop done");
            }
            CommandBody::Logout => wire::status(&mut out, &tag, Status::Ok, "bye-bye"),
            body => match as_write(body) {
                Some(write) => match self.carry_out_at_master(&write) {
                    Some(MasterReply::Done) => wire::status(&mut out, &tag, Status::Ok, "done"),
                    Some(MasterReply::Refused(text)) => wire::status(&mut out, &tag, Status::No, &text),
                    None => return,
                },
                None => wire::status(&mut out, &tag, Status::Bad, "Badly formed arguments"),
            },
        }
        self.send(conn, Side::Server, out.to_vec());
    }

    /// Cyrus's `cmd_set`. Nothing is answered by a process that dies of it.
    fn carry_out_at_master(&mut self, write: &Write) -> Option<MasterReply> {
        self.note(|| format!("master: {write:?}"));
        let key = write.name().as_bytes().to_vec();
        let held = self.master.list.get(&key);
        let refused = |text: &str| Some(MasterReply::Refused(text.into()));
        let effect = match (write, held) {
            (Write::Reserve { location, .. }, Some(held)) if held.location != *location => {
                return refused("mailbox already exists");
            }
            (Write::Delete { .. } | Write::Forget { .. } | Write::Deactivate { .. }, None) => {
                self.violated(format!("the master died of {write:?}"));
                self.master_dies(REBIRTH);
                return None;
            }
            (Write::Deactivate { .. }, Some(held)) if !held.is_active() => {
                return refused("mailbox not currently active");
            }
            (Write::Deactivate { location, .. }, Some(_)) => Some(Entry::reserved(location.clone())),
            _ => write.effect(),
        };
        match effect {
            Some(entry) => drop(self.master.list.insert(key.clone(), entry)),
            None => drop(self.master.list.remove(&key)),
        }
        for (_, pending) in self.master.streams.values_mut() {
            pending.insert(key.clone());
        }
        Some(MasterReply::Done)
    }

    /// What a stream was not told yet, as it is now.
    fn changed_lines(&mut self, conn: ConnId) -> BytesMut {
        let mut out = BytesMut::new();
        let list = &self.master.list;
        if let Some((tag, pending)) = self.master.streams.get_mut(&conn) {
            for key in std::mem::take(pending) {
                wire::line(&mut out, tag, &key, list.get(&key));
            }
        }
        out
    }
}
