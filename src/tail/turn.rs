//! One turn of a file: its next bytes into the buffer, and its position behind what was used.

use std::io;

use crate::event::{FileId, Now, Offset};
use crate::ports::{Files, Meta};

use super::Tail;
use super::file::Place;
use super::fingerprint;
use super::reader::{Found, ReadBuffer};

/// Pause between two looks at the end of a deleted file.
const DELETED_LOOK_MS: u64 = 1_000;

/// What one turn of a file gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Bytes, and more behind them.
    More,
    /// Bytes up to the end; the file has been quiet for so many milliseconds.
    ToEnd {
        /// Time since it last grew.
        quiet_ms: u64,
    },
    /// Nothing to read now.
    Nothing,
}

impl Tail {
    /// Reads up to `want` bytes behind a file's position into the buffer. `segment` fetches a
    /// rescue segment's content.
    pub fn read(
        &mut self,
        id: FileId,
        files: &mut dyn Files,
        segment: &mut dyn FnMut(u64) -> Option<(Offset, Vec<u8>)>,
        buffer: &mut ReadBuffer,
        want: usize,
        now: Now,
    ) -> Turn {
        buffer.used(now);
        let Some(file) = self.files.get_mut(&id) else {
            return Turn::Nothing;
        };
        if let Place::Rescued(number) = file.place {
            return self.read_segment(id, segment(number), buffer, now);
        }
        if !self.ensure_open(id, files, now) {
            return Turn::Nothing;
        }
        if let Some(meta) = self.unseen_growth(id, files) {
            self.look_into(id, &meta, files, now);
            return Turn::Nothing;
        }
        let Some(file) = self.files.get_mut(&id) else {
            return Turn::Nothing;
        };
        let known_bytes = file.size;
        let is_hinted = self.hinted.contains_key(&id);
        match buffer.fill(files, file, want, is_hinted) {
            Ok(Found::OtherContent) => {
                self.displace(id, files, now);
                Turn::Nothing
            }
            Ok(found) => {
                self.hinted.remove(&id);
                let end = file.read.plus(buffer.bytes().len()).0;
                if end > known_bytes {
                    file.grown_mono_ms = now.mono_ms;
                }
                let is_deleted = file.place == Place::Deleted;
                match found {
                    Found::More => Turn::More,
                    _ if buffer.bytes().is_empty() => {
                        if is_deleted {
                            // No hint tells of it any more, but it may still be written.
                            self.look_again_at(id, now.mono_ms + DELETED_LOOK_MS);
                        }
                        Turn::Nothing
                    }
                    _ => Turn::ToEnd {
                        quiet_ms: now.mono_ms.saturating_sub(file.grown_mono_ms),
                    },
                }
            }
            Err(error) => {
                self.not_read(id, &error, files, now);
                Turn::Nothing
            }
        }
    }

    /// Serves a rescue segment, or notes that it is not there.
    fn read_segment(
        &mut self,
        id: FileId,
        content: Option<(Offset, Vec<u8>)>,
        buffer: &mut ReadBuffer,
        now: Now,
    ) -> Turn {
        let Some(content) = content else {
            // Nobody waits for what may never come back.
            let gone = io::Error::other("its rescued copy cannot be read");
            self.unreadable(id, &gone, now);
            return Turn::Nothing;
        };
        let Some(file) = self.files.get_mut(&id) else {
            return Turn::Nothing;
        };
        file.unreadable = None;
        serve_segment(file.read, file.size, content, buffer)
    }

    /// What an open file is now of which nothing is known yet, if that is not what was last seen.
    fn unseen_growth(&self, id: FileId, files: &mut dyn Files) -> Option<Meta> {
        let file = self.files.get(&id)?;
        let is_slight = file.is_slight() && file.place == Place::Listed;
        let handle = file.handle.filter(|_| is_slight)?;
        let meta = files.meta(handle).ok()?;
        (meta.size != file.size).then_some(meta)
    }

    /// Moves a file's position behind bytes of the buffer that have been handed on.
    pub fn consumed(&mut self, id: FileId, buffer: &ReadBuffer, bytes: usize) {
        if let Some(file) = self.files.get_mut(&id) {
            file.anchor = buffer.anchor_after(bytes);
            file.read = file.read.plus(bytes);
            fingerprint::leave_mark(file);
        }
    }

    /// Reads bytes of an open file anywhere, leaving its position alone.
    ///
    /// # Errors
    /// As the system says; `NotConnected` for a file that is not open.
    pub fn read_at(
        &self,
        id: FileId,
        files: &mut dyn Files,
        from: Offset,
        into: &mut [u8],
    ) -> io::Result<usize> {
        let handle = self.files.get(&id).and_then(|file| file.handle);
        fingerprint::read_full(
            files,
            handle.ok_or(io::ErrorKind::NotConnected)?,
            from,
            into,
        )
    }

    /// Reads bytes of a file beyond its position, which stays; only such as a hint or a scan has told
    /// of, and only while it holds the content that is known.
    ///
    /// # Errors
    /// As the system says; `NotFound` for a file whose content is not there.
    pub fn read_ahead(
        &mut self,
        id: FileId,
        files: &mut dyn Files,
        from: Offset,
        into: &mut [u8],
        now: Now,
    ) -> io::Result<usize> {
        let is_ours = self.compare(id, files, now)?;
        let file = self.files.get(&id).filter(|_| is_ours);
        let size = file.ok_or(io::ErrorKind::NotFound)?.size;
        let known_bytes = usize::try_from(Offset(size).since(from)).unwrap_or(usize::MAX);
        let want = known_bytes.min(into.len());
        self.read_at(id, files, from, &mut into[..want])
    }

    /// Whether an open file still holds where we stand what was read there. If not, it was cut and
    /// written anew.
    ///
    /// # Errors
    /// As the system says; `NotConnected` for a file that is not open.
    pub fn is_intact(&self, id: FileId, files: &mut dyn Files) -> io::Result<bool> {
        let file = self.files.get(&id).ok_or(io::ErrorKind::NotFound)?;
        let handle = file.handle.ok_or(io::ErrorKind::NotConnected)?;
        match file.evidence() {
            Some(known) => fingerprint::has_anchor(files, handle, known.at, known.print),
            None => Ok(true),
        }
    }

    /// Goes back: bytes that were handed on came back and must be read again.
    pub fn rewind(&mut self, id: FileId, to: Offset) {
        if let Some(file) = self.files.get_mut(&id)
            && to < file.read
        {
            file.go_back(to);
            self.requeue(id);
        }
    }
}

fn serve_segment(
    position: Offset,
    end: u64,
    (start, content): (Offset, Vec<u8>),
    buffer: &mut ReadBuffer,
) -> Turn {
    let skip = usize::try_from(position.since(start))
        .unwrap_or(usize::MAX)
        .min(content.len());
    buffer.serve(&content[skip..]);
    if position.0 >= end || buffer.bytes().is_empty() {
        return Turn::Nothing;
    }
    Turn::ToEnd { quiet_ms: u64::MAX }
}
