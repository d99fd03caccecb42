//! MUPDATE (RFC 3656) in the dialect of Cyrus IMAP 3.2 to 3.12.
//!
//! - [`CommandDecoder`] reads what backends, frontends and administrators send to a master.
//! - [`ReplyDecoder`] reads what a master or a slave sends to them.
//! - The `put_*` functions write both directions, as Cyrus does but with quoted strings.
//!
//! Where Cyrus and the RFC differ, Cyrus is followed, since it is what is at the other end: arguments are
//! quoted strings or literals and never atoms, the texts of `BAD` are Cyrus's, and a line may end with a
//! bare LF. Decoded arguments are slices of the input buffer; a holder that keeps one for long should copy
//! it, or it keeps the whole chunk alive that it was read in.
//!
//! ```
//! use bytes::BytesMut;
//! use ravenry_parsers::mupdate::{CommandBody, CommandDecoder, CommandEvent, Limits};
//!
//! let mut decoder = CommandDecoder::new(Limits::BEFORE_LOGIN);
//! let mut buf = BytesMut::from("X0 FIND {10}\r\n");
//! assert_eq!(decoder.decode(&mut buf), Ok(Some(CommandEvent::Continue))); // answer `+ go ahead`
//! assert_eq!(decoder.decode(&mut buf), Ok(None)); // read more
//! buf.extend_from_slice(b"user.alice\r\nX1 FOO\r\n");
//! let Ok(Some(CommandEvent::Command(command))) = decoder.decode(&mut buf) else { panic!() };
//! assert_eq!(command.tag, "X0");
//! assert_eq!(command.body, CommandBody::Find { mailbox: "user.alice".into() });
//! let Ok(Some(CommandEvent::Bad { tag, text })) = decoder.decode(&mut buf) else { panic!() };
//! assert_eq!((tag.unwrap(), text), ("X1".into(), "Unrecognized command"));
//! ```

mod command;
mod command_decoder;
mod command_grammar;
mod encode;
mod lex;
mod limits;
mod reply;
mod reply_decoder;
mod reply_grammar;
mod skip;
mod wait;

pub use command::{Command, CommandBody, CommandEvent, SaslLine};
pub use command_decoder::{CommandDecoder, CommandFault};
pub use encode::{
    BannerSpec, put_banner, put_command, put_delete, put_delete_tail, put_mailbox, put_mailbox_tail,
    put_reserve, put_reserve_tail, put_status,
};
pub use limits::{Limits, ReplyLimits};
pub use reply::{SaslServerLine, ServerLine, Status};
pub use reply_decoder::{ReplyDecoder, ReplyFault};
