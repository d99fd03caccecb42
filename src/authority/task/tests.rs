//! The task against a real store and a master that is played by the test.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Authority, Options};
use crate::authority::machine::State;
use crate::authority::master::{BoxFuture, LinkEpoch, LinkEvent, Lost, Master, MasterIdentity, MasterReply};
use crate::authority::namespace::Namespace;
use crate::authority::write::{Origin, Outcome, Write};
use crate::list::{Acl, Entry, Location, MailboxName};
use crate::store::{Options as StoreOptions, Store};

const EPOCH: LinkEpoch = LinkEpoch(1);

/// How long a NOOP and its answer travel: meanwhile the names that it covers change again.
const ON_THE_WAY: Duration = Duration::from_millis(1);

/// A master as Cyrus's is: the stream remembers which names changed, and a NOOP sends what they are by then.
struct Echoing {
    held: Arc<Mutex<Held>>,
    events: mpsc::Sender<LinkEvent>,
}

#[derive(Default)]
struct Held {
    list: HashMap<MailboxName, Entry>,
    pending: HashSet<MailboxName>,
}

impl Master for Echoing {
    fn send(&self, write: Write, _: Duration) -> BoxFuture<Result<MasterReply, Lost>> {
        let held = self.held.clone();
        Box::pin(async move {
            let mut held = held.lock().unwrap();
            match write.effect() {
                Some(entry) => held.list.insert(write.name().clone(), entry),
                None => held.list.remove(write.name()),
            };
            held.pending.insert(write.name().clone());
            Ok(MasterReply::Done)
        })
    }

    fn barrier(&self, _: Duration) -> BoxFuture<Result<(), Lost>> {
        let (held, events) = (self.held.clone(), self.events.clone());
        Box::pin(async move {
            tokio::time::sleep(ON_THE_WAY).await;
            let lines = {
                let mut held = held.lock().unwrap();
                let names = std::mem::take(&mut held.pending);
                names.into_iter().map(|name| (name.clone(), held.list.get(&name).cloned())).collect()
            };
            tokio::time::sleep(ON_THE_WAY).await;
            events.send(LinkEvent::Changed(EPOCH, lines)).await.unwrap();
            Ok(())
        })
    }

    fn reconnect(&self) {}
}

/// The master tells of our own changes too. What was true between two of them must not come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_counts_after_the_lines_that_it_covers() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("list"), StoreOptions::default()).unwrap();
    let (events, link) = mpsc::channel(64);
    let master = Echoing { held: Arc::default(), events: events.clone() };
    let authority = Authority::spawn(store, Arc::new(master), link, Options::default());
    let identity =
        MasterIdentity { servername: "mm.test".into(), version: "3.6.1".into(), role: "(master)".into() };
    for event in [LinkEvent::Up(EPOCH, identity), LinkEvent::Complete(EPOCH)] {
        events.send(event).await.unwrap();
    }
    authority.standing().wait_for(|s| s.state == State::Following).await.unwrap();

    let origin = Origin { identity: "murder".into(), peer: ([127, 0, 0, 1], 1).into(), session: None };
    let mut stream = authority.subscribe();
    let location = Location::new(b"be1.test!default").unwrap();
    let rounds = 200;
    for round in 0..rounds {
        let name = MailboxName::new(format!("user.u{round}").as_bytes()).unwrap();
        for write in [
            Write::Activate { name: name.clone(), location: location.clone(), acl: Acl::new(b"alice\tlrs") },
            Write::Delete { name: name.clone() },
        ] {
            assert_eq!(authority.write(origin.clone(), write).await, Outcome::Done);
        }
    }
    // The first is for the last write's own barrier.
    for _ in 0..2 {
        authority.barrier().await;
    }
    let mut published = Vec::new();
    stream.drain(&mut published).unwrap();
    let told = published.iter().map(|change| (change.name.to_string(), change.entry.is_some()));
    let done = (0..rounds).flat_map(|round| [true, false].map(|held| (format!("user.u{round}"), held)));
    assert_eq!(told.collect::<Vec<_>>(), done.collect::<Vec<_>>());
}
