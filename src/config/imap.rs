//! `[imap]`: the face to mail clients.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::check::{Severity, identity};
use super::{Reach, Span};
use crate::net::address::Trust;

/// `[imap]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imap {
    /// Addresses for IMAP, with STARTTLS where there is a certificate.
    #[serde(default)]
    pub listen: Vec<SocketAddr>,
    /// Addresses for IMAP under TLS from the first byte.
    #[serde(default)]
    pub listen_tls: Vec<SocketAddr>,
    /// The frontends, `host:port`.
    pub frontends: Vec<String>,
    /// Passwords without TLS.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// PEM file of the certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's key.
    pub key: Option<PathBuf>,
    /// How the frontends are reached.
    #[serde(default)]
    pub frontend_tls: Reach,
    /// The authorities that may have signed the frontends' certificates (PEM).
    pub frontend_ca_file: Option<PathBuf>,
    /// Tell the frontends with the PROXY protocol who the client is.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Networks of load balancers, whose PROXY header is demanded and believed.
    #[serde(default)]
    pub balancers: Vec<Trust>,
    /// How long a client may take to log in.
    #[serde(default = "defaults::login_timeout")]
    pub login_timeout: Span,
    /// A session in which nothing passes for so long ends.
    #[serde(default = "defaults::idle_timeout")]
    pub idle_timeout: Span,
    /// How long sessions may take to come to a good end when Ravenry stops.
    #[serde(default = "defaults::drain")]
    pub drain: Span,
    /// How often frontends are asked whether they are there.
    #[serde(default = "defaults::check_every")]
    pub check_every: Span,
    /// How long a frontend that is down may owe a client an answer.
    #[serde(default = "defaults::frontend_silence")]
    pub frontend_silence: Span,
    /// Say `[UNAVAILABLE]` and a plain sentence where a frontend refuses for want of the mupdate master.
    #[serde(default = "defaults::mark_unavailable")]
    pub mark_unavailable: bool,
    /// Sessions at a time.
    #[serde(default = "defaults::max_sessions")]
    pub max_sessions: usize,
    /// Of them, from one address.
    #[serde(default = "defaults::max_per_client")]
    pub max_per_client: usize,
}

impl Imap {
    /// See [`Config::check`](super::Config::check).
    pub(super) fn check(&self, find: &mut impl FnMut(Severity, &'static str, String)) {
        if self.listen.is_empty() && self.listen_tls.is_empty() {
            find(Severity::Error, "imap.listen", "no address to listen on".into());
        }
        if self.frontends.is_empty() {
            find(Severity::Error, "imap.frontends", "no frontend to pass clients on to".into());
        }
        if let Some(wrong) = self.frontends.iter().find(|address| !address.contains(':')) {
            let text = format!("{wrong:?} must be host:port, such as fe1.example.org:143");
            find(Severity::Error, "imap.frontends", text);
        }
        if self.allow_plaintext {
            let text = "passwords without TLS are shown to everybody on the path";
            find(Severity::Warning, "imap.allow_plaintext", text.into());
        }
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                identity(certificate, key, "imap.certificate", find);
            }
            (None, None) if !self.listen_tls.is_empty() => {
                find(Severity::Error, "imap.certificate", "listen_tls needs a certificate and a key".into());
            }
            (None, None) if !self.allow_plaintext => {
                let text =
                    "nobody can log in: there is no certificate for STARTTLS, and allow_plaintext is off";
                find(Severity::Error, "imap.certificate", text.into());
            }
            (None, None) => {}
            _ => find(Severity::Error, "imap.certificate", "certificate and key come together".into()),
        }
        if let Some(text) = self.frontend_tls.objection(self.frontend_ca_file.as_deref()) {
            find(Severity::Error, "imap.frontend_ca_file", text);
        }
        if self.max_sessions == 0 || self.max_per_client == 0 {
            find(Severity::Error, "imap.max_sessions", "nobody could connect".into());
        }
    }
}

mod defaults {
    use super::Span;

    pub(super) fn login_timeout() -> Span {
        Span::seconds(60)
    }
    pub(super) fn idle_timeout() -> Span {
        Span::seconds(35 * 60)
    }
    pub(super) fn drain() -> Span {
        Span::seconds(10)
    }
    pub(super) fn check_every() -> Span {
        Span::seconds(2)
    }
    pub(super) fn frontend_silence() -> Span {
        Span::seconds(30)
    }
    pub(super) fn mark_unavailable() -> bool {
        true
    }
    pub(super) fn max_sessions() -> usize {
        50_000
    }
    pub(super) fn max_per_client() -> usize {
        1_000
    }
}
