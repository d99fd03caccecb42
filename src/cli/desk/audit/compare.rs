//! The list beside what one backend holds: its names in memory, the list's in chunks.

use std::collections::{BTreeSet, HashSet};

use crate::list::{Entry, MailboxName};
use crate::store::Snapshot;

const CHUNK: usize = 256 << 10;

/// Where the list and a backend differ.
#[derive(Default)]
pub(super) struct Compared {
    /// The list places it there, and the backend did not tell it; with the entry's version.
    pub(super) missing: Vec<(MailboxName, Entry, u64)>,
    /// An active mailbox that both have.
    pub(super) control: Option<MailboxName>,
    /// The backend has it, and the list does not place it there; in the list's order.
    pub(super) unlisted: Vec<MailboxName>,
}

/// The servers that the list names.
pub(super) fn servers(list: &Snapshot) -> Result<BTreeSet<String>, String> {
    let mut servers: HashSet<Vec<u8>> = HashSet::new();
    each(list, |_, entry| {
        if !servers.contains(entry.location.server()) {
            servers.insert(entry.location.server().to_vec());
        }
        Ok(())
    })?;
    Ok(servers.into_iter().map(|server| String::from_utf8_lossy(&server).into_owned()).collect())
}

pub(super) fn compare(
    list: &Snapshot,
    server: &str,
    mut there: HashSet<MailboxName>,
) -> Result<Compared, String> {
    let mut found = Compared::default();
    each(list, |name, entry| {
        if entry.location.server() != server.as_bytes() {
            return Ok(());
        }
        if there.remove(&name) {
            if entry.is_active() {
                found.control.get_or_insert(name);
            }
        } else if let Some((entry, version)) = list.versioned(&name).map_err(|error| error.to_string())? {
            found.missing.push((name, entry, version));
        }
        Ok(())
    })?;
    found.unlisted = there.into_iter().collect();
    found.unlisted.sort_by(|a, b| list.order().compare(a, b));
    Ok(found)
}

/// Shows each entry of the list.
fn each(
    list: &Snapshot,
    mut show: impl FnMut(MailboxName, Entry) -> Result<(), String>,
) -> Result<(), String> {
    let mut last = None;
    loop {
        let part = list.chunk(last.as_ref(), CHUNK).map_err(|error| error.to_string())?;
        let Some((name, _)) = part.last() else { return Ok(()) };
        last = Some(name.clone());
        for (name, entry) in part {
            show(name, entry)?;
        }
    }
}
