//! What a returned master is given, against what it takes from a client that pipelines the same commands.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::client::{Client, activate, reserve};
use super::report::{Aim, Row, Unit, Who};
use super::stage::Stage;
use super::{Scale, say};

/// For a master that takes a few hundred a second.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

pub(super) async fn measure(stage: &Stage, scale: &Scale) -> Result<Row> {
    let count = scale.replayed;
    let mut row = Row::new(
        format!("replay of {count} creates, and the master's rate with a pipelining client"),
        Unit::PerSecond,
        &[Aim::Times(Who::StandingIn, 0.8)],
    );
    let ravenry = stage.standing_in();
    // What other measures left is not part of it.
    ravenry.cli(&["follow"]).await?.success()?;
    ravenry.wait_for_state("following", PATIENCE).await?;
    ravenry.cli(&["stand-in"]).await?.success()?;
    ravenry.wait_for_state("standing-in", PATIENCE).await?;
    for round in 0..scale.long_rounds {
        let names = stage.names(Who::StandingIn);
        let made: Vec<String> = (0..count).map(|_| names.next()).collect();
        Client::open(ravenry.address())
            .await?
            .pipeline(made.iter().flat_map(|name| [reserve(name), activate(name)]))
            .await?;
        let began = Instant::now();
        ravenry.cli(&["follow"]).await?.success()?;
        ravenry.wait_for_state("following", PATIENCE).await?;
        let took = between(&ravenry.log()?, "\"replaying\"", "\"following\"")
            .context("no replay in Ravenry's log")?;
        say(format_args!(
            "replay, round {}: {count} in {took:.2?}, {:.2?} with the master's list",
            round + 1,
            began.elapsed()
        ));
        row.add(Who::StandingIn, count as f64 / took.as_secs_f64());
        // What it was given is there.
        let mut master = Client::open(stage.master()).await?;
        let last = made.last().context("nothing to replay")?;
        ensure!(master.call(&super::client::find(last)).await? == 1, "the master does not hold {last}");

        let names = stage.names(Who::Cyrus);
        let made: Vec<_> = (0..count).map(|_| activate(&names.next())).collect();
        let start = Instant::now();
        master.pipeline(made).await?;
        let rate = count as f64 / start.elapsed().as_secs_f64();
        say(format_args!(
            "replay, round {}: the master takes {rate:.0}/s from a pipelining client",
            round + 1
        ));
        row.add(Who::Cyrus, rate);
        // Until Ravenry holds these too: its FIND asks the master first.
        Client::open(ravenry.address()).await?.call(&super::client::find("user.nobody")).await?;
        ravenry.cli(&["stand-in"]).await?.success()?;
        ravenry.wait_for_state("standing-in", PATIENCE).await?;
    }
    Ok(row)
}

/// The time between the last lines in a log that hold these.
pub(super) fn between(log: &str, from: &str, to: &str) -> Option<Duration> {
    let at = |what: &str| seconds_of_day(log.lines().rfind(|line| line.contains(what))?);
    let (from, to) = (at(from)?, at(to)?);
    Some(Duration::from_secs_f64((to - from).rem_euclid(24.0 * 3600.0)))
}

/// The same, from the first line with `from` behind the last one with `after`: what is done in several goes counts whole.
pub(super) fn between_after(log: &str, after: &str, from: &str, to: &str) -> Option<Duration> {
    let since = log.get(log.rfind(after)?..)?;
    let first = since.lines().find(|line| line.contains(from)).and_then(seconds_of_day)?;
    let last = since.lines().rfind(|line| line.contains(to)).and_then(seconds_of_day)?;
    Some(Duration::from_secs_f64((last - first).rem_euclid(24.0 * 3600.0)))
}

/// `2026-11-24T06:02:59.484308Z …`
fn seconds_of_day(line: &str) -> Option<f64> {
    let (_, time) = line.split_once('T')?;
    let (time, _) = time.split_once('Z')?;
    time.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_how_long_a_replay_took() {
        let log = "2026-11-24T23:59:59.500000Z  WARN state state=\"replaying\" reason=the master is back\n\
                   2026-11-25T00:00:01.750000Z  WARN state state=\"following\" reason=replayed; 10 names settled\n";
        assert_eq!(between(log, "\"replaying\"", "\"following\""), Some(Duration::from_millis(2250)));
    }

    #[test]
    fn a_reseed_in_two_goes_is_timed_whole() {
        let log = "2026-11-24T10:00:00.000000Z  WARN state state=\"replaying\" reason=an earlier one\n\
                   2026-11-24T10:00:01.000000Z  WARN state state=\"holding\" reason=100 names are gone\n\
                   2026-11-24T10:00:02.000000Z  WARN state state=\"replaying\" reason=a person reseeds\n\
                   2026-11-24T10:00:05.000000Z  WARN state state=\"standing-in\" reason=the rest is compared next\n\
                   2026-11-24T10:00:06.000000Z  WARN state state=\"replaying\" reason=a person reseeds\n\
                   2026-11-24T10:00:06.500000Z  WARN state state=\"following\" reason=replayed\n";
        let took = between_after(log, "\"holding\"", "\"replaying\"", "\"following\"");
        assert_eq!(took, Some(Duration::from_millis(4500)));
    }
}
