//! When to scan again: which directories give hints, and what the last scan saw.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::event::Now;
use crate::ports::Watch;

use super::discover::Walk;
use super::{SCAN_ENTRIES_PER_GAP_MS, SCAN_GAP_MS, SCAN_POLLED_MS, SCAN_WATCHED_MS, Tail, Watched};

/// Milliseconds by which an entry of a scan lengthens the time to the next one where hints tell of
/// changes: 30 s for each thousand. Looking costs a few microseconds for each, so that however many
/// there are it stays below 0.03 % of a processor.
const SCAN_WATCHED_MS_PER_ENTRY: u64 = 30;

/// What watching a walk's directories brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rewatched {
    /// A directory is watched that was not before.
    fresh: bool,
    /// A directory gives no hints and must be polled.
    polled: bool,
}

impl Tail {
    /// Notes the result of a scan and when the next one is due.
    pub(super) fn scanned(&mut self, index: usize, walk: &Walk, watches: Rewatched, now: Now) {
        let state = &mut self.sources[index];
        for problem in &walk.problems {
            if !state.problems.contains(problem) {
                tracing::warn!(source = %state.source.name, %problem, "cannot look everywhere");
            }
        }
        state.problems.clone_from(&walk.problems);
        state.is_first_scan = false;
        state.scanned_ms = Some(now.mono_ms);
        state.gap_ms = SCAN_GAP_MS + (walk.entries / SCAN_ENTRIES_PER_GAP_MS) as u64;
        if watches.fresh {
            // What appeared between the walk and the watch gave no hint: walk once more.
            state.scan_due_ms = now.mono_ms + state.gap_ms;
            return;
        }
        let period = if watches.polled || !walk.problems.is_empty() {
            SCAN_POLLED_MS
        } else {
            let long_ms = walk.entries as u64 * SCAN_WATCHED_MS_PER_ENTRY;
            // In whole beats, so that several sources wake us once.
            SCAN_WATCHED_MS.max(long_ms.next_multiple_of(SCAN_WATCHED_MS))
        };
        let period = period.max(state.gap_ms);
        state.scan_due_ms = (now.mono_ms / period + 1) * period;
    }

    /// Watches the directories a walk went through.
    pub(super) fn rewatch(
        &mut self,
        index: usize,
        directories: &[PathBuf],
        watch: &mut dyn Watch,
    ) -> Rewatched {
        let mut fresh = false;
        let mut polled = false;
        for dir in directories {
            let watched = self.watched.entry(dir.clone()).or_insert_with(|| {
                fresh = true;
                Watched {
                    gives_hints: watch.watch(dir),
                    sources: BTreeSet::new(),
                }
            });
            watched.sources.insert(index);
            polled |= !watched.gives_hints;
        }
        self.watched.retain(|dir, watched| {
            if directories.binary_search(dir).is_err() {
                watched.sources.remove(&index);
            }
            if watched.sources.is_empty() {
                watch.unwatch(dir);
            }
            !watched.sources.is_empty()
        });
        Rewatched { fresh, polled }
    }
}
