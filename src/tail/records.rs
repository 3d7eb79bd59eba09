//! What a checkpoint keeps of the table, and how the table comes back from it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::config::Source;
use crate::event::{FileId, FileRecord, Mark, Offset};
use crate::ports::{Files, Handle};

use super::file::{File, Place};
use super::fingerprint::{self, ANCHOR_BYTES_MAX, Anchor};
use super::{Lost, Tail, relation};

/// A file whose source is not there, or excludes it.
#[derive(Debug)]
pub(super) struct Dormant {
    /// What is known of it, up to what was settled when it went.
    record: FileRecord,
    /// The same for what had been handed on by then, where it was read in this run.
    handed_on: Option<(FileId, Mark)>,
}

impl From<FileRecord> for Dormant {
    fn from(record: FileRecord) -> Self {
        Self {
            record,
            handed_on: None,
        }
    }
}

impl Dormant {
    /// Puts the position behind all that was handed on.
    fn go_on(&mut self, to: Mark) {
        let record = &mut self.record;
        if to.at > record.settled && record.tail.bytes > 0 {
            record.marks.push(Mark {
                at: record.settled,
                print: record.tail,
            });
        }
        (record.settled, record.tail) = (to.at, to.print);
    }
}

impl Tail {
    /// Hands on what a checkpoint shall keep, file by file.
    pub fn each_record(
        &mut self,
        files: &mut dyn Files,
        settled: &dyn Fn(FileId) -> Offset,
        keep: &mut dyn FnMut(&FileRecord),
    ) {
        for file in self.files.values_mut() {
            if let Some(record) = record(file, settled(file.id), files) {
                keep(&record);
            }
        }
        for dormant in &mut self.dormant {
            if let Some((id, mark)) = dormant.handed_on
                && settled(id) >= mark.at
            {
                dormant.go_on(mark);
            }
            keep(&dormant.record);
        }
    }

    /// Hands on those of which anything was heard or settled since the last call of
    /// [`Tail::forget_changed`]; as long as the [`Tail::structure`] is the same, the others are as they
    /// were, as far as it matters where reading goes on.
    pub fn each_changed(
        &mut self,
        files: &mut dyn Files,
        settled: &dyn Fn(FileId) -> Offset,
        keep: &mut dyn FnMut(&FileRecord),
    ) {
        for id in &self.changed {
            let file = self.files.get_mut(id);
            if let Some(record) = file.and_then(|file| record(file, settled(*id), files)) {
                keep(&record);
            }
        }
    }

    /// Notes that more of a file was settled.
    pub fn settled(&mut self, id: FileId) {
        self.changed.insert(id);
        self.settled.insert(id);
        // One without an inode has no name by which its record could be replaced, and one that sleeps
        // is in none but a whole checkpoint.
        let is_apart = self.file(id).is_none_or(File::is_displaced);
        self.structure += u64::from(is_apart);
    }

    /// What is said of a loss of so many bytes of a file, also of one that sleeps.
    pub(crate) fn loss_of(&self, id: FileId, bytes: u64, reason: &'static str) -> Option<Lost> {
        if let Some(file) = self.file(id) {
            return Some(Lost::of(file, bytes, reason));
        }
        let is_it = |dormant: &&Dormant| dormant.handed_on.is_some_and(|(its, _)| its == id);
        let record = &self.dormant.iter().find(is_it)?.record;
        Some(Lost {
            source: record.source.as_str().into(),
            path: record.path.clone(),
            family: record.family.clone(),
            bytes,
            reason,
        })
    }

    /// Of how many files anything was heard or settled.
    #[must_use]
    pub fn changed_len(&self) -> usize {
        self.changed.len()
    }

    /// Of how many of them anything was settled.
    #[must_use]
    pub fn settled_len(&self) -> usize {
        self.settled.len()
    }

    /// All that has changed is in a checkpoint.
    pub fn forget_changed(&mut self) {
        self.changed.clear();
        self.settled.clear();
    }

    /// Grows whenever contents come, go, are cut or move: then not only positions have changed.
    #[must_use]
    pub fn structure(&self) -> u64 {
        self.structure
    }

    /// Gives files their source's new definition after the list of sources changed; those that no source
    /// wants leave the table and sleep.
    pub(super) fn rebind_files(
        &mut self,
        files: &mut dyn Files,
        settled: &dyn Fn(FileId) -> Offset,
    ) {
        let ids: Vec<FileId> = self.files.keys().copied().collect();
        for id in ids {
            let file = self.files.get(&id);
            let wanting = file.and_then(|file| self.wanting(&file.source.name, &file.path));
            let Some(file) = self.files.get_mut(&id) else {
                continue;
            };
            if let Some(source) = wanting {
                file.source = source;
                continue;
            }
            let record = record(file, settled(id), files);
            let mark = provable(file, file.read, files);
            let is_proven = mark.at == file.read && mark.print.bytes > 0;
            let handed_on = is_proven.then_some((id, mark));
            self.unlink(id, files);
            if let Some(file) = self.files.remove(&id) {
                self.leave_family(&file);
            }
            match record {
                Some(record) if handed_on.is_some() => {
                    self.dormant.push(Dormant { record, handed_on });
                    self.news.asleep.push(id);
                }
                record => {
                    self.dormant.extend(record.map(Dormant::from));
                    self.news.left.push(id);
                }
            }
        }
    }

    /// Brings back the files that a source wants now.
    pub(super) fn wake_dormant(&mut self) {
        // After a start there may be thousands: growing step by step hashes each path several times.
        self.by_key.reserve(self.dormant.len());
        self.by_path.reserve(self.dormant.len());
        self.by_family.reserve(self.dormant.len());
        for mut dormant in std::mem::take(&mut self.dormant) {
            let Some(source) = self.wanting(&dormant.record.source, &dormant.record.path) else {
                self.dormant.push(dormant);
                continue;
            };
            let id = match dormant.handed_on {
                Some((id, mark)) => {
                    dormant.go_on(mark);
                    id
                }
                None => self.new_id(),
            };
            let record = dormant.record;
            let mut roots = source.paths.iter().map(|pattern| &pattern.root);
            let root = match roots.find(|root| ***root == *record.root) {
                Some(root) => Arc::clone(root),
                None => record.root.into(),
            };
            let mut file = self.blank(id, source, root, record.path.into());
            file.belongs_to(&record.family);
            match record.is_displaced {
                true => {
                    let since_mono_ms = None;
                    file.place = Place::Displaced { since_mono_ms };
                    self.passing.insert(id);
                }
                false => {
                    file.key = Some(record.key);
                    file.after = self.displaced_from(&file.family);
                }
            }
            file.heads = record.heads;
            file.unverified = Some(record.tail);
            file.marks = record.marks;
            file.read = record.settled;
            file.heard = record.heard;
            file.recorded = Some(Mark {
                at: record.settled,
                print: record.tail,
            });
            file.size = record.size;
            file.size_is_recalled = true;
            file.modified_ms = record.modified_ms;
            file.gate_bytes = record.size;
            self.join(file);
        }
    }

    /// The source of that name, if it is there and does not exclude this path.
    fn wanting(&self, source: &str, path: &Path) -> Option<Arc<Source>> {
        let source = self.source_named(source)?;
        (!relation::excluded(&source, path)).then_some(source)
    }

    /// The contents of a family whose copies are being looked for.
    fn displaced_from(&self, family: &Path) -> Vec<FileId> {
        let ids = self.by_family.get(family).into_iter().flatten();
        let is_displaced = |id: &&FileId| self.file(**id).is_some_and(File::is_displaced);
        ids.filter(is_displaced).copied().collect()
    }
}

/// What a checkpoint shall keep of one file.
fn record(file: &mut File, settled: Offset, files: &mut dyn Files) -> Option<FileRecord> {
    if file.key.is_none() && !file.is_displaced() {
        return None;
    }
    let position = provable(file, settled, files);
    file.recorded = Some(position);
    file.record(position)
}

/// The settled position with evidence for it; where its evidence cannot be had now, one before it
/// for which there is some: bytes may be read twice then, but never be skipped.
fn provable(file: &File, settled: Offset, files: &mut dyn Files) -> Mark {
    let none = Mark {
        at: Offset(0),
        print: Anchor::NONE.fingerprint(),
    };
    let known = file.evidence().into_iter().chain(file.recorded);
    if let Some(mark) = known.into_iter().find(|mark| mark.at == settled) {
        return mark;
    }
    if settled == Offset(0) {
        return none;
    }
    match file
        .handle
        .map(|handle| mark_at(file, settled, handle, files))
    {
        Some(Ok(Some(mark))) => mark,
        _ => {
            let marks = file.marks.iter().copied().chain(file.recorded);
            let before = marks.filter(|mark| mark.at <= settled);
            before.max_by_key(|mark| mark.at).unwrap_or(none)
        }
    }
}

/// What stands before a position of an open file, if that still holds our content.
fn mark_at(
    file: &File,
    at: Offset,
    handle: Handle,
    files: &mut dyn Files,
) -> io::Result<Option<Mark>> {
    let print = fingerprint::anchor_at(files, handle, at, ANCHOR_BYTES_MAX)?.fingerprint();
    // Looked at afterwards, so that what was read before is ours if this is.
    let Some(last) = file.evidence().or(file.marks.last().copied()) else {
        return Ok(None);
    };
    let is_ours = fingerprint::has_anchor(files, handle, last.at, last.print)?;
    Ok(is_ours.then_some(Mark { at, print }))
}
