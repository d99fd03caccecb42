//! The command line, without a murder: the configuration's check, users, two instances side by side.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use ravenry_integration::ravenry::{Ravenry, Settings};

/// Nobody listens there.
fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 9).into()
}

async fn prepared(extra: &str) -> Result<Ravenry> {
    let listen = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    Ravenry::prepare(Settings { listen, master: nowhere(), extra: extra.to_owned() }).await
}

#[tokio::test]
async fn check_tells_the_line_and_what_was_meant() -> Result<()> {
    let ravenry = prepared("").await?;
    let good = ravenry.cli(&["check"]).await?;
    ensure!(good.exit == 0 && good.stdout.contains("mupdate_retry_delay: 4"), "{good:?}");
    ensure!(good.stdout.contains("warning: mupdate.allow_plaintext"), "{good:?}");

    ravenry.edit("users_file", "user_file")?;
    for command in [["check"].as_slice(), &["serve"], &["status"]] {
        let bad = ravenry.cli(command).await?;
        ensure!(bad.exit == 78, "{bad:?}");
        let told = "ravenry.toml:5:1: unknown key `user_file`, did you mean `users_file`?";
        ensure!(bad.stderr.contains(told), "{bad:?}");
    }
    ravenry.edit("user_file", "users_file")?;

    ravenry.edit("password_file = \"", "password_file = \"/nowhere")?;
    let bad = ravenry.cli(&["check"]).await?;
    ensure!(bad.exit == 78 && bad.stdout.contains("error: master.password_file"), "{bad:?}");
    ravenry.stop().await
}

#[tokio::test]
async fn a_user_is_added_as_a_whole_or_not_at_all() -> Result<()> {
    let ravenry = prepared("").await?;
    let users = ravenry.home().join("users");
    let mode = std::fs::metadata(&users)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "{mode:o}");
    let text = std::fs::read_to_string(&users)?;
    ensure!(text.contains("murder") && !text.contains("secret"), "{text}");
    ravenry.add_user("cyrus").await?;
    let text = std::fs::read_to_string(&users)?;
    ensure!(text.contains("[user.murder.") && text.contains("[user.cyrus."), "{text}");
    let left: Vec<_> = std::fs::read_dir(ravenry.home())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains(".new"))
        .collect();
    ensure!(left.is_empty(), "{left:?}");

    let bad = ravenry.cli(&["user", "add", "a,b"]).await?;
    ensure!(bad.exit == 78 && bad.stderr.contains("name"), "{bad:?}");
    ensure!(std::fs::read_to_string(&users)? == text, "a refused user changes nothing");
    ravenry.stop().await
}

#[tokio::test]
async fn two_instances_run_side_by_side_and_stop_in_order() -> Result<()> {
    let mut both = [prepared("").await?, prepared("").await?];
    for ravenry in &mut both {
        ravenry.launch().await?;
    }
    for ravenry in &both {
        // Without a list and without a master there is nothing to serve: it says why, and does not listen.
        ravenry.wait_for_state("learning", Duration::from_secs(20)).await?;
        ravenry
            .wait_for(Duration::from_secs(20), "a reason", |status| {
                status["master"]["last_error"].as_str().is_some_and(|error| error.contains("refused"))
            })
            .await?;
        ensure!(tokio::net::TcpStream::connect(ravenry.address()).await.is_err());
    }
    for ravenry in &mut both {
        ensure!(ravenry.terminate().await?.code() == Some(0));
    }
    for ravenry in both {
        let log = ravenry.log()?;
        ensure!(!log.contains("secret"), "a password is in the log: {log}");
        ravenry.stop().await?;
    }
    Ok(())
}

/// One reads the file, adds its user and writes it back; meanwhile another did.
#[tokio::test(flavor = "multi_thread")]
async fn users_added_by_several_processes_at_once_are_all_there() -> Result<()> {
    let ravenry = prepared("").await?;
    let names: Vec<String> = (0..12).map(|n| format!("backend{n}")).collect();
    futures_util::future::try_join_all(names.iter().map(|name| ravenry.add_user(name))).await?;
    let users = std::fs::read_to_string(ravenry.home().join("users"))?;
    for name in names.iter().map(String::as_str).chain(["murder"]) {
        ensure!(users.contains(&format!("[user.{name}.")), "{name} was lost: {users}");
    }
    ravenry.stop().await
}
