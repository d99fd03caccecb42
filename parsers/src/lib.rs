//! MUPDATE, LMTP and IMAP as Cyrus speaks them, without IO.
//!
//! Every decoder here works the same way: bytes are appended to a [`bytes::BytesMut`] by whoever owns the
//! socket, and `decode` is called until it answers `None`. A decoder never waits, never grows without
//! bound, and after a fault it answers with that fault for ever: a connection is poisoned rather than
//! resynchronised by a guess.

pub mod imap;
pub mod lmtp;
pub mod mupdate;
pub mod proxy;
