//! Bodies packed as gzip, by one compressor that is kept while there are some: making its tables
//! anew takes longer than packing most bodies, and keeping them takes a third of a megabyte.

use std::cell::RefCell;

use flate2::{Compress, Compression, FlushCompress, Status};

/// Level 1: measured on log lines, higher levels cost two to five times the CPU for a third less.
const LEVEL: u32 = 1;

/// A compressor for one thread.
pub(crate) struct Packer {
    deflate: RefCell<Option<Compress>>,
}

impl Packer {
    /// Nothing is allocated before the first body comes.
    pub(crate) fn new() -> Self {
        Self {
            deflate: RefCell::new(None),
        }
    }

    /// Lets the compressor go; the next body gets a new one.
    pub(crate) fn rest(&self) {
        self.deflate.take();
    }

    /// The body as gzip; `None` where that would not be smaller (or the compressor fails).
    pub(crate) fn pack(&self, body: &[u8]) -> Option<Vec<u8>> {
        let kept = self.deflate.take();
        let mut deflate = kept.unwrap_or_else(|| Compress::new(Compression::new(LEVEL), false));
        let room = body.len().checked_sub(HEAD.len() + TAIL_BYTES)?;
        // Log lines shrink to a fifth or less; growing from a quarter is the rare case.
        let mut packed = Vec::with_capacity(HEAD.len() + room / 4 + 64);
        packed.extend_from_slice(&HEAD);
        loop {
            let read = usize::try_from(deflate.total_in()).ok()?;
            match deflate
                .compress_vec(&body[read..], &mut packed, FlushCompress::Finish)
                .ok()?
            {
                Status::StreamEnd => break,
                Status::Ok | Status::BufError if packed.len() >= room => return None,
                Status::Ok | Status::BufError => packed.reserve(packed.capacity()),
            }
        }
        // Only one that came to its end is used again: zlib-rs 0.6.8 does not quite reset one that
        // was left with output pending, and panics later.
        deflate.reset();
        self.deflate.replace(Some(deflate));
        packed.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
        let length_modulo_2_32 = (body.len() & 0xffff_ffff) as u32;
        packed.extend_from_slice(&length_modulo_2_32.to_le_bytes());
        (packed.len() < body.len()).then_some(packed)
    }
}

/// RFC 1952: magic, deflate, no flags, no time, fastest, Unix.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3];

/// CRC-32 and length.
const TAIL_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn unpack(packed: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        flate2::read::GzDecoder::new(packed)
            .read_to_end(&mut body)
            .unwrap();
        body
    }

    proptest! {
        /// Whatever is packed by one and the same packer unpacks to itself by another
        /// implementation of the format (header, CRC and length included), and is smaller; whether
        /// the packer rested before or not.
        #[test]
        fn unpacks_to_itself(bodies in prop::collection::vec(("[ -~]{0,40}", 0_usize..2_000), 1..6)) {
            let packer = Packer::new();
            for (text, times) in bodies {
                let body = text.repeat(times).into_bytes();
                if let Some(packed) = packer.pack(&body) {
                    prop_assert!(packed.len() < body.len());
                    prop_assert_eq!(unpack(&packed), body);
                }
                if times % 2 == 0 {
                    packer.rest();
                    prop_assert!(packer.deflate.borrow().is_none());
                }
            }
        }
    }

    /// A body that does not shrink is left alone, and the packer still works for the next one:
    /// shown with random bytes around a large text that needs the output to grow.
    #[test]
    fn leaves_noise_alone() {
        let packer = Packer::new();
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = (0..300_000).map(|_| random.u8(..)).collect();
        let hexadecimal: String = noise.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(packer.pack(&noise), None);
        let packed = packer.pack(hexadecimal.as_bytes()).unwrap();
        assert_eq!(unpack(&packed), hexadecimal.as_bytes());
        for short in [&b""[..], b"{}", b"0123456789abcdef01"] {
            assert_eq!(packer.pack(short), None);
        }
    }
}
