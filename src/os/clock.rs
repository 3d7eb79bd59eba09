//! The two clocks of a step, read together.
//!
//! Monotonic time is `CLOCK_BOOTTIME`: it goes on while the machine is suspended (EC2 hibernates),
//! so a deadline that passed in the meantime is due at once.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::event::Now;

/// The present moment.
#[must_use]
pub fn now() -> Now {
    let mono = clock_gettime(ClockId::Boottime);
    let wall = clock_gettime(ClockId::Realtime);
    Now {
        mono_ms: u64::try_from(millis(mono)).unwrap_or(0),
        wall_ms: millis(wall),
    }
}

/// Microseconds of `CLOCK_MONOTONIC`, the clock systemd counts reloads by.
pub(crate) fn monotonic_us() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
}

fn millis(time: Timespec) -> i64 {
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_never_goes_back_and_wall_time_is_the_systems() {
        // Monotonic readings must be ordered, and the wall clock the one std reads: shown by
        // taking both on either side of std's.
        let before = now();
        let std_ms = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis() as i64;
        let after = now();
        assert!(before.mono_ms <= after.mono_ms);
        assert!(before.wall_ms <= std_ms && std_ms <= after.wall_ms);
        assert!(monotonic_us() > 0);
    }
}
