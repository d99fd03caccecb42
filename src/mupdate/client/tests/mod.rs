//! The link against a master that is played, byte by byte, by the test.

mod following;
mod writes;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{LinkConfig, MasterLink};
use crate::authority::master::LinkEvent;
use crate::authority::write::Write;
use crate::list::{Acl, Location, MailboxName};
use crate::net::secret::Secret;

/// What the link is patient for in these tests, and what we are.
const SILENCE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

const BANNER: &str = "* AUTH \"PLAIN\"\r\n* COMPRESS \"DEFLATE\"\r\n* PARTIAL-UPDATE\r\n\
                      * OK MUPDATE \"mm.test\" \"Cyrus IMAP\" \"3.6.1\" \"(master)\"\r\n";

/// One connection as the master sees it.
struct Conversation {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Conversation {
    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads up to and with `end`; gives back what came, or what there was when the link hung up.
    async fn hear(&mut self, end: &str) -> Result<String, String> {
        let reading = async {
            loop {
                if let Some(at) = self.seen.windows(end.len()).position(|w| w == end.as_bytes()) {
                    let rest = self.seen.split_off(at + end.len());
                    return Ok(String::from_utf8(std::mem::replace(&mut self.seen, rest)).unwrap());
                }
                let mut part = [0; 1024];
                match self.stream.read(&mut part).await {
                    Ok(0) | Err(_) => return Err(String::from_utf8_lossy(&self.seen).into_owned()),
                    Ok(n) => self.seen.extend_from_slice(&part[..n]),
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap_or_else(|_| panic!("the link never said {end:?}"))
    }

    async fn hung_up(&mut self) {
        assert!(self.hear("never said by anybody").await.is_err());
    }
}

/// A master that is not there yet.
struct Stage {
    listener: TcpListener,
    events: mpsc::Receiver<LinkEvent>,
    link: MasterLink,
}

impl Stage {
    async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    async fn start_with(adjust: impl FnOnce(LinkConfig) -> LinkConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (sender, events) = mpsc::channel(16);
        let config = LinkConfig {
            silence: SILENCE,
            connect_deadline: SILENCE,
            ping: Duration::from_millis(100),
            backoff: Duration::from_millis(10),
            backoff_max: Duration::from_millis(50),
            connections: 2,
            ready: 0,
            ..LinkConfig::new(address.to_string(), "murder", Secret::new("secret"))
        };
        Self { listener, events, link: MasterLink::spawn(adjust(config), sender) }
    }

    async fn accept(&self) -> Conversation {
        let (stream, _) = tokio::time::timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
        Conversation { stream, seen: Vec::new() }
    }

    /// A connection that has logged in.
    async fn known(&self) -> Conversation {
        let mut conversation = self.accept().await;
        conversation.say(BANNER).await;
        let said = conversation.hear("=\"\r\n").await.unwrap();
        assert_eq!(said, "A01 AUTHENTICATE \"PLAIN\" \"AG11cmRlcgBzZWNyZXQ=\"\r\n");
        conversation.say("A01 OK \"Authenticated\"\r\n").await;
        conversation
    }

    /// A connection that follows, with one name in the list.
    async fn following(&mut self) -> Conversation {
        let mut conversation = self.known().await;
        conversation.hear("U01 UPDATE\r\n").await.unwrap();
        conversation
            .say("U01 MAILBOX {6+}\r\nuser.a {5+}\r\nbe1!d {5+}\r\na\tlrs\r\nU01 OK \"streaming starts\"\r\n")
            .await;
        assert!(matches!(self.event().await, LinkEvent::Up(_, identity) if identity.servername == "mm.test"));
        assert!(matches!(self.event().await, LinkEvent::Listed(_, list) if list.len() == 1));
        assert!(matches!(self.event().await, LinkEvent::Complete(_)));
        conversation
    }

    async fn event(&mut self) -> LinkEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event").expect("the link lives")
    }

    /// The reason of the next end of a connection; whatever else is told before it must not be `Complete`.
    async fn down(&mut self) -> String {
        loop {
            match self.event().await {
                LinkEvent::Down(_, reason) => return reason,
                LinkEvent::Complete(_) => panic!("a list that was never whole"),
                _ => {}
            }
        }
    }
}

fn delete(name: &str) -> Write {
    Write::Delete { name: MailboxName::new(name.as_bytes()).unwrap() }
}

fn activate(name: &str) -> Write {
    Write::Activate {
        name: MailboxName::new(name.as_bytes()).unwrap(),
        location: Location::new(b"be1!d").unwrap(),
        acl: Acl::new(b"a\tlrs"),
    }
}
