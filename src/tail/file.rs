//! One tailed content: where it is now, how far it was read, and what is known against mistaking
//! another file for it.

use std::path::Path;
use std::sync::Arc;

use crate::config::Source;
use crate::event::{FileId, FileKey, FileRecord, Fingerprint, Mark, Offset};
use crate::ports::{Handle, Meta};

use super::fingerprint::Anchor;

/// Fewer known bytes than this are no evidence by themselves.
const SLIGHT_BYTES: usize = 8;

/// One content. It keeps its [`FileId`] when it is renamed, and also when it is copied away and
/// its old inode truncated: then it moves to the copy, and the inode begins another content.
#[derive(Debug)]
pub struct File {
    pub(crate) id: FileId,
    pub(crate) source: Arc<Source>,
    pub(crate) root: Arc<Path>,
    /// Its present name, or its last.
    pub(crate) path: Arc<Path>,
    /// The name it was live under: what groups it with its predecessors and successors, and what
    /// names its stream.
    pub(crate) family: Arc<Path>,
    /// `None` while its inode holds another content and the copy is still being looked for.
    pub(crate) key: Option<FileKey>,
    /// How it begins: ever longer beginnings, the last one being all that is known.
    pub(crate) heads: Vec<Fingerprint>,
    /// What stands before the position.
    pub(crate) anchor: Anchor,
    /// The same restored from disk, until the file is opened for the first time.
    pub(crate) unverified: Option<Fingerprint>,
    /// What stands before some other positions, in their order.
    pub(crate) marks: Vec<Mark>,
    /// The position and its evidence that a checkpoint was given last.
    pub(crate) recorded: Option<Mark>,
    pub(crate) handle: Option<Handle>,
    pub(crate) read: Offset,
    /// How far its records were counted; what is read again is not counted again.
    pub(crate) heard: Offset,
    /// Largest size seen.
    pub(crate) size: u64,
    /// Whether only a checkpoint says so: a power cut may have taken some of it.
    pub(crate) size_is_recalled: bool,
    pub(crate) modified_ms: i64,
    /// Whether its inode was seen with another size or date since it was opened last.
    pub(crate) has_changed: bool,
    /// When it last grew, on the monotonic clock: quiet is measured from here.
    pub(crate) grown_mono_ms: u64,
    pub(crate) place: Place,
    /// Files whose bytes come before this one's.
    pub(crate) after: Vec<FileId>,
    /// Once it is rotated away: how far its successors wait for it.
    pub(crate) gate_bytes: u64,
    /// Why it cannot be opened, if so.
    pub(crate) unreadable: Option<String>,
    /// Whether it is not read for now, however much of it there is.
    pub(crate) is_left_alone: bool,
    /// The number of the scan that last saw it.
    pub(crate) seen_in_scan: u64,
    pub(crate) queued: bool,
    /// When a record held back for want of its end shall be looked at again.
    pub(crate) due_mono_ms: Option<u64>,
}

/// Where a content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Under a name that its source's patterns match.
    Listed,
    /// Renamed to a name outside the patterns; still there.
    Rotated,
    /// No name leads to it any more; it lives as long as it is open.
    Deleted,
    /// Its inode was truncated or reused since this time (monotonic ms); a copy is looked for.
    Displaced {
        /// When; `None`: before this process began.
        since_mono_ms: Option<u64>,
    },
    /// Saved from a deleted file, as the rescue segment of this number.
    Rescued(u64),
}

/// Whether a file's target has a name yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// It has.
    Named,
    /// Something it is named after is not known yet.
    Waiting,
}

impl File {
    /// Whether everything known to be there has been handed on.
    pub(crate) fn is_read(&self) -> bool {
        self.read.0 >= self.size
    }

    /// Whether its turns come to anything: else nobody waits for it.
    pub(crate) fn is_readable(&self) -> bool {
        self.unreadable.is_none() && !self.is_left_alone
    }

    /// What it is at, in a word or two.
    #[must_use]
    pub(crate) fn state(&self, naming: Naming) -> String {
        let word = match (&self.unreadable, &self.place) {
            (Some(why), _) => return format!("unreadable: {why}"),
            (_, Place::Deleted) => "deleted",
            (_, Place::Displaced { .. }) => "truncated",
            (_, Place::Rescued(_)) => "rescued",
            _ if naming == Naming::Waiting => "waiting",
            _ if self.is_read() => "idle",
            _ => "reading",
        };
        word.to_owned()
    }

    /// Whether its inode holds another content, and a copy is looked for.
    pub(crate) fn is_displaced(&self) -> bool {
        matches!(self.place, Place::Displaced { .. })
    }

    /// Since when, on the monotonic clock, if it is displaced and this is known.
    pub(crate) fn displaced_since_ms(&self) -> Option<u64> {
        match self.place {
            Place::Displaced { since_mono_ms } => since_mono_ms,
            _ => None,
        }
    }

    /// Whether it is cut if its inode has so many bytes now.
    pub(crate) fn is_cut_at(&self, size: u64) -> bool {
        // Of what is only recalled a power cut may have taken the end, not what was read.
        let least = match self.size_is_recalled {
            true => self.read.0,
            false => self.size,
        };
        size < least
    }

    /// Bytes that are lost if its inode holds another content now, and a copy has so many.
    pub(crate) fn missing_from(&self, copy_bytes: u64) -> u64 {
        let is_unproven = self.has_changed && self.unverified.is_some();
        if is_unproven && self.unreadable.is_some() && copy_bytes != self.size {
            // Nothing but a checkpoint speaks for this content: all that was seen since, and may not
            // be looked at, may have been another one.
            return self.size;
        }
        self.size.saturating_sub(copy_bytes.max(self.read.0))
    }

    /// Notes whether its inode is seen otherwise than before.
    pub(crate) fn note_change(&mut self, meta: &Meta) {
        self.has_changed |= (self.size, self.modified_ms) != (meta.size, meta.modified_ms);
    }

    /// Its family, as one in which something moved.
    pub(crate) fn moving(&self) -> (Arc<Path>, Arc<Path>, i64) {
        (self.root.clone(), self.family.clone(), self.modified_ms)
    }

    /// Takes over under which name it was live; nearly always it still is.
    pub(crate) fn belongs_to(&mut self, family: &Path) {
        self.family = match &*self.path == family {
            true => Arc::clone(&self.path),
            false => family.into(),
        };
    }

    /// Takes over what a scan saw.
    pub(crate) fn saw(&mut self, path: &Path, meta: &Meta) {
        if &*self.path != path {
            self.path = path.into();
        }
        self.size = meta.size.max(self.read.0);
        self.size_is_recalled = false;
        self.modified_ms = meta.modified_ms;
        self.unreadable = None;
    }

    /// Whether there is anything by which it could be known again.
    pub(crate) fn is_comparable(&self) -> bool {
        !self.heads.is_empty() || (self.is_displaced() && self.size > 0)
    }

    /// Whether so little is known of it that many files begin alike: its size must fit, too.
    pub(crate) fn is_slight(&self) -> bool {
        self.head_bytes() < SLIGHT_BYTES
    }

    /// How many bytes of its beginning are known.
    pub(crate) fn head_bytes(&self) -> usize {
        self.heads.last().map_or(0, |head| head.bytes as usize)
    }

    /// What is known to stand before the position, if anything.
    pub(crate) fn evidence(&self) -> Option<Mark> {
        let print = self.unverified.unwrap_or(self.anchor.fingerprint());
        let at = self.read;
        (print.bytes > 0).then_some(Mark { at, print })
    }

    /// Sets the position back. What stands before it now is not known, but as long as the content
    /// is the same, what stood before the old one is evidence.
    pub(crate) fn go_back(&mut self, to: Offset) {
        let old = self.evidence();
        self.marks.retain(|mark| mark.at < self.read);
        self.marks.extend(old);
        self.read = to;
        self.anchor = Anchor::NONE;
        self.unverified = None;
    }

    /// What a checkpoint keeps, given a position and its evidence.
    pub(crate) fn record(&self, position: Mark) -> Option<FileRecord> {
        let key = match self.is_displaced() {
            true => FileKey::default(),
            false => self.key?,
        };
        Some(FileRecord {
            source: self.source.name.to_string(),
            path: self.path.to_path_buf(),
            family: self.family.to_path_buf(),
            root: self.root.to_path_buf(),
            key,
            is_displaced: self.is_displaced(),
            heads: self.heads.clone(),
            tail: position.print,
            marks: self.marks_before(position.at).collect(),
            settled: position.at,
            heard: self.heard,
            size: self.size,
            modified_ms: self.modified_ms,
        })
    }

    fn marks_before(&self, position: Offset) -> impl Iterator<Item = Mark> {
        let marks = self.marks.iter().copied();
        marks.filter(move |mark| mark.at < position)
    }
}
