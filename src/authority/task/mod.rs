//! The task that drives the state machine: it feeds it what happens and carries out what it decides.
//!
//! | file | what |
//! |---|---|
//! | `handle` | what the faces and the operator hold: [`Authority`] |
//! | `driver` | the loop |
//! | `age` | what the wall clock tells |
//! | `intake` | the master's list, while it arrives |
//! | `comparer` | its comparison with ours, beside the loop |
//! | `committer` | commits in order, then publishes in the same order |
//! | `monitor` | what monitors count |
//! | `pulse` | a sign of life |

pub(crate) mod age;
mod committer;
mod comparer;
mod driver;
mod handle;
mod intake;
mod monitor;
mod pulse;
#[cfg(test)]
mod tests;

pub use handle::{Authority, Options, Order, Passage, Standing, Stopped};
