//! A frontend that does as it is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use ravenry_parsers::lmtp::{Command, CommandDecoder, CommandEvent, DataDecoder, DataEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where a conversation can go wrong. The numbers count recipients of a message, from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moment {
    Greeting,
    Lhlo,
    Mail,
    Rcpt(usize),
    Data,
    /// After the first bytes of the text.
    Text,
    /// A reply after the text.
    Last(usize),
}

/// How it goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    Close,
    Hang,
    Say(&'static str),
}

/// What it does.
#[derive(Clone, Default)]
pub(super) struct Script {
    pub(super) fault: Option<(Moment, Fault)>,
    /// Only for a sender that is not null: tries go well.
    pub(super) spares_tries: bool,
    pub(super) rcpt: HashMap<&'static str, &'static str>,
    pub(super) last: HashMap<&'static str, &'static str>,
    /// What it offers; the usual where this is empty.
    pub(super) offers: Vec<&'static str>,
    /// It wants a text although it accepted nobody, which RFC 2033 §4.2 forbids.
    pub(super) wants_any_text: bool,
}

/// A message that was delivered: at least one 2xx was said of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Received {
    pub(super) mail: String,
    /// Those that were told 2xx in the end.
    pub(super) to: Vec<String>,
    pub(super) text: Vec<u8>,
}

#[derive(Clone)]
pub(super) struct Frontend {
    pub(super) address: SocketAddr,
    pub(super) script: Arc<Mutex<Script>>,
    pub(super) received: Arc<Mutex<Vec<Received>>>,
    /// Connections that were accepted.
    pub(super) connections: Arc<AtomicUsize>,
    /// The lines of RCPT and DATA, as they came.
    pub(super) lines: Arc<Mutex<Vec<String>>>,
}

impl Frontend {
    pub(super) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let frontend = Self {
            address: listener.local_addr().unwrap(),
            script: Arc::new(Mutex::new(script)),
            received: Arc::default(),
            connections: Arc::default(),
            lines: Arc::default(),
        };
        let serving = frontend.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::Relaxed);
                let script = serving.script.lock().unwrap().clone();
                let conversation = Conversation {
                    tcp,
                    script,
                    frontend: serving.clone(),
                    decoder: CommandDecoder::default(),
                    input: BytesMut::new(),
                };
                tokio::spawn(async move {
                    let _ = conversation.run().await;
                });
            }
        });
        frontend
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

struct Conversation {
    tcp: TcpStream,
    script: Script,
    frontend: Frontend,
    decoder: CommandDecoder,
    input: BytesMut,
}

struct Ended;

impl Conversation {
    /// The reply at a moment, or what happens instead.
    async fn say(&mut self, moment: Moment, null: bool, usual: &str) -> Result<bool, Ended> {
        let fault = self.script.fault.filter(|(at, _)| *at == moment && !(null && self.script.spares_tries));
        let reply = match fault {
            None => usual,
            Some((_, Fault::Say(reply))) => reply,
            Some((_, Fault::Close)) => return Err(Ended),
            Some((_, Fault::Hang)) => std::future::pending().await,
        };
        let line = format!("{reply}\r\n");
        self.tcp.write_all(line.as_bytes()).await.map_err(|_| Ended)?;
        Ok(reply.starts_with('2') || reply.starts_with("354"))
    }

    async fn fill(&mut self) -> Result<(), Ended> {
        match self.tcp.read_buf(&mut self.input).await {
            Ok(0) | Err(_) => Err(Ended),
            Ok(_) => Ok(()),
        }
    }

    async fn run(mut self) -> Result<(), Ended> {
        self.say(Moment::Greeting, false, "220 fake ready").await?;
        let (mut mail, mut to, mut count, mut null) = (String::new(), Vec::new(), 0, true);
        loop {
            let Some(event) = self.decoder.decode(&mut self.input) else {
                self.fill().await?;
                continue;
            };
            let CommandEvent::Command(command) = event else {
                self.say(Moment::Text, true, "500 what?").await?;
                continue;
            };
            match command {
                Command::Lhlo { .. } => {
                    let usual = ["8BITMIME", "PIPELINING", "SIZE 100000000", "IGNOREQUOTA"].to_vec();
                    let offers =
                        if self.script.offers.is_empty() { usual } else { self.script.offers.clone() };
                    let reply =
                        format!("250-fake\r\n250-{}\r\n250 ENHANCEDSTATUSCODES", offers.join("\r\n250-"));
                    self.say(Moment::Lhlo, false, &reply).await?;
                }
                Command::Mail { from, parameters } => {
                    let parameters = String::from_utf8_lossy(parameters.as_bytes()).into_owned();
                    mail = format!("{from} {parameters}").trim().to_owned();
                    null = from.is_null();
                    (to, count) = (Vec::new(), 0);
                    self.say(Moment::Mail, null, "250 2.1.0 ok").await?;
                }
                Command::Rcpt { to: path, parameters } => {
                    let address = String::from_utf8_lossy(path.as_bytes()).into_owned();
                    let parameters = String::from_utf8_lossy(parameters.as_bytes()).into_owned();
                    self.frontend
                        .lines
                        .lock()
                        .unwrap()
                        .push(format!("{path} {parameters}").trim().to_owned());
                    let usual = self.script.rcpt.get(address.as_str()).copied().unwrap_or("250 2.1.5 ok");
                    if self.say(Moment::Rcpt(count), null, usual).await? {
                        to.push(address);
                    }
                    count += 1;
                }
                Command::Data => {
                    self.frontend.lines.lock().unwrap().push("DATA".to_owned());
                    if to.is_empty() && !self.script.wants_any_text {
                        self.say(Moment::Data, null, "503 5.5.1 No recipients").await?;
                    } else if self.say(Moment::Data, null, "354 go ahead").await? {
                        self.text(&mail, &to, null).await?;
                    }
                }
                Command::Quit => {
                    self.say(Moment::Greeting, true, "221 bye").await?;
                    return Err(Ended);
                }
                _ => {
                    self.say(Moment::Greeting, true, "250 2.0.0 ok").await?;
                }
            }
        }
    }

    async fn text(&mut self, mail: &str, to: &[String], null: bool) -> Result<(), Ended> {
        let (mut decoder, mut text) = (DataDecoder::default(), Vec::new());
        loop {
            match decoder.decode(&mut self.input) {
                Some(DataEvent::Chunk(chunk)) => {
                    text.extend_from_slice(&chunk);
                    let fault = self.script.fault.filter(|(at, _)| *at == Moment::Text && !null);
                    match fault {
                        Some((_, Fault::Close)) => return Err(Ended),
                        Some((_, Fault::Hang)) => std::future::pending().await,
                        _ => {}
                    }
                }
                Some(DataEvent::End) => break,
                None => self.fill().await?,
            }
        }
        let mut place = None;
        for (at, address) in to.iter().enumerate() {
            let usual = self.script.last.get(address.as_str()).copied().unwrap_or("250 2.1.5 Success");
            if self.say(Moment::Last(at), null, usual).await? {
                let mut received = self.frontend.received.lock().unwrap();
                let place = *place.get_or_insert_with(|| {
                    received.push(Received { mail: mail.to_owned(), to: Vec::new(), text: text.clone() });
                    received.len() - 1
                });
                received[place].to.push(address.clone());
            }
        }
        Ok(())
    }
}
