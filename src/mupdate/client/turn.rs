//! One TLS handshake at a time with each mupdate (rule 5).
//!
//! Its threads write the sessions that could be resumed to one file without a lock. Two handshakes at once end a mupdate of
//! 3.10 and 3.12 (observed; an assertion of `cyrusdb_twoskip.c` or `mappedfile.c`, exit status 70), and after five such ends its
//! process master starts it no more. So may two connections that end at once, which nobody can prevent: the master has to
//! keep no sessions (`tls_session_timeout: 0`). Even then the first two handshakes must not come together, since both would
//! set up TLS for the whole process.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Held from STARTTLS until the banner under TLS: by then the session was written.
pub(super) type Turn = OwnedMutexGuard<()>;

/// As many as masters and frontends have been configured.
static TURNS: LazyLock<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>> = LazyLock::new(Mutex::default);

/// Waits until nobody else in this process is at it with the mupdate at this address.
pub(super) async fn take(address: &str) -> Turn {
    let turns = || TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    let turn = turns().entry(address.to_owned()).or_default().clone();
    turn.lock_owned().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use crate::mupdate::client::{Connection, LinkConfig, Tls};
    use crate::mupdate::peer::Peer;
    use crate::net::secret::Secret;
    use crate::net::tls::testing::make;
    use crate::net::trust::Trust;

    const BANNER: &str =
        "* AUTH\r\n* STARTTLS\r\n* OK MUPDATE \"mm.test\" \"Cyrus IMAP\" \"3.12.4\" \"(master)\"\r\n";

    #[tokio::test]
    async fn rule_5_two_handshakes_are_never_at_a_master_together() {
        let dir = tempfile::tempdir().unwrap();
        let made = make(dir.path(), "mm.test");
        let tls = Tls::StartTls(Trust::load(&made.authority).unwrap(), "mm.test".try_into().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = LinkConfig { tls, ..LinkConfig::new(address, "murder", Secret::new("secret")) };
        let open = async || {
            let config = config.clone();
            let opening = tokio::spawn(async move { Connection::open(&config).await });
            let mut master = Peer::accept(&listener).await;
            master.say(BANNER).await;
            (master, opening)
        };
        let (mut first, one) = open().await;
        assert!(first.line().await.ends_with("STARTTLS\r\n"));
        let (mut second, other) = open().await;
        let early = tokio::time::timeout(Duration::from_millis(300), second.line()).await;
        assert!(early.is_err(), "both are at it: {early:?}");
        drop(first);
        assert!(second.line().await.ends_with("STARTTLS\r\n"));
        drop(second);
        assert!(one.await.unwrap().is_err() && other.await.unwrap().is_err());
    }
}
