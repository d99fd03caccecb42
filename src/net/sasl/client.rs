//! Logging in to somebody else.

use rsasl::prelude::{Mechname, SASLClient, SASLConfig, Session, State};

use crate::net::secret::Secret;

/// What we can log in with, best first. DIGEST-MD5 and CRAM-MD5 are broken and not spoken.
const MECHANISMS: [&str; 4] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"];

/// Why a login failed on our side.
#[derive(Debug, thiserror::Error)]
pub enum SaslError {
    /// The server offers nothing that we may or can use.
    #[error("the server offers no login that Ravenry speaks here: {offered:?}")]
    NoMechanism {
        /// What it offers.
        offered: Vec<String>,
    },
    /// The exchange went wrong; with SCRAM also when the server cannot prove that it knows the password.
    #[error("the login exchange failed: {0}")]
    Exchange(String),
}

/// One login exchange under way.
pub struct Login {
    session: Session,
    mechanism: &'static str,
}

impl Login {
    /// Chooses the best mechanism of those offered.
    pub fn start(offered: &[String], user: &str, password: &Secret) -> Result<Self, SaslError> {
        let mechanism =
            MECHANISMS.into_iter().find(|ours| offered.iter().any(|o| o.eq_ignore_ascii_case(ours)));
        let mechanism = mechanism.ok_or_else(|| SaslError::NoMechanism { offered: offered.to_vec() })?;
        let failed = |error: &dyn std::fmt::Display| SaslError::Exchange(error.to_string());
        let config = SASLConfig::with_credentials(None, user.to_owned(), password.expose().to_owned())
            .map_err(|e| failed(&e))?;
        let name = Mechname::parse(mechanism.as_bytes()).map_err(|e| failed(&e))?;
        let session = SASLClient::new(config).start_suggested(&[name]).map_err(|e| failed(&e))?;
        Ok(Self { session, mechanism })
    }

    /// The mechanism's name for the wire.
    pub fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    /// What to send first (`challenge: None`), or in answer to a challenge.
    pub fn step(&mut self, challenge: Option<&[u8]>) -> Result<Vec<u8>, SaslError> {
        let mut response = Vec::new();
        match self.session.step(challenge, &mut response) {
            Ok(State::Running | State::Finished(_)) => Ok(response),
            Err(error) => Err(SaslError::Exchange(error.to_string())),
        }
    }
}
