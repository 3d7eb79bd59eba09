//! When to scan again: which directories give hints, and what the last scan saw.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::event::Now;
use crate::ports::Watch;

use super::discover::{Found, Walk};
use super::{SCAN_GAP_MS, Tail, Watched};

/// Time between two scans of a source whose directories are all watched.
const SCAN_WATCHED_MS: u64 = 30_000;

/// Time between two scans of a source with a directory that cannot be watched.
const SCAN_POLLED_MS: u64 = 1_000;

/// Entries of a scan that lengthen the gap to the next one by a millisecond.
const SCAN_ENTRIES_PER_GAP_MS: usize = 50;

/// Milliseconds by which an entry of a scan lengthens the time to the next one where hints tell of
/// changes: 30 s for each thousand. Looking costs a few microseconds for each, so that however many
/// there are it stays below 0.03 % of a processor.
const SCAN_WATCHED_MS_PER_ENTRY: u64 = 30;

/// The same where they must be looked for: below 2 % of a processor, and as often as ever up to a
/// thousand entries.
const SCAN_POLLED_MS_PER_ENTRY: u64 = 1;

/// Directories watched for one source. Each costs memory here and in the kernel, which also limits
/// their number, and of ten thousand old deployments nobody will write to one again.
const WATCHED_MAX: usize = 1_000;

/// How many of them may hold no file yet.
const WATCHED_EMPTY_MAX: usize = WATCHED_MAX / 2;

/// What watching a walk's directories brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rewatched {
    /// A directory is watched that was not before.
    fresh: bool,
    /// A directory gives no hints and must be polled.
    polled: bool,
}

/// What could not be watched in a walk.
#[derive(Debug, Default)]
struct Refused<'a> {
    /// There are no watches left.
    is_full: bool,
    /// The last one.
    last: Option<&'a Path>,
}

impl<'a> Refused<'a> {
    /// Asks again for a directory; whether it gives hints only since now. Where one was refused, so is
    /// what is below it, and for want of watches any other.
    fn ask_again(&mut self, dir: &'a Path, watched: &mut Watched, watch: &mut dyn Watch) -> bool {
        let gave_hints = watched.gives_hints;
        let is_hopeless = self.is_full || self.last.is_some_and(|last| dir.starts_with(last));
        if gave_hints || !is_hopeless {
            watched.gives_hints = watch.watch(dir);
            if !watched.gives_hints {
                self.is_full |= watch.is_full();
                self.last = Some(dir);
            }
        }
        watched.gives_hints && !gave_hints
    }
}

impl Tail {
    /// Notes the result of a scan and when the next one is due.
    pub(super) fn scanned(&mut self, index: usize, walk: &Walk, watches: Rewatched, now: Now) {
        let mut unsure = self.unsure.iter().filter_map(|id| self.file(*id));
        let is_awaited = unsure.any(|file| file.source.name == self.sources[index].source.name);
        let state = &mut self.sources[index];
        for problem in &walk.problems {
            if !state.problems.contains(problem) {
                tracing::warn!(source = %state.source.name, %problem, "cannot look everywhere");
            }
        }
        for problem in &walk.no_files {
            if !state.no_files.contains(problem) {
                tracing::warn!(source = %state.source.name, %problem, "what is named is never read");
            }
        }
        state.problems.clone_from(&walk.problems);
        state.no_files.clone_from(&walk.no_files);
        state.is_first_scan = false;
        state.has_been_seen = true;
        state.scanned_ms = Some(now.mono_ms);
        state.gap_ms = SCAN_GAP_MS + (walk.entries / SCAN_ENTRIES_PER_GAP_MS) as u64;
        let period = period_ms(walk, watches).max(state.gap_ms);
        state.fresh_walks = if watches.fresh && is_choice(walk) {
            state.fresh_walks + 1
        } else {
            0
        };
        if watches.fresh || is_awaited {
            // What appeared between the walk and the watch gave no hint, and beside what changed
            // since the walk there may be copies: walk once more. Of very many directories that are
            // written in turn each walk watches others: ever later.
            let doublings = match is_awaited {
                true => 0,
                false => state.fresh_walks.saturating_sub(1),
            };
            let pause_ms = state.gap_ms.saturating_mul(2_u64.saturating_pow(doublings));
            state.scan_due_ms = now.mono_ms + pause_ms.min(period);
            return;
        }
        state.scan_due_ms = (now.mono_ms / period + 1) * period;
    }

    /// Watches the directories a walk went through. They come in order, and nearly always they are
    /// the same as the last time; only the watch knows whether another one has such a name since.
    pub(super) fn rewatch(
        &mut self,
        index: usize,
        directories: &[PathBuf],
        watch: &mut dyn Watch,
    ) -> Rewatched {
        let mut fresh = Vec::new();
        let mut gone = Vec::new();
        let (mut polled, mut is_fresh) = (false, false);
        let mut refused = Refused::default();
        let of_source = |entry: &(&PathBuf, &mut Watched)| entry.1.sources.contains(&index);
        let mut before = self.watched.iter_mut().filter(of_source).peekable();
        for dir in directories {
            // As bytes first, which is much quicker than by components.
            let is_same = |entry: &(&PathBuf, &mut Watched)| {
                entry.0.as_os_str() == dir.as_os_str() || entry.0 == dir
            };
            let mut same = before.next_if(is_same);
            while same.is_none()
                && let Some((known, _)) = before.next_if(|(known, _)| *known < dir)
            {
                gone.push(known.clone());
                same = before.next_if(is_same);
            }
            match same {
                Some((_, watched)) => {
                    is_fresh |= refused.ask_again(dir, watched, watch);
                    polled |= !watched.gives_hints;
                }
                None => fresh.push(dir),
            }
        }
        gone.extend(before.map(|(known, _)| known.clone()));
        for dir in fresh {
            let watched = self.watched.entry(dir.clone()).or_insert_with(|| {
                is_fresh = true;
                Watched {
                    gives_hints: watch.watch(dir),
                    sources: Vec::new(),
                }
            });
            watched.sources.push(index);
            polled |= !watched.gives_hints;
        }
        for dir in gone {
            if let Some(watched) = self.watched.get_mut(&dir) {
                watched.sources.retain(|source| *source != index);
            }
        }
        self.let_go_of_the_unwatched(watch);
        Rewatched {
            fresh: is_fresh,
            polled,
        }
    }

    /// Ends the watches that no source wants any more.
    fn let_go_of_the_unwatched(&mut self, watch: &mut dyn Watch) {
        self.watched.retain(|dir, watched| {
            if watched.sources.is_empty() {
                watch.unwatch(dir);
            }
            !watched.sources.is_empty()
        });
    }
}

/// Time from one scan to the next.
fn period_ms(walk: &Walk, watches: Rewatched) -> u64 {
    let entries = walk.entries as u64;
    if watches.polled || !walk.problems.is_empty() {
        return SCAN_POLLED_MS.max(entries * SCAN_POLLED_MS_PER_ENTRY);
    }
    // In whole beats, so that several sources wake us once.
    let long_ms = entries * SCAN_WATCHED_MS_PER_ENTRY;
    SCAN_WATCHED_MS.max(long_ms.next_multiple_of(SCAN_WATCHED_MS))
}

/// The directories of a walk that are worth watching, in order: all, or, of very many, those in
/// which a file may yet appear and those on the way to the files written last. What happens in the
/// others the next scan finds.
pub(super) fn worth_watching(walk: &Walk) -> Cow<'_, [PathBuf]> {
    let directories = walk.directories.iter().map(PathBuf::as_path);
    if !is_choice(walk) {
        if walk.straight == 0 {
            return Cow::Borrowed(&walk.directories);
        }
        let all: BTreeSet<&Path> = directories.chain(walk.found.iter().flat_map(way)).collect();
        return owned(all);
    }
    let inhabited: HashSet<&Path> = walk.found.iter().flat_map(way).collect();
    let empty = directories.filter(|dir| !inhabited.contains(dir));
    let mut worth: BTreeSet<&Path> = empty.take(WATCHED_EMPTY_MAX).collect();
    let mut found: Vec<_> = walk.found.iter().collect();
    found.sort_by_key(|found| std::cmp::Reverse((found.meta.modified_ms, &found.path)));
    for found in found {
        worth.extend(way(found));
        if worth.len() >= WATCHED_MAX {
            break;
        }
    }
    owned(worth)
}

/// Whether a walk went through more directories than are watched.
fn is_choice(walk: &Walk) -> bool {
    walk.directories.len() + walk.straight > WATCHED_MAX
}

/// The directories that lead to a file, from its own to the root.
pub(super) fn way(found: &Found) -> impl Iterator<Item = &Path> {
    let ancestors = found.path.ancestors().skip(1);
    ancestors.take_while(|dir| dir.starts_with(&found.root))
}

fn owned(directories: BTreeSet<&Path>) -> Cow<'static, [PathBuf]> {
    Cow::Owned(directories.into_iter().map(Path::to_path_buf).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::event::{FileKey, Offset};
    use crate::ports::{Hints, Kind, Meta};
    use crate::tail::testing::{Logs, tail_of};

    /// Notes what is watched, and refuses only what is too many.
    #[derive(Default)]
    struct Noted {
        watched: BTreeSet<PathBuf>,
        /// How many may be watched.
        room: Option<usize>,
        /// What gives no hints, nor does anything below it, however much room there is.
        remote: Option<PathBuf>,
        /// What was asked for since the last walk.
        asked: BTreeSet<PathBuf>,
        is_full: bool,
    }

    impl Watch for Noted {
        fn watch(&mut self, dir: &Path) -> bool {
            assert!(self.asked.insert(dir.to_owned()), "{dir:?} was asked for");
            let is_remote = |remote: &PathBuf| dir.starts_with(remote);
            let has_room = self.room.is_none_or(|room| self.watched.len() < room);
            self.is_full = false;
            if self.watched.contains(dir) || self.remote.as_ref().is_some_and(is_remote) {
                return self.watched.contains(dir);
            }
            self.is_full = !has_room;
            has_room && self.watched.insert(dir.to_owned())
        }

        fn is_full(&self) -> bool {
            self.is_full
        }

        fn unwatch(&mut self, dir: &Path) {
            let was_watched = self.watched.remove(dir);
            assert!(was_watched || self.room.is_some(), "{dir:?} is not watched");
        }

        fn take(&mut self) -> Hints {
            Hints::default()
        }
    }

    /// A walk through so many deployments, the n-th written at n, and one that has no log yet.
    fn walk_of(deployments: i64) -> Walk {
        let mut walk = Walk::default();
        let on_the_way = ["/r", "/r/g", "/r/g/new"].map(PathBuf::from);
        walk.directories.extend(on_the_way);
        for nth in 0..deployments {
            let deployment = PathBuf::from(format!("/r/g/d-{:05}", nth * 7919 % deployments));
            let logs = deployment.join("logs");
            let meta = Meta {
                key: FileKey {
                    device: 1,
                    inode: nth.unsigned_abs(),
                },
                kind: Kind::File,
                size: 1,
                modified_ms: nth,
                links: 1,
            };
            walk.found.push(Found {
                root: Path::new("/r").into(),
                path: logs.join("scripts.log").into(),
                meta,
            });
            walk.directories.extend([deployment, logs]);
        }
        walk.directories.sort();
        walk
    }

    /// Of few directories all are watched; of very many a bounded number: the ones that lead to the
    /// last written, and those without a file. Shown by the newest, the oldest and a new one.
    #[test]
    fn of_very_many_directories_the_latest_are_watched() {
        let few = walk_of(100);
        assert_eq!(worth_watching(&few).len(), few.directories.len());
        let many = walk_of(10_000);
        let watched = worth_watching(&many);
        assert!((WATCHED_MAX..WATCHED_MAX + 4).contains(&watched.len()));
        assert!(watched.is_sorted());
        let is_watched = |dir: &Path| watched.iter().any(|watched| watched == dir);
        for dir in ["/r", "/r/g", "/r/g/new"] {
            assert!(is_watched(Path::new(dir)), "{dir}");
        }
        let logs_of = |nth: usize| many.found[nth].path.parent().unwrap();
        assert!(is_watched(logs_of(9_999)) && is_watched(logs_of(9_999).parent().unwrap()));
        assert!(!is_watched(logs_of(0)));
    }

    /// Where directories must be looked at again and again, very many are looked at less often: shown
    /// by walks of few and of many entries, with a problem and without hints.
    #[test]
    fn looking_again_stays_cheap() {
        for (entries, polled, problems, expected_ms) in [
            (10, true, 0, SCAN_POLLED_MS),
            (10, false, 1, SCAN_POLLED_MS),
            (1_000, true, 0, SCAN_POLLED_MS),
            (40_000, true, 0, 40_000),
            (40_000, false, 1, 40_000),
            (10, false, 0, SCAN_WATCHED_MS),
        ] {
            let mut walk = Walk::default();
            walk.entries = entries;
            walk.problems = vec!["closed".to_owned(); problems];
            let fresh = false;
            let period_ms = period_ms(&walk, Rewatched { fresh, polled });
            assert_eq!(period_ms, expected_ms, "{entries} {polled}");
        }
    }

    /// What could not be watched is asked for again, one directory at each walk while that is refused, and
    /// all once there is room: shown by twenty directories and a limit that is raised.
    #[test]
    fn what_was_refused_is_asked_for_again() {
        let mut tail = Tail::new(Vec::new(), None);
        let mut watch = Noted {
            room: Some(5),
            ..Noted::default()
        };
        let directories: Vec<PathBuf> = ('a'..='t').map(|name| format!("/{name}").into()).collect();
        for (room, asked, is_fresh, is_polled) in [
            (5, 20, true, true),
            (5, 5 + 1, false, true),
            (20, 20, true, false),
            (20, 20, false, false),
        ] {
            watch.room = Some(room);
            watch.asked.clear();
            let watches = tail.rewatch(0, &directories, &mut watch);
            assert_eq!(watch.asked.len(), asked, "{room}");
            assert_eq!(
                (watches.fresh, watches.polled),
                (is_fresh, is_polled),
                "{room}"
            );
        }
    }

    /// What can never be watched keeps nothing else from being asked for again, and is asked for once in a
    /// walk: shown by a remote tree beside two directories for which there was no room.
    #[test]
    fn what_is_remote_is_polled_for_itself() {
        let mut tail = Tail::new(Vec::new(), None);
        let mut watch = Noted {
            room: Some(0),
            remote: Some("/efs".into()),
            ..Noted::default()
        };
        let directories = ["/efs", "/efs/a", "/efs/b", "/run", "/var/log"].map(PathBuf::from);
        for (room, asked, watched) in [(0, 5, 0), (0, 2, 0), (9, 3, 2), (9, 3, 2)] {
            watch.room = Some(room);
            watch.asked.clear();
            let watches = tail.rewatch(0, &directories, &mut watch);
            assert_eq!((watch.asked.len(), watch.watched.len()), (asked, watched));
            assert!(watches.polled);
        }
    }

    /// Where each walk has other directories to watch, the next one comes ever later: shown on three
    /// thousand logs that take turns at being written, in ten minutes.
    #[test]
    fn directories_that_take_turns_are_not_walked_without_a_pause() {
        let mut logs = Logs::default();
        let mut tail = tail_of(Vec::new(), "/r/*/*/logs/scripts.log", &mut logs, &|_| {
            Offset(0)
        });
        let mut watch = Noted::default();
        let (mut walks, mut mono_ms) = (0, 0);
        while mono_ms < 600_000 {
            let mut walk = walk_of(3_000);
            walk.entries = 6_000;
            for found in &mut walk.found {
                found.meta.modified_ms = (found.meta.modified_ms + walks * 701) % 3_000;
            }
            let watches = tail.rewatch(0, &worth_watching(&walk), &mut watch);
            watch.asked.clear();
            let wall_ms = 0;
            tail.scanned(0, &walk, watches, Now { mono_ms, wall_ms });
            let next_ms = tail.next_due().unwrap();
            assert!(walks > 0 || next_ms == SCAN_GAP_MS + 120, "{next_ms}");
            (walks, mono_ms) = (walks + 1, next_ms);
        }
        assert!(walks < 20, "{walks}");
    }

    /// Where all directories are watched, new ones put the next walk off no further than the first did:
    /// shown by a deployment between any two walks.
    #[test]
    fn deployments_in_a_row_are_walked_at_once() {
        let mut logs = Logs::default();
        let mut tail = tail_of(Vec::new(), "/r/**/*.log", &mut logs, &|_| Offset(0));
        let mut watch = Noted::default();
        for deployments in 1..30 {
            let walk = walk_of(deployments);
            let watches = tail.rewatch(0, &worth_watching(&walk), &mut watch);
            watch.asked.clear();
            let (mono_ms, wall_ms) = (0, 0);
            tail.scanned(0, &walk, watches, Now { mono_ms, wall_ms });
            assert_eq!(tail.next_due(), Some(SCAN_GAP_MS), "{deployments}");
        }
    }

    proptest! {
        /// What is watched is what the last walk of any source went through, and only what was not
        /// watched before is fresh; what the last walk of a source went through, too, is asked for again,
        /// since another one may have its name: two sources walk in turn through any directories, and after
        /// each walk all watches are compared.
        #[test]
        fn exactly_what_was_walked_through_is_watched(
            walks in proptest::collection::vec(
                (0..2_usize, proptest::collection::btree_set("/[ab](/[a-c-]{1,2}){0,2}", 0..8)), 1..12))
        {
            let mut tail = Tail::new(Vec::new(), None);
            let mut watch = Noted::default();
            let mut last = [const { Vec::<PathBuf>::new() }; 2];
            for (index, directories) in walks {
                let mut directories: Vec<PathBuf> =
                    directories.into_iter().map(PathBuf::from).collect();
                directories.sort();
                directories.dedup();
                let is_fresh = directories.iter().any(|dir| !watch.watched.contains(dir));
                let watches = tail.rewatch(index, &directories, &mut watch);
                prop_assert_eq!(watches.fresh, is_fresh);
                prop_assert!(!watches.polled);
                let asked = std::mem::take(&mut watch.asked);
                let is_asked = |dir: &PathBuf| asked.contains(dir) || !last[index].contains(dir);
                prop_assert!(directories.iter().all(is_asked), "{:?}", asked);
                last[index] = directories;
                prop_assert_eq!(&watch.watched, &last.concat().into_iter().collect());
            }
        }
    }
}
