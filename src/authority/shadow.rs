//! A master that is only looked at.

use std::sync::Arc;
use std::time::Duration;

use super::master::{BoxFuture, Lost, Master, MasterReply};
use super::write::Write;

/// The link in shadow mode: nothing is ever sent to the master. Nobody asks for writes there and nothing is owed, so
/// that nothing should be; this is what makes it sure.
#[derive(Debug)]
pub struct Shadow<M>(pub M);

impl<M: Master> Master for Shadow<M> {
    fn send(&self, write: Write, _deadline: Duration) -> BoxFuture<Result<MasterReply, Lost>> {
        tracing::error!(name = %write.name(), verb = write.verb(), "in shadow mode nothing is sent to the master");
        Box::pin(async { Err(Lost::Unsent("in shadow mode nothing is sent to the master".into())) })
    }

    fn barrier(&self, deadline: Duration) -> BoxFuture<Result<(), Lost>> {
        self.0.barrier(deadline)
    }

    fn reconnect(&self) {
        self.0.reconnect();
    }
}

impl<M: Master> Shadow<M> {
    /// The link as it is, or in shadow.
    pub fn over(link: M, shadow: bool) -> Arc<dyn Master> {
        if shadow { Arc::new(Self(link)) } else { Arc::new(link) }
    }
}
