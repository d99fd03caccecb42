//! How old an entry is, at the least: entries carry a number, not a time.
//!
//! Whenever the time is recorded at which Ravenry was alive, so is the number of the newest change. Marks that are old
//! are kept further apart: what is known of an age is exact to an eighth of it.

use std::sync::Arc;

use super::StoreError;
use super::codec::{In, Out};

/// Enough for some months.
const MOST: usize = 160;

/// One eighth of an age is as good as exact.
const PART: u64 = 8;

/// What the number of the newest change was at some times, oldest first; clones share it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ages(Arc<[Mark]>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark {
    at_unix: u64,
    seq: u64,
}

impl Ages {
    /// The newest change has this number now.
    pub(super) fn mark(&mut self, at_unix: u64, seq: u64) {
        // A clock that was put back makes nothing older than it is.
        let earlier = self.0.iter().copied().filter(|mark| mark.at_unix < at_unix);
        let all: Vec<Mark> = earlier.chain([Mark { at_unix, seq }]).collect();
        let mut kept: Vec<Mark> = Vec::with_capacity(all.len());
        for (nth, mark) in all.iter().enumerate() {
            let needless = match (kept.last(), all.get(nth + 1)) {
                (Some(before), Some(after)) => {
                    after.at_unix - before.at_unix <= (at_unix - after.at_unix) / PART
                }
                _ => false,
            };
            if !needless {
                kept.push(*mark);
            }
        }
        self.0 = kept.split_off(kept.len().saturating_sub(MOST)).into();
    }

    /// For how many seconds, at the least, what was put by the change with this number has been as it is.
    pub fn at_least(&self, version: u64, now: u64) -> u64 {
        // Both grow together.
        let first = self.0.partition_point(|mark| mark.seq < version);
        self.0.get(first).map_or(0, |mark| now.saturating_sub(mark.at_unix))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.0.iter().fold(Out::default(), |out, mark| out.varint(mark.at_unix).varint(mark.seq)).done()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let (mut bytes, mut marks) = (In(value), Vec::new());
        while !bytes.0.is_empty() {
            marks.push(Mark { at_unix: bytes.varint()?, seq: bytes.varint()? });
        }
        Ok(Self(marks.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 24 * 3600;

    /// A mark every half minute; ten changes in each.
    fn after(days: u64) -> (Ages, u64) {
        let mut ages = Ages::default();
        let marks = days * DAY / 30;
        for nth in 0..=marks {
            ages.mark(1_000_000 + nth * 30, nth * 10);
        }
        (ages, 1_000_000 + marks * 30)
    }

    #[test]
    fn an_age_is_known_to_an_eighth_and_never_too_high() {
        let (ages, now) = after(40);
        for age in [0, 60, 3600, DAY, 3 * DAY, 30 * DAY] {
            let version = (40 * DAY - age) / 30 * 10;
            let known = ages.at_least(version, now);
            assert!(known <= age && known + known / 4 + 30 >= age, "{known} s of {age} s");
        }
        assert_eq!(ages.at_least(u64::MAX, now), 0, "put after the last mark");
        assert!(ages.0.len() < MOST, "{} marks", ages.0.len());
    }

    #[test]
    fn a_clock_that_was_put_back_makes_nothing_older() {
        let mut ages = Ages::default();
        ages.mark(5_000, 10);
        ages.mark(9_000, 20);
        ages.mark(6_000, 30);
        assert_eq!(ages.at_least(10, 7_000), 2_000);
        assert_eq!(ages.at_least(20, 7_000), 1_000);
    }

    #[test]
    fn there_is_no_age_without_a_mark() {
        assert_eq!(Ages::default().at_least(0, 1_000_000), 0);
    }

    proptest! {
        #[test]
        fn marks_come_back_in_order(times in prop::collection::vec(0..100_000_u64, 0..300)) {
            let mut ages = Ages::default();
            for (seq, at) in times.into_iter().enumerate() {
                ages.mark(at, seq as u64);
            }
            prop_assert!(ages.0.is_sorted_by(|a, b| a.at_unix < b.at_unix && a.seq < b.seq));
            prop_assert!(ages.0.len() <= MOST);
            prop_assert_eq!(Ages::decode(&ages.encode()).unwrap(), ages);
        }
    }
}
