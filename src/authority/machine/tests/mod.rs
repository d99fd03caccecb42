//! The machine against a model world, over many random schedules.

mod scenarios;
mod schedules;
mod world;
