//! How a content on disk compares with one we know, and what an unknown inode is in the light of
//! that.
//!
//! All evidence about one unknown inode is gathered first: against each content it may have to do
//! with, how far the two agree ([`Likeness`]) and where the known one stands ([`Standing`]). Both
//! together say what the unknown is to that one ([`Tie`]), and all ties say what it is
//! ([`decide`]). Nothing else decides.
//!
//! What makes this safe is one principle: bytes are skipped only where the same bytes have been
//! read *and* settled of a content that begins alike. Names and inodes only tell where to look.

use std::io;

use crate::event::{FileId, Mark, Offset};
use crate::ports::{Files, Handle};

use super::file::File;
use super::fingerprint::{self, ANCHOR_BYTES_MAX, HEAD_BYTES_MAX};

/// How a content on disk compares with what was read of a known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Likeness {
    /// In which way.
    pub(super) kind: Kind,
    /// So far the two are shown to be the same; never beyond what was read.
    pub(super) agreed: Offset,
}

/// See [`Likeness`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It holds all that was read of the known one.
    Whole,
    /// It ends before the position read up to, and as far as it goes it is the same.
    Part,
    /// It ends before the position that a checkpoint knows, and is shown to be the same only in a
    /// part of what it holds: what comes behind that may have been written after a power cut.
    Doubtful,
    /// They begin alike at most.
    Other,
}

/// Where a known content stands while an unknown one is compared with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// In its inode, which was looked at just now.
    InPlace,
    /// Its inode holds another content; where it went is not known.
    Displaced,
    /// Its inode may not be opened, so that only what is remembered speaks for it.
    Locked,
}

/// What an unknown inode is to one known content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tie {
    /// All that was read of the known one stands here, and its own inode is lost or closed to us.
    Home,
    /// The known one is whole where it is and holds all that is here.
    Copy,
    /// A copy that was made before the known one, now gone, grew to what was read of it.
    Remnant,
    /// They are the same up to here and may differ behind it. Less than a full head proves nothing:
    /// programs begin their logs alike.
    Kin(Offset),
}

/// What an unknown inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The place where this known content is now.
    HomeOf(FileId),
    /// A copy that holds nothing new as long as this known content is there.
    CopyOf(FileId),
    /// The place where this known content is now, if no copy is found that holds more of it.
    RemnantOf(FileId),
    /// A content of its own. What comes before `from` was read elsewhere.
    New {
        /// Where to begin.
        from: Offset,
    },
}

/// What an unknown inode is, by its ties to all contents it may have to do with.
pub(super) fn decide(ties: &[(FileId, Tie)]) -> Verdict {
    let first = |wanted: Tie| ties.iter().find(|(_, tie)| *tie == wanted);
    if let Some((id, _)) = first(Tie::Home) {
        return Verdict::HomeOf(*id);
    }
    if let Some((id, _)) = first(Tie::Copy) {
        return Verdict::CopyOf(*id);
    }
    if let Some((id, _)) = first(Tie::Remnant) {
        return Verdict::RemnantOf(*id);
    }
    let shared = ties.iter().filter_map(|(_, tie)| match tie {
        Tie::Kin(shared) => Some(*shared),
        _ => None,
    });
    let proven = shared.filter(|shared| shared.0 >= HEAD_BYTES_MAX as u64);
    Verdict::New {
        from: proven.max().unwrap_or_default(),
    }
}

/// What an unknown inode of `size` bytes is to a content that was read up to `read`. `twin`: for
/// one in place, how far the two inodes are the same when compared with each other.
pub(super) fn tie(
    standing: Standing,
    likeness: Likeness,
    (size, read): (u64, Offset),
    twin: Option<Offset>,
) -> Tie {
    match (standing, likeness.kind) {
        (_, Kind::Other) => Tie::Kin(likeness.agreed),
        (Standing::Displaced, Kind::Whole) => Tie::Home,
        (Standing::Displaced, Kind::Part) => Tie::Remnant,
        (Standing::Displaced, Kind::Doubtful) => Tie::Kin(likeness.agreed),
        (Standing::InPlace, _) => match twin {
            Some(until) if until.0 >= size => Tie::Copy,
            Some(until) => Tie::Kin(until),
            None => Tie::Kin(likeness.agreed),
        },
        (Standing::Locked, _) if size <= read.0 => Tie::Copy,
        (Standing::Locked, _) => Tie::Home,
    }
}

/// Compares an open inode of `size` bytes with what is known of `file`.
pub(super) fn likeness(
    file: &File,
    files: &mut dyn Files,
    handle: Handle,
    size: u64,
) -> io::Result<Likeness> {
    let mut beginning = [0; HEAD_BYTES_MAX];
    let got = fingerprint::read_full(files, handle, Offset(0), &mut beginning)?;
    let fitting = fingerprint::fitting(&file.heads, &beginning[..got]);
    let length = |nth: usize| file.heads.get(nth).map_or(0, |head| head.bytes as usize);
    let begun = fitting.checked_sub(1).map_or(0, length) as u64;
    let goes_otherwise = fitting < file.heads.len() && length(fitting) <= got;
    if begun == 0 || goes_otherwise {
        return Ok(Likeness {
            kind: Kind::Other,
            agreed: Offset(begun).min(file.read),
        });
    }
    // The position itself is one more mark.
    let mut marks: Vec<Mark> = file.marks.iter().copied().chain(file.evidence()).collect();
    marks.retain(|mark| mark.at.0 <= size);
    marks.sort_by_key(|mark| mark.at);
    let mut kind = if file.read.0 <= size {
        Kind::Whole
    } else {
        Kind::Part
    };
    let mut agreed = Offset(begun);
    while let Some(mark) = marks.pop() {
        if fingerprint::has_anchor(files, handle, mark.at, mark.print)? {
            agreed = agreed.max(mark.at);
            break;
        }
        kind = Kind::Other;
    }
    if kind == Kind::Whole {
        agreed = file.read;
    }
    let agreed = agreed.min(file.read);
    // What this process has seen for itself was only ever appended to.
    if kind == Kind::Part && file.unverified.is_some() && agreed.0 < size {
        kind = Kind::Doubtful;
    }
    Ok(Likeness { kind, agreed })
}

/// How far two open inodes that begin alike are the same: to the end of the shorter one, or not
/// known.
pub(super) fn twin(
    files: &mut dyn Files,
    (one, one_size): (Handle, u64),
    (other, other_size): (Handle, u64),
) -> io::Result<Option<Offset>> {
    let end = Offset(one_size.min(other_size));
    let last = fingerprint::anchor_at(files, one, end, ANCHOR_BYTES_MAX)?;
    let same = fingerprint::has_anchor(files, other, end, last.fingerprint())?;
    Ok(same.then_some(end))
}

/// Whether the smaller of two open inodes holds only what the larger begins with.
pub(super) fn is_beginning(
    files: &mut dyn Files,
    small: (Handle, u64),
    large: (Handle, u64),
) -> io::Result<bool> {
    let mut beginnings = [[0; HEAD_BYTES_MAX]; 2];
    for (handle, beginning) in [small.0, large.0].into_iter().zip(&mut beginnings) {
        let wanted = usize::try_from(small.1).unwrap_or(HEAD_BYTES_MAX);
        let wanted = wanted.min(HEAD_BYTES_MAX);
        fingerprint::read_full(files, handle, Offset(0), &mut beginning[..wanted])?;
    }
    Ok(small.1 > 0 && beginnings[0] == beginnings[1] && twin(files, small, large)?.is_some())
}

/// Whether what is known of `file` is not even the first line of an open inode, so that many logs begin
/// alike, and would be skipped there. Only a checkpoint speaks for it: a power cut may have left the beginning
/// of a line, which the next log begins with, too.
pub(super) fn is_title(file: &File, files: &mut dyn Files, handle: Handle) -> io::Result<bool> {
    let known = file.head_bytes();
    if file.unverified.is_none() || file.read == Offset(0) || known >= HEAD_BYTES_MAX {
        return Ok(false);
    }
    Ok(line_start(files, handle, Offset(known as u64))? == Offset(0))
}

/// The last beginning of a line at or before a position, as far as a look back reaches; else the
/// position itself.
pub(super) fn line_start(
    files: &mut dyn Files,
    handle: Handle,
    position: Offset,
) -> io::Result<Offset> {
    let mut before = [0; HEAD_BYTES_MAX];
    let wanted = usize::try_from(position.0).unwrap_or(HEAD_BYTES_MAX);
    let wanted = wanted.min(HEAD_BYTES_MAX);
    let from = Offset(position.0 - wanted as u64);
    let got = fingerprint::read_full(files, handle, from, &mut before[..wanted])?;
    Ok(
        match before[..got].iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => from.plus(newline + 1),
            None if from == Offset(0) => Offset(0),
            None => position,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: FileId = FileId(1);
    const B: FileId = FileId(2);
    const READ: Offset = Offset(5_000);

    fn like(kind: Kind, agreed: u64) -> Likeness {
        Likeness {
            kind,
            agreed: Offset(agreed),
        }
    }

    /// What an unknown inode is to one known content that was read up to 5,000 bytes: every row is
    /// one situation as rotation, copies, truncation, locks and power cuts make it.
    #[test]
    fn ties() {
        use Standing::{Displaced, InPlace, Locked};
        let whole = like(Kind::Whole, READ.0);
        let part = like(Kind::Part, 4_096);
        let doubtful = like(Kind::Doubtful, 4_096);
        let other = like(Kind::Other, 2_048);
        let rows = [
            (
                "the copy of a truncated file",
                Displaced,
                whole,
                6_000,
                None,
                Tie::Home,
            ),
            (
                "a copy made before we read on",
                Displaced,
                part,
                4_500,
                None,
                Tie::Remnant,
            ),
            (
                "a shorter one that only a checkpoint speaks for",
                Displaced,
                doubtful,
                4_500,
                None,
                Tie::Kin(Offset(4_096)),
            ),
            (
                "what a power cut and a writer made of it",
                Displaced,
                other,
                9_000,
                None,
                Tie::Kin(Offset(2_048)),
            ),
            (
                "a copy in the making",
                InPlace,
                whole,
                6_000,
                Some(6_000),
                Tie::Copy,
            ),
            ("an old copy", InPlace, part, 4_500, Some(4_500), Tie::Copy),
            (
                "the original of a copy we read",
                InPlace,
                whole,
                9_000,
                Some(6_000),
                Tie::Kin(Offset(6_000)),
            ),
            (
                "a copy that went on differently",
                InPlace,
                whole,
                9_000,
                None,
                Tie::Kin(READ),
            ),
            (
                "another file",
                InPlace,
                like(Kind::Other, 0),
                9_000,
                None,
                Tie::Kin(Offset(0)),
            ),
            (
                "a copy of a file that may not be read",
                Locked,
                whole,
                5_000,
                None,
                Tie::Copy,
            ),
            (
                "the same with more in it",
                Locked,
                whole,
                6_000,
                None,
                Tie::Home,
            ),
            (
                "the same with less in it",
                Locked,
                part,
                4_500,
                None,
                Tie::Copy,
            ),
            (
                "beside a file that may not be read",
                Locked,
                other,
                9_000,
                None,
                Tie::Kin(Offset(2_048)),
            ),
        ];
        for (what, standing, likeness, size, twin, expected) in rows {
            let tie = tie(standing, likeness, (size, READ), twin.map(Offset));
            assert_eq!(tie, expected, "{what}");
        }
    }

    /// What an unknown inode is by all its ties: the surest one decides, and a beginning that any
    /// program may write proves nothing.
    #[test]
    fn verdicts() {
        let kin = |bytes| Tie::Kin(Offset(bytes));
        let new = |from| Verdict::New { from: Offset(from) };
        let rows: [(&[(FileId, Tie)], Verdict); 8] = [
            (&[], new(0)),
            (&[(A, kin(0)), (B, kin(1_023))], new(0)),
            (&[(A, kin(2_000)), (B, kin(1_024))], new(2_000)),
            (&[(A, Tie::Remnant), (B, kin(2_000))], Verdict::RemnantOf(A)),
            (&[(A, Tie::Remnant), (B, Tie::Copy)], Verdict::CopyOf(B)),
            (&[(A, Tie::Copy), (B, Tie::Home)], Verdict::HomeOf(B)),
            (&[(A, Tie::Remnant), (B, Tie::Home)], Verdict::HomeOf(B)),
            (&[(A, Tie::Home), (B, Tie::Home)], Verdict::HomeOf(A)),
        ];
        for (ties, expected) in rows {
            assert_eq!(decide(ties), expected, "{ties:?}");
        }
    }
}
