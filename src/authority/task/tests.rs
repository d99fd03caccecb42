//! The task against a real store and a master that is played by the test.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::comparer::Aside;
use super::{Authority, Options, Order, Standing};
use crate::authority::guard::Guard;
use crate::authority::machine::{Policy, State};
use crate::authority::master::{BoxFuture, LinkEpoch, LinkEvent, Lost, Master, MasterIdentity, MasterReply};
use crate::authority::namespace::Namespace;
use crate::authority::write::{Origin, Outcome, Write};
use crate::list::{Acl, Entry, Location, MailboxName};
use crate::store::tests::sim::{Kind, SimDisk};
use crate::store::{Options as StoreOptions, Store, StoreError};

const EPOCH: LinkEpoch = LinkEpoch(1);

const ENOSPC: i32 = 28;

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

/// A store and a master that share five names of a server; the authority follows.
async fn following(dir: &Path) -> (Authority, mpsc::Sender<LinkEvent>, Vec<MailboxName>) {
    // What an earlier authority began in the background ends soon after it.
    let free = async {
        loop {
            match Store::open(&dir.join("list"), StoreOptions::default()) {
                Err(StoreError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                opened => return opened.unwrap(),
            }
        }
    };
    let store = tokio::time::timeout(Duration::from_secs(30), free).await.unwrap();
    let (events, link) = mpsc::channel(64);
    let master = Echoing { held: Arc::default(), events: events.clone() };
    let guard = Guard { at_least: 2, ..Guard::default() };
    let policy = Policy { guard, ..Policy::default() };
    let authority = Authority::spawn(store, Arc::new(master), link, Options { policy, ..Options::default() });
    let identity =
        MasterIdentity { servername: "mm.test".into(), version: "3.6.1".into(), role: "(master)".into() };
    let entry = Entry::active(Location::new(b"be1.test!default").unwrap(), Acl::new(b"alice\tlrs"));
    let names: Vec<_> =
        (0..5).map(|nth| MailboxName::new(format!("user.u{nth}").as_bytes()).unwrap()).collect();
    let list = names.iter().map(|name| (name.clone(), entry.clone())).collect();
    for event in [LinkEvent::Up(EPOCH, identity), LinkEvent::Listed(EPOCH, list), LinkEvent::Complete(EPOCH)]
    {
        events.send(event).await.unwrap();
    }
    authority.standing().wait_for(|s| s.state == State::Following).await.unwrap();
    (authority, events, names)
}

/// A server is taken out of the murder, and Ravenry is started anew meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_announced_is_expected_after_a_restart() {
    for announced in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (authority, ..) = following(dir.path()).await;
        if announced {
            let expect = Order::Expect { server: b"be1.test".to_vec(), time: Duration::from_secs(3600) };
            authority.order(expect).await.unwrap();
        }
        authority.stop().await;
        drop(authority);

        let (authority, events, names) = following(dir.path()).await;
        let gone = names.iter().map(|name| (name.clone(), None)).collect();
        events.send(LinkEvent::Changed(EPOCH, gone)).await.unwrap();
        let mut standing = authority.standing();
        let ended = async {
            loop {
                let entries = authority.store().stats().entries;
                let state = standing.borrow_and_update().state;
                if entries == 0 || state == State::Holding {
                    return (entries, state);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (entries, state) = tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
        assert_eq!((entries == 0, state == State::Following), (announced, announced));
        authority.stop().await;
    }
}

/// How many names the list holds that is compared.
const MANY: usize = 10_000;

/// Work that takes long is not begun before the test says so.
struct Gate {
    aside: Aside,
    asked: mpsc::UnboundedReceiver<()>,
    open: watch::Sender<bool>,
}

fn gate() -> Gate {
    let (ask, asked) = mpsc::unbounded_channel();
    let (open, opened) = watch::channel(true);
    let aside: Aside = Arc::new(move |work| {
        let (ask, mut opened) = (ask.clone(), opened.clone());
        tokio::spawn(async move {
            let _ = ask.send(());
            let _ = opened.wait_for(|open| *open).await;
            let _ = tokio::task::spawn_blocking(work).await;
        });
    });
    Gate { aside, asked, open }
}

fn user(nth: usize) -> MailboxName {
    MailboxName::new(format!("user.u{nth:05}").as_bytes()).unwrap()
}

fn mailbox() -> Entry {
    Entry::active(Location::new(b"be1.test!default").unwrap(), Acl::new(b"alice\tlrs"))
}

/// Until what was told was taken from the link.
async fn taken(events: &mpsc::Sender<LinkEvent>) {
    let taken = async {
        while events.capacity() < events.max_capacity() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), taken).await.unwrap();
}

/// A master that comes back with nothing, and ours is long.
#[tokio::test(flavor = "multi_thread")]
async fn writes_are_answered_while_a_large_list_is_compared() {
    for believed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("list"), StoreOptions::default()).unwrap();
        let (events, link) = mpsc::channel(64);
        let held = Arc::new(Mutex::new(Held::default()));
        let master = Arc::new(Echoing { held: held.clone(), events: events.clone() });
        let share = if believed { u64::MAX } else { 100 };
        let guard = Guard { at_least: share, at_most: share, ..Guard::default() };
        let options = Options { policy: Policy { guard, ..Policy::default() }, ..Options::default() };
        let mut gate = gate();
        let authority = Authority::spawn_with(store, master, link, options, gate.aside.clone());
        let identity =
            MasterIdentity { servername: "mm.test".into(), version: "3.6.1".into(), role: "(master)".into() };
        events.send(LinkEvent::Up(EPOCH, identity.clone())).await.unwrap();
        for from in (0..MANY).step_by(1_000) {
            let part = (from..from + 1_000).map(|nth| (user(nth), mailbox())).collect();
            events.send(LinkEvent::Listed(EPOCH, part)).await.unwrap();
        }
        events.send(LinkEvent::Complete(EPOCH)).await.unwrap();
        let mut standing = authority.standing();
        standing.wait_for(|now| now.state == State::Following).await.unwrap();
        gate.asked.recv().await.unwrap();

        gate.open.send(false).unwrap();
        let again = LinkEpoch(2);
        for event in [
            LinkEvent::Down(EPOCH, "gone".into()),
            LinkEvent::Up(again, identity),
            LinkEvent::Complete(again),
        ] {
            events.send(event).await.unwrap();
        }
        gate.asked.recv().await.unwrap();
        taken(&events).await;
        // The master goes on meanwhile; that is heard when its list was judged.
        let theirs = MailboxName::new(b"user.theirs").unwrap();
        let line = vec![(theirs.clone(), Some(mailbox()))];
        events.send(LinkEvent::Changed(again, line)).await.unwrap();

        // Nothing has been compared yet, and nobody waits for it.
        let origin = Origin { identity: "murder".into(), peer: ([127, 0, 0, 1], 1).into(), session: None };
        let ours = MailboxName::new(b"user.ours").unwrap();
        let Entry { location, .. } = mailbox();
        for write in [
            Write::Activate { name: ours.clone(), location, acl: Acl::new(b"alice\tlrs") },
            Write::Delete { name: user(0) },
        ] {
            assert_eq!(authority.write(origin.clone(), write).await, Outcome::Done);
        }
        authority.barrier().await;
        assert_eq!(authority.find(&ours).unwrap(), Some(mailbox()));
        assert_eq!(authority.find(&user(0)).unwrap(), None);
        assert_eq!(authority.snapshot().unwrap().entries(), MANY as u64);
        assert_eq!(standing.borrow().state, State::StandingIn);

        gate.open.send(true).unwrap();
        let judged = |now: &Standing| now.state != State::StandingIn;
        let judged = tokio::time::timeout(Duration::from_secs(60), standing.wait_for(judged));
        let now = judged.await.unwrap().unwrap().clone();
        if !believed {
            // What was deleted meanwhile is no loss.
            let lacks = format!("lacks {}, hides 0 and moves 0 (by server: be1.test {}", MANY - 1, MANY - 1);
            assert!(now.state == State::Holding && now.reason.contains(&lacks), "{now:?}");
        } else {
            assert_eq!(now.state, State::Replaying, "{now:?}");
            let followed = standing.wait_for(|now| now.state == State::Following);
            tokio::time::timeout(Duration::from_secs(120), followed).await.unwrap().unwrap();
            authority.barrier().await;
            let held = held.lock().unwrap();
            assert_eq!(held.list.get(&ours), Some(&mailbox()), "written meanwhile");
            assert_eq!(authority.find(&theirs).unwrap(), Some(mailbox()), "told meanwhile");
            assert_eq!(authority.find(&user(0)).unwrap(), None);
        }
        authority.stop().await;
    }
}

/// The disk fails while the master decides, and then the master is lost: the list lacks what it granted in between, and nobody is
/// to hear of it, neither before nor while the next list is learned.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fell_behind_is_not_shown_to_whom_it_is_asked_by_while_learning() {
    let disk = SimDisk::new();
    let store = Store::open_on(disk.clone(), StoreOptions::default()).unwrap();
    let (events, link) = mpsc::channel(64);
    let master = Echoing { held: Arc::default(), events: events.clone() };
    let authority = Authority::spawn(store, Arc::new(master), link, Options::default());
    let identity =
        MasterIdentity { servername: "mm.test".into(), version: "3.6.1".into(), role: "(master)".into() };
    let list = vec![(user(1), mailbox())];
    for event in [LinkEvent::Up(EPOCH, identity), LinkEvent::Listed(EPOCH, list), LinkEvent::Complete(EPOCH)]
    {
        events.send(event).await.unwrap();
    }
    authority.standing().wait_for(|at| at.state == State::Following).await.unwrap();
    assert_eq!(authority.find(&user(1)).unwrap(), Some(mailbox()));

    disk.fail(Kind::Sync, 0, ENOSPC, false);
    let origin = Origin { identity: "murder".into(), peer: ([127, 0, 0, 1], 1).into(), session: None };
    let Entry { location, .. } = mailbox();
    let taken = Write::Reserve { name: user(2), location };
    assert_eq!(authority.write(origin, taken).await, Outcome::Done, "the master granted it");
    authority.standing().wait_for(|at| at.poisoned).await.unwrap();
    let shows = || authority.find(&user(2)).map(|entry| entry.is_some());
    assert!(shows().is_err() && authority.snapshot().is_err(), "{:?}", shows());

    events.send(LinkEvent::Down(EPOCH, "gone".into())).await.unwrap();
    authority.standing().wait_for(|at| at.state == State::Learning).await.unwrap();
    assert!(shows().is_err() && authority.snapshot().is_err(), "{:?}", shows());
}
