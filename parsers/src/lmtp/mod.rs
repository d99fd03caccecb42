//! LMTP (RFC 2033) with the SMTP extensions that Cyrus offers: PIPELINING, 8BITMIME, SIZE, ENHANCEDSTATUSCODES,
//! STARTTLS, AUTH, and Cyrus's own IGNOREQUOTA.
//!
//! - [`CommandDecoder`] reads what an MTA sends, [`ReplyDecoder`] what a server answers.
//! - [`DataDecoder`] takes a message out of what follows DATA, [`Stuffer`] writes one.
//! - The `put_*` functions write commands and replies.
//!
//! A line ends with CRLF and with nothing else, in commands, replies and messages (RFC 5321 §2.3.8). What two
//! servers take for different line ends is how messages are smuggled: Cyrus ends a message at `LF.LF`, too, and at
//! `CR LF . CR CR LF`. So no bare CR or LF is ever written, whatever was read or stored.
//!
//! ```
//! use bytes::{Bytes, BytesMut};
//! use ravenry_parsers::lmtp::{Command, CommandDecoder, CommandEvent, DataDecoder, DataEvent, Stuffer};
//!
//! let mut input = BytesMut::from("RCPT TO:<alice+play@example.org> IGNOREQUOTA\r\n");
//! let mut decoder = CommandDecoder::default();
//! let Some(CommandEvent::Command(Command::Rcpt { to, parameters })) = decoder.decode(&mut input) else { panic!() };
//! assert_eq!(to.as_bytes(), b"alice+play@example.org");
//! assert!(parameters.iter().any(|parameter| parameter.is("ignorequota")));
//!
//! let mut input = BytesMut::from("Subject: x\r\n\r\n..\n.\r\n.\r\n");
//! let mut decoder = DataDecoder::default();
//! let mut message = BytesMut::new();
//! loop {
//!     match decoder.decode(&mut input) {
//!         Some(DataEvent::Chunk(chunk)) => message.extend_from_slice(&chunk),
//!         Some(DataEvent::End) => break,
//!         None => panic!("there is more to come"),
//!     }
//! }
//! assert_eq!(&message[..], b"Subject: x\r\n\r\n.\r\n.\r\n");
//! let mut wire = BytesMut::new();
//! let mut stuffer = Stuffer::default();
//! stuffer.stuff(&message, &mut wire);
//! stuffer.finish(&mut wire);
//! assert_eq!(&wire[..], b"Subject: x\r\n\r\n..\r\n..\r\n.\r\n");
//! ```

mod command;
mod command_decoder;
mod command_grammar;
mod data;
mod encode;
mod line;
mod path;
mod reply;
mod reply_decoder;

pub use command::{Command, CommandEvent, Parameter, Parameters, Refusal, SaslLine};
pub use command_decoder::{CommandDecoder, MAX_LINE};
pub use data::{DataDecoder, DataEvent, Stuffer};
pub use encode::{put_line, put_reply};
pub use path::Path;
pub use reply::{Capabilities, Enhanced, Reply};
pub use reply_decoder::{ReplyDecoder, ReplyFault, ReplyLimits};
