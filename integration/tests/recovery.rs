//! The master comes back with nothing: nobody notices, and one command makes it whole again.

use std::time::Duration;

use anyhow::{Result, ensure};
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::{Dump, Murder, Plan};
use ravenry_integration::ravenry::NOT_CONFIRMED;
use ravenry_integration::stage::Stage;

/// A list of a handful of names is judged, and given to the master, well within this.
const SOON: Duration = Duration::from_secs(30);

/// Asked for, and not given.
const UNAVAILABLE: i64 = 69;

/// So small a murder needs a strict guard.
const GUARD: &str = "[guard]\nat_least = 2\n";

async fn frontends_hold(murder: &Murder, list: &Dump) -> Result<()> {
    for frontend in murder.frontends() {
        let dump = frontend.dump().await?;
        for (name, entry) in &list.0 {
            ensure!(dump.get(name) == Some(entry), "{} lost {name}", frontend.name());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_master_is_rebuilt_and_nobody_loses_a_name() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, GUARD).await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    for folder in ["INBOX.one", "INBOX.two", "INBOX.My Folder"] {
        alice.create(folder).await?.ok()?;
    }
    alice.append("INBOX", "Subject: kept\r\n\r\nkept\r\n").await?.ok()?;
    let mut agreement = stage.agreement().await?;
    agreement.reached_within(SOON).await?;
    let good = murder.mm.dump().await?;
    ensure!(
        ravenry.cli(&["plan"]).await?.success()?.stdout.starts_with("nothing"),
        "a plan where nothing is to do"
    );

    murder.mm.stop_cyrus().await?;
    murder.mm.lose_list().await?;
    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("holding", SOON).await?;
    let reason = ravenry.status().await?["reason"].to_string();
    ensure!(reason.contains(&format!("lacks {}", good.0.len())), "{reason}");

    // Nobody notices.
    frontends_hold(murder, &good).await?;
    assert_eq!(alice.count("INBOX").await?, 1);
    alice.create("INBOX.three").await?.ok()?;
    for frontend in murder.frontends() {
        for user in ["alice", "bob"] {
            let delivery =
                frontend.lmtp().await?.deliver_one(user, &format!("{user}-{}", frontend.name())).await?;
            assert!(delivery.verdict().is_ok(), "{delivery:?}");
        }
    }

    // The old catastrophe: a second alice, and then the first one is deleted.
    let mut admin = murder.be2.imap("cyrus").await?;
    assert!(admin.create("user.alice").await?.ok().is_err(), "alice was granted twice");
    let pushed = murder.be1.mboxlist_push().await?;
    assert!(!pushed.said().contains("Remove Local"), "{pushed:?}");
    assert_eq!(murder.be1.imap("alice").await?.count("INBOX").await?, 3);

    // What would happen, and what an operator can do wrong.
    let plan = ravenry.cli(&["plan", "--for", "reseed", "--json"]).await?;
    assert_eq!(plan.exit, 1, "{plan:?}");
    for (name, _) in good.0.iter() {
        let step = plan.stdout.lines().find(|line| line.contains(&format!("{name:?},")));
        assert!(
            step.is_some_and(|step| step.contains(r#""at":"master""#) && step.contains(r#""step":"add""#)),
            "{name}: {step:?}"
        );
    }
    let accept = ravenry.cli(&["accept", "--yes"]).await?;
    assert_eq!(accept.exit, NOT_CONFIRMED, "{accept:?}");
    let accept = ravenry.cli(&["accept", "--yes", "--forget", "1"]).await?;
    assert_eq!(accept.exit, UNAVAILABLE, "{accept:?}");
    assert!(
        accept.said().contains(&format!("we would forget {} names, not 1", good.0.len() + 1)),
        "{accept:?}"
    );
    frontends_hold(murder, &good).await?;

    let reseed = ravenry.cli(&["reseed", "--yes"]).await?;
    assert!(reseed.said().contains("read again from") && reseed.exit == 0, "{reseed:?}");
    ravenry.wait_for_state("following", SOON).await?;
    agreement.master_was_restarted().await?;
    agreement.reached_within(SOON).await?;
    let rebuilt = murder.mm.dump().await?;
    ensure!(rebuilt.0.values().all(|entry| entry.remote), "the master lacks the remote flag: {rebuilt:?}");
    frontends_hold(murder, &good).await?;
    ravenry.cli(&["plan"]).await?.success()?;

    // A fresh frontend takes its list from the rebuilt master itself.
    let fe2 = &murder.fe2;
    fe2.stop_cyrus().await?;
    fe2.lose_list().await?;
    let direct = format!("s/^mupdate_server:.*/mupdate_server: {}/", murder.mm.mupdate_address());
    fe2.exec_root(&["sed", "-i", &direct, "/etc/imapd.conf"]).await?.success()?;
    fe2.start_cyrus().await?;
    eventually(SOON, "fe2 holding what the master holds", async || {
        Ok((fe2.dump().await.unwrap_or_default() == rebuilt).then_some(()))
    })
    .await?;
    stage.stop().await
}
