//! Names that the list keeps although the master's lacked them: whoever is to hold them is asked.
//!
//! An absence in a snapshot deletes nothing by itself (docs/architecture.md, Replaying). But where a DELETE was granted and not
//! put on record here, because Ravenry was killed or its disk was full, the name would stay for good, and a reseed would
//! give it back to a master that has forgotten it. So each is looked into like any other suspicion (rule 12). What its backend
//! holds stays unconfirmed, and so does what the master places elsewhere: which of both is right is for a person to say.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Kept, Watch};
use crate::authority::facts::Unreadable;
use crate::authority::namespace::Namespace;
use crate::backends::Backends;
use crate::list::MailboxName;
use crate::net::live::Live;

/// How long after the start, and after the number of such names changed, they are looked into: a backend whose conversation
/// was cut has undone its own side by then.
const FIRST: Duration = Duration::from_secs(5);

/// The longest time between two rounds; it doubles until then.
const LONGEST: Duration = Duration::from_secs(3600);

/// How many names are read from the store in one go.
const PAGE: usize = 256;

/// Looks into every unconfirmed name, in rounds, for as long as the process runs.
pub async fn review(namespace: Arc<dyn Namespace>, backends: Live<Backends>) {
    let mut watch = Watch::new(namespace, backends);
    let (mut pause, mut known) = (FIRST, 0);
    loop {
        tokio::time::sleep(pause).await;
        let round =
            if watch.namespace.may_serve() { Round::go(&mut watch).await } else { Ok(Round::default()) };
        match round {
            Ok(round) => {
                round.tell();
                // Where there are none, the first one is not to wait for long.
                let nothing_new = round.left() == known && known > 0;
                pause = if nothing_new { LONGEST.min(pause * 2) } else { FIRST };
                known = round.left();
            }
            Err(error) => tracing::error!(%error, "what is unconfirmed cannot be read"),
        }
    }
}

/// What became of the names of one round.
#[derive(Default)]
pub(super) struct Round {
    pub(super) forgotten: usize,
    /// Their backends hold them.
    held: usize,
    /// Why others stay, and one of them.
    pub(super) kept: BTreeMap<String, MailboxName>,
    others: usize,
    /// Servers of which nothing more is to be learned in this round.
    done_with: HashSet<Vec<u8>>,
}

impl Round {
    pub(super) async fn go(watch: &mut Watch) -> Result<Self, Unreadable> {
        let mut round = Self::default();
        let mut last = None;
        loop {
            let page = watch.namespace.snapshot()?.unconfirmed(last.as_ref(), PAGE)?;
            let Some((name, _)) = page.last() else { break };
            last = Some(name.clone());
            for (name, theirs) in page {
                // Forgotten at the master too, a name that it has elsewhere could be a live mailbox.
                if theirs.is_none() {
                    round.look_into(watch, name).await?;
                }
            }
        }
        watch.hang_up().await;
        Ok(round)
    }

    async fn look_into(&mut self, watch: &mut Watch, name: MailboxName) -> Result<(), Unreadable> {
        let Some(entry) = watch.namespace.find(&name)? else { return Ok(()) };
        let server = entry.location.server().to_vec();
        if self.done_with.contains(&server) {
            self.others += 1;
            return Ok(());
        }
        match watch.look_into(&name).await {
            Ok(entry) => {
                self.forgotten += 1;
                tracing::info!(%name, location = %entry.location, "neither the master nor the backend has it: off the list");
            }
            Err(Kept::Held) => self.held += 1,
            Err(why) => {
                self.others += 1;
                if why.is_of_the_server() {
                    self.done_with.insert(server);
                }
                self.kept.insert(why.to_string(), name);
            }
        }
        Ok(())
    }

    pub(super) fn left(&self) -> usize {
        self.held + self.others
    }

    /// One line for each reason, however many names there are.
    fn tell(&self) {
        for (why, name) in &self.kept {
            tracing::info!(%name, %why, "unconfirmed, and kept");
        }
        if self.held > 0 {
            tracing::info!(names = self.held, "unconfirmed, and held by their backends: a person decides");
        }
    }
}
