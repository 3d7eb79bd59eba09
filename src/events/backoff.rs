//! When to try again: later and later, drawn evenly below a bound that doubles, so that a fleet
//! that failed together does not come back together.

use fastrand::Rng;

use crate::ports::ErrorClass;

/// Doubling ends here; the longest wait of each class is reached long before.
const DOUBLINGS_MAX: u32 = 10;

/// The wait before the next try.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    due_ms: u64,
}

impl Backoff {
    /// After a failure. At most 200 ms to 15 s for passing trouble, 1 to 30 s when throttled, 2 to
    /// 60 s (and at least one) for what needs a person.
    pub(super) fn failed(&mut self, class: ErrorClass, mono_ms: u64, random: &mut Rng) {
        let (first_ms, most_ms, least_ms) = match class {
            ErrorClass::RetrySoon => (200, 15_000, 50),
            ErrorClass::Throttled => (1_000, 30_000, 50),
            _ => (2_000, 60_000, 1_000),
        };
        let bound_ms = most_ms.min(first_ms << self.failures.min(DOUBLINGS_MAX));
        self.failures = self.failures.saturating_add(1);
        self.due_ms = mono_ms + random.u64(0..=bound_ms).max(least_ms);
    }

    /// After a success.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) fn due_ms(&self) -> u64 {
        self.due_ms
    }

    pub(super) fn is_due(&self, mono_ms: u64) -> bool {
        self.due_ms <= mono_ms
    }
}
