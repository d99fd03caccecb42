//! Ravenry.
fn main() {}
