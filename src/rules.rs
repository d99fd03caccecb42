//! The twelve rules that must never break, by name; docs/architecture.md tells each in full.
//!
//! The code says with [`kept`] where it keeps a rule that could be left out by mistake. In the program that is
//! always so and costs nothing. A test can switch a rule off for its own thread, to show that the rule's test
//! would notice.

/// A rule, by its number in docs/architecture.md.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    DurableBeforeOk = 1,
    EveryWaitIsBounded = 6,
    UnknownOutcomesAreRecorded = 7,
    NoMassChangeUnasked = 10,
    NoRemovalOnStaleEvidence = 12,
}

/// Whether a rule is kept here: always.
#[cfg(not(test))]
pub(crate) const fn kept(_: Rule) -> bool {
    true
}

#[cfg(test)]
pub(crate) use switch::{kept, without};

#[cfg(test)]
mod switch {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        static OFF: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// Whether a rule is kept on this thread.
    pub(crate) fn kept(rule: Rule) -> bool {
        OFF.get() != Some(rule)
    }

    /// Switches a rule off for this thread, until dropped.
    #[must_use]
    pub(crate) fn without(rule: Rule) -> Without {
        OFF.set(Some(rule));
        Without
    }

    pub(crate) struct Without;

    impl Drop for Without {
        fn drop(&mut self) {
            OFF.set(None);
        }
    }
}
