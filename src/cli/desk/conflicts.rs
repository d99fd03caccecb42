//! Names that wait for a person: in conflict, or taken away by the master's list and not confirmed.

use serde_json::Value;

use super::Desk;
use crate::admin::server::Replies;
use crate::admin::{ConflictsAsk, Disagreement, Dispute, Keep};
use crate::authority::machine;
use crate::authority::write::Outcome;
use crate::list::{Entry, Held, MailboxName, Text};
use crate::store::{Conflict, Snapshot, StoreError};

/// Names read at a time.
const PAGE: usize = 1000;

pub(super) async fn attend(desk: &Desk, ask: ConflictsAsk, replies: Replies) -> Result<Value, String> {
    desk.needs_list(&replies).await?;
    match ask {
        ConflictsAsk::Resolve { name, keep } => resolve(desk, &name, keep).await,
        ConflictsAsk::List => {
            let snapshot = desk.authority.store().snapshot().map_err(|error| error.to_string())?;
            tokio::task::spawn_blocking(move || list(&snapshot, &replies)).await.map_err(|e| e.to_string())?
        }
        ConflictsAsk::Show { name } => {
            let snapshot = desk.authority.store().snapshot().map_err(|error| error.to_string())?;
            let name = name.name()?;
            let found = show(&snapshot, &name).map_err(|error| error.to_string())?;
            found.map_or_else(|| Err(undisputed(&name)), super::in_json)
        }
    }
}

fn undisputed(name: &MailboxName) -> String {
    format!("{name} is neither in conflict nor unconfirmed")
}

async fn resolve(desk: &Desk, name: &Text, keep: Keep) -> Result<Value, String> {
    let name = name.name()?;
    let keep = match keep {
        Keep::Master => machine::Keep::Theirs,
        Keep::Ours => machine::Keep::Ours,
    };
    match desk.authority.resolve(name.clone(), keep).await {
        Outcome::Done => Ok(Value::Null),
        Outcome::Refused(refusal) => Err(format!("{name}: {}", refusal.text())),
        Outcome::Unavailable => Err("that cannot be decided now: see `ravenry status`".into()),
    }
}

fn list(snapshot: &Snapshot, replies: &Replies) -> Result<Value, String> {
    let failed = |error: StoreError| error.to_string();
    let mut last: Option<MailboxName> = None;
    loop {
        let page = snapshot.conflicts(last.as_ref(), PAGE).map_err(failed)?;
        for conflict in &page {
            replies.blocking_item(&conflicting(conflict))?;
        }
        let Some(conflict) = page.into_iter().next_back() else { break };
        last = Some(conflict.name);
    }
    last = None;
    loop {
        let page = snapshot.unconfirmed(last.as_ref(), PAGE).map_err(failed)?;
        for (name, theirs) in &page {
            let ours = snapshot.get(name).map_err(failed)?;
            replies.blocking_item(&unconfirmed(name, theirs.as_ref(), ours.as_ref()))?;
        }
        let Some((name, _)) = page.into_iter().next_back() else { return Ok(Value::Null) };
        last = Some(name);
    }
}

fn show(snapshot: &Snapshot, name: &MailboxName) -> Result<Option<Disagreement>, StoreError> {
    if let Some(conflict) = snapshot.conflict(name)? {
        return Ok(Some(conflicting(&conflict)));
    }
    let Some(theirs) = snapshot.unconfirmed_of(name)? else { return Ok(None) };
    Ok(Some(unconfirmed(name, theirs.as_ref(), snapshot.get(name)?.as_ref())))
}

fn conflicting(conflict: &Conflict) -> Disagreement {
    let held = |entry: &Option<Entry>| entry.as_ref().map(Held::from);
    Disagreement {
        name: (&conflict.name).into(),
        dispute: Dispute::Conflict,
        base: held(&conflict.base),
        theirs: held(&conflict.theirs),
        ours: held(&conflict.ours),
        since: Some(conflict.at_unix),
    }
}

fn unconfirmed(name: &MailboxName, theirs: Option<&Entry>, ours: Option<&Entry>) -> Disagreement {
    Disagreement {
        name: name.into(),
        dispute: Dispute::Unconfirmed,
        base: None,
        theirs: theirs.map(Held::from),
        ours: ours.map(Held::from),
        since: None,
    }
}
