//! What an unknown inode is: a displaced content that moved here, a copy in the making, or new.
//!
//! - Its content is that of a displaced file (same head, same bytes where we stopped): the
//!   content moved here, with its [`FileId`].
//! - Its content is a prefix of a file that is still whole: a copy, which holds nothing new. It is
//!   left alone until the original is truncated (then it is where the content moved) or until the
//!   two differ (then it is a file of its own).
//! - Otherwise it is new and read from its beginning; at the very first scan of its source, from
//!   where `start` says.
//!
//! Names outside the patterns are looked at only in families where something moved; among them
//! only files written since then are new, the others are history from before our time.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Source, Start};
use crate::event::{FileId, Now, Offset};
use crate::ports::{Files, Handle, Kind};

use super::discover::{self, Found, Relation};
use super::file::{File, Place};
use super::fingerprint::{self, ANCHOR_BYTES_MAX, Anchor, HEAD_BYTES_MAX};
use super::{Lost, Tail, rotation};

/// Rotated names looked at in one directory.
const ROTATED_NAMES_MAX: usize = 1_000;

/// A file a scan found whose inode nobody knows.
pub(super) struct Unknown {
    pub(super) found: Found,
    /// Outside the source's patterns: of interest only if it was written after this time, that
    /// is, rolled away since we last looked.
    pub(super) rolled_after_ms: Option<i64>,
}

/// What an unknown file is to a known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    /// The known content moved here.
    Moved,
    /// The same bytes as the known one's, no more.
    Prefix,
}

impl Tail {
    /// Rotated names of a family that no pattern matches: the copy of a displaced file, or files
    /// that were born and rolled away since the last look.
    pub(super) fn siblings(
        &mut self,
        source: &Source,
        files: &mut dyn Files,
        root: &Path,
        family: &Path,
        since_ms: i64,
        unknown: &mut Vec<Unknown>,
    ) {
        // A directory that cannot be listed now is a problem the walk has told.
        for path in rotated_names(files, root, family).unwrap_or_default() {
            if discover::relation(source, &path) == Relation::File
                || discover::is_compressed(&path)
                || unknown.iter().any(|other| other.found.path == path)
            {
                continue;
            }
            let Ok(meta) = files.stat(root, &path) else {
                continue;
            };
            if meta.kind == Kind::File && !self.by_key.contains_key(&meta.key) {
                let found = Found {
                    root: root.to_path_buf(),
                    path,
                    meta,
                };
                unknown.push(Unknown {
                    found,
                    rolled_after_ms: Some(since_ms),
                });
            }
        }
    }

    pub(super) fn adopt_all(
        &mut self,
        index: usize,
        unknown: Vec<Unknown>,
        files: &mut dyn Files,
        now: Now,
    ) -> Vec<String> {
        if unknown.is_empty() {
            return Vec::new();
        }
        let fresh: BTreeSet<PathBuf> = unknown.iter().map(|u| u.found.path.clone()).collect();
        let is_live = |path: &PathBuf| fresh.contains(path) || self.by_path.contains_key(path);
        let family = |path: &Path| {
            let family = rotation::family_of(path);
            if is_live(&family) {
                family
            } else {
                path.to_path_buf()
            }
        };
        let with_family = |unknown: Unknown| (family(&unknown.found.path), unknown);
        let mut unknown: Vec<(PathBuf, Unknown)> = unknown.into_iter().map(with_family).collect();
        // Oldest first, a live file after its rotated ones: the order in which they were written.
        unknown.sort_by(|(family_a, a), (family_b, b)| {
            let order =
                |family: &PathBuf, u: &Unknown| (u.found.meta.modified_ms, *family == u.found.path);
            let by_time = order(family_a, a).cmp(&order(family_b, b));
            by_time.then_with(|| a.found.path.cmp(&b.found.path))
        });
        let mut problems = Vec::new();
        for (family, unknown) in unknown {
            let path = unknown.found.path.clone();
            if let Err(error) = self.adopt(index, unknown, family, files, now) {
                problems.push(format!("{}: {error}", path.display()));
            }
        }
        problems
    }

    /// Decides what an unknown inode is. On an error it stays unknown: what cannot be compared now
    /// is looked at again by the next scan.
    fn adopt(
        &mut self,
        index: usize,
        unknown: Unknown,
        family: PathBuf,
        files: &mut dyn Files,
        now: Now,
    ) -> io::Result<()> {
        let Unknown {
            found,
            rolled_after_ms,
        } = unknown;
        let source = Arc::clone(&self.sources[index].source);
        match self.original_of(&source, &found, &family, files, now)? {
            Some((original, Copy::Prefix)) => {
                self.copies.insert(found.meta.key, (original, Offset(0)));
                return Ok(());
            }
            Some((original, Copy::Moved)) => {
                self.cut_back(original, found.meta.size);
                self.rehome(original, &found, &source);
                return Ok(());
            }
            None => {}
        }
        if rolled_after_ms.is_some_and(|since_ms| found.meta.modified_ms < since_ms) {
            return Ok(());
        }
        let state = &self.sources[index];
        let start = match (self.copies.remove(&found.meta.key), state.is_first_scan) {
            (Some((_, read)), _) if read.0 <= found.meta.size => read,
            (None, true) => self.first_start(state.source.start, &found),
            _ => Offset(0),
        };
        let id = self.new_id();
        let place = if rolled_after_ms.is_some() {
            Place::Rotated
        } else {
            Place::Listed
        };
        let mut file = self.blank(id, source, found.root, found.path);
        file.after = self.predecessors(&file.source, &family, &file.path);
        file.family = family;
        file.key = Some(found.meta.key);
        file.read = start;
        file.size = found.meta.size.max(start.0);
        file.gate_bytes = file.size;
        file.modified_ms = found.meta.modified_ms;
        file.grown_mono_ms = now.mono_ms;
        file.place = place;
        tracing::debug!(path = %file.path.display(), from = start.0, "file found");
        self.precede_unread_live(&file);
        self.join(file);
        // Opened at once, so that its head is known before it can be rotated.
        self.ensure_open(id, files, now);
        self.requeue(id);
        Ok(())
    }

    /// Whose copy an unknown file is, if anybody's.
    fn original_of(
        &mut self,
        source: &Source,
        found: &Found,
        family: &Path,
        files: &mut dyn Files,
        now: Now,
    ) -> io::Result<Option<(FileId, Copy)>> {
        let mut candidates = self.possible_originals(source, &found.path, family);
        // A copy is put aside; the live path itself always begins anew.
        candidates.retain(|id| {
            self.files
                .get(id)
                .is_some_and(|file| file.family != found.path)
        });
        if candidates.is_empty() {
            return Ok(None);
        }
        let (handle, meta) = files.open(&found.root, &found.path)?;
        let mut verdict = Ok(None);
        for id in candidates {
            // Only now may it show that the original was truncated since we last looked.
            if !self.is_still_itself(id, files, now) {
                self.displace(id, files, now);
            }
            let Some(file) = self.files.get(&id) else {
                continue;
            };
            match copy_of(file, files, handle, meta.size) {
                Ok(None) => {}
                Ok(Some(copy)) => {
                    verdict = Ok(Some((id, copy)));
                    break;
                }
                Err(error) => verdict = Err(error),
            }
        }
        files.close(handle);
        verdict
    }

    /// Files whose content could stand under this name, too: those of its family, and those whose
    /// name it begins with (`app.log._copy_`, `app.log.bak`).
    fn possible_originals(&self, source: &Source, path: &Path, family: &Path) -> Vec<FileId> {
        let mut families = BTreeSet::from([family.to_path_buf(), rotation::family_of(path)]);
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let ends = (1..name.len()).filter(|at| b".-_~".contains(&name[*at]));
        families.extend(ends.map(|end| path.with_file_name(OsStr::from_bytes(&name[..end]))));
        families
            .iter()
            .flat_map(|family| self.family(source, family))
            .collect()
    }

    /// The files of a family whose content could stand in another one, too.
    fn family(&self, source: &Source, family: &Path) -> Vec<FileId> {
        let ids = self.by_family.get(family).into_iter().flatten();
        let comparable = |id: &&FileId| {
            let file = self.files.get(id);
            file.is_some_and(|file| file.source.name == source.name && file.head.bytes > 0)
        };
        ids.filter(comparable).copied().collect()
    }

    /// Whether a file's inode still holds its content.
    fn is_still_itself(&mut self, id: FileId, files: &mut dyn Files, now: Now) -> bool {
        if !self.ensure_open(id, files, now) {
            return true;
        }
        let Some(file) = self.files.get(&id) else {
            return true;
        };
        let Some(handle) = file.handle else {
            return true;
        };
        let anchor = file.anchor.fingerprint();
        let same = fingerprint::has_head(files, handle, file.head).and_then(|same| {
            Ok(same && fingerprint::has_anchor(files, handle, file.read, anchor)?)
        });
        // What cannot be read now proves nothing.
        same.unwrap_or(true)
    }

    /// What a displaced content held behind its copy's end was destroyed by the truncation; what
    /// of that had been read is on its way.
    fn cut_back(&mut self, id: FileId, size: u64) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        let bytes = file.size.saturating_sub(size.max(file.read.0));
        if file.read > Offset(size) {
            file.read = Offset(size);
            file.heard = file.heard.min(file.read);
            file.anchor = Anchor::NONE;
        }
        if bytes > 0 {
            let reason = "destroyed by a truncation before it was read";
            self.news.lost.push(Lost::of(file, bytes, reason));
        }
    }

    /// A displaced content was found again.
    fn rehome(&mut self, id: FileId, found: &Found, source: &Source) {
        self.copies.remove(&found.meta.key);
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
        if found.meta.size < u64::from(file.head.bytes) {
            // Learned again when it is opened.
            file.head = fingerprint::fingerprint(&[]);
        }
        file.saw(&found.path, &found.meta);
        self.passing.remove(&id);
        self.by_key.insert(found.meta.key, id);
        self.by_path.insert(found.path.clone(), id);
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

/// Whether an open file holds the content of `file`.
fn copy_of(
    file: &File,
    files: &mut dyn Files,
    candidate: Handle,
    candidate_size: u64,
) -> io::Result<Option<Copy>> {
    if matches!(file.place, Place::Displaced { .. }) {
        return moved_copy(file, files, candidate, candidate_size);
    }
    let Some(original) = file.handle else {
        // A file that may not be read is nobody's original.
        return Ok(None);
    };
    if candidate_size == 0 || candidate_size > files.meta(original)?.size {
        return Ok(None);
    }
    let end = Offset(candidate_size);
    let head = fingerprint::head(files, candidate, HEAD_BYTES_MAX)?;
    let last = fingerprint::anchor_at(files, candidate, end, ANCHOR_BYTES_MAX)?.fingerprint();
    let same = fingerprint::has_head(files, original, head)?
        && fingerprint::has_anchor(files, original, end, last)?;
    Ok(same.then_some(Copy::Prefix))
}

/// Whether an open file holds the content of a displaced one.
fn moved_copy(
    file: &File,
    files: &mut dyn Files,
    candidate: Handle,
    candidate_size: u64,
) -> io::Result<Option<Copy>> {
    let heads = [file.head, file.lead];
    let mut fitting = heads
        .into_iter()
        .filter(|head| head.bytes > 0 && candidate_size >= u64::from(head.bytes));
    let begins_alike = match fitting.next() {
        Some(head) => fingerprint::has_head(files, candidate, head)?,
        None => {
            let few = fingerprint::first(files, candidate, ANCHOR_BYTES_MAX)?;
            few.len() > 0 && file.first.bytes().starts_with(few.bytes())
        }
    };
    if !begins_alike {
        return Ok(None);
    }
    if candidate_size < file.read.0 {
        // Made before the content grew to what we read: nothing new in it.
        return Ok(Some(Copy::Moved));
    }
    let evidence = file.unverified.unwrap_or(file.anchor.fingerprint());
    let goes_on = fingerprint::has_anchor(files, candidate, file.read, evidence)?;
    Ok(goes_on.then_some(Copy::Moved))
}

/// The names beside a live file that rotation could have given it.
pub(super) fn rotated_names(
    files: &mut dyn Files,
    root: &Path,
    live: &Path,
) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (live.parent(), live.file_name()) else {
        return Ok(Vec::new());
    };
    let entries = match files.list(root, dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed?,
    };
    let rotated = entries
        .into_iter()
        .filter(|(entry, kind)| *kind == Kind::File && rotation::is_rotation_of(name, entry));
    let mut paths: Vec<PathBuf> = rotated
        .take(ROTATED_NAMES_MAX)
        .map(|(entry, _)| dir.join(entry))
        .collect();
    paths.sort();
    Ok(paths)
}
