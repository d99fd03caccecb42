//! This host: whether what is to be listened on can be, where no Ravenry runs yet.

use std::net::{SocketAddr, TcpListener};

use super::result::{Result, Who};
use crate::admin::{Ask, client};
use crate::cli::exit;
use crate::config::Config;
use crate::net::address::Listen;

pub(super) fn look(config: &Config) -> Vec<Result> {
    let socket = &config.admin.socket;
    if client::ask(socket, &Ask::Status).is_ok() {
        let who = Who::new("here", "admin.socket", socket.display().to_string());
        return vec![Result::ok(&who, "Ravenry runs: what it listens on is not tried")];
    }
    addresses(config).into_iter().map(|(key, address)| try_out(key, address)).collect()
}

fn addresses(config: &Config) -> Vec<(&'static str, SocketAddr)> {
    let mut all: Vec<_> = config.mupdate.listen.iter().map(|at| ("mupdate.listen", *at)).collect();
    if let Some(lmtp) = &config.lmtp {
        all.extend(lmtp.listen.iter().filter_map(|at| match at {
            Listen::Tcp(address) => Some(("lmtp.listen", *address)),
            Listen::Unix(_) => None,
        }));
    }
    if let Some(imap) = &config.imap {
        all.extend(imap.listen.iter().map(|at| ("imap.listen", *at)));
        all.extend(imap.listen_tls.iter().map(|at| ("imap.listen_tls", *at)));
    }
    all.extend(config.metrics.iter().map(|metrics| ("metrics.listen", metrics.listen)));
    all
}

fn try_out(key: &'static str, address: SocketAddr) -> Result {
    let who = Who::new("here", key, address.to_string());
    match TcpListener::bind(address) {
        Ok(_) => Result::ok(&who, "is free"),
        Err(error) => {
            let advice = match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    format!("Something listens there already: `ss -ltnp 'sport = :{}'` says what.", address.port())
                }
                std::io::ErrorKind::PermissionDenied => {
                    "Ports below 1024 need CAP_NET_BIND_SERVICE, which the packaged service has; or run this as root."
                        .to_owned()
                }
                std::io::ErrorKind::AddrNotAvailable => "This host does not have that address.".to_owned(),
                _ => "See the system's words.".to_owned(),
            };
            Result::error(&who, error.to_string(), exit::UNAVAILABLE, advice)
        }
    }
}
