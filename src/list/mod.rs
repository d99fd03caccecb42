//! The mailbox list as the murder's protocol knows it: names, the order they are kept in, where each
//! mailbox lives, who may use it, and whether it exists yet. Pure: no protocol, no disk, no clock.

pub mod dump;
mod entry;
mod merge;
mod name;
mod order;
mod record;

pub use entry::{Acl, Entry, EntryState, Location, LocationError};
pub use merge::{Base, DELETE_MARK, Sides, Step, is_delete_mark, merge, takes_away};
pub use name::{MailboxName, NameError};
pub use order::{Order, slave_drops};
pub use record::{Held, Record, Text, place, place_and_acl};
