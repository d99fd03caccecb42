//! What is wrong with a configuration that parses.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Config;
use crate::net::tls;
use crate::net::trust::Trust;
use crate::net::users::Users;
use crate::telemetry::log;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// It works, but somebody should know.
    Warning,
    /// `ravenry serve` would not start, or not do its work.
    Error,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The key it is about.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub text: String,
}

impl Config {
    /// Looks at everything that can be judged without the network.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut find = |severity, key, text: String| findings.push(Finding { severity, key, text });
        if let Err(error) = log::check(&self.log) {
            find(Severity::Error, "log", error);
        }
        if self.mupdate.listen.is_empty() {
            find(Severity::Error, "mupdate.listen", "no address to listen on".into());
        }
        match Users::load(&self.mupdate.users_file) {
            Err(error) => find(
                Severity::Error,
                "mupdate.users_file",
                format!("{error}; make it with `ravenry user add NAME`"),
            ),
            Ok(users) if users.is_empty() => {
                find(Severity::Error, "mupdate.users_file", "nobody can log in: no users".into());
            }
            Ok(_) => {}
        }
        if self.mupdate.allow_plaintext {
            find(
                Severity::Warning,
                "mupdate.allow_plaintext",
                "PLAIN without TLS shows the murder's password to everybody on the path".into(),
            );
        }
        match (&self.mupdate.certificate, &self.mupdate.key) {
            (Some(certificate), Some(key)) => {
                identity(certificate, key, "mupdate.certificate", &mut find);
            }
            (None, None) if self.mupdate.require_tls => {
                find(Severity::Error, "mupdate.require_tls", "needs certificate and key".into());
            }
            (None, None) => {}
            _ => find(Severity::Error, "mupdate.certificate", "certificate and key come together".into()),
        }
        if !self.master.address.contains(':') {
            find(Severity::Error, "master.address", "must be host:port, such as mm.example.org:3905".into());
        }
        match secret_is_private(&self.master.password_file) {
            Err(error) => find(
                Severity::Error,
                "master.password_file",
                format!("{}: {error}", self.master.password_file.display()),
            ),
            Ok(false) => find(
                Severity::Warning,
                "master.password_file",
                format!("{} can be read by everybody: chmod 600", self.master.password_file.display()),
            ),
            Ok(true) => {}
        }
        if let Some(authorities) = &self.master.tls_ca_file
            && let Err(error) = Trust::load(authorities)
        {
            find(Severity::Error, "master.tls_ca_file", error.to_string());
        }
        if !(0.0..=1.0).contains(&self.guard.share) {
            find(Severity::Error, "guard.share", "must be between 0 and 1".into());
        }
        if let Some(lmtp) = &self.lmtp {
            lmtp.check(&mut find);
        }
        if let Some(backends) = &self.backends {
            backends.check(&mut find);
        }
        self.spool.check(self.lmtp.is_some(), &mut find);
        if let Some(imap) = &self.imap {
            imap.check(&mut find);
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }
}

/// An expired certificate is shown all the same: most clients in a murder do not look.
pub(super) fn identity(
    certificate: &Path,
    key: &Path,
    named: &'static str,
    find: &mut impl FnMut(Severity, &'static str, String),
) {
    match tls::Identity::load(certificate, key) {
        Err(error) => find(Severity::Error, named, error.to_string()),
        Ok(identity) => {
            if let Some(expired) = identity.expired() {
                find(Severity::Warning, named, format!("{}: {expired}", certificate.display()));
            }
        }
    }
}

pub(super) fn secret_is_private(path: &Path) -> std::io::Result<bool> {
    std::fs::read(path)?;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o004 == 0)
}
