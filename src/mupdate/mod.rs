//! The MUPDATE faces: server to the murder, client to the master.

pub mod client;
pub mod server;
