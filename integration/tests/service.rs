//! What a service manager is told and passes on, played by the test itself: readiness, status, watchdog, reload, sockets.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::deadline::{eventually, within};
use ravenry_integration::murder::{Murder, Plan};
use ravenry_integration::ravenry::{Ravenry, Settings, Site};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpStream, UnixDatagram};

const SOON: Duration = Duration::from_secs(30);

/// The service manager's side of NOTIFY_SOCKET.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
    directory: TempDir,
}

impl Manager {
    fn listen() -> Result<Self> {
        let directory = TempDir::with_prefix("ravenry-notify-")?;
        let socket = UnixDatagram::bind(directory.path().join("notify"))?;
        Ok(Self { socket, heard: Vec::new(), directory })
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("notify")
    }

    async fn next(&mut self) -> Result<String> {
        let mut buffer = [0; 4096];
        let read = within(SOON, "a word for the service manager", async {
            Ok(self.socket.recv(&mut buffer).await?)
        });
        let length = read.await?;
        let said = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        self.heard.push(said.clone());
        Ok(said)
    }

    /// Waits for a message that holds this.
    async fn hears(&mut self, what: &str) -> Result<String> {
        within(SOON, format!("the service manager being told {what:?}"), async {
            loop {
                let said = self.next().await?;
                if said.contains(what) {
                    return Ok(said);
                }
            }
        })
        .await
        .with_context(|| format!("it was told {:?}", self.heard))
    }

    fn was_told(&self, what: &str) -> bool {
        self.heard.iter().any(|said| said.lines().any(|line| line == what))
    }
}

fn site(manager: &Path, name: &str, socket: &Arc<TcpListener>) -> Site {
    let environment = [("NOTIFY_SOCKET", manager.display().to_string()), ("WATCHDOG_USEC", "2000000".into())];
    Site {
        environment: environment.map(|(key, value)| (key.to_owned(), value)).into(),
        socket: Some((name.to_owned(), socket.clone())),
        ..Site::default()
    }
}

async fn greeting(at: SocketAddr) -> Result<String> {
    within(SOON, format!("a greeting from {at}"), async {
        let mut line = String::new();
        BufReader::new(TcpStream::connect(at).await?).read_line(&mut line).await?;
        Ok(line)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_knows_how_things_stand() -> Result<()> {
    let murder = Murder::prepare(Plan::chosen()?).await?;
    let mut manager = Manager::listen()?;
    let lmtp = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    let at = SocketAddr::from((murder.gateway(), 3905));
    let extra = "[lmtp]\nlisten = [\"192.0.2.1:24\"]\nfrontends = [\"127.0.0.1:1\"]\n".to_owned();
    let settings = Settings { listen: at, master: murder.mm.mupdate_address(), extra };
    let mut ravenry = Ravenry::prepare_at(settings, site(&manager.path(), "lmtp", &lmtp)).await?;
    ravenry.launch().await?;

    // No list that may be served: it lives, and is not ready.
    manager.hears("STATUS=learning: ").await?;
    manager.hears("WATCHDOG=1").await?;
    manager.hears("WATCHDOG=1").await?;
    ensure!(!manager.was_told("READY=1"), "{:?}", manager.heard);
    ensure!(TcpStream::connect(at).await.is_err(), "the port is open without a list");
    // A reload before that must not say that it is.
    ravenry.signal("HUP").await?;
    eventually(SOON, "the reload", async || {
        Ok(ravenry.log()?.contains("certificates read again").then_some(()))
    })
    .await?;
    manager.hears("WATCHDOG=1").await?;
    manager.hears("WATCHDOG=1").await?;
    ensure!(!manager.was_told("READY=1"), "{:?}", manager.heard);

    // Ready means that the port is open; and the socket that was passed is served, not the address that is configured.
    murder.start_master().await?;
    manager.hears("READY=1").await?;
    let banner = greeting(at).await?;
    ensure!(banner.starts_with("* "), "{banner:?}");
    manager.hears("STATUS=following the master at ").await?;
    let banner = greeting(lmtp.local_addr()?).await?;
    ensure!(banner.starts_with("220 "), "{banner:?}");

    let monotonic = |said: &str| said.lines().any(|line| line.starts_with("MONOTONIC_USEC="));
    ravenry.signal("HUP").await?;
    let said = manager.hears("RELOADING=1").await?;
    ensure!(monotonic(&said), "{said:?}");
    manager.hears("READY=1").await?;
    let users = ravenry.home().join("users");
    let kept = std::fs::read_to_string(&users)?;
    std::fs::write(&users, "these are no users")?;
    ravenry.signal("HUP").await?;
    manager.hears("READY=1").await?;
    manager.hears("the last reload failed: ").await?;
    std::fs::write(&users, kept)?;

    murder.mm.stop_cyrus().await?;
    manager.hears("STATUS=standing-in: ").await?;
    ensure!(ravenry.terminate().await?.success());
    manager.hears("STOPPING=1").await?;

    // Nobody was refused meanwhile: who came waits, and is served by the next one.
    let waiting = lmtp.local_addr()?;
    let greeted = tokio::spawn(greeting(waiting));
    ravenry.launch().await?;
    ensure!(greeted.await??.starts_with("220 "));
    ravenry.stop().await?;
    murder.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_for_nothing_is_refused() -> Result<()> {
    let manager = Manager::listen()?;
    let socket = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    // The murder's port must be closed while there is no list; and there is no [imap].
    for (name, why) in [
        ("mupdate", "named \"mupdate\": FileDescriptorName= must be one of lmtp, imap, imaps"),
        ("imap", "listens for imap, of which the configuration says nothing"),
    ] {
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let settings =
            Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), master: nobody, extra: String::new() };
        let mut ravenry = Ravenry::prepare_at(settings, site(&manager.path(), name, &socket)).await?;
        ravenry.launch().await?;
        let status = ravenry.ended().await?;
        let log = ravenry.log()?;
        ensure!(status.code() == Some(78) && log.contains(why), "{status}: {log}");
        ravenry.stop().await?;
    }
    Ok(())
}
