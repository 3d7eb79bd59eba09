//! Pieces of deleted files that were copied out: they take turns like files, each after the one
//! that was copied out before it.

use std::collections::BTreeMap;

use crate::event::{FileId, FileRecord};

use super::Tail;
use super::file::Place;

impl Tail {
    /// Adds a rescued segment, to be read before anything else but the segments of its family with
    /// smaller numbers, whenever those are added.
    pub fn add_rescued(&mut self, segment: u64, record: &FileRecord) -> Option<FileId> {
        let source = self.source_named(&record.source)?;
        let id = self.new_id();
        let mut file = self.blank(id, source, (*record.root).into(), (*record.path).into());
        file.belongs_to(&record.family);
        file.read = record.settled;
        file.heard = record.heard;
        file.size = record.size;
        file.place = Place::Rescued(segment);
        file.gate_bytes = record.size;
        let others = self.rescued_with(record);
        // Who waits for one waits for all before it.
        let before = others.range(..segment).next_back();
        file.after.extend(before.map(|(_, id)| *id));
        if let Some((_, next)) = others.range(segment..).next()
            && let Some(next) = self.files.get_mut(next)
        {
            next.after.push(id);
        }
        self.files.insert(id, Box::new(file));
        self.passing.insert(id);
        self.news.joined.push(id);
        self.enqueue_first(id);
        Some(id)
    }

    /// The segments of the same family that are there, by their numbers.
    fn rescued_with(&self, record: &FileRecord) -> BTreeMap<u64, FileId> {
        let passing = self.passing.iter().filter_map(|id| self.file(*id));
        let kin = passing
            .filter(|file| *file.family == *record.family && *file.source.name == *record.source);
        let segments = kin.filter_map(|file| match file.place {
            Place::Rescued(segment) => Some((segment, file.id)),
            _ => None,
        });
        segments.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{FileKey, Fingerprint, Offset};
    use crate::tail::testing::{Logs, tail_of};

    /// What comes after a piece that is given up comes after those before it: shown by the turns of three,
    /// the middle one of which goes unread.
    #[test]
    fn a_piece_that_leaves_lets_none_overtake() {
        let mut logs = Logs::default();
        let mut tail = tail_of(Vec::new(), "/l/a.log", &mut logs, &|_| Offset(0));
        let record = FileRecord {
            source: "a".into(),
            path: "/l/a.log".into(),
            family: "/l/a.log".into(),
            root: "/l".into(),
            key: FileKey::default(),
            is_displaced: false,
            heads: Vec::new(),
            tail: Fingerprint::default(),
            marks: Vec::new(),
            settled: Offset(0),
            heard: Offset(0),
            size: 9,
            modified_ms: 0,
        };
        let [first, middle, last] = [1, 2, 3].map(|nth| tail.add_rescued(nth, &record).unwrap());
        tail.forget(middle, &mut logs);
        assert_eq!(tail.next_turn(), Some(first));
        assert_eq!(tail.next_turn(), None, "the first is not read yet");
        tail.files.get_mut(&first).unwrap().read = Offset(9);
        assert_eq!(tail.next_turn(), Some(last));
    }
}
