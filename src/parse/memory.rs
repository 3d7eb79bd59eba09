//! What is kept of a file between two of its records.

use super::dating::Dates;
use super::record::Inside;
use super::redact::RedactState;
use crate::event::EpochMs;

/// What a file's next record depends on besides its bytes.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub(super) place: Place,
    /// The last time given, for the hour that a clock goes through twice. Only written from record
    /// to record, and read when the parser turns to the file.
    pub(super) tie: Option<EpochMs>,
}

/// The part of a [`Memory`] that each record reads, and changes once it is taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) dates: Dates,
    /// Whether it is inside a record.
    pub(super) inside: Inside,
    pub(super) redact: RedactState,
}

impl Place {
    /// What is known behind a record that leaves the position `inside`.
    pub(super) fn behind(&self, inside: Inside) -> Self {
        let mut next = self.clone();
        next.inside = inside;
        if self.inside != Inside::Line {
            next.redact.end_line();
        }
        next
    }
}

impl Memory {
    /// What is known of a file at a position: whether the byte before it ends a line.
    #[must_use]
    pub fn at(previous_byte: Option<u8>) -> Self {
        let inside = match previous_byte {
            Some(byte) if byte != b'\n' => Inside::Line,
            _ => Inside::No,
        };
        Self {
            place: Place {
                inside,
                ..Place::default()
            },
            tie: None,
        }
    }

    /// Whether the position is in the middle of a line.
    #[must_use]
    pub fn is_inside_line(&self) -> bool {
        self.place.inside == Inside::Line
    }

    /// Notes that everything there was has been read: what is written from now on is written now.
    pub fn reached_end(&mut self) {
        if self.place.inside == Inside::No {
            self.place.dates.reached_end();
        }
    }
}
