//! The face to mail clients, from its configuration.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::onlooker::{Asking, Onlooker};
use super::reach::reach;
use super::reload::Reload;
use super::service::socket;
use super::{Failure, exit};
use crate::authority::task::Authority;
use crate::config::{Config, Imap};
use crate::imap::{ImapConfig, Listening, Proxy};
use crate::net::activated::{Activated, Passed};

/// What of it is to be seen and given orders.
#[derive(Clone)]
pub(super) struct Clients {
    pub(super) proxy: Proxy,
    pub(super) onlooker: Arc<Onlooker>,
}

/// The face while it listens.
pub(super) struct ImapFace {
    pub(super) clients: Clients,
    listening: JoinHandle<()>,
}

impl ImapFace {
    /// Listens, where the configuration has an `[imap]`, until `stop` turns true. Mail clients can be served
    /// whatever the list is worth: they are passed on to frontends, which have their own.
    pub(super) async fn start(
        config: &Config,
        authority: &Authority,
        asking: Option<&Asking>,
        stop: watch::Receiver<bool>,
        reload: &mut Reload,
        sockets: &mut Activated,
    ) -> Result<Option<Self>, Failure> {
        let Some(imap) = &config.imap else { return Ok(None) };
        let identity = reload.tls(imap.certificate.as_ref(), imap.key.as_ref())?;
        let onlooker = Onlooker::new(asking, authority.clone());
        let proxy = Proxy::start(proxy_config(imap)?, identity, onlooker.clone());
        let mut listeners = listen(&imap.listen, Listening::Clear, sockets.take(socket::IMAP)).await?;
        listeners.extend(listen(&imap.listen_tls, Listening::Tls, sockets.take(socket::IMAPS)).await?);
        let serving = proxy.clone();
        let listening = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            for (listener, listening) in listeners {
                let (proxy, stop) = (serving.clone(), stop.clone());
                all.spawn(async move { proxy.serve(listener, listening, stop).await });
            }
            while all.join_next().await.is_some() {}
        });
        Ok(Some(Self { clients: Clients { proxy, onlooker }, listening }))
    }

    /// Waits, bounded, until every session has come to its end.
    pub(super) async fn ended(self) {
        // It panicked: nothing is left to wait for.
        let _ = self.listening.await;
    }
}

/// Listens where the configuration says, or goes on with the sockets that the service manager has for it.
async fn listen(
    addresses: &[SocketAddr],
    listening: Listening,
    sockets: Vec<Passed>,
) -> Result<Vec<(TcpListener, Listening)>, Failure> {
    let unavailable = |at: String, error| Failure::new(exit::UNAVAILABLE, format!("{at}: {error}"));
    let mut listeners = Vec::new();
    for socket in sockets {
        let Passed::Tcp(tcp) = socket else {
            return Err(Failure::new(
                exit::CONFIG,
                "mail clients come over TCP: the service manager's socket is none",
            ));
        };
        let at = format!("{tcp:?}");
        let listener = tcp.set_nonblocking(true).and_then(|()| TcpListener::from_std(tcp));
        tracing::info!(socket = at, ?listening, "listening for mail clients where the service manager does");
        listeners.push((listener.map_err(|error| unavailable(at, error))?, listening));
    }
    if !listeners.is_empty() {
        return Ok(listeners);
    }
    for address in addresses {
        let listener =
            TcpListener::bind(address).await.map_err(|error| unavailable(address.to_string(), error))?;
        tracing::info!(%address, ?listening, "listening for mail clients");
        listeners.push((listener, listening));
    }
    Ok(listeners)
}

pub(super) fn proxy_config(imap: &Imap) -> Result<ImapConfig, Failure> {
    let frontend_tls = reach(imap.frontend_tls, imap.frontend_ca_file.as_deref())?;
    Ok(ImapConfig {
        frontend_tls,
        announce_clients: imap.proxy_protocol,
        balancers: imap.balancers.clone(),
        allow_plaintext: imap.allow_plaintext,
        login_timeout: imap.login_timeout.get(),
        idle_timeout: imap.idle_timeout.get(),
        drain: imap.drain.get(),
        check_every: imap.check_every.get(),
        frontend_silence: imap.frontend_silence.get(),
        mark_unavailable: imap.mark_unavailable,
        max_sessions: imap.max_sessions,
        max_per_client: imap.max_per_client,
        ..ImapConfig::new(imap.frontends.clone())
    })
}
