//! The invariant: what the ledger says, what the backends hold, and what the master, Ravenry and the frontends list
//! are one and the same.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;

use super::ledger::{Book, Known, Ledger, inbox};
use super::mail::{everything, messages};
use super::schedule::Home;
use super::verdict::Verdict;
use crate::agreement::{Agreement, Difference};
use crate::murder::{Dump, Entry};
use crate::postbox::Postbox;
use crate::stage::Stage;

/// The backend with `delete_mode: immediate`.
const TELLS_NOBODY: &str = "be2.murder.test";
/// For lists of some hundred names to agree once everything is back.
const AGREED: Duration = Duration::from_secs(60);
/// For an audit of some thousand names, of which busy ones are looked at again.
const AUDITED: Duration = Duration::from_secs(1200);
/// For a backend to push a list of some thousand names.
const PUSHED: Duration = Duration::from_secs(600);
/// For one command about a list of some thousand names.
const ASKED: Duration = Duration::from_secs(120);
/// For Ravenry to find out how operations ended that nobody tells it of; a backend that was away is asked again later.
const FOUND_OUT: Duration = Duration::from_secs(180);

/// Compares everything. Nobody works any more, no fault is left, and Ravenry follows.
pub async fn check(stage: &Stage, ledger: &Ledger, postbox: &Postbox, verdict: &mut Verdict) -> Result<()> {
    let agreement = stage.agreement().await?;
    found_out(stage).await;
    as_users_find_it(stage, &agreement, ledger, verdict).await?;
    // What it cannot put right shows afterwards.
    if let Err(error) = put_right(stage, &agreement, ledger, verdict).await {
        tracing::warn!("{error:#}");
    }
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
    match stage.ravenry.cli_within(AUDITED, &["audit", "--fix", "--yes"]).await {
        Ok(audited) => tracing::info!("{}", audited.said()),
        Err(error) => tracing::warn!("{error:#}"),
    }
    for backend in stage.murder.backends() {
        // An audit leaves a ghost with whose name the master owes an answer. Many of those want a person's word.
        let preview = backend.mboxlist_preview().await?.success()?;
        let count = preview.said().matches("Remove from MUPDATE").count().to_string();
        let server = backend.server();
        if count != "0" {
            let allow = ["allow-removals", "--server", &server, "--count", &count];
            stage.ravenry.cli_within(ASKED, &allow).await?.success()?;
        }
        let pushed = backend.mboxlist_push_within(PUSHED).await?.success()?;
        if pushed.said().contains("Remove Local") {
            verdict.lost(backend.name(), format!("ctl_mboxlist -m deleted mailboxes: {}", pushed.said()));
        }
    }
    let listed = stage.ravenry.cli_within(ASKED, &["conflicts", "list", "--json"]).await?.success()?;
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
        let resolve = ["conflicts", "resolve", name, "--keep", keep, "--yes"];
        stage.ravenry.cli_within(ASKED, &resolve).await?.success()?;
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
