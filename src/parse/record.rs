//! Where records end: lines, lines that belong together, and what is done with those that have no
//! end yet or are longer than a message may be.
//!
//! Pure functions of the bytes at hand: an incomplete record is simply looked at again when there
//! is more of it. Called by `parse` for every record, so nothing here allocates.

use crate::config::Multiline;

use super::{Ending, multiline};

/// How long a line without its newline is waited for before it is sent as it is.
pub const LINE_QUIET_MS: u64 = 5_000;

/// How long a record that further lines could continue is waited for: the CodeDeploy agent writes
/// a whole record at once.
const AGENT_RECORD_QUIET_MS: u64 = 250;

/// The same for the user's multi-line sources.
const RECORD_QUIET_MS: u64 = 1_000;

/// How far back from its limit a long record is cut at a better place.
const CUT_SEARCH_BYTES: usize = 4_096;

/// Where a position lies in its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Inside {
    /// At a record's beginning.
    #[default]
    No,
    /// In the middle of a line.
    Line,
    /// At the beginning of a line of a record that was cut between two lines, or of the next one.
    Record,
}

/// How a source's records are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule<'a> {
    /// Which lines belong together.
    pub(super) multiline: &'a Multiline,
    /// Longest record in bytes.
    pub(super) bytes_max: usize,
}

impl Rule<'_> {
    /// Where the record at the head of `rest` ends, or how long to wait for its end.
    pub(super) fn find(self, rest: &[u8], ending: Ending) -> Result<Record, Option<u64>> {
        #[cfg(test)]
        super::testing::fail_if_asked(rest);
        let limit = self.bytes_max;
        let Some(first) = memchr::memchr(b'\n', &rest[..rest.len().min(limit + 1)]) else {
            return self.unended(rest, limit, ending);
        };
        let mut end = first + 1;
        if matches!(self.multiline, Multiline::None) {
            return Ok(Record::whole(end));
        }
        loop {
            if end > limit {
                return Ok(Record::part(cut_point(rest, limit)));
            }
            let tail = &rest[end..];
            match memchr::memchr(b'\n', tail) {
                Some(len) if multiline::is_head(self.multiline, &tail[..len]) => {
                    return Ok(Record::whole(end));
                }
                Some(len) => end += len + 1,
                None if self.could_be_head(tail, ending) => return Ok(Record::whole(end)),
                None => break,
            }
        }
        self.ended_so_far(rest, end, ending)
    }

    /// A record that has lines but whose next line has not been seen whole.
    fn ended_so_far(self, rest: &[u8], end: usize, ending: Ending) -> Result<Record, Option<u64>> {
        let limit = self.bytes_max;
        if rest.len() > limit {
            return Ok(Record::part(cut_point(rest, limit)));
        }
        let wait = match self.multiline {
            Multiline::CodeDeployAgent => AGENT_RECORD_QUIET_MS,
            _ => RECORD_QUIET_MS,
        };
        match ending {
            Ending::Final => Ok(Record::whole(end)),
            Ending::Quiet(quiet_ms) if quiet_ms >= wait => Ok(Record::whole(end)),
            Ending::Quiet(_) => Err(Some(wait)),
            Ending::More => Err(None),
        }
    }

    /// A record whose first line has no end yet.
    fn unended(self, rest: &[u8], limit: usize, ending: Ending) -> Result<Record, Option<u64>> {
        if rest.len() > limit {
            return Ok(Record::part(cut_point(rest, limit)));
        }
        match ending {
            _ if rest.is_empty() => Err(None),
            Ending::Final => Ok(Record::part(rest.len())),
            Ending::Quiet(quiet_ms) if quiet_ms >= LINE_QUIET_MS => Ok(Record::part(rest.len())),
            Ending::Quiet(_) => Err(Some(LINE_QUIET_MS)),
            Ending::More => Err(None),
        }
    }

    /// Whether an unfinished last line already shows that it begins a new record, or will not be
    /// waited for.
    fn could_be_head(self, tail: &[u8], ending: Ending) -> bool {
        let is_over = match ending {
            Ending::Final => true,
            Ending::Quiet(quiet_ms) => quiet_ms >= LINE_QUIET_MS,
            Ending::More => false,
        };
        // That a line continues nothing is not told by half of it.
        let may_show = !matches!(self.multiline, Multiline::Continue(_));
        let shows = may_show && multiline::is_head(self.multiline, tail);
        !tail.is_empty() && (is_over || shows)
    }

    /// Whether a line begins a record, in a source where that can be told.
    pub(super) fn begins_record(self, raw: &[u8]) -> bool {
        let line = &raw[..memchr::memchr(b'\n', raw).unwrap_or(raw.len())];
        multiline::is_head(self.multiline, line)
    }
}

/// One record, or a part of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// Its bytes, newline included.
    pub(super) bytes: usize,
    /// Whether more of the same record follows.
    is_part: bool,
}

impl Record {
    fn whole(bytes: usize) -> Self {
        Self {
            bytes,
            is_part: false,
        }
    }

    pub(super) fn part(bytes: usize) -> Self {
        Self {
            bytes,
            is_part: true,
        }
    }

    /// Where the position behind it lies.
    pub(super) fn leaves(self, raw: &[u8]) -> Inside {
        match (self.is_part, raw.ends_with(b"\n")) {
            (false, _) => Inside::No,
            (true, true) => Inside::Record,
            (true, false) => Inside::Line,
        }
    }
}

/// A record without the newlines (or CRLFs) it ends in: blank lines behind a record carry nothing.
pub(super) fn trim_newline(raw: &[u8]) -> &[u8] {
    let mut body = raw;
    while let Some(shorter) = body
        .strip_suffix(b"\r\n")
        .or_else(|| body.strip_suffix(b"\n"))
    {
        body = shorter;
    }
    body
}

/// A record without what may stand before its date and is none of its text: NUL bytes that a crash
/// left, a byte order mark.
pub(super) fn dated_part(raw: &[u8]) -> &[u8] {
    let nul_bytes = raw.iter().take_while(|byte| **byte == 0).count();
    let rest = &raw[nul_bytes..];
    trim_newline(rest.strip_prefix("\u{feff}".as_bytes()).unwrap_or(rest))
}

/// Where to cut a record that is too long: behind a newline or a blank if one is near, else
/// between two characters. Never 0, never more than `limit`.
pub(super) fn cut_point(bytes: &[u8], limit: usize) -> usize {
    let limit = limit.clamp(1, bytes.len());
    let window = limit.saturating_sub(CUT_SEARCH_BYTES);
    let near = &bytes[window..limit];
    if let Some(at) = memchr::memrchr(b'\n', near).or_else(|| memchr::memrchr2(b' ', b'\t', near)) {
        return window + at + 1;
    }
    // Step back over the continuation bytes of a character that the cut would split.
    let is_inside = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    let back = (0..4).find(|back| limit > *back && !is_inside(limit - back));
    (limit - back.unwrap_or(0)).max(1)
}
