//! When a record happened, by what it says of itself.
//!
//! Owns the way from a record's bytes to an instant, in two steps: the bytes are read into a
//! stamp (a pure function of the bytes; a memo of the last date and time to the second
//! only makes it cheaper), and the stamp is resolved with the zone and the time of reading. No date
//! is carried from one record to another: a record that has none says so ([`Dated::None`]) and the
//! caller inherits or takes the read time. The one thing remembered is the last instant, and it
//! does nothing but break ties in the hour a clock goes through twice (`zone.rs` has the rules).
//!
//! A time more than [`FUTURE_MAX_MS`] ahead of the read time or before 1990 is not believed: the
//! service would refuse the first, and the second is a clock that was never set. Old times are
//! kept, however old: the service decides.
//!
//! Called by `parse` once a record; one [`Dater`] per source.

mod calendar;
mod json;
mod pattern;
mod scan;
mod zone;

use jiff::tz::TimeZone;

use crate::config::Timestamp;
use crate::event::EpochMs;
use crate::parse::multiline::{Generation, agent_head};
use pattern::Pattern;
use scan::{Memo, Stamp};
use zone::LocalClock;

pub use pattern::check_pattern;

/// How far ahead of the read time a record may be. PutLogEvents refuses events more than two hours
/// in the future.
pub const FUTURE_MAX_MS: i64 = 2 * 3_600_000;

/// 1990-01-01T00:00:00Z: no log is older, so a clock that shows less was never set.
pub const BELIEVED_FROM_MS: EpochMs = 631_152_000_000;

/// How old a bare number at the head of a record may be to be taken for a time by the `auto` rule.
/// Any ten digits are some second between 2001 and 2286, and an order number taken for a date
/// would make the service refuse the record as too old.
const BARE_NUMBER_AGE_MAX_MS: i64 = 400 * 86_400_000;

/// What a record says about its own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dated {
    /// It happened then.
    At(EpochMs),
    /// The record has no time: the caller inherits or takes the read time.
    None,
    /// There is a time, and it cannot be true: counted, then treated as none.
    Unbelievable,
}

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("timestamp pattern `{pattern}`: {reason}")]
pub struct BadPattern {
    /// As written.
    pub pattern: String,
    /// Why not.
    pub reason: String,
}

/// Reads the time of one source's records.
#[derive(Debug)]
pub struct Dater {
    rule: Rule,
    memo: Memo,
    clock: LocalClock,
    last_ms: Option<EpochMs>,
}

/// [`Timestamp`], made ready.
#[derive(Debug)]
enum Rule {
    None,
    Auto,
    Pattern(Box<Pattern>),
    EpochMillis,
    EpochSeconds,
    Json(String),
    CodeDeployAgent,
    CodeDeployDeployments,
    CodeDeployScripts,
    CodeDeployUpdater,
}

impl Dater {
    /// A reader for one source; `zone` is what times without an offset are meant in.
    ///
    /// # Errors
    /// When the rule is a pattern that cannot be used.
    pub fn new(rule: &Timestamp, zone: TimeZone) -> Result<Self, BadPattern> {
        let rule = match rule {
            Timestamp::None => Rule::None,
            Timestamp::Auto => Rule::Auto,
            Timestamp::Pattern(text) => {
                let pattern = Pattern::new(text).map_err(|reason| BadPattern {
                    pattern: text.clone(),
                    reason,
                })?;
                Rule::Pattern(Box::new(pattern))
            }
            Timestamp::EpochMillis => Rule::EpochMillis,
            Timestamp::EpochSeconds => Rule::EpochSeconds,
            Timestamp::Json(field) => Rule::Json(field.clone()),
            Timestamp::CodeDeployAgent => Rule::CodeDeployAgent,
            Timestamp::CodeDeployDeployments => Rule::CodeDeployDeployments,
            Timestamp::CodeDeployScripts => Rule::CodeDeployScripts,
            Timestamp::CodeDeployUpdater => Rule::CodeDeployUpdater,
        };
        Ok(Self {
            rule,
            memo: Memo::default(),
            clock: LocalClock::new(zone),
            last_ms: None,
        })
    }

    /// The time of one record (or its first line), read from the file at `read_at_ms`.
    pub fn date(&mut self, record: &[u8], read_at_ms: EpochMs) -> Dated {
        let Some(stamp) = self.read(record, read_at_ms) else {
            return Dated::None;
        };
        let resolved = match stamp {
            Stamp::Instant(ms) => Some(ms),
            Stamp::Local(local) => self.clock.resolve(local, read_at_ms, self.last_ms),
            Stamp::Yearless(day) => self.clock.nearest(day, read_at_ms, self.last_ms),
        };
        match resolved {
            Some(ms) if is_believable(ms, read_at_ms) => {
                self.last_ms = Some(ms);
                Dated::At(ms)
            }
            _ => Dated::Unbelievable,
        }
    }

    /// The last time given, which only breaks ties in the hour a clock goes through twice: kept
    /// by the caller per file, given back by [`Dater::resume`] when it turns to that file again.
    #[must_use]
    pub fn last_ms(&self) -> Option<EpochMs> {
        self.last_ms
    }

    /// Turns to another file, whose last time was this.
    pub fn resume(&mut self, last_ms: Option<EpochMs>) {
        self.last_ms = last_ms;
    }

    fn read(&mut self, record: &[u8], read_at_ms: EpochMs) -> Option<Stamp> {
        let memo = &mut self.memo;
        match &mut self.rule {
            Rule::None => None,
            Rule::Auto => auto(record, memo, read_at_ms),
            Rule::Pattern(pattern) => pattern.read(record),
            Rule::EpochMillis => scan::epoch_millis(record),
            Rule::EpochSeconds => scan::epoch_seconds(record),
            Rule::Json(field) => {
                json::find(record, &[field.as_bytes()]).find_map(|value| json_stamp(&value, memo))
            }
            Rule::CodeDeployAgent => agent(record, memo),
            Rule::CodeDeployDeployments => deployments(record, memo),
            Rule::CodeDeployScripts => {
                let (local, bytes) = scan::iso_local(record, memo)?;
                (record.get(bytes) == Some(&b' ')).then_some(Stamp::Local(local))
            }
            Rule::CodeDeployUpdater => updater(record, memo),
        }
    }
}

fn is_believable(ms: EpochMs, read_at_ms: EpochMs) -> bool {
    // A machine whose own clock was never set cannot judge the future.
    let clock_is_set = read_at_ms >= BELIEVED_FROM_MS;
    ms >= BELIEVED_FROM_MS && (!clock_is_set || ms <= read_at_ms.saturating_add(FUTURE_MAX_MS))
}

/// codedeploy-agent.log and codedeploy-local.log: 1.x in local time, 2.x in UTC.
fn agent(record: &[u8], memo: &mut Memo) -> Option<Stamp> {
    let first_line = match memchr::memchr(b'\n', record) {
        Some(end) => &record[..end],
        None => record,
    };
    let generation = agent_head(first_line)?;
    let (local, _) = scan::iso_local(record, memo)?;
    Some(match generation {
        Generation::One => Stamp::Local(local),
        Generation::Two => Stamp::Instant(local.as_utc_ms()),
    })
}

/// `[2026-11-21 01:53:20.025] …`, or the header of a new file, which has an offset.
fn deployments(record: &[u8], memo: &mut Memo) -> Option<Stamp> {
    let time = record
        .strip_prefix(b"[")
        .or_else(|| record.strip_prefix(b"# Logfile created on "))?;
    scan::iso(time, memo)
}

/// 1.x `I, [2026-11-21T02:10:01.696894 #20696]  INFO -- : …`, 2.x `[2026-11-21T02:10:01Z] …`.
fn updater(record: &[u8], memo: &mut Memo) -> Option<Stamp> {
    let time = match record {
        [b'#', ..] => record.strip_prefix(b"# Logfile created on ")?,
        [b'[', time @ ..] => time,
        [level, b',', b' ', b'[', time @ ..] if level.is_ascii_uppercase() => time,
        _ => return None,
    };
    scan::iso(time, memo)
}

/// Any known format at the head of the record.
fn auto(record: &[u8], memo: &mut Memo, read_at_ms: EpochMs) -> Option<Stamp> {
    if let Some(stamp) = scan::text(record, memo) {
        return Some(stamp);
    }
    if record.first() == Some(&b'{') {
        return json::find(record, json::USUAL_FIELDS).find_map(|value| {
            json_stamp(&value, memo)
                .filter(|stamp| !matches!(stamp, Stamp::Instant(ms) if *ms < BELIEVED_FROM_MS))
        });
    }
    scan::bare_epoch(record).filter(|stamp| {
        matches!(stamp, Stamp::Instant(ms)
            if read_at_ms.saturating_sub(*ms) <= BARE_NUMBER_AGE_MAX_MS && is_believable(*ms, read_at_ms))
    })
}

/// A field's value: a number by its size, or text in any known format.
fn json_stamp(value: &json::Value<'_>, memo: &mut Memo) -> Option<Stamp> {
    match value {
        json::Value::Number(digits) => json::epoch_by_size(digits),
        json::Value::Text(text) => scan::text(text, memo).or_else(|| json::epoch_by_size(text)),
    }
}

#[cfg(test)]
mod tests;
