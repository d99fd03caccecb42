//! Sockets that the service manager listens on for us (socket activation, sd_listen_fds(3)).

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

/// The manager's list of names, separated by colons, in the order of the sockets.
const NAMES: &str = "LISTEN_FDNAMES";

/// Why the sockets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// A name that no face goes by.
    #[error("the service manager passes a socket named {name:?}: FileDescriptorName= must be one of {}", known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<&'static str>,
    },
    /// It is no listening stream socket.
    #[error("the socket named {name:?} from the service manager: {error}")]
    Unusable {
        /// The name.
        name: String,
        /// The system's words.
        error: std::io::Error,
    },
}

/// A socket that listens already.
#[derive(Debug)]
pub enum Passed {
    /// On an address.
    Tcp(TcpListener),
    /// In the file system.
    Unix(UnixListener),
}

/// All of them, by name; each is taken once.
#[derive(Debug, Default)]
pub struct Activated(Vec<(String, Passed)>);

impl Activated {
    /// Takes what the environment tells of, which it does once. To be called before there is a second thread: the
    /// environment is changed.
    pub fn from_environment(known: &[&'static str]) -> Result<Self, ActivationError> {
        let names = std::env::var(NAMES).unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut names = names.split(':').map(str::to_owned);
        let mut all = Vec::new();
        for at in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            if !known.contains(&name.as_str()) {
                return Err(ActivationError::Unknown { name, known: known.to_vec() });
            }
            let unix = passed.take_unix_listener(at).ok().flatten().map(Passed::Unix);
            let socket = match unix {
                Some(unix) => Some(unix),
                None => passed
                    .take_tcp_listener(at)
                    .map_err(|error| ActivationError::Unusable { name: name.clone(), error })?
                    .map(Passed::Tcp),
            };
            all.extend(socket.map(|socket| (name, socket)));
        }
        Ok(Self(all))
    }

    /// The sockets of a name; none where the manager has none for it.
    pub fn take(&mut self, name: &str) -> Vec<Passed> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(known, _)| known == name);
        self.0 = left;
        let taken: Vec<(String, Passed)> = taken;
        taken.into_iter().map(|(_, socket)| socket).collect()
    }

    /// The name of one that nobody took.
    pub fn left(&self) -> Option<&str> {
        self.0.first().map(|(name, _)| name.as_str())
    }
}
