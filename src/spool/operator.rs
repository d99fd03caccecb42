//! What a person may do to queued messages.

use super::replay::Event;
use super::writer::Change;
use super::{QueueId, Spool, SpoolError};

impl Spool {
    /// Nothing is tried, and the message does not expire, until it is released.
    pub async fn hold(&self, id: QueueId) -> Result<(), SpoolError> {
        self.change(id, Change::Hold).await?;
        self.tell(Event::Out(id));
        Ok(())
    }

    /// Ends [`Self::hold`]; what was refused and could not be returned is tried again.
    pub async fn release(&self, id: QueueId) -> Result<(), SpoolError> {
        self.change(id, Change::Release).await?;
        self.tell(Event::In(id));
        Ok(())
    }

    /// Tries a message at once.
    pub fn retry(&self, id: QueueId) -> Result<(), SpoolError> {
        match self.handle.shared.index().get(id) {
            None => Err(SpoolError::NotFound(id)),
            Some(_) => {
                self.tell(Event::In(id));
                Ok(())
            }
        }
    }

    /// Tries every message at once that was tried before, however often that was in vain.
    pub fn retry_all(&self) {
        self.tell(Event::RetryAll);
    }

    /// Forgets a message; nobody is told.
    pub async fn delete(&self, id: QueueId) -> Result<(), SpoolError> {
        self.change(id, Change::Delete).await?;
        self.tell(Event::Out(id));
        Ok(())
    }
}
