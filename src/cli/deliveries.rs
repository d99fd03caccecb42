//! The face to the MTA, wired to the frontends, the list and the queue.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::reload::Reload;
use super::serve::host_name;
use super::service::socket;
use super::{Failure, exit};
use crate::authority::machine::State;
use crate::authority::namespace::Namespace as _;
use crate::authority::task::Authority;
use crate::config::{self, Config, Lmtp, VirtualDomains};
use crate::list::MailboxName;
use crate::lmtp::mailbox::Naming;
use crate::lmtp::{Face, FaceConfig, Frontends, Listener, Replay, Submission, UpstreamConfig};
use crate::net::activated::Activated;
use crate::net::secret::Secret;
use crate::net::tls;
use crate::spool::{self, Deliver, Reporter, Route, Spool, Wake, Ways};

/// A backend that was heard so lately is not news.
const HEARD_LATELY: Duration = Duration::from_secs(1);

/// Everything about deliveries that runs.
#[derive(Clone)]
pub(super) struct Deliveries {
    pub(super) face: Face,
    pub(super) spool: Spool,
    submission: Option<Submission>,
}

/// What they are changed to by a reload, read and judged.
pub(super) struct Fresh {
    lmtp: Lmtp,
    upstream: UpstreamConfig,
    submission: Option<UpstreamConfig>,
    spool: spool::Options,
}

impl Deliveries {
    /// Opens the queue and prepares the face; nothing runs yet. `None` where no `[lmtp]` is configured.
    pub(super) fn open(
        config: &Config,
        authority: &Authority,
        reload: &mut Reload,
    ) -> Result<Option<Self>, Failure> {
        let Some(lmtp) = &config.lmtp else { return Ok(None) };
        let spool = Spool::open(&config.state_dir.join("spool"), spool_options(&config.spool, lmtp))
            .map_err(|error| Failure::new(exit::UNAVAILABLE, error))?;
        let frontends = Frontends::new(lmtp.frontends.iter().map(String::as_str), upstream_config(lmtp)?);
        let namespace = Arc::new(authority.clone());
        let replay = Replay::new(frontends.clone(), namespace.clone(), naming(lmtp));
        let to_submission = to_submission(&config.spool, lmtp)?;
        let submission = config.spool.submission.as_deref().zip(to_submission);
        let submission = submission.map(|(address, config)| Submission::new(address, config));
        let reports = submission.clone().map(|host| Arc::new(host) as Arc<dyn Deliver>);
        spool.start(Ways { backends: Arc::new(replay), submission: reports, route: route(authority) });
        let face = Face::new(face_config(lmtp, reload)?, frontends, namespace, spool.clone());
        Ok(Some(Self { face, spool, submission }))
    }

    /// What another configuration makes of them; nothing is changed yet.
    pub(super) fn read(config: &Config) -> Result<Option<Fresh>, Failure> {
        let Some(lmtp) = &config.lmtp else { return Ok(None) };
        Ok(Some(Fresh {
            lmtp: lmtp.clone(),
            upstream: upstream_config(lmtp)?,
            submission: to_submission(&config.spool, lmtp)?,
            spool: spool_options(&config.spool, lmtp),
        }))
    }

    /// Takes over what can change while messages are under way.
    pub(super) fn change(&self, Fresh { lmtp, upstream, submission, spool }: Fresh) {
        let frontends = self.face.frontends();
        // What we call ourselves is part of what was begun with.
        frontends.change(|old| UpstreamConfig {
            servername: old.servername,
            connections: old.connections,
            ..upstream
        });
        frontends.replace(&lmtp.frontends);
        if let (Some(host), Some(config)) = (&self.submission, submission) {
            host.change(|old| UpstreamConfig { servername: old.servername, ..config });
        }
        self.spool.reconfigure(|old| spool::Options {
            min_free_bytes: spool.min_free_bytes,
            min_free_inodes: spool.min_free_inodes,
            max_messages: spool.max_messages,
            policy: spool.policy,
            reporter: Reporter { host: old.reporter.host, from: spool.reporter.from },
            ..old
        });
        self.face.change(|old| FaceConfig {
            trusted: lmtp.trusted.clone(),
            defer: lmtp.defer,
            max_message: lmtp.max_message.get() as u64,
            max_recipients: lmtp.max_recipients,
            max_connections: lmtp.max_connections,
            command_timeout: lmtp.command_timeout.get(),
            data_timeout: lmtp.data_timeout.get(),
            ..old
        });
    }

    /// Listens where the configuration says, or goes on with the sockets that the service manager has for it.
    pub(super) async fn listen(config: &Lmtp, sockets: &mut Activated) -> Result<Vec<Listener>, Failure> {
        let unavailable =
            |at: &dyn std::fmt::Display, error| Failure::new(exit::UNAVAILABLE, format!("{at}: {error}"));
        let mut listeners = Vec::new();
        for socket in sockets.take(socket::LMTP) {
            tracing::info!(
                ?socket,
                "listening for the MTA where the service manager does, not at lmtp.listen"
            );
            let listener = Listener::passed(socket);
            listeners.push(listener.map_err(|error| unavailable(&"the service manager's socket", error))?);
        }
        if !listeners.is_empty() {
            return Ok(listeners);
        }
        for at in &config.listen {
            listeners.push(Listener::bind(at).await.map_err(|error| unavailable(at, error))?);
            tracing::info!(%at, "listening for the MTA");
        }
        Ok(listeners)
    }

    /// Delivers until `stop` turns true.
    pub(super) async fn run(
        self,
        listeners: Vec<Listener>,
        authority: Authority,
        stop: watch::Receiver<bool>,
    ) {
        let mut listening = JoinSet::new();
        for listener in listeners {
            let (face, stop) = (self.face.clone(), stop.clone());
            listening.spawn(async move { face.serve(listener, stop).await });
        }
        let mut waking = JoinSet::new();
        let (spool, frontends) = (self.spool.clone(), self.face.frontends().clone());
        waking.spawn(async move { frontends.watch(move || spool.wake(Wake::All)).await });
        waking.spawn(wake_with_master(self.spool.clone(), authority.clone()));
        waking.spawn(wake_with_list(self.spool.clone(), authority));
        while listening.join_next().await.is_some() {}
    }
}

/// What waited for the master is tried when it is back.
async fn wake_with_master(spool: Spool, authority: Authority) {
    let mut standing = authority.standing();
    let mut last = standing.borrow_and_update().state;
    while standing.changed().await.is_ok() {
        let now = standing.borrow_and_update().state;
        if now != last && now == State::Following {
            spool.wake(Wake::All);
        }
        last = now;
    }
}

/// What waited for a mailbox is tried when the list changes for it; a backend that writes is there.
async fn wake_with_list(spool: Spool, authority: Authority) {
    let mut heard: HashMap<Arc<str>, Instant> = HashMap::new();
    loop {
        let mut feed = authority.subscribe();
        let mut changes = Vec::new();
        while feed.recv(&mut changes, 1024).await.is_ok() {
            // Nobody waits.
            let idle = spool.stats().messages == 0;
            for change in changes.drain(..).filter(|_| !idle) {
                spool.wake(Wake::Mailbox(change.name.clone()));
                let Some(entry) = &change.entry else { continue };
                let server: Arc<str> = String::from_utf8_lossy(entry.location.server()).into();
                let lately = heard.get(&server).is_some_and(|at| at.elapsed() < HEARD_LATELY);
                if !lately {
                    heard.insert(server.clone(), Instant::now());
                    spool.wake(Wake::Destination(server));
                }
            }
        }
        // Too far behind, or the list was replaced.
        spool.wake(Wake::All);
        tokio::time::sleep(HEARD_LATELY).await;
    }
}

fn route(authority: &Authority) -> Route {
    let authority = authority.clone();
    Arc::new(move |name| server_of(&authority, name))
}

/// The backend that holds a mailbox.
pub(super) fn server_of(authority: &Authority, name: &MailboxName) -> Option<Arc<str>> {
    let entry = authority.find(name).ok().flatten()?;
    Some(String::from_utf8_lossy(entry.location.server()).into())
}

fn spool_options(config: &config::Spool, lmtp: &Lmtp) -> spool::Options {
    let host = servername(lmtp);
    let from = config.report_from.clone().unwrap_or_else(|| format!("MAILER-DAEMON@{host}"));
    spool::Options {
        in_memory: config.in_memory.get(),
        min_free_bytes: config.min_free.get() as u64,
        min_free_inodes: config.min_free_inodes,
        max_messages: config.max_messages,
        policy: config.policy(),
        reporter: Reporter { host, from },
        ..spool::Options::default()
    }
}

fn servername(lmtp: &Lmtp) -> String {
    lmtp.servername.clone().unwrap_or_else(host_name)
}

fn naming(lmtp: &Lmtp) -> Naming {
    let names = &lmtp.names;
    Naming {
        unix_separator: names.unixhierarchysep,
        virtual_domains: names.virtdomains != VirtualDomains::Off,
        default_domain: names.defaultdomain.clone(),
        downcase: names.lmtp_downcase_rcpt,
        post_user: names.postuser.clone(),
    }
}

pub(super) fn upstream_config(lmtp: &Lmtp) -> Result<UpstreamConfig, Failure> {
    let upstream = &lmtp.upstream;
    Ok(UpstreamConfig {
        connections: upstream.connections,
        connect_timeout: upstream.connect_timeout.get(),
        reply_timeout: upstream.reply_timeout.get(),
        delivery_timeout: upstream.delivery_timeout.get(),
        idle: upstream.idle.get(),
        probe: upstream.probe.get(),
        ..guarded(lmtp, &upstream.user, &upstream.password_file, &upstream.tls_ca_file)?
    })
}

/// How the host that takes reports is spoken with, if there is one.
fn to_submission(spool: &config::Spool, lmtp: &Lmtp) -> Result<Option<UpstreamConfig>, Failure> {
    if spool.submission.is_none() {
        return Ok(None);
    }
    let (user, password) = (&spool.submission_user, &spool.submission_password_file);
    guarded(lmtp, user, password, &spool.submission_tls_ca_file).map(Some)
}

/// The defaults, with a login and TLS where they are wanted.
fn guarded(
    lmtp: &Lmtp,
    user: &Option<String>,
    password_file: &Option<PathBuf>,
    authorities: &Option<PathBuf>,
) -> Result<UpstreamConfig, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(exit::CONFIG, error);
    let login = match (user, password_file) {
        (Some(user), Some(path)) => Some((user.clone(), Secret::read(path).map_err(|error| wrong(&error))?)),
        _ => None,
    };
    let tls = authorities.as_deref().map(tls::client).transpose().map_err(|error| wrong(&error))?;
    Ok(UpstreamConfig { login, tls, ..UpstreamConfig::new(servername(lmtp)) })
}

fn face_config(lmtp: &Lmtp, reload: &mut Reload) -> Result<FaceConfig, Failure> {
    let gate = lmtp.users_file.as_deref().map(|path| reload.gate(path)).transpose()?;
    let tls = reload.tls(lmtp.certificate.as_ref(), lmtp.key.as_ref())?;
    Ok(FaceConfig {
        trusted: lmtp.trusted.clone(),
        gate,
        allow_plaintext: lmtp.allow_plaintext,
        tls,
        defer: lmtp.defer,
        naming: naming(lmtp),
        max_message: lmtp.max_message.get() as u64,
        max_recipients: lmtp.max_recipients,
        max_connections: lmtp.max_connections,
        command_timeout: lmtp.command_timeout.get(),
        data_timeout: lmtp.data_timeout.get(),
        ..FaceConfig::new(servername(lmtp))
    })
}
