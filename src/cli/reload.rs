//! What `ravenry serve` reads again on SIGHUP and `ravenry reload`: its configuration, users, certificates with their keys.
//!
//! Everything is read and judged before anything is changed: a configuration of which a part cannot be used changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::rustls::ServerConfig as TlsConfig;

use super::deliveries::Deliveries;
use super::serve::unix;
use super::service::Manager;
use super::witnesses::{self, Witnesses};
use super::{Failure, exit};
use crate::admin::Reloaded;
use crate::config::{Changes, Config, Keys, Severity};
use crate::imap::{ImapConfig, Proxy};
use crate::lmtp::FaceConfig;
use crate::mupdate::server::{Server, ServerConfig};
use crate::net::sasl::server::Gate;
use crate::net::tls::{Fresh, Identity};
use crate::net::users::Users;
use crate::telemetry::log;
use crate::telemetry::metric::Metric;

/// Somebody asks for a reload, and wants to know what becomes of it.
pub(super) type Reloads = mpsc::Sender<oneshot::Sender<Result<Reloaded, String>>>;

/// The files that were read, and who works with them.
pub(super) struct Reload {
    path: PathBuf,
    /// What the process was started with.
    started: Keys,
    /// What was last in force.
    last: Keys,
    gates: Vec<(PathBuf, Arc<Gate>)>,
    identities: Vec<Identity>,
}

/// What takes over new settings while it runs.
pub(super) struct Running {
    pub(super) shadow: bool,
    pub(super) server: Server,
    pub(super) deliveries: Option<Deliveries>,
    pub(super) proxy: Option<Proxy>,
    pub(super) witnesses: Witnesses,
}

/// Everything that was read, and can be used.
struct Read {
    config: Config,
    keys: Keys,
    users: Vec<Users>,
    certificates: Vec<Fresh>,
    witnesses: witnesses::Plan,
}

impl Reload {
    /// For the configuration in this file, which was read already.
    pub(super) fn new(path: &Path) -> std::io::Result<Self> {
        let started = Keys::of(&std::fs::read_to_string(path)?);
        let last = started.clone();
        Ok(Self { path: path.to_owned(), started, last, gates: Vec::new(), identities: Vec::new() })
    }

    /// A gate for the users of a file.
    pub(super) fn gate(&mut self, users_file: &Path) -> Result<Arc<Gate>, Failure> {
        let users = Users::load(users_file).map_err(|error| Failure::new(exit::CONFIG, error))?;
        let gate = Arc::new(Gate::new(users).map_err(|error| Failure::new(exit::CONFIG, error))?);
        self.gates.push((users_file.to_owned(), gate.clone()));
        Ok(gate)
    }

    /// TLS with a certificate and key, where both are configured.
    pub(super) fn tls(
        &mut self,
        certificate: Option<&PathBuf>,
        key: Option<&PathBuf>,
    ) -> Result<Option<Arc<TlsConfig>>, Failure> {
        let Some((certificate, key)) = certificate.zip(key) else { return Ok(None) };
        let identity = Identity::load(certificate, key).map_err(|error| Failure::new(exit::CONFIG, error))?;
        let tls = identity.server();
        self.identities.push(identity);
        Ok(Some(tls))
    }

    /// Reads everything again at each signal and whenever somebody asks.
    pub(super) async fn run(
        mut self,
        mut hangup: Signal,
        mut asked: mpsc::Receiver<oneshot::Sender<Result<Reloaded, String>>>,
        manager: Manager,
        mut running: Running,
    ) {
        loop {
            let reply = tokio::select! {
                Some(()) = hangup.recv() => None,
                Some(reply) = asked.recv() => Some(reply),
                else => return,
            };
            manager.reloading();
            let done = self.again(&mut running);
            Metric::ConfigReloadSuccess.set(f64::from(u8::from(done.is_ok())));
            let news = match &done {
                Ok(reloaded) => {
                    Metric::ConfigReloadTime.set(unix() as f64);
                    Metric::ConfigRestartNeeded.set(reloaded.restart.len() as f64);
                    tracing::info!(changed = ?reloaded.changed, "configuration, users and certificates read again");
                    let restart = reloaded.restart.join(", ");
                    (!restart.is_empty()).then(|| {
                        tracing::warn!(keys = restart, "changed, and in force only after a restart");
                        format!("in force after a restart: {restart}")
                    })
                }
                Err(why) => {
                    tracing::error!(%why, "the configuration stays as it was");
                    Some(format!("the last reload failed: {why}"))
                }
            };
            manager.reloaded(news);
            if let Some(reply) = reply {
                let _ = reply.send(done);
            }
        }
    }

    fn again(&mut self, running: &mut Running) -> Result<Reloaded, String> {
        let Read { config, keys, users, certificates, witnesses } = self.read(running)?;
        for ((_, gate), users) in self.gates.iter().zip(users) {
            gate.replace(users);
        }
        for (identity, fresh) in self.identities.iter().zip(certificates) {
            identity.replace(fresh);
        }
        log::change(&config.log);
        running.witnesses.watch(witnesses);
        running.take(&config);
        let Changes { live: changed, .. } = self.last.changes(&keys);
        let Changes { restart, .. } = self.started.changes(&keys);
        self.last = keys;
        Ok(Reloaded { changed, restart })
    }

    fn read(&self, running: &Running) -> Result<Read, String> {
        let unreadable = |error| format!("{}: {error}", self.path.display());
        let text = std::fs::read_to_string(&self.path).map_err(unreadable)?;
        let config = Config::parse(&text, &self.path).map_err(|error| error.to_string())?;
        let findings = config.check();
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        let errors: Vec<String> = errors.map(|error| format!("{}: {}", error.key, error.text)).collect();
        if !errors.is_empty() {
            return Err(errors.join("; "));
        }
        let users = self.gates.iter().map(|(path, _)| Users::load(path).map_err(|error| error.to_string()));
        let users = users.collect::<Result<_, _>>()?;
        let fresh = |identity: &Identity| identity.read_again().map_err(|error| error.to_string());
        let certificates = self.identities.iter().map(fresh).collect::<Result<_, _>>()?;
        let config = if running.shadow { config.without_faces() } else { config };
        let witnesses = running.witnesses.plan(&config).map_err(|failure| failure.text)?;
        Ok(Read { config, keys: Keys::of(&text), users, certificates, witnesses })
    }
}

impl Running {
    /// Takes over what can change while sessions go on.
    fn take(&self, config: &Config) {
        let mupdate = &config.mupdate;
        self.server.change(|old| ServerConfig {
            login_timeout: mupdate.login_timeout.get(),
            write_stall: mupdate.write_stall.get(),
            ..old
        });
        if let (Some(deliveries), Some(lmtp)) = (&self.deliveries, &config.lmtp) {
            deliveries.face.frontends().replace(&lmtp.frontends);
            deliveries.face.change(|old| FaceConfig {
                trusted: lmtp.trusted.clone(),
                defer: lmtp.defer,
                max_message: lmtp.max_message.get() as u64,
                max_recipients: lmtp.max_recipients,
                command_timeout: lmtp.command_timeout.get(),
                data_timeout: lmtp.data_timeout.get(),
                ..old
            });
        }
        if let (Some(proxy), Some(imap)) = (&self.proxy, &config.imap) {
            proxy.change(|old| ImapConfig {
                frontends: imap.frontends.clone(),
                balancers: imap.balancers.clone(),
                login_timeout: imap.login_timeout.get(),
                idle_timeout: imap.idle_timeout.get(),
                drain: imap.drain.get(),
                max_per_client: imap.max_per_client,
                ..old
            });
        }
    }
}
