//! A name that is taken twice: through Ravenry, and at the master behind its back.

use std::time::Duration;

use anyhow::{Context, Result};
use ravenry_integration::agreement::Difference;
use ravenry_integration::answers::at;
use ravenry_integration::murder::{Dump, Plan};
use ravenry_integration::ravenry::NOT_CONFIRMED;
use ravenry_integration::relay::Fault;
use ravenry_integration::stage::Stage;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);
const BACK: Duration = Duration::from_secs(30);
const MESSAGE: &str = "Subject: keep me\r\n\r\nHello.\r\n";

fn is_about(name: &str) -> impl Fn(&Difference) -> bool {
    move |difference| match difference {
        Difference::List { name: about, .. } | Difference::Unlisted { name: about, .. } => about == name,
        _ => false,
    }
}

fn place<'a>(list: &'a Dump, name: &str) -> Option<&'a str> {
    list.get(name).and_then(|entry| entry.server())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_taken_twice_is_told_and_left_for_a_person() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, "").await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    let agreement = stage.agreement().await?;
    murder.create_user("bob", &murder.be2).await?;
    agreement.reached_within(SOON).await?;

    // Ravenry is cut off from a master that lives, and be2 still knows the master's own address.
    stage.to_master.set([Fault::Drop]);
    stage.to_master.cut_all();
    ravenry.wait_for_state("standing-in", SOON).await?;
    murder.create_user("alice", &murder.be1).await?;
    murder.fe1.imap("alice").await?.append("INBOX", MESSAGE).await?.ok()?;
    stage.from_backends.retarget(murder.mm.mupdate_address());
    murder.be2.imap("cyrus").await?.create("user.alice").await?.ok()?;
    stage.from_backends.retarget(ravenry.address());
    murder.fe1.imap("bob").await?.create("INBOX.innocent").await?.ok()?;

    stage.to_master.heal();
    ravenry.wait_for_state("following", BACK).await?;
    ravenry.wait_for(SOON, "the conflict", |status| status["conflicts"] == 1).await?;
    agreement.reached_but_for(SOON, is_about("user.alice")).await?;
    nothing_is_overwritten(&stage).await?;

    let status = ravenry.status().await?;
    let told = &status["conflict_detail"][0];
    assert_eq!(
        (told["name"].as_str(), told["ours"].as_str(), told["theirs"].as_str()),
        (Some("user.alice"), Some(murder.be1.location().as_str()), Some(murder.be2.location().as_str())),
        "{status}"
    );
    scripts_hear_of_it(&stage).await?;
    let people = ravenry.cli(&["status"]).await?.success()?.stdout;
    assert!(people.lines().any(|line| line.contains("user.alice") && line.contains("be2")), "{people}");
    let log = ravenry.log()?;
    assert!(log.lines().any(|line| line.contains("conflict") && line.contains("user.alice")), "{log}");

    // Neither time nor another outage decides it.
    murder.fe1.imap("alice").await?.create("INBOX.meanwhile").await?.ok()?;
    stage.to_master.cut_all();
    ravenry.wait_for(SOON, "another comparison", |status| status["state"] == "following").await?;
    agreement.reached_but_for(SOON, is_about("user.alice")).await?;
    nothing_is_overwritten(&stage).await?;

    // A person looks at both mailboxes and removes the one that nobody used, there where it was made.
    stage.from_backends.retarget(murder.mm.mupdate_address());
    let mut admin = murder.be2.imap("cyrus").await?;
    admin.set_acl("user.alice", "cyrus", "lrswipkxtecda").await?.ok()?;
    admin.delete("user.alice").await?.ok()?;
    stage.from_backends.retarget(ravenry.address());
    if !murder.plan().suite.tells_of_immediate_deletes() {
        murder.mm.mupdate().await?.delete("user.alice").await?.ok()?;
    }
    ravenry.wait_for(BACK, "no conflict", |status| status["conflicts"] == 0).await?;
    agreement.reached_within(SOON).await?;
    // The first message, and one through each frontend; who sent the same again was told OK.
    assert_eq!(murder.fe2.imap("alice").await?.count("INBOX").await?, 3);
    stage.stop().await
}

/// What is in dispute is told to scripts too, and decided by nobody who was not asked.
async fn scripts_hear_of_it(stage: &Stage) -> Result<()> {
    let murder = &stage.murder;
    let listed = stage.ravenry.cli(&["conflicts", "list", "--json"]).await?.success()?.stdout;
    let shown = stage.ravenry.cli(&["conflicts", "show", "user.alice", "--json"]).await?.success()?.stdout;
    for said in [listed, shown] {
        let told: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
        assert_eq!(
            (at(&told, "/name"), at(&told, "/dispute")),
            (&"user.alice".into(), &"conflict".into()),
            "{said}"
        );
        assert_eq!(at(&told, "/base"), &Value::Null, "nobody had it before: {said}");
        for (side, backend) in [("/ours/location", &murder.be1), ("/theirs/location", &murder.be2)] {
            assert_eq!(at(&told, side), backend.location().as_str(), "{said}");
        }
        assert!(at(&told, "/since").is_u64(), "{said}");
    }
    for keep in ["ours", "master"] {
        let resolve = ["conflicts", "resolve", "user.alice", "--keep", keep, "--json"];
        let unsure = stage.ravenry.cli(&resolve).await?;
        assert_eq!((unsure.exit, unsure.stdout.as_str()), (NOT_CONFIRMED, ""), "{unsure:?}");
    }
    assert_eq!(at(&stage.ravenry.status().await?, "/conflicts"), 1);
    Ok(())
}

/// Each side holds what it held, and the frontends what they had.
async fn nothing_is_overwritten(stage: &Stage) -> Result<()> {
    let murder = &stage.murder;
    assert_eq!(place(&murder.mm.dump().await?, "user.alice"), Some(murder.be2.server().as_str()));
    assert_eq!(place(&stage.list().await?, "user.alice"), Some(murder.be1.server().as_str()));
    for frontend in murder.frontends() {
        assert_eq!(place(&frontend.dump().await?, "user.alice"), Some(murder.be1.server().as_str()));
        let delivery = frontend.lmtp().await?.deliver_one("alice", frontend.name()).await?;
        assert!(delivery.verdict().is_ok(), "{delivery:?}");
    }
    for backend in murder.backends() {
        let held = backend.dump().await?;
        assert!(held.get("user.alice").is_some_and(|entry| entry.is_local()), "{}", backend.name());
    }
    Ok(())
}
