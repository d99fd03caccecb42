//! Who may log in: a TOML file of SCRAM verifiers, from which no password can be read back.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rsasl::mechanisms::scram::tools::{derive_keys, hash_password};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::random;

/// Rounds of PBKDF2 for new verifiers: what Cyrus SASL uses, since backends log in for every operation.
const ITERATIONS: u32 = 4096;
const HEAD: &str = "# Written by `ravenry user add`: SCRAM verifiers, no passwords.\n\n";
const SALT_BYTES: usize = 16;

/// How long another one's change of the file is waited for; it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

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
    /// Somebody else is changing it, and does not come to an end.
    #[error("{}: locked by another `ravenry user add`", path.display())]
    Locked {
        /// The lock's file.
        path: PathBuf,
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
    toml::from_str(&text).map_err(|error| {
        // All but the line itself, which the error would show: there may be a verifier in it.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        UsersError::Malformed { path: path.to_owned(), why: format!("line {line}: {}", error.message()) }
    })
}

/// Adds a user to the file, or gives an existing one a new password. The file is replaced as a whole, readable
/// by its owner only. Several at a time wait for each other, so that none writes back what another did not see.
pub fn add_user(path: &Path, name: &str, password: &str) -> Result<(), UsersError> {
    if name.is_empty() || name.chars().any(|c| c.is_control() || c == ',' || c == '=') {
        return Err(UsersError::Unusable(
            "a user's name may not be empty or hold control characters, ',' or '='",
        ));
    }
    if password.is_empty() || password.contains('\0') {
        return Err(UsersError::Unusable("a password may not be empty or hold NUL"));
    }
    // Slow on purpose, and nobody need wait for it.
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
    let _lock = lock(path)?;
    let mut file = match read(path) {
        Err(UsersError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => File::default(),
        other => other?,
    };
    file.user.insert(name.to_owned(), rows);
    let malformed = |why: String| UsersError::Malformed { path: path.to_owned(), why };
    let text = toml::to_string_pretty(&file).map_err(|error| malformed(error.to_string()))?;
    write_private(path, &format!("{HEAD}{text}"))
        .map_err(|error| UsersError::Io { path: path.to_owned(), error })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Keeps others from changing the file until the value is dropped. The lock is on a file of its own, since the
/// users file itself is another one after each change, and stays: without it two could hold two locks.
fn lock(path: &Path) -> Result<std::fs::File, UsersError> {
    let path = beside(path, ".lock");
    let failed = |error: std::io::Error| UsersError::Io { path: path.clone(), error };
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => std::thread::sleep(LOOK_AGAIN),
            Err(TryLockError::WouldBlock) => return Err(UsersError::Locked { path }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

/// Puts a file in its place as a whole, readable by its owner only.
pub(crate) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let fresh = beside(path, &format!(".{}.new", std::process::id()));
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Where a directory hands its group down, as the package's /etc/ravenry does, that group is who reads.
    let hands_down = std::fs::metadata(directory)?.mode() & 0o2000 != 0;
    let mode = if hands_down { 0o640 } else { 0o600 };
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    // The new name is durable only with its directory.
    std::fs::File::open(directory)?.sync_all()
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

    #[test]
    fn the_group_reads_where_the_directory_hands_it_down() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o2750)).unwrap();
        let path = dir.path().join("users.toml");
        add_user(&path, "murder", "secret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn users_added_at_the_same_time_are_all_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let names: Vec<String> = (0..16).map(|n| format!("user{n}")).collect();
        let start = std::sync::Barrier::new(names.len());
        std::thread::scope(|scope| {
            for name in &names {
                scope.spawn(|| {
                    start.wait();
                    add_user(&path, name, "secret").unwrap();
                });
            }
        });
        let users = Users::load(&path).unwrap();
        let lost: Vec<_> = names.iter().filter(|name| users.verifier(name, Hash::Sha256).is_none()).collect();
        assert!(lost.is_empty(), "{lost:?} were lost");
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 2, "the file and its lock");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        std::fs::write(&path, "what a person wrote").unwrap();
        assert!(matches!(add_user(&path, "murder", "secret"), Err(UsersError::Malformed { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "what a person wrote");
    }

    /// The example of RFC 5802 §5: user "user", password "pencil".
    #[test]
    fn verifiers_are_those_of_the_rfc() {
        let salt = BASE64.decode("QSXCR+Q6sek8bf92").unwrap();
        let verifier = Verifier::derive(Hash::Sha1, "pencil", &salt, 4096);
        assert_eq!(BASE64.encode(&verifier.stored_key), "6dlGYMOdZcOPutkcNY8U2g7vK9Y=");
        assert_eq!(BASE64.encode(&verifier.server_key), "D+CSWLOshSulAsxiupA+qs2/fTE=");
    }

    #[test]
    fn what_is_wrong_is_told_without_what_is_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        add_user(&path, "murder", "secret").unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        let verifiers: Vec<&str> = good.lines().filter(|line| line.contains("_key")).collect();
        assert!(verifiers.len() > 4);
        for (from, to) in
            [("stored_key = \"", "stored_key = "), ("server_key = \"", "server_key = \"!"), ("salt", "sal")]
        {
            std::fs::write(&path, good.replacen(from, to, 1)).unwrap();
            let error = Users::load(&path).unwrap_err().to_string();
            for verifier in &verifiers {
                let secret = verifier.split('"').nth(1).unwrap();
                assert!(!error.contains(secret), "{error}");
            }
            assert!(error.contains("line ") || error.contains("user murder"), "{error}");
        }
    }
}
