//! Secrets that only root can read, given to the packaged unit by systemd (`LoadCredential=`): with the lines of
//! docs/service.md, on a clean Debian beside a real master.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::deadline::eventually;
use ravenry_integration::identity::Authority;
use ravenry_integration::monitors::repository;
use ravenry_integration::murder::{Debian, Murder, Plan};
use ravenry_integration::package::Package;

const SOON: Duration = Duration::from_secs(60);

/// An indented block of docs/service.md, the one that holds this.
fn block(holds: &str) -> Result<String> {
    let document = std::fs::read_to_string(repository().join("docs/service.md"))?;
    let of_block = |block: &&str| block.starts_with("    ") && block.contains(holds);
    let block = document.split("\n\n").find(of_block).with_context(|| format!("no block with {holds:?}"))?;
    Ok(block.lines().map(|line| format!("{}\n", line.trim_start())).collect())
}

/// `[mupdate]`, and the first lines of what the page says about paths: the password's is the master's, the key's ours.
fn configuration() -> Result<String> {
    let paths = block("password_file = ")?;
    let line = |key: &str| {
        paths.lines().find(|line| line.starts_with(key)).with_context(|| format!("no {key} in {paths}"))
    };
    Ok(format!(
        "[mupdate]\nlisten = [\"0.0.0.0:3905\"]\nusers_file = \"/etc/ravenry/users.toml\"\n\
         certificate = \"/etc/ravenry/tls.crt\"\n{}\n[master]\naddress = \"mm.murder.test:3905\"\nuser = \"murder\"\n{}\n",
        line("key = ")?,
        line("password_file = ")?
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_only_root_can_read_reach_the_service() -> Result<()> {
    let package = Package::build().await?;
    let authority = Authority::new()?;
    let identity = authority.issue(&["ravenry.example.org"])?;
    std::fs::copy(&identity.certificate, package.directory().join("tls.crt"))?;
    std::fs::copy(&identity.key, package.directory().join("tls.key"))?;
    let murder = Murder::start(Plan::chosen()?).await?;
    let host = Debian::start_in(&murder, package.directory()).await?;
    host.must("DEBIAN_FRONTEND=noninteractive apt-get -y install /packages/ravenry_*.deb").await?;

    // The secrets: root's alone. The rest: where it always is.
    let put = |path: &str, text: &str| format!("umask 027; cat > {path} <<'END'\n{text}END\n");
    host.must(&put("/etc/ravenry/ravenry.toml", &configuration()?)).await?;
    host.must(
        "set -e; umask 077; mkdir -p /root/murder /etc/ssl/private; cp /packages/tls.key /etc/ssl/private/ravenry.key; \
         printf secret > /root/murder/master.pw; \
         umask 027; cp /packages/tls.crt /etc/ravenry/; printf secret | ravenry user add murder",
    )
    .await?;
    for secret in ["/root/murder/master.pw", "/etc/ssl/private/ravenry.key"] {
        ensure!(host.sh(&format!("runuser -u ravenry -- cat {secret}")).await?.exit != 0, "{secret}");
    }
    host.must("mkdir -p /etc/systemd/system/ravenry.service.d").await?;
    host.must(&put(
        "/etc/systemd/system/ravenry.service.d/override.conf",
        &block("LoadCredential=master.pw")?,
    ))
    .await?;

    // systemd hands credentials out by a mount, which shows in the service only where mounts are passed on: it sees to
    // that itself on a host, and not in a container.
    host.must("mount --make-rshared /").await?;
    // It logs in at a real master, and offers TLS.
    host.must("systemctl daemon-reload && systemctl start ravenry").await?;
    let status = host.must("ravenry status --json").await?;
    ensure!(status.contains("\"following\""), "{status}");
    let banner = host.must("timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/3905; cat <&3' || true").await?;
    ensure!(banner.contains("* STARTTLS"), "{banner}");
    let checked = host.must("ravenry check").await?;
    ensure!(!checked.contains("error") && !checked.contains("can be read by everybody"), "{checked}");
    let copies = "/run/credentials/ravenry.service";
    ensure!(host.sh(&format!("runuser -u nobody -- cat {copies}/master.pw")).await?.exit != 0);

    // A reload reads the copy; only a start makes a new one. Without its source the service does not start, says so, and
    // is there again when the source is.
    host.must("mv /root/murder/master.pw /root/murder/away && systemctl reload ravenry").await?;
    ensure!(host.must("ravenry status --json").await?.contains("\"following\""));
    let _ = host.sh("systemctl restart ravenry").await?;
    eventually(SOON, "systemd saying what is missing", async || {
        let log = host.must("journalctl --no-pager -u ravenry").await?;
        Ok(log.contains("Failed at step CREDENTIALS").then_some(()))
    })
    .await?;
    host.must("mv /root/murder/away /root/murder/master.pw").await?;
    host.service_becomes("active").await?;
    host.stop().await?;
    murder.stop().await
}
