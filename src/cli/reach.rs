//! IMAP servers, as the configuration says that they are reached.

use std::path::Path;

use super::{Failure, exit};
use crate::config::Reach;
use crate::net::tls::{self, ClientTls};

pub(super) fn reach(reach: Reach, authorities: Option<&Path>) -> Result<ClientTls, Failure> {
    let trusted = || {
        let authorities = authorities.ok_or_else(|| {
            Failure::new(exit::CONFIG, "TLS without authorities to check certificates against")
        })?;
        tls::client(authorities).map_err(|error| Failure::new(exit::CONFIG, error))
    };
    Ok(match reach {
        Reach::Off => ClientTls::Off,
        Reach::Starttls => ClientTls::StartTls(trusted()?),
        Reach::Imaps => ClientTls::AtOnce(trusted()?),
    })
}
