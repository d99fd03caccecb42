//! TLS towards the master, which must not be seen to fail.
//!
//! A handshake that the client breaks off ends the process of a Cyrus 3.12 mupdate (observed; exit status 76), and
//! after a few such ends the process master gives the service up (rule 5). Our configuration can be wrong, or the
//! master's certificate run out; so the handshake is always brought to its end, and a certificate that cannot be
//! trusted is judged behind it, before a byte of ours is sent.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::tls::{TlsError, roots};

/// The authorities that the master's certificate must come from.
#[derive(Clone, Debug)]
pub struct Trust(Arc<WebPkiServerVerifier>);

impl Trust {
    /// Reads the authorities from a PEM file.
    pub fn load(authorities: &Path) -> Result<Self, TlsError> {
        let verifier = WebPkiServerVerifier::builder(Arc::new(roots(authorities)?)).build();
        verifier
            .map(Self)
            .map_err(|error| TlsError::Unusable { path: authorities.to_owned(), why: error.to_string() })
    }

    /// Brings the handshake to its end; an error when the other side is not who it should be. Nothing but the
    /// handshake, and a close in good order, has then been sent.
    pub async fn connect(
        &self,
        name: ServerName<'static>,
        tcp: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let judge = Arc::new(Judge { trust: self.0.clone(), verdict: OnceLock::new() });
        // For this connection alone, so that no session is resumed without a verdict.
        let config = ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(judge.clone())
            .with_no_client_auth();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        match judge.verdict.get() {
            Some(Ok(())) => Ok(stream),
            Some(Err(error)) => {
                // It may have hung up already, which is what is wanted.
                let _ = stream.shutdown().await;
                Err(std::io::Error::new(std::io::ErrorKind::InvalidData, error.clone()))
            }
            None => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "no certificate was shown")),
        }
    }
}

/// Judges the certificate of one connection, and lets the handshake go on whatever the verdict.
#[derive(Debug)]
struct Judge {
    trust: Arc<WebPkiServerVerifier>,
    verdict: OnceLock<Result<(), Error>>,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict =
            self.trust.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        // Asked once per connection; a first verdict stands.
        let _ = self.verdict.set(verdict.map(drop));
        Ok(ServerCertVerified::assertion())
    }

    // That the other side has the certificate's key is demanded at once: only an attacker fails here.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::{Identity, testing};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    /// What the client made of the handshake, and the server of it and of what came behind.
    async fn handshake(trusted: bool, host: &str) -> (std::io::Result<()>, std::io::Result<Vec<u8>>) {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let made = testing::make(dir.path(), "mm.test");
        let strange = testing::make(other.path(), "mm.test");
        let acceptor = TlsAcceptor::from(Identity::load(&made.certificate, &made.key).unwrap().server());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = tokio::spawn(async move {
            let mut stream = acceptor.accept(listener.accept().await?.0).await?;
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await?;
            Ok(heard)
        });
        let trust = Trust::load(if trusted { &made.authority } else { &strange.authority }).unwrap();
        let connected = trust.connect(host.to_owned().try_into().unwrap(), tcp).await;
        let connected = match connected {
            Ok(mut stream) => stream.write_all(b"X1 NOOP\r\n").await.and(stream.shutdown().await),
            Err(error) => Err(error),
        };
        (connected, server.await.unwrap())
    }

    #[tokio::test]
    async fn who_should_be_there_is_spoken_to() {
        let (client, server) = handshake(true, "mm.test").await;
        client.unwrap();
        assert_eq!(server.unwrap(), b"X1 NOOP\r\n");
    }

    #[tokio::test]
    async fn a_stranger_sees_a_whole_handshake_and_hears_nothing() {
        for (trusted, host) in [(false, "mm.test"), (true, "other.test")] {
            let (client, server) = handshake(trusted, host).await;
            let error = client.unwrap_err().to_string();
            assert!(error.contains("invalid peer certificate"), "{error}");
            assert_eq!(server.unwrap(), b"", "closed in good order");
        }
    }
}
