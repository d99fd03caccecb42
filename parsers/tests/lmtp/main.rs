//! The LMTP room through its public face.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests may panic")]

mod bounds;
mod commands;
mod corpus;
mod data;
mod invariants;
mod oracle;
mod replies;
#[path = "../seeds/mod.rs"]
mod seeds;
