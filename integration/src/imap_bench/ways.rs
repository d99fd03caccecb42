//! The ways to the frontend: Ravenry, HAProxy and nginx, each in clear and under TLS.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::client::Client;
use crate::bench::ground::Ground;
use crate::deadline::eventually;
use crate::face::Face;
use crate::identity::{Authority, Identity};
use crate::imap_stub::ImapStub;
use crate::mail_load::processor;
use crate::peers::{self, Peer};
use crate::ravenry::Ravenry;

const PATIENCE: Duration = Duration::from_secs(30);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    Ravenry,
    Haproxy,
    Nginx,
}

impl Product {
    pub(super) const ALL: [Self; 3] = [Self::Ravenry, Self::Haproxy, Self::Nginx];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ravenry => "Ravenry",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx mail",
        }
    }
}

/// One way to the frontend.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) tls: bool,
    /// The process that carries it, if it is not direct.
    pub(super) pid: Option<u32>,
}

/// One certificate for all of them, and who believes it.
pub(super) struct Keys {
    identity: Identity,
    /// Both in one file.
    both: PathBuf,
    pub(super) client: Arc<ClientConfig>,
    _authority: Authority,
}

impl Keys {
    pub(super) fn make() -> Result<Self> {
        let authority = Authority::new()?;
        let identity = authority.issue(&["localhost"])?;
        let both = identity.key.with_extension("pem");
        let [certificate, key] = [&identity.certificate, &identity.key].map(std::fs::read_to_string);
        std::fs::write(&both, certificate? + &key?)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.certificate()).context("the authority")?)?;
        let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        // Every login is a stranger's.
        client.resumption = Resumption::disabled();
        Ok(Self { identity, both, client: client.into(), _authority: authority })
    }
}

/// One product, running.
pub(super) struct Running {
    product: Product,
    addresses: [SocketAddr; 2],
    process: Process,
}

enum Process {
    Ours(Box<Ravenry>),
    Other(Box<Peer>),
}

impl Running {
    pub(super) async fn start(
        product: Product,
        stub: ImapStub,
        keys: &Keys,
        ground: &Ground,
    ) -> Result<Self> {
        let mut addresses = free()?;
        let process = match product {
            Product::Ravenry => {
                let Face { ravenry, clear, tls } =
                    Face::start(stub, &keys.identity, ground.binary.clone(), "").await?;
                addresses = [clear, tls];
                Process::Ours(Box::new(ravenry))
            }
            Product::Haproxy => {
                let [plain, tls] = addresses;
                let way = |from, identity| peers::Way { from, to: stub.imap, identity };
                let ways = [way(plain, None), way(tls, Some(&*keys.both))];
                Process::Other(Box::new(Peer::haproxy(&ways).await?))
            }
            Product::Nginx => {
                let config = nginx(addresses, stub, &keys.identity);
                Process::Other(Box::new(Peer::nginx(&config, &addresses).await?))
            }
        };
        let running = Self { product, addresses, process };
        for way in running.ways()? {
            let through = async || Client::log_in(&way, &keys.client).await?.log_out().await.map(Some);
            eventually(PATIENCE, format!("a login through {}", way.name), through).await?;
        }
        Ok(running)
    }

    pub(super) fn ways(&self) -> Result<[Way; 2]> {
        let [plain, tls] = self.addresses;
        let pid = Some(self.pid()?);
        let name = self.product.name();
        Ok([
            Way { name: name.to_owned(), address: plain, tls: false, pid },
            Way { name: format!("{name}, TLS"), address: tls, tls: true, pid },
        ])
    }

    fn pid(&self) -> Result<u32> {
        match &self.process {
            Process::Ours(ravenry) => ravenry.pid(),
            Process::Other(peer) => peer.pid(),
        }
    }

    /// Memory of all its processes (VmRSS), in KiB.
    pub(super) fn resident(&self) -> Result<f64> {
        let mut sum = 0.0;
        for pid in family(self.pid()?)? {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("it has ended")?;
            sum += line.trim_end_matches("kB").trim().parse::<f64>()?;
        }
        Ok(sum)
    }

    pub(super) async fn stop(self) -> Result<()> {
        match self.process {
            Process::Ours(ravenry) => ravenry.stop().await,
            Process::Other(_) => Ok(()),
        }
    }
}

/// Processor time of a process and its children, in seconds.
pub(super) fn spent(pid: u32) -> Result<f64> {
    family(pid)?.into_iter().map(processor).sum()
}

fn family(pid: u32) -> Result<Vec<u32>> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children = children.split_ascii_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
    Ok([vec![pid], children].concat())
}

fn free() -> Result<[SocketAddr; 2]> {
    let [one, two] = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    Ok([one?.local_addr()?, two?.local_addr()?])
}

fn nginx([plain, tls]: [SocketAddr; 2], stub: ImapStub, identity: &Identity) -> String {
    format!(
        "load_module {{modules}}/ngx_mail_module.so;\nuser root;\ndaemon off;\nworker_processes auto;\n\
         pid {{home}}/nginx.pid;\nerror_log /dev/null;\nevents {{ worker_connections 19000; }}\n\
         mail {{\n  server_name bench.test;\n  auth_http {}/;\n  timeout 60s;\n  proxy_timeout 1h;\n\
         imap_capabilities IMAP4rev1 LITERAL+;\n  server {{ listen {plain}; protocol imap; }}\n\
         server {{ listen {tls} ssl; protocol imap; ssl_certificate {}; ssl_certificate_key {}; }}\n}}\n",
        stub.guide,
        identity.certificate.display(),
        identity.key.display(),
    )
}
