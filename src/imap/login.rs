//! From a stranger to a session: greeting, STARTTLS, LOGIN and AUTHENTICATE.
//!
//! The client talks to us until it logs in; only then a frontend is asked, and another one if that fails. So
//! frontends may come and go while clients are connecting, and strangers cost them nothing.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use ravenry_parsers::imap::{
    CapabilityFilter, Command, CommandBody, Condition, ReplyHead, ServerEvent, ServerFramer, Verb,
};

use super::conversation::Conversation;
use super::frontends::{Greeted, Lease};
use super::relay::Relay;
use super::wire::{Whole, Wire, WireError};
use super::{Hangup, Shared};
use crate::net::stream::Stream;
use crate::telemetry::metric::Metric;

/// The mechanisms that pass. Others negotiate a layer that would hide the session from us (GSSAPI, DIGEST-MD5),
/// or bind to our TLS instead of the frontend's (those named `-PLUS`).
const MECHANISMS: [&str; 8] = [
    "PLAIN",
    "LOGIN",
    "SCRAM-SHA-1",
    "SCRAM-SHA-256",
    "SCRAM-SHA-384",
    "SCRAM-SHA-512",
    "OAUTHBEARER",
    "XOAUTH2",
];

/// Those that show a secret to whoever listens.
const CLEAR: [&str; 4] = ["PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"];

/// The longest answer of a frontend to a login.
const MAX_ANSWER: usize = 64 << 10;

/// Somebody who is logged in.
pub(super) struct LoggedIn {
    /// On the heap: whoever hands it on would else be as large as it is, and be so for the rest of the session's life.
    pub(super) relay: Box<Relay>,
    pub(super) lease: Lease,
    /// Who, where the login shows it.
    pub(super) user: Option<Vec<u8>>,
}

/// A login under way.
struct Login<'a> {
    shared: &'a Shared,
    wire: Wire,
    peer: SocketAddr,
    frontend: Option<Greeted>,
}

/// Takes a client through its login.
pub(super) async fn log_in(shared: &Shared, stream: Stream, peer: SocketAddr) -> Result<LoggedIn, Hangup> {
    let mut login = Login { shared, wire: Wire::new(stream), peer, frontend: None };
    let Some(greeting) = login.greeting() else {
        login.wire.close(format!("* BYE {UNAVAILABLE}\r\n").as_bytes()).await;
        return Err(Hangup::NoFrontend);
    };
    let greeted = async {
        login.wire.send(&greeting).await?;
        login.run().await
    };
    let patience = shared.config.login_timeout;
    match tokio::time::timeout(patience, greeted).await {
        Ok(Ok(Some(logged_in))) => {
            let Login { wire, .. } = login;
            let LoggedInAt { frontend, answer, user } = logged_in;
            let (Some(client), Some(server)) = (wire.into_parts(), frontend.wire.into_parts()) else {
                return Err(WireError::Closed.into());
            };
            let conversation = Conversation::new(shared.config.mark_unavailable);
            let relay = Box::new(Relay::new(client, server, answer, conversation, shared.traffic.clone()));
            Ok(LoggedIn { relay, lease: frontend.lease, user })
        }
        Ok(Ok(None)) => {
            login.wire.close(b"").await;
            Err(Hangup::Logout)
        }
        Ok(Err(error @ (WireError::Fault(_) | WireError::TooLong))) => {
            login.wire.close(format!("* BYE {error}\r\n").as_bytes()).await;
            Err(error.into())
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            login.wire.close(b"* BYE No login in time\r\n").await;
            Err(WireError::Silent(patience).into())
        }
    }
}

struct LoggedInAt {
    frontend: Greeted,
    answer: BytesMut,
    user: Option<Vec<u8>>,
}

/// What a frontend said to a login.
enum Said {
    Ok(BytesMut),
    No(BytesMut),
}

impl Login<'_> {
    /// The frontends' own greeting, with our capabilities.
    fn greeting(&self) -> Option<BytesMut> {
        let theirs = self.shared.frontends.greeting()?;
        let mut out = BytesMut::new();
        self.filter(&theirs).put_reply(&mut out, &theirs);
        Some(out)
    }

    fn tls_offered(&self) -> bool {
        self.shared.tls.is_some() && !self.wire.is_encrypted()
    }

    fn may_show_secrets(&self) -> bool {
        self.wire.is_encrypted() || self.shared.config.allow_plaintext
    }

    fn mechanisms(&self, theirs: &[u8]) -> Vec<&'static str> {
        let offered = |mechanism: &str| {
            let word = [b"AUTH=", mechanism.as_bytes()].concat();
            theirs.split(|byte| matches!(byte, b' ' | b']')).any(|w| w.eq_ignore_ascii_case(&word))
        };
        let allowed = |mechanism: &&str| self.may_show_secrets() || !CLEAR.contains(mechanism);
        MECHANISMS.into_iter().filter(|mechanism| offered(mechanism)).filter(allowed).collect()
    }

    fn filter(&self, theirs: &[u8]) -> CapabilityFilter {
        let mut added: Vec<&'static str> = Vec::new();
        let auth = self.mechanisms(theirs);
        added.extend(AUTH.iter().filter(|(mechanism, _)| auth.contains(mechanism)).map(|(_, word)| *word));
        if self.tls_offered() {
            added.push("STARTTLS");
        }
        if !self.may_show_secrets() {
            added.push("LOGINDISABLED");
        }
        CapabilityFilter::before_login(added)
    }

    async fn run(&mut self) -> Result<Option<LoggedInAt>, WireError> {
        loop {
            let command = self.wire.command().await?;
            let tag = command.tag.as_slice();
            match command.verb {
                Verb::Capability => {
                    let mut out = BytesMut::from(&b"* CAPABILITY "[..]);
                    let greeting = self.shared.frontends.greeting().unwrap_or_default();
                    self.filter(&greeting).put(&mut out, capabilities(&greeting));
                    out.extend_from_slice(b"\r\n");
                    out.extend_from_slice(&tagged(tag, "OK Completed"));
                    self.wire.send(&out).await?;
                }
                Verb::Noop => self.answer(tag, "OK Completed").await?,
                Verb::Logout => {
                    self.wire.send(b"* BYE LOGOUT received\r\n").await?;
                    self.answer(tag, "OK Completed").await?;
                    return Ok(None);
                }
                Verb::StartTls => self.start_tls(tag).await?,
                Verb::Login if !self.may_show_secrets() => {
                    self.answer(tag, "NO [PRIVACYREQUIRED] Login only available under a layer").await?;
                }
                Verb::Login => {
                    if let Some(logged_in) = self.login(&command).await? {
                        return Ok(Some(logged_in));
                    }
                }
                Verb::Authenticate => {
                    if let Some(logged_in) = self.authenticate(&command).await? {
                        return Ok(Some(logged_in));
                    }
                }
                Verb::Id => self.forward(&command).await?,
                _ if command.tag.is_empty() => self.wire.send(b"* BAD Invalid tag\r\n").await?,
                _ => self.answer(tag, "BAD Please login first").await?,
            }
        }
    }

    async fn unavailable(&mut self, tag: &[u8]) -> Result<(), WireError> {
        self.answer(tag, &format!("NO {UNAVAILABLE}")).await
    }

    async fn answer(&mut self, tag: &[u8], text: &str) -> Result<(), WireError> {
        self.wire.send(&tagged(tag, text)).await
    }

    async fn start_tls(&mut self, tag: &[u8]) -> Result<(), WireError> {
        let Some(tls) = self.shared.tls.clone().filter(|_| self.tls_offered()) else {
            return self.answer(tag, "BAD Unrecognized command").await;
        };
        self.answer(tag, "OK Begin TLS negotiation now").await?;
        self.frontend = None;
        self.wire.start_tls(tls).await
    }

    /// ID tells who serves the client: the frontend does.
    async fn forward(&mut self, command: &Whole) -> Result<(), WireError> {
        let mut tried = Vec::new();
        while let Some(mut frontend) = self.frontend(&mut tried).await {
            if frontend.wire.send(&command.bytes).await.is_ok()
                && let Some(Said::Ok(answer) | Said::No(answer)) =
                    self.answered(&mut frontend, &command.tag).await
            {
                self.frontend = Some(frontend);
                return self.wire.send(&answer).await;
            }
        }
        self.unavailable(&command.tag).await
    }

    /// The frontend that is being talked to, or another one.
    async fn frontend(&mut self, tried: &mut Vec<String>) -> Option<Greeted> {
        match self.frontend.take() {
            Some(frontend) => Some(frontend),
            None => self.shared.frontends.connect(self.peer, tried).await.ok(),
        }
    }

    async fn login(&mut self, command: &Whole) -> Result<Option<LoggedInAt>, WireError> {
        let Some(Command { body: CommandBody::Login { user, password }, .. }) =
            Command::parse(&command.bytes)
        else {
            self.answer(&command.tag, "BAD Invalid user name or password").await?;
            return Ok(None);
        };
        // Without waiting for `+`: one round trip, and nothing to lose half-way (LITERAL+, in every Cyrus).
        let mut request = BytesMut::from(command.tag.as_slice());
        request.extend_from_slice(b" LOGIN");
        for argument in [&user, &password] {
            request.extend_from_slice(format!(" {{{}+}}\r\n", argument.len()).as_bytes());
            request.extend_from_slice(argument);
        }
        request.extend_from_slice(b"\r\n");
        let mut tried = Vec::new();
        while let Some(mut frontend) = self.frontend(&mut tried).await {
            if frontend.wire.send(&request).await.is_err() {
                continue;
            }
            match self.answered(&mut frontend, &command.tag).await {
                Some(Said::Ok(answer)) => {
                    count(DONE);
                    return Ok(Some(LoggedInAt { frontend, answer, user: Some(user.into_owned()) }));
                }
                Some(Said::No(answer)) => {
                    self.frontend = Some(frontend);
                    count(REFUSED);
                    self.wire.send(&answer).await?;
                    return Ok(None);
                }
                None => {}
            }
        }
        count(NOBODY);
        self.unavailable(&command.tag).await?;
        Ok(None)
    }

    async fn authenticate(&mut self, command: &Whole) -> Result<Option<LoggedInAt>, WireError> {
        let parsed = Command::parse(&command.bytes);
        let Some(Command { body: CommandBody::Authenticate { mechanism, initial }, .. }) = parsed else {
            self.answer(&command.tag, "BAD Missing authentication mechanism").await?;
            return Ok(None);
        };
        let greeting = self.shared.frontends.greeting().unwrap_or_default();
        let known = self
            .mechanisms(&greeting)
            .into_iter()
            .find(|known| mechanism.eq_ignore_ascii_case(known.as_bytes()));
        let Some(mechanism) = known else {
            self.answer(&command.tag, "NO no mechanism available").await?;
            return Ok(None);
        };
        let mut user = initial.and_then(|initial| identity(mechanism, initial));
        let mut tried = Vec::new();
        while let Some(mut frontend) = self.frontend(&mut tried).await {
            if frontend.wire.send(&command.bytes).await.is_err() {
                continue;
            }
            let mut answered = false;
            let said = loop {
                let line = match self.patiently(frontend.wire.line()).await {
                    Some(line) => line,
                    None => break None,
                };
                if !line.starts_with(b"+") {
                    break self.rest(&mut frontend, &command.tag, line).await;
                }
                self.wire.send(&line).await?;
                let response = self.wire.line().await?;
                user = user.or_else(|| identity(mechanism, response.trim_ascii()));
                answered = true;
                if frontend.wire.send(&response).await.is_err() {
                    break None;
                }
            };
            match said {
                Some(Said::Ok(answer)) => {
                    count(DONE);
                    return Ok(Some(LoggedInAt { frontend, answer, user }));
                }
                Some(Said::No(answer)) => {
                    self.frontend = Some(frontend);
                    count(REFUSED);
                    self.wire.send(&answer).await?;
                    return Ok(None);
                }
                None => self.shared.frontends.suspect(frontend.lease.address(), "lost during a login"),
            }
            if answered {
                break; // the client's answer was for that frontend's challenge
            }
        }
        count(NOBODY);
        self.unavailable(&command.tag).await?;
        Ok(None)
    }

    /// Everything that the frontend says up to the end of a command; `None` when it is lost.
    async fn answered(&self, frontend: &mut Greeted, tag: &[u8]) -> Option<Said> {
        let said = match self.patiently(frontend.wire.line()).await {
            Some(line) => self.rest(frontend, tag, line).await,
            None => None,
        };
        if said.is_none() {
            self.shared.frontends.suspect(frontend.lease.address(), "lost during a login");
        }
        said
    }

    async fn rest(&self, frontend: &mut Greeted, tag: &[u8], first: BytesMut) -> Option<Said> {
        let (mut answer, mut line) = (BytesMut::new(), first);
        loop {
            let mut input: &[u8] = &line;
            let head = ServerFramer::default().next(&mut input).ok()?;
            let Some(ServerEvent::Begin(head)) = head else { return None };
            let (done, condition) = match head {
                ReplyHead::Status { condition: Condition::Bye, .. } => return None,
                ReplyHead::Status { tag: Some(ended), condition, .. } => (ended == tag, Some(condition)),
                _ => (false, None),
            };
            let filter = match (done, condition) {
                (true, Some(Condition::Ok)) | (false, _) => CapabilityFilter::after_login(),
                (true, _) => self.filter(&line),
            };
            filter.put_reply(&mut answer, &line);
            match condition {
                Some(Condition::Ok) if done => return Some(Said::Ok(answer)),
                _ if done => return Some(Said::No(answer)),
                _ if answer.len() > MAX_ANSWER => return None,
                _ => line = self.patiently(frontend.wire.line()).await?,
            }
        }
    }

    /// A frontend that does not answer in time is as good as gone; a wrong password takes Cyrus three seconds.
    async fn patiently<T>(&self, answer: impl Future<Output = Result<T, WireError>>) -> Option<T> {
        tokio::time::timeout(self.shared.config.frontend_login_timeout, answer).await.ok()?.ok()
    }
}

/// How logins end, in the words of the metrics.
const DONE: &str = "done";
const REFUSED: &str = "refused";
const NOBODY: &str = "unavailable";

fn count(outcome: &'static str) {
    Metric::ImapLogins.count_for(&[("outcome", outcome)], 1);
}

const UNAVAILABLE: &str = "[UNAVAILABLE] The mail system is not available right now, try again later";

const AUTH: [(&str, &str); 8] = [
    ("PLAIN", "AUTH=PLAIN"),
    ("LOGIN", "AUTH=LOGIN"),
    ("SCRAM-SHA-1", "AUTH=SCRAM-SHA-1"),
    ("SCRAM-SHA-256", "AUTH=SCRAM-SHA-256"),
    ("SCRAM-SHA-384", "AUTH=SCRAM-SHA-384"),
    ("SCRAM-SHA-512", "AUTH=SCRAM-SHA-512"),
    ("OAUTHBEARER", "AUTH=OAUTHBEARER"),
    ("XOAUTH2", "AUTH=XOAUTH2"),
];

fn tagged(tag: &[u8], text: &str) -> Bytes {
    [tag, b" ", text.as_bytes(), b"\r\n"].concat().into()
}

/// The list in a greeting `* OK [CAPABILITY …] text`.
fn capabilities(greeting: &[u8]) -> &[u8] {
    const START: &[u8] = b"* OK [CAPABILITY ";
    let list = greeting.strip_prefix(START).unwrap_or(b"IMAP4rev1");
    list.split(|byte| *byte == b']').next().unwrap_or_default()
}

/// Who logs in, from a first SASL message in base64: RFC 4616 for PLAIN, RFC 5802 for SCRAM. Where somebody acts
/// for another, the other one.
fn identity(mechanism: &str, message: &[u8]) -> Option<Vec<u8>> {
    let message = BASE64.decode(message).ok()?;
    let identities: (Vec<u8>, Vec<u8>) = if mechanism == "PLAIN" {
        let mut parts = message.split(|byte| *byte == 0);
        (parts.next()?.to_vec(), parts.next()?.to_vec())
    } else if mechanism.starts_with("SCRAM-") {
        let mut parts = message.split(|byte| *byte == b',').skip(1);
        let acting = parts.next()?.strip_prefix(b"a=").unwrap_or_default().to_vec();
        (acting, parts.next()?.strip_prefix(b"n=")?.to_vec())
    } else {
        return None;
    };
    let (acting, own) = identities;
    let user = if acting.is_empty() { own } else { acting };
    // Escaped characters of SCRAM (`=2C`, `=3D`) are in no mailbox's name.
    (!user.is_empty() && !user.contains(&b'=')).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_logs_in() {
        let of = |mechanism, text: &[u8]| identity(mechanism, BASE64.encode(text).as_bytes());
        assert_eq!(of("PLAIN", b"\0alice\0secret"), Some(b"alice".to_vec()));
        assert_eq!(of("PLAIN", b"bob\0cyrus\0secret"), Some(b"bob".to_vec()));
        assert_eq!(of("SCRAM-SHA-256", b"n,,n=alice,r=nonce"), Some(b"alice".to_vec()));
        assert_eq!(of("SCRAM-SHA-256", b"n,a=bob,n=cyrus,r=nonce"), Some(b"bob".to_vec()));
        assert_eq!(of("SCRAM-SHA-256", b"n,,n=a=2Cb,r=nonce"), None);
        assert_eq!(of("LOGIN", b"alice"), None);
        assert_eq!(identity("PLAIN", b"="), None);
    }
}
