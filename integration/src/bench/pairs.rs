//! RESERVE and ACTIVATE with connect and AUTH for each pair, as backends do it.

use anyhow::Result;

use super::report::{Aim, Row, Unit, Who};
use super::stage::Stage;
use super::{Scale, load, say};

pub(super) async fn measure(stage: &Stage, scale: &Scale) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (clients, standing_in) in [(1, 2.0), (64, 5.0)] {
        let plural = if clients == 1 { "client" } else { "clients" };
        let mut row = Row::new(
            format!("RESERVE+ACTIVATE, each pair on a new connection, {clients} {plural}"),
            Unit::PerSecond,
            &[Aim::Times(Who::Following, 0.9), Aim::Times(Who::StandingIn, standing_in)],
        );
        for round in 0..scale.rounds {
            for (who, address) in stage.in_turn(round) {
                let rate = load::pairs(address, clients, scale.turn, &stage.names(who)).await?;
                say(format_args!("pairs, {clients} {plural}, round {}: {who:?} {rate:.0}/s", round + 1));
                row.add(who, rate);
            }
        }
        rows.push(row);
    }
    Ok(rows)
}
