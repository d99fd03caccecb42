//! Backends: they hold the mailboxes, and tell the master what they do in the steps of Cyrus (`mboxlist.c`). Users have
//! ideas; processes die.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::network::Node;
use super::operation::{Task, TaskId, Work};
use super::world::{Happening, Key, List, World, acl, at, name};
use crate::authority::write::Write;
use crate::list::EntryState;

/// Names that users think of.
const IDEAS: [&[u8]; 9] = [
    b"user.a",
    b"user.a.x",
    b"user.a-b",
    b"user.b",
    b"user.b.y",
    b"user.c",
    b"user.d",
    b"user.d.z",
    b"user.e",
];
const RIGHTS: [&[u8]; 3] = [b"a\tlrs\t", b"a\tlrswip\t", b"a\tl\t"];

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A user has an idea.
    User,
    /// The process starts, and compares its list first.
    Up,
    Compare,
    /// The answer to so many commands was waited for.
    Late(TaskId, usize),
}

#[derive(Debug, Default)]
pub(super) struct Backend {
    /// The mailboxes on its disk, with their rights.
    pub(super) boxes: BTreeMap<Key, Vec<u8>>,
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) locks: BTreeSet<Key>,
    /// It takes part: it is up, and has compared its list since.
    pub(super) started: bool,
    pub(super) compared: u64,
    deleted: u64,
}

impl Backend {
    pub(super) fn holding(at: usize, list: &List) -> Self {
        let server = format!("be{}", at + 1);
        let mine = list.iter().filter(|(_, entry)| entry.location.server() == server.as_bytes());
        let boxes = mine.map(|(key, entry)| {
            let EntryState::Active(acl) = &entry.state else { panic!("{entry:?}") };
            (key.clone(), acl.as_bytes().to_vec())
        });
        Self { boxes: boxes.collect(), started: true, ..Self::default() }
    }

    fn comparing(&self) -> bool {
        self.tasks.values().any(|task| task.work == Work::Compare)
    }
}

impl World {
    pub(super) fn plan_operation(&mut self, moment: Duration) {
        let at = self.rng.usize(..2);
        self.at(moment, Happening::Backend(at, Step::User));
    }

    pub(super) fn backend_step(&mut self, at: usize, step: Step) {
        match step {
            Step::User => {
                let backend = &self.backends[at];
                if !self.calm && backend.started && !backend.comparing() {
                    self.user_acts(at);
                }
            }
            Step::Up => {
                self.comes_up(Node::Backend(at));
                self.backend_step(at, Step::Compare);
            }
            Step::Compare if self.net.is_down(Node::Backend(at)) || self.backends[at].comparing() => {}
            Step::Compare if self.backends[at].tasks.is_empty() => {
                self.begin_operation(at, Work::Compare, Vec::new())
            }
            Step::Compare => {
                self.after(Node::Backend(at), Duration::from_secs(1), Happening::Backend(at, Step::Compare));
            }
            Step::Late(id, sent) => {
                if self.backends[at].tasks.get(&id).is_some_and(|task| task.sent == sent && !task.waits) {
                    self.give_up(at, id);
                }
            }
        }
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.rng.usize(..from.len())].clone())
    }

    fn user_acts(&mut self, at: usize) {
        let backend = &self.backends[at];
        let free = |key: &Key| !backend.locks.contains(key);
        let held: Vec<Key> = backend.boxes.keys().filter(|key| free(key)).cloned().collect();
        let (gone, live): (Vec<Key>, Vec<Key>) =
            held.into_iter().partition(|key| key.starts_with(b"DELETED."));
        let ideas: Vec<Key> = IDEAS.iter().map(|key| key.to_vec()).collect();
        let new: Vec<Key> =
            ideas.iter().filter(|key| free(key) && !backend.boxes.contains_key(*key)).cloned().collect();
        let any = self.pick(&live);
        match (self.rng.u8(..100), any) {
            (0..28, _) => {
                if let Some(key) = self.pick(&new) {
                    self.create(at, key);
                }
            }
            (28..40, Some(key)) => {
                let rights = RIGHTS[self.rng.usize(..RIGHTS.len())].to_vec();
                let write = self.activate(at, &key, "default", &rights);
                self.backends[at].boxes.insert(key.clone(), rights);
                self.begin_operation(at, Work::SetAcl(key), vec![write]);
            }
            (40..56, Some(from)) => {
                if let Some(to) = self.pick(&new) {
                    self.rename(at, from, to);
                }
            }
            (56..72, Some(key)) if at == 1 && self.plan.immediate => {
                self.count("mailboxes deleted without a word");
                self.backends[at].boxes.remove(&key);
                self.taint(&key, "deleted without a word");
            }
            (56..72, Some(from)) => {
                self.backends[at].deleted += 1;
                let to = format!("DELETED.{}.{}", String::from_utf8_lossy(&from), self.backends[at].deleted);
                self.rename(at, from, to.into_bytes());
            }
            (72..80, Some(key)) => self.leave(at, key),
            (80..88, _) => {
                if let Some(key) = self.pick(&gone) {
                    let write = Write::Delete { name: name(&key) };
                    self.begin_operation(at, Work::Expire(key), vec![write]);
                }
            }
            _ => {
                if let Some(key) = self.pick(&ideas) {
                    self.begin_operation(at, Work::Look(key), Vec::new());
                }
            }
        }
    }

    pub(super) fn activate(&self, at_server: usize, key: &[u8], partition: &str, rights: &[u8]) -> Write {
        Write::Activate { name: name(key), location: at(at_server, partition), acl: acl(rights) }
    }

    fn create(&mut self, server: usize, key: Key) {
        let rights = RIGHTS[0].to_vec();
        let steps = vec![
            Write::Reserve { name: name(&key), location: at(server, "default") },
            self.activate(server, &key, "default", &rights),
        ];
        self.backends[server].boxes.insert(key.clone(), rights);
        self.begin_operation(server, Work::Create(key), steps);
    }

    /// From 3.6 on the new place has no partition.
    fn rename(&mut self, server: usize, from: Key, to: Key) {
        let rights = self.backends[server].boxes[&from].clone();
        let steps = vec![
            Write::Delete { name: name(&from) },
            Write::Reserve { name: name(&to), location: at(server, "") },
            self.activate(server, &to, "", &rights),
        ];
        self.begin_operation(server, Work::Rename { from, to }, steps);
    }

    fn leave(&mut self, server: usize, key: Key) {
        let there = &self.backends[1 - server];
        let busy = there.boxes.contains_key(&key) || there.locks.contains(&key) || there.comparing();
        if there.started && !busy {
            let steps = vec![Write::Deactivate { name: name(&key), location: at(server, "default") }];
            self.begin_operation(server, Work::Leave(key), steps);
        }
    }

    /// From now on only the comparison of the backend tells what the name is to be.
    pub(super) fn taint(&mut self, key: &[u8], why: &'static str) {
        self.tainted.insert(key.to_vec(), why);
        self.count(why);
    }

    pub(super) fn backend_dies(&mut self, server: usize, back: Duration) {
        if self.net.is_down(Node::Backend(server)) {
            return;
        }
        self.goes_down(Node::Backend(server));
        self.backends[server].started = false;
        self.backends[server].locks.clear();
        for (id, task) in std::mem::take(&mut self.backends[server].tasks) {
            self.history.taken_back(id, &task.asked);
            for key in task.names() {
                self.taint(&key, "its backend died in the middle");
            }
            match task.work {
                // On disk it may be done, or not.
                Work::Create(key) if self.rng.bool() => drop(self.backends[server].boxes.remove(&key)),
                Work::Rename { from, to } if self.rng.bool() => {
                    let rights = self.backends[server].boxes.remove(&from).unwrap_or_default();
                    self.backends[server].boxes.insert(to, rights);
                }
                Work::Arrive(_, waiting) => self.arrived(1 - server, waiting, false),
                _ => {}
            }
        }
        self.at(self.now + back, Happening::Backend(server, Step::Up));
    }
}
