//! What the store promises, through its public face.

mod basics;
mod crash;
mod faults;
pub(crate) mod files;
mod formats;
mod lists;
mod model;
pub(super) mod random;
pub(crate) mod sim;
mod underway;
