//! Ravenry keeps a Cyrus IMAP Murder whole when its mupdate master is gone.
//!
//! The rooms, from the ground up; a room knows only the rooms above it in this list:
//!
//! - [`list`]: mailbox names, their order, locations, entries, the three-way merge. Pure.
//! - [`store`]: what is durable: the list and the journal.
//! - [`authority`]: who answers for the namespace: a pure state machine and the task that drives it.
//! - [`net`]: listeners, TLS, SASL, deadlines, limits.
//! - [`mupdate`]: the face to the murder (server) and to the master (client).
//! - [`backends`]: what backends really hold; [`ghosts`]: what the list shows and nobody holds;
//!   [`left_over`]: how operations ended that were cut off with an earlier run; [`reservations`]: those that nobody
//!   finishes.
//! - [`spool`]: deliveries that were accepted and could not be placed yet.
//! - [`imap`]: the face to mail clients.
//! - [`lmtp`]: the face to the MTA, and the way of deliveries to the frontends.
//! - [`admin`], [`telemetry`]: control socket, metrics, logs.
//! - [`cyrus`]: the configuration files of Cyrus hosts.
//! - [`config`], [`cli`]: the file and the commands.

pub mod admin;
pub mod authority;
pub mod backends;
pub mod cli;
pub mod config;
mod control;
pub mod cyrus;
mod failpoint;
pub mod ghosts;
pub mod imap;
pub mod left_over;
pub mod list;
pub mod lmtp;
pub mod mupdate;
pub mod net;
pub(crate) mod packed;
pub mod reservations;
mod rules;
#[cfg(test)]
mod simulation;
pub mod spool;
pub mod store;
pub mod telemetry;
