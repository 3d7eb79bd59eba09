//! Wall-clock time → instant, in one zone.
//!
//! **The ordinary case.** Between two changes of the zone's offset the way is one subtraction, so
//! the stretch of wall-clock time around the last question is remembered, with its offset. The
//! time-zone library is asked again only outside it.
//!
//! **The gap** (clocks go forward; the time never was): the offset before the gap, as a program
//! that did not notice would have meant it.
//!
//! **The fold** (clocks go back; the time was twice). Of the two instants:
//! 1. not the later one if it lies more than [`AHEAD_MAX_MS`] after the read time: nothing is read
//!    before it is written;
//! 2. the later one if the earlier lies more than [`DISORDER_MAX_MS`] before the record before it:
//!    a log does not go back an hour;
//! 3. the earlier one if it continues the record before it (within [`DISORDER_MAX_MS`]): a dense
//!    backlog that happens to be read just an hour late;
//! 4. the later one if it is fresh (read within [`AHEAD_MAX_MS`]): a quiet file, tailed live;
//! 5. otherwise the earlier one. A quiet file read long after is the one case nobody can decide.

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::calendar::{days_from_civil, is_date};
use super::scan::{Local, Yearless};
use crate::event::EpochMs;

/// How far ahead of the read time a record in the fold may seem: clocks are not that exact.
const AHEAD_MAX_MS: i64 = 60_000;

/// How far two neighbouring records may be out of order: stdout and stderr of one script are
/// written by two threads.
const DISORDER_MAX_MS: i64 = 60_000;

/// The wall clock of one zone.
#[derive(Debug)]
pub(super) struct LocalClock {
    zone: TimeZone,
    /// Where the last answer holds.
    window: Option<Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    /// The first wall-clock second.
    from: i64,
    /// One past the last.
    until: i64,
    /// Seconds east of UTC in between.
    offset: i64,
}

impl LocalClock {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self { zone, window: None }
    }

    /// The instant the clock showed this; `None` beyond what the calendar knows.
    pub(super) fn resolve(
        &mut self,
        local: Local,
        read_at_ms: EpochMs,
        last_ms: Option<EpochMs>,
    ) -> Option<EpochMs> {
        let Local { seconds, ms } = local;
        if let Some(window) = self.window
            && (window.from..window.until).contains(&seconds)
        {
            return Some((seconds - window.offset) * 1000 + ms);
        }
        let civil = Offset::UTC.to_datetime(Timestamp::from_second(seconds).ok()?);
        let offset = match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                let offset = i64::from(offset.seconds());
                self.window = self.window_around(seconds, offset);
                offset
            }
            AmbiguousOffset::Gap { before, .. } => i64::from(before.seconds()),
            AmbiguousOffset::Fold { before, after } => {
                let [earlier, later] = [before, after]
                    .map(|offset| (seconds - i64::from(offset.seconds())) * 1000 + ms);
                return Some(choose(earlier, later, read_at_ms, last_ms));
            }
        };
        Some((seconds - offset) * 1000 + ms)
    }

    /// The instant nearest to the read time at which the clock showed this in some year: cross
    /// year ends both ways, and 29 February in a leap year.
    pub(super) fn nearest(
        &mut self,
        day: Yearless,
        read_at_ms: EpochMs,
        last_ms: Option<EpochMs>,
    ) -> Option<EpochMs> {
        let read_at = Timestamp::from_millisecond(read_at_ms).ok()?;
        let this_year = i64::from(Offset::UTC.to_datetime(read_at).year());
        // A leap year is at most eight years away.
        let reach = if (day.month, day.day) == (2, 29) {
            8
        } else {
            1
        };
        let wall = |year: i64| Local {
            seconds: days_from_civil(year, day.month, day.day) * 86_400 + day.seconds,
            ms: day.ms,
        };
        let year = (this_year - reach..=this_year + reach)
            .filter(|&year| is_date(year, day.month, day.day))
            .min_by_key(|&year| (wall(year).as_utc_ms() - read_at_ms).abs())?;
        match day.offset {
            Some(offset) => Some(wall(year).as_utc_ms() - offset * 1000),
            None => self.resolve(wall(year), read_at_ms, last_ms),
        }
    }

    /// The stretch of wall-clock time around `seconds` in which only this offset holds.
    fn window_around(&self, seconds: i64, offset: i64) -> Option<Window> {
        let instant = seconds - offset;
        let just_after = Timestamp::from_second(instant + 1).ok()?;
        let begin = self.zone.preceding(just_after).next().map(|change| {
            let at = change.timestamp().as_second();
            let before = Timestamp::from_second(at - 1).map_or(offset, |moment| {
                i64::from(self.zone.to_offset(moment).seconds())
            });
            at + before.max(offset)
        });
        let end = self
            .zone
            .following(Timestamp::from_second(instant).ok()?)
            .next();
        let end = end.map(|change| {
            let after = i64::from(change.offset().seconds());
            change.timestamp().as_second() + after.min(offset)
        });
        let window = Window {
            from: begin.unwrap_or(i64::MIN),
            until: end.unwrap_or(i64::MAX),
            offset,
        };
        (window.from..window.until)
            .contains(&seconds)
            .then_some(window)
    }
}

/// Which of the two instants of a fold; the rules are in the module's doc.
fn choose(
    earlier: EpochMs,
    later: EpochMs,
    read_at_ms: EpochMs,
    last_ms: Option<EpochMs>,
) -> EpochMs {
    if later > read_at_ms.saturating_add(AHEAD_MAX_MS) {
        return earlier;
    }
    if let Some(last) = last_ms {
        if earlier < last.saturating_sub(DISORDER_MAX_MS) {
            return later;
        }
        if earlier - last <= DISORDER_MAX_MS {
            return earlier;
        }
    }
    if read_at_ms - later <= AHEAD_MAX_MS {
        later
    } else {
        earlier
    }
}
