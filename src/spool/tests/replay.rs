//! Working off the queue, with scripted servers.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::sync::Semaphore;

use super::schedule::Policy;
use super::*;
use crate::authority::master::BoxFuture;

/// Servers that do what a test wants.
#[derive(Clone)]
struct Servers(Arc<Inner>);

struct Inner {
    /// What a server answers; 250 where nothing is said.
    replies: Mutex<BTreeMap<String, Reply>>,
    /// What was tried: destination, recipients, text's length.
    tried: Mutex<Vec<(String, Vec<String>, u64)>>,
    /// Attempts wait for a permit each, if this is closed to them.
    gate: Semaphore,
    places: Mutex<BTreeMap<String, String>>,
}

fn delivered() -> Reply {
    Reply::own(250, [2, 1, 5], "Ok")
}

impl Servers {
    fn new() -> Self {
        Self(Arc::new(Inner {
            replies: Mutex::default(),
            tried: Mutex::default(),
            gate: Semaphore::new(1 << 20),
            places: Mutex::default(),
        }))
    }

    /// By server, or by recipient.
    fn say(&self, of: &str, code: u16, enhanced: [u16; 3]) {
        self.0.replies.lock().unwrap().insert(of.into(), Reply::own(code, enhanced, format!("says {of}")));
    }

    fn be_well(&self) {
        self.0.replies.lock().unwrap().clear();
    }

    fn place(&self, mailbox: &str, server: &str) {
        self.0.places.lock().unwrap().insert(mailbox.into(), server.into());
    }

    fn tried(&self) -> Vec<(String, Vec<String>, u64)> {
        self.0.tried.lock().unwrap().clone()
    }

    fn ways(&self) -> Ways {
        let servers = self.clone();
        Ways {
            backends: Arc::new(self.clone()),
            submission: Some(Arc::new(self.clone())),
            route: Arc::new(move |name| {
                let places = servers.0.places.lock().unwrap();
                places.get(&name.to_string()).map(|server| server.as_str().into())
            }),
        }
    }
}

impl Deliver for Servers {
    fn deliver(&self, attempt: Attempt) -> BoxFuture<Vec<Verdict>> {
        let inner = self.0.clone();
        Box::pin(async move {
            inner.gate.acquire().await.unwrap().forget();
            let names: Vec<_> = attempt
                .recipients
                .iter()
                .map(|at| attempt.envelope.recipients[*at].address.to_string())
                .collect();
            let place = attempt.destination.to_string();
            inner.tried.lock().unwrap().push((place.clone(), names.clone(), attempt.body.len()));
            let replies = inner.replies.lock().unwrap();
            let verdict = |name: &String| {
                let reply = replies.get(name).or(replies.get(&place)).cloned().unwrap_or_else(delivered);
                match reply.code {
                    200..300 => Verdict::Delivered(reply),
                    400..500 => Verdict::Deferred(reply),
                    _ => Verdict::Refused(reply),
                }
            };
            names.iter().map(verdict).collect()
        })
    }
}

fn open(servers: &Servers, options: Options) -> (Spool, Arc<dyn Disk>) {
    let (_, disk) = sim();
    let spool = Spool::open_on(disk.clone(), options).unwrap();
    spool.start(servers.ways());
    (spool, disk)
}

async fn queue(spool: &Spool, envelope: Envelope) -> QueueId {
    spool.enqueue(envelope, Body::in_memory(text(9, b'x'))).await.unwrap()
}

async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(tokio::time::Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn empty(spool: &Spool) {
    eventually("the queue is empty", || spool.stats().messages == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_is_delivered_where_its_mailboxes_are() {
    let servers = Servers::new();
    servers.place("user.a", "be1");
    servers.place("user.b", "be2");
    let (spool, _disk) = open(&servers, small());
    queue(&spool, envelope(&["a", "b", "c", "a2"])).await;
    empty(&spool).await;
    let mut tried = servers.tried();
    tried.sort();
    let len = text(9, b'x').len() as u64;
    let at = |place: &str, names: &[&str]| {
        (place.to_owned(), names.iter().map(|name| format!("{name}@example.org")).collect(), len)
    };
    assert_eq!(tried, [at("(unlisted)", &["c", "a2"]), at("be1", &["a"]), at("be2", &["b"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_were_deferred_are_tried_again_also_after_a_restart() {
    let servers = Servers::new();
    servers.say("b@example.org", 451, [4, 2, 1]);
    let (spool, disk) = open(&servers, small());
    let id = queue(&spool, envelope(&["a", "b"])).await;
    eventually("a first attempt", || spool.message(id).is_ok_and(|message| message.progress.attempts == 1))
        .await;
    let progress = spool.message(id).unwrap().progress;
    assert_eq!(progress.fates[0], Fate::Delivered);
    assert_eq!(progress.last_error().unwrap().to_string(), "451 4.2.1 says b@example.org");
    drop(spool);
    // The task lets go of the disk when the last handle is gone.
    tokio::time::sleep(Duration::from_millis(50)).await;
    servers.be_well();
    let spool = Spool::open_on(disk, small()).unwrap();
    spool.start(servers.ways());
    empty(&spool).await;
    let last = servers.tried().pop().unwrap();
    assert_eq!(last.1, ["b@example.org"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_back_is_drained_at_once_the_oldest_first() {
    let servers = Servers::new();
    for n in 0..500 {
        servers.place(&format!("user.u{n}"), "be1");
    }
    servers.place("user.z", "be2");
    servers.say("be1", 451, [4, 4, 1]);
    let (spool, _disk) = open(&servers, small());
    for n in 0..500 {
        queue(&spool, envelope(&[&format!("u{n}")])).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = servers.tried().len();
    assert!(asked < 40, "{asked} attempts at a destination that is gone");
    queue(&spool, envelope(&["z"])).await;
    eventually("another destination's mail", || servers.tried().iter().any(|tried| tried.0 == "be2")).await;
    servers.be_well();
    servers.0.tried.lock().unwrap().clear();
    let began = std::time::Instant::now();
    spool.wake(Wake::Destination("be1".into()));
    empty(&spool).await;
    assert!(began.elapsed() < Duration::from_secs(10));
    let order: Vec<usize> = servers
        .tried()
        .iter()
        .map(|tried| tried.1[0].trim_start_matches('u').split('@').next().unwrap().parse().unwrap())
        .collect();
    let oldest_half = order.iter().take(250).filter(|n| **n < 250).count();
    assert!(oldest_half > 150, "roughly the oldest first: {order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_defers_is_not_tried_at_each_return_of_the_master_and_yet_soon_after() {
    let servers = Servers::new();
    servers.place("user.a", "be1");
    servers.say("be1", 452, [4, 2, 2]);
    let (spool, _disk) = open(&servers, small());
    queue(&spool, envelope(&["a"])).await;
    eventually("a first attempt", || !servers.tried().is_empty()).await;
    // More than the wakes that are heard at once, and each after an attempt.
    let until = tokio::time::Instant::now() + Duration::from_secs(5);
    while tokio::time::Instant::now() < until {
        spool.wake(Wake::All);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let tried = servers.tried().len();
    assert!((2..=8).contains(&tried), "{tried} attempts");
    servers.be_well();
    // A wake that was held back is heard yet; without one it would take half a minute.
    empty(&spool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_moved_is_followed_at_once() {
    let servers = Servers::new();
    servers.place("user.a", "be1");
    servers.say("be1", 451, [4, 4, 3]);
    let (spool, _disk) = open(&servers, small());
    let id = queue(&spool, envelope(&["a"])).await;
    eventually("a first attempt", || spool.message(id).is_ok_and(|message| message.progress.attempts == 1))
        .await;
    servers.place("user.a", "be2");
    spool.wake(Wake::Mailbox(mailbox("user.a")));
    empty(&spool).await;
    assert_eq!(servers.tried().pop().unwrap().0, "be2");
}

#[tokio::test(flavor = "multi_thread")]
async fn held_mail_is_not_tried_and_released_mail_is() {
    let servers = Servers::new();
    servers.say("(unlisted)", 451, [4, 4, 1]);
    let (spool, _disk) = open(&servers, small());
    let id = queue(&spool, envelope(&["a"])).await;
    spool.hold(id).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    servers.be_well();
    spool.wake(Wake::All);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(spool.stats().messages, 1);
    spool.release(id).await.unwrap();
    empty(&spool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_is_held_and_released_during_an_attempt_is_tried_again() {
    let servers = Servers::new();
    servers.say("(unlisted)", 451, [4, 2, 1]);
    servers.0.gate.forget_permits(1 << 20);
    let (spool, _disk) = open(&servers, small());
    let id = queue(&spool, envelope(&["a"])).await;
    let is_under_way = async {
        while spool.lanes().await.iter().all(|lane| lane.running == 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), is_under_way).await.expect("no attempt");
    spool.hold(id).await.unwrap();
    spool.release(id).await.unwrap();
    // Both were heard before this is answered.
    spool.lanes().await;
    servers.0.gate.add_permits(1);
    eventually("the attempt's end", || spool.message(id).is_ok_and(|message| message.progress.attempts == 1))
        .await;
    servers.be_well();
    servers.0.gate.add_permits(1);
    empty(&spool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn released_mail_that_the_disk_does_not_give_at_once_is_tried_when_it_does() {
    for after in 0..8 {
        let servers = Servers::new();
        servers.say("(unlisted)", 451, [4, 2, 1]);
        let (sim, disk) = sim();
        let spool = Spool::open_on(disk, small()).unwrap();
        spool.start(servers.ways());
        let id = queue(&spool, envelope(&["a"])).await;
        spool.hold(id).await.unwrap();
        servers.be_well();
        sim.fail(sim::Fault { kind: sim::Kind::Read, after, times: 1, errno: 5 });
        if spool.release(id).await.is_err() {
            spool.release(id).await.unwrap();
        }
        empty(&spool).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_reported_to_the_sender_and_to_nobody_else() {
    let servers = Servers::new();
    servers.say("b@example.org", 550, [5, 1, 1]);
    let (spool, _disk) = open(&servers, small());
    queue(&spool, envelope(&["a", "b"])).await;
    empty(&spool).await;
    let reports: Vec<_> = servers.tried().into_iter().filter(|tried| tried.0 == "(submission)").collect();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].1, ["sender@example.org"]);

    let mut silent = envelope(&["b"]);
    silent.recipients[0].parameters.push(Parameter::new(b"NOTIFY=NEVER".to_vec()).unwrap());
    queue(&spool, silent).await;
    empty(&spool).await;
    let mut from_nobody = envelope(&["b"]);
    from_nobody.sender = Address::null();
    let id = queue(&spool, from_nobody).await;
    eventually("it is kept for a person", || spool.stats().failed == 1).await;
    assert_eq!(spool.message(id).unwrap().progress.failed(), 1);
    assert_eq!(servers.tried().iter().filter(|tried| tried.0 == "(submission)").count(), 1);
    // A person makes the mailbox again.
    servers.be_well();
    spool.release(id).await.unwrap();
    empty(&spool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_refused_is_kept_and_not_reported() {
    let servers = Servers::new();
    servers.say("b@example.org", 550, [5, 1, 1]);
    servers.say("(submission)", 554, [5, 7, 1]);
    let (spool, _disk) = open(&servers, small());
    queue(&spool, envelope(&["b"])).await;
    eventually("the report is kept", || spool.stats().failed == 1).await;
    let id = spool.ids_after(None, 1)[0];
    assert_eq!(spool.message(id).unwrap().envelope.protocol, Protocol::Report);
    assert_eq!(spool.stats().messages, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_is_reported_too() {
    let servers = Servers::new();
    servers.say("(unlisted)", 452, [4, 2, 2]);
    let policy = Policy { retry_min: 20, expiry: 60, ..Policy::default() };
    let (spool, _disk) = open(&servers, Options { policy, ..small() });
    queue(&spool, envelope(&["a"])).await;
    empty(&spool).await;
    let tried = servers.tried();
    // On a busy machine the first attempt may be the last.
    assert!(tried.len() >= 2, "{tried:?}");
    assert_eq!(tried.last().unwrap().0, "(submission)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_does_not_starve_what_is_new() {
    let servers = Servers::new();
    servers.place("user.a", "be1");
    servers.place("user.new", "be1");
    let policy = Policy { retry_min: 1, ..Policy::default() };
    let (spool, _disk) = open(&servers, Options { policy, ..small() });
    // Every attempt takes what the test gives it.
    servers.0.gate.forget_permits(1 << 20);
    for _ in 0..300 {
        queue(&spool, envelope(&["a"])).await;
    }
    queue(&spool, envelope(&["new"])).await;
    // Only what the schedule knows of can have a turn.
    let begun = Policy::default().per_destination;
    let all_are_ready = async {
        while spool.lanes().await.iter().map(|lane| lane.ready).sum::<usize>() < 301 - begun {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all_are_ready).await.expect("not all are ready");
    servers.0.gate.add_permits(30);
    let is_new = |tried: &(String, Vec<String>, u64)| tried.1[0] == "new@example.org";
    eventually("the new message is tried", || servers.tried().iter().any(is_new)).await;
    assert!(servers.tried().len() <= 30);
}

/// Whoever delivers may have bugs of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_an_attempt_costs_only_the_attempt() {
    struct Panics;
    impl Deliver for Panics {
        fn deliver(&self, attempt: Attempt) -> BoxFuture<Vec<Verdict>> {
            Box::pin(async move {
                assert_ne!(attempt.envelope.recipients[0].address, address("a@example.org"));
                vec![Verdict::Delivered(delivered()); attempt.recipients.len()]
            })
        }
    }
    let (_, disk) = sim();
    let spool = Spool::open_on(disk, small()).unwrap();
    spool.start(Ways { backends: Arc::new(Panics), submission: None, route: Arc::new(|_| None) });
    queue(&spool, envelope(&["a"])).await;
    queue(&spool, envelope(&["b"])).await;
    eventually("the other is delivered", || spool.stats().messages == 1).await;
}
