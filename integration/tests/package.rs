//! The Debian package on a clean Debian with a real systemd: what installing does and does not do, the unit at work, and
//! what a purge keeps.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::clients::Lmtp;
use ravenry_integration::deadline::eventually;
use ravenry_integration::monitors::repository;
use ravenry_integration::murder::Debian;
use ravenry_integration::package::Package;
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(60);

/// A master that is not there, so that the list has to come from a file; and a frontend that is not, so that mail waits.
const CONFIGURE: &str = r#"umask 027
cat > /etc/ravenry/ravenry.toml <<EOF
[mupdate]
listen = ["0.0.0.0:3905"]
users_file = "/etc/ravenry/users.toml"
[master]
address = "127.0.0.1:9"
user = "murder"
password_file = "/etc/ravenry/master.pw"
[lmtp]
listen = ["0.0.0.0:24"]
frontends = ["127.0.0.1:9"]
[metrics]
listen = "127.0.0.1:9805"
EOF
printf secret > /etc/ravenry/master.pw
printf secret | ravenry user add murder"#;

const INSTALL: &str = "DEBIAN_FRONTEND=noninteractive apt-get -y install /packages/ravenry_*.deb";

async fn status_line(host: &Debian, what: &str) -> Result<()> {
    let (_, _) = eventually(SOON, format!("systemd's status saying {what:?}"), async || {
        let said = host.must("systemctl show --property=StatusText ravenry").await?;
        Ok(said.contains(what).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_nothing_and_a_purge_keeps_what_is_owed() -> Result<()> {
    let package = Package::build().await?;
    let host = Debian::start(package.directory()).await?;
    host.must(INSTALL).await?;

    // Nothing runs, nothing will by itself, and only its own user sees what it will hold.
    ensure!(host.sh("systemctl is-active ravenry").await?.stdout.trim() == "inactive");
    ensure!(host.sh("systemctl is-enabled ravenry").await?.stdout.trim() == "disabled");
    let owners = host.must("stat --format='%n %U:%G %a' /etc/ravenry /var/lib/ravenry").await?;
    ensure!(owners == "/etc/ravenry root:ravenry 2750\n/var/lib/ravenry ravenry:ravenry 750\n", "{owners}");
    let verified = host.must("systemd-analyze verify --man=no /usr/lib/systemd/system/ravenry*").await?;
    ensure!(verified.is_empty(), "{verified}");
    the_score_is_the_one_in_the_docs(&host).await?;

    // Without a list it is not ready, and says what it waits for; with one it serves, on a port below 1024.
    host.must(CONFIGURE).await?;
    host.must("systemctl start --no-block ravenry").await?;
    status_line(&host, "learning: ").await?;
    host.service_becomes("activating").await?;
    let list = "user.alice\\t1 be1.example.org!default alice\\tlrswipkxtecdan\\t\\n";
    host.must(&format!("printf '{list}' > /root/list && ravenry list import /root/list --yes")).await?;
    host.service_becomes("active").await?;
    status_line(&host, "standing-in: ").await?;
    let process = "/proc/$(systemctl show --property=MainPID --value ravenry)";
    let user = host.must(&format!("stat --format=%U {process}")).await?;
    ensure!(user.trim() == "ravenry", "it runs as {user}");
    let lmtp = SocketAddr::from((host.ip(), 24));
    let queued = Lmtp::connect(lmtp).await?.deliver_one("alice", "kept").await?;
    ensure!(queued.verdict().is_ok(), "{queued:?}");

    a_reload_changes_what_is_logged(&host, lmtp).await?;
    a_reload_fails_with_a_reason(&host).await?;
    the_watchdog_starts_it_again(&host).await?;
    nobody_is_refused_while_systemd_listens(&host, lmtp).await?;

    // Mail is queued: the purge keeps it, and says so.
    let said = host.must("apt-get -y purge ravenry").await?;
    ensure!(said.contains("/var/lib/ravenry is kept") && said.contains("1 queued messages"), "{said}");
    let left = host.must("ls /var/lib/ravenry; ls -d /etc/ravenry || true").await?;
    ensure!(left.contains("spool") && !left.contains("/etc/ravenry\n"), "{left}");
    ensure!(host.sh("ls /etc/systemd/system/*.wants/ravenry*").await?.exit != 0, "a link to nowhere");

    // Installed again it is still there; once nobody misses anything, everything goes.
    host.must(INSTALL).await?;
    host.must(CONFIGURE).await?;
    host.must("systemctl start ravenry").await?;
    let queue = host.must("ravenry queue list --json").await?;
    ensure!(queue.lines().count() == 1, "{queue}");
    host.must(
        "ravenry queue delete --yes $(ravenry queue list --json | sed 's/.*\"id\":\"\\([^\"]*\\)\".*/\\1/')",
    )
    .await?;
    let said = host.must("apt-get -y purge ravenry").await?;
    ensure!(!said.contains("is kept"), "{said}");
    ensure!(host.sh("ls -d /var/lib/ravenry /etc/ravenry").await?.stdout.is_empty(), "not everything went");
    host.stop().await
}

async fn the_score_is_the_one_in_the_docs(host: &Debian) -> Result<()> {
    let script = "systemd-analyze security --offline=yes /usr/lib/systemd/system/ravenry.service";
    let said = host.must(script).await?;
    let verdict = said.lines().find(|line| line.contains("Overall exposure level")).context("no verdict")?;
    // The face behind it depends on the terminal.
    let (_, verdict) = verdict.split_once("Overall").context("no verdict")?;
    let verdict: Vec<&str> = verdict.split_whitespace().take(6).collect();
    let verdict = verdict.join(" ");
    let documented = std::fs::read_to_string(repository().join("docs/service.md"))?;
    ensure!(documented.contains(&verdict), "docs/service.md does not say {verdict:?}");
    Ok(())
}

async fn a_reload_changes_what_is_logged(host: &Debian, lmtp: SocketAddr) -> Result<()> {
    host.must(
        "cp /etc/ravenry/ravenry.toml /root/kept && sed -i '1i log = \"debug\"' /etc/ravenry/ravenry.toml",
    )
    .await?;
    let told = host.must("ravenry reload").await?;
    ensure!(told.contains("in force from now on: log\n"), "{told}");
    drop(Lmtp::connect(lmtp).await?);
    eventually(SOON, "something that only debug tells", async || {
        Ok(host.must("journalctl -u ravenry --no-pager").await?.contains("DEBUG").then_some(()))
    })
    .await?;
    host.must("cat /root/kept > /etc/ravenry/ravenry.toml && systemctl reload ravenry").await.map(drop)
}

async fn a_reload_fails_with_a_reason(host: &Debian) -> Result<()> {
    host.must("systemctl reload ravenry").await?;
    host.must("cp /etc/ravenry/ravenry.toml /root/kept && echo '[metrik]' >> /etc/ravenry/ravenry.toml")
        .await?;
    let failed = host.sh("systemctl reload ravenry").await?;
    ensure!(failed.exit != 0, "{failed:?}");
    status_line(host, "the last reload failed: ").await?;
    let log = host.must("journalctl -u ravenry --no-pager").await?;
    ensure!(log.contains("unknown key `metrik`, did you mean `metrics`?"), "{log}");
    host.service_becomes("active").await?;
    host.must("cat /root/kept > /etc/ravenry/ravenry.toml && systemctl reload ravenry").await.map(drop)
}

async fn the_watchdog_starts_it_again(host: &Debian) -> Result<()> {
    let drop_in = "mkdir -p /run/systemd/system/ravenry.service.d && \
                   printf '[Service]\\nWatchdogSec=3\\nTimeoutAbortSec=2\\n' > /run/systemd/system/ravenry.service.d/soon.conf && \
                   systemctl daemon-reload && systemctl restart ravenry";
    host.must(drop_in).await?;
    let before = host.must("systemctl show --property=MainPID --value ravenry").await?;
    host.must(&format!("kill -STOP {before}")).await?;
    eventually(SOON, "systemd starting another one", async || {
        let now = host.must("systemctl show --property=MainPID --value ravenry").await?;
        Ok((now != before && now.trim() != "0").then_some(()))
    })
    .await?;
    host.service_becomes("active").await?;
    let log = host.must("journalctl --no-pager").await?;
    ensure!(log.contains("Watchdog timeout"), "{log}");
    host.must("rm -r /run/systemd/system/ravenry.service.d && systemctl daemon-reload").await.map(drop)
}

async fn nobody_is_refused_while_systemd_listens(host: &Debian, lmtp: SocketAddr) -> Result<()> {
    host.must(
        "systemctl stop ravenry && systemctl enable --now ravenry-lmtp.socket && systemctl start ravenry",
    )
    .await?;
    let log = host.must("journalctl -u ravenry --no-pager").await?;
    ensure!(log.contains("listening for the MTA where the service manager does"), "{log}");
    Lmtp::connect(lmtp).await?;
    host.must("systemctl restart --no-block ravenry").await?;
    for _ in 0..20 {
        // Whom the old one had let in already hears that it goes, as RFC 5321 (section 3.8) has it, and comes again.
        if let Err(error) = Lmtp::connect(lmtp).await
            && !format!("{error:#}").contains("421 4.3.2 Shutting down")
        {
            return Err(error.context("refused while it was restarted"));
        }
    }
    host.service_becomes("active").await
}

#[tokio::test]
async fn lintian_has_nothing_to_say() -> Result<()> {
    let package = Package::build().await?;
    let lintian =
        Command::new("lintian").args(["--fail-on", "error,warning"]).arg(package.file()).output().await;
    let output =
        lintian.context("lintian is missing: `. integration/prepare; prepare_packaging` sees to it")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success() && !said.contains("W:") && !said.contains("E:"), "{said}");
    Ok(())
}
