//! What becomes of a user's reservations, by what the backends say of them.

use crate::list::{Acl, Location, MailboxName};

/// What a backend says of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It holds the mailbox, and lets it be used.
    Holds { location: Location, acl: Acl },
    /// It has the name, but does not tell who may use it: that is how a mailbox answers that XFER is moving.
    Moving,
    /// It does not have the name.
    Denies,
}

/// What was seen of one reservation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) name: MailboxName,
    /// Of the reservation.
    pub(super) version: u64,
    /// Of the server that has it. Where it denies the name, that was proved worth something (rule 12).
    pub(super) home: Answer,
    /// Of the others that do not deny the name. Nobody asks them but where `home` denies it.
    pub(super) elsewhere: Vec<Answer>,
    /// It is so old that a person would take it off, and nothing about it is in doubt. A mailbox that is there may be
    /// revived all the same: a write that the master carries out late is put right when it appears (rule 7).
    pub(super) old: bool,
}

/// What is to be done about a reservation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is a mailbox, and there.
    Revive(Location, Acl),
    /// It is nothing.
    Forget,
    /// Nothing yet.
    Wait,
}

/// The verdicts about all reservations of one user.
///
/// While XFER moves him some of his mailboxes are moving already and others not yet: none is judged then.
pub(super) fn judge(all: &[Seen]) -> Vec<Verdict> {
    let moves = |seen: &Seen| seen.home == Answer::Moving || seen.elsewhere.contains(&Answer::Moving);
    let moving = all.iter().any(moves);
    all.iter().map(|seen| if moving { Verdict::Wait } else { seen.verdict() }).collect()
}

impl Seen {
    fn verdict(&self) -> Verdict {
        match (&self.home, self.elsewhere.as_slice()) {
            (Answer::Holds { location, acl }, _) => Verdict::Revive(location.clone(), acl.clone()),
            // XFER takes the mailbox off the source when all of it is at the destination, whose ACTIVATE comes last.
            (Answer::Denies, [Answer::Holds { location, acl }]) => {
                Verdict::Revive(location.clone(), acl.clone())
            }
            (Answer::Denies, []) if self.old => Verdict::Forget,
            // Two that hold it are for a person.
            _ => Verdict::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(server: &str) -> Answer {
        let location = Location::new(format!("{server}!default").as_bytes()).unwrap();
        Answer::Holds { location, acl: Acl::new(b"u\tlrs\t") }
    }

    fn revived(server: &str) -> Verdict {
        let Answer::Holds { location, acl } = holds(server) else { unreachable!() };
        Verdict::Revive(location, acl)
    }

    fn seen(home: Answer, elsewhere: Vec<Answer>, old: bool) -> Seen {
        Seen { name: MailboxName::new(b"user.u").unwrap(), version: 7, home, elsewhere, old }
    }

    #[test]
    fn each_by_what_its_server_says_and_where_that_denies_it_by_what_others_say() {
        use Answer::{Denies, Moving};
        let table = [
            (holds("be1"), vec![], false, revived("be1")),
            (holds("be1"), vec![], true, revived("be1")),
            (Moving, vec![], true, Verdict::Wait),
            (Denies, vec![], false, Verdict::Wait),
            (Denies, vec![], true, Verdict::Forget),
            (Denies, vec![holds("be2")], false, revived("be2")),
            (Denies, vec![holds("be2")], true, revived("be2")),
            (Denies, vec![Moving], true, Verdict::Wait),
            (Denies, vec![holds("be2"), holds("be3")], true, Verdict::Wait),
        ];
        for (home, elsewhere, old, verdict) in table {
            let seen = seen(home, elsewhere, old);
            assert_eq!(judge(std::slice::from_ref(&seen)), [verdict], "{seen:?}");
        }
    }

    #[test]
    fn one_mailbox_that_is_moving_keeps_all_of_the_user_s_as_they_are() {
        let all = [seen(holds("be1"), vec![], true), seen(Answer::Moving, vec![], true)];
        assert_eq!(judge(&all), [Verdict::Wait, Verdict::Wait]);
    }
}
