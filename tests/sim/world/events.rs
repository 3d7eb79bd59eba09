//! EventBridge in memory: strict about every limit, unreliable in every documented way.
//!
//! What becomes of a call, and of each of its entries, is decided when it is submitted, the answer
//! comes after a virtual delay, and everything taken is told as [`Take`]s for an oracle.

use deploywatch::event::EpochMs;
use deploywatch::ports::{
    CallId, ErrorClass, EventAnswer, EventCall, EventEntry, EventService, ServiceError,
};

use super::fuse::{Fuse, Pulse};
use super::service::Mood;

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
    fuse: Fuse,
    rng: fastrand::Rng,
    /// Its mood: `throttle` and `error` also strike single entries.
    pub(crate) mood: Mood,
    /// The simulation's time.
    pub(crate) ms: u64,
    /// The true date.
    pub(crate) true_ms: EpochMs,
    pending: Vec<(u64, EventAnswer)>,
    /// What was taken since the oracle looked.
    pub(crate) takes: Vec<Take>,
    /// Broken rules.
    pub(crate) violations: Vec<String>,
    /// Calls submitted so far.
    pub(crate) calls: u64,
    /// Calls whose entries were taken in doubt.
    pub(crate) doubts: u64,
}

fn error(class: ErrorClass, code: &str) -> ServiceError {
    ServiceError {
        class,
        code: code.to_owned(),
        message: "simulated".to_owned(),
    }
}

impl MemEvents {
    pub(crate) fn new(seed: u64, fuse: Fuse) -> Self {
        Self {
            fuse,
            rng: fastrand::Rng::with_seed(seed),
            mood: Mood::default(),
            ms: 0,
            true_ms: 0,
            pending: Vec::new(),
            takes: Vec::new(),
            violations: Vec::new(),
            calls: 0,
            doubts: 0,
        }
    }

    /// When the next answer is there.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.pending.iter().map(|(ready_ms, _)| *ready_ms).min()
    }

    /// The process is gone: nobody waits for the answers.
    pub(crate) fn forget(&mut self) {
        self.pending.clear();
    }

    fn judge(
        &mut self,
        call: EventCall,
    ) -> (u64, Result<Vec<Result<(), ServiceError>>, ServiceError>) {
        let delay = self.rng.u64(5..=self.mood.slow_ms.max(60));
        if self.mood.down || self.chance(self.mood.error) {
            return (
                delay,
                Err(error(ErrorClass::RetrySoon, "InternalException")),
            );
        }
        if self.chance(self.mood.throttle) {
            return (
                delay,
                Err(error(ErrorClass::Throttled, "ThrottlingException")),
            );
        }
        if self.mood.expired {
            let class = ErrorClass::RetrySlowly;
            return (delay, Err(error(class, "ExpiredTokenException")));
        }
        if self.chance(self.mood.timeout) {
            return (30_000, Err(error(ErrorClass::RetrySoon, "Timeout")));
        }
        let in_doubt = self.chance(self.mood.lost_answer);
        let mut results = Vec::new();
        for entry in call.entries {
            if self.chance(self.mood.throttle) {
                results.push(Err(error(ErrorClass::Throttled, "ThrottlingException")));
            } else if self.chance(self.mood.error) {
                results.push(Err(error(ErrorClass::RetrySoon, "InternalFailure")));
            } else {
                self.takes.push(Take {
                    entry,
                    in_doubt,
                    true_ms: self.true_ms,
                });
                results.push(Ok(()));
            }
        }
        if in_doubt {
            self.doubts += 1;
            return (30_000, Err(error(ErrorClass::RetrySoon, "Timeout")));
        }
        (delay, Ok(results))
    }

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.f64() < share
    }
}

impl EventService for MemEvents {
    fn submit(&mut self, id: CallId, call: EventCall) {
        match self.fuse.pulse() {
            Pulse::Dead => return,
            Pulse::Dying if self.rng.bool() => return,
            _ => {}
        }
        self.calls += 1;
        if !self.pending.is_empty() {
            self.violations
                .push(format!("call {} overtakes another", id.0));
        }
        self.violations.extend(broken_rules(&call));
        let (delay, result) = self.judge(call);
        let ready_ms = self.ms + delay.max(1);
        self.pending.push((ready_ms, EventAnswer { id, result }));
    }

    fn answer(&mut self) -> Option<EventAnswer> {
        if self.fuse.pulse() != Pulse::Alive {
            return None;
        }
        let ready = self
            .pending
            .iter()
            .position(|(ready_ms, _)| *ready_ms <= self.ms)?;
        Some(self.pending.remove(ready).1)
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
