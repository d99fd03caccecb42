//! The serving side of the control socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::status::Status;
use super::{Answer, Ask, MAX_LINE, Request};
use crate::authority::master::BoxFuture;

/// How long one request may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// What the socket can reach.
pub trait Operator: Send + Sync + 'static {
    /// Where things stand.
    fn status(&self) -> Status;
    /// Carries out an order; the error is a sentence for the operator.
    fn order(&self, ask: Ask) -> BoxFuture<Result<(), String>>;
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
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let operator = operator.clone();
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(DEADLINE, answer(stream, operator)).await;
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

async fn answer(stream: UnixStream, operator: Arc<dyn Operator>) -> std::io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reading.take(MAX_LINE)).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Request>(&line) {
        Err(error) => Answer::Error(format!("not understood: {error}")),
        Ok(Request { ask: Ask::Status }) => match serde_json::to_value(operator.status()) {
            Ok(status) => Answer::Ok(status),
            Err(error) => Answer::Error(error.to_string()),
        },
        Ok(Request { ask }) => match operator.order(ask).await {
            Ok(()) => Answer::Ok(serde_json::Value::Null),
            Err(why) => Answer::Error(why),
        },
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    writing.write_all(&text).await
}
