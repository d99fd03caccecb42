//! Ravenry's face to mail clients without a murder: in front of a frontend that does nothing but answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::clients::Imap;
use crate::deadline::eventually;
use crate::identity::{Authority, Identity};
use crate::imap_stub::ImapStub;
use crate::ravenry::{Ravenry, Settings, Site, free_port};

const PATIENCE: Duration = Duration::from_secs(60);

/// A Ravenry, where mail clients find it, and the frontend behind it.
#[derive(Debug)]
pub struct Face {
    /// The process. It has no master: mail clients are served all the same.
    pub ravenry: Ravenry,
    /// IMAP, with STARTTLS.
    pub clear: SocketAddr,
    /// IMAP under TLS from the first byte.
    pub tls: SocketAddr,
}

impl Face {
    /// Starts it and waits until somebody can log in. `extra` are further lines of its `[imap]`.
    pub async fn start(
        stub: ImapStub,
        identity: &Identity,
        binary: Option<PathBuf>,
        extra: &str,
    ) -> Result<Self> {
        let (clear, tls) = (free_port()?, free_port()?);
        let imap = format!(
            "[imap]\nlisten = [\"{clear}\"]\nlisten_tls = [\"{tls}\"]\nfrontends = [\"{}\"]\ncertificate = {:?}\n\
             key = {:?}\nallow_plaintext = true\nmax_per_client = 50000\n{extra}\n",
            stub.imap, identity.certificate, identity.key,
        );
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let settings = Settings { listen: free_port()?, master: nobody, extra: imap };
        let site = Site { binary, ..Site::default() };
        let mut ravenry = Ravenry::prepare_at(settings, site).await?;
        ravenry.launch().await?;
        let face = Self { ravenry, clear, tls };
        eventually(PATIENCE, "a login", async || face.open().await.map(Some)).await?;
        Ok(face)
    }

    /// [`Face::start`] with a certificate for `localhost` of that authority.
    pub async fn for_localhost(authority: &Authority, extra: &str) -> Result<Self> {
        Self::start(ImapStub::start()?, &authority.issue(&["localhost"])?, None, extra).await
    }

    /// A session in clear.
    pub async fn open(&self) -> Result<Imap> {
        let mut client = Imap::connect(self.clear).await?;
        client.login("alice").await?;
        Ok(client)
    }
}
