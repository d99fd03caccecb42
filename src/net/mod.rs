//! Listeners, TLS, SASL, deadlines and limits: what every face shares.
