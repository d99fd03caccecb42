//! `ravenry plan`

use super::talk::{Manner, Talk};
use super::{Failure, exit};
use crate::admin::{Ask, For, PlanSummary, StepLine};
use crate::config::Config;

pub(super) fn run(config: &Config, wanted: For, manner: Manner) -> Result<(), Failure> {
    let talk = Talk::new(config, manner);
    let ask = Ask::Plan { wanted, brief: false };
    let (_, summary): (_, PlanSummary) = talk.print_each(&ask, StepLine::to_string)?;
    if talk.json() {
        println!("{}", serde_json::json!({ "summary": summary }));
    } else {
        println!("{summary}");
    }
    if summary.is_nothing() { Ok(()) } else { Err(Failure::quiet(exit::DIFFERENT)) }
}
