//! Which events of a batch are still to be answered for, and which are guilty.
//!
//! A call refused as invalid is sent again in halves, the left one first, until single events are
//! refused: O(k log n) calls for k guilty events, and the order is kept. A batch settles once,
//! when nothing is left.
//!
//! A refusal may also be meant for the target (a group whose key is gone), and would then condemn
//! every event until that is mended. So events refused alone are at first only suspects: once
//! others have been accepted after them, they are tried once more, and what is refused then is
//! guilty. When too many in a row are suspects with nothing accepted between,
//! [`Undecided::doubt`] makes them undecided again. Suspects with nothing after them are guilty
//! when the batch ends.

use std::ops::Range;

use crate::ports::Accepted;

/// Why one event of an answered batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Older than 14 days.
    TooOld,
    /// Older than the group's retention.
    Expired,
    /// More than two hours ahead.
    TooNew,
    /// Refused alone; with the service's words.
    Invalid(String),
}

/// The part of a batch without an answer, and the refusals of the rest.
#[derive(Debug)]
pub(crate) struct Undecided {
    /// Ranges to send, the leftmost last.
    parts: Vec<Range<usize>>,
    /// Events refused alone since the last acceptance, left of all parts.
    suspects: Vec<(usize, String)>,
    /// Events before it were suspects already when others were accepted.
    tried_until: usize,
    /// Refusals that stand.
    refused: Vec<(Range<usize>, Refusal)>,
    events: usize,
}

impl Undecided {
    /// All of a batch of so many events.
    pub(crate) fn new(events: usize) -> Self {
        Self {
            parts: std::iter::once(0..events).collect(),
            suspects: Vec::new(),
            tried_until: 0,
            refused: Vec::new(),
            events,
        }
    }

    /// What to send next; `None` when the batch is decided.
    pub(crate) fn next(&self) -> Option<Range<usize>> {
        self.parts.last().cloned()
    }

    /// Whether nothing of the batch has been answered for.
    pub(crate) fn is_untouched(&self) -> bool {
        self.parts.iter().eq([&(0..self.events)]) && self.refused.is_empty()
    }

    /// How many events were refused alone with nothing accepted since.
    pub(crate) fn suspects(&self) -> usize {
        self.suspects.len()
    }

    /// The next part was taken, but for the events the answer names. Indexes beyond the part, as
    /// only a broken service gives them, are clamped.
    pub(crate) fn accept(&mut self, accepted: Accepted) {
        let Some(part) = self.parts.pop() else { return };
        let within = |index: Option<usize>| index.map(|n| part.start + n.min(part.len()));
        let old_end = within(accepted.too_old_until).unwrap_or(part.start);
        let expired_end = within(accepted.expired_until)
            .unwrap_or(old_end)
            .max(old_end);
        let new_start = within(accepted.too_new_from)
            .unwrap_or(part.end)
            .max(expired_end);
        for (range, refusal) in [
            (part.start..old_end, Refusal::TooOld),
            (old_end..expired_end, Refusal::Expired),
            (new_start..part.end, Refusal::TooNew),
        ] {
            if !range.is_empty() {
                self.refused.push((range, refusal));
            }
        }
        if let Some((last, _)) = self.suspects.last() {
            self.tried_until = last + 1;
            self.doubt();
        }
    }

    /// The next part was refused as invalid: it is split, or its only event is a suspect, or
    /// guilty if it was one before.
    pub(crate) fn refuse(&mut self, error: &str) {
        let Some(part) = self.parts.pop() else { return };
        let middle = part.start + part.len() / 2;
        if part.len() > 1 {
            self.parts.push(middle..part.end);
            self.parts.push(part.start..middle);
        } else if part.start < self.tried_until {
            self.refused
                .push((part, Refusal::Invalid(error.to_owned())));
        } else {
            self.suspects.push((part.start, error.to_owned()));
        }
    }

    /// The suspects are undecided again, in as few parts as possible.
    pub(crate) fn doubt(&mut self) {
        let suspects = self.suspects.drain(..).rev().map(|(nth, _)| nth..nth + 1);
        for part in std::mem::take(&mut self.parts).into_iter().chain(suspects) {
            match self.parts.last_mut() {
                Some(right) if right.start == part.end => right.start = part.start,
                _ => self.parts.push(part),
            }
        }
    }

    /// The refusals of a decided batch, from left to right, each event at most once.
    pub(crate) fn into_refused(mut self) -> Vec<(Range<usize>, Refusal)> {
        let suspects = self.suspects.into_iter();
        self.refused
            .extend(suspects.map(|(nth, error)| (nth..nth + 1, Refusal::Invalid(error))));
        self.refused.sort_by_key(|(range, _)| range.start);
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    /// Plays a service that refuses every call with a guilty event in it.
    fn judged(events: usize, guilty: &BTreeSet<usize>) -> (Vec<usize>, Vec<usize>, usize) {
        let mut undecided = Undecided::new(events);
        let (mut taken, mut calls) = (Vec::new(), 0);
        while let Some(part) = undecided.next() {
            calls += 1;
            if guilty.range(part.clone()).next().is_some() {
                undecided.refuse("no");
            } else {
                taken.extend(part);
                undecided.accept(Accepted::default());
            }
        }
        let refused = undecided
            .into_refused()
            .into_iter()
            .flat_map(|(range, refusal)| {
                assert_eq!(refusal, Refusal::Invalid("no".to_owned()));
                range
            });
        (taken, refused.collect(), calls)
    }

    proptest! {
        /// Exactly the guilty events are found and the others delivered in order, in a number of
        /// calls that grows with k log n.
        #[test]
        fn exactly_the_guilty_are_found(
            events in 1_usize..10_000,
            guilty in proptest::collection::btree_set(0_usize..10_000, 0..20),
        ) {
            let guilty: BTreeSet<usize> = guilty.into_iter().filter(|nth| *nth < events).collect();
            let (taken, refused, calls) = judged(events, &guilty);
            prop_assert!(refused.iter().eq(guilty.iter()));
            prop_assert!(taken.is_sorted() && taken.len() + guilty.len() == events);
            let log = events.next_power_of_two().ilog2() as usize + 1;
            prop_assert!(calls <= 1 + 2 * guilty.len() * (log + 1), "{calls}");
        }

        /// Whatever indexes come, each event is counted at most once and none outside the part.
        #[test]
        fn indexes_are_clamped(
            events in 1_usize..50,
            old in proptest::option::of(0_usize..80),
            expired in proptest::option::of(0_usize..80),
            new in proptest::option::of(0_usize..80),
        ) {
            let mut undecided = Undecided::new(events);
            undecided.accept(Accepted { too_new_from: new, too_old_until: old, expired_until: expired });
            let mut at = 0;
            for (range, _) in undecided.into_refused() {
                prop_assert!(at <= range.start && range.end <= events);
                at = range.end;
            }
        }
    }

    /// Old, expired and new events are told apart: prefixes nest, each event counts once.
    #[test]
    fn refusals_are_exact() {
        let mut undecided = Undecided::new(10);
        undecided.accept(Accepted {
            too_new_from: Some(8),
            too_old_until: Some(2),
            expired_until: Some(5),
        });
        assert_eq!(
            undecided.into_refused(),
            [
                (0..2, Refusal::TooOld),
                (2..5, Refusal::Expired),
                (8..10, Refusal::TooNew)
            ]
        );
    }

    /// Suspects that were refused before the target was mended are delivered after all.
    #[test]
    fn a_mended_target_condemns_nobody() {
        let mut undecided = Undecided::new(4);
        for _ in 0..4 {
            undecided.refuse("no");
        }
        assert_eq!((undecided.next(), undecided.suspects()), (Some(2..4), 2));
        undecided.accept(Accepted::default());
        assert_eq!((undecided.next(), undecided.suspects()), (Some(0..2), 0));
        undecided.accept(Accepted::default());
        assert_eq!((undecided.next(), undecided.into_refused()), (None, vec![]));
    }

    /// Doubt puts back the suspects and joins them with what follows; what was accepted before
    /// stays so.
    #[test]
    fn doubt_forgets_only_suspects() {
        let mut undecided = Undecided::new(8);
        undecided.refuse("no");
        undecided.accept(Accepted::default());
        undecided.refuse("no");
        undecided.refuse("no");
        undecided.refuse("no");
        assert_eq!(undecided.suspects(), 1);
        undecided.doubt();
        assert_eq!((undecided.next(), undecided.suspects()), (Some(4..8), 0));
        assert!(!undecided.is_untouched());
        undecided.accept(Accepted::default());
        assert_eq!((undecided.next(), undecided.into_refused()), (None, vec![]));
    }
}
