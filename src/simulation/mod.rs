//! A whole murder in one thread: Ravenry between a model master, frontends and backends, with virtual time.
//!
//! Of Ravenry this runs the state machine, the comparison of lists, the store with its log (on a disk in
//! memory, from which a power cut takes what was not synced), the parsers and encoders, and what the face to the murder
//! decides about a connection. What is left out are the tasks and sockets around
//! them (`authority/task`, `mupdate/client`, the sessions): their order of events is laid out here, in `ravenry`, `link`
//! and `face`. Those are run by the stories in `integration/`.
//!
//! The murder behaves as Cyrus does, with its bugs: the master dies of a DELETE of what it does not hold, and may do late
//! what it was sent; a slave believes any list that ends, and merges it wrongly; a backend tells nobody what it took
//! back, and wipes a mailbox that it is shown elsewhere.
//!
//! One seed is one history: sixty seconds in which users work and things go wrong, then everything heals, and the checks
//! follow ([`check`]). The same seed is the same history, to the byte.
//!
//! | file | what |
//! |---|---|
//! | `world`, `network`, `wire` | time, hosts, connections, bytes |
//! | `faults` | what a seed has in store |
//! | `ravenry`, `disk` | the process of Ravenry, and its disk |
//! | `link`, `sends`, `face` | its sides to the master and to the murder |
//! | `master`, `frontend`, `backend`, `operation`, `compare` | the murder |
//! | `history`, `linear` | whether each name's history could have come from one list |
//! | `check` | persons, and what must hold |
//! | `tests` | few seeds and many, and each rule missed |

mod backend;
mod check;
mod compare;
mod disk;
mod face;
mod faults;
mod frontend;
mod history;
mod linear;
mod link;
mod master;
mod network;
mod operation;
mod ravenry;
mod sends;
mod tests;
mod wire;
mod world;
