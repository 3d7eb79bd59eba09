//! The log service that is a file: what would be sent to CloudWatch Logs is written to
//! `logs.ndjson` in a directory, one JSON object a line (`group`, `stream`, `timestamp` in ms,
//! `message`, `source`, `path`). For dry runs, for instances without a way out, and for the demo.
//!
//! Beside it, [`DirectoryMetrics`] writes `metrics.ndjson` and [`DirectoryEvents`] `events.ndjson`.
//!
//! It stands behind the same port as the real service, so everything before it is the real thing.
//! The agent builds it when `[logs] sink = "directory"` and asks nothing else of it.
//!
//! Invariants:
//! - **Acknowledged is durable.** An answer is good only after the file's data were synced; a new
//!   file's name is synced too.
//! - **Every line parses.** A write that failed is cut off again. Where that is impossible, and
//!   after a crash, the torn rest is ended by a newline before anything else is written; whole
//!   events of that write stay and come twice, as after any answer that never came.
//! - **An error is an answer.** A full disk or a missing permission never stops the agent: it
//!   keeps the data in its log file and tries again, slowly, and says so in its status.
//! - **Nobody else is let in.** Where the file or its directory belongs to another user than root or
//!   ours, he could read what he may not read in the logs: that is an error, too.
//!
//! There is no rotation: the file grows until somebody moves it away. It may be renamed or
//! removed at any time; the next batch begins a new one.

mod events;
mod metrics;

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde_json::Value;

use crate::event::Batch;
use crate::ports::{Accepted, CallId, ErrorClass, LogAnswer, LogCall, LogService, ServiceError};

pub use events::{DirectoryEvents, EVENTS_FILE};
pub use metrics::{DirectoryMetrics, METRICS_FILE};

/// The file's name in the directory.
pub const LOGS_FILE: &str = "logs.ndjson";

/// How much is gathered before a write: a batch is up to three times its size in this form.
const WRITE_BYTES: usize = 256 * 1024;

/// Log lines may hold what not everybody on the machine may read.
const DIRECTORY_MODE: u32 = 0o750;

/// As [`DIRECTORY_MODE`].
const FILE_MODE: u32 = 0o640;

/// Writes batches to a file and answers at once.
#[derive(Debug)]
pub struct DirectorySink {
    file: Appended,
    answers: VecDeque<LogAnswer>,
    /// Kept between calls for its memory.
    buffer: Vec<u8>,
}

impl DirectorySink {
    /// A sink for a directory, which is made with the first batch if it is not there.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            file: Appended::new(directory, LOGS_FILE),
            answers: VecDeque::new(),
            buffer: Vec::new(),
        }
    }

    /// Whether answers wait to be fetched. It has no thread that could wake the loop for them.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    fn put(&mut self, batch: &Batch, range: Range<usize>) -> Result<Accepted, ServiceError> {
        let buffer = &mut self.buffer;
        self.file
            .write(|output| write_events(output, buffer, batch, range))?;
        Ok(Accepted::default())
    }
}

impl LogService for DirectorySink {
    fn submit(&mut self, id: CallId, call: LogCall) {
        let (batch, result) = match call {
            LogCall::Put { batch, range } => {
                let result = self.put(&batch, range);
                (Some(batch), result)
            }
            LogCall::CreateStream(_) | LogCall::CreateGroup(..) => (None, Ok(Accepted::default())),
        };
        self.answers.push_back(LogAnswer { id, batch, result });
    }

    fn answer(&mut self) -> Option<LogAnswer> {
        self.answers.pop_front()
    }
}

/// A file of the directory that only grows, by writes that are there as a whole or not at all.
#[derive(Debug)]
struct Appended {
    directory: PathBuf,
    path: PathBuf,
    open: Option<Output>,
}

impl Appended {
    /// A file that is made with the first write if it is not there.
    fn new(directory: &Path, name: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            path: directory.join(name),
            open: None,
        }
    }

    /// Has something written and makes it durable, or cuts it off again.
    fn write(
        &mut self,
        write: impl FnOnce(&mut Output) -> io::Result<()>,
    ) -> Result<(), ServiceError> {
        let mut output = match self.open.take() {
            Some(output) if output.is_still_at(&self.path) => output,
            _ => Output::open(&self.directory, &self.path)
                .map_err(|error| self.error("open", &error))?,
        };
        if let Err(error) = write(&mut output).and_then(|()| output.commit()) {
            // What cannot be cut off is looked at again by the next open, which ends a torn line.
            if output.cut_back().is_ok() {
                self.open = Some(output);
            }
            return Err(self.error("write", &error));
        }
        self.open = Some(output);
        Ok(())
    }

    /// Has each of these written as a line.
    fn write_lines(&mut self, objects: impl Iterator<Item = Value>) -> Result<(), ServiceError> {
        let mut lines = Vec::new();
        for object in objects {
            // Into memory, where nothing fails.
            lines.extend(object.to_string().into_bytes());
            lines.push(b'\n');
        }
        self.write(|output| output.file.write_all(&lines))
    }

    fn error(&self, verb: &str, error: &io::Error) -> ServiceError {
        ServiceError {
            class: ErrorClass::RetrySlowly,
            code: "Directory".to_owned(),
            message: format!("failed to {verb} {}: {error}", self.path.display()),
        }
    }
}

/// What others can put where the file is to be, in a directory that is not ours alone.
const NO_FILE: &str = "a link, a FIFO or a device is there, which is not written to";

/// The open file and how far it is known to be good.
#[derive(Debug)]
struct Output {
    file: File,
    /// Device and inode, to notice that somebody moved the file away.
    identity: (u64, u64),
    /// Up to here everything is synced; what lies behind belongs to the present batch.
    good_bytes: u64,
}

impl Output {
    fn open(directory: &Path, path: &Path) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(FILE_MODE)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(path)
            .map_err(|error| match error.raw_os_error() {
                Some(code) if code == Errno::LOOP.raw_os_error() => io::Error::other(NO_FILE),
                _ => error,
            })?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other(NO_FILE));
        }
        let folder = File::open(directory)?;
        // Also of a link in its place: who made it chose the directory.
        let link = std::fs::symlink_metadata(directory)?;
        check_owners(&[link.uid(), folder.metadata()?.uid(), meta.uid()])?;
        folder.sync_all()?;
        let mut good_bytes = meta.len();
        if good_bytes > 0 && !ends_with_newline(&mut file)? {
            file.write_all(b"\n")?;
            good_bytes += 1;
        }
        Ok(Self {
            file,
            identity: (meta.dev(), meta.ino()),
            good_bytes,
        })
    }

    fn is_still_at(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|meta| {
            (meta.dev(), meta.ino()) == self.identity && meta.len() == self.good_bytes
        })
    }

    fn commit(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.good_bytes = self.file.metadata()?.len();
        Ok(())
    }

    fn cut_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.good_bytes)
    }
}

/// Refuses what others put there, as anybody can in `/var/tmp`: they could read all that is written.
fn check_owners(owners: &[u32]) -> io::Result<()> {
    let ours = rustix::process::geteuid().as_raw();
    let other = owners.iter().find(|owner| ![0, ours].contains(owner));
    let Some(other) = other else {
        return Ok(());
    };
    let text = format!(
        "it or its directory belongs to user {other}, who could read what is written: give both to the \
         user deploywatch runs as, or name another directory in logs.directory"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == [b'\n'])
}

/// Writes a range of a batch's events. The message is not encoded again: the event's object is
/// opened and what the directory's reader wants to know besides is put around it.
fn write_events(
    output: &mut Output,
    buffer: &mut Vec<u8>,
    batch: &Batch,
    range: Range<usize>,
) -> io::Result<()> {
    let mut head = b"{\"group\":".to_vec();
    serde_json::to_writer(&mut head, &batch.target.group)?;
    head.extend_from_slice(b",\"stream\":");
    serde_json::to_writer(&mut head, &batch.target.stream)?;
    head.push(b',');
    let mut tails: Vec<Option<Vec<u8>>> = vec![None; batch.pieces.len()];
    buffer.clear();
    for index in range {
        let slot = batch.slots[index];
        let start = match index {
            0 => batch.body_head as usize,
            n => batch.slots[n - 1].body_end as usize + 1,
        };
        let object = &batch.body[start..slot.body_end as usize];
        let fields = object
            .strip_prefix(b"{")
            .and_then(|rest| rest.strip_suffix(b"}"))
            .expect("a slot bounds one JSON object of the body");
        let piece = slot.piece as usize;
        if tails[piece].is_none() {
            tails[piece] = Some(tail_of(batch, piece)?);
        }
        buffer.extend_from_slice(&head);
        buffer.extend_from_slice(fields);
        buffer.extend(tails[piece].iter().flatten());
        if buffer.len() >= WRITE_BYTES {
            output.file.write_all(buffer)?;
            buffer.clear();
        }
    }
    output.file.write_all(buffer)?;
    buffer.clear();
    Ok(())
}

/// What follows the message in the lines of one piece.
fn tail_of(batch: &Batch, piece: usize) -> io::Result<Vec<u8>> {
    let file = &batch.pieces[piece].file;
    let mut tail = b",\"source\":".to_vec();
    serde_json::to_writer(&mut tail, &*file.source)?;
    tail.extend_from_slice(b",\"path\":");
    serde_json::to_writer(&mut tail, &file.path.to_string_lossy())?;
    tail.extend_from_slice(b"}\n");
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::event::{FileId, FileOrigin, Offset, Origin, Piece, Slot, Span, Target};

    fn batch(messages: &[&str]) -> Batch {
        let mut body = br#"{"logGroupName":"/a/b","logStreamName":"i-1","logEvents":["#.to_vec();
        let body_head = body.len() as u32;
        let mut slots = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            let text = serde_json::to_string(message).unwrap();
            write!(body, r#"{{"timestamp":{index},"message":{text}}}"#).unwrap();
            slots.push(Slot {
                time_ms: index as i64,
                body_end: body.len() as u32,
                message_bytes: message.len() as u32,
                piece: (index % 2) as u32,
            });
        }
        body.extend_from_slice(b"]}");
        let piece = |path: &str| Piece {
            origin: Origin::File(Span {
                file: FileId(1),
                start: Offset(0),
                end: Offset(1),
            }),
            file: Arc::new(FileOrigin {
                source: "app".into(),
                path: Path::new(path).into(),
            }),
        };
        Batch {
            target: Arc::new(Target {
                group: "/a/b".into(),
                stream: "i-1".into(),
            }),
            body,
            body_head,
            slots,
            pieces: vec![piece("/x/even \"log\""), piece("/x/odd.log")],
            counted_bytes: 0,
        }
    }

    #[test]
    fn what_others_put_there_is_not_written_to() {
        // In a directory like /var/tmp anybody can make the file, or the directory, or a link to one of
        // his, before us, and read what we write: refused, with nothing written and the reason told.
        use std::os::unix::fs::{chown, lchown, symlink};
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            dir.path().join(name)
        };
        let (theirs, file, link) = (place("theirs"), place("file"), dir.path().join("link"));
        std::fs::write(file.join(LOGS_FILE), "").unwrap();
        symlink(place("ours"), &link).unwrap();
        let other = Some(1_000);
        if chown(&theirs, other, None).is_err() {
            return;
        }
        chown(file.join(LOGS_FILE), other, None).unwrap();
        lchown(&link, other, None).unwrap();
        for directory in [theirs, file, link] {
            let error = put(&mut DirectorySink::new(&directory), &["secret"]).unwrap_err();
            assert_eq!(error.class, ErrorClass::RetrySlowly);
            assert!(error.message.contains("belongs to user 1000"), "{error:?}");
            let written = std::fs::read(directory.join(LOGS_FILE)).unwrap();
            assert_eq!(written, b"", "{directory:?}");
        }
    }

    fn put(sink: &mut DirectorySink, messages: &[&str]) -> Result<Accepted, ServiceError> {
        put_range(sink, messages, 0..messages.len())
    }

    fn put_range(
        sink: &mut DirectorySink,
        messages: &[&str],
        range: Range<usize>,
    ) -> Result<Accepted, ServiceError> {
        let batch = batch(messages);
        sink.submit(CallId(7), LogCall::Put { batch, range });
        let answer = sink.answer().expect("one answer per call");
        assert_eq!(answer.id, CallId(7));
        assert!(answer.batch.is_some(), "the batch must come back");
        assert!(sink.answer().is_none(), "one answer only");
        answer.result
    }

    fn lines(directory: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(directory.join(LOGS_FILE)).unwrap();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    #[test]
    fn each_event_is_one_object_with_its_origin() {
        // Every event becomes one line with all six fields; shown by reading the lines back.
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("not/yet/there");
        let mut sink = DirectorySink::new(&deep);
        put(&mut sink, &["one \"quoted\"\nline", "two"]).unwrap();
        assert_eq!(
            lines(&deep),
            vec![
                json!({"group": "/a/b", "stream": "i-1", "timestamp": 0,
                       "message": "one \"quoted\"\nline", "source": "app",
                       "path": "/x/even \"log\""}),
                json!({"group": "/a/b", "stream": "i-1", "timestamp": 1, "message": "two",
                       "source": "app", "path": "/x/odd.log"}),
            ]
        );
    }

    #[test]
    fn only_the_events_of_the_range_are_written() {
        // A part of a batch writes just that part; shown with the middle of three.
        let dir = tempfile::tempdir().unwrap();
        let mut sink = DirectorySink::new(dir.path());
        put_range(&mut sink, &["a", "b", "c"], 1..2).unwrap();
        let messages: Vec<_> = lines(dir.path())
            .iter()
            .map(|line| line["message"].clone())
            .collect();
        assert_eq!(messages, ["b"]);
    }

    #[test]
    fn creating_streams_and_groups_is_always_accepted() {
        // There is nothing to create in a directory; shown by both calls' answers.
        let dir = tempfile::tempdir().unwrap();
        let mut sink = DirectorySink::new(dir.path());
        let target = Target {
            group: "g".into(),
            stream: "s".into(),
        };
        sink.submit(CallId(1), LogCall::CreateStream(target));
        sink.submit(
            CallId(2),
            LogCall::CreateGroup("g".into(), Default::default()),
        );
        for id in [1, 2] {
            let answer = sink.answer().unwrap();
            assert_eq!(answer.id, CallId(id));
            assert_eq!(answer.result, Ok(Accepted::default()));
        }
    }

    #[test]
    fn a_torn_last_line_is_ended_before_more_is_written() {
        // After a crash in mid-write the lines that follow still parse; shown with half an object.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOGS_FILE);
        std::fs::write(&path, "{\"group\":\"/a\"}\n{\"gro").unwrap();
        put(&mut DirectorySink::new(dir.path()), &["whole"]).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert_eq!(lines(dir.path()).len(), 2);
        assert_eq!(lines(dir.path())[1]["message"], "whole");
    }

    #[test]
    fn a_full_disk_is_retried_slowly_and_names_the_file() {
        // What could not be written is told with its file, and may be tried again; shown by a write that
        // finds no room after a part of it.
        let dir = tempfile::tempdir().unwrap();
        let mut file = Appended::new(dir.path(), LOGS_FILE);
        let error = file
            .write(|output| {
                output.file.write_all(b"{\"half")?;
                Err(io::ErrorKind::StorageFull.into())
            })
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::RetrySlowly);
        let path = dir.path().join(LOGS_FILE);
        assert!(error.message.contains(path.to_str().unwrap()), "{error}");
        put(&mut DirectorySink::new(dir.path()), &["lost?"]).unwrap();
        assert_eq!(lines(dir.path()).len(), 1);
    }

    #[test]
    fn nothing_is_written_through_what_others_put_there() {
        // In a directory like /var/tmp somebody may have planted the file's name: a link, to a file or to
        // nothing, a FIFO, a directory. It is an answer that says so, what the link leads to stays as it is, and
        // when the obstacle is gone the batch is taken.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOGS_FILE);
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "theirs\n").unwrap();
        let link = |to: &Path| std::os::unix::fs::symlink(to, &path).unwrap();
        let fifo = || {
            let made = std::process::Command::new("mkfifo").arg(&path).status();
            assert!(made.unwrap().success());
        };
        let obstacles: [&dyn Fn(); 4] = [
            &|| link(&victim),
            &|| link(&dir.path().join("nothing")),
            &|| link(Path::new("/dev/null")),
            &fifo,
        ];
        for plant in obstacles {
            plant();
            let mut sink = DirectorySink::new(dir.path());
            let error = put(&mut sink, &["x"]).unwrap_err();
            assert_eq!(error.class, ErrorClass::RetrySlowly);
            assert!(error.message.ends_with(NO_FILE), "{error}");
            std::fs::remove_file(&path).unwrap();
            put(&mut sink, &["x"]).unwrap();
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "theirs\n");
        assert!(!dir.path().join("nothing").exists());
    }

    #[test]
    fn a_directory_that_is_a_file_is_an_answer_and_heals() {
        // A mistake in the configuration stops nothing and heals; shown by removing the obstacle.
        let dir = tempfile::tempdir().unwrap();
        let obstacle = dir.path().join("out");
        std::fs::write(&obstacle, "in the way").unwrap();
        let mut sink = DirectorySink::new(&obstacle);
        let error = put(&mut sink, &["x"]).unwrap_err();
        assert_eq!(error.class, ErrorClass::RetrySlowly);
        std::fs::remove_file(&obstacle).unwrap();
        put(&mut sink, &["x"]).unwrap();
        assert_eq!(lines(&obstacle).len(), 1);
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        // A retry after a failed write must not double events; shown by cutting a half write off.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOGS_FILE);
        let mut output = Output::open(dir.path(), &path).unwrap();
        output.file.write_all(b"{\"whole\":1}\n").unwrap();
        output.commit().unwrap();
        output.file.write_all(b"{\"whole\":2}\n{\"ha").unwrap();
        output.cut_back().unwrap();
        output.file.write_all(b"{\"whole\":3}\n").unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, "{\"whole\":1}\n{\"whole\":3}\n");
    }

    #[test]
    fn a_file_moved_away_is_begun_anew() {
        // Whoever rotates the file by hand loses nothing; shown by renaming it between two batches.
        let dir = tempfile::tempdir().unwrap();
        let mut sink = DirectorySink::new(dir.path());
        put(&mut sink, &["before"]).unwrap();
        let old = dir.path().join("old.ndjson");
        std::fs::rename(dir.path().join(LOGS_FILE), &old).unwrap();
        put(&mut sink, &["after"]).unwrap();
        assert_eq!(lines(dir.path())[0]["message"], "after");
        assert_eq!(std::fs::read_to_string(old).unwrap().lines().count(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_message_survives(messages in proptest::collection::vec(".{1,80}", 1..40)) {
            // Whatever is in a message, it is read back unchanged, one line each, in order.
            let dir = tempfile::tempdir().unwrap();
            let texts: Vec<&str> = messages.iter().map(String::as_str).collect();
            put(&mut DirectorySink::new(dir.path()), &texts).unwrap();
            let back: Vec<String> = lines(dir.path())
                .iter()
                .map(|line| line["message"].as_str().unwrap().to_owned())
                .collect();
            prop_assert_eq!(back, messages);
        }
    }
}
