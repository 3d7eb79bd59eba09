//! Which files there are, and one fair, bounded turn over those with something to read.
//!
//! [`Tail`] owns the table of tailed contents. A *scan* compares what is on disk with that table
//! (`reconcile.rs`) and decides what is new, renamed, copied, truncated, replaced or gone; hints
//! bring a scan or a read forward, and displace at once an open file that was cut. Reading is pulled
//! by the agent: [`Tail::next_turn`] names a file whose turn it is, [`Tail::read`] gives bytes from
//! its position, [`Tail::consumed`] moves the position. Nothing is buffered between turns: the file
//! is the queue.
//!
//! Invariants:
//! - A content ([`File`]) keeps its [`FileId`] wherever rotation moves it; a [`FileId`] never
//!   means two contents.
//! - A position is used only after evidence (head, anchor, size) that the file is the one it was
//!   measured in. In doubt a file is read from its beginning.
//! - A successor is not read before what its predecessors held when it appeared.
//! - A deleted file stays open until it is read and settled.
//! - Bytes that were seen and are gone unread make a [`Lost`].

mod adopt;
mod copies;
pub(crate) mod discover;
mod file;
mod fingerprint;
mod glimpse;
mod hints;
mod lifetime;
mod likeness;
mod line;
mod newborn;
mod opening;
mod queue;
mod reader;
mod reconcile;
mod records;
pub(crate) mod relation;
mod rescued;
pub(crate) mod rotation;
mod siblings;
#[cfg(test)]
pub(crate) mod testing;
mod turn;
mod watching;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Source;
use crate::event::{EpochMs, FileId, FileKey, FileRecord, Now, Offset};
use crate::ports::{Files, Watch};

use copies::Original;
pub use discover::list;
pub use file::File;
pub(crate) use file::{Naming, Place};
use glimpse::Glimpse;
pub use lifetime::Lost;
pub use reader::ReadBuffer;
use records::Dormant;
pub use turn::Turn;

/// Files held open at once. Those that are read to their end and settled are closed first; a
/// deleted or rotated one with unread bytes is never closed for this.
const OPEN_FILES_MAX: usize = 512;

/// Shortest time between two scans of a source, plus a share for each entry it looks at.
const SCAN_GAP_MS: u64 = 20;

/// How long the copy of a truncated file is looked for.
const DISPLACED_MS: u64 = 2_000;

/// How long a deleted file that is read and settled is kept open, in case it is still written.
const DELETED_QUIET_MS: u64 = 60_000;

/// All tailed files.
#[derive(Debug)]
pub struct Tail {
    sources: Vec<SourceState>,
    /// Boxed, since a tree leaves nearly half of its places empty.
    files: BTreeMap<FileId, Box<File>>,
    by_key: HashMap<FileKey, FileId>,
    /// Where hints find a file: present path → file.
    by_path: HashMap<Arc<Path>, FileId>,
    /// Live path → the contents that are or were written under it, as far as names tell.
    by_family: HashMap<Arc<Path>, Vec<FileId>>,
    ready: VecDeque<FileId>,
    timers: BTreeSet<(u64, FileId)>,
    /// Files whose source is not there (yet), or excludes them.
    dormant: Vec<Dormant>,
    /// Copies of files that were not (yet) truncated: not read, since they hold nothing new.
    /// When the original is no more: with what was read of it.
    copies: HashMap<FileKey, (FileId, Option<Box<Original>>)>,
    /// Inodes that a content was displaced from, until somebody is known to have them: what they
    /// hold is younger than that content, whatever its date says.
    vacated: HashSet<FileKey>,
    watched: BTreeMap<PathBuf, Watched>,
    /// What hints showed grown and nobody has read since, with the size that is surely its own.
    hinted: BTreeMap<FileId, u64>,
    /// Whose turn waits for a scan: see [`Tail::await_scan`].
    unsure: BTreeSet<FileId>,
    /// Files that will leave by themselves: deleted, displaced, rescued.
    passing: BTreeSet<FileId>,
    /// Files of which anything was heard since a checkpoint, or settled.
    changed: BTreeSet<FileId>,
    settled: BTreeSet<FileId>,
    /// See [`Tail::structure`].
    structure: u64,
    open_files: usize,
    next_id: u32,
    scans: u64,
    boot_ms: Option<EpochMs>,
    /// What the last look brought, for the agent to take.
    news: News,
}

/// What happened to the table since the agent last asked.
#[derive(Debug, Default)]
pub struct News {
    /// Contents that have joined.
    pub joined: Vec<FileId>,
    /// Contents whose position was set back, with the position.
    pub reset: Vec<(FileId, Offset)>,
    /// Contents that have left; nothing of them can be read any more.
    pub left: Vec<FileId>,
    /// Of those, the ones that are nowhere on disk: what of them is on its way cannot be read again.
    pub orphaned: Vec<(FileId, Lost)>,
    /// Contents whose source is gone or excludes them. What is on its way of them will be answered for,
    /// and counts when they are wanted again.
    pub asleep: Vec<FileId>,
    /// Bytes that were seen and are gone.
    pub lost: Vec<Lost>,
    /// Rescue segments that are no longer needed.
    pub spent: Vec<u64>,
}

/// What a scan looks with.
struct Look<'a> {
    files: &'a mut dyn Files,
    /// How far the service has answered for a file.
    settled: &'a dyn Fn(FileId) -> Offset,
    now: Now,
}

#[derive(Debug)]
struct SourceState {
    source: Arc<Source>,
    /// Whether no earlier run ever scanned it: then `start` decides for what is there.
    is_first_scan: bool,
    /// Whether it was scanned since the list of sources was taken.
    has_been_seen: bool,
    scan_due_ms: u64,
    scanned_ms: Option<u64>,
    gap_ms: u64,
    /// How many scans in a row, of more directories than are watched, found one to watch that was not
    /// watched before.
    fresh_walks: u32,
    problems: Vec<String>,
    /// What is named in full and is never read, in words.
    no_files: Vec<String>,
    /// Families that moved and could not be looked at.
    moving: reconcile::Moving,
    /// Inodes that no scan has taken in yet.
    glimpsed: HashMap<FileKey, Glimpse>,
}

#[derive(Debug)]
struct Watched {
    gives_hints: bool,
    /// Which sources look into it, by their place in the list; each once.
    sources: Vec<usize>,
}

impl Tail {
    /// A table that knows what a checkpoint knew. `seen` are the sources that were scanned by an
    /// earlier run.
    #[must_use]
    pub fn new(records: Vec<FileRecord>, boot_ms: Option<EpochMs>) -> Self {
        Self {
            sources: Vec::new(),
            files: BTreeMap::new(),
            by_key: HashMap::new(),
            by_path: HashMap::new(),
            by_family: HashMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            dormant: records.into_iter().map(Dormant::from).collect(),
            copies: HashMap::new(),
            vacated: HashSet::new(),
            watched: BTreeMap::new(),
            hinted: BTreeMap::new(),
            unsure: BTreeSet::new(),
            passing: BTreeSet::new(),
            changed: BTreeSet::new(),
            settled: BTreeSet::new(),
            structure: 0,
            open_files: 0,
            next_id: 0,
            scans: 0,
            boot_ms,
            news: News::default(),
        }
    }

    /// Takes a new list of sources: at start, on reload, when the CodeDeploy agent moved. Files of
    /// sources that stay keep their place; `is_known` says which sources an earlier run scanned.
    pub fn set_sources(
        &mut self,
        sources: Vec<Arc<Source>>,
        is_known: &dyn Fn(&str) -> bool,
        files: &mut dyn Files,
        settled: &dyn Fn(FileId) -> Offset,
    ) {
        let old: Vec<SourceState> = std::mem::take(&mut self.sources);
        for source in sources {
            let before = old.iter().find(|state| state.source.name == source.name);
            self.sources.push(SourceState {
                is_first_scan: before.is_none_or(|s| s.is_first_scan) && !is_known(&source.name),
                source,
                has_been_seen: false,
                scan_due_ms: 0,
                scanned_ms: None,
                gap_ms: SCAN_GAP_MS,
                fresh_walks: 0,
                problems: Vec::new(),
                no_files: Vec::new(),
                moving: reconcile::Moving::new(),
                glimpsed: HashMap::new(),
            });
        }
        for watched in self.watched.values_mut() {
            watched.sources.clear();
        }
        self.rebind_files(files, settled);
        self.wake_dormant();
    }

    /// Takes out a file whose bytes are kept elsewhere now, or cannot be had at all.
    pub fn forget(&mut self, id: FileId, files: &mut dyn Files) {
        self.unlink(id, files);
        if let Some(file) = self.files.get_mut(&id) {
            file.size = file.read.0;
        }
        self.leave(id, "forgotten");
    }

    /// Whether no content is being looked for.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        let mut passing = self.passing.iter().filter_map(|id| self.file(*id));
        !passing.any(File::is_displaced)
    }

    /// Deleted files that are open and hold unread bytes.
    pub fn deleted_unread(&self) -> impl Iterator<Item = &File> {
        let is_held = |f: &&File| f.place == Place::Deleted && f.handle.is_some();
        self.passing
            .iter()
            .filter_map(|id| self.file(*id))
            .filter(is_held)
    }

    /// Makes every source's scan due.
    pub fn scan_all_now(&mut self) {
        for state in &mut self.sources {
            state.scan_due_ms = 0;
            state.scanned_ms = None;
        }
    }

    /// Does the scans that are due, wakes files whose quiet time is over, lets go of what is done
    /// with. Until every source was scanned once, that ends with the first that found something to
    /// read: it need not wait for thousands of others. `settled` tells how far the service has
    /// answered for a file.
    pub fn look(
        &mut self,
        files: &mut dyn Files,
        watch: &mut dyn Watch,
        settled: &dyn Fn(FileId) -> Offset,
        now: Now,
    ) {
        let is_first_look = !self.has_looked();
        for index in 0..self.sources.len() {
            let state = &self.sources[index];
            if is_first_look && state.has_been_seen {
                continue;
            }
            let gap_over = state
                .scanned_ms
                .is_none_or(|at| now.mono_ms >= at + state.gap_ms);
            if state.scan_due_ms <= now.mono_ms && gap_over {
                let mut look = Look {
                    files,
                    settled,
                    now,
                };
                self.scan(index, watch, &mut look);
                if is_first_look && !self.has_looked() && self.is_ready() {
                    return;
                }
            }
        }
        self.wake_timers(now);
        self.give_up_displaced(now);
        self.let_go(files, settled, now);
    }

    /// What happened to the table since the last call.
    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// One file.
    #[must_use]
    pub fn file(&self, id: FileId) -> Option<&File> {
        self.files.get(&id).map(Box::as_ref)
    }

    /// Notes how far a file's records were counted.
    pub fn heard(&mut self, id: FileId, until: Offset) {
        if let Some(file) = self.files.get_mut(&id) {
            file.heard = file.heard.max(until);
            self.changed.insert(id);
        }
    }

    /// All files, in the order in which they were met.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.files.values().map(Box::as_ref)
    }

    /// What cannot be read, or never is though it is named, in words.
    pub fn problems(&self) -> impl Iterator<Item = &String> {
        let sources = self.sources.iter();
        sources.flat_map(|state| state.problems.iter().chain(&state.no_files))
    }

    /// Whether there are places it should look at and cannot.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.sources.iter().any(|state| !state.problems.is_empty())
    }

    fn new_id(&mut self) -> FileId {
        self.next_id += 1;
        FileId(self.next_id)
    }

    /// The source of that name, if it is there.
    #[must_use]
    pub fn source_named(&self, name: &str) -> Option<Arc<Source>> {
        let state = &self.sources[self.source_index(name)?];
        Some(Arc::clone(&state.source))
    }

    fn source_index(&self, name: &str) -> Option<usize> {
        let mut sources = self.sources.iter();
        sources.position(|state| *state.source.name == *name)
    }

    fn blank(&self, id: FileId, source: Arc<Source>, root: Arc<Path>, path: Arc<Path>) -> File {
        File {
            id,
            source,
            root,
            family: Arc::clone(&path),
            path,
            key: None,
            heads: Vec::new(),
            anchor: fingerprint::Anchor::NONE,
            unverified: None,
            marks: Vec::new(),
            recorded: None,
            handle: None,
            read: Offset(0),
            heard: Offset(0),
            size: 0,
            size_is_recalled: false,
            modified_ms: 0,
            has_changed: false,
            grown_mono_ms: 0,
            place: Place::Listed,
            after: Vec::new(),
            gate_bytes: 0,
            unreadable: None,
            is_left_alone: false,
            seen_in_scan: self.scans,
            queued: false,
            due_mono_ms: None,
        }
    }
}
