//! IMAP (RFC 9051, RFC 3501) as far as a proxy between clients and frontends has to understand it.
//!
//! Two framers walk over bytes as they pass, in whatever pieces they arrive, and say where commands and replies
//! begin and end; they hold a few bytes of state and never the bytes themselves. What a proxy acts on is
//! collected by it, bounded, and then parsed whole:
//!
//! - [`ClientFramer`], [`ServerFramer`]: where one thing ends and the next begins. Context decides: a line of
//!   text that ends in `{5}` announces no literal.
//! - [`Command`]: the commands that a proxy acts on.
//! - [`CapabilityFilter`]: capability lists without what would blind or bypass a proxy.
//! - [`Namespace`]: names of mailboxes as clients write them, to Cyrus's internal ones.

mod capability;
mod client;
mod command;
mod line;
mod list;
mod mailbox;
mod server;
mod utf7;
mod verb;

pub use capability::CapabilityFilter;
pub use client::{ClientEvent, ClientFault, ClientFramer, Stop};
pub use command::{Command, CommandBody};
pub use list::Listed;
pub use mailbox::Namespace;
pub use server::{Condition, ReplyHead, ServerEvent, ServerFault, ServerFramer};
pub use utf7::{decode_utf7, encode_utf7};
pub use verb::Verb;
