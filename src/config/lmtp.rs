//! `[lmtp]`: the face to the MTA.

use std::path::PathBuf;

use serde::Deserialize;

use super::check::{Severity, identity, secret_is_private};
use super::{Size, Span};
use crate::lmtp::decide::Defer;
use crate::net::address::{Listen, Trust};
use crate::net::tls;
use crate::net::users::Users;
use crate::spool::Envelope;

/// `[lmtp]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lmtp {
    /// Addresses and sockets to listen on.
    pub listen: Vec<Listen>,
    /// The frontends, `host:port`.
    pub frontends: Vec<String>,
    /// Who needs no login.
    #[serde(default = "defaults::trusted")]
    pub trusted: Vec<Trust>,
    /// Who else may deliver after logging in; written by `ravenry user add --lmtp`.
    pub users_file: Option<PathBuf>,
    /// PLAIN without TLS.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// What we call ourselves.
    pub servername: Option<String>,
    /// PEM file of the certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's key.
    pub key: Option<PathBuf>,
    /// What is done with what cannot be delivered now.
    #[serde(default)]
    pub defer: Defer,
    /// The longest message taken.
    #[serde(default = "defaults::max_message")]
    pub max_message: Size,
    /// The most recipients of a message.
    #[serde(default = "defaults::max_recipients")]
    pub max_recipients: usize,
    /// Connections at a time.
    #[serde(default = "defaults::max_connections")]
    pub max_connections: usize,
    /// How long a client may take over a command, or to take a reply.
    #[serde(default = "defaults::command_timeout")]
    pub command_timeout: Span,
    /// How long a client may be silent within a message.
    #[serde(default = "defaults::data_timeout")]
    pub data_timeout: Span,
    /// Towards the frontends.
    #[serde(default)]
    pub upstream: Upstream,
    /// How the frontends name mailboxes.
    #[serde(default)]
    pub names: Names,
}

impl Lmtp {
    /// See [`Config::check`](super::Config::check).
    pub(super) fn check(&self, find: &mut impl FnMut(Severity, &'static str, String)) {
        if self.listen.is_empty() {
            find(Severity::Error, "lmtp.listen", "no address to listen on".into());
        }
        if self.frontends.is_empty() {
            find(Severity::Error, "lmtp.frontends", "no frontend to deliver to".into());
        }
        if let Some(wrong) = self.frontends.iter().find(|address| !address.contains(':')) {
            let text = format!("{wrong:?} must be host:port, such as fe1.example.org:24");
            find(Severity::Error, "lmtp.frontends", text);
        }
        if let Some(path) = &self.users_file {
            match Users::load(path) {
                Err(error) => {
                    let text = format!("{error}; make it with `ravenry user add --lmtp NAME`");
                    find(Severity::Error, "lmtp.users_file", text);
                }
                Ok(users) if users.is_empty() => {
                    find(Severity::Error, "lmtp.users_file", "nobody can log in: no users".into());
                }
                Ok(_) => {}
            }
        } else if self.trusted.is_empty() && self.listen.iter().any(|l| matches!(l, Listen::Tcp(_))) {
            let text = "nobody is trusted and nobody can log in (users_file): no mail can be delivered";
            find(Severity::Error, "lmtp.trusted", text.into());
        }
        if self.allow_plaintext && self.users_file.is_some() {
            let text = "PLAIN without TLS shows passwords to everybody on the path";
            find(Severity::Warning, "lmtp.allow_plaintext", text.into());
        }
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                identity(certificate, key, "lmtp.certificate", find);
            }
            (None, None) => {}
            _ => find(Severity::Error, "lmtp.certificate", "certificate and key come together".into()),
        }
        if self.max_recipients < 100 || self.max_recipients > Envelope::MAX_RECIPIENTS {
            let text = format!("must be between 100 (RFC 5321) and {}", Envelope::MAX_RECIPIENTS);
            find(Severity::Error, "lmtp.max_recipients", text);
        }
        if self.max_connections == 0 {
            find(Severity::Error, "lmtp.max_connections", "nobody could connect".into());
        }
        self.upstream.check(find);
    }
}

impl Upstream {
    fn check(&self, find: &mut impl FnMut(Severity, &'static str, String)) {
        if self.connections == 0 {
            find(Severity::Error, "lmtp.upstream.connections", "nothing could be delivered".into());
        }
        match (&self.user, &self.password_file) {
            (Some(_), Some(path)) => match secret_is_private(path) {
                Ok(true) => {}
                Ok(false) => {
                    let text = format!("{} can be read by everybody: chmod 600", path.display());
                    find(Severity::Warning, "lmtp.upstream.password_file", text);
                }
                Err(error) => {
                    let text = format!("{}: {error}", path.display());
                    find(Severity::Error, "lmtp.upstream.password_file", text);
                }
            },
            (None, None) => {}
            _ => find(Severity::Error, "lmtp.upstream.user", "user and password_file come together".into()),
        }
        if let Some(authorities) = &self.tls_ca_file
            && let Err(error) = tls::client(authorities)
        {
            find(Severity::Error, "lmtp.upstream.tls_ca_file", error.to_string());
        }
    }
}

/// `[lmtp.upstream]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Who logs in at the frontends; nobody by default.
    pub user: Option<String>,
    /// A file with the user's password.
    pub password_file: Option<PathBuf>,
    /// Demand STARTTLS, and check the certificate against these authorities (PEM).
    pub tls_ca_file: Option<PathBuf>,
    /// Connections to each frontend at a time.
    pub connections: usize,
    /// How long connecting and logging in may take.
    pub connect_timeout: Span,
    /// How long a frontend may take to answer a command, or to take a part of a message.
    pub reply_timeout: Span,
    /// How long it may take over a message, once it has it all, for each reply.
    pub delivery_timeout: Span,
    /// How long a connection is kept for the next message.
    pub idle: Span,
    /// How often a frontend is tried out.
    pub probe: Span,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            user: None,
            password_file: None,
            tls_ca_file: None,
            connections: 20,
            connect_timeout: Span::seconds(3),
            reply_timeout: Span::seconds(10),
            delivery_timeout: Span::seconds(60),
            idle: Span::seconds(10),
            probe: Span::seconds(5),
        }
    }
}

/// `[lmtp.names]`, with the words of imapd.conf.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// As on the frontends.
    pub unixhierarchysep: bool,
    /// As on the frontends.
    pub virtdomains: VirtualDomains,
    /// As on the frontends.
    pub defaultdomain: Option<String>,
    /// As on the frontends.
    pub lmtp_downcase_rcpt: bool,
    /// As on the frontends.
    pub postuser: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            unixhierarchysep: true,
            virtdomains: VirtualDomains::Off,
            defaultdomain: None,
            lmtp_downcase_rcpt: true,
            postuser: String::new(),
        }
    }
}

/// `virtdomains`; for deliveries the two kinds of "on" are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VirtualDomains {
    /// Domains are without meaning.
    Off,
    /// Domains of user names are part of them.
    Userid,
    /// The same, and domains also follow from IP addresses.
    On,
}

mod defaults {
    use super::{Size, Span, Trust};

    /// An MTA on the same network needs no configuration.
    pub(super) fn trusted() -> Vec<Trust> {
        vec![Trust::Private, Trust::Attached]
    }
    pub(super) fn max_message() -> Size {
        Size::mebibytes(1024)
    }
    pub(super) fn max_recipients() -> usize {
        10_000
    }
    pub(super) fn max_connections() -> usize {
        2_000
    }
    /// RFC 5321 §4.5.3.2.7
    pub(super) fn command_timeout() -> Span {
        Span::seconds(300)
    }
    /// RFC 5321 §4.5.3.2.5
    pub(super) fn data_timeout() -> Span {
        Span::seconds(180)
    }
}
