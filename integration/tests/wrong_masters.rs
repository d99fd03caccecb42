//! Another server stands where the master was: whatever it is, it is not followed, nobody in the murder loses a
//! name or gains one, and nothing is written there.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use ravenry_integration::agreement::{compare_lists, report};
use ravenry_integration::clients::{Mupdate, PASSWORD, Wire};
use ravenry_integration::deadline::eventually;
use ravenry_integration::frames::{Frames, words};
use ravenry_integration::murder::{Dump, Murder, Plan};
use ravenry_integration::stage::Stage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A list of a handful of names is judged, and shown to the frontends, well within this.
const SOON: Duration = Duration::from_secs(30);
/// Long enough for a server that is tried again and again to be tried several times.
const A_WHILE: Duration = Duration::from_secs(3);

/// So small a murder needs a strict guard.
const GUARD: &str = "[guard]\nat_least = 2\n";

/// What a scripted server does about UPDATE.
#[derive(Clone, Debug)]
enum Script {
    /// Sends these bytes and dies.
    Dies(Vec<u8>),
    /// Refuses.
    Refuses,
}

/// A server that greets like the real master, lets anybody log in, and follows a script.
#[derive(Debug)]
struct Peer {
    address: SocketAddr,
    /// The commands it was sent, AUTHENTICATE apart.
    heard: Arc<Mutex<Vec<String>>>,
    _listener: JoinSet<()>,
}

impl Peer {
    async fn start(at: SocketAddr, banner: Vec<u8>, script: Script) -> Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let mut task = JoinSet::new();
        let told = Arc::clone(&heard);
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (banner, script, told) = (banner.clone(), script.clone(), Arc::clone(&told));
                // However it ends, it ends: the client is what is looked at.
                connections.spawn(async move { drop(converse(client, &banner, &script, &told).await) });
            }
        });
        Ok(Self { address, heard, _listener: task })
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn converse(
    mut client: TcpStream,
    banner: &[u8],
    script: &Script,
    heard: &Mutex<Vec<String>>,
) -> Result<()> {
    client.write_all(banner).await?;
    let (mut frames, mut buffer) = (Frames::default(), [0; 4096]);
    loop {
        while let Some(frame) = frames.next_frame() {
            let mut words = words(&frame).into_iter().map(|word| String::from_utf8_lossy(&word).into_owned());
            let (tag, command) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            if command == "AUTHENTICATE" {
                client.write_all(format!("{tag} OK \"Authenticated\"\r\n").as_bytes()).await?;
                continue;
            }
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(command.clone());
            match script {
                Script::Dies(list) if command == "UPDATE" => return Ok(client.write_all(list).await?),
                _ => client.write_all(format!("{tag} NO \"not here\"\r\n").as_bytes()).await?,
            }
        }
        match client.read(&mut buffer).await? {
            0 => return Ok(()),
            read => frames.feed(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// The real master's greeting, byte for byte.
async fn banner_of(master: SocketAddr) -> Result<Vec<u8>> {
    let mut wire = Wire::connect(master).await?;
    let mut banner = Vec::new();
    loop {
        let frame = wire.expect_frame().await?;
        banner.extend_from_slice(&frame);
        if frame.starts_with(b"* OK") {
            return Ok(banner);
        }
    }
}

/// The real master's list, up to the middle of the line in its middle, and how many names that are.
async fn half_a_list_of(master: SocketAddr) -> Result<(usize, Vec<u8>)> {
    let mut session = Mupdate::login(master).await?;
    session.send_raw(b"U01 UPDATE\r\n").await?;
    let mut lines: Vec<Bytes> = Vec::new();
    loop {
        let line = session.wire().expect_frame().await?;
        if line.starts_with(b"U01 OK") {
            break;
        }
        lines.push(line);
    }
    let (whole, rest) = lines.split_at(lines.len() / 2);
    let torn = rest.first().context("the master's list is empty")?;
    ensure!(!whole.is_empty(), "half of so short a list is nothing");
    let bytes = [whole.concat().as_slice(), torn.get(..torn.len() / 2).unwrap_or_default()].concat();
    Ok((whole.len(), bytes))
}

/// Fills another murder's master with names.
async fn fill(master: SocketAddr, list: &[(String, String, String)]) -> Result<()> {
    let mut session = Mupdate::login(master).await?;
    for (name, location, acl) in list {
        session.activate(name, location, acl).await?.ok()?;
    }
    Ok(())
}

/// What the murder was before a wrong master, to see that it is no other afterwards.
struct Before {
    good: Dump,
    connections: usize,
}

impl Before {
    async fn of(stage: &Stage) -> Result<Self> {
        Ok(Self { good: stage.list().await?, connections: stage.from_frontends.accepted() })
    }

    /// Both frontends hold Ravenry's list, no name more or less, and everything that was there before.
    async fn frontends_are_whole(&self, stage: &Stage) -> Result<()> {
        for frontend in stage.murder.frontends() {
            let same = async || {
                let (ours, there) = (stage.list().await?, frontend.dump().await?);
                for name in self.good.0.keys() {
                    ensure!(there.get(name).is_some(), "{} lost {name}", frontend.name());
                }
                let mut found = Vec::new();
                compare_lists(frontend.name(), &ours, &there, &mut found);
                ensure!(found.is_empty(), "{}", report(&found));
                Ok(Some(()))
            };
            eventually(SOON, format!("{} holding our list", frontend.name()), same).await?;
        }
        ensure!(stage.from_frontends.accepted() == self.connections, "a frontend had to connect anew");
        Ok(())
    }
}

/// Puts another server in the master's place; sees that the murder goes on, and why; and puts the master back.
async fn endured(stage: &Stage, what: &str, wrong: SocketAddr, state: &str, why: &str) -> Result<()> {
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    let before = Before::of(stage).await?;
    let masters = murder.mm.dump().await?;
    stage.to_master.retarget(wrong);
    stage.to_master.cut_all();
    // Of a list that is not believed the reason tells; of a server that gives none, the master's own row.
    let row = if state == "holding" { "reason" } else { "master" };
    let said = async || {
        let status = ravenry.cli(&["status"]).await?.success()?.stdout;
        let is = ravenry.status().await?.get("state").is_some_and(|is| is == state);
        let tells = status.lines().any(|line| line.starts_with(row) && line.contains(why));
        Ok((is && tells).then_some(status))
    };
    let told = eventually(SOON, format!("{what}: {state}, and why: {why:?}"), said).await;
    let (status, _) = match told {
        Ok(told) => told,
        Err(error) => return Err(error.context(ravenry.cli(&["status"]).await?.stdout)),
    };
    println!("{what}:\n{status}");
    tokio::time::sleep(A_WHILE).await;
    let still = ravenry.status().await?;
    ensure!(still.get("state").is_some_and(|is| is == state), "{what}: no longer {state}: {still}");
    before.frontends_are_whole(stage).await.with_context(|| what.to_owned())?;

    // The murder goes on.
    let folder = format!("INBOX.{what}");
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create(&folder).await?.ok().with_context(|| format!("{what}: CREATE"))?;
    for frontend in murder.frontends() {
        for user in ["alice", "bob"] {
            let id = format!("{what}-{user}-{}", frontend.name());
            let delivery = frontend.lmtp().await?.deliver_one(user, &id).await?;
            ensure!(delivery.verdict().is_ok(), "{what}: {delivery:?}");
        }
    }
    before.frontends_are_whole(stage).await.with_context(|| format!("{what}, after a CREATE"))?;
    let created = format!("user.alice.{what}");
    ensure!(stage.list().await?.get(&created).is_some(), "{what}: {created} is not in the list");
    ensure!(murder.mm.dump().await? == masters, "{what}: the master was written meanwhile");

    // The right one is back, and gets what it missed.
    stage.to_master.retarget(murder.mm.mupdate_address());
    stage.to_master.cut_all();
    ravenry.wait_for_state("following", SOON).await.with_context(|| what.to_owned())?;
    let agreement = stage.agreement().await?;
    agreement.reached_within(SOON).await.with_context(|| format!("{what}, afterwards"))?;
    ensure!(murder.mm.dump().await?.get(&created).is_some(), "{what}: the master misses {created}");
    before.frontends_are_whole(stage).await.with_context(|| format!("{what}, afterwards"))
}

async fn peopled() -> Result<Stage> {
    let stage = Stage::start(Plan::chosen()?, GUARD).await?;
    stage.murder.create_user("alice", &stage.murder.be1).await?;
    stage.murder.create_user("bob", &stage.murder.be2).await?;
    let mut alice = stage.murder.fe1.imap("alice").await?;
    for folder in ["INBOX.one", "INBOX.two", "INBOX.three"] {
        alice.create(folder).await?.ok()?;
    }
    alice.append("INBOX", "Subject: kept\r\n\r\nkept\r\n").await?.ok()?;
    stage.agreement().await?.reached_within(SOON).await?;
    Ok(stage)
}

/// A second murder's master; none of its other nodes is needed.
async fn another_master(stage: &Stage) -> Result<Murder> {
    let other = stage.murder.prepare_beside(Plan::chosen()?).await?;
    other.start_master().await?;
    Ok(other)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stands_where_the_master_was_no_frontend_is_affected() -> Result<()> {
    let stage = peopled().await?;
    let murder = &stage.murder;
    let gateway = SocketAddr::from((murder.gateway(), 0));

    // A frontend's slave holds the very list, but only the master's may be followed.
    let slave = murder.fe2.mupdate_address();
    endured(&stage, "a slave", slave, "standing-in", "is not a master, but a slave: mupdate://").await?;

    let banner = banner_of(murder.mm.mupdate_address()).await?;
    let (names, half) = half_a_list_of(murder.mm.mupdate_address()).await?;
    let dying = Peer::start(gateway, banner.clone(), Script::Dies(half)).await?;
    // The partial line does not count.
    let torn = format!("the list broke off after {names} names: the server closed the connection");
    endured(&stage, "half a list", dying.address, "standing-in", &torn).await?;
    let refusing = Peer::start(gateway, banner, Script::Refuses).await?;
    let refused = "the server answered UPDATE with NO \"not here\"";
    endured(&stage, "a refusal", refusing.address, "standing-in", refused).await?;
    for peer in [&dying, &refusing] {
        let heard = peer.heard();
        ensure!(heard.len() > 1, "it was not tried again: {heard:?}");
        ensure!(heard.iter().all(|command| command == "UPDATE"), "it was written to: {heard:?}");
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_murders_master_is_neither_believed_nor_written() -> Result<()> {
    let stage = peopled().await?;
    let other = another_master(&stage).await?;
    let address = other.mm.mupdate_address();
    let stranger =
        |name: &str| (name.to_owned(), "be9.other.test!default".to_owned(), "carol\tlrs".to_owned());
    fill(address, &[stranger("user.carol"), stranger("user.dave")]).await?;

    // It even calls itself what ours does: its list gives it away.
    let theirs = other.mm.dump().await?;
    let names = stage.list().await?.0.len();
    endured(&stage, "a stranger", address, "holding", &format!("the master's list lacks {names}")).await?;
    ensure!(other.mm.dump().await? == theirs, "the other murder was written to");

    // And one that lacks nothing of ours: its name gives it away.
    let mut session = Mupdate::login(stage.murder.mm.mupdate_address()).await?;
    let mut copy = Mupdate::login(address).await?;
    for record in session.list(None).await? {
        let entry = record.entry.context("a name without an entry")?;
        copy.activate(&record.name, &entry.location, "alice\tlrs").await?.ok()?;
    }
    other.mm.stop_cyrus().await?;
    let rename = "s/^servername:.*/servername: mm.other.test/";
    other.mm.exec_root(&["sed", "-i", rename, "/etc/imapd.conf"]).await?.success()?;
    // Accounts are kept by server name.
    let account = format!(
        "printf %s {PASSWORD} | saslpasswd2 -p -c -u mm.other.test murder && chown cyrus /etc/sasldb2"
    );
    other.mm.exec_root(&["sh", "-c", &account]).await?.success()?;
    other.mm.start_cyrus().await?;
    other.mm.wait_until_up().await?;
    let theirs = other.mm.dump().await?;
    let why = "the master calls itself mm.other.test, and was mm.murder.test";
    endured(&stage, "a namesake", address, "holding", why).await?;
    ensure!(other.mm.dump().await? == theirs, "the other murder was written to");
    stage.stop().await?;
    other.stop().await
}
