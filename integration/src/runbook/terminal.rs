//! A command as a person types it, at a terminal, and what is to be read there.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::deadline::within;
use crate::ravenry::{Ravenry, binary};

/// For any one command.
const PATIENCE: Duration = Duration::from_secs(120);

/// Types `ravenry ARGS`, and the answer to the question that it asks, if it asks one. Returns what is on the terminal
/// then, and the exit status. What was shown in place, while something went on, is not there any more.
pub async fn typed(ravenry: &Ravenry, args: &[&str], answer: Option<&str>) -> Result<(String, i32)> {
    let quoted = |word: &str| format!("'{}'", word.replace('\'', r"'\''"));
    let config = ravenry.config_path().display().to_string();
    let program = binary()?.display().to_string();
    let words = [program.as_str(), "--config", config.as_str()];
    let line: Vec<String> = words.into_iter().chain(args.iter().copied()).map(quoted).collect();
    within(PATIENCE, format!("ravenry {}", args.join(" ")), async {
        // The terminal is `script`'s: it ends with the command's exit status.
        let mut child = Command::new("script")
            .args(["-qefc", &line.join(" "), "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("script, of Debian's bsdutils")?;
        let (Some(mut keys), Some(mut screen)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("no terminal");
        };
        let mut answer = answer;
        let (mut seen, mut part) = (Vec::new(), [0; 4096]);
        loop {
            let read = screen.read(&mut part).await?;
            if read == 0 {
                break;
            }
            seen.extend_from_slice(part.get(..read).unwrap_or_default());
            let asks = seen.ends_with(b"? ") || seen.ends_with(b"] ");
            if let Some(said) = answer.take_if(|_| asks) {
                keys.write_all(format!("{said}\n").as_bytes()).await?;
            }
        }
        let status = child.wait().await?.code().context("it was killed")?;
        if let Some(answer) = answer {
            bail!("nobody asked, and {answer:?} was not said: {}", String::from_utf8_lossy(&seen));
        }
        Ok((shown(&String::from_utf8_lossy(&seen)), status))
    })
    .await
}

/// What stays on the screen: what was written over was a sign that something goes on.
fn shown(seen: &str) -> String {
    let kept = |line: &str| {
        line.trim_end_matches('\r').rsplit('\r').next().map(|last| format!("{}\n", last.trim_end()))
    };
    seen.lines().filter_map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_gone_in_the_end() {
        assert_eq!(
            shown("a\r\n\r1 of 2 names\r2 of 2 names\r             \rGo on? [y/N] y\r\n"),
            "a\nGo on? [y/N] y\n"
        );
    }
}
