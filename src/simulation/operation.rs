//! One operation of a backend: its steps on one connection, LOGOUT, and what the backend makes of the end.

use std::collections::VecDeque;
use std::time::Duration;

use ravenry_parsers::mupdate::{CommandBody, ServerLine, Status};

use super::backend::Step;
use super::compare::Compare;
use super::history::Asked;
use super::linear::Said;
use super::network::{ConnId, Node, Side};
use super::ravenry::DISK_FAILED;
use super::wire::{self, Reading};
use super::world::{Happening, Key, World};
use crate::authority::write::Write;
use crate::mupdate::server::session::as_write;

/// How long a backend waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Numbers an operation, by its connection.
pub(super) type TaskId = u64;

/// What an operation is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Work {
    Create(Key),
    SetAcl(Key),
    Rename {
        from: Key,
        to: Key,
    },
    /// `cyr_expire`
    Expire(Key),
    /// The first half of XFER.
    Leave(Key),
    /// The second: whose task waits for it.
    Arrive(Key, TaskId),
    /// Somebody looks with FIND.
    Look(Key),
    /// `ctl_mboxlist -m`
    Compare,
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) work: Work,
    pub(super) conn: ConnId,
    reading: Reading,
    pub(super) queue: VecDeque<CommandBody>,
    /// What was sent last and is not answered yet.
    pub(super) current: Option<(CommandBody, Option<Asked>, Duration)>,
    pub(super) sent: usize,
    pub(super) asked: Vec<Asked>,
    /// LOGOUT was sent; whether all had been done.
    leaving: Option<bool>,
    /// It waits for another task.
    pub(super) waits: bool,
    pub(super) compare: Compare,
    /// Ravenry's life in which it began.
    life: u64,
}

impl Task {
    pub(super) fn names(&self) -> Vec<Key> {
        match &self.work {
            Work::Create(key)
            | Work::SetAcl(key)
            | Work::Expire(key)
            | Work::Leave(key)
            | Work::Arrive(key, _) => vec![key.clone()],
            Work::Rename { from, to } => vec![from.clone(), to.clone()],
            Work::Look(_) | Work::Compare => Vec::new(),
        }
    }
}

impl World {
    pub(super) fn begin_operation(&mut self, server: usize, work: Work, steps: Vec<Write>) {
        let conn = self.connect(Node::Backend(server), Node::Ravenry);
        let id = conn as TaskId;
        self.note(|| format!("backend {server}: [{id}] {work:?}"));
        let mut queue: VecDeque<CommandBody> = steps.iter().map(wire::asking).collect();
        match &work {
            Work::Compare => {
                let prefix = format!("be{}!", server + 1).into_bytes();
                queue.push_back(CommandBody::List { prefix: Some(prefix.into()) });
            }
            Work::Look(key) => queue.push_back(CommandBody::Find { mailbox: key.clone().into() }),
            _ => self.count("operations"),
        }
        let task = Task {
            work,
            conn,
            reading: Reading::default(),
            queue,
            current: None,
            sent: 0,
            asked: Vec::new(),
            leaving: None,
            waits: false,
            compare: Compare::default(),
            life: self.net.life(Node::Ravenry),
        };
        let backend = &mut self.backends[server];
        backend.locks.extend(task.names());
        backend.tasks.insert(id, task);
        self.after(Node::Backend(server), PATIENCE, Happening::Backend(server, Step::Late(id, 0)));
    }

    pub(super) fn task_opened(&mut self, at: usize, conn: ConnId) {
        self.say_more(at, conn as TaskId);
    }

    /// Sends the next command, or says farewell.
    pub(super) fn say_more(&mut self, server: usize, id: TaskId) {
        let now = self.now;
        let Some(task) = self.backends[server].tasks.get_mut(&id) else { return };
        let letter = if matches!(task.work, Work::Look(_)) { 'F' } else { 'X' };
        let tag = format!("{letter}{}", task.sent);
        task.sent += 1;
        let sent = task.sent;
        let conn = task.conn;
        let bytes = match task.queue.pop_front() {
            Some(body) => {
                let bytes = wire::command(&tag, &body);
                let write = as_write(body.clone());
                let asked = write.map(|write| self.history.ask(id, &write, now));
                task.asked.extend(asked.clone());
                task.current = Some((body, asked, now));
                bytes
            }
            None => {
                task.current = None;
                task.leaving.get_or_insert(true);
                wire::command("Q01", &CommandBody::Logout)
            }
        };
        self.send(conn, Side::Client, bytes);
        self.after(Node::Backend(server), PATIENCE, Happening::Backend(server, Step::Late(id, sent)));
    }

    pub(super) fn task_heard(&mut self, server: usize, conn: ConnId, bytes: &[u8]) {
        let id = conn as TaskId;
        let Some(task) = self.backends[server].tasks.get_mut(&id) else { return };
        for line in task.reading.take(bytes) {
            let Some(task) = self.backends[server].tasks.get_mut(&id) else { return };
            match line {
                ServerLine::Status { status, text, .. } => self.answered(server, id, status, &text),
                line => task.compare.shown.extend(wire::shown(&line)),
            }
        }
    }

    fn answered(&mut self, server: usize, id: TaskId, status: Status, text: &[u8]) {
        let now = self.now;
        let Some(task) = self.backends[server].tasks.get_mut(&id) else { return };
        if let Some(complete) = task.leaving {
            return self.ends(server, id, complete);
        }
        let Some((body, asked, since)) = task.current.take() else { return };
        let said = match (status, text) {
            (Status::Ok, _) => Said::Done,
            (_, b"mailbox already exists") => Said::Exists,
            (_, b"mailbox doesn't exist") => Said::Missing,
            (_, b"mailbox not currently active") => Said::NotActive,
            _ => Said::Nothing,
        };
        if let Some(asked) = &asked {
            self.history.hear(asked, said, now);
        }
        let task = self.backends[server].tasks.get_mut(&id).expect("it is there");
        let shown = std::mem::take(&mut task.compare.shown);
        if let (CommandBody::Find { mailbox }, Status::Ok) = (&body, status) {
            let entry = shown.first().and_then(|(_, entry)| entry.clone());
            self.history.found(mailbox, entry, since, now);
        }
        if self.backends[server].tasks[&id].work == Work::Compare {
            if !self.compare_goes_on(server, id, &body, status, text, shown) {
                self.farewell(server, id, false);
            }
            return;
        }
        if status != Status::Ok {
            return self.farewell(server, id, false);
        }
        let task = self.backends[server].tasks.get_mut(&id).expect("it is there");
        if let (Work::Leave(key), 1) = (&task.work, task.sent) {
            task.waits = true;
            let key = key.clone();
            return self.arrive(server, id, key);
        }
        self.say_more(server, id);
    }

    /// The source has let go: the destination takes the mailbox.
    fn arrive(&mut self, server: usize, waiting: TaskId, key: Key) {
        let rights = self.backends[server].boxes[&key].clone();
        let there = 1 - server;
        // LOCALCREATE finds whom it has to wait for, and the source gives up.
        let busy = self.backends[there].boxes.contains_key(&key) || self.backends[there].locks.contains(&key);
        if busy || self.net.is_down(Node::Backend(there)) {
            return self.arrived(server, waiting, false);
        }
        let write = self.activate(there, &key, "default", &rights);
        self.begin_operation(there, Work::Arrive(key, waiting), vec![write]);
    }

    /// The source of an XFER hears how it went at the destination.
    pub(super) fn arrived(&mut self, server: usize, id: TaskId, done: bool) {
        let Some(task) = self.backends[server].tasks.get_mut(&id) else { return };
        task.waits = false;
        let Work::Leave(key) = task.work.clone() else { return };
        if done {
            let rights = self.backends[server].boxes.remove(&key).unwrap_or_default();
            self.backends[1 - server].boxes.insert(key, rights);
            return self.say_more(server, id);
        }
        // It is to be its own again.
        let rights = self.backends[server].boxes[&key].clone();
        let write = self.activate(server, &key, "default", &rights);
        self.taint(&key, "an XFER that failed");
        if let Some(task) = self.backends[server].tasks.get_mut(&id) {
            task.queue.push_back(wire::asking(&write));
        }
        self.say_more(server, id);
    }

    fn farewell(&mut self, server: usize, id: TaskId, complete: bool) {
        let Some(task) = self.backends[server].tasks.get_mut(&id) else { return };
        task.queue.clear();
        task.leaving = Some(complete);
        self.say_more(server, id);
    }

    pub(super) fn task_closed(&mut self, server: usize, conn: ConnId) {
        self.give_up(server, conn as TaskId);
    }

    /// No answer came, or none will come.
    pub(super) fn give_up(&mut self, server: usize, id: TaskId) {
        let Some(task) = self.backends[server].tasks.get(&id) else { return };
        self.close(task.conn, Side::Client);
        let task = &self.backends[server].tasks[&id];
        if task.waits {
            // Its connection is gone; how the operation ends is told at the destination.
            return;
        }
        // With the last OK it was done; but whoever heard no farewell cannot know that.
        let complete = task.leaving == Some(true);
        if complete {
            for key in task.names() {
                self.taint(&key, "cut off behind the last OK");
            }
        }
        self.ends(server, id, complete);
    }

    /// An operation is over: it was done, or the backend takes its own side back.
    fn ends(&mut self, server: usize, id: TaskId, complete: bool) {
        let Some(task) = self.backends[server].tasks.remove(&id) else { return };
        self.note(|| {
            format!("backend {server}: [{id}] {:?} {}", task.work, if complete { "done" } else { "failed" })
        });
        self.close(task.conn, Side::Client);
        let tainted = task.names().iter().any(|key| self.tainted.contains_key(key));
        if !complete || tainted {
            self.history.taken_back(id, &task.asked);
        }
        let names = task.names();
        self.backends[server].locks.retain(|key| !names.contains(key));
        if !complete {
            self.undone.push((self.now, names.clone()));
        }
        if !complete && task.life != self.net.life(Node::Ravenry) {
            names.iter().for_each(|key| self.taint(key, "Ravenry was killed in the middle"));
        }
        if !complete && self.ravenry.suspect {
            self.history.haunt(&names);
            names.iter().for_each(|key| self.taint(key, DISK_FAILED));
        }
        if complete && !matches!(task.work, Work::Compare | Work::Look(_)) {
            self.count("operations done");
        }
        match (task.work, complete) {
            (Work::Create(key), false) | (Work::Expire(key), true) => {
                self.backends[server].boxes.remove(&key);
            }
            (Work::SetAcl(key), false) => self.taint(&key, "a SETACL that was refused stays at its backend"),
            (Work::Rename { from, to }, true) => {
                let rights = self.backends[server].boxes.remove(&from).unwrap_or_default();
                self.backends[server].boxes.insert(to, rights);
            }
            (Work::Leave(key), false) => self.taint(&key, "an XFER that failed"),
            (Work::Arrive(key, waiting), done) => {
                if !done {
                    self.taint(&key, "an XFER that failed");
                }
                self.arrived(1 - server, waiting, done);
            }
            (Work::Compare, true) => {
                self.backends[server].started = true;
                self.backends[server].compared += 1;
            }
            (Work::Compare, false) => {
                let wait = Duration::from_secs(3);
                self.after(Node::Backend(server), wait, Happening::Backend(server, Step::Compare));
            }
            (Work::SetAcl(_) | Work::Look(_), _)
            | (Work::Rename { .. } | Work::Expire(_), false)
            | (Work::Create(_) | Work::Leave(_), true) => {}
        }
        // A name was taken at the other backend between the steps of an operation that then came to nothing.
        for key in names {
            if self.backends.iter().all(|backend| backend.boxes.contains_key(&key)) {
                self.taint(&key, "held by two backends");
            }
        }
    }
}
