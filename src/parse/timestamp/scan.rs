//! Bytes → [`Stamp`], format by format, without a regex and without an allocation.
//!
//! A pure function of the bytes. [`Memo`] remembers the last date and time to the second of the
//! two usual shapes, so that the next record of the same second costs a comparison; with or
//! without it the answer is the same.

use super::calendar::{days_from_civil, is_date};
use crate::event::EpochMs;

/// How far into a record an Apache-like `[21/Nov/2026:…]` is looked for, behind address and user.
const CLF_SEARCH_BYTES: usize = 128;

/// `2026-11-21 02:03:04`
const ISO_BYTES: usize = 19;

/// `21/Nov/2026:02:03:04`
const CLF_BYTES: usize = 20;

/// A time as written: as much of an instant as the text alone gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    /// It had an offset, or was a number.
    Instant(EpochMs),
    /// Date and time of a wall clock.
    Local(Local),
    /// The same without a year.
    Yearless(Yearless),
}

/// What a wall clock showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    /// Seconds since 1970-01-01T00:00:00 on that clock.
    pub(super) seconds: i64,
    /// Milliseconds of the second.
    pub(super) ms: i64,
}

/// What a wall clock showed, but for the year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Yearless {
    /// 1–12.
    pub(super) month: u32,
    /// 1–31, valid in a leap year.
    pub(super) day: u32,
    /// Seconds since midnight.
    pub(super) seconds: i64,
    /// Milliseconds of the second.
    pub(super) ms: i64,
    /// Seconds east of UTC, where it says so (a user's pattern may).
    pub(super) offset: Option<i64>,
}

impl Local {
    pub(super) fn as_utc_ms(self) -> EpochMs {
        self.seconds * 1000 + self.ms
    }
}

/// The last date and time to the second, per shape: its bytes and what they mean.
#[derive(Debug, Default)]
pub(super) struct Memo {
    iso: Option<([u8; ISO_BYTES], i64)>,
    clf: Option<([u8; CLF_BYTES], i64)>,
}

/// A time written as text at the head of the record, or like Apache's within its beginning.
pub(super) fn text(record: &[u8], memo: &mut Memo) -> Option<Stamp> {
    let head = skip_head(record);
    let begins_with_digit = head.first()?.is_ascii_digit();
    // Nearly every line's, and handed on without a detour.
    if begins_with_digit && let stamp @ Some(_) = iso(head, memo) {
        return stamp;
    }
    match begins_with_digit {
        true => clf(head, memo),
        false => month_day(head),
    }
    .or_else(|| bracketed_clf(record, memo))
}

/// `2026-11-21T02:03:04` with fraction and offset where there are: RFC 3339, ISO 8601 and their
/// relatives (`/` for `-`, a space for `T`, a comma before the fraction, ` +0000`, ` UTC`).
pub(super) fn iso(text: &[u8], memo: &mut Memo) -> Option<Stamp> {
    let core = text.first_chunk::<ISO_BYTES>()?;
    let seconds = iso_core_remembered(core, memo)?;
    Some(with_tail(seconds, &text[ISO_BYTES..]))
}

/// The same as a wall clock showed it, with a fraction or without, whatever follows; and the bytes
/// it took.
pub(super) fn iso_local(text: &[u8], memo: &mut Memo) -> Option<(Local, usize)> {
    let core = text.first_chunk::<ISO_BYTES>()?;
    let seconds = iso_core_remembered(core, memo)?;
    let (ms, bytes) = fraction_ms(&text[ISO_BYTES..]);
    Some((Local { seconds, ms }, ISO_BYTES + bytes))
}

/// Seconds since the epoch at the head, however many; a fraction is allowed.
pub(super) fn epoch_seconds(record: &[u8]) -> Option<Stamp> {
    let head = skip_head(record);
    let (seconds, digits) = number(head)?;
    let (ms, _) = fraction_ms(&head[digits..]);
    Some(Stamp::Instant(
        seconds.saturating_mul(1000).saturating_add(ms),
    ))
}

/// Milliseconds since the epoch at the head, however many.
pub(super) fn epoch_millis(record: &[u8]) -> Option<Stamp> {
    number(skip_head(record)).map(|(ms, _)| Stamp::Instant(ms))
}

/// Ten digits (seconds) or thirteen (milliseconds) at the head, standing for themselves.
pub(super) fn bare_epoch(record: &[u8]) -> Option<Stamp> {
    let head = skip_head(record);
    let (value, digits) = number(head)?;
    let (ms, fraction) = match digits {
        10 => {
            let (ms, bytes) = fraction_ms(&head[10..]);
            (value * 1000 + ms, bytes)
        }
        13 => (value, 0),
        _ => return None,
    };
    let next = head.get(digits + fraction)?;
    matches!(next, b' ' | b'\t' | b']' | b',' | b':' | b'|' | b';').then_some(Stamp::Instant(ms))
}

/// What may stand before a time: colours, `<34>` and `<34>1 ` of syslog, `I, [` of Ruby, `[`.
pub(super) fn skip_head(record: &[u8]) -> &[u8] {
    let mut rest = record;
    while let [0x1b, b'[', colour @ ..] = rest {
        let parameters = colour
            .iter()
            .take_while(|byte| (0x30..=0x3f).contains(*byte))
            .count();
        match &colour[parameters..] {
            [b'm', text @ ..] => rest = text,
            _ => return rest,
        }
    }
    if let [b'<', priority @ ..] = rest {
        let digits = priority
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        match &priority[digits..] {
            [b'>', b'1', b' ', text @ ..] | [b'>', text @ ..] if (1..=3).contains(&digits) => {
                rest = text;
            }
            _ => return rest,
        }
    }
    match rest {
        [b'[', text @ ..] => text,
        [b'A'..=b'Z', b',', b' ', b'[', text @ ..] => text,
        _ => rest,
    }
}

#[inline]
fn iso_core_remembered(core: &[u8; ISO_BYTES], memo: &mut Memo) -> Option<i64> {
    if let Some((last, seconds)) = &memo.iso
        && last == core
    {
        return Some(*seconds);
    }
    let seconds = iso_core(core)?;
    memo.iso = Some((*core, seconds));
    Some(seconds)
}

fn iso_core(core: &[u8; ISO_BYTES]) -> Option<i64> {
    let separators = (core[4], core[7], core[10]);
    if !matches!(
        separators,
        (b'-', b'-', b'T' | b't' | b' ') | (b'/', b'/', b' ' | b'T')
    ) {
        return None;
    }
    let year = digits2(core[0], core[1])? * 100 + digits2(core[2], core[3])?;
    let month = digits2(core[5], core[6])?;
    let day = digits2(core[8], core[9])?;
    let time = time_of_day(core.last_chunk::<8>()?)?;
    let year = i64::from(year);
    is_date(year, month, day).then(|| days_from_civil(year, month, day) * 86_400 + time)
}

/// `21/Nov/2026:02:03:04 +0000`
fn clf(text: &[u8], memo: &mut Memo) -> Option<Stamp> {
    let core = text.first_chunk::<CLF_BYTES>()?;
    let seconds = match &memo.clf {
        Some((last, seconds)) if last == core => *seconds,
        _ => {
            let seconds = clf_core(core)?;
            memo.clf = Some((*core, seconds));
            seconds
        }
    };
    Some(with_tail(seconds, &text[CLF_BYTES..]))
}

fn clf_core(core: &[u8; CLF_BYTES]) -> Option<i64> {
    if (core[2], core[6], core[11]) != (b'/', b'/', b':') {
        return None;
    }
    let day = digits2(core[0], core[1])?;
    let month = month_named(&core[3..6])?;
    let year = digits2(core[7], core[8])? * 100 + digits2(core[9], core[10])?;
    let time = time_of_day(core.last_chunk::<8>()?)?;
    let year = i64::from(year);
    is_date(year, month, day).then(|| days_from_civil(year, month, day) * 86_400 + time)
}

/// Apache's time behind address and user: the first `[` that a day and a month follow.
fn bracketed_clf(record: &[u8], memo: &mut Memo) -> Option<Stamp> {
    let searched = &record[..record.len().min(CLF_SEARCH_BYTES)];
    memchr::memchr_iter(b'[', searched)
        .find(|&at| record.get(at + 3) == Some(&b'/'))
        .and_then(|at| clf(&record[at + 1..], memo))
}

/// `Nov 21 02:03:04`, or with weekday and year as C's `ctime` and Apache's error log:
/// `Sat Nov 21 02:03:04.123456 2026`.
fn month_day(head: &[u8]) -> Option<Stamp> {
    let (text, has_year) = match head {
        [a, b, c, b' ', text @ ..] if is_weekday(&[*a, *b, *c]) => (text, true),
        _ => (head, false),
    };
    let core = text.first_chunk::<15>()?;
    if core[3] != b' ' || core[6] != b' ' {
        return None;
    }
    let month = month_named(&core[..3])?;
    let tens = if core[4] == b' ' { b'0' } else { core[4] };
    let day = digits2(tens, core[5])?;
    let seconds = time_of_day(core.last_chunk::<8>()?)?;
    let rest = &text[15..];
    let (ms, fraction) = fraction_ms(rest);
    if has_year {
        let [b' ', year @ ..] = &rest[fraction..] else {
            return None;
        };
        let (year, 4) = number(year)? else {
            return None;
        };
        let seconds = days_from_civil(year, month, day) * 86_400 + seconds;
        return is_date(year, month, day).then_some(Stamp::Local(Local { seconds, ms }));
    }
    is_date(2000, month, day).then_some(Stamp::Yearless(Yearless {
        month,
        day,
        seconds,
        ms,
        offset: None,
    }))
}

/// Fraction and offset behind a date and time.
fn with_tail(seconds: i64, tail: &[u8]) -> Stamp {
    let (ms, bytes) = fraction_ms(tail);
    let local = Local { seconds, ms };
    match offset_seconds(&tail[bytes..]) {
        Some(offset) => Stamp::Instant(local.as_utc_ms() - offset * 1000),
        None => Stamp::Local(local),
    }
}

/// `.123456` or `,123`: milliseconds (the rest is cut) and the bytes it took; 0 and 0 for none.
fn fraction_ms(tail: &[u8]) -> (i64, usize) {
    let [b'.' | b',', digits @ ..] = tail else {
        return (0, 0);
    };
    let mut ms = 0;
    let mut count = 0;
    for digit in digits.iter().map_while(|&byte| digit(byte)) {
        if count < 3 {
            ms = ms * 10 + i64::from(digit);
        }
        count += 1;
    }
    match count {
        0 => (0, 0),
        1 => (ms * 100, 2),
        2 => (ms * 10, 3),
        _ => (ms, count + 1),
    }
}

/// `Z`, `+hh:mm`, `+hhmm`, `+hh`, ` +hhmm`, ` +hh:mm`, ` Z`, ` UTC`, ` GMT`. Two digits behind a
/// space are no offset: `… 02:03:04 -12 degrees`.
fn offset_seconds(tail: &[u8]) -> Option<i64> {
    let ends = |rest: &[u8]| !rest.first().is_some_and(u8::is_ascii_alphanumeric);
    match tail {
        [b'Z' | b'z', rest @ ..] | [b' ', b'Z', rest @ ..] => ends(rest).then_some(0),
        [b' ', b'U', b'T', b'C', rest @ ..] | [b' ', b'G', b'M', b'T', rest @ ..] => {
            ends(rest).then_some(0)
        }
        [b' ', sign @ (b'+' | b'-'), rest @ ..] => match signed_offset(*sign, rest)? {
            (_, 2) => None,
            (offset, _) => Some(offset),
        },
        [sign @ (b'+' | b'-'), rest @ ..] => Some(signed_offset(*sign, rest)?.0),
        _ => None,
    }
}

/// The offset in seconds behind its sign, and the bytes it took: 2, 4 or 5.
fn signed_offset(sign: u8, text: &[u8]) -> Option<(i64, usize)> {
    let hours = digits2(*text.first()?, *text.get(1)?)?;
    let (minutes, bytes) = match &text[2..] {
        [b':', a, b, ..] => (digits2(*a, *b)?, 5),
        [a, b, ..] if a.is_ascii_digit() => (digits2(*a, *b)?, 4),
        _ => (0, 2),
    };
    let next_is_digit = text.get(bytes).is_some_and(u8::is_ascii_digit);
    if hours > 18 || minutes > 59 || next_is_digit {
        return None;
    }
    let seconds = i64::from(hours * 3600 + minutes * 60);
    Some((if sign == b'-' { -seconds } else { seconds }, bytes))
}

/// `02:03:04`; a leap second is the first second of the next minute.
fn time_of_day(text: &[u8; 8]) -> Option<i64> {
    if text[2] != b':' || text[5] != b':' {
        return None;
    }
    let hour = digits2(text[0], text[1])?;
    let minute = digits2(text[3], text[4])?;
    let second = digits2(text[6], text[7])?;
    (hour < 24 && minute < 60 && second <= 60)
        .then(|| i64::from(hour * 3600 + minute * 60 + second))
}

fn month_named(name: &[u8]) -> Option<u32> {
    let &[a, b, c] = name else {
        return None;
    };
    Some(match [a | 0x20, b | 0x20, c | 0x20] {
        [b'j', b'a', b'n'] => 1,
        [b'f', b'e', b'b'] => 2,
        [b'm', b'a', b'r'] => 3,
        [b'a', b'p', b'r'] => 4,
        [b'm', b'a', b'y'] => 5,
        [b'j', b'u', b'n'] => 6,
        [b'j', b'u', b'l'] => 7,
        [b'a', b'u', b'g'] => 8,
        [b's', b'e', b'p'] => 9,
        [b'o', b'c', b't'] => 10,
        [b'n', b'o', b'v'] => 11,
        [b'd', b'e', b'c'] => 12,
        _ => return None,
    })
}

fn is_weekday(name: &[u8; 3]) -> bool {
    let lower = name.map(|byte| byte | 0x20);
    matches!(
        &lower,
        b"mon" | b"tue" | b"wed" | b"thu" | b"fri" | b"sat" | b"sun"
    )
}

/// The number at the beginning and how many digits it has; at most 18, so that it fits.
fn number(text: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0i64;
    let mut count = 0;
    for digit in text.iter().map_while(|&byte| digit(byte)) {
        if count == 18 {
            return None;
        }
        value = value * 10 + i64::from(digit);
        count += 1;
    }
    (count > 0).then_some((value, count))
}

fn digits2(tens: u8, ones: u8) -> Option<u32> {
    Some(digit(tens)? * 10 + digit(ones)?)
}

fn digit(byte: u8) -> Option<u32> {
    byte.is_ascii_digit().then(|| u32::from(byte - b'0'))
}
