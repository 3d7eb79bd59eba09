//! When the next call may be made.
//!
//! CloudWatch takes three PutMetricAlarm a second from all instances of an account in a Region
//! together (CloudWatch service quotas), so a fleet that starts at once must not come at once:
//! the first look is put off by a random time, calls of one agent keep a distance, and every
//! throttled call waits a random time below a bound that doubles ("full jitter").

use fastrand::Rng;

use crate::ports::ErrorClass;

/// Distance between two calls that go well.
pub(crate) const GAP_MS: u64 = 500;

/// The first look of a managed agent comes within this time after its start.
pub(crate) const START_JITTER_MS: u64 = 30_000;

/// How the waits grow: bound of the first, bound of any, least of all, in ms.
struct Backoff {
    soon: (u64, u64, u64),
    throttled: (u64, u64, u64),
    slowly: (u64, u64, u64),
}

/// Making alarms is in no hurry.
const CALM: Backoff = Backoff {
    soon: (2_000, 60_000, 200),
    throttled: (4_000, 120_000, 500),
    slowly: (60_000, 1_800_000, 30_000),
};

/// Suspending is.
const URGENT: Backoff = Backoff {
    soon: (500, 10_000, 100),
    throttled: (1_000, 20_000, 100),
    slowly: (10_000, 60_000, 5_000),
};

/// How much of a hurry there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hurry {
    /// Making and comparing.
    Calm,
    /// Switching actions off.
    Urgent,
}

/// Says when the next call is due.
#[derive(Clone, Debug)]
pub struct Pace {
    hurry: Hurry,
    due_ms: u64,
    failures: u32,
}

impl Pace {
    /// Due at once.
    #[must_use]
    pub fn new(hurry: Hurry) -> Self {
        Self {
            hurry,
            due_ms: 0,
            failures: 0,
        }
    }

    /// When the next call is due, in monotonic ms.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        self.due_ms
    }

    /// A call went well.
    pub fn went_well(&mut self, now_ms: u64) {
        self.failures = 0;
        self.due_ms = now_ms + GAP_MS;
    }

    /// A call failed: when to try again.
    pub fn failed(&mut self, class: ErrorClass, now_ms: u64, random: &mut Rng) {
        let backoff = match self.hurry {
            Hurry::Calm => CALM,
            Hurry::Urgent => URGENT,
        };
        let (first_ms, most_ms, least_ms) = match class {
            ErrorClass::Throttled => backoff.throttled,
            ErrorClass::RetrySoon => backoff.soon,
            _ => backoff.slowly,
        };
        let doubled = first_ms.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let wait_ms = random.u64(0..=doubled.min(most_ms));
        self.due_ms = now_ms + wait_ms.max(least_ms);
    }

    /// Something changed: try again at once.
    pub fn hurry(&mut self, now_ms: u64) {
        self.failures = 0;
        self.due_ms = now_ms;
    }
}
