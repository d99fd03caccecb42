//! What goes wrong, when, for how long, and to whom.

use std::fmt;
use std::time::Duration;

use super::schedule::Home;
use crate::relay::{Action, Moment};

/// Nothing goes wrong before everybody is at work.
const CALM: u64 = 3_000;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The master ends in order, and comes back.
    MasterStop,
    /// Every process of the master dies at once.
    MasterKill,
    /// The master's host stands still.
    MasterPause,
    /// The master comes back with nothing, and a person gives it the list again.
    MasterEmptied,
    /// Conversations between Ravenry and the master are cut.
    MasterCut,
    /// Conversations between Ravenry and the master hang.
    MasterHang,
    /// Ravenry loses its power.
    RavenryKill,
    /// The disk under Ravenry's state is full, while a backend is down.
    DiskFull,
    /// Conversations between backends and Ravenry are cut.
    BackendCut,
    /// Conversations between backends and Ravenry hang.
    BackendHang,
    /// The frontends' streams are cut, and so are those that follow, in the middle of the list.
    FrontendCut,
    /// The same, but they hang.
    FrontendHang,
    /// A frontend's network cable is pulled.
    FrontendUnplug,
    /// A backend's network cable is pulled.
    BackendUnplug,
    /// A frontend is restarted in order.
    FrontendRestart,
    /// A backend is restarted in order.
    BackendRestart,
    /// Every process of a frontend dies at once.
    FrontendKill,
    /// Every process of a backend dies at once.
    BackendKill,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::MasterStop,
        Self::MasterKill,
        Self::MasterPause,
        Self::MasterEmptied,
        Self::MasterCut,
        Self::MasterHang,
        Self::RavenryKill,
        Self::DiskFull,
        Self::BackendCut,
        Self::BackendHang,
        Self::FrontendCut,
        Self::FrontendHang,
        Self::FrontendUnplug,
        Self::BackendUnplug,
        Self::FrontendRestart,
        Self::BackendRestart,
        Self::FrontendKill,
        Self::BackendKill,
    ];

    /// What it happens to. Nothing suffers two faults at a time.
    fn victim(self) -> Victim {
        match self {
            Self::MasterStop | Self::MasterKill | Self::MasterPause | Self::MasterCut | Self::MasterHang => {
                Victim::Master
            }
            Self::MasterEmptied | Self::DiskFull => Victim::Everything,
            Self::RavenryKill => Victim::Ravenry,
            Self::FrontendCut
            | Self::FrontendHang
            | Self::FrontendUnplug
            | Self::FrontendRestart
            | Self::FrontendKill => Victim::Frontends,
            Self::BackendCut
            | Self::BackendHang
            | Self::BackendUnplug
            | Self::BackendRestart
            | Self::BackendKill => Victim::Backends,
        }
    }

    /// Whether both may go on at the same time.
    ///
    /// One pair that may not: Ravenry is killed while the master hangs. docs/architecture.md says what is not covered then.
    fn goes_with(self, other: Self) -> bool {
        // What else is made at that time might take long, and make a hang last longer than it may.
        let alone = |kind: Self| kind == Self::MasterHang || kind.victim() == Victim::Everything;
        let killed_while_it_hangs =
            [self, other].contains(&Self::RavenryKill) && [self, other].contains(&Self::MasterPause);
        !alone(self) && !alone(other) && self.victim() != other.victim() && !killed_while_it_hangs
    }

    /// Between how many and how many milliseconds it lasts.
    fn lasts(self) -> (u64, u64) {
        match self {
            Self::RavenryKill => (100, 1_500),
            Self::MasterCut | Self::BackendCut => (1_500, 3_500),
            // What holds back a DELETE for longer than 3 s, on some connections and not on others, and lets all of it
            // go at once can crash a master: docs/architecture.md, "A DELETE that was given up".
            Self::MasterHang => (1_500, 3_000),
            // A frontend comes back after some seconds, and only then meets it.
            Self::FrontendCut | Self::FrontendHang => (6_000, 9_000),
            Self::FrontendRestart | Self::BackendRestart => (200, 2_000),
            Self::MasterEmptied => (500, 1_500),
            // Somebody has to send mail to the backend that is down.
            Self::DiskFull => (3_000, 5_000),
            _ => (1_500, 4_500),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Master,
    Ravenry,
    Frontends,
    Backends,
    Everything,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MasterStop => "master stopped",
            Self::MasterKill => "master killed",
            Self::MasterPause => "master paused",
            Self::MasterEmptied => "master emptied, reseeded",
            Self::MasterCut => "master's replies cut",
            Self::MasterHang => "master's replies hang",
            Self::RavenryKill => "Ravenry killed",
            Self::DiskFull => "Ravenry's disk full",
            Self::BackendCut => "backends' replies cut",
            Self::BackendHang => "backends' replies hang",
            Self::FrontendCut => "frontends' streams cut",
            Self::FrontendHang => "frontends' streams hang",
            Self::FrontendUnplug => "frontend unplugged",
            Self::BackendUnplug => "backend unplugged",
            Self::FrontendRestart => "frontend restarted",
            Self::BackendRestart => "backend restarted",
            Self::FrontendKill => "frontend killed",
            Self::BackendKill => "backend killed",
        })
    }
}

/// A fault with its particulars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blow {
    /// Its kind.
    pub kind: Kind,
    /// Which frontend or backend, where it is one of two.
    pub which: Home,
    /// Where a conversation is cut, or hangs.
    pub moment: Option<(Moment, Action)>,
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        match (&self.moment, self.kind.victim()) {
            (Some((moment, _)), _) => write!(f, " at {moment:?}"),
            (None, Victim::Frontends | Victim::Backends) => write!(f, ", number {}", self.which.index() + 1),
            _ => Ok(()),
        }
    }
}

/// A fault in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What it is.
    pub blow: Blow,
}

impl Strike {
    /// When it is over.
    pub fn end(&self) -> Duration {
        self.at + self.lasts
    }
}

/// Every kind as often as the others, in any order, some of them at the same time.
pub(super) fn strikes(rng: &mut fastrand::Rng, length: Duration, kinds: &[Kind]) -> Vec<Strike> {
    let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let mut strikes: Vec<Strike> = Vec::new();
    let (mut at, mut bag) = (CALM, Vec::new());
    while !kinds.is_empty() {
        if bag.is_empty() {
            bag.extend_from_slice(kinds);
            rng.shuffle(&mut bag);
        }
        let Some(kind) = bag.pop() else { break };
        let (shortest, longest) = kind.lasts();
        let lasts = Duration::from_millis(rng.u64(shortest..=longest));
        let mut begin = Duration::from_millis(at);
        for other in &strikes {
            if !kind.goes_with(other.blow.kind) {
                begin = begin.max(other.end() + Duration::from_millis(rng.u64(200..800)));
            }
        }
        let blow = blow(rng, kind);
        let strike = Strike { at: begin, lasts, blow };
        at = u64::try_from(begin.as_millis()).unwrap_or(u64::MAX);
        // A third of them meet the next one.
        at += match rng.u8(..3) {
            0 => u64::try_from(lasts.as_millis()).unwrap_or(0) / 2,
            _ => u64::try_from(lasts.as_millis()).unwrap_or(0) + rng.u64(200..1_500),
        };
        if strike.end() > Duration::from_millis(length) {
            break;
        }
        strikes.push(strike);
    }
    strikes
}

fn blow(rng: &mut fastrand::Rng, kind: Kind) -> Blow {
    let action = match kind {
        Kind::MasterCut | Kind::BackendCut | Kind::FrontendCut => Some(Action::Cut),
        Kind::MasterHang | Kind::BackendHang | Kind::FrontendHang => Some(Action::Hang),
        _ => None,
    };
    let verbs = ["RESERVE", "ACTIVATE", "DELETE"];
    let verb = rng.choice(verbs).unwrap_or_default();
    let moment = match (kind.victim(), rng.u8(..3)) {
        // The stream is made anew for it: its list is what comes first.
        (Victim::Frontends, _) => Moment::NthData(rng.u32(1..20)),
        // A backend makes a connection for each operation: its first reply is the login's.
        (Victim::Backends, 0) => Moment::NthReply(rng.u32(1..5)),
        // Those to the master are kept, and made anew for it.
        (_, 0) => Moment::NthReply(rng.u32(2..6)),
        (_, 1) => Moment::Request(verb),
        _ => Moment::Reply(verb),
    };
    Blow { kind, which: Home::nth(rng.usize(..2)), moment: action.map(|action| (moment, action)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_and_none_where_it_must_not() {
        let strikes = strikes(&mut fastrand::Rng::with_seed(5), Duration::from_secs(600), &Kind::ALL);
        for kind in Kind::ALL {
            assert!(strikes.iter().filter(|strike| strike.blow.kind == kind).count() >= 4, "{kind}");
        }
        for (n, one) in strikes.iter().enumerate() {
            for other in strikes.iter().skip(n + 1) {
                let apart = one.end() < other.at || other.end() < one.at;
                assert!(apart || one.blow.kind.goes_with(other.blow.kind), "{one:?} {other:?}");
            }
        }
    }
}
