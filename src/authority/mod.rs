//! Who answers for the namespace.
//!
//! [`write`] is what may be asked, [`master`] what the authority needs of the link to the real master;
//! the faces in [`crate::mupdate`] speak to both and know nothing of the state machine.

pub mod master;
pub mod write;
