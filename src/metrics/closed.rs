//! Which periods have had their gauges and zeros.

use crate::event::EpochMs;

/// Which periods were closed, as ranges of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Closed(Vec<(EpochMs, EpochMs)>);

/// So many ranges are kept: each is a time the agent ran without a break.
const RANGES_MAX: usize = 100;

impl Closed {
    /// Ranges that an earlier run knew.
    pub(super) fn restore(ranges: &[(EpochMs, EpochMs)]) -> Self {
        let mut closed = Self::default();
        for (from_ms, until_ms) in ranges.iter().filter(|(from, until)| from < until) {
            closed.add(*from_ms, *until_ms);
        }
        closed
    }

    /// All ranges, in order.
    pub(super) fn ranges(&self) -> &[(EpochMs, EpochMs)] {
        &self.0
    }

    /// Forgets what lies ahead of the right date.
    pub(super) fn forget_ahead(&mut self, now_ms: EpochMs) {
        self.0.retain(|(from_ms, _)| *from_ms < now_ms);
        for (_, until_ms) in &mut self.0 {
            *until_ms = (*until_ms).min(now_ms);
        }
    }

    /// Closes a period; false if any of it was closed before.
    pub(super) fn add(&mut self, from_ms: EpochMs, until_ms: EpochMs) -> bool {
        let at = self.0.partition_point(|(_, until)| *until <= from_ms);
        if self.0.get(at).is_some_and(|(from, _)| *from < until_ms) {
            return false;
        }
        self.0.insert(at, (from_ms, until_ms));
        if self
            .0
            .get(at + 1)
            .is_some_and(|(from, _)| *from == until_ms)
        {
            self.0[at].1 = self.0.remove(at + 1).1;
        }
        if at > 0 && self.0[at - 1].1 == from_ms {
            self.0[at - 1].1 = self.0.remove(at).1;
        }
        if self.0.len() > RANGES_MAX {
            self.0.remove(0);
        }
        true
    }
}
