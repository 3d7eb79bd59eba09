//! Hints about directories in memory, with every way in which real ones fail.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use deploywatch::ports::{Hints, Watch};

/// How good the hints are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Hearing {
    /// Every change is told.
    Perfect,
    /// This share of the changes is never told.
    Lossy(f64),
    /// With this chance per change the queue overflows: all is forgotten, `rescan` is told.
    Overflowing(f64),
    /// No inotify here: `watch` says false.
    Absent,
}

/// What changed in the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// Something about this path.
    Path(PathBuf),
    /// A directory was made.
    Made(PathBuf),
    /// A directory is gone, and every watch on it.
    Gone(PathBuf),
}

/// [`Watch`] in memory.
#[derive(Debug)]
pub(crate) struct MemWatch {
    hearing: Hearing,
    rng: fastrand::Rng,
    dirs: BTreeSet<PathBuf>,
    watched: BTreeSet<PathBuf>,
    hints: Hints,
}

impl MemWatch {
    pub(crate) fn new(seed: u64, hearing: Hearing) -> Self {
        Self {
            hearing,
            rng: fastrand::Rng::with_seed(seed),
            dirs: BTreeSet::from([PathBuf::from("/")]),
            watched: BTreeSet::new(),
            hints: Hints::default(),
        }
    }

    /// The file system changed.
    pub(crate) fn note(&mut self, touch: Touch) {
        match touch {
            Touch::Path(path) => self.tell(path),
            Touch::Made(path) => {
                self.dirs.insert(path.clone());
                self.tell(path);
            }
            Touch::Gone(path) => {
                self.dirs.remove(&path);
                if self.watched.remove(&path) {
                    self.hint(path.clone());
                }
                self.tell(path);
            }
        }
    }

    /// Whether there is something to take, which wakes the agent.
    pub(crate) fn is_ready(&self) -> bool {
        self.hints.rescan || !self.hints.paths.is_empty()
    }

    /// The process is gone, and with it what it watched.
    pub(crate) fn forget(&mut self) {
        self.watched.clear();
        self.hints = Hints::default();
    }

    fn tell(&mut self, path: PathBuf) {
        if path.parent().is_some_and(|dir| self.watched.contains(dir)) {
            self.hint(path);
        }
    }

    fn hint(&mut self, path: PathBuf) {
        match self.hearing {
            Hearing::Absent => return,
            Hearing::Lossy(share) if self.rng.f64() < share => return,
            Hearing::Overflowing(share) if self.rng.f64() < share => {
                self.hints.paths.clear();
                self.hints.rescan = true;
                return;
            }
            _ => {}
        }
        if self.hints.paths.last() != Some(&path) {
            self.hints.paths.push(path);
        }
    }
}

impl Watch for MemWatch {
    fn watch(&mut self, dir: &Path) -> bool {
        if self.hearing == Hearing::Absent || !self.dirs.contains(dir) {
            return false;
        }
        self.watched.insert(dir.to_owned());
        true
    }

    fn unwatch(&mut self, dir: &Path) {
        self.watched.remove(dir);
    }

    fn take(&mut self) -> Hints {
        std::mem::take(&mut self.hints)
    }
}
