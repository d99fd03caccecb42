//! One behaviour at a time.

use crate::list::{Acl, Entry, Location, MailboxName};
use crate::store::{Change, Options, Store};

pub(super) fn name(text: &str) -> MailboxName {
    MailboxName::new(text.as_bytes()).unwrap()
}

pub(super) fn active(location: &str, acl: &str) -> Entry {
    Entry::active(Location::new(location.as_bytes()).unwrap(), Acl::new(acl.as_bytes()))
}

pub(super) fn reserved(location: &str) -> Entry {
    Entry::reserved(Location::new(location.as_bytes()).unwrap())
}

pub(super) fn put(text: &str, entry: &Entry) -> Change {
    Change::Put { name: name(text), entry: entry.clone() }
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let entry = active("be1.test!default", "alice\tlrs\t");
    {
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let seq = store
            .commit(vec![
                put("user.alice", &entry),
                put("user.bob", &reserved("be1.test!default")),
                Change::Remove { name: name("user.bob") },
                Change::Attended { at_unix: 17 },
            ])
            .await
            .unwrap();
        assert_eq!(seq, 4);
    }
    let store = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(store.get(&name("user.alice")), Ok(Some(entry)));
    assert_eq!(store.get(&name("user.bob")), Ok(None));
    let stats = store.stats();
    assert_eq!((stats.entries, stats.active, stats.reserved), (1, 1, 0));
    assert_eq!((stats.forgotten, stats.attended_at, stats.seq), (1, Some(17), 4));
}
