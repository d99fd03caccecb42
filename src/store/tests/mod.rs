//! What the store promises, through its public face.

mod basics;
mod crash;
mod faults;
mod formats;
mod lists;
mod model;
pub(super) mod random;
mod sim;
mod underway;
