//! Bytes that are about to vanish: copies them out of deleted files when we must stop or hold too
//! many of those, and brings the copies back after a start.

use std::io;

use crate::event::{Event, FileId, FileKey, FileRecord, Fingerprint, Loss, Now, Offset, Origin};
use crate::ship::rescue::{SEGMENT_BYTES_MAX, Segment, SegmentId};
use crate::ship::{Push, TargetId};
use crate::tail::{File, Lost};

use super::{Agent, Edges, marker, names};

/// Deleted files with unread bytes that are held open at once; the rest is copied out.
const DELETED_HELD_MAX: usize = 64;

/// Pause behind a round of copying out that came to nothing or met a full disk, which is not asked at
/// each step.
const CROWD_PAUSE_MS: u64 = 5_000;

/// What shall be copied out.
struct Wanted {
    id: FileId,
    from: Offset,
    price: Price,
}

/// What may be given up for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Price {
    /// Nothing: it can be held open.
    Nothing,
    /// The oldest segments: what is not saved now is lost.
    Oldest,
}

/// What came of it, with the pieces that were saved.
enum Copied {
    Whole(Vec<(SegmentId, Segment)>),
    Unreadable(Vec<(SegmentId, Segment)>, io::Error),
    NoRoom(Vec<(SegmentId, Segment)>, io::Error),
}

impl Agent {
    /// Brings back what an earlier run copied out; it is shipped before anything else.
    pub(super) fn take_rescued(&mut self, edges: &mut Edges<'_>, now: Now) {
        let ids: Vec<SegmentId> = self.keeper.rescue.list().collect();
        for id in ids.into_iter().rev() {
            match self.keeper.rescue.load(edges.store, id) {
                Ok(Ok((segment, _))) => self.bring_back(id, &segment),
                Ok(Err(damaged)) => self.keeper.damaged(edges.store, id, &damaged, now),
                Err(error) => {
                    tracing::error!(segment = id.0, %error, "a rescue segment cannot be read and is kept")
                }
            }
        }
    }

    fn bring_back(&mut self, id: SegmentId, segment: &Segment) {
        let record = FileRecord {
            source: segment.source.clone(),
            path: segment.path.clone(),
            family: segment.family.clone(),
            root: segment.root.clone(),
            key: FileKey::default(),
            is_displaced: false,
            heads: Vec::new(),
            tail: Fingerprint::default(),
            marks: Vec::new(),
            settled: segment.start,
            heard: segment.heard,
            size: segment.start.0 + segment.length,
            modified_ms: segment.at_ms,
        };
        if self.tail.add_rescued(id.0, &record).is_none() {
            tracing::warn!(source = %record.source, path = %record.path.display(), "rescued bytes of a source that is not configured are kept");
        }
    }

    /// Copies out what would be gone after a restart.
    pub(super) fn rescue_deleted(&mut self, edges: &mut Edges<'_>, now: Now) {
        let held: Vec<FileId> = self.tail.deleted_unread().map(|file| file.id).collect();
        for id in held {
            let settled = self.ledger.settled(id).unwrap_or_default();
            let from = self.begin_of_rest(id, settled, edges, now);
            let want = Wanted {
                id,
                from,
                price: Price::Oldest,
            };
            match self.copy_out(&want, edges, now) {
                Copied::Whole(_) => self.let_go_of(id, edges, now),
                Copied::Unreadable(_, error) | Copied::NoRoom(_, error) => {
                    let path = self.tail.file(id).map(|file| file.path.display());
                    tracing::error!(path = path.map(tracing::field::display), %error, "unread bytes of a deleted file cannot be saved; they are lost");
                }
            }
        }
    }

    /// Copies out the oldest deleted files when more are held than we want to. What cannot be copied
    /// now, or would cost what is saved already, goes on being held and is read from where it is.
    pub(super) fn rescue_crowd(&mut self, edges: &mut Edges<'_>, now: Now) {
        let held: Vec<FileId> = self.tail.deleted_unread().map(|file| file.id).collect();
        let surplus = held.len().saturating_sub(DELETED_HELD_MAX);
        if surplus == 0 || now.mono_ms < self.keeper.crowd_due_ms {
            return;
        }
        let mut is_stuck = true;
        let quiet = held.into_iter().filter(|id| self.is_copyable(*id, edges));
        for id in quiet.take(surplus).collect::<Vec<_>>() {
            let want = Wanted {
                id,
                from: self.ledger.settled(id).unwrap_or_default(),
                price: Price::Nothing,
            };
            match self.copy_out(&want, edges, now) {
                Copied::Whole(pieces) => {
                    is_stuck = false;
                    self.let_go_of(id, edges, now);
                    for (segment_id, segment) in pieces {
                        self.bring_back(segment_id, &segment);
                    }
                }
                Copied::Unreadable(pieces, error) => self.hold_on(&pieces, &error, edges),
                Copied::NoRoom(pieces, error) => {
                    self.hold_on(&pieces, &error, edges);
                    is_stuck = true;
                    break;
                }
            }
        }
        if is_stuck {
            self.keeper.crowd_due_ms = now.mono_ms + CROWD_PAUSE_MS;
        }
    }

    /// Whether a deleted file may be copied out while we go on: nothing of it is in flight, so that
    /// settled and read are the same, it holds what it held, and there is room for all of it.
    fn is_copyable(&self, id: FileId, edges: &mut Edges<'_>) -> bool {
        let is_quiet = |file: &File| {
            Some(file.read) == self.ledger.settled(id)
                && self.ledger.severed(id) == 0
                && self
                    .keeper
                    .rescue
                    .has_room_for(file.size.saturating_sub(file.read.0))
        };
        // One that was cut takes its turn, where that is found out and what is lost is counted.
        self.tail.file(id).is_some_and(is_quiet)
            && self.tail.is_intact(id, edges.files).unwrap_or(false)
    }

    /// A file that could not be copied whole is still held: what was saved of it would be sent twice.
    fn hold_on(
        &mut self,
        pieces: &[(SegmentId, Segment)],
        error: &io::Error,
        edges: &mut Edges<'_>,
    ) {
        tracing::warn!(%error, "too many deleted files are held open, and one cannot be saved now; it is lost if the process is killed");
        for (id, _) in pieces {
            self.keeper.spent(edges.store, id.0);
        }
    }

    /// Copies a deleted file's bytes to its end into segments.
    fn copy_out(&mut self, want: &Wanted, edges: &mut Edges<'_>, now: Now) -> Copied {
        let mut pieces = Vec::new();
        let mut buffer = vec![0; SEGMENT_BYTES_MAX];
        let mut at = want.from;
        loop {
            let got = match self.tail.read_at(want.id, edges.files, at, &mut buffer) {
                Ok(0) => return Copied::Whole(pieces),
                Ok(got) => whole_lines(&buffer[..got]),
                Err(error) => return Copied::Unreadable(pieces, error),
            };
            let Some(file) = self.tail.file(want.id) else {
                return Copied::Unreadable(pieces, io::ErrorKind::NotFound.into());
            };
            let segment = segment_of(file, at, got, now);
            let rescue = &mut self.keeper.rescue;
            // Somebody may still write to it.
            if want.price == Price::Nothing && !rescue.has_room_for(got as u64) {
                return Copied::NoRoom(pieces, io::ErrorKind::QuotaExceeded.into());
            }
            match rescue.save(edges.store, &segment, &buffer[..got]) {
                Ok(id) => pieces.push((id, segment)),
                Err(error) => return Copied::NoRoom(pieces, error),
            }
            if want.price == Price::Oldest {
                self.make_room(edges, now);
            }
            at = at.plus(got);
        }
    }

    /// Lets go of a deleted file of which all is safe: the segments stand for it from now on.
    fn let_go_of(&mut self, id: FileId, edges: &mut Edges<'_>, now: Now) {
        // Of what is on its way and not on disk nobody will know any more.
        let severed = self.ledger.severed(id);
        self.lose_severed(id, severed, now);
        self.tail.forget(id, edges.files);
        self.ledger.forget(id);
        self.remove_lane(id);
    }

    /// Where the rest of a deleted file begins: at its beginning if it was cut and written anew before
    /// it was deleted. What the content before that held from the position on is lost then, as far as
    /// it was seen.
    fn begin_of_rest(
        &mut self,
        id: FileId,
        from: Offset,
        edges: &mut Edges<'_>,
        now: Now,
    ) -> Offset {
        // What cannot be read at all says so when it is copied.
        if self.tail.is_intact(id, edges.files).unwrap_or(true) {
            return from;
        }
        if let Some(file) = self.tail.file(id) {
            let bytes = file.size.max(file.read.0).saturating_sub(from.0);
            if bytes > 0 {
                let reason = "destroyed by a truncation before it was read";
                let lost = Lost::of(file, bytes, reason);
                self.keeper.lose(&lost, now);
            }
        }
        Offset(0)
    }

    /// Gives up the oldest segments if they are too many.
    fn make_room(&mut self, edges: &mut Edges<'_>, now: Now) {
        let evicted = self.keeper.rescue.make_room(edges.store);
        for segment in evicted.into_iter().filter_map(|evicted| evicted.segment) {
            self.keeper
                .lose(&lost(&segment, "no room left for rescued bytes"), now);
        }
    }

    /// Sends the markers of losses, each into its file's own stream.
    pub(super) fn send_markers(&mut self, now: Now) {
        while let Some(loss) = self.keeper.next_unsent() {
            let Some(target) = self.target_of_loss(&loss) else {
                return self.keeper.marker_returned(loss.id);
            };
            let event = Event {
                time_ms: loss.at_ms,
                text: marker::text(&loss).into(),
                origin: Origin::Marker(loss.id),
            };
            let origin = marker::origin(&loss);
            if let Push::Full(_event) = self.shipper.push(&target, event, &origin, now) {
                return self.keeper.marker_returned(loss.id);
            }
        }
    }

    /// Where a loss's marker goes; `None` while that is not known, or its source is not there.
    fn target_of_loss(&mut self, loss: &Loss) -> Option<TargetId> {
        let source = self.tail.source_named(&loss.source)?;
        let layout = self.discovery.layout();
        let target = names::target(&source, &loss.family, &self.identity, layout).ok()?;
        Some(self.shipper.target(target, source.group_options.clone()))
    }
}

/// How many of these bytes make a segment: a full one ends where a line does, since each is read by
/// itself.
fn whole_lines(bytes: &[u8]) -> usize {
    let end = match bytes.len() < SEGMENT_BYTES_MAX {
        true => None,
        false => memchr::memrchr(b'\n', bytes),
    };
    end.map_or(bytes.len(), |at| at + 1)
}

/// What is told of so many bytes of a file that are copied out.
fn segment_of(file: &File, start: Offset, bytes: usize, now: Now) -> Segment {
    Segment {
        source: file.source.name.to_string(),
        path: file.path.to_path_buf(),
        family: file.family.to_path_buf(),
        root: file.root.to_path_buf(),
        start,
        heard: file.heard,
        length: bytes as u64,
        at_ms: now.wall_ms,
    }
}

/// What is lost with a rescue segment.
pub(super) fn lost(segment: &Segment, reason: &'static str) -> Lost {
    Lost {
        source: segment.source.as_str().into(),
        path: segment.path.clone(),
        family: segment.family.clone(),
        bytes: segment.length,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;

    use tempfile::TempDir;

    use super::super::testing::{at, directory_of, drain, finish, run, sent};
    use super::*;
    use crate::ports::Store;
    use crate::ship::rescue::Rescue;

    /// So many different lines of eleven bytes, of which no piece holds a whole number.
    fn lines(count: usize) -> Vec<String> {
        (0..count).map(|nth| format!("{nth:010}")).collect()
    }

    fn text_of(lines: &[String]) -> String {
        lines.join("\n") + "\n"
    }

    /// A directory whose log was deleted unread, and copied out in several pieces at a stop.
    fn in_pieces(lines: &[String]) -> TempDir {
        let dir = directory_of(&[("a", &text_of(lines))]);
        run(dir.path(), |mut agent, edges| {
            agent.look(edges, at(1));
            std::fs::remove_file(dir.path().join("logs/a.log")).unwrap();
            agent.finish(edges, at(2));
            assert!(edges.store.names("rescue").unwrap().len() > 2);
        });
        dir
    }

    /// What is copied out in several pieces at a stop arrives in its order and in whole lines: shown
    /// with more lines than some batches hold.
    #[test]
    fn pieces_keep_order_and_lines() {
        let lines = lines(300_000);
        let dir = in_pieces(&lines);
        drain(dir.path());
        assert!(sent(dir.path()) == lines);
    }

    /// A piece that cannot be read any more holds up none that comes after it: shown with the first
    /// of several, taken away while the agent runs.
    #[test]
    fn a_piece_that_is_gone_holds_up_none() {
        let lines = lines(300_000);
        let dir = in_pieces(&lines);
        run(dir.path(), |agent, edges| {
            let (first, _) = edges.store.names("rescue").unwrap().remove(0);
            edges.store.remove(&format!("rescue/{first}")).unwrap();
            finish(agent, edges);
        });
        let arrived = sent(dir.path());
        assert!(!arrived.is_empty() && lines.ends_with(&arrived));
    }

    /// A disk that has room for so many more pieces beside what is on it, and how many were tried.
    struct Full<'s>(&'s mut dyn Store, usize, &'s Cell<usize>);

    impl Store for Full<'_> {
        fn load(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
            self.0.load(name)
        }
        fn save(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
            self.2.set(self.2.get() + 1);
            self.1 = self.1.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            self.0.save(name, content)
        }
        fn append(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
            self.0.append(name, content)
        }
        fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
            self.0.rename(from, to)
        }
        fn remove(&mut self, name: &str) -> io::Result<()> {
            self.0.remove(name)
        }
        fn names(&mut self, folder: &str) -> io::Result<Vec<(String, u64)>> {
            self.0.names(folder)
        }
    }

    /// An agent that holds one deleted file too many, the first of which is long, and what it works on;
    /// gives the messages that arrive.
    fn with_a_crowd(first: &[String], so: impl FnOnce(&mut Agent, &mut Edges<'_>)) -> Vec<String> {
        let text = text_of(first);
        let names: Vec<String> = (0..=DELETED_HELD_MAX)
            .map(|nth| format!("{nth:02}"))
            .collect();
        let mut logs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x\n")).collect();
        logs[0].1 = &text;
        let dir = directory_of(&logs);
        run(dir.path(), |mut agent, edges| {
            agent.look(edges, at(1));
            for name in &names {
                std::fs::remove_file(dir.path().join(format!("logs/{name}.log"))).unwrap();
            }
            agent.tail.notice_deleted(edges.files, at(2));
            assert_eq!(agent.tail.deleted_unread().count(), names.len());
            so(&mut agent, edges);
            agent.news(edges, at(3));
            finish(agent, edges);
        });
        sent(dir.path())
    }

    /// Copies the crowd out with room for so many pieces; how many were tried to be saved.
    fn rescue_with_room(
        agent: &mut Agent,
        edges: &mut Edges<'_>,
        room: usize,
        mono_ms: u64,
    ) -> usize {
        let tried = Cell::new(0);
        let edges = edges.again();
        let mut edges = Edges {
            store: &mut Full(edges.store, room, &tried),
            ..edges
        };
        agent.rescue_crowd(&mut edges, at(mono_ms));
        tried.get()
    }

    /// A file of which the disk has room for a part only goes on being read from where it is, and
    /// nothing of it is sent twice: shown with one deleted file too many.
    #[test]
    fn a_copy_that_is_not_whole_is_none() {
        let lines = lines(150_000);
        let arrived = with_a_crowd(&lines, |agent, edges| {
            rescue_with_room(agent, edges, 1, 3);
            rescue_with_room(agent, edges, 0, 100_000);
        });
        assert_eq!(arrived.len(), lines.len() + DELETED_HELD_MAX);
    }

    /// A full disk is not asked in every step whether it has room now: shown by the pieces that are
    /// tried in a second of steps, and after it.
    #[test]
    fn a_full_disk_is_not_asked_at_each_step() {
        with_a_crowd(&lines(10), |agent, edges| {
            let tried = |agent: &mut Agent, edges: &mut Edges<'_>, ms: u64| {
                rescue_with_room(agent, edges, 0, ms)
            };
            let steps = (3..1_003).step_by(10);
            assert_eq!(steps.map(|ms| tried(agent, edges, ms)).sum::<usize>(), 1);
            assert_eq!(tried(agent, edges, 100_000), 1);
        });
    }

    /// While there is room, files that come to be too many do not wait for a pause to be over: shown by one
    /// that comes right behind another.
    #[test]
    fn a_crowd_that_grows_is_copied_at_once() {
        let names: Vec<String> = (0..DELETED_HELD_MAX + 2)
            .map(|nth| format!("{nth:02}"))
            .collect();
        let logs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x\n")).collect();
        let dir = directory_of(&logs);
        let (last, others) = names.split_last().unwrap();
        let remove = |name: &String| {
            std::fs::remove_file(dir.path().join(format!("logs/{name}.log"))).unwrap();
        };
        run(dir.path(), |mut agent, edges| {
            agent.look(edges, at(1));
            others.iter().for_each(remove);
            agent.tail.notice_deleted(edges.files, at(2));
            agent.rescue_crowd(edges, at(2));
            assert_eq!(agent.tail.deleted_unread().count(), DELETED_HELD_MAX);
            remove(last);
            agent.tail.notice_deleted(edges.files, at(3));
            agent.rescue_crowd(edges, at(3));
            assert_eq!(agent.tail.deleted_unread().count(), DELETED_HELD_MAX);
            agent.news(edges, at(3));
            finish(agent, edges);
        });
        assert_eq!(sent(dir.path()).len(), names.len());
    }

    /// What was saved earlier is not given up for a file that is still held: shown with segments up to
    /// the limit, and a disk with room for more.
    #[test]
    fn what_is_held_costs_no_segment() {
        let mut noise = fastrand::Rng::with_seed(1);
        with_a_crowd(&lines(150_000), |agent, edges| {
            agent.keeper.rescue = Rescue::open(edges.store, 4 << 20).unwrap();
            let file = agent.tail.files().next().unwrap();
            let segment = segment_of(file, Offset(0), SEGMENT_BYTES_MAX - 4_000, at(3));
            for _ in 0..4 {
                let data: Vec<u8> = (0..segment.length).map(|_| noise.u8(..)).collect();
                let rescue = &mut agent.keeper.rescue;
                rescue.save(edges.store, &segment, &data).unwrap();
            }
            let saved: Vec<SegmentId> = agent.keeper.rescue.list().collect();
            rescue_with_room(agent, edges, 100, 3);
            let after: Vec<SegmentId> = agent.keeper.rescue.list().collect();
            assert!(after.starts_with(&saved));
            assert!(agent.keeper.new_losses.is_empty());
            for id in agent.keeper.rescue.list().collect::<Vec<_>>() {
                agent.keeper.spent(edges.store, id.0);
            }
        });
    }

    /// A file that was cut and written anew is left to its turn, where what is lost is counted once:
    /// shown with one that is read and answered for, before and after.
    #[test]
    fn what_was_cut_is_not_copied() {
        let dir = directory_of(&[("a", "one\ntwo\n")]);
        run(dir.path(), |mut agent, edges| {
            let mut mono_ms = 1;
            let id = loop {
                agent.step(edges, at(mono_ms));
                let id = *agent.lanes.keys().next().unwrap();
                if agent.ledger.settled(id) == Some(Offset(8)) {
                    break id;
                }
                assert!(mono_ms < 10_000, "it is answered for");
                mono_ms += 100;
            };
            assert!(agent.is_copyable(id, edges));
            std::fs::write(dir.path().join("logs/a.log"), "others\nand more\n").unwrap();
            assert!(!agent.is_copyable(id, edges));
        });
    }
}
