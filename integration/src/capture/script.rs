//! A conversation by script: say something, hear everything that comes back, go on.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::clients::{Mupdate, Wire, literal};
use crate::transcript::Transcript;

/// How long the other side may think about a line before it counts as having nothing more to say.
const QUIET: Duration = Duration::from_millis(300);

/// One connection that follows a script.
pub(super) struct Script {
    session: Mupdate,
    quiet: Duration,
}

impl Script {
    /// Connects and hears the banner.
    pub(super) async fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self { session: Mupdate::connect(address).await?, quiet: QUIET })
    }

    /// Connects and authenticates.
    pub(super) async fn login(address: SocketAddr) -> Result<Self> {
        Ok(Self { session: Mupdate::login(address).await?, quiet: QUIET })
    }

    /// The same, for steps over which the other side takes its time.
    pub(super) fn patient(self, quiet: Duration) -> Self {
        Self { quiet, ..self }
    }

    /// Says a line as it is, under a remark.
    pub(super) async fn say(&mut self, remark: &str, line: &str) -> Result<()> {
        self.wire().remark(remark);
        self.send(line).await
    }

    /// Says a command with its arguments as literals, the way Cyrus does.
    pub(super) async fn command(&mut self, remark: &str, line: &str, args: &[&str]) -> Result<()> {
        self.wire().remark(remark);
        let args: String = args.iter().map(|arg| format!(" {}", literal(arg))).collect();
        self.send(&format!("{line}{args}\r\n")).await
    }

    /// Hears what comes within a time, without saying anything.
    pub(super) async fn listen(&mut self, remark: &str, time: Duration) -> Result<()> {
        self.wire().remark(remark);
        self.hear(time).await
    }

    /// Everything that was said.
    pub(super) fn transcript(&self) -> &Transcript {
        self.session.transcript()
    }

    fn wire(&mut self) -> &mut Wire {
        self.session.wire()
    }

    async fn send(&mut self, bytes: &str) -> Result<()> {
        if self.wire().send(bytes.as_bytes()).await.is_err() {
            self.wire().remark("the server is gone");
            return Ok(());
        }
        self.hear(self.quiet).await
    }

    async fn hear(&mut self, time: Duration) -> Result<()> {
        self.wire().set_patience(time);
        loop {
            match self.wire().frame().await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.wire().remark("the server closes");
                    return Ok(());
                }
                // Nothing more for now.
                Err(_) => return Ok(()),
            }
        }
    }
}
