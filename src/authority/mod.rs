//! Who answers for the namespace.
//!
//! | file | what |
//! |---|---|
//! | [`mod@write`] | what may be asked, and the answers |
//! | [`namespace`] | what the faces ask of the authority |
//! | [`master`] | what the authority needs of the link to the real master |
//! | [`machine`] | the state machine, pure: events in, decisions out |
//! | [`facts`] | what the machine may look up |
//! | [`guard`] | when a master's list is too poor to be believed |
//! | [`mod@left_over`] | what becomes of operations that were cut off with an earlier run |
//! | [`plan`] | what would happen, without doing it |
//! | [`feed`] | every change, from the list to the streams |
//! | [`shadow`] | a master that is only looked at |
//! | [`task`] | carries the machine's decisions out |
//!
//! The faces in [`crate::mupdate`] implement [`master::Master`] and speak to [`namespace::Namespace`]; they
//! know nothing of the state machine.

mod decide;
pub(crate) mod differ;
mod evidence;
pub mod facts;
pub mod feed;
pub mod guard;
pub mod left_over;
pub mod machine;
pub mod master;
pub mod namespace;
pub mod plan;
pub(crate) mod recorded;
pub mod shadow;
pub mod task;
#[cfg(test)]
pub(crate) mod testing;
pub mod write;
