//! What is on disk against what is known: same, renamed, replaced, gone. `adopt.rs` decides what
//! an unknown inode is.
//!
//! For every file a scan finds:
//!
//! 1. Its inode is known and it has not shrunk: the same content, perhaps renamed.
//! 2. Its inode is known but shorter than what was read, or other bytes stand where we stopped:
//!    the content moved away (copy and truncate) or was destroyed. It is *displaced*, and looked
//!    for among the names rotation gives, for [`super::DISPLACED_MS`].
//! 3. Its inode is unknown: `adopt.rs`.
//!
//! And for every known file a scan does not find: deleted, rotated to a name outside the
//! patterns, or displaced.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Source;
use crate::event::{FileId, Now};
use crate::ports::{Files, Watch};

use super::adopt::Unknown;
use super::discover::{self, Found, Walk};
use super::file::{File, Place};
use super::lifetime::families_of;
use super::siblings::rotated_names;
use super::watching::worth_watching;
use super::{Look, Tail};

/// Families in which something moved: root, live path, and when the moved content was last
/// written. Their rotated names are worth a look.
pub(super) type Moving = BTreeSet<(Arc<Path>, Arc<Path>, i64)>;

/// What a known inode that was closed turned out to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reopened {
    /// The content we know.
    Ours,
    /// Another one.
    Other,
    /// It may not be opened.
    Locked,
    /// It cannot be told now.
    Unclear,
}

/// What a known inode turned out to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// The content we know.
    Same,
    /// Another one.
    Replaced,
}

impl Tail {
    /// Compares one source's files on disk with the table.
    pub(super) fn scan(&mut self, index: usize, watch: &mut dyn Watch, look: &mut Look<'_>) {
        self.scans += 1;
        let source = Arc::clone(&self.sources[index].source);
        let mut walk = discover::walk(look.files, &source);
        let watches = self.rewatch(index, &worth_watching(&walk), watch);
        let mut unknown = Vec::new();
        let mut moving = std::mem::take(&mut self.sources[index].moving);
        moving.append(&mut self.end_wait(&source));
        for found in std::mem::take(&mut walk.found) {
            let is_unknown = match self.by_key.get(&found.meta.key).copied() {
                Some(id) if self.is_of(id, &source) => {
                    let seen = self.seen(id, &found, look, &mut moving);
                    seen == Seen::Replaced && !self.by_key.contains_key(&found.meta.key)
                }
                // Another source's.
                Some(_) => self.holder(&found, look).is_none(),
                None => true,
            };
            if is_unknown {
                unknown.push(Unknown {
                    found,
                    rolled_after_ms: None,
                });
            }
        }
        self.missing(&source, &walk, look, &mut moving);
        for (root, family, since_ms) in moving {
            let siblings = (&root, &*family, since_ms);
            if let Err(error) = self.siblings(&source, siblings, &mut unknown, look) {
                walk.problems.push(format!("{}: {error}", family.display()));
                let moving = &mut self.sources[index].moving;
                moving.insert((root, family, since_ms));
            }
        }
        walk.problems.extend(self.adopt_all(index, unknown, look));
        self.forget_glimpsed(index);
        self.scanned(index, &walk, watches, look.now);
    }

    /// A known inode was found. Is it still the content we know?
    fn seen(
        &mut self,
        id: FileId,
        found: &Found,
        look: &mut Look<'_>,
        moving: &mut Moving,
    ) -> Seen {
        let scans = self.scans;
        let Some(file) = self.files.get_mut(&id) else {
            return Seen::Same;
        };
        file.seen_in_scan = scans;
        let is_renamed = file.path != found.path;
        let was_open = file.handle.is_some();
        let was_slight = file.is_slight();
        let was_restored = file.unverified.is_some();
        let mut is_cut = file.is_cut_at(found.meta.size);
        // What this process has seen for itself does not shrink in any other way.
        let is_surely_cut = is_cut && !file.size_is_recalled;
        let has_grown = found.meta.size > file.size || self.hinted.contains_key(&id);
        let has_changed =
            (file.size, file.modified_ms) != (found.meta.size, found.meta.modified_ms);
        let family = file.moving();
        let is_unsure = is_renamed || has_changed || found.meta.size > file.read.0;
        if !was_open && is_unsure && !is_surely_cut {
            match self.reopened(id, found, look) {
                Reopened::Ours => is_cut = false,
                Reopened::Other => {
                    moving.insert(family);
                    return Seen::Replaced;
                }
                // Whether it was copied away and begun anew does not show on itself.
                Reopened::Locked => drop(moving.insert(family.clone())),
                Reopened::Unclear => return Seen::Same,
            }
        }
        if was_open && (has_grown || has_changed) && !is_cut {
            // Cut and written to what was known or beyond, it shows only on the content. What a scan
            // takes over of an inode, it must know whose it is. An error decides nothing.
            is_cut = matches!(self.holds_ours(id, look.files), Ok(Some(false)));
        }
        if is_renamed || (was_slight && has_changed) {
            // So little is known of a slight one that it may have been cut and written again, once
            // or more, without showing it.
            moving.insert(family.clone());
        }
        if is_renamed {
            self.renamed(id, &found.path, Place::Listed, found.meta.size);
        }
        if is_cut {
            moving.insert(family);
            self.displace(id, look.files, look.now);
            return Seen::Replaced;
        }
        // What was left of a line by an earlier run has its time to be finished, too.
        let grown = (was_restored || has_grown).then_some(look.now.mono_ms);
        self.stays(id, found, grown, look);
        Seen::Same
    }

    /// A file holds the content we know: takes over what the scan saw, and when it grew.
    fn stays(
        &mut self,
        id: FileId,
        found: &Found,
        grown_mono_ms: Option<u64>,
        look: &mut Look<'_>,
    ) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        file.grown_mono_ms = grown_mono_ms.unwrap_or(file.grown_mono_ms);
        file.note_change(&found.meta);
        file.size = found.meta.size.max(file.read.0);
        if let Some(size) = self.hinted.get_mut(&id) {
            *size = file.size;
        }
        file.size_is_recalled = false;
        file.modified_ms = found.meta.modified_ms;
        let wants_turn = !file.is_read() || file.unreadable.is_some();
        self.by_path.insert(Arc::clone(&found.path), id);
        self.learn(id, look.files);
        if wants_turn {
            self.requeue(id);
        }
    }

    /// Looks into a known inode that was closed: it may have been given to anybody since.
    fn reopened(&mut self, id: FileId, found: &Found, look: &mut Look<'_>) -> Reopened {
        let place = (&*found.root, &*found.path);
        let error = match self.open_at(id, place, look.files, look.now) {
            Ok(true) => return Reopened::Ours,
            Ok(false) => return Reopened::Other,
            Err(error) => error,
        };
        self.not_opened(id, &error, look.now);
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Reopened::Locked;
        }
        // The next scan asks again.
        self.scan_soon(id);
        Reopened::Unclear
    }

    /// Who has a found inode, as far as is known. One that was closed, and by another name, may have
    /// lost it.
    pub(super) fn holder(&mut self, found: &Found, look: &mut Look<'_>) -> Option<FileId> {
        let id = self.by_key.get(&found.meta.key).copied()?;
        let file = self.files.get(&id)?;
        let is_sure = file.handle.is_some() || file.path == found.path;
        if is_sure {
            return Some(id);
        }
        match self.open_at(id, (&found.root, &found.path), look.files, look.now) {
            Ok(false) => None,
            // On an error it stays as it is, for now.
            Ok(true) | Err(_) => Some(id),
        }
    }

    /// A file has another name now.
    fn renamed(&mut self, id: FileId, path: &Arc<Path>, place: Place, size: u64) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        tracing::info!(from = %file.path.display(), to = %path.display(), "file was renamed");
        self.structure += 1;
        let old = std::mem::replace(&mut file.path, Arc::clone(path));
        file.place = place;
        file.size = file.size.max(size);
        file.gate_bytes = file.size;
        if self.by_path.get(&old) == Some(&id) {
            self.by_path.remove(&old);
        }
        self.by_path.insert(Arc::clone(path), id);
    }

    /// Known files of a source that the walk did not find.
    fn missing(
        &mut self,
        source: &Arc<Source>,
        walk: &Walk,
        look: &mut Look<'_>,
        moving: &mut Moving,
    ) {
        let scans = self.scans;
        let is_missing =
            |file: &&File| file.seen_in_scan != scans && file.source.name == source.name;
        let ids = self.files().filter(is_missing).map(|file| file.id);
        for id in ids.collect::<Vec<_>>() {
            if self.is_moved(id, walk, look)
                && let Some(file) = self.files.get(&id)
            {
                moving.insert(file.moving());
            }
        }
    }

    /// What became of a known file that the walk did not find; whether its family is worth a look.
    fn is_moved(&mut self, id: FileId, walk: &Walk, look: &mut Look<'_>) -> bool {
        let Some(file) = self.files.get(&id) else {
            return false;
        };
        match file.place {
            Place::Rescued(_) | Place::Deleted => return false,
            Place::Displaced { .. } => return true,
            Place::Listed | Place::Rotated => {}
        }
        // Where it could not be looked, nothing can be concluded but from the open inode itself.
        let is_beside = |dir: &PathBuf| file.path.parent() == Some(dir);
        let is_hidden = walk.blind.iter().any(|blind| file.path.starts_with(blind))
            || walk.half_seen.iter().any(is_beside);
        if self.is_deleted(id, look.files, look.now) {
            return true;
        }
        let is_open = self.file(id).is_some_and(|file| file.handle.is_some());
        if is_hidden || self.is_where_it_was(id, look.files, look.now) {
            return false;
        }
        if self.file(id).is_some_and(File::is_displaced) {
            return true;
        }
        match self.moved_aside(id, look.files, look.now) {
            // Where it is cannot be told now; the next scan asks again.
            Err(_) => return false,
            Ok(false) if !is_open => self.displace(id, look.files, look.now),
            Ok(_) => {}
        }
        true
    }

    /// Notes which open files have no name any more, scan or not.
    pub fn notice_deleted(&mut self, files: &mut dyn Files, now: Now) {
        for id in self.files.keys().copied().collect::<Vec<_>>() {
            self.is_deleted(id, files, now);
        }
    }

    /// Whether no name leads to an open file any more.
    fn is_deleted(&mut self, id: FileId, files: &mut dyn Files, now: Now) -> bool {
        let file = self.files.get(&id);
        let listed = file.filter(|f| matches!(f.place, Place::Listed | Place::Rotated));
        let meta = listed
            .and_then(|f| f.handle)
            .map(|handle| files.meta(handle));
        match meta {
            Some(Ok(meta)) if meta.links == 0 => {
                self.deleted(id, meta.size, now);
                true
            }
            Some(Err(error)) => self.close_stale(id, &error, files, now),
            _ => false,
        }
    }

    /// A file outside the patterns that is still under the name we know.
    fn is_where_it_was(&mut self, id: FileId, files: &mut dyn Files, now: Now) -> bool {
        let Some(file) = self.files.get(&id) else {
            return false;
        };
        let meta = match files.stat(&file.root, &file.path) {
            Ok(meta) if Some(meta.key) == file.key => meta,
            Err(error) => return error.kind() != io::ErrorKind::NotFound,
            Ok(_) => return false,
        };
        let has_changed = (file.size, file.modified_ms) != (meta.size, meta.modified_ms);
        let is_closed = file.handle.is_none();
        // Inode and name may both have been given to another content while it was closed.
        if is_closed && has_changed && matches!(self.open(id, files, now), Ok(false)) {
            return false;
        }
        let Some(file) = self.files.get_mut(&id) else {
            return false;
        };
        if meta.size > file.size {
            file.grown_mono_ms = now.mono_ms;
        }
        file.note_change(&meta);
        file.modified_ms = meta.modified_ms;
        if meta.size > file.read.0 {
            file.size = meta.size;
            self.requeue(id);
        }
        true
    }

    /// No name leads to the file any more; its bytes live as long as we hold it.
    fn deleted(&mut self, id: FileId, size: u64, now: Now) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        tracing::debug!(path = %file.path.display(), "file was deleted");
        file.place = Place::Deleted;
        file.size = file.size.max(size);
        file.gate_bytes = file.size;
        file.grown_mono_ms = now.mono_ms;
        self.passing.insert(id);
        if self.by_path.get(&file.path) == Some(&id) {
            self.by_path.remove(&file.path);
        }
        self.requeue(id);
    }

    /// Looks for a file that lost its name among the names rotation would give it.
    fn moved_aside(&mut self, id: FileId, files: &mut dyn Files, now: Now) -> io::Result<bool> {
        let Some(file) = self.files.get(&id) else {
            return Ok(false);
        };
        let (root, key) = (file.root.clone(), file.key);
        let mut known = None;
        for family in families_of(file) {
            for path in rotated_names(files, &root, &family)? {
                match files.stat(&root, &path) {
                    Ok(meta) if Some(meta.key) == key => known = Some((path, meta.size)),
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        let Some((path, size)) = known else {
            return Ok(false);
        };
        match self.open_at(id, (&root, &path), files, now) {
            // Its inode was given to somebody else while we had it closed.
            Ok(false) => return Ok(true),
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            Ok(true) | Err(_) => {}
        }
        self.renamed(id, &path.into(), Place::Rotated, size);
        self.requeue(id);
        Ok(true)
    }

    fn is_of(&self, id: FileId, source: &Source) -> bool {
        self.files
            .get(&id)
            .is_some_and(|file| file.source.name == source.name)
    }
}
