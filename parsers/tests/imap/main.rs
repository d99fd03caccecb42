//! IMAP framing, from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests may panic")]

mod agreement;
mod corpus;
mod framing;
mod invariants;
mod oracle;
#[path = "../seeds/mod.rs"]
mod seeds;
