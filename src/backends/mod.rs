//! What backends really hold, asked of them over IMAP by an administrator.
//!
//! Only questions: nothing here changes a backend. An answer is a fact about one moment; who acts on it makes sure
//! that nothing was written since (rule 12).
//!
//! | file | what |
//! |---|---|
//! | `session` | one conversation with one backend |
//! | `round` | conversations with several, for as long as a round of questions takes |
//! | `words` | a reply, taken apart |
//! | `names` | names as an administrator writes them |

mod names;
mod round;
mod session;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashMap;
use std::time::Duration;

use crate::net::secret::Secret;
use crate::net::tls::ClientTls;

pub use round::Round;
pub use session::Session;

/// How backends are asked.
#[derive(Clone, Debug)]
pub struct Backends {
    /// One of the backends' `admins`.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// Whether they are reached under TLS. The certificate has to be for the host that is connected to.
    pub tls: ClientTls,
    /// Where a server is reached, when that is not its own name at port 143, or 993 where TLS begins at once.
    pub addresses: HashMap<String, String>,
    /// How long a backend may take over any one answer.
    pub deadline: Duration,
}

/// Why a backend gave no answer. It then counts as not asked.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// It cannot be reached, or was lost.
    #[error("{server}: {error}")]
    Io {
        /// The server, as in locations.
        server: String,
        /// The system's words.
        error: std::io::Error,
    },
    /// It did not answer in time.
    #[error("{server}: no answer within {} s", waited.as_secs())]
    Late {
        /// The server.
        server: String,
        /// For so long it was waited for.
        waited: Duration,
    },
    /// It refused a command. The conversation may go on.
    #[error("{server}: {said}")]
    Refused {
        /// The server.
        server: String,
        /// Its words.
        said: String,
    },
    /// It gave no answer to the question before.
    #[error("{server} gave no answer a moment ago")]
    Away {
        /// The server.
        server: String,
    },
    /// It answered something that is not understood.
    #[error("{server}: {said}")]
    Said {
        /// The server.
        server: String,
        /// Its words.
        said: String,
    },
}

impl Backends {
    /// Logs in to the backend that locations call `server`.
    pub async fn open(&self, server: &str) -> Result<Session, BackendError> {
        Session::open(self, server).await
    }

    fn address(&self, server: &str) -> String {
        let port = if matches!(self.tls, ClientTls::AtOnce(_)) { 993 } else { 143 };
        self.addresses.get(server).cloned().unwrap_or_else(|| format!("{server}:{port}"))
    }
}
