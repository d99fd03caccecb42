//! What the check finds.

use super::ledger::Loss;

/// What Cyrus does by itself, and is no loss of ours. Each is counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exceptions {
    /// Listed mailboxes that `delete_mode: immediate` deleted without telling the master; an audit took them off.
    pub ghosts: usize,
    /// Frontends that had to be restarted because a slave and an imapd waited for each other (Cyrus issue 5926).
    pub deadlocks: usize,
    /// Messages that a backend stored twice.
    pub twice: usize,
    /// Names of which the lists and the backend said different things, before an audit and `ctl_mboxlist -m`: what
    /// a backend did, or undid, and could not tell because it was cut off or killed. None of them was promised.
    pub announced: usize,
    /// Names that were kept as unconfirmed or in conflict, and a person decided about.
    pub decided: usize,
    /// Mailboxes that the other backend still has of an XFER that was refused or not answered: Cyrus makes them there first,
    /// and leaves them when it cannot go on. Every list has the user where the mail is.
    pub left_behind: usize,
    /// Messages in such a copy: a frontend that had not heard of an earlier XFER yet delivered there while the copy was
    /// made, and the backend took them. That makes the XFER fail. Ravenry sees only the frontend's 250.
    pub stranded: usize,
    /// Mailboxes that their own backend cannot open any more, about which nothing was promised: it was killed while it
    /// made or deleted them.
    pub unreadable: usize,
    /// Renames that were not answered, after which both names are there: a backend was killed half-way.
    pub half_renamed: usize,
}

/// What was compared, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Names that had to be as promised.
    pub names: usize,
    /// Messages that had to be where they belong.
    pub messages: usize,
    /// Messages that wait in the queue.
    pub queued: usize,
    /// Messages that went back to their sender.
    pub returned: usize,
    /// Messages that went with a folder that its user deleted.
    pub deleted: usize,
    /// What is no loss.
    pub exceptions: Exceptions,
    /// Broken promises.
    pub losses: Vec<Loss>,
}

impl Verdict {
    pub(super) fn lost(&mut self, about: &str, what: String) {
        self.losses.push(Loss { what, about: about.to_owned() });
    }
}
