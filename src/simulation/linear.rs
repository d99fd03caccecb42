//! Whether a history of one name could have come from a list that does one thing at a time.
//!
//! A search after Wing and Gong: calls are put in an order that respects who had been answered before whom asked, such
//! that each answer is the one that RFC 3656 (with Cyrus's DEACTIVATE) gives in that order. What was seen before, the
//! same calls done and the same list, is not looked at again. A call without an answer may have been done at any time
//! since it was asked, or never.

use std::collections::HashSet;
use std::time::Duration;

use crate::list::{Acl, Entry, Location};

/// Numbers the connection of an operation.
pub(super) type Session = u64;

/// What was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Deed {
    Reserve(Location),
    Activate(Location, Acl),
    Deactivate(Location),
    Delete,
    /// Shown was this.
    Find(Option<Entry>),
    /// Somebody puts this in its place: a person, or the undoing of a backend's removals.
    Put(Option<Entry>),
    /// The operation came to nothing, and is taken back.
    TakeBack,
}

/// What was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    Done,
    /// `mailbox already exists`
    Exists,
    /// `mailbox doesn't exist`
    Missing,
    /// `mailbox not currently active`
    NotActive,
    /// It cannot be known: it was done at some time, or not at all.
    Nothing,
}

/// A call, as its caller saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Call {
    pub(super) asked: Duration,
    pub(super) heard: Option<Duration>,
    pub(super) session: Session,
    pub(super) deed: Deed,
    pub(super) said: Said,
}

type State = Option<Entry>;

/// The list's name after some calls, and what it was before each operation that may be taken back.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Reached {
    done: u128,
    state: State,
    before: Vec<(Session, State)>,
}

/// More calls of one name than this are not judged.
const MOST: usize = 128;

/// So many states at most are looked at.
const PATIENCE: usize = 200_000;

/// What a search for such an order came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judged {
    Linearizable,
    Torn,
    /// It was given up.
    Open,
}

/// Looks for such an order. `calls` in any order.
pub(super) fn judge(first: &State, calls: &[Call]) -> Judged {
    if calls.len() > MOST {
        return Judged::Open;
    }
    let mut calls = calls.to_vec();
    calls.sort_by_key(|call| call.asked);
    let undone: HashSet<Session> =
        calls.iter().filter(|call| call.deed == Deed::TakeBack).map(|call| call.session).collect();
    let wanted = required(&calls);
    let mut seen = HashSet::new();
    let mut open = vec![Reached { done: 0, state: first.clone(), before: Vec::new() }];
    while let Some(at) = open.pop() {
        if at.done & wanted == wanted {
            return Judged::Linearizable;
        }
        if seen.len() > PATIENCE {
            return Judged::Open;
        }
        // Nobody comes before whom all others had to wait for.
        let horizon = pending(&calls, at.done).filter_map(|(_, call)| answered(call)).min();
        for (nth, call) in pending(&calls, at.done) {
            if horizon.is_some_and(|horizon| call.asked > horizon) {
                break;
            }
            for state in outcomes(call, &at) {
                let needless = call.said == Said::Nothing && state == at.state;
                if needless {
                    continue;
                }
                let mut before = at.before.clone();
                if undone.contains(&call.session)
                    && before.iter().all(|(session, _)| *session != call.session)
                {
                    before.push((call.session, at.state.clone()));
                }
                let next = Reached { done: at.done | 1 << nth, state, before };
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
    }
    Judged::Torn
}

fn pending(calls: &[Call], done: u128) -> impl Iterator<Item = (usize, &Call)> {
    calls.iter().enumerate().filter(move |(nth, _)| done & 1 << nth == 0)
}

/// When a call that was certainly done, or certainly refused, had been by.
fn answered(call: &Call) -> Option<Duration> {
    call.heard.filter(|_| call.said != Said::Nothing)
}

fn required(calls: &[Call]) -> u128 {
    let answered = calls.iter().enumerate().filter(|(_, call)| answered(call).is_some());
    answered.fold(0, |all, (nth, _)| all | 1 << nth)
}

/// What may be there after a call that was answered so; nothing, where it cannot have been answered so.
fn outcomes(call: &Call, at: &Reached) -> Vec<State> {
    let held = at.state.as_ref();
    let elsewhere = |location: &Location| held.is_some_and(|held| held.location != *location);
    let another = |location: &Location| held.is_some_and(|held| !held.location.same_server(location));
    let unchanged = |possible: bool| if possible { vec![at.state.clone()] } else { Vec::new() };
    let did = match &call.deed {
        Deed::Find(shown) => return unchanged(*shown == at.state),
        Deed::Put(entry) => vec![entry.clone()],
        Deed::TakeBack => {
            let known = at.before.iter().find(|(session, _)| *session == call.session);
            known.map(|(_, before)| before.clone()).into_iter().collect()
        }
        Deed::Delete => vec![None],
        // Cyrus makes the active mailbox a reservation, Ravenry leaves it as it is.
        Deed::Reserve(location) if held.is_some_and(|held| held.location == *location) => {
            vec![at.state.clone(), Some(Entry::reserved(location.clone()))]
        }
        Deed::Reserve(_) if held.is_some() => Vec::new(),
        Deed::Reserve(location) => vec![Some(Entry::reserved(location.clone()))],
        // Whoever holds it: a master believes the last who says so.
        Deed::Activate(location, acl) => vec![Some(Entry::active(location.clone(), acl.clone()))],
        Deed::Deactivate(location) => match held {
            Some(held) if held.location.same_server(location) => {
                vec![Some(Entry::reserved(held.location.clone())), Some(Entry::reserved(location.clone()))]
            }
            _ => Vec::new(),
        },
    };
    match (call.said, &call.deed) {
        (Said::Done | Said::Nothing, _) => did,
        (Said::Exists, Deed::Reserve(location)) => unchanged(elsewhere(location)),
        (Said::Exists, Deed::Activate(location, _)) => unchanged(another(location)),
        (Said::Exists, Deed::Deactivate(_)) => unchanged(held.is_some()),
        (Said::Missing, _) => unchanged(held.is_none()),
        (Said::NotActive, _) => unchanged(held.is_some_and(|held| !held.is_active())),
        (Said::Exists, _) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_linearizable(first: &State, calls: &[Call]) -> bool {
        judge(first, calls) == Judged::Linearizable
    }

    fn at(server: &str) -> Location {
        Location::new(format!("{server}!default").as_bytes()).unwrap()
    }

    fn call(session: Session, asked: u64, heard: u64, deed: Deed, said: Said) -> Call {
        let heard = (heard > 0).then(|| Duration::from_secs(heard));
        Call { asked: Duration::from_secs(asked), heard, session, deed, said }
    }

    fn reserve(server: &str) -> Deed {
        Deed::Reserve(at(server))
    }

    fn holds(calls: &[Call]) -> bool {
        is_linearizable(&None, calls)
    }

    #[test]
    fn a_name_is_not_granted_twice() {
        let first = call(1, 1, 5, reserve("be1"), Said::Done);
        let second = call(2, 2, 6, reserve("be2"), Said::Done);
        assert!(holds(&[first.clone(), call(2, 2, 6, reserve("be2"), Said::Exists)]));
        assert!(!holds(&[first.clone(), second.clone()]));
        // With a DELETE between them, or one whose end nobody knows, it is.
        assert!(holds(&[first.clone(), second.clone(), call(3, 3, 4, Deed::Delete, Said::Done)]));
        assert!(holds(&[first.clone(), second.clone(), call(3, 3, 0, Deed::Delete, Said::Nothing)]));
        assert!(!holds(&[first, second, call(3, 7, 8, Deed::Delete, Said::Done)]));
    }

    #[test]
    fn what_was_answered_before_somebody_asks_is_seen() {
        let made = Entry::reserved(at("be1"));
        let reserved = call(1, 1, 2, reserve("be1"), Said::Done);
        let find = |asked, heard, shown| call(2, asked, heard, Deed::Find(shown), Said::Done);
        assert!(holds(&[reserved.clone(), find(3, 4, Some(made.clone()))]));
        assert!(!holds(&[reserved.clone(), find(3, 4, None)]));
        assert!(holds(&[call(1, 1, 5, reserve("be1"), Said::Done), find(3, 4, None)]), "it was under way");
        assert!(!holds(&[reserved, find(3, 4, Some(made)), find(5, 6, None)]));
    }

    #[test]
    fn a_call_without_an_answer_is_done_late_or_never_but_once() {
        let lost = call(1, 1, 0, reserve("be1"), Said::Nothing);
        let find = |asked, shown| call(2, asked, asked + 1, Deed::Find(shown), Said::Done);
        let made = || Some(Entry::reserved(at("be1")));
        assert!(holds(&[lost.clone(), find(10, None)]));
        assert!(holds(&[lost.clone(), find(10, None), find(20, made())]));
        assert!(!holds(&[lost.clone(), find(10, made()), find(20, None)]));
        let taken_back = call(1, 5, 0, Deed::TakeBack, Said::Nothing);
        assert!(holds(&[lost, find(10, made()), find(20, None), taken_back]));
    }

    #[test]
    fn an_xfer_is_followed_but_not_the_other_way_about() {
        let acl = || Acl::new(b"a\tlrs\t");
        let first = Some(Entry::active(at("be1"), acl()));
        let arrives = call(2, 3, 4, Deed::Activate(at("be2"), acl()), Said::Done);
        let leaves = call(1, 1, 2, Deed::Deactivate(at("be1")), Said::Done);
        assert!(is_linearizable(&first, &[leaves.clone(), arrives.clone()]));
        assert!(!is_linearizable(&first, &[call(1, 5, 6, Deed::Deactivate(at("be1")), Said::Done), arrives]));
        assert!(!is_linearizable(&first, &[call(1, 5, 6, Deed::Deactivate(at("be1")), Said::NotActive)]));
        assert!(!is_linearizable(&None, &[leaves]));
    }
}
