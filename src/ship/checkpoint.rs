//! What must survive a restart, as one small file: how far each log file is done, the counts, the
//! losses still to be told, and what was made of the records heard.
//!
//! It is written whole, saved or noted ([`NAME`], [`NOTED`]); what changes in between is appended to
//! a third file (`changes.rs`).
//!
//! Format, version 2: a first line `{"deploywatch":"checkpoint","version":2,"crc32":N,"bytes":N}`,
//! then JSON with one file a line, made to be read by people too (the first line is
//! [`sealed`](crate::ports::sealed)'s).
//!
//! A damaged checkpoint is set aside, said, and everything still on disk is read again:
//! duplicates, never a gap. A newer one is refused, since starting without it would send
//! everything twice and then overwrite it.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use serde::{Deserialize, Serialize};

use crate::event::{EpochMs, FileRecord, Loss};
use crate::ports::sealed::{SealError, Sealing, unproven, unseal};
use crate::ports::{Sheet, Store};
use crate::status::SourceCounts;

use super::changes;

/// Its name in the state directory.
pub const NAME: &str = "checkpoints";
/// The name of the one that is written more often, without waiting for the disk. It counts at the
/// next start if it is whole and newer; after a power cut it may be neither.
pub const NOTED: &str = "checkpoints.recent";
/// What the first line says it is.
pub(super) const KIND: &str = "checkpoint";
/// The version written; older ones are read.
pub(super) const VERSION: u32 = 2;
/// What stands before [`Checkpoint::sequence`].
const SEQUENCE: &str = "{\n\"sequence\":";
/// Within so many bytes stands the sequence.
pub(super) const BEGINNING_BYTES: usize = 256;
/// Numbers of bytes, events or milliseconds from here on are not believed.
const NUMBER_MAX: u64 = 1 << 60;

/// All that is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    /// Grows by one with every checkpoint written: of two, the greater is the newer.
    pub sequence: u64,
    /// The number of the next loss, so that no two markers share one.
    pub next_loss: u64,
    /// Losses whose markers have not been answered for.
    pub losses: Vec<Loss>,
    /// What is on its way and not on disk any more: whether it arrives, the next run cannot know.
    /// These are no losses yet, and have no number.
    pub at_stake: Vec<Loss>,
    /// Totals by source.
    pub counts: BTreeMap<String, SourceCounts>,
    /// What was made of the records up to each file's `heard`; in one file with those, so that
    /// no record is ever counted twice or not at all. Nothing to this module but JSON.
    pub insight: serde_json::Value,
    /// The files.
    pub files: Vec<FileRecord>,
}

/// Why bytes are no checkpoint for this agent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Torn, flipped or something else altogether.
    #[error("damaged checkpoint: {0}")]
    Damaged(String),
    /// Written by a newer agent.
    #[error("checkpoint of version {version}, newer than this agent knows")]
    TooNew {
        /// Its version.
        version: u32,
    },
}

/// A checkpoint that is being written: all but the files first, then one file after the other, so
/// that what thousands of them hold is never there twice.
pub struct Encoding<'t> {
    sealing: Sealing<'t>,
    /// One field, or one file.
    piece: Vec<u8>,
    files: usize,
}

impl<'t> Encoding<'t> {
    /// Begins with everything but the files of `known`; `insight` stands for what it says of that.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn begin(
        known: &Checkpoint,
        insight: &impl Serialize,
        to: &'t mut dyn Sheet,
    ) -> io::Result<Self> {
        let mut encoding = Self {
            sealing: Sealing::begin(KIND, VERSION, to)?,
            piece: Vec::new(),
            files: 0,
        };
        encoding.field(SEQUENCE, &known.sequence)?;
        encoding.field(",\n\"next_loss\":", &known.next_loss)?;
        encoding.field(",\n\"losses\":", &known.losses)?;
        encoding.field(",\n\"at_stake\":", &known.at_stake)?;
        encoding.field(",\n\"counts\":", &known.counts)?;
        encoding.field(",\n\"insight\":", insight)?;
        encoding.sealing.write_all(b",\n\"files\":[")?;
        Ok(encoding)
    }

    /// Adds a file, on a line of its own.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn file(&mut self, file: &FileRecord) -> io::Result<()> {
        let before = if self.files == 0 { "\n" } else { ",\n" };
        self.files += 1;
        self.field(before, file)
    }

    /// Bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sealing.bytes() as u64
    }

    /// Ends it.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn end(mut self) -> io::Result<()> {
        self.sealing.write_all(b"\n]}\n")?;
        self.sealing.end()
    }

    fn field(&mut self, key: &str, value: &impl Serialize) -> io::Result<()> {
        self.piece.clear();
        self.piece.extend_from_slice(key.as_bytes());
        serde_json::to_writer(&mut self.piece, value)?;
        self.sealing.write_all(&self.piece)
    }
}

impl Checkpoint {
    /// Writes the file's content.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, to: &mut dyn Sheet) -> io::Result<()> {
        let mut encoding = Encoding::begin(self, &self.insight, to)?;
        self.files.iter().try_for_each(|file| encoding.file(file))?;
        encoding.end()
    }

    /// The file's content.
    ///
    /// # Panics
    /// Never: writing to memory does not fail.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut content = io::Cursor::new(Vec::new());
        self.write(&mut content).expect("memory takes everything");
        content.into_inner()
    }

    /// Reads a file's content.
    ///
    /// # Errors
    /// When it is damaged or too new.
    pub fn decode(content: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_body(unsealed(content)?)
    }

    /// Reads what follows the first line, once that has vouched for it.
    ///
    /// # Errors
    /// When it is not what this agent writes, or its numbers cannot be.
    pub fn decode_body(body: &[u8]) -> Result<Self, DecodeError> {
        let known: Self = serde_json::from_slice(body)
            .map_err(|error| DecodeError::Damaged(error.to_string()))?;
        match known.is_possible() {
            true => Ok(known),
            false => Err(DecodeError::Damaged("impossible numbers".to_owned())),
        }
    }

    /// Whether all numbers leave room to count on: no file and no clock comes near the limit.
    fn is_possible(&self) -> bool {
        let counts = self.counts.values().flat_map(SourceCounts::all);
        let files = self
            .files
            .iter()
            .flat_map(|file| [file.settled.0, file.size]);
        let losses = self.losses.iter().chain(&self.at_stake);
        let losses = losses.flat_map(|loss| [loss.id, loss.bytes]);
        let times = self.files.iter().map(|file| file.modified_ms);
        let mut numbers = counts
            .chain(files)
            .chain(losses)
            .chain([self.sequence, self.next_loss])
            .chain(times.map(EpochMs::unsigned_abs));
        numbers.all(|number| number < NUMBER_MAX)
    }
}

/// What was found at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// No checkpoint: this is the first start.
    Fresh,
    /// What the run before knew.
    Known(Checkpoint),
    /// It was damaged and now lies under another name, for people to look at.
    SetAside {
        /// That name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Why the agent must not start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Written by a newer agent.
    #[error(
        "read {NAME}: it has version {version}, this agent knows {VERSION}; install the newer \
         deploywatch again, or move the file away to have all logs still on disk sent again"
    )]
    TooNew {
        /// Its version.
        version: u32,
    },
    /// It cannot be read, or not be set aside.
    #[error("read {NAME}")]
    Io(#[from] io::Error),
}

/// Loads the checkpoint, and sets a damaged one aside.
///
/// # Errors
/// When it is newer than this agent or the state directory fails.
pub fn load(store: &mut dyn Store) -> Result<Loaded, LoadError> {
    let mut loaded = load_whole(store)?;
    let base = match &mut loaded {
        Loaded::Known(known) => Some(known),
        Loaded::Fresh | Loaded::SetAside { .. } => None,
    };
    changes::catch_up(base, store)?;
    Ok(loaded)
}

/// Loads the newer one of those that were written whole.
fn load_whole(store: &mut dyn Store) -> Result<Loaded, LoadError> {
    // After a stop the durable one is the newer: of thousands of files that is megabytes less to read.
    if is_newer(store, NAME, NOTED)
        && let Some(Ok(saved)) = read(store, NAME)?
        && let Ok(known) = saved.decode()
    {
        return Ok(Loaded::Known(known));
    }
    let noted = match read(store, NOTED)? {
        Some(Err(DecodeError::TooNew { version })) => return Err(LoadError::TooNew { version }),
        // Torn by a power cut: that is what the durable one is for.
        Some(Err(DecodeError::Damaged(_))) | None => None,
        Some(Ok(noted)) => Some(noted),
    };
    let noted_sequence = noted.as_ref().and_then(|noted| sequence(noted.body()));
    let decode_noted = || noted.as_ref().and_then(|noted| noted.decode().ok());
    let Some(saved) = read(store, NAME)? else {
        return Ok(decode_noted().map_or(Loaded::Fresh, Loaded::Known));
    };
    let decoded = saved.and_then(|saved| {
        let newer = match noted_sequence > sequence(saved.body()) {
            true => decode_noted(),
            false => None,
        };
        newer.map_or_else(|| saved.decode(), Ok)
    });
    match decoded {
        Ok(known) => Ok(Loaded::Known(known)),
        Err(DecodeError::TooNew { version }) => Err(LoadError::TooNew { version }),
        Err(DecodeError::Damaged(why)) => {
            let name = store.set_aside(NAME)?;
            if let Some(noted) = decode_noted() {
                tracing::error!(%name, %why, "damaged checkpoint set aside, using the one noted last");
                return Ok(Loaded::Known(noted));
            }
            tracing::error!(%name, %why, "damaged checkpoint set aside, reading all files again");
            Ok(Loaded::SetAside { name, why })
        }
    }
}

/// Whether one name's content is newer than another's, as far as their beginnings can be believed,
/// and neither seems to be of a newer agent's.
fn is_newer(store: &mut dyn Store, one: &str, other: &str) -> bool {
    let mut begins = |name| {
        let beginning = store.load_beginning(name, BEGINNING_BYTES).ok()??;
        let (version, body) = unproven(KIND, &beginning)?;
        (version <= VERSION).then(|| sequence(body))?
    };
    let (one, other) = (begins(one), begins(other));
    other.is_some() && one > other
}

/// What a name holds, if there is one. Something that is no file, or is larger than any of ours, is
/// as good as a damaged one.
fn read(store: &mut dyn Store, name: &str) -> io::Result<Option<Result<Content, DecodeError>>> {
    use io::ErrorKind::{InvalidData, InvalidInput};
    match store.load(name) {
        Ok(content) => Ok(content.map(Content::new)),
        Err(error) if matches!(error.kind(), InvalidData | InvalidInput) => {
            Ok(Some(Err(DecodeError::Damaged(error.to_string()))))
        }
        Err(error) => Err(error),
    }
}

/// A checkpoint whose first line has vouched for it. Of two only the newer is decoded.
struct Content {
    whole: Vec<u8>,
    body_bytes: usize,
}

impl Content {
    fn new(whole: Vec<u8>) -> Result<Self, DecodeError> {
        let body_bytes = unsealed(&whole)?.len();
        Ok(Self { whole, body_bytes })
    }

    fn body(&self) -> &[u8] {
        &self.whole[self.whole.len() - self.body_bytes..]
    }

    fn decode(&self) -> Result<Checkpoint, DecodeError> {
        Checkpoint::decode_body(self.body())
    }
}

/// The [`Checkpoint::sequence`] of a body, where it stands first in what this agent writes.
pub(super) fn sequence(body: &[u8]) -> Option<u64> {
    let digits = body.strip_prefix(SEQUENCE.as_bytes())?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// What follows the first line.
fn unsealed(content: &[u8]) -> Result<&[u8], DecodeError> {
    unseal(KIND, VERSION, content).map_err(|error| match error {
        SealError::Broken(why) => DecodeError::Damaged(why),
        SealError::TooNew { version } => DecodeError::TooNew { version },
    })
}

/// Stores the checkpoint, atomically.
///
/// # Errors
/// As the state directory says; the one before is then still there.
pub fn save(store: &mut dyn Store, checkpoint: &Checkpoint) -> io::Result<()> {
    store.save_pieces(NAME, &mut |to| checkpoint.write(to))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    use std::path::PathBuf;

    use super::*;
    use crate::event::{FileKey, Fingerprint, Mark, Offset};
    use crate::ports::sealed::seal;
    use crate::ship::testing::MemoryStore;

    fn example() -> Checkpoint {
        let path = PathBuf::from(OsString::from_vec(b"/var/log/\xff\\x.log".to_vec()));
        let file = FileRecord {
            source: "app".to_owned(),
            path: path.clone(),
            family: path.clone(),
            root: "/var/log".into(),
            key: FileKey {
                device: u64::MAX,
                inode: 3,
            },
            is_displaced: false,
            heads: vec![
                Fingerprint { bytes: 64, hash: 8 },
                Fingerprint {
                    bytes: 1024,
                    hash: u64::MAX,
                },
            ],
            settled: Offset(12),
            heard: Offset(14),
            size: 90,
            modified_ms: 1_700_000_000_000,
            tail: Fingerprint { bytes: 64, hash: 9 },
            marks: vec![Mark {
                at: Offset(7),
                print: Fingerprint { bytes: 7, hash: 1 },
            }],
        };
        let loss = Loss {
            id: 2,
            source: "app".to_owned(),
            path: path.clone(),
            bytes: 9,
            reason: "truncated".to_owned(),
            at_ms: 8,
            family: path,
        };
        Checkpoint {
            sequence: 77,
            next_loss: 3,
            losses: vec![loss.clone()],
            at_stake: vec![Loss { id: 0, ..loss }],
            counts: BTreeMap::from([("app".to_owned(), SourceCounts::default())]),
            insight: serde_json::json!({"since_ms": 5}),
            files: vec![
                file.clone(),
                FileRecord {
                    key: FileKey::default(),
                    is_displaced: true,
                    ..file
                },
            ],
        }
    }

    /// A checkpoint as a version would write it.
    fn written(version: u32, body: &str) -> Vec<u8> {
        seal(KIND, version, body.as_bytes().to_vec())
    }

    /// What is stored comes back, names that are not UTF-8 included, and a person can read it: a
    /// file a line.
    #[test]
    fn it_comes_back() {
        for checkpoint in [example(), Checkpoint::default()] {
            assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
        }
        let lines = String::from_utf8(example().encode()).unwrap();
        assert_eq!(
            lines
                .lines()
                .filter(|line| line.contains("\"settled\":12"))
                .count(),
            2
        );
    }

    /// Any cut and any flipped bit is found: each is tried.
    #[test]
    fn any_damage_is_found() {
        let content = example().encode();
        for cut in 0..content.len() {
            assert!(matches!(
                Checkpoint::decode(&content[..cut]),
                Err(DecodeError::Damaged(_))
            ));
        }
        let mut flipped = content.clone();
        for at in 0..content.len() {
            for bit in 0..8 {
                flipped[at] ^= 1 << bit;
                let read = Checkpoint::decode(&flipped);
                assert!(
                    matches!(read, Err(DecodeError::Damaged(_))),
                    "bit {bit} of byte {at}"
                );
                flipped[at] ^= 1 << bit;
            }
        }
        assert!(Checkpoint::decode(&flipped).is_ok());
    }

    /// Of two the newer whole one counts, whichever that is and wherever the other is damaged.
    #[test]
    fn the_newer_whole_one_counts() {
        let of = |sequence| Checkpoint {
            sequence,
            ..example()
        };
        let length = of(7).encode().len();
        for (saved, noted) in [(7, 8), (8, 7), (7, 7)] {
            for damaged_at in [None, Some(0), Some(20), Some(140), Some(length - 9)] {
                for damaged in [NAME, NOTED] {
                    let mut store = MemoryStore::default();
                    for (name, sequence) in [(NAME, saved), (NOTED, noted)] {
                        let mut content = of(sequence).encode();
                        if let Some(at) = damaged_at.filter(|_| name == damaged) {
                            content[at] ^= 1;
                        }
                        store.save(name, &content).unwrap();
                    }
                    let expected = match (damaged_at.is_some(), damaged) {
                        (false, _) => saved.max(noted),
                        (true, NAME) => noted,
                        (true, _) => saved,
                    };
                    let loaded = load(&mut store).unwrap();
                    assert_eq!(
                        loaded,
                        Loaded::Known(of(expected)),
                        "{saved} {noted}, {damaged} at {damaged_at:?}"
                    );
                }
            }
        }
    }

    /// A damaged checkpoint gets out of the way under a name of its own, each time, and never
    /// under more than nine.
    #[test]
    fn a_damaged_one_is_set_aside() {
        let mut store = MemoryStore::default();
        assert_eq!(load(&mut store).unwrap(), Loaded::Fresh);
        for nth in 1..12 {
            store.save(NAME, b"{}").unwrap();
            let Loaded::SetAside { name, .. } = load(&mut store).unwrap() else {
                panic!()
            };
            assert_eq!(name, format!("checkpoints.damaged-{}", nth.min(9)));
        }
        assert_eq!(load(&mut store).unwrap(), Loaded::Fresh);
        save(&mut store, &example()).unwrap();
        assert_eq!(load(&mut store).unwrap(), Loaded::Known(example()));
    }

    /// What version 1 wrote is read: its one head becomes the only one, and what it did not know
    /// is empty.
    #[test]
    fn version_1_is_read() {
        let body = r#"{"files":[{"source":"app","path":"/a.log","family":"/a.log","root":"/",
            "key":{"device":1,"inode":2},"head":{"bytes":9,"hash":5},"lead":{"bytes":9,"hash":5},
            "tail":{"bytes":4,"hash":6},"settled":9,"size":9,"modified_ms":1}]}"#;
        let known = Checkpoint::decode(&written(1, body)).unwrap();
        let file = &known.files[0];
        assert_eq!(file.heads, [Fingerprint { bytes: 9, hash: 5 }]);
        assert_eq!((file.settled, file.marks.len()), (Offset(9), 0));
    }

    /// A newer agent's checkpoint is refused with a remedy and stays where it is.
    #[test]
    fn a_newer_one_is_refused() {
        let mut store = MemoryStore::default();
        let content = written(VERSION + 1, "later");
        store.save(NAME, &content).unwrap();
        let error = load(&mut store).unwrap_err();
        assert!(matches!(error, LoadError::TooNew { version } if version == VERSION + 1));
        assert!(error.to_string().contains("move the file away"));
        assert_eq!(store.load(NAME).unwrap(), Some(content));
    }

    /// What version 1 wrote, which did not count records, is read: shown by taking from a
    /// checkpoint what is new in version 2.
    #[test]
    fn an_older_one_is_read() {
        let mut now = example();
        now.at_stake.clear();
        let text = String::from_utf8(now.encode()).unwrap();
        let (_, body) = text.split_once('\n').unwrap();
        let body = body
            .replace("\"insight\":{\"since_ms\":5},\n", "")
            .replace("\"heard\":14,", "")
            .replace("\"at_stake\":[],\n", "");
        assert!(
            ["heard", "insight", "at_stake"]
                .iter()
                .all(|new| !body.contains(new))
        );
        let content = written(1, &body);
        let mut then = now;
        then.insight = serde_json::Value::Null;
        for file in &mut then.files {
            file.heard = Offset(0);
        }
        assert_eq!(Checkpoint::decode(&content), Ok(then));
    }
}
