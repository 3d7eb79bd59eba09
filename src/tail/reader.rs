//! One file: a position → the bytes that follow it.
//!
//! There is one read buffer for all files and nothing is kept in it between turns: what a turn
//! could not use is read again from the page cache by the next. Every read begins a few bytes
//! before the position and compares them with what stood there ([`Anchor`]), so that a
//! truncation or a rewrite is noticed by the read itself, without another system call. Many lines
//! end alike, though: after a hint the beginning is looked at, too.

use std::io;

use crate::event::{Now, Offset};
use crate::ports::Files;

use super::file::File;
use super::fingerprint::{self, ANCHOR_BYTES_MAX, Anchor, HEAD_BYTES_MAX};

/// How long nothing may be read before the buffer is let go.
const IDLE_MS: u64 = 5_000;

/// The buffer all files are read through. Its first bytes repeat what was read before.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    anchor_len: usize,
    filled: usize,
    used_ms: u64,
}

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Bytes, and the file may hold more behind them.
    More,
    /// Bytes up to the present end of the file; none at all if nothing is new.
    ToEnd,
    /// The bytes before the position are not what they were: this is another content.
    OtherContent,
}

impl ReadBuffer {
    /// The bytes behind the position.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.anchor_len..self.filled]
    }

    /// The byte before the position, if there is one.
    #[must_use]
    pub fn previous_byte(&self) -> Option<u8> {
        self.bytes[..self.anchor_len].last().copied()
    }

    /// Notes that it is used now.
    pub(crate) fn used(&mut self, now: Now) {
        self.used_ms = now.mono_ms;
    }

    /// When it may be let go; `None`: there is nothing.
    #[must_use]
    pub fn rest_due_ms(&self) -> Option<u64> {
        (self.bytes.capacity() > 0).then_some(self.used_ms + IDLE_MS)
    }

    /// Lets its memory go where nothing was read for a while.
    pub fn rest(&mut self, now: Now) {
        if self.rest_due_ms().is_some_and(|due| due <= now.mono_ms) {
            *self = Self::default();
        }
    }

    /// Reads up to `want` bytes of an open file behind its position. `is_hinted`: it was written to
    /// since it was looked into last, and perhaps anew.
    pub(crate) fn fill(
        &mut self,
        files: &mut dyn Files,
        file: &mut File,
        want: usize,
        is_hinted: bool,
    ) -> io::Result<Found> {
        let handle = file.handle.ok_or(io::ErrorKind::NotConnected)?;
        if file.anchor.len() == 0 && file.read > Offset(0) {
            // The position was set back. What stood before the old one tells whether the content
            // is still the same.
            if let Some(last) = file.marks.last()
                && !fingerprint::has_anchor(files, handle, last.at, last.print)?
            {
                self.filled = self.anchor_len;
                return Ok(Found::OtherContent);
            }
            file.anchor = fingerprint::anchor_at(files, handle, file.read, ANCHOR_BYTES_MAX)?;
        }
        let anchor = file.anchor;
        self.anchor_len = anchor.len();
        let wanted = self.anchor_len + want;
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        let from = Offset(file.read.0 - self.anchor_len as u64);
        self.filled = fingerprint::read_full(files, handle, from, &mut self.bytes[..wanted])?;
        if self.bytes[..self.filled.min(self.anchor_len)] != *anchor.bytes()
            || self.filled < self.anchor_len
        {
            self.filled = self.anchor_len;
            return Ok(Found::OtherContent);
        }
        let begins_as_known = match file.read {
            // Nothing was read yet, so only the head can tell that the file was begun anew.
            Offset(0) => fingerprint::fits(file, &self.bytes[..self.filled.min(HEAD_BYTES_MAX)]),
            _ => !is_hinted || fingerprint::begins_as_known(&file.heads, files, handle)?,
        };
        if !begins_as_known {
            self.filled = self.anchor_len;
            return Ok(Found::OtherContent);
        }
        file.size = file.size.max(from.plus(self.filled).0);
        fingerprint::learn(file, files)?;
        Ok(if self.filled < wanted {
            Found::ToEnd
        } else {
            Found::More
        })
    }

    /// Serves a content that is held in memory.
    pub(crate) fn serve(&mut self, content: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(content);
        self.anchor_len = 0;
        self.filled = content.len();
    }

    /// The anchor of the position `consumed` bytes further on.
    pub(crate) fn anchor_after(&self, consumed: usize) -> Anchor {
        Anchor::before(&self.bytes[..self.anchor_len + consumed])
    }
}
