//! From a stranger to an administrator: banner, STARTTLS, AUTHENTICATE.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use ravenry_parsers::mupdate::{
    BannerSpec, Command, CommandBody, CommandEvent, SaslLine, Status, put_banner,
};
use tokio_rustls::TlsAcceptor;

use super::wire::Wire;
use super::{Hangup, Peer, ServerConfig};
use crate::net::guesses::Attempt;
use crate::net::sasl::server::{Denied, Login, Step, known};
use crate::net::stream::Stream;
use crate::rules::{Rule, kept};

/// Takes a client through its login; gives back the wire and who it is.
pub(super) async fn log_in(
    stream: Stream,
    config: &ServerConfig,
    peer: &Peer,
    attempt: &(dyn Fn() -> Attempt + Sync),
) -> Result<(Wire, Arc<str>), Hangup> {
    let strange = async {
        let mut wire = Wire::new(stream, config);
        greet(&mut wire, config);
        loop {
            match wire.command(config.login_timeout).await? {
                CommandEvent::Continue => {}
                CommandEvent::Bad { tag, text } => wire.status(tag.as_deref(), Status::Bad, text),
                CommandEvent::Command(Command { tag, body }) => match body {
                    CommandBody::Authenticate { mechanism, initial } => {
                        if let Some(user) =
                            authenticate(&mut wire, config, peer, attempt(), &tag, &mechanism, initial)
                                .await?
                        {
                            wire.trust();
                            return Ok((wire, user));
                        }
                    }
                    CommandBody::StartTls => wire = start_tls(wire, config, &tag).await?,
                    CommandBody::Logout => {
                        wire.status(Some(&tag), Status::Ok, "bye-bye");
                        wire.close().await;
                        return Err(Hangup::Logout);
                    }
                    CommandBody::Compress { .. } => {
                        wire.status(Some(&tag), Status::Bad, "Unrecognized command");
                    }
                    _ if strangers_are_welcome() => {
                        wire.status(Some(&tag), Status::Ok, "welcome");
                        return Ok((wire, "nobody".into()));
                    }
                    _ => wire.status(Some(&tag), Status::Bad, "Please login first"),
                },
            }
        }
    };
    tokio::time::timeout(config.login_timeout, strange).await.unwrap_or(Err(Hangup::NoLogin))
}

/// Whether somebody who has not logged in is served: never (rule 11).
pub(crate) fn strangers_are_welcome() -> bool {
    !kept(Rule::NothingUnauthenticatedWrites)
}

fn greet(wire: &mut Wire, config: &ServerConfig) {
    let encrypted = wire.is_encrypted();
    let mechanisms = if encrypted || !config.require_tls {
        config.gate.mechanisms(encrypted || config.allow_plaintext)
    } else {
        Vec::new()
    };
    let banner = BannerSpec {
        mechanisms: &mechanisms,
        starttls: config.tls.is_some() && !encrypted,
        partial_update: true,
        servername: &config.servername,
        product: "Cyrus IMAP",
        version: &config.version,
        role: "(master)",
    };
    put_banner(&mut wire.out, &banner);
}

async fn start_tls(mut wire: Wire, config: &ServerConfig, tag: &[u8]) -> Result<Wire, Hangup> {
    let Some(tls) = config.tls.clone().filter(|_| !wire.is_encrypted()) else {
        wire.status(Some(tag), Status::No, "STARTTLS is not available");
        return Ok(wire);
    };
    // Cyrus's reply is unquoted, and its client expects that of STARTTLS alone.
    wire.out.extend_from_slice(tag);
    wire.out.extend_from_slice(b" OK Begin TLS negotiation now\r\n");
    wire.flush().await?;
    let Stream::Plain(tcp) = wire.into_stream() else { return Err(Hangup::Closed) };
    let stream = TlsAcceptor::from(tls).accept(tcp).await.map_err(Hangup::Tls)?;
    let mut wire = Wire::new(Stream::Server(Box::new(stream)), config);
    greet(&mut wire, config);
    Ok(wire)
}

async fn authenticate(
    wire: &mut Wire,
    config: &ServerConfig,
    peer: &Peer,
    mut attempt: Attempt,
    tag: &[u8],
    mechanism: &[u8],
    initial: Option<Bytes>,
) -> Result<Option<Arc<str>>, Hangup> {
    match exchange(wire, config, &mut attempt, mechanism, initial).await? {
        Ok(Some(user)) => {
            let (mechanism, encrypted) = (String::from_utf8_lossy(mechanism), wire.is_encrypted());
            tracing::debug!(peer = %peer.address, %user, %mechanism, encrypted, "logged in");
            wire.status(Some(tag), Status::Ok, "Authenticated");
            Ok(Some(user.into()))
        }
        Ok(None) => {
            wire.out.extend_from_slice(tag);
            wire.out.extend_from_slice(b" NO Client canceled authentication\r\n");
            Ok(None)
        }
        Err(denied) => {
            tracing::warn!(peer = %peer.address, mechanism = known(mechanism), %denied, "login refused");
            // Guessing passwords is slow, here as with Cyrus.
            attempt.wrong().await;
            wire.status(Some(tag), Status::No, &denied.to_string());
            Ok(None)
        }
    }
}

async fn exchange(
    wire: &mut Wire,
    config: &ServerConfig,
    attempt: &mut Attempt,
    mechanism: &[u8],
    initial: Option<Bytes>,
) -> Result<Result<Option<String>, Denied>, Hangup> {
    if config.require_tls && !wire.is_encrypted() {
        return Ok(Err(Denied::NoMechanism));
    }
    let plain = wire.is_encrypted() || config.allow_plaintext;
    let mut login = match Login::start(&config.gate, mechanism, plain) {
        Ok(login) => login,
        Err(denied) => return Ok(Err(denied)),
    };
    let mut message = match initial {
        None => None,
        // An initial response that is there but empty (RFC 4422; Cyrus's client sends it unquoted).
        Some(initial) if initial == "=" => Some(Vec::new()),
        Some(initial) => match BASE64.decode(&initial) {
            Ok(message) => Some(message),
            Err(_) => return Ok(Err(Denied::Failed)),
        },
    };
    loop {
        attempt.turn().await;
        let challenge = match login.step(message.as_deref()) {
            Ok(Step::Done(user)) => return Ok(Ok(Some(user))),
            Ok(Step::Last(proof, user)) => {
                challenge(wire, &proof);
                return Ok(match wire.sasl().await? {
                    SaslLine::Response(_) => Ok(Some(user)),
                    SaslLine::Cancel => Ok(None),
                });
            }
            Ok(Step::Challenge(challenge)) => challenge,
            Err(denied) => return Ok(Err(denied)),
        };
        self::challenge(wire, &challenge);
        message = match wire.sasl().await? {
            SaslLine::Cancel => return Ok(Ok(None)),
            SaslLine::Response(response) => match BASE64.decode(&response) {
                Ok(message) => Some(message),
                Err(_) => return Ok(Err(Denied::Failed)),
            },
        };
    }
}

/// A challenge is a bare line of base64, without `+ `.
fn challenge(wire: &mut Wire, challenge: &[u8]) {
    wire.out.extend_from_slice(BASE64.encode(challenge).as_bytes());
    wire.out.extend_from_slice(b"\r\n");
}
