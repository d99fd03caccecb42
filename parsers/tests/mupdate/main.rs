//! The MUPDATE room through its public face.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests may panic")]

mod bounds;
mod corpus;
mod fixture;
mod invariants;
mod malformed;
mod round_trip;
#[path = "../seeds/mod.rs"]
mod seeds;
mod well_formed;
