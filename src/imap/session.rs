//! One session from its login to its end.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

use super::Shared;
use super::frontends::Lease;
use super::login::LoggedIn;
use super::relay::{End, Relay};
use super::watch::Watch;
use super::wire::hang_up;
use crate::net::stop::until;

/// How often a session that is to end looks for a good moment.
const LOOK: Duration = Duration::from_millis(100);

/// Said when the frontend is gone (RFC 5530 §3 for the code).
const LOST: &[u8] = b"* BYE [UNAVAILABLE] The mail system lost this session, please connect again\r\n";
const STOPPING: &[u8] =
    b"* BYE [UNAVAILABLE] This part of the mail system is being restarted, please connect again\r\n";
const IDLE: &[u8] = b"* BYE Idle for too long\r\n";

/// Why a session was over, for the log and the counters.
#[derive(Debug, thiserror::Error)]
pub(super) enum Over {
    #[error(transparent)]
    Ended(#[from] End),
    #[error("nothing passed for too long")]
    Idle,
    #[error("the frontend is down, and owes the client an answer")]
    Silent,
    #[error("stopping, or the frontend is taken out of service")]
    Stopping,
}

impl Over {
    /// Somebody sent what cannot be followed: out of malice or by mistake, an operator may want to know.
    pub(super) fn is_fault(&self) -> bool {
        matches!(self, Self::Ended(End::ClientFault(_) | End::ServerFault(_)))
    }
}

/// Carries a session to its end.
pub(super) async fn run(shared: &Shared, logged_in: LoggedIn, mut stop: watch::Receiver<bool>) -> Over {
    let LoggedIn { mut relay, lease, user } = logged_in;
    let mut drained = lease.drained();
    let over = tokio::select! {
        over = carry(shared, &mut relay, &lease, user) => over,
        () = until(&mut stop) => drain(shared, &mut relay).await,
        () = until(&mut drained) => drain(shared, &mut relay).await,
    };
    let (client_lost, words) = match &over {
        Over::Ended(End::Client | End::ClientFailed(_)) => (true, LOST),
        Over::Ended(End::Frontend { said_bye: true }) => (true, LOST),
        Over::Ended(End::Frontend { .. } | End::FrontendFailed(_) | End::ServerFault(_)) => {
            shared.frontends.suspect(lease.address(), "a session was lost");
            (false, LOST)
        }
        Over::Ended(End::ClientFault(_)) | Over::Idle => (false, IDLE),
        Over::Silent => (false, LOST),
        Over::Stopping => (false, STOPPING),
    };
    let may_speak = relay.may_speak();
    let (client, unsent) = relay.into_client();
    let mut last = unsent;
    if !client_lost && may_speak {
        match &over {
            Over::Ended(End::ClientFault(fault)) => {
                last.extend_from_slice(format!("* BYE {fault}\r\n").as_bytes());
            }
            _ => last.extend_from_slice(words),
        }
    }
    hang_up(client, &last).await;
    over
}

async fn carry(shared: &Shared, relay: &mut Relay, lease: &Lease, user: Option<Vec<u8>>) -> Over {
    let mut watch = Watch::new(user);
    let patience = shared.config.idle_timeout;
    let idle = sleep(patience);
    tokio::pin!(idle);
    let mut down = lease.down();
    // Made when it is needed: most sessions never see their frontend down.
    let mut suspicion: Option<Pin<Box<Sleep>>> = None;
    loop {
        tokio::select! {
            biased;
            happened = poll_fn(|cx| relay.poll(cx)) => match happened {
                Ok(notices) => {
                    if watch.notice(notices, &*shared.observer) {
                        relay.want_namespace();
                    }
                }
                Err(end) => return end.into(),
            },
            () = &mut idle => {
                if relay.take_passed() == (0, 0) {
                    return Over::Idle;
                }
                idle.as_mut().reset(Instant::now() + patience);
            }
            // A frontend that takes no new sessions may still serve those it has: only who waits in vain is let go.
            () = until(&mut down), if suspicion.is_none() => {
                relay.listen();
                suspicion = Some(Box::pin(sleep(shared.config.frontend_silence)));
            }
            () = passes(&mut suspicion) => {
                if *down.borrow() && relay.is_silent() {
                    return Over::Silent;
                }
                suspicion = None;
            }
        }
    }
}

/// Returns when the time has passed; never, where there is none.
async fn passes(time: &mut Option<Pin<Box<Sleep>>>) {
    match time {
        Some(time) => time.await,
        None => pending().await,
    }
}

/// Waits for a moment between two commands to say goodbye, no longer than the bound.
async fn drain(shared: &Shared, relay: &mut Relay) -> Over {
    let end = Instant::now() + shared.config.drain;
    loop {
        if relay.is_quiet() || Instant::now() >= end {
            return Over::Stopping;
        }
        tokio::select! {
            happened = poll_fn(|cx| relay.poll(cx)) => {
                if let Err(end) = happened {
                    return end.into();
                }
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
