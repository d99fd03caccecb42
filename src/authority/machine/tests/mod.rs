//! The machine against a model world: named situations, many random schedules, each rule, the diagram.

mod diagram;
mod orders;
mod rules;
mod scenarios;
mod schedules;
mod world;
