//! SASL by rsasl, apart from any wire: bytes in, bytes and outcomes out.

pub mod client;
pub mod server;
