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
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Source;
use crate::event::{FileId, Now};
use crate::ports::{Files, Watch};

use super::adopt::{Unknown, rotated_names};
use super::discover::{self, Found, Walk};
use super::file::{File, Place};
use super::fingerprint;
use super::{SCAN_ENTRIES_PER_GAP_MS, SCAN_GAP_MS, SCAN_POLLED_MS, SCAN_WATCHED_MS, Tail, Watched};

/// Milliseconds by which an entry of a scan lengthens the time to the next one where hints tell of
/// changes: 30 s for each thousand. Looking costs a few microseconds for each, so that however many
/// there are it stays below 0.03 % of a processor.
const SCAN_WATCHED_MS_PER_ENTRY: u64 = 30;

/// Families in which something moved: root, live path, and when the moved content was last
/// written. Their rotated names are worth a look.
pub(super) type Moving = BTreeSet<(PathBuf, PathBuf, i64)>;

/// What watching a walk's directories brought.
#[derive(Clone, Copy, Debug)]
struct Rewatched {
    /// A directory is watched that was not before.
    fresh: bool,
    /// A directory gives no hints and must be polled.
    polled: bool,
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
    pub(super) fn scan(
        &mut self,
        index: usize,
        files: &mut dyn Files,
        watch: &mut dyn Watch,
        now: Now,
    ) {
        self.scans += 1;
        let source = Arc::clone(&self.sources[index].source);
        let mut walk = discover::walk(files, &source);
        let watches = self.rewatch(index, &walk.directories, watch);
        let mut unknown = Vec::new();
        let mut moving = Moving::new();
        for found in std::mem::take(&mut walk.found) {
            match self.by_key.get(&found.meta.key).copied() {
                Some(id) if self.is_of(id, &source) => {
                    let seen = self.seen(id, &found, files, now, &mut moving);
                    let is_known = self.by_key.contains_key(&found.meta.key);
                    if seen == Seen::Replaced && !is_known {
                        unknown.push(Unknown {
                            found,
                            rolled_after_ms: None,
                        });
                    }
                }
                Some(_) => {}
                None => unknown.push(Unknown {
                    found,
                    rolled_after_ms: None,
                }),
            }
        }
        self.missing(&source, &walk, files, now, &mut moving);
        for (root, family, since_ms) in moving {
            self.siblings(&source, files, &root, &family, since_ms, &mut unknown);
        }
        walk.problems
            .extend(self.adopt_all(index, unknown, files, now));
        self.scanned(index, &walk, watches, now);
    }

    /// A known inode was found. Is it still the content we know?
    fn seen(
        &mut self,
        id: FileId,
        found: &Found,
        files: &mut dyn Files,
        now: Now,
        moving: &mut Moving,
    ) -> Seen {
        let scans = self.scans;
        let Some(file) = self.files.get_mut(&id) else {
            return Seen::Same;
        };
        file.seen_in_scan = scans;
        let renamed = file.path != found.path;
        let changed = (file.size, file.modified_ms) != (found.meta.size, found.meta.modified_ms);
        if renamed {
            moving.insert((file.root.clone(), file.family.clone(), file.modified_ms));
            tracing::info!(from = %file.path.display(), to = %found.path.display(), "file was renamed");
            let old = std::mem::replace(&mut file.path, found.path.clone());
            file.place = Place::Listed;
            file.gate_bytes = found.meta.size;
            if self.by_path.get(&old) == Some(&id) {
                self.by_path.remove(&old);
            }
        }
        self.by_path.insert(found.path.clone(), id);
        let Some(file) = self.files.get_mut(&id) else {
            return Seen::Same;
        };
        let is_running = file.unverified.is_none();
        if is_running && is_cut(file, files, found.meta.size) {
            moving.insert((file.root.clone(), file.family.clone(), file.modified_ms));
            self.displace(id, files, now);
            return Seen::Replaced;
        }
        let has_more = found.meta.size > file.read.0;
        let was_unreadable = file.unreadable.is_some();
        let before_ms = file.modified_ms;
        if !is_running || found.meta.size > file.size {
            // What was left of a line by an earlier run has its time to be finished, too.
            file.grown_mono_ms = now.mono_ms;
        }
        file.size = found.meta.size.max(file.read.0);
        file.modified_ms = found.meta.modified_ms;
        fingerprint::learn_more(file, files);
        if !is_running && (changed || has_more) {
            // Restored from disk and not untouched since: check now who it is.
            let family = (file.root.clone(), file.family.clone(), before_ms);
            if !self.ensure_open(id, files, now) && self.is_displaced(id) {
                moving.insert(family);
                return Seen::Replaced;
            }
        }
        if has_more || was_unreadable {
            self.requeue(id);
        }
        Seen::Same
    }

    /// Known files of a source that the walk did not find.
    fn missing(
        &mut self,
        source: &Arc<Source>,
        walk: &Walk,
        files: &mut dyn Files,
        now: Now,
        moving: &mut Moving,
    ) {
        let scans = self.scans;
        let is_missing = |file: &&File| {
            file.seen_in_scan != scans
                && file.source.name == source.name
                && !walk.blind.iter().any(|dir| file.path.starts_with(dir))
        };
        let ids: Vec<FileId> = self
            .files
            .values()
            .filter(is_missing)
            .map(|f| f.id)
            .collect();
        for id in ids {
            let Some(file) = self.files.get_mut(&id) else {
                continue;
            };
            match file.place {
                Place::Rescued(_) | Place::Deleted => continue,
                Place::Displaced { .. } => {}
                Place::Listed | Place::Rotated => {
                    let meta = file.handle.map(|handle| files.meta(handle));
                    match meta {
                        Some(Ok(meta)) if meta.links == 0 => self.deleted(id, meta.size, now),
                        _ if self.is_where_it_was(id, files, now) => continue,
                        meta => match (self.moved_aside(id, files), meta) {
                            // Where it is cannot be told now; the next scan asks again.
                            (Err(_), _) => continue,
                            (Ok(true), _) | (Ok(false), Some(_)) => {}
                            (Ok(false), None) => self.displace(id, files, now),
                        },
                    }
                }
            }
            if let Some(file) = self.files.get(&id) {
                moving.insert((file.root.clone(), file.family.clone(), file.modified_ms));
            }
        }
    }

    /// A file outside the patterns that is still under the name we know.
    fn is_where_it_was(&mut self, id: FileId, files: &mut dyn Files, now: Now) -> bool {
        let Some(file) = self.files.get_mut(&id) else {
            return false;
        };
        match files.stat(&file.root, &file.path) {
            Ok(meta) if Some(meta.key) == file.key => {
                if meta.size > file.size {
                    file.grown_mono_ms = now.mono_ms;
                }
                if meta.size > file.read.0 {
                    file.size = meta.size;
                    self.requeue(id);
                }
                true
            }
            Err(error) => error.kind() != io::ErrorKind::NotFound,
            Ok(_) => false,
        }
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
    fn moved_aside(&mut self, id: FileId, files: &mut dyn Files) -> io::Result<bool> {
        let Some(file) = self.files.get(&id) else {
            return Ok(false);
        };
        let (root, family, key) = (file.root.clone(), file.family.clone(), file.key);
        let mut known = None;
        for path in rotated_names(files, &root, &family)? {
            match files.stat(&root, &path) {
                Ok(meta) if Some(meta.key) == key => known = Some((path, meta.size)),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let Some((path, size)) = known else {
            return Ok(false);
        };
        let Some(file) = self.files.get_mut(&id) else {
            return Ok(false);
        };
        tracing::info!(from = %file.path.display(), to = %path.display(), "file was rotated");
        let old = std::mem::replace(&mut file.path, path.clone());
        file.place = Place::Rotated;
        file.size = file.size.max(size);
        file.gate_bytes = file.size;
        if self.by_path.get(&old) == Some(&id) {
            self.by_path.remove(&old);
        }
        self.by_path.insert(path, id);
        self.requeue(id);
        Ok(true)
    }

    /// Notes the result of a scan and when the next one is due.
    fn scanned(&mut self, index: usize, walk: &Walk, watches: Rewatched, now: Now) {
        let state = &mut self.sources[index];
        for problem in &walk.problems {
            if !state.problems.contains(problem) {
                tracing::warn!(source = %state.source.name, %problem, "cannot look everywhere");
            }
        }
        state.problems.clone_from(&walk.problems);
        state.is_first_scan = false;
        state.scanned_ms = Some(now.mono_ms);
        state.gap_ms = SCAN_GAP_MS + (walk.entries / SCAN_ENTRIES_PER_GAP_MS) as u64;
        if watches.fresh {
            // What appeared between the walk and the watch gave no hint: walk once more.
            state.scan_due_ms = now.mono_ms + state.gap_ms;
            return;
        }
        let period = if watches.polled || !walk.problems.is_empty() {
            SCAN_POLLED_MS
        } else {
            let long_ms = walk.entries as u64 * SCAN_WATCHED_MS_PER_ENTRY;
            // In whole beats, so that several sources wake us once.
            SCAN_WATCHED_MS.max(long_ms.next_multiple_of(SCAN_WATCHED_MS))
        };
        let period = period.max(state.gap_ms);
        state.scan_due_ms = (now.mono_ms / period + 1) * period;
    }

    /// Watches the directories a walk went through.
    fn rewatch(
        &mut self,
        index: usize,
        directories: &[PathBuf],
        watch: &mut dyn Watch,
    ) -> Rewatched {
        let mut fresh = false;
        let mut polled = false;
        for dir in directories {
            let watched = self.watched.entry(dir.clone()).or_insert_with(|| {
                fresh = true;
                Watched {
                    gives_hints: watch.watch(dir),
                    sources: BTreeSet::new(),
                }
            });
            watched.sources.insert(index);
            polled |= !watched.gives_hints;
        }
        self.watched.retain(|dir, watched| {
            if directories.binary_search(dir).is_err() {
                watched.sources.remove(&index);
            }
            if watched.sources.is_empty() {
                watch.unwatch(dir);
            }
            !watched.sources.is_empty()
        });
        Rewatched { fresh, polled }
    }

    fn is_of(&self, id: FileId, source: &Source) -> bool {
        self.files
            .get(&id)
            .is_some_and(|file| file.source.name == source.name)
    }

    fn is_displaced(&self, id: FileId) -> bool {
        self.files
            .get(&id)
            .is_some_and(|f| matches!(f.place, Place::Displaced { .. }))
    }
}

/// Whether a file that shrank holds another content now, not only less of the same.
fn is_cut(file: &File, files: &mut dyn Files, size: u64) -> bool {
    if size >= file.size {
        return false;
    }
    let mut has_head = |handle| fingerprint::has_head(files, handle, file.head);
    // A head that cannot be read is no evidence that the content is ours.
    size < file.read.0
        || !file
            .handle
            .is_some_and(|handle| has_head(handle).unwrap_or(false))
}
