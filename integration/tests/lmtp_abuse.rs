//! The Ravenry process, with real Cyrus behind it, and clients that ask for more than their share: what it holds
//! stays bounded, and everybody else is served.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::clients::{Lmtp, Wire, message};
use ravenry_integration::murder::Plan;
use ravenry_integration::post::{Post, arrived};

const SOON: Duration = Duration::from_secs(20);
/// For a message of a gibibyte through two Cyrus servers that both sync it.
const LARGE: Duration = Duration::from_secs(240);

/// Ten bytes short of the gibibyte that is allowed.
const MOST: usize = (1 << 30) - 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_ten_thousand_recipients_and_a_thousand_sessions_are_borne() -> Result<()> {
    let post = Post::start(Plan::chosen()?, "").await?;
    let (murder, ravenry) = (&post.stage.murder, &post.stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    let before = ravenry.resident()?;

    // A thousand clients that only say hello.
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(post.lmtp().await?);
    }
    let crowded = ravenry.resident()?;
    println!("resident: {before} KiB, with 1,000 sessions {crowded} KiB");
    ensure!(crowded < before + 64 * 1024, "1,000 sessions cost {} KiB", crowded - before);

    // Smuggling, for a real server behind: one message comes out of each.
    let mut lmtp = post.lmtp().await?;
    let ends: [&[u8]; 8] = [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\r\r\n",
        b"\r\n\r.\r\n",
        b"\r\r\n.\r\r\n",
    ];
    for (n, end) in ends.iter().enumerate() {
        for command in ["MAIL FROM:<sender@example.org>", "RCPT TO:<alice>", "DATA"] {
            let reply = lmtp.run(command).await?;
            ensure!(reply.is_ok() || reply.code == 354, "{command}: {reply:?}");
        }
        let text = message(&format!("smuggling-{n}"));
        let evil = message(&format!("evil-{n}"));
        let inner = format!("MAIL FROM:<evil@example.org>\r\nRCPT TO:<alice>\r\nDATA\r\n{evil}");
        lmtp.send_raw(&[text.as_bytes(), b"before", end, inner.as_bytes(), b"\r\n.\r\n"].concat()).await?;
        let reply = lmtp.reply().await?;
        ensure!(reply.is_ok(), "{end:?}: {reply:?}");
        ensure!(lmtp.run("NOOP").await?.is_ok(), "{end:?}");
    }
    arrived(&murder.fe1, "alice", "INBOX", u32::try_from(ends.len())?, SOON).await?;

    // Ten thousand recipients, pipelined, one of whom exists.
    let mut lmtp = post.lmtp().await?;
    lmtp.set_patience(Duration::from_secs(60));
    let mut commands = String::from("MAIL FROM:<sender@example.org>\r\nRCPT TO:<alice>\r\n");
    for n in 0..9_999 {
        commands.push_str(&format!("RCPT TO:<nobody{n}>\r\n"));
    }
    let mut wire = Wire::connect(post.address()).await?;
    drop(lmtp);
    wire.set_patience(Duration::from_secs(60));
    wire.expect_line().await?;
    wire.send(format!("LHLO x\r\n{commands}RSET\r\nQUIT\r\n").as_bytes()).await?;
    let replies = String::from_utf8(wire.drain().await?.to_vec())?;
    let last = |code: &str| replies.lines().filter(|line| line.starts_with(&format!("{code} "))).count();
    // LHLO, MAIL, alice, RSET; everybody else; QUIT.
    ensure!(
        (last("250"), last("550"), last("221")) == (4, 9_999, 1),
        "{:?}",
        (last("250"), last("550"), last("221"))
    );

    // As much as may be, in one message.
    let started = std::time::Instant::now();
    let mut lmtp = post.lmtp().await?;
    lmtp.set_patience(LARGE);
    for command in ["MAIL FROM:<sender@example.org>", "RCPT TO:<alice>", "DATA"] {
        lmtp.run(command).await.context(command)?;
    }
    let head = message("large");
    lmtp.send_raw(head.as_bytes()).await?;
    let line = format!("{}\r\n", "x".repeat(998));
    let block = line.repeat(1000);
    let mut most = 0;
    let mut left = MOST - head.len();
    while left > block.len() {
        lmtp.send_raw(block.as_bytes()).await?;
        left -= block.len();
        most = most.max(ravenry.resident()?);
    }
    lmtp.send_raw(b".\r\n").await?;
    let reply = lmtp.reply().await?;
    println!("a gibibyte: {reply:?} after {:.1?}, resident {most} KiB", started.elapsed());
    ensure!(reply.is_ok(), "{reply:?}");
    ensure!(most < crowded + 96 * 1024, "a gibibyte costs {} KiB", most - crowded);

    // One byte too many.
    let mut lmtp = Lmtp::connect(post.address()).await?;
    let reply = lmtp.run(&format!("MAIL FROM:<> SIZE={}", (1u64 << 30) + 1)).await?;
    ensure!(reply.code == 552, "{reply:?}");
    drop(idle);
    post.stop().await
}
