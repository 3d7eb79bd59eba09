//! Unknown inodes that are contents of their own: how they join the table.

use std::path::Path;
use std::sync::Arc;

use crate::config::Start;
use crate::event::Offset;

use super::adopt::Unknown;
use super::discover::Found;
use super::file::Place;
use super::line::Lines;
use super::{Look, Tail};

/// An unknown that is a content of its own.
pub(super) struct Newborn {
    pub(super) unknown: Unknown,
    pub(super) family: Arc<Path>,
    /// Where to begin.
    pub(super) from: Offset,
    pub(super) rank: Rank,
}

/// What a newborn is beside the others of its scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// A content of its own.
    Own,
    /// A copy of the one at this place in the list.
    CopyOf(usize),
    /// It could not be compared: it stays unknown for now.
    Unclear,
}

impl Tail {
    /// Lets new contents join, the oldest first, a live one after its rotated ones: the order in
    /// which they were written.
    pub(super) fn bear(&mut self, index: usize, mut newborns: Vec<Newborn>, look: &mut Look<'_>) {
        let keys: Vec<_> = newborns
            .iter()
            .map(|new| new.unknown.found.meta.key)
            .collect();
        newborns.sort_by(|a, b| {
            let order = |new: &Newborn| {
                let found = &new.unknown.found;
                (found.meta.modified_ms, new.family == found.path)
            };
            let by_time = order(a).cmp(&order(b));
            by_time.then_with(|| a.unknown.found.path.cmp(&b.unknown.found.path))
        });
        let (mut copies, mut lines) = (Vec::new(), Lines::default());
        for newborn in newborns {
            match newborn.rank {
                Rank::Own => self.join_new(index, newborn, &mut lines, look),
                Rank::CopyOf(nth) => copies.push((newborn.unknown.found.meta.key, keys[nth])),
                Rank::Unclear => self.glimpse(index, &newborn.unknown.found.meta),
            }
        }
        for (copy, original) in copies {
            if let Some(original) = self.by_key.get(&original).copied() {
                self.copies.insert(copy, (original, None));
            }
        }
    }

    fn join_new(&mut self, index: usize, newborn: Newborn, lines: &mut Lines, look: &mut Look<'_>) {
        let Newborn {
            unknown,
            family,
            from,
            ..
        } = newborn;
        let source = Arc::clone(&self.sources[index].source);
        let found = unknown.found;
        let id = self.new_id();
        let mut file = self.blank(id, source, found.root, found.path);
        file.belongs_to(&family);
        file.key = Some(found.meta.key);
        file.read = from;
        file.size = from.0;
        file.modified_ms = found.meta.modified_ms;
        file.grown_mono_ms = look.now.mono_ms;
        if unknown.rolled_after_ms.is_some() {
            file.place = Place::Rotated;
        }
        tracing::debug!(path = %file.path.display(), from = from.0, "file found");
        self.line_up(&mut file, lines);
        self.join(file);
        // Opened at once, so that its head is known before it can be rotated. It may have been cut
        // since the walk: what it holds is what is there now.
        let is_open = self.ensure_open(id, look.files, look.now);
        if let Some(file) = self.files.get_mut(&id) {
            if !is_open {
                file.size = found.meta.size.max(from.0);
            }
            file.gate_bytes = file.size;
            if file.size != found.meta.size {
                // The walk did not see the copies that were made since.
                self.await_scan(id);
            }
        }
        self.miss_glimpsed(index, id);
        self.requeue(id);
    }

    /// Where to begin in a file that was there before we ever were.
    pub(super) fn first_start(&self, start: Start, found: &Found) -> Offset {
        let end = Offset(found.meta.size);
        match (start, self.boot_ms) {
            (Start::End, _) => end,
            (Start::Boot, Some(boot_ms)) if found.meta.modified_ms < boot_ms => end,
            (Start::Beginning | Start::Boot, _) => Offset(0),
        }
    }
}
