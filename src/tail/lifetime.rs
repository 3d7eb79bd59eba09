//! How a content joins the table, loses its place, and leaves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::event::{FileId, Now, Offset};
use crate::ports::Files;

use super::copies::Original;
use super::file::{File, Place};
use super::rotation;
use super::{DELETED_QUIET_MS, DISPLACED_MS, Tail, fingerprint};

/// Pause between two looks for the copy of a displaced content.
const DISPLACED_LOOK_MS: u64 = 50;

/// Inodes that contents were displaced from and that nobody has, as far as they are remembered.
const VACATED_MAX: usize = 10_000;

/// Bytes that were on disk and vanished unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The source's name.
    pub source: Arc<str>,
    /// Its last name.
    pub path: PathBuf,
    /// What names its stream.
    pub family: PathBuf,
    /// How many, as far as known.
    pub bytes: u64,
    /// Why.
    pub reason: &'static str,
}

impl Lost {
    pub(crate) fn of(file: &File, bytes: u64, reason: &'static str) -> Self {
        Self {
            source: Arc::clone(&file.source.name),
            path: file.path.to_path_buf(),
            family: file.family.to_path_buf(),
            bytes,
            reason,
        }
    }
}

impl Tail {
    /// The content of a file's inode is not ours any more: look for a copy of ours, and let the
    /// inode begin another content.
    pub(super) fn displace(&mut self, id: FileId, files: &mut dyn Files, now: Now) {
        let successor = self.successor(id, files, now);
        let size_now = match &successor {
            Some(successor) => Some(successor.size),
            None => self.file(id).and_then(|file| size_of(file, files)),
        };
        if self.vacated.len() < VACATED_MAX {
            self.vacated
                .extend(self.files.get(&id).and_then(|file| file.key));
        }
        self.unlink(id, files);
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        tracing::info!(path = %file.path.display(), read = file.read.0, "file was truncated or replaced, looking for its copy");
        if let (Some(size), Some(size_now)) = (self.hinted.remove(&id), size_now)
            && !file.is_cut_at(size_now)
        {
            // What a hint took for its growth was the other content already.
            file.size = size;
        }
        file.place = Place::Displaced {
            since_mono_ms: Some(now.mono_ms),
        };
        file.gate_bytes = file.size;
        self.passing.insert(id);
        self.scan_soon(id);
        if let Some(successor) = successor {
            let id = successor.id;
            if successor.place == Place::Deleted {
                self.passing.insert(id);
            }
            self.join(successor);
            // At once, since it may be copied and cut again before its turn comes.
            self.learn(id, files);
            self.requeue(id);
        }
    }

    /// The content that an open inode holds now. It takes the handle over: the inode may have no
    /// name any more. What an inode holds that was reused while we had it closed is found by the
    /// scan, since it may be anybody's copy.
    fn successor(&mut self, id: FileId, files: &mut dyn Files, now: Now) -> Option<File> {
        let next = self.new_id();
        let file = self.files.get(&id)?;
        let (handle, key) = (file.handle?, file.key?);
        let meta = files.meta(handle).ok()?;
        let mut new = self.blank(
            next,
            Arc::clone(&file.source),
            file.root.clone(),
            file.path.clone(),
        );
        if rotation::belongs_to(&file.family, &file.path) {
            new.family.clone_from(&file.family);
        }
        new.key = Some(key);
        new.size = meta.size;
        new.gate_bytes = meta.size;
        new.modified_ms = meta.modified_ms;
        new.grown_mono_ms = now.mono_ms;
        // Of those before it, too, since it may leave before they are read.
        new.after = self.still_before(file);
        new.after.push(id);
        new.place = if meta.links == 0 {
            Place::Deleted
        } else {
            file.place.clone()
        };
        new.handle = self.files.get_mut(&id)?.handle.take();
        Some(new)
    }

    /// Ends the search for displaced contents after a while, and says what went with them.
    pub(super) fn give_up_displaced(&mut self, now: Now) {
        let displaced = self.passing_files().filter(|file| file.is_displaced());
        for id in displaced.map(|file| file.id).collect::<Vec<_>>() {
            let Some(file) = self.files.get_mut(&id) else {
                continue;
            };
            let Place::Displaced { since_mono_ms } = &mut file.place else {
                continue;
            };
            let since_ms = *since_mono_ms.get_or_insert(now.mono_ms);
            if now.mono_ms >= since_ms + DISPLACED_MS {
                self.leave(id, "removed or truncated before it was read");
            } else {
                self.scan_again_at(id, now.mono_ms + DISPLACED_LOOK_MS);
            }
        }
    }

    /// Lets go of files that are done with, and of descriptors beyond the limit.
    pub(crate) fn let_go(
        &mut self,
        files: &mut dyn Files,
        settled: &dyn Fn(FileId) -> Offset,
        now: Now,
    ) {
        let is_done = |file: &&File| match file.place {
            Place::Rescued(_) => file.is_read() && settled(file.id) >= file.read,
            Place::Deleted => {
                file.is_read()
                    && settled(file.id) >= file.read
                    && now.mono_ms >= file.grown_mono_ms + DELETED_QUIET_MS
            }
            _ => false,
        };
        let done: Vec<FileId> = self.passing_files().filter(is_done).map(|f| f.id).collect();
        for id in done {
            self.unlink(id, files);
            if let Some(Place::Rescued(segment)) = self.files.get(&id).map(|f| f.place.clone()) {
                self.news.spent.push(segment);
            }
            self.leave(id, "removed");
        }
        self.close_surplus(files, settled);
    }

    /// Learns how an open file begins, also one that cannot be read yet: it must be known again.
    pub(super) fn learn(&mut self, id: FileId, files: &mut dyn Files) {
        let learned = self
            .files
            .get_mut(&id)
            .map(|file| (fingerprint::learn(file, files), file));
        if let Some((Err(error), file)) = learned {
            tracing::debug!(path = %file.path.display(), %error, "head not learned");
        }
    }

    pub(super) fn join(&mut self, file: File) {
        self.structure += 1;
        if let Some(key) = file.key {
            self.by_key.insert(key, file.id);
            self.vacated.remove(&key);
            self.by_path.insert(Arc::clone(&file.path), file.id);
        }
        for family in families_of(&file) {
            self.by_family.entry(family).or_default().push(file.id);
        }
        self.news.joined.push(file.id);
        self.files.insert(file.id, Box::new(file));
    }

    /// Takes a file out of the table and says what of it was seen and never read.
    pub(super) fn leave(&mut self, id: FileId, reason: &'static str) {
        let Some(file) = self.files.remove(&id) else {
            return;
        };
        self.structure += 1;
        self.leave_family(&file);
        self.close_gap(&file);
        for (original, left) in self.copies.values_mut() {
            if *original == id {
                *left = Some(Box::new(Original::of(&file)));
            }
        }
        if let Some(due) = file.due_mono_ms {
            self.timers.remove(&(due, id));
        }
        let bytes = file.missing_from(0);
        if bytes > 0 {
            self.news.lost.push(Lost::of(&file, bytes, reason));
        }
        if file.is_displaced() {
            self.news.orphaned.push((id, Lost::of(&file, 0, reason)));
        }
        self.news.left.push(id);
    }

    /// Takes a file's names out of the indexes and closes it.
    pub(super) fn unlink(&mut self, id: FileId, files: &mut dyn Files) {
        self.close(id, files);
        self.structure += 1;
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        if let Some(key) = file.key.take()
            && self.by_key.get(&key) == Some(&id)
        {
            self.by_key.remove(&key);
        }
        if self.by_path.get(&file.path) == Some(&id) {
            self.by_path.remove(&file.path);
        }
    }

    pub(super) fn leave_family(&mut self, file: &File) {
        self.passing.remove(&file.id);
        for path in families_of(file) {
            if let Some(family) = self.by_family.get_mut(&path) {
                family.retain(|id| *id != file.id);
                if family.is_empty() {
                    self.by_family.remove(&path);
                }
            }
        }
    }

    /// Files that will leave the table by themselves.
    fn passing_files(&self) -> impl Iterator<Item = &File> {
        self.passing.iter().filter_map(|id| self.file(*id))
    }

    /// Brings the scan of a file's source forward.
    pub(super) fn scan_soon(&mut self, id: FileId) {
        self.scan_again_at(id, 0);
    }

    fn scan_again_at(&mut self, id: FileId, mono_ms: u64) {
        let Some(file) = self.files.get(&id) else {
            return;
        };
        if let Some(index) = self.source_index(&file.source.name) {
            let state = &mut self.sources[index];
            state.scan_due_ms = state.scan_due_ms.min(mono_ms);
        }
    }
}

/// How large the inode of a file is that may be closed, as long as its name leads there.
fn size_of(file: &File, files: &mut dyn Files) -> Option<u64> {
    let meta = files.stat(&file.root, &file.path).ok()?;
    (Some(meta.key) == file.key).then_some(meta.size)
}

/// Under which live paths a file is looked for: its own, and the one its name was made from if
/// nobody was there when it came.
pub(super) fn families_of(file: &File) -> impl Iterator<Item = Arc<Path>> + use<> {
    let origin = rotation::family_of(&file.family);
    let origin = (*origin != *file.family).then(|| origin.into());
    std::iter::once(Arc::clone(&file.family)).chain(origin)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::event::{FileKey, FileRecord};
    use crate::ports::{Handle, Hints, Kind, Meta};
    use crate::tail::testing::{Silent, read_at, records_of, tail_of};
    use crate::tail::{ReadBuffer, Turn};

    /// One log, whose content is all there is, whether it may be opened, and when it was written.
    struct OneLog(Vec<u8>, bool, i64);

    impl Files for OneLog {
        fn list(&mut self, _: &Path, _: &Path) -> io::Result<Vec<(OsString, Kind)>> {
            Ok(vec![("a.log".into(), Kind::File)])
        }

        fn stat(&mut self, _: &Path, path: &Path) -> io::Result<Meta> {
            let is_log = path == Path::new(PATH);
            Ok(Meta {
                key: FileKey {
                    device: 1,
                    inode: u64::from(is_log),
                },
                kind: if is_log { Kind::File } else { Kind::Directory },
                size: self.0.len() as u64,
                modified_ms: self.2,
                links: 1,
            })
        }

        fn open(&mut self, root: &Path, path: &Path) -> io::Result<(Handle, Meta)> {
            match self.1 {
                true => Ok((Handle(1), self.stat(root, path)?)),
                false => Err(io::ErrorKind::PermissionDenied.into()),
            }
        }

        fn meta(&mut self, _: Handle) -> io::Result<Meta> {
            self.stat(Path::new("/l"), Path::new(PATH))
        }

        fn read_at(&mut self, _: Handle, offset: Offset, into: &mut [u8]) -> io::Result<usize> {
            Ok(read_at(&self.0, offset, into))
        }

        fn close(&mut self, _: Handle) {}
    }

    fn at(mono_ms: u64) -> Now {
        let wall_ms = 0;
        Now { mono_ms, wall_ms }
    }

    const PATH: &str = "/l/a.log";

    fn settled(_: FileId) -> Offset {
        Offset(0)
    }

    fn look(tail: &mut Tail, log: &mut OneLog, mono_ms: u64) {
        let mut watch = Silent { is_watching: true };
        tail.look(log, &mut watch, &settled, at(mono_ms));
    }

    fn hint(tail: &mut Tail, log: &mut OneLog, mono_ms: u64) {
        let paths = [PATH.into()].into();
        let hints = Hints {
            paths,
            rescan: false,
        };
        tail.hint(&hints, log, at(mono_ms));
    }

    fn lost(tail: &mut Tail) -> u64 {
        tail.take_news().lost.iter().map(|lost| lost.bytes).sum()
    }

    /// A closed file that a hint showed cut is counted although it has grown again by the next scan:
    /// shown on one that may not be opened.
    #[test]
    fn a_closed_file_that_was_cut_is_counted() {
        let mut log = OneLog(vec![b'a'; 300], false, 0);
        let mut tail = tail_of(Vec::new(), PATH, &mut log, &settled);
        look(&mut tail, &mut log, 0);
        log.0 = vec![b'b'; 20];
        hint(&mut tail, &mut log, 1);
        log.0 = vec![b'b'; 400];
        for mono_ms in [100, 200, 200 + DISPLACED_MS] {
            look(&mut tail, &mut log, mono_ms);
        }
        assert_eq!(lost(&mut tail), 300);
        let sizes: Vec<u64> = tail.files().map(|file| file.size).collect();
        assert_eq!(sizes, [400]);
    }

    /// A content whose copy is being looked for when the process ends is looked for by the next one,
    /// and then counted: shown by what a checkpoint gets in between.
    #[test]
    fn a_search_goes_on_after_a_restart() {
        let mut log = OneLog(vec![b'a'; 300], true, 0);
        let mut tail = tail_of(Vec::new(), PATH, &mut log, &settled);
        look(&mut tail, &mut log, 0);
        log.0 = vec![b'b'; 20];
        hint(&mut tail, &mut log, 1);
        assert!(!tail.is_in_place());
        let records = records_of(&mut tail, &mut log, &settled);
        assert_eq!(lost(&mut tail), 0);
        let mut tail = tail_of(records, PATH, &mut log, &settled);
        look(&mut tail, &mut log, 5);
        assert!(!tail.is_in_place());
        assert_eq!(lost(&mut tail), 0);
        look(&mut tail, &mut log, 100 + DISPLACED_MS);
        assert!(tail.is_in_place());
        assert_eq!(lost(&mut tail), 300);
        assert_eq!(tail.files().map(|file| file.size).sum::<u64>(), 20);
    }

    /// What is lost when a file that may not be opened since the start is cut, and a copy of what it
    /// held is found or not: all that was seen, unless nothing had changed since the checkpoint or
    /// the copy has just its size.
    #[test]
    fn a_recalled_content_vouches_for_no_other() {
        let mut log = OneLog(vec![b'a'; 300], true, 0);
        let mut tail = tail_of(Vec::new(), PATH, &mut log, &settled);
        look(&mut tail, &mut log, 0);
        let all = |_: FileId| Offset(300);
        let records = records_of(&mut tail, &mut log, &all);
        for (size, copy_bytes, expected) in [
            (300, 0, 0),
            (300, 300, 0),
            (400, 0, 400),
            (400, 350, 400),
            (400, 400, 0),
        ] {
            let record = FileRecord {
                settled: Offset(300),
                ..records[0].clone()
            };
            let mut locked = OneLog(vec![b'?'; size], false, 0);
            let mut tail = tail_of(vec![record], PATH, &mut locked, &settled);
            hint(&mut tail, &mut locked, 1);
            look(&mut tail, &mut locked, 1);
            let id = tail.files().next().unwrap().id;
            assert!(!tail.ensure_open(id, &mut locked, at(2)));
            let file = tail.file(id).unwrap();
            assert_eq!(
                file.missing_from(copy_bytes),
                expected,
                "{size} {copy_bytes}"
            );
        }
    }

    /// What a log holds since it was begun anew is not lost when that is found out: shown on one that
    /// nothing had been open of since the start, and on one that a hint told of and one that only a
    /// scan saw.
    #[test]
    fn what_has_taken_a_place_is_not_lost_with_what_was_there() {
        for is_hinted in [true, false] {
            let mut log = OneLog(vec![b'a'; 300], true, 0);
            let mut tail = tail_of(Vec::new(), PATH, &mut log, &settled);
            let mut buffer = ReadBuffer::default();
            look(&mut tail, &mut log, 0);
            read(&mut tail, &mut log, &mut buffer, 0);
            let all = |_: FileId| Offset(300);
            let records = records_of(&mut tail, &mut log, &all);
            let mut tail = tail_of(records, PATH, &mut log, &settled);
            look(&mut tail, &mut log, 1);
            log.0 = vec![b'b'; 900];
            let mut got = 0;
            for mono_ms in [100, 200, 200 + DISPLACED_MS] {
                if is_hinted {
                    hint(&mut tail, &mut log, mono_ms);
                } else {
                    tail.scan_all_now();
                }
                got += read(&mut tail, &mut log, &mut buffer, mono_ms);
                tail.compare_hinted(&mut log, at(mono_ms));
                look(&mut tail, &mut log, mono_ms);
                got += read(&mut tail, &mut log, &mut buffer, mono_ms);
            }
            assert_eq!((got, lost(&mut tail)), (900, 0), "{is_hinted}");
        }
    }

    /// A log that is written anew with as many bytes and the same end is noticed also where no hint
    /// tells of it.
    #[test]
    fn a_scan_notices_what_was_written_anew() {
        let content = |letter: u8| [vec![letter; 200], vec![b'z'; 100]].concat();
        let mut log = OneLog(content(b'a'), true, 0);
        let mut tail = tail_of(Vec::new(), PATH, &mut log, &settled);
        let mut buffer = ReadBuffer::default();
        for (letter, mono_ms) in (b'a'..=b'e').zip((0..).step_by(10_000)) {
            log.0 = content(letter);
            log.2 += 1;
            tail.scan_all_now();
            let mut got = 0;
            for wait_ms in [0, 100, 200 + DISPLACED_MS] {
                look(&mut tail, &mut log, mono_ms + wait_ms);
                got += read(&mut tail, &mut log, &mut buffer, mono_ms + wait_ms);
            }
            assert_eq!(got, 300, "{letter}");
        }
        assert_eq!(lost(&mut tail), 0);
    }

    /// What a hint shows grown was written just now, so that the end of its last line may yet come:
    /// shown on a log that had been quiet for long.
    #[test]
    fn what_a_hint_shows_grown_is_not_quiet() {
        let mut log = OneLog(b"a whole line\n".into(), true, 0);
        let mut tail = tail_of(Vec::new(), PATH, &mut log, &settled);
        let mut buffer = ReadBuffer::default();
        look(&mut tail, &mut log, 0);
        assert_eq!(read(&mut tail, &mut log, &mut buffer, 0), 13);
        log.0.extend_from_slice(b"half a li");
        hint(&mut tail, &mut log, 100_000);
        let id = tail.next_turn().unwrap();
        let turn = tail.read(id, &mut log, &mut |_| None, &mut buffer, 1_000, at(100_000));
        assert_eq!(turn, Turn::ToEnd { quiet_ms: 0 });
    }

    /// Reads all that may be read now; how many bytes.
    fn read(tail: &mut Tail, log: &mut OneLog, buffer: &mut ReadBuffer, mono_ms: u64) -> u64 {
        let mut read = 0;
        while let Some(id) = tail.next_turn() {
            let turn = tail.read(id, log, &mut |_| None, buffer, 4_000, at(mono_ms));
            if turn != Turn::Nothing {
                read += buffer.bytes().len() as u64;
                tail.consumed(id, buffer, buffer.bytes().len());
            }
        }
        read
    }

    /// As many bytes at the end of each content are the same: more than are remembered of it.
    const SAME_END_BYTES: usize = 100;

    /// Sizes of contents, some of which are as long as others.
    fn sizes() -> impl Strategy<Value = usize> {
        prop_oneof![20..400_usize, Just(250), Just(2_500)]
    }

    proptest! {
        /// Whatever was cut between two scans and had been looked at is read or counted as lost, and
        /// nothing else is: shown on one log that is begun anew several times, shorter, as long or
        /// longer than before and with the same end each time, with a hint each time, and after some
        /// with a read, too.
        #[test]
        fn what_hints_showed_is_read_or_counted(
            contents in proptest::collection::vec((sizes(), 1..3_000_u64, any::<bool>()), 2..6),
        ) {
            let mut log = OneLog(Vec::new(), true, 0);
            let mut tail = tail_of(Vec::new(), PATH, &mut log, &settled);
            let mut buffer = ReadBuffer::default();
            let (mut mono_ms, mut bytes, mut got) = (0, 0, 0);
            for (nth, (size, pause_ms, is_read)) in contents.iter().enumerate() {
                log.0 = vec![b'a' + u8::try_from(nth).unwrap(); *size];
                let end = 20.max(size.saturating_sub(SAME_END_BYTES));
                log.0[end..].fill(b'z');
                bytes += *size as u64;
                if nth == 0 {
                    look(&mut tail, &mut log, mono_ms);
                }
                hint(&mut tail, &mut log, mono_ms);
                if *is_read {
                    got += read(&mut tail, &mut log, &mut buffer, mono_ms);
                }
                tail.compare_hinted(&mut log, at(mono_ms));
                mono_ms += pause_ms;
            }
            for wait_ms in [2, 100, 100 + DISPLACED_MS, 200 + DISPLACED_MS] {
                got += read(&mut tail, &mut log, &mut buffer, mono_ms + wait_ms);
                look(&mut tail, &mut log, mono_ms + wait_ms);
            }
            let (last, ..) = contents.last().unwrap();
            prop_assert!(got >= *last as u64);
            prop_assert_eq!(got + lost(&mut tail), bytes);
        }
    }
}
