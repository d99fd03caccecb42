//! `ravenry retire`

use super::serve::open_store;
use super::{Failure, exit};
use crate::config::Config;
use crate::store::Change;

/// Works on the disk, and only where no Ravenry runs: the store is locked by one that does.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let store = open_store(config)?;
    let stats = store.stats();
    let retired = async {
        store.commit(vec![Change::Attended { at_unix: 0 }]).await.map_err(|e| Failure::new(exit::IO, e))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.map_err(|error| Failure::new(exit::SOFTWARE, error))?.block_on(retired)?;
    println!(
        "retired: the list of {} names and {} changes that the master has not heard of are neither served nor \
         replayed before they were compared with the master",
        stats.entries, stats.journal_records
    );
    Ok(())
}
