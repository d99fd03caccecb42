//! What `ravenry generate` makes is taken by those whom it is for: shells, mandoc and man. And the command line's
//! manners: exit codes, no colours where nobody watches.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ravenry_integration::ravenry::{Ravenry, Settings};
use tokio::process::Command;

async fn prepared() -> Result<Ravenry> {
    let nowhere: SocketAddr = ([127, 0, 0, 1], 9).into();
    let listen = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    Ravenry::prepare(Settings { listen, master: nowhere, extra: String::new() }).await
}

/// Runs a program; what it said, on both outputs.
async fn run(program: &str, args: &[&str]) -> Result<(bool, String)> {
    let missing = || format!("{program} is missing: `. integration/prepare; prepare_shells` sees to it");
    let output = Command::new(program).args(args).output().await.with_context(missing)?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

async fn completions(ravenry: &Ravenry, shell: &str) -> Result<String> {
    let text = ravenry.cli(&["generate", "completions", shell]).await?.success()?.stdout;
    let file = ravenry.home().join(format!("completions.{shell}"));
    std::fs::write(&file, text)?;
    Ok(file.display().to_string())
}

#[tokio::test]
async fn shells_complete_commands_and_options() -> Result<()> {
    let ravenry = prepared().await?;
    let file = completions(&ravenry, "bash").await?;
    let ask = r#"source "$1"; COMP_WORDS=(ravenry st); COMP_CWORD=1; _ravenry ravenry st ravenry; echo "${COMPREPLY[@]}""#;
    let (ok, said) = run("bash", &["--norc", "-c", ask, "bash", &file]).await?;
    ensure!(ok && said.trim() == "status stand-in", "{said}");
    let file = completions(&ravenry, "fish").await?;
    let (ok, said) =
        run("fish", &["--no-config", "-c", &format!("source {file}; complete -C 'ravenry queue re'")])
            .await?;
    let words: Vec<&str> = said.lines().filter_map(|line| line.split('\t').next()).collect();
    ensure!(ok && words == ["release", "retry"], "{said}");
    let file = completions(&ravenry, "zsh").await?;
    let load =
        format!("autoload -Uz compinit && compinit -D -u && source {file} && print -r -- $_comps[ravenry]");
    let (ok, said) = run("zsh", &["-f", "-c", &load]).await?;
    ensure!(ok && said.trim() == "_ravenry", "{said}");
    ravenry.stop().await
}

#[tokio::test]
async fn man_pages_have_no_fault_that_mandoc_or_man_would_find() -> Result<()> {
    let ravenry = prepared().await?;
    let directory = ravenry.home().join("man");
    ravenry.cli(&["generate", "man", directory.to_str().context("a path")?]).await?.success()?;
    let mut pages = 0;
    for section in ["man1", "man5", "man8"] {
        for page in std::fs::read_dir(directory.join(section))? {
            let page = page?.path();
            faultless(&page).await?;
            pages += 1;
        }
    }
    ensure!(pages > 40, "{pages} pages");
    let shown = |page: &str| {
        let path = directory.join(page).display().to_string();
        async move { Ok::<_, anyhow::Error>(run("mandoc", &["-Tascii", &path]).await?.1.replace('\x08', "")) }
    };
    ensure!(shown("man8/ravenry-serve.8").await?.contains("SIGHUP"));
    ensure!(shown("man5/ravenry.toml.5").await?.contains("at_most"));
    let main = shown("man1/ravenry.1").await?;
    ensure!(
        ["EXIT STATUS", "78", "Examples:"]
            .iter()
            .all(|word| main.contains(word) || main.contains("EEXXIITT")),
        "{main}"
    );
    ravenry.stop().await
}

async fn faultless(page: &Path) -> Result<()> {
    let path = page.display().to_string();
    let (ok, said) = run("mandoc", &["-Tlint", "-Wwarning", &path]).await?;
    ensure!(ok && said.is_empty(), "{said}");
    let output = Command::new("man").args(["--warnings", "-l", &path]).env("MANPAGER", "cat").output().await;
    let output = output.context("man is missing: `. integration/prepare; prepare_shells` sees to it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "{path}: {said}");
    Ok(())
}

/// The codes that need no murder; the others are shown where they arise (`check_live`, `queue_commands`, `recovery`).
#[tokio::test]
async fn commands_end_with_the_codes_of_sysexits() -> Result<()> {
    let ravenry = prepared().await?;
    let home = ravenry.home().display().to_string();
    std::fs::write(ravenry.home().join("no-imapd.conf"), "what\n")?;
    let bad = format!("{home}/no-imapd.conf");
    for (args, code) in [
        (vec!["--version"], 0),
        (vec!["help", "queue", "list"], 0),
        (vec!["wrong"], 64),
        (vec!["check", "--json"], 64),
        (vec!["init", "--from", bad.as_str()], 65),
        (vec!["init", "--from", "/nowhere/imapd.conf"], 66),
        (vec!["status"], 69),
        (vec!["check", "--live"], 69),
        (vec!["generate", "man", "/proc/nowhere"], 73),
    ] {
        let output = ravenry.cli(&args).await?;
        ensure!(output.exit == code, "{args:?}: {output:?}");
    }
    ravenry.edit("[master]", "[mistress]")?;
    ensure!(ravenry.cli(&["status"]).await?.exit == 78);
    ravenry.stop().await
}

#[tokio::test]
async fn check_says_what_would_not_fit() -> Result<()> {
    let ravenry = prepared().await?;
    let imap = "[imap]\nlisten = [\"127.0.0.1:1\"]\nfrontends = [\"127.0.0.1:1\"]\nallow_plaintext = true\n";
    ravenry.edit("[master]", &format!("{imap}[master]"))?;
    let told = ravenry.cli(&["check"]).await?.success()?.stdout;
    ensure!(!told.contains("descriptors"), "the defaults do not fit: {told}");
    ravenry.edit("[imap]\n", "[imap]\nmax_sessions = 200000\n")?;
    let told = ravenry.cli(&["check"]).await?.success()?.stdout;
    ensure!(told.contains("warning: imap.max_sessions: ") && told.contains("[imap] 400001"), "{told}");
    ensure!(
        told.contains("the packaged unit allows 262144") && told.contains("LimitNOFILE=415744"),
        "{told}"
    );
    ravenry.stop().await
}

#[tokio::test]
async fn nothing_is_coloured_where_nobody_watches() -> Result<()> {
    let ravenry = prepared().await?;
    for args in [&["help"][..], &["wrong"], &["check"], &["check", "--live"], &["queue", "--help"]] {
        let output = ravenry.cli(args).await?;
        ensure!(!output.stdout.contains('\x1b') && !output.stderr.contains('\x1b'), "{args:?}: {output:?}");
    }
    ravenry.stop().await
}
