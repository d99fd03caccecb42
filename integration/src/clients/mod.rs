//! Small clients of the three protocols. They report what they were told and judge nothing.

mod imap;
mod lmtp;
mod mupdate;
mod wire;

pub use imap::{Completion, Imap, Response};
pub use lmtp::{Delivery, Lmtp, LmtpReply, message};
pub use mupdate::{Line, Mupdate, MupdateReply, Record, literal};
pub use wire::Wire;

/// The password of every test account.
pub const PASSWORD: &str = "secret";
