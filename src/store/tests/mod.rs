//! What the store promises, through its public face.

mod basics;
mod crash;
mod faults;
mod model;
mod random;
mod sim;
