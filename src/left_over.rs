//! Asks the backends how operations ended that were under way when an earlier run of the process was killed.
//!
//! Where a backend's conversation is cut, it undoes its own side, and what it holds afterwards tells how it saw the end.
//! An operation is judged ([`crate::authority::left_over`]) when two looks, some time apart, have shown the same; a "no" of
//! a backend counts beside a positive control on the same session, and the verdict only while the name is what the
//! operation left (rule 12). What cannot be found out is left to an audit or a person, after so many tries.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::authority::facts::Unreadable;
use crate::authority::left_over::{Seen, Verdict, judge};
use crate::authority::namespace::Namespace as _;
use crate::authority::task::Authority;
use crate::backends::{BackendError, Backends, Round};
use crate::control::{Unproved, proved};
use crate::list::MailboxName;
use crate::net::live::Live;
use crate::store::LeftOver;

/// How long after the start the backends are asked first, and how long two looks are apart: a backend notices at once that
/// its conversation was cut, and is done with undoing its side long before that.
const APART: Duration = Duration::from_secs(2);

/// The longest time between two tries; it doubles until then.
const BACKOFF: Duration = Duration::from_secs(300);

/// So many tries, within about an hour.
const TRIES: u32 = 20;

/// Why an operation is not judged yet.
#[derive(Debug, thiserror::Error)]
enum Unsure {
    #[error("it may still be under way at the backend")]
    Undecided,
    #[error(transparent)]
    Unproved(#[from] Unproved),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// What tells operations apart: the run of the process, the number in it, and whose it was.
type Operation = (u64, u64, String);

/// How far the look into one operation is.
struct Case {
    due: Instant,
    tries: u32,
    /// What was seen last, and when.
    seen: Option<(Instant, Vec<Seen>)>,
}

/// Looks into everything that earlier runs left over, and ends with that: nothing is added while the process runs.
pub async fn look_into(authority: Authority, backends: Live<Backends>) {
    let mut cases = HashMap::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let start = Instant::now() + APART;
    loop {
        tick.tick().await;
        if !authority.may_serve() {
            continue;
        }
        let mut operations: BTreeMap<Operation, Vec<LeftOver>> = BTreeMap::new();
        match authority.store().snapshot().and_then(|list| list.left_over()) {
            Ok(left) if left.is_empty() => return,
            Ok(left) => {
                for left in left {
                    let operation = (left.life, left.underway.operation, left.underway.peer.clone());
                    operations.entry(operation).or_default().push(left);
                }
            }
            Err(error) => {
                tracing::error!(%error, "what was left under way cannot be read");
                return;
            }
        }
        cases.retain(|operation, _| operations.contains_key(operation));
        let (backends, mut round) = (backends.get(), Round::default());
        for (operation, names) in &operations {
            let case = cases.entry(operation.clone()).or_insert(Case { due: start, tries: 0, seen: None });
            if case.tries < TRIES && case.due <= Instant::now() {
                case.go_on(&authority, &backends, &mut round, &operations, names).await;
            }
        }
        round.close().await;
    }
}

impl Case {
    /// Takes a look, and judges when it is the second one that shows the same.
    async fn go_on(
        &mut self,
        authority: &Authority,
        backends: &Backends,
        round: &mut Round,
        operations: &BTreeMap<Operation, Vec<LeftOver>>,
        names: &[LeftOver],
    ) {
        let looked = look(authority, backends, round, operations, names).await;
        let judged = looked.and_then(|seen| Ok((judge(&seen).ok_or(Unsure::Undecided)?, seen)));
        let (verdicts, seen) = match judged {
            Ok(judged) => judged,
            Err(why) => return self.try_later(names, &why),
        };
        match self.seen.take() {
            Some((at, before)) if before == seen && at.elapsed() >= APART => {
                for (left, verdict) in names.iter().zip(verdicts) {
                    let stands = verdict == Verdict::Stands;
                    tracing::info!(name = %left.name, stands, "how a cut off operation ended is known");
                    authority.pronounce(left.name.clone(), left.version, stands).await;
                }
                // It is off the record by then, or could not be carried out.
                self.tries += 1;
                self.due = Instant::now() + APART;
            }
            _ => {
                self.seen = Some((Instant::now(), seen));
                self.due = Instant::now() + APART;
            }
        }
    }

    fn try_later(&mut self, names: &[LeftOver], why: &Unsure) {
        self.seen = None;
        self.tries += 1;
        self.due = Instant::now() + BACKOFF.min(APART * 2_u32.saturating_pow(self.tries - 1));
        let of: Vec<String> = names.iter().map(|left| left.name.to_string()).collect();
        if self.tries == TRIES {
            tracing::warn!(?of, %why, "how a cut off operation ended is not to be found out: `ravenry audit`");
        } else {
            tracing::info!(?of, %why, "how a cut off operation ended is not known yet");
        }
    }
}

/// What the list and the backends say about an operation's names.
async fn look(
    authority: &Authority,
    backends: &Backends,
    round: &mut Round,
    operations: &BTreeMap<Operation, Vec<LeftOver>>,
    names: &[LeftOver],
) -> Result<Vec<Seen>, Unsure> {
    // What the backend told the master before it answered its client is in the list after this.
    authority.barrier().await;
    let mut all = Vec::new();
    for left in names {
        let (now, version) = authority.versioned(&left.name)?.unzip();
        if version != left.version {
            // Somebody has written the name since, and no operation is to be undone any more.
            authority.pronounce(left.name.clone(), left.version, true).await;
            return Err(Unsure::Undecided);
        }
        all.push(Seen { before: left.underway.before.clone(), now, held: false });
    }
    let mut denied = Vec::new();
    for (seen, left) in all.iter_mut().zip(names) {
        let Some(server) = seen.server().map(|server| String::from_utf8_lossy(server).into_owned()) else {
            continue;
        };
        seen.held = round.ask(backends, &server, async |session| session.holds(&left.name).await).await?;
        if !seen.held {
            denied.push((server, left));
        }
    }
    if denied.is_empty() {
        return Ok(all);
    }
    let list = authority.snapshot()?;
    let sure = |other: &MailboxName| operations.values().flatten().all(|left| left.name != *other);
    for (server, left) in denied {
        proved(&list, &left.name, &server, sure, round, backends).await?;
    }
    Ok(all)
}
