//! The first line of a file that an agent leaves to its next start: what it is, in which version,
//! and a sum over the rest.
//!
//! `{"deploywatch":"checkpoint","version":2,"crc32":N,"bytes":N}`. The sum covers the version and all
//! that follows the first line. First line and sum stay as they are in every later version, so any
//! version of the agent can tell a damaged file from one that is newer than itself.

use std::io::{self, SeekFrom, Write};

use serde::{Deserialize, Serialize};

use super::Sheet;

/// Room for the first line.
const SEAL_BYTES_MAX: usize = 128;

/// Why what follows the first line cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Torn, flipped or something else altogether.
    #[error("{0}")]
    Broken(String),
    /// Written by a newer agent.
    #[error("version {version}, newer than this agent knows")]
    TooNew {
        /// Its version.
        version: u32,
    },
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Seal {
    deploywatch: String,
    version: u32,
    crc32: u32,
    bytes: usize,
}

/// Puts the first line before a body that has room for it.
#[must_use]
pub fn seal(kind: &str, version: u32, mut body: Vec<u8>) -> Vec<u8> {
    let seal = Seal {
        deploywatch: kind.to_owned(),
        version,
        crc32: sum(version, &body),
        bytes: body.len(),
    };
    let mut line = seal.line();
    line.push(b'\n');
    body.splice(..0, line);
    body
}

/// A sealed file that is written piece by piece: its first line is written last, into room that is
/// left for it, since only then the sum is known.
pub struct Sealing<'t> {
    to: &'t mut dyn Sheet,
    kind: &'static str,
    version: u32,
    sum: crc32fast::Hasher,
    bytes: usize,
}

impl<'t> Sealing<'t> {
    /// Leaves room for the first line.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn begin(kind: &'static str, version: u32, to: &'t mut dyn Sheet) -> io::Result<Self> {
        to.write_all(&[b' '; SEAL_BYTES_MAX])?;
        Ok(Self {
            to,
            kind,
            version,
            sum: sum_of(version),
            bytes: 0,
        })
    }

    /// Bytes written behind the first line.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes the first line, and leaves the writer at the end.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn end(self) -> io::Result<()> {
        let seal = Seal {
            deploywatch: self.kind.to_owned(),
            version: self.version,
            crc32: self.sum.finalize(),
            bytes: self.bytes,
        };
        let mut line = seal.line();
        line.resize(SEAL_BYTES_MAX - 1, b' ');
        line.push(b'\n');
        self.to.seek(SeekFrom::Start(0))?;
        self.to.write_all(&line)?;
        let end = SEAL_BYTES_MAX + self.bytes;
        self.to.seek(SeekFrom::Start(end as u64))?;
        Ok(())
    }
}

impl Write for Sealing<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let written = self.to.write(piece)?;
        self.sum.update(&piece[..written]);
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Seal {
    fn line(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data is always JSON")
    }
}

/// The version in a first line, and what follows of a content that may be cut there; nothing has
/// vouched for either yet.
#[must_use]
pub fn unproven<'c>(kind: &str, beginning: &'c [u8]) -> Option<(u32, &'c [u8])> {
    let (seal, rest) = split(kind, beginning).ok()?;
    Some((seal.version, rest))
}

/// What follows the first line, once that has vouched for it.
///
/// # Errors
/// When the first line is no seal of this kind, or of a newer version, or does not fit the rest.
pub fn unseal<'c>(kind: &str, version_max: u32, content: &'c [u8]) -> Result<&'c [u8], SealError> {
    match unseal_first(kind, version_max, content)? {
        (body, []) => Ok(body),
        _ => Err(SealError::Broken("wrong length".to_owned())),
    }
}

/// The same of the first of several that stand behind one another, and the others.
///
/// # Errors
/// As [`unseal`].
pub fn unseal_first<'c>(
    kind: &str,
    version_max: u32,
    content: &'c [u8],
) -> Result<(&'c [u8], &'c [u8]), SealError> {
    let broken = |why: &str| SealError::Broken(why.to_owned());
    let (seal, rest) = split(kind, content)?;
    let cut = rest.split_at_checked(seal.bytes);
    let (body, others) = cut.ok_or_else(|| broken("wrong length"))?;
    if seal.crc32 != sum(seal.version, body) {
        return Err(broken("wrong checksum"));
    }
    if seal.version > version_max {
        let version = seal.version;
        return Err(SealError::TooNew { version });
    }
    Ok((body, others))
}

/// The first line and what follows it.
fn split<'c>(kind: &str, content: &'c [u8]) -> Result<(Seal, &'c [u8]), SealError> {
    let broken = |why: &str| SealError::Broken(why.to_owned());
    let line_end = content.iter().position(|byte| *byte == b'\n');
    let (line, body) = content.split_at(line_end.ok_or_else(|| broken("no first line"))?);
    let seal: Seal = serde_json::from_slice(line)
        .map_err(|error| SealError::Broken(format!("first line: {error}")))?;
    match seal.deploywatch == kind {
        true => Ok((seal, &body[1..])),
        false => Err(broken("something else")),
    }
}

fn sum(version: u32, body: &[u8]) -> u32 {
    let mut sum = sum_of(version);
    sum.update(body);
    sum.finalize()
}

/// The sum over a version, to be continued.
fn sum_of(version: u32) -> crc32fast::Hasher {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&version.to_le_bytes());
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn in_pieces<'b>(version: u32, pieces: impl Iterator<Item = &'b [u8]>) -> Vec<u8> {
        let mut sheet = io::Cursor::new(Vec::new());
        let mut sealing = Sealing::begin("boots", version, &mut sheet).unwrap();
        pieces.for_each(|piece| sealing.write_all(piece).unwrap());
        sealing.end().unwrap();
        assert_eq!(sheet.position(), sheet.get_ref().len() as u64);
        sheet.into_inner()
    }

    proptest! {
        /// What was sealed, at once or in pieces, comes back as it was, and only as its kind; of what was
        /// cut or has another bit anywhere, nothing does: it is broken, and never taken for a newer
        /// version.
        #[test]
        fn any_other_bit_is_noticed(
            body in prop::collection::vec(any::<u8>(), 0..200), version: u32, at: prop::sample::Index,
            bit in 0_u8..8, pieces in prop::option::of(1_usize..50),
        ) {
            let sealed = match pieces {
                Some(bytes) => in_pieces(version, body.chunks(bytes)),
                None => seal("boots", version, body.clone()),
            };
            prop_assert_eq!(unseal("boots", version, &sealed), Ok(&body[..]));
            prop_assert!(unseal("checkpoint", version, &sealed).is_err());
            let cut = &sealed[..at.index(sealed.len())];
            prop_assert!(matches!(unseal("boots", u32::MAX, cut), Err(SealError::Broken(_))));
            let mut flipped = sealed.clone();
            flipped[at.index(sealed.len())] ^= 1_u8 << bit;
            prop_assert!(matches!(unseal("boots", version, &flipped), Err(SealError::Broken(_))));
            if version > 0 {
                let newer = Err(SealError::TooNew { version });
                prop_assert_eq!(unseal("boots", version - 1, &sealed), newer);
            }
        }
    }
}
