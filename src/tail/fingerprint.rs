//! Evidence that a file is the file we knew.
//!
//! Inodes are reused and names move, so neither proves anything. Content does: its **heads**
//! (hashes of ever longer beginnings, up to 1 KiB) say which content it is, and an **anchor** (the
//! last bytes before a position) says that the position still means what it meant. A truncation,
//! a rewrite or a reused inode breaks one of the two. `likeness.rs` compares them.

use std::io;

use crate::event::{Fingerprint, Mark, Offset};
use crate::ports::{Files, Handle};

use super::file::File;

/// How much of a content's beginning is hashed.
pub(crate) const HEAD_BYTES_MAX: usize = 1024;

/// The lengths of the beginnings that are hashed, as far as there are so many bytes, besides all
/// that is known.
const HEAD_STEPS: [usize; 8] = [8, 16, 32, 64, 128, 256, 512, HEAD_BYTES_MAX];

/// How many bytes before a position are compared when reading goes on there.
pub(crate) const ANCHOR_BYTES_MAX: usize = 64;

/// Bytes from one mark of a content to the next, at least.
const MARK_GAP_BYTES: u64 = 1_024;

/// Marks kept of one content: the newer ones close together, the older ones far apart.
const MARKS_MAX: usize = 8;

/// The bytes right before a position as they are.
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

/// Hashes bytes one after the other.
#[derive(Clone, Copy)]
struct Hasher(u64);

impl Hasher {
    // FNV-1a, 64 bit: stable over versions of us and of the standard library, and quick enough
    // for a kilobyte. It guards against accidents, not against an attacker who may write the log.
    const START: Self = Self(0xcbf2_9ce4_8422_2325);

    fn with(self, bytes: &[u8]) -> Self {
        let one = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(self.0, one))
    }

    fn print(self, bytes: usize) -> Fingerprint {
        #[expect(clippy::cast_possible_truncation, reason = "at most HEAD_BYTES_MAX")]
        Fingerprint {
            bytes: bytes as u32,
            hash: self.0,
        }
    }
}

/// The fingerprint of some bytes.
pub(crate) fn fingerprint(bytes: &[u8]) -> Fingerprint {
    Hasher::START.with(bytes).print(bytes.len())
}

/// The heads of a content that begins with these bytes (at most [`HEAD_BYTES_MAX`] of it).
pub(crate) fn heads(beginning: &[u8]) -> Vec<Fingerprint> {
    let steps = HEAD_STEPS.iter().copied();
    let steps = steps.filter(|step| *step < beginning.len());
    let mut heads = Vec::with_capacity(HEAD_STEPS.len());
    let (mut hasher, mut hashed) = (Hasher::START, 0);
    for step in steps.chain([beginning.len()]).filter(|step| *step > 0) {
        hasher = hasher.with(&beginning[hashed..step]);
        hashed = step;
        heads.push(hasher.print(step));
    }
    heads
}

/// How many of `known`, from the shortest on, fit a content that begins with these bytes; as far
/// as it is long enough to tell.
pub(crate) fn fitting(known: &[Fingerprint], beginning: &[u8]) -> usize {
    let (mut hasher, mut hashed) = (Hasher::START, 0);
    let mut fits = |head: &Fingerprint| {
        let step = head.bytes as usize;
        if step > beginning.len() || step < hashed {
            return false;
        }
        hasher = hasher.with(&beginning[hashed..step]);
        hashed = step;
        hasher.print(step) == *head
    };
    known.iter().take_while(|head| fits(head)).count()
}

/// Whether a content that begins with these bytes begins with all that is known of a file.
pub(crate) fn fits(file: &File, beginning: &[u8]) -> bool {
    fitting(&file.heads, beginning) == file.heads.len()
}

/// Whether the content of an open inode begins with all of these heads.
pub(crate) fn begins_as_known(
    heads: &[Fingerprint],
    files: &mut dyn Files,
    handle: Handle,
) -> io::Result<bool> {
    let mut buffer = [0; HEAD_BYTES_MAX];
    let bytes = heads.last().map_or(0, |head| head.bytes as usize);
    let known = &mut buffer[..bytes];
    let got = read_full(files, handle, Offset(0), known)?;
    Ok(fitting(heads, &known[..got]) == heads.len())
}

/// Learns the heads of a file from its open inode, as far as they are not known; those that are
/// known must fit, else it holds another content, which the next read will notice.
pub(crate) fn learn(file: &mut File, files: &mut dyn Files) -> io::Result<()> {
    let is_short = file.head_bytes() < HEAD_BYTES_MAX;
    let has_grown = file.size > file.head_bytes() as u64;
    let Some(handle) = file.handle.filter(|_| is_short && has_grown) else {
        return Ok(());
    };
    let mut buffer = [0; HEAD_BYTES_MAX];
    let got = read_full(files, handle, Offset(0), &mut buffer)?;
    let was_unknown = file.heads.is_empty();
    if fits(file, &buffer[..got]) {
        file.heads = heads(&buffer[..got]);
    }
    if was_unknown {
        // It may have been cut before or after: the lesser size is surely that of what was learned.
        file.size = file.size.min(files.meta(handle)?.size).max(file.read.0);
    }
    Ok(())
}

/// Remembers what stands before the position a file was read up to, if the last such mark lies far
/// enough back.
pub(crate) fn leave_mark(file: &mut File) {
    let last = file
        .marks
        .last()
        .map_or(HEAD_BYTES_MAX as u64, |mark| mark.at.0);
    if file.read.0 < last + MARK_GAP_BYTES || file.anchor.len() == 0 {
        return;
    }
    if file.marks.len() == MARKS_MAX {
        // Every second of the older ones goes.
        let mut nth = 0;
        file.marks.retain(|_| {
            nth += 1;
            nth > MARKS_MAX / 2 || nth % 2 == 0
        });
    }
    file.marks.push(Mark {
        at: file.read,
        print: file.anchor.fingerprint(),
    });
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
