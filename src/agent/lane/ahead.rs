//! Hearing ahead: records that cannot be shipped yet, because the service takes nothing or a name is
//! not known, are heard all the same, so that metrics, events and alarms do not wait for the logs.
//!
//! Invariants:
//! - A record is heard once: the pass that ships it later begins behind what was heard.
//! - Nothing is settled, no position moves, and nothing is kept of the text.
//! - What moves is left alone: a drain is not parsed twice.

use crate::agent::{Agent, Edges, Mode, STEP_BYTES_MAX};
use crate::config::Builtin;
use crate::event::{FileId, Now, Offset};
use crate::parse::{Chunk, Ending, Memory};
use crate::ship::ledger::Ledger;
use crate::tail::{File, Place};

use super::taking::{Listener, Pass, Taker, take_or_fail};
use super::{CHUNK_BYTES, CHUNK_BYTES_MAX, Lane, TURN_BYTES_MAX};

/// How far a file was listened to, beyond its position.
#[derive(Debug)]
pub(super) struct Ahead {
    /// Where the next record begins.
    at: Offset,
    /// What that record depends on.
    memory: Memory,
    /// How much of the file was looked at: behind `at` no record is complete.
    looked: Offset,
}

impl Agent {
    /// Finds the files of which nothing was settled since the last call though there is more to
    /// read, and to which somebody listens. On the beat of the discovery.
    pub(in crate::agent) fn find_stuck(&mut self) {
        self.stuck.clear();
        for file in self.tail.files() {
            if let Some(lane) = self.lanes.get_mut(&file.id)
                && lane.is_stuck(file, &self.ledger)
            {
                self.stuck.insert(file.id);
            }
        }
    }

    /// Listens to the files that are stuck.
    pub(in crate::agent) fn listen_ahead(&mut self, edges: &mut Edges<'_>, now: Now) {
        if self.stuck.is_empty() || !matches!(self.mode, Mode::Running) {
            return;
        }
        let unheard = |id: &FileId| {
            let (file, lane) = (self.tail.file(*id)?, self.lanes.get(id)?);
            Some((file.size.saturating_sub(lane.listened(file).0), *id))
        };
        let mut stuck: Vec<(u64, FileId)> = self.stuck.iter().filter_map(unheard).collect();
        // A long backlog shall not keep the others waiting.
        stuck.sort_unstable();
        let mut budget = STEP_BYTES_MAX;
        for (bytes, id) in stuck {
            if bytes > 0 && !self.waits_to_be_heard(id) {
                self.listen(id, edges, &mut budget, now);
            }
        }
    }

    /// Whether all was heard that the CodeDeploy agent's own log had at the last call, and all since
    /// that is complete. On the beat of the discovery.
    ///
    /// A last record that may go on is not heard yet, though it may be the one that ends a
    /// deployment; one of the last call is over by now, however fast others follow. What cannot be read,
    /// or is left alone, is not waited for.
    pub(in crate::agent) fn is_agent_heard(&mut self) -> bool {
        let source = self.insight.source_of(Builtin::Agent);
        let is_agents = |file: &&File| Some(&file.source.name) == source.as_ref();
        let logs = || self.tail.files().filter(is_agents);
        let had = |file: &File| {
            let had = self.agent_log.get(&file.id).unwrap_or(&file.size);
            Offset(*had.min(&file.size))
        };
        let is_heard = |file: &File| self.is_heard(file) && self.listened(file) >= had(file);
        let mut readable = logs().filter(|file| file.is_readable());
        let is_agent_heard = self.tail.has_looked() && readable.all(is_heard);
        self.agent_log = logs().map(|file| (file.id, file.size)).collect();
        is_agent_heard
    }

    /// Whether all of a file that is complete was heard or read.
    fn is_heard(&self, file: &File) -> bool {
        let lane = self.lanes.get(&file.id);
        let target = lane.and_then(|lane| lane.target.as_ref());
        let is_waiting = file.due_mono_ms.is_some() && !self.waiting.has(target, file.id);
        let ahead = lane.and_then(|lane| lane.ahead.as_ref());
        file.is_read() || is_waiting || ahead.is_some_and(|ahead| ahead.looked.0 >= file.size)
    }

    /// How far a file was heard or read.
    fn listened(&self, file: &File) -> Offset {
        let lane = self.lanes.get(&file.id);
        lane.map_or(file.read, |lane| lane.listened(file))
    }

    /// Whether what comes before a file is still to be heard.
    fn waits_to_be_heard(&self, id: FileId) -> bool {
        let is_unheard = |before: &File| {
            let wanted = before.gate_bytes.min(before.size);
            let listened = self.listened(before).0;
            before.is_displaced() || (listened < wanted && before.is_readable())
        };
        let file = self.tail.file(id);
        file.is_some_and(|file| self.tail.any_before(file, &is_unheard))
    }

    /// Hears what is complete of a file.
    fn listen(&mut self, id: FileId, edges: &mut Edges<'_>, budget: &mut usize, now: Now) {
        let mut share = TURN_BYTES_MAX.min(*budget);
        let mut want = CHUNK_BYTES;
        let mut bytes = Vec::new();
        while share > 0 {
            let Some(at) = self.begin_ahead(id, edges, now) else {
                return;
            };
            let unheard = self
                .tail
                .file(id)
                .map_or(0, |file| Offset(file.size).since(at));
            bytes.resize(usize::try_from(unheard).unwrap_or(want).min(want), 0);
            // Nothing is looked at that no hint and no scan has told of: how long it has been quiet
            // would not be known.
            let Ok(got) = self.tail.read_ahead(id, edges.files, at, &mut bytes, now) else {
                return;
            };
            let (consumed, ending, pass) = self.hear(id, &bytes[..got], now);
            share = share.saturating_sub(consumed);
            *budget = budget.saturating_sub(consumed);
            match pass {
                Pass::Failed => return self.quarantine(id),
                Pass::Taken if ending != Ending::More => return,
                Pass::Taken if consumed == 0 && want == CHUNK_BYTES_MAX => return,
                Pass::Taken if consumed == 0 => want = CHUNK_BYTES_MAX,
                Pass::Taken => want = CHUNK_BYTES,
                Pass::Wait(_) | Pass::Full => return,
            }
        }
    }

    /// Where to go on listening to a file: where it was left, or at its position.
    fn begin_ahead(&mut self, id: FileId, edges: &mut Edges<'_>, now: Now) -> Option<Offset> {
        let read = self.tail.file(id)?.read;
        let lane = self.lanes.get(&id)?;
        if let Some(ahead) = lane.ahead.as_ref().filter(|ahead| ahead.at >= read) {
            return Some(ahead.at);
        }
        let memory = match &lane.memory {
            Some(memory) => Memory::clone(memory),
            None => self.recall(id, None, edges, now)?,
        };
        self.lanes.get_mut(&id)?.ahead = Some(Box::new(Ahead {
            at: read,
            memory,
            looked: read,
        }));
        Some(read)
    }

    /// Hears the records of a chunk; how many bytes they have, what comes behind the chunk, and why
    /// it ended.
    fn hear(&mut self, id: FileId, bytes: &[u8], now: Now) -> (usize, Ending, Pass) {
        let nothing = (0, Ending::More, Pass::Full);
        let (Some(file), Some(lane)) = (self.tail.file(id), self.lanes.get_mut(&id)) else {
            return nothing;
        };
        let (Some(parser), Some(ahead)) =
            (self.parsers.get_mut(&file.source.name), lane.ahead.as_mut())
        else {
            return nothing;
        };
        let end = ahead.at.plus(bytes.len());
        let ending = match end.0 < file.size {
            true => Ending::More,
            false => Ending::Quiet(now.mono_ms.saturating_sub(file.grown_mono_ms)),
        };
        let chunk = Chunk {
            file: id,
            start: ahead.at,
            bytes,
            ending,
            text: parser.begin(&ahead.memory, bytes),
        };
        let mut taker = Taker {
            batches: None,
            listener: Listener::of(file, lane.ear, &mut self.insight),
            now,
        };
        let mut unsent = Vec::new();
        let (consumed, pass) =
            take_or_fail(&mut taker, parser, &mut ahead.memory, &chunk, &mut unsent);
        let heard = taker.listener.heard;
        ahead.at = ahead.at.plus(consumed);
        ahead.looked = end;
        self.tail.heard(id, heard);
        (consumed, ending, pass)
    }
}

impl Lane {
    /// How far a file was heard or read.
    fn listened(&self, file: &File) -> Offset {
        let ahead = self.ahead.as_ref().map(|ahead| ahead.at);
        ahead.unwrap_or_default().max(file.read)
    }

    /// Whether nothing was settled since this was asked last, though there is more to read, and
    /// somebody listens.
    fn is_stuck(&mut self, file: &File, ledger: &Ledger) -> bool {
        let is_elsewhere = matches!(file.place, Place::Displaced { .. } | Place::Rescued(_));
        if file.is_read() || is_elsewhere || !self.ear.listens() || self.quarantine.is_some() {
            self.settled = None;
            return false;
        }
        let settled = ledger.settled(file.id);
        std::mem::replace(&mut self.settled, settled) == settled
    }
}
