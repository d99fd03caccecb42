//! What is written, and where.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::murder::Murder;
use super::{Failure, exit};
use crate::net::secret::Secret;
use crate::net::users::{add_user, write_private};

/// The configuration and what it names, in one directory.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) config: PathBuf,
    pub(super) users: PathBuf,
    pub(super) master: PathBuf,
    pub(super) backends: PathBuf,
}

impl Files {
    pub(super) fn beside(config: &Path) -> Self {
        // The configuration names files by their whole path: the service runs in another directory.
        let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
        let beside = |name: &str| config.with_file_name(name);
        Self {
            users: beside("users.toml"),
            master: beside("master.pw"),
            backends: beside("backends.pw"),
            config,
        }
    }

    /// Writes everything, or nothing where something is in the way.
    pub(super) fn write(&self, text: &str, murder: &Murder, force: bool) -> Result<Vec<PathBuf>, Failure> {
        let users: Vec<(&String, &Secret)> =
            murder.users.iter().filter_map(|(name, password)| Some((name, password.as_ref()?))).collect();
        let secrets = [
            (&self.master, murder.password.as_ref()),
            (&self.backends, murder.backends_login.as_ref().map(|(_, password)| password)),
        ];
        let secrets: Vec<_> =
            secrets.into_iter().filter_map(|(path, secret)| Some((path, secret?))).collect();
        let mut written: Vec<PathBuf> = secrets.iter().map(|(path, _)| path.to_path_buf()).collect();
        if !users.is_empty() {
            written.push(self.users.clone());
        }
        written.push(self.config.clone());
        if !force && let Some(there) = written.iter().find(|path| path.symlink_metadata().is_ok()) {
            let why = format!("{} exists already; nothing was written. --force overwrites", there.display());
            return Err(Failure::new(exit::CANT_CREATE, why));
        }
        let failed = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::new(exit::CANT_CREATE, format!("{}: {error}", path.display()))
        };
        if let Some(directory) = self.config.parent() {
            std::fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
        }
        for (path, secret) in secrets {
            write_private(path, secret.expose()).map_err(|error| failed(path, &error))?;
        }
        if force && !users.is_empty() {
            // Who may log in is what the files say, and nobody else from before.
            let gone = std::fs::remove_file(&self.users);
            gone.or_else(
                |error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) },
            )
            .map_err(|error| failed(&self.users, &error))?;
        }
        for (name, password) in users {
            add_user(&self.users, name, password.expose()).map_err(|error| failed(&self.users, &error))?;
        }
        replace(&self.config, text).map_err(|error| failed(&self.config, &error))?;
        Ok(written)
    }
}

/// Writes the configuration beside its place and puts it there as a whole; there is nothing secret in it.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or(OsStr::new("ravenry.toml")).to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}
