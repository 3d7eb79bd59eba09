//! One file on its way from bytes to batch: its target, what its parser remembers, and the turn
//! in which its records are read, parsed and batched.

mod ahead;
mod taking;

use std::sync::Arc;

use crate::event::{FileId, FileOrigin, Now, Offset, Span};
use crate::parse::{Chunk, Ending, Memory};
use crate::ship::TargetId;
use crate::tail::{File, Turn};

use super::insight::Ear;
use super::{Agent, Edges, Mode, StopLimit, names};
use ahead::Ahead;
use taking::{Batches, Listener, Pass, Taker, take_or_fail};

/// What is read of a file at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// What is read at least, however little of it the batch that is being filled will take.
const CHUNK_BYTES_MIN: usize = 16 * 1024;

/// What is read at once of a file whose next record is longer than a chunk: the longest message,
/// its newline, and room to see where the next record begins.
const CHUNK_BYTES_MAX: usize = 1_048_576 + 64 * 1024;

/// How far back it is looked, after a restart, for the date of a line that it cut, and for the
/// beginning of a secret: the longest private key has half of it.
const LEADING_BYTES: usize = 64 * 1024;

/// Raw bytes one turn reads at most: about two full batches.
const TURN_BYTES_MAX: usize = 2 * 1_048_576;

/// The state of one file beside its position.
#[derive(Debug)]
pub(super) struct Lane {
    /// Where its events go, while it has some and all variables in the names are known.
    target: Option<TargetId>,
    /// What its next record depends on; `None` until its position is looked at.
    memory: Option<Box<Memory>>,
    origin: Arc<FileOrigin>,
    /// Who listens to its records.
    ear: Ear,
    /// How far they listened, if that is further than it was read.
    ahead: Option<Box<Ahead>>,
    /// How far it was settled when that was looked at last, if it had more to read.
    settled: Option<Offset>,
    /// Why it is not read any more: its text met a bug of ours.
    pub(super) quarantine: Option<Box<str>>,
    /// When bytes were first seen that are not settled yet.
    pub(super) behind_since_ms: Option<i64>,
}

impl Lane {
    pub(super) fn new(file: &File, ear: Ear) -> Self {
        let origin = FileOrigin {
            source: Arc::clone(&file.source.name),
            path: Arc::clone(&file.path),
        };
        Self {
            target: None,
            memory: None,
            origin: Arc::new(origin),
            ear,
            ahead: None,
            settled: None,
            quarantine: None,
            behind_since_ms: None,
        }
    }

    /// After a reload the names may be others, and others may listen, by other rules.
    pub(super) fn reload(&mut self, ear: Ear) {
        self.target = None;
        self.quarantine = None;
        self.ear = ear;
        self.ahead = None;
    }

    /// After the position was set back.
    pub(super) fn forget_position(&mut self) {
        self.memory = None;
    }

    /// After the content was cut.
    pub(super) fn cut(&mut self) {
        self.memory = None;
        self.ahead = None;
    }
}

impl Agent {
    /// One file's turn.
    pub(super) fn turn(&mut self, id: FileId, edges: &mut Edges<'_>, budget: &mut usize, now: Now) {
        if !self.lanes.contains_key(&id) {
            // It joined during this step; its turn comes once that is known.
            return self.tail.requeue(id);
        }
        if let Some(target) = self.target_of(id) {
            self.waiting.leave(id, &target);
            self.advance(id, &target, edges, budget, now);
            self.pass_on(&target);
        }
    }

    /// Reads, parses and batches a file until its end, until there is no room, or until it has had
    /// its share.
    fn advance(
        &mut self,
        id: FileId,
        target: &TargetId,
        edges: &mut Edges<'_>,
        budget: &mut usize,
        now: Now,
    ) {
        let mut share = TURN_BYTES_MAX;
        let mut least = CHUNK_BYTES_MIN;
        loop {
            if self.is_beyond_stop(id) {
                // It may have grown since, and others must not wait for that.
                return self.tail.leave_alone(id);
            }
            let Some(room) = self.shipper.room(target, self.unread(id), now) else {
                return self.wait(id, target);
            };
            let want = room.min(CHUNK_BYTES).max(least);
            if share == 0 || *budget == 0 {
                self.tail.requeue(id);
                return;
            }
            let keeper = &mut self.keeper;
            let turn = self.tail.read(
                id,
                edges.files,
                &mut |segment| {
                    let (start, content) = keeper.segment(edges.store, segment)?;
                    Some((start, content.to_vec()))
                },
                &mut self.buffer,
                want,
                now,
            );
            let Some(ending) = self.ending(id, &turn) else {
                return self.reached_end(id);
            };
            self.remember(id, edges, now);
            let (consumed, pass) = self.pass(id, target, ending, now);
            self.tail.consumed(id, &self.buffer, consumed);
            share = share.saturating_sub(consumed);
            *budget = budget.saturating_sub(consumed);
            match pass {
                Pass::Failed => return self.quarantine(id),
                Pass::Full => return self.wait(id, target),
                Pass::Wait(quiet_ms) => {
                    let wait_ms = quiet_ms.saturating_sub(quiet_so_far(ending)).max(1);
                    self.shipper.reached_end(target);
                    return self.tail.look_again_at(id, now.mono_ms + wait_ms);
                }
                Pass::Taken if ending != Ending::More => return self.reached_end(id),
                Pass::Taken if consumed == 0 && want < CHUNK_BYTES => least = CHUNK_BYTES,
                Pass::Taken if consumed == 0 => least = CHUNK_BYTES_MAX,
                Pass::Taken => least = CHUNK_BYTES_MIN,
            }
        }
    }

    /// How many bytes of a file are known to be there and not read.
    fn unread(&self, id: FileId) -> u64 {
        let file = self.tail.file(id);
        file.map_or(0, |file| Offset(file.size).since(file.read))
    }

    /// What comes behind the bytes of a turn; `None`: there were none.
    fn ending(&self, id: FileId, turn: &Turn) -> Option<Ending> {
        Some(match (turn, &self.mode) {
            (Turn::Nothing, _) => return None,
            (Turn::More, _) => Ending::More,
            (Turn::ToEnd { .. }, Mode::Stopping { .. })
                if self.stop_limit(id).is_none_or(|limit| !limit.is_late) =>
            {
                Ending::Final
            }
            (Turn::ToEnd { quiet_ms }, _) => Ending::Quiet(*quiet_ms),
        })
    }

    /// A file is gone, or somebody else's.
    pub(super) fn remove_lane(&mut self, id: FileId) {
        if let Some(target) = self.lanes.remove(&id).and_then(|lane| lane.target) {
            self.waiting.leave(id, &target);
            self.pass_on(&target);
        }
    }

    /// Finds out what the next record of a file depends on, after a start or a step back.
    fn remember(&mut self, id: FileId, edges: &mut Edges<'_>, now: Now) {
        let previous = self.buffer.previous_byte();
        let is_known = |lane: &Lane| lane.memory.is_some();
        if !self.lanes.get(&id).is_none_or(is_known) {
            let memory = self.recall(id, previous, edges, now);
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.memory = memory.map(Box::new);
            }
        }
    }

    /// What the next record of a file depends on, given the byte before its position where that is
    /// at hand.
    fn recall(
        &mut self,
        id: FileId,
        previous: Option<u8>,
        edges: &mut Edges<'_>,
        now: Now,
    ) -> Option<Memory> {
        let file = self.tail.file(id)?;
        let mut leading = [0; LEADING_BYTES];
        let bytes = usize::try_from(file.read.0)
            .unwrap_or(usize::MAX)
            .min(LEADING_BYTES);
        let from = Offset(file.read.0 - bytes as u64);
        // A rescued piece has nothing before it; then the line's date is not known.
        let got = self
            .tail
            .read_at(id, edges.files, from, &mut leading[..bytes])
            .unwrap_or(0);
        let leading = &leading[..got];
        let mut memory = Memory::at(previous.or(leading.last().copied()));
        if let Some(parser) = self.parsers.get_mut(&file.source.name) {
            parser.recall(&mut memory, leading, now);
        }
        Some(memory)
    }

    /// Takes the records of the chunk in the buffer; how many bytes, and why it ended.
    fn pass(&mut self, id: FileId, target: &TargetId, ending: Ending, now: Now) -> (usize, Pass) {
        let (Some(file), Some(lane)) = (self.tail.file(id), self.lanes.get_mut(&id)) else {
            return (0, Pass::Taken);
        };
        let Some(parser) = self.parsers.get_mut(&file.source.name) else {
            return (0, Pass::Taken);
        };
        let bytes = self.buffer.bytes();
        let memory = (lane.memory).get_or_insert_with(|| Box::new(Memory::at(None)));
        let text = parser.begin(memory, bytes);
        let chunk = Chunk {
            file: id,
            start: file.read,
            bytes,
            ending,
            text,
        };
        lane.behind_since_ms.get_or_insert(now.wall_ms);
        let mut taker = Taker {
            batches: Some(Batches {
                shipper: &mut self.shipper,
                target,
                origin: &lane.origin,
            }),
            listener: Listener::of(file, lane.ear, &mut self.insight),
            now,
        };
        let mut skipped = Vec::new();
        let (consumed, pass) = take_or_fail(&mut taker, parser, memory, &chunk, &mut skipped);
        let heard = taker.listener.heard;
        self.ledger.enter(Span {
            file: id,
            start: file.read,
            end: file.read.plus(consumed),
        });
        for (ack, reason, bytes) in skipped {
            self.keeper
                .count_skipped(&file.source.name, reason, bytes, now);
            // A skipped span holds no marker, so there is nothing more to do with the answer.
            let _span = self.ledger.settle(ack);
        }
        self.tail.heard(id, heard);
        (consumed, pass)
    }

    /// Leaves a file alone whose text makes the parser fail: it would again, and take everything
    /// else with it. What is read stays; nothing is settled, so a restart tries again.
    fn quarantine(&mut self, id: FileId) {
        let (Some(file), Some(lane)) = (self.tail.file(id), self.lanes.get_mut(&id)) else {
            return;
        };
        let path = file.path.display();
        let at = file.read.0;
        tracing::error!(%path, at, "a bug of deploywatch: a file's text makes it fail, the file is left alone until a restart");
        let words = format!(
            "quarantined at byte {at}: its text made deploywatch fail; it is left alone until a \
             reload or restart; please report it"
        );
        lane.quarantine = Some(words.into());
        self.tail.leave_alone(id);
        // It may have been woken for memory that others wait for.
        if let Some(target) = lane.target.take() {
            self.waiting.leave(id, &target);
            self.pass_on(&target);
        }
    }

    /// Everything there is of a file has been read.
    fn reached_end(&mut self, id: FileId) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            // Thousands of files may never grow again; what is held for each is little.
            if let Some(target) = lane.target.take() {
                self.shipper.reached_end(&target);
            }
            if let Some(memory) = &mut lane.memory {
                memory.reached_end();
            }
            lane.ahead = None;
        }
    }

    /// Whether a stop has read all of this file that it wanted.
    fn is_beyond_stop(&self, id: FileId) -> bool {
        let read = self.tail.file(id).map(|file| file.read);
        self.stop_limit(id)
            .is_some_and(|limit| read.is_none_or(|read| read >= Offset(limit.bytes)))
    }

    /// How far a stop that is under way reads a file; `None`: as far as it goes.
    fn stop_limit(&self, id: FileId) -> Option<StopLimit> {
        match &self.mode {
            Mode::Stopping { limits, .. } => limits.as_ref()?.get(&id).copied(),
            Mode::Running => None,
        }
    }

    /// The file's target, if all it is named after is known; none for a file that is left alone.
    pub(super) fn target_of(&mut self, id: FileId) -> Option<TargetId> {
        let file = self.tail.file(id)?;
        let lane = self.lanes.get_mut(&id)?;
        if lane.quarantine.is_some() {
            return None;
        }
        if lane.target.is_none() {
            let layout = self.discovery.layout();
            match names::target(&file.source, &file.family, &self.identity, layout) {
                Ok(target) => {
                    let options = file.source.group_options.clone();
                    lane.target = Some(self.shipper.target(target, options));
                }
                Err(_variable) => {
                    self.nameless.insert(id);
                    return None;
                }
            }
        }
        lane.target.clone()
    }
}

/// How long a file has been quiet behind a chunk.
fn quiet_so_far(ending: Ending) -> u64 {
    match ending {
        Ending::Quiet(ms) => ms,
        Ending::More | Ending::Final => 0,
    }
}

#[cfg(test)]
mod tests;
