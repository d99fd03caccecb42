//! `[backends]`: how backends are asked what they really hold.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::check::{Severity, secret_is_private};
use super::{Reach, Span};

/// `[backends]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backends {
    /// One of the backends' `admins`.
    pub user: String,
    /// A file with the user's password.
    pub password_file: PathBuf,
    /// Whether they are reached under TLS.
    #[serde(default)]
    pub tls: Reach,
    /// The authorities that may have signed their certificates (PEM).
    pub tls_ca_file: Option<PathBuf>,
    /// `host:port` for servers that are not reached by the name that locations call them, at port 143 (993 for imaps).
    #[serde(default)]
    pub addresses: HashMap<String, String>,
    /// How long a backend may take over any one answer.
    #[serde(default = "defaults::deadline")]
    pub deadline: Span,
    /// Ghosts of one backend that are taken off the list in a day, without a person.
    #[serde(default = "defaults::ghosts_per_day")]
    pub ghosts_per_day: u64,
    /// A reservation that no backend holds is removed when it is older than this.
    #[serde(default = "defaults::reservations")]
    pub reservations: Span,
}

impl Backends {
    /// See [`Config::check`](super::Config::check).
    pub(super) fn check(&self, find: &mut impl FnMut(Severity, &'static str, String)) {
        match secret_is_private(&self.password_file) {
            Ok(true) => {}
            Ok(false) => {
                let text = format!("{} can be read by everybody: chmod 600", self.password_file.display());
                find(Severity::Warning, "backends.password_file", text);
            }
            Err(error) => {
                let text = format!("{}: {error}", self.password_file.display());
                find(Severity::Error, "backends.password_file", text);
            }
        }
        if self.tls == Reach::Off {
            let text = "an administrator's password without TLS is shown to everybody on the path";
            find(Severity::Warning, "backends.tls", text.into());
        }
        if let Some(text) = self.tls.objection(self.tls_ca_file.as_deref()) {
            find(Severity::Error, "backends.tls_ca_file", text);
        }
        if let Some((server, wrong)) = self.addresses.iter().find(|(_, address)| !address.contains(':')) {
            let text = format!("{server}: {wrong:?} must be host:port, such as be1.example.org:143");
            find(Severity::Error, "backends.addresses", text);
        }
    }
}

mod defaults {
    use super::Span;

    pub(super) fn deadline() -> Span {
        Span::seconds(10)
    }
    pub(super) fn ghosts_per_day() -> u64 {
        1000
    }
    pub(super) fn reservations() -> Span {
        Span::seconds(24 * 3600)
    }
}
