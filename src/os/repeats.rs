//! Repeated warnings and errors are counted, not repeated.
//!
//! What counts as the same is the place in the code that says it: a disk that is full is one
//! complaint, however many files it hits. Pure: time comes in, text comes out.

use std::collections::HashMap;
use std::hash::Hash;

/// How often one place may speak within [`WINDOW_MS`].
pub(crate) const BURST: u32 = 5;
/// How long a window lasts, from its first event on.
pub(crate) const WINDOW_MS: u64 = 60_000;

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Say it.
    Say,
    /// It is counted; say nothing.
    Count,
}

/// Windows by place. Bounded by the number of places in the code.
#[derive(Debug)]
pub(crate) struct Repeats<K> {
    windows: HashMap<K, Window>,
    /// When the first of the windows ends: nothing is searched before.
    next_end_ms: u64,
}

#[derive(Debug)]
struct Window {
    began_ms: u64,
    said: u32,
    counted: u64,
}

impl<K> Default for Repeats<K> {
    fn default() -> Self {
        Self {
            windows: HashMap::new(),
            next_end_ms: u64::MAX,
        }
    }
}

impl<K: Clone + Eq + Hash> Repeats<K> {
    /// Counts one event of `place`. Call [`Repeats::ended`] first.
    pub(crate) fn admit(&mut self, place: K, now_ms: u64) -> Verdict {
        let window = self.windows.entry(place).or_insert(Window {
            began_ms: now_ms,
            said: 0,
            counted: 0,
        });
        self.next_end_ms = self.next_end_ms.min(window.began_ms + WINDOW_MS);
        if window.said < BURST {
            window.said += 1;
            Verdict::Say
        } else {
            window.counted += 1;
            Verdict::Count
        }
    }

    /// Closes the windows whose time is up, and gives what was counted in them.
    pub(crate) fn ended(&mut self, now_ms: u64) -> Vec<(K, u64)> {
        if now_ms < self.next_end_ms {
            return Vec::new();
        }
        let over = |window: &Window| now_ms >= window.began_ms + WINDOW_MS;
        self.close(over)
    }

    /// Closes all windows.
    pub(crate) fn end_all(&mut self) -> Vec<(K, u64)> {
        self.close(|_| true)
    }

    fn close(&mut self, over: impl Fn(&Window) -> bool) -> Vec<(K, u64)> {
        let mut counted = Vec::new();
        self.windows.retain(|place, window| {
            if over(window) && window.counted > 0 {
                counted.push((place.clone(), window.counted));
            }
            !over(window)
        });
        self.next_end_ms = self
            .windows
            .values()
            .map(|window| window.began_ms + WINDOW_MS)
            .min()
            .unwrap_or(u64::MAX);
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_storm_is_five_lines_and_a_count() {
        // Of a thousand events in a window five must be said and 995 counted, told when the window
        // ends and not before; then it begins anew: shown with times of our own.
        let mut repeats = Repeats::default();
        let said = (0..1_000)
            .filter(|i| repeats.admit("full disk", *i) == Verdict::Say)
            .count();
        assert_eq!(said, 5);
        assert_eq!(repeats.ended(WINDOW_MS - 1), []);
        assert_eq!(repeats.ended(WINDOW_MS), [("full disk", 995)]);
        assert_eq!(repeats.admit("full disk", WINDOW_MS), Verdict::Say);
    }

    #[test]
    fn places_do_not_silence_each_other() {
        // A storm at one place must not swallow another's first words: shown by two places.
        let mut repeats = Repeats::default();
        for _ in 0..100 {
            let _verdict = repeats.admit(1, 0);
        }
        assert_eq!(repeats.admit(2, 0), Verdict::Say);
        assert_eq!(repeats.end_all(), [(1, 95)]);
        assert_eq!(repeats.end_all(), []);
    }

    proptest! {
        #[test]
        fn said_and_counted_is_all(steps in prop::collection::vec((0_u8..3, 0_u64..20_000), 1..300)) {
            // Nothing is lost without a word: for any places and times, what was said and what the
            // counts add up to is what came in; and no place says more than five in a window.
            let mut repeats = Repeats::default();
            let (mut now, mut said, mut counted) = (0, 0_u64, 0_u64);
            for (place, later) in &steps {
                now += later;
                counted += repeats.ended(now).iter().map(|(_, n)| n).sum::<u64>();
                if repeats.admit(*place, now) == Verdict::Say {
                    said += 1;
                }
            }
            counted += repeats.end_all().iter().map(|(_, n)| n).sum::<u64>();
            prop_assert_eq!(said + counted, steps.len() as u64);
        }
    }
}
