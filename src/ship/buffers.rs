//! The memory of one batch: how it grows, and how much it is.

use crate::event::{Batch, Piece, Slot};

use super::batch::BATCH_EVENTS_MAX;

/// Body of the least batch. It doubles up to [`MIDDLE_BYTES`]; the next step is a full batch's.
const LEAST_BYTES: usize = 2 << 10;
const MIDDLE_BYTES: usize = 32 << 10;
/// A share of the body for each event of a batch that is not full.
const EVENT_BODY_BYTES: usize = 128;
/// Body of a full batch, with a fair share of escapes; beyond it, it grows by [`BODY_STEP_BYTES`].
pub(super) const LARGE_BYTES: usize = 1_280 << 10;
/// The step of a body that is larger.
const BODY_STEP_BYTES: usize = 256 << 10;

/// Bytes of the body and number of events of the least batch that holds so much, and is likely to
/// hold what is expected.
pub(super) fn size_for(body: usize, slots: usize, likely: usize) -> (usize, usize) {
    let wanted = body.max(likely).max(slots * EVENT_BODY_BYTES);
    if wanted <= MIDDLE_BYTES {
        let bytes = wanted.next_power_of_two().max(LEAST_BYTES);
        (bytes, bytes / EVENT_BODY_BYTES)
    } else if body <= LARGE_BYTES {
        (LARGE_BYTES, BATCH_EVENTS_MAX)
    } else {
        let slots = slots.next_power_of_two().min(BATCH_EVENTS_MAX);
        (body.next_multiple_of(BODY_STEP_BYTES), slots)
    }
}

/// What the body of a batch will be after so many more bytes of a log, as far as one can tell before
/// they are read: lines of a hundred bytes become half as long again.
pub(super) fn likely_body(bytes: usize, expected: usize) -> usize {
    bytes.saturating_add(expected).saturating_add(expected / 2)
}

/// Room for an event of usual size.
pub(super) const SPARE_BYTES: usize = 256;

/// The two buffers of a batch, which are worth keeping when it is done with.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) body: Vec<u8>,
    pub(super) slots: Vec<Slot>,
}

impl Buffers {
    /// What a large batch has.
    pub(super) const LARGE_WEIGHT: usize = LARGE_BYTES + BATCH_EVENTS_MAX * size_of::<Slot>();

    /// Their memory.
    pub(super) fn weight(&self) -> usize {
        self.body.capacity() + self.slots.capacity() * size_of::<Slot>()
    }

    pub(super) fn with_capacity(body: usize, slots: usize) -> Self {
        Self {
            body: Vec::with_capacity(body),
            slots: Vec::with_capacity(slots),
        }
    }
}

/// Memory held by a closed batch.
pub(super) fn weight_of(batch: &Batch) -> usize {
    batch.body.capacity()
        + batch.slots.capacity() * size_of::<Slot>()
        + batch.pieces.capacity() * size_of::<Piece>()
}

/// How big the buffers must become before an event fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) body: usize,
    pub(super) slots: usize,
    pub(super) pieces: usize,
    /// How much more memory that is than now.
    pub(super) bytes: usize,
}

impl Growth {
    /// The memory that will be.
    pub(super) fn weight(&self) -> usize {
        self.body + self.slots * size_of::<Slot>() + self.pieces * size_of::<Piece>()
    }

    /// Whether a large pair of buffers, as the pool has them, is what is needed.
    pub(super) fn is_large(&self) -> bool {
        (self.body, self.slots) == (LARGE_BYTES, BATCH_EVENTS_MAX)
    }
}
