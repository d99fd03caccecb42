//! The master, frontends and backends, asked as `ravenry serve` would ask them.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::result::{Result, Who};
use super::{advice, within};
use crate::backends::{BackendError, Backends};
use crate::cli::serve::link_config;
use crate::cli::{Failure, deliveries, exit, imap_face, onlooker};
use crate::config::Config;
use crate::imap::{self, FrontendError, ImapConfig};
use crate::lmtp::{self, Trouble, UpstreamConfig};
use crate::mupdate::client::{Connection, LinkConfig, LinkError};
use crate::net::clock::unix;
use crate::net::sasl::client::SaslError;

/// Everybody at once; the results in the order of the configuration.
pub(super) async fn ask(config: &Config) -> std::result::Result<Vec<Result>, Failure> {
    let mut asking = JoinSet::new();
    let link = link_config(config)?;
    let master = Who::new("master", "master.address", &config.master.address);
    let (to_master, who) = (link.clone(), master.clone());
    let plain_will_do = config.mupdate.allow_plaintext || config.mupdate.require_tls;
    asking.spawn(async move { (0, within(ask_mupdate(&who, &to_master, plain_will_do, true), &who).await) });
    let mut at = 0;
    let mut next = || {
        at += 1;
        at
    };
    for address in config.slaves() {
        let who = Who::new("frontend", "mupdate.frontends", &address);
        let link = link.at(address).map_err(|error| Failure::new(exit::CONFIG, error))?;
        let at = next();
        asking.spawn(async move { (at, within(ask_mupdate(&who, &link, plain_will_do, false), &who).await) });
    }
    if let Some(lmtp) = &config.lmtp {
        let upstream = Arc::new(deliveries::upstream_config(lmtp)?);
        for address in &lmtp.frontends {
            let (who, upstream) = (Who::new("frontend", "lmtp.frontends", address), upstream.clone());
            let at = next();
            asking.spawn(async move { (at, within(ask_lmtp(&who, &upstream), &who).await) });
        }
    }
    if let Some(imap) = &config.imap {
        let proxy = Arc::new(imap_face::proxy_config(imap)?);
        for address in &imap.frontends {
            let (who, proxy) = (Who::new("frontend", "imap.frontends", address), proxy.clone());
            let at = next();
            asking.spawn(async move { (at, within(ask_imap(&who, &proxy), &who).await) });
        }
    }
    if let Some(asked) = &config.backends {
        let backends = Arc::new(onlooker::backends(asked)?);
        let mut servers: Vec<&String> = asked.addresses.keys().collect();
        servers.sort();
        for server in servers {
            let (who, backends) = (Who::new("backend", "backends.addresses", server), backends.clone());
            let at = next();
            asking.spawn(async move { (at, within(ask_backend(&who, &backends), &who).await) });
        }
    }
    let mut results = asking.join_all().await;
    results.sort_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

async fn ask_mupdate(who: &Who, link: &LinkConfig, plain_will_do: bool, master: bool) -> Result {
    let connection = match Connection::open(link).await {
        Ok(connection) => connection,
        Err(error) => return refused_by_mupdate(who, &error),
    };
    let identity = connection.identity().clone();
    let text = format!("logged in as {}; {} {}", link.user, identity.servername, identity.version);
    let certificate_ends = connection.certificate_ends();
    let result = match (master, identity.is_master()) {
        (true, true) => match connection.first_entry().await {
            Ok(_) => Result::ok(who, text),
            Err(error) => return refused_by_mupdate(who, &error),
        },
        (false, false) => {
            let follows = identity.role.trim_start_matches("mupdate://");
            Result::ok(who, format!("{text}, which follows {follows}"))
        }
        (true, false) => {
            let advice = "Name the master itself: this is the mupdate of a frontend.";
            Result::error(
                who,
                format!("{text}: not a master, but a slave: {}", identity.role),
                exit::CONFIG,
                advice,
            )
        }
        (false, true) => {
            let advice = "Name the mupdate of a frontend; the master belongs to master.address alone.";
            Result::error(who, format!("{text}: a master, and not a frontend"), exit::CONFIG, advice)
        }
    };
    let result = advice::scram(result, &identity.version, plain_will_do);
    advice::lasting(result, certificate_ends, None, unix())
}

fn refused_by_mupdate(who: &Who, error: &LinkError) -> Result {
    let text = error.to_string();
    match error {
        LinkError::Io(error) => advice::io(who, error),
        LinkError::Sasl(SaslError::NoMechanism { .. }) => advice::mechanism(who, text),
        LinkError::NoTls => advice::no_tls(who, text),
        LinkError::Refused { user, .. } => {
            let advice = format!(
                "Cyrus does not tell why; its log does. \"only admins may authenticate\": add {user} to `admins` (or \
                 `mupdate_admins`) there. Otherwise the password in master.password_file is not that of {user} there."
            );
            Result::error(who, text, exit::NO_PERMISSION, advice)
        }
        LinkError::Sasl(SaslError::Exchange(_)) => {
            let advice = "The password in master.password_file is another one than there, or the host is not the one it should be.";
            Result::error(who, text, exit::NO_PERMISSION, advice)
        }
        LinkError::NoServer { .. } => {
            let advice = "So do the hosts of a murder with `mupdate_config: replicated`, which Ravenry cannot stand in for.";
            Result::error(who, text, exit::CONFIG, advice)
        }
        LinkError::FragileTls { .. } => {
            Result::error(who, text, exit::CONFIG, "Take master.tls_ca_file out, or update Cyrus there.")
        }
        LinkError::Closed => {
            let advice =
                "It hung up: its log may say why (too many connections, or a client that it does not allow).";
            Result::error(who, text, exit::UNAVAILABLE, advice)
        }
        LinkError::Silent(_) => Result::error(who, text, exit::UNAVAILABLE, advice::silent(who)),
        LinkError::Fault(_) | LinkError::Unexpected { .. } | LinkError::NotMaster { .. } => {
            let text = format!("this is not MUPDATE: {text}");
            Result::error(who, text, exit::PROTOCOL, advice::port(who))
        }
    }
}

async fn ask_lmtp(who: &Who, upstream: &UpstreamConfig) -> Result {
    let text = match &upstream.login {
        Some((user, _)) => format!("logged in as {user}; it would take a message"),
        None => "it would take a message".to_owned(),
    };
    match lmtp::visit(&who.address, upstream).await {
        Ok(shown) => advice::lasting(Result::ok(who, text), shown.certificate_ends, shown.clock, unix()),
        Err(trouble) => refused_by_lmtp(who, &trouble, upstream.login.is_some()),
    }
}

fn refused_by_lmtp(who: &Who, trouble: &Trouble, logs_in: bool) -> Result {
    let text = trouble.to_string();
    match trouble {
        Trouble::Io(error) => advice::io(who, error),
        Trouble::Sasl(SaslError::NoMechanism { .. }) => advice::mechanism(who, text),
        Trouble::NoTls => advice::no_tls(who, text),
        Trouble::Refused { what: "AUTH", .. } | Trouble::Sasl(SaslError::Exchange(_)) => {
            let advice =
                "The password in lmtp.upstream.password_file is not that of lmtp.upstream.user there.";
            Result::error(who, text, exit::NO_PERMISSION, advice)
        }
        Trouble::Refused { what: "MAIL", .. } if logs_in => {
            let advice = "Add lmtp.upstream.user to `lmtp_admins` there.";
            Result::error(who, text, exit::NO_PERMISSION, advice)
        }
        Trouble::Refused { what: "MAIL", .. } => {
            let advice = "Its lmtpd wants a login: give lmtp.upstream.user and password_file, or run lmtpd with `-a` there.";
            Result::error(who, text, exit::NO_PERMISSION, advice)
        }
        Trouble::Refused { .. } | Trouble::Fault(_) => {
            Result::error(who, format!("this is not LMTP: {text}"), exit::PROTOCOL, advice::port(who))
        }
        Trouble::Closed | Trouble::Late(_) => {
            Result::error(who, text, exit::UNAVAILABLE, advice::silent(who))
        }
    }
}

async fn ask_imap(who: &Who, proxy: &ImapConfig) -> Result {
    match imap::visit(&who.address, proxy).await {
        Ok(shown) => {
            let greeting = String::from_utf8_lossy(&shown.greeting);
            let text = match asks(&greeting) {
                Some(server) => format!("it greets, and asks {server} for its list"),
                None => "it greets".to_owned(),
            };
            let result = Result::ok(who, text);
            let result = if proxy.allow_plaintext || !greeting.contains("LOGINDISABLED") {
                result
            } else {
                result.but(
                    "no password without TLS",
                    "See that imap.frontend_tls is what its clients are to use.",
                )
            };
            advice::lasting(result, shown.certificate_ends, None, unix())
        }
        Err(FrontendError::Wire(error)) => match error.downcast::<std::io::Error>() {
            Ok(error) => advice::io(who, &error),
            Err(error) => Result::error(who, error.to_string(), exit::UNAVAILABLE, advice::silent(who)),
        },
        Err(error @ FrontendError::Late(_)) => {
            Result::error(who, error.to_string(), exit::UNAVAILABLE, advice::silent(who))
        }
        Err(error @ FrontendError::Greeting(_)) => {
            Result::error(who, error.to_string(), exit::PROTOCOL, advice::port(who))
        }
        Err(error @ FrontendError::StartTls(_)) => advice::no_tls(who, error.to_string()),
    }
}

/// Whom a frontend or backend asks for its list: Cyrus says so in its capabilities.
fn asks(greeting: &str) -> Option<&str> {
    greeting.split_once("MUPDATE=mupdate://")?.1.split(['/', ' ', ']']).next()
}

async fn ask_backend(who: &Who, backends: &Backends) -> Result {
    let asked = async {
        let mut session = backends.open(&who.address).await?;
        let (clock, admin) = (session.clock(), session.is_admin().await?);
        session.close().await;
        Ok((clock, admin))
    };
    let user = &backends.user;
    match asked.await {
        Ok((clock, true)) => {
            let result = Result::ok(who, format!("logged in as {user}, an administrator"));
            advice::lasting(result, None, clock, unix())
        }
        Ok((_, false)) => {
            let advice = format!("Add {user} to `admins` (or `imap_admins`) there, or name somebody who is.");
            Result::error(who, format!("{user} is not an administrator"), exit::NO_PERMISSION, advice)
        }
        Err(BackendError::Io { error, .. }) => advice::io(who, &error),
        Err(error @ (BackendError::Late { .. } | BackendError::Away { .. })) => {
            Result::error(who, error.to_string(), exit::UNAVAILABLE, advice::silent(who))
        }
        Err(BackendError::Refused { said, .. } | BackendError::Said { said, .. }) => {
            refused_by_backend(who, user, said)
        }
    }
}

fn refused_by_backend(who: &Who, user: &str, said: String) -> Result {
    // The answer to the login, which is the first command.
    if said.starts_with("r1 ") {
        if !said.contains("authentication failure") {
            let advice = "Ravenry logs in there with PLAIN in clear: let it (`allowplaintext: yes`, PLAIN in `sasl_mech_list`).";
            return Result::error(who, said, exit::CONFIG, advice);
        }
        let advice = format!("The password in backends.password_file is not that of {user} there.");
        return Result::error(who, said, exit::NO_PERMISSION, advice);
    }
    Result::error(who, format!("this is not IMAP: {said}"), exit::PROTOCOL, advice::port(who))
}
