//! TLS by rustls, with one cryptography provider (aws-lc-rs).

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};

use crate::telemetry::metric::Metric;

/// Why TLS cannot be set up; the operator's files are at fault.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The files are read, but do not make a usable identity.
    #[error("{}: {why}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |why: String| TlsError::File { path: path.to_owned(), why };
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(error.to_string()))?;
    if found.is_empty() { Err(failed("no certificate in it".into())) } else { Ok(found) }
}

/// A server's identity: certificate with its chain, and key, both PEM; read again when told to.
#[derive(Clone, Debug)]
pub struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<RwLock<Arc<CertifiedKey>>>,
}

impl Identity {
    /// Reads the files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = Arc::new(RwLock::new(certified(certificate, key)?));
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// Reads the files again, for [`Self::replace`]. What has expired is refused, unless it is what is shown already: it is
    /// no worse then than before.
    pub fn read_again(&self) -> Result<Fresh, TlsError> {
        let fresh = certified(&self.certificate, &self.key)?;
        let shown = self.current.read().unwrap_or_else(PoisonError::into_inner).cert.clone();
        match expired(&fresh, SystemTime::now()) {
            Some(why) if fresh.cert != shown => {
                Err(TlsError::Unusable { path: self.certificate.clone(), why })
            }
            _ => Ok(Fresh(fresh)),
        }
    }

    /// Connections from now on are shown this.
    pub fn replace(&self, fresh: Fresh) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh.0;
        self.tell();
    }

    /// That the certificate has expired, and when, if it has.
    pub fn expired(&self) -> Option<String> {
        expired(&self.current.read().unwrap_or_else(PoisonError::into_inner), SystemTime::now())
    }

    /// When the certificate ends, in seconds since 1970.
    pub fn ends(&self) -> Option<u64> {
        ends(self.current.read().unwrap_or_else(PoisonError::into_inner).cert.first()?)
    }

    /// Monitors are to know when it ends: nobody would see it coming.
    fn tell(&self) {
        if let Some(end) = self.ends() {
            let file = self.certificate.display().to_string();
            Metric::CertificateEnd.set_for(&[("certificate", file)], end as f64);
        }
    }

    /// The certificate's file.
    pub fn path(&self) -> &Path {
        &self.certificate
    }

    /// A server that shows this identity, also after it was read again.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.tell();
        Arc::new(ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(self.clone())))
    }
}

/// A certificate with its chain, and key, that were read and can be used.
#[derive(Debug)]
pub struct Fresh(Arc<CertifiedKey>);

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| TlsError::File { path: key.to_owned(), why: error.to_string() })?;
    let unusable =
        |error: rustls::Error| TlsError::Unusable { path: certificate.to_owned(), why: error.to_string() };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    // Also says when the key is not the certificate's.
    Ok(Arc::new(CertifiedKey::from_der(chain, secret, &provider).map_err(unusable)?))
}

/// When a certificate ends, in seconds since 1970.
pub fn ends(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}

fn expired(identity: &CertifiedKey, now: SystemTime) -> Option<String> {
    let certificate = identity.cert.first()?;
    let end = ends(certificate)?;
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // rustls has parsed it already.
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    (end < now).then(|| format!("it expired on {}", certificate.validity().not_after))
}

/// Whom the certificate of the server at `host:port` has to be for.
pub fn server_name(address: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    let host = address.rsplit_once(':').map_or("", |(host, _)| host);
    ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
}

/// How a server is reached that speaks TLS at once, on demand, or not at all.
#[derive(Clone, Default)]
pub enum ClientTls {
    /// In clear.
    #[default]
    Off,
    /// STARTTLS, and the certificate is checked.
    StartTls(Arc<ClientConfig>),
    /// TLS from the first byte, and the certificate is checked.
    AtOnce(Arc<ClientConfig>),
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::StartTls(_) => "StartTls",
            Self::AtOnce(_) => "AtOnce",
        })
    }
}

/// A client that trusts the authorities in a PEM file.
pub fn client(authorities: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = roots(authorities)?;
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// The authorities in a PEM file.
pub(super) fn roots(authorities: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Unusable { path: authorities.to_owned(), why: error.to_string() })?;
    }
    Ok(roots)
}

#[cfg(test)]
pub(crate) mod testing {
    //! Certificates made on the spot.

    use std::path::{Path, PathBuf};

    /// An authority, and one certificate of it for one host, as PEM files.
    pub(crate) struct Made {
        pub(crate) authority: PathBuf,
        pub(crate) certificate: PathBuf,
        pub(crate) key: PathBuf,
    }

    pub(crate) fn make(dir: &Path, host: &str) -> Made {
        let made = Made {
            authority: dir.join("ca.crt"),
            certificate: dir.join("tls.crt"),
            key: dir.join("tls.key"),
        };
        let (ca_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let host = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
        std::fs::write(&made.authority, authority.pem()).unwrap();
        std::fs::write(&made.certificate, host.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(&made.key, key.serialize_pem()).unwrap();
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_when_a_certificate_ends() {
        let dir = tempfile::tempdir().unwrap();
        let made = testing::make(dir.path(), "ravenry.test");
        // What rcgen gives where nothing is said: the year 4096.
        let year = 365 * 24 * 3600;
        let end = Identity::load(&made.certificate, &made.key).unwrap().ends().unwrap();
        assert!(end > 2100 * year - 1970 * year && end < 5000 * year - 1970 * year, "{end}");
        assert_eq!(ends(&CertificateDer::from(vec![1, 2, 3])), None);
    }

    #[test]
    fn an_identity_that_cannot_be_used_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let made = testing::make(dir.path(), "ravenry.test");
        let identity = Identity::load(&made.certificate, &made.key).unwrap();
        let shown = || identity.current.read().unwrap().cert.clone();
        let first = shown();
        let key = std::fs::read(&made.key).unwrap();
        testing::make(dir.path(), "ravenry.test");
        std::fs::write(&made.key, key).unwrap();
        let wrong = identity.read_again().unwrap_err().to_string();
        assert!(wrong.contains("tls.crt"), "the key is another certificate's: {wrong}");
        assert_eq!(shown(), first);
        testing::make(dir.path(), "ravenry.test");
        identity.replace(identity.read_again().unwrap());
        assert_ne!(shown(), first);
    }

    #[test]
    fn a_certificate_that_has_expired_is_refused_unless_it_is_shown_already() {
        let dir = tempfile::tempdir().unwrap();
        let made = testing::make(dir.path(), "ravenry.test");
        let identity = Identity::load(&made.certificate, &made.key).unwrap();
        assert_eq!(identity.expired(), None);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut old = rcgen::CertificateParams::new(["ravenry.test".to_owned()]).unwrap();
        old.not_after = rcgen::date_time_ymd(2020, 2, 3);
        std::fs::write(&made.certificate, old.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&made.key, key.serialize_pem()).unwrap();
        let refused = identity.read_again().unwrap_err().to_string();
        assert!(refused.contains("tls.crt: it expired on Feb  3 00:00:00 2020"), "{refused}");
        // A restart shows it: most of the murder does not look, and a service that is down helps nobody.
        let shown = Identity::load(&made.certificate, &made.key).unwrap();
        assert!(shown.expired().is_some());
        shown.replace(shown.read_again().unwrap());
    }
}
