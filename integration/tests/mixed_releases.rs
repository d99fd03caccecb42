//! Murders whose nodes are of different releases, as while one is upgraded host by host.

use anyhow::Result;
use ravenry_integration::configuration::in_an_outage;
use ravenry_integration::murder::{Plan, Suite};

#[tokio::test(flavor = "multi_thread")]
async fn an_old_master_with_newer_nodes() -> Result<()> {
    let others =
        [("be1", Suite::Bookworm), ("be2", Suite::Forky), ("fe1", Suite::Trixie), ("fe2", Suite::Bookworm)];
    in_an_outage(Plan::new(Suite::Bullseye).mixed(others)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_master_with_older_nodes() -> Result<()> {
    let others = [
        ("be1", Suite::Bullseye),
        ("be2", Suite::Trixie),
        ("fe1", Suite::Bookworm),
        ("fe2", Suite::Bullseye),
    ];
    in_an_outage(Plan::new(Suite::Forky).mixed(others)).await
}
