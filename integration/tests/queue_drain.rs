//! A backend comes back, and what waited for it: the oldest first, new mail beside it, and messages that break every
//! session in which they are tried hold up nobody.
//!
//! `QUEUE_MESSAGES` says how many messages wait; CI lets 1,000 wait.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ravenry_integration::clients::{Lmtp, message};
use ravenry_integration::murder::{Murder, Node, Plan};
use ravenry_integration::post::Post;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// On a busy machine, for so many that waited.
fn drained(count: usize) -> Duration {
    Duration::from_secs(60 + count as u64 / 10)
}
/// Who has mail that waits.
const USERS: usize = 10;
const SENDERS: usize = 8;
/// Messages that no frontend survives, the oldest of all.
const POISONS: usize = 3;
const POISON: &[u8] = b"Subject: poison-";

/// The way to a frontend, on which a connection ends where poison passes.
struct Cutter {
    address: SocketAddr,
    healed: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
    _listening: JoinSet<()>,
}

impl Cutter {
    async fn before(frontend: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (healed, cuts) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (is_healed, cut) = (healed.clone(), cuts.clone());
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (is_healed, cut) = (is_healed.clone(), cut.clone());
                // Whichever side hangs up: the other one sees its connection close.
                connections.spawn(async move { drop(carry(client, frontend, &is_healed, &cut).await) });
            }
        });
        Ok(Self { address, healed, cuts, _listening: listening })
    }
}

async fn carry(mut client: TcpStream, to: SocketAddr, healed: &AtomicBool, cuts: &AtomicUsize) -> Result<()> {
    let mut frontend = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    frontend.set_nodelay(true)?;
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let bytes = up.get(..read?).filter(|bytes| !bytes.is_empty()).context("closed")?;
                // Small messages come in one piece.
                if !healed.load(Ordering::Relaxed) && bytes.windows(POISON.len()).any(|part| part == POISON) {
                    cuts.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                frontend.write_all(bytes).await?;
            }
            read = frontend.read(&mut down) => {
                let bytes = down.get(..read?).filter(|bytes| !bytes.is_empty()).context("closed")?;
                client.write_all(bytes).await?;
            }
        }
    }
}

fn user(n: usize) -> String {
    format!("u{:03}", n % USERS)
}

/// Messages `n-0`, `n-1` … from several senders, the lowest first.
async fn fill(address: SocketAddr, count: usize) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let next = next.clone();
        senders.spawn(async move {
            let mut lmtp = Lmtp::connect(address).await?;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return Ok(());
                }
                let delivery = lmtp.deliver_one(&user(n), &format!("n-{n}")).await?;
                ensure!(delivery.verdict().lines.concat().contains("Queued as"), "{delivery:?}");
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    Ok(())
}

/// Mail that nobody wants to wait for, until the queue holds no more than the poison. How many there were, and how
/// long the slowest took.
async fn new_mail(post: &Post, left: usize) -> Result<(usize, Duration)> {
    let mut lmtp = post.lmtp().await?;
    lmtp.set_patience(Duration::from_secs(60));
    let left = format!("\nravenry_queue_messages {left}\n");
    let (mut count, mut slowest) = (0, Duration::ZERO);
    loop {
        let began = Instant::now();
        let delivery = lmtp.deliver_one("erin", &format!("new-{count}")).await?;
        slowest = slowest.max(began.elapsed());
        count += 1;
        // In the mailbox when it is answered, not behind the backlog.
        ensure!(delivery.verdict().is_ok(), "{delivery:?}");
        ensure!(!delivery.verdict().lines.concat().contains("Queued"), "{delivery:?}");
        if post.stage.ravenry.scrape().await?.contains(&left) {
            return Ok((count, slowest));
        }
    }
}

/// The subjects in an inbox, in the order of their arrival.
async fn subjects(backend: &Node, user: &str) -> Result<Vec<String>> {
    let mut imap = backend.imap(user).await?;
    imap.set_patience(Duration::from_secs(60));
    imap.select("INBOX").await?.ok()?;
    let found = imap.run("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])").await?;
    let text = found.untagged.join("\n");
    Ok(text.lines().filter_map(|line| line.trim().strip_prefix("Subject: ")).map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_drains_oldest_first_and_neither_poison_nor_new_mail_suffers() -> Result<()> {
    let count = std::env::var("QUEUE_MESSAGES").map_or(Ok(1000), |text| text.parse())?;
    let murder = Murder::prepare(Plan::chosen()?).await?;
    let ways =
        [Cutter::before(murder.fe1.lmtp_address()).await?, Cutter::before(murder.fe2.lmtp_address()).await?];
    let post = Post::start_in(murder, &ways.each_ref().map(|way| way.address), "").await?;
    let (murder, ravenry) = (&post.stage.murder, &post.stage.ravenry);
    for user in (0..USERS).map(user).chain(["erin".to_owned()]) {
        murder.create_user(&user, &murder.be1).await?;
    }
    murder.be1.stop_cyrus().await?;
    let mut lmtp = post.lmtp().await?;
    for n in 0..POISONS {
        let delivery = lmtp.deliver(&[&user(n)], &message(&format!("poison-{n}"))).await?;
        ensure!(delivery.iter().all(|one| one.verdict().is_ok()), "{delivery:?}");
    }
    drop(lmtp);
    fill(post.address(), count).await?;

    murder.be1.start_cyrus().await?;
    murder.be1.wait_until_up().await?;
    let back = Instant::now();
    let (new, slowest) =
        tokio::time::timeout(drained(count), new_mail(&post, POISONS)).await.context("draining")??;
    let took = back.elapsed();
    println!(
        "{count} messages drained in {took:.1?}; beside them {new} new ones, the slowest {slowest:.2?}: {:.0} a second in all",
        (count + new) as f64 / took.as_secs_f64(),
    );

    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..USERS {
        let found = subjects(&murder.be1, &user(n)).await?;
        let order: Vec<usize> = found.iter().filter_map(|s| s.strip_prefix("n-")?.parse().ok()).collect();
        // Every fourth place is the newest's.
        let half = order.len() / 2;
        let early = order.iter().take(half).filter(|n| **n < count / 2).count();
        ensure!(early > half * 6 / 10, "roughly the oldest first: {order:?}");
        found.into_iter().for_each(|subject| *all.entry(subject).or_default() += 1);
    }
    ensure!(all.len() == count && all.values().all(|copies| *copies == 1), "each once: {all:?}");
    ensure!(subjects(&murder.be1, "erin").await?.len() == new);

    // The poison was tried, is still here and says why; nobody blamed the frontends or the backend for it.
    let cut = || ways.iter().map(|way| way.cuts.load(Ordering::Relaxed)).sum::<usize>();
    ensure!(cut() > POISONS, "the poison was tried {} times", cut());
    let listed = ravenry.cli(&["queue", "list"]).await?.success()?.stdout;
    ensure!(listed.matches("it closed the connection").count() == POISONS, "{listed}");
    let status = ravenry.status().await?;
    let frontends = status["lmtp"]["frontends"].as_array().context("no frontends")?;
    ensure!(frontends.iter().all(|frontend| frontend["down"].is_null()), "{status}");
    for way in &ways {
        way.healed.store(true, Ordering::Relaxed);
    }
    ravenry.cli(&["queue", "retry", "--all"]).await?.success()?;
    ravenry.wait_for(drained(count), "an empty queue", |status| status["queue"]["messages"] == 0).await?;
    post.stop().await
}
