//! Whose date a datum has: the service's, where it is another than the system's.
//!
//! A request that is signed by a wrong date is refused, and the refusal says what date it is. From
//! then on numbers are dated by the service's date. What was counted before by a date that lies
//! ahead is given up: at the service it would look fresh when that date comes, hours later, and an
//! alarm would act on it. What is dated behind does no harm: no evaluation looks back so far.

use super::Metrics;
use super::tally::Refusal;
use crate::event::{EpochMs, Now};

/// A difference smaller than this is none: the service tells whole seconds.
const NOISE_MS: u64 = 2_000;

/// How far the service's date is ahead of the system's.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// As the service told it, 0 until it does.
    told_ms: i64,
    /// How far the system's date was ahead of the monotonic clock then: it may be set since.
    slip_ms: i64,
    /// As it is now.
    present_ms: i64,
}

impl Difference {
    /// Takes what was told last; true if the difference is another now.
    fn update(&mut self, told_ms: i64, now: Now) -> bool {
        let slip_ms = now.wall_ms - i64::try_from(now.mono_ms).unwrap_or(0);
        if told_ms != self.told_ms {
            (self.told_ms, self.slip_ms) = (told_ms, slip_ms);
        }
        let before_ms = self.present_ms;
        self.present_ms = match told_ms {
            0 => 0,
            _ => told_ms.saturating_sub(slip_ms - self.slip_ms),
        };
        before_ms.abs_diff(self.present_ms) > NOISE_MS
    }
}

impl Metrics {
    /// The service's date of something that happened by ours.
    pub(super) fn dated(&self, at_ms: EpochMs) -> EpochMs {
        at_ms.saturating_add(self.difference.present_ms)
    }

    /// Takes over how far the service's date is ahead of the system's; now, by the service's.
    pub(super) fn agree_on_date(&mut self, told_ms: i64, now: Now) -> Now {
        let has_changed = self.difference.update(told_ms, now);
        let now = Now {
            wall_ms: self.dated(now.wall_ms),
            ..now
        };
        if has_changed {
            self.give_up_ahead(now);
        }
        now
    }

    fn give_up_ahead(&mut self, now: Now) {
        let in_requests = self.publisher.drop_newer(now.wall_ms);
        let (_, ahead) = self.registry.keep_within(EpochMs::MIN, now.wall_ms);
        self.registry.forget_ahead(now.wall_ms);
        self.tally.refuse(Refusal::TooNew, in_requests + ahead);
        self.version += 1;
    }
}
