//! STARTTLS and AUTH.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use ravenry_parsers::lmtp::SaslLine;
use tokio_rustls::TlsAcceptor;

use super::wire::Wire;
use super::{FaceConfig, Hangup};
use crate::net::sasl::server::{Denied, Login, Step};
use crate::net::stream::Stream;

/// Puts the connection under TLS. What a client sent behind the command came in clear, from anybody: that ends the
/// connection (CVE-2011-0411).
pub(super) async fn start_tls(mut wire: Wire, config: &FaceConfig) -> Result<Wire, Hangup> {
    let Some(tls) = config.tls.clone() else { return Ok(wire) };
    wire.say(220, "2.0.0 Begin TLS negotiation now").await?;
    wire.flush().await?;
    let Some(Stream::Plain(tcp)) = wire.into_stream() else { return Err(Hangup::Injection) };
    let accepting = Box::pin(TlsAcceptor::from(tls).accept(tcp));
    let stream = match tokio::time::timeout(config.command_timeout, accepting).await {
        Ok(accepted) => accepted.map_err(Hangup::Tls)?,
        Err(_) => return Err(Hangup::Slow),
    };
    Ok(Wire::new(Stream::Server(Box::new(stream)), config.command_timeout))
}

/// What an AUTH came to.
pub(super) enum Outcome {
    /// This user is logged in.
    User(String),
    /// The client gave up.
    Cancelled,
    /// Somebody else, or nobody.
    Denied(Denied),
}

/// The exchange behind `AUTH mechanism initial`. What comes of it has not been answered yet.
pub(super) async fn exchange(
    wire: &mut Wire,
    config: &FaceConfig,
    mechanism: &[u8],
    initial: Option<Bytes>,
) -> Result<Outcome, Hangup> {
    let plain = wire.is_encrypted() || config.allow_plaintext;
    let Some(gate) = &config.gate else { return Ok(Outcome::Denied(Denied::NoMechanism)) };
    let mut login = match Login::start(gate, mechanism, plain) {
        Ok(login) => login,
        Err(denied) => return Ok(Outcome::Denied(denied)),
    };
    let mut message = match initial {
        None => None,
        // An initial response that is there but empty (RFC 4954 §4).
        Some(initial) if initial == "=" => Some(Vec::new()),
        Some(initial) => match BASE64.decode(&initial) {
            Ok(message) => Some(message),
            Err(_) => return Ok(Outcome::Denied(Denied::Failed)),
        },
    };
    loop {
        let (challenge, user) = match login.step(message.as_deref()) {
            Ok(Step::Done(user)) => return Ok(Outcome::User(user)),
            Ok(Step::Last(proof, user)) => (proof, Some(user)),
            Ok(Step::Challenge(challenge)) => (challenge, None),
            Err(denied) => return Ok(Outcome::Denied(denied)),
        };
        wire.say(334, &BASE64.encode(challenge)).await?;
        message = match (wire.sasl().await?, user) {
            (SaslLine::Response(response), Some(user)) if response.is_empty() => {
                return Ok(Outcome::User(user));
            }
            (SaslLine::Response(response), None) => match BASE64.decode(&response) {
                Ok(message) => Some(message),
                Err(_) => return Ok(Outcome::Denied(Denied::Failed)),
            },
            (SaslLine::Cancelled, _) => return Ok(Outcome::Cancelled),
            (SaslLine::Response(_) | SaslLine::Garbled, _) => return Ok(Outcome::Denied(Denied::Failed)),
        };
    }
}
