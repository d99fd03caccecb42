//! Listeners, TLS, SASL, deadlines and limits: what every face shares.

pub mod random;
pub mod sasl;
pub mod secret;
pub mod stream;
pub mod tls;
pub mod users;
