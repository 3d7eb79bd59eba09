//! Unknown inodes that are contents of their own: which of them are copies of each other, and how
//! the others join the table.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::config::Start;
use crate::event::{FileId, Offset};

use super::adopt::{Unknown, related_families};
use super::discover::Found;
use super::file::{File, Place};
use super::{Look, Tail, likeness};

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
        let mut copies = Vec::new();
        for newborn in newborns {
            match newborn.rank {
                Rank::Own => self.join_new(index, newborn, look),
                Rank::CopyOf(nth) => copies.push((newborn.unknown.found.meta.key, keys[nth])),
                Rank::Unclear => self.glimpse(index, &newborn.unknown.found.meta),
            }
        }
        for (copy, original) in copies {
            if let Some(original) = self.by_key.get(&original).copied() {
                self.copies.insert(copy, (original, Offset(0)));
            }
        }
    }

    fn join_new(&mut self, index: usize, newborn: Newborn, look: &mut Look<'_>) {
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
        self.line_up(&mut file);
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

    /// Gives a file that joins its place among those of its family that hold unread bytes. What
    /// was written after it and is not begun comes later; the live one never comes before a rotated
    /// one.
    fn line_up(&mut self, new: &mut File) {
        let is_live = new.path == new.family;
        let mut later = Vec::new();
        for id in self.by_family.get(&new.family).into_iter().flatten() {
            let other = self.file(*id).filter(|other| {
                other.source.name == new.source.name && !matches!(other.place, Place::Rescued(_))
            });
            let Some(other) = other else {
                continue;
            };
            let other_is_live = self.by_path.get(&new.family) == Some(id);
            let is_later = other_is_live || other.modified_ms > new.modified_ms;
            if !is_live && is_later && other.read == Offset(0) {
                later.push(*id);
            } else if (is_live || !other_is_live) && (!other.is_read() || other.is_displaced()) {
                new.after.push(*id);
            }
        }
        if later.is_empty() {
            return;
        }
        // What is known of their order goes before their dates: no two must wait for each other.
        let before = self.all_before(new);
        for id in later.into_iter().filter(|id| !before.contains(id)) {
            if let Some(file) = self.files.get_mut(&id) {
                file.after.push(new.id);
            }
        }
    }

    /// The files that a file comes after, and those that they come after.
    fn all_before(&self, file: &File) -> BTreeSet<FileId> {
        let mut all = BTreeSet::new();
        let mut next = file.after.clone();
        while let Some(id) = next.pop() {
            if all.insert(id)
                && let Some(file) = self.file(id)
            {
                next.extend(&file.after);
            }
        }
        all
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

    /// Segments of the same file that lie before a position.
    pub(super) fn rescued_before(&self, path: &Path, position: Offset) -> Vec<FileId> {
        let rescued = self
            .files
            .values()
            .filter(|f| matches!(f.place, Place::Rescued(_)));
        rescued
            .filter(|f| &*f.path == path && f.read < position)
            .map(|f| f.id)
            .collect()
    }
}

/// Finds newborns (the larger come first) that hold only what a larger one begins with.
pub(super) fn put_aside_copies(newborns: &mut [Newborn], look: &mut Look<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut by_family: BTreeMap<Arc<Path>, Vec<usize>> = BTreeMap::new();
    for nth in 0..newborns.len() {
        let found = &newborns[nth].unknown.found;
        let mut families = related_families(&found.path);
        families.insert(newborns[nth].family.to_path_buf());
        let larger = families
            .iter()
            .filter_map(|family| by_family.get(&**family));
        let larger: BTreeSet<usize> = larger.flatten().copied().collect();
        let mut rank = Rank::Own;
        for original in larger {
            match is_copy(found, &newborns[original].unknown.found, look) {
                Ok(true) => rank = Rank::CopyOf(original),
                Ok(false) => continue,
                Err(error) => {
                    problems.push(format!("{}: {error}", found.path.display()));
                    rank = Rank::Unclear;
                }
            }
            break;
        }
        newborns[nth].rank = rank;
        if rank == Rank::Own {
            let family = Arc::clone(&newborns[nth].family);
            by_family.entry(family).or_default().push(nth);
        }
    }
    problems
}

/// Whether a file holds only what a larger one begins with. One that may not be opened is nobody's
/// copy and nobody's original.
fn is_copy(small: &Found, large: &Found, look: &mut Look<'_>) -> io::Result<bool> {
    let (small, small_meta) = match look.files.open(&small.root, &small.path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
        opened => opened?,
    };
    let answer = match look.files.open(&large.root, &large.path) {
        Ok((large, large_meta)) => {
            let (one, other) = ((small, small_meta.size), (large, large_meta.size));
            let answer = likeness::is_beginning(look.files, one, other);
            look.files.close(large);
            answer
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(error),
    };
    look.files.close(small);
    answer
}
