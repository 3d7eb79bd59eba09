//! Times for records that do not say theirs.
//!
//! A record's own date always counts. Without one (or with one nobody can believe) it happened
//! - when the record did that it is a part of;
//! - else when the dated record before it did, if both were already there when we came to read,
//!   and not too many bytes lie between: a backlog's undated lines stay beside their neighbours;
//! - else now, or right after the record before it if that is dated a little ahead of our clock:
//!   the order of a file is kept.
//!
//! So no date is ever carried over a moment at which we had read everything: the clock cannot
//! stick.

use crate::event::EpochMs;

use super::timestamp::{Dated, FUTURE_MAX_MS};

/// How far dates reach over lines that have none, in bytes read together.
const REACH_BYTES: u64 = 1_048_576;

/// What is known of the dates of one file's records.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dates {
    /// The last date found, and how many bytes ago.
    found: Option<(EpochMs, u64)>,
    /// The last time given.
    given: Option<EpochMs>,
}

/// How a piece of text belongs to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kin {
    /// It goes on with the same record.
    SameRecord,
    /// It is a record of its own.
    NextRecord,
}

impl Dates {
    /// The time of a record of so many bytes.
    pub(super) fn date(&mut self, dated: Dated, kin: Kin, bytes: u64, now_ms: EpochMs) -> EpochMs {
        let time_ms = match dated {
            Dated::At(time_ms) => {
                self.found = Some((time_ms, 0));
                time_ms
            }
            Dated::None | Dated::Unbelievable => {
                self.found = self.found.map(|(time_ms, ago)| (time_ms, ago + bytes));
                match self.found {
                    Some((time_ms, _)) if kin == Kin::SameRecord => time_ms,
                    Some((time_ms, ago)) if ago <= REACH_BYTES => time_ms,
                    _ => self.now(now_ms),
                }
            }
        };
        self.given = Some(time_ms);
        time_ms
    }

    /// A date that was found outside the records themselves.
    pub(super) fn found(&mut self, time_ms: EpochMs) {
        self.found = Some((time_ms, 0));
    }

    /// Everything there was has been read.
    pub(super) fn reached_end(&mut self) {
        self.found = None;
    }

    fn now(&self, now_ms: EpochMs) -> EpochMs {
        let ahead = |given: &EpochMs| (now_ms..=now_ms + FUTURE_MAX_MS).contains(given);
        self.given.filter(ahead).unwrap_or(now_ms)
    }
}
