//! A master with as many mailboxes as are wanted. Asking it to take a million names would take an hour.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Murder, PLAIN_ROOT, Suite};
use crate::clients::Mupdate;
use crate::deadline::eventually;
use crate::made_up::{LOCATION, acl, name};

/// For writing a list of a million, and for Cyrus's own check of it at its start.
const PATIENCE: Duration = Duration::from_secs(600);

impl Murder {
    /// Gives the master another list, of so many made-up mailboxes and nothing else; Cyrus is stopped for it.
    pub async fn fill_master(&self, mailboxes: u64) -> Result<()> {
        self.mm.stop_cyrus().await?;
        let list = "/var/lib/cyrus/mailboxes.db";
        // It tells every command's success.
        let command = format!("rm -f {list} && cyr_dbtool -n {list} twoskip batch > /dev/null");
        let root = if self.plan().plain_root.is_some() { PLAIN_ROOT } else { "/" };
        let chroot = ["chroot", "--userspec=cyrus:mail", root, "sh", "-c", &command];
        self.mm
            .feed_root_within(PATIENCE, &chroot, script(mailboxes, self.plan().suite_of("mm"))?.as_bytes())
            .await?
            .success()?;
        self.mm.start_cyrus().await?;
        eventually(PATIENCE, "the filled master answering", async || {
            Mupdate::connect(self.mm.mupdate_address()).await?;
            Ok(Some(()))
        })
        .await?;
        Ok(())
    }
}

/// From 3.6 on a key has its kind and another separator in it.
fn key(name: &str, suite: Suite) -> String {
    if suite == Suite::Bullseye { name.to_owned() } else { format!("N{}", name.replace('.', "\x1f")) }
}

fn script(mailboxes: u64, suite: Suite) -> Result<String> {
    let (server, partition) = LOCATION.split_once('!').context("a location")?;
    // Remote; "e" says that it is mail, and came with 3.6.
    let kind = if suite == Suite::Bullseye { "r" } else { "er" };
    let mut script = "BEGIN\n".to_owned();
    for nth in 0..mailboxes {
        let name = name(nth);
        let key = key(&name, suite);
        let rights = acl(&name).trim_end().replace('\t', " ");
        let value = format!("%(T {kind} P {partition} S {server} M 1700000000 A %({rights}))");
        write!(script, "SET {{{}+}}\r\n{key} {{{}+}}\r\n{value}\n", key.len(), value.len())?;
    }
    script.push_str("COMMIT\n");
    Ok(script)
}
