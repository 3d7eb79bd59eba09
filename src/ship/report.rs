//! What came of a decided batch: acknowledgements, counts by source, events for the dead letter.

use std::ops::Range;
use std::sync::Arc;

use crate::event::{Ack, Batch, EpochMs, FileOrigin, Origin, Outcome, Refusals, Target};

use super::batch::escaped_message;
use super::bisect::Refusal;
use super::buffers::Buffers;

/// A batch that is done with.
#[derive(Debug)]
#[must_use = "acknowledgements that do not reach the ledger pin the checkpoint"]
pub struct Settled {
    /// One for each origin of the batch, for the ledger.
    pub acks: Vec<Ack>,
    /// What to add to the sources' counts, one for each source in the batch. Loss markers are
    /// our own notes and not counted.
    pub tallies: Vec<Tally>,
}

/// What became of one source's events in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The source's name.
    pub source: Arc<str>,
    /// Events the service took.
    pub events: u64,
    /// Their message bytes.
    pub bytes: u64,
    /// Events it did not.
    pub refused: Refusals,
}

/// An event the service refuses even alone: for the dead-letter file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poison {
    /// Where it should have gone.
    pub target: Arc<Target>,
    /// Where it came from.
    pub file: Arc<FileOrigin>,
    /// When it happened.
    pub time_ms: EpochMs,
    /// The message as the inside of a JSON string, still escaped.
    pub message: String,
    /// The service's words.
    pub error: String,
}

/// Ends a batch whose every event has its answer; its buffers come back.
pub(crate) fn settle(
    mut batch: Batch,
    refused: Vec<(Range<usize>, Refusal)>,
) -> (Settled, Vec<Poison>, Buffers) {
    let tallies = tally(&batch, &refused);
    let mut total = Refusals::default();
    for tally in &tallies {
        total.too_new += tally.refused.too_new;
        total.too_old += tally.refused.too_old;
        total.expired += tally.refused.expired;
        total.invalid += tally.refused.invalid;
    }
    let mut poisons = Vec::new();
    for (range, refusal) in refused {
        let Refusal::Invalid(error) = refusal else {
            continue;
        };
        poisons.extend(range.map(|nth| poison(&batch, nth, &error)));
    }
    let outcome = match poisons.last() {
        Some(last) if poisons.len() == batch.slots.len() => Outcome::Rejected(last.error.clone()),
        _ => Outcome::Delivered(total),
    };
    let buffers = Buffers {
        body: std::mem::take(&mut batch.body),
        slots: std::mem::take(&mut batch.slots),
    };
    let acks = batch.settle(&outcome);
    (Settled { acks, tallies }, poisons, buffers)
}

fn poison(batch: &Batch, nth: usize, error: &str) -> Poison {
    let slot = batch.slots[nth];
    Poison {
        target: Arc::clone(&batch.target),
        file: Arc::clone(&batch.pieces[slot.piece as usize].file),
        time_ms: slot.time_ms,
        message: escaped_message(batch, nth),
        error: error.to_owned(),
    }
}

/// Counts each event once: as delivered, or as what it was refused for.
fn tally(batch: &Batch, refused: &[(Range<usize>, Refusal)]) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = Vec::new();
    let mut refused = refused.iter().peekable();
    let mut nth = 0;
    // Thousands of events in a row come from the same file: its tally is looked for once.
    for run in batch.slots.chunk_by(|a, b| a.piece == b.piece) {
        let piece = &batch.pieces[run[0].piece as usize];
        if matches!(piece.origin, Origin::Marker(_)) {
            nth += run.len();
            continue;
        }
        let tally = tally_of(&mut tallies, &piece.file.source);
        for slot in run {
            while refused.next_if(|(range, _)| range.end <= nth).is_some() {}
            match refused.peek() {
                Some((range, refusal)) if range.contains(&nth) => match refusal {
                    Refusal::TooOld => tally.refused.too_old += 1,
                    Refusal::Expired => tally.refused.expired += 1,
                    Refusal::TooNew => tally.refused.too_new += 1,
                    Refusal::Invalid(_) => tally.refused.invalid += 1,
                },
                _ => {
                    tally.events += 1;
                    tally.bytes += u64::from(slot.message_bytes);
                }
            }
            nth += 1;
        }
    }
    tallies
}

/// The source's tally, the one used last found first.
fn tally_of<'t>(tallies: &'t mut Vec<Tally>, source: &Arc<str>) -> &'t mut Tally {
    let known = tallies.iter().rposition(|tally| tally.source == *source);
    let at = known.unwrap_or_else(|| {
        tallies.push(Tally {
            source: Arc::clone(source),
            events: 0,
            bytes: 0,
            refused: Refusals::default(),
        });
        tallies.len() - 1
    });
    &mut tallies[at]
}
