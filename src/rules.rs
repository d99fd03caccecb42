//! The twelve rules that must never break, by name; docs/architecture.md tells each in full.
//!
//! The code says with [`kept`] where it keeps a rule that could be left out by mistake. In the program that is
//! always so and costs nothing. A test can switch a rule off for its own thread, to show that the rule's test
//! would notice.

/// A rule, by its number in docs/architecture.md.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    DurableBeforeOk = 1,
    StreamsEndBare = 2,
    WholeListInOrder = 3,
    FindNeverGuesses = 4,
    MasterNeverCrashed = 5,
    EveryWaitIsBounded = 6,
    UnknownOutcomesAreRecorded = 7,
    NoRefusalOutOfIgnorance = 8,
    OursAfterAcceptance = 9,
    NoMassChangeUnasked = 10,
    NothingUnauthenticatedWrites = 11,
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

#[cfg(test)]
pub(crate) mod testing {
    //! For tests of what the code says of itself.

    use std::path::Path;

    /// Every source in and below a directory of the repository, in one text.
    pub(crate) fn sources(directory: &str) -> String {
        let mut text = String::new();
        gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut text);
        text
    }

    fn gather(directory: &Path, text: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::sources;

    /// Every rule has a test named after it, and one that shows that its absence would be noticed.
    #[test]
    fn every_rule_has_its_tests() {
        let text = sources("src");
        for rule in 1..=12 {
            let named = text.contains(&format!("fn rule_{rule}_"));
            let shown = text.contains(&format!("fn without_rule_{rule}_"));
            assert!(named && shown, "rule {rule}");
        }
    }
}
