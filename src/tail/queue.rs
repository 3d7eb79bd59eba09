//! Whose turn it is: files with something to read wait in a queue, each once, and take turns.
//!
//! A file whose predecessor in the same family still holds what it held when this one appeared
//! keeps its place but is passed over. Files whose last record may not be complete come back by a
//! timer.

use crate::event::{FileId, Now};

use super::Tail;
use super::file::File;

impl Tail {
    /// The next file whose turn it is, if any. It is out of the queue until [`Tail::requeue`].
    pub fn next_turn(&mut self) -> Option<FileId> {
        for _ in 0..self.ready.len() {
            let id = self.ready.pop_front()?;
            match self.files.get(&id) {
                None => {}
                Some(file) if self.has_to_wait(file) => self.ready.push_back(id),
                Some(file) => {
                    let after = self.still_before(file);
                    if let Some(file) = self.files.get_mut(&id) {
                        file.queued = false;
                        file.after = after;
                    }
                    return Some(id);
                }
            }
        }
        None
    }

    /// How many files wait for a turn.
    #[must_use]
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Whether some file could be given a turn right now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let waits = |id| self.files.get(id).is_none_or(|file| self.has_to_wait(file));
        self.ready.iter().any(|id| !waits(id))
    }

    /// Puts a file back into the queue, at its end.
    pub fn requeue(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id)
            && !file.queued
        {
            file.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Looks at a file again at a time, because a record in it may or may not be complete.
    pub fn look_again_at(&mut self, id: FileId, mono_ms: u64) {
        if let Some(file) = self.files.get_mut(&id) {
            if let Some(old) = file.due_mono_ms.replace(mono_ms) {
                self.timers.remove(&(old, id));
            }
            self.timers.insert((mono_ms, id));
        }
    }

    /// Gives every file with something unread a turn, and every source a scan.
    pub fn look_at_everything(&mut self) {
        self.scan_all_now();
        let unread = self
            .files
            .values()
            .filter(|file| !file.is_read() && !file.queued);
        let unread: Vec<FileId> = unread.map(|file| file.id).collect();
        for id in unread {
            self.requeue(id);
        }
    }

    /// Whether every source has been scanned since it came. Until then nothing is concluded: what one
    /// log tells may have its details in another.
    #[must_use]
    pub fn has_looked(&self) -> bool {
        let mut sources = self.sources.iter();
        sources.all(|source| source.has_been_seen)
    }

    pub(super) fn wake_timers(&mut self, now: Now) {
        while let Some((due, id)) = self.timers.first().copied() {
            if due > now.mono_ms {
                break;
            }
            self.timers.pop_first();
            if let Some(file) = self.files.get_mut(&id) {
                file.due_mono_ms = None;
            }
            self.requeue(id);
        }
    }

    pub(super) fn enqueue_first(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id)
            && !file.queued
        {
            file.queued = true;
            self.ready.push_front(id);
        }
    }

    /// Whether its turn comes after a scan, or after that of another file.
    fn has_to_wait(&self, file: &File) -> bool {
        self.unsure.contains(&file.id) || self.waits_for_others(file)
    }

    /// When something is due that no hint will announce.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let scans = self.sources.iter().map(|s| {
            s.scan_due_ms
                .max(s.scanned_ms.map_or(0, |at| at + s.gap_ms))
        });
        let timers = self.timers.first().map(|(due, _)| *due);
        scans.chain(timers).min()
    }
}
