//! From events to answers: batches are filled within the service's limits, sent one at a time per
//! target, retried without end, and settled once.
//!
//! [`Shipper`] is the front. The agent hands it events in file order ([`Shipper::push`]), lets it
//! act ([`Shipper::step`]) and takes away what came of it: acknowledgements for the ledger,
//! bytes it gave back to be read again, events nobody will ever take.
//!
//! Invariants:
//! - **Order.** One call in flight per target, and a target's batches go in the order in which
//!   they were filled; events of one file in one target therefore arrive in file order.
//! - **Bounded.** [`Limits::batch_bytes_max`] bounds the memory of all batches, open, waiting and
//!   in flight; [`Limits::target_bytes_max`] that of one target; [`Limits::calls_max`] the calls.
//! - **No starvation.** Targets get memory in turn: backlogs a full batch's each, new lines from a
//!   part that is left for them. A target that waits to retry may lose its memory to one that can send:
//!   its batches are dissolved and their bytes given back ([`Shipper::take_returned`]), since the
//!   log file is the queue. A target in trouble costs others nothing but that.
//! - **No outcome by giving up.** Throttling, 5xx, timeouts, credentials: retried for ever.
//! - Same inputs, same clock, same seed: same calls.

mod batch;
mod bisect;
mod buffers;
pub mod changes;
pub mod checkpoint;
pub mod dead_letter;
mod encode;
mod lane;
pub mod ledger;
mod memory;
mod pace;
mod queue;
mod report;
pub mod rescue;
mod room;
mod send;
#[cfg(test)]
mod simulation;
#[cfg(test)]
pub(crate) mod testing;
mod turn;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use fastrand::Rng;

use crate::event::{Event, FileOrigin, Now, Origin, Target};
use crate::ports::{GroupOptions, LogService};
use crate::status::TargetStatus;

pub use batch::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, BATCH_SPAN_MS, EVENT_BYTES, MESSAGE_BYTES_MAX};
pub use report::{Poison, Settled, Tally};

use lane::Lane;
use memory::Memory;
use turn::{Call, Service};

/// The least [`Limits::batch_bytes_max`] that lets two full batches be held.
pub const LIMIT_BYTES_MIN: usize = 4 << 20;
/// Problems told one by one; the rest is counted.
const PROBLEMS_MAX: usize = 20;

/// How much may be held and how often sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all batches: their bodies and what belongs to each event. At least
    /// [`LIMIT_BYTES_MIN`]; a single event that needs more is still sent, alone.
    pub batch_bytes_max: usize,
    /// Memory of one target's batches: one in flight and one being filled.
    pub target_bytes_max: usize,
    /// Calls under way at once, for all targets together.
    pub calls_max: usize,
    /// Shortest time between two requests of a target, full batches excepted.
    pub flush_interval_ms: u64,
    /// How long the first event after a quiet time waits for company.
    pub linger_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_bytes_max: 8 << 20,
            target_bytes_max: 3 << 20,
            calls_max: 8,
            flush_interval_ms: 1_000,
            linger_ms: 20,
        }
    }
}

/// A target the [`Shipper`] knows. As long as it (or a clone) is held, the target is remembered;
/// afterwards its place is used again, so ids can neither go stale nor pile up.
#[derive(Clone, Debug)]
pub struct TargetId {
    index: u32,
    /// Held for its count only.
    _handle: Arc<()>,
}

impl PartialEq for TargetId {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

impl Eq for TargetId {}

impl PartialOrd for TargetId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TargetId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.index.cmp(&other.index)
    }
}

/// What became of a pushed event.
#[derive(Debug)]
#[must_use = "an event that was given back must be read again or pushed later"]
pub enum Push<'a> {
    /// It is in a batch.
    Taken,
    /// There is no room for it now: stop reading this target's files, push it later.
    Full(Event<'a>),
}

/// All targets' batches, from events to answers.
#[derive(Debug)]
pub struct Shipper {
    limits: Limits,
    rng: Rng,
    /// Targets by [`TargetId::index`]; `None` is a free place.
    lanes: Vec<Option<Box<Lane>>>,
    free: Vec<u32>,
    by_target: HashMap<Arc<Target>, u32>,
    /// Lanes with something to do, the one served longest ago first.
    listed: VecDeque<u32>,
    memory: Memory,
    calls: Vec<Call>,
    next_call: u64,
    service: Service,
    forgotten_ms: u64,
    /// The last step's time.
    now: Now,
    settled: Vec<Settled>,
    returned: Vec<Origin>,
    rejected: Vec<Poison>,
}

impl Shipper {
    /// Nothing held, nothing known. The seed decides the jitter of retries.
    #[must_use]
    pub fn new(limits: Limits, seed: u64) -> Self {
        let limits = Limits {
            batch_bytes_max: limits.batch_bytes_max.max(LIMIT_BYTES_MIN),
            calls_max: limits.calls_max.max(1),
            ..limits
        };
        Self {
            limits,
            rng: Rng::with_seed(seed),
            lanes: Vec::new(),
            free: Vec::new(),
            by_target: HashMap::new(),
            listed: VecDeque::new(),
            memory: Memory::new(limits.batch_bytes_max),
            calls: Vec::new(),
            next_call: 0,
            service: Service::default(),
            forgotten_ms: 0,
            now: Now {
                mono_ms: 0,
                wall_ms: 0,
            },
            settled: Vec::new(),
            returned: Vec::new(),
            rejected: Vec::new(),
        }
    }

    /// How much may be held and how often sent.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Another shortest time between two requests of a target, from now on: the one limit that a
    /// reload may change.
    pub fn set_flush_interval_ms(&mut self, flush_interval_ms: u64) {
        self.limits.flush_interval_ms = flush_interval_ms;
        for lane in self.lanes.iter_mut().flatten() {
            lane.pace.set_interval(flush_interval_ms);
        }
    }

    /// The id of a target. The first to name it decides what its group would be created with.
    pub fn target(&mut self, target: Target, options: GroupOptions) -> TargetId {
        let index = self.by_target.get(&target).copied();
        let index = index.unwrap_or_else(|| self.add(Arc::new(target), options));
        self.lane(index).id(index)
    }

    fn add(&mut self, target: Arc<Target>, options: GroupOptions) -> u32 {
        let lane = Lane::new(Arc::clone(&target), options, &self.limits);
        let index = self.free.pop().unwrap_or_else(|| {
            self.lanes.push(None);
            u32::try_from(self.lanes.len() - 1).expect("targets are fewer than 4 billion")
        });
        self.lanes[index as usize] = Some(Box::new(lane));
        self.by_target.insert(target, index);
        index
    }

    /// Puts an event into its target's open batch. Its origin must be entered in the ledger, and
    /// events of one file come in the order of the file.
    pub fn push<'a>(
        &mut self,
        id: &TargetId,
        event: Event<'a>,
        file: &Arc<FileOrigin>,
        now: Now,
    ) -> Push<'a> {
        debug_assert!((1..=MESSAGE_BYTES_MAX).contains(&event.text.len()));
        let lane = self.lane_mut(id.index);
        if !lane.takes_events(now) {
            return Push::Full(event);
        }
        if lane.open.as_ref().is_some_and(|open| !open.admits(&event)) {
            lane.close_full();
        }
        let growth = lane.growth(|open, outlook| open.growth(&event, file, outlook));
        if let Some(growth) = growth
            && !self.grow(id.index, growth, now)
        {
            return Push::Full(event);
        }
        if let Some(open) = &mut self.lane_mut(id.index).open {
            open.push(&event, file);
        }
        Push::Taken
    }

    /// Acts: takes answers, gives memory of those who wait to those who can send before them, sends
    /// what is due. Bytes are given back ([`Shipper::take_returned`]) only here.
    pub fn step(&mut self, now: Now, service: &mut dyn LogService) {
        while let Some(answer) = service.answer() {
            self.answered(answer, now);
        }
        self.relieve(now);
        self.submit(now, service);
        self.forget(now);
    }

    /// What became of batches since the last call: acknowledgements for the ledger, counts.
    pub fn take_settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    /// Origins given back unsent since the last call: a file is to be read again from the
    /// smallest start, a marker to be pushed again. To be taken after each [`Shipper::step`],
    /// before the next push: what is pushed meanwhile would overtake them.
    pub fn take_returned(&mut self) -> Vec<Origin> {
        std::mem::take(&mut self.returned)
    }

    /// Events refused even alone since the last call, for the dead-letter file.
    pub fn take_rejected(&mut self) -> Vec<Poison> {
        std::mem::take(&mut self.rejected)
    }

    /// What is open now is due at once: the agent is about to stop. Backoffs stay.
    pub fn close_open(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            lane.hurry();
        }
    }

    /// When [`Shipper::step`] has something to do again, on the monotonic clock, if no answer
    /// comes before; a time in the past means at once.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let can_relieve = || self.memory.is_short() && self.longest_waiting(self.now).is_some();
        if self.memory.has_woken() || can_relieve() {
            return Some(self.now.mono_ms);
        }
        let lanes = self.listed.iter().map(|index| self.lane(*index));
        lanes
            .filter(|lane| self.may_call(lane))
            .filter_map(|lane| lane.due_ms(&self.limits))
            .chain(self.memory.next_due())
            .min()
    }

    /// Whether nothing is held and nothing under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.held_bytes() == 0 && self.calls.is_empty()
    }

    /// Memory of all batches.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.memory.held_bytes()
    }

    /// Every target with events on their way or an answer worth remembering.
    #[must_use]
    pub fn statuses(&self, now: Now) -> Vec<TargetStatus> {
        let lanes = self.lanes.iter().flatten();
        lanes.filter_map(|lane| lane.status(now)).collect()
    }

    /// One sentence for each trouble that needs a person, alike ones told once.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut alike: BTreeMap<String, (&Target, usize)> = BTreeMap::new();
        for lane in self.lanes.iter().flatten() {
            if let Some(problem) = lane.problem(self.now) {
                alike.entry(problem).or_insert((&lane.target, 0)).1 += 1;
            }
        }
        let told = alike.into_iter().take(PROBLEMS_MAX);
        told.map(|(problem, (target, count))| {
            let others = match count - 1 {
                0 => String::new(),
                others => format!(" (and {others} more)"),
            };
            format!(
                "log group {}, stream {}{others}: {problem}; its events are kept and tried again",
                target.group, target.stream
            )
        })
        .collect()
    }

    fn lane(&self, index: u32) -> &Lane {
        let lane = self.lanes[index as usize].as_ref();
        lane.expect("a lane that is held, listed or under way is not forgotten")
    }

    fn lane_mut(&mut self, index: u32) -> &mut Lane {
        let lane = self.lanes[index as usize].as_mut();
        lane.expect("a lane that is held, listed or under way is not forgotten")
    }
}
