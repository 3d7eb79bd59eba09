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

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Source;
use crate::event::{FileId, Offset};
use crate::ports::Handle;

use super::discover::{self, Found, Relation};
use super::file::Place;
use super::likeness::{self, Kind, Standing, Tie, Verdict};
use super::newborn::{Newborn, Rank, put_aside_copies};
use super::{Look, Lost, Tail, rotation};

/// A file a scan found whose inode nobody knows.
pub(super) struct Unknown {
    pub(super) found: Found,
    /// Outside the source's patterns: of interest only if it was written after this time, that
    /// is, rolled away since we last looked.
    pub(super) rolled_after_ms: Option<i64>,
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
            let (path, meta) = (unknown.found.path.clone(), unknown.found.meta);
            let family = rotation::family_of(&path);
            let is_live = fresh.contains(&family) || self.by_path.contains_key(&family);
            let family = if is_live { family } else { path.clone() };
            match self.place(index, unknown, family, look) {
                Ok(newborn) => newborns.extend(newborn),
                Err(error) => {
                    self.glimpse(index, &meta);
                    problems.push(format!("{}: {error}", path.display()));
                }
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
        if standing == Standing::Displaced && file.is_slight() && file.size != size {
            return Ok(Tie::Kin(Offset(0)));
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
        let bytes = file.missing_from(size);
        if bytes > 0 && file.is_displaced() {
            let reason = "destroyed by a truncation before it was read";
            self.news.lost.push(Lost::of(file, bytes, reason));
        }
        if file.read > Offset(size) {
            file.go_back(Offset(size));
            // What is written there from now on was never heard.
            file.heard = file.heard.min(file.read);
            file.marks.retain(|mark| mark.at.0 <= size);
            file.heads.retain(|head| u64::from(head.bytes) <= size);
            self.news.reset.push((id, file.read));
        }
    }
}

/// Live paths a name could come from: its family's, and those it begins with.
pub(super) fn related_families(path: &Path) -> BTreeSet<PathBuf> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let ends = (1..name.len()).filter(|at| b".-_~".contains(&name[*at]));
    let prefixes = ends.map(|end| path.with_file_name(OsStr::from_bytes(&name[..end])));
    prefixes.chain([rotation::family_of(path)]).collect()
}
