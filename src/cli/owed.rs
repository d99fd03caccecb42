//! `ravenry owed`

use super::serve::open_store;
use super::{Failure, exit};
use crate::config::Config;
use crate::spool::{Options, Spool};

/// Works on the disk, and only where no Ravenry runs: one that does has locked it, and says the same in its status.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let mut owed = Vec::new();
    let mut owe = |count: u64, what: &str| {
        if count > 0 {
            owed.push(format!("{count} {what}"));
        }
    };
    // Looked for first: what is not there must not be made by looking.
    if config.state_dir.join("list").exists() {
        let stats = open_store(config)?.stats();
        owe(stats.journal_records, "changes that the master was not given");
        owe(stats.doubts, "writes to the master whose outcome is unknown");
        owe(stats.conflicts, "conflicts");
        owe(stats.unconfirmed, "names that the master's list lacks or places elsewhere");
    }
    let spool = config.state_dir.join("spool");
    if spool.exists() {
        let failed = |error| Failure::new(exit::UNAVAILABLE, error);
        let stats = Spool::open(&spool, Options::default()).map_err(failed)?.stats();
        owe(stats.messages, "queued messages");
        owe(stats.quarantined, "damaged records of the queue, kept aside");
    }
    if owed.is_empty() {
        println!("nothing is owed to anybody: the state may be removed");
        return Ok(());
    }
    println!("{} holds {}", config.state_dir.display(), owed.join(", "));
    Err(Failure::quiet(exit::DIFFERENT))
}
