//! A reservation that its backend turned out to hold is a mailbox again, unless somebody wrote it since.

use super::super::State;
use super::steps::{ALICE, activate, delete, done, held, reserve, world};
use super::world::{World, active};
use crate::authority::facts::Facts as _;
use crate::authority::write::{Outcome, Refusal, Write};
use crate::list::{Acl, Entry, MailboxName};
use crate::rules::{Rule, without};

/// A mailbox that is deactivated at its server, and the version of that.
fn deactivated(state: State) -> (World, u64) {
    let mut world = world(state);
    let Write::Activate { name, location, .. } = activate("user.a", "be1!default", ALICE) else {
        unreachable!()
    };
    done(&mut world, Write::Deactivate { name: name.clone(), location });
    let version = world.store.version(&name).unwrap().unwrap();
    (world, version)
}

fn revive(version: u64) -> Write {
    let Entry { location, .. } = active("be1!default", ALICE);
    let name = MailboxName::new(b"user.a").unwrap();
    Write::Revive { name, version, location, acl: Acl::new(ALICE.as_bytes()) }
}

#[test]
fn it_is_a_mailbox_again_here_and_at_the_master() {
    for state in [State::Following, State::StandingIn] {
        let (mut world, version) = deactivated(state);
        assert_eq!(world.ask(revive(version)), Outcome::Done, "{state:?}");
        assert_eq!(held(&world, "user.a"), Some(active("be1!default", ALICE)), "{state:?}");
        world.quiet();
        assert_eq!(world.master.get(&b"user.a"[..]), Some(&active("be1!default", ALICE)), "{state:?}");
    }
}

/// What becomes of the name when the move went on, to its end, while the backends were asked.
fn late(state: State) -> (Outcome, Option<Entry>) {
    let (mut world, version) = deactivated(state);
    done(&mut world, activate("user.a", "be2!default", ALICE));
    (world.ask(revive(version)), held(&world, "user.a"))
}

#[test]
fn rule_12_it_is_not_where_the_move_went_on_meanwhile() {
    for state in [State::Following, State::StandingIn] {
        let moved = Some(active("be2!default", ALICE));
        assert_eq!(late(state), (Outcome::Refused(Refusal::Changed), moved), "{state:?}");
    }
}

#[test]
fn without_rule_12_the_user_is_back_where_his_mail_is_not() {
    let _off = without(Rule::NoRemovalOnStaleEvidence);
    assert_eq!(late(State::Following).1, Some(active("be1!default", ALICE)));
}

#[test]
fn rule_12_nor_where_another_has_taken_the_name() {
    for state in [State::Following, State::StandingIn] {
        let (mut world, version) = deactivated(state);
        done(&mut world, delete("user.a"));
        done(&mut world, reserve("user.a", "be1!default"));
        assert_eq!(world.ask(revive(version)), Outcome::Refused(Refusal::Changed), "{state:?}");
    }
}

#[test]
fn a_deactivate_that_the_master_carries_out_late_is_put_right() {
    let mut world = world(State::Following);
    let Write::Activate { name, location, .. } = activate("user.a", "be1!default", ALICE) else {
        unreachable!()
    };
    world.call(Write::Deactivate { name: name.clone(), location });
    world.lose_one(0); // hung, given up, decided here
    while world.commit_one() {}
    let version = world.store.version(&name).unwrap().unwrap();
    assert_eq!(world.ask(revive(version)), Outcome::Done);
    world.quiet();
    assert!(world.wake_zombie(0), "and now the master deactivates it");
    assert!(world.theirs("user.a").is_some_and(|held| !held.is_active()));
    world.quiet();
    assert_eq!(world.theirs("user.a"), Some(&active("be1!default", ALICE)));
}
