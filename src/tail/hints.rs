//! What hints bring forward, and what must be looked into before the next one: a log may be cut and
//! written beyond its old size between two hints, which shows only on its content.

use std::sync::Arc;

use crate::event::{FileId, Now};
use crate::ports::{Files, Hints};

use super::Tail;
use super::relation::{self, Relation};

impl Tail {
    /// Takes hints: reads and scans are brought forward, and an open file that was cut is displaced.
    pub fn hint(&mut self, hints: &Hints, files: &mut dyn Files, now: Now) {
        if hints.rescan {
            self.scan_all_now();
        }
        for path in &hints.paths {
            // A watched directory that is named by a hint may be a new one of that name.
            self.watched.remove(path);
            if let Some(id) = self.by_path.get(&**path).copied() {
                self.hinted_file(id, files, now);
                continue;
            }
            for state in &mut self.sources {
                if relation::relation(&state.source, path) != Relation::None {
                    state.scan_due_ms = 0;
                }
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
            file.note_change(&meta);
            self.hinted.entry(id).or_insert(file.size);
            if meta.size > file.size {
                file.grown_mono_ms = now.mono_ms;
            }
            file.size = meta.size;
            file.size_is_recalled = false;
            if file.is_slight() {
                // Whether it was cut meanwhile, its siblings tell: that takes a scan.
                return self.scan_soon(id);
            }
            self.learn(id, files);
            return self.requeue(id);
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
}
