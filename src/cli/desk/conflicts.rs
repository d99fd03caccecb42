//! Names that a person has to decide about.

use serde_json::Value;

use super::Desk;
use crate::admin::server::Replies;
use crate::admin::{ConflictsAsk, Disagreement};
use crate::list::Held;
use crate::store::Conflict;

/// Conflicts read at a time.
const PAGE: usize = 1000;

pub(super) async fn attend(desk: &Desk, ask: ConflictsAsk, replies: Replies) -> Result<Value, String> {
    let snapshot = desk.authority.store().snapshot().map_err(|error| error.to_string())?;
    let reading = tokio::task::spawn_blocking(move || match ask {
        ConflictsAsk::List => {
            let mut last: Option<Conflict> = None;
            loop {
                let page = snapshot.conflicts(last.as_ref().map(|conflict| &conflict.name), PAGE);
                let page = page.map_err(|error| error.to_string())?;
                for conflict in &page {
                    replies.blocking_item(&disagreement(conflict))?;
                }
                last = page.into_iter().next_back();
                if last.is_none() {
                    return Ok(Value::Null);
                }
            }
        }
        ConflictsAsk::Show { name } => {
            let name = name.name()?;
            match snapshot.conflict(&name).map_err(|error| error.to_string())? {
                Some(conflict) => super::in_json(disagreement(&conflict)),
                None => Err(format!("{name} is not in conflict")),
            }
        }
    });
    reading.await.map_err(|error| error.to_string())?
}

fn disagreement(conflict: &Conflict) -> Disagreement {
    let held = |entry: &Option<crate::list::Entry>| entry.as_ref().map(Held::from);
    Disagreement {
        name: (&conflict.name).into(),
        base: held(&conflict.base),
        theirs: held(&conflict.theirs),
        ours: held(&conflict.ours),
        since: conflict.at_unix,
    }
}
