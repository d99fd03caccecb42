//! Who answers for the namespace.
//!
//! | file | what |
//! |---|---|
//! | [`mod@write`] | what may be asked, and the answers |
//! | [`namespace`] | what the faces ask of the authority |
//! | [`master`] | what the authority needs of the link to the real master |
//! | [`machine`] | the state machine, pure: events in, decisions out |
//! | [`facts`] | what the machine may look up |
//! | [`feed`] | every change, from the list to the streams |
//! | [`task`] | carries the machine's decisions out |
//!
//! The faces in [`crate::mupdate`] implement [`master::Master`] and speak to [`namespace::Namespace`]; they
//! know nothing of the state machine.

mod decide;
mod differ;
mod evidence;
pub mod facts;
pub mod feed;
pub mod machine;
pub mod master;
pub mod namespace;
mod recorded;
pub mod task;
pub mod write;
