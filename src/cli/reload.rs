//! What `ravenry serve` reads again on SIGHUP and `ravenry reload`: its configuration, users, passwords, certificates with
//! their keys.
//!
//! Everything is read and judged before anything is changed: a configuration of which a part cannot be used changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::rustls::ServerConfig as TlsConfig;

use super::deliveries::{self, Deliveries};
use super::onlooker::{self, Asking};
use super::serve::{guard, link_config, policy};
use super::service::Manager;
use super::witnesses::{self, Witnesses};
use super::{Failure, exit, limits};
use crate::admin::Reloaded;
use crate::admin::status::ConfigurationStatus;
use crate::authority::guard::Guard;
use crate::authority::task::Authority;
use crate::backends::Backends;
use crate::config::{Changes, Config, Keys, Master, Severity};
use crate::imap::{ImapConfig, Proxy};
use crate::mupdate::client::LinkConfig;
use crate::mupdate::server::{Server, ServerConfig};
use crate::net::clock::unix;
use crate::net::live::Live;
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
    pub(super) authority: Authority,
    pub(super) link: Live<LinkConfig>,
    pub(super) guard: Live<Guard>,
    pub(super) asking: Option<Asking>,
    /// What is told of reloads.
    pub(super) configuration: Live<ConfigurationStatus>,
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
    link: LinkConfig,
    witnesses: witnesses::Plan,
    deliveries: Option<deliveries::Fresh>,
    backends: Option<Backends>,
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
            let done = self.again(&mut running).await;
            tell(&done, &running.configuration);
            manager.reloaded();
            if let Some(reply) = reply {
                let _ = reply.send(done);
            }
        }
    }

    async fn again(&mut self, running: &mut Running) -> Result<Reloaded, String> {
        let read = self.read(running)?;
        let Read { config, keys, users, certificates, link, witnesses, deliveries, backends } = read;
        for ((_, gate), users) in self.gates.iter().zip(users) {
            gate.replace(users);
        }
        for (identity, fresh) in self.identities.iter().zip(certificates) {
            identity.replace(fresh);
        }
        log::change(&config.log);
        running.link.set(link);
        running.witnesses.watch(witnesses);
        if let Some((running, fresh)) = running.deliveries.as_ref().zip(deliveries) {
            running.change(fresh);
        }
        if let Some((asking, backends)) = running.asking.as_ref().zip(backends) {
            asking.backends.set(backends);
        }
        running.take(&config).await;
        let Changes { restart, .. } = self.started.changes(&keys);
        let Changes { live: mut changed, .. } = self.last.changes(&keys);
        // Of a section that is new since the start, nothing is in force.
        changed.retain(|key| !restart.contains(key));
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
        let config = limits::fit(config);
        let unusable = |failure: Failure| failure.text;
        let link = running.link_by(&config).map_err(unusable)?;
        let witnesses = Witnesses::plan(&link, &config).map_err(unusable)?;
        let deliveries = Deliveries::read(&config).map_err(unusable)?;
        let backends = config.backends.as_ref().map(onlooker::backends).transpose().map_err(unusable)?;
        let keys = Keys::of(&text);
        Ok(Read { config, keys, users, certificates, link, witnesses, deliveries, backends })
    }
}

/// Whoever watches learns what came of a reload.
fn tell(done: &Result<Reloaded, String>, configuration: &Live<ConfigurationStatus>) {
    Metric::ConfigReloadSuccess.set(f64::from(u8::from(done.is_ok())));
    match done {
        Ok(Reloaded { changed, restart }) => {
            Metric::ConfigReloadTime.set(unix() as f64);
            Metric::ConfigRestartNeeded.set(restart.len() as f64);
            tracing::info!(?changed, "configuration, users, passwords and certificates read again");
            if !restart.is_empty() {
                let keys = restart.join(", ");
                tracing::warn!(keys, "changed, and in force only after a restart");
            }
            configuration.set(ConfigurationStatus { failed: None, restart_needed: restart.clone() });
        }
        Err(why) => {
            tracing::error!(%why, "the configuration stays as it was");
            let restart_needed = configuration.get().restart_needed.clone();
            configuration.set(ConfigurationStatus { failed: Some(why.clone()), restart_needed });
        }
    }
}

impl Running {
    /// The way to the master that we have, with the login, trust and patience that a configuration has for it. Another
    /// master, and how many connections there are to it, need a restart.
    fn link_by(&self, config: &Config) -> Result<LinkConfig, Failure> {
        let running = self.link.get();
        let address = running.address.clone();
        let master = Master { address, connections: running.connections, ..config.master.clone() };
        link_config(&Config { master, ..config.clone() })
    }

    /// Takes over what can change while sessions go on.
    async fn take(&self, config: &Config) {
        self.guard.set(guard(config));
        self.authority.change(policy(config)).await;
        if let (Some(asking), Some(backends)) = (&self.asking, &config.backends) {
            asking.reservations.set(backends.reservations.get());
            asking.xfer.set(config.replay.postpone.get());
        }
        let mupdate = &config.mupdate;
        self.server.change(|old| ServerConfig {
            login_timeout: mupdate.login_timeout.get(),
            write_stall: mupdate.write_stall.get(),
            failed_login_delay: mupdate.failed_login_delay.get(),
            max_connections: mupdate.max_connections,
            max_unauthenticated: mupdate.max_unauthenticated,
            ..old
        });
        if let (Some(proxy), Some(imap)) = (&self.proxy, &config.imap) {
            proxy.change(|old| ImapConfig {
                frontends: imap.frontends.clone(),
                balancers: imap.balancers.clone(),
                login_timeout: imap.login_timeout.get(),
                idle_timeout: imap.idle_timeout.get(),
                drain: imap.drain.get(),
                check_every: imap.check_every.get(),
                frontend_silence: imap.frontend_silence.get(),
                max_sessions: imap.max_sessions,
                mark_unavailable: imap.mark_unavailable,
                max_per_client: imap.max_per_client,
                ..old
            });
        }
    }
}
