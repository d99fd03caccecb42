//! A frontend that plays the part of Cyrus's imapd, as far as these tests need it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(super) const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 LITERAL+ ID ENABLE AUTH=PLAIN AUTH=GSSAPI SASL-IR COMPRESS=DEFLATE] fe Cyrus IMAP ready\r\n";

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// As it should.
    Good,
    /// It closes when somebody logs in.
    DiesAtLogin,
    /// It greets as if everybody had logged in already.
    PreAuth,
    /// A PROXY header comes before its greeting; what it names is in its answer to NOOP.
    BehindProxy,
}

/// A stub that runs until it is dropped; then every connection dies.
pub(super) struct Stub {
    pub(super) address: SocketAddr,
    /// Every line that clients have sent, the first byte of the connection's number in front.
    pub(super) heard: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Stub {
    pub(super) async fn start(part: Part) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let hearing = heard.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                sessions.spawn(session(tcp, part, hearing.clone()));
            }
        });
        Self { address, heard, _tasks: tasks }
    }

    pub(super) fn heard(&self, text: &str) -> bool {
        self.heard.lock().unwrap().iter().any(|line| line.contains(text))
    }
}

async fn session(mut tcp: TcpStream, part: Part, heard: Arc<Mutex<Vec<String>>>) {
    let mut named = String::new();
    if part == Part::BehindProxy {
        let mut header = [0; 28];
        tcp.read_exact(&mut header).await.unwrap();
        named = format!("{}.{}.{}.{}", header[16], header[17], header[18], header[19]);
    }
    let (reading, mut writing) = tcp.into_split();
    let mut reading = BufReader::new(reading);
    let greeting = if part == Part::PreAuth { "* PREAUTH welcome\r\n" } else { GREETING };
    if writing.write_all(greeting.as_bytes()).await.is_err() {
        return;
    }
    let mut line = String::new();
    loop {
        line.clear();
        if !matches!(reading.read_line(&mut line).await, Ok(1..)) {
            return;
        }
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
                if part == Part::DiesAtLogin {
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
                format!("{tag} OK Success (no protection)\r\n")
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
            "FETCH" => format!("* 1 FETCH (BODY[] {{11}}\r\nhello world)\r\n{tag} OK Completed {named}\r\n"),
            "CREATE" => format!("{tag} NO no connection to server\r\n"),
            "DIE" => return,
            _ => format!("{tag} OK Completed {named}\r\n"),
        };
        if writing.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
