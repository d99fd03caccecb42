//! Very many messages: what they take in memory while they come, and how a start with them goes.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result};

use super::outage::{Outage, murder};
use super::{PATIENCE, Scale};
use crate::bench::ground::Ground;
use crate::deadline::eventually;
use crate::mail_load::{Answer, Dialect, Load};

/// The length of their texts, in bytes.
const SMALL: usize = 500;
/// So often it is looked at.
const PARTS: usize = 10;

pub(super) async fn measure(ground: &Ground, scale: Scale, out: &mut String) -> Result<()> {
    let murder = murder().await?;
    let nowhere = SocketAddr::from((murder.gateway(), 1));
    let mut outage = Outage::start(murder, ground, None, nowhere).await?;
    writeln!(out, "\n| messages queued | Ravenry's memory (VmRSS), KiB |\n|---:|---:|")?;
    for part in 0..=PARTS {
        if part > 0 {
            let load = Load {
                sessions: 64,
                messages: scale.very_many / PARTS,
                size: SMALL,
                answer: Answer::Queued,
                ..Load::new(outage.address, Dialect::Lmtp)
            };
            load.run().await?;
        }
        let (queued, memory) = (outage.queued().await?.context("no queue")?, outage.ravenry.resident()?);
        writeln!(out, "| {queued} | {memory} |")?;
        eprintln!("bench: {queued} queued, {memory} KiB");
    }
    let expected = outage.queued().await?;
    let peak = outage.ravenry.peak()?;
    outage.ravenry.kill().await?;
    let started = Instant::now();
    outage.ravenry.launch().await?;
    eventually(PATIENCE, "all messages", async || Ok((outage.queued().await? == expected).then_some(())))
        .await?;
    let there = started.elapsed();
    let one = Load { answer: Answer::Queued, ..Load::new(outage.address, Dialect::Lmtp) };
    eventually(PATIENCE, "one more", async || Ok(one.run().await.ok())).await?;
    let taken = started.elapsed();
    // Where each of them is to go is read in the background.
    eventually(PATIENCE, "all messages read", async || {
        Ok(outage.ravenry.log()?.contains("earlier process is taken over").then_some(()))
    })
    .await?;
    writeln!(
        out,
        "\nAt most {peak} KiB. Killed and started again, all {} messages are there after {:.1} s, the next one is taken \
         after {:.1} s, and all can be tried after {:.1} s, with {} KiB, at most {}.",
        expected.unwrap_or_default(),
        there.as_secs_f64(),
        taken.as_secs_f64(),
        started.elapsed().as_secs_f64(),
        outage.ravenry.resident()?,
        outage.ravenry.peak()?,
    )?;
    outage.stop().await
}
