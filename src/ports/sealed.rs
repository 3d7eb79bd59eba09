//! The first line of a file that an agent leaves to its next start: what it is, in which version,
//! and a sum over the rest.
//!
//! `{"deploywatch":"checkpoint","version":2,"crc32":N,"bytes":N}`. The sum covers the version and all
//! that follows the first line. First line and sum stay as they are in every later version, so any
//! version of the agent can tell a damaged file from one that is newer than itself.

use serde::{Deserialize, Serialize};

/// Room for the first line.
pub const SEAL_BYTES_MAX: usize = 128;

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
    let mut line = Vec::with_capacity(SEAL_BYTES_MAX);
    serde_json::to_writer(&mut line, &seal).expect("plain data is always JSON");
    line.push(b'\n');
    body.splice(..0, line);
    body
}

/// What follows the first line, once that has vouched for it.
///
/// # Errors
/// When the first line is no seal of this kind, or of a newer version, or does not fit the rest.
pub fn unseal<'c>(kind: &str, version_max: u32, content: &'c [u8]) -> Result<&'c [u8], SealError> {
    let broken = |why: &str| SealError::Broken(why.to_owned());
    let line_end = content.iter().position(|byte| *byte == b'\n');
    let (line, body) = content.split_at(line_end.ok_or_else(|| broken("no first line"))?);
    let body = &body[1..];
    let seal: Seal = serde_json::from_slice(line)
        .map_err(|error| SealError::Broken(format!("first line: {error}")))?;
    if seal.deploywatch != kind {
        return Err(broken("something else"));
    }
    if seal.bytes != body.len() {
        return Err(broken("wrong length"));
    }
    if seal.crc32 != sum(seal.version, body) {
        return Err(broken("wrong checksum"));
    }
    if seal.version > version_max {
        let version = seal.version;
        return Err(SealError::TooNew { version });
    }
    Ok(body)
}

fn sum(version: u32, body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&version.to_le_bytes());
    sum.update(body);
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What was sealed comes back as it was, and only as its kind; of what was cut or has another
        /// bit anywhere, nothing does: it is broken, and never taken for a newer version.
        #[test]
        fn any_other_bit_is_noticed(
            body in prop::collection::vec(any::<u8>(), 0..200), version: u32, at: prop::sample::Index,
            bit in 0_u8..8,
        ) {
            let sealed = seal("boots", version, body.clone());
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
