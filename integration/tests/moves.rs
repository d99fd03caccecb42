//! An XFER whose last words are lost leaves reservations, and nobody reaches what is there: Ravenry finds out where it is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::agreement::Difference;
use ravenry_integration::clients::{Completion, Imap, Mupdate, Response};
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::{Murder, Plan, Suite};
use ravenry_integration::relay::{Action, Fault, Moment, Relay};
use ravenry_integration::stage::{BACKENDS, Stage};
use tokio::task::JoinHandle;

/// Reservations are looked into soon, and one that nobody holds is old soon.
fn configured() -> String {
    let backends =
        BACKENDS.replacen("[backends]\n", "[backends]\nreservations = \"1s\"\ndeadline = \"2s\"\n", 1);
    format!("[replay]\npostpone = \"3s\"\n\n{backends}")
}

/// Promised: some 15 s after the reservation, by this configuration. Asserted with slack.
const FOUND_OUT: Duration = Duration::from_secs(75);
/// Longer than it takes to find out: twice 5 s behind the 3 s, and what it takes to ask.
const IN_VAIN: Duration = Duration::from_secs(18);
const SOON: Duration = Duration::from_secs(30);

/// How far an XFER of a user with two mailboxes has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Both are deactivated, none is moving.
    LookedUp,
    /// `sub` is moving, the inbox not yet.
    First,
    /// Both are moving.
    Both,
}

impl Step {
    /// Before that reply of the destination to the source, counted from its login; as seen on each release.
    fn reply(self, suite: Suite) -> Moment {
        let looked_up = match suite {
            Suite::Bullseye => 7,
            Suite::Bookworm | Suite::Trixie => 8,
            Suite::Forky => 10,
        };
        Moment::NthReply(looked_up + self as u32)
    }
}

/// A user's two mailboxes on the first backend, one message in the inbox; and somebody on the second one.
async fn enrol(murder: &Murder, user: &str) -> Result<()> {
    murder.create_user(user, &murder.be1).await?;
    let mut imap = murder.be1.imap(user).await?;
    imap.create("INBOX.sub").await?.ok()?;
    imap.append("INBOX", "From: a@example.org\r\nSubject: one\r\n\r\none\r\n").await?.ok()?;
    Ok(())
}

/// A relay on the way from the first backend's XFER to the second backend.
async fn between(murder: &Murder) -> Result<Relay> {
    let way = Relay::start((murder.gateway(), 143).into(), murder.be2.imap_address()).await?;
    let script = format!(
        "hosts=$(grep -v be2.murder.test /etc/hosts); printf '%s\\n{} be2.murder.test\\n' \"$hosts\" > /etc/hosts",
        murder.gateway()
    );
    murder.be1.exec_root(&["sh", "-c", &script]).await?.success()?;
    Ok(way)
}

/// An administrator moves a user to the second backend.
fn moves(mut admin: Imap, user: &'static str) -> JoinHandle<Result<Response>> {
    admin.set_patience(Duration::from_secs(180));
    tokio::spawn(async move { admin.xfer(&format!("user.{user}"), "be2.murder.test").await })
}

/// Where Ravenry's list has the user's mailboxes; `None`: it is a reservation.
async fn places(stage: &Stage, user: &str) -> Result<[Option<String>; 2]> {
    let list = stage.list().await?;
    let place = |name: String| {
        let entry = list.get(&name).with_context(|| format!("{name} is not on the list"))?;
        let server = entry.location.split('!').next().unwrap_or_default().to_owned();
        Ok::<_, anyhow::Error>(entry.is_active().then_some(server))
    };
    Ok([place(format!("user.{user}"))?, place(format!("user.{user}.sub"))?])
}

/// The user reaches both mailboxes through a frontend.
async fn is_reached(stage: &Stage, user: &str) -> Result<()> {
    let mut imap = stage.murder.fe1.imap(user).await?;
    ensure!(imap.count("INBOX").await? == 1, "the message is not there");
    imap.count("INBOX.sub").await?;
    Ok(())
}

/// What Cyrus leaves on the destination when an XFER comes to nothing: it makes the copy first. Every list has the user where
/// his mail is.
fn is_left_behind(difference: &Difference) -> bool {
    matches!(difference, Difference::Unlisted { master: Some(entry), .. } if entry.is_active())
}

/// Ravenry finds out, without anybody's help, that a user is on this backend.
async fn found_out(stage: &Stage, user: &str, server: &str) -> Result<()> {
    let there = [Some(server.to_owned()), Some(server.to_owned())];
    let took = eventually(FOUND_OUT, "the user is there", async || {
        Ok((places(stage, user).await? == there).then_some(()))
    });
    let since = tokio::time::Instant::now();
    took.await?;
    println!("{user} is at {server} again after {:?}", since.elapsed());
    stage.agreement().await?.reached_but_for(SOON, is_left_behind).await?;
    is_reached(stage, user).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_came_to_nothing_is_taken_back() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?.retrying_after(2), &configured()).await?;
    let murder = &stage.murder;
    enrol(murder, "u001").await?;
    let way = between(murder).await?;
    // The destination is lost in the middle, and so is what the source wants to say about that.
    way.set([Fault::At(Step::First.reply(murder.plan().suite), Action::Cut)]);
    stage.from_backends.set([Fault::At(Moment::Request("ACTIVATE"), Action::Cut)]);
    let answer = moves(murder.be1.imap("cyrus").await?, "u001").await??;
    assert_eq!(answer.completion, Completion::No, "{answer:?}");
    stage.from_backends.heal();
    way.heal();
    assert_eq!(places(&stage, "u001").await?, [None, None]);
    found_out(&stage, "u001", "be1.murder.test").await?;
    // The next try succeeds.
    let answer = moves(murder.be1.imap("cyrus").await?, "u001").await??;
    assert_eq!(answer.completion, Completion::Ok, "{answer:?}");
    found_out(&stage, "u001", "be2.murder.test").await?;
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_goes_on_is_left_alone() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?.retrying_after(2), &configured()).await?;
    let murder = &stage.murder;
    let suite = murder.plan().suite;
    let users = [(Step::LookedUp, "u001"), (Step::First, "u002"), (Step::Both, "u003")];
    for (_, user) in users {
        enrol(murder, user).await?;
    }
    // Somebody whose mailbox the backend must hold whatever happens.
    murder.create_user("u004", &murder.be1).await?;
    let way = between(murder).await?;
    for (step, user) in users {
        let before = way.hits();
        way.set([Fault::At(step.reply(suite), Action::Hang)]);
        let moving = moves(murder.be1.imap("cyrus").await?, user);
        eventually(SOON, "the move hangs", async || Ok((way.hits() > before).then_some(()))).await?;
        // Ravenry hears nothing more of the source.
        stage.from_backends.cut_all();
        tokio::time::sleep(IN_VAIN).await;
        // A backend of 3.2 shows nothing of an XFER before the first mailbox is moving: it is taken for over, and has its way
        // when it goes on.
        if (suite, step) != (Suite::Bullseye, Step::LookedUp) {
            assert_eq!(places(&stage, user).await?, [None, None], "{step:?}");
        }
        way.heal();
        let answer = moving.await??;
        assert_eq!(answer.completion, Completion::Ok, "{answer:?}");
        eventually(SOON, "the user has moved", async || {
            let there = [Some("be2.murder.test".to_owned()), Some("be2.murder.test".to_owned())];
            Ok((places(&stage, user).await? == there).then_some(()))
        })
        .await?;
        is_reached(&stage, user).await?;
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_whose_last_word_is_lost_is_carried_through() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?.retrying_after(2), &configured()).await?;
    let murder = &stage.murder;
    enrol(murder, "u001").await?;
    for (user, backend) in [("u004", &murder.be1), ("u005", &murder.be2)] {
        murder.create_user(user, backend).await?;
    }
    // The source tells its user OK whatever the destination hears.
    stage.from_backends.set([Fault::At(Moment::Request("ACTIVATE"), Action::Cut)]);
    let answer = moves(murder.be1.imap("cyrus").await?, "u001").await??;
    assert_eq!(answer.completion, Completion::Ok, "{answer:?}");
    stage.from_backends.heal();
    assert_eq!(places(&stage, "u001").await?, [None, None]);
    found_out(&stage, "u001", "be2.murder.test").await?;
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_that_no_backend_holds_goes_when_all_say_so() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?.retrying_after(2), &configured()).await?;
    let murder = &stage.murder;
    for (user, backend) in [("u004", &murder.be1), ("u005", &murder.be2)] {
        murder.create_user(user, backend).await?;
    }
    murder.be2.unplug().await?;
    let mut backend = Mupdate::login(stage.ravenry.address()).await?;
    backend.reserve("user.u004.never", "be1.murder.test!default").await?.ok()?;
    tokio::time::sleep(IN_VAIN).await;
    let is_there = async || Ok::<_, anyhow::Error>(stage.list().await?.get("user.u004.never").is_some());
    assert!(is_there().await?, "the second backend may hold it");
    murder.be2.plug().await?;
    // What could not be found out is asked again less and less.
    eventually(FOUND_OUT * 2, "it is gone", async || Ok((!is_there().await?).then_some(()))).await?;
    stage.agreement().await?.reached_within(SOON).await?;
    stage.stop().await
}
