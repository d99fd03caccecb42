//! What the control socket and the monitors reach of a running Ravenry: a room for each group of requests.
//!
//! | file | what |
//! |---|---|
//! | `audit` | the list, and what backends hold |
//! | `backup` | a copy of the state |
//! | `conflicts` | names that a person has to decide about |
//! | `health` | whether there is progress, and whether the murder may be served |
//! | `frontend` | frontends taken out of service and back |
//! | `list` | the list itself: find, export, import, learn |
//! | `plan` | what would change, and why |
//! | `queue` | deliveries that wait |
//! | `status` | where things stand |
//! | `task` | reseed, accept |
//! | `turn` | what must not happen twice at a time |
//! | `view` | what monitors and browsers see |

mod audit;
mod backup;
mod conflicts;
mod frontend;
mod health;
mod history;
mod list;
mod plan;
mod queue;
mod status;
mod task;
mod turn;
mod view;

use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use super::deliveries::Deliveries;
use super::imap_face::Clients;
use super::onlooker::Asking;
use super::reload::Reloads;
use super::serve::guard;
use crate::admin::server::{Operator, Replies, Session};
use crate::admin::status::{ConfigurationStatus, Status, span};
use crate::admin::{Ask, ConflictsAsk, Keep};
use crate::authority::guard::Guard;
use crate::authority::machine::State;
use crate::authority::master::BoxFuture;
use crate::authority::task::{Authority, Order};
use crate::config::{Config, Mode};
use crate::mupdate::client::LinkConfig;
use crate::mupdate::server::Server;
use crate::net::clock::unix;
use crate::net::live::Live;
use crate::spool::Spool;
use turn::Turns;
pub(super) use view::Window;

/// What the control socket reaches; clones are the same desk.
#[derive(Clone)]
pub(super) struct Desk {
    authority: Authority,
    server: Server,
    deliveries: Option<Deliveries>,
    clients: Option<Clients>,
    master_address: String,
    started: u64,
    turns: Turns,
    link: Live<LinkConfig>,
    guard: Live<Guard>,
    asking: Option<Asking>,
    configuration: Live<ConfigurationStatus>,
    shadow: bool,
    reloads: Option<Reloads>,
}

impl Desk {
    pub(super) fn new(
        config: &Config,
        (authority, server): (Authority, Server),
        link: Live<LinkConfig>,
        asking: Option<Asking>,
        deliveries: Option<Deliveries>,
        clients: Option<Clients>,
    ) -> Self {
        Self {
            link,
            guard: Live::new(guard(config)),
            asking,
            configuration: Live::new(ConfigurationStatus::default()),
            authority,
            server,
            deliveries,
            clients,
            master_address: config.master.address.clone(),
            started: unix(),
            turns: Turns::default(),
            shadow: config.mode == Mode::Shadow,
            reloads: None,
        }
    }

    /// What a reload changes of it: how much a person has to confirm, and what is told of the configuration.
    pub(super) fn on_reload(&self) -> (Live<Guard>, Live<ConfigurationStatus>) {
        (self.guard.clone(), self.configuration.clone())
    }

    /// Whom to ask for the configuration to be read again.
    pub(super) fn reloading_by(self, reloads: Reloads) -> Self {
        Self { reloads: Some(reloads), ..self }
    }

    async fn reload(&self) -> Result<Value, String> {
        let busy = || "Ravenry is starting or stopping".to_owned();
        let (reply, done) = oneshot::channel();
        self.reloads.as_ref().ok_or_else(busy)?.send(reply).await.map_err(|_| busy())?;
        in_json(done.await.map_err(|_| busy())??)
    }

    /// Refuses what needs a list while there is none, and says what is missing; of one that is too old to be
    /// served, how old it is.
    async fn needs_list(&self, replies: &Replies) -> Result<(), String> {
        let stats = self.authority.store().stats();
        let standing = self.authority.standing().borrow().clone();
        match (stats.complete, standing.state) {
            (true, State::Learning) => {
                let age = stats.attended_at.map(|at| format!(", {} ago", span(unix().saturating_sub(at))));
                let when = age.unwrap_or_default();
                let text = format!("this is the list that was served last{when}; it is not served now");
                replies.notice(text).await
            }
            (true, _) => Ok(()),
            (false, _) => {
                let master = match standing.last_error {
                    Some(error) => format!("the master at {} cannot be read: {error}", self.master_address),
                    None => format!("the master at {} has not sent its list yet", self.master_address),
                };
                Err(format!(
                    "there is no list yet: {master}; `ravenry list learn` or `ravenry list import` can give one"
                ))
            }
        }
    }

    /// The queue, where deliveries are configured.
    fn spool(&self) -> Option<&Spool> {
        self.deliveries.as_ref().map(|deliveries| &deliveries.spool)
    }

    async fn order(&self, order: Order) -> Result<Value, String> {
        self.authority.order(order).await.map(|()| Value::Null)
    }

    async fn attend(self, ask: Ask, session: Session) -> Result<Value, String> {
        if self.shadow && changes_the_master(&ask) {
            return Err("in shadow mode nothing is changed at the master, and nobody is stood in for".into());
        }
        match ask {
            Ask::Status => in_json(Operator::status(&self)),
            Ask::StandIn => self.order(Order::StandIn).await,
            Ask::Follow => self.order(Order::Follow).await,
            Ask::Queue(ask) => queue::attend(&self, ask, session).await,
            Ask::Frontend(ask) => frontend::attend(&self, &ask),
            Ask::AllowRemovals { server, count } => {
                self.server.allow_removals(&server, count);
                Ok(Value::Null)
            }
            Ask::Conflicts(ask) => conflicts::attend(&self, ask, session.replies).await,
            Ask::Plan { wanted, brief } => {
                in_json(plan::attend(&self, wanted, brief, session.replies).await?)
            }
            Ask::Reseed { removals } => in_json(task::reseed(&self, removals, &session.replies).await?),
            Ask::Accept { forget } => in_json(task::accept(&self, forget, &session.replies).await?),
            Ask::Expect { server, seconds } => {
                let time = Duration::from_secs(seconds);
                self.order(Order::Expect { server: server.bytes()?, time }).await
            }
            Ask::List(ask) => list::attend(&self, ask, session).await,
            Ask::History { name, most } => history::attend(&self, &name, most, session.replies).await,
            Ask::Audit { fix } => in_json(audit::attend(&self, fix, &session.replies).await?),
            Ask::Reload => self.reload().await,
            Ask::Health { ready } => in_json(health::attend(&self, ready)?),
            Ask::Backup { path } => in_json(backup::attend(&self, &path, session.replies).await?),
        }
    }
}

/// What only somebody may ask for whom the murder listens to us.
fn changes_the_master(ask: &Ask) -> bool {
    match ask {
        Ask::StandIn | Ask::Follow | Ask::Reseed { .. } | Ask::AllowRemovals { .. } => true,
        Ask::Audit { fix } => *fix,
        Ask::Conflicts(ConflictsAsk::Resolve { keep, .. }) => *keep == Keep::Ours,
        Ask::Conflicts(_)
        | Ask::Status
        | Ask::Plan { .. }
        | Ask::Accept { .. }
        | Ask::Expect { .. }
        | Ask::Queue(_)
        | Ask::Frontend(_)
        | Ask::List(_)
        | Ask::History { .. }
        | Ask::Reload
        | Ask::Health { .. }
        | Ask::Backup { .. } => false,
    }
}

fn in_json(answer: impl serde::Serialize) -> Result<Value, String> {
    serde_json::to_value(answer).map_err(|error| error.to_string())
}

impl Operator for Desk {
    fn status(&self) -> Status {
        status::status(self)
    }

    fn answer(&self, ask: Ask, session: Session) -> BoxFuture<Result<Value, String>> {
        Box::pin(self.clone().attend(ask, session))
    }
}
