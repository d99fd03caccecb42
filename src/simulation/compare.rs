//! `ctl_mboxlist -m` (Cyrus, `ctl_mboxlist.c`): a backend compares its mailboxes with the master's list. It deletes there
//! what it lacks, asks for what the list lacks, announces what nobody has, and wipes its own mailbox when it is shown
//! that another server holds it.

use ravenry_parsers::mupdate::{CommandBody, Status};

use super::operation::TaskId;
use super::wire;
use super::world::{Key, List, World, acl, at, name};
use crate::authority::write::Write;
use crate::list::{Entry, MailboxName};

/// How far a comparison is.
#[derive(Debug, Default)]
pub(super) struct Compare {
    /// Lines of the command under way.
    pub(super) shown: Vec<(MailboxName, Option<Entry>)>,
    /// What the master's list had of the server.
    listed: List,
    deleted: Vec<Key>,
}

impl World {
    /// Takes the next step after an answer; false where `-m` exits with 1.
    pub(super) fn compare_goes_on(
        &mut self,
        server: usize,
        id: TaskId,
        body: &CommandBody,
        status: Status,
        text: &[u8],
        shown: Vec<(MailboxName, Option<Entry>)>,
    ) -> bool {
        let done = status == Status::Ok;
        let mut next = Vec::new();
        match body {
            CommandBody::List { .. } if done => {
                let listed =
                    shown.into_iter().filter_map(|(name, entry)| Some((name.as_bytes().to_vec(), entry?)));
                next = self.listed(server, id, listed.collect());
            }
            CommandBody::List { .. } => return false,
            CommandBody::Find { mailbox } => match shown.first() {
                Some((_, Some(entry))) if done => {
                    if entry.location.server() == at(server, "").server() {
                        return false;
                    }
                    self.violated(format!(
                        "backend {server} wipes its own {mailbox:?}: FIND showed {entry:?}"
                    ));
                    self.backends[server].boxes.remove(&mailbox[..]);
                }
                _ => next.extend(self.announcement(server, mailbox)),
            },
            CommandBody::Delete { mailbox } if done => {
                let task = self.backends[server].tasks.get_mut(&id).expect("it is there");
                task.compare.deleted.push(mailbox.to_vec());
            }
            CommandBody::Delete { .. } => {
                // What was deleted so far is put back; and a person looks at it.
                let compare = &self.backends[server].tasks[&id].compare;
                let back: Vec<_> = compare
                    .deleted
                    .iter()
                    .map(|key| (key.clone(), compare.listed.get(key).cloned()))
                    .collect();
                for (key, entry) in back {
                    self.history.put_there(&key, entry, self.now);
                }
                if text.starts_with(b"too many") {
                    self.count("comparisons that a person had to allow");
                    self.ravenry.allowed[server] = u64::MAX;
                }
                return false;
            }
            // "temporary failure (update continuing)"
            _ => {}
        }
        let task = self.backends[server].tasks.get_mut(&id).expect("it is there");
        task.queue.extend(next);
        self.say_more(server, id);
        true
    }

    /// The list has come: what is to be asked and told.
    fn listed(&mut self, server: usize, id: TaskId, listed: List) -> Vec<CommandBody> {
        let boxes = &self.backends[server].boxes;
        let mut next = Vec::new();
        for key in boxes.keys() {
            match listed.get(key) {
                None => next.push(CommandBody::Find { mailbox: key.clone().into() }),
                Some(entry) if Some(entry) == self.own(server, key).as_ref() => {}
                Some(_) => next.extend(self.announcement(server, key)),
            }
        }
        let lacking = listed.keys().filter(|key| !boxes.contains_key(*key));
        next.extend(lacking.map(|key| wire::asking(&Write::Delete { name: name(key) })));
        let task = self.backends[server].tasks.get_mut(&id).expect("it is there");
        task.compare.listed = listed;
        next
    }

    fn own(&self, server: usize, key: &[u8]) -> Option<Entry> {
        let rights = self.backends[server].boxes.get(key)?;
        Some(Entry::active(at(server, "default"), acl(rights)))
    }

    fn announcement(&self, server: usize, key: &[u8]) -> Option<CommandBody> {
        let rights = self.backends[server].boxes.get(key)?;
        Some(wire::asking(&self.activate(server, key, "default", rights)))
    }
}
