//! Taking the records of one chunk: each is parsed, heard and batched.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::agent::insight::{Ear, Heard, Insight, Part};
use crate::event::{Ack, Event, FileOrigin, Now, Offset, Origin, Skip};
use crate::parse::{Chunk, Memory, Next, Parser, Taken};
use crate::ship::{Push, Shipper, TargetId};
use crate::tail::File;

/// How a pass over a chunk ended.
pub(super) enum Pass {
    /// All records that are there were taken.
    Taken,
    /// The last record's end is not there: look again after so much quiet.
    Wait(u64),
    /// The batches are full.
    Full,
    /// What reads the next record, or listens to it, failed.
    Failed,
}

/// What a pass needs of everything else.
pub(super) struct Taker<'a> {
    /// Where the events go; nowhere if they are only heard.
    pub(super) batches: Option<Batches<'a>>,
    pub(super) listener: Listener<'a>,
    pub(super) now: Now,
}

/// The batches of one file's target.
pub(super) struct Batches<'a> {
    pub(super) shipper: &'a mut Shipper,
    pub(super) target: &'a TargetId,
    pub(super) origin: &'a Arc<FileOrigin>,
}

/// What listens to the records of one file, and how far it has.
pub(super) struct Listener<'a> {
    pub(super) insight: &'a mut Insight,
    pub(super) place: Heard<'a>,
    pub(super) heard: Offset,
}

impl<'a> Listener<'a> {
    pub(super) fn of(file: &'a File, ear: Ear, insight: &'a mut Insight) -> Self {
        Self {
            insight,
            place: Heard {
                ear,
                part: Part::First,
                source: &file.source.name,
                family: &file.family,
            },
            heard: file.heard,
        }
    }

    /// Hears a record that was not heard before.
    fn hear(&mut self, event: &Event<'_>, now: Now) {
        if let Origin::File(span) = event.origin
            && span.end > self.heard
        {
            self.heard = span.end;
            #[cfg(test)]
            super::tests::fail_if_asked(&event.text);
            self.insight.hear(&self.place, event, now);
        }
    }
}

impl Batches<'_> {
    fn push<'e>(&mut self, event: Event<'e>, now: Now) -> Push<'e> {
        self.shipper.push(self.target, event, self.origin, now)
    }
}

/// How far a pass has come, kept outside of what may fail.
#[derive(Default)]
struct Progress {
    at: usize,
    /// Whether what is at work depends on the file's text alone.
    is_reading: bool,
}

/// Takes records; a failure of the parser or of who listens, and of nothing else, is the file's own.
pub(super) fn take_or_fail(
    taker: &mut Taker<'_>,
    parser: &mut Parser,
    memory: &mut Memory,
    chunk: &Chunk<'_>,
    skipped: &mut Vec<(Ack, Skip, u64)>,
) -> (usize, Pass) {
    let mut progress = Progress::default();
    // What the parser leaves half done belongs to the record it was at: its scratch memory is
    // cleared at the next one, and the file's memory is only changed by `Parser::take`. Who listens
    // may lack a fact of that record, which counts as heard and is not told again.
    let pass = catch_unwind(AssertUnwindSafe(|| {
        take(taker, parser, memory, chunk, skipped, &mut progress)
    }));
    match pass {
        Ok(pass) => (progress.at, pass),
        Err(_) if progress.is_reading => (progress.at, Pass::Failed),
        Err(panic) => resume_unwind(panic),
    }
}

/// Takes one record after the other until the chunk, or the room, is used up.
fn take(
    taker: &mut Taker<'_>,
    parser: &mut Parser,
    memory: &mut Memory,
    chunk: &Chunk<'_>,
    skipped: &mut Vec<(Ack, Skip, u64)>,
    progress: &mut Progress,
) -> Pass {
    loop {
        taker.listener.place.part = match memory.is_inside_line() {
            true => Part::Further,
            false => Part::First,
        };
        progress.is_reading = true;
        let next = parser.next(memory, chunk, progress.at, taker.now);
        if let Next::Event(event, _) | Next::Unwanted(event, _) = &next {
            taker.listener.hear(event, taker.now);
        }
        progress.is_reading = false;
        let taken: Taken = match next {
            Next::Event(event, taken) => {
                if let Some(batches) = &mut taker.batches
                    && let Push::Full(_event) = batches.push(event, taker.now)
                {
                    return Pass::Full;
                }
                taken
            }
            Next::Unwanted(event, taken) => {
                let (ack, reason) = event.skip(Skip::Filtered);
                skipped.push((ack, reason, taken.bytes as u64));
                taken
            }
            Next::Skipped(ack, reason, taken) => {
                skipped.push((ack, reason, taken.bytes as u64));
                taken
            }
            Next::Incomplete(None) => return Pass::Taken,
            Next::Incomplete(Some(quiet_ms)) => return Pass::Wait(quiet_ms),
        };
        progress.at += taken.bytes;
        match &taker.batches {
            Some(_) => parser.take(memory, taken),
            None => parser.pass_over(memory, taken),
        }
    }
}
