//! A frontend's own slave, asked whether it has stored what its stream said.
//!
//! MUPDATE does not tell that. A frontend that is asked for a mailbox which its slave has not stored yet kicks it
//! under the user's lock, and the slave needs that lock to store (Cyrus issue 5926): both wait for ever. So a backend
//! gets its OK only when a witness has seen the change in every frontend, which FIND at the frontend's mupdate port
//! tells: it stores in the order of its stream, so that the last change of many stands for all of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ravenry_parsers::mupdate::{CommandBody, ServerLine};
use tokio::time::{Instant, sleep, timeout};

use super::LinkConfig;
use super::connection::{Connection, LinkError, entry_of, unexpected};
use crate::authority::feed::{Feed, FeedError, Published, Subscription};
use crate::list::{Entry, EntryState};
use crate::net::live::Live;

/// How long a writer waits for one frontend. Twenty users who rename at once are some eighty changes, and a slave
/// stores a change in one to three milliseconds.
const BOUND: Duration = Duration::from_millis(500);

/// Between two looks.
const AGAIN: Duration = Duration::from_millis(1);

/// A change that is not seen for so long will not be: the slave has another list than ours, or takes a new one.
const GIVE_UP: Duration = Duration::from_secs(5);

/// Changes looked at together.
const BATCH: usize = 4096;

/// Watches one frontend until the feed ends.
#[derive(Debug)]
pub struct Witness {
    config: Live<LinkConfig>,
    feed: Feed,
}

/// Why a look ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("{0}")]
    Feed(#[from] FeedError),
    #[error("it says that it is a master")]
    NoSlave,
    #[error("no answer for {} ms", .0.as_millis())]
    Silent(Duration),
}

impl Witness {
    /// A witness at the slave that `config` leads to.
    pub fn new(config: impl Into<Live<LinkConfig>>, feed: Feed) -> Self {
        Self { config: config.into(), feed }
    }

    /// Looks on, whatever happens to the connection. Drop the future to end it.
    pub async fn run(self) {
        let mut backoff = self.config.get().backoff;
        let mut told = false;
        loop {
            let began = Instant::now();
            let Err(end) = self.look_on().await;
            let long = began.elapsed() > self.config.get().backoff_max;
            if long || !told {
                tracing::warn!(frontend = %self.config.get().address, why = %end, "no word of what a frontend has stored");
            }
            told = true;
            if long {
                backoff = self.config.get().backoff;
            }
            sleep(backoff.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            backoff = (backoff * 2).min(self.config.get().backoff_max);
        }
    }

    async fn look_on(&self) -> Result<std::convert::Infallible, End> {
        let config = self.config.get();
        let patience = config.connect_deadline;
        let opened = timeout(patience, Connection::open(&config)).await;
        let mut connection = opened.map_err(|_| End::Silent(patience))??;
        if connection.identity().is_master() {
            return Err(End::NoSlave);
        }
        tracing::info!(frontend = %config.address, "it tells what it has stored");
        let mut feed = self.feed.subscribe_within(BOUND);
        // What was said before is not waited for.
        feed.written(0);
        let mut said = Vec::new();
        let mut pending = VecDeque::new();
        loop {
            tokio::select! {
                received = feed.recv(&mut said, BATCH) => received?,
                // It says nothing unasked.
                line = connection.line() => return Err(unexpected("nothing", &line?).into()),
            }
            pending.extend(said.drain(..));
            while let Some(last) = pending.back().cloned() {
                self.seen(&mut connection, &mut feed, &last, &mut pending).await?;
                pending.retain(|change: &Arc<Published>| change.seq > last.seq);
                feed.written(last.seq);
            }
        }
    }

    /// Returns when the slave shows this change, or one of the same name that came after it.
    async fn seen(
        &self,
        connection: &mut Connection,
        feed: &mut Subscription,
        awaited: &Published,
        pending: &mut VecDeque<Arc<Published>>,
    ) -> Result<(), End> {
        let until = Instant::now() + GIVE_UP;
        let mut newer = Vec::new();
        loop {
            let silence = self.config.get().silence;
            let asked = timeout(silence, find(connection, awaited)).await;
            let found = asked.map_err(|_| End::Silent(silence))??;
            feed.drain(&mut newer)?;
            pending.extend(newer.drain(..));
            let mut later = pending.iter().filter(|change| change.seq >= awaited.seq);
            if later.any(|change| change.name == awaited.name && same(change.entry.as_ref(), found.as_ref()))
            {
                return Ok(());
            }
            if Instant::now() > until {
                tracing::debug!(frontend = %self.config.get().address, name = %awaited.name, "not seen there");
                return Ok(());
            }
            sleep(AGAIN).await;
        }
    }
}

/// What the slave holds for the name.
async fn find(connection: &mut Connection, change: &Published) -> Result<Option<Entry>, LinkError> {
    let mailbox = Bytes::copy_from_slice(change.name.as_bytes());
    connection.command(b"F01", &CommandBody::Find { mailbox }).await?;
    let mut found = None;
    loop {
        match connection.line().await? {
            ServerLine::Mailbox { mailbox, location, acl, .. } => {
                found = Some(entry_of(&mailbox, &location, Some(&acl))?.1);
            }
            ServerLine::Reserve { mailbox, location, .. } => {
                found = Some(entry_of(&mailbox, &location, None)?.1);
            }
            ServerLine::Status { tag: Some(_), .. } => return Ok(found),
            other => return Err(unexpected("FIND", &other)),
        }
    }
}

/// Cyrus does not keep the tab at the end of an access control list as it was.
fn same(ours: Option<&Entry>, theirs: Option<&Entry>) -> bool {
    let acl = |entry: &Entry| match &entry.state {
        EntryState::Reserved => None,
        EntryState::Active(acl) => Some(acl.as_bytes().trim_ascii_end().to_vec()),
    };
    match (ours, theirs) {
        (None, None) => true,
        (Some(ours), Some(theirs)) => ours.location == theirs.location && acl(ours) == acl(theirs),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::list::{Acl, Location, MailboxName};
    use crate::mupdate::peer::{PATIENCE, Peer};
    use crate::net::secret::Secret;

    fn entry(acl: Option<&str>) -> Entry {
        let location = Location::new(b"be1!d").unwrap();
        match acl {
            None => Entry::reserved(location),
            Some(acl) => Entry::active(location, Acl::new(acl.as_bytes())),
        }
    }

    fn change(seq: u64, name: &str, entry: Option<Entry>) -> Published {
        Published { seq, name: MailboxName::new(name.as_bytes()).unwrap(), entry }
    }

    /// A frontend's slave, played by the test.
    struct Slave(Peer);

    impl Slave {
        async fn accept(listener: &TcpListener, role: &str) -> Self {
            let mut peer = Peer::accept(listener).await;
            peer.say("* AUTH \"PLAIN\"\r\n").await;
            peer.say(&format!("* OK MUPDATE \"fe.test\" \"Cyrus IMAP\" \"3.6.1\" \"{role}\"\r\n")).await;
            peer.line().await;
            peer.say("A01 OK \"Authenticated\"\r\n").await;
            Self(peer)
        }

        async fn logged_in(listener: &TcpListener) -> Self {
            Self::accept(listener, "mupdate://ravenry.test").await
        }

        /// Answers one look: `shown` is the line before the OK.
        async fn shows(&mut self, name: &str, shown: &str) {
            assert_eq!(self.0.line().await, format!("F01 FIND \"{name}\"\r\n"));
            self.0.say(&format!("{shown}F01 OK \"Search completed\"\r\n")).await;
        }
    }

    async fn listener() -> (TcpListener, LinkConfig) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = LinkConfig {
            backoff: Duration::from_millis(10),
            backoff_max: Duration::from_millis(20),
            ..LinkConfig::new(address, "murder", Secret::new("secret"))
        };
        (listener, config)
    }

    async fn until(what: impl Fn() -> bool) {
        let waiting = async {
            while !what() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it never came to that");
    }

    #[tokio::test]
    async fn a_writer_waits_until_the_frontend_has_stored_the_change() {
        let (listener, config) = listener().await;
        let feed = Feed::default();
        let _witness = tokio::spawn(Witness::new(config, feed.clone()).run());
        let mut slave = Slave::logged_in(&listener).await;
        until(|| feed.subscribers() == 1).await;
        sleep(Duration::from_millis(20)).await;

        feed.publish(change(1, "user.a", Some(entry(None))));
        assert!(!feed.is_written(1));
        slave.shows("user.a", "").await;
        slave.shows("user.a", "").await;
        assert!(!feed.is_written(1), "it is not stored there yet");
        slave.shows("user.a", "F01 RESERVE {6+}\r\nuser.a {5+}\r\nbe1!d\r\n").await;
        until(|| feed.is_written(1)).await;

        // The last of many stands for all; and one that is overtaken need not be seen itself.
        feed.publish(change(2, "user.b", None));
        feed.publish(change(3, "user.a", Some(entry(Some("a\tlrs\t")))));
        let look = slave.0.line().await;
        feed.publish(change(4, "user.a", None));
        feed.publish(change(5, "user.b", None));
        slave.0.say("F01 OK \"Search completed\"\r\n").await;
        assert!(look.contains("user."), "{look}");
        let mut looks = 0;
        while !feed.is_written(5) {
            let Ok(more) = tokio::time::timeout(Duration::from_millis(200), slave.0.line()).await else {
                continue;
            };
            assert!(more.starts_with("F01 FIND "), "{more}");
            slave.0.say("F01 OK \"Search completed\"\r\n").await;
            looks += 1;
        }
        assert!(looks <= 3, "{looks} looks");

        // A frontend that is gone is not waited for.
        drop(slave);
        until(|| feed.subscribers() == 0).await;
        feed.publish(change(6, "user.c", None));
        assert!(feed.is_written(6));
    }

    #[tokio::test]
    async fn an_acl_is_seen_without_its_last_tab_and_another_location_is_not() {
        let theirs = entry(Some("a\tlrs"));
        assert!(same(Some(&entry(Some("a\tlrs\t"))), Some(&theirs)));
        assert!(!same(Some(&entry(Some("a\tlr\t"))), Some(&theirs)));
        assert!(!same(Some(&entry(None)), Some(&theirs)));
        assert!(!same(None, Some(&theirs)) && same(None, None));
    }

    #[tokio::test]
    async fn a_master_is_no_witness() {
        let (listener, config) = listener().await;
        let feed = Feed::default();
        let _witness = tokio::spawn(Witness::new(config, feed.clone()).run());
        for _ in 0..2 {
            let master = Slave::accept(&listener, "(master)").await;
            assert_eq!(master.0.rest().await, "", "it goes away");
            assert_eq!(feed.subscribers(), 0);
        }
    }
}
