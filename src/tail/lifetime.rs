//! How a content joins the table, is opened and checked, loses its place, and leaves.

use std::io;
use std::sync::Arc;

use crate::event::{FileId, Now, Offset};
use crate::ports::Files;

use super::discover;
use super::file::{File, Place};
use super::fingerprint::{self, ANCHOR_BYTES_MAX};
use super::rotation;
use super::{DELETED_QUIET_MS, DISPLACED_MS, Lost, OPEN_FILES_MAX, Tail};

/// Descriptors kept free for files that want to be read.
const OPEN_FILES_SPARE: usize = 64;

/// How long to wait before a file that found no free descriptor is tried again.
const DESCRIPTOR_WAIT_MS: u64 = 50;

/// Pause before a file that could not be read is tried again.
const UNREADABLE_MS: u64 = 1_000;

/// Pause between two looks for the copy of a displaced content.
const DISPLACED_LOOK_MS: u64 = 50;

/// What an opened file turned out to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checked {
    /// The content we know.
    Same,
    /// The content we know, less its end: a crash of the machine took what was not on disk.
    Shrunk,
    /// Another one.
    Other,
}

impl Tail {
    /// Opens a file and checks that it is the one we know. False: not now, or not any more.
    pub(super) fn ensure_open(&mut self, id: FileId, files: &mut dyn Files, now: Now) -> bool {
        let Some(file) = self.files.get(&id) else {
            return false;
        };
        if file.handle.is_some() {
            return true;
        }
        if matches!(file.place, Place::Displaced { .. } | Place::Deleted) {
            return false;
        }
        if self.open_files >= OPEN_FILES_MAX {
            self.look_again_at(id, now.mono_ms + DESCRIPTOR_WAIT_MS);
            return false;
        }
        let Some(file) = self.files.get_mut(&id) else {
            return false;
        };
        let (handle, meta) = match files.open(&file.root, &file.path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.scan_soon(id);
                return false;
            }
            Err(error) => {
                self.unreadable(id, &error, now);
                return false;
            }
        };
        if Some(meta.key) != file.key {
            files.close(handle);
            self.scan_soon(id);
            return false;
        }
        file.handle = Some(handle);
        self.open_files += 1;
        file.unreadable = None;
        match check(file, files, meta.size) {
            Ok(Checked::Same) => true,
            Ok(Checked::Shrunk) => {
                tracing::warn!(path = %file.path.display(), "file lost its end while we were away; it is read again from its beginning");
                file.size = meta.size;
                file.heard = file.heard.min(Offset(meta.size));
                self.news.reset.push((id, file.read));
                true
            }
            Ok(Checked::Other) => {
                self.displace(id, files, now);
                false
            }
            Err(error) => {
                self.unreadable(id, &error, now);
                false
            }
        }
    }

    /// The content of a file's inode is not ours any more: look for a copy of ours, and let the
    /// inode begin another content.
    pub(super) fn displace(&mut self, id: FileId, files: &mut dyn Files, now: Now) {
        let successor = self.successor(id, files, now);
        self.unlink(id, files);
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        tracing::info!(path = %file.path.display(), read = file.read.0, "file was truncated or replaced, looking for its copy");
        file.place = Place::Displaced {
            since_mono_ms: now.mono_ms,
        };
        file.gate_bytes = file.size;
        self.passing.insert(id);
        self.scan_soon(id);
        if let Some(successor) = successor {
            let id = successor.id;
            if successor.place == Place::Deleted {
                self.passing.insert(id);
            }
            self.join(successor);
            self.requeue(id);
        }
    }

    /// The content that an open inode holds now. It takes the handle over: the inode may have no
    /// name any more. What an inode holds that was reused while we were away is found by the scan,
    /// since it may be anybody's copy.
    fn successor(&mut self, id: FileId, files: &mut dyn Files, now: Now) -> Option<File> {
        let next = self.new_id();
        let file = self
            .files
            .get(&id)
            .filter(|file| file.unverified.is_none())?;
        let (handle, key) = (file.handle?, file.key?);
        let meta = files.meta(handle).ok()?;
        let mut new = self.blank(
            next,
            Arc::clone(&file.source),
            file.root.clone(),
            file.path.clone(),
        );
        if rotation::belongs_to(&file.family, &file.path) {
            new.family.clone_from(&file.family);
        }
        new.key = Some(key);
        new.size = meta.size;
        new.gate_bytes = meta.size;
        new.modified_ms = meta.modified_ms;
        new.grown_mono_ms = now.mono_ms;
        new.after = vec![id];
        new.place = if meta.links == 0 {
            Place::Deleted
        } else {
            file.place.clone()
        };
        new.handle = self.files.get_mut(&id)?.handle.take();
        Some(new)
    }

    /// Ends the search for displaced contents after a while, and says what went with them.
    pub(super) fn give_up_displaced(&mut self, now: Now) {
        let displaced = |file: &File| match file.place {
            Place::Displaced { since_mono_ms } => Some(since_mono_ms),
            _ => None,
        };
        let all: Vec<(FileId, u64)> = self
            .passing_files()
            .filter_map(|f| displaced(f).map(|since| (f.id, since)))
            .collect();
        for (id, since) in all {
            if now.mono_ms >= since + DISPLACED_MS {
                self.leave(id, "removed or truncated before it was read");
            } else {
                self.scan_again_at(id, now.mono_ms + DISPLACED_LOOK_MS);
            }
        }
    }

    /// Lets go of files that are done with, and of descriptors beyond the limit.
    pub(super) fn let_go(
        &mut self,
        files: &mut dyn Files,
        settled: &dyn Fn(FileId) -> Offset,
        now: Now,
    ) {
        let is_done = |file: &&File| match file.place {
            Place::Rescued(_) => file.is_read() && settled(file.id) >= file.read,
            Place::Deleted => {
                file.is_read()
                    && settled(file.id) >= file.read
                    && now.mono_ms >= file.grown_mono_ms + DELETED_QUIET_MS
            }
            _ => false,
        };
        let done: Vec<FileId> = self.passing_files().filter(is_done).map(|f| f.id).collect();
        for id in done {
            self.unlink(id, files);
            if let Some(Place::Rescued(segment)) = self.files.get(&id).map(|f| f.place.clone()) {
                self.news.spent.push(segment);
            }
            self.leave(id, "removed");
        }
        if self.open_files + OPEN_FILES_SPARE > OPEN_FILES_MAX {
            self.close_idle(files, settled);
        }
    }

    /// A hint named this file's path.
    pub(super) fn hinted_file(&mut self, id: FileId, files: &mut dyn Files) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        match files.stat(&file.root, &file.path) {
            Ok(meta) if Some(meta.key) == file.key && meta.size >= file.size => {
                file.size = meta.size;
                fingerprint::learn_more(file, files);
                self.requeue(id);
            }
            _ => self.scan_soon(id),
        }
    }

    /// Notes that a file cannot be read; it is tried again after a while, and when something
    /// changes. What is open stays open: a deleted file cannot be opened again.
    pub(super) fn unreadable(&mut self, id: FileId, error: &io::Error, now: Now) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        let reason = error.to_string();
        if file.unreadable.as_ref() != Some(&reason) {
            tracing::warn!(path = %file.path.display(), %error, "file cannot be read, will be tried again");
            file.unreadable = Some(reason);
        }
        self.look_again_at(id, now.mono_ms + UNREADABLE_MS);
    }

    /// Gives files their source's new definition after the list of sources changed; those whose
    /// source is gone leave the table and sleep.
    pub(super) fn rebind_files(
        &mut self,
        files: &mut dyn Files,
        settled: &dyn Fn(FileId) -> Offset,
    ) {
        let ids: Vec<FileId> = self.files.keys().copied().collect();
        for id in ids {
            let Some(file) = self.files.get_mut(&id) else {
                continue;
            };
            let same = self
                .sources
                .iter()
                .find(|s| s.source.name == file.source.name);
            if let Some(state) = same {
                file.source = Arc::clone(&state.source);
                if !discover::excluded(&file.source, &file.path) {
                    continue;
                }
            }
            let position = settled(id);
            let evidence = super::tail_evidence(file, position, files);
            let record = file.record(position, evidence);
            self.unlink(id, files);
            if let Some(file) = self.files.remove(&id) {
                self.leave_family(&file);
            }
            self.dormant.extend(record);
            self.news.left.push(id);
        }
    }

    /// Brings back the files of sources that are there now.
    pub(super) fn wake_dormant(&mut self) {
        for record in std::mem::take(&mut self.dormant) {
            let Some(source) = self.source_named(&record.source) else {
                self.dormant.push(record);
                continue;
            };
            let id = self.new_id();
            let mut file = self.blank(id, source, record.root, record.path);
            file.family = record.family;
            file.key = Some(record.key);
            file.head = record.head;
            file.lead = record.lead;
            file.unverified = Some(record.tail);
            file.read = record.settled;
            file.heard = record.heard;
            file.size = record.size;
            file.modified_ms = record.modified_ms;
            file.gate_bytes = record.size;
            self.join(file);
        }
    }

    pub(super) fn join(&mut self, file: File) {
        if let Some(key) = file.key {
            self.by_key.insert(key, file.id);
        }
        self.by_path.insert(file.path.clone(), file.id);
        let family = self.by_family.entry(file.family.clone()).or_default();
        family.push(file.id);
        self.news.joined.push(file.id);
        self.files.insert(file.id, file);
    }

    /// Takes a file out of the table and says what of it was seen and never read.
    pub(super) fn leave(&mut self, id: FileId, reason: &'static str) {
        let Some(file) = self.files.remove(&id) else {
            return;
        };
        for (original, read) in self.copies.values_mut() {
            if *original == id {
                *read = file.read;
            }
        }
        if let Some(due) = file.due_mono_ms {
            self.timers.remove(&(due, id));
        }
        let bytes = file.size.saturating_sub(file.read.0);
        if bytes > 0 {
            self.news.lost.push(Lost::of(&file, bytes, reason));
        }
        self.news.left.push(id);
    }

    /// Takes a file's names out of the indexes and closes it.
    pub(super) fn unlink(&mut self, id: FileId, files: &mut dyn Files) {
        self.close(id, files);
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        if let Some(key) = file.key.take()
            && self.by_key.get(&key) == Some(&id)
        {
            self.by_key.remove(&key);
        }
        if self.by_path.get(&file.path) == Some(&id) {
            self.by_path.remove(&file.path);
        }
    }

    fn leave_family(&mut self, file: &File) {
        self.passing.remove(&file.id);
        if let Some(family) = self.by_family.get_mut(&file.family) {
            family.retain(|id| *id != file.id);
            if family.is_empty() {
                self.by_family.remove(&file.family);
            }
        }
    }

    /// Files that will leave the table by themselves.
    fn passing_files(&self) -> impl Iterator<Item = &File> {
        self.passing.iter().filter_map(|id| self.files.get(id))
    }

    /// Closes the files that have been idle longest and have nothing left to do.
    fn close_idle(&mut self, files: &mut dyn Files, settled: &dyn Fn(FileId) -> Offset) {
        let is_idle = |file: &&File| {
            file.handle.is_some()
                && file.is_read()
                && matches!(file.place, Place::Listed | Place::Rotated)
                && settled(file.id) >= file.read
        };
        let idle = self.files.values().filter(is_idle);
        let mut idle: Vec<(u64, FileId)> = idle.map(|f| (f.grown_mono_ms, f.id)).collect();
        idle.sort_unstable();
        let surplus = self
            .open_files
            .saturating_sub(OPEN_FILES_MAX - 2 * OPEN_FILES_SPARE);
        for (_, id) in idle.into_iter().take(surplus) {
            self.close(id, files);
        }
    }

    fn close(&mut self, id: FileId, files: &mut dyn Files) {
        if let Some(handle) = self.files.get_mut(&id).and_then(|file| file.handle.take()) {
            files.close(handle);
            self.open_files -= 1;
        }
    }

    /// Brings the scan of a file's source forward.
    pub(super) fn scan_soon(&mut self, id: FileId) {
        self.scan_again_at(id, 0);
    }

    fn scan_again_at(&mut self, id: FileId, mono_ms: u64) {
        let Some(file) = self.files.get(&id) else {
            return;
        };
        let name = &file.source.name;
        if let Some(state) = self.sources.iter_mut().find(|s| s.source.name == *name) {
            state.scan_due_ms = state.scan_due_ms.min(mono_ms);
        }
    }
}

/// Compares an opened file with what is known of it.
fn check(file: &mut File, files: &mut dyn Files, size: u64) -> io::Result<Checked> {
    let Some(handle) = file.handle else {
        return Ok(Checked::Other);
    };
    if !fingerprint::has_head(files, handle, file.head)? {
        return Ok(Checked::Other);
    }
    let restored = file.unverified.take();
    if size < file.read.0 {
        if restored.is_none() {
            return Ok(Checked::Other);
        }
        // How much it had lost, and how much of what is there now is new, nobody knows.
        file.read = Offset(0);
        return Ok(Checked::Shrunk);
    }
    if let Some(tail) = restored
        && !fingerprint::has_anchor(files, handle, file.read, tail)?
    {
        file.unverified = Some(tail);
        return Ok(Checked::Other);
    }
    if file.head.bytes == 0 {
        fingerprint::learn(file, files, handle, fingerprint::HEAD_BYTES_MAX)?;
    }
    if file.anchor.len() == 0 {
        file.anchor = fingerprint::anchor_at(files, handle, file.read, ANCHOR_BYTES_MAX)?;
    }
    Ok(Checked::Same)
}
