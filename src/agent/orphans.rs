//! Bytes that are on their way and nowhere on disk any more: their file was truncated after they
//! were read. They cannot be read again, so where they are not delivered they are lost, and that is
//! counted and said.

use std::collections::BTreeMap;

use crate::event::{FileId, Now, Span};
use crate::tail::Lost;

use super::Agent;

/// Contents that have left the table of files while bytes of them were on their way, with what a
/// loss says of them.
pub(super) type Orphans = BTreeMap<FileId, Lost>;

impl Agent {
    /// A content is gone for good. What of it is on its way is waited for.
    pub(super) fn orphan(&mut self, id: FileId, what: Lost) {
        let settled = self.ledger.settled(id).unwrap_or_default();
        self.ledger.cut(id, settled);
        if self.ledger.severed(id) > 0 {
            self.orphans.insert(id, what);
        }
    }

    /// Bytes of a file have their answer: nobody needs to wait for an orphan of which there are no
    /// others.
    pub(super) fn release_orphan(&mut self, id: FileId) {
        if self.orphans.contains_key(&id) && self.ledger.severed(id) == 0 {
            self.orphans.remove(&id);
            self.ledger.forget(id);
        }
    }

    /// Bytes were given back unsent: those that are on disk will be read again, the others are lost.
    pub(super) fn lose_returned(&mut self, span: Span, now: Now) {
        let bytes = self.ledger.abandon(span);
        self.lose_severed(span.file, bytes, now);
        self.release_orphan(span.file);
    }

    /// We end: what is on its way and not on disk will not be sent again.
    pub(super) fn lose_undelivered(&mut self, now: Now) {
        for (id, bytes) in self.ledger.all_severed() {
            self.lose_severed(id, bytes, now);
        }
    }

    fn lose_severed(&mut self, id: FileId, bytes: u64, now: Now) {
        let reason = "truncated before it was delivered";
        let of_file = |file| Lost::of(file, bytes, reason);
        let orphan = self.orphans.get(&id).cloned();
        if let Some(lost) = orphan.or_else(|| self.tail.file(id).map(of_file))
            && bytes > 0
        {
            let lost = Lost {
                bytes,
                reason,
                ..lost
            };
            self.keeper.lose(&lost, now);
        }
    }
}
