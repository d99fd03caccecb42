//! Who does what when, and what goes wrong when: a pure function of the seed.
//!
//! Names are chosen as if everything succeeded. Whoever carries a step out looks into the ledger first, and leaves out
//! what can no longer be done because an earlier step came to nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::strike::{Kind, Strike, strikes};

/// What may be done for everybody with a mailbox.
const RIGHTS: [&str; 4] = ["lr", "lrs", "lrsp", "lrsip"];
/// So many mailboxes a user keeps beside the inbox, more or less.
const KEPT: usize = 6;
/// The number of the first user who is moved.
const FIRST_MOVER: usize = 90;
/// How often each deed is chosen.
const WEIGHTS: [(Verb, u32); 6] = [
    (Verb::Create, 3),
    (Verb::Rename, 2),
    (Verb::Delete, 2),
    (Verb::SetAcl, 2),
    (Verb::Deliver, 4),
    (Verb::Read, 2),
];

/// What is done, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// A new mailbox.
    Create,
    /// Another name for one.
    Rename,
    /// Away with one.
    Delete,
    /// Other rights for everybody.
    SetAcl,
    /// A user with all mailboxes goes to the other backend.
    Xfer,
    /// A new user.
    Enrol,
    /// A message comes by LMTP.
    Deliver,
    /// The inbox is opened.
    Read,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Rename,
        Self::Delete,
        Self::SetAcl,
        Self::Xfer,
        Self::Enrol,
        Self::Deliver,
        Self::Read,
    ];
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "create",
            Self::Rename => "rename",
            Self::Delete => "delete",
            Self::SetAcl => "setacl",
            Self::Xfer => "xfer",
            Self::Enrol => "new user",
            Self::Deliver => "deliver",
            Self::Read => "read",
        })
    }
}

/// Through which door a user comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// A frontend.
    Fe1,
    /// The other one.
    Fe2,
    /// Ravenry's IMAP.
    Ravenry,
}

/// All doors, in the order in which they are tried.
pub const DOORS: [Door; 3] = [Door::Fe1, Door::Fe2, Door::Ravenry];

/// A backend, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Home {
    /// The one that keeps for a while what is deleted.
    Be1,
    /// The one that deletes at once.
    Be2,
}

impl Home {
    /// The place of the nth, in turn.
    pub fn nth(n: usize) -> Self {
        if n.is_multiple_of(2) { Self::Be1 } else { Self::Be2 }
    }

    /// Its place among the murder's backends.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What is to be done. Mailboxes are named without the user: `m3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// `CREATE`
    Create(String),
    /// `RENAME`
    Rename(String, String),
    /// `DELETE`
    Delete(String),
    /// `SETACL` for `anyone`
    SetAcl(String, &'static str),
    /// An administrator's `XFER` of a user to a backend.
    Xfer(String, Home),
    /// An administrator's `CREATE` of a user on a backend, and a message for the newcomer at once.
    Enrol(String, Home),
    /// A message: for the inbox, or for a folder.
    Deliver(Option<String>),
    /// `SELECT INBOX`
    Read,
}

impl Deed {
    /// In a word.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Create(_) => Verb::Create,
            Self::Rename(..) => Verb::Rename,
            Self::Delete(_) => Verb::Delete,
            Self::SetAcl(..) => Verb::SetAcl,
            Self::Xfer(..) => Verb::Xfer,
            Self::Enrol(..) => Verb::Enrol,
            Self::Deliver(_) => Verb::Deliver,
            Self::Read => Verb::Read,
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verb())?;
        match self {
            Self::Create(mailbox) | Self::Delete(mailbox) => write!(f, " {mailbox}"),
            Self::Rename(from, to) => write!(f, " {from} {to}"),
            Self::SetAcl(mailbox, rights) => write!(f, " {mailbox} anyone {rights}"),
            Self::Xfer(user, home) | Self::Enrol(user, home) => write!(f, " {user} {home:?}"),
            Self::Deliver(folder) => write!(f, " {}", folder.as_deref().unwrap_or("INBOX")),
            Self::Read => Ok(()),
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, from the beginning. Who is late does it at once.
    pub at: Duration,
    /// Through which door.
    pub door: Door,
    /// What.
    pub deed: Deed,
}

/// Somebody who does one thing after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user's name; an administrator's is `cyrus`.
    pub name: String,
    /// Where the user is at home in the beginning.
    pub home: Home,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// Everything that is to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What it was made from.
    pub seed: u64,
    /// How long it goes on.
    pub length: Duration,
    /// Users who do everything, but stay where they are.
    pub users: Vec<Actor>,
    /// Users who get mail, read it, and are moved.
    pub movers: Vec<Actor>,
    /// Who moves them, and makes new users.
    pub administrator: Actor,
    /// What goes wrong.
    pub strikes: Vec<Strike>,
}

/// How much happens.
#[derive(Clone, Debug)]
pub struct Scale {
    /// How long it goes on.
    pub length: Duration,
    /// Users, at the least ten.
    pub users: usize,
    /// Users who are moved.
    pub movers: usize,
    /// What each does in a minute, on the average.
    pub per_minute: u32,
    /// What may go wrong.
    pub kinds: Vec<Kind>,
}

impl Scale {
    /// Everything, for so long.
    pub fn of(length: Duration) -> Self {
        Self { length, users: 12, movers: 6, per_minute: 40, kinds: Kind::ALL.to_vec() }
    }
}

impl Schedule {
    /// The one schedule of this seed.
    pub fn new(seed: u64, scale: &Scale) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let strikes = strikes(&mut rng.fork(), scale.length, &scale.kinds);
        let users = (0..scale.users).map(|n| user(&mut rng.fork(), n, scale)).collect();
        let movers: Vec<Actor> = (0..scale.movers).map(|n| mover(&mut rng.fork(), n, scale)).collect();
        let administrator = administrator(&mut rng.fork(), &movers, scale);
        Self { seed, length: scale.length, users, movers, administrator, strikes }
    }

    /// Everybody.
    pub fn actors(&self) -> impl Iterator<Item = &Actor> {
        self.users.iter().chain(&self.movers).chain([&self.administrator])
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for actor in self.actors() {
            for Step { at, door, deed } in &actor.steps {
                let door = match deed.verb() {
                    Verb::Deliver => "by LMTP".to_owned(),
                    Verb::Xfer => "at its backend".to_owned(),
                    _ => format!("through {door:?}"),
                };
                lines.push((*at, format!("{:<5} {deed} {door}", actor.name)));
            }
        }
        for strike in &self.strikes {
            lines.push((strike.at, format!("***** {} for {:.1} s", strike.blow, strike.lasts.as_secs_f64())));
        }
        lines.sort();
        writeln!(f, "seed {}, {} s", self.seed, self.length.as_secs())?;
        lines.iter().try_for_each(|(at, line)| writeln!(f, "{:9.3}  {line}", at.as_secs_f64()))
    }
}

/// Moments of work, evenly spread, none of them in step.
fn moments(rng: &mut fastrand::Rng, length: Duration, per_minute: u32) -> Vec<Duration> {
    let gap = 60_000 / u64::from(per_minute.max(1));
    let (mut at, mut moments) = (rng.u64(..=gap), Vec::new());
    while at < u64::try_from(length.as_millis()).unwrap_or(u64::MAX) {
        moments.push(Duration::from_millis(at));
        at += rng.u64(gap / 2..=gap + gap / 2).max(1);
    }
    moments
}

fn door(rng: &mut fastrand::Rng) -> Door {
    rng.choice(DOORS).unwrap_or(Door::Ravenry)
}

fn user(rng: &mut fastrand::Rng, n: usize, scale: &Scale) -> Actor {
    let mut wishes = Wishes::default();
    let moments = moments(rng, scale.length, scale.per_minute);
    let steps = moments.into_iter().map(|at| Step { at, door: door(rng), deed: wishes.next(rng) }).collect();
    Actor { name: format!("u{n:03}"), home: Home::nth(n), steps }
}

fn mover(rng: &mut fastrand::Rng, n: usize, scale: &Scale) -> Actor {
    let deed = |rng: &mut fastrand::Rng| if rng.u8(..3) == 0 { Deed::Read } else { Deed::Deliver(None) };
    let moments = moments(rng, scale.length, scale.per_minute);
    let steps = moments.into_iter().map(|at| Step { at, door: door(rng), deed: deed(rng) }).collect();
    // Behind those of the users: nobody has a password but `u000` to `u099`.
    Actor { name: format!("u{:03}", FIRST_MOVER + n), home: Home::nth(n), steps }
}

fn administrator(rng: &mut fastrand::Rng, movers: &[Actor], scale: &Scale) -> Actor {
    let mut homes: Vec<Home> = movers.iter().map(|mover| mover.home).collect();
    let (mut steps, mut new) = (Vec::new(), 0);
    for at in moments(rng, scale.length, scale.per_minute.div_ceil(2)) {
        let moved = (rng.bool() && !homes.is_empty()).then(|| rng.usize(..homes.len()));
        let deed = match moved.and_then(|n| Some((movers.get(n)?, homes.get_mut(n)?))) {
            Some((mover, home)) => {
                *home = if *home == Home::Be1 { Home::Be2 } else { Home::Be1 };
                Deed::Xfer(mover.name.clone(), *home)
            }
            None => {
                new += 1;
                Deed::Enrol(format!("n{new:03}"), Home::nth(rng.usize(..2)))
            }
        };
        steps.push(Step { at, door: door(rng), deed });
    }
    Actor { name: "cyrus".to_owned(), home: Home::Be1, steps }
}

/// What a user has, if all went well, and what comes next.
#[derive(Default)]
struct Wishes {
    there: BTreeSet<String>,
    gone: BTreeSet<String>,
    made: usize,
}

impl Wishes {
    fn next(&mut self, rng: &mut fastrand::Rng) -> Deed {
        let picked = pick(rng, &self.there);
        let full = self.there.len() >= KEPT;
        match (verb(rng), picked) {
            (Verb::Rename, Some(from)) => {
                let to = self.name(rng);
                self.there.remove(&from);
                self.gone.insert(from.clone());
                self.there.insert(to.clone());
                Deed::Rename(from, to)
            }
            (Verb::Delete, Some(mailbox)) => self.delete(mailbox),
            (Verb::Create, Some(mailbox)) if full => self.delete(mailbox),
            (Verb::SetAcl, Some(mailbox)) => Deed::SetAcl(mailbox, rng.choice(RIGHTS).unwrap_or_default()),
            (Verb::Deliver, picked) => Deed::Deliver(picked.filter(|_| rng.u8(..3) == 0)),
            (Verb::Read, _) => Deed::Read,
            _ => {
                let mailbox = self.name(rng);
                self.there.insert(mailbox.clone());
                Deed::Create(mailbox)
            }
        }
    }

    fn delete(&mut self, mailbox: String) -> Deed {
        self.there.remove(&mailbox);
        self.gone.insert(mailbox.clone());
        Deed::Delete(mailbox)
    }

    /// A name that is free: now and then one that was in use before.
    fn name(&mut self, rng: &mut fastrand::Rng) -> String {
        if rng.u8(..3) == 0
            && let Some(again) = pick(rng, &self.gone)
        {
            self.gone.remove(&again);
            return again;
        }
        self.made += 1;
        format!("m{}", self.made)
    }
}

fn pick(rng: &mut fastrand::Rng, from: &BTreeSet<String>) -> Option<String> {
    rng.choice(from).cloned()
}

fn verb(rng: &mut fastrand::Rng) -> Verb {
    let mut drawn = rng.u32(..WEIGHTS.iter().map(|(_, weight)| weight).sum::<u32>());
    for (verb, weight) in WEIGHTS {
        match drawn.checked_sub(weight) {
            Some(rest) => drawn = rest,
            None => return verb,
        }
    }
    Verb::Read
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: u64) -> Schedule {
        Schedule::new(seed, &Scale::of(Duration::from_secs(600)))
    }

    #[test]
    fn a_seed_has_one_schedule() {
        assert_eq!(schedule(7), schedule(7));
        assert_ne!(schedule(7).to_string(), schedule(8).to_string());
    }

    #[test]
    fn everything_that_can_be_done_is_done() {
        let schedule = schedule(1);
        for verb in Verb::ALL {
            let times = schedule.actors().flat_map(|actor| &actor.steps).filter(|s| s.deed.verb() == verb);
            assert!(times.count() > 10, "{verb}");
        }
    }

    #[test]
    fn nobody_wishes_for_what_cannot_be() {
        for actor in schedule(3).users {
            let mut there = BTreeSet::new();
            for Step { deed, .. } in actor.steps {
                match deed {
                    Deed::Create(new) => assert!(there.insert(new)),
                    Deed::Rename(old, new) => assert!(there.remove(&old) && there.insert(new)),
                    Deed::Delete(old) => assert!(there.remove(&old)),
                    Deed::SetAcl(one, _) | Deed::Deliver(Some(one)) => assert!(there.contains(&one)),
                    _ => {}
                }
            }
        }
    }
}
