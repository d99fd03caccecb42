//! The mail: what the backends hold, the queue keeps, and senders got back.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::ledger::{Ledger, inbox};
use super::verdict::Verdict;
use crate::clients::{Completion, Imap, PASSWORD};
use crate::murder::{Dump, Entry, Murder, Node};
use crate::postbox::Postbox;
use crate::stage::Stage;

/// What the backends hold.
#[derive(Default)]
pub(super) struct Found {
    /// In which mailboxes, by internal names, each message is; as often as it is there.
    places: BTreeMap<String, Vec<String>>,
    /// Messages in copies that an XFER left behind.
    stranded: BTreeSet<String>,
    /// Mailboxes that cannot be opened, and why.
    pub(super) unreadable: Vec<(String, String)>,
}

pub(super) async fn everything(murder: &Murder, master: &Dump, ledger: &Ledger) -> Result<Found> {
    let mut found = Found::default();
    for backend in murder.backends() {
        let users = master.0.iter().filter_map(|(name, entry)| {
            let user = name.strip_prefix("user.").filter(|user| !user.contains('.'))?;
            (entry.server() == Some(&backend.server())).then(|| user.to_owned())
        });
        for user in users {
            of_user(backend, &user, &mut found).await.with_context(|| format!("reading {user}'s mail"))?;
        }
    }
    for backend in murder.backends() {
        let held = backend.dump().await?;
        let mut copies = Found::default();
        let half_moved = ledger.book().half_moved();
        for user in half_moved {
            let (name, server) = (inbox(&user), backend.server());
            let elsewhere = master.get(&name).is_some_and(|entry| entry.server() != Some(&server));
            if elsewhere && held.get(&name).is_some_and(Entry::is_local) {
                of_user(backend, &user, &mut copies).await.with_context(|| format!("{user}'s copy"))?;
            }
        }
        found.stranded.extend(copies.places.into_keys());
    }
    Ok(found)
}

async fn of_user(backend: &Node, user: &str, found: &mut Found) -> Result<()> {
    let mut imap = Imap::connect(backend.imap_address()).await?;
    // An administrator in the user's place: newcomers have no password.
    let as_user = BASE64_STANDARD.encode(format!("{user}\0cyrus\0{PASSWORD}"));
    imap.run(&format!("AUTHENTICATE PLAIN {as_user}")).await?.ok()?;
    for mailbox in imap.list("INBOX*").await? {
        let name = mailbox.replacen("INBOX", &inbox(user), 1);
        let selected = imap.select(&mailbox).await?;
        if selected.completion != Completion::Ok {
            found.unreadable.push((name, selected.text));
        } else if !selected.untagged.iter().any(|line| line == "0 EXISTS") {
            for id in ids(&mut imap).await? {
                found.places.entry(id).or_default().push(name.clone());
            }
        }
    }
    Ok(())
}

/// The messages of the mailbox that is open.
async fn ids(imap: &mut Imap) -> Result<Vec<String>> {
    let fetched =
        imap.run("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])").await?.ok()?.untagged.concat();
    let pieces = fetched.split("<chaos-").skip(1);
    Ok(pieces.map(|piece| format!("chaos-{}", piece.split('@').next().unwrap_or_default())).collect())
}

/// Every message with a 250 is in its mailbox, or visibly in the queue, or was returned.
pub(super) async fn messages(
    stage: &Stage,
    ledger: &Ledger,
    postbox: &Postbox,
    found: &Found,
    verdict: &mut Verdict,
) -> Result<()> {
    let queued = queued(stage).await?;
    let returned: Vec<String> =
        postbox.kept().iter().map(|message| String::from_utf8_lossy(&message.text).into_owned()).collect();
    let book = ledger.book();
    for (id, message) in &book.messages {
        verdict.messages += 1;
        let marked = format!("<{id}@");
        let home = inbox(&message.user);
        let places = found.places.get(id).cloned().unwrap_or_default();
        let belongs = |place: &String| match &message.folder {
            // Cyrus puts it into the inbox where the folder is gone, or not everybody may post there.
            Some(_) => *place == home || place.starts_with(&format!("{home}.")),
            None => *place == home,
        };
        if places.iter().any(belongs) {
            verdict.exceptions.twice += usize::from(places.len() > 1);
        } else if found.stranded.contains(id) {
            tracing::info!("{id} is in a copy that an XFER left behind: {:?}", message.events);
            verdict.exceptions.stranded += 1;
        } else if queued.iter().any(|text| text.contains(&marked)) {
            verdict.queued += 1;
        } else if returned.iter().any(|text| text.contains(&marked)) {
            verdict.returned += 1;
            verdict.lost(id, format!("{id} was returned, and {} has a mailbox", message.user));
        } else if message.folder.as_ref().is_some_and(|folder| book.may_be_deleted(folder, message.begun)) {
            verdict.deleted += 1;
        } else {
            verdict.lost(id, format!("{id} to {} is nowhere (seen in {places:?})", message.user));
        }
    }
    Ok(())
}

/// The texts of what waits in the queue.
async fn queued(stage: &Stage) -> Result<Vec<String>> {
    let listed = stage.ravenry.cli(&["queue", "list", "--json"]).await?.success()?;
    let mut texts = Vec::new();
    for line in listed.stdout.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        if let Some(id) = message.get("id").and_then(serde_json::Value::as_str) {
            texts.push(stage.ravenry.cli(&["queue", "cat", id]).await?.success()?.stdout);
        }
    }
    Ok(texts)
}
