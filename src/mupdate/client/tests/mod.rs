//! The link against a master that is played, byte by byte, by the test.

mod following;
mod writes;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{LinkConfig, MasterLink};
use crate::authority::master::LinkEvent;
use crate::authority::write::Write;
use crate::list::{Acl, Location, MailboxName};
use crate::mupdate::peer::{PATIENCE, Peer};
use crate::net::secret::Secret;

/// What the link is patient for in these tests.
const SILENCE: Duration = Duration::from_millis(300);

const BANNER: &str = "* AUTH \"PLAIN\"\r\n* COMPRESS \"DEFLATE\"\r\n* PARTIAL-UPDATE\r\n\
                      * OK MUPDATE \"mm.test\" \"Cyrus IMAP\" \"3.6.1\" \"(master)\"\r\n";

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

    async fn accept(&self) -> Peer {
        Peer::accept(&self.listener).await
    }

    /// A connection that has logged in.
    async fn known(&self) -> Peer {
        let mut conversation = self.accept().await;
        conversation.say(BANNER).await;
        let said = conversation.hear("=\"\r\n").await.unwrap();
        assert_eq!(said, "A01 AUTHENTICATE \"PLAIN\" \"AG11cmRlcgBzZWNyZXQ=\"\r\n");
        conversation.say("A01 OK \"Authenticated\"\r\n").await;
        conversation
    }

    /// A connection that follows, with one name in the list.
    async fn following(&mut self) -> Peer {
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
