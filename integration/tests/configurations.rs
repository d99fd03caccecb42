//! Murders that write names in another way: other separators and namespaces, virtual domains.

use anyhow::Result;
use ravenry_integration::configuration::in_an_outage;
use ravenry_integration::murder::{Names, Plan};

#[tokio::test(flavor = "multi_thread")]
async fn slashes_and_the_other_namespace() -> Result<()> {
    let names = Names { unix_separator: true, alternate: true, domains: false };
    in_an_outage(Plan::chosen()?.naming(names)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn virtual_domains() -> Result<()> {
    let names = Names { unix_separator: true, alternate: false, domains: true };
    in_an_outage(Plan::chosen()?.naming(names)).await
}
