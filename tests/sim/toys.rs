//! Toy readers to test the simulation with: one that is sound, and ones with a known defect that
//! the oracle has to find.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deploywatch::config::Identity;
use deploywatch::event::{
    Batch, FileId, FileOrigin, Now, Offset, Origin, Outcome, Piece, Refusals, Slot, Span, Target,
};
use deploywatch::ports::{CallId, ErrorClass, FileKey, GroupOptions, Handle, Kind, LogCall};

use crate::oracle::Told;
use crate::plan::{APP_DIR, LOG_DIR, Plan, ROOT_DIR};
use crate::subject::{Checkpoint, Edges, Gauge, Record, Subject, Wake};
use crate::world::store::MemStore;

/// No defect.
pub(crate) const SOUND: u8 = 0;
/// Counts bytes as settled when they are sent, not when they are answered for.
pub(crate) const EAGER: u8 = 1;
/// Lets go of a file when its name leads elsewhere.
pub(crate) const FORGETFUL: u8 = 2;
/// Sends the first line of every tenth batch twice.
pub(crate) const STUTTERING: u8 = 3;
/// Throws a batch away when it is throttled.
pub(crate) const HASTY: u8 = 4;
/// Changes a byte.
pub(crate) const SLOPPY: u8 = 5;

const SCAN_MS: u64 = 1_000;
const GROUP: &str = "/toy";
const NAME: &str = "checkpoints";

struct Tailed {
    path: PathBuf,
    handle: Handle,
    read: u64,
    settled: u64,
    target: Arc<Target>,
    /// A call is under way or waits to be repeated.
    waiting: Option<Waiting>,
}

enum Waiting {
    Answer(u64),
    Retry(Batch, u64),
}

/// A reader with the defect `DEFECT`.
pub(crate) struct Toy<const DEFECT: u8> {
    told: Box<dyn Fn(&Path) -> Told>,
    files: BTreeMap<FileKey, Tailed>,
    saved: Vec<Record>,
    next_call: u64,
    scan_ms: u64,
    stopping: bool,
}

impl<const DEFECT: u8> Subject for Toy<DEFECT> {
    fn start(plan: &Plan, _seed: u64, edges: &mut Edges<'_>, _now: Now) -> Result<Self, String> {
        let content = edges.store.load(NAME).map_err(|error| error.to_string())?;
        Ok(Self {
            told: plan.told(),
            files: BTreeMap::new(),
            saved: decode(content.as_deref())?,
            next_call: 0,
            scan_ms: 0,
            stopping: false,
        })
    }

    fn learn(&mut self, _identity: Identity, _now: Now) {}

    fn step(&mut self, edges: &mut Edges<'_>, now: Now) -> Wake {
        edges.watch.take();
        self.take_answers(edges, now);
        if now.mono_ms >= self.scan_ms && !self.stopping {
            self.scan_ms = now.mono_ms + SCAN_MS;
            for dir in [APP_DIR, LOG_DIR, ROOT_DIR] {
                self.scan(edges, Path::new(dir));
            }
        }
        for key in self.files.keys().copied().collect::<Vec<_>>() {
            self.work(edges, now, key);
        }
        self.save(edges);
        Wake::At(now.mono_ms + 500)
    }

    fn reload(&mut self, _plan: &Plan, _edges: &mut Edges<'_>, _now: Now) {}

    fn stop(&mut self, _now: Now) {
        self.stopping = true;
    }

    fn is_done(&self, _now: Now) -> bool {
        self.files.values().all(|file| file.waiting.is_none())
    }

    fn finish(mut self, edges: &mut Edges<'_>, _now: Now) {
        self.save(edges);
    }

    fn gauge(&self, _now: Now) -> Gauge {
        Gauge {
            batch_bytes: (0, 0),
            ..Gauge::default()
        }
    }

    fn since_ms(_store: &MemStore) -> Option<i64> {
        None
    }

    fn checkpoint(store: &MemStore) -> Result<Checkpoint, String> {
        let records = decode(store.peek(NAME))?;
        Ok(Checkpoint { number: 0, records })
    }
}

impl<const DEFECT: u8> Toy<DEFECT> {
    fn scan(&mut self, edges: &mut Edges<'_>, dir: &Path) {
        let Ok(names) = edges.files.list(dir, dir) else {
            return;
        };
        let mut seen = Vec::new();
        for (name, kind) in names {
            let path = dir.join(name);
            match kind {
                Kind::Directory => self.scan(edges, &path),
                Kind::Other => {}
                Kind::File => {
                    if let Ok(meta) = edges.files.stat(dir, &path) {
                        seen.push((meta.key, path));
                    }
                }
            }
        }
        for (key, path) in seen {
            let moved = self.files.get(&key).is_some_and(|file| file.path != path);
            if moved && DEFECT == FORGETFUL {
                if let Some(file) = self.files.remove(&key) {
                    edges.files.close(file.handle);
                }
                continue;
            }
            self.meet(edges, key, path);
        }
    }

    fn meet(&mut self, edges: &mut Edges<'_>, key: FileKey, path: PathBuf) {
        if let Some(file) = self.files.get_mut(&key) {
            file.path = path;
            return;
        }
        let saved = self.saved.iter().find(|record| record.key == key);
        let mine = match (self.told)(&path) {
            Told::Named => true,
            Told::Sibling => saved.is_some() && DEFECT != FORGETFUL,
            Told::No => false,
        };
        let settled = saved.map_or(0, |record| record.settled);
        let root = path.parent().unwrap_or(Path::new("/")).to_owned();
        if mine && let Ok((handle, _)) = edges.files.open(&root, &path) {
            let stream = format!("{}-{}", key.device, key.inode);
            self.files.insert(
                key,
                Tailed {
                    path,
                    handle,
                    read: settled,
                    settled,
                    target: Arc::new(Target {
                        group: GROUP.to_owned(),
                        stream,
                    }),
                    waiting: None,
                },
            );
        }
    }

    fn work(&mut self, edges: &mut Edges<'_>, now: Now, key: FileKey) {
        let (id, stopping) = (self.next_call, self.stopping);
        let Some(file) = self.files.get_mut(&key) else {
            return;
        };
        match file.waiting.take() {
            Some(Waiting::Retry(batch, due_ms)) if due_ms <= now.mono_ms => {
                let range = 0..batch.slots.len();
                edges.logs.submit(CallId(id), LogCall::Put { batch, range });
                file.waiting = Some(Waiting::Answer(id));
                self.next_call += 1;
                return;
            }
            Some(waiting) => {
                file.waiting = Some(waiting);
                return;
            }
            None if stopping => return,
            None => {}
        }
        let mut buffer = vec![0; 65_536];
        let read = edges
            .files
            .read_at(file.handle, Offset(file.read), &mut buffer);
        let bytes = read.unwrap_or(0);
        let whole = buffer[..bytes].iter().rposition(|byte| *byte == b'\n');
        // What a rotated file ends with, is its last line, with or without a line end.
        let rotated = (self.told)(&file.path) != Told::Named && bytes > 0;
        let Some(end) = whole.map(|at| at + 1).or(rotated.then_some(bytes)) else {
            if bytes == 0
                && edges
                    .files
                    .meta(file.handle)
                    .is_ok_and(|meta| meta.links == 0)
            {
                edges.files.close(file.handle);
                self.files.remove(&key);
            }
            return;
        };
        let origin = Origin::File(Span {
            file: FileId(0),
            start: Offset(file.read),
            end: Offset(file.read + end as u64),
        });
        let stutter = DEFECT == STUTTERING && id.is_multiple_of(10);
        let mut content = buffer[..end].to_vec();
        if DEFECT == SLOPPY && id % 10 == 9 {
            content[end / 2] = content[end / 2].wrapping_add(1) & 0x7f;
        }
        file.read += end as u64;
        if let Some(batch) = make_batch(&content, &file.target, origin, now, stutter) {
            let range = 0..batch.slots.len();
            edges.logs.submit(CallId(id), LogCall::Put { batch, range });
            file.waiting = Some(Waiting::Answer(id));
            self.next_call += 1;
        } else {
            file.settled = file.read;
        }
        if DEFECT == EAGER {
            file.settled = file.read;
        }
    }

    fn take_answers(&mut self, edges: &mut Edges<'_>, now: Now) {
        while let Some(answer) = edges.logs.answer() {
            let Some(batch) = answer.batch else {
                continue;
            };
            let mut files = self.files.values_mut();
            let Some(file) = files.find(
                |file| matches!(file.waiting, Some(Waiting::Answer(id)) if id == answer.id.0),
            ) else {
                continue;
            };
            let class = answer.result.err().map(|error| error.class);
            if class.is_none() || (DEFECT == HASTY && class == Some(ErrorClass::Throttled)) {
                file.waiting = None;
                file.settled = file.read;
                drop(batch.settle(&Outcome::Delivered(Refusals::default())));
                continue;
            }
            if class == Some(ErrorClass::MissingTarget) {
                let group = LogCall::CreateGroup(GROUP.to_owned(), GroupOptions::default());
                edges.logs.submit(CallId(self.next_call), group);
                let stream = LogCall::CreateStream((*batch.target).clone());
                edges.logs.submit(CallId(self.next_call + 1), stream);
                self.next_call += 2;
            }
            file.waiting = Some(Waiting::Retry(batch, now.mono_ms + 500));
        }
    }

    fn save(&mut self, edges: &mut Edges<'_>) {
        let mut records = self.saved.clone();
        records.retain(|record| !self.files.contains_key(&record.key));
        records.extend(self.files.iter().map(|(key, file)| Record {
            path: file.path.clone(),
            key: *key,
            settled: file.settled,
            rescued: false,
        }));
        if records != self.saved && edges.store.save(NAME, &encode(&records)).is_ok() {
            self.saved = records;
        }
    }
}

fn make_batch(
    content: &[u8],
    target: &Arc<Target>,
    origin: Origin,
    now: Now,
    stutter: bool,
) -> Option<Batch> {
    let mut body = format!(
        "{{\"logGroupName\":{},\"logStreamName\":{},\"logEvents\":[",
        serde_json::json!(target.group),
        serde_json::json!(target.stream)
    )
    .into_bytes();
    let body_head = u32::try_from(body.len()).expect("short");
    let mut slots = Vec::new();
    let mut counted_bytes = 0;
    let mut lines: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
    lines.retain(|line| !line.is_empty());
    if stutter && let Some(first) = lines.first() {
        lines.insert(0, first);
    }
    for line in lines {
        let message = String::from_utf8_lossy(line);
        if body.len() > body_head as usize {
            body.push(b',');
        }
        let event = serde_json::json!({"timestamp": now.wall_ms, "message": message});
        body.extend_from_slice(event.to_string().as_bytes());
        counted_bytes += message.len() + 26;
        slots.push(Slot {
            time_ms: now.wall_ms,
            body_end: u32::try_from(body.len()).expect("short"),
            message_bytes: u32::try_from(message.len()).expect("short"),
            piece: 0,
        });
    }
    body.extend_from_slice(b"]}");
    (!slots.is_empty()).then(|| Batch {
        target: Arc::clone(target),
        body,
        body_head,
        slots,
        pieces: vec![Piece {
            origin,
            file: Arc::new(FileOrigin {
                source: Arc::from("toy"),
                path: Path::new("").into(),
            }),
        }],
        counted_bytes,
    })
}

fn encode(records: &[Record]) -> Vec<u8> {
    let rows: Vec<(&PathBuf, FileKey, u64)> = records
        .iter()
        .map(|record| (&record.path, record.key, record.settled))
        .collect();
    serde_json::to_vec(&rows).expect("plain data")
}

fn decode(content: Option<&[u8]>) -> Result<Vec<Record>, String> {
    let Some(content) = content else {
        return Ok(Vec::new());
    };
    let rows: Vec<(PathBuf, FileKey, u64)> =
        serde_json::from_slice(content).map_err(|error| error.to_string())?;
    let record = |(path, key, settled)| Record {
        path,
        key,
        settled,
        rescued: false,
    };
    Ok(rows.into_iter().map(record).collect())
}
