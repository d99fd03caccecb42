//! A master that hangs: worse than one that is gone, unless every wait is bounded.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ravenry_integration::clients::{Imap, Mupdate};
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::{Entry, Plan};
use ravenry_integration::relay::{Action, Fault, Moment};
use ravenry_integration::stage::Stage;
use serde_json::Value;

/// Promised: the first change that meets the hang is answered within 3 s. Asserted with slack for a busy machine.
const FIRST: Duration = Duration::from_secs(15);
/// The changes after it do not wait for the master: at most a busy machine is what they wait for.
const LATER: Duration = Duration::from_secs(2);
/// A frontend that has to ask whether its list is current must hear, whatever the master does. Promised: 3 s.
const KICKED: Duration = Duration::from_secs(15);
/// The `mupdate_retry_delay` that Ravenry advises, in seconds.
const ADVISED: u32 = 4;
/// For anything to become as it should be again.
const SETTLED: Duration = Duration::from_secs(30);

/// Ways to hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hang {
    /// Every process of the master's host stands still; its kernel still accepts.
    Paused,
    /// Connections get as far as the login.
    AfterAuth,
    /// The first RESERVE does not reach it.
    RequestSwallowed,
    /// The first RESERVE is carried out, but its reply is lost.
    ReplySwallowed,
    /// Open connections live, new ones get no answer to their SYN.
    SynDropped,
    /// No packet comes through any more, on open connections either.
    PacketsDropped,
}

impl Hang {
    const ALL: [Self; 6] = [
        Self::Paused,
        Self::AfterAuth,
        Self::RequestSwallowed,
        Self::ReplySwallowed,
        Self::SynDropped,
        Self::PacketsDropped,
    ];

    async fn begin(self, stage: &Stage) -> Result<()> {
        let swallow = |moment| stage.to_master.set([Fault::At(moment, Action::Swallow)]);
        match self {
            Self::Paused => stage.murder.mm.pause().await?,
            Self::AfterAuth => stage.to_master.set([Fault::HangAfterAuth]),
            Self::RequestSwallowed => swallow(Moment::Request("RESERVE")),
            Self::ReplySwallowed => swallow(Moment::Reply("RESERVE")),
            Self::SynDropped => filter(stage, "-I", &["--syn"]).await?,
            Self::PacketsDropped => filter(stage, "-I", &[]).await?,
        }
        Ok(())
    }

    /// What strikes only once has struck.
    async fn once(self, stage: &Stage, hits: usize) -> Result<()> {
        if matches!(self, Self::RequestSwallowed | Self::ReplySwallowed) {
            let struck = async || Ok((stage.to_master.hits() > hits).then_some(()));
            eventually(FIRST, "a swallowed line", struck).await?;
            stage.to_master.heal();
        }
        Ok(())
    }

    async fn end(self, stage: &Stage) -> Result<()> {
        match self {
            Self::Paused => stage.murder.mm.unpause().await?,
            Self::SynDropped => filter(stage, "-D", &["--syn"]).await?,
            Self::PacketsDropped => filter(stage, "-D", &[]).await?,
            _ => stage.to_master.heal(),
        }
        Ok(())
    }
}

/// Adds or removes a packet filter on the master's host that drops what comes to its port.
async fn filter(stage: &Stage, what: &str, which: &[&str]) -> Result<()> {
    let rule = ["iptables", what, "INPUT", "-p", "tcp", "--dport", "3905"];
    let command = [&rule, which, &["-j", "DROP"]].concat();
    stage.murder.mm.exec_root(&command).await?.success().map(drop)
}

/// How long something takes that must not fail.
async fn timed<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<Duration> {
    let start = Instant::now();
    work.await.with_context(|| what.to_owned())?;
    Ok(start.elapsed())
}

/// Everything with which a frontend asks its slave whether its list is current, for mailboxes that it lacks.
/// Returns the longest wait.
async fn kicks(stage: &Stage, name: String) -> Result<Duration> {
    let frontend = &stage.murder.fe2;
    let mut alice = frontend.imap("alice").await?;
    let mut lmtp = frontend.lmtp().await?;
    let select = timed("SELECT", alice.select(&format!("INBOX.no-{name}"))).await?;
    let list = timed("LIST", alice.list("*")).await?;
    let deliver = timed("LMTP", lmtp.deliver_one(&format!("nobody-{name}"), &name)).await?;
    Ok(select.max(list).max(deliver))
}

async fn create(alice: &mut Imap, name: String) -> Result<Duration> {
    timed(&name.clone(), async { alice.create(&format!("INBOX.{name}")).await?.ok() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_master_costs_one_bounded_wait() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(ADVISED), "").await?;
    stage.murder.create_user("alice", &stage.murder.be1).await?;
    stage.agreement().await?.reached_within(SETTLED).await?;
    for hang in Hang::ALL {
        if hang == Hang::SynDropped {
            // A fresh process has no connection in store that could spare it the SYN.
            stage.ravenry.set_master(stage.murder.mm.mupdate_address()).await?;
            assert!(stage.ravenry.terminate().await?.success());
            stage.ravenry.launch().await?;
        }
        let ready = |status: &Value| status["state"] == "following" && status["streams"] == 2;
        stage.ravenry.wait_for(SETTLED, "following, with both streams", ready).await?;
        let agreement = stage.agreement().await?;
        let mut alice = stage.murder.fe1.imap("alice").await?;
        let streams = stage.from_frontends.accepted();
        let hits = stage.to_master.hits();
        hang.begin(&stage).await?;
        let name = |number: u32| format!("{hang:?}-{number}").to_lowercase();
        let met =
            tokio::try_join!(create(&mut alice, name(0)), kicks(&stage, name(0)), hang.once(&stage, hits));
        let (first, kick, ()) =
            met.with_context(|| format!("{hang:?}: {}", stage.ravenry.log().unwrap_or_default()))?;
        let mut later = Vec::new();
        for number in 1..4 {
            later.push(create(&mut alice, name(number)).await?);
        }
        let kick_again = kicks(&stage, name(1)).await?;
        println!("{hang:?}: first {first:.1?}, later {later:.1?}, kicks {kick:.1?}, {kick_again:.1?}");
        assert!(first < FIRST, "{hang:?}: the first change took {first:?}");
        assert!(later.iter().all(|time| *time < LATER), "{hang:?}: later ones took {later:?}");
        assert!(kick.max(kick_again) < KICKED, "{hang:?}: kicks took {kick:?}, {kick_again:?}");

        assert_eq!(stage.from_frontends.accepted(), streams, "{hang:?}: no frontend lost patience");

        hang.end(&stage).await?;
        stage.ravenry.wait_for_state("following", SETTLED).await?;
        agreement.reached_within(SETTLED).await?;
    }
    stage.agreement().await?.nothing_to_push().await?;
    stage.stop().await
}

/// What the master carries out late, and what the user does before it does.
#[derive(Clone, Copy, Debug)]
enum Late {
    /// A new mailbox's RESERVE: after its ACTIVATE it would hide the mailbox.
    Reserve,
    /// A new mailbox's ACTIVATE, when the mailbox has been deleted.
    Activate,
    /// An old ACL, when there is a newer one.
    Acl,
    /// A DELETE, when the mailbox has been created anew.
    Delete,
}

impl Late {
    const ALL: [Self; 4] = [Self::Reserve, Self::Activate, Self::Acl, Self::Delete];

    /// The command that hangs. A DELETE of ours begins with a RESERVE.
    fn hangs(self) -> Fault {
        let command = match self {
            Self::Reserve | Self::Delete => "RESERVE",
            Self::Activate | Self::Acl => "ACTIVATE",
        };
        Fault::At(Moment::Request(command), Action::Hang)
    }

    async fn prepare(self, alice: &mut Imap, mailbox: &str) -> Result<()> {
        if matches!(self, Self::Acl | Self::Delete) {
            alice.create(mailbox).await?.ok()?;
        }
        Ok(())
    }

    /// What meets the hang.
    async fn meet(self, alice: &mut Imap, mailbox: &str) -> Result<()> {
        let response = match self {
            Self::Reserve | Self::Activate => alice.create(mailbox).await?,
            Self::Acl => alice.set_acl(mailbox, "bob", "lr").await?,
            Self::Delete => alice.delete(mailbox).await?,
        };
        response.ok().map(drop)
    }

    /// What happens before the master wakes up.
    async fn go_on(self, alice: &mut Imap, mailbox: &str) -> Result<()> {
        match self {
            Self::Reserve => {}
            Self::Activate => drop(alice.delete(mailbox).await?.ok()?),
            Self::Acl => drop(alice.set_acl(mailbox, "bob", "lrs").await?.ok()?),
            Self::Delete => drop(alice.create(mailbox).await?.ok()?),
        }
        Ok(())
    }

    /// Whether an entry is right when all is done.
    fn is_right(self, entry: Option<&Entry>) -> bool {
        match self {
            Self::Reserve | Self::Delete => entry.is_some_and(Entry::is_active),
            Self::Activate => entry.is_none(),
            Self::Acl => entry.is_some_and(|entry| entry.acl.rights("bob") == "lrs"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hung_master_does_late_is_put_right() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?.retrying_after(ADVISED), "").await?;
    let (murder, ravenry, relay) = (&stage.murder, &stage.ravenry, &stage.to_master);
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be1).await?;
    let agreement = stage.agreement().await?;
    let mut alice = murder.fe1.imap("alice").await?;
    for replayed in [false, true] {
        for late in Late::ALL {
            let told = format!("{late:?}, {} replay", if replayed { "after" } else { "before" });
            println!("{told}");
            let name = told.replace(", ", "-").replace(' ', "-").to_lowercase();
            let (mailbox, name) = (format!("INBOX.{name}"), format!("user.alice.{name}"));
            late.prepare(&mut alice, &mailbox).await?;

            let hits = relay.hits();
            // Without its list the master cannot be given anything: so what hangs comes before that.
            let no_list = Fault::At(Moment::Request("UPDATE"), Action::Hang);
            relay.set(if replayed { vec![late.hangs()] } else { vec![late.hangs(), no_list.clone()] });
            let struck = async {
                let hit = async || Ok((relay.hits() > hits).then_some(()));
                eventually(FIRST, "a hanging line", hit).await?;
                // Only that one hangs.
                relay.set(if replayed { vec![Fault::Keep] } else { vec![Fault::Keep, no_list.clone()] });
                Ok(())
            };
            tokio::try_join!(late.meet(&mut alice, &mailbox), struck).context(told.clone())?;
            if replayed {
                ravenry.wait_for_state("following", SETTLED).await?;
            }
            late.go_on(&mut alice, &mailbox).await.context(told.clone())?;
            let mut stream = Mupdate::login(ravenry.address()).await?;
            stream.update().await?;

            if !replayed {
                relay.set([no_list]);
                let mut master = murder.mm.mupdate().await?;
                eventually(SETTLED, format!("{told}: the master doing it"), async || {
                    let entry = master.find(&name).await?.and_then(|record| record.entry);
                    Ok((!late.is_right(entry.as_ref())).then_some(()))
                })
                .await?;
            }
            relay.heal();
            ravenry.wait_for_state("following", SETTLED).await?;
            if replayed {
                let said = format!("the master carried out an old write of {name} late");
                let heard = async || Ok(ravenry.log()?.contains(&said).then_some(()));
                eventually(SETTLED, format!("{told}: Ravenry noticing"), heard).await?;
            }
            agreement.reached_within(SETTLED).await.context(told.clone())?;
            let entry = murder.mm.dump().await?.get(&name).cloned();
            assert!(late.is_right(entry.as_ref()), "{told}: the master has {entry:?}");
            for record in stream.noop().await? {
                let right = record.name != name || late.is_right(record.entry.as_ref());
                assert!(right, "{told}: the frontends were told {record:?}");
            }
        }
    }
    agreement.nothing_to_push().await?;
    stage.stop().await
}
