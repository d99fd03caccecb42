//! `ravenry init`: a configuration from the files of a murder's hosts, and what to change on each of them.
//!
//! | file | what |
//! |---|---|
//! | `murder` | what the hosts together say: who is the master, who logs in with what. Pure |
//! | `document` | the ravenry.toml. Pure |
//! | `changes` | the lines to change on each host, and the way back. Pure |
//! | `files` | writing, without overwriting anything |

mod changes;
mod document;
mod files;
mod murder;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::serve::host_name;
use super::{Failure, exit};
use crate::config::Config;
use crate::cyrus::{CyrusError, Host, Source};
use files::Files;
use murder::Murder;

/// The arguments.
#[derive(clap::Args, Debug)]
pub(super) struct Init {
    /// imapd.conf of frontends, backends and the master, as many as are at hand; HOST=FILE where a file has no
    /// `servername`, or the host is reached by another name. Files that one includes are looked for beside it first.
    #[arg(long, value_name = "[HOST=]IMAPD.CONF", required = true, num_args = 1..)]
    from: Vec<Source>,
    /// cyrus.conf of the same hosts, in the same order. By default the one beside each imapd.conf.
    #[arg(long, value_name = "CYRUS.CONF", num_args = 1..)]
    cyrus_conf: Vec<PathBuf>,
    /// The name by which frontends and backends reach this host; the system's host name by default.
    #[arg(long, value_name = "HOST")]
    name: Option<String>,
    /// Where the murder is listened for.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:3905")]
    listen: SocketAddr,
    /// Take deliveries from the MTA, too: the section lmtp is in use, and not only prepared.
    #[arg(long)]
    lmtp: bool,
    /// Serve mail clients, too: the section imap is in use, and not only prepared.
    #[arg(long)]
    imap: bool,
    /// Let hosts log in with PLAIN in clear: those whose Cyrus SASL has no SCRAM (Debian 11) have nothing else that
    /// Ravenry speaks. Look for libscram.so.
    #[arg(long)]
    plain: bool,
    /// Overwrite what is there.
    #[arg(long)]
    force: bool,
}

/// What the operator chose.
#[derive(Clone, Debug)]
struct Choice {
    name: String,
    listen: SocketAddr,
    lmtp: bool,
    imap: bool,
    plain: bool,
}

pub(super) fn run(config: &Path, init: &Init) -> Result<(), Failure> {
    let hosts = hosts(init)?;
    let choice = Choice {
        name: init.name.clone().unwrap_or_else(host_name),
        listen: init.listen,
        lmtp: init.lmtp,
        imap: init.imap,
        plain: init.plain,
    };
    let murder = Murder::of(&hosts, &choice.name).map_err(|why| Failure::new(exit::DATA, why))?;
    let files = Files::beside(config);
    let text = document::text(&hosts, &murder, &choice, &files);
    // A mistake of ours must not become a file of theirs.
    Config::parse(&text, config).map_err(|error| Failure::new(exit::SOFTWARE, error))?;
    let written = files.write(&text, &murder, init.force)?;
    for path in written {
        println!("{} is written.", path.display());
    }
    println!("{}", changes::text(&hosts, &murder, &choice, &files));
    Ok(())
}

fn hosts(init: &Init) -> Result<Vec<Host>, Failure> {
    let of = |error: CyrusError| {
        let code = if matches!(error, CyrusError::Unreadable { .. }) { exit::NO_INPUT } else { exit::DATA };
        Failure::new(code, error)
    };
    if !init.cyrus_conf.is_empty() && init.cyrus_conf.len() != init.from.len() {
        let why =
            "as many --cyrus-conf as --from, in the same order; or none, and each beside its imapd.conf";
        return Err(Failure::new(exit::USAGE, why));
    }
    let cyrus = init.cyrus_conf.iter().map(|path| Some(path.as_path())).chain(std::iter::repeat(None));
    init.from.iter().zip(cyrus).map(|(source, cyrus)| Host::load(source, cyrus).map_err(of)).collect()
}
