//! What `notify` tells, noted until the loop takes it; and the thread that wakes the loop.
//!
//! `notify`'s thread calls [`Shared::note`], which only puts paths into a bounded set; beyond
//! [`PATHS_MAX`] the set becomes one bit. [`Shared::pace`] runs on a thread of its own and wakes the
//! loop at most once in [`PACE`]; [`Shared::rest`] lets `notify`'s own thread sleep as long, so that
//! a file that is written line by line wakes none of the three for each line. Accesses are dropped
//! before anything else. Used by `watch.rs`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{ModifyKind, RenameMode};
use notify::{Event, EventKind};

use crate::ports::Interest;

/// Distinct paths noted before they collapse to "look at everything"; the kernel's own queue has
/// the same length (`fs.inotify.max_queued_events`, inotify(7)).
pub(super) const PATHS_MAX: usize = 16_384;
/// The shortest time between two wakes: the first event after a quiet moment wakes at once, those
/// behind it together.
pub(super) const PACE: Duration = Duration::from_millis(20);

/// An event that comes so long after the last one was not waiting in the kernel's queue with others.
const ALONE: Duration = Duration::from_micros(100);

#[derive(Debug, Default)]
pub(super) struct Shared {
    noted: Mutex<Noted>,
    /// The loop is to be woken, or the thread that wakes it shall end.
    pub(super) changed: Condvar,
    /// `notify`'s thread is wanted.
    asked: Condvar,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Noted,
    Dropped,
}

/// What was noticed since the last [`Watch::take`], under one lock.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) paths: HashSet<PathBuf>,
    /// Those of them under which nothing stands any more, or something else.
    pub(super) gone: HashSet<PathBuf>,
    pub(super) rescan: bool,
    /// What is noted at all; `None`: everything.
    pub(super) interest: Option<Interest>,
    /// Some directory is watched under one of several names, so that a path alone does not tell
    /// whether somebody cares.
    pub(super) is_aliased: bool,
    /// The loop is to be woken.
    pub(super) wake: bool,
    /// `notify`'s thread is to answer somebody.
    is_asked: bool,
    /// The thread that wakes it shall end.
    pub(super) stop: bool,
    /// An error of `notify` has been told.
    complained: bool,
}

impl Shared {
    /// Notes are whole between any two instructions, so a panic elsewhere does not spoil them.
    pub(super) fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by `notify`'s thread for each event.
    pub(super) fn note(&self, event: notify::Result<Event>) -> Fate {
        let is_dropped = match &event {
            // Opening, reading and closing: ours above all. A write has its own event.
            Ok(event) => event.kind.is_access() || !self.is_wanted(event),
            Err(_) => false,
        };
        if is_dropped {
            return Fate::Dropped;
        }
        let mut noted = self.lock();
        let was_told = noted.wake;
        match event {
            Ok(event) => noted.take_in(event),
            Err(error) => noted.complain(&error),
        }
        drop(noted);
        // The thread that wakes the loop sleeps through what it knows already.
        if !was_told {
            self.changed.notify_one();
        }
        Fate::Noted
    }

    /// Lets `notify`'s thread sleep for a pace behind an event that came alone: the kernel keeps
    /// what comes meanwhile, like events joined, and it is read in one go. Not in the midst of
    /// many events, and no longer than until that thread is asked for something.
    pub(super) fn rest(&self, last: &mut Instant) {
        if last.elapsed() >= ALONE {
            let is_free = |noted: &mut Noted| !noted.is_asked && !noted.stop;
            let rested = self.asked.wait_timeout_while(self.lock(), PACE, is_free);
            drop(rested.unwrap_or_else(PoisonError::into_inner));
        }
        *last = Instant::now();
    }

    /// Asks `notify` for what its own thread answers.
    pub(super) fn asking<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.lock().is_asked = true;
        self.asked.notify_one();
        let answer = ask();
        self.lock().is_asked = false;
        answer
    }

    /// Whether somebody cares. Beside the files that are shipped lie others, in `/tmp` above all, and
    /// what happens to those must not wake us.
    fn is_wanted(&self, event: &Event) -> bool {
        let noted = self.lock();
        if noted.is_aliased || event.need_rescan() {
            return true;
        }
        let interest = noted.interest.clone();
        drop(noted);
        interest.is_none_or(|Interest(wants)| event.paths.iter().any(|path| wants(path)))
    }

    /// Wakes the loop whenever there is something new, but not too often.
    pub(super) fn pace(&self, waker: &dyn Fn()) {
        let mut noted = self.lock();
        while !noted.stop {
            if std::mem::take(&mut noted.wake) {
                drop(noted);
                waker();
                noted = self.wait(self.lock(), |noted| !noted.stop, Some(PACE));
            } else {
                noted = self.wait(noted, |noted| !noted.stop && !noted.wake, None);
            }
        }
    }

    fn wait<'a>(
        &self,
        noted: MutexGuard<'a, Noted>,
        while_so: impl Fn(&Noted) -> bool,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, Noted> {
        let condition = |noted: &mut Noted| while_so(noted);
        match limit {
            None => self
                .changed
                .wait_while(noted, condition)
                .unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                self.changed
                    .wait_timeout_while(noted, limit, condition)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        }
    }
}

impl Noted {
    fn take_in(&mut self, event: Event) {
        if event.need_rescan() {
            return self.collapse();
        }
        if leaves_its_name(event.kind) {
            self.gone.extend(event.paths.iter().cloned());
            if self.gone.len() > PATHS_MAX {
                return self.collapse();
            }
        }
        self.add(event.paths);
    }

    pub(super) fn add(&mut self, paths: Vec<PathBuf>) {
        self.wake = true;
        if self.rescan {
            return;
        }
        self.paths.extend(paths);
        if self.paths.len() > PATHS_MAX {
            self.collapse();
        }
    }

    fn collapse(&mut self) {
        self.paths = HashSet::new();
        // A rescan lets go of every directory anyway.
        self.gone = HashSet::new();
        self.rescan = true;
        self.wake = true;
    }

    /// Not expected of a sane kernel. The scan goes on at its slow pace.
    fn complain(&mut self, error: &notify::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::error!(%error, "inotify failed, changes may be found by polling only");
        }
        self.collapse();
    }
}

/// Whether a path does not name what it named before.
fn leaves_its_name(kind: EventKind) -> bool {
    match kind {
        EventKind::Remove(_) => true,
        EventKind::Modify(ModifyKind::Name(mode)) => mode != RenameMode::To,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn too_many_hints_become_a_rescan() {
        // Beyond the limit of distinct paths the notes must be one bit, and stay so until taken:
        // shown without a kernel, by noting names.
        let shared = Shared::default();
        let event = |name: String| Event::new(EventKind::Any).add_path(Path::new("/d").join(name));
        for number in 0..=PATHS_MAX {
            shared.note(Ok(event(format!("f{number}"))));
        }
        shared.note(Ok(event("one more".to_owned())));
        let noted = shared.lock();
        assert!(noted.rescan && noted.wake && noted.paths.is_empty());
    }

    /// `notify`'s thread rests for a pace behind an event that came alone; behind one of many, and
    /// while it is asked for something, not at all; and being asked ends a rest: shown by the clock,
    /// the last with a thread that would rest for ever.
    #[test]
    fn it_rests_behind_what_comes_alone() {
        let shared = Shared::default();
        let long_ago = Instant::now() - 2 * ALONE;
        let took = |last: &mut Instant| {
            let begin = Instant::now();
            shared.rest(last);
            begin.elapsed()
        };
        assert!(took(&mut long_ago.clone()) >= PACE);
        assert!(took(&mut (Instant::now() + PACE)) < PACE);
        assert!(shared.asking(|| took(&mut long_ago.clone())) < PACE);
        std::thread::scope(|scope| {
            let resting = scope.spawn(|| {
                while !shared.lock().stop {
                    shared.rest(&mut long_ago.clone());
                }
            });
            for _ in 0..100 {
                shared.asking(|| assert!(shared.lock().is_asked));
            }
            shared.lock().stop = true;
            resting.join().unwrap();
        });
    }

    #[test]
    fn what_nobody_cares_for_is_not_noted() {
        // Of two files only the one that is cared for may wake and be kept, unless a directory has
        // two names: then both, since the path may be the other one.
        let shared = Shared::default();
        shared.lock().interest = Some(Interest(std::sync::Arc::new(|path: &Path| {
            path.ends_with("app.log")
        })));
        let noted_of = |name: &str| {
            shared.note(Ok(
                Event::new(EventKind::Any).add_path(Path::new("/d").join(name))
            ));
            let mut noted = shared.lock();
            (
                std::mem::take(&mut noted.wake),
                std::mem::take(&mut noted.paths).len(),
            )
        };
        assert_eq!(noted_of("build.tmp"), (false, 0));
        assert_eq!(noted_of("app.log"), (true, 1));
        shared.lock().is_aliased = true;
        assert_eq!(noted_of("build.tmp"), (true, 1));
    }

    #[test]
    fn accesses_are_not_even_noted() {
        // `notify` reports every open and close, most of them our own: none may wake or be kept.
        use notify::event::{AccessKind, AccessMode};
        let shared = Shared::default();
        for kind in [
            AccessKind::Open(AccessMode::Any),
            AccessKind::Close(AccessMode::Read),
            AccessKind::Close(AccessMode::Write),
        ] {
            shared.note(Ok(
                Event::new(EventKind::Access(kind)).add_path("/d/f".into())
            ));
        }
        let noted = shared.lock();
        assert!(!noted.wake && noted.paths.is_empty());
    }
}
