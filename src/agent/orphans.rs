//! Bytes that are on their way and nowhere on disk any more: their file was truncated after they
//! were read. They cannot be read again, so where they are not delivered they are lost, and that is
//! counted and said.

use std::collections::BTreeMap;

use crate::event::{FileId, Loss, Now, Origin, Span};
use crate::ship::ledger::Ledger;
use crate::tail::{Lost, Tail};

use super::Agent;

/// Why bytes are lost that were read and not delivered.
pub(super) const SEVERED: &str = "truncated before it was delivered";

/// Contents that have left the table of files while bytes of them were on their way, with what a
/// loss says of them.
pub(super) type Orphans = BTreeMap<FileId, Lost>;

impl Agent {
    /// A content is gone for good. What of it is on its way is waited for.
    pub(super) fn orphan(&mut self, id: FileId, what: Lost) {
        let settled = self.ledger.settled(id).unwrap_or_default();
        self.ledger.cut(id, settled);
        if self.ledger.severed(id) > 0 {
            let reason = SEVERED;
            self.orphans.insert(id, Lost { reason, ..what });
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

    /// Takes back bytes that were batched and gave up their room: they are read again.
    pub(super) fn take_back(&mut self, now: Now) {
        for origin in self.shipper.take_returned() {
            match origin {
                Origin::File(span) => {
                    self.lose_returned(span, now);
                    self.ledger.rewind(span.file, span.start);
                    self.tail.rewind(span.file, span.start);
                    if let Some(lane) = self.lanes.get_mut(&span.file) {
                        lane.forget_position();
                    }
                }
                Origin::Marker(id) => self.keeper.marker_returned(id),
            }
        }
    }

    /// Bytes were given back unsent: those that are on disk will be read again, the others are lost.
    fn lose_returned(&mut self, span: Span, now: Now) {
        let bytes = self.ledger.abandon(span);
        self.lose_severed(span.file, bytes, now);
        self.release_orphan(span.file);
    }

    /// So many bytes of a file were on their way, and are neither delivered nor on disk.
    pub(super) fn lose_severed(&mut self, id: FileId, bytes: u64, now: Now) {
        if bytes > 0
            && let Some(lost) = severed(&self.tail, &self.orphans, id, bytes)
        {
            self.keeper.lose(&lost, now);
        }
    }
}

/// What of the bytes on their way would be lost if the process ended now. It is in every
/// checkpoint, since whoever starts from that cannot know whether they arrived.
pub(super) fn at_stake(tail: &Tail, ledger: &Ledger, orphans: &Orphans) -> Vec<Lost> {
    let all = ledger.all_severed().into_iter();
    all.filter_map(|(id, bytes)| severed(tail, orphans, id, bytes))
        .collect()
}

/// What an earlier run had at stake.
pub(super) fn recalled(stake: Loss) -> Lost {
    Lost {
        source: stake.source.into(),
        path: stake.path,
        family: stake.family,
        bytes: stake.bytes,
        reason: SEVERED,
    }
}

/// So many bytes of a file that are on their way and not on disk.
fn severed(tail: &Tail, orphans: &Orphans, id: FileId, bytes: u64) -> Option<Lost> {
    match orphans.get(&id) {
        Some(orphan) => Some(Lost {
            bytes,
            ..orphan.clone()
        }),
        None => tail.loss_of(id, bytes, SEVERED),
    }
}
