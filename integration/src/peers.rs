//! Other proxies, as processes: what Ravenry is measured beside.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::deadline::eventually;

const PATIENCE: Duration = Duration::from_secs(30);

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    /// Of its configuration.
    _directory: TempDir,
}

impl Peer {
    /// HAProxy, which carries bytes from one address to another, out of TLS where a certificate with its key is named.
    pub(crate) async fn haproxy(ways: &[Way<'_>]) -> Result<Self> {
        let mut config = String::from(
            "global\n  maxconn 9500\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n",
        );
        for (at, Way { from, to, identity }) in ways.iter().enumerate() {
            let tls = identity.map(|pem| format!(" ssl crt {}", pem.display())).unwrap_or_default();
            writeln!(config, "listen way{at}\n  bind {from}{tls}\n  server only {to}")?;
        }
        let peer = Self::start("haproxy", &["-db", "-q", "-f"], &config)?;
        peer.listens(ways.iter().map(|way| way.from)).await
    }

    /// nginx, with a configuration of its own; `{modules}` in it is where its modules are, `{home}` a directory.
    pub(crate) async fn nginx(config: &str, listens: &[SocketAddr]) -> Result<Self> {
        let modules = unpacked().join("usr/lib/nginx/modules");
        let modules = if modules.exists() { modules } else { "/usr/lib/nginx/modules".into() };
        let config = config.replace("{modules}", &modules.display().to_string());
        let peer = Self::start("nginx", &["-e", "stderr", "-c"], &config)?;
        peer.listens(listens.iter().copied()).await
    }

    fn start(name: &str, words: &[&str], config: &str) -> Result<Self> {
        let directory = TempDir::with_prefix("ravenry-peer-")?;
        let path = directory.path().join(format!("{name}.conf"));
        std::fs::write(&path, config.replace("{home}", &directory.path().display().to_string()))?;
        let child =
            program(name)
                .args(words)
                .arg(&path)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .with_context(|| format!("{name} cannot be run: `. integration/prepare; prepare_proxies`"))?;
        Ok(Self { child, _directory: directory })
    }

    async fn listens(self, addresses: impl Iterator<Item = SocketAddr>) -> Result<Self> {
        for address in addresses {
            let connect = async || Ok(TcpStream::connect(address).await.ok());
            eventually(PATIENCE, format!("a proxy listening on {address}"), connect).await?;
        }
        Ok(self)
    }

    /// Its process, which may have children.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("the proxy has ended")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Asked rather than killed: who is killed leaves children.
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// A way through a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) identity: Option<&'a Path>,
}

/// A program of the system, else one that `integration/prepare` has unpacked, with its libraries.
fn program(name: &str) -> Command {
    let ours = unpacked().join("usr/sbin").join(name);
    if !ours.exists() {
        return Command::new(name);
    }
    let mut command = Command::new(ours);
    let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    command.env("LD_LIBRARY_PATH", unpacked().join(libraries));
    command
}

fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache")
}
