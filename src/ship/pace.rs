//! When a target may send next: at most so often while all is well, later and later when not.
//!
//! | answer | first wait, at most | longest wait, at most | at least |
//! |---|---|---|---|
//! | retry soon (5xx, timeout, reset) | 200 ms | 15 s | 50 ms |
//! | throttled | 1 s; a throttled put also doubles the interval | 30 s | 50 ms |
//! | retry slowly (credentials, permission, suspicion) | 2 s | 60 s | 1 s |
//!
//! The bound doubles with each failure of its kind since the last success and the wait is drawn
//! evenly below it ("full jitter"), so that a fleet that failed together does not come back
//! together. Each kind grows by itself: a few 5xx after a few throttles are still a short trouble.
//! An answer on a call's merits (a target is missing, an event is refused) shows that throttling
//! is over, since the service throttles before it looks; it shows nothing about the other kinds,
//! and so a circle of missing and created targets slows down as well.

use fastrand::Rng;

use crate::event::{EpochMs, Now};
use crate::ports::{ErrorClass, ServiceError};

/// The widest interval throttling can lead to.
const INTERVAL_MS_MAX: u64 = 30_000;
/// No retry comes sooner.
const RETRY_MS_MIN: u64 = 50;
/// How soon a waiting target is tried when the service is known to be back, at most.
const WAKE_MS_MAX: u64 = 1_000;

/// How the waits of one kind of failure grow.
struct Backoff {
    /// The bound of the first.
    first_ms: u64,
    /// The bound of any.
    most_ms: u64,
    /// No wait is shorter.
    least_ms: u64,
}

const SOON: Backoff = Backoff {
    first_ms: 200,
    most_ms: 15_000,
    least_ms: RETRY_MS_MIN,
};
const THROTTLED: Backoff = Backoff {
    first_ms: 1_000,
    most_ms: 30_000,
    least_ms: RETRY_MS_MIN,
};
/// Most of it needs a person's help, so no hurry.
const SLOWLY: Backoff = Backoff {
    first_ms: 2_000,
    most_ms: 60_000,
    least_ms: 1_000,
};

/// What a good answer says about the service as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// The last good answer to anybody before it.
    pub(crate) well_ms: u64,
    /// Whether it ends a time in which the service was unreachable or broken.
    pub(crate) outage: Outage,
}

/// Whether an outage is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    /// There was one.
    Over,
    /// There was none worth the name.
    None,
}

/// One target's pace.
#[derive(Debug)]
pub(crate) struct Pace {
    /// What the user wants it to be.
    base_interval_ms: u64,
    /// Shortest time between two batches that are not full; wider under throttling.
    interval_ms: u64,
    /// When events last left.
    last_put_ms: Option<u64>,
    /// The present trouble.
    trouble: Option<Trouble>,
    /// What the service last said, for people.
    pub(crate) last_answer: Option<(String, EpochMs)>,
}

/// Failures without a success since.
#[derive(Debug)]
struct Trouble {
    since_ms: u64,
    /// What failed last.
    class: ErrorClass,
    failures: Failures,
    retry_at_ms: u64,
}

/// How often each kind failed; its power of two is the backoff.
#[derive(Debug, Default)]
struct Failures {
    soon: u32,
    throttled: u32,
    slowly: u32,
}

impl Failures {
    /// Counts one more; how long it is to be waited for, at most and at least.
    fn count(&mut self, class: ErrorClass) -> (u64, u64) {
        let (failures, backoff) = match class {
            ErrorClass::Throttled => (&mut self.throttled, THROTTLED),
            ErrorClass::RetrySlowly => (&mut self.slowly, SLOWLY),
            _ => (&mut self.soon, SOON),
        };
        let bound_ms = backoff.most_ms.min(backoff.first_ms << (*failures).min(10));
        *failures = failures.saturating_add(1);
        (bound_ms, backoff.least_ms)
    }
}

impl Pace {
    pub(crate) fn new(interval_ms: u64) -> Self {
        Self {
            base_interval_ms: interval_ms,
            interval_ms,
            last_put_ms: None,
            trouble: None,
            last_answer: None,
        }
    }

    /// The user wants another interval; one that throttling has widened stays as wide.
    pub(crate) fn set_interval(&mut self, interval_ms: u64) {
        self.interval_ms = match self.interval_ms > self.base_interval_ms {
            true => self.interval_ms.max(interval_ms),
            false => interval_ms,
        };
        self.base_interval_ms = interval_ms;
    }

    /// Whether the last answer was a failure to be retried.
    pub(crate) fn is_troubled(&self) -> bool {
        self.trouble.is_some()
    }

    /// When the next try is due, if the last one failed.
    pub(crate) fn retry_at_ms(&self) -> Option<u64> {
        self.trouble.as_ref().map(|trouble| trouble.retry_at_ms)
    }

    /// When a batch that is not full may leave, as far as the pace is concerned.
    pub(crate) fn interval_over_ms(&self) -> u64 {
        self.last_put_ms
            .map_or(0, |last_ms| last_ms.saturating_add(self.interval_ms))
    }

    /// Events left.
    pub(crate) fn put(&mut self, now: Now) {
        self.last_put_ms = Some(now.mono_ms);
    }

    /// Whether events left within the longest interval: then this pace must be remembered.
    pub(crate) fn is_recent(&self, now: Now) -> bool {
        self.last_put_ms.is_some_and(|last_ms| {
            now.mono_ms.saturating_sub(last_ms) < INTERVAL_MS_MAX.max(self.interval_ms)
        })
    }

    /// The service took events.
    pub(crate) fn succeeded(&mut self, now: Now) {
        self.trouble = None;
        self.interval_ms = (self.interval_ms / 2).max(self.base_interval_ms);
        self.last_answer = Some(("ok".to_owned(), now.wall_ms));
    }

    /// The service looked at the call and answered in a way that is neither success nor failure.
    pub(crate) fn noted(&mut self, error: &ServiceError, now: Now) {
        self.last_answer = Some((error.to_string(), now.wall_ms));
        if let Some(trouble) = &mut self.trouble {
            trouble.failures.throttled = 0;
        }
    }

    /// Puts are throttled: they come less often from now on. Creating things has quotas of its
    /// own, which puts need not make room for.
    pub(crate) fn slow_down(&mut self) {
        let doubled_ms = (self.interval_ms * 2).max(RETRY_MS_MIN);
        self.interval_ms = doubled_ms.min(INTERVAL_MS_MAX.max(self.base_interval_ms));
    }

    /// The service failed, in a way `class` tells (which may differ from the error's own).
    pub(crate) fn failed(
        &mut self,
        class: ErrorClass,
        error: &ServiceError,
        now: Now,
        rng: &mut Rng,
    ) {
        self.last_answer = Some((error.to_string(), now.wall_ms));
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            since_ms: now.mono_ms,
            class,
            failures: Failures::default(),
            retry_at_ms: 0,
        });
        let (bound_ms, least_ms) = trouble.failures.count(class);
        trouble.class = class;
        trouble.retry_at_ms = now.mono_ms + rng.u64(0..=bound_ms).max(least_ms);
    }

    /// Another target showed that the end of a common trouble has come: no reason to wait out a
    /// long backoff. What fails for want of help may be this target's own trouble (a permission);
    /// it is common (credentials) if nobody had a good answer since it began.
    pub(crate) fn wake(&mut self, end: End, now: Now, rng: &mut Rng) {
        let Some(trouble) = &mut self.trouble else {
            return;
        };
        let is_over = match trouble.class {
            ErrorClass::RetrySoon => end.outage == Outage::Over,
            ErrorClass::RetrySlowly => trouble.since_ms > end.well_ms,
            _ => false,
        };
        if is_over {
            let soon_ms = now.mono_ms + rng.u64(RETRY_MS_MIN..=WAKE_MS_MAX);
            trouble.retry_at_ms = trouble.retry_at_ms.min(soon_ms);
        }
    }

    /// Whether a person should hear of it.
    pub(crate) fn is_loud(&self, now: Now) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| {
            let failing_ms = now.mono_ms.saturating_sub(trouble.since_ms);
            trouble.class.is_loud(failing_ms)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use proptest::prelude::{Just, prop_assert, prop_oneof, proptest};

    fn at(mono_ms: u64) -> Now {
        Now {
            mono_ms,
            wall_ms: 0,
        }
    }

    fn error() -> ServiceError {
        ServiceError {
            class: ErrorClass::RetrySoon,
            code: "X".to_owned(),
            message: String::new(),
        }
    }

    const COMMON: End = End {
        well_ms: 4_000,
        outage: Outage::Over,
    };

    proptest! {
        /// Every wait lies between its class's bounds, and those grow with the failures of that
        /// class only, however many of another went before.
        #[test]
        fn waits_are_bounded(
            seed: u64,
            classes in proptest::collection::vec(prop_oneof![
                Just(ErrorClass::RetrySoon), Just(ErrorClass::Throttled),
                Just(ErrorClass::RetrySlowly)], 1..40),
        ) {
            let (mut pace, mut rng) = (Pace::new(1_000), Rng::with_seed(seed));
            for (nth, class) in classes.iter().enumerate() {
                pace.failed(*class, &error(), at(5_000), &mut rng);
                let before = classes[..nth].iter().filter(|earlier| *earlier == class).count();
                let wait_ms = pace.retry_at_ms().unwrap() - 5_000;
                let (base_ms, most_ms, least_ms) = match class {
                    ErrorClass::RetrySoon => (200_u64, 15_000, 50),
                    ErrorClass::Throttled => (1_000, 30_000, 50),
                    _ => (2_000, 60_000, 1_000),
                };
                let bound_ms = most_ms.min(base_ms << before.min(20));
                prop_assert!((least_ms..=bound_ms).contains(&wait_ms), "{class:?} {wait_ms}");
            }
            pace.succeeded(at(6_000));
            prop_assert!(!pace.is_troubled());
        }
    }

    /// Throttled puts widen the interval twofold up to half a minute, success narrows it back to
    /// what the user set and no further.
    #[test]
    fn the_interval_widens_and_recovers() {
        let mut pace = Pace::new(1_000);
        pace.put(at(0));
        let mut seen = Vec::new();
        for _ in 0..6 {
            pace.slow_down();
            seen.push(pace.interval_over_ms());
        }
        assert_eq!(seen, [2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        for _ in 0..7 {
            pace.succeeded(at(0));
        }
        assert_eq!(pace.interval_over_ms(), 1_000);
    }

    /// An answer on a call's merits ends the growth of throttled waits and of no other: after many
    /// failures of each class and such an answer, the next throttled wait is below a second, and
    /// others are longer than their first could be for some seed.
    #[test]
    fn an_answer_on_the_merits_ends_throttling_only() {
        let longest_ms = |class| {
            let waits = (0..50).map(|seed| {
                let (mut pace, mut rng) = (Pace::new(1_000), Rng::with_seed(seed));
                for _ in 0..9 {
                    pace.failed(class, &error(), at(5_000), &mut rng);
                }
                pace.noted(&error(), at(5_000));
                pace.failed(class, &error(), at(5_000), &mut rng);
                pace.retry_at_ms().unwrap() - 5_000
            });
            waits.max().unwrap()
        };
        assert!(longest_ms(ErrorClass::Throttled) <= 1_000);
        assert!(longest_ms(ErrorClass::RetrySoon) > 2_000);
        assert!(longest_ms(ErrorClass::RetrySlowly) > 8_000);
    }

    /// The end of an outage brings a long wait below a second; the end of a common want of
    /// permission does too, but what is one target's own trouble, or throttling, waits on: each is
    /// told the same end.
    #[test]
    fn only_common_trouble_is_woken_from() {
        let woken_wait_ms = |class, since_ms, end| {
            let (mut pace, mut rng) = (Pace::new(1_000), Rng::with_seed(3));
            for _ in 0..9 {
                pace.failed(class, &error(), at(since_ms), &mut rng);
            }
            let before = pace.retry_at_ms().unwrap();
            assert!(before > since_ms + 1_010, "the seed draws a long wait");
            pace.wake(end, at(since_ms + 10), &mut rng);
            (pace.retry_at_ms().unwrap() < before).then(|| pace.retry_at_ms().unwrap() - since_ms)
        };
        let no_outage = End {
            outage: Outage::None,
            ..COMMON
        };
        let soon = woken_wait_ms(ErrorClass::RetrySoon, 5_000, COMMON);
        assert!(soon.is_some_and(|wait_ms| wait_ms <= 1_010));
        assert_eq!(woken_wait_ms(ErrorClass::RetrySoon, 5_000, no_outage), None);
        let common = woken_wait_ms(ErrorClass::RetrySlowly, 5_000, no_outage);
        assert!(common.is_some_and(|wait_ms| wait_ms <= 1_010));
        assert_eq!(woken_wait_ms(ErrorClass::RetrySlowly, 3_000, COMMON), None);
        assert_eq!(woken_wait_ms(ErrorClass::Throttled, 5_000, COMMON), None);
    }
}
