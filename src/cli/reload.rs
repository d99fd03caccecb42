//! What `ravenry serve` reads again on SIGHUP: users, and certificates with their keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio_rustls::rustls::ServerConfig as TlsConfig;

use super::serve::unix;
use super::{Failure, exit};
use crate::net::sasl::server::Gate;
use crate::net::tls::Identity;
use crate::net::users::Users;
use crate::telemetry::metric::Metric;

/// The files that were read, and who works with them.
#[derive(Default)]
pub(super) struct Reload {
    gates: Vec<(PathBuf, Arc<Gate>)>,
    identities: Vec<Identity>,
}

impl Reload {
    /// A gate for the users of a file.
    pub(super) fn gate(&mut self, users_file: &Path) -> Result<Arc<Gate>, Failure> {
        let users = Users::load(users_file).map_err(|error| Failure::new(exit::CONFIG, error))?;
        let gate = Arc::new(Gate::new(users).map_err(|error| Failure::new(exit::CONFIG, error))?);
        self.gates.push((users_file.to_owned(), gate.clone()));
        Ok(gate)
    }

    /// TLS with a certificate and key, where both are configured.
    pub(super) fn tls(
        &mut self,
        certificate: Option<&PathBuf>,
        key: Option<&PathBuf>,
    ) -> Result<Option<Arc<TlsConfig>>, Failure> {
        let Some((certificate, key)) = certificate.zip(key) else { return Ok(None) };
        let identity = Identity::load(certificate, key).map_err(|error| Failure::new(exit::CONFIG, error))?;
        let tls = identity.server();
        self.identities.push(identity);
        Ok(Some(tls))
    }

    /// Reads the files again at each signal. What cannot be used leaves the old in place.
    pub(super) async fn run(self, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            let mut usable = true;
            for (path, gate) in &self.gates {
                match Users::load(path) {
                    Ok(users) => {
                        tracing::info!(path = %path.display(), users = users.len(), "users read again");
                        gate.replace(users);
                    }
                    Err(error) => {
                        usable = false;
                        tracing::error!(%error, "the users stay as they were");
                    }
                }
            }
            for identity in &self.identities {
                match identity.reload() {
                    Ok(()) => tracing::info!(path = %identity.path().display(), "certificate read again"),
                    Err(error) => {
                        usable = false;
                        tracing::error!(%error, "the certificate stays as it was");
                    }
                }
            }
            Metric::ConfigReloadSuccess.set(f64::from(u8::from(usable)));
            if usable {
                Metric::ConfigReloadTime.set(unix() as f64);
            }
        }
    }
}
