//! What is about to vanish unread, kept until it is sent.
//!
//! The log file is the queue; but the rest of a deleted file lives only as long as we hold it
//! open. Before we let go of it, the agent copies what is unread into segments here, and ships
//! them first after the next start. The total is bounded: the oldest segments go first, and what
//! is lost with them is handed back to be counted.
//!
//! Format, version 1: a first line `{"deploywatch":"rescue","version":1,"crc32":N,"segment":{…}}`,
//! then the bytes, gzipped. The sum covers the segment's description and its bytes, so a torn or
//! flipped segment is found and costs only itself.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use crate::event::{EpochMs, Offset, path_text};
use crate::ports::Store;

/// Most bytes of a log file in one segment.
pub const SEGMENT_BYTES_MAX: usize = 1 << 20;
/// Most bytes of all segments on disk, by default.
pub const RESCUE_BYTES_MAX: u64 = 64 << 20;

/// Positions, lengths, times and numbers of segments from here on are not believed, as in a
/// checkpoint, into which they go.
const NUMBER_MAX: u64 = 1 << 60;

const FOLDER: &str = "rescue";
const KIND: &str = "rescue";
const VERSION: u32 = 1;

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The source it belongs to.
    pub source: String,
    /// The file's last path.
    #[serde(with = "path_text")]
    pub path: PathBuf,
    /// The live path its content was first known under.
    #[serde(with = "path_text")]
    pub family: PathBuf,
    /// The literal directory its pattern begins with.
    #[serde(with = "path_text")]
    pub root: PathBuf,
    /// Where in the file the bytes stood.
    pub start: Offset,
    /// How far the file's records were counted.
    #[serde(default)]
    pub heard: Offset,
    /// How many bytes.
    pub length: u64,
    /// When they were rescued.
    pub at_ms: EpochMs,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Header {
    deploywatch: String,
    version: u32,
    crc32: u32,
    segment: Segment,
}

/// A segment that cannot be read any more, with what is still known of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged rescue segment: {why}")]
pub struct Damaged {
    /// What is lost, if the first line still tells.
    pub segment: Option<Box<Segment>>,
    /// What is wrong.
    pub why: String,
}

/// The stored form of a segment.
///
/// # Panics
/// When the data is not what the segment says or longer than [`SEGMENT_BYTES_MAX`].
#[must_use]
pub fn encode(segment: &Segment, data: &[u8]) -> Vec<u8> {
    assert_eq!(
        segment.length,
        data.len() as u64,
        "a segment says its length"
    );
    assert!(
        data.len() <= SEGMENT_BYTES_MAX,
        "a segment has a bounded size"
    );
    let header = Header {
        deploywatch: KIND.to_owned(),
        version: VERSION,
        crc32: sum(segment, data),
        segment: segment.clone(),
    };
    let mut content = json(&header);
    content.push(b'\n');
    let mut gzip = GzEncoder::new(content, Compression::fast());
    gzip.write_all(data)
        .and_then(|()| gzip.finish())
        .expect("writing to memory cannot fail")
}

/// Reads a stored segment. No more is unpacked than its first line allows.
///
/// # Errors
/// When it is torn, flipped, or of another version.
pub fn decode(content: &[u8]) -> Result<(Segment, Vec<u8>), Damaged> {
    let header = read_header(content)?;
    let Header { crc32, segment, .. } = header;
    match unpack(content, &segment) {
        Ok(data) if sum(&segment, &data) == crc32 => Ok((segment, data)),
        Ok(_) => Err(Damaged {
            segment: Some(Box::new(segment)),
            why: "wrong checksum".to_owned(),
        }),
        Err(why) => Err(Damaged {
            segment: Some(Box::new(segment)),
            why,
        }),
    }
}

fn read_header(content: &[u8]) -> Result<Header, Damaged> {
    let line = content
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let unknown = |why: String| Damaged { segment: None, why };
    let header: Header =
        serde_json::from_slice(line).map_err(|error| unknown(format!("first line: {error}")))?;
    match (header.deploywatch.as_str(), header.version) {
        (KIND, VERSION) if !is_possible(&header.segment) => {
            Err(unknown("impossible numbers".to_owned()))
        }
        (KIND, VERSION) => Ok(header),
        (KIND, version) => Err(Damaged {
            segment: Some(Box::new(header.segment)),
            why: format!("version {version}, newer than this agent knows"),
        }),
        _ => Err(unknown("something else".to_owned())),
    }
}

/// Whether its numbers leave room to count on.
fn is_possible(segment: &Segment) -> bool {
    let numbers = [
        segment.start.0.saturating_add(segment.length),
        segment.heard.0,
        segment.at_ms.unsigned_abs(),
    ];
    numbers.iter().all(|number| *number < NUMBER_MAX)
}

fn unpack(content: &[u8], segment: &Segment) -> Result<Vec<u8>, String> {
    let length = usize::try_from(segment.length).unwrap_or(usize::MAX);
    if length > SEGMENT_BYTES_MAX {
        return Err("longer than any segment".to_owned());
    }
    let line_bytes = content.iter().take_while(|byte| **byte != b'\n').count();
    let packed = content.get(line_bytes + 1..).unwrap_or_default();
    let mut data = Vec::with_capacity(length);
    GzDecoder::new(packed)
        .take(segment.length + 1)
        .read_to_end(&mut data)
        .map_err(|error| error.to_string())?;
    match data.len() == length {
        true => Ok(data),
        false => Err("wrong length".to_owned()),
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data is always JSON")
}

fn sum(segment: &Segment, data: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&json(segment));
    sum.update(data);
    sum.finalize()
}

/// A segment's number: older ones are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u64);

impl SegmentId {
    fn name(self) -> String {
        format!("{FOLDER}/{}", name_of(&self))
    }

    fn of(name: &str) -> Option<Self> {
        let file = name.rsplit('/').next()?;
        let id = Self(file.strip_suffix(".gz")?.parse().ok()?);
        // Only names as we write them: others would be looked for in vain.
        (name_of(&id) == file && id.0 < NUMBER_MAX).then_some(id)
    }
}

fn name_of(id: &SegmentId) -> String {
    format!("{:016}.gz", id.0)
}

/// What was lost to make room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// What it held; `None` when that could not be read any more.
    pub segment: Option<Segment>,
    /// Its size on disk.
    pub stored_bytes: u64,
}

/// The segments on disk.
#[derive(Debug)]
pub struct Rescue {
    bytes_max: u64,
    /// Number to size on disk.
    segments: BTreeMap<SegmentId, u64>,
    next: u64,
}

impl Rescue {
    /// Looks at what is there. `bytes_max` bounds what lies on disk ([`RESCUE_BYTES_MAX`]).
    ///
    /// # Errors
    /// As the state directory says.
    pub fn open(store: &mut dyn Store, bytes_max: u64) -> io::Result<Self> {
        let names = store.names(FOLDER)?;
        let segments: BTreeMap<SegmentId, u64> = names
            .iter()
            .filter_map(|(name, bytes)| Some((SegmentId::of(name)?, *bytes)))
            .collect();
        let next = segments.keys().next_back().map_or(1, |last| last.0 + 1);
        Ok(Self {
            bytes_max,
            segments,
            next,
        })
    }

    /// The segments, oldest first.
    pub fn list(&self) -> impl Iterator<Item = SegmentId> + '_ {
        self.segments.keys().copied()
    }

    /// How many, and how many bytes on disk.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        let add = |sum: u64, bytes: &u64| sum.saturating_add(*bytes);
        let bytes = self.segments.values().fold(0, add);
        (self.segments.len() as u64, bytes)
    }

    /// Whether so many bytes of a log surely have room beside what is here.
    #[must_use]
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.size().1.saturating_add(bytes) <= self.bytes_max
    }

    /// Stores a segment. That may be more than there should be: [`Rescue::make_room`] is next.
    ///
    /// # Errors
    /// As the state directory says (a full disk above all); then nothing was stored.
    pub fn save(
        &mut self,
        store: &mut dyn Store,
        segment: &Segment,
        data: &[u8],
    ) -> io::Result<SegmentId> {
        let content = encode(segment, data);
        let id = SegmentId(self.next);
        if id.0 >= NUMBER_MAX {
            // Nobody would find it again. The segment with the last number, which is not ours, is gone
            // after the next start.
            return Err(io::Error::other("the last number of a segment is taken"));
        }
        store.save(&id.name(), &content)?;
        self.next += 1;
        self.segments.insert(id, content.len() as u64);
        Ok(id)
    }

    /// Gives up segments that are too many, the oldest first. Their bytes are lost and must be
    /// counted.
    pub fn make_room(&mut self, store: &mut dyn Store) -> Vec<Evicted> {
        let mut evicted = Vec::new();
        while self.size().1 > self.bytes_max
            && let Some((&oldest, &stored_bytes)) = self.segments.first_key_value()
        {
            let segment = self.describe(store, oldest);
            if let Err(error) = self.remove(store, oldest) {
                tracing::warn!(%error, segment = oldest.0, "cannot make room for rescued bytes");
                break;
            }
            evicted.push(Evicted {
                segment,
                stored_bytes,
            });
        }
        evicted
    }

    /// What a segment holds, as far as its first line can be read.
    fn describe(&self, store: &mut dyn Store, id: SegmentId) -> Option<Segment> {
        let content = match store.load(&id.name()) {
            Ok(content) => content?,
            Err(error) => {
                tracing::warn!(%error, segment = id.0, "cannot read a rescued segment");
                return None;
            }
        };
        match read_header(&content) {
            Ok(header) => Some(header.segment),
            Err(damaged) => damaged.segment.map(|segment| *segment),
        }
    }

    /// Reads a segment; a damaged one is the caller's to count as lost and to remove.
    ///
    /// # Errors
    /// The outer one as the state directory says, the inner one when it is damaged.
    pub fn load(
        &self,
        store: &mut dyn Store,
        id: SegmentId,
    ) -> io::Result<Result<(Segment, Vec<u8>), Damaged>> {
        let content = store.load(&id.name())?;
        let missing = Damaged {
            segment: None,
            why: "it is missing".to_owned(),
        };
        Ok(content.ok_or(missing).and_then(|content| decode(&content)))
    }

    /// Removes a segment that was sent or is lost.
    ///
    /// # Errors
    /// As the state directory says; it is then still listed.
    pub fn remove(&mut self, store: &mut dyn Store, id: SegmentId) -> io::Result<()> {
        store.remove(&id.name())?;
        self.segments.remove(&id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ship::testing::MemoryStore;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn segment(data: &[u8]) -> Segment {
        Segment {
            source: "app".to_owned(),
            path: "/var/log/app.log.1".into(),
            family: "/var/log/app.log".into(),
            root: "/var/log".into(),
            start: Offset(5),
            heard: Offset(5),
            length: data.len() as u64,
            at_ms: 9,
        }
    }

    proptest! {
        /// Any bytes come back; a cut anywhere is found, and as long as the first line is whole
        /// it still tells what was lost.
        #[test]
        fn cuts_are_found(data in proptest::collection::vec(any::<u8>(), 0..3000), cut: proptest::sample::Index) {
            let segment = segment(&data);
            let content = encode(&segment, &data);
            prop_assert_eq!(decode(&content), Ok((segment.clone(), data)));
            let cut = cut.index(content.len());
            let damaged = decode(&content[..cut]).unwrap_err();
            let line = content.iter().position(|byte| *byte == b'\n').unwrap();
            prop_assert_eq!(damaged.segment, (cut >= line).then_some(Box::new(segment)));
        }

        /// Any bytes at all are read or refused, never a panic.
        #[test]
        fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decode(&noise).is_err());
        }
    }

    /// Every cut at every byte and every flipped bit costs only that segment: it is refused. A
    /// flip in gzip's own unused fields may pass, as the bytes are then still the right ones.
    #[test]
    fn every_cut_and_flip() {
        let data = b"2026-11-21 12:00:00 some line\n".repeat(20);
        let content = encode(&segment(&data), &data);
        for cut in 0..content.len() {
            assert!(decode(&content[..cut]).is_err(), "cut at {cut}");
        }
        let mut flipped = content.clone();
        for at in 0..content.len() * 8 {
            flipped[at / 8] ^= 1 << (at % 8);
            if let Ok(read) = decode(&flipped) {
                assert_eq!(read, (segment(&data), data.clone()), "bit {at}");
            }
            flipped[at / 8] ^= 1 << (at % 8);
        }
    }

    /// A small file that unpacks to much is stopped at the length it claims.
    #[test]
    fn a_bomb_is_stopped() {
        let data = vec![0; SEGMENT_BYTES_MAX];
        let content = encode(&segment(&data), &data);
        let text = String::from_utf8_lossy(&content);
        let line = text.lines().next().unwrap();
        for claim in ["10", "99999999999999999"] {
            let line = line.replace("\"length\":1048576", &format!("\"length\":{claim}"));
            let packed = content.iter().position(|byte| *byte == b'\n').unwrap();
            let bomb = [line.as_bytes(), &content[packed..]].concat();
            assert!(decode(&bomb).unwrap_err().segment.is_some());
        }
    }

    /// Numbers from which a checkpoint could not go on are not believed, the last ones below are: shown
    /// at the limit, with checksums that are right.
    #[test]
    fn numbers_leave_room_to_count_on() {
        let with = |start: u64, heard: u64, at_ms: i64| Segment {
            start: Offset(start),
            heard: Offset(heard),
            at_ms,
            ..segment(b"abc")
        };
        let last = NUMBER_MAX - 1;
        let last_ms = last as i64;
        for (segment, is_believed) in [
            (with(last - 3, last, last_ms), true),
            (with(0, 0, -last_ms), true),
            (with(last - 2, 0, 0), false),
            (with(u64::MAX, 0, 0), false),
            (with(0, NUMBER_MAX, 0), false),
            (with(0, 0, NUMBER_MAX as i64), false),
            (with(0, 0, i64::MIN), false),
        ] {
            let read = decode(&encode(&segment, b"abc"));
            assert_eq!(read.is_ok(), is_believed, "{segment:?}");
        }
    }

    /// Where somebody took the last number there is, a segment is refused aloud rather than stored
    /// where nobody finds it; numbers beyond are no segments.
    #[test]
    fn the_last_number_is_no_trap() {
        let mut store = MemoryStore::default();
        for taken in [NUMBER_MAX - 2, NUMBER_MAX, u64::MAX] {
            store.save(&SegmentId(taken).name(), b"x").unwrap();
        }
        let mut rescue = Rescue::open(&mut store, 1 << 20).unwrap();
        assert!(rescue.list().eq([SegmentId(NUMBER_MAX - 2)]));
        let segment = segment(b"abc");
        assert!(rescue.save(&mut store, &segment, b"abc").is_ok());
        assert!(rescue.save(&mut store, &segment, b"abc").is_err());
        let again = Rescue::open(&mut store, 1 << 20).unwrap();
        assert!(again.list().eq(rescue.list()));
    }

    /// The bound holds after every save, the oldest go first and are told, and a restart finds
    /// what is left and goes on counting.
    #[test]
    fn oldest_first_out() {
        let mut store = MemoryStore::default();
        let mut rescue = Rescue::open(&mut store, 2_000).unwrap();
        let mut noise = fastrand::Rng::with_seed(1);
        let mut lost = 0;
        for nth in 0..9_u64 {
            let data: Vec<u8> = (0..600).map(|_| noise.u8(..)).collect();
            let segment = Segment {
                start: Offset(nth),
                ..segment(&data)
            };
            rescue.save(&mut store, &segment, &data).unwrap();
            for evicted in rescue.make_room(&mut store) {
                assert_eq!(evicted.segment.unwrap().start, Offset(lost));
                lost += 1;
            }
            assert!(rescue.size().1 <= 2_000);
        }
        let (left, _) = rescue.size();
        assert_eq!((left + lost, left >= 2), (9, true));
        let mut again = Rescue::open(&mut store, 2_000).unwrap();
        assert!(again.list().eq(rescue.list()) && again.next == rescue.next);
        for id in rescue.list() {
            let (segment, data) = again.load(&mut store, id).unwrap().unwrap();
            assert_eq!((segment.start, data.len()), (Offset(lost), 600));
            lost += 1;
            again.remove(&mut store, id).unwrap();
        }
        assert_eq!(again.size(), (0, 0));
        assert!(again.load(&mut store, SegmentId(1)).unwrap().is_err());
    }
}
