//! What a checkpoint knows of one file, and the evidence by which the file is known again.

use std::fmt;
use std::path::PathBuf;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{EpochMs, FileKey, Offset};

/// A hash of some of a file's bytes: evidence that it holds the content we knew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// How many bytes were hashed: fewer than wanted while the file is shorter.
    pub bytes: u32,
    /// The hash of exactly these bytes.
    pub hash: u64,
}

/// What stood right before a position of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The position.
    pub at: Offset,
    /// The bytes (up to 64) before it.
    pub print: Fingerprint,
}

/// What a checkpoint knows of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// The source it belongs to.
    pub source: String,
    /// Where it was last seen.
    #[serde(with = "super::path_text")]
    pub path: PathBuf,
    /// The live path its content was first known under; rotation does not change it.
    #[serde(with = "super::path_text")]
    pub family: PathBuf,
    /// The literal directory its pattern begins with.
    #[serde(with = "super::path_text")]
    pub root: PathBuf,
    /// Device and inode: where to look for it first. Zeros where it is displaced.
    pub key: FileKey,
    /// Its inode was truncated or reused and a copy of it is being looked for, or it is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_displaced: bool,
    /// How its content begins: ever longer beginnings up to 1 KiB, the last one being all that is
    /// known, so that copies of any length can be told. (Version 1 had only the last one.)
    #[serde(default, alias = "head", deserialize_with = "one_or_more")]
    pub heads: Vec<Fingerprint>,
    /// Its last bytes (up to 64) before `settled`.
    pub tail: Fingerprint,
    /// The same for some positions before that: where to go on if a power cut took the end.
    #[serde(default)]
    pub marks: Vec<Mark>,
    /// The end of its settled prefix: where reading goes on after a restart.
    pub settled: Offset,
    /// How far its records were counted: never twice, however often they are read.
    #[serde(default)]
    pub heard: Offset,
    /// The largest size seen. A content never shrinks; a smaller file is another one.
    pub size: u64,
    /// Its last write, as far as seen.
    pub modified_ms: EpochMs,
}

/// A list of fingerprints, or the single one that stood there in version 1: told apart as they come,
/// since there are thousands.
fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Fingerprint>, D::Error> {
    struct OneOrMore;

    impl<'de> Visitor<'de> for OneOrMore {
        type Value = Vec<Fingerprint>;

        fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
            to.write_str("a fingerprint or a list of them")
        }

        fn visit_map<A: MapAccess<'de>>(self, one: A) -> Result<Self::Value, A::Error> {
            let head = Fingerprint::deserialize(MapAccessDeserializer::new(one))?;
            Ok(vec![head])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, more: A) -> Result<Self::Value, A::Error> {
            let mut heads = Vec::deserialize(SeqAccessDeserializer::new(more))?;
            heads.shrink_to_fit();
            Ok(heads)
        }
    }
    from.deserialize_any(OneOrMore)
}
