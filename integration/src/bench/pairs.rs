//! RESERVE and ACTIVATE with connect and AUTH for each pair, as backends do it; and on connections that are kept.
//!
//! The second one is there for fairness: one in some sixty new connections to a mupdate of 3.6.1 gets its banner only
//! after 5 s, when nothing else wakes the thread that waits for connections. A mean over new connections is mostly
//! that wait.

use anyhow::Result;

use super::load::Connections;
use super::report::{Aim, Row, Unit, Who};
use super::stage::Stage;
use super::{Scale, load, say};

pub(super) async fn measure(stage: &Stage, scale: &Scale) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let kinds =
        [(Connections::New, "each pair on a new connection"), (Connections::Kept, "kept connections")];
    for ((connections, kind), (clients, standing_in)) in
        kinds.into_iter().flat_map(|kind| [(1, 2.0), (64, 5.0)].map(|scale| (kind, scale)))
    {
        let plural = if clients == 1 { "client" } else { "clients" };
        let mut row = Row::new(
            format!("RESERVE+ACTIVATE, {kind}, {clients} {plural}"),
            Unit::PerSecond,
            &[Aim::Times(Who::Following, 0.9), Aim::Times(Who::StandingIn, standing_in)],
        );
        for round in 0..scale.rounds {
            for (who, address) in stage.in_turn(round) {
                let rate = load::pairs(address, clients, connections, scale.turn, &stage.names(who)).await?;
                say(format_args!(
                    "pairs, {kind}, {clients} {plural}, round {}: {who:?} {rate:.0}/s",
                    round + 1
                ));
                row.add(who, rate);
            }
        }
        rows.push(row);
    }
    Ok(rows)
}
