//! The face to the murder over loopback, against a real store and a master that is played by the test.

mod abuse;
mod replies;
mod rules;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::{Server, ServerConfig};
use crate::authority::machine::State;
use crate::authority::master::{BoxFuture, LinkEpoch, LinkEvent, Lost, Master, MasterIdentity, MasterReply};
use crate::authority::task::{Authority, Options};
use crate::authority::write::Write;
use crate::list::{Acl, Entry, Location, MailboxName};
use crate::mupdate::peer::Peer;
use crate::net::sasl::server::Gate;
use crate::net::users::{Users, add_user};
use crate::store::{Options as StoreOptions, Store};

/// A master that says yes to everything.
struct Willing;

impl Master for Willing {
    fn send(&self, _: Write, _: Duration) -> BoxFuture<Result<MasterReply, Lost>> {
        Box::pin(async { Ok(MasterReply::Done) })
    }
    fn barrier(&self, _: Duration) -> BoxFuture<Result<(), Lost>> {
        Box::pin(async { Ok(()) })
    }
    fn reconnect(&self) {}
}

/// A served namespace.
struct Stage {
    address: std::net::SocketAddr,
    authority: Authority,
    server: Server,
    _events: mpsc::Sender<LinkEvent>,
    _stop: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

fn name(text: &str) -> MailboxName {
    MailboxName::new(text.as_bytes()).unwrap()
}

fn active(location: &str) -> Entry {
    Entry::active(Location::new(location.as_bytes()).unwrap(), Acl::new(b"anyone\tlrs"))
}

impl Stage {
    async fn start(names: &[(&str, &str)]) -> Self {
        Self::start_with(names, |config| config).await
    }

    async fn start_with(names: &[(&str, &str)], adjust: impl FnOnce(ServerConfig) -> ServerConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let users = dir.path().join("users");
        add_user(&users, "murder", "secret").unwrap();
        let store = Store::open(&dir.path().join("list"), StoreOptions::default()).unwrap();
        let (events, link) = mpsc::channel(64);
        let authority = Authority::spawn(store, Arc::new(Willing), link, Options::default());
        let identity =
            MasterIdentity { servername: "mm.test".into(), version: "3.6.1".into(), role: "(master)".into() };
        let epoch = LinkEpoch(1);
        let listed = names.iter().map(|(n, location)| (name(n), active(location))).collect();
        for event in
            [LinkEvent::Up(epoch, identity), LinkEvent::Listed(epoch, listed), LinkEvent::Complete(epoch)]
        {
            events.send(event).await.unwrap();
        }
        authority.standing().wait_for(|s| s.state == State::Following).await.unwrap();
        let gate = Arc::new(Gate::new(Users::load(&users).unwrap()).unwrap());
        let config = ServerConfig {
            allow_plaintext: true,
            failed_login_delay: Duration::from_millis(1),
            ..ServerConfig::new("ravenry.test", gate)
        };
        let server = Server::new(adjust(config), Arc::new(authority.clone())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = server.clone();
        tokio::spawn(async move { serving.serve(listener, stopped).await });
        Self { address, authority, server, _events: events, _stop: stop, _dir: dir }
    }

    async fn stranger(&self) -> Peer {
        let mut client = Peer::connect(self.address).await;
        client.until("(master)\"\r\n").await;
        client
    }

    async fn client(&self) -> Peer {
        let mut client = self.stranger().await;
        let plain = base64::engine::general_purpose::STANDARD.encode("\0murder\0secret");
        client.say(&format!("A01 AUTHENTICATE \"PLAIN\" {{{}+}}\r\n{plain}\r\n", plain.len())).await;
        client.until("A01 OK \"Authenticated\"\r\n").await;
        client
    }
}
