//! A frontend that plays the part of Cyrus's imapd, as far as these tests need it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::net::stop::until;

pub(super) const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 LITERAL+ ID ENABLE AUTH=PLAIN AUTH=GSSAPI SASL-IR COMPRESS=DEFLATE] fe Cyrus IMAP ready\r\n";

/// How it behaves.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// As it should.
    Good,
    /// It closes when somebody logs in.
    DiesAtLogin,
    /// It greets as if everybody had logged in already.
    PreAuth,
    /// A PROXY header comes before its greeting; what it names is in its answer to NOOP.
    BehindProxy,
    /// TLS from the first byte.
    Imaps(Arc<ServerConfig>),
    /// STARTTLS; somebody in between may add something behind its answer.
    StartTls(Arc<ServerConfig>, &'static str),
}

/// A stub that runs until it is dropped; then every connection dies.
pub(super) struct Stub {
    pub(super) address: SocketAddr,
    /// Every line that clients have sent, the first byte of the connection's number in front.
    pub(super) heard: Heard,
    going: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Stub {
    pub(super) async fn start(part: Part) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Heard::default();
        let hearing = heard.clone();
        let (going, goes) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                sessions.spawn(accepted(tcp, part.clone(), hearing.clone(), goes.clone()));
            }
        });
        Self { address, heard, going, _tasks: tasks }
    }

    /// Hangs, as a process that is stopped does, or goes on.
    pub(super) fn pause(&self, paused: bool) {
        self.going.send_replace(!paused);
    }

    pub(super) fn heard(&self, text: &str) -> bool {
        self.heard.lock().unwrap().iter().any(|line| line.contains(text))
    }
}

type Heard = Arc<Mutex<Vec<String>>>;

/// What comes before IMAP.
async fn accepted(mut tcp: TcpStream, part: Part, heard: Heard, goes: watch::Receiver<bool>) {
    let mut named = String::new();
    match &part {
        Part::BehindProxy => {
            let mut header = [0; 28];
            tcp.read_exact(&mut header).await.unwrap();
            named = format!("{}.{}.{}.{}", header[16], header[17], header[18], header[19]);
        }
        Part::Imaps(tls) => {
            if let Ok(tls) = TlsAcceptor::from(tls.clone()).accept(tcp).await {
                session(tls, GREETING, part, named, heard, goes).await;
            }
            return;
        }
        Part::StartTls(tls, added) => {
            let mut asked = [0; 64];
            tcp.write_all(GREETING.as_bytes()).await.unwrap();
            if tcp.read(&mut asked).await.is_ok_and(|n| asked[..n] == *b"r0 STARTTLS\r\n") {
                tcp.write_all(format!("r0 OK Begin TLS\r\n{added}").as_bytes()).await.unwrap();
                if let Ok(tls) = TlsAcceptor::from(tls.clone()).accept(tcp).await {
                    session(tls, "", part, named, heard, goes).await;
                }
            }
            return;
        }
        Part::Good | Part::DiesAtLogin | Part::PreAuth => {}
    }
    let greeting = if matches!(part, Part::PreAuth) { "* PREAUTH welcome\r\n" } else { GREETING };
    session(tcp, greeting, part, named, heard, goes).await;
}

async fn session(
    stream: impl AsyncRead + AsyncWrite,
    greeting: &str,
    part: Part,
    named: String,
    heard: Heard,
    mut goes: watch::Receiver<bool>,
) {
    let (reading, mut writing) = tokio::io::split(stream);
    let mut reading = BufReader::new(reading);
    until(&mut goes).await;
    if writing.write_all(greeting.as_bytes()).await.is_err() || writing.flush().await.is_err() {
        return;
    }
    let mut line = String::new();
    loop {
        line.clear();
        if !matches!(reading.read_line(&mut line).await, Ok(1..)) {
            return;
        }
        until(&mut goes).await;
        heard.lock().unwrap().push(line.clone());
        let mut words = line.split_whitespace();
        let (tag, verb) =
            (words.next().unwrap_or("*").to_owned(), words.next().unwrap_or("").to_ascii_uppercase());
        let answer = match verb.as_str() {
            "LOGIN" => {
                let mut text = line.clone();
                while let Some(size) = text.trim_end().strip_suffix("+}").and_then(|t| t.rsplit('{').next()) {
                    let mut literal = vec![0; size.parse().unwrap()];
                    reading.read_exact(&mut literal).await.unwrap();
                    heard.lock().unwrap().push(String::from_utf8(literal).unwrap());
                    text.clear();
                    reading.read_line(&mut text).await.unwrap();
                }
                if matches!(part, Part::DiesAtLogin) {
                    return;
                }
                let wrong = heard.lock().unwrap().iter().rev().take(1).any(|secret| secret == "wrong");
                if wrong {
                    format!("{tag} NO Login failed: authentication failure\r\n")
                } else {
                    format!("{tag} OK [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE IDLE] User logged in\r\n")
                }
            }
            "AUTHENTICATE" => {
                if line.split_whitespace().count() < 4 {
                    writing.write_all(b"+ \r\n").await.unwrap();
                    line.clear();
                    reading.read_line(&mut line).await.unwrap();
                    heard.lock().unwrap().push(line.clone());
                }
                if line == "*\r\n" {
                    format!("{tag} BAD Authentication canceled\r\n")
                } else {
                    format!("{tag} OK Success (no protection)\r\n")
                }
            }
            "ID" => format!("* ID (\"name\" \"stub\")\r\n{tag} OK Completed\r\n"),
            "LOGOUT" => {
                let _ = writing
                    .write_all(format!("* BYE LOGOUT received\r\n{tag} OK Completed\r\n").as_bytes())
                    .await;
                return;
            }
            "IDLE" => {
                writing.write_all(b"+ idling\r\n").await.unwrap();
                line.clear();
                reading.read_line(&mut line).await.unwrap();
                heard.lock().unwrap().push(line.clone());
                format!("{tag} OK Completed\r\n")
            }
            "APPEND" => {
                // What waits for a `+` is answered at once.
                let announced = line.trim_end().strip_suffix("+}").and_then(|text| text.rsplit('{').next());
                if let Some(size) = announced.and_then(|size| size.parse().ok()) {
                    let mut literal = vec![0; size];
                    if reading.read_exact(&mut literal).await.is_err() {
                        return;
                    }
                    reading.read_line(&mut line).await.unwrap();
                }
                format!("{tag} OK Completed {named}\r\n")
            }
            "FETCH" => format!("* 1 FETCH (BODY[] {{11}}\r\nhello world)\r\n{tag} OK Completed {named}\r\n"),
            "CREATE" => format!("{tag} NO no connection to server\r\n"),
            "OVERFLOW" => "* 1 FETCH (BODY[] {99999999999999999999}\r\nb OK is this text?\r\n".to_owned(),
            "DIE" => return,
            "CAPABILITY" => {
                format!("* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=SCRAM-SHA-256\r\n{tag} OK Completed\r\n")
            }
            "STARTTLS" => format!("{tag} BAD Unrecognized command\r\n"),
            _ => format!("{tag} OK Completed {named}\r\n"),
        };
        if writing.write_all(answer.as_bytes()).await.is_err() || writing.flush().await.is_err() {
            return;
        }
    }
}
