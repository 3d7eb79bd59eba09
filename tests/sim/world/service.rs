//! CloudWatch Logs in memory: strict about every limit, unreliable in every documented way.
//!
//! What it does with a call is decided when the call is submitted; the answer comes after a
//! virtual delay. Everything it takes or refuses is told as [`Arrival`]s.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use deploywatch::event::{Batch, EpochMs, Origin, Target};
use deploywatch::ports::{
    Accepted, CallId, ErrorClass, LogAnswer, LogCall, LogService, ServiceError,
};

use super::fuse::Fuse;
use super::legal;
use super::wire::{TIMEOUT_MS, Wire, refusal};

/// Text in a message that makes the service refuse the whole call.
pub(crate) const POISON: &str = "!poison!";

const TOO_NEW_MS: i64 = 2 * 3_600_000;
const TOO_OLD_MS: i64 = 14 * 24 * 3_600_000;

/// What the service did with one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    /// Stored, and the agent will be told.
    Stored,
    /// Stored, and the agent will be told that it failed.
    StoredInDoubt,
    /// Never to be taken: poisoned, too old, too new.
    Refused,
}

/// One event at the service.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) call: CallId,
    pub(crate) target: usize,
    pub(crate) time_ms: EpochMs,
    pub(crate) message: String,
    pub(crate) taking: Taking,
    /// The number of a loss marker, whose text is the agent's own.
    pub(crate) marker: Option<u64>,
}

/// [`LogService`] in memory.
#[derive(Debug)]
pub(crate) struct MemService {
    pub(crate) wire: Wire<LogAnswer>,
    groups: BTreeSet<String>,
    streams: BTreeSet<Target>,
    in_flight: BTreeMap<Target, CallId>,
    target_numbers: HashMap<Target, usize>,
    /// Every target that ever took an event, by number.
    pub(crate) targets: Vec<Target>,
    /// What arrived since the oracle looked.
    pub(crate) arrivals: Vec<Arrival>,
    /// Puts whose answers the agent has taken since the oracle looked.
    pub(crate) answered: Vec<CallId>,
    /// Digest of all that was submitted, for the determinism test.
    pub(crate) digest: u64,
}

impl MemService {
    pub(crate) fn new(seed: u64, fuse: Fuse) -> Self {
        Self {
            wire: Wire::new(seed, fuse),
            groups: BTreeSet::new(),
            streams: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            target_numbers: HashMap::new(),
            targets: Vec::new(),
            arrivals: Vec::new(),
            answered: Vec::new(),
            digest: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// Somebody made the group before.
    pub(crate) fn make_group(&mut self, group: &str) {
        self.groups.insert(group.to_owned());
    }

    /// Somebody deletes a group with all its streams (what was stored is remembered).
    pub(crate) fn delete_some_group(&mut self) {
        let at = self.wire.rng.usize(0..=self.groups.len());
        if let Some(group) = self.groups.iter().nth(at).cloned() {
            self.streams.retain(|target| target.group != group);
            self.groups.remove(&group);
        }
    }

    /// Bytes of the batches that are here just now.
    pub(crate) fn held_bytes(&self) -> usize {
        let batches = self.wire.pending().filter_map(|to| to.batch.as_ref());
        batches.map(|batch| batch.body.len()).sum()
    }

    /// The process is gone: nobody waits for the answers.
    pub(crate) fn forget(&mut self) {
        self.wire.forget();
        self.in_flight.clear();
    }

    fn put(
        &mut self,
        id: CallId,
        batch: &Batch,
        events: &[(EpochMs, String)],
        first: usize,
    ) -> Fate {
        let delay = self.delay();
        if self.wire.mood.down || self.wire.chance(self.wire.mood.error) {
            let delay = if self.wire.mood.down {
                delay / 4
            } else {
                delay
            };
            return Fate::failed(delay, ErrorClass::RetrySoon, "ServiceUnavailable");
        }
        if self.wire.chance(self.wire.mood.throttle) {
            return Fate::failed(delay, ErrorClass::Throttled, "ThrottlingException");
        }
        if self.wire.mood.expired {
            return Fate::failed(delay, ErrorClass::RetrySlowly, "ExpiredTokenException");
        }
        if self.wire.mood.denied.as_ref() == Some(&batch.target.group) {
            return Fate::failed(delay, ErrorClass::RetrySlowly, "AccessDeniedException");
        }
        if self.wire.chance(self.wire.mood.timeout) {
            return Fate::failed(TIMEOUT_MS, ErrorClass::RetrySoon, "Timeout");
        }
        if !self.groups.contains(&batch.target.group) || !self.streams.contains(&*batch.target) {
            return Fate::failed(
                delay,
                ErrorClass::MissingTarget,
                "ResourceNotFoundException",
            );
        }
        let target = self.number(&batch.target);
        if events.iter().any(|(_, text)| text.contains(POISON)) {
            for (at, (_, text)) in events.iter().enumerate() {
                if text.contains(POISON) && events.len() == 1 {
                    self.arrive(id, target, batch, first + at, text, Taking::Refused);
                }
            }
            return Fate::failed(delay, ErrorClass::Invalid, "InvalidParameterException");
        }
        self.store(id, target, batch, events, first, delay)
    }

    fn store(
        &mut self,
        id: CallId,
        target: usize,
        batch: &Batch,
        events: &[(EpochMs, String)],
        first: usize,
        delay: u64,
    ) -> Fate {
        let too_new = events.partition_point(|(time, _)| *time <= self.wire.true_ms + TOO_NEW_MS);
        let too_old = events.partition_point(|(time, _)| *time < self.wire.true_ms - TOO_OLD_MS);
        let doubt = self.wire.chance(self.wire.mood.lost_answer);
        for (at, (_, text)) in events.iter().enumerate() {
            let taking = match (at < too_old || at >= too_new, doubt) {
                (true, _) => Taking::Refused,
                (false, true) => Taking::StoredInDoubt,
                (false, false) => Taking::Stored,
            };
            self.arrive(id, target, batch, first + at, text, taking);
        }
        if doubt {
            return Fate::failed(TIMEOUT_MS, ErrorClass::RetrySoon, "Timeout");
        }
        Fate {
            delay,
            result: Ok(Accepted {
                too_new_from: (too_new < events.len()).then_some(too_new),
                too_old_until: (too_old > 0).then_some(too_old),
                expired_until: None,
            }),
        }
    }

    fn arrive(
        &mut self,
        call: CallId,
        target: usize,
        batch: &Batch,
        slot: usize,
        text: &str,
        taking: Taking,
    ) {
        let piece = batch.slots.get(slot).map(|slot| slot.piece as usize);
        let origin = piece.and_then(|at| batch.pieces.get(at)).map(|p| p.origin);
        if origin.is_none() {
            self.wire
                .violations
                .push(format!("slot {slot} of a batch names no piece"));
        }
        self.arrivals.push(Arrival {
            call,
            target,
            time_ms: batch.slots.get(slot).map_or(0, |slot| slot.time_ms),
            message: text.to_owned(),
            taking,
            marker: match origin {
                Some(Origin::Marker(number)) => Some(number),
                _ => None,
            },
        });
    }

    fn create_stream(&mut self, target: Target) -> Fate {
        let delay = self.delay();
        if let Some(fate) = self.control_fault(&target.group, delay) {
            return fate;
        }
        if !self.groups.contains(&target.group) {
            return Fate::failed(
                delay,
                ErrorClass::MissingTarget,
                "ResourceNotFoundException",
            );
        }
        Fate::created(delay, self.streams.insert(target))
    }

    fn create_group(&mut self, group: String) -> Fate {
        let delay = self.delay();
        if let Some(fate) = self.control_fault(&group, delay) {
            return fate;
        }
        Fate::created(delay, self.groups.insert(group))
    }

    fn control_fault(&mut self, group: &str, delay: u64) -> Option<Fate> {
        let (class, code) = if self.wire.mood.down || self.wire.chance(self.wire.mood.error) {
            (ErrorClass::RetrySoon, "ServiceUnavailable")
        } else if self.wire.chance(self.wire.mood.throttle) {
            (ErrorClass::Throttled, "ThrottlingException")
        } else if self.wire.mood.expired || self.wire.mood.denied.as_deref() == Some(group) {
            (ErrorClass::RetrySlowly, "AccessDeniedException")
        } else {
            return None;
        };
        Some(Fate::failed(delay, class, code))
    }

    fn number(&mut self, target: &Target) -> usize {
        if let Some(number) = self.target_numbers.get(target) {
            return *number;
        }
        let number = self.targets.len();
        self.targets.push(target.clone());
        self.target_numbers.insert(target.clone(), number);
        number
    }

    fn delay(&mut self) -> u64 {
        let slow_ms = self.wire.mood.slow_ms;
        if slow_ms > 0 {
            self.wire.rng.u64(5..=slow_ms.max(5))
        } else {
            self.wire.rng.u64(5..=60)
        }
    }

    fn record(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The answer to a call, and when.
#[derive(Debug)]
struct Fate {
    delay: u64,
    result: Result<Accepted, ServiceError>,
}

impl Fate {
    fn failed(delay: u64, class: ErrorClass, code: &str) -> Self {
        Self {
            delay,
            result: Err(refusal(class, code)),
        }
    }

    fn created(delay: u64, new: bool) -> Self {
        if new {
            let result = Ok(Accepted::default());
            Self { delay, result }
        } else {
            Self::failed(
                delay,
                ErrorClass::AlreadyExists,
                "ResourceAlreadyExistsException",
            )
        }
    }
}

impl LogService for MemService {
    fn submit(&mut self, id: CallId, call: LogCall) {
        if !self.wire.is_reached() {
            return;
        }
        self.record(&id.0.to_le_bytes());
        self.record(&self.wire.ms.to_le_bytes());
        let (batch, fate) = match call {
            LogCall::Put { batch, range } => {
                if let Some(other) = self.in_flight.insert((*batch.target).clone(), id) {
                    self.wire
                        .violations
                        .push(format!("call {} overtakes call {}", id.0, other.0));
                }
                let body = batch.body_of(range.clone()).into_owned();
                self.record(&body);
                let first = range.start;
                let fate = match legal::check(&batch, range, &body) {
                    Ok(events) => self.put(id, &batch, &events, first),
                    Err(broken) => {
                        self.wire
                            .violations
                            .push(format!("illegal request: {broken}"));
                        Fate::failed(5, ErrorClass::Invalid, "InvalidParameterException")
                    }
                };
                (Some(batch), fate)
            }
            LogCall::CreateStream(target) => {
                if let Err(broken) = legal::check_names(&target.group, &target.stream) {
                    self.wire.violations.push(broken);
                }
                (None, self.create_stream(target))
            }
            LogCall::CreateGroup(group, _) => {
                if let Err(broken) = legal::check_names(&group, "s") {
                    self.wire.violations.push(broken);
                }
                (None, self.create_group(group))
            }
        };
        let result = fate.result;
        let answer = LogAnswer { id, batch, result };
        self.wire.reply(id, fate.delay, answer);
    }

    fn answer(&mut self) -> Option<LogAnswer> {
        let answer = self.wire.answer()?;
        if let Some(batch) = &answer.batch {
            self.in_flight.remove(&*batch.target);
            self.answered.push(answer.id);
        }
        Some(answer)
    }
}
