//! The MUPDATE faces: server to the murder, client to the master.

pub mod client;
#[cfg(test)]
mod peer;
pub mod server;
