//! CloudWatch Logs in memory: strict about every limit, unreliable in every documented way.
//!
//! What it does with a call is decided when the call is submitted; the answer comes after a
//! virtual delay. Everything it takes or refuses is told as [`Arrival`]s.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use deploywatch::event::{Batch, EpochMs, Origin, Target};
use deploywatch::ports::{
    Accepted, CallId, ErrorClass, LogAnswer, LogCall, LogService, ServiceError,
};

use super::fuse::{Fuse, Pulse};
use super::legal;

/// Text in a message that makes the service refuse the whole call.
pub(crate) const POISON: &str = "!poison!";

const TOO_NEW_MS: i64 = 2 * 3_600_000;
const TOO_OLD_MS: i64 = 14 * 24 * 3_600_000;

/// How the service feels just now. Shares are chances per call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mood {
    pub(crate) throttle: f64,
    pub(crate) error: f64,
    pub(crate) timeout: f64,
    /// Stored, but the answer is lost.
    pub(crate) lost_answer: f64,
    /// Answers take up to so long.
    pub(crate) slow_ms: u64,
    /// No network.
    pub(crate) down: bool,
    /// Credentials are refused.
    pub(crate) expired: bool,
    /// Targets whose group's name hashes to this are denied.
    pub(crate) denied: Option<String>,
}

impl Mood {
    /// Some troubles at random, for a service that has no groups.
    pub(crate) fn drawn(rng: &mut fastrand::Rng) -> Self {
        Self {
            throttle: [0.0, 0.3][rng.usize(0..2)],
            error: [0.0, 0.3][rng.usize(0..2)],
            timeout: [0.0, 0.2][rng.usize(0..2)],
            lost_answer: [0.0, 0.3][rng.usize(0..2)],
            slow_ms: rng.u64(0..5_000),
            down: rng.u8(0..4) == 0,
            expired: rng.u8(0..6) == 0,
            denied: None,
        }
    }
}

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

#[derive(Debug)]
struct Pending {
    ready_ms: u64,
    answer: LogAnswer,
}

/// [`LogService`] in memory.
#[derive(Debug)]
pub(crate) struct MemService {
    fuse: Fuse,
    rng: fastrand::Rng,
    /// Its mood.
    pub(crate) mood: Mood,
    /// The simulation's time.
    pub(crate) ms: u64,
    /// The true date.
    pub(crate) true_ms: EpochMs,
    pending: Vec<Pending>,
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
    /// Broken rules.
    pub(crate) violations: Vec<String>,
    /// Calls submitted so far.
    pub(crate) calls: u64,
    /// Digest of all that was submitted, for the determinism test.
    pub(crate) digest: u64,
}

impl MemService {
    pub(crate) fn new(seed: u64, fuse: Fuse) -> Self {
        Self {
            fuse,
            rng: fastrand::Rng::with_seed(seed),
            mood: Mood::default(),
            ms: 0,
            true_ms: 0,
            pending: Vec::new(),
            groups: BTreeSet::new(),
            streams: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            target_numbers: HashMap::new(),
            targets: Vec::new(),
            arrivals: Vec::new(),
            answered: Vec::new(),
            violations: Vec::new(),
            calls: 0,
            digest: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// Somebody made the group before.
    pub(crate) fn make_group(&mut self, group: &str) {
        self.groups.insert(group.to_owned());
    }

    /// Somebody deletes a group with all its streams (what was stored is remembered).
    pub(crate) fn delete_some_group(&mut self) {
        let at = self.rng.usize(0..=self.groups.len());
        if let Some(group) = self.groups.iter().nth(at).cloned() {
            self.streams.retain(|target| target.group != group);
            self.groups.remove(&group);
        }
    }

    /// When the next answer is there.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.pending.iter().map(|pending| pending.ready_ms).min()
    }

    /// Bytes of the batches that are here just now.
    pub(crate) fn held_bytes(&self) -> usize {
        self.pending
            .iter()
            .filter_map(|pending| pending.answer.batch.as_ref())
            .map(|batch| batch.body.len())
            .sum()
    }

    /// The process is gone: nobody waits for the answers.
    pub(crate) fn forget(&mut self) {
        self.pending.clear();
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
        if self.mood.down || self.chance(self.mood.error) {
            let delay = if self.mood.down { delay / 4 } else { delay };
            return Fate::failed(delay, ErrorClass::RetrySoon, "ServiceUnavailable");
        }
        if self.chance(self.mood.throttle) {
            return Fate::failed(delay, ErrorClass::Throttled, "ThrottlingException");
        }
        if self.mood.expired {
            return Fate::failed(delay, ErrorClass::RetrySlowly, "ExpiredTokenException");
        }
        if self.mood.denied.as_ref() == Some(&batch.target.group) {
            return Fate::failed(delay, ErrorClass::RetrySlowly, "AccessDeniedException");
        }
        if self.chance(self.mood.timeout) {
            return Fate::failed(30_000, ErrorClass::RetrySoon, "Timeout");
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
        let too_new = events.partition_point(|(time, _)| *time <= self.true_ms + TOO_NEW_MS);
        let too_old = events.partition_point(|(time, _)| *time < self.true_ms - TOO_OLD_MS);
        let doubt = self.chance(self.mood.lost_answer);
        for (at, (_, text)) in events.iter().enumerate() {
            let taking = match (at < too_old || at >= too_new, doubt) {
                (true, _) => Taking::Refused,
                (false, true) => Taking::StoredInDoubt,
                (false, false) => Taking::Stored,
            };
            self.arrive(id, target, batch, first + at, text, taking);
        }
        if doubt {
            return Fate::failed(30_000, ErrorClass::RetrySoon, "Timeout");
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
            self.violations
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
        let (class, code) = if self.mood.down || self.chance(self.mood.error) {
            (ErrorClass::RetrySoon, "ServiceUnavailable")
        } else if self.chance(self.mood.throttle) {
            (ErrorClass::Throttled, "ThrottlingException")
        } else if self.mood.expired || self.mood.denied.as_deref() == Some(group) {
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

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.f64() < share
    }

    fn delay(&mut self) -> u64 {
        let slow_ms = self.mood.slow_ms;
        if slow_ms > 0 {
            self.rng.u64(5..=slow_ms.max(5))
        } else {
            self.rng.u64(5..=60)
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
            result: Err(ServiceError {
                class,
                code: code.to_owned(),
                message: "simulated".to_owned(),
            }),
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
        match self.fuse.pulse() {
            Pulse::Dead => return,
            Pulse::Dying if self.rng.bool() => return,
            _ => {}
        }
        self.calls += 1;
        self.record(&id.0.to_le_bytes());
        self.record(&self.ms.to_le_bytes());
        let (batch, fate) = match call {
            LogCall::Put { batch, range } => {
                if let Some(other) = self.in_flight.insert((*batch.target).clone(), id) {
                    self.violations
                        .push(format!("call {} overtakes call {}", id.0, other.0));
                }
                let body = batch.body_of(range.clone()).into_owned();
                self.record(&body);
                let first = range.start;
                let fate = match legal::check(&batch, range, &body) {
                    Ok(events) => self.put(id, &batch, &events, first),
                    Err(broken) => {
                        self.violations.push(format!("illegal request: {broken}"));
                        Fate::failed(5, ErrorClass::Invalid, "InvalidParameterException")
                    }
                };
                (Some(batch), fate)
            }
            LogCall::CreateStream(target) => {
                if let Err(broken) = legal::check_names(&target.group, &target.stream) {
                    self.violations.push(broken);
                }
                (None, self.create_stream(target))
            }
            LogCall::CreateGroup(group, _) => {
                if let Err(broken) = legal::check_names(&group, "s") {
                    self.violations.push(broken);
                }
                (None, self.create_group(group))
            }
        };
        self.pending.push(Pending {
            ready_ms: self.ms + fate.delay.max(1),
            answer: LogAnswer {
                id,
                batch,
                result: fate.result,
            },
        });
    }

    fn answer(&mut self) -> Option<LogAnswer> {
        if self.fuse.pulse() != Pulse::Alive {
            return None;
        }
        let ready = (0..self.pending.len())
            .filter(|at| self.pending[*at].ready_ms <= self.ms)
            .min_by_key(|at| (self.pending[*at].ready_ms, self.pending[*at].answer.id))?;
        let answer = self.pending.swap_remove(ready).answer;
        if let Some(batch) = &answer.batch {
            self.in_flight.remove(&*batch.target);
            self.answered.push(answer.id);
        }
        Some(answer)
    }
}
