//! Listeners, TLS, SASL, deadlines and limits: what every face shares.

pub mod activated;
pub mod address;
pub mod at_once;
mod attached;
pub mod clock;
pub mod guesses;
pub mod live;
pub mod places;
pub mod random;
pub mod sasl;
pub mod secret;
pub mod stop;
pub mod strangers;
pub mod stream;
pub mod tls;
pub mod trust;
pub mod users;
