//! The asking side of the control socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, Ask, MAX_LINE, Request};

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
    /// It said no.
    #[error("{0}")]
    Refused(String),
}

/// Asks and waits for the answer.
pub fn ask(path: &Path, ask: Ask) -> Result<serde_json::Value, AskError> {
    let not_running = |error| AskError::NotRunning { path: path.to_owned(), error };
    let garbled = |why: &dyn std::fmt::Display| AskError::Garbled(why.to_string());
    let mut stream = UnixStream::connect(path).map_err(not_running)?;
    let patience = Some(Duration::from_secs(10));
    stream
        .set_read_timeout(patience)
        .and_then(|()| stream.set_write_timeout(patience))
        .map_err(not_running)?;
    let mut text = serde_json::to_vec(&Request { ask }).map_err(|e| garbled(&e))?;
    text.push(b'\n');
    stream.write_all(&text).map_err(not_running)?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line).map_err(|e| garbled(&e))?;
    match serde_json::from_str(&line).map_err(|e| garbled(&e))? {
        Answer::Ok(value) => Ok(value),
        Answer::Error(why) => Err(AskError::Refused(why)),
    }
}
