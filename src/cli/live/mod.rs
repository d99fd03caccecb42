//! `ravenry check --live`: everybody whom the configuration names is asked, as `ravenry serve` would, and changes
//! nothing there.
//!
//! | file | what |
//! |---|---|
//! | `here` | this host: the addresses to listen on |
//! | `there` | the master, frontends, backends |
//! | `advice` | what to do about what was found. Pure |
//! | `result` | what was found, for people and scripts |

mod advice;
mod here;
mod result;
mod there;

use std::io::IsTerminal as _;
use std::time::Duration;

use super::{Failure, exit};
use crate::config::Config;
use result::{Result as Found, Verdict};

/// How long any one of them may take. A wrong password is answered after 3 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks everybody at once, and tells. Ends with the exit code of the first error in the list.
pub(super) fn run(config: &Config, json: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::UNAVAILABLE, error))?;
    let mut found = here::look(config);
    found.extend(runtime.block_on(there::ask(config))?);
    // Names are looked up in threads, which are not waited for.
    runtime.shutdown_background();
    if json {
        let text =
            serde_json::to_string_pretty(&found).map_err(|error| Failure::new(exit::SOFTWARE, error))?;
        println!("{text}");
    } else {
        let colours =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        print!("{}", result::table(&found, colours));
    }
    match found.iter().find(|result| result.verdict == Verdict::Error) {
        None => Ok(()),
        Some(first) => {
            let errors = found.iter().filter(|result| result.verdict == Verdict::Error).count();
            Err(Failure::new(first.code, format!("{errors} of {} would fail", found.len())))
        }
    }
}

/// One question, within its bound.
async fn within(asked: impl Future<Output = Found>, who: &result::Who) -> Found {
    let late = || {
        let text = format!("no answer within {} s", PATIENCE.as_secs());
        Found::error(who, text, exit::UNAVAILABLE, advice::silent(who))
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| late())
}
