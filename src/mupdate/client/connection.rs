//! One authenticated connection to a MUPDATE server.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use ravenry_parsers::mupdate::{
    CommandBody, ReplyDecoder, ReplyFault, ReplyLimits, SaslServerLine, ServerLine, Status, put_command,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{LinkConfig, turn};
use crate::authority::master::MasterIdentity;
use crate::list::{Acl, Entry, Location, LocationError, MailboxName};
use crate::net::sasl::client::{Login, SaslError};
use crate::net::stream::{Stream, probe};
use crate::net::trust::Trust;

/// Whether the link to the master is under TLS.
#[derive(Clone, Default)]
pub enum Tls {
    /// Never.
    #[default]
    Off,
    /// STARTTLS before the login, or no login at all; the certificate must be for this name.
    StartTls(Trust, ServerName<'static>),
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("Off"),
            Self::StartTls(_, name) => write!(f, "StartTls({name:?})"),
        }
    }
}

/// Why a connection cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The network, or the other host, ended it.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// What it sent is not MUPDATE.
    #[error("{0}")]
    Fault(#[from] ReplyFault),
    /// It said something other than the protocol has in this place.
    #[error("the server answered {what} with {said}")]
    Unexpected {
        /// What we had said.
        what: &'static str,
        /// What it said.
        said: String,
    },
    /// It refused our login.
    #[error("the server refused the login of {user}: {text}")]
    Refused {
        /// Who we said we are.
        user: String,
        /// Its words.
        text: String,
    },
    /// The login failed on our side.
    #[error(transparent)]
    Sasl(#[from] SaslError),
    /// TLS is demanded, and the server offers none.
    #[error("the server does not offer STARTTLS")]
    NoTls,
    /// It says nothing.
    #[error("no answer for {} ms", .0.as_millis())]
    Silent(Duration),
    /// TLS is demanded, and would crash it.
    #[error(
        "the server is Cyrus {version}, which crashes when a connection under TLS ends: use SCRAM without \
         tls_ca_file, or a tunnel (from 3.10 it does not)"
    )]
    FragileTls {
        /// What its banner says.
        version: String,
    },
    /// Its list does not say which server holds a mailbox.
    #[error("{name} is at {location:?} there, which names no server")]
    NoServer {
        /// The mailbox.
        name: String,
        /// What is in the place of `server!partition`.
        location: String,
    },
    /// It is a slave of another server.
    #[error("{servername} is not a master, but a slave: {role}")]
    NotMaster {
        /// Its name.
        servername: String,
        /// What its banner says.
        role: String,
    },
}

struct Banner {
    identity: MasterIdentity,
    mechanisms: Vec<String>,
    starttls: bool,
}

/// An authenticated connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    input: BytesMut,
    decoder: ReplyDecoder,
    identity: MasterIdentity,
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How often a quiet master's host is probed.
const PROBED_EVERY: Duration = Duration::from_secs(1);

impl Connection {
    /// Connects, checks who answers, and logs in. The caller sets the deadline.
    pub async fn open(config: &LinkConfig) -> Result<Self, LinkError> {
        let tcp = TcpStream::connect(&config.address).await?;
        tcp.set_nodelay(true)?;
        probe(&tcp, PROBED_EVERY)?;
        let mut connection = Self {
            stream: Stream::Plain(tcp),
            input: BytesMut::with_capacity(4096),
            decoder: ReplyDecoder::new(ReplyLimits::default()),
            identity: MasterIdentity {
                servername: String::new(),
                version: String::new(),
                role: String::new(),
            },
        };
        let mut banner = connection.banner().await?;
        if let Tls::StartTls(trust, name) = &config.tls {
            if !banner.starttls {
                return Err(LinkError::NoTls);
            }
            if tls_crashes(&banner.identity.version) {
                return Err(LinkError::FragileTls { version: banner.identity.version });
            }
            let _turn = turn::take(&config.address).await;
            connection = connection.start_tls(trust.clone(), name.clone()).await?;
            banner = connection.banner().await?;
        }
        connection.identity = banner.identity;
        connection.log_in(&banner.mechanisms, config).await?;
        Ok(connection)
    }

    /// From now on the connection is reset when it is given up, so that what the server has not taken yet never
    /// reaches it.
    pub fn reset_when_dropped(&self) -> Result<(), LinkError> {
        Ok(self.stream.tcp().map_or(Ok(()), TcpStream::set_zero_linger)?)
    }

    /// When the certificate that the server showed ends, in seconds since 1970.
    pub fn certificate_ends(&self) -> Option<u64> {
        self.stream.shown_until()
    }

    /// What the server said of itself.
    pub fn identity(&self) -> &MasterIdentity {
        &self.identity
    }

    async fn banner(&mut self) -> Result<Banner, LinkError> {
        let (mut mechanisms, mut starttls) = (Vec::new(), false);
        loop {
            match self.line().await? {
                ServerLine::Mechanisms(names) => mechanisms = names.iter().map(text).collect(),
                ServerLine::StartTls => starttls = true,
                ServerLine::Compress | ServerLine::PartialUpdate | ServerLine::OtherCapability(_) => {}
                ServerLine::Banner { servername, version, role, .. } => {
                    let identity = MasterIdentity {
                        servername: text(&servername),
                        version: text(&version),
                        role: text(&role),
                    };
                    return Ok(Banner { identity, mechanisms, starttls });
                }
                other => return Err(unexpected("a connection", &other)),
            }
        }
    }

    async fn start_tls(mut self, trust: Trust, name: ServerName<'static>) -> Result<Self, LinkError> {
        self.command(b"T01", &CommandBody::StartTls).await?;
        match self.line().await? {
            // What came behind the OK in clear could be anybody's: the buffer is thrown away.
            ServerLine::Status { status: Status::Ok, .. } => self.input.clear(),
            other => return Err(unexpected("STARTTLS", &other)),
        }
        let Stream::Plain(tcp) = self.stream else { return Err(LinkError::NoTls) };
        let stream = trust.connect(name, tcp).await?;
        Ok(Self { stream: Stream::Client(Box::new(stream)), ..self })
    }

    async fn log_in(&mut self, mechanisms: &[String], config: &LinkConfig) -> Result<(), LinkError> {
        let mut login = Login::start(mechanisms, &config.user, &config.password)?;
        let initial = BASE64.encode(login.step(None)?);
        let body = CommandBody::Authenticate {
            mechanism: Bytes::from_static(login.mechanism().as_bytes()),
            initial: Some(initial.into()),
        };
        self.command(b"A01", &body).await?;
        let garbled = |_| SaslError::Exchange("the challenge is not base64".into());
        loop {
            match self.sasl_line().await? {
                SaslServerLine::Challenge(challenge) => {
                    let challenge = BASE64.decode(&challenge).map_err(garbled)?;
                    let mut answer = BASE64.encode(login.step(Some(&challenge))?);
                    answer.push_str("\r\n");
                    self.write(answer.as_bytes()).await?;
                }
                SaslServerLine::Done { status: Status::Ok, .. } => return Ok(()),
                SaslServerLine::Done { text: said, .. } => {
                    return Err(LinkError::Refused { user: config.user.clone(), text: text(&said) });
                }
            }
        }
    }

    /// The first entry of its list, if it has any: whether its list is one that we understand. What follows is not waited
    /// for, so that the connection is of no further use.
    pub async fn first_entry(mut self) -> Result<Option<(MailboxName, Entry)>, LinkError> {
        self.command(b"U01", &CommandBody::Update { hosts: Vec::new() }).await?;
        match self.line().await? {
            ServerLine::Mailbox { mailbox, location, acl, .. } => {
                entry_of(&mailbox, &location, Some(&acl)).map(Some)
            }
            ServerLine::Reserve { mailbox, location, .. } => entry_of(&mailbox, &location, None).map(Some),
            ServerLine::Status { status: Status::Ok, .. } => Ok(None),
            other => Err(unexpected("UPDATE", &other)),
        }
    }

    /// Sends one command.
    pub async fn command(&mut self, tag: &[u8], body: &CommandBody) -> Result<(), LinkError> {
        let mut out = BytesMut::new();
        put_command(&mut out, tag, body);
        self.write(&out).await
    }

    /// Sends bytes, in one segment where they fit.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next line that is already here, without waiting.
    pub fn buffered_line(&mut self) -> Result<Option<ServerLine>, LinkError> {
        Ok(self.decoder.decode(&mut self.input)?)
    }

    /// Waits for more bytes. Cancelling it loses none.
    pub async fn fill(&mut self) -> Result<usize, LinkError> {
        self.input.reserve(64 << 10);
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(LinkError::Closed),
            n => Ok(n),
        }
    }

    /// Waits for the next line. Cancelling it loses none.
    pub async fn line(&mut self) -> Result<ServerLine, LinkError> {
        loop {
            if let Some(line) = self.buffered_line()? {
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    async fn sasl_line(&mut self) -> Result<SaslServerLine, LinkError> {
        loop {
            if let Some(line) = self.decoder.decode_sasl(&mut self.input)? {
                return Ok(line);
            }
            self.fill().await?;
        }
    }
}

/// Rule 5: a mupdate of 3.2 or 3.6 dies when the second connection under TLS ends, however that ends; 3.10 and
/// 3.12 do not (observed; what is between has not been tried), as long as there is only one handshake at a time.
fn tls_crashes(version: &str) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(2), _) => true,
        (Some(3), Some(minor)) => minor < 10,
        _ => false,
    }
}

pub(super) fn unexpected(what: &'static str, line: &ServerLine) -> LinkError {
    let said = match line {
        ServerLine::Status { status, text: said, .. } => format!("{status} \"{}\"", text(said)),
        other => format!("{other:?}").chars().take(200).collect(),
    };
    LinkError::Unexpected { what, said }
}

/// A line that cannot be a list entry means that the other side is not what we think, or that we would lose a
/// name: the stream ends, and nothing of it is believed.
pub(super) fn entry_of(
    mailbox: &[u8],
    location: &[u8],
    acl: Option<&[u8]>,
) -> Result<(MailboxName, Entry), LinkError> {
    let bad = |why: &dyn std::fmt::Display| LinkError::Unexpected {
        what: "UPDATE",
        said: format!("{:?}: {why}", String::from_utf8_lossy(mailbox)),
    };
    let name = name_of(mailbox)?;
    let location = Location::new(location).map_err(|error| match error {
        LocationError::NoServer => LinkError::NoServer {
            name: name.to_string(),
            location: String::from_utf8_lossy(location).into_owned(),
        },
        other => bad(&other),
    })?;
    Ok(match acl {
        Some(acl) => (name, Entry::active(location, Acl::new(acl))),
        None => (name, Entry::reserved(location)),
    })
}

/// As [`entry_of`], for a line that has only a name.
pub(super) fn name_of(mailbox: &[u8]) -> Result<MailboxName, LinkError> {
    MailboxName::new(mailbox).map_err(|error| LinkError::Unexpected {
        what: "UPDATE",
        said: format!("{:?}: {error}", String::from_utf8_lossy(mailbox)),
    })
}
