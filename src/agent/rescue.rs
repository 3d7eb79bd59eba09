//! Bytes that are about to vanish: copies them out of deleted files when we must stop or hold too
//! many of those, and brings the copies back after a start.

use crate::event::{Event, FileId, FileKey, FileRecord, Fingerprint, Loss, Now, Offset, Origin};
use crate::ship::rescue::{Evicted, SEGMENT_BYTES_MAX, Segment, SegmentId};
use crate::ship::{Push, TargetId};
use crate::tail::{File, Lost};

use super::{Agent, Edges, marker, names};

/// Deleted files with unread bytes that are held open at once; the rest is copied out.
const DELETED_HELD_MAX: usize = 64;

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
        let deleted = |agent: &Self| -> Vec<FileId> {
            agent.tail.deleted_unread().map(|file| file.id).collect()
        };
        for id in deleted(self) {
            let settled = self.ledger.settled(id).unwrap_or_default();
            self.copy_out(id, settled, edges, now);
        }
    }

    /// Copies out the oldest deleted files when more are held than we want to.
    pub(super) fn rescue_crowd(&mut self, edges: &mut Edges<'_>, now: Now) {
        let held: Vec<FileId> = self.tail.deleted_unread().map(|file| file.id).collect();
        let surplus = held.len().saturating_sub(DELETED_HELD_MAX);
        // Only files of which nothing is in flight: then settled and read are the same.
        let quiet = held.into_iter().filter(|id| {
            self.tail
                .file(*id)
                .is_some_and(|file| Some(file.read) == self.ledger.settled(*id))
        });
        for id in quiet.take(surplus).collect::<Vec<_>>() {
            let settled = self.ledger.settled(id).unwrap_or_default();
            let segments = self.copy_out(id, settled, edges, now);
            let is_whole = self.tail.file(id).is_none();
            for (segment_id, segment) in segments {
                match is_whole {
                    true => self.bring_back(segment_id, &segment),
                    // The file is still held, and read from where it is.
                    false => self.keeper.spent(edges.store, segment_id.0),
                }
            }
        }
    }

    /// Copies a deleted file's bytes from a position to its end into segments. If all are safe
    /// the file is let go; the segments stand for it from then on.
    fn copy_out(
        &mut self,
        id: FileId,
        from: Offset,
        edges: &mut Edges<'_>,
        now: Now,
    ) -> Vec<(SegmentId, Segment)> {
        let mut segments = Vec::new();
        let mut buffer = vec![0; SEGMENT_BYTES_MAX];
        let mut at = self.begin_of_rest(id, from, edges, now);
        loop {
            let Some(file) = self.tail.file(id) else {
                return segments;
            };
            let path = file.path.clone();
            let got = match self.tail.read_at(id, edges.files, at, &mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "a deleted file cannot be read any more");
                    return segments;
                }
            };
            let got = whole_lines(&buffer[..got]);
            let segment = segment_of(file, at, got, now);
            match self
                .keeper
                .rescue
                .save(edges.store, &segment, &buffer[..got])
            {
                Ok(evicted) => self.lose_evicted(evicted, now),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "unread bytes of a deleted file cannot be saved; they are lost if we stop now");
                    return segments;
                }
            }
            let saved = self.keeper.rescue.list().last();
            segments.extend(saved.map(|saved| (saved, segment)));
            at = at.plus(got);
        }
        // Of what is on its way and not on disk nobody will know any more.
        let severed = self.ledger.severed(id);
        self.lose_severed(id, severed, now);
        self.tail.forget(id, edges.files);
        self.ledger.forget(id);
        self.remove_lane(id);
        segments
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

    fn lose_evicted(&mut self, evicted: Vec<Evicted>, now: Now) {
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
    use std::io;

    use tempfile::TempDir;

    use super::super::testing::{at, directory_of, drain, finish, run, sent};
    use super::*;
    use crate::ports::Store;

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

    /// A disk that has room for so many more pieces beside what is on it.
    struct Full<'s>(&'s mut dyn Store, usize);

    impl Store for Full<'_> {
        fn load(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
            self.0.load(name)
        }
        fn save(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
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

    /// A file of which the disk has room for a part only goes on being read from where it is, and
    /// nothing of it is sent twice: shown with one deleted file too many.
    #[test]
    fn a_copy_that_is_not_whole_is_none() {
        let lines = lines(150_000);
        let text = text_of(&lines);
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
            for room in [1, 0] {
                let edges = edges.again();
                let mut edges = Edges {
                    store: &mut Full(edges.store, room),
                    ..edges
                };
                agent.rescue_crowd(&mut edges, at(3));
            }
            agent.news(edges, at(3));
            finish(agent, edges);
        });
        let arrived = sent(dir.path());
        assert_eq!(arrived.len(), lines.len() + DELETED_HELD_MAX);
    }
}
