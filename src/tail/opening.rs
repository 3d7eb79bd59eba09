//! Opening files and checking that they are the ones we know; closing them.

use std::io;
use std::path::Path;

use crate::event::{FileId, Now, Offset};
use crate::ports::{Files, Handle};

use super::file::{File, Place};
use super::fingerprint::{self, ANCHOR_BYTES_MAX, HEAD_BYTES_MAX};
use super::likeness::{self, Kind};
use super::{OPEN_FILES_MAX, Tail};

/// Descriptors kept free for files that want to be read.
const OPEN_FILES_SPARE: usize = 64;

/// How long to wait before a file that found no free descriptor is tried again.
const DESCRIPTOR_WAIT_MS: u64 = 50;

/// Pause before a file that could not be read is tried again.
const UNREADABLE_MS: u64 = 1_000;

impl Tail {
    /// Opens a file that wants to be read. False: not now, or not any more.
    pub(super) fn ensure_open(&mut self, id: FileId, files: &mut dyn Files, now: Now) -> bool {
        self.open(id, files, now).unwrap_or_else(|error| {
            self.not_opened(id, &error, now);
            false
        })
    }

    /// Sees to it that a file is tried again that could not be opened.
    pub(super) fn not_opened(&mut self, id: FileId, error: &io::Error, now: Now) {
        match error.kind() {
            io::ErrorKind::NotFound => self.scan_soon(id),
            // It is not the file's fault.
            io::ErrorKind::QuotaExceeded => {
                self.look_again_at(id, now.mono_ms + DESCRIPTOR_WAIT_MS);
            }
            _ => self.unreadable(id, error, now),
        }
    }

    /// Opens a file, if it is not, and checks that it is the one we know. False: its content is
    /// not there any more.
    ///
    /// # Errors
    /// As the system says, which decides nothing; `NotFound` also when the name leads to another
    /// inode, `QuotaExceeded` when we have too many files open.
    pub(super) fn open(&mut self, id: FileId, files: &mut dyn Files, now: Now) -> io::Result<bool> {
        let Some(file) = self.files.get(&id) else {
            return Ok(false);
        };
        let (root, path) = (file.root.clone(), file.path.clone());
        self.open_at(id, (&root, &path), files, now)
    }

    /// [`Tail::open`] under the name that its inode may have now.
    pub(super) fn open_at(
        &mut self,
        id: FileId,
        (root, path): (&Path, &Path),
        files: &mut dyn Files,
        now: Now,
    ) -> io::Result<bool> {
        let Some(file) = self.files.get(&id) else {
            return Ok(false);
        };
        if file.handle.is_some() {
            return Ok(true);
        }
        if matches!(file.place, Place::Displaced { .. } | Place::Deleted) {
            return Ok(false);
        }
        if self.open_files >= OPEN_FILES_MAX {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let (handle, meta) = files.open(root, path)?;
        let is_ours = if Some(meta.key) == file.key {
            is_ours(file, path, files, (handle, meta.size))
        } else {
            Err(io::ErrorKind::NotFound.into())
        };
        if !matches!(is_ours, Ok(true)) {
            files.close(handle);
        }
        if !is_ours? {
            self.displace(id, files, now);
            return Ok(false);
        }
        self.open_files += 1;
        let Some(file) = self.files.get_mut(&id) else {
            return Ok(false);
        };
        file.handle = Some(handle);
        file.unreadable = None;
        file.has_changed = false;
        file.size = meta.size.max(file.read.0);
        file.size_is_recalled = false;
        // What a power cut took was heard, what is written in its place was not.
        let known = (file.heard, file.head_bytes());
        file.heard = file.heard.min(Offset(file.size));
        let prepared = prepare(file, files, handle, meta.size);
        let is_less = file.heard < known.0 || file.head_bytes() < known.1;
        self.structure += u64::from(is_less);
        prepared?;
        Ok(true)
    }

    /// Opens a file, if it is not, and looks whether its inode holds the content we know; it is
    /// displaced if not.
    ///
    /// # Errors
    /// As the system says, which decides nothing.
    pub(super) fn compare(
        &mut self,
        id: FileId,
        files: &mut dyn Files,
        now: Now,
    ) -> io::Result<bool> {
        let before = self
            .files
            .get(&id)
            .map(|file| (file.is_slight(), file.size));
        if !self.open(id, files, now)? {
            return Ok(false);
        }
        // Asked before it is compared: what it grows to after that may be another content.
        let handle = self.files.get(&id).and_then(|file| file.handle);
        let meta = handle.map(|handle| files.meta(handle)).transpose()?;
        let is_ours = self.holds_ours(id, files)? == Some(true);
        let file = self.files.get_mut(&id).filter(|_| is_ours);
        let Some((file, size)) = file.zip(meta.map(|meta| meta.size)) else {
            self.displace(id, files, now);
            return Ok(false);
        };
        // What was seen is lost if it is cut before it is read.
        if size > file.size {
            file.size = size;
            file.grown_mono_ms = now.mono_ms;
        }
        let has_begun = before.is_some_and(|(was_slight, size)| was_slight && file.size > size);
        // It may be cut before its turn comes, and must be known again.
        self.learn(id, files);
        if has_begun {
            self.await_scan(id);
        }
        Ok(true)
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

    /// Notes that a file is not read further: what comes after it need not wait.
    pub fn leave_alone(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id) {
            file.is_left_alone = true;
        }
    }

    /// Notes that files that were left alone are read again.
    pub fn leave_none_alone(&mut self) {
        for file in self.files.values_mut() {
            file.is_left_alone = false;
        }
    }

    /// Closes the files that have been idle longest, if few descriptors are left.
    pub(super) fn close_surplus(
        &mut self,
        files: &mut dyn Files,
        settled: &dyn Fn(FileId) -> Offset,
    ) {
        if self.open_files + OPEN_FILES_SPARE > OPEN_FILES_MAX {
            self.close_idle(files, settled);
        }
    }

    /// Closes the files that have been idle longest and have nothing left to do.
    fn close_idle(&mut self, files: &mut dyn Files, settled: &dyn Fn(FileId) -> Offset) {
        let is_idle = |file: &&File| {
            file.handle.is_some()
                && file.is_read()
                && matches!(file.place, Place::Listed | Place::Rotated)
                && settled(file.id) >= file.read
        };
        let idle = self.files().filter(is_idle);
        let mut idle: Vec<(u64, FileId)> = idle.map(|f| (f.grown_mono_ms, f.id)).collect();
        idle.sort_unstable();
        let surplus = self
            .open_files
            .saturating_sub(OPEN_FILES_MAX - 2 * OPEN_FILES_SPARE);
        for (_, id) in idle.into_iter().take(surplus) {
            self.close(id, files);
        }
    }

    /// Notes that an open file could not be read.
    pub(super) fn not_read(
        &mut self,
        id: FileId,
        error: &io::Error,
        files: &mut dyn Files,
        now: Now,
    ) {
        self.close_stale(id, error, files, now);
        self.unreadable(id, error, now);
    }

    /// Closes a file whose server does not know the open one any more; its name may lead there yet.
    /// Whether it has none.
    pub(super) fn close_stale(
        &mut self,
        id: FileId,
        error: &io::Error,
        files: &mut dyn Files,
        now: Now,
    ) -> bool {
        let is_stale = error.kind() == io::ErrorKind::StaleNetworkFileHandle;
        let file = self.file(id);
        let is_gone = is_stale && file.is_some_and(|file| file.place == Place::Deleted);
        if is_gone {
            self.displace(id, files, now);
        } else if is_stale {
            self.close(id, files);
            self.scan_soon(id);
        }
        is_gone
    }

    pub(super) fn close(&mut self, id: FileId, files: &mut dyn Files) {
        if let Some(handle) = self.files.get_mut(&id).and_then(|file| file.handle.take()) {
            files.close(handle);
            self.open_files -= 1;
        }
    }
}

/// Whether an inode just opened under a name holds the content that is known.
fn is_ours(
    file: &File,
    path: &Path,
    files: &mut dyn Files,
    (handle, size): (Handle, u64),
) -> io::Result<bool> {
    let is_renamed = &*file.path != path;
    // A rotated file does not get the live name back to be written on. More likely its inode was
    // given to a new one, and programs begin their logs alike.
    let is_live_again = path == &*file.family && file.head_bytes() < HEAD_BYTES_MAX;
    if is_renamed && (file.is_slight() || is_live_again) && file.size != size {
        return Ok(false);
    }
    if file.heads.is_empty() {
        // Nothing was ever seen of it: under its own name it can be anything that is as large.
        return Ok(!file.is_cut_at(size) && !is_renamed);
    }
    Ok(likeness::likeness(file, files, handle, size)?.kind == Kind::Whole)
}

/// Learns of an opened file what must be known before it can move.
fn prepare(file: &mut File, files: &mut dyn Files, handle: Handle, size: u64) -> io::Result<()> {
    // A power cut may have left less than a checkpoint knows of, and something else may have been
    // written there since.
    file.heads.retain(|head| u64::from(head.bytes) <= size);
    fingerprint::learn(file, files)?;
    if file.anchor.len() == 0 {
        file.anchor = fingerprint::anchor_at(files, handle, file.read, ANCHOR_BYTES_MAX)?;
    }
    file.unverified = None;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::path::PathBuf;

    use super::*;
    use crate::config::Config;
    use crate::event::FileKey;
    use crate::ports::{Kind, Meta};
    use crate::tail::testing::{Logs, Silent, read_at, tail_of};
    use crate::tail::{ReadBuffer, Turn};

    /// Bytes of each log.
    const LOG: &[u8] = b"one line\n";

    /// So many logs of one line each, and which of them are open.
    #[derive(Default)]
    struct ManyLogs {
        logs: u64,
        open: BTreeMap<u32, u64>,
        opened: u32,
        most_open: usize,
    }

    impl ManyLogs {
        fn meta_of(&self, inode: u64) -> Meta {
            Meta {
                key: FileKey { device: 1, inode },
                kind: Kind::File,
                size: LOG.len() as u64,
                modified_ms: 0,
                links: 1,
            }
        }
    }

    impl Files for ManyLogs {
        fn list(&mut self, _: &Path, _: &Path) -> io::Result<Vec<(OsString, Kind)>> {
            let names = (1..=self.logs).map(|nth| format!("{nth}.log").into());
            Ok(names.map(|name| (name, Kind::File)).collect())
        }

        fn stat(&mut self, _: &Path, path: &Path) -> io::Result<Meta> {
            let name = path.file_stem().and_then(|name| name.to_str());
            match name.and_then(|name| name.parse().ok()) {
                Some(nth) => Ok(self.meta_of(nth)),
                None => Ok(Meta {
                    kind: Kind::Directory,
                    ..self.meta_of(0)
                }),
            }
        }

        fn open(&mut self, root: &Path, path: &Path) -> io::Result<(Handle, Meta)> {
            let meta = self.stat(root, path)?;
            self.opened += 1;
            self.open.insert(self.opened, meta.key.inode);
            self.most_open = self.most_open.max(self.open.len());
            Ok((Handle(self.opened), meta))
        }

        fn meta(&mut self, handle: Handle) -> io::Result<Meta> {
            Ok(self.meta_of(self.open[&handle.0]))
        }

        fn read_at(&mut self, _: Handle, offset: Offset, into: &mut [u8]) -> io::Result<usize> {
            Ok(read_at(LOG, offset, into))
        }

        fn close(&mut self, handle: Handle) {
            assert!(self.open.remove(&handle.0).is_some());
        }
    }

    /// The loss of a log whose handle went stale, and that is gone, is told by the scan that finds it gone:
    /// shown on one with unread bytes.
    #[test]
    fn a_stale_log_that_is_gone_is_displaced_at_once() {
        let mut logs = Logs::default();
        logs.put("a.log", 1, "one line\n", 0);
        let settled = |_: FileId| Offset(0);
        let mut tail = tail_of(Vec::new(), "/l/a.log", &mut logs, &settled);
        let at = |mono_ms| Now {
            mono_ms,
            wall_ms: 0,
        };
        let mut watch = Silent { is_watching: true };
        tail.look(&mut logs, &mut watch, &settled, at(0));
        let id = tail.next_turn().unwrap();
        assert!(tail.ensure_open(id, &mut logs, at(0)));
        logs.go_stale();
        logs.names.clear();
        tail.look(&mut logs, &mut watch, &settled, at(100));
        assert!(tail.file(id).is_some_and(File::is_displaced));
    }

    /// However many files there are, no more than the limit are open at once, and each is read to its
    /// end all the same: shown on three times as many, which are settled as soon as they are read.
    #[test]
    fn open_files_are_bounded() {
        let mut logs = ManyLogs {
            logs: 3 * OPEN_FILES_MAX as u64,
            ..ManyLogs::default()
        };
        let text = "[[source]]\nname = \"a\"\npaths = [\"/l/*.log\"]\n";
        let (config, _) = Config::parse(&[(PathBuf::from("a.toml"), text.into())]).unwrap();
        let mut tail = Tail::new(Vec::new(), None);
        let settled = |_: FileId| Offset(LOG.len() as u64);
        tail.set_sources(config.sources.clone(), &|_| true, &mut logs, &settled);
        let mut buffer = ReadBuffer::default();
        let is_read = |tail: &Tail| tail.files().count() > 0 && tail.files().all(File::is_read);
        for beat in 0..20 {
            let now = Now {
                mono_ms: beat * DESCRIPTOR_WAIT_MS,
                wall_ms: 0,
            };
            tail.look(&mut logs, &mut Silent { is_watching: true }, &settled, now);
            while let Some(id) = tail.next_turn() {
                let turn = tail.read(id, &mut logs, &mut |_| None, &mut buffer, 100, now);
                if turn != Turn::Nothing {
                    tail.consumed(id, &buffer, buffer.bytes().len());
                }
            }
            if is_read(&tail) {
                break;
            }
        }
        assert!(is_read(&tail));
        assert_eq!(tail.files().count() as u64, logs.logs);
        assert_eq!(logs.most_open, OPEN_FILES_MAX);
        assert_eq!(tail.open_files, logs.open.len());
        assert!(tail.files().all(|file| file.unreadable.is_none()));
    }
}
