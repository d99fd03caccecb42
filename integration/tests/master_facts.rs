//! What Ravenry believes of the real master, and must go on being true in each release: run with every
//! `MURDER_SUITE`.

use std::time::Duration;

use anyhow::Result;
use ravenry_integration::agreement::{Agreement, Difference};
use ravenry_integration::clients::{Mupdate, MupdateReply, literal};
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::{Entry, Murder, Plan, Suite};
use ravenry_integration::stage::Stage;

const ACL: &str = "alice\tlrswipkxtecdan\t";
/// Where no server is: the place that a guarded deletion reserves.
const NOWHERE: &str = "ravenry!none";
const SOON: Duration = Duration::from_secs(15);

async fn master_alone() -> Result<Murder> {
    let murder = Murder::prepare(Plan::chosen()?).await?;
    murder.start_master().await?;
    Ok(murder)
}

/// RESERVE at nowhere and DELETE, in one segment.
async fn guarded_delete(session: &mut Mupdate, name: &str) -> Result<(MupdateReply, MupdateReply)> {
    let name = literal(name);
    let nowhere = literal(NOWHERE);
    session.send_raw(format!("G1 RESERVE {name} {nowhere}\r\nG2 DELETE {name}\r\n").as_bytes()).await?;
    Ok((session.reply("G1").await?, session.reply("G2").await?))
}

/// Whether the master's process outlives something.
async fn outlived(murder: &Murder, before: &Option<String>) -> Result<bool> {
    // A crash takes the process master a moment to notice.
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(murder.mm.mupdate_process().await? == *before)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_delete_never_kills_the_master() -> Result<()> {
    let murder = Murder::start(Plan::chosen()?).await?;
    let agreement = Agreement::begin(&murder).await?;
    let slave = murder.fe1.mupdate_process().await?;
    let (be1, be2) = (murder.be1.location(), murder.be2.location());
    let mut writer = murder.mm.mupdate().await?;
    let mut stream = murder.mm.mupdate().await?;
    stream.update().await?;
    for round in 0..40 {
        let name = |kind: &str| format!("user.{kind}{round}");
        writer.activate(&name("active"), &be1, ACL).await?.ok()?;
        writer.reserve(&name("reserved"), &be2).await?.ok()?;
        writer.reserve(&name("half"), NOWHERE).await?.ok()?;
        writer.activate(&name("again"), &be1, ACL).await?.ok()?;
        writer.delete(&name("again")).await?.ok()?;
        for (kind, there) in
            [("active", true), ("reserved", true), ("half", false), ("again", false), ("new", false)]
        {
            let (reserve, delete) = guarded_delete(&mut writer, &name(kind)).await?;
            assert_eq!(reserve.is_ok(), !there, "RESERVE of {kind}: {reserve:?}");
            assert!(delete.is_ok(), "DELETE of {kind}: {delete:?}");
            assert_eq!(writer.find(&name(kind)).await?, None);
        }
    }
    for record in stream.noop().await? {
        assert!(record.entry.is_none(), "only the present state is streamed: {record:?}");
    }
    agreement.reached_within(SOON).await?;
    assert!(murder.mm.dump().await?.0.is_empty());
    assert!(murder.fe1.dump().await?.0.is_empty());
    assert_eq!(murder.fe1.mupdate_process().await?, slave, "the frontend's slave went through all of that");
    murder.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_of_an_active_name_from_its_own_place_demotes_it_as_deactivation_does() -> Result<()> {
    let murder = Murder::start(Plan::chosen()?).await?;
    let agreement = Agreement::begin(&murder).await?;
    let be1 = murder.be1.location();
    let mut writer = murder.mm.mupdate().await?;
    for name in ["user.r", "user.d"] {
        writer.activate(name, &be1, ACL).await?.ok()?;
    }
    let mut stream = murder.mm.mupdate().await?;
    stream.update().await?;
    assert!(writer.reserve("user.r", &be1).await?.is_ok());
    assert!(writer.run("DEACTIVATE", &["user.d", &be1]).await?.is_ok());

    let streamed: Vec<_> = stream.noop().await?.into_iter().map(|record| record.entry).collect();
    assert_eq!(streamed, [Some(Entry::reserved(&be1)), Some(Entry::reserved(&be1))]);
    // Even what is not streamed is the same.
    let dump = murder.mm.exec(&["ctl_mboxlist", "-d"]).await?.success()?.stdout;
    let told =
        |name: &str| dump.lines().find(|line| line.contains(name)).map(|line| without_time(line, name));
    assert_eq!(told("user.r"), told("user.d"), "{dump}");
    assert!(told("user.r").is_some(), "{dump}");
    agreement.reached_but_for(SOON, Difference::is_reservation).await?;
    for frontend in murder.frontends() {
        let dump = frontend.dump().await?;
        assert_eq!(dump.get("user.r"), Some(&Entry::reserved(&be1)), "{}", frontend.name());
    }
    for name in ["user.r", "user.d"] {
        writer.activate(name, &be1, ACL).await?.ok()?;
    }
    let active = Entry::active(&be1, ACL);
    eventually(SOON, "both active again at a frontend", async || {
        let dump = murder.fe2.dump().await?;
        Ok((dump.get("user.r") == Some(&active) && dump.get("user.d") == Some(&active)).then_some(()))
    })
    .await?;
    murder.stop().await
}

/// What Ravenry sends is quoted up to 16 KiB: an ACL of some hundred users has that.
#[tokio::test(flavor = "multi_thread")]
async fn an_acl_of_sixteen_kib_reaches_master_and_frontends_as_a_quoted_string() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, "").await?;
    let acl: String = (0..780).map(|nth| format!("colleague{nth:03}\tlrswi\t")).collect();
    assert!((14_000..16_384).contains(&acl.len()), "{} bytes", acl.len());
    let location = stage.murder.be1.location();
    let mut writer = Mupdate::login(stage.ravenry.address()).await?;
    writer.activate("user.crowded", &location, &acl).await?.ok()?;
    assert_eq!(stage.murder.mm.dump().await?.get("user.crowded"), Some(&Entry::active(&location, &acl)));
    // Its backend has no such mailbox; the frontends have the same entry.
    stage.stop_but_for(Difference::is_ghost).await
}

/// A line of the dump without the name and the modification time, to compare two of them.
fn without_time(line: &str, name: &str) -> String {
    let line = line.replace(name, "");
    match (line.find("\"mtime\""), line.find("\"uidvalidity\"")) {
        (Some(from), Some(to)) => {
            format!("{}{}", &line[..from], &line[to..]).trim_end_matches(',').to_owned()
        }
        _ => line,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_delete_of_an_absent_name_kills_the_master() -> Result<()> {
    let murder = master_alone().await?;
    let before = murder.mm.mupdate_process().await?;
    let mut writer = murder.mm.mupdate().await?;
    assert!(writer.delete("user.absent").await.is_err());
    assert!(!outlived(&murder, &before).await?);
    let told = murder.mm.crashes().await?;
    assert_eq!(told.len(), 1, "every story with Ravenry ends by looking for such a line: {told:?}");
    murder.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_guarded_deletes_of_one_name_must_not_overlap() -> Result<()> {
    let murder = master_alone().await?;
    let before = murder.mm.mupdate_process().await?;
    let (mut one, mut two) = (murder.mm.mupdate().await?, murder.mm.mupdate().await?);
    assert!(one.reserve("user.x", NOWHERE).await?.is_ok());
    assert!(two.reserve("user.x", NOWHERE).await?.is_ok(), "the same place may reserve twice");
    assert!(one.delete("user.x").await?.is_ok());
    assert!(two.delete("user.x").await.is_err(), "the second deletion finds nothing");
    assert!(!outlived(&murder, &before).await?);
    murder.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn deactivation_of_what_is_not_active_is_refused_only_from_3_12_2() -> Result<()> {
    let murder = master_alone().await?;
    let refused = Suite::chosen()? == Suite::Forky;
    for (name, reserve) in [("user.absent", false), ("user.reserved", true)] {
        murder.mm.wait_until_up().await?;
        let before = murder.mm.mupdate_process().await?;
        let mut writer = murder.mm.mupdate().await?;
        if reserve {
            writer.reserve(name, &murder.be1.location()).await?.ok()?;
        }
        let reply = writer.run("DEACTIVATE", &[name, &murder.be1.location()]).await;
        let alive = outlived(&murder, &before).await?;
        println!("{name}: {reply:?}, alive: {alive}");
        assert_eq!(alive, refused, "{name}: {reply:?}");
        assert_eq!(reply.is_ok_and(|reply| reply.keyword == "NO"), refused, "{name}");
    }
    murder.stop().await
}

/// Why Ravenry quotes what it sends: the threads of a mupdate of 3.12 read the sizes of literals into one buffer.
#[tokio::test(flavor = "multi_thread")]
async fn a_literal_is_misread_only_by_3_12_when_another_client_sends_one_meanwhile() -> Result<()> {
    let murder = master_alone().await?;
    let before = murder.mm.mupdate_process().await?;
    for (asked, misread) in
        [("\"user.a\"".to_owned(), false), (literal("user.a"), Suite::chosen()? == Suite::Forky)]
    {
        let (mut halves, mut other) = (murder.mm.mupdate().await?, murder.mm.mupdate().await?);
        halves.send_raw(b"A1 FIND {1").await?;
        // The master has to have read as far as that.
        tokio::time::sleep(Duration::from_millis(500)).await;
        other.send_raw(format!("B1 FIND {asked}\r\n").as_bytes()).await?;
        assert!(other.reply("B1").await?.is_ok());
        halves.send_raw(b"0+}\r\nuser.alice\r\n").await?;
        halves.set_patience(if misread { Duration::from_secs(3) } else { SOON });
        let reply = halves.reply("A1").await;
        assert_eq!(reply.as_ref().is_ok_and(MupdateReply::is_ok), !misread, "{asked:?}: {reply:?}");

        // One whose strings are quoted is never misread, whatever others send.
        let mut quoted = murder.mm.mupdate().await?;
        quoted.send_raw(b"C1 FIND \"user.al").await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut third = murder.mm.mupdate().await?;
        third.send_raw(format!("D1 FIND {asked}\r\n").as_bytes()).await?;
        assert!(third.reply("D1").await?.is_ok());
        quoted.send_raw(b"ice\"\r\n").await?;
        assert!(quoted.reply("C1").await?.is_ok());
    }
    assert!(outlived(&murder, &before).await?);
    murder.stop().await
}
