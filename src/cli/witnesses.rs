//! Who asks the frontends' slaves what they have stored: a task for each of them.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use super::{Failure, exit};
use crate::authority::feed::Feed;
use crate::config::Config;
use crate::mupdate::client::{LinkConfig, Witness};
use crate::net::live::Live;

/// How long a frontend that cannot be asked what it has stored is left alone at most.
const NO_WITNESS: Duration = Duration::from_secs(60);

/// The witnesses; they end with this.
pub(super) struct Witnesses {
    feed: Feed,
    tasks: JoinSet<()>,
    watched: HashMap<String, (Live<LinkConfig>, AbortHandle)>,
}

/// Whom to ask, and how.
pub(super) struct Plan(HashMap<String, LinkConfig>);

impl Witnesses {
    pub(super) fn new(feed: Feed) -> Self {
        Self { feed, tasks: JoinSet::new(), watched: HashMap::new() }
    }

    /// What a configuration asks for; nothing is done yet. The login is that of the master.
    pub(super) fn plan(to_master: &LinkConfig, config: &Config) -> Result<Plan, Failure> {
        let link = |address: String| {
            let link = to_master.at(address.clone()).map_err(|error| Failure::new(exit::CONFIG, error))?;
            Ok((address, LinkConfig { backoff_max: NO_WITNESS, ..link }))
        };
        config.slaves().into_iter().map(link).collect::<Result<_, Failure>>().map(Plan)
    }

    /// From now on these are asked. Those that were asked before are not disturbed; another login counts when they have to
    /// be connected to again.
    pub(super) fn watch(&mut self, Plan(wanted): Plan) {
        self.watched.retain(|address, (_, task)| {
            let stays = wanted.contains_key(address);
            if !stays {
                task.abort();
            }
            stays
        });
        while self.tasks.try_join_next().is_some() {}
        for (address, link) in wanted {
            if let Some((known, _)) = self.watched.get(&address) {
                known.set(link);
                continue;
            }
            let link = Live::new(link);
            let task = self.tasks.spawn(Witness::new(link.clone(), self.feed.clone()).run());
            self.watched.insert(address, (link, task));
        }
    }
}
