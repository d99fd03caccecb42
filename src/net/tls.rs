//! TLS by rustls, with one cryptography provider (aws-lc-rs).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

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

/// A server's identity: certificate with its chain, and key, both PEM.
pub fn server(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| TlsError::File { path: key.to_owned(), why: error.to_string() })?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| TlsError::Unusable { path: certificate.to_owned(), why: error.to_string() })?;
    Ok(Arc::new(config))
}

/// A client that trusts the authorities in a PEM file.
pub fn client(authorities: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Unusable { path: authorities.to_owned(), why: error.to_string() })?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}
