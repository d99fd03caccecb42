//! The control socket: what an operator may ask of a running Ravenry.
