//! A relay between a client and its mupdate master that fails on demand, at an exact point of the conversation.
//!
//! It forwards whole protocol lines. Faults may be changed at any time, and apply to connections that are already
//! open. A client that waits for `+ go ahead` before it sends a literal cannot be relayed: Cyrus does not do that.

mod fault;
mod pump;
mod session;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use fault::{Action, Fault, Moment};

use crate::transcript::Transcript;

/// A running relay. Dropping it closes its port and every connection.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    _listener: JoinSet<()>,
}

/// What every connection shares.
#[derive(Debug)]
struct Shared {
    faults: watch::Sender<Vec<Fault>>,
    /// Counts up when every connection is to be cut.
    cuts: watch::Sender<u64>,
    target: Mutex<SocketAddr>,
    tapes: Mutex<Vec<Arc<Mutex<Transcript>>>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    hits: AtomicUsize,
}

impl Relay {
    /// Listens on an address (port 0: any free one) and forwards to another.
    pub async fn start(listen: SocketAddr, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("the relay cannot listen on {listen}"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            faults: watch::Sender::default(),
            cuts: watch::Sender::default(),
            target: Mutex::new(target),
            tapes: Mutex::default(),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            hits: AtomicUsize::new(0),
        });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _listener: task })
    }

    /// Where the relay listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards new connections to another address.
    pub fn retarget(&self, target: SocketAddr) {
        *lock(&self.shared.target) = target;
    }

    /// Puts these faults in the place of the present ones.
    pub fn set(&self, faults: impl Into<Vec<Fault>>) {
        self.shared.faults.send_replace(faults.into());
    }

    /// Lifts every fault. What was held back moves on.
    pub fn heal(&self) {
        self.set([]);
    }

    /// Cuts every open connection; new ones are welcome.
    pub fn cut_all(&self) {
        self.shared.cuts.send_modify(|count| *count += 1);
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// How often an [`Fault::At`] or a hang has struck.
    pub fn hits(&self) -> usize {
        self.shared.hits.load(Ordering::Relaxed)
    }

    /// What went over each connection so far, as the two sides sent it, oldest connection first.
    pub fn transcripts(&self) -> Vec<Transcript> {
        lock(&self.shared.tapes).iter().map(|tape| lock(tape).clone()).collect()
    }

    /// Forgets the recordings of all connections; open ones go on being recorded unseen.
    pub fn forget_transcripts(&self) {
        lock(&self.shared.tapes).clear();
    }
}

impl Shared {
    /// The action of the first fault that this event meets.
    fn action_on(&self, event: &session::Event) -> Option<Action> {
        self.faults.borrow().iter().find_map(|fault| fault.action_on(event))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // The connections end with this task, and this task with the relay.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        if shared.faults.borrow().contains(&Fault::Drop) {
            continue;
        }
        connections.spawn(connection(client, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let target = *lock(&shared.target);
    // A client whose server cannot be reached sees its connection close, as with any forwarder.
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    shared.open.fetch_add(1, Ordering::Relaxed);
    let tape = Arc::<Mutex<Transcript>>::default();
    lock(&shared.tapes).push(Arc::clone(&tape));
    let mut cuts = shared.cuts.subscribe();
    tokio::select! {
        () = pump::run(client, server, &shared, &tape) => {}
        _ = cuts.changed() => {}
    }
    shared.open.fetch_sub(1, Ordering::Relaxed);
}

/// A panic elsewhere leaves these values usable: they are replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
