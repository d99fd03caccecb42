//! Look-ups of random names on one connection, one by one and pipelined.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::client::{Client, find};
use super::report::{Row, Unit};
use super::stage::Stage;
use super::{Scale, say};
use crate::made_up::name;

/// Look-ups between two looks at the clock.
const BATCH: usize = 2000;

pub(super) async fn measure(stage: &Stage, scale: &Scale) -> Result<Vec<Row>> {
    let mut one_by_one = Row::new("FIND, one by one", Unit::PerSecond, &[]);
    let mut pipelined = Row::new("FIND, pipelined", Unit::PerSecond, &[]);
    let any = || find(&name(fastrand::u64(..stage.mailboxes())));
    for round in 0..scale.rounds {
        for (who, address) in stage.in_turn(round) {
            let mut client = Client::open(address).await?;
            let (start, mut found) = (Instant::now(), 0);
            while start.elapsed() < scale.turn {
                ensure!(client.call(&any()).await? == 1, "{who:?} does not find what it has");
                found += 1;
            }
            let single = f64::from(found) / start.elapsed().as_secs_f64();
            one_by_one.add(who, single);
            let (start, mut found) = (Instant::now(), 0);
            while start.elapsed() < scale.turn {
                found += client.pipeline((0..BATCH).map(|_| any())).await?;
            }
            let many = found as f64 / start.elapsed().as_secs_f64();
            pipelined.add(who, many);
            say(format_args!("FIND, round {}: {who:?} {single:.0}/s, pipelined {many:.0}/s", round + 1));
        }
    }
    Ok(vec![one_by_one, pipelined])
}
