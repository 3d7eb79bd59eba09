//! What an unknown inode is: the new place of a known content, a copy in the making, or new.
//!
//! All unknown inodes of a scan are looked at together, the largest first, so that what holds all
//! of a content is found before what holds a part of it. Each is compared with the contents it may
//! have to do with (`likeness.rs`), the new ones then with each other: of an original and its copy
//! that are met in the same scan, only the longer one is read. A copy that holds nothing new is
//! put aside until its original is no more (then it is where the content is) or until the two
//! differ (then it is a content of its own). Before it holds anything it is left unknown.
//!
//! Names outside the patterns are looked at only in families where something moved; among them
//! only files written since then are new, the others are history from before our time.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Source;
use crate::event::{FileId, Now, Offset};
use crate::ports::{Files, Handle, Meta};

use super::copies::put_aside_copies;
use super::discover::Found;
use super::file::{File, Place};
use super::likeness::{self, Kind, Standing, Tie, Verdict};
use super::newborn::{Newborn, Rank};
use super::relation::{self, Relation};
use super::{Look, Lost, Tail, rotation};

/// So long a displaced content waits for a copy that holds all of it before one that holds less, and was
/// there before, is taken: an old one may begin alike, and who copies and cuts may name the copy last.
/// Less than [`super::DISPLACED_MS`].
const REMNANT_MS: u64 = 1_000;

/// A file a scan found whose inode nobody knows.
pub(super) struct Unknown {
    pub(super) found: Found,
    /// Outside the source's patterns: of interest only if it was written after this time, that
    /// is, rolled away since we last looked.
    pub(super) rolled_after_ms: Option<i64>,
}

impl Tail {
    /// Takes in the unknown inodes of a scan. On an error one stays unknown: what cannot be
    /// compared now is looked at again by the next scan.
    pub(super) fn adopt_all(
        &mut self,
        index: usize,
        mut unknown: Vec<Unknown>,
        look: &mut Look<'_>,
    ) -> Vec<String> {
        if unknown.is_empty() {
            return Vec::new();
        }
        unknown.sort_by(|a, b| {
            let by_size = b.found.meta.size.cmp(&a.found.meta.size);
            by_size.then_with(|| a.found.path.cmp(&b.found.path))
        });
        let paths = unknown.iter().map(|unknown| &unknown.found.path);
        let fresh: BTreeSet<Arc<Path>> = paths.cloned().collect();
        let mut problems = Vec::new();
        let mut newborns = Vec::new();
        for unknown in unknown {
            let (path, meta) = (unknown.found.path.clone(), unknown.found.meta);
            let family = rotation::family_of(&path);
            let is_live = fresh.contains(&*family) || self.by_path.contains_key(&*family);
            let family = if is_live {
                family.into()
            } else {
                Arc::clone(&path)
            };
            match self.place(index, unknown, family, look) {
                Ok(newborn) => newborns.extend(newborn),
                Err(error) => {
                    self.glimpse(index, &meta);
                    problems.push(format!("{}: {error}", path.display()));
                }
            }
        }
        problems.extend(put_aside_copies(&mut newborns, look));
        self.bear(index, newborns, look);
        problems
    }

    /// Finds out what an unknown inode is; what is not new gets its place.
    fn place(
        &mut self,
        index: usize,
        mut unknown: Unknown,
        family: Arc<Path>,
        look: &mut Look<'_>,
    ) -> io::Result<Option<Newborn>> {
        let source = Arc::clone(&self.sources[index].source);
        let found = &mut unknown.found;
        if found.meta.size == 0 && self.may_become_copy(&source, found, &family) {
            self.glimpse(index, &found.meta);
            return Ok(None);
        }
        let (verdict, meta) = self.verdict(&source, found, &family, look)?;
        let from = match verdict {
            Verdict::HomeOf(id) => {
                found.meta = meta;
                self.rehome(id, found, &source, look);
                return Ok(None);
            }
            Verdict::CopyOf(id) => {
                self.copies.insert(found.meta.key, (id, None));
                return Ok(None);
            }
            Verdict::RemnantOf(id) => {
                let is_older = self.copies.contains_key(&found.meta.key);
                if !is_older || !self.is_just_displaced(id, look.now) {
                    found.meta = meta;
                    self.rehome(id, found, &source, look);
                }
                return Ok(None);
            }
            Verdict::New { from } => from,
        };
        let key = found.meta.key;
        let is_history = |since_ms| {
            from == Offset(0) && found.meta.modified_ms < since_ms && !self.vacated.contains(&key)
        };
        if unknown.rolled_after_ms.is_some_and(is_history) {
            return Ok(None);
        }
        let state = &self.sources[index];
        let start = match self.copies.get(&key) {
            Some((_, Some(original))) => original.read_in(found, look)?,
            None if state.is_first_scan => self.first_start(state.source.start, found),
            _ => Offset(0),
        };
        self.copies.remove(&key);
        let from = from.max(start);
        Ok(Some(Newborn {
            unknown,
            family,
            from,
            rank: Rank::Own,
        }))
    }

    /// Whether a whole copy of a displaced content may still get its name.
    fn is_just_displaced(&self, id: FileId, now: Now) -> bool {
        let since_ms = self.file(id).and_then(File::displaced_since_ms);
        since_ms.is_none_or(|since_ms| now.mono_ms < since_ms + REMNANT_MS)
    }

    /// Whether a name may stand for a copy that is begun. Before it holds anything it cannot be told
    /// from a content of its own, so it stays unknown.
    fn may_become_copy(&self, source: &Source, found: &Found, family: &Path) -> bool {
        *found.path != *family && !self.candidates(source, &found.path, family).is_empty()
    }

    /// What an unknown inode is, by comparing it with all contents it may have to do with; and what it
    /// holds behind that: a copy may have been completed since the scan met it.
    fn verdict(
        &mut self,
        source: &Source,
        found: &Found,
        family: &Path,
        look: &mut Look<'_>,
    ) -> io::Result<(Verdict, Meta)> {
        let candidates = self.candidates(source, &found.path, family);
        if candidates.is_empty() {
            return Ok((likeness::decide(&[]), found.meta));
        }
        let (handle, meta) = match look.files.open(&found.root, &found.path) {
            // It is followed until it may be read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok((likeness::decide(&[]), found.meta));
            }
            opened => opened?,
        };
        if meta.key != found.meta.key {
            look.files.close(handle);
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut ties = Vec::new();
        let mut unclear = None;
        let mut compared = BTreeSet::new();
        let mut next = candidates;
        while !next.is_empty() {
            for id in next {
                match self.tie(id, &found.path, handle, look) {
                    Ok(tie) => ties.push((id, tie)),
                    Err(error) => unclear = Some(error),
                }
                compared.insert(id);
            }
            // One that was found cut has a successor now, which this may be a copy of.
            next = self.candidates(source, &found.path, family);
            next.retain(|id| !compared.contains(id));
        }
        let meta = look.files.meta(handle);
        look.files.close(handle);
        match (likeness::decide(&ties), unclear) {
            // What may be a copy has to wait; what stands under a live name cannot be one.
            (Verdict::New { .. }, Some(error)) if &*found.path != family => Err(error),
            (verdict, _) => Ok((verdict, meta?)),
        }
    }

    /// What an open unknown inode is to a known content.
    fn tie(
        &mut self,
        id: FileId,
        path: &Path,
        handle: Handle,
        look: &mut Look<'_>,
    ) -> io::Result<Tie> {
        let mut standing = self.standing(id, look)?;
        loop {
            let tie = self.tie_where_it_stands(id, standing, path, handle, look)?;
            if standing != Standing::InPlace || tie == Tie::Copy {
                return Ok(tie);
            }
            // It may have been cut, and its copy completed, while the two were compared.
            match self.standing(id, look)? {
                Standing::InPlace => return Ok(tie),
                moved => standing = moved,
            }
        }
    }

    /// What an open unknown inode is to a known content that stands there, as far as we know.
    fn tie_where_it_stands(
        &mut self,
        id: FileId,
        standing: Standing,
        path: &Path,
        handle: Handle,
        look: &mut Look<'_>,
    ) -> io::Result<Tie> {
        // Taken behind that: of a log that shows now that it was cut, the copy is whole now.
        let size = look.files.meta(handle)?.size;
        let Some(file) = self.files.get(&id) else {
            return Ok(Tie::Kin(Offset(0)));
        };
        if file.heads.is_empty() {
            // It could never be read, so its size is all that speaks for it.
            let is_it = standing == Standing::Displaced && file.size == size;
            return Ok(if is_it {
                Tie::Home
            } else {
                Tie::Kin(Offset(0))
            });
        }
        if standing == Standing::Displaced
            && file.size != size
            && (file.is_slight() || likeness::is_title(file, look.files, handle)?)
        {
            return Ok(Tie::Kin(Offset(0)));
        }
        let mut likeness = likeness::likeness(file, look.files, handle, size)?;
        if likeness.kind != Kind::Whole {
            likeness.agreed = likeness::line_start(look.files, handle, likeness.agreed)?;
        }
        let twin = match (file.handle, likeness.kind) {
            (_, Kind::Other) | (None, _) => None,
            (Some(own), _) => {
                let own_size = look.files.meta(own)?.size;
                likeness::twin(look.files, (own, own_size), (handle, size))?
            }
        };
        let tie = match likeness::tie(standing, likeness, (size, file.read), twin) {
            // A copy is put aside: what stands under the live name itself was begun anew, or is
            // what a power cut left.
            Tie::Home | Tie::Copy | Tie::Remnant if &*file.family == path => {
                Tie::Kin(likeness.agreed)
            }
            tie => tie,
        };
        Ok(match tie {
            // What has no answer yet is not skipped elsewhere.
            Tie::Kin(shared) => Tie::Kin(shared.min((look.settled)(id))),
            tie => tie,
        })
    }

    /// Where a known content stands now.
    fn standing(&mut self, id: FileId, look: &mut Look<'_>) -> io::Result<Standing> {
        // Only now may it show that it was truncated since we last looked.
        match self.compare(id, look.files, look.now) {
            Ok(true) => Ok(Standing::InPlace),
            Ok(false) => Ok(Standing::Displaced),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Standing::Locked),
            Err(error) => Err(error),
        }
    }

    /// Whether an open inode still holds the content we know; `None` when it is not open.
    pub(super) fn holds_ours(&self, id: FileId, files: &mut dyn Files) -> io::Result<Option<bool>> {
        let file = self.files.get(&id);
        let Some((file, handle)) = file.and_then(|file| Some((file, file.handle?))) else {
            return Ok(None);
        };
        let size = files.meta(handle)?.size;
        let own = likeness::likeness(file, files, handle, size)?;
        let is_whole = own.kind == Kind::Whole || file.heads.is_empty();
        Ok(Some(is_whole && !file.is_cut_at(size)))
    }

    /// Contents that could stand under this name, too: those of its family, and those whose name
    /// it begins with (`app.log._copy_`, `app.log.bak`).
    fn candidates(&self, source: &Source, path: &Path, family: &Path) -> Vec<FileId> {
        let mut families = related_families(path);
        families.insert(family.to_path_buf());
        let comparable = |id: &&FileId| {
            let file = self.files.get(id);
            file.is_some_and(|file| file.source.name == source.name && file.is_comparable())
        };
        let ids = families.iter().filter_map(|f| self.by_family.get(&**f));
        ids.flatten().filter(comparable).copied().collect()
    }

    /// Gives a content the place where it was found.
    fn rehome(&mut self, id: FileId, found: &Found, source: &Source, look: &mut Look<'_>) {
        self.copies.remove(&found.meta.key);
        self.cut_back(id, found.meta.size);
        self.unlink(id, look.files);
        let listed = relation::relation(source, &found.path) == Relation::File;
        let scans = self.scans;
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        tracing::info!(path = %found.path.display(), read = file.read.0, size = found.meta.size, "found the copy of a truncated file");
        file.key = Some(found.meta.key);
        file.place = if listed {
            Place::Listed
        } else {
            Place::Rotated
        };
        file.gate_bytes = found.meta.size;
        file.seen_in_scan = scans;
        file.saw(&found.path, &found.meta);
        self.passing.remove(&id);
        self.by_key.insert(found.meta.key, id);
        self.by_path.insert(found.path.clone(), id);
        // Held at once, since the next rotations may remove it before its turn comes.
        self.ensure_open(id, look.files, look.now);
        self.requeue(id);
    }

    /// What a displaced content held behind its copy's end was destroyed by the truncation; what
    /// of that had been read is on its way.
    fn cut_back(&mut self, id: FileId, size: u64) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        let bytes = file.missing_from(size);
        if bytes > 0 && file.is_displaced() {
            let reason = "destroyed by a truncation before it was read";
            self.news.lost.push(Lost::of(file, bytes, reason));
        }
        if file.read > Offset(size) {
            file.go_back(Offset(size));
            // What is written there from now on was never heard.
            file.heard = file.heard.min(file.read);
            file.marks.retain(|mark| mark.at.0 <= size);
            file.heads.retain(|head| u64::from(head.bytes) <= size);
            self.news.reset.push((id, file.read));
        }
    }
}

/// Live paths a name could come from: its family's, and those it begins with.
pub(super) fn related_families(path: &Path) -> BTreeSet<PathBuf> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let ends = (1..name.len()).filter(|at| b".-_~".contains(&name[*at]));
    let prefixes = ends.map(|end| path.with_file_name(OsStr::from_bytes(&name[..end])));
    prefixes.chain([rotation::family_of(path)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::tail::testing::{Logs, Silent, records_of, tail_of};
    use crate::tail::{ReadBuffer, Turn};

    fn settled(_: FileId) -> Offset {
        Offset(8)
    }

    fn look(tail: &mut Tail, logs: &mut Logs, mono_ms: u64) {
        let wall_ms = 0;
        let now = Now { mono_ms, wall_ms };
        tail.look(logs, &mut Silent { is_watching: false }, &settled, now);
    }

    /// Looks and reads for a while; what was read, whole lines and the rest.
    fn read(tail: &mut Tail, logs: &mut Logs, from_ms: u64) -> String {
        let mut all = Vec::new();
        let mut buffer = ReadBuffer::default();
        for mono_ms in (from_ms..from_ms + 10_000).step_by(500) {
            let now = Now {
                mono_ms,
                wall_ms: 0,
            };
            look(tail, logs, mono_ms);
            while let Some(id) = tail.next_turn() {
                if tail.read(id, logs, &mut |_| None, &mut buffer, 1_000, now) == Turn::Nothing {
                    continue;
                }
                all.extend_from_slice(buffer.bytes());
                tail.consumed(id, &buffer, buffer.bytes().len());
            }
        }
        String::from_utf8(all).unwrap()
    }

    /// What the first of two sources has is there to be read before the second is scanned, if it is
    /// unread: shown on the first two looks.
    #[test]
    fn sources_take_turns_in_the_first_look() {
        let source = |name| format!("[[source]]\nname = \"{name}\"\npaths = [\"/l/{name}.log\"]\n");
        let text = ["a", "b"].map(source).concat();
        let (config, _) = Config::parse(&[("a.toml".into(), text)]).unwrap();
        let mut logs = Logs::default();
        let mut tail = Tail::new(Vec::new(), None);
        tail.set_sources(config.sources.clone(), &|_| true, &mut logs, &settled);
        logs.put("a.log", 1, "of the first\n", 0);
        logs.put("b.log", 2, "of the second\n", 0);
        let paths = |tail: &Tail| tail.files().map(|file| file.path.to_path_buf()).collect();
        look(&mut tail, &mut logs, 0);
        let known: Vec<PathBuf> = paths(&tail);
        assert_eq!(known, [Path::new("/l/a.log")]);
        assert!(!tail.has_looked() && tail.next_due() == Some(0));
        // Not even lost hints begin it anew.
        tail.scan_all_now();
        look(&mut tail, &mut logs, 1);
        assert!(tail.has_looked());
        assert_eq!(paths(&tail), ["/l/a.log", "/l/b.log"].map(PathBuf::from));
    }

    /// A content that was begun anew and copied once more before anybody looked is read once: shown
    /// on one that has grown beyond what was read, so that only comparing it shows the cut.
    #[test]
    fn a_copy_of_what_was_begun_anew_is_read_once() {
        let (one, two) = ("the first one\n".repeat(9), "the second one\n".repeat(20));
        let mut logs = Logs::default();
        logs.put("a.log", 1, &one, 0);
        let mut tail = tail_of(Vec::new(), "/l/a.log*", &mut logs, &settled);
        assert_eq!(read(&mut tail, &mut logs, 0), one);
        logs.put("a.log", 1, &two, 0);
        logs.put("a.log.1", 3, &two, 0);
        logs.put("a.log.2", 2, &one, 0);
        assert_eq!(read(&mut tail, &mut logs, 20_000), two);
        assert_eq!(tail.take_news().lost, []);
    }

    /// An old copy that begins like a log that was cut a moment ago is not taken for its copy before the
    /// real one has its name; if that never comes, it is: shown by what is read.
    #[test]
    fn a_remnant_is_not_taken_before_a_whole_copy() {
        let (one, two) = ("the first one\n".repeat(60), "the second one\n");
        for is_copied in [true, false] {
            let mut logs = Logs::default();
            logs.put("a.log", 1, &one, 0);
            let mut tail = tail_of(Vec::new(), "/l/a.log*", &mut logs, &settled);
            assert_eq!(read(&mut tail, &mut logs, 0), one);
            logs.put("a.log.2", 2, &one[..70], 11_000);
            assert_eq!(read(&mut tail, &mut logs, 11_000), "");
            logs.put("a.log", 1, two, 22_000);
            look(&mut tail, &mut logs, 22_000);
            if is_copied {
                logs.put("a.log.1", 3, &one, 22_000);
            }
            assert_eq!(read(&mut tail, &mut logs, 22_050), two);
            assert_eq!(tail.take_news().lost, []);
            let homes = tail.files().filter(|file| file.key.unwrap().inode == 2);
            assert_eq!(homes.count(), usize::from(!is_copied));
        }
    }

    /// A copy that is met before anything of it is written is not read for that: shown on one that is
    /// filled later and on what is cut then; what is no copy is read as soon as it holds anything.
    #[test]
    fn an_empty_copy_is_waited_for() {
        let (one, two) = ("the first one\n".repeat(9), "the second one\n".repeat(5));
        for pattern in ["/l/a.log*", "/l/a.log"] {
            let mut logs = Logs::default();
            logs.put("a.log", 1, &one, 0);
            let mut tail = tail_of(Vec::new(), pattern, &mut logs, &settled);
            assert_eq!(read(&mut tail, &mut logs, 0), one);
            // As of the second rotation, names outside the pattern are looked at.
            logs.put("a.log.1", 2, "", 11_000);
            tail.scan_all_now();
            assert_eq!(read(&mut tail, &mut logs, 11_000), "");
            logs.put("a.log.1", 2, &one, 22_000);
            assert_eq!(read(&mut tail, &mut logs, 22_000), "");
            logs.put("a.log", 1, &two, 33_000);
            assert_eq!(read(&mut tail, &mut logs, 33_000), two);
            assert_eq!(tail.take_news().lost, []);
        }
        let mut logs = Logs::default();
        logs.put("a.log", 1, &one, 0);
        let mut tail = tail_of(Vec::new(), "/l/a.log*", &mut logs, &settled);
        assert_eq!(read(&mut tail, &mut logs, 0), one);
        logs.put("a.log.1", 2, "", 11_000);
        assert_eq!(read(&mut tail, &mut logs, 11_000), "");
        logs.put("a.log.1", 2, &two, 22_000);
        assert_eq!(read(&mut tail, &mut logs, 22_000), two);
    }

    /// A copy that is completed while it is looked at, and its log cut at once, is read like any other:
    /// shown by what is read and lost, whenever that happens.
    #[test]
    fn a_copy_that_is_completed_under_our_eyes_is_whole() {
        let (one, two) = ("the first one\n".repeat(60), "the second one\n".repeat(5));
        for (calls, read_before) in (0..40).flat_map(|calls| [(calls, true), (calls, false)]) {
            let mut logs = Logs::default();
            let before = one.len() / if read_before { 1 } else { 3 };
            logs.put("a.log", 1, &one[..before], 0);
            let mut tail = tail_of(Vec::new(), "/l/a.log*", &mut logs, &settled);
            let mut all = read(&mut tail, &mut logs, 0);
            logs.put("a.log", 1, &one, 11_000);
            logs.put("a.log.1", 2, &one[..one.len() / 2], 11_000);
            let log = |inode, text: &str| (inode, text.to_owned(), 11_000);
            let cut = [("a.log", log(1, &two)), ("a.log.1", log(2, &one))];
            logs.to_come = Some((calls, cut.map(|(name, log)| (name.to_owned(), log)).into()));
            all += &read(&mut tail, &mut logs, 11_000);
            assert_eq!(tail.take_news().lost, [], "after {calls} calls");
            assert_eq!(all, [&*one, &two].concat(), "after {calls} calls");
        }
    }

    /// A log that is cut and written again between scans, each time beyond what it held before, is
    /// read from its copies, although none of it was read in between.
    #[test]
    fn what_grows_is_not_mistaken_for_what_it_was() {
        let one = "the first one\n".repeat(9);
        let two = "the second one\n".repeat(20);
        let three = "the third one\n".repeat(40);
        let mut logs = Logs::default();
        let mut tail = tail_of(Vec::new(), "/l/a.log", &mut logs, &settled);
        logs.put("a.log", 1, &one, 1_000);
        look(&mut tail, &mut logs, 1_000);
        logs.put("a.log", 1, &two, 2_000);
        logs.put("a.log.1", 2, &one, 1_000);
        look(&mut tail, &mut logs, 2_000);
        logs.put("a.log", 1, &three, 3_000);
        logs.put("a.log.1", 3, &two, 2_000);
        logs.put("a.log.2", 2, &one, 1_000);
        look(&mut tail, &mut logs, 3_000);
        let all = [one, two, three].concat();
        assert_eq!(read(&mut tail, &mut logs, 4_000), all);
        assert_eq!(tail.take_news().lost, []);
    }

    /// A new log that has the inode of a short rotated one and begins like it is read from its
    /// beginning: shown on a logger's header of which a power cut had left the head.
    #[test]
    fn a_short_beginning_is_no_evidence_for_a_new_log() {
        let header = "# Logfile created today\n";
        let mut logs = Logs::default();
        logs.put("a.log", 2, "1234567\n", 0);
        logs.put("a.log.1", 1, &header[..8], 0);
        let mut tail = tail_of(Vec::new(), "/l/a.log*", &mut logs, &settled);
        read(&mut tail, &mut logs, 0);
        let records = records_of(&mut tail, &mut logs, &settled);
        logs = Logs::default();
        logs.put("a.log", 1, header, 0);
        let mut tail = tail_of(records, "/l/a.log*", &mut logs, &settled);
        assert_eq!(read(&mut tail, &mut logs, 20_000), header);
    }

    /// Nor is it for a rotated one, where the inode is gone: shown on a rotated log of which a power cut had
    /// left less than its first line, and on the next one, which was rotated since.
    #[test]
    fn a_short_beginning_is_no_evidence_for_a_rotated_log() {
        let of =
            |minute: u32| format!("# Logfile created at 12:{minute:02}:47 by logger.rb/v1.5.0\n");
        let all_settled = |_: FileId| Offset(14);
        let mut logs = Logs::default();
        logs.put("a.log", 1, "1234567\n", 0);
        logs.put("a.log.1", 2, &of(1)[..14], 0);
        let mut tail = tail_of(Vec::new(), "/l/a.log*", &mut logs, &all_settled);
        read(&mut tail, &mut logs, 0);
        let records = records_of(&mut tail, &mut logs, &all_settled);
        logs = Logs::default();
        logs.put("a.log", 3, "7654321\n", 9_000);
        logs.put("a.log.1", 4, &of(2), 8_000);
        let mut tail = tail_of(records, "/l/a.log*", &mut logs, &all_settled);
        assert_eq!(
            read(&mut tail, &mut logs, 20_000),
            [&of(2), "7654321\n"].concat()
        );
    }

    /// A log that was first met under a rotated name, when the live one was not there, is known again
    /// when it was rotated on unseen: shown by a restart and one more rotation, after which nothing is read.
    #[test]
    fn what_was_met_as_rotated_is_known_when_it_moves_on() {
        let [one, two, three] =
            ["first", "other", "third"].map(|word| format!("the {word} one\n").repeat(9));
        let all_settled = |_: FileId| Offset(one.len() as u64);
        let mut logs = Logs::default();
        logs.put("a.log", 1, &one, 1_000);
        let mut tail = tail_of(Vec::new(), "/l/a.log", &mut logs, &settled);
        assert_eq!(read(&mut tail, &mut logs, 0), one);
        logs.names.clear();
        logs.put("a.log.1", 2, &two, 2_000);
        logs.put("a.log.3", 1, &one, 1_000);
        look(&mut tail, &mut logs, 20_000);
        logs.put("a.log", 3, &three, 3_000);
        let both = [&*two, &three].concat();
        assert_eq!(read(&mut tail, &mut logs, 30_000), both);
        let records = records_of(&mut tail, &mut logs, &all_settled);
        logs = Logs::default();
        logs.put("a.log", 3, &three, 3_000);
        logs.put("a.log.2", 2, &two, 2_000);
        logs.put("a.log.3", 1, &one, 1_000);
        let mut tail = tail_of(records, "/l/a.log", &mut logs, &settled);
        assert_eq!(read(&mut tail, &mut logs, 50_000), "");
        logs.names.clear();
        logs.put("a.log.1", 3, &three, 3_000);
        logs.put("a.log.3", 2, &two, 2_000);
        logs.put("a.log.4", 1, &one, 1_000);
        assert_eq!(read(&mut tail, &mut logs, 70_000), "");
    }

    /// What has got the inode of a copy that is gone is no copy, however much the two are alike further on:
    /// shown by a log that is read from its beginning, after the copied one was cut and given up; one that
    /// is still that copy is not read.
    #[test]
    fn who_has_the_inode_of_a_copy_now_is_read() {
        let ticks = "a tick\n".repeat(20);
        let [one, two, three] = ["first", "other", "third"].map(|word| format!("{word}\n{ticks}"));
        for is_copy in [false, true] {
            let mut logs = Logs::default();
            logs.put("a.log", 1, &one, 0);
            let mut tail = tail_of(Vec::new(), "/l/a.log*", &mut logs, &settled);
            assert_eq!(read(&mut tail, &mut logs, 0), one);
            logs.put("a.log.1", 2, &one, 0);
            assert_eq!(read(&mut tail, &mut logs, 11_000), "");
            logs.names.clear();
            logs.put("a.log", 1, &two, 22_000);
            assert_eq!(read(&mut tail, &mut logs, 22_000), two);
            let last = if is_copy { &one } else { &three };
            logs.put("a.log.1", 2, &[last, &three[..]].concat(), 33_000);
            let new = if is_copy { 1 } else { 2 };
            assert_eq!(read(&mut tail, &mut logs, 33_000), three.repeat(new));
            assert_eq!(tail.take_news().lost, []);
        }
    }

    /// A log whose handle its server does not know any more is opened again, and counted if it is gone:
    /// shown on one that goes on and on one that was replaced, each with unread bytes.
    #[test]
    fn a_stale_handle_is_let_go() {
        let (one, two) = ("the first one\n".repeat(9), "the second one\n".repeat(5));
        for is_replaced in [false, true] {
            let mut logs = Logs::default();
            logs.put("a.log", 1, &one, 0);
            let mut tail = tail_of(Vec::new(), "/l/a.log*", &mut logs, &settled);
            look(&mut tail, &mut logs, 0);
            logs.go_stale();
            if is_replaced {
                logs.put("a.log", 2, &two, 0);
            }
            let expected = if is_replaced { &two } else { &one };
            assert_eq!(read(&mut tail, &mut logs, 11_000), *expected);
            let lost = tail.take_news().lost;
            let lost: u64 = lost.iter().map(|lost| lost.bytes).sum();
            assert_eq!(lost, if is_replaced { one.len() as u64 } else { 0 });
        }
    }

    /// A pattern whose directory is not there hides nothing beside that: shown by a log that was rotated
    /// out of the patterns while nobody was there, and is read on.
    #[test]
    fn a_directory_that_is_not_there_hides_nothing_beside_it() {
        let (one, more) = ("the first one\n".repeat(9), "more of it\n".repeat(9));
        let two = "the second one\n".repeat(5);
        for pattern in ["/l/a.log", "/l/a.log\", \"/l/absent/*.log"] {
            let all_settled = |_: FileId| Offset(one.len() as u64);
            let mut logs = Logs::default();
            logs.put("a.log", 1, &one, 0);
            let mut tail = tail_of(Vec::new(), pattern, &mut logs, &settled);
            assert_eq!(read(&mut tail, &mut logs, 0), one);
            let records = records_of(&mut tail, &mut logs, &all_settled);
            logs = Logs::default();
            logs.put("a.log.1", 1, &[&*one, &more].concat(), 1_000);
            logs.put("a.log", 2, &two, 2_000);
            let mut tail = tail_of(records, pattern, &mut logs, &all_settled);
            let rest = [&*more, &two].concat();
            assert_eq!(read(&mut tail, &mut logs, 20_000), rest, "{pattern}");
        }
    }
}
