//! Evidence that a file is the file we knew.
//!
//! Inodes are reused and names move, so neither proves anything. Two pieces of content do: the
//! **head** (a hash of the first bytes, up to 1 KiB) says which content this is, and the
//! **anchor** (the last bytes before the position we read up to) says that the position still
//! means what it meant. A truncation, a rewrite or a reused inode breaks one of the two.

use std::io;

use crate::event::{Fingerprint, Offset};
use crate::ports::{Files, Handle};

use super::file::File;

/// How much of a content's beginning is hashed.
pub(crate) const HEAD_BYTES_MAX: usize = 1024;

/// How many bytes before a position are compared when reading goes on there.
pub(crate) const ANCHOR_BYTES_MAX: usize = 64;

/// A few bytes as they are: those right before a position, or the very first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    bytes: [u8; ANCHOR_BYTES_MAX],
    len: u8,
}

impl Anchor {
    /// No evidence yet (the beginning of a file, or after a restart).
    pub(crate) const NONE: Self = Self {
        bytes: [0; ANCHOR_BYTES_MAX],
        len: 0,
    };

    /// How many bytes it knows.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// What it knows.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }

    /// The anchor of a position, given the bytes that lead up to it.
    pub(crate) fn before(leading: &[u8]) -> Self {
        let tail = &leading[leading.len().saturating_sub(ANCHOR_BYTES_MAX)..];
        let mut anchor = Self::NONE;
        anchor.bytes[..tail.len()].copy_from_slice(tail);
        #[expect(clippy::cast_possible_truncation, reason = "at most ANCHOR_BYTES_MAX")]
        {
            anchor.len = tail.len() as u8;
        }
        anchor
    }

    /// What is kept of it on disk.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        fingerprint(self.bytes())
    }
}

/// The fingerprint of some bytes.
pub(crate) fn fingerprint(bytes: &[u8]) -> Fingerprint {
    // FNV-1a, 64 bit: stable over versions of us and of the standard library, and quick enough
    // for a kilobyte. It guards against accidents, not against an attacker who may write the log.
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    #[expect(clippy::cast_possible_truncation, reason = "at most HEAD_BYTES_MAX")]
    Fingerprint {
        bytes: bytes.len() as u32,
        hash,
    }
}

/// Reads and hashes the first `bytes_max` bytes of an open file (fewer where it is shorter).
pub(crate) fn head(
    files: &mut dyn Files,
    handle: Handle,
    bytes_max: usize,
) -> io::Result<Fingerprint> {
    let mut buffer = [0; HEAD_BYTES_MAX];
    let wanted = bytes_max.min(HEAD_BYTES_MAX);
    let got = read_full(files, handle, Offset(0), &mut buffer[..wanted])?;
    Ok(fingerprint(&buffer[..got]))
}

/// Learns a file's head, and the shorter one, from its open inode.
pub(crate) fn learn(
    file: &mut File,
    files: &mut dyn Files,
    handle: Handle,
    bytes_max: usize,
) -> io::Result<()> {
    file.head = head(files, handle, bytes_max)?;
    file.first = first(files, handle, bytes_max)?;
    file.lead = fingerprint(file.first.bytes());
    Ok(())
}

/// Learns more of the head of an open file that has grown, as long as it is short: also a file
/// that cannot be read yet must be known again.
pub(crate) fn learn_more(file: &mut File, files: &mut dyn Files) {
    let is_short = (file.head.bytes as usize) < HEAD_BYTES_MAX;
    let has_grown = file.size > u64::from(file.head.bytes);
    let Some(handle) = file.handle.filter(|_| is_short && has_grown) else {
        return;
    };
    // What begins differently now is another content; the next read will notice.
    let learned = has_head(files, handle, file.head).and_then(|same| match same {
        true => learn(file, files, handle, HEAD_BYTES_MAX),
        false => Ok(()),
    });
    if let Err(error) = learned {
        tracing::debug!(path = %file.path.display(), %error, "head not learned");
    }
}

/// The first bytes of an open file as they are, up to [`ANCHOR_BYTES_MAX`].
pub(crate) fn first(files: &mut dyn Files, handle: Handle, bytes_max: usize) -> io::Result<Anchor> {
    let mut buffer = [0; ANCHOR_BYTES_MAX];
    let wanted = bytes_max.min(ANCHOR_BYTES_MAX);
    let got = read_full(files, handle, Offset(0), &mut buffer[..wanted])?;
    Ok(Anchor::before(&buffer[..got]))
}

/// Whether an open file begins with the content that `known` was made of.
pub(crate) fn has_head(
    files: &mut dyn Files,
    handle: Handle,
    known: Fingerprint,
) -> io::Result<bool> {
    Ok(head(files, handle, known.bytes as usize)? == known)
}

/// Whether the bytes before `position` are those that `known` was made of.
pub(crate) fn has_anchor(
    files: &mut dyn Files,
    handle: Handle,
    position: Offset,
    known: Fingerprint,
) -> io::Result<bool> {
    Ok(anchor_at(files, handle, position, known.bytes as usize)?.fingerprint() == known)
}

/// The anchor of a position of an open file, over up to `bytes_max` bytes.
pub(crate) fn anchor_at(
    files: &mut dyn Files,
    handle: Handle,
    position: Offset,
    bytes_max: usize,
) -> io::Result<Anchor> {
    let mut buffer = [0; ANCHOR_BYTES_MAX];
    let wanted = usize::try_from(position.0)
        .unwrap_or(usize::MAX)
        .min(bytes_max);
    let wanted = wanted.min(ANCHOR_BYTES_MAX);
    let from = Offset(position.0 - wanted as u64);
    let got = read_full(files, handle, from, &mut buffer[..wanted])?;
    Ok(Anchor::before(&buffer[..got]))
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_full(
    files: &mut dyn Files,
    handle: Handle,
    from: Offset,
    into: &mut [u8],
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match files.read_at(handle, from.plus(filled), &mut into[filled..])? {
            0 => break,
            got => filled += got,
        }
    }
    Ok(filled)
}
