//! How IMAP servers are reached: in clear, or under TLS that is checked.

use std::path::Path;

use serde::Deserialize;

use crate::net::tls;

/// How an IMAP server is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// In clear.
    #[default]
    Off,
    /// STARTTLS, and the certificate is checked.
    Starttls,
    /// TLS from the first byte, and the certificate is checked.
    Imaps,
}

impl Reach {
    /// What is wrong with the authorities that certificates are checked against.
    pub(super) fn objection(self, authorities: Option<&Path>) -> Option<String> {
        match (self, authorities) {
            (Self::Off, _) => None,
            (_, None) => Some("TLS needs the authorities that certificates are checked against".into()),
            (_, Some(authorities)) => tls::client(authorities).err().map(|error| error.to_string()),
        }
    }
}
