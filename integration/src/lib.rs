//! The harness of the real-Cyrus stories: a Cyrus Murder in containers, clients of its three protocols, a relay
//! that fails on demand, and the `ravenry` binary as a process beside them.

pub mod agreement;
pub mod answers;
pub mod bench;
pub mod browser;
pub mod capture;
pub mod chaos;
pub mod clients;
pub mod clock;
pub mod deadline;
pub mod demo;
pub mod engine;
pub mod face;
pub mod faulty_disk;
pub mod frames;
pub mod identity;
pub mod imap_bench;
pub mod imap_stub;
pub mod lmtp_bench;
pub mod made_up;
mod mail_figures;
mod mail_load;
pub mod monitors;
pub mod murder;
pub mod package;
mod peers;
pub mod post;
pub mod postbox;
pub mod queue_bench;
pub mod ravenry;
pub mod relay;
pub mod runbook;
pub mod sight;
pub mod stage;
pub mod storm;
pub mod traces;
pub mod transcript;
