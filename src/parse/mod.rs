//! From bytes to events: finds the end of each record, dates it, cleans it, takes secrets out.
//!
//! A [`Parser`] (one per source) is pulled over a chunk of one file: [`Parser::next`] gives the
//! record at a position, or says that its end is not there yet. Nothing is kept between chunks
//! but a few flags per file ([`Memory`]): an incomplete record is simply read again.
//!
//! Invariants:
//! - Every byte of a chunk belongs to exactly one record; records follow each other without gaps.
//! - An event's text borrows from the read buffer unless it had to be changed.
//! - A record longer than the source's limit becomes several events in order, cut between lines or
//!   words where possible and never inside a character.
//! - No date is carried to another record beyond what was already there to read together with it.

mod dating;
mod memory;
pub mod multiline;
mod record;
pub mod redact;
pub mod text;
pub mod timestamp;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::config::Source;
use crate::event::{Ack, EpochMs, Event, FileId, Now, Offset, Origin, Skip, Span};
use dating::Kin;
pub use memory::Memory;
use memory::Place;
pub use record::LINE_QUIET_MS;
use record::{Inside, Record, Rule, cut_point, dated_part, trim_newline};
use redact::{Redactor, Suspects};
use text::{Cleaned, NextOdd, StripAnsi};
use timestamp::{BadPattern, Dated, Dater};

/// Bytes of one file, as read.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Whose.
    pub file: FileId,
    /// Where the first byte lies.
    pub start: Offset,
    /// The bytes.
    pub bytes: &'a [u8],
    /// What comes behind them.
    pub ending: Ending,
    /// They as text, from the first one as far as they are UTF-8: what [`Parser::begin`] said.
    pub text: Option<&'a str>,
}

/// What comes behind a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// More bytes, readable now.
    More,
    /// Nothing yet, for so long.
    Quiet(u64),
    /// Nothing ever, or no time to wait for it.
    Final,
}

/// What [`Parser::next`] found.
#[derive(Debug)]
pub enum Next<'a> {
    /// An event and how many bytes it took.
    Event(Event<'a>, Taken),
    /// An event that the source's rules keep from being sent: to be skipped as
    /// [`Skip::Filtered`] by who has looked at it.
    Unwanted(Event<'a>, Taken),
    /// Bytes that make no event.
    Skipped(Ack, Skip, Taken),
    /// The record's end is not there yet. With a number: look again once the file has been quiet
    /// for so many milliseconds.
    Incomplete(Option<u64>),
}

/// What taking a record changes, to be handed back by [`Parser::take`] once it is accepted.
#[derive(Debug)]
pub struct Taken {
    /// The record's bytes.
    pub bytes: usize,
    place: Place,
    counts: Counts,
}

/// What a parser counts; contents never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Parts a record was split into beyond the first.
    pub split: u64,
    /// Events with bytes that were not UTF-8.
    pub not_utf8: u64,
    /// Events whose date was not believable.
    pub undated: u64,
    /// NUL bytes dropped from events that are sent.
    pub nul_bytes: u64,
}

/// The parser of one source.
#[derive(Debug)]
pub struct Parser {
    source: Arc<Source>,
    ansi: StripAnsi,
    dater: Dater,
    redactor: Redactor,
    /// Of the chunk that was begun last.
    suspects: Suspects,
    /// Of the same.
    odd: NextOdd,
    counts: Counts,
}

impl Parser {
    /// A parser for a source; times without an offset are in `zone`.
    ///
    /// # Errors
    /// When the source's time pattern is none.
    pub fn new(source: Arc<Source>, zone: TimeZone) -> Result<Self, BadPattern> {
        Ok(Self {
            dater: Dater::new(&source.timestamp, zone)?,
            redactor: Redactor::new(&source.redact),
            suspects: Suspects::default(),
            odd: NextOdd::default(),
            ansi: if source.strip_ansi {
                StripAnsi::Strip
            } else {
                StripAnsi::Keep
            },
            source,
            counts: Counts::default(),
        })
    }

    /// Turns to a file, and looks once over a whole chunk of it. Gives it as text, from its first byte
    /// as far as it is that.
    pub fn begin<'a>(&mut self, memory: &Memory, bytes: &'a [u8]) -> Option<&'a str> {
        self.dater.resume(memory.tie);
        self.redactor.suspects(bytes, &mut self.suspects);
        self.odd = NextOdd::default();
        let valid = |bytes| std::str::from_utf8(bytes);
        valid(bytes)
            .or_else(|error| valid(&bytes[..error.valid_up_to()]))
            .ok()
    }

    /// The record that begins at `at`. The chunk is the one begun last: what was suspected of it is
    /// kept here.
    pub fn next<'a>(
        &mut self,
        memory: &Memory,
        chunk: &Chunk<'a>,
        at: usize,
        now: Now,
    ) -> Next<'a> {
        self.redactor.discard();
        let record = match self.rule().find(&chunk.bytes[at..], chunk.ending) {
            Ok(record) => record,
            Err(wait) => return Next::Incomplete(wait),
        };
        let record = self.spare_secrets(&memory.place, chunk, at, record);
        self.event(&memory.place, chunk, at, record, now)
    }

    /// Looks up what an earlier run knew, given the bytes that lead up to a position: the date of the
    /// line that it lies in (what is left of it happened then, too), and whether it is inside a secret.
    pub fn recall(&mut self, memory: &mut Memory, leading: &[u8], now: Now) {
        self.redactor.recall(&mut memory.place.redact, leading);
        let line = memchr::memrchr(b'\n', leading).map_or(0, |newline| newline + 1);
        if memory.place.inside == Inside::Line
            && let Dated::At(time_ms) = self.dater.date(dated_part(&leading[line..]), now.wall_ms)
        {
            memory.place.dates.found(time_ms);
        }
    }

    /// Commits what a record changed.
    pub fn take(&mut self, memory: &mut Memory, taken: Taken) {
        memory.place = taken.place;
        self.redactor.accept();
        memory.tie = self.dater.last_ms();
        self.counts.split += taken.counts.split;
        self.counts.not_utf8 += taken.counts.not_utf8;
        self.counts.undated += taken.counts.undated;
        self.counts.nul_bytes += taken.counts.nul_bytes;
    }

    /// Commits what a record changed that will be taken another time: it counts then.
    pub fn pass_over(&mut self, memory: &mut Memory, taken: Taken) {
        memory.place = taken.place;
        self.redactor.discard();
        memory.tie = self.dater.last_ms();
    }

    /// What was counted since the last call: our own counts, and redactions by rule.
    pub fn take_counts(&mut self) -> (Counts, BTreeMap<String, u64>) {
        self.redactor.discard();
        (
            std::mem::take(&mut self.counts),
            self.redactor.take_counts(),
        )
    }

    /// Makes the event of the record at `at`, or finds that there is nothing to send.
    fn event<'a>(
        &mut self,
        place: &Place,
        chunk: &Chunk<'a>,
        at: usize,
        record: Record,
        now: Now,
    ) -> Next<'a> {
        let raw = &chunk.bytes[at..at + record.bytes];
        let body = trim_newline(raw);
        let mut counts = Counts::default();
        let mut next = place.behind(record.leaves(raw));
        let time_ms = self.date(place, &mut next, raw, &mut counts, now);
        let cleaned = self.clean(chunk, at, body);
        counts.nul_bytes += cleaned.nul_bytes as u64;
        counts.not_utf8 += u64::from(cleaned.not_utf8);
        let origin = origin(chunk, at, raw.len());
        let taken = |next, counts| Taken {
            bytes: raw.len(),
            place: next,
            counts,
        };
        if cleaned.text.is_empty() {
            // Who skips the record counts all of it.
            let is_nul = std::mem::take(&mut counts.nul_bytes) > 0;
            let reason = if is_nul { Skip::Nul } else { Skip::Empty };
            if self.needs_look(&next, at, raw, &cleaned) {
                self.redactor.pass_over(&mut next.redact, &cleaned.text);
            }
            let (ack, reason) = Event {
                time_ms,
                text: cleaned.text,
                origin,
            }
            .skip(reason);
            return Next::Skipped(ack, reason, taken(next, counts));
        }
        let is_wanted = self.is_wanted(&cleaned.text);
        let text = match self.needs_look(&next, at, raw, &cleaned) {
            true => self.redact(&mut next, cleaned.text),
            false => cleaned.text,
        };
        if text.len() > self.source.event_bytes_max {
            // Cleaning or redacting made it longer than a message may be: take less of it.
            let less = cut_point(raw, raw.len() / 2);
            let less = self.spare_secrets(place, chunk, at, Record::part(less));
            self.redactor.discard();
            return self.event(place, chunk, at, less, now);
        }
        let event = Event {
            time_ms,
            text,
            origin,
        };
        if !is_wanted {
            return Next::Unwanted(event, taken(next, counts));
        }
        counts.split += u64::from(place.inside == Inside::Line);
        Next::Event(event, taken(next, counts))
    }

    /// Whether a secret could be in a record, or go on in it. What was cleaned out of the record could
    /// have hidden one from the look over the whole chunk.
    fn needs_look(&mut self, next: &Place, at: usize, raw: &[u8], cleaned: &Cleaned<'_>) -> bool {
        next.redact.is_active()
            || matches!(cleaned.text, Cow::Owned(_))
            || self.suspects.are_in(at..at + raw.len())
    }

    fn redact<'a>(&mut self, next: &mut Place, text: Cow<'a, str>) -> Cow<'a, str> {
        let redacted = match next.inside {
            Inside::Line => self.redactor.redact_part(&mut next.redact, &text),
            _ => self.redactor.redact(&mut next.redact, &text),
        };
        redacted.map_or(text, Cow::Owned)
    }

    /// Cuts a line elsewhere where a secret would lie across the cut.
    fn spare_secrets(&self, place: &Place, chunk: &Chunk<'_>, at: usize, record: Record) -> Record {
        let rest = &chunk.bytes[at..];
        let innocent = self.suspects.are_none() && !place.redact.is_active();
        if innocent || record.leaves(&rest[..record.bytes]) != Inside::Line {
            return record;
        }
        Record::part(self.redactor.cut_before(rest, record.bytes))
    }

    fn clean<'a>(&mut self, chunk: &Chunk<'a>, at: usize, body: &'a [u8]) -> Cleaned<'a> {
        let range = at..at + body.len();
        match chunk.text.and_then(|text| text.get(range.clone())) {
            Some(text) if self.odd.is_behind(range, chunk.bytes, self.ansi) => Cleaned::plain(text),
            Some(text) => text::clean_valid(text, self.ansi),
            None => text::clean(body, self.ansi),
        }
    }

    /// When the record happened.
    fn date(
        &mut self,
        place: &Place,
        next: &mut Place,
        raw: &[u8],
        counts: &mut Counts,
        now: Now,
    ) -> EpochMs {
        let continues = match place.inside {
            Inside::No => false,
            Inside::Line => true,
            Inside::Record => !self.rule().begins_record(raw),
        };
        let dated = match continues {
            true => Dated::None,
            false => self.dater.date(dated_part(raw), now.wall_ms),
        };
        counts.undated += u64::from(dated == Dated::Unbelievable);
        let kin = if continues {
            Kin::SameRecord
        } else {
            Kin::NextRecord
        };
        next.dates.date(dated, kin, raw.len() as u64, now.wall_ms)
    }

    fn rule(&self) -> Rule<'_> {
        Rule {
            multiline: &self.source.multiline,
            bytes_max: self.source.event_bytes_max,
        }
    }

    fn is_wanted(&self, text: &str) -> bool {
        let source = &self.source;
        (source.include_lines.is_empty() || source.include_lines.iter().any(|r| r.is_match(text)))
            && !source.exclude_lines.iter().any(|r| r.is_match(text))
    }
}

/// Where `bytes` bytes of a chunk come from.
fn origin(chunk: &Chunk<'_>, at: usize, bytes: usize) -> Origin {
    let start = chunk.start.plus(at);
    Origin::File(Span {
        file: chunk.file,
        start,
        end: start.plus(bytes),
    })
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
