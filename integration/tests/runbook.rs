//! docs/recovery.md shows what really happens.

use anyhow::{Result, bail};
use ravenry_integration::runbook;

#[tokio::test(flavor = "multi_thread")]
async fn the_recovery_page_shows_what_commands_print() -> Result<()> {
    let page = std::fs::read_to_string(runbook::file())?;
    match runbook::difference(&page, &runbook::run().await?)? {
        None => Ok(()),
        Some(text) => bail!(
            "docs/recovery.md is not what happens (`cargo run -p ravenry-integration -- recovery` writes its blocks \
             anew):\n{text}"
        ),
    }
}
