//! The user's own strftime-like pattern, read by the time-zone library's parser.
//!
//! The parser has no compiled form and costs some hundred nanoseconds, so the last match is
//! remembered: a record that begins with the same bytes up to and including a byte no directive
//! can run over means the same.

use jiff::Timestamp;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{Offset, TimeZone};

use super::scan::{Local, Stamp, Yearless, skip_head};

/// A pattern that was found to be usable.
#[derive(Debug)]
pub(super) struct Pattern {
    format: Box<[u8]>,
    /// The bytes of the last match, with the byte behind it; empty for none.
    last_head: Vec<u8>,
    last: Option<Stamp>,
}

/// Whether a pattern can be used, and if not, why.
///
/// It is tried on two known moments: what it writes it must read again, and what it reads must
/// hold a date (the year may be missing) and a time of day.
///
/// # Errors
/// The reason, as a fragment.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    // 2001-12-03T04:05:09Z and 2026-11-21T22:13:54Z, away from each other in every field.
    for seconds in [1_007_352_309, 1_795_299_234] {
        let moment = Timestamp::from_second(seconds).map_err(|error| error.to_string())?;
        let zoned = moment.to_zoned(TimeZone::UTC);
        let written = BrokenDownTime::from(&zoned)
            .to_string(pattern)
            .map_err(|error| error.to_string())?;
        let (read, _) = BrokenDownTime::parse_prefix(pattern, &written)
            .map_err(|error| format!("cannot be read back: {error}"))?;
        if read.iana_time_zone().is_some() {
            return Err("names of time zones cannot be read, only offsets (`%z`)".to_owned());
        }
        if read.timestamp().is_none() && read.hour().is_none() {
            return Err("it has no time of day (`%H:%M:%S`, `%T` or `%s`)".to_owned());
        }
        let stamp = stamp(read).ok_or("it has no date (`%Y-%m-%d`, `%F`, `%b %d` or `%s`)")?;
        let same = match stamp {
            Stamp::Instant(ms) => (ms / 1000).abs_diff(seconds) < 3600,
            Stamp::Local(local) => local.seconds.abs_diff(seconds) < 3600,
            Stamp::Yearless(_) => true,
        };
        if !same {
            return Err(format!("it writes `{written}` and reads another time back"));
        }
    }
    Ok(())
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        check_pattern(pattern)?;
        Ok(Self {
            format: pattern.as_bytes().into(),
            last_head: Vec::new(),
            last: None,
        })
    }

    /// The time at the head of the record, at its first byte or behind what may stand before it.
    pub(super) fn read(&mut self, record: &[u8]) -> Option<Stamp> {
        if self.last.is_some() && record.starts_with(&self.last_head) {
            return self.last;
        }
        let skipped = record.len() - skip_head(record).len();
        let (stamp, end) = self.read_at(record, 0).or_else(|| match skipped {
            0 => None,
            _ => self.read_at(record, skipped),
        })?;
        if matches!(
            record.get(end),
            Some(b' ' | b'\t' | b']' | b')' | b'|' | b'"' | b';')
        ) {
            self.last_head.clear();
            self.last_head.extend_from_slice(&record[..=end]);
            self.last = Some(stamp);
        }
        Some(stamp)
    }

    fn read_at(&self, record: &[u8], start: usize) -> Option<(Stamp, usize)> {
        let (read, bytes) = BrokenDownTime::parse_prefix(&self.format, &record[start..]).ok()?;
        Some((stamp(read)?, start + bytes))
    }
}

fn stamp(mut read: BrokenDownTime) -> Option<Stamp> {
    if let Some(moment) = read.timestamp() {
        return Some(Stamp::Instant(moment.as_millisecond()));
    }
    let has_year = read.year().is_some() || read.iso_week_year().is_some();
    if !has_year {
        // The day of the week and of the year are another one in another year.
        read.set_weekday(None);
        read.set_day_of_year(None).ok()?;
        // A leap year, so that 29 February is a date.
        read.set_year(Some(2000)).ok()?;
    }
    let civil = read.to_datetime().ok()?;
    let moment = Offset::UTC.to_timestamp(civil).ok()?;
    let local = Local {
        seconds: moment.as_second(),
        ms: i64::from(civil.subsec_nanosecond() / 1_000_000),
    };
    let offset = read.offset().map(|offset| i64::from(offset.seconds()));
    match (has_year, offset) {
        (true, Some(offset)) => Some(Stamp::Instant(local.as_utc_ms() - offset * 1000)),
        (true, None) => Some(Stamp::Local(local)),
        (false, _) => Some(Stamp::Yearless(Yearless {
            month: u32::try_from(civil.month()).ok()?,
            day: u32::try_from(civil.day()).ok()?,
            seconds: local.seconds.rem_euclid(86_400),
            ms: local.ms,
            offset,
        })),
    }
}
