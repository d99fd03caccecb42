//! The stream: the master's whole list, then every change, for as long as it lives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ravenry_parsers::mupdate::{CommandBody, ServerLine, Status};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::LinkConfig;
use super::connection::{Connection, LinkError, entry_of, name_of, unexpected};
use super::pool::Pool;
use crate::authority::master::{LinkEpoch, LinkEvent, Lost};
use crate::list::{Entry, MailboxName};
use crate::net::live::Live;

/// Names handed on at a time.
const BATCH: usize = 1000;

/// Where to say that the barrier has passed.
pub(super) type BarrierRequest = oneshot::Sender<Result<(), Lost>>;

/// Keeps the stream up.
pub(super) struct Follower {
    config: Live<LinkConfig>,
    pool: Arc<Pool>,
    follows: watch::Sender<Option<Instant>>,
    events: mpsc::Sender<LinkEvent>,
    requests: mpsc::Receiver<BarrierRequest>,
    restart: Arc<Notify>,
    epoch: LinkEpoch,
    last_dump: Duration,
}

fn known((name, entry): (MailboxName, Entry)) -> (MailboxName, Option<Entry>) {
    (name, Some(entry))
}

/// Why a stream ended.
enum End {
    Link(LinkError),
    Silent(Duration),
    Restarted,
    /// The list ended after so many names; so little tells nothing of those that are missing.
    CutShort(u64, String),
    /// Nobody listens to us any more.
    Unwanted,
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl End {
    /// In words; `None` when nobody listens.
    fn why(self) -> Option<String> {
        Some(match self {
            Self::Unwanted => return None,
            Self::Link(error) => error.to_string(),
            Self::Silent(waited) => format!("no answer for {} ms", waited.as_millis()),
            Self::Restarted => "connecting anew".to_owned(),
            Self::CutShort(names, why) => format!("the list broke off after {names} names: {why}"),
        })
    }
}

/// A connection that is being followed.
struct Following {
    connection: Connection,
    epoch: LinkEpoch,
    complete: bool,
    /// How many names of the list came, until it was complete.
    names: u64,
    began: Instant,
    last_byte: Instant,
    noops: u64,
    /// The NOOP under way, since when, and who waits for it.
    noop: Option<(Bytes, Instant, Vec<BarrierRequest>)>,
    /// Who asked since: their NOOP is the next one.
    next: Vec<BarrierRequest>,
    batch: Vec<(MailboxName, Option<Entry>)>,
}

impl Follower {
    pub(super) fn new(
        config: Live<LinkConfig>,
        pool: Arc<Pool>,
        follows: watch::Sender<Option<Instant>>,
        events: mpsc::Sender<LinkEvent>,
        requests: mpsc::Receiver<BarrierRequest>,
        restart: Arc<Notify>,
    ) -> Self {
        Self {
            config,
            pool,
            follows,
            events,
            requests,
            restart,
            epoch: LinkEpoch(0),
            last_dump: Duration::ZERO,
        }
    }

    /// Runs until nobody listens to the events.
    pub(super) async fn run(mut self) {
        let mut backoff = self.config.get().backoff;
        loop {
            self.epoch.0 += 1;
            let began = Instant::now();
            let end = self.follow().await;
            self.follows.send_replace(None);
            let restarted = matches!(end, End::Restarted);
            let Some(why) = end.why() else { return };
            if self.events.send(LinkEvent::Down(self.epoch, why)).await.is_err() {
                return;
            }
            self.refuse_waiting();
            if restarted || began.elapsed() > self.config.get().backoff_max {
                backoff = self.config.get().backoff;
            }
            if !restarted {
                let jitter = 0.5 + fastrand::f64() / 2.0;
                tokio::select! {
                    () = tokio::time::sleep(backoff.mul_f64(jitter)) => {}
                    () = self.restart.notified() => backoff = self.config.get().backoff,
                }
                backoff = (backoff * 2).min(self.config.get().backoff_max);
            }
        }
    }

    fn refuse_waiting(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            let _ = request.send(Err(Lost::Unsent("no link to the master".into())));
        }
    }

    async fn follow(&mut self) -> End {
        let config = self.config.get();
        let patience = config.connect_deadline;
        let opened = tokio::select! {
            opened = tokio::time::timeout(patience, Connection::open(&config)) => opened,
            () = self.restart.notified() => return End::Restarted,
        };
        let mut connection = match opened {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return End::Link(error),
            Err(_) => return End::Silent(patience),
        };
        let identity = connection.identity().clone();
        if !identity.is_master() {
            let (servername, role) = (identity.servername, identity.role);
            return End::Link(LinkError::NotMaster { servername, role });
        }
        if let Err(error) = connection.command(b"U01", &CommandBody::Update { hosts: Vec::new() }).await {
            return End::Link(error);
        }
        if self.events.send(LinkEvent::Up(self.epoch, identity)).await.is_err() {
            return End::Unwanted;
        }
        let now = Instant::now();
        let mut following = Following {
            connection,
            epoch: self.epoch,
            complete: false,
            names: 0,
            began: now,
            last_byte: now,
            noops: 0,
            noop: None,
            next: Vec::new(),
            batch: Vec::new(),
        };
        let end = self.keep_following(&mut following).await;
        let waiting = following.noop.into_iter().flat_map(|(_, _, waiting)| waiting).chain(following.next);
        for request in waiting {
            let _ = request.send(Err(Lost::InDoubt("the stream ended".into())));
        }
        match end {
            Ok(never) => match never {},
            Err(end @ (End::Link(_) | End::Silent(_))) if !following.complete && following.names > 0 => {
                let names = following.names;
                end.why().map_or(End::Unwanted, |why| End::CutShort(names, why))
            }
            Err(end) => end,
        }
    }

    async fn keep_following(&mut self, following: &mut Following) -> Result<std::convert::Infallible, End> {
        loop {
            while let Some(line) = following.connection.buffered_line()? {
                self.take(following, line).await?;
            }
            following.hand_on(&self.events).await?;
            following.start_noop().await?;
            let silence = self.config.get().silence.max(self.last_dump * 3);
            let (due, asked) = following.deadline(silence, self.config.get().ping);
            tokio::select! {
                filled = following.connection.fill() => {
                    filled?;
                    following.last_byte = Instant::now();
                }
                Some(request) = self.requests.recv() => following.ask(request),
                () = self.restart.notified() => return Err(End::Restarted),
                () = tokio::time::sleep_until(due) => {
                    if asked {
                        return Err(End::Silent(silence));
                    }
                    following.ping().await?;
                }
            }
        }
    }

    async fn take(&mut self, following: &mut Following, line: ServerLine) -> Result<(), End> {
        let listed = matches!(line, ServerLine::Mailbox { .. } | ServerLine::Reserve { .. });
        following.names += u64::from(listed && !following.complete);
        match line {
            ServerLine::Mailbox { mailbox, location, acl, .. } => {
                following.batch.push(known(entry_of(&mailbox, &location, Some(&acl))?));
            }
            ServerLine::Reserve { mailbox, location, .. } => {
                following.batch.push(known(entry_of(&mailbox, &location, None)?));
            }
            ServerLine::Delete { mailbox, .. } if following.complete => {
                following.batch.push((name_of(&mailbox)?, None));
            }
            ServerLine::Status { tag: Some(tag), status: Status::Ok, .. }
                if !following.complete && tag == "U01" =>
            {
                following.hand_on(&self.events).await?;
                self.pool.prepare();
                following.complete = true;
                self.follows.send_replace(Some(Instant::now()));
                self.last_dump = following.began.elapsed();
                following.send(&self.events, LinkEvent::Complete(following.epoch)).await?;
            }
            ServerLine::Status { tag: Some(tag), status: Status::Ok, .. } => {
                // Everything that the master did before this NOOP is in the batch, or handed on already.
                following.hand_on(&self.events).await?;
                match following.noop.take() {
                    Some((ours, _, waiting)) if ours == tag => {
                        for request in waiting {
                            let _ = request.send(Ok(()));
                        }
                    }
                    other => following.noop = other,
                }
                following.start_noop().await?;
            }
            other => return Err(unexpected("UPDATE", &other).into()),
        }
        if following.batch.len() >= BATCH {
            following.hand_on(&self.events).await?;
        }
        Ok(())
    }
}

impl Following {
    /// When something must have happened, and whether that is because we wait for an answer.
    fn deadline(&self, silence: Duration, ping: Duration) -> (Instant, bool) {
        match &self.noop {
            Some((_, sent, _)) => (self.last_byte.max(*sent) + silence, true),
            None if !self.complete => (self.last_byte + silence, true),
            None => (self.last_byte + ping, false),
        }
    }

    fn ask(&mut self, request: BarrierRequest) {
        if self.complete {
            self.next.push(request);
        } else {
            let _ = request.send(Err(Lost::Unsent("the master's list is still being read".into())));
        }
    }

    async fn start_noop(&mut self) -> Result<(), LinkError> {
        if self.noop.is_none() && !self.next.is_empty() {
            self.noop().await?;
        }
        Ok(())
    }

    /// Asks a quiet master for a sign of life.
    async fn ping(&mut self) -> Result<(), LinkError> {
        if self.noop.is_none() { self.noop().await } else { Ok(()) }
    }

    async fn noop(&mut self) -> Result<(), LinkError> {
        self.noops += 1;
        let tag = Bytes::from(format!("N{}", self.noops));
        self.noop = Some((tag.clone(), Instant::now(), std::mem::take(&mut self.next)));
        self.connection.command(&tag, &CommandBody::Noop).await
    }

    async fn hand_on(&mut self, events: &mpsc::Sender<LinkEvent>) -> Result<(), End> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let event = if self.complete {
            LinkEvent::Changed(self.epoch, batch)
        } else {
            let listed = batch.into_iter().filter_map(|(name, entry)| entry.map(|entry| (name, entry)));
            LinkEvent::Listed(self.epoch, listed.collect())
        };
        self.send(events, event).await
    }

    async fn send(&mut self, events: &mpsc::Sender<LinkEvent>, event: LinkEvent) -> Result<(), End> {
        events.send(event).await.map_err(|_| End::Unwanted)?;
        // While we could not hand on, the master was not being listened to: that silence is ours.
        self.last_byte = Instant::now();
        Ok(())
    }
}
