//! The invariant: what the ledger says, what the backends hold, and what the master, Ravenry and the frontends list
//! are one and the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::ledger::{Book, Known, Ledger, Loss, inbox};
use super::schedule::Home;
use crate::agreement::{Agreement, Difference};
use crate::clients::{Completion, Imap, PASSWORD};
use crate::murder::{Dump, Entry, Murder, Node};
use crate::postbox::Postbox;
use crate::stage::Stage;

/// The backend with `delete_mode: immediate`.
const TELLS_NOBODY: &str = "be2.murder.test";
/// For lists of some hundred names to agree once everything is back.
const AGREED: Duration = Duration::from_secs(60);
/// For an audit of some hundred names, of which busy ones are looked at again.
const AUDITED: Duration = Duration::from_secs(180);
/// For Ravenry to find out how operations ended that nobody tells it of; a backend that was away is asked again later.
const FOUND_OUT: Duration = Duration::from_secs(180);

/// What Cyrus does by itself, and is no loss of ours. Each is counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exceptions {
    /// Listed mailboxes that `delete_mode: immediate` deleted without telling the master; an audit took them off.
    pub ghosts: usize,
    /// Frontends that had to be restarted because a slave and an imapd waited for each other (Cyrus issue 5926).
    pub deadlocks: usize,
    /// Messages that a backend stored twice.
    pub twice: usize,
    /// Names of which the lists and the backend said different things, before an audit and `ctl_mboxlist -m`: what
    /// a backend did, or undid, and could not tell because it was cut off or killed. None of them was promised.
    pub announced: usize,
    /// Names that were kept as unconfirmed or in conflict, and a person decided about.
    pub decided: usize,
    /// Mailboxes that the other backend still has of an XFER that was refused or not answered: Cyrus makes them there first,
    /// and leaves them when it cannot go on. Every list has the user where the mail is.
    pub left_behind: usize,
    /// Messages in such a copy: a frontend that had not heard of an earlier XFER yet delivered there while the copy was
    /// made, and the backend took them. That makes the XFER fail. Ravenry sees only the frontend's 250.
    pub stranded: usize,
    /// Mailboxes that their own backend cannot open any more, about which nothing was promised: it was killed while it
    /// made or deleted them.
    pub unreadable: usize,
    /// Renames that were not answered, after which both names are there: a backend was killed half-way.
    pub half_renamed: usize,
}

/// What was compared, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Names that had to be as promised.
    pub names: usize,
    /// Messages that had to be where they belong.
    pub messages: usize,
    /// Messages that wait in the queue.
    pub queued: usize,
    /// Messages that went back to their sender.
    pub returned: usize,
    /// Messages that went with a folder that its user deleted.
    pub deleted: usize,
    /// What is no loss.
    pub exceptions: Exceptions,
    /// Broken promises.
    pub losses: Vec<Loss>,
}

impl Verdict {
    pub(super) fn lost(&mut self, about: &str, what: String) {
        self.losses.push(Loss { what, about: about.to_owned() });
    }
}

/// Compares everything. Nobody works any more, no fault is left, and Ravenry follows.
pub async fn check(stage: &Stage, ledger: &Ledger, postbox: &Postbox, verdict: &mut Verdict) -> Result<()> {
    let agreement = stage.agreement().await?;
    found_out(stage).await;
    as_users_find_it(stage, &agreement, ledger, verdict).await?;
    put_right(stage, &agreement, ledger, verdict).await?;
    let left_behind = |difference: &Difference| ledger.book().left_behind(difference);
    if let Err(error) = agreement.reached_but_for(AGREED, left_behind).await {
        for difference in agreement.differences().await?.into_iter().filter(|found| !left_behind(found)) {
            verdict.lost(name_of(&difference), format!("no agreement: {difference}"));
        }
        tracing::warn!("{error:#}");
    }
    verdict.exceptions.left_behind =
        agreement.differences().await?.iter().filter(|found| left_behind(found)).count();
    for crash in stage.murder.mm.crashes().await? {
        verdict.lost("the master", format!("the master crashed: {crash}"));
    }
    let master = stage.murder.mm.dump().await?;
    names(&ledger.book(), &master, verdict);
    let found = everything(&stage.murder, &master, ledger).await?;
    for (name, why) in &found.unreadable {
        let promised = ledger.book().names.get(name).is_some_and(|page| page.settled().is_some());
        match promised {
            true => verdict.lost(name, format!("{name} cannot be opened: {why}")),
            false => verdict.exceptions.unreadable += 1,
        }
    }
    messages(stage, ledger, postbox, &found, verdict).await
}

/// Ravenry finds out by itself what became of operations that it was killed in, and of reservations. What it cannot find
/// out shows afterwards.
async fn found_out(stage: &Stage) {
    let known = |status: &serde_json::Value| {
        status.pointer("/left_over/count") == Some(&0.into()) && status["reserved"] == 0
    };
    if let Err(error) = stage.ravenry.wait_for(FOUND_OUT, "nothing left over", known).await {
        tracing::warn!("{error:#}");
    }
}

/// Before anybody puts anything right: what was answered OK is so in every list.
async fn as_users_find_it(
    stage: &Stage,
    agreement: &Agreement<'_>,
    ledger: &Ledger,
    verdict: &mut Verdict,
) -> Result<()> {
    // The frontends may be about to take their list anew.
    let settled =
        agreement.reached_but_for(AGREED, |difference| !matches!(difference, Difference::List { .. }));
    if let Err(error) = settled.await {
        tracing::warn!("{error:#}");
    }
    let [fe1, fe2] = stage.murder.frontends();
    let lists = [
        ("the master", stage.murder.mm.dump().await?),
        ("Ravenry", stage.list().await?),
        ("fe1", fe1.dump().await?),
        ("fe2", fe2.dump().await?),
    ];
    let book = ledger.book();
    verdict.names = book.names.values().filter(|page| page.sure().is_some()).count();
    for (whose, list) in &lists {
        promised(&book, whose, list, verdict);
    }
    Ok(())
}

/// What nothing went wrong with is in a list as it was promised. A name that was deleted on a backend which tells nobody
/// of that may be listed.
fn promised(book: &Book, whose: &str, list: &Dump, verdict: &mut Verdict) {
    for (name, page) in &book.names {
        let Some(known) = page.sure() else { continue };
        let entry = list.get(name);
        let ghost = *known == Known::Gone && entry.is_some_and(|e| e.server() == Some(TELLS_NOBODY));
        if !ghost && !is(known, entry) {
            verdict.lost(name, format!("{name}: promised {known:?}, but {whose} has {entry:?}"));
        }
    }
}

fn is(known: &Known, entry: Option<&Entry>) -> bool {
    match known {
        Known::Gone => entry.is_none(),
        Known::There(rights) => {
            entry.is_some_and(|entry| entry.is_active() && entry.acl.rights("anyone") == *rights)
        }
    }
}

/// What a person does after a bad day: decides what is in doubt by what the backends hold, has each backend
/// announce what it could not tell, and has ghosts taken off.
async fn put_right(
    stage: &Stage,
    agreement: &Agreement<'_>,
    ledger: &Ledger,
    verdict: &mut Verdict,
) -> Result<()> {
    let list = stage.list().await?;
    for difference in agreement.differences().await? {
        tracing::info!("{difference}");
        match difference {
            Difference::Ghost { .. } => verdict.exceptions.ghosts += 1,
            // Where only the master lacks it, it is unconfirmed, and everybody can reach it.
            Difference::Unlisted { ref name, .. }
                if ledger.book().is_promised(name) && list.get(name).is_none() =>
            {
                verdict.lost(name, format!("vanished from every list: {difference}"));
            }
            _ => verdict.exceptions.announced += 1,
        }
    }
    // What it cannot put right shows afterwards.
    let audited = stage.ravenry.cli_within(AUDITED, &["audit", "--fix", "--yes"]).await?;
    tracing::info!("{}", audited.said());
    for backend in stage.murder.backends() {
        // An audit leaves a ghost with whose name the master owes an answer. Many of those want a person's word.
        let preview = backend.mboxlist_preview().await?.success()?;
        let count = preview.said().matches("Remove from MUPDATE").count().to_string();
        let server = backend.server();
        if count != "0" {
            let allow = ["allow-removals", "--server", &server, "--count", &count];
            stage.ravenry.cli(&allow).await?.success()?;
        }
        let pushed = backend.mboxlist_push().await?.success()?;
        if pushed.said().contains("Remove Local") {
            verdict.lost(backend.name(), format!("ctl_mboxlist -m deleted mailboxes: {}", pushed.said()));
        }
    }
    let listed = stage.ravenry.cli(&["conflicts", "list", "--json"]).await?.success()?;
    let mut held = BTreeSet::new();
    for backend in stage.murder.backends() {
        held.extend(backend.dump().await?.local().map(|(name, _)| name.clone()));
    }
    for line in listed.stdout.lines() {
        let dispute: serde_json::Value = serde_json::from_str(line)?;
        let Some(name) = dispute.get("name").and_then(serde_json::Value::as_str) else { continue };
        let here = dispute.get("ours").is_some_and(|ours| !ours.is_null());
        let keep = if here == held.contains(name) { "ours" } else { "master" };
        tracing::info!("{line}: keep {keep}");
        stage.ravenry.cli(&["conflicts", "resolve", name, "--keep", keep, "--yes"]).await?.success()?;
        verdict.exceptions.decided += 1;
    }
    Ok(())
}

fn name_of(difference: &Difference) -> &str {
    match difference {
        Difference::List { name, .. }
        | Difference::Ghost { name, .. }
        | Difference::Reserved { name, .. }
        | Difference::Unlisted { name, .. }
        | Difference::Held { name, .. } => name,
        Difference::MasterDied => "the master",
    }
}

/// Every name is one of those things that it may be; of a rename in doubt one name is there; users are where they may be.
fn names(book: &Book, master: &Dump, verdict: &mut Verdict) {
    for (name, page) in &book.names {
        let entry = master.get(name);
        if !page.possible().iter().any(|known| is(known, entry)) {
            let possible = page.possible();
            verdict.lost(name, format!("{name}: may be {possible:?}, but the master has {entry:?}"));
        }
    }
    let active = |name: &str| master.get(name).is_some_and(Entry::is_active);
    for (old, new) in &book.renames_in_doubt {
        match (active(old), active(new)) {
            (false, false) => verdict.lost(old, format!("{old} was to be renamed {new}: neither is there")),
            (true, true) => verdict.exceptions.half_renamed += 1,
            _ => {}
        }
    }
    for (user, homes) in &book.homes {
        let name = inbox(user);
        let may = |home: &Home| ["be1.murder.test", "be2.murder.test"].get(home.index()).copied();
        let there = master.get(&name).and_then(Entry::server);
        if !homes.iter().any(|home| may(home) == there) {
            verdict.lost(&name, format!("{name} may be at {homes:?}, but is at {there:?}"));
        }
    }
}

/// What the backends hold.
#[derive(Default)]
struct Found {
    /// In which mailboxes, by internal names, each message is; as often as it is there.
    places: BTreeMap<String, Vec<String>>,
    /// Messages in copies that an XFER left behind.
    stranded: BTreeSet<String>,
    /// Mailboxes that cannot be opened, and why.
    unreadable: Vec<(String, String)>,
}

async fn everything(murder: &Murder, master: &Dump, ledger: &Ledger) -> Result<Found> {
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
async fn messages(
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

#[cfg(test)]
mod tests {
    use super::super::ledger::Answer;
    use super::super::schedule::{Deed, Door};
    use super::*;

    fn does(ledger: &Ledger, deed: Deed, answer: Answer) {
        ledger.answered("a", Door::Fe1, &deed, ledger.now(), &answer);
    }

    /// How many losses two looks at this list find.
    fn losses(ledger: &Ledger, entries: &[(&str, Entry)]) -> usize {
        let list = Dump(entries.iter().map(|(name, entry)| ((*name).to_owned(), entry.clone())).collect());
        let (book, mut verdict) = (ledger.book(), Verdict::default());
        promised(&book, "the master", &list, &mut verdict);
        names(&book, &list, &mut verdict);
        verdict.losses.len()
    }

    fn at(server: &str, acl: &str) -> Entry {
        Entry::active(&format!("{server}.murder.test!default"), acl)
    }

    #[test]
    fn a_promise_that_is_not_kept_is_a_loss() {
        let ledger = Ledger::open();
        does(&ledger, Deed::Create("m".to_owned()), Answer::Done);
        does(&ledger, Deed::SetAcl("m".to_owned(), "lr"), Answer::Done);
        assert_eq!(losses(&ledger, &[("user.a.m", at("be1", "anyone\tlr\t"))]), 0);
        assert!(losses(&ledger, &[]) > 0, "it vanished");
        assert!(losses(&ledger, &[("user.a.m", at("be1", ""))]) > 0, "it lost its rights");
        assert!(
            losses(&ledger, &[("user.a.m", Entry::reserved("be1.murder.test!default"))]) > 0,
            "it is hidden"
        );
        does(&ledger, Deed::Delete("m".to_owned()), Answer::Done);
        assert_eq!(losses(&ledger, &[]), 0);
        assert!(losses(&ledger, &[("user.a.m", at("be1", ""))]) > 0, "it came back");
    }

    #[test]
    fn what_was_not_answered_ends_in_one_of_two_ways() {
        let ledger = Ledger::open();
        does(&ledger, Deed::Create("m".to_owned()), Answer::Done);
        does(&ledger, Deed::Rename("m".to_owned(), "n".to_owned()), Answer::Unknown(String::new()));
        for name in ["user.a.m", "user.a.n"] {
            assert_eq!(losses(&ledger, &[(name, at("be1", ""))]), 0);
        }
        assert!(losses(&ledger, &[]) > 0, "neither of both is there");
    }
}
