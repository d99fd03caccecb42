//! The configuration of Cyrus hosts, read as Cyrus reads it (observed on 3.2 to 3.12): `ravenry init` learns from it
//! how a murder is put together.
//!
//! | file | what |
//! |---|---|
//! | `imapd` | imapd.conf: options, where each was said, included files |
//! | `services` | cyrus.conf: which services listen where |
//! | `host` | one host: its name, its part in the murder, its ports |

mod host;
mod imapd;
mod services;

use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use host::{Host, Role, Source};
pub use imapd::{Given, Options};
pub use services::{Place, Service, Services};

/// The longest file that is taken for a configuration.
const MAX_FILE: u64 = 1 << 20;

/// Why a file is no configuration of Cyrus's, or not of a murder's.
#[derive(Debug, thiserror::Error)]
pub enum CyrusError {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// Cyrus would not take it, either.
    #[error("{}:{line}: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The files do not say what has to be known of the host.
    #[error("{}: {why}", path.display())]
    Unclear {
        /// The imapd.conf.
        path: PathBuf,
        /// What is missing, and how to say it.
        why: String,
    },
}

/// A file's text. What is not UTF-8 can only be in a comment or in a value that is not looked at.
fn text_of(path: &Path) -> Result<String, CyrusError> {
    let unreadable = |error| CyrusError::Unreadable { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unreadable(std::io::Error::other("too long to be a configuration of Cyrus's")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
