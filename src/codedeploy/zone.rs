//! How far the dates that the CodeDeploy agent writes are from ours.
//!
//! It writes local time without an offset, and its service reads `/etc/profile`, which may set another zone
//! than the machine's, in which we read. Every date is then wrong by the same hours: what fails soon after a
//! boot looks older than the boot, and what runs looks hours old. What was written since we last looked tells
//! the difference: it happened between then and now, and zones lie whole quarters of an hour apart.

use serde::{Deserialize, Serialize};

use super::roster::{Moment, mono};
use crate::event::EpochMs;

/// Zones differ by whole numbers of these.
const STEP_MS: i64 = 15 * 60_000;
/// No two zones are further apart.
const APART_MS: i64 = 26 * 3_600_000;
/// Where the last look is longer ago, a record may be as old as any.
const LOOKED_MS: i64 = 60_000;
/// Dates are whole seconds, and not written at once.
const SLACK_MS: i64 = 2_000;

/// What is to be added to the dates.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Difference {
    ms: i64,
    /// Another one that a record spoke for, and the look it came behind. A file that is read anew may hold
    /// records that fit by chance, but all behind one look.
    #[serde(skip)]
    other: Option<(i64, i64)>,
}

impl Difference {
    /// Learns from a record that dates itself by the local time.
    pub(super) fn learn(&mut self, moment: Moment) {
        let Some(not_before) = moment.not_before else {
            return;
        };
        let behind_ms = moment.now.wall_ms.saturating_sub(moment.at_ms);
        let since_ms = mono(moment.now).saturating_sub(not_before);
        if behind_ms.saturating_abs() > APART_MS + LOOKED_MS || since_ms > LOOKED_MS {
            return;
        }
        let ms = (behind_ms + STEP_MS / 2).div_euclid(STEP_MS) * STEP_MS;
        if !(-SLACK_MS..=since_ms + SLACK_MS).contains(&(behind_ms - ms)) {
            return;
        }
        match self.other {
            _ if ms == self.ms => self.other = None,
            Some((other_ms, look)) if other_ms == ms => {
                if look != not_before {
                    *self = Self { ms, other: None };
                }
            }
            _ => self.other = Some((ms, not_before)),
        }
    }

    /// When that really was.
    pub(super) fn right(self, at_ms: EpochMs) -> EpochMs {
        at_ms.saturating_add(self.ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Now;
    use proptest::prelude::*;

    const NOW: Now = Now {
        mono_ms: 90_000_000,
        wall_ms: 1_795_000_000_000,
    };

    /// A record that is heard so long after it was written, in a zone so far behind ours.
    fn record(now: Now, looked: i64, zone_ms: i64, age_ms: i64) -> Moment {
        Moment {
            at_ms: now.wall_ms - age_ms - zone_ms,
            not_before: Some(looked),
            now,
        }
    }

    proptest! {
        #[test]
        fn two_looks_teach_any_zone(
            quarters in -56_i64..=104, ages in prop::collection::vec(0..4_900_i64, 2..4),
        ) {
            // Whatever the zone, records behind two looks tell the difference, and those of the same zone
            // keep it: each record's time is right to the second.
            let zone_ms = quarters * STEP_MS;
            let mut difference = Difference::default();
            let mut now = NOW;
            for age_ms in &ages {
                difference.learn(record(now, mono(now) - 5_000, zone_ms, *age_ms));
                now.mono_ms += 30_000;
                now.wall_ms += 30_000;
            }
            prop_assert_eq!(difference.right(now.wall_ms - zone_ms), now.wall_ms);
        }

        #[test]
        fn one_look_teaches_nothing(
            ages in prop::collection::vec(0..APART_MS + STEP_MS, 0..300), far in any::<i64>(),
        ) {
            // However many records come behind one look, as of a file that is read anew, and however they
            // are dated: the difference stays.
            let mut difference = Difference::default();
            for age_ms in ages {
                difference.learn(record(NOW, mono(NOW) - 5_000, 0, age_ms));
            }
            let far = Moment { at_ms: far, ..record(NOW, 0, 0, 0) };
            difference.learn(far);
            prop_assert_eq!(difference.right(NOW.wall_ms), NOW.wall_ms);
        }
    }
}
