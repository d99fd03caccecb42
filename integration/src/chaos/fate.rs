//! Carries out what goes wrong, and ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::ledger::Ledger;
use super::strike::{Blow, Kind, Strike};
use crate::murder::{Murder, Node};
use crate::relay::{Fault, Moment, Relay};
use crate::stage::Stage;

/// A reseed of a list of some thousand names is one command after the other, while everybody works.
const RESEED: Duration = Duration::from_secs(300);

/// For anything that a person waits for: that Ravenry follows, or holds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a kind of fault was made, and how often nobody can have felt it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Felt {
    /// Made, and felt.
    pub struck: usize,
    /// Made, but nothing passed where it waited.
    pub missed: usize,
}

/// Who makes the faults.
#[derive(Debug)]
pub struct Fate<'a> {
    stage: &'a mut Stage,
    ledger: &'a Ledger,
    felt: BTreeMap<Kind, Felt>,
    /// What was so before a fault: hits of a relay, complaints in the log.
    before: BTreeMap<Kind, usize>,
    /// What was done when, for the history of a loss.
    pub told: Vec<String>,
}

impl<'a> Fate<'a> {
    /// Nothing is wrong yet.
    pub fn of(stage: &'a mut Stage, ledger: &'a Ledger) -> Self {
        Self { stage, ledger, felt: BTreeMap::new(), before: BTreeMap::new(), told: Vec::new() }
    }

    /// Everything, in its time; but no more of a kind that was made already, when the users have come to their end. All of
    /// it is over in the end. Returns how often each kind was made.
    pub async fn fulfil(&mut self, strikes: &[Strike], length: Duration) -> Result<BTreeMap<Kind, Felt>> {
        let strikes = strikes.iter().enumerate();
        let edges = strikes
            .flat_map(|(nth, strike)| [(strike.at, true, nth, strike), (strike.end(), false, nth, strike)]);
        let mut edges: Vec<(Duration, bool, usize, &Strike)> = edges.collect();
        edges.sort_by_key(|(at, begins, ..)| (*at, *begins));
        // What takes long to make puts off the rest: a fault lasts as long as it was to last.
        let mut late = Duration::ZERO;
        let (mut made, mut left_out) = (BTreeSet::new(), BTreeSet::new());
        for (at, begins, nth, Strike { blow, .. }) in edges {
            if begins && at + late > length && made.contains(&blow.kind) {
                left_out.insert(nth);
            }
            if left_out.contains(&nth) {
                continue;
            }
            made.insert(blow.kind);
            tokio::time::sleep((at + late).saturating_sub(self.ledger.now())).await;
            let what = if begins { "begins" } else { "ends" };
            self.tell(format!("{blow} {what}"));
            let done = if begins { self.begin(blow).await } else { self.end(blow).await };
            done.with_context(|| format!("{blow} {what}"))?;
            if self.ledger.now() > at + late + Duration::from_millis(300) {
                late = self.ledger.now().saturating_sub(at);
                self.tell(format!("{blow} {what}: done"));
            }
        }
        self.tell(format!("{} faults were left out", left_out.len()));
        Ok(std::mem::take(&mut self.felt))
    }

    fn tell(&mut self, what: String) {
        let line = format!("{:.3} ***** {what}", self.ledger.now().as_secs_f64());
        tracing::info!("{line}");
        self.told.push(line);
    }

    async fn begin(&mut self, blow: &Blow) -> Result<()> {
        let murder = &self.stage.murder;
        match blow.kind {
            Kind::MasterStop => murder.mm.stop_cyrus().await?,
            Kind::MasterKill => murder.mm.kill_cyrus().await?,
            Kind::MasterPause => murder.mm.pause().await?,
            Kind::MasterEmptied => {
                self.stage.ravenry.wait_for_state("following", PATIENCE).await?;
                murder.mm.stop_cyrus().await?;
                murder.mm.lose_list().await?;
                murder.mm.start_cyrus().await?;
            }
            Kind::RavenryKill => self.stage.ravenry.kill().await?,
            Kind::DiskFull => {
                self.before.insert(blow.kind, self.complaints()?);
                node(murder, blow).stop_cyrus().await?;
                fill(self.ballast()).await?;
            }
            Kind::MasterCut
            | Kind::MasterHang
            | Kind::BackendCut
            | Kind::BackendHang
            | Kind::FrontendCut
            | Kind::FrontendHang => self.set(blow),
            Kind::FrontendUnplug | Kind::BackendUnplug => node(murder, blow).unplug().await?,
            Kind::FrontendRestart | Kind::BackendRestart => node(murder, blow).stop_cyrus().await?,
            Kind::FrontendKill | Kind::BackendKill => node(murder, blow).kill_cyrus().await?,
        }
        Ok(())
    }

    async fn end(&mut self, blow: &Blow) -> Result<()> {
        let murder = &self.stage.murder;
        let mut felt = true;
        match blow.kind {
            Kind::MasterStop | Kind::MasterKill => murder.mm.start_cyrus().await?,
            Kind::MasterPause => murder.mm.unpause().await?,
            Kind::MasterEmptied => {
                self.stage.ravenry.wait_for_state("holding", PATIENCE).await?;
                let done = self.stage.ravenry.cli_within(RESEED, &["reseed", "--yes"]).await?;
                if done.exit != 0 {
                    // What users write meanwhile may differ at the moment when it is compared. The end tells.
                    self.told.push(format!(
                        "{:.3} ***** reseed: {}",
                        self.ledger.now().as_secs_f64(),
                        done.said()
                    ));
                }
                self.stage.ravenry.wait_for_state("following", PATIENCE).await?;
            }
            Kind::RavenryKill => self.stage.ravenry.launch().await?,
            Kind::DiskFull => {
                node(murder, blow).start_cyrus().await?;
                tokio::fs::remove_file(self.ballast()).await?;
                felt = self.complaints()? > self.before.remove(&blow.kind).unwrap_or_default();
                // A store whose disk failed promises nothing more before a restart.
                self.stage.ravenry.crash_and_restart().await?;
            }
            Kind::MasterCut
            | Kind::MasterHang
            | Kind::BackendCut
            | Kind::BackendHang
            | Kind::FrontendCut
            | Kind::FrontendHang => {
                let before = self.before.remove(&blow.kind).unwrap_or_default();
                let relay = self.relay(blow.kind);
                felt = relay.hits() > before;
                relay.heal();
            }
            Kind::FrontendUnplug | Kind::BackendUnplug => node(murder, blow).plug().await?,
            Kind::FrontendRestart | Kind::BackendRestart | Kind::FrontendKill | Kind::BackendKill => {
                node(murder, blow).start_cyrus().await?;
            }
        }
        let count = self.felt.entry(blow.kind).or_default();
        if felt {
            count.struck += 1
        } else {
            count.missed += 1
        }
        Ok(())
    }

    fn set(&mut self, blow: &Blow) {
        self.before.insert(blow.kind, self.relay(blow.kind).hits());
        let fault = blow.moment.clone().map(|(moment, action)| Fault::At(moment, action));
        self.relay(blow.kind).set(fault.into_iter().collect::<Vec<_>>());
        let counted = matches!(blow.moment, Some((Moment::NthReply(_) | Moment::NthData(_), _)));
        if counted && !matches!(blow.kind, Kind::BackendCut | Kind::BackendHang) {
            // Connections that are kept are past it.
            self.relay(blow.kind).cut_all();
        }
    }

    fn relay(&self, kind: Kind) -> &Relay {
        match kind {
            Kind::MasterCut | Kind::MasterHang => &self.stage.to_master,
            Kind::BackendCut | Kind::BackendHang => &self.stage.from_backends,
            _ => &self.stage.from_frontends,
        }
    }

    /// What makes the disk full.
    fn ballast(&self) -> PathBuf {
        self.stage.ravenry.home().join("state/ballast")
    }

    /// How often Ravenry found its disk full.
    fn complaints(&self) -> Result<usize> {
        let log = self.stage.ravenry.log()?;
        let words = ["No space left on device", "0 bytes are free on its disk"];
        Ok(words.into_iter().map(|words| log.matches(words).count()).sum())
    }
}

fn node<'a>(murder: &'a Murder, blow: &Blow) -> &'a Node {
    let [fe1, fe2] = murder.frontends();
    let [be1, be2] = murder.backends();
    let pair = match blow.kind {
        Kind::FrontendUnplug | Kind::FrontendRestart | Kind::FrontendKill => [fe1, fe2],
        _ => [be1, be2],
    };
    let [first, second] = pair;
    if blow.which.index() == 0 { first } else { second }
}

/// Writes until nothing more goes in.
async fn fill(path: PathBuf) -> Result<()> {
    tokio::task::spawn_blocking(move || {
        let mut file = File::create(path)?;
        let chunk = [0; 4096];
        while file.write(&chunk).is_ok_and(|written| written > 0) {}
        Ok(())
    })
    .await?
}
