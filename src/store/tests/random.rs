//! Random histories, against the model.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::model::{Model, View, numbered, synced};
use super::sim::SimDisk;
use crate::list::{Entry, MailboxName, Order};
use crate::store::{Cause, Change, Conflict, Deed, Doubt, JournalRecord, Options, Store, Underway, Verb};

/// What happens to a store.
#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Change>),
    /// Several calls at once, which may share a transaction.
    Together(Vec<Vec<Change>>),
    Load {
        parts: Vec<Vec<(MailboxName, Entry)>>,
        finished: bool,
    },
    Reopen,
}

/// Few names, so that changes meet; with the bytes that the orders sort differently.
pub(super) fn name() -> impl Strategy<Value = MailboxName> {
    "(a\\.org!)?user[.^][ab]([.^-][ab]){0,2}".prop_map(|text| MailboxName::new(text.as_bytes()).unwrap())
}

fn entry() -> impl Strategy<Value = Entry> {
    (0..30_u64).prop_map(numbered)
}

fn server() -> impl Strategy<Value = Vec<u8>> {
    "be[12]".prop_map(String::into_bytes)
}

fn cause() -> impl Strategy<Value = Cause> {
    let who = || ("[a-z]{0,6}", "[0-9.:]{0,9}");
    prop_oneof![
        who().prop_map(|(identity, peer)| Cause::Asked { identity, peer }),
        who().prop_map(|(identity, peer)| Cause::TakenBack { identity, peer }),
        prop_oneof![Just(Cause::Master), Just(Cause::Person), Just(Cause::Guard), Just(Cause::Unfinished)],
    ]
}

pub(in crate::store) fn change() -> impl Strategy<Value = Change> {
    let optional = || proptest::option::of(entry());
    prop_oneof![
        8 => (name(), entry()).prop_map(|(name, entry)| Change::Put { name, entry }),
        4 => name().prop_map(|name| Change::Remove { name }),
        6 => (name(), optional(), optional(), 0..100_u64).prop_map(|(name, before, after, at_unix)| {
            let verb = match at_unix % 4 {
                0 => Verb::Reserve,
                1 => Verb::Activate,
                2 => Verb::Deactivate,
                _ => Verb::Delete,
            };
            Change::Journal(JournalRecord {
                name,
                verb,
                before,
                after,
                identity: "murder".to_owned(),
                peer: format!("[::1]:{at_unix}"),
                at_unix,
            })
        }),
        3 => (name(), optional(), cause(), 0..100_u64).prop_map(|(name, after, cause, nth)| {
            // In the future, so that it is not dropped for its age.
            let at_unix = (1 << 40) + nth;
            Change::Remember(Deed { name, after, cause, state: "standing-in".to_owned(), at_unix })
        }),
        3 => (name(), 0..60_u64).prop_map(|(name, upto)| Change::Settle { name, upto }),
        3 => (name(), optional(), 0..100_u64).prop_map(|(name, effect, at_unix)| Change::Doubt {
            name,
            doubt: Doubt { effect, at_unix },
        }),
        1 => name().prop_map(|name| Change::Undoubt { name }),
        2 => (name(), optional(), optional(), optional()).prop_map(|(name, base, theirs, ours)| {
            Change::Conflict(Conflict { name, base, theirs, ours, at_unix: 5 })
        }),
        1 => name().prop_map(|name| Change::ResolveConflict { name }),
        2 => (name(), optional()).prop_map(|(name, theirs)| Change::Unconfirmed { name, theirs }),
        1 => name().prop_map(|name| Change::Confirm { name }),
        1 => (0..9_u64).prop_map(|at| Change::Synced(synced(at))),
        1 => (1..9_u64).prop_map(|at_unix| Change::Attended { at_unix }),
        1 => prop::option::of(0..5_u64).prop_map(Change::Reseeding),
        1 => any::<bool>().prop_map(|held| Change::Held { held }),
        1 => (server(), 0..9_u64).prop_map(|(server, until_unix)| Change::Expected { server, until_unix }),
        1 => (server(), 0..3_u64).prop_map(|(server, day)| Change::Ghost { server, day }),
        3 => (name(), optional(), 0..9_u64).prop_map(|(name, before, operation)| {
            let (identity, peer) = ("murder".to_owned(), format!("[::1]:{operation}"));
            let underway = Underway { operation, before, identity, peer, at_unix: operation };
            Change::Underway { name, underway }
        }),
        2 => name().prop_map(|name| Change::Ended { name }),
        1 => prop_oneof![Just(Order::Raw), Just(Order::DatabaseKey)].prop_map(Change::SetOrder),
    ]
}

/// The same calls in every run.
pub(super) fn calls(count: usize) -> Vec<Vec<Change>> {
    let calls = proptest::collection::vec(proptest::collection::vec(change(), 1..6), count);
    let mut runner = TestRunner::deterministic();
    calls.new_tree(&mut runner).unwrap().current()
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    proptest::collection::vec(change(), 0..8)
}

fn step() -> impl Strategy<Value = Step> {
    let parts = proptest::collection::vec(proptest::collection::vec((name(), entry()), 0..6), 0..4);
    prop_oneof![
        6 => changes().prop_map(Step::Commit),
        2 => proptest::collection::vec(changes(), 1..5).prop_map(Step::Together),
        1 => (parts, any::<bool>()).prop_map(|(parts, finished)| Step::Load { parts, finished }),
        1 => Just(Step::Reopen),
    ]
}

fn open(disk: &SimDisk) -> Store {
    // A log that is full every few calls.
    Store::open_on(disk.clone(), Options { log_bytes: 2048, ..Options::default() }).unwrap()
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let mut model = Model::default();
    model.open();
    for step in steps {
        match step {
            Step::Commit(changes) => {
                let expected = model.commit(&changes);
                prop_assert_eq!(store.commit(changes).await, Ok(expected));
            }
            Step::Together(calls) => {
                let waiting: Vec<_> = calls.iter().map(|c| store.submit(c.clone())).collect();
                for (call, answer) in calls.iter().zip(waiting) {
                    prop_assert_eq!(answer.await, Ok(model.commit(call)));
                }
            }
            Step::Load { parts, finished } => {
                let mut loader = store.begin_load().await.unwrap();
                let version = store.stats().seq;
                for part in &parts {
                    loader.put(part.clone()).await.unwrap();
                }
                if finished {
                    loader.finish(synced(1)).await.unwrap();
                    model.load(&parts.concat(), &synced(1), version, store.stats().seq);
                } else {
                    model.skip_to(version);
                }
            }
            Step::Reopen => {
                drop(store);
                store = open(&disk);
                model.open();
            }
        }
        prop_assert_eq!(View::of(&store).unwrap(), model.view());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps))?;
    }
}
