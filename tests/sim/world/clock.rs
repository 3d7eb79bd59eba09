//! Virtual time. It starts at a constant, moves only when the run says so, and the machine's idea
//! of the date may differ from the truth.

use deploywatch::event::{EpochMs, Now};

/// 2026-11-18T12:26:40Z, when every simulation begins.
pub(crate) const EPOCH_MS: EpochMs = 1_795_004_800_000;

/// The clocks of one simulated machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// Milliseconds since the simulation began: the simulation's own, true time.
    pub(crate) ms: u64,
    booted_ms: u64,
    skew_ms: i64,
}

impl Clock {
    /// What the agent is told.
    pub(crate) fn now(&self) -> Now {
        Now {
            mono_ms: self.ms - self.booted_ms + 1_000,
            wall_ms: self.true_ms() + self.skew_ms,
        }
    }

    /// The date as the service has it.
    pub(crate) fn true_ms(&self) -> EpochMs {
        EPOCH_MS + i64::try_from(self.ms).expect("a simulation is short")
    }

    /// The simulation's time at which the agent's monotonic clock shows `mono_ms`.
    pub(crate) fn at_mono(&self, mono_ms: u64) -> u64 {
        (mono_ms + self.booted_ms).saturating_sub(1_000)
    }

    /// Goes on to a later moment.
    pub(crate) fn advance_to(&mut self, ms: u64) {
        self.ms = self.ms.max(ms);
    }

    /// The date is set: by so much away from the truth.
    pub(crate) fn set_skew(&mut self, skew_ms: i64) {
        self.skew_ms = skew_ms;
    }

    /// The machine boots: the monotonic clock begins again.
    pub(crate) fn reboot(&mut self) {
        self.booted_ms = self.ms;
    }
}
