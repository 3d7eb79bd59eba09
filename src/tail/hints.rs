//! What hints bring forward, and what must be looked into before the next one: a log may be cut and
//! written beyond its old size between two hints, which shows only on its content.

use std::cell::LazyCell;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Source;
use crate::event::{FileId, Now};
use crate::ports::{Files, Hints, Kind, Meta};

use super::Tail;
use super::reconcile::Moving;
use super::relation::{self, Relation};

impl Tail {
    /// Takes hints: reads and scans are brought forward, and an open file that was cut is displaced.
    pub fn hint(&mut self, hints: &Hints, files: &mut dyn Files, now: Now) {
        if hints.rescan {
            self.scan_all_now();
        }
        let is_known = |path: &&PathBuf| self.by_path.contains_key(&***path);
        let (known, others): (Vec<_>, Vec<_>) = hints.paths.iter().partition(is_known);
        let inhabited = LazyCell::new(|| inhabited(self.by_path.keys()));
        for path in others {
            // A watched directory that is named by a hint may be a new one of that name.
            let was_watched = self.watched.remove(path).is_some();
            // Most of what by its name could be a directory on the way is a file that nobody ships.
            let leads_on = LazyCell::new(|| {
                was_watched
                    || may_lead_on(path, files).unwrap_or_else(|| inhabited.contains(&**path))
            });
            for state in self.sources.iter_mut().filter(|s| s.scan_due_ms > 0) {
                let is_news = match relation::relation(&state.source, path) {
                    Relation::File => true,
                    Relation::Directory => *leads_on,
                    Relation::None => false,
                };
                if is_news {
                    state.scan_due_ms = 0;
                }
            }
        }
        for path in known {
            self.watched.remove(path);
            if let Some(id) = self.by_path.get(&**path).copied() {
                self.hinted_file(id, files, now);
            }
        }
    }

    /// Looks into the files that hints showed grown and that were not read since: what is there now
    /// may be cut again before anybody reads it, and must be known from what was there before.
    pub fn compare_hinted(&mut self, files: &mut dyn Files, now: Now) {
        while let Some(id) = self.hinted.keys().next().copied() {
            // Where it cannot be told, it has grown.
            let _unknown = self.compare(id, files, now);
            self.hinted.remove(&id);
        }
    }

    /// A hint named this file's path.
    fn hinted_file(&mut self, id: FileId, files: &mut dyn Files, now: Now) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        let source = Arc::clone(&file.source.name);
        let meta = match files.stat(&file.root, &file.path) {
            Ok(meta) => meta,
            Err(_) => return self.scan_soon(id),
        };
        let is_other = Some(meta.key) != file.key;
        if !is_other && meta.size >= file.size {
            return self.look_into(id, &meta, files, now);
        }
        if !is_other && file.is_cut_at(meta.size) {
            // At once, since what is there now may be cut, too, before the next scan.
            self.displace(id, files, now);
        }
        if let Some(index) = self.source_index(&source) {
            self.glimpse(index, &meta);
        }
        self.scan_soon(id);
    }

    /// A file has not shrunk. What is there now may be cut before its turn comes, so it is compared
    /// at once: the bytes of another content are not this one's, and what is there must be known
    /// again.
    pub(super) fn look_into(&mut self, id: FileId, meta: &Meta, files: &mut dyn Files, now: Now) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        let was_slight = file.is_slight();
        file.note_change(meta);
        if meta.size > file.size {
            file.grown_mono_ms = now.mono_ms;
        }
        let is_ours = self.compare(id, files, now);
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        match is_ours {
            Ok(true) => drop(self.hinted.insert(id, file.size)),
            Ok(false) => return,
            // Where it cannot be told, it has grown.
            Err(_) => {
                self.hinted.entry(id).or_insert(file.size);
                file.size = meta.size;
                file.size_is_recalled = false;
            }
        }
        if was_slight {
            // Whether it was cut meanwhile, its siblings tell.
            self.await_scan(id);
        }
        self.requeue(id);
    }

    /// Lets a file's turn wait for a scan. Too little was known of it to show whether it was copied
    /// and cut since, perhaps more than once: then those copies come first.
    pub(super) fn await_scan(&mut self, id: FileId) {
        self.unsure.insert(id);
        self.scan_soon(id);
    }

    /// Ends that wait for the files of a source that is scanned now; the families whose copies that
    /// scan has to look at.
    pub(super) fn end_wait(&mut self, source: &Source) -> Moving {
        let mut families = Moving::new();
        self.unsure.retain(|id| {
            let Some(file) = self.files.get(id) else {
                return false;
            };
            let is_of_source = file.source.name == source.name;
            if is_of_source {
                families.insert(file.moving());
            }
            !is_of_source
        });
        families
    }
}

/// The directories known files are in, and those above.
fn inhabited<'a>(files: impl Iterator<Item = &'a Arc<Path>>) -> HashSet<&'a Path> {
    let mut inhabited = HashSet::new();
    for file in files {
        for dir in file.ancestors().skip(1) {
            if !inhabited.insert(dir) {
                // What is above it was met with it.
                break;
            }
        }
    }
    inhabited
}

/// Whether a path leads to a directory, as far as can be told; nothing of one that is gone.
fn may_lead_on(path: &Path, files: &mut dyn Files) -> Option<bool> {
    match files.stat(Path::new("/"), path) {
        Ok(meta) => Some(meta.kind == Kind::Directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(true),
    }
}

#[cfg(test)]
mod tests;
