//! What must not happen twice at a time: whatever changes many names at an operator's word.

use std::sync::{Arc, Mutex, PoisonError};

/// Who has the turn; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<Option<&'static str>>>);

/// The turn; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Turn(Turns);

impl Turns {
    /// Takes the turn, or says who has it.
    pub(super) fn take(&self, what: &'static str) -> Result<Turn, String> {
        let mut holder = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *holder {
            Some(other) => Err(format!("{other} is under way; only one such thing at a time")),
            None => {
                *holder = Some(what);
                Ok(Turn(self.clone()))
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_what_the_first_does() {
        let turns = Turns::default();
        let first = turns.take("a reseed").unwrap();
        let refused = turns.clone().take("an import").unwrap_err();
        assert_eq!(refused, "a reseed is under way; only one such thing at a time");
        drop(first);
        turns.take("an import").unwrap();
    }
}
