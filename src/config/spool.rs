//! `[spool]`: the queue of deliveries that were accepted and could not be placed yet.

use std::path::PathBuf;

use serde::Deserialize;

use super::check::{Severity, secret_is_private};
use super::{Size, Span};
use crate::net::tls;
use crate::spool::Address;
use crate::spool::schedule::Policy;

/// `[spool]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    /// The submission host for reports to senders, `host:port`; spoken to in SMTP. Without it what cannot be
    /// delivered is kept for a person.
    pub submission: Option<String>,
    /// Who logs in there; nobody by default.
    pub submission_user: Option<String>,
    /// A file with the user's password.
    pub submission_password_file: Option<PathBuf>,
    /// Demand STARTTLS there, and check the certificate against these authorities (PEM).
    pub submission_tls_ca_file: Option<PathBuf>,
    /// Who reports come from.
    pub report_from: Option<String>,
    /// How long a message is kept before it is returned.
    pub expiry: Span,
    /// The first wait between two attempts; it doubles.
    pub retry_min: Span,
    /// The longest.
    pub retry_max: Span,
    /// Attempts at a time towards one backend.
    pub per_backend: usize,
    /// Attempts at a time.
    pub concurrency: usize,
    /// With less free on the disk nothing is queued.
    pub min_free: Size,
    /// The same for inodes.
    pub min_free_inodes: u64,
    /// So many messages at most; each takes some 300 bytes of memory.
    pub max_messages: u64,
    /// A message up to this length is kept in memory while it comes in.
    pub in_memory: Size,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            submission: None,
            submission_user: None,
            submission_password_file: None,
            submission_tls_ca_file: None,
            report_from: None,
            expiry: Span::seconds(5 * 24 * 3600),
            retry_min: Span::seconds(1),
            retry_max: Span::seconds(30 * 60),
            per_backend: 8,
            concurrency: 64,
            min_free: Size::mebibytes(256),
            min_free_inodes: 10_000,
            max_messages: 5_000_000,
            in_memory: Size::kibibytes(64),
        }
    }
}

impl Spool {
    /// When what is tried.
    pub fn policy(&self) -> Policy {
        let milliseconds = |span: Span| u64::try_from(span.get().as_millis()).unwrap_or(u64::MAX);
        Policy {
            per_destination: self.per_backend,
            in_all: self.concurrency,
            retry_min: milliseconds(self.retry_min),
            retry_max: milliseconds(self.retry_max),
            expiry: milliseconds(self.expiry),
            ..Policy::default()
        }
    }

    pub(super) fn check(&self, serves: bool, find: &mut dyn FnMut(Severity, &'static str, String)) {
        match &self.submission {
            Some(host) if !host.contains(':') => {
                find(Severity::Error, "spool.submission", "must be host:port, such as localhost:25".into());
            }
            None if serves => find(
                Severity::Warning,
                "spool.submission",
                "without a submission host, senders of undeliverable mail are not told: it is kept, see \
                 `ravenry queue list`"
                    .into(),
            ),
            _ => {}
        }
        self.check_login(find);
        if let Some(from) = &self.report_from
            && (!from.contains('@') || Address::new(from.clone()).is_err())
        {
            find(Severity::Error, "spool.report_from", "must be an address".into());
        }
        if self.per_backend == 0 || self.concurrency == 0 {
            find(Severity::Error, "spool.per_backend", "nothing would ever be delivered".into());
        }
        if self.retry_min.get().is_zero() || self.retry_min.get() > self.retry_max.get() {
            find(
                Severity::Error,
                "spool.retry_min",
                "must be more than nothing and at most retry_max".into(),
            );
        }
        if self.expiry.get() < self.retry_max.get() {
            find(Severity::Error, "spool.expiry", "must be at least retry_max".into());
        }
    }

    fn check_login(&self, find: &mut dyn FnMut(Severity, &'static str, String)) {
        match (&self.submission_user, &self.submission_password_file) {
            (Some(_), Some(path)) => {
                match secret_is_private(path) {
                    Ok(true) => {}
                    Ok(false) => {
                        let text = format!("{} can be read by everybody: chmod 600", path.display());
                        find(Severity::Warning, "spool.submission_password_file", text);
                    }
                    Err(error) => {
                        let text = format!("{}: {error}", path.display());
                        find(Severity::Error, "spool.submission_password_file", text);
                    }
                }
                if self.submission_tls_ca_file.is_none() {
                    let text = "without submission_tls_ca_file the password may be seen on the way";
                    find(Severity::Warning, "spool.submission_user", text.into());
                }
            }
            (None, None) => {}
            _ => {
                let text = "submission_user and submission_password_file come together";
                find(Severity::Error, "spool.submission_user", text.into());
            }
        }
        if let Some(authorities) = &self.submission_tls_ca_file
            && let Err(error) = tls::client(authorities)
        {
            find(Severity::Error, "spool.submission_tls_ca_file", error.to_string());
        }
    }
}
