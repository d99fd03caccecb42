//! Named situations, told step by step.

use std::time::Duration;

use super::super::{Event, Policy, Restored, State};
use super::world::{ACCEPT, Link, List, RESEED, World, active, at, name};
use crate::authority::facts::{Comparison, Difference, Facts as _};
use crate::authority::guard::Guard;
use crate::authority::write::{Outcome, Refusal, Write};
use crate::list::{Acl, Entry};
use crate::rules::{Rule, without};

/// Any name taken away is one too many.
const STRICT: Guard = Guard { share: 0.0, at_least: 0, at_most: 0 };

pub(super) fn list(entries: &[(&str, Entry)]) -> List {
    entries.iter().map(|(name, entry)| (name.as_bytes().to_vec(), entry.clone())).collect()
}

pub(super) fn alice() -> List {
    list(&[("user.alice", active("be1!default", "alice\tlrs"))])
}

pub(super) fn strict() -> Policy {
    Policy { guard: STRICT, ..Policy::default() }
}

pub(super) fn reserve(mailbox: &str, location: &str) -> Write {
    Write::Reserve { name: name(mailbox), location: at(location) }
}

pub(super) fn activate(mailbox: &str, location: &str, acl: &str) -> Write {
    Write::Activate { name: name(mailbox), location: at(location), acl: Acl::new(acl.as_bytes()) }
}

fn deactivate(mailbox: &str, location: &str) -> Write {
    Write::Deactivate { name: name(mailbox), location: at(location) }
}

pub(super) fn delete(mailbox: &str) -> Write {
    Write::Delete { name: name(mailbox) }
}

impl World {
    /// A call, and what it is answered once everything under way has come to its end.
    pub(super) fn ask(&mut self, write: Write) -> Outcome {
        let call = self.call(write).unwrap();
        while self.commit_one() || self.execute_one(0) || self.reply_one(0) {}
        self.answers.remove(&call).unwrap()
    }

    pub(super) fn ours(&self, mailbox: &str) -> Option<&Entry> {
        self.store.list.get(mailbox.as_bytes())
    }

    pub(super) fn theirs(&self, mailbox: &str) -> Option<&Entry> {
        self.master.get(mailbox.as_bytes())
    }

    /// The master is back, and its list is read.
    pub(super) fn compare(&mut self) {
        assert!(self.master_returns() && self.list_complete());
    }

    /// Everything comes to its end; then nothing may be wrong.
    pub(super) fn quiet(&mut self) {
        self.settle();
        self.check();
        assert!(self.violations.is_empty(), "{:#?}\n{}", self.violations, self.trace.join("\n"));
    }
}

#[test]
fn what_was_done_in_the_outage_is_given_to_the_master() {
    let mut world = World::new(Policy::default(), alice());
    world.master_dies();
    assert_eq!(world.ask(reserve("user.bob", "be2!default")), Outcome::Done);
    assert_eq!(world.ask(activate("user.bob", "be2!default", "bob\tlrs")), Outcome::Done);
    assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
    world.quiet();
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(world.master, list(&[("user.bob", active("be2!default", "bob\tlrs"))]));
}

#[test]
fn a_write_carried_out_after_the_replay_is_put_right() {
    let mut world = World::new(Policy::default(), alice());
    world.call(delete("user.alice"));
    world.lose_one(0); // hung, given up, decided here
    while world.commit_one() {}
    assert_eq!(world.ask(activate("user.alice", "be1!default", "alice\tlrswi")), Outcome::Done);
    world.quiet();
    assert!(world.wake_zombie(0), "and now the master deletes her");
    assert_eq!(world.theirs("user.alice"), None);
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrswi")));
}

#[test]
fn a_name_given_away_on_both_sides_is_a_conflict_that_overwrites_nothing() {
    let mut world = World::new(Policy::default(), List::new());
    world.master_dies();
    assert_eq!(world.ask(activate("user.x", "be1!default", "x\tlrs")), Outcome::Done);
    world.bypass(&activate("user.x", "be2!default", "x\tlrs"));
    world.quiet();
    assert_eq!(world.ours("user.x"), Some(&active("be1!default", "x\tlrs")));
    assert_eq!(world.theirs("user.x"), Some(&active("be2!default", "x\tlrs")));
    let conflict = &world.store.conflicts[&b"user.x"[..]];
    assert_eq!(conflict.ours, Some(active("be1!default", "x\tlrs")));
    // What a person has to decide is not decided by the next write, nor told to the master.
    assert_eq!(world.ask(activate("user.x", "be1!default", "x\tlrswi")), Outcome::Done);
    assert_eq!(world.theirs("user.x"), Some(&active("be2!default", "x\tlrs")));
}

#[test]
fn an_xfer_over_the_end_of_an_outage_goes_on_at_the_master() {
    let mut world = World::new(Policy::default(), alice());
    world.master_dies();
    assert_eq!(world.ask(deactivate("user.alice", "be1!default")), Outcome::Done);
    world.compare();
    assert_eq!(world.machine.state(), State::Replaying, "waits for the other half");
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrs")), "not hidden");
    assert_eq!(world.ask(activate("user.alice", "be2!default", "alice\tlrs")), Outcome::Done);
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&active("be2!default", "alice\tlrs")));
}

#[test]
fn an_xfer_that_broke_off_leaves_the_mailbox_live() {
    let mut world = World::new(Policy::default(), alice());
    world.master_dies();
    assert_eq!(world.ask(deactivate("user.alice", "be1!default")), Outcome::Done);
    world.compare();
    world.feed(Event::Tick);
    assert_eq!(world.machine.state(), State::Replaying);
    world.pass_time(Policy::default().postpone);
    world.quiet();
    assert_eq!(world.ours("user.alice"), Some(&active("be1!default", "alice\tlrs")));
}

#[test]
fn a_postponed_name_that_is_busy_does_not_use_up_the_replay() {
    let policy = Policy { replay_concurrency: 1, ..Policy::default() };
    let mut world = World::new(policy, alice());
    world.master_dies();
    assert_eq!(world.ask(deactivate("user.alice", "be1!default")), Outcome::Done);
    assert_eq!(world.ask(activate("user.bob", "be2!default", "bob\tlrs")), Outcome::Done);
    world.compare();
    while world.commit_one() {}
    // The rest of the XFER hangs at the master while time passes.
    world.call(activate("user.alice", "be2!default", "alice\tlrs"));
    for _ in 0..5 {
        world.pass_time(Duration::from_secs(61));
        world.feed(Event::Tick);
    }
    world.quiet();
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(world.machine.replaying(), 0);
}

#[test]
fn a_call_whose_caller_has_gone_is_not_begun() {
    let mut world = World::new(Policy::default(), alice());
    world.master_dies();
    let first = world.call(activate("user.alice", "be1!default", "alice\tlrswi")).unwrap();
    // A disk that stalls: another backend's call for the name waits behind that commit.
    world.beliefs.clear();
    let second = world.call(delete("user.alice")).unwrap();
    world.pass_time(Policy::default().patience);
    world.commit_one();
    assert_eq!(world.answers.get(&second), Some(&Outcome::Unavailable));
    while world.commit_one() {}
    assert_eq!(world.ours("user.alice"), Some(&active("be1!default", "alice\tlrswi")));
    assert_ne!(first, second);
}

#[test]
fn a_write_that_its_caller_gave_up_is_in_doubt_but_not_done_here() {
    let mut world = World::new(Policy::default(), alice());
    let call = world.call(delete("user.alice")).unwrap();
    world.pass_time(Policy::default().patience);
    world.lose_one(0);
    while world.commit_one() {}
    assert_eq!(world.answers.get(&call), Some(&Outcome::Unavailable));
    assert_eq!(world.ours("user.alice"), Some(&active("be1!default", "alice\tlrs")));
    world.quiet();
    world.wake_zombie(0);
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrs")), "put right");
}

#[test]
fn a_long_list_of_the_masters_does_not_outlast_the_callers_patience() {
    let mut world = World::new(Policy::default(), alice());
    world.feed(Event::Begin(ACCEPT));
    world.master_dies();
    world.master_returns();
    world.feed(Event::MasterLost("for the time that its list takes".into()));
    let difference = Difference { took: Duration::from_secs(60), ..Difference::default() };
    world.feed(Event::MasterList(Comparison { difference, ..Comparison::default() }));
    world.call(delete("user.alice"));
    world.quiet(); // the world objects to a deadline beyond the caller's
}

#[test]
fn refused_once_the_name_is_compared_again_and_refused_twice_it_is_a_conflict() {
    let mut world = World::new(Policy::default(), List::new());
    world.master_dies();
    assert_eq!(world.ask(reserve("user.x", "be1!default")), Outcome::Done);
    world.compare();
    // Taken between the master's list and our write, so that the write is refused.
    world.bypass(&reserve("user.x", "be2!default"));
    world.quiet();
    assert_eq!(world.store.conflicts.len(), 1);
    assert_eq!(world.theirs("user.x"), Some(&Entry::reserved(at("be2!default"))));
}

#[test]
fn the_first_half_of_our_own_delete_is_no_news() {
    let mut world = World::new(Policy::default(), alice());
    world.feed(Event::MasterChanged(name("user.ghost"), Some(Entry::reserved(at("ravenry!none")))));
    while world.commit_one() {}
    assert_eq!(world.ours("user.ghost"), None);
    world.quiet();
}

#[test]
fn a_master_that_lost_its_list_is_not_believed_and_a_person_gives_it_ours() {
    let mut world = World::new(strict(), alice());
    world.wipe_master(|_| false);
    world.compare();
    assert_eq!(world.machine.state(), State::Holding);
    assert_eq!(world.ask(activate("user.bob", "be1!default", "bob\tlrs")), Outcome::Done);
    world.feed(Event::Begin(RESEED));
    world.quiet();
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(world.master, world.store.list);
    assert_eq!(world.master.len(), 2);
}

#[test]
fn reseeding_undoes_what_an_old_backup_brings_back() {
    let mut world = World::new(strict(), alice());
    assert_eq!(world.ask(activate("user.alice", "be1!default", "alice\tlrswi")), Outcome::Done);
    world.settle();
    world.wipe_master(|_| false);
    world.master = list(&[("user.alice", active("be1!default", "alice\tlrs"))]);
    world.feed(Event::StandIn);
    world.feed(Event::Begin(RESEED));
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrswi")));
}

#[test]
fn a_person_takes_the_masters_list_after_all() {
    let mut world = World::new(strict(), alice());
    world.wipe_master(|_| false);
    world.compare();
    assert_eq!(world.ask(activate("user.bob", "be1!default", "bob\tlrs")), Outcome::Done);
    world.feed(Event::Begin(ACCEPT));
    assert_eq!(world.machine.state(), State::Holding, "until the whole list is here");
    assert_eq!(world.ask(delete("user.bob")), Outcome::Unavailable);
    world.bypassed = true;
    world.quiet();
    assert_eq!(world.machine.state(), State::Following);
    assert!(world.store.list.is_empty() && world.store.journal.is_empty());
}

#[test]
fn more_differences_than_are_kept_are_settled_in_several_comparisons() {
    let mut world = World::new(strict(), alice());
    world.wipe_master(|_| false);
    world.feed(Event::StandIn);
    world.feed(Event::Begin(RESEED));
    world.master_returns();
    // As if only this many were kept, and alice beyond them.
    let difference = Difference { overflowed: true, listed: 0, ..Difference::default() };
    world.feed(Event::MasterList(Comparison { difference, ..Comparison::default() }));
    assert_eq!(world.machine.state(), State::StandingIn, "compared again, not taken for agreed");
    world.quiet();
    assert_eq!(world.master, world.store.list);
}

#[test]
fn an_operator_keeps_us_standing_in_whatever_the_master_says() {
    let mut world = World::new(Policy::default(), alice());
    world.feed(Event::StandIn);
    assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
    world.master_dies();
    world.compare();
    assert_eq!((world.machine.state(), world.machine.held()), (State::StandingIn, true));
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrs")));
    world.feed(Event::Follow);
    world.quiet();
    assert_eq!((world.theirs("user.alice"), world.machine.state()), (None, State::Following));
}

#[test]
fn an_old_list_that_the_master_shares_is_served_and_one_that_is_merely_old_is_replaced() {
    let mut world = World::restored(Policy::default(), alice(), Restored::Stale);
    assert_eq!(world.ask(delete("user.alice")), Outcome::Unavailable, "nobody decides on an old list");
    world.compare();
    assert_eq!(world.machine.state(), State::Following);

    let mut world = World::restored(Policy::default(), alice(), Restored::Stale);
    world.master = list(&[("user.bob", active("be1!default", "bob\tlrs"))]);
    world.bypassed = true;
    world.compare();
    assert_eq!((world.machine.state(), world.link), (State::Learning, Link::Down), "to be taken anew");
    world.quiet();
    assert_eq!(world.store.list, world.master);
}

#[test]
fn an_old_list_is_followed_only_when_no_operator_holds_us() {
    let mut world = World::restored(Policy::default(), alice(), Restored::Stale);
    world.feed(Event::StandIn);
    world.compare();
    assert_eq!(world.machine.state(), State::StandingIn);
}

#[test]
fn an_old_list_that_owes_changes_or_would_lose_names_waits_for_a_person() {
    for owes in [true, false] {
        let mut world = World::new(strict(), alice());
        if owes {
            world.master_dies();
            assert_eq!(world.ask(activate("user.bob", "be1!default", "bob\tlrs")), Outcome::Done);
        } else {
            world.wipe_master(|_| false);
        }
        world.crash(false, Restored::Stale);
        world.compare();
        assert_eq!(world.machine.state(), State::Learning, "owes: {owes}");
        world.feed(Event::Begin(RESEED));
        assert_eq!(world.machine.state(), State::StandingIn, "a person believes it");
        world.quiet();
        assert_eq!(world.master, world.store.list);
    }
}

#[test]
fn an_old_list_does_not_take_over_what_we_had_told_a_caller_had_failed() {
    let mut world = World::new(Policy::default(), alice());
    world.call(activate("user.alice", "be2!default", "alice\tlrs"));
    world.lose_one(0);
    while world.commit_one() {}
    let refused = Outcome::Refused(Refusal::AlreadyExists);
    assert!(world.answers.values().any(|answer| *answer == refused), "{:?}", world.answers);
    world.wake_zombie(0);
    world.crash(false, Restored::Stale);
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrs")));
}

#[test]
fn a_list_whose_disk_failed_is_not_served_before_the_master_was_heard() {
    let mut world = World::new(Policy::default(), alice());
    world.break_store();
    assert_eq!(
        world.ask(activate("user.bob", "be1!default", "bob\tlrs")),
        Outcome::Done,
        "the master's word"
    );
    assert!(world.machine.poisoned());
    world.master_dies();
    assert_eq!(world.machine.state(), State::Learning, "our list lacks bob");
    assert_eq!(world.ask(reserve("user.bob", "be2!default")), Outcome::Unavailable);
    world.crash(false, Restored::Fresh);
    assert_eq!(world.machine.state(), State::Learning, "still");
    world.quiet();
    assert_eq!(world.ours("user.bob"), Some(&active("be1!default", "bob\tlrs")));
}

#[test]
fn a_disk_that_fails_in_the_midst_of_a_replay_refuses_what_is_not_settled() {
    let mut world = World::new(Policy::default(), alice());
    world.master_dies();
    assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
    assert_eq!(world.ask(reserve("user.alice", "be2!default")), Outcome::Done);
    world.break_store();
    world.compare();
    let rounds = (0..1000).take_while(|_| world.commit_one()).count();
    assert!(rounds < 10, "tried {rounds} times on a store that has failed");
    assert_eq!(world.ask(reserve("user.alice", "be3!default")), Outcome::Unavailable);
    assert_eq!(
        world.ask(activate("user.bob", "be1!default", "bob\tlrs")),
        Outcome::Done,
        "the master's word"
    );
    world.settle();
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&Entry::reserved(at("be2!default"))));
}

#[test]
fn a_person_takes_the_masters_list_in_the_midst_of_a_replay() {
    let mut world = World::new(Policy::default(), alice());
    world.master_dies();
    assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
    world.compare();
    assert_eq!(world.machine.state(), State::Replaying);
    world.feed(Event::Begin(ACCEPT));
    world.bypassed = true;
    world.quiet();
    assert_eq!(world.store.list, world.master);
}

#[test]
fn what_an_earlier_comparison_settled_is_compared_again_with_a_newer_list() {
    let mut world = World::new(Policy::default(), alice());
    world.call(reserve("user.alice", "be1!default"));
    world.lose_one(0);
    world.compare();
    world.commit_one();
    // Agreed with the list at hand, and on its way to the disk when the master carries out the old write,
    world.wake_zombie(0);
    world.master_dies();
    // so that the next list differs.
    world.compare();
    world.commit_one();
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrs")));
}

/// A ghost is forgotten, when nobody wrote it since it was looked into.
fn forget_a_ghost_written_meanwhile() -> Outcome {
    let mut world = World::new(Policy::default(), alice());
    let found = world.store.version(&name("user.alice")).unwrap().unwrap();
    // While the backend is asked, the user makes the mailbox anew.
    assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
    assert_eq!(world.ask(activate("user.alice", "be1!default", "alice\tlrs")), Outcome::Done);
    world.ask(Write::Forget { name: name("user.alice"), version: found })
}

#[test]
fn rule_12_a_ghost_that_was_written_meanwhile_is_not_forgotten() {
    assert_eq!(forget_a_ghost_written_meanwhile(), Outcome::Refused(Refusal::Changed));
}

#[test]
fn without_rule_12_a_living_mailbox_is_forgotten() {
    let _off = without(Rule::NoRemovalOnStaleEvidence);
    assert_eq!(forget_a_ghost_written_meanwhile(), Outcome::Done);
}

#[test]
fn a_ghost_is_forgotten_following_and_standing_in() {
    for master in [true, false] {
        let mut world = World::new(Policy::default(), alice());
        if !master {
            world.master_dies();
        }
        let version = world.store.version(&name("user.alice")).unwrap().unwrap();
        assert_eq!(world.ask(Write::Forget { name: name("user.alice"), version }), Outcome::Done);
        assert_eq!(world.ours("user.alice"), None);
        world.quiet();
        assert_eq!(world.theirs("user.alice"), None, "with a master: {master}");
    }
}

#[test]
fn rule_12_a_day_sees_so_many_ghosts_of_a_server_forgotten_and_no_more() {
    let all = ["user.a", "user.b", "user.c", "user.d"].map(|user| (user, active("be1!default", "x\tlrs")));
    let policy = Policy { ghosts_per_day: 2, ..Policy::default() };
    let mut world = World::new(policy, list(&all));
    let forget = |world: &mut World, user: &str| {
        let version = world.store.version(&name(user)).unwrap().unwrap();
        world.ask(Write::Forget { name: name(user), version })
    };
    assert_eq!(forget(&mut world, "user.a"), Outcome::Done);
    world.master_dies();
    assert_eq!(forget(&mut world, "user.b"), Outcome::Done);
    assert_eq!(forget(&mut world, "user.c"), Outcome::Refused(Refusal::TooMany));
    // What was counted outlives us.
    world.crash(true, Restored::Fresh);
    assert_eq!(forget(&mut world, "user.c"), Outcome::Refused(Refusal::TooMany));
    world.pass_time(Duration::from_secs(24 * 3600));
    assert_eq!(forget(&mut world, "user.c"), Outcome::Done);
    world.quiet();
    assert!(world.ours("user.d").is_some());
}

#[test]
fn xfer_of_a_renamed_mailbox_deactivates_it_where_the_master_holds_it() {
    let mut world = World::new(Policy::default(), list(&[("user.alice", active("be1!", "alice\tlrs"))]));
    assert_eq!(world.ask(deactivate("user.alice", "be1!default")), Outcome::Done);
    assert_eq!(world.theirs("user.alice"), Some(&Entry::reserved(at("be1!"))));
    world.quiet();
}

#[test]
fn a_conflict_is_over_when_the_other_side_gives_the_name_back() {
    let mut world = World::new(Policy::default(), List::new());
    world.master_dies();
    assert_eq!(world.ask(activate("user.x", "be1!default", "x\tlrs")), Outcome::Done);
    world.bypass(&activate("user.x", "be2!default", "x\tlrs"));
    world.quiet();
    assert_eq!((world.store.conflicts.len(), world.machine.state()), (1, State::Following));
    world.bypass(&delete("user.x"));
    world.quiet();
    assert_eq!(world.store.conflicts.len(), 0);
    assert_eq!(world.theirs("user.x"), Some(&active("be1!default", "x\tlrs")));
}

#[test]
fn a_call_for_a_refused_name_waits_until_the_stream_has_told_why() {
    let mut world = World::new(Policy::default(), List::new());
    world.call(activate("user.x", "be1!default", "x\tlrs"));
    world.lose_one(0);
    while world.commit_one() {}
    assert_eq!(world.ask(deactivate("user.x", "be1!")), Outcome::Done);
    world.compare();
    // Only now the master does what it was asked first, so that our reservation is refused.
    world.wake_zombie(0);
    while world.execute_one(0) || world.reply_one(0) {}
    world.call(delete("user.x"));
    world.quiet(); // nobody went behind our back: no conflict
    assert_eq!((world.ours("user.x"), world.theirs("user.x")), (None, None));
}
