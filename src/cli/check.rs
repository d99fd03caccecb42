//! `ravenry check`

use super::{Failure, exit};
use crate::config::{Config, Severity};

pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let findings = config.check();
    for finding in &findings {
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        println!("{word}: {}: {}", finding.key, finding.text);
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
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
