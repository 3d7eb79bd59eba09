//! What must survive us: checkpoints, counts, losses and their markers, rescue segments, the dead
//! letter.
//!
//! How and when the checkpoint is written is `saving.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::alarms::state;
use crate::event::{EpochMs, FileRecord, Loss, Now, Offset, Skip};
use crate::parse::{Counts, Parser};
use crate::ports::Store;
use crate::ship::checkpoint::{self, Checkpoint, Loaded};
use crate::ship::dead_letter::DeadLetter;
use crate::ship::rescue::{Damaged, RESCUE_BYTES_MAX, Rescue, SegmentId};
use crate::ship::{Poison, Tally};
use crate::status::SourceCounts;
use crate::tail::Lost;

use super::marker::loss_of;
use super::saving::Saving;
use super::{orphans, rescue};

/// Losses whose markers wait to be delivered; beyond it the oldest are only counted.
const LOSSES_MAX: usize = 1_000;

/// Pause before a dead letter that could not be written is tried again.
const BURY_RETRY_MS: u64 = 2_000;

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory holds what a newer version wrote.
    #[error(transparent)]
    State(#[from] checkpoint::LoadError),
    /// It holds what a newer version wrote about boots and alarms.
    #[error(transparent)]
    Boots(#[from] state::LoadError),
    /// The state directory cannot be read.
    #[error("failed to read the state directory")]
    Io(#[from] io::Error),
}

/// Keeps it.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) counts: BTreeMap<String, SourceCounts>,
    pub(super) losses: VecDeque<Loss>,
    pub(super) next_loss: u64,
    /// Losses whose marker is not on its way.
    pub(super) unsent: VecDeque<u64>,
    pub(super) rescue: Rescue,
    /// When deleted files that are too many are copied out again.
    pub(super) crowd_due_ms: u64,
    dead_letter: DeadLetter,
    /// The rescue segment read last: number, where it begins, content.
    segment: Option<(u64, Offset, Vec<u8>)>,
    backlog_bytes: u64,
    pub(super) saving: Saving,
    /// Losses that nobody was told of yet.
    pub(super) new_losses: Vec<Loss>,
    /// Why the last checkpoint could not be written.
    pub(super) trouble: Option<String>,
    /// Why the dead letter could not be written, and when it is tried again.
    pub(super) unburied: Option<(String, u64)>,
}

impl Keeper {
    /// Reads what an earlier run left: itself, what it knew of files, what it made of records.
    pub(super) fn restore(
        store: &mut dyn Store,
        now: Now,
    ) -> Result<(Self, Vec<FileRecord>, Value), StartError> {
        let known = match checkpoint::load(store)? {
            Loaded::Fresh => Checkpoint::default(),
            Loaded::Known(known) => known,
            Loaded::SetAside { name, why } => {
                tracing::error!(%why, kept_as = %name, "the checkpoint is damaged; files are read again from their beginning, lines will be sent twice");
                Checkpoint::default()
            }
        };
        let mut keeper = Self {
            counts: known.counts,
            unsent: known.losses.iter().map(|loss| loss.id).collect(),
            losses: known.losses.into(),
            next_loss: known.next_loss,
            rescue: Rescue::open(store, RESCUE_BYTES_MAX)?,
            crowd_due_ms: 0,
            dead_letter: DeadLetter::open(store)?,
            segment: None,
            backlog_bytes: 0,
            saving: Saving::after(known.sequence),
            new_losses: Vec::new(),
            trouble: None,
            unburied: None,
        };
        for stake in known.at_stake {
            keeper.lose(&orphans::recalled(stake), now);
        }
        Ok((keeper, known.files, known.insight))
    }

    /// Whether an earlier run, or this one, has scanned a source.
    pub(super) fn has_scanned(&self, source: &str) -> bool {
        self.counts.contains_key(source)
    }

    /// Notes that a source has been scanned: files it finds from now on are born later.
    pub(super) fn note_scanned(&mut self, source: &str, now: Now) {
        if !self.counts.contains_key(source) {
            self.counts
                .insert(source.to_owned(), SourceCounts::default());
            self.touch(now);
        }
    }

    /// Something changed that a checkpoint must know.
    pub(super) fn touch(&mut self, now: Now) {
        self.saving.touch(now);
    }

    /// Bytes that are on disk and not settled. A checkpoint shall know of them without anything
    /// being settled, too: should they be cut away, they are lost.
    pub(super) fn note_backlog(&mut self, bytes: u64, now: Now) {
        if std::mem::replace(&mut self.backlog_bytes, bytes) != bytes {
            self.touch(now);
        }
    }

    /// Counts what became of a batch.
    pub(super) fn count_settled(&mut self, tallies: &[Tally]) {
        for tally in tallies {
            let counts = self.counts.entry(tally.source.to_string()).or_default();
            counts.events_delivered += tally.events;
            counts.bytes_delivered += tally.bytes;
            counts.refused.add(tally.refused);
            self.saving.settled(tally.bytes);
        }
    }

    /// Counts what was read and not sent on purpose.
    pub(super) fn count_skipped(&mut self, source: &str, reason: Skip, bytes: u64, now: Now) {
        self.touch(now);
        let name = match reason {
            Skip::Filtered => "filtered",
            Skip::Nul => "nul",
            Skip::Empty => return,
        };
        let counts = self.counts.entry(source.to_owned()).or_default();
        counts.skip(name, bytes);
    }

    /// Takes over what parsers counted.
    pub(super) fn count_parsed(&mut self, parsers: &mut BTreeMap<Arc<str>, Parser>) {
        for (name, parser) in parsers {
            let (counted, redacted) = parser.take_counts();
            if counted == Counts::default() && redacted.is_empty() {
                continue;
            }
            let counts = self.counts.entry(name.to_string()).or_default();
            counts.split += counted.split;
            counts.not_utf8 += counted.not_utf8;
            counts.undated += counted.undated;
            counts.skip("nul", counted.nul_bytes);
            for (rule, count) in redacted {
                *counts.redacted.entry(rule).or_default() += count;
            }
        }
    }

    /// Counts a loss and remembers that a marker must tell of it.
    pub(super) fn lose(&mut self, lost: &Lost, now: Now) {
        tracing::error!(path = %lost.path.display(), bytes = lost.bytes, reason = lost.reason, "bytes were lost");
        let counts = self.counts.entry(lost.source.to_string()).or_default();
        *counts.lost.entry(lost.reason.to_owned()).or_default() += lost.bytes;
        let loss = self.add_marker(loss_of(lost, now));
        self.new_losses.push(loss);
        self.touch(now);
    }

    /// Has an event of our own written into a file's stream.
    pub(super) fn tell(&mut self, source: &str, path: &Path, text: &str, at_ms: EpochMs, now: Now) {
        let _marker = self.add_marker(Loss {
            id: 0,
            source: source.to_owned(),
            path: path.to_owned(),
            bytes: 0,
            reason: text.to_owned(),
            at_ms,
            family: path.to_owned(),
        });
        self.touch(now);
    }

    fn add_marker(&mut self, loss: Loss) -> Loss {
        self.next_loss += 1;
        let loss = Loss {
            id: self.next_loss,
            ..loss
        };
        self.losses.push_back(loss.clone());
        self.unsent.push_back(self.next_loss);
        while self.losses.len() > LOSSES_MAX {
            self.losses.pop_front();
        }
        loss
    }

    /// The next loss whose marker is not on its way.
    pub(super) fn next_unsent(&mut self) -> Option<Loss> {
        while let Some(id) = self.unsent.pop_front() {
            if let Some(loss) = self.losses.iter().find(|loss| loss.id == id) {
                return Some(loss.clone());
            }
        }
        None
    }

    pub(super) fn marker_delivered(&mut self, id: u64, now: Now) {
        self.losses.retain(|loss| loss.id != id);
        self.touch(now);
    }

    pub(super) fn marker_returned(&mut self, id: u64) {
        self.unsent.push_back(id);
    }

    /// Puts events nobody will take into the dead letter; what it could not take before, too.
    pub(super) fn bury(&mut self, store: &mut dyn Store, poisons: &[Poison], now: Now) {
        for poison in poisons {
            tracing::error!(
                group = %poison.target.group, stream = %poison.target.stream,
                path = %poison.file.path.display(), error = %poison.error,
                "the service will not take an event; it goes to the dead letter"
            );
            self.touch(now);
        }
        let is_due = |(_, due_ms): &(String, u64)| now.mono_ms >= *due_ms;
        if !poisons.is_empty() || self.unburied.as_ref().is_some_and(is_due) {
            self.write_dead_letter(store, poisons, now);
        }
    }

    /// Tries once more what the dead letter could not take, and tells how many of its events end with us.
    pub(super) fn bury_last(&mut self, store: &mut dyn Store, now: Now) {
        if self.unburied.is_some() {
            self.write_dead_letter(store, &[], now);
        }
        if self.unburied.is_some() {
            let events = self.dead_letter.waiting();
            tracing::error!(
                events,
                "the dead letter could not take them: its events are gone"
            );
        }
    }

    fn write_dead_letter(&mut self, store: &mut dyn Store, poisons: &[Poison], now: Now) {
        match self.dead_letter.add(store, poisons) {
            Ok(()) if self.unburied.take().is_some() => {
                tracing::info!("the dead letter can be written again");
            }
            Ok(()) => {}
            Err(error) => {
                if self.unburied.is_none() {
                    tracing::error!(%error, "the dead letter could not be written");
                }
                let dropped = self.dead_letter.take_dropped();
                if dropped > 0 {
                    tracing::error!(
                        events = dropped,
                        "more waits for the dead letter than it holds: its oldest events are gone"
                    );
                }
                let why = format!("the dead letter could not be written, its events wait: {error}");
                self.unburied = Some((why, now.mono_ms + BURY_RETRY_MS));
            }
        }
    }

    /// A rescue segment's first position and content; the last one is kept.
    pub(super) fn segment(&mut self, store: &mut dyn Store, id: u64) -> Option<(Offset, &[u8])> {
        if self.segment.as_ref().is_none_or(|(held, ..)| *held != id) {
            let loaded = self.rescue.load(store, SegmentId(id)).ok()?;
            let (segment, content) = loaded.ok()?;
            self.segment = Some((id, segment.start, content));
        }
        self.segment
            .as_ref()
            .map(|(_, start, content)| (*start, content.as_slice()))
    }

    /// A rescue segment that is no more whole: its loss is counted as far as it is known.
    pub(super) fn damaged(
        &mut self,
        store: &mut dyn Store,
        id: SegmentId,
        damaged: &Damaged,
        now: Now,
    ) {
        tracing::error!(segment = id.0, error = %damaged, "a rescue segment is damaged");
        if let Some(segment) = &damaged.segment {
            self.lose(&rescue::lost(segment, "a rescue segment was damaged"), now);
        }
        self.spent(store, id.0);
    }

    /// A rescue segment has been delivered, or cannot or need not be.
    pub(super) fn spent(&mut self, store: &mut dyn Store, id: u64) {
        self.segment = None;
        if let Err(error) = self.rescue.remove(store, SegmentId(id)) {
            tracing::warn!(segment = id, %error, "a rescue segment that is done with could not be removed and will be sent again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::orphans::SEVERED;
    use super::*;
    use crate::agent::testing::{at, with_one_file};
    use crate::ship::testing::{Disk, MemoryStore, poison};

    /// An event that the dead letter has no room for is written once there is, in its order, and until
    /// then it is told: shown by a disk that is full for some seconds.
    #[test]
    fn a_full_disk_costs_no_dead_letter() {
        let at = |mono_ms| Now {
            mono_ms,
            wall_ms: 9,
        };
        let mut disk = Disk::default();
        let (mut keeper, _, _) = Keeper::restore(&mut disk, at(0)).unwrap();
        disk.is_full = true;
        keeper.bury(&mut disk, &[poison("one")], at(0));
        keeper.bury(&mut disk, &[], at(5_000));
        assert!(keeper.unburied.is_some());
        disk.is_full = false;
        keeper.bury(&mut disk, &[], at(5_001));
        assert!(keeper.unburied.is_some(), "not tried at each step");
        keeper.bury(&mut disk, &[], at(9_000));
        assert_eq!(keeper.unburied, None);
        keeper.bury(&mut disk, &[poison("two")], at(9_000));
        let written = disk.load("dead-letter/events.ndjson").unwrap().unwrap();
        let written = String::from_utf8(written).unwrap();
        let messages = written.lines().map(|line| line.split('"').nth_back(1));
        let messages: Vec<&str> = messages.map(Option::unwrap).collect();
        assert_eq!(messages, ["one", "two"]);
    }

    /// What waits when the agent ends is tried once more, whatever the pause: shown by a disk that has
    /// room again just then.
    #[test]
    fn the_last_try_waits_for_no_pause() {
        with_one_file("a\n", |mut agent, edges, _, _| {
            let mut full = Disk::full();
            agent.keeper.bury(&mut full, &[poison("one")], at(1));
            agent.finish(edges, at(2));
            let written = edges.store.load("dead-letter/events.ndjson").unwrap();
            assert!(written.is_some_and(|written| written.ends_with(b"\"one\"}\n")));
        });
    }

    /// What was on its way and nowhere on disk when the process ended is counted by the next one, and
    /// has a marker: shown on a checkpoint that says so.
    #[test]
    fn what_was_at_stake_is_lost() {
        let now = Now {
            mono_ms: 0,
            wall_ms: 9,
        };
        let lost = Lost {
            source: "app".into(),
            path: "/a.log.1".into(),
            family: "/a.log".into(),
            bytes: 70,
            reason: SEVERED,
        };
        let known = Checkpoint {
            next_loss: 4,
            at_stake: vec![loss_of(&lost, now)],
            ..Checkpoint::default()
        };
        let mut store = MemoryStore::default();
        checkpoint::save(&mut store, &known).unwrap();
        let (mut keeper, _, _) = Keeper::restore(&mut store, now).unwrap();
        assert_eq!(keeper.counts["app"].lost[SEVERED], 70);
        let told = keeper.next_unsent().unwrap();
        assert_eq!((told.id, told.bytes, told.path), (5, 70, "/a.log.1".into()));
        assert_eq!(keeper.new_losses.len(), 1);
    }
}
