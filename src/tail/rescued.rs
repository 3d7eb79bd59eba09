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
