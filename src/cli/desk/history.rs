//! Who changed a name.

use serde_json::Value;

use super::Desk;
use crate::admin::server::Replies;
use crate::admin::{self, PastChange};
use crate::list::{Held, Text};
use crate::store::{Cause, Deed, Remembered};

pub(super) async fn attend(desk: &Desk, name: &Text, most: usize, replies: Replies) -> Result<Value, String> {
    let snapshot = desk.authority.store().snapshot().map_err(|error| error.to_string())?;
    let name = name.name()?;
    let tell = move || {
        for remembered in snapshot.history(&name, most).map_err(|error| error.to_string())? {
            replies.blocking_item(&past_change(remembered))?;
        }
        Ok(Value::Null)
    };
    tokio::task::spawn_blocking(tell).await.map_err(|error| error.to_string())?
}

fn past_change(remembered: Remembered) -> PastChange {
    let Remembered { deed: Deed { after, cause, state, at_unix, .. }, before } = remembered;
    let (cause, who) = match cause {
        Cause::Asked { identity, peer } => (admin::Cause::Asked, Some((identity, peer))),
        Cause::TakenBack { identity, peer } => (admin::Cause::TakenBack, Some((identity, peer))),
        Cause::Master => (admin::Cause::Master, None),
        Cause::Person => (admin::Cause::Person, None),
        Cause::Guard => (admin::Cause::Guard, None),
        Cause::Unfinished => (admin::Cause::Unfinished, None),
    };
    let (identity, peer) = who.unzip();
    PastChange {
        at: at_unix,
        state,
        cause,
        identity,
        peer,
        before: before.as_ref().map(Held::from),
        after: after.as_ref().map(Held::from),
    }
}
