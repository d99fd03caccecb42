//! MUPDATE, LMTP and IMAP as Cyrus speaks them, without IO.
