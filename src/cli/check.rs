//! `ravenry check`

use super::{Failure, exit, limits};
use crate::config::{Config, Severity};

/// The arguments.
#[derive(clap::Args, Debug)]
pub(super) struct Check {
    /// Log in to the master, each frontend and backend as configured, and say what would fail, and what to do about
    /// it. Changes nothing there. Exit code: that of the first error in the list: 69 not reached, 76 another protocol,
    /// 77 login refused or not an administrator, 78 nothing that both sides can do.
    #[arg(long)]
    live: bool,
    /// With --live: answer in JSON, for scripts.
    #[arg(long, requires = "live")]
    json: bool,
}

pub(super) fn run(config: &Config, args: &Check) -> Result<(), Failure> {
    let mut findings = config.check();
    findings.extend(limits::finding(config));
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if args.live && errors == 0 {
        return super::live::run(config, args.json);
    }
    for finding in &findings {
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        println!("{word}: {}: {}", finding.key, finding.text);
    }
    if errors > 0 {
        return Err(Failure::new(exit::CONFIG, format!("{errors} errors in the configuration")));
    }
    println!(
        "The configuration can be used. On every frontend and backend set, in imapd.conf:\n  \
         mupdate_server: THIS-HOST:{}\n  mupdate_retry_delay: 4\n\
         With the default of 20, a frontend that lost its mupdate server comes back only after 20 to 29 s;\n\
         with less than 4 it does not wait for us while the master hangs, and with 0 or 1 it crashes.",
        config.mupdate.listen.first().map_or(3905, std::net::SocketAddr::port)
    );
    Ok(())
}
