//! The memory of one batch: how it grows, and how much it is.

use crate::event::{Batch, Piece, Slot};

use super::batch::BATCH_EVENTS_MAX;

/// Memory of the three sizes of a batch: bytes of the body, number of events. The last holds a
/// full batch with a fair share of escapes; a body beyond it grows by [`BODY_STEP_BYTES`].
pub(super) const SIZES: [(usize, usize); 3] = [
    (2 << 10, 16),
    (32 << 10, 256),
    (LARGE_BYTES, BATCH_EVENTS_MAX),
];
const LARGE_BYTES: usize = 1_280 << 10;

/// What the body of a batch will be after so many more bytes of a log, as far as one can tell before
/// they are read: lines of a hundred bytes become half as long again.
pub(super) fn likely_body(bytes: usize, expected: usize) -> usize {
    bytes.saturating_add(expected).saturating_add(expected / 2)
}

/// The step of a body that is larger.
pub(super) const BODY_STEP_BYTES: usize = 256 << 10;

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
        (self.body, self.slots) == SIZES[2]
    }
}
