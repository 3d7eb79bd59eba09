//! Inodes that were seen and not looked into yet: what of them is destroyed before a scan takes them
//! in is counted, too.

use crate::event::FileId;
use crate::ports::{Kind, Meta};

use super::{Lost, Tail};

/// Inodes of one source that are remembered.
const GLIMPSED_MAX: usize = 1_000;

/// What was seen of one inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glimpse {
    /// How large it was.
    size: u64,
    /// What it had held each time it was seen smaller than before.
    destroyed: u64,
    /// How many scans there had been.
    in_scan: u64,
}

impl Tail {
    /// Remembers the size of an inode of a source that is not looked into now: if it is smaller when
    /// its time comes, bytes that were seen are gone.
    pub(super) fn glimpse(&mut self, index: usize, meta: &Meta) {
        let is_known = self.by_key.contains_key(&meta.key) || self.copies.contains_key(&meta.key);
        let now = Glimpse {
            size: meta.size,
            destroyed: 0,
            in_scan: self.scans,
        };
        let glimpsed = &mut self.sources[index].glimpsed;
        if meta.kind != Kind::File || is_known || glimpsed.len() >= GLIMPSED_MAX {
            return;
        }
        let before = glimpsed.get(&meta.key);
        let destroyed = before.map_or(0, |before| before.destroyed_at(meta.size));
        glimpsed.insert(meta.key, Glimpse { destroyed, ..now });
    }

    /// Says what was seen of a new file's inode and is gone now.
    pub(super) fn miss_glimpsed(&mut self, index: usize, id: FileId) {
        let Some(file) = self.files.get(&id) else {
            return;
        };
        let glimpsed = &self.sources[index].glimpsed;
        let seen = file.key.and_then(|key| glimpsed.get(&key));
        let bytes = seen.map_or(0, |seen| seen.destroyed_at(file.size));
        if bytes > 0 {
            let reason = "destroyed by a truncation before it was read";
            self.news.lost.push(Lost::of(file, bytes, reason));
        }
    }

    /// Forgets what this scan has taken in.
    pub(super) fn forget_glimpsed(&mut self, index: usize) {
        let scans = self.scans;
        let glimpsed = &mut self.sources[index].glimpsed;
        glimpsed.retain(|_, seen| seen.in_scan == scans);
    }
}

impl Glimpse {
    /// What is gone of the inode when it is seen with so many bytes.
    fn destroyed_at(&self, size: u64) -> u64 {
        let cut = if size < self.size { self.size } else { 0 };
        self.destroyed + cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was seen and cut is counted each time, also when it has grown beyond that since: shown
    /// by the sizes that an inode was seen with, one after the other.
    #[test]
    fn each_cut_counts() {
        for (sizes, expected) in [
            (&[256][..], 0),
            (&[256, 300], 0),
            (&[256, 60], 256),
            (&[256, 60, 300], 256),
            (&[256, 60, 300, 0, 10], 556),
        ] {
            let first = Glimpse {
                size: 0,
                destroyed: 0,
                in_scan: 0,
            };
            let last = sizes.iter().fold(first, |seen, size| Glimpse {
                size: *size,
                destroyed: seen.destroyed_at(*size),
                ..seen
            });
            assert_eq!(last.destroyed, expected, "{sizes:?}");
        }
    }
}
