//! Connections for writes, some of them open before anybody needs them.
//!
//! About every 61st new connection to a mupdate of 3.6.1 gets its banner only after 5 s, or when the next connection
//! comes. A write that had to wait for that would be an outage; so a write goes to a connection that is there, and
//! another one is opened while there is still room.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::LinkConfig;
use super::connection::Connection;
use super::line::{DEPTH, Line};
use crate::net::live::Live;

/// How long after a failure no connection is opened that nobody waits for.
const PAUSE: Duration = Duration::from_secs(1);

/// The connections.
#[derive(Debug)]
pub(super) struct Pool {
    config: Live<LinkConfig>,
    book: Mutex<Book>,
    /// A connection was opened, or could not be.
    changed: Notify,
}

#[derive(Default, Debug)]
struct Book {
    open: Vec<Line>,
    opening: usize,
    /// How often all were let go; what was begun before counts no more.
    round: u64,
    /// When a connection could last not be opened, and why.
    failed: Option<(Instant, String)>,
}

/// A connection while a write is under way on it. Dropped before [`Self::ended`], the write was given up, and the
/// next ones take another connection.
pub(super) struct Busy {
    pool: Arc<Pool>,
    line: Line,
    ended: bool,
}

impl Busy {
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    pub(super) fn ended(&mut self) {
        self.ended = true;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.line.end();
        if !self.ended {
            self.pool.book().open.retain(|other| !other.is(&self.line));
        }
    }
}

impl Pool {
    pub(super) fn new(config: Live<LinkConfig>) -> Arc<Self> {
        Arc::new(Self { config, book: Mutex::default(), changed: Notify::new() })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the connections: the next writes dial anew.
    pub(super) fn clear(&self) {
        let mut book = self.book();
        *book = Book { round: book.round + 1, ..Book::default() };
        drop(book);
        self.changed.notify_waiters();
    }

    /// Opens what is to be ready before the first write.
    pub(super) fn prepare(self: &Arc<Self>) {
        self.open_ahead(&mut self.book(), self.config.get().ready);
    }

    /// A connection for one more write, once one is open. The error says why none could be opened.
    pub(super) async fn line(self: &Arc<Self>) -> Result<Busy, String> {
        let mut begun = None;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before the book is looked at, so that no news of it is missed.
            changed.as_mut().enable();
            {
                let mut book = self.book();
                book.open.retain(|line| !line.is_closed());
                let with_room = book.open.iter().find(|line| line.load() < DEPTH);
                let least = with_room.or_else(|| book.open.iter().min_by_key(|line| line.load())).cloned();
                if let Some(line) = &least {
                    line.begin();
                }
                match (&book.failed, begun) {
                    (Some((at, why)), Some(begun))
                        if *at >= begun && least.is_none() && book.opening == 0 =>
                    {
                        return Err(why.clone());
                    }
                    _ => self.open_ahead(&mut book, self.config.get().ready.max(1)),
                }
                if let Some(line) = least {
                    return Ok(Busy { pool: self.clone(), line, ended: false });
                }
                begun.get_or_insert_with(Instant::now);
            }
            changed.await;
        }
    }

    /// Sees to it that so many connections have room, or will.
    fn open_ahead(self: &Arc<Self>, book: &mut Book, ready: usize) {
        let most = self.config.get().connections.max(1);
        let failed = |at: &Instant| at.elapsed() < PAUSE;
        let pausing = !book.open.is_empty() && book.failed.as_ref().is_some_and(|(at, _)| failed(at));
        let with_room = book.open.iter().filter(|line| line.load() < DEPTH).count();
        while !pausing && with_room + book.opening < ready && book.open.len() + book.opening < most {
            book.opening += 1;
            tokio::spawn(self.clone().open(book.round));
        }
    }

    /// Opens a connection and works it.
    async fn open(self: Arc<Self>, round: u64) {
        let config = self.config.get();
        let bound = config.connect_deadline;
        let opened = match timeout(bound, Connection::open(&config)).await {
            Ok(opened) => opened.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no connection within {} ms", bound.as_millis())),
        };
        let work = {
            let mut book = self.book();
            if book.round != round {
                return;
            }
            book.opening -= 1;
            match opened {
                Ok(connection) => {
                    let (line, work) = Line::new(connection);
                    book.open.push(line);
                    Some(work)
                }
                Err(why) => {
                    tracing::debug!(why, "no connection for writes");
                    book.failed = Some((Instant::now(), why));
                    None
                }
            }
        };
        self.changed.notify_waiters();
        // The connection ends when nobody is left to write.
        drop(self);
        if let Some(work) = work {
            work.await;
        }
    }
}
