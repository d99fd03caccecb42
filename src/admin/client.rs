//! The asking side of the control socket.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Ask, Line, MAX_LINE, Progress};

/// How long the server may be silent: it gives a sign of life every two seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens there.
    #[error("no Ravenry answers at {}: {error}", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// It answered something else, or not in time.
    #[error("Ravenry's answer cannot be used: {0}")]
    Garbled(String),
    /// What it answered could not be written down here.
    #[error("the answer cannot be written: {0}")]
    Output(std::io::Error),
    /// It said no.
    #[error("{0}")]
    Refused(String),
}

/// What comes before the answer.
#[derive(Debug)]
pub enum Heard {
    /// How far it is.
    Progress(Progress),
    /// What is to be known of the answer, and is no part of it.
    Notice(String),
    /// A part of the answer.
    Item(serde_json::Value),
}

/// Asks, and waits for an answer in one piece.
pub fn ask(path: &Path, ask: &Ask) -> Result<serde_json::Value, AskError> {
    converse(path, ask, std::io::empty(), &mut |_| Ok(()))
}

/// Asks, sends what belongs to the request, and hands on what comes before the answer.
pub fn converse(
    path: &Path,
    ask: &Ask,
    upload: impl Read + Send,
    heard: &mut dyn FnMut(Heard) -> std::io::Result<()>,
) -> Result<serde_json::Value, AskError> {
    let not_running = |error| AskError::NotRunning { path: path.to_owned(), error };
    let mut stream = UnixStream::connect(path).map_err(not_running)?;
    let sending = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .and_then(|()| stream.try_clone())
        .map_err(not_running)?;
    let mut text = serde_json::to_vec(ask).map_err(|error| AskError::Garbled(error.to_string()))?;
    text.push(b'\n');
    stream.write_all(&text).map_err(not_running)?;
    std::thread::scope(|scope| {
        let (mut sending, mut upload) = (sending, upload.take(ask.bytes()));
        // A server that says no before it has heard everything is heard below.
        scope.spawn(move || std::io::copy(&mut upload, &mut sending));
        let answer = listen(&stream, heard);
        // Whatever is still being sent is not wanted any more.
        let _ = stream.shutdown(Shutdown::Both);
        answer
    })
}

fn listen(
    stream: &UnixStream,
    heard: &mut dyn FnMut(Heard) -> std::io::Result<()>,
) -> Result<serde_json::Value, AskError> {
    let garbled = |why: &dyn std::fmt::Display| AskError::Garbled(why.to_string());
    let mut reading = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut reading).take(MAX_LINE).read_until(b'\n', &mut line).map_err(|error| garbled(&error))?;
        if line == b"\n" {
            continue;
        }
        if line.is_empty() {
            return Err(garbled(&"it hung up"));
        }
        match serde_json::from_slice(&line).map_err(|error| garbled(&error))? {
            Line::Progress(progress) => heard(Heard::Progress(progress)),
            Line::Notice(text) => heard(Heard::Notice(text)),
            Line::Item(item) => heard(Heard::Item(item)),
            Line::Ok(value) => return Ok(value),
            Line::Error(why) => return Err(AskError::Refused(why)),
        }
        .map_err(AskError::Output)?;
    }
}
