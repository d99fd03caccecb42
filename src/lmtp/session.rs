//! The commands of one client.

use bytes::Bytes;
use ravenry_parsers::lmtp::{Command, CommandEvent, Parameters, Path, Reply};
use tokio::sync::watch;

use super::login::{self, Outcome};
use super::message::{Context, Message, Origin};
use super::wire::Wire;
use super::{Hangup, Peer};
use crate::net::sasl::server::known;
use crate::net::stop::until;
use crate::spool::{Address, Protocol};

/// So many lines in a row that are no command, or out of place, end a connection.
const MAX_ERRORS: u32 = 50;
/// So many failed logins, too.
const MAX_LOGINS: u32 = 3;
/// So many recipients are put to a frontend at once.
const BATCH: usize = 1000;

/// A client and what it has come to.
pub(super) struct Session {
    wire: Wire,
    context: Context,
    peer: Peer,
    greeted_as: Option<String>,
    user: Option<String>,
    message: Option<Message>,
    errors: u32,
    failed_logins: u32,
}

/// The client wants TLS now.
struct StartTls;

impl Session {
    pub(super) fn new(wire: Wire, context: Context, peer: Peer) -> Self {
        Self { wire, context, peer, greeted_as: None, user: None, message: None, errors: 0, failed_logins: 0 }
    }

    /// Serves the client until it goes or has to go. Between messages, `stop` ends it.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Hangup {
        let greeting = format!("{} LMTP Ravenry ready", self.context.config.servername);
        if let Err(hangup) = self.wire.say(220, &greeting).await {
            return hangup;
        }
        loop {
            match self.serve(&mut stop).await {
                Ok(StartTls) => match login::start_tls(self.wire, &self.context.config).await {
                    // Nothing of what was said in clear counts (RFC 3207 §4.2).
                    Ok(wire) => self = Self::new(wire, self.context, self.peer),
                    Err(hangup) => return hangup,
                },
                Err(hangup) => return self.end(hangup).await,
            }
        }
    }

    async fn end(mut self, hangup: Hangup) -> Hangup {
        if let Some(message) = self.message.take() {
            message.forget().await;
        }
        match &hangup {
            Hangup::Quit => self.wire.close(Some((221, "2.0.0 bye"))).await,
            Hangup::Slow => self.wire.close(Some((421, "4.4.2 Timeout, closing the connection"))).await,
            Hangup::Stopping => self.wire.close(Some((421, "4.3.2 Shutting down"))).await,
            Hangup::Errors | Hangup::Guessing => {
                self.wire.close(Some((421, "4.7.0 Too many errors, closing the connection"))).await;
            }
            // A client that has only closed its sending side still wants its replies.
            Hangup::Closed => self.wire.close(None).await,
            _ => {}
        }
        hangup
    }

    async fn serve(&mut self, stop: &mut watch::Receiver<bool>) -> Result<StartTls, Hangup> {
        loop {
            let event = if self.message.is_some() {
                self.wire.command().await?
            } else {
                tokio::select! {
                    biased;
                    () = until(stop) => return Err(Hangup::Stopping),
                    event = self.wire.command() => event?,
                }
            };
            match event {
                CommandEvent::Refused(refusal) => self.refuse(&refusal.to_string()).await?,
                CommandEvent::Command(Command::StartTls) => {
                    if self.may_start_tls().await? {
                        return Ok(StartTls);
                    }
                }
                CommandEvent::Command(command) => self.handle(command).await?,
            }
        }
    }

    async fn handle(&mut self, command: Command) -> Result<(), Hangup> {
        match command {
            Command::Lhlo { domain } => self.lhlo(&domain).await,
            Command::Mail { from, parameters } => self.mail(from, parameters).await,
            Command::Rcpt { to, parameters } => self.rcpt(to, parameters).await,
            Command::Data => self.data().await,
            Command::Rset => {
                self.forget().await;
                self.wire.say(250, "2.0.0 ok").await
            }
            Command::Noop => self.wire.say(250, "2.0.0 ok").await,
            Command::Vrfy => self.wire.say(252, "2.3.3 try RCPT to attempt delivery").await,
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial).await,
            Command::Quit => Err(Hangup::Quit),
            // `serve` has taken it.
            Command::StartTls => Ok(()),
        }
    }

    async fn forget(&mut self) {
        if let Some(message) = self.message.take() {
            message.forget().await;
        }
    }

    /// A reply to what the client should not have said; it may not do so for ever.
    async fn refuse(&mut self, reply: &str) -> Result<(), Hangup> {
        self.errors += 1;
        if self.errors > MAX_ERRORS {
            return Err(Hangup::Errors);
        }
        let (code, text) = reply.split_once(' ').unwrap_or((reply, ""));
        self.wire.say(code.parse().unwrap_or(500), text).await
    }

    fn max_message(&self) -> u64 {
        let frontends = self.context.frontends.largest_message().unwrap_or(u64::MAX);
        self.context.config.max_message.min(frontends)
    }

    async fn lhlo(&mut self, domain: &Bytes) -> Result<(), Hangup> {
        self.forget().await;
        self.greeted_as = Some(String::from_utf8_lossy(domain).into_owned());
        let config = &self.context.config;
        let mut lines = vec![
            config.servername.clone(),
            "8BITMIME".into(),
            "ENHANCEDSTATUSCODES".into(),
            "PIPELINING".into(),
            format!("SIZE {}", self.max_message()),
        ];
        let encrypted = self.wire.is_encrypted();
        if config.tls.is_some() && !encrypted && self.peer.address.is_some() {
            lines.push("STARTTLS".into());
        }
        if let Some(gate) = config.gate.as_ref().filter(|_| self.user.is_none()) {
            lines.push(format!("AUTH {}", gate.mechanisms(encrypted || config.allow_plaintext).join(" ")));
        }
        lines.push("IGNOREQUOTA".into());
        self.wire.reply(&Reply { code: 250, lines: lines.into_iter().map(Bytes::from).collect() }).await
    }

    async fn may_start_tls(&mut self) -> Result<bool, Hangup> {
        let refusal = match (&self.context.config.tls, &self.message) {
            _ if self.wire.is_encrypted() => "454 4.3.3 TLS is already there",
            (None, _) => "502 5.5.1 STARTTLS is not available",
            _ if self.peer.address.is_none() => "502 5.5.1 STARTTLS is not available",
            (Some(_), Some(_)) => "503 5.5.1 Not within a message",
            (Some(_), None) => return Ok(true),
        };
        self.refuse(refusal).await?;
        Ok(false)
    }

    async fn auth(&mut self, mechanism: &[u8], initial: Option<Bytes>) -> Result<(), Hangup> {
        if self.context.config.gate.is_none() {
            return self.refuse("502 5.5.1 AUTH is not available").await;
        }
        if self.user.is_some() {
            return self.refuse("503 5.5.0 already authenticated").await;
        }
        if self.greeted_as.is_none() || self.message.is_some() {
            return self.refuse("503 5.5.0 AUTH not permitted now").await;
        }
        let outcome = login::exchange(&mut self.wire, &self.context.config, mechanism, initial).await?;
        let denied = match outcome {
            Outcome::User(user) => {
                self.user = Some(user);
                return self.wire.say(235, "2.7.0 Authenticated").await;
            }
            Outcome::Cancelled => return self.refuse("501 5.5.4 client canceled authentication").await,
            Outcome::Denied(denied) => denied,
        };
        tracing::warn!(peer = %self.peer.name, mechanism = known(mechanism), %denied, "login refused");
        self.failed_logins += 1;
        // Guessing passwords is slow, here as with Cyrus.
        tokio::time::sleep(self.context.config.failed_login_delay).await;
        if self.failed_logins >= MAX_LOGINS {
            return Err(Hangup::Guessing);
        }
        self.wire.say(535, &format!("5.7.8 {denied}")).await
    }

    async fn mail(&mut self, from: Path, parameters: Parameters) -> Result<(), Hangup> {
        if self.greeted_as.is_none() {
            return self.refuse("503 5.5.1 Say LHLO first").await;
        }
        if !self.peer.trusted && self.user.is_none() {
            tracing::warn!(peer = %self.peer.name, "not trusted and not logged in (lmtp.trusted, lmtp.users_file)");
            // 530 would be for good, and bounce everything of an MTA that merely has the wrong address.
            return self.refuse("430 4.7.0 Authentication required").await;
        }
        if self.message.is_some() {
            return self.refuse("503 5.5.1 Nested MAIL command").await;
        }
        match self.declared(&parameters) {
            Ok(declared) => {
                let context = self.context.clone();
                self.message = Some(Message::new(context, from, parameters, declared));
                self.errors = 0;
                self.wire.say(250, "2.1.0 ok").await
            }
            Err(refusal) => self.refuse(&refusal).await,
        }
    }

    /// The size that is announced, 0 for none; or what is wrong with the parameters of MAIL.
    fn declared(&self, parameters: &Parameters) -> Result<u64, String> {
        let mut declared = 0;
        for parameter in parameters.iter() {
            let value = parameter.value.unwrap_or_default();
            if parameter.keyword.len() + value.len() >= Address::MAX {
                return Err("501 5.5.4 Parameter too long".into());
            }
            if parameter.is("SIZE") {
                declared = value.parse().map_err(|_| "501 5.5.4 SIZE requires a value")?;
                let max = self.max_message();
                if declared > max {
                    return Err(format!("552 5.3.4 Message size exceeds fixed limit ({max})"));
                }
            } else if parameter.is("BODY") {
                if !value.eq_ignore_ascii_case("7BIT") && !value.eq_ignore_ascii_case("8BITMIME") {
                    return Err("501 5.5.4 Unrecognized BODY type".into());
                }
            } else if !parameter.is("AUTH") || parameter.value.is_none() {
                return Err("555 5.5.4 Unrecognized parameters".into());
            }
        }
        Ok(declared)
    }

    /// A recipient, with those that are behind it already: they go to the frontend together.
    async fn rcpt(&mut self, to: Path, parameters: Parameters) -> Result<(), Hangup> {
        let Some(accepted) = self.message.as_ref().map(Message::accepted) else {
            return self.refuse("503 5.5.1 Need MAIL command").await;
        };
        let mut next = Some((to, parameters));
        let (mut wanted, mut refused) = (Vec::new(), Vec::new());
        let mut text_follows = false;
        while let Some((to, parameters)) = next.take() {
            let place = wanted.len() + refused.len();
            let unknown = |p: ravenry_parsers::lmtp::Parameter<'_>| !p.is("IGNOREQUOTA") || p.value.is_some();
            if parameters.iter().any(unknown) {
                refused.push((place, "555 5.5.4 Unrecognized parameters"));
            } else if accepted + wanted.len() >= self.context.config.max_recipients {
                refused.push((place, "452 4.5.3 Too many recipients"));
            } else {
                wanted.push((to, parameters));
            }
            if place + 1 < BATCH {
                next = match self.wire.buffered() {
                    Some(CommandEvent::Command(Command::Rcpt { to, parameters })) => Some((to, parameters)),
                    Some(other) => {
                        text_follows = matches!(other, CommandEvent::Command(Command::Data));
                        self.wire.put_back(other);
                        None
                    }
                    None => None,
                };
            }
        }
        let replies = match &mut self.message {
            Some(message) if !wanted.is_empty() => message.offer(wanted, text_follows).await,
            _ => Vec::new(),
        };
        let mut refused = refused.into_iter().peekable();
        let mut place = 0;
        for reply in replies {
            while let Some((_, refusal)) = refused.next_if(|(at, _)| *at == place) {
                self.refuse(refusal).await?;
                place += 1;
            }
            self.wire.reply(&reply).await?;
            place += 1;
        }
        for (_, refusal) in refused {
            self.refuse(refusal).await?;
        }
        Ok(())
    }

    async fn data(&mut self) -> Result<(), Hangup> {
        match self.message.take() {
            Some(message) if message.accepted() > 0 => {
                let protocol = match (self.wire.is_encrypted(), self.user.is_some()) {
                    (false, false) => Protocol::Lmtp,
                    (true, false) => Protocol::Lmtps,
                    (false, true) => Protocol::Lmtpa,
                    (true, true) => Protocol::Lmtpsa,
                };
                let greeted_as = self.greeted_as.as_deref().unwrap_or_default();
                let origin = Origin { greeted_as, peer: &self.peer.name, protocol };
                message.take(&mut self.wire, origin).await
            }
            // RFC 2033 §4.2: without a recipient that was accepted there is nothing to answer for.
            none => {
                self.message = none;
                self.refuse("503 5.5.1 No recipients").await
            }
        }
    }
}
