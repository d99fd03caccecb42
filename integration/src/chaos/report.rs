//! What a chaos run has to say.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::fate::Felt;
use super::ledger::{Count, Ledger};
use super::schedule::{Schedule, Verb};
use super::strike::Kind;
use super::verdict::Verdict;
use crate::stage::Stage;

/// Refusals that are shown, the most frequent first.
const SHOWN: usize = 12;
/// So many losses are explained at length.
const EXPLAINED: usize = 20;

/// The figures of a run.
#[derive(Clone, Debug)]
pub struct Report {
    seed: u64,
    length: Duration,
    users: usize,
    counts: BTreeMap<Verb, Count>,
    refusals: BTreeMap<String, usize>,
    wanted: Vec<Kind>,
    felt: BTreeMap<Kind, Felt>,
    verdict: Verdict,
    explained: Vec<String>,
}

impl Report {
    pub(super) fn new(
        schedule: &Schedule,
        ledger: &Ledger,
        felt: BTreeMap<Kind, Felt>,
        verdict: Verdict,
    ) -> Self {
        let book = ledger.book();
        let mut wanted: Vec<Kind> = schedule.strikes.iter().map(|strike| strike.blow.kind).collect();
        wanted.sort();
        wanted.dedup();
        Self {
            seed: schedule.seed,
            length: schedule.length,
            users: schedule.users.len() + schedule.movers.len(),
            counts: book.counts.clone(),
            refusals: book.refusals.clone(),
            wanted,
            felt,
            verdict,
            explained: Vec::new(),
        }
    }

    /// Nothing was lost.
    pub fn is_clean(&self) -> bool {
        self.verdict.losses.is_empty()
    }

    /// Kinds of faults that were planned and never felt.
    pub fn missing(&self) -> Vec<Kind> {
        let struck = |kind: &Kind| self.felt.get(kind).is_some_and(|felt| felt.struck > 0);
        self.wanted.iter().copied().filter(|kind| !struck(kind)).collect()
    }

    /// How often something was answered OK, or 250.
    pub fn done(&self, verb: Verb) -> usize {
        self.counts.get(&verb).map_or(0, |count| count.done)
    }

    /// What Ravenry and the ledger know about each loss.
    pub(super) async fn explain(&mut self, stage: &Stage, ledger: &Ledger, told: &[String]) {
        if self.is_clean() {
            return;
        }
        for loss in self.verdict.losses.iter().take(EXPLAINED) {
            let mut lines = vec![format!("LOSS {}", loss.what)];
            lines.extend(ledger.book().history(&loss.about));
            if loss.about.starts_with("user.") {
                let history = stage.ravenry.cli(&["history", &loss.about]).await;
                lines.push(history.map_or_else(|error| format!("{error:#}"), |said| said.said()));
            }
            self.explained.push(lines.join("\n    "));
        }
        self.explained.push(told.join("\n"));
        let (home, network) = (stage.ravenry.home().display(), stage.murder.mm.container());
        self.explained.push(format!("Ravenry's log stays in {home}, the nodes' logs are kept for {network}"));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, length, users, counts, verdict, .. } = self;
        writeln!(f, "seed {seed}: {users} users, {} s", length.as_secs())?;
        writeln!(
            f,
            "{:<10} {:>7} {:>8} {:>9} {:>9} {:>7}",
            "", "done", "refused", "in doubt", "left out", "again"
        )?;
        for (verb, Count { done, refused, unknown, left_out, again }) in counts {
            writeln!(f, "{verb:<10} {done:>7} {refused:>8} {unknown:>9} {left_out:>9} {again:>7}")?;
        }
        let mut refusals: Vec<(&String, &usize)> = self.refusals.iter().collect();
        refusals.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (text, count) in refusals.into_iter().take(SHOWN) {
            writeln!(f, "{count:>7} × {text}")?;
        }
        writeln!(f, "{:<28} {:>5} {:>9}", "faults", "felt", "not felt")?;
        for (kind, Felt { struck, missed }) in &self.felt {
            writeln!(f, "{kind:<28} {struck:>5} {missed:>9}")?;
        }
        let Verdict { names, messages, queued, returned, deleted, exceptions, losses } = verdict;
        writeln!(
            f,
            "{names} names as promised at once; {messages} messages with a 250: {queued} still queued, {returned} returned, \
             {deleted} gone with a folder that was deleted"
        )?;
        writeln!(
            f,
            "no loss of ours, and counted: {} ghosts, {} frontends that waited for themselves, {} messages stored twice, \
             {} names announced afterwards, {} decided by a person, {} left behind by an XFER with {} messages in them, {} that cannot be opened, \
             {} renamed half-way",
            exceptions.ghosts,
            exceptions.deadlocks,
            exceptions.twice,
            exceptions.announced,
            exceptions.decided,
            exceptions.left_behind,
            exceptions.stranded,
            exceptions.unreadable,
            exceptions.half_renamed
        )?;
        for kind in self.missing() {
            writeln!(f, "NEVER FELT: {kind}")?;
        }
        self.explained.iter().try_for_each(|text| writeln!(f, "{text}"))?;
        write!(f, "{} losses", losses.len())
    }
}
