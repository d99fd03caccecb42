//! Ravenry loses its power, again and again, in an outage with writes under way: what was acknowledged is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use ravenry_integration::agreement::{Agreement, dump_of};
use ravenry_integration::clients::{Completion, Mupdate};
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::{Dump, Node, Plan};
use ravenry_integration::stage::Stage;
use tokio::task::JoinSet;

const SETTLED: Duration = Duration::from_secs(30);
const KILLS: usize = 6;
const KILLS_IN_REPLAY: usize = 3;
const RIGHTS: [&str; 3] = ["lr", "lrs", "lrsp"];

/// What a user may take for granted of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// It is there, and everybody has these rights.
    There(&'static str),
    Gone,
    /// The last change was refused or never answered.
    Unsure,
}

/// What all users share.
#[derive(Default)]
struct Shift {
    over: AtomicBool,
    acknowledged: AtomicUsize,
}

/// A user who is busy with mailboxes.
struct User {
    name: String,
    host: Node,
    /// Deletes and renames too. On a backend that deletes at once the list is never told; and a frontend whose
    /// stream was lost does not know what it is to rename.
    everything: bool,
    rng: fastrand::Rng,
    mailboxes: BTreeMap<String, Known>,
    acknowledged: usize,
    refused: usize,
}

impl User {
    fn new(name: &str, host: &Node, everything: bool, rng: fastrand::Rng) -> Self {
        let mailboxes = BTreeMap::new();
        Self {
            name: name.to_owned(),
            host: host.clone(),
            everything,
            rng,
            mailboxes,
            acknowledged: 0,
            refused: 0,
        }
    }

    /// Goes on until told to stop.
    async fn work(mut self, shift: Arc<Shift>) -> Result<Self> {
        let mut session = None;
        while !shift.over.load(Ordering::Relaxed) {
            if session.is_none() {
                session = Some(self.host.imap(&self.name).await?);
            }
            let Some(imap) = &mut session else { continue };
            let (command, outcome) = self.choose();
            let answer = imap.run(&command).await;
            let known = |known: Known| {
                if matches!(&answer, Ok(r) if r.completion == Completion::Ok) { known } else { Known::Unsure }
            };
            for (mailbox, state) in outcome {
                self.mailboxes.insert(mailbox, known(state));
            }
            match answer {
                Ok(response) if response.completion == Completion::Ok => {
                    self.acknowledged += 1;
                    shift.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) => {
                    self.refused += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(_) => session = None,
            }
        }
        Ok(self)
    }

    /// A command, and what it makes of mailboxes if it succeeds.
    fn choose(&mut self) -> (String, Vec<(String, Known)>) {
        let there: Vec<(String, &'static str)> = self
            .mailboxes
            .iter()
            .filter_map(|(mailbox, known)| match known {
                Known::There(rights) => Some((mailbox.clone(), *rights)),
                _ => None,
            })
            .collect();
        let fresh = format!("m{}", self.mailboxes.len());
        let choice = if self.everything { self.rng.usize(..6) } else { self.rng.usize(..4) };
        let picked = self.rng.choice(&there).cloned();
        match (choice, picked) {
            (2 | 3, Some((mailbox, _))) => {
                let rights = self.rng.choice(RIGHTS).unwrap_or(RIGHTS[0]);
                let command = format!("SETACL INBOX.{mailbox} anyone {rights}");
                (command, vec![(mailbox, Known::There(rights))])
            }
            (4, Some((mailbox, rights))) => {
                let command = format!("RENAME INBOX.{mailbox} INBOX.{fresh}");
                (command, vec![(mailbox, Known::Gone), (fresh, Known::There(rights))])
            }
            (5, Some((mailbox, _))) => (format!("DELETE INBOX.{mailbox}"), vec![(mailbox, Known::Gone)]),
            _ => (format!("CREATE INBOX.{fresh}"), vec![(fresh, Known::There(""))]),
        }
    }

    /// What of this user's is not in a list as it was acknowledged.
    fn broken(&self, list: &Dump) -> Vec<String> {
        let mut broken = Vec::new();
        for (mailbox, known) in &self.mailboxes {
            let name = format!("user.{}.{mailbox}", self.name);
            let entry = list.get(&name);
            let kept = match known {
                Known::There(rights) => {
                    entry.is_some_and(|entry| entry.is_active() && entry.acl.rights("anyone") == *rights)
                }
                Known::Gone => entry.is_none(),
                Known::Unsure => true,
            };
            if !kept {
                broken.push(format!("{name}: acknowledged {known:?}, but it is {entry:?}"));
            }
        }
        broken
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_an_outage_it_keeps_what_it_acknowledged() -> Result<()> {
    let seed = std::env::var("RAVENRY_SEED").map_or_else(|_| Ok(fastrand::u64(..)), |seed| seed.parse())?;
    println!("RAVENRY_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(4), "").await?;
    let murder = &stage.murder;
    let users = [
        ("u001", &murder.be1, &murder.be1, true),
        ("u002", &murder.be1, &murder.be1, true),
        ("u003", &murder.be1, &murder.fe1, false),
        ("u004", &murder.be2, &murder.fe2, false),
    ];
    for (user, home, _, _) in users {
        murder.create_user(user, home).await?;
    }
    let mut agreement = Agreement::begin(murder).await?.with_ravenry(stage.ravenry.address());
    agreement.reached_within(SETTLED).await?;
    murder.mm.stop_cyrus().await?;

    let shift = Arc::<Shift>::default();
    let mut working = JoinSet::new();
    for (user, _, host, everything) in users {
        working.spawn(User::new(user, host, everything, rng.fork()).work(Arc::clone(&shift)));
    }
    for _ in 0..KILLS {
        some_work(&shift, rng.usize(5..15)).await?;
        tokio::time::sleep(Duration::from_millis(rng.u64(..500))).await;
        stage.ravenry.kill().await?;
        tokio::time::sleep(Duration::from_millis(rng.u64(..500))).await;
        stage.ravenry.launch().await?;
    }
    some_work(&shift, 5).await?;
    shift.over.store(true, Ordering::Relaxed);
    let mut users = Vec::new();
    while let Some(user) = working.join_next().await {
        users.push(user??);
    }
    for user in &users {
        let User { name, mailboxes, acknowledged, refused, .. } = user;
        println!(
            "{name}: {} mailboxes, {acknowledged} changes acknowledged, {refused} refused",
            mailboxes.len()
        );
    }
    let list = dump_of(Mupdate::login(stage.ravenry.address()).await?.list(None).await?);
    kept(&users, &list, "in the outage")?;

    stage.murder.mm.start_cyrus().await?;
    for _ in 0..KILLS_IN_REPLAY {
        tokio::time::sleep(Duration::from_millis(rng.u64(..400))).await;
        stage.ravenry.crash_and_restart().await?;
    }
    stage.ravenry.wait_for_state("following", SETTLED).await?;
    agreement.master_was_restarted().await?;
    kept(&users, &stage.murder.mm.dump().await?, "after the outage")?;
    let status = stage.ravenry.status().await?;
    assert_eq!((status["journal"].as_u64(), status["conflicts"].as_u64()), (Some(0), Some(0)), "{status}");

    // What was refused half-way, because Ravenry was dead at that moment, is put right as after any failure.
    for backend in stage.murder.backends() {
        backend.mboxlist_push().await?.success()?;
    }
    agreement.reached_within(SETTLED).await?;
    kept(&users, &stage.murder.mm.dump().await?, "after the backends were compared")?;
    agreement.nothing_to_push().await?;
    stage.stop().await
}

/// Waits until so many more changes were acknowledged.
async fn some_work(shift: &Shift, count: usize) -> Result<()> {
    let acknowledged = || shift.acknowledged.load(Ordering::Relaxed);
    let enough = acknowledged() + count;
    let working = async || Ok((acknowledged() >= enough).then_some(()));
    eventually(2 * SETTLED, format!("{count} more acknowledgements"), working).await.map(drop)
}

/// Everything that was acknowledged is in a list.
fn kept(users: &[User], list: &Dump, when: &str) -> Result<()> {
    let broken: Vec<String> = users.iter().flat_map(|user| user.broken(list)).collect();
    anyhow::ensure!(broken.is_empty(), "{when}: {broken:#?}");
    Ok(())
}
