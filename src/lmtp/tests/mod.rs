//! The face to the MTA over loopback.

mod abuse;
mod failures;
mod frontend;
mod frontends;
mod guarded;
mod login;
mod replay;
mod stage;
mod table;
