//! How and when the checkpoint is written.
//!
//! Whenever enough was settled to be worth it, it is *noted* without waiting for the disk, which is
//! enough against `kill -9` and keeps duplicates after one to little more than was in flight: as an
//! entry of what has changed, so that it costs the same however many files are known. Where that does
//! not do, since files came, went or moved, it is noted whole. Once a second, or less often where it
//! is megabytes, it is *saved* whole and durably, against a power cut. At the start the newer of the two whole ones counts, with the entries
//! that follow it.
//!
//! Each of them says all but the files' part whole, and all files of which anything was heard or
//! settled since the one before: so what was made of records fits what their files say was heard.

use std::io;

use crate::event::Now;
use crate::ports::{Files, Pieces, Sheet};
use crate::ship::changes;
use crate::ship::checkpoint::{self, Checkpoint, Encoding};
use crate::ship::ledger::Ledger;
use crate::tail::Tail;

use super::insight::Insight;
use super::keeper::Keeper;
use super::marker::loss_of;
use super::orphans::{self, Orphans};
use super::{Agent, Edges};

/// Longest time between a settled byte and the durable checkpoint that knows of it.
const SAVE_MS: u64 = 1_000;

/// Bytes of a checkpoint that lengthen this by a millisecond: where very many files are known, one
/// of them must not have all written again each second.
const SAVE_BYTES_PER_MS: u64 = 1_024;

/// Pause after a checkpoint that could not be written.
const SAVE_RETRY_MS: u64 = 2_000;

/// Bytes settled for each byte that is noted, whole or as an entry: so that noting stays cheap.
const NOTE_SHARE: u64 = 8;

/// Bytes that a file answered for counts as at least: its request cost more than few bytes do.
const ANSWER_BYTES: u64 = 16 * 1_024;

/// Bytes of entries behind one whole checkpoint; where twice that is more, so many.
const CHANGES_BYTES_MAX: u64 = 64 * 1_024;

/// Files in one entry; more are noted whole, which is written piece by piece.
const CHANGED_MAX: usize = 2_000;

/// What a checkpoint is made of besides the keeper's own.
struct Known<'a> {
    tail: &'a mut Tail,
    ledger: &'a Ledger,
    orphans: &'a Orphans,
    insight: &'a mut Insight,
}

/// What was written last, and what was not yet.
#[derive(Debug, Default)]
pub(super) struct Saving {
    /// The number of the last one that was begun.
    sequence: u64,
    /// When the durable one is due; `None`: it is up to date.
    due_ms: Option<u64>,
    /// Bytes settled since the last one of any kind.
    unnoted_bytes: u64,
    /// Bytes settled since the last whole one.
    unwritten_bytes: u64,
    /// Size of the last whole one.
    whole_bytes: u64,
    /// Whether one was noted whole. Should the durable one be damaged, that is all there is, so the
    /// first of each process is.
    has_noted: bool,
    /// Of the last one of any kind: what stood before its files, and what one of these took.
    own_bytes: u64,
    record_bytes: u64,
    /// Size of the entries behind the last whole one.
    changes_bytes: u64,
    /// [`Tail::structure`] as of the last whole one; `None`: an entry cannot follow.
    structure: Option<u64>,
    /// The insight's version in the checkpoint made last, and whether that is durable and nobody
    /// was told so yet.
    insight_version: u64,
    saved_insight: Option<u64>,
}

/// Which files a checkpoint names.
#[derive(Clone, Copy)]
enum Part {
    Whole,
    Changes,
}

impl Saving {
    /// Goes on after an earlier run's.
    pub(super) fn after(sequence: u64) -> Self {
        Self {
            sequence,
            ..Self::default()
        }
    }

    /// Something changed that a checkpoint must know.
    pub(super) fn touch(&mut self, now: Now) {
        let pause_ms = SAVE_MS + self.whole_bytes / SAVE_BYTES_PER_MS;
        self.due_ms.get_or_insert(now.mono_ms + pause_ms);
    }

    /// So many bytes were answered for.
    pub(super) fn settled(&mut self, bytes: u64) {
        self.unnoted_bytes += bytes;
        self.unwritten_bytes += bytes;
    }

    /// When the durable checkpoint is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due_ms
    }

    /// The version of the insight that became durable since the last call.
    pub(super) fn take_saved_insight(&mut self) -> Option<u64> {
        self.saved_insight.take()
    }

    /// Whether there are as many entries as may be: enough was settled for a whole one, too.
    fn is_full(&self) -> bool {
        self.changes_bytes >= CHANGES_BYTES_MAX.max(2 * self.whole_bytes)
    }

    /// Whether an entry can say what has changed.
    fn takes_entry(&self, tail: &Tail) -> bool {
        self.has_noted
            && self.structure == Some(tail.structure())
            && !self.is_full()
            && tail.changed_len() <= CHANGED_MAX
    }

    /// Whether enough was settled for an entry.
    fn is_entry_due(&self, tail: &Tail) -> bool {
        // What was only heard is in one entry, and then not again before it is settled.
        let settled = tail.settled_len() as u64;
        let entry_bytes = self.own_bytes + self.record_bytes * settled;
        self.unnoted_bytes.max(settled * ANSWER_BYTES) > entry_bytes * NOTE_SHARE
    }

    /// Whether enough was settled for a whole one.
    fn takes_whole(&self) -> bool {
        let share = match self.has_noted {
            true => NOTE_SHARE,
            false => 0,
        };
        self.is_full() || self.unwritten_bytes > self.whole_bytes * share
    }

    /// A whole one of so many bytes was written.
    fn wrote_whole(&mut self, bytes: u64, tail: &mut Tail) {
        self.whole_bytes = bytes;
        self.changes_bytes = 0;
        self.unnoted_bytes = 0;
        self.unwritten_bytes = 0;
        self.structure = Some(tail.structure());
        tail.forget_changed();
    }

    /// An entry of so many bytes was written.
    fn wrote_entry(&mut self, bytes: u64, tail: &mut Tail) {
        self.changes_bytes += bytes;
        self.unnoted_bytes = 0;
        tail.forget_changed();
    }
}

impl Agent {
    /// Notes or saves, if there is reason to.
    pub(super) fn save_if_due(&mut self, edges: &mut Edges<'_>, now: Now) {
        let (keeper, mut known) = self.known();
        keeper.save_if_due(&mut known, edges, now);
    }

    /// Saves durably.
    pub(super) fn save(&mut self, edges: &mut Edges<'_>, now: Now) {
        let (keeper, mut known) = self.known();
        keeper.save(&mut known, edges, now);
    }

    fn known(&mut self) -> (&mut Keeper, Known<'_>) {
        let known = Known {
            tail: &mut self.tail,
            ledger: &self.ledger,
            orphans: &self.orphans,
            insight: &mut self.insight,
        };
        (&mut self.keeper, known)
    }
}

impl Keeper {
    fn save_if_due(&mut self, known: &mut Known<'_>, edges: &mut Edges<'_>, now: Now) {
        let saving = &self.saving;
        if saving.due_ms.is_some_and(|due| now.mono_ms >= due) {
            self.save(known, edges, now);
        } else if saving.takes_entry(known.tail) {
            if saving.is_entry_due(known.tail) {
                self.note_changes(known, edges, now);
            }
        } else if saving.takes_whole() {
            self.note(known, edges, now);
        }
    }

    fn save(&mut self, known: &mut Known<'_>, edges: &mut Edges<'_>, now: Now) {
        let write: Pieces<'_> = &mut |to| self.write(Part::Whole, known, edges.files, now, to);
        match edges.store.save_pieces(checkpoint::NAME, write) {
            Ok(bytes) => {
                self.saving.wrote_whole(bytes, known.tail);
                self.saving.due_ms = None;
                self.saving.saved_insight = Some(self.saving.insight_version);
                if self.trouble.take().is_some() {
                    tracing::info!("the checkpoint can be written again");
                }
            }
            Err(error) => {
                let trouble = format!("the checkpoint could not be written: {error}");
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::error!(%error, "the checkpoint could not be written; after a restart lines will be sent twice");
                }
                self.trouble = Some(trouble);
                self.saving.structure = None;
                self.saving.due_ms = Some(now.mono_ms + SAVE_RETRY_MS);
            }
        }
    }

    /// Notes all of it.
    fn note(&mut self, known: &mut Known<'_>, edges: &mut Edges<'_>, now: Now) {
        let write: Pieces<'_> = &mut |to| self.write(Part::Whole, known, edges.files, now, to);
        let noted = edges.store.note_pieces(checkpoint::NOTED, write);
        self.saving.has_noted = true;
        match noted {
            Ok(bytes) => self.saving.wrote_whole(bytes, known.tail),
            Err(error) => self.not_noted(&error),
        }
    }

    /// Notes what has changed.
    fn note_changes(&mut self, known: &mut Known<'_>, edges: &mut Edges<'_>, now: Now) {
        let mut entry = io::Cursor::new(Vec::new());
        let written = self.write(Part::Changes, known, edges.files, now, &mut entry);
        let entry = entry.into_inner();
        let noted = written.and_then(|()| match self.saving.changes_bytes {
            0 => edges.store.note(changes::NAME, &entry),
            _ => edges.store.append(changes::NAME, &entry),
        });
        match noted {
            Ok(()) => self.saving.wrote_entry(entry.len() as u64, known.tail),
            Err(error) => self.not_noted(&error),
        }
    }

    /// The next one that is noted must be whole, since its number does not follow, and waits until it
    /// is due anew: a full disk is not asked with each answer.
    fn not_noted(&mut self, error: &io::Error) {
        tracing::debug!(%error, "the checkpoint could not be noted");
        self.saving.structure = None;
        self.saving.unwritten_bytes = 0;
        self.saving.changes_bytes = 0;
    }

    /// Writes a checkpoint, file by file.
    fn write(
        &mut self,
        part: Part,
        known: &mut Known<'_>,
        files: &mut dyn Files,
        now: Now,
        to: &mut dyn Sheet,
    ) -> io::Result<()> {
        let (tail, ledger, orphans) = (&mut *known.tail, known.ledger, known.orphans);
        self.saving.sequence += 1;
        let (heard, version) = known.insight.saved();
        self.saving.insight_version = version;
        let own = Checkpoint {
            sequence: self.saving.sequence,
            counts: self.counts.clone(),
            losses: self.losses.iter().cloned().collect(),
            next_loss: self.next_loss,
            at_stake: (orphans::at_stake(tail, ledger, orphans).iter())
                .map(|lost| loss_of(lost, now))
                .collect(),
            ..Checkpoint::default()
        };
        let settled = |id| ledger.settled(id).unwrap_or_default();
        let mut encoding = Encoding::begin(&own, &heard, to)?;
        self.saving.own_bytes = encoding.bytes();
        let (mut written, mut records) = (Ok(()), 0);
        let keep = &mut |record: &_| {
            records += 1;
            if written.is_ok() {
                written = encoding.file(record);
            }
        };
        match part {
            Part::Whole => tail.each_record(files, &settled, keep),
            Part::Changes => tail.each_changed(files, &settled, keep),
        }
        let records_bytes = encoding.bytes() - self.saving.own_bytes;
        self.saving.record_bytes = records_bytes / records.max(1);
        written.and_then(|()| encoding.end())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::testing::{at, directory_of, drain, run, sent, sent_text};

    // Requests in flight, and those that were answered and sent at the end of the last step.
    const REPEATED_MAX: usize = 2 * 8;

    /// A process that is killed among many files repeats what was in flight, also one that has started
    /// among them, and before anything was saved: shown on two kills in a drain of more files than may
    /// be open, also of those that are left after the first part, of long and of short ones.
    #[test]
    fn a_kill_repeats_what_was_in_flight() {
        for (files, bytes) in [(1_400, 8_000), (1_400, 10)] {
            let repeated = repeated_by_kills(files, bytes);
            assert!(repeated <= 2 * REPEATED_MAX, "{repeated} of {bytes} bytes");
        }
    }

    /// Drains so many files with a line of so many bytes and kills twice; how many lines came twice.
    fn repeated_by_kills(files: usize, bytes: usize) -> usize {
        let text = "x".repeat(bytes);
        let names: Vec<String> = (0..files).map(|nth| nth.to_string()).collect();
        let texts: Vec<String> = (names.iter().map(|name| format!("{name} {text}\n"))).collect();
        let logs = names.iter().map(String::as_str);
        let logs: Vec<_> = logs.zip(texts.iter().map(String::as_str)).collect();
        let dir = directory_of(&logs);
        let count_sent = || sent_text(dir.path()).lines().count();
        for part in [files / 3, files * 2 / 3] {
            run(dir.path(), |mut agent, edges| {
                let mut mono_ms = 1;
                while count_sent() < part {
                    assert!(mono_ms < 1_000, "it was saved");
                    agent.step(edges, at(mono_ms));
                    mono_ms += 1;
                }
            });
        }
        drain(dir.path());
        let sent = sent(dir.path());
        let different = sent.iter().collect::<BTreeSet<_>>().len();
        assert_eq!(different, files);
        sent.len() - different
    }
}
