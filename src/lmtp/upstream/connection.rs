//! One connection to a frontend, or to the submission host.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use ravenry_parsers::lmtp::{Capabilities, Reply, ReplyDecoder, ReplyFault, put_line};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::{Hello, UpstreamConfig};
use crate::net::at_once::at_once;
use crate::net::clock::clock_of_session;
use crate::net::sasl::client::{Login, SaslError};
use crate::net::stream::Stream;
use crate::net::tls::server_name;

/// How much is collected before it is written.
const WRITE: usize = 64 << 10;

/// Why a frontend is of no use now.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The network, or TLS.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It hung up.
    #[error("it closed the connection")]
    Closed,
    /// It was too slow to do this.
    #[error("it did not {0} in time")]
    Late(&'static str),
    /// What it sent is not LMTP.
    #[error("{0}")]
    Fault(#[from] ReplyFault),
    /// It said no to something that has nothing to do with any recipient.
    #[error("it answered {what} with {reply}")]
    Refused {
        /// What we had said.
        what: &'static str,
        /// Its words.
        reply: Reply,
    },
    /// The login failed on our side.
    #[error(transparent)]
    Sasl(#[from] SaslError),
    /// TLS is demanded, and it offers none.
    #[error("it does not offer STARTTLS")]
    NoTls,
}

/// A connection that has said LHLO, and logged in where that is wanted.
#[derive(Debug)]
pub(in crate::lmtp) struct Connection {
    stream: Stream,
    input: BytesMut,
    decoder: ReplyDecoder,
    pub(in crate::lmtp) out: BytesMut,
    pub(in crate::lmtp) offers: Capabilities,
    /// What it said to LHLO.
    hello: Vec<u8>,
    /// How long the frontend may take to answer, or to take what it is sent.
    patience: Duration,
}

impl Connection {
    /// Connects to `host:port` and gets ready for MAIL.
    pub(in crate::lmtp) async fn open(address: &str, config: &UpstreamConfig) -> Result<Self, Trouble> {
        let opening = Box::pin(async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let mut connection = Self::over(Stream::Plain(tcp), config.reply_timeout);
            let greeting = connection.reply().await?;
            if greeting.code != 220 {
                return Err(Trouble::Refused { what: "the connection", reply: greeting });
            }
            connection.hello(config).await?;
            if config.tls.is_some() {
                connection = connection.start_tls(address, config).await?;
                connection.hello(config).await?;
            }
            if config.login.is_some() {
                connection.log_in(config).await?;
            }
            Ok(connection)
        });
        tokio::time::timeout(config.connect_timeout, opening).await.unwrap_or(Err(Trouble::Late("let us in")))
    }

    fn over(stream: Stream, patience: Duration) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            decoder: ReplyDecoder::default(),
            out: BytesMut::new(),
            offers: Capabilities::default(),
            hello: Vec::new(),
            patience,
        }
    }

    async fn hello(&mut self, config: &UpstreamConfig) -> Result<(), Trouble> {
        let word = match config.hello {
            Hello::Lhlo => "LHLO",
            Hello::Ehlo => "EHLO",
        };
        let reply = self.ask(word, &[word.as_bytes(), b" ", config.servername.as_bytes()]).await?;
        self.offers = Capabilities::of(&reply);
        self.hello = reply.lines.last().map(|line| line.to_vec()).unwrap_or_default();
        Ok(())
    }

    async fn start_tls(mut self, address: &str, config: &UpstreamConfig) -> Result<Self, Trouble> {
        let Some(tls) = config.tls.clone().filter(|_| self.offers.start_tls) else {
            return Err(Trouble::NoTls);
        };
        self.ask("STARTTLS", &[b"STARTTLS"]).await?;
        // What came behind the 220 in clear could be anybody's: the buffer is thrown away with the old connection.
        let Stream::Plain(tcp) = self.stream else { return Err(Trouble::NoTls) };
        let name = server_name(address).map_err(std::io::Error::other)?;
        let stream = TlsConnector::from(tls).connect(name, tcp).await?;
        Ok(Self::over(Stream::Client(Box::new(stream)), config.reply_timeout))
    }

    async fn log_in(&mut self, config: &UpstreamConfig) -> Result<(), Trouble> {
        let Some((user, password)) = &config.login else { return Ok(()) };
        let mut login = Login::start(&self.offers.auth, user, password)?;
        let initial = BASE64.encode(login.step(None)?);
        let initial = if initial.is_empty() { "=".to_owned() } else { initial };
        put_line(&mut self.out, &[b"AUTH ", login.mechanism().as_bytes(), b" ", initial.as_bytes()]);
        loop {
            let reply = self.reply().await?;
            match reply.code {
                235 => {
                    // With SCRAM the server's proof may come here (RFC 4954 has no place for it but 334; Cyrus
                    // sends a 334 with it, which the loop has answered).
                    return Ok(());
                }
                334 => {
                    let challenge = reply.lines.first().map(|line| BASE64.decode(line));
                    let garbled = || SaslError::Exchange("the challenge is not base64".into());
                    let challenge = challenge.and_then(Result::ok).ok_or_else(garbled)?;
                    let answer = BASE64.encode(login.step(Some(&challenge))?);
                    put_line(&mut self.out, &[answer.as_bytes()]);
                }
                _ => return Err(Trouble::Refused { what: "AUTH", reply }),
            }
        }
    }

    /// Says something that has to be answered with 2xx.
    pub(in crate::lmtp) async fn ask(
        &mut self,
        what: &'static str,
        line: &[&[u8]],
    ) -> Result<Reply, Trouble> {
        put_line(&mut self.out, line);
        let reply = self.reply().await?;
        if reply.is_positive() { Ok(reply) } else { Err(Trouble::Refused { what, reply }) }
    }

    /// Writes what was collected, once there is enough of it.
    pub(in crate::lmtp) async fn write_enough(&mut self) -> Result<(), Trouble> {
        if self.out.len() < WRITE { Ok(()) } else { self.flush().await }
    }

    /// Writes what was collected.
    pub(in crate::lmtp) async fn flush(&mut self) -> Result<(), Trouble> {
        let late = |_| Trouble::Late("take what it was sent");
        while !self.out.is_empty() {
            let written = tokio::time::timeout(self.patience, self.stream.write_buf(&mut self.out)).await;
            if written.map_err(late)?? == 0 {
                return Err(Trouble::Closed);
            }
        }
        Ok(tokio::time::timeout(self.patience, self.stream.flush()).await.map_err(late)??)
    }

    /// The next reply, within the usual patience. What was collected is written first.
    pub(in crate::lmtp) async fn reply(&mut self) -> Result<Reply, Trouble> {
        let until = Instant::now() + self.patience;
        self.reply_until(until).await
    }

    /// The next reply, until then.
    pub(in crate::lmtp) async fn reply_until(&mut self, until: Instant) -> Result<Reply, Trouble> {
        self.flush().await?;
        loop {
            if let Some(reply) = self.decoder.decode(&mut self.input)? {
                return Ok(reply);
            }
            self.input.reserve(4 << 10);
            let read = tokio::time::timeout_at(until, self.stream.read_buf(&mut self.input)).await;
            if read.map_err(|_| Trouble::Late("answer"))?? == 0 {
                return Err(Trouble::Closed);
            }
        }
    }

    /// Whether an idle connection still looks usable: nothing came and nobody hung up.
    pub(in crate::lmtp) async fn is_quiet(&mut self) -> bool {
        self.input.reserve(64);
        at_once(self.stream.read_buf(&mut self.input)).await.is_none() && self.input.is_empty()
    }

    /// The frontend's clock when it greeted, as its LHLO showed it.
    pub(super) fn clock(&self) -> Option<u64> {
        clock_of_session(&self.hello)
    }

    /// When the certificate that it showed ends, in seconds since 1970.
    pub(super) fn certificate_ends(&self) -> Option<u64> {
        self.stream.shown_until()
    }

    /// Says goodbye without waiting for it.
    pub(in crate::lmtp) async fn quit(mut self) {
        put_line(&mut self.out, &[b"QUIT"]);
        self.patience = Duration::from_millis(100);
        let _ = self.flush().await;
    }
}
