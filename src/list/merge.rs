//! The three-way merge: what to do about one name on which Ravenry and the master may differ.
//!
//! `base` is what both held at the last sync, `theirs` the master's fresh list, `ours` the list that the
//! murder has been living by. The merge is the same for replay, for the plan shown to a person, and for
//! late news on the stream. It is a function of its arguments alone, so running it again after its own
//! advice was followed gives [`Step::Agreed`].

use super::Entry;

/// The server part of the location that marks Ravenry's own half-done deletes at the master.
///
/// A DELETE of a name that the master does not hold crashes it, so every delete first reserves the name
/// at `ravenry!none`: refused harmlessly when the name is held, a deletable entry when it is not.
pub const DELETE_MARK: &[u8] = b"ravenry!none";

/// Whether an entry is the first half of one of our own deletes.
pub fn is_delete_mark(entry: &Entry) -> bool {
    !entry.is_active() && entry.location.as_bytes() == DELETE_MARK
}

/// The three sides of one name. `None`: the name does not exist there.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// At the last sync, when we wrote the name since; otherwise it is what we hold.
    pub base: Base<'a>,
    /// At the master, now.
    pub theirs: Option<&'a Entry>,
    /// In our list, now.
    pub ours: Option<&'a Entry>,
}

/// What is known of a name's past.
#[derive(Clone, Copy, Debug)]
pub enum Base<'a> {
    /// We have not written it since the last sync.
    Untouched,
    /// We wrote it while standing in; this is what it was before.
    Was(Option<&'a Entry>),
    /// We held it, it was removed, and we have not written it since the last sync.
    Forgotten,
}

/// What to do about one name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Both hold the same.
    Agreed,
    /// Ours goes to the master.
    Send,
    /// Theirs goes into our list, and to the frontends.
    Adopt,
    /// The master misses, hides or places elsewhere what we did not touch. A snapshot is no proof of that
    /// (an older backup says the same), nor of a name that is back after it was removed: keep ours until a live
    /// stream, the backend or a person confirms.
    Wait,
    /// Our reservation would hide a mailbox that is active at the master: an XFER under way, or one that
    /// broke off. Try again when it has had its time; then the active mailbox wins.
    Postpone,
    /// Both changed it, differently. Nothing is overwritten; a person decides.
    Conflict,
}

/// Decides one name. `doubts` holds what the master would have if it carried out writes of ours whose
/// reply never came.
pub fn merge<'a>(sides: Sides<'_>, doubts: impl IntoIterator<Item = Option<&'a Entry>>) -> Step {
    let Sides { base, theirs, ours } = sides;
    if theirs == ours {
        return Step::Agreed;
    }
    let own_doing = theirs.is_some_and(is_delete_mark) || doubts.into_iter().any(|effect| effect == theirs);
    let same_server = matches!((theirs, ours), (Some(t), Some(o)) if t.location.same_server(&o.location));
    let hides =
        same_server && matches!((theirs, ours), (Some(t), Some(o)) if t.is_active() && !o.is_active());
    match base {
        Base::Was(_) if hides => Step::Postpone,
        _ if own_doing => Step::Send,
        Base::Was(base) if theirs == base => Step::Send,
        Base::Was(_) => match (theirs, ours) {
            (Some(t), Some(o)) if same_server && o.is_active() && !t.is_active() => Step::Send,
            _ => Step::Conflict,
        },
        // An older backup of the master still has what was deleted since: it is not brought back to life.
        Base::Forgotten if ours.is_none() => Step::Wait,
        Base::Untouched | Base::Forgotten => match (theirs, ours) {
            (Some(_), None) => Step::Adopt,
            (Some(t), Some(o)) if same_server && (t.is_active() || !o.is_active()) => Step::Adopt,
            _ => Step::Wait,
        },
    }
}

/// Whether a snapshot that shows `theirs` where we hold `ours` takes a mailbox away from its users: gone,
/// hidden, or placed elsewhere. The guard counts these.
pub fn takes_away(theirs: Option<&Entry>, ours: Option<&Entry>) -> bool {
    match (theirs, ours) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(t), Some(o)) => !t.location.same_server(&o.location) || (o.is_active() && !t.is_active()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{Acl, Location};
    use proptest::prelude::*;

    fn active(location: &str, acl: &str) -> Entry {
        Entry::active(Location::new(location.as_bytes()).unwrap(), Acl::new(acl.as_bytes()))
    }

    fn reserved(location: &str) -> Entry {
        Entry::reserved(Location::new(location.as_bytes()).unwrap())
    }

    fn decide(base: Base<'_>, theirs: Option<&Entry>, ours: Option<&Entry>) -> Step {
        merge(Sides { base, theirs, ours }, [])
    }

    #[test]
    fn what_only_we_changed_goes_to_the_master() {
        let (old, new) = (active("be1!default", "alice\tlrs"), active("be1!default", "alice\tlrswipkxtecda"));
        assert_eq!(decide(Base::Was(None), None, Some(&new)), Step::Send, "created here");
        assert_eq!(decide(Base::Was(Some(&old)), Some(&old), Some(&new)), Step::Send, "acl changed here");
        assert_eq!(decide(Base::Was(Some(&old)), Some(&old), None), Step::Send, "deleted here");
    }

    #[test]
    fn what_both_changed_is_a_conflict() {
        let (here, there) = (active("be1!default", "alice\tlrs"), active("be2!default", "alice\tlrs"));
        assert_eq!(decide(Base::Was(None), Some(&there), Some(&here)), Step::Conflict);
        assert_eq!(decide(Base::Was(Some(&here)), Some(&there), None), Step::Conflict);
    }

    #[test]
    fn a_snapshot_adds_but_never_takes_away() {
        let (here, there) = (active("be1!default", "a\tlrs"), active("be2!default", "a\tlrs"));
        assert_eq!(decide(Base::Untouched, Some(&there), None), Step::Adopt);
        assert_eq!(decide(Base::Untouched, None, Some(&here)), Step::Wait);
        assert_eq!(decide(Base::Untouched, Some(&there), Some(&here)), Step::Wait);
        assert_eq!(decide(Base::Untouched, Some(&reserved("be1!default")), Some(&here)), Step::Wait);
    }

    #[test]
    fn what_was_deleted_is_not_brought_back_by_an_older_backup() {
        let there = active("be1!default", "a\tlrs");
        assert_eq!(decide(Base::Forgotten, Some(&there), None), Step::Wait);
        let sides = Sides { base: Base::Forgotten, theirs: Some(&there), ours: None };
        assert_eq!(merge(sides, [Some(&there)]), Step::Send, "our own late write");
    }

    #[test]
    fn our_own_late_write_is_put_right() {
        let (mine, late) = (active("be1!default", "a\tlrs"), reserved("be1!default"));
        let sides = Sides { base: Base::Untouched, theirs: Some(&late), ours: Some(&mine) };
        assert_eq!(merge(sides, [Some(&late)]), Step::Send);
        let sides = Sides { base: Base::Untouched, theirs: None, ours: Some(&mine) };
        assert_eq!(merge(sides, [None]), Step::Send);
        let mark = reserved("ravenry!none");
        let sides = Sides { base: Base::Untouched, theirs: Some(&mark), ours: None };
        assert_eq!(merge(sides, []), Step::Send);
    }

    #[test]
    fn a_live_mailbox_is_not_hidden() {
        let live = active("be1!default", "a\tlrs");
        let step = decide(Base::Was(Some(&live)), Some(&live), Some(&reserved("be1!default")));
        assert_eq!(step, Step::Postpone);
    }

    fn any_entry() -> impl Strategy<Value = Option<Entry>> {
        let location = prop::sample::select(vec!["be1!default", "be1!", "be2!default", "ravenry!none"]);
        let acl = prop::sample::select(vec!["a\tlrs", "a\tlrswi"]);
        prop::option::of((location, prop::option::of(acl)).prop_map(|(location, acl)| match acl {
            Some(acl) => active(location, acl),
            None => reserved(location),
        }))
    }

    proptest! {
        #[test]
        fn merge_is_idempotent_and_drops_nothing(
            base in prop::option::of(any_entry()), theirs in any_entry(), ours in any_entry(),
            doubt in prop::option::of(any_entry()),
        ) {
            let known = match &base { Some(was) => Base::Was(was.as_ref()), None => Base::Untouched };
            let sides = Sides { base: known, theirs: theirs.as_ref(), ours: ours.as_ref() };
            let doubts = doubt.iter().map(|d| d.as_ref());
            let step = merge(sides, doubts.clone());
            // Following the advice settles the name, whatever it was.
            let after = match step {
                Step::Send => Some((&ours, &ours)),
                Step::Adopt => Some((&theirs, &theirs)),
                _ => None,
            };
            if let Some((t, o)) = after {
                let again = Sides { base: Base::Untouched, theirs: t.as_ref(), ours: o.as_ref() };
                prop_assert_eq!(merge(again, doubts), Step::Agreed);
            }
            // What only the master knows is never deleted there unless we deleted it or half-deleted it.
            if step == Step::Send && ours.is_none() {
                let deleted_here = matches!(&base, Some(was) if *was == theirs);
                let own = theirs.as_ref().is_some_and(is_delete_mark) || doubt == Some(theirs.clone());
                prop_assert!(deleted_here || own);
            }
            // What only we know is never removed here on a snapshot's word.
            if step == Step::Adopt {
                prop_assert!(theirs.is_some());
            }
        }
    }
}
