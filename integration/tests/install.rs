//! The commands of docs/install.md, typed on a clean Debian beside a real murder: in, through an outage, and out again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::agreement::Agreement;
use ravenry_integration::deadline::eventually;
use ravenry_integration::monitors::repository;
use ravenry_integration::murder::{Debian, Murder, Node, Plan};
use ravenry_integration::package::Package;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// Where a block of commands is typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Ravenry,
    Cyrus,
}

/// The blocks of the document, in order.
fn blocks(document: &str) -> Vec<(Place, String)> {
    let mut found: Vec<(Place, String)> = Vec::new();
    let mut open = false;
    for line in document.lines() {
        match line {
            "```sh" | "```sh cyrus" => {
                open = true;
                found.push((
                    if line.ends_with("cyrus") { Place::Cyrus } else { Place::Ravenry },
                    String::new(),
                ));
            }
            "```" => open = false,
            line if open => {
                if let Some((_, block)) = found.last_mut() {
                    block.push_str(line);
                    block.push('\n');
                }
            }
            _ => {}
        }
    }
    found
}

/// Types the document's commands, with the names of the murder at hand.
struct Typist<'a> {
    host: &'a Debian,
    murder: &'a Murder,
    blocks: std::vec::IntoIter<(Place, String)>,
}

impl Typist<'_> {
    fn next(&mut self, place: Place, holds: &str) -> Result<String> {
        let (at, block) = self.blocks.next().with_context(|| format!("no block with {holds:?}"))?;
        ensure!(at == place && block.contains(holds), "not {place:?} with {holds:?}, but {at:?}:\n{block}");
        let ravenry = self.host.ip().to_string();
        let block = block.replace("ravenry.example.org", &ravenry).replace("example.org", "murder.test");
        let scram = self.murder.plan().suite.has_scram();
        // As the page says of Debian 11.
        Ok(if scram { block } else { block.replace("ravenry init ", "ravenry init --plain ") })
    }

    /// Types the next block on Ravenry's host, which is the one that holds this; what it said.
    async fn here(&mut self, holds: &str) -> Result<String> {
        let block = self.next(Place::Ravenry, holds)?;
        self.host.must(&format!("set -e; cd /root\n{block}")).await
    }

    /// Types the next block on every Cyrus host but the master, backends first.
    async fn there(&mut self, holds: &str) -> Result<()> {
        let block = self.next(Place::Cyrus, holds)?;
        // No systemd in these containers.
        let block = block.replace("systemctl restart cyrus-imapd", "service stop; service start");
        let murder = self.murder;
        for node in [&murder.be1, &murder.be2, &murder.fe1, &murder.fe2] {
            let done = node.exec_root(&["sh", "-c", &format!("set -e\n{block}")]).await?;
            done.success().with_context(|| format!("{}: {block}", node.name()))?;
            node.wait_until_up().await?;
        }
        Ok(())
    }
}

/// There is no ssh in these containers: an `scp` that knows the murder's files.
async fn lend_files(host: &Debian, murder: &Murder, packages: &Path) -> Result<()> {
    let nodes: [&Node; 5] = [&murder.mm, &murder.fe1, &murder.fe2, &murder.be1, &murder.be2];
    for node in nodes {
        let directory = packages.join(node.server()).join("etc");
        std::fs::create_dir_all(&directory)?;
        for name in ["imapd.conf", "cyrus.conf"] {
            std::fs::write(directory.join(name), node.read(&format!("/etc/{name}")).await?)?;
        }
    }
    let scp = r#"cat > /usr/local/bin/scp <<'EOF'
#!/bin/sh
set -e
for into; do :; done
while [ $# -gt 1 ]; do cp "/packages/${1%%:*}${1#*:}" "$into"; shift; done
EOF
chmod +x /usr/local/bin/scp"#;
    host.must(scp).await.map(drop)
}

async fn status(host: &Debian) -> Result<Value> {
    let said = host.must("ravenry status --json").await?;
    serde_json::from_str(&said).with_context(|| said.clone())
}

async fn wait_for(host: &Debian, what: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
    let mut seen = Value::Null;
    let waited = eventually(SOON, what, async || {
        seen = status(host).await?;
        Ok(is(&seen).then_some(()))
    });
    waited.await.map(drop).with_context(|| format!("the last status was {seen}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_document_lead_in_and_out() -> Result<()> {
    let package = Package::build().await?;
    let murder = Murder::start(Plan::chosen()?).await?;
    murder.create_user("alice", &murder.be1).await?;
    let host = Debian::start_in(&murder, package.directory()).await?;
    lend_files(&host, &murder, package.directory()).await?;
    host.must("cp /packages/*.deb /root/").await?;
    let document = std::fs::read_to_string(repository().join("docs/install.md"))?;
    let mut page = Typist { host: &host, murder: &murder, blocks: blocks(&document).into_iter() };

    page.here("apt-get install").await?;
    let told = page.here("ravenry init").await?;
    ensure!(told.contains("+ mupdate_server: ") && !told.contains("secret"), "{told}");
    page.here("ravenry check --live").await?;
    page.here("rm -r murder").await?;
    let told = page.here("systemctl enable --now ravenry").await?;
    ensure!(told.contains("following"), "{told}");

    let before = murder.fe1.read("/etc/imapd.conf").await?;
    page.there("mupdate_retry_delay: 4").await?;
    wait_for(&host, "a stream for each frontend", |now| now["streams"] == 2).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.following").await?.ok()?;
    page.here("ravenry stand-in").await?;
    wait_for(&host, "standing in", |now| now["state"] == "standing-in").await?;
    alice.create("INBOX.asked").await?.ok()?;
    page.here("ravenry follow").await?;
    let settled = |now: &Value| now["state"] == "following" && now["journal"] == 0;
    wait_for(&host, "the master having everything", settled).await?;
    // What it is for.
    murder.mm.stop_cyrus().await?;
    alice.create("INBOX.outage").await?.ok()?;
    murder.mm.start_cyrus().await?;
    wait_for(&host, "the master having what it missed", settled).await?;

    let told = page.here("ravenry status").await?;
    ensure!(told.contains("following"), "{told}");
    page.there("before-ravenry").await?;
    ensure!(murder.fe1.read("/etc/imapd.conf").await? == before, "not as it was");
    wait_for(&host, "no streams", |now| now["streams"] == 0).await?;
    page.here("apt-get -y purge").await?;
    ensure!(page.blocks.next().is_none(), "a block that nobody typed");
    ensure!(host.sh("ls -d /var/lib/ravenry /etc/ravenry").await?.stdout.is_empty(), "something is left");

    let mut alice = murder.fe2.imap("alice").await?;
    for mailbox in ["INBOX.following", "INBOX.asked", "INBOX.outage"] {
        alice.select(mailbox).await?.ok().with_context(|| mailbox.to_owned())?;
    }
    alice.create("INBOX.after").await?.ok()?;
    let agreement = Agreement::begin(&murder).await?;
    agreement.reached_within(SOON).await?;
    agreement.nothing_to_push().await?;
    host.stop().await?;
    murder.stop().await
}
