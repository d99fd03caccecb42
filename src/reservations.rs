//! Reservations that nobody finishes.
//!
//! A backend reserves a name for a moment: while it makes the mailbox, and while XFER moves it (DEACTIVATE). Where what
//! it, or the backend that a user was moved to, says next is lost, the name stays reserved: nobody reaches a mailbox that is
//! there, until somebody runs `ctl_mboxlist -m` (Cyrus goes on as if nothing had happened; `xfer_recover` and
//! `xfer_reactivate` in its `imapd.c`). So when reservations are older than an XFER may take, the backends are asked.
//! What the one that has the name holds, and is not moving, is a mailbox again; where that one denies it, and one other holds
//! it, it is there. What none holds goes when it is as old as a reservation has to be for an audit to take it off.
//!
//! An answer counts when two looks some time apart agree; a "no" beside a positive control on the same session; and
//! the verdict only while nobody wrote the name since (rule 12).

mod judge;
mod look;
mod open;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::authority::facts::Unreadable;
use crate::authority::feed::Subscription;
use crate::authority::namespace::Namespace;
use crate::authority::write::{Origin, Outcome, Write};
use crate::backends::{Backends, Round};
use crate::net::live::Live;
use judge::{Seen, Verdict, judge};
use look::{Look, Unsure};
use open::{APART, Open};

/// How long what cannot be read is left alone.
const UNREADABLE: Duration = Duration::from_secs(60);

/// How many changes of the list are taken at once.
const CHANGES: usize = 1024;

/// How old reservations are before they are looked into.
#[derive(Clone)]
pub struct Ages {
    /// Older ones are not waiting for the rest of an XFER any more.
    pub xfer: Live<Duration>,
    /// Older ones that no backend holds go.
    pub nobodys: Live<Duration>,
}

/// Looks into reservations for as long as the process runs.
pub async fn review(namespace: Arc<dyn Namespace>, backends: Live<Backends>, ages: Ages) {
    loop {
        while !namespace.may_serve() {
            tokio::time::sleep(APART).await;
        }
        let review = Review::begin(namespace.clone(), backends.clone(), ages.clone()).await;
        match review {
            Ok(review) => review.run().await,
            Err(error) => {
                tracing::error!(%error, "reservations cannot be read");
                tokio::time::sleep(UNREADABLE).await;
            }
        }
    }
}

struct Review {
    namespace: Arc<dyn Namespace>,
    backends: Live<Backends>,
    ages: Ages,
    open: Open,
    changes: Subscription,
}

impl Review {
    /// Reads the list.
    async fn begin(
        namespace: Arc<dyn Namespace>,
        backends: Live<Backends>,
        ages: Ages,
    ) -> Result<Self, Unreadable> {
        let changes = namespace.subscribe();
        let list = namespace.snapshot()?;
        let read = tokio::task::spawn_blocking(move || Open::read(&list)).await;
        let open = read.map_err(|error| Unreadable(error.to_string()))??;
        Ok(Self { namespace, backends, ages, open, changes })
    }

    /// Ends when the list has to be read anew.
    async fn run(mut self) {
        let mut tick = tokio::time::interval(APART);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Vec::new();
        loop {
            tokio::select! {
                got = self.changes.recv(&mut heard, CHANGES) => {
                    if got.is_err() {
                        return;
                    }
                    for change in heard.drain(..) {
                        self.open.hear(&change.name, change.entry.as_ref());
                    }
                }
                _ = tick.tick() => self.round().await,
            }
        }
    }

    async fn round(&mut self) {
        let due = self.open.due(*self.ages.xfer.get());
        if due.is_empty() || !self.namespace.may_serve() {
            return;
        }
        let (backends, mut round) = (self.backends.get(), Round::default());
        let mut servers = self.open.servers();
        servers.extend(backends.addresses.keys().cloned());
        for whose in due {
            let namespace = &*self.namespace;
            let nobodys = *self.ages.nobodys.get();
            let mut look =
                Look { namespace, backends: &backends, round: &mut round, servers: &servers, nobodys };
            let outcome = match look.at(self.open.names(&whose)).await {
                Ok(seen) if !self.open.agrees(&whose, &seen) => Ok(()),
                Ok(seen) => self.act(seen).await,
                Err(why) => Err(why),
            };
            if let Err(why) = outcome
                && self.open.try_later(&whose)
            {
                tracing::info!(of = %String::from_utf8_lossy(&whose), %why, "reserved, and kept so");
            }
        }
        round.close().await;
    }

    /// Carries out what was decided about one user's reservations; an error where that leaves any.
    async fn act(&self, all: Vec<Seen>) -> Result<(), Unsure> {
        let verdicts = judge(&all);
        let mut left = Ok(());
        for (Seen { name, version, .. }, verdict) in all.into_iter().zip(verdicts) {
            let (write, what) = match verdict {
                Verdict::Wait => {
                    left = Err(Unsure::Undecided);
                    continue;
                }
                Verdict::Forget => (Write::Forget { name, version }, "reserved, and nobody's: off the list"),
                Verdict::Revive(location, acl) => (
                    Write::Revive { name, version, location, acl },
                    "reserved, and its backend holds it: a mailbox again",
                ),
            };
            let (name, effect) = (write.name().clone(), write.effect());
            match self.namespace.write(Origin::own("ravenry"), write).await {
                Outcome::Done => {
                    let location = effect.map(|entry| entry.location.to_string());
                    tracing::info!(%name, ?location, "{what}");
                }
                Outcome::Refused(refusal) => left = Err(Unsure::Refused(refusal)),
                Outcome::Unavailable => left = Err(Unsure::Unavailable),
            }
        }
        left
    }
}
