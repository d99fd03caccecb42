//! `ravenry serve`: every room wired to its neighbours.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::deliveries::Deliveries;
use super::desk::{Desk, Window};
use super::imap_face::ImapFace;
use super::onlooker::Asking;
use super::reload::{Reload, Running};
use super::service::{self, Manager};
use super::witnesses::Witnesses;
use super::{Failure, exit, limits};
use crate::admin::server::{ControlSocket, Operator};
use crate::admin::web::Web;
use crate::authority::guard::Guard;
use crate::authority::machine::{Policy, State};
use crate::authority::shadow::Shadow;
use crate::authority::task::{Authority, Options};
use crate::config::{Config, Mode, Severity};
use crate::mupdate::client::{LinkConfig, MasterLink, Tls};
use crate::mupdate::server::{Server, ServerConfig};
use crate::net::activated::Activated;
use crate::net::clock::unix;
use crate::net::live::Live;
use crate::net::secret::Secret;
use crate::net::tls::server_name;
use crate::net::trust::Trust;
use crate::store::{Options as StoreOptions, Store};
use crate::telemetry::metric::Metric;
use crate::telemetry::{log, metrics};
use crate::{ghosts, left_over, reservations};

pub(super) fn run(config: Config, path: &Path) -> Result<(), Failure> {
    log::start(&config.log);
    limits::raise();
    limits::keep_no_core();
    let config = limits::fit(config);
    for finding in config.check() {
        match finding.severity {
            Severity::Error => {
                return Err(Failure::new(exit::CONFIG, format!("{}: {}", finding.key, finding.text)));
            }
            Severity::Warning => tracing::warn!(key = finding.key, "{}", finding.text),
        }
    }
    let sockets = service::sockets()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::UNAVAILABLE, error))?;
    let done = runtime.block_on(serve(config, path, sockets));
    // Reads of a slow client may still be in a blocking thread: they are not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn serve(config: Config, path: &Path, mut sockets: Activated) -> Result<(), Failure> {
    let manager = Manager::from_environment();
    let shadow = config.mode == Mode::Shadow;
    let config = if shadow { config.without_faces() } else { config };
    let unavailable = |what: &str, error: &dyn std::fmt::Display| {
        Failure::new(exit::UNAVAILABLE, format!("{what}: {error}"))
    };
    let hangup = signal(SignalKind::hangup()).map_err(|error| unavailable("signals", &error))?;
    let mut stopping = Signals::new().map_err(|error| unavailable("signals", &error))?;
    let recorder = metrics::record().map_err(|error| Failure::new(exit::SOFTWARE, error))?;
    Metric::ConfigReloadSuccess.set(1.0);
    Metric::ConfigReloadTime.set(unix() as f64);
    let store = open_store(&config)?;
    if shadow {
        nothing_owed(&store)?;
        tracing::warn!("shadow mode: nobody is served and nothing is changed");
    }
    let (events, link_events) = mpsc::channel(64);
    let to_master = Live::new(link_config(&config)?);
    let link = MasterLink::spawn(to_master.clone(), events);
    let authority = Authority::spawn(store, Shadow::over(link, shadow), link_events, options(&config));
    let mut reload = Reload::new(path).map_err(|error| Failure::new(exit::CONFIG, error))?;
    let (reloads, ordered) = mpsc::channel(1);
    let server = Server::new(server_config(&config, &mut reload)?, Arc::new(authority.clone()))
        .map_err(|error| unavailable("threads for the murder's streams", &error))?;
    let deliveries = Deliveries::open(&config, &authority, &mut reload)?;
    let (stop, stopped) = watch::channel(false);
    let asking = Asking::of(&config)?;
    let (shown, told) = (asking.as_ref(), stopped.clone());
    let imap = ImapFace::start(&config, &authority, shown, told, &mut reload, &mut sockets).await?;
    let clients = imap.as_ref().map(|face| face.clients.clone());
    let proxy = clients.as_ref().map(|clients| clients.proxy.clone());
    if let (Some(asking), false) = (&asking, shadow) {
        tokio::spawn(left_over::look_into(authority.clone(), asking.backends.clone()));
        tokio::spawn(ghosts::review(Arc::new(authority.clone()), asking.backends.clone()));
        let ages = reservations::Ages { xfer: asking.xfer.clone(), nobodys: asking.reservations.clone() };
        tokio::spawn(reservations::review(Arc::new(authority.clone()), asking.backends.clone(), ages));
    }
    let (link, murder) = (to_master.clone(), (authority.clone(), server.clone()));
    let desk = Desk::new(&config, murder, link, asking.clone(), deliveries.clone(), clients);
    let (guard, configuration) = desk.on_reload();
    let desk = Arc::new(desk.reloading_by(reloads));
    let window = Arc::new(Window::new(Desk::clone(&desk), recorder.clone()));
    let web = match config.metrics.as_ref().map(|metrics| metrics.listen) {
        None => None,
        Some(listen) => {
            let web = Web::bind(listen).await.map_err(|error| unavailable(&listen.to_string(), &error))?;
            let window = window.clone();
            Some(tokio::spawn(async move { web.serve(window).await }))
        }
    };
    let socket = ControlSocket::bind(&config.admin.socket)
        .await
        .map_err(|error| unavailable(&config.admin.socket.display().to_string(), &error))?;
    let answering = desk.clone();
    let control = tokio::spawn(async move { socket.serve(answering).await });
    let attending = tokio::spawn(manager.clone().attend(desk.clone(), window));
    let measuring = tokio::spawn(measure(desk, recorder));
    let mut witnesses = Witnesses::new(authority.feed());
    witnesses.watch(Witnesses::plan(&to_master.get(), &config)?);
    let running = Running {
        shadow,
        authority: authority.clone(),
        link: to_master,
        guard,
        asking,
        configuration,
        server: server.clone(),
        deliveries: deliveries.clone(),
        proxy,
        witnesses,
    };
    let reloading = tokio::spawn(reload.run(hangup, ordered, manager.clone(), running));

    let mut mail = JoinSet::new();
    if let (Some(deliveries), Some(lmtp)) = (deliveries, &config.lmtp) {
        let listeners = Deliveries::listen(lmtp, &mut sockets).await?;
        mail.spawn(deliveries.run(listeners, authority.clone(), stopped.clone()));
    }
    if let Some(name) = sockets.left() {
        let why = format!("the service manager listens for {name}, of which the configuration says nothing");
        return Err(Failure::new(exit::CONFIG, why));
    }
    let faces = tokio::spawn(listen(config, authority.clone(), server, stopped, manager.clone()));
    let outcome = tokio::select! {
        () = stopping.recv() => Ok(()),
        ended = wait_for_failure(faces) => ended,
    };
    tracing::warn!("stopping");
    attending.abort();
    manager.stopping();
    let _ = stop.send(true);
    // Messages that are under way get their answers first, within their bound.
    while mail.join_next().await.is_some() {}
    authority.stop().await;
    if let Some(imap) = imap {
        imap.ended().await;
    }
    // Sessions see the feed end and close bare; give them their bound.
    tokio::time::sleep(Duration::from_millis(100)).await;
    control.abort();
    measuring.abort();
    reloading.abort();
    if let Some(web) = web {
        web.abort();
    }
    let _ = control.await;
    outcome
}

/// What was decided here and the master has not heard of would never reach it from the shadow.
fn nothing_owed(store: &Store) -> Result<(), Failure> {
    let stats = store.stats();
    if stats.journal_records == 0 && stats.doubts == 0 && stats.reseeding.is_none() {
        return Ok(());
    }
    let why = "the master has not heard of all that was decided here: run it with mode = \"serve\" until `ravenry status` \
               says following";
    Err(Failure::new(exit::CONFIG, format!("mode = \"shadow\": {why}")))
}

async fn wait_for_failure(faces: tokio::task::JoinHandle<Result<(), Failure>>) -> Result<(), Failure> {
    match faces.await {
        Ok(Err(failure)) => Err(failure),
        // Listening ends without a failure only when it was told to.
        Ok(Ok(())) | Err(_) => std::future::pending().await,
    }
}

/// Listens whenever there is a list that may be served, and only then (rule 2): a frontend that finds nobody
/// keeps its list and tries again, one that were told anything else would lose it.
async fn listen(
    config: Config,
    authority: Authority,
    server: Server,
    mut stop: watch::Receiver<bool>,
    manager: Manager,
) -> Result<(), Failure> {
    let mut standing = authority.standing();
    loop {
        tokio::select! {
            ready = standing.wait_for(|standing| standing.state != State::Learning) => {
                if ready.is_err() {
                    return Ok(());
                }
            }
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        let (close, closed) = watch::channel(false);
        let mut listening = JoinSet::new();
        for address in &config.mupdate.listen {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| Failure::new(exit::UNAVAILABLE, format!("{address}: {error}")))?;
            tracing::info!(%address, "listening for the murder");
            let (server, closed) = (server.clone(), closed.clone());
            listening.spawn(async move { server.serve(listener, closed).await });
        }
        manager.ready();
        let stopped = tokio::select! {
            _ = standing.wait_for(|standing| standing.state == State::Learning) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        let _ = close.send(true);
        while listening.join_next().await.is_some() {}
        if stopped {
            return Ok(());
        }
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub(super) fn open_store(config: &Config) -> Result<Store, Failure> {
    let dir = config.state_dir.join("list");
    let options = StoreOptions {
        cache_bytes: config.store.cache.get(),
        hot_entries: config.store.hot_entries,
        history_seconds: config.store.history.get().as_secs(),
        ..StoreOptions::default()
    };
    std::fs::create_dir_all(&config.state_dir)
        .map_err(|error| Failure::new(exit::CONFIG, format!("{}: {error}", config.state_dir.display())))?;
    Store::open(&dir, options).map_err(|error| Failure::new(exit::UNAVAILABLE, error))
}

pub(super) fn link_config(config: &Config) -> Result<LinkConfig, Failure> {
    let master = &config.master;
    let wrong = |error: &dyn std::fmt::Display| Failure::new(exit::CONFIG, error);
    let password = Secret::read(&master.password_file).map_err(|error| wrong(&error))?;
    let tls = match &master.tls_ca_file {
        None => Tls::Off,
        Some(authorities) => {
            let name = server_name(&master.address).map_err(|error| wrong(&error))?;
            Tls::StartTls(Trust::load(authorities).map_err(|error| wrong(&error))?, name)
        }
    };
    let defaults = LinkConfig::new(&master.address, &master.user, password);
    Ok(LinkConfig {
        tls,
        silence: master.deadline.get(),
        connect_deadline: master.deadline.get(),
        connections: master.connections,
        ready: if config.mode == Mode::Shadow { 0 } else { defaults.ready },
        ..defaults
    })
}

pub(super) fn guard(config: &Config) -> Guard {
    Guard { share: config.guard.share, at_least: config.guard.at_least, at_most: config.guard.at_most }
}

fn options(config: &Config) -> Options {
    let (max_unattended, shadow) = (config.max_unattended.get(), config.mode == Mode::Shadow);
    Options { policy: policy(config), max_unattended, shadow }
}

pub(super) fn policy(config: &Config) -> Policy {
    let shadow = config.mode == Mode::Shadow;
    Policy {
        guard: guard(config),
        deadline: config.master.deadline.get(),
        short_deadline: config.master.short_deadline.get(),
        replay_concurrency: config.replay.concurrency,
        replay_rate: config.replay.rate,
        // In shadow nothing comes through us, and every deletion would count.
        burst: if shadow { Duration::ZERO } else { config.guard.burst.get() },
        postpone: config.replay.postpone.get(),
        ghosts_per_day: config.backends.as_ref().map_or(0, |backends| backends.ghosts_per_day),
        ..Policy::default()
    }
}

fn server_config(config: &Config, reload: &mut Reload) -> Result<ServerConfig, Failure> {
    let mupdate = &config.mupdate;
    let gate = reload.gate(&mupdate.users_file)?;
    let tls = reload.tls(mupdate.certificate.as_ref(), mupdate.key.as_ref())?;
    let servername = mupdate.servername.clone().unwrap_or_else(host_name);
    Ok(ServerConfig {
        allow_plaintext: mupdate.allow_plaintext,
        require_tls: mupdate.require_tls,
        tls,
        login_timeout: mupdate.login_timeout.get(),
        failed_login_delay: mupdate.failed_login_delay.get(),
        write_stall: mupdate.write_stall.get(),
        max_connections: mupdate.max_connections,
        max_unauthenticated: mupdate.max_unauthenticated,
        ..ServerConfig::new(servername, gate)
    })
}

pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "ravenry".into() } else { name.trim().to_owned() }
}

async fn measure(desk: Arc<Desk>, recorder: PrometheusHandle) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        metrics::gauge(&desk.status(), unix());
        // Durations are kept one by one until they are put into their buckets, scraped or not.
        recorder.run_upkeep();
    }
}
