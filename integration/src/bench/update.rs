//! The whole list to 1 and 10 slaves at once, and the slowest write meanwhile.

use anyhow::{Result, ensure};

use super::client::Client;
use super::load::{Writer, slaves};
use super::report::{Aim, Fold, Row, Unit, Who};
use super::stage::Stage;
use super::{Scale, say};

pub(super) async fn measure(stage: &Stage, scale: &Scale) -> Result<Vec<Row>> {
    for (who, address) in stage.in_turn(0) {
        let listed = Client::open(address).await?.stream().await?;
        ensure!(listed == stage.mailboxes(), "{who:?} sent {listed} of {} mailboxes", stage.mailboxes());
    }
    let millions = stage.mailboxes();
    let mut quiet =
        Row::new("the slowest write while nobody takes the list", Unit::Milliseconds, &[]).worst();
    for (who, address) in stage.in_turn(0) {
        let writer = Writer::start(address, &stage.names(who)).await?;
        tokio::time::sleep(scale.turn).await;
        quiet.add(who, writer.stop().await?.as_secs_f64() * 1e3);
    }
    let mut rows = vec![quiet];
    for count in [1, 10] {
        let plural = if count == 1 { "slave" } else { "slaves" };
        let (times, stalls): (&[Aim], &[Aim]) = match count {
            1 => (&[], &[Aim::AtMost(Who::StandingIn, 20.0)]),
            _ => (
                &[Aim::Times(Who::Following, 5.0), Aim::Times(Who::StandingIn, 5.0)],
                &[Aim::AtMost(Who::StandingIn, 20.0)],
            ),
        };
        let mut took =
            Row::new(format!("UPDATE of {millions} mailboxes to {count} {plural}"), Unit::Seconds, times);
        let mut stalled = Row {
            fold: Fold::Worst,
            ..Row::new(format!("the slowest write meanwhile, {count} {plural}"), Unit::Milliseconds, stalls)
        };
        for round in 0..scale.long_rounds {
            for (who, address) in stage.in_turn(round) {
                let writer = Writer::start(address, &stage.names(who)).await?;
                let last = slaves(address, count).await?;
                let slowest = writer.stop().await?;
                say(format_args!(
                    "UPDATE, {count} {plural}, round {}: {who:?} {last:.2?}, slowest write {slowest:.1?}",
                    round + 1
                ));
                took.add(who, last.as_secs_f64());
                stalled.add(who, slowest.as_secs_f64() * 1e3);
            }
        }
        rows.extend([took, stalled]);
    }
    Ok(rows)
}
