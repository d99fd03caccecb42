//! The machine against a model world: named situations, comparisons that take their time, operations that come to
//! nothing, many random schedules, each rule, the diagram.

mod apart;
mod diagram;
mod doubts;
mod ghosts;
mod left_over;
mod merge;
mod operations;
mod orders;
mod revived;
mod rules;
mod scenarios;
mod schedules;
mod steps;
mod whose_list;
mod world;
