//! CloudWatch in memory: strict about every limit, unreliable in every documented way.
//!
//! As with the log service, what becomes of a call is decided when it is submitted, the answer
//! comes after a virtual delay, and everything taken is told as [`Take`]s for an oracle.

use deploywatch::event::EpochMs;
use deploywatch::ports::{
    CallId, Datum, ErrorClass, MetricAnswer, MetricCall, MetricService, Numbers,
};

use super::fuse::Fuse;
use super::wire::{Codes, Fate, Wire, refusal, silence};

const CODES: Codes = Codes {
    broken: "InternalServiceFault",
    throttled: "ThrottlingException",
    expired: "ExpiredTokenException",
};
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
    pub(crate) wire: Wire<MetricAnswer>,
    /// The machine's date.
    pub(crate) wall_ms: EpochMs,
    /// What was learnt of the difference, by being refused.
    offset_ms: i64,
    /// What was taken since the oracle looked.
    pub(crate) takes: Vec<Take>,
    /// Calls whose answers the agent has taken since the oracle looked.
    pub(crate) answered: Vec<CallId>,
}

impl MemMetrics {
    pub(crate) fn new(seed: u64, fuse: Fuse) -> Self {
        Self {
            wire: Wire::new(seed, fuse),
            wall_ms: 0,
            offset_ms: 0,
            takes: Vec::new(),
            answered: Vec::new(),
        }
    }

    /// The process is gone: nobody waits for the answers.
    pub(crate) fn forget(&mut self) {
        self.wire.forget();
        self.offset_ms = 0;
    }

    fn judge(&mut self, id: CallId, call: &MetricCall) -> Fate<()> {
        let failed = |delay, class, code| (delay, Err(refusal(class, code)));
        let wire = &mut self.wire;
        let delay = wire.rng.u64(5..=wire.mood.slow_ms.max(60));
        if let Some(fault) = wire.fault(CODES, delay) {
            return fault;
        }
        let signed_ms = self.wall_ms + self.offset_ms;
        if signed_ms.abs_diff(wire.true_ms) > SKEW_MS_MAX {
            self.offset_ms = wire.true_ms - self.wall_ms;
            return failed(delay, ErrorClass::RetrySoon, "RequestTimeTooSkewed");
        }
        let window = wire.true_ms - TOO_OLD_MS..=wire.true_ms + TOO_NEW_MS;
        if call
            .data
            .iter()
            .any(|datum| !window.contains(&datum.time_ms))
        {
            return failed(delay, ErrorClass::Invalid, "InvalidParameterValue");
        }
        let in_doubt = wire.chance(wire.mood.lost_answer);
        self.takes.push(Take {
            call: id,
            namespace: call.namespace.to_string(),
            data: call.data.to_vec(),
            in_doubt,
            true_ms: wire.true_ms,
        });
        match in_doubt {
            true => silence(),
            false => (delay, Ok(())),
        }
    }
}

impl MetricService for MemMetrics {
    fn submit(&mut self, id: CallId, call: MetricCall) {
        if !self.wire.is_reached() {
            return;
        }
        self.wire.expect_alone(id);
        self.wire.violations.extend(broken_rules(&call));
        let (delay, result) = self.judge(id, &call);
        self.wire.reply(id, delay, MetricAnswer { id, result });
    }

    fn clock_offset_ms(&self) -> i64 {
        self.offset_ms
    }

    fn answer(&mut self) -> Option<MetricAnswer> {
        let answer = self.wire.answer()?;
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
            Numbers::Summary(all) => vec![all.count, all.sum, all.min, all.max],
        };
        let in_range = numbers.iter().all(|number| number.abs() <= 2_f64.powi(360));
        let few = (1..=300).contains(&numbers.len()) && dimensions.len() <= 30;
        if !is_name(&datum.name, 255) || !named || !in_range || !few {
            broken.push(format!("illegal datum {datum:?}"));
        }
    }
    broken
}
