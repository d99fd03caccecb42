//! A face over loopback, frontends that are played, a list that is played, and a real queue.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::frontend::{Frontend, Script};
use crate::authority::facts::Unreadable;
use crate::authority::feed::{Feed, Subscription};
use crate::authority::master::BoxFuture;
use crate::authority::namespace::Namespace;
use crate::authority::write::{Origin, Outcome, SessionId, Write};
use crate::list::{Acl, Entry, Location, MailboxName};
use crate::lmtp::{Face, FaceConfig, Frontends, Listener, UpstreamConfig};
use crate::net::address::{Listen, Trust};
use crate::spool::{self, Attempt, Deliver, Reply, Spool, Verdict, Ways};
use crate::store::Snapshot;

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A list without a master.
#[derive(Default)]
pub(super) struct List {
    pub(super) names: Mutex<HashMap<MailboxName, Entry>>,
    pub(super) current: AtomicBool,
}

impl List {
    pub(super) fn of(names: &[&str], current: bool) -> Arc<Self> {
        let entry =
            || Entry::active(Location::new(b"be1.test!default").unwrap(), Acl::new(b"anyone\tlrsp\t"));
        let names = names.iter().map(|name| (MailboxName::new(name.as_bytes()).unwrap(), entry())).collect();
        Arc::new(Self { names: Mutex::new(names), current: AtomicBool::new(current) })
    }
}

impl Namespace for List {
    fn write(&self, _: Origin, _: Write) -> BoxFuture<Outcome> {
        Box::pin(async { Outcome::Unavailable })
    }
    fn ended(&self, _: SessionId, _: bool) -> BoxFuture<()> {
        Box::pin(async {})
    }
    fn barrier(&self) -> BoxFuture<()> {
        Box::pin(async {})
    }
    fn may_serve(&self) -> bool {
        true
    }
    fn snapshot(&self) -> Result<Snapshot, Unreadable> {
        Err(Unreadable("played".into()))
    }
    fn find(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable> {
        Ok(self.names.lock().unwrap().get(name).cloned())
    }
    fn versioned(&self, name: &MailboxName) -> Result<Option<(Entry, u64)>, Unreadable> {
        Ok(self.find(name)?.map(|entry| (entry, 0)))
    }
    fn is_current(&self) -> BoxFuture<bool> {
        let current = self.current.load(Ordering::Relaxed);
        Box::pin(async move { current })
    }
    fn is_in_doubt(&self, name: &MailboxName) -> bool {
        name.as_bytes().ends_with(b"doubtful")
    }
    fn subscribe(&self) -> Subscription {
        Feed::default().subscribe()
    }
}

/// What came out of the queue: recipients and text.
#[derive(Clone, Default)]
pub(super) struct Outbox(pub(super) Arc<Mutex<Vec<Tried>>>);

/// Recipients and text of an attempt.
type Tried = (Vec<String>, Vec<u8>);

impl Deliver for Outbox {
    fn deliver(&self, attempt: Attempt) -> BoxFuture<Vec<Verdict>> {
        let all = self.0.clone();
        Box::pin(async move {
            let recipients = attempt.recipients.iter().map(|at| &attempt.envelope.recipients[*at]);
            let to: Vec<String> = recipients.map(|recipient| recipient.address.to_string()).collect();
            let (mut text, mut body) = (Vec::new(), attempt.body.clone());
            while let Some(part) = body.next().await.unwrap() {
                text.extend_from_slice(&part);
            }
            let verdicts = to.iter().map(|_| Verdict::Delivered(Reply::own(250, [2, 1, 5], "ok"))).collect();
            all.lock().unwrap().push((to, text));
            verdicts
        })
    }
}

pub(super) struct Stage {
    pub(super) address: SocketAddr,
    pub(super) face: Face,
    pub(super) frontends: Vec<Frontend>,
    pub(super) list: Arc<List>,
    pub(super) outbox: Outbox,
    pub(super) stop: watch::Sender<bool>,
    pub(super) dir: tempfile::TempDir,
    watching: tokio::task::JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// Users alice, bob, carol exist, and the list is current.
pub(super) async fn stage(scripts: Vec<Script>) -> Stage {
    stage_with(scripts, List::of(&["user.alice", "user.bob", "user.carol"], true), |_| {}).await
}

pub(super) async fn stage_with(
    scripts: Vec<Script>,
    list: Arc<List>,
    adjust: impl FnOnce(&mut FaceConfig),
) -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let mut frontends = Vec::new();
    for script in scripts {
        frontends.push(Frontend::start(script).await);
    }
    let upstream = UpstreamConfig {
        connect_timeout: Duration::from_millis(500),
        reply_timeout: Duration::from_millis(500),
        delivery_timeout: Duration::from_millis(500),
        ..UpstreamConfig::new("ravenry.test")
    };
    let addresses: Vec<String> = frontends.iter().map(|frontend| frontend.address.to_string()).collect();
    let pool = Frontends::new(addresses.iter().map(String::as_str), upstream);
    let watched = pool.clone();
    let watching = tokio::spawn(async move { watched.watch(|| {}).await });
    let mut config = FaceConfig {
        trusted: vec![Trust::Private],
        failed_login_delay: Duration::from_millis(1),
        ..FaceConfig::new("ravenry.test")
    };
    adjust(&mut config);
    let spool = Spool::open(&dir.path().join("spool"), spool::Options::default()).unwrap();
    let outbox = Outbox::default();
    spool.start(Ways { backends: Arc::new(outbox.clone()), submission: None, route: Arc::new(|_| None) });
    let face = Face::new(config, pool, list.clone(), spool);
    let (stop, stopped) = watch::channel(false);
    // A port is free again only when its listener is gone; so one is chosen, and taken at once.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listener = Listener::bind(&Listen::Tcp(address)).await.unwrap();
    let serving = face.clone();
    tokio::spawn(async move { serving.serve(listener, stopped).await });
    Stage { address, face, frontends, list, outbox, stop, dir, watching }
}

impl Stage {
    pub(super) async fn client(&self) -> Client {
        let mut client = Client::new(TcpStream::connect(self.address).await.unwrap());
        assert_eq!(client.reply().await.0, 220);
        assert_eq!(client.ask("LHLO mta.test").await.0, 250);
        client
    }

    /// Messages at the frontends, of everybody who was told 250 there.
    pub(super) fn delivered(&self) -> Vec<String> {
        self.frontends.iter().flat_map(Frontend::received).flat_map(|received| received.to).collect()
    }

    /// Waits until the queue has given out something for each of these.
    pub(super) async fn queue_holds(&self, wanted: &[&str]) {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut queued = self.queued();
            queued.sort();
            if queued == wanted {
                return;
            }
            assert!(tokio::time::Instant::now() < until, "{queued:?} and not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) fn queued(&self) -> Vec<String> {
        self.outbox.0.lock().unwrap().iter().flat_map(|(to, _)| to.clone()).collect()
    }
}

pub(super) struct Client<S = TcpStream> {
    pub(super) stream: BufReader<S>,
}

pub(super) const TEXT: &str = "Subject: x\r\n\r\nHello.\r\n";

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    pub(super) async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await.unwrap().unwrap();
    }

    /// Code and text; 0 when the connection has ended.
    pub(super) async fn reply(&mut self) -> (u16, String) {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            let reading = self.stream.read_line(&mut line);
            let read = tokio::time::timeout(PATIENCE, reading).await.expect("no reply");
            if !matches!(read, Ok(1..)) {
                return (0, text);
            }
            text.push_str(&line[4..]);
            if line.as_bytes()[3] == b' ' {
                return (line[..3].parse().unwrap(), text);
            }
        }
    }

    pub(super) async fn ask(&mut self, line: &str) -> (u16, String) {
        self.send(&format!("{line}\r\n")).await;
        self.reply().await
    }

    /// A whole message, pipelined up to DATA: the codes after RCPT, and those after the text.
    pub(super) async fn deliver(&mut self, to: &[&str]) -> (Vec<u16>, Vec<u16>) {
        let rcpt: String = to.iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
        self.send(&format!("MAIL FROM:<sender@example.org>\r\n{rcpt}DATA\r\n")).await;
        assert_eq!(self.reply().await.0, 250);
        let mut first = Vec::new();
        for _ in to {
            first.push(self.reply().await.0);
        }
        let accepted = first.iter().filter(|code| **code == 250).count();
        let (code, text) = self.reply().await;
        if accepted == 0 {
            assert_eq!(code, 503, "{text}");
            assert_eq!(self.ask("RSET").await.0, 250);
            return (first, Vec::new());
        }
        assert_eq!(code, 354, "{text}");
        self.send(&format!("{TEXT}.\r\n")).await;
        let mut last = Vec::new();
        for _ in 0..accepted {
            last.push(self.reply().await.0);
        }
        // Nothing more and nothing less was said.
        assert_eq!(self.ask("NOOP").await, (250, "2.0.0 ok\r\n".into()));
        (first, last)
    }

    /// Everything until the connection ends.
    pub(super) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("no end");
        String::from_utf8_lossy(&rest).into_owned()
    }
}
