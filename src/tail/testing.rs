//! What tests of the tail have in common: a watch that never says anything, and a file that is a
//! piece of memory.

use std::path::Path;

use crate::event::Offset;
use crate::ports::{Hints, Watch};

/// A watch without hints: the scans find everything.
pub(crate) struct Silent {
    /// Whether it says that it watches.
    pub(crate) is_watching: bool,
}

impl Watch for Silent {
    fn watch(&mut self, _: &Path) -> bool {
        self.is_watching
    }

    fn unwatch(&mut self, _: &Path) {}

    fn take(&mut self) -> Hints {
        Hints::default()
    }
}

/// Reads from a file with this content, as [`crate::ports::Files::read_at`].
pub(super) fn read_at(content: &[u8], offset: Offset, into: &mut [u8]) -> usize {
    let rest = &content[usize::try_from(offset.0).unwrap().min(content.len())..];
    let got = rest.len().min(into.len());
    into[..got].copy_from_slice(&rest[..got]);
    got
}
