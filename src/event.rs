//! The nouns that cross borders: where bytes came from, what they became, what became of them.
//!
//! Nothing here does I/O or knows another module. At-least-once is a shape in these types: an
//! [`Event`] leaves the middle in one of two ways only, into a [`Batch`] or by [`Event::skip`];
//! a [`Batch`] ends only by [`Batch::settle`]; both make the [`Ack`]s without which no checkpoint
//! moves. None of the three can be cloned, and dropping one by mistake makes no acknowledgement,
//! so its bytes are read again after a restart.

mod record;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use record::{FileRecord, Fingerprint, Mark};

/// One tailed content: the bytes of one log file, wherever rotation moves them. Unique while the
/// agent runs, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// A position in a file's content, in bytes from its beginning.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    /// The position `bytes` further on.
    #[must_use]
    pub fn plus(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }

    /// How many bytes lie between `earlier` and this position; 0 when it is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A half-open byte range of one file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Whose bytes.
    pub file: FileId,
    /// The first byte.
    pub start: Offset,
    /// One past the last byte.
    pub end: Offset,
}

impl Span {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end.since(self.start)
    }

    /// Whether the range holds no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Which file on this machine: device and inode. Inodes are reused, so this is a hint to be
/// checked by a fingerprint, never proof.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct FileKey {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// Milliseconds since the Unix epoch, as CloudWatch Logs counts time.
pub type EpochMs = i64;

/// The two times of one step. Monotonic time orders and delays; wall time only dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the machine's boot, sleep included; it never goes back.
    pub mono_ms: u64,
    /// The system's idea of the date, which may jump.
    pub wall_ms: EpochMs,
}

/// What an event stands for: bytes of a file, or a note of ours about bytes that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A record read from a file.
    File(Span),
    /// A loss marker: the number names the loss it speaks of, so that it is sent until answered.
    Marker(u64),
}

/// One record, parsed, dated and redacted, still borrowing from the read buffer.
#[derive(Debug)]
#[must_use = "an event that is neither batched nor skipped pins its file's checkpoint"]
pub struct Event<'a> {
    /// When it happened (or was read, where the record does not say).
    pub time_ms: EpochMs,
    /// The message: never empty, valid UTF-8, nothing in it that must not leave.
    pub text: Cow<'a, str>,
    /// The bytes it was made of.
    pub origin: Origin,
}

impl Event<'_> {
    /// Ends an event that shall not be sent; the caller counts the reason.
    #[must_use = "an acknowledgement that does not reach the ledger pins the checkpoint"]
    pub fn skip(self, reason: Skip) -> (Ack, Skip) {
        (Ack(self.origin), reason)
    }
}

/// Why bytes were read but not sent, by the user's will or because there is nothing in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// An `include_lines` or `exclude_lines` rule of the source.
    Filtered,
    /// An empty line: the service takes no empty message.
    Empty,
    /// NUL bytes, as a file system leaves them after a power cut.
    Nul,
}

/// Proof that an origin is done with. Made only by [`Event::skip`] and [`Batch::settle`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an acknowledgement that does not reach the ledger pins the checkpoint"]
pub struct Ack(Origin);

impl Ack {
    /// What is done with.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0
    }
}

/// Where events go: a log group and a stream in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// Log group name, already checked against the service's rules.
    pub group: String,
    /// Log stream name, already checked.
    pub stream: String,
}

/// What is told of a file to people and to the directory sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOrigin {
    /// The source's name.
    pub source: Arc<str>,
    /// Where the file was when it was read.
    pub path: Arc<Path>,
}

/// The service's place for one event inside a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// When the event happened.
    pub time_ms: EpochMs,
    /// Where its JSON object ends in the body (it begins after the comma behind the one before).
    pub body_end: u32,
    /// UTF-8 bytes of its message.
    pub message_bytes: u32,
    /// Index into [`Batch::pieces`]: which run of bytes it came from.
    pub piece: u32,
}

/// A run of events of one origin that lie next to each other in a batch.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The contiguous bytes, or the marker.
    pub origin: Origin,
    /// The file, for people.
    pub file: Arc<FileOrigin>,
}

/// Events of one target, encoded once, on their way to the service.
#[derive(Debug)]
#[must_use = "a batch that is not settled pins its files' checkpoints"]
pub struct Batch {
    /// Where it goes.
    pub target: Arc<Target>,
    /// `{"logGroupName":…,"logStreamName":…,"logEvents":[` then the events' objects with commas
    /// between, then `]}`: a whole request body.
    pub body: Vec<u8>,
    /// Where the first event's object begins in `body`.
    pub body_head: u32,
    /// One per event, in the order of the body (which is the order of time).
    pub slots: Vec<Slot>,
    /// What it is made of, each entered in the ledger before.
    pub pieces: Vec<Piece>,
    /// Size as the service counts it: message bytes + 26 per event.
    pub counted_bytes: usize,
}

impl Batch {
    /// Ends the batch: every origin in it is done with, whatever the outcome, since what was not
    /// delivered is named in the outcome and counted by the caller.
    pub fn settle(self, outcome: &Outcome) -> Vec<Ack> {
        match outcome {
            Outcome::Delivered(_) | Outcome::Rejected(_) => self
                .pieces
                .into_iter()
                .map(|piece| Ack(piece.origin))
                .collect(),
        }
    }

    /// The request body of a part of the batch; the whole one without a copy.
    #[must_use]
    pub fn body_of(&self, events: std::ops::Range<usize>) -> Cow<'_, [u8]> {
        if events == (0..self.slots.len()) {
            return Cow::Borrowed(&self.body);
        }
        let head = self.body_head as usize;
        let start = match events.start {
            0 => head,
            n => self.slots[n - 1].body_end as usize + 1,
        };
        let end = self.slots[events.end - 1].body_end as usize;
        let mut body = Vec::with_capacity(head + (end - start) + 2);
        body.extend_from_slice(&self.body[..head]);
        body.extend_from_slice(&self.body[start..end]);
        body.extend_from_slice(b"]}");
        Cow::Owned(body)
    }
}

/// How a batch ended. There is no "dropped" and no default: bad credentials, throttling, 5xx and
/// timeouts are retried without end and never become an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service answered for it; these events it refused one by one.
    Delivered(Refusals),
    /// The service will never take these events; they are in the dead-letter file.
    Rejected(String),
}

/// How many events of a delivered batch the service refused, by its reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// More than two hours in the future.
    pub too_new: u64,
    /// More than 14 days old.
    pub too_old: u64,
    /// Older than the group's retention.
    pub expired: u64,
    /// Found guilty of an InvalidParameterException by bisection, and put in the dead-letter file.
    pub invalid: u64,
}

impl Refusals {
    /// Counts others in.
    pub fn add(&mut self, others: Self) {
        self.too_new += others.too_new;
        self.too_old += others.too_old;
        self.expired += others.expired;
        self.invalid += others.invalid;
    }

    /// All refused events.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.too_new + self.too_old + self.expired + self.invalid
    }
}

/// Bytes that were on disk and could not be kept, whose marker the service has not answered for
/// yet. Stored, so that the marker survives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The number of its marker, [`Origin::Marker`].
    pub id: u64,
    /// The source that lost them.
    pub source: String,
    /// The file that held them.
    #[serde(with = "path_text")]
    pub path: PathBuf,
    /// How many.
    pub bytes: u64,
    /// Why, in words for people. Of a note that is about no loss: all there is to say.
    pub reason: String,
    /// When it was noticed.
    pub at_ms: EpochMs,
    /// The live path of the file: names the stream the marker goes to.
    #[serde(with = "path_text")]
    pub family: PathBuf,
}

/// Paths as text, without loss: what is UTF-8 stands as it is, any other byte as `\xHH`, a
/// backslash as `\\`.
pub(crate) mod path_text {
    use std::ffi::OsString;
    use std::fmt::Write as _;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&escape(path))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        let text = String::deserialize(from)?;
        if !text.contains('\\') {
            return Ok(PathBuf::from(text));
        }
        unescape(&text).ok_or_else(|| D::Error::custom("a path with a broken escape"))
    }

    fn escape(path: &Path) -> String {
        let mut text = String::new();
        for chunk in path.as_os_str().as_bytes().utf8_chunks() {
            text.push_str(&chunk.valid().replace('\\', r"\\"));
            for byte in chunk.invalid() {
                write!(text, r"\x{byte:02x}").expect("writing to a string cannot fail");
            }
        }
        text
    }

    fn unescape(text: &str) -> Option<PathBuf> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((plain, escaped)) = rest.split_once('\\') {
            bytes.extend_from_slice(plain.as_bytes());
            rest = match escaped.strip_prefix('x') {
                Some(hex) => {
                    bytes.push(u8::from_str_radix(hex.get(..2)?, 16).ok()?);
                    &hex[2..]
                }
                None => {
                    bytes.push(b'\\');
                    escaped.strip_prefix('\\')?
                }
            };
        }
        bytes.extend_from_slice(rest.as_bytes());
        Some(PathBuf::from(OsString::from_vec(bytes)))
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            /// Every path comes back byte for byte, whatever is in it: any bytes are escaped and
            /// read again.
            #[test]
            fn any_path_survives(bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(b'\\'), Just(b'x'), Just(b'/')], 0..40))
            {
                let path = PathBuf::from(OsString::from_vec(bytes));
                prop_assert_eq!(unescape(&escape(&path)), Some(path));
            }

            /// A broken escape is refused, never a panic: any text is read.
            #[test]
            fn any_text_is_read_or_refused(text in r"([\\]|x|[0-9a-f]|é|.){0,12}") {
                if let Some(path) = unescape(&text) {
                    prop_assert_eq!(unescape(&escape(&path)), Some(path));
                }
            }
        }

        /// A path of plain UTF-8 stands in the file as people know it.
        #[test]
        fn a_usual_path_is_readable() {
            assert_eq!(escape(Path::new("/var/log/ä b.log")), "/var/log/ä b.log");
        }
    }
}
