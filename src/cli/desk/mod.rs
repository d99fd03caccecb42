//! What the control socket and the monitors reach of a running Ravenry: a room for each group of requests.
//!
//! | file | what |
//! |---|---|
//! | `backup` | a copy of the state |
//! | `conflicts` | names that a person has to decide about |
//! | `status` | where things stand |
//! | `turn` | what must not happen twice at a time |

mod backup;
mod conflicts;
mod status;
mod turn;

use serde_json::Value;

use super::serve::unix;
use crate::admin::Ask;
use crate::admin::server::{Operator, Session};
use crate::admin::status::Status;
use crate::authority::master::BoxFuture;
use crate::authority::task::{Authority, Order};
use crate::config::Config;
use crate::mupdate::server::Server;
use turn::Turns;

/// What the control socket reaches; clones are the same desk.
#[derive(Clone)]
pub(super) struct Desk {
    authority: Authority,
    server: Server,
    master_address: String,
    started: u64,
    turns: Turns,
}

impl Desk {
    pub(super) fn new(config: &Config, authority: Authority, server: Server) -> Self {
        Self {
            authority,
            server,
            master_address: config.master.address.clone(),
            started: unix(),
            turns: Turns::default(),
        }
    }

    async fn order(&self, order: Order) -> Result<Value, String> {
        self.authority.order(order).await.map_err(|stopped| stopped.to_string())?;
        Ok(Value::Null)
    }

    async fn attend(self, ask: Ask, session: Session) -> Result<Value, String> {
        match ask {
            Ask::Status => in_json(Operator::status(&self)),
            Ask::StandIn => self.order(Order::StandIn).await,
            Ask::Follow => self.order(Order::Follow).await,
            Ask::Conflicts(ask) => conflicts::attend(&self, ask, session.replies).await,
            Ask::Backup { path } => in_json(backup::attend(&self, &path).await?),
        }
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
