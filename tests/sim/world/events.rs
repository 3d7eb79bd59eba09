//! EventBridge in memory: strict about every limit, unreliable in every documented way.
//!
//! What becomes of a call, and of each of its entries, is decided when it is submitted, the answer
//! comes after a virtual delay, and everything taken is told as [`Take`]s for an oracle.

use deploywatch::event::EpochMs;
use deploywatch::ports::{
    CallId, ErrorClass, EventAnswer, EventCall, EventEntry, EventService, ServiceError,
};

use super::fuse::Fuse;
use super::wire::{Codes, Fate, Wire, refusal, silence};

const CODES: Codes = Codes {
    broken: "InternalException",
    throttled: "ThrottlingException",
    expired: "ExpiredTokenException",
};

/// An entry that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Take {
    pub(crate) entry: EventEntry,
    /// The agent will be told that it failed, so it sends the same again.
    pub(crate) in_doubt: bool,
    /// The true date.
    pub(crate) true_ms: EpochMs,
}

/// [`EventService`] in memory.
#[derive(Debug)]
pub(crate) struct MemEvents {
    /// In its mood, `throttle` and `error` also strike single entries.
    pub(crate) wire: Wire<EventAnswer>,
    /// What was taken since the oracle looked.
    pub(crate) takes: Vec<Take>,
    /// Calls whose entries were taken in doubt.
    pub(crate) doubts: u64,
}

impl MemEvents {
    pub(crate) fn new(seed: u64, fuse: Fuse) -> Self {
        Self {
            wire: Wire::new(seed, fuse),
            takes: Vec::new(),
            doubts: 0,
        }
    }

    fn judge(&mut self, call: EventCall) -> Fate<Vec<Result<(), ServiceError>>> {
        let wire = &mut self.wire;
        let delay = wire.rng.u64(5..=wire.mood.slow_ms.max(60));
        if let Some(fault) = wire.fault(CODES, delay) {
            return fault;
        }
        let in_doubt = wire.chance(wire.mood.lost_answer);
        let mut results = Vec::new();
        for entry in call.entries {
            if wire.chance(wire.mood.throttle) {
                results.push(Err(refusal(ErrorClass::Throttled, "ThrottlingException")));
            } else if wire.chance(wire.mood.error) {
                results.push(Err(refusal(ErrorClass::RetrySoon, "InternalFailure")));
            } else {
                self.takes.push(Take {
                    entry,
                    in_doubt,
                    true_ms: wire.true_ms,
                });
                results.push(Ok(()));
            }
        }
        if in_doubt {
            self.doubts += 1;
            return silence();
        }
        (delay, Ok(results))
    }
}

impl EventService for MemEvents {
    fn submit(&mut self, id: CallId, call: EventCall) {
        if !self.wire.is_reached() {
            return;
        }
        self.wire.expect_alone(id);
        self.wire.violations.extend(broken_rules(&call));
        let (delay, result) = self.judge(call);
        self.wire.reply(id, delay, EventAnswer { id, result });
    }

    fn answer(&mut self) -> Option<EventAnswer> {
        self.wire.answer()
    }
}

/// The service's rules that a call breaks (EventBridge API reference, PutEvents).
fn broken_rules(call: &EventCall) -> Vec<String> {
    let mut broken = Vec::new();
    let bytes: usize = call.entries.iter().map(EventEntry::counted_bytes).sum();
    if !(1..=10).contains(&call.entries.len()) || bytes >= 256 * 1024 {
        broken.push(format!("{} entries, {bytes} bytes", call.entries.len()));
    }
    for entry in &call.entries {
        let detail: Result<serde_json::Value, _> = serde_json::from_str(&entry.detail);
        let is_object = detail.is_ok_and(|detail| detail.is_object());
        if !is_object || entry.detail_type.chars().count() > 128 || entry.source.starts_with("aws.")
        {
            broken.push(format!("illegal entry {entry:?}"));
        }
    }
    broken
}
