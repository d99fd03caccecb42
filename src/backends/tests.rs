//! Backends asked under TLS: the password goes to nobody else.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{BackendError, Backends};
use crate::list::MailboxName;
use crate::net::secret::Secret;
use crate::net::tls::testing::{Made, make};
use crate::net::tls::{self, ClientTls};

/// What a stub does about TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offers {
    Nothing,
    StartTls,
    /// The same, with an answer in clear behind the OK.
    StartTlsAndMore,
    AtOnce,
}

/// Every command that a stub was given.
type Heard = Arc<Mutex<Vec<String>>>;

/// A backend that holds `user.alice`.
async fn stub(made: &Made, offers: Offers) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let acceptor = TlsAcceptor::from(tls::Identity::load(&made.certificate, &made.key).unwrap().server());
    let heard = Heard::default();
    let told = heard.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // A client that does not trust us ends it in the middle.
            let _ = converse(client, &acceptor, offers, &told).await;
        }
    });
    (address, heard)
}

async fn converse(
    client: TcpStream,
    acceptor: &TlsAcceptor,
    offers: Offers,
    heard: &Heard,
) -> std::io::Result<()> {
    if offers == Offers::AtOnce {
        let mut client = BufReader::new(acceptor.accept(client).await?);
        client.write_all(b"* OK be1\r\n").await?;
        return answer(&mut client, offers, heard).await.map(drop);
    }
    let mut client = BufReader::new(client);
    client.write_all(b"* OK be1\r\n").await?;
    if answer(&mut client, offers, heard).await? {
        let mut client = BufReader::new(acceptor.accept(client.into_inner()).await?);
        answer(&mut client, offers, heard).await?;
    }
    Ok(())
}

/// Returns whether TLS is to begin.
async fn answer(
    client: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    offers: Offers,
    heard: &Heard,
) -> std::io::Result<bool> {
    loop {
        let mut line = String::new();
        if client.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        let (tag, command) = line.trim().split_once(' ').unwrap_or_default();
        heard.lock().unwrap().push(command.to_owned());
        let said = match command {
            "STARTTLS" if offers == Offers::Nothing => format!("{tag} BAD no\r\n"),
            "STARTTLS" if offers == Offers::StartTlsAndMore => format!("{tag} OK go\r\nr2 OK injected\r\n"),
            "STARTTLS" => format!("{tag} OK go\r\n"),
            "LIST \"\" \"\"" => format!("* LIST () \"/\" \"\"\r\n{tag} OK done\r\n"),
            "LIST \"\" {10+}" => {
                client.read_line(&mut String::new()).await?;
                format!("* LIST () \"/\" user/alice\r\n{tag} OK done\r\n")
            }
            _ => format!("{tag} OK done\r\n"),
        };
        client.write_all(said.as_bytes()).await?;
        if command == "STARTTLS" && offers != Offers::Nothing {
            return Ok(true);
        }
    }
}

fn backends(address: String, tls: ClientTls) -> Backends {
    Backends {
        user: "cyrus".into(),
        password: Secret::new("secret"),
        tls,
        addresses: [("be1.test".to_owned(), address)].into(),
        deadline: Duration::from_secs(10),
    }
}

fn trusting(authority: &Path, offers: Offers) -> ClientTls {
    let client = tls::client(authority).unwrap();
    if offers == Offers::AtOnce { ClientTls::AtOnce(client) } else { ClientTls::StartTls(client) }
}

/// Whether a stub was sent a password.
fn was_told(heard: &Heard) -> bool {
    heard.lock().unwrap().iter().any(|command| command.starts_with("AUTHENTICATE"))
}

#[tokio::test]
async fn a_trusted_backend_is_asked_under_tls() {
    let dir = tempfile::tempdir().unwrap();
    let made = make(dir.path(), "127.0.0.1");
    for offers in [Offers::StartTls, Offers::AtOnce] {
        let (address, heard) = stub(&made, offers).await;
        let mut session =
            backends(address, trusting(&made.authority, offers)).open("be1.test").await.unwrap();
        assert!(session.holds(&MailboxName::new(b"user.alice").unwrap()).await.unwrap());
        assert!(was_told(&heard));
        session.close().await;
    }
}

#[tokio::test]
async fn a_backend_that_is_not_trusted_gets_no_password() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let made = make(dir.path(), "127.0.0.1");
    let (other, misnamed) = (make(elsewhere.path(), "127.0.0.1").authority, tempfile::tempdir().unwrap());
    for offers in [Offers::StartTls, Offers::AtOnce] {
        let (address, heard) = stub(&made, offers).await;
        let error = backends(address, trusting(&other, offers)).open("be1.test").await.unwrap_err();
        assert!(matches!(&error, BackendError::Io { server, .. } if server == "be1.test"), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
        assert!(!was_told(&heard));
    }
    let made = make(misnamed.path(), "be2.test");
    let (address, heard) = stub(&made, Offers::StartTls).await;
    let error = backends(address, trusting(&made.authority, Offers::StartTls)).open("be1.test").await;
    assert!(error.unwrap_err().to_string().contains("certificate"));
    assert!(!was_told(&heard));
}

#[tokio::test]
async fn a_backend_without_starttls_gets_no_password_either() {
    let dir = tempfile::tempdir().unwrap();
    let made = make(dir.path(), "127.0.0.1");
    for (offers, why) in [(Offers::Nothing, "BAD no"), (Offers::StartTlsAndMore, "more than its answer")] {
        let (address, heard) = stub(&made, offers).await;
        let error = backends(address, trusting(&made.authority, offers)).open("be1.test").await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(!was_told(&heard));
    }
}
