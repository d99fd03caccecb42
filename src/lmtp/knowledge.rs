//! What the list knows of recipients.

use std::sync::Arc;

use ravenry_parsers::lmtp::Path;

use super::decide::{Heard, Knowledge, says_no_such_mailbox};
use super::mailbox::{Naming, Target, anyone_may_post, target};
use crate::authority::namespace::Namespace;
use crate::list::EntryState;

/// The list, asked about recipients.
#[derive(Clone)]
pub(super) struct Directory {
    namespace: Arc<dyn Namespace>,
    naming: Arc<Naming>,
}

impl Directory {
    pub(super) fn new(namespace: Arc<dyn Namespace>, naming: Naming) -> Self {
        Self { namespace, naming: Arc::new(naming) }
    }

    /// The mailbox that an address means.
    pub(super) fn target(&self, path: &Path) -> Target {
        let (local, domain) = path.parts();
        target(local, domain, &self.naming)
    }

    /// What is known of each recipient, beside what a frontend said of it. Costs at most one barrier for all of them,
    /// and none unless a frontend denies a mailbox that the list does not hold either.
    pub(super) async fn of(&self, recipients: &[(&Path, &Heard)]) -> Vec<Knowledge> {
        let look = |(path, heard): &(&Path, &Heard)| match heard {
            // It has just taken the recipient: it knows it.
            Heard::Reply(reply) if reply.is_positive() => Knowledge::Known,
            _ => self.look(&self.target(path)),
        };
        let denied = |heard: &Heard| matches!(heard, Heard::Reply(reply) if says_no_such_mailbox(reply));
        let mut known: Vec<Knowledge> = recipients.iter().map(look).collect();
        let matters = |(known, (_, heard)): (&Knowledge, &(&Path, &Heard))| {
            *known == Knowledge::Unknown && denied(heard)
        };
        if known.iter().zip(recipients).any(matters) && self.namespace.is_current().await {
            for (known, (path, heard)) in known.iter_mut().zip(recipients) {
                if *known == Knowledge::Unknown && denied(heard) {
                    *known = self.look_in_current(&self.target(path));
                }
            }
        }
        known
    }

    /// What may be known without asking whether the list is current: that a mailbox exists.
    fn look(&self, target: &Target) -> Knowledge {
        let Some(name) = target.name() else { return Knowledge::Unknown };
        match self.namespace.find(name) {
            // Reserved is on its way from one backend to another, or is just being made.
            Ok(Some(entry)) => match (target, &entry.state) {
                (Target::Shared(_), EntryState::Active(acl)) if !anyone_may_post(acl) => Knowledge::Unknown,
                _ => Knowledge::Known,
            },
            Ok(None) => Knowledge::Unknown,
            Err(error) => {
                tracing::error!(%error, "the list cannot be asked about a recipient");
                Knowledge::Unknown
            }
        }
    }

    fn look_in_current(&self, target: &Target) -> Knowledge {
        match target.name().map(|name| (name, self.namespace.find(name))) {
            Some((name, Ok(None))) if !self.namespace.is_in_doubt(name) => Knowledge::Absent,
            Some((_, Ok(Some(_)))) => self.look(target),
            _ => Knowledge::Unknown,
        }
    }
}
