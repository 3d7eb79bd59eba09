//! What `notify` tells, noted until the loop takes it; and the thread that wakes the loop.
//!
//! `notify`'s thread calls [`Shared::hear`], which only puts paths into a bounded set; beyond
//! [`PATHS_MAX`] the set becomes one bit. [`Shared::pace`] runs on a thread of its own and wakes the
//! loop at most once in [`PACE`]; behind an event `notify`'s own thread sleeps as long, so that
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

    /// Called by `notify`'s thread for each event; true if that made it sleep for a pace.
    pub(super) fn hear(&self, event: notify::Result<Event>, last: &mut Instant) -> bool {
        let is_alone = last.elapsed() >= ALONE;
        let may_rest = self.note(event, is_alone);
        let has_rested = is_alone && may_rest && self.rest();
        *last = Instant::now();
        has_rested
    }

    /// False of an access to what we care for: a write may follow at once.
    fn note(&self, event: notify::Result<Event>, is_alone: bool) -> bool {
        if let Ok(event) = &event {
            // Opening, reading and closing: ours above all, and whose it is matters only where the
            // thread would rest. A write has its own event.
            let is_access = event.kind.is_access();
            if (is_alone || !is_access) && !self.is_wanted(event) {
                return true;
            }
            if is_access {
                return false;
            }
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
        true
    }

    /// Lets `notify`'s thread sleep for a pace behind an event that came alone: the kernel keeps
    /// what comes meanwhile, like events joined, and it is read in one go. Not in the midst of
    /// many events, and no longer than until that thread is asked for something.
    /// True if it was not.
    fn rest(&self) -> bool {
        let is_free = |noted: &mut Noted| !noted.is_asked && !noted.stop;
        let rested = self.asked.wait_timeout_while(self.lock(), PACE, is_free);
        let (_noted, waited) = rested.unwrap_or_else(PoisonError::into_inner);
        waited.timed_out()
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
    use notify::event::{AccessKind, AccessMode};
    use std::path::Path;

    #[test]
    fn too_many_hints_become_a_rescan() {
        // Beyond the limit of distinct paths the notes must be one bit, and stay so until taken:
        // shown without a kernel, by noting names.
        let shared = Shared::default();
        for number in 0..=PATHS_MAX {
            shared.note(happens(EventKind::Any, &format!("f{number}")), false);
        }
        shared.note(happens(EventKind::Any, "one more"), false);
        let noted = shared.lock();
        assert!(noted.rescan && noted.wake && noted.paths.is_empty());
    }

    fn only_app_log() -> Shared {
        let shared = Shared::default();
        let is_it = |path: &Path| path.ends_with("app.log");
        shared.lock().interest = Some(Interest(std::sync::Arc::new(is_it)));
        shared
    }

    fn happens(kind: EventKind, name: &str) -> notify::Result<Event> {
        Ok(Event::new(kind).add_path(Path::new("/d").join(name)))
    }

    const OPENED: EventKind = EventKind::Access(AccessKind::Open(AccessMode::Any));

    /// `notify`'s thread rests for a pace behind an event that came alone, whoever cares for it; behind
    /// one of many, behind an access that a write may follow, and while it is asked for something, not
    /// at all; and being asked ends a rest: the last shown with a thread that would rest for ever.
    #[test]
    fn it_rests_behind_what_comes_alone() {
        let shared = only_app_log();
        let long_ago = Instant::now() - 2 * ALONE;
        let rests = |kind, name, last: Instant| shared.hear(happens(kind, name), &mut last.clone());
        let in_the_midst = Instant::now() + Duration::from_secs(3_600);
        for (kind, name, is_rest) in [
            (EventKind::Any, "app.log", true),
            (EventKind::Any, "build.tmp", true),
            (OPENED, "build.tmp", true),
            (OPENED, "app.log", false),
        ] {
            assert_eq!(rests(kind, name, long_ago), is_rest, "{kind:?} of {name}");
            assert!(!rests(kind, name, in_the_midst), "{kind:?} of {name}");
        }
        assert!(!shared.asking(|| rests(EventKind::Any, "app.log", long_ago)));
        std::thread::scope(|scope| {
            let resting = scope.spawn(|| {
                while !shared.lock().stop {
                    rests(EventKind::Any, "app.log", long_ago);
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
        let shared = only_app_log();
        let noted_of = |name: &str| {
            shared.note(happens(EventKind::Any, name), true);
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
        let shared = Shared::default();
        for kind in [
            OPENED,
            EventKind::Access(AccessKind::Close(AccessMode::Read)),
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
        ] {
            for is_alone in [false, true] {
                shared.note(happens(kind, "f"), is_alone);
            }
        }
        let noted = shared.lock();
        assert!(!noted.wake && noted.paths.is_empty());
    }
}
