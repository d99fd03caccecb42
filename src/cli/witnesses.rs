//! Who asks the frontends' slaves what they have stored: a task for each of them.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use super::{Failure, exit};
use crate::authority::feed::Feed;
use crate::config::Config;
use crate::mupdate::client::{LinkConfig, Witness};

/// How long a frontend that cannot be asked what it has stored is left alone at most.
const NO_WITNESS: Duration = Duration::from_secs(60);

/// The witnesses; they end with this.
pub(super) struct Witnesses {
    to_master: LinkConfig,
    feed: Feed,
    tasks: JoinSet<()>,
    watched: HashMap<String, AbortHandle>,
}

/// Whom to ask, and how.
pub(super) struct Plan(HashMap<String, LinkConfig>);

impl Witnesses {
    /// The login is that of the master.
    pub(super) fn new(to_master: LinkConfig, feed: Feed) -> Self {
        Self { to_master, feed, tasks: JoinSet::new(), watched: HashMap::new() }
    }

    /// What a configuration asks for; nothing is done yet.
    pub(super) fn plan(&self, config: &Config) -> Result<Plan, Failure> {
        let link = |address: String| {
            let link =
                self.to_master.at(address.clone()).map_err(|error| Failure::new(exit::CONFIG, error))?;
            Ok((address, LinkConfig { backoff_max: NO_WITNESS, ..link }))
        };
        config.slaves().into_iter().map(link).collect::<Result<_, Failure>>().map(Plan)
    }

    /// From now on these are asked. Those that were asked before are not disturbed.
    pub(super) fn watch(&mut self, Plan(wanted): Plan) {
        self.watched.retain(|address, task| {
            let stays = wanted.contains_key(address);
            if !stays {
                task.abort();
            }
            stays
        });
        while self.tasks.try_join_next().is_some() {}
        for (address, link) in wanted {
            let (tasks, feed) = (&mut self.tasks, &self.feed);
            self.watched
                .entry(address)
                .or_insert_with(|| tasks.spawn(Witness::new(link, feed.clone()).run()));
        }
    }
}
