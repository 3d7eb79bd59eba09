//! CloudWatch in memory: strict about every limit, unreliable in every documented way.
//!
//! As with the log service, what becomes of a call is decided when it is submitted, the answer
//! comes after a virtual delay, and everything taken is told as [`Take`]s for an oracle.

use deploywatch::event::EpochMs;
use deploywatch::ports::{
    CallId, Datum, ErrorClass, MetricAnswer, MetricCall, MetricService, Numbers, ServiceError,
};

use super::fuse::{Fuse, Pulse};
use super::service::Mood;

/// A request that is signed by a date further off than this is refused
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>).
const SKEW_MS_MAX: u64 = 300_000;
const TOO_NEW_MS: EpochMs = 2 * 3_600_000;
const TOO_OLD_MS: EpochMs = 14 * 24 * 3_600_000;

/// A call that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Take {
    pub(crate) call: CallId,
    pub(crate) namespace: String,
    pub(crate) data: Vec<Datum>,
    /// The agent will be told that it failed, so it sends the same again.
    pub(crate) in_doubt: bool,
    /// The true date.
    pub(crate) true_ms: EpochMs,
}

/// [`MetricService`] in memory.
#[derive(Debug)]
pub(crate) struct MemMetrics {
    fuse: Fuse,
    rng: fastrand::Rng,
    /// Its mood: `throttle`, `error`, `timeout`, `lost_answer`, `slow_ms`, `down` and `expired`.
    pub(crate) mood: Mood,
    /// The simulation's time.
    pub(crate) ms: u64,
    /// The true date.
    pub(crate) true_ms: EpochMs,
    /// The machine's date.
    pub(crate) wall_ms: EpochMs,
    /// What was learnt of the difference, by being refused.
    offset_ms: i64,
    pending: Vec<(u64, MetricAnswer)>,
    /// What was taken since the oracle looked.
    pub(crate) takes: Vec<Take>,
    /// Calls whose answers the agent has taken since the oracle looked.
    pub(crate) answered: Vec<CallId>,
    /// Broken rules.
    pub(crate) violations: Vec<String>,
    /// Calls submitted so far.
    pub(crate) calls: u64,
}

impl MemMetrics {
    pub(crate) fn new(seed: u64, fuse: Fuse) -> Self {
        Self {
            fuse,
            rng: fastrand::Rng::with_seed(seed),
            mood: Mood::default(),
            ms: 0,
            true_ms: 0,
            wall_ms: 0,
            offset_ms: 0,
            pending: Vec::new(),
            takes: Vec::new(),
            answered: Vec::new(),
            violations: Vec::new(),
            calls: 0,
        }
    }

    /// When the next answer is there.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.pending.iter().map(|(ready_ms, _)| *ready_ms).min()
    }

    /// The process is gone: nobody waits for the answers.
    pub(crate) fn forget(&mut self) {
        self.pending.clear();
        self.offset_ms = 0;
    }

    fn judge(&mut self, id: CallId, call: &MetricCall) -> (u64, Result<(), ServiceError>) {
        let delay = self.rng.u64(5..=self.mood.slow_ms.max(60));
        let failed = |delay, class, code: &str| {
            let error = ServiceError {
                class,
                code: code.to_owned(),
                message: "simulated".to_owned(),
            };
            (delay, Err(error))
        };
        if self.mood.down || self.chance(self.mood.error) {
            return failed(delay, ErrorClass::RetrySoon, "InternalServiceFault");
        }
        if self.chance(self.mood.throttle) {
            return failed(delay, ErrorClass::Throttled, "ThrottlingException");
        }
        if self.mood.expired {
            return failed(delay, ErrorClass::RetrySlowly, "ExpiredTokenException");
        }
        if self.chance(self.mood.timeout) {
            return failed(30_000, ErrorClass::RetrySoon, "Timeout");
        }
        let signed_ms = self.wall_ms + self.offset_ms;
        if signed_ms.abs_diff(self.true_ms) > SKEW_MS_MAX {
            self.offset_ms = self.true_ms - self.wall_ms;
            return failed(delay, ErrorClass::RetrySoon, "RequestTimeTooSkewed");
        }
        let window = self.true_ms - TOO_OLD_MS..=self.true_ms + TOO_NEW_MS;
        if call
            .data
            .iter()
            .any(|datum| !window.contains(&datum.time_ms))
        {
            return failed(delay, ErrorClass::Invalid, "InvalidParameterValue");
        }
        let in_doubt = self.chance(self.mood.lost_answer);
        self.takes.push(Take {
            call: id,
            namespace: call.namespace.to_string(),
            data: call.data.to_vec(),
            in_doubt,
            true_ms: self.true_ms,
        });
        match in_doubt {
            true => failed(30_000, ErrorClass::RetrySoon, "Timeout"),
            false => (delay, Ok(())),
        }
    }

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.f64() < share
    }
}

impl MetricService for MemMetrics {
    fn submit(&mut self, id: CallId, call: MetricCall) {
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
        let broken = broken_rules(&call);
        let (delay, result) = self.judge(id, &call);
        self.violations.extend(broken);
        let ready_ms = self.ms + delay.max(1);
        self.pending.push((ready_ms, MetricAnswer { id, result }));
    }

    fn clock_offset_ms(&self) -> i64 {
        self.offset_ms
    }

    fn answer(&mut self) -> Option<MetricAnswer> {
        if self.fuse.pulse() != Pulse::Alive {
            return None;
        }
        let ready = self
            .pending
            .iter()
            .position(|(ready_ms, _)| *ready_ms <= self.ms)?;
        let (_, answer) = self.pending.remove(ready);
        self.answered.push(answer.id);
        Some(answer)
    }
}

/// The service's rules that a call breaks (CloudWatch API reference, PutMetricData).
fn broken_rules(call: &MetricCall) -> Vec<String> {
    let mut broken = Vec::new();
    if !(1..=1000).contains(&call.data.len()) {
        broken.push(format!("{} data in a call", call.data.len()));
    }
    for datum in call.data.iter() {
        let is_name = |name: &str, most: usize| {
            (1..=most).contains(&name.len())
                && name.bytes().all(|b| (b' '..=b'~').contains(&b))
                && !name.trim().is_empty()
        };
        let dimensions = &datum.dimensions;
        let named = dimensions
            .iter()
            .all(|(n, v)| is_name(n, 255) && is_name(v, 1024));
        let numbers: Vec<f64> = match &datum.numbers {
            Numbers::One(value) => vec![*value],
            Numbers::Many(values) => values.iter().flat_map(|(v, c)| [*v, *c]).collect(),
            Numbers::Summary {
                count,
                sum,
                min,
                max,
            } => vec![*count, *sum, *min, *max],
        };
        let in_range = numbers.iter().all(|number| number.abs() <= 2_f64.powi(360));
        let few = (1..=300).contains(&numbers.len()) && dimensions.len() <= 30;
        if !is_name(&datum.name, 255) || !named || !in_range || !few {
            broken.push(format!("illegal datum {datum:?}"));
        }
    }
    broken
}
