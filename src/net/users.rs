//! Who may log in: a TOML file of SCRAM verifiers, from which no password can be read back.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rsasl::mechanisms::scram::tools::{derive_keys, hash_password};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::random;

/// Rounds of PBKDF2 for new verifiers: what Cyrus SASL uses, since backends log in for every operation.
const ITERATIONS: u32 = 4096;
const SALT_BYTES: usize = 16;

/// A SCRAM hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Hash {
    /// SCRAM-SHA-1
    #[serde(rename = "sha-1")]
    Sha1,
    /// SCRAM-SHA-256
    #[serde(rename = "sha-256")]
    Sha256,
    /// SCRAM-SHA-512
    #[serde(rename = "sha-512")]
    Sha512,
}

impl Hash {
    /// All of them, weakest first.
    pub const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    /// The SASL mechanism's name.
    pub fn mechanism(self) -> &'static str {
        match self {
            Self::Sha1 => "SCRAM-SHA-1",
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }
}

/// What is kept of a password for one hash (RFC 5802 §3).
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    /// `StoredKey`
    pub stored_key: Vec<u8>,
    /// `ServerKey`
    pub server_key: Vec<u8>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl Verifier {
    fn derive(hash: Hash, password: &str, salt: &[u8], iterations: u32) -> Self {
        macro_rules! derive {
            ($digest:ty) => {{
                let mut salted = Default::default();
                hash_password::<$digest>(password.as_bytes(), iterations, salt, &mut salted);
                let (client, server) = derive_keys::<$digest>(salted.as_slice());
                (<$digest>::digest(client).to_vec(), server.to_vec())
            }};
        }
        let (stored_key, server_key) = match hash {
            Hash::Sha1 => derive!(Sha1),
            Hash::Sha256 => derive!(Sha256),
            Hash::Sha512 => derive!(Sha512),
        };
        Self { iterations, salt: salt.to_vec(), stored_key, server_key }
    }

    /// Whether this is the password that the verifier was made of.
    pub fn accepts(&self, hash: Hash, password: &str) -> bool {
        let derived = Self::derive(hash, password, &self.salt, self.iterations);
        same(&derived.stored_key, &self.stored_key)
    }
}

/// Compares without telling by its duration where the difference is.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

/// Why the users file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// It cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// It is not what `ravenry user add` writes.
    #[error("{}: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The name or password cannot be used.
    #[error("{0}")]
    Unusable(&'static str),
    /// No salt can be made.
    #[error(transparent)]
    NoRandomness(#[from] random::NoRandomness),
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    user: BTreeMap<String, BTreeMap<Hash, Row>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    iterations: u32,
    salt: String,
    stored_key: String,
    server_key: String,
}

/// The users of a file, as of when it was read.
#[derive(Clone, Debug, Default)]
pub struct Users {
    all: BTreeMap<String, BTreeMap<Hash, Verifier>>,
}

impl Users {
    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self, UsersError> {
        let file = read(path)?;
        let malformed = |why: String| UsersError::Malformed { path: path.to_owned(), why };
        let mut all = BTreeMap::new();
        for (name, rows) in file.user {
            let mut verifiers = BTreeMap::new();
            for (hash, row) in rows {
                let bytes = |text: &str| {
                    BASE64.decode(text).map_err(|error| malformed(format!("user {name}: {error}")))
                };
                let (salt, stored_key) = (bytes(&row.salt)?, bytes(&row.stored_key)?);
                let server_key = bytes(&row.server_key)?;
                let verifier = Verifier { iterations: row.iterations, salt, stored_key, server_key };
                verifiers.insert(hash, verifier);
            }
            all.insert(name, verifiers);
        }
        Ok(Self { all })
    }

    /// What is kept of a user's password for a hash.
    pub fn verifier(&self, user: &str, hash: Hash) -> Option<&Verifier> {
        self.all.get(user)?.get(&hash)
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none, so that nobody can log in.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Checks a password; as slow for an unknown user as for a known one.
    pub fn check(&self, user: &str, password: &str) -> bool {
        match self.verifier(user, Hash::Sha256) {
            Some(verifier) => verifier.accepts(Hash::Sha256, password),
            None => {
                std::hint::black_box(Verifier::derive(Hash::Sha256, password, b"nobody", ITERATIONS));
                false
            }
        }
    }
}

fn read(path: &Path) -> Result<File, UsersError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| UsersError::Io { path: path.to_owned(), error })?;
    toml::from_str(&text)
        .map_err(|error| UsersError::Malformed { path: path.to_owned(), why: error.to_string() })
}

/// Adds a user to the file, or gives an existing one a new password. The file is replaced as a whole, readable
/// by its owner only.
pub fn add_user(path: &Path, name: &str, password: &str) -> Result<(), UsersError> {
    if name.is_empty() || name.chars().any(|c| c.is_control() || c == ',' || c == '=') {
        return Err(UsersError::Unusable(
            "a user's name may not be empty or hold control characters, ',' or '='",
        ));
    }
    if password.is_empty() || password.contains('\0') {
        return Err(UsersError::Unusable("a password may not be empty or hold NUL"));
    }
    let mut file = match read(path) {
        Err(UsersError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => File::default(),
        other => other?,
    };
    let mut rows = BTreeMap::new();
    for hash in Hash::ALL {
        let salt = random::bytes::<SALT_BYTES>()?;
        let verifier = Verifier::derive(hash, password, &salt, ITERATIONS);
        let row = Row {
            iterations: ITERATIONS,
            salt: BASE64.encode(&verifier.salt),
            stored_key: BASE64.encode(&verifier.stored_key),
            server_key: BASE64.encode(&verifier.server_key),
        };
        rows.insert(hash, row);
    }
    file.user.insert(name.to_owned(), rows);
    let malformed = |why: String| UsersError::Malformed { path: path.to_owned(), why };
    let text = toml::to_string_pretty(&file).map_err(|error| malformed(error.to_string()))?;
    replace(path, &text).map_err(|error| UsersError::Io { path: path.to_owned(), error })
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(b"# Written by `ravenry user add`: SCRAM verifiers, no passwords.\n\n")?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_user_added_can_log_in_and_others_cannot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        add_user(&path, "murder", "secret").unwrap();
        add_user(&path, "cyrus", "other").unwrap();
        let users = Users::load(&path).unwrap();
        assert_eq!(users.len(), 2);
        assert!(users.check("murder", "secret") && users.check("cyrus", "other"));
        assert!(!users.check("murder", "other") && !users.check("nobody", "secret"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(&path).unwrap().contains("secret"));
    }

    /// The example of RFC 5802 §5: user "user", password "pencil".
    #[test]
    fn verifiers_are_those_of_the_rfc() {
        let salt = BASE64.decode("QSXCR+Q6sek8bf92").unwrap();
        let verifier = Verifier::derive(Hash::Sha1, "pencil", &salt, 4096);
        assert_eq!(BASE64.encode(&verifier.stored_key), "6dlGYMOdZcOPutkcNY8U2g7vK9Y=");
        assert_eq!(BASE64.encode(&verifier.server_key), "D+CSWLOshSulAsxiupA+qs2/fTE=");
    }
}
