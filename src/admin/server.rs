//! The serving side of the control socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, Take};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::status::Status;
use super::{Ask, Line, MAX_LINE, Progress};
use crate::authority::master::BoxFuture;

/// How long a client may take to say what it wants, and to take a line of the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a client that waits is told that we live.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// Lines that wait for the client.
const WAITING: usize = 256;

/// Requests at a time. An operator has two hands; a script gone wild is told to wait.
const AT_A_TIME: usize = 64;

/// What the socket can reach.
pub trait Operator: Send + Sync + 'static {
    /// Where things stand.
    fn status(&self) -> Status;
    /// Does what is asked; the error is a sentence for the operator. When the client hangs up the future is
    /// dropped: what must not end half-way is given to a task of its own.
    fn answer(&self, ask: Ask, session: Session) -> BoxFuture<Result<serde_json::Value, String>>;
}

/// One request's connection, as whoever answers it sees it.
#[derive(Debug)]
pub struct Session {
    /// What goes to the client before the answer.
    pub replies: Replies,
    /// What follows the request.
    pub upload: Upload,
}

/// The way to the client; clones are the same one.
#[derive(Clone, Debug)]
pub struct Replies(pub(crate) mpsc::Sender<Line>);

impl Replies {
    /// Sends a part of the answer; waits while the client is slow.
    pub async fn item(&self, item: &impl Serialize) -> Result<(), String> {
        let item = serde_json::to_value(item).map_err(|error| error.to_string())?;
        self.0.send(Line::Item(item)).await.map_err(|_| gone())
    }

    /// As [`Self::item`], for a thread that may be blocked.
    pub fn blocking_item(&self, item: &impl Serialize) -> Result<(), String> {
        let item = serde_json::to_value(item).map_err(|error| error.to_string())?;
        self.0.blocking_send(Line::Item(item)).map_err(|_| gone())
    }

    /// Says something about the answer that is no part of it.
    pub async fn notice(&self, text: String) -> Result<(), String> {
        self.0.send(Line::Notice(text)).await.map_err(|_| gone())
    }

    /// Tells how far things are. What the client has no time for is left out.
    pub fn progress(&self, what: &str, done: u64, of: Option<u64>) {
        let _ = self.0.try_send(Line::Progress(Progress { what: what.into(), done, of }));
    }
}

fn gone() -> String {
    "the client hung up".to_owned()
}

/// The bytes that follow a request. The client says beforehand how many they are, so that a part is never
/// taken for the whole.
#[derive(Debug)]
pub struct Upload(Take<BufReader<OwnedReadHalf>>);

impl Upload {
    /// The next bytes; `None` at the end. A client that stops before its end, or stands still, is an error.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        if self.0.limit() == 0 {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(64 << 10);
        match tokio::time::timeout(PATIENCE, self.0.read_buf(&mut bytes)).await {
            Ok(Ok(0)) => Err(format!("the client hung up, {} bytes before the end", self.0.limit())),
            Ok(Ok(_)) => Ok(Some(bytes)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the client sends nothing any more".into()),
        }
    }
}

/// The control socket; its file goes when this is dropped.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Makes the socket. One that is left over is replaced; one that somebody answers on is not.
    pub async fn bind(path: &Path) -> std::io::Result<Self> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        if UnixStream::connect(path).await.is_ok() {
            return Err(std::io::Error::new(ErrorKind::AddrInUse, "another Ravenry answers there"));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o660);
        std::fs::set_permissions(path, mode)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers until dropped.
    pub async fn serve(&self, operator: Arc<dyn Operator>) {
        let turns = Arc::new(tokio::sync::Semaphore::new(AT_A_TIME));
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (operator, turns) = (operator.clone(), turns.clone());
                    tokio::spawn(async move {
                        // The semaphore is never closed.
                        let Ok(_turn) = turns.acquire_owned().await else { return };
                        if let Err(error) = attend(stream, operator).await {
                            tracing::debug!(%error, "a client of the control socket hung up");
                        }
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "the control socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn attend(stream: UnixStream, operator: Arc<dyn Operator>) -> std::io::Result<()> {
    let (reading, writing) = stream.into_split();
    let (mut reading, mut writing) = (BufReader::new(reading), BufWriter::new(writing));
    let mut line = Vec::new();
    let mut limited = (&mut reading).take(MAX_LINE);
    let asked = limited.read_until(b'\n', &mut line);
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| ErrorKind::TimedOut)??;
    let ask = match serde_json::from_slice::<Ask>(&line) {
        Ok(ask) => ask,
        Err(error) => {
            write(&mut writing, &Line::Error(format!("not understood: {error}"))).await?;
            return writing.flush().await;
        }
    };
    let (lines, mut waiting) = mpsc::channel(WAITING);
    let upload = Upload(reading.take(ask.bytes()));
    let mut answering = operator.answer(ask, Session { replies: Replies(lines), upload });
    let mut alive = tokio::time::interval(SIGN_OF_LIFE);
    alive.tick().await;
    let answer = loop {
        tokio::select! {
            biased;
            Some(line) = waiting.recv() => {
                write(&mut writing, &line).await?;
                if waiting.is_empty() {
                    flush(&mut writing).await?;
                }
            }
            answer = &mut answering => break answer,
            _ = alive.tick() => {
                writing.write_all(b"\n").await?;
                flush(&mut writing).await?;
            }
        }
    };
    while let Ok(line) = waiting.try_recv() {
        write(&mut writing, &line).await?;
    }
    let last = answer.map_or_else(Line::Error, Line::Ok);
    write(&mut writing, &last).await?;
    flush(&mut writing).await
}

async fn write(to: &mut (impl AsyncWrite + Unpin), line: &Line) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    tokio::time::timeout(PATIENCE, to.write_all(&text)).await.map_err(|_| ErrorKind::TimedOut)?
}

async fn flush(to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    tokio::time::timeout(PATIENCE, to.flush()).await.map_err(|_| ErrorKind::TimedOut)?
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::*;
    use crate::admin::client::{self, AskError, Heard};

    #[tokio::test]
    async fn only_owner_and_group_may_open_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let _socket = ControlSocket::bind(&path).await.unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o660);
    }

    /// Answers a status with items, and an order never.
    struct Talkative(usize);

    impl Operator for Talkative {
        fn status(&self) -> Status {
            unreachable!("nobody measures here")
        }

        fn answer(&self, ask: Ask, session: Session) -> BoxFuture<Result<serde_json::Value, String>> {
            let items = self.0;
            Box::pin(async move {
                match ask {
                    Ask::Status => {
                        for item in 0..items {
                            session.replies.item(&item).await?;
                        }
                        session.replies.progress("items", items as u64, None);
                        Ok(json!("done"))
                    }
                    Ask::Follow => std::future::pending().await,
                    _ => Err("no".into()),
                }
            })
        }
    }

    async fn socket(items: usize) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let socket = ControlSocket::bind(&path).await.unwrap();
        tokio::spawn(async move { socket.serve(Arc::new(Talkative(items))).await });
        (dir, path)
    }

    async fn ask(path: &Path, ask: Ask) -> (Result<serde_json::Value, AskError>, u64, u64) {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || {
            let (mut items, mut progress) = (0, 0);
            let answer = client::converse(&path, &ask, std::io::empty(), &mut |heard| {
                match heard {
                    Heard::Item(_) => items += 1,
                    Heard::Progress(_) => progress += 1,
                    Heard::Notice(_) => {}
                }
                Ok(())
            });
            (answer, items, progress)
        })
        .await
        .unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn items_come_in_a_stream_and_the_answer_last() {
        let (_dir, path) = socket(10_000).await;
        let (answer, items, progress) = ask(&path, Ask::Status).await;
        assert_eq!((answer.unwrap(), items), (json!("done"), 10_000));
        assert!(progress <= 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refusal_is_a_sentence_and_nonsense_is_told_so() {
        let (_dir, path) = socket(0).await;
        assert_eq!(ask(&path, Ask::StandIn).await.0.unwrap_err().to_string(), "no");
        for nonsense in ["\n", "{}\n", "{\"ask\":\"sing\"}\n", "status\n", "\u{7f}\n"] {
            let path = path.clone();
            let said = tokio::task::spawn_blocking(move || {
                let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
                stream.write_all(nonsense.as_bytes()).unwrap();
                std::io::read_to_string(stream).unwrap()
            });
            let said = said.await.unwrap();
            assert!(said.starts_with("{\"error\":\"not understood: "), "{nonsense:?}: {said}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_long_is_given_signs_of_life() {
        let (_dir, path) = socket(0).await;
        let read = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
            stream.write_all(b"{\"ask\":\"follow\"}\n").unwrap();
            let mut first = [0];
            std::io::Read::read_exact(&mut stream, &mut first).unwrap();
            first
        });
        let first = tokio::time::timeout(SIGN_OF_LIFE * 5, read).await.unwrap().unwrap();
        assert_eq!(first, *b"\n");
    }
}
