//! What becomes of an operation that was under way when an earlier run of the process was killed.
//!
//! A backend whose conversation is cut undoes its own side and tells the user NO, unless it had heard all it wanted to
//! hear. What it holds tells which it was; nothing else does. Pure: who asks it is [`crate::left_over`].

use crate::list::Entry;

/// What is known of one name of the operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// What the list held before the operation came to the name.
    pub before: Option<Entry>,
    /// What it holds now, which is what the operation left.
    pub now: Option<Entry>,
    /// Whether the backend holds the mailbox. A "no" has been proved worth something (rule 12).
    pub held: bool,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// What the operation did stands.
    Stands,
    /// The name becomes what it was, or free where no mailbox was there.
    Undo,
    /// Nothing yet: the backend may be about to change it, or a person has to look.
    Later,
}

/// What a name was, is, or becomes, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Absent,
    Reserved,
    Active,
}

fn kind(entry: Option<&Entry>) -> Kind {
    match entry {
        None => Kind::Absent,
        Some(entry) if entry.is_active() => Kind::Active,
        Some(_) => Kind::Reserved,
    }
}

impl Seen {
    /// Which server has to be asked; `None` where nothing depends on it.
    pub fn server(&self) -> Option<&[u8]> {
        let was = self.before.as_ref().filter(|entry| entry.is_active());
        self.now.as_ref().or(was).map(|entry| entry.location.server())
    }

    /// The verdict about the name alone.
    pub fn verdict(&self) -> Verdict {
        use Kind::{Absent, Active, Reserved};
        if let (Some(before), Some(now)) = (&self.before, &self.now)
            && !before.location.same_server(&now.location)
        {
            return Verdict::Later; // two servers would have to agree
        }
        match (kind(self.before.as_ref()), kind(self.now.as_ref()), self.held) {
            (Active, Absent | Reserved, true) => Verdict::Undo,
            (Active, Absent, false) => Verdict::Stands,
            (Active, Reserved, false) => Verdict::Later,
            (Active | Absent | Reserved, Active, true) => Verdict::Stands,
            (Active, Active, false) => Verdict::Later,
            (Absent | Reserved, Reserved, true) => Verdict::Later,
            (Absent | Reserved, Active | Reserved, false) => Verdict::Undo,
            (Absent | Reserved, Absent, _) => Verdict::Stands,
        }
    }

    /// The operation took the mailbox's name away.
    fn goes(&self) -> bool {
        kind(self.before.as_ref()) == Kind::Active && kind(self.now.as_ref()) != Kind::Active
    }

    /// The operation took the name for a mailbox.
    fn comes(&self) -> bool {
        kind(self.before.as_ref()) != Kind::Active && self.now.is_some()
    }
}

/// The verdict about an operation: of each of its names, or none yet.
pub fn judge(names: &[Seen]) -> Option<Vec<Verdict>> {
    // Whether one of those names is held; `None`: there is no such name.
    let held = |which: fn(&Seen) -> bool| {
        let mut which = names.iter().filter(|seen| which(seen)).peekable();
        which.peek()?;
        Some(which.any(|seen| seen.held))
    };
    if let (Some(old), Some(new)) = (held(Seen::goes), held(Seen::comes))
        && old == new
    {
        // A mailbox that is to have another name has one of both: with both, or neither, the backend is still at it.
        return None;
    }
    let verdicts: Vec<Verdict> = names.iter().map(Seen::verdict).collect();
    (!verdicts.contains(&Verdict::Later)).then_some(verdicts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{Acl, Location};

    fn entry(kind: Kind, location: &str) -> Option<Entry> {
        let location = Location::new(location.as_bytes()).unwrap();
        match kind {
            Kind::Absent => None,
            Kind::Reserved => Some(Entry::reserved(location)),
            Kind::Active => Some(Entry::active(location, Acl::new(b"a\tlrs\t"))),
        }
    }

    fn seen(before: Kind, now: Kind, held: bool) -> Seen {
        Seen { before: entry(before, "be1!default"), now: entry(now, "be1!"), held }
    }

    use Kind::{Absent, Active, Reserved};
    use Verdict::{Later, Stands, Undo};

    #[test]
    fn each_name_by_what_it_was_what_it_is_and_what_its_backend_says() {
        let table = [
            (Active, Absent, true, Undo),
            (Active, Absent, false, Stands),
            (Active, Reserved, true, Undo),
            (Active, Reserved, false, Later),
            (Active, Active, true, Stands),
            (Active, Active, false, Later),
            (Absent, Active, true, Stands),
            (Absent, Active, false, Undo),
            (Absent, Reserved, true, Later),
            (Absent, Reserved, false, Undo),
            (Absent, Absent, true, Stands),
            (Absent, Absent, false, Stands),
            (Reserved, Active, true, Stands),
            (Reserved, Active, false, Undo),
            (Reserved, Reserved, true, Later),
            (Reserved, Reserved, false, Undo),
            (Reserved, Absent, true, Stands),
            (Reserved, Absent, false, Stands),
        ];
        for (before, now, held, verdict) in table {
            assert_eq!(seen(before, now, held).verdict(), verdict, "{before:?} {now:?} {held}");
        }
    }

    #[test]
    fn no_name_is_judged_by_one_of_two_servers() {
        let moved =
            Seen { before: entry(Active, "be1!default"), now: entry(Active, "be2!default"), held: true };
        assert_eq!(moved.verdict(), Later);
    }

    #[test]
    fn only_whom_it_concerns_is_asked() {
        let server = |before, now| seen(before, now, false).server().map(<[u8]>::to_vec);
        assert_eq!(server(Active, Absent), Some(b"be1".to_vec()));
        assert_eq!(server(Absent, Reserved), Some(b"be1".to_vec()));
        assert_eq!((server(Absent, Absent), server(Reserved, Absent)), (None, None));
    }

    /// A mailbox `old` that is given the name `new`.
    fn renamed(new: Kind, old_held: bool, new_held: bool) -> Option<Vec<Verdict>> {
        judge(&[seen(Active, Absent, old_held), seen(Absent, new, new_held)])
    }

    #[test]
    fn of_a_rename_one_name_is_left() {
        for new in [Reserved, Active] {
            assert_eq!(renamed(new, true, false), Some(vec![Undo, Undo]), "it came to nothing");
            assert_eq!(renamed(new, true, true), None, "the backend is at it");
            assert_eq!(renamed(new, false, false), None, "the backend is at it");
        }
        assert_eq!(renamed(Active, false, true), Some(vec![Stands, Stands]), "all was done");
        assert_eq!(renamed(Reserved, false, true), None, "done, but we have not heard so");
        // Killed before the new name was taken.
        assert_eq!(judge(&[seen(Active, Absent, true)]), Some(vec![Undo]));
        assert_eq!(judge(&[seen(Active, Absent, false)]), Some(vec![Stands]));
    }

    #[test]
    fn one_name_that_waits_makes_the_operation_wait() {
        let stands = seen(Absent, Active, true);
        assert_eq!(judge(&[stands.clone(), stands.clone()]), Some(vec![Stands, Stands]));
        assert_eq!(judge(&[stands, seen(Active, Active, false)]), None);
    }
}
