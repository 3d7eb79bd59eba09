//! What is kept of a file between two of its records.

use super::dating::Dates;
use super::record::Inside;
use super::redact::RedactState;
use crate::event::EpochMs;

/// What a file's next record depends on besides its bytes.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub(super) dates: Dates,
    /// Whether the position is inside a record.
    pub(super) inside: Inside,
    pub(super) redact: RedactState,
    /// The last time given, for the hour that a clock goes through twice.
    pub(super) tie: Option<EpochMs>,
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
            inside,
            ..Self::default()
        }
    }

    /// Whether the position is in the middle of a line.
    #[must_use]
    pub fn is_inside_line(&self) -> bool {
        self.inside == Inside::Line
    }

    /// What is known behind a record that leaves the position `inside`.
    pub(super) fn behind(&self, inside: Inside) -> Self {
        let mut next = self.clone();
        next.inside = inside;
        if self.inside != Inside::Line {
            next.redact.end_line();
        }
        next
    }

    /// Notes that everything there was has been read: what is written from now on is written now.
    pub fn reached_end(&mut self) {
        if self.inside == Inside::No {
            self.dates.reached_end();
        }
    }
}
