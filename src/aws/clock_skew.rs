//! The service's time, for signing: the system's clock plus a correction learnt from the service.
//!
//! A request signed more than five minutes off is refused. When that happens the answer's `Date`
//! header says what time it is, and every later request is signed with the difference added; the
//! system's clock is never touched. The correction is an absolute one, so a system clock that is
//! set right afterwards only leads to one more refusal and one more correction. The SDK's own
//! correction is switched off: two of them would add up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_async::time::TimeSource;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// A correction smaller than this is noise: `Date` counts whole seconds and travels.
const NOISE_MS: i64 = 2_000;

/// The clock requests are signed by. Clones share their correction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        let system = SystemTime::now();
        let offset = self.offset_ms();
        let by = Duration::from_millis(offset.unsigned_abs());
        let shifted = if offset >= 0 {
            system.checked_add(by)
        } else {
            system.checked_sub(by)
        };
        shifted.unwrap_or(system)
    }
}

impl Clock {
    /// The correction, in ms; 0 while the service takes the system's time.
    pub(crate) fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }

    /// Takes over the time of an answer that complained about ours. Logged once per correction.
    pub(crate) fn correct(&self, date: &str) {
        let Ok(service) = DateTime::from_str(date, Format::HttpDate) else {
            tracing::warn!("the service refuses our clock but does not say what time it is");
            return;
        };
        let Ok(service_ms) = service.to_millis() else {
            return;
        };
        let told = service_ms.saturating_sub(epoch_ms(SystemTime::now()));
        let is_right = told.unsigned_abs() < NOISE_MS.unsigned_abs();
        let wanted = if is_right { 0 } else { told };
        let present = self.offset_ms();
        if wanted.abs_diff(present) < NOISE_MS.unsigned_abs() {
            return;
        }
        self.offset_ms.store(wanted, Ordering::Relaxed);
        if is_right {
            tracing::info!("the system's clock is right again; requests are signed with its time");
            return;
        }
        tracing::warn!(
            ahead_seconds = wanted / 1_000,
            "the system's clock is wrong by this much; requests are signed with the service's time"
        );
    }
}

fn epoch_ms(time: SystemTime) -> i64 {
    let (distance, sign) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (after, 1),
        Err(before) => (before.duration(), -1),
    };
    i64::try_from(distance.as_millis()).map_or(i64::MAX, |ms| ms * sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn off_by_s(clock: &Clock) -> i64 {
        (epoch_ms(clock.now()) - epoch_ms(SystemTime::now())) / 1_000
    }

    /// The service's date is taken over in both directions, also from years away, and a second
    /// correction replaces the first: shown by the distance from the system's clock.
    #[test]
    fn takes_over_the_services_time() {
        let clock = Clock::default();
        for wanted_s in [3_600_i64, -3_600, 400 * 86_400, 30] {
            let date = DateTime::from_millis(epoch_ms(SystemTime::now()) + wanted_s * 1_000)
                .fmt(Format::HttpDate)
                .unwrap();
            clock.correct(&date);
            assert!((off_by_s(&clock) - wanted_s).abs() <= 2, "{wanted_s}");
        }
    }

    /// A system clock that is set right afterwards is taken as it is again, to the last millisecond, and
    /// not called wrong: shown by a correction that its next refusal takes back.
    #[test]
    fn trusts_a_clock_that_is_right_again() {
        let clock = Clock::default();
        let date = |ahead_ms| {
            let date = DateTime::from_millis(epoch_ms(SystemTime::now()) + ahead_ms);
            date.fmt(Format::HttpDate).unwrap()
        };
        clock.correct(&date(3_600_000));
        assert_ne!(clock.offset_ms(), 0);
        clock.correct(&date(0));
        assert_eq!(clock.offset_ms(), 0);
    }

    /// Nonsense and differences within the header's own precision change nothing.
    #[test]
    fn ignores_noise_and_nonsense() {
        let clock = Clock::default();
        let now = DateTime::from_millis(epoch_ms(SystemTime::now())).fmt(Format::HttpDate);
        for date in ["", "yesterday", &now.unwrap()] {
            clock.correct(date);
            assert_eq!(clock.offset_ms(), 0, "{date}");
        }
    }
}
