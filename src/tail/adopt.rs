//! What an unknown inode is: the new place of a known content, a copy in the making, or new.
//!
//! All unknown inodes of a scan are looked at together, the largest first, so that what holds all
//! of a content is found before what holds a part of it. Each is compared with the contents it may
//! have to do with (`likeness.rs`), the new ones then with each other: of an original and its copy
//! that are met in the same scan, only the longer one is read. A copy that holds nothing new is
//! put aside until its original is no more (then it is where the content is) or until the two
//! differ (then it is a content of its own).
//!
//! Names outside the patterns are looked at only in families where something moved; among them
//! only files written since then are new, the others are history from before our time.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Source, Start};
use crate::event::{FileId, Offset};
use crate::ports::Handle;

use super::discover::{self, Found, Relation};
use super::file::{File, Place};
use super::likeness::{self, Kind, Standing, Tie, Verdict};
use super::{Look, Lost, Tail, rotation};

/// A file a scan found whose inode nobody knows.
pub(super) struct Unknown {
    pub(super) found: Found,
    /// Outside the source's patterns: of interest only if it was written after this time, that
    /// is, rolled away since we last looked.
    pub(super) rolled_after_ms: Option<i64>,
}

/// An unknown that is a content of its own.
struct Newborn {
    unknown: Unknown,
    family: PathBuf,
    /// Where to begin.
    from: Offset,
    rank: Rank,
}

/// What a newborn is beside the others of its scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    /// A content of its own.
    Own,
    /// A copy of the one at this place in the list.
    CopyOf(usize),
    /// It could not be compared: it stays unknown for now.
    Unclear,
}

impl Tail {
    /// Takes in the unknown inodes of a scan. On an error one stays unknown: what cannot be
    /// compared now is looked at again by the next scan.
    pub(super) fn adopt_all(
        &mut self,
        index: usize,
        mut unknown: Vec<Unknown>,
        look: &mut Look<'_>,
    ) -> Vec<String> {
        if unknown.is_empty() {
            return Vec::new();
        }
        unknown.sort_by(|a, b| {
            let by_size = b.found.meta.size.cmp(&a.found.meta.size);
            by_size.then_with(|| a.found.path.cmp(&b.found.path))
        });
        let fresh: BTreeSet<PathBuf> = unknown.iter().map(|u| u.found.path.clone()).collect();
        let mut problems = Vec::new();
        let mut newborns = Vec::new();
        for unknown in unknown {
            let path = unknown.found.path.clone();
            let family = rotation::family_of(&path);
            let is_live = fresh.contains(&family) || self.by_path.contains_key(&family);
            let family = if is_live { family } else { path.clone() };
            match self.place(index, unknown, family, look) {
                Ok(newborn) => newborns.extend(newborn),
                Err(error) => problems.push(format!("{}: {error}", path.display())),
            }
        }
        problems.extend(put_aside_copies(&mut newborns, look));
        self.bear(index, newborns, look);
        problems
    }

    /// Finds out what an unknown inode is; what is not new gets its place.
    fn place(
        &mut self,
        index: usize,
        unknown: Unknown,
        family: PathBuf,
        look: &mut Look<'_>,
    ) -> io::Result<Option<Newborn>> {
        let source = Arc::clone(&self.sources[index].source);
        let found = &unknown.found;
        let from = match self.verdict(&source, found, &family, look)? {
            Verdict::HomeOf(id) => {
                self.rehome(id, found, &source, look);
                return Ok(None);
            }
            Verdict::CopyOf(id) => {
                self.copies.insert(found.meta.key, (id, Offset(0)));
                return Ok(None);
            }
            Verdict::New { from } => from,
        };
        let key = found.meta.key;
        let is_history = |since_ms| {
            from == Offset(0) && found.meta.modified_ms < since_ms && !self.vacated.contains(&key)
        };
        if unknown.rolled_after_ms.is_some_and(is_history) {
            return Ok(None);
        }
        let state = &self.sources[index];
        let from = match (self.copies.remove(&found.meta.key), state.is_first_scan) {
            (Some((_, read)), _) if read.0 <= found.meta.size => read.max(from),
            (None, true) => self.first_start(state.source.start, found).max(from),
            _ => from,
        };
        Ok(Some(Newborn {
            unknown,
            family,
            from,
            rank: Rank::Own,
        }))
    }

    /// What an unknown inode is, by comparing it with all contents it may have to do with.
    fn verdict(
        &mut self,
        source: &Source,
        found: &Found,
        family: &Path,
        look: &mut Look<'_>,
    ) -> io::Result<Verdict> {
        let candidates = self.candidates(source, &found.path, family);
        if candidates.is_empty() {
            return Ok(likeness::decide(&[]));
        }
        let (handle, meta) = match look.files.open(&found.root, &found.path) {
            // It is followed until it may be read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(likeness::decide(&[]));
            }
            opened => opened?,
        };
        if meta.key != found.meta.key {
            look.files.close(handle);
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut ties = Vec::new();
        let mut unclear = None;
        for id in candidates {
            match self.tie(id, &found.path, (handle, meta.size), look) {
                Ok(tie) => ties.push((id, tie)),
                Err(error) => unclear = Some(error),
            }
        }
        look.files.close(handle);
        match (likeness::decide(&ties), unclear) {
            // What may be a copy has to wait; what stands under a live name cannot be one.
            (Verdict::New { .. }, Some(error)) if found.path != family => Err(error),
            (verdict, _) => Ok(verdict),
        }
    }

    /// What an open unknown inode is to a known content.
    fn tie(
        &mut self,
        id: FileId,
        path: &Path,
        (handle, size): (Handle, u64),
        look: &mut Look<'_>,
    ) -> io::Result<Tie> {
        let standing = self.standing(id, look)?;
        let Some(file) = self.files.get(&id) else {
            return Ok(Tie::Kin(Offset(0)));
        };
        if file.heads.is_empty() {
            // It could never be read, so its size is all that speaks for it.
            let is_it = standing == Standing::Displaced && file.size == size;
            return Ok(if is_it {
                Tie::Home
            } else {
                Tie::Kin(Offset(0))
            });
        }
        let mut likeness = likeness::likeness(file, look.files, handle, size)?;
        if likeness.kind != Kind::Whole {
            likeness.agreed = likeness::line_start(look.files, handle, likeness.agreed)?;
        }
        let twin = match (file.handle, likeness.kind) {
            (_, Kind::Other) | (None, _) => None,
            (Some(own), _) => {
                let own_size = look.files.meta(own)?.size;
                likeness::twin(look.files, (own, own_size), (handle, size))?
            }
        };
        tracing::debug!(known = %file.path.display(), unknown = %path.display(), read = file.read.0, size, ?standing, ?likeness, ?twin, heads = file.heads.len(), "compared");
        let tie = match likeness::tie(standing, likeness, (size, file.read), twin) {
            // A copy is put aside: what stands under the live name itself was begun anew, or is
            // what a power cut left.
            Tie::Home | Tie::Copy | Tie::Remnant if file.family == path => {
                Tie::Kin(likeness.agreed)
            }
            tie => tie,
        };
        Ok(match tie {
            // What has no answer yet is not skipped elsewhere.
            Tie::Kin(shared) => Tie::Kin(shared.min((look.settled)(id))),
            tie => tie,
        })
    }

    /// Where a known content stands now.
    fn standing(&mut self, id: FileId, look: &mut Look<'_>) -> io::Result<Standing> {
        match self.open(id, look.files, look.now) {
            Ok(true) => {}
            Ok(false) => return Ok(Standing::Displaced),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(Standing::Locked);
            }
            Err(error) => return Err(error),
        }
        let Some((file, handle)) = self.files.get(&id).and_then(|f| Some((f, f.handle?))) else {
            return Ok(Standing::Displaced);
        };
        // Only now may it show that it was truncated since we last looked.
        let size = look.files.meta(handle)?.size;
        let own = likeness::likeness(file, look.files, handle, size)?;
        if own.kind == Kind::Whole || file.heads.is_empty() {
            return Ok(Standing::InPlace);
        }
        self.displace(id, look.files, look.now);
        Ok(Standing::Displaced)
    }

    /// Contents that could stand under this name, too: those of its family, and those whose name
    /// it begins with (`app.log._copy_`, `app.log.bak`).
    fn candidates(&self, source: &Source, path: &Path, family: &Path) -> Vec<FileId> {
        let mut families = related_families(path);
        families.insert(family.to_path_buf());
        let comparable = |id: &&FileId| {
            let file = self.files.get(id);
            file.is_some_and(|file| file.source.name == source.name && file.is_comparable())
        };
        let ids = families.iter().filter_map(|f| self.by_family.get(f));
        ids.flatten().filter(comparable).copied().collect()
    }

    /// Gives a content the place where it was found.
    fn rehome(&mut self, id: FileId, found: &Found, source: &Source, look: &mut Look<'_>) {
        self.copies.remove(&found.meta.key);
        self.cut_back(id, found.meta.size);
        self.unlink(id, look.files);
        let listed = discover::relation(source, &found.path) == Relation::File;
        let scans = self.scans;
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        tracing::info!(path = %found.path.display(), read = file.read.0, size = found.meta.size, "found the copy of a truncated file");
        file.key = Some(found.meta.key);
        file.place = if listed {
            Place::Listed
        } else {
            Place::Rotated
        };
        file.gate_bytes = found.meta.size;
        file.seen_in_scan = scans;
        file.saw(&found.path, &found.meta);
        self.passing.remove(&id);
        self.by_key.insert(found.meta.key, id);
        self.by_path.insert(found.path.clone(), id);
        // Held at once, since the next rotations may remove it before its turn comes.
        self.ensure_open(id, look.files, look.now);
        self.requeue(id);
    }

    /// What a displaced content held behind its copy's end was destroyed by the truncation; what
    /// of that had been read is on its way.
    fn cut_back(&mut self, id: FileId, size: u64) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        let bytes = file.size.saturating_sub(size.max(file.read.0));
        if bytes > 0 && matches!(file.place, Place::Displaced { .. }) {
            let reason = "destroyed by a truncation before it was read";
            self.news.lost.push(Lost::of(file, bytes, reason));
        }
        if file.read > Offset(size) {
            file.go_back(Offset(size));
            file.marks.retain(|mark| mark.at.0 <= size);
            file.heads.retain(|head| u64::from(head.bytes) <= size);
            self.news.reset.push((id, file.read));
        }
    }

    /// Lets new contents join, the oldest first, a live one after its rotated ones: the order in
    /// which they were written.
    fn bear(&mut self, index: usize, mut newborns: Vec<Newborn>, look: &mut Look<'_>) {
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
                Rank::Unclear => {}
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
        file.after = self.predecessors(&file.source, &family, &file.path);
        file.family = family;
        file.key = Some(found.meta.key);
        file.read = from;
        file.size = found.meta.size.max(from.0);
        file.gate_bytes = file.size;
        file.modified_ms = found.meta.modified_ms;
        file.grown_mono_ms = look.now.mono_ms;
        if unknown.rolled_after_ms.is_some() {
            file.place = Place::Rotated;
        }
        tracing::debug!(path = %file.path.display(), from = from.0, "file found");
        self.precede_unread_live(&file);
        self.join(file);
        // Opened at once, so that its head is known before it can be rotated.
        self.ensure_open(id, look.files, look.now);
        self.requeue(id);
    }

    /// A rotated file that is found late comes before the live one as long as nothing of that was
    /// read.
    fn precede_unread_live(&mut self, rotated: &File) {
        if rotated.path == rotated.family {
            return;
        }
        let live = self.by_path.get(&rotated.family).copied();
        if let Some(live) = live.and_then(|id| self.files.get_mut(&id))
            && live.read == Offset(0)
        {
            live.after.push(rotated.id);
        }
    }

    /// Where to begin in a file that was there before we ever were.
    fn first_start(&self, start: Start, found: &Found) -> Offset {
        let end = Offset(found.meta.size);
        match (start, self.boot_ms) {
            (Start::End, _) => end,
            (Start::Boot, Some(boot_ms)) if found.meta.modified_ms < boot_ms => end,
            (Start::Beginning | Start::Boot, _) => Offset(0),
        }
    }

    /// Files of the family whose bytes come before those of a file that joins now: all that hold
    /// unread bytes, but the live one never comes before a rotated one.
    fn predecessors(&self, source: &Source, family: &Path, path: &Path) -> Vec<FileId> {
        let before = |file: &&File| {
            file.source.name == source.name
                && (path == family || file.path != family || file.key.is_none())
                && !matches!(file.place, Place::Rescued(_))
                && (!file.is_read() || matches!(file.place, Place::Displaced { .. }))
        };
        let ids = self.by_family.get(family).into_iter().flatten();
        let files = ids.filter_map(|id| self.files.get(id));
        files.filter(before).map(|f| f.id).collect()
    }
}

/// Live paths a name could come from: its family's, and those it begins with.
fn related_families(path: &Path) -> BTreeSet<PathBuf> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let ends = (1..name.len()).filter(|at| b".-_~".contains(&name[*at]));
    let prefixes = ends.map(|end| path.with_file_name(OsStr::from_bytes(&name[..end])));
    prefixes.chain([rotation::family_of(path)]).collect()
}

/// Finds newborns (the larger come first) that hold only what a larger one begins with.
fn put_aside_copies(newborns: &mut [Newborn], look: &mut Look<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut by_family: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
    for nth in 0..newborns.len() {
        let found = &newborns[nth].unknown.found;
        let mut families = related_families(&found.path);
        families.insert(newborns[nth].family.clone());
        let larger = families.iter().filter_map(|family| by_family.get(family));
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
            let family = newborns[nth].family.clone();
            by_family.entry(family).or_default().push(nth);
        }
    }
    problems
}

/// Whether a file holds only what a larger one begins with. One that may not be opened is nobody's
/// original.
fn is_copy(small: &Found, large: &Found, look: &mut Look<'_>) -> io::Result<bool> {
    let (small, small_meta) = look.files.open(&small.root, &small.path)?;
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
