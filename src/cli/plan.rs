//! `ravenry plan`

use super::talk::{Manner, Talk};
use super::{Failure, exit};
use crate::admin::{Ask, For, PlanSummary, StepLine};
use crate::config::Config;

pub(super) fn run(config: &Config, wanted: For, manner: Manner) -> Result<(), Failure> {
    let talk = Talk::new(config, manner);
    let ask = Ask::Plan { wanted, brief: false };
    let summary: PlanSummary = talk.items(&ask, |step: StepLine| {
        if talk.json() {
            println!("{}", serde_json::to_string(&step)?);
        } else {
            println!("{step}");
        }
        Ok(())
    })?;
    if talk.json() {
        println!("{}", serde_json::json!({ "summary": summary }));
    } else {
        println!("{summary}");
    }
    if summary.is_nothing() { Ok(()) } else { Err(Failure::quiet(exit::DIFFERENT)) }
}
