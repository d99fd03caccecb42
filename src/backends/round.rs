//! Conversations with several backends, for as long as one round of questions takes.

use std::collections::{HashMap, HashSet};

use super::{BackendError, Backends, Session};

/// Each backend is called when it is first needed, and one that cannot be called is not called again.
#[derive(Default)]
pub struct Round {
    sessions: HashMap<String, Session>,
    away: HashSet<String>,
}

impl Round {
    /// Asks a backend something. What it refuses is an answer; whatever else goes wrong ends the conversation, and the next
    /// question begins another: one mailbox that is locked says nothing of the others.
    pub async fn ask<T>(
        &mut self,
        backends: &Backends,
        server: &str,
        question: impl AsyncFnOnce(&mut Session) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        if self.away.contains(server) {
            return Err(BackendError::Away { server: server.to_owned() });
        }
        let mut session = match self.sessions.remove(server) {
            Some(session) => session,
            None => match backends.open(server).await {
                Ok(session) => session,
                Err(error) => {
                    self.away.insert(server.to_owned());
                    return Err(error);
                }
            },
        };
        let answer = question(&mut session).await;
        if matches!(answer, Ok(_) | Err(BackendError::Refused { .. })) {
            self.sessions.insert(server.to_owned(), session);
        }
        answer
    }

    /// Ends all conversations in order.
    pub async fn close(self) {
        for (_, session) in self.sessions {
            session.close().await;
        }
    }
}
