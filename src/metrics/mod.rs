//! Counters and values → data points of CloudWatch metrics, each at its own time, none lost, none
//! made up.
//!
//! The agent says what happened ([`Metrics::count`], [`Metrics::time`], [`Metrics::hear`]) and how
//! things stand ([`Metrics::gauge`]); `registry.rs` puts that into periods, `publish.rs` sends
//! each period once with a jitter of its own per instance, so that a fleet does not come at once.
//!
//! # Two phases
//!
//! A count comes from a line, and the line's offset is saved by the agent. Were the two saved
//! apart, a crash between them would repeat or skip a count. So [`Metrics::saved`] holds all that
//! is not answered for, the agent stores it in one go with its offsets and says so by
//! [`Metrics::confirm_saved`], and only then is a request that was made before sent. After a crash
//! the request that was in flight is sent again just as it was, and nothing else is: the data of
//! at most one request may count twice, none are skipped.
//!
//! # Invariants
//!
//! - Every number that was counted is delivered, waits, or is counted in a tally by reason.
//! - A datum's time is the period in which it happened, never the one in which it was read.
//! - No datum is dated later than the service's own date, where its answers tell it (`dates.rs`).
//! - A period gets gauges and fill-in zeros once, at its own end, or never.
//! - What waits is bounded in numbers, labels in bytes, requests in data and bytes.

mod border;
mod closed;
mod custom;
mod dates;
mod numbers;
mod outgoing;
mod pending;
mod publish;
mod registry;
mod saved;
mod series;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::config::Identity;
use crate::config::metric::{BuiltinMetric, MetricsConfig};
use crate::event::{EpochMs, Now};
use crate::ports::MetricService;
use crate::status::MetricsStatus;
pub use border::{Customs, OpenBorder};
use custom::Listener;
use dates::Difference;
use publish::Publisher;
use registry::{Number, Registry};
pub use saved::Saved;
use tally::{Refusal, Tally};

/// For the edge's tests: what a datum is counted with.
#[cfg(test)]
pub(crate) use publish::bytes_of as bytes_of_datum;

/// A period is sent so much of its length after its end, at most: one in so many.
const JITTER_SHARE: u64 = 6;

/// Counts and publishes.
#[derive(Debug)]
pub struct Metrics {
    config: MetricsConfig,
    identity: Identity,
    registry: Registry,
    listener: Listener,
    publisher: Publisher,
    tally: Tally,
    /// The instance that what waits was counted on.
    instance_id: Option<String>,
    /// Grows with every change that must survive a restart.
    version: u64,
    saved_version: u64,
    /// When what waits is to be sent; `None` until the next period ends.
    publish_at_ms: Option<u64>,
    /// When the present period ends, by the clock that never goes back.
    turn_at_ms: u64,
    difference: Difference,
    /// Dimensions of which it was said that this instance has no value.
    without_value: BTreeSet<String>,
    is_stopping: bool,
}

impl Metrics {
    /// Goes on where `saved` ends. The seed decides about jitter.
    #[must_use]
    pub fn new(config: &MetricsConfig, saved: Option<Saved>, seed: u64) -> Self {
        let mut metrics = Self {
            config: config.clone(),
            identity: Identity::default(),
            registry: Registry::new(config),
            listener: Listener::new(config),
            publisher: Publisher::new(seed),
            tally: Tally::default(),
            instance_id: None,
            version: 0,
            saved_version: 0,
            publish_at_ms: None,
            turn_at_ms: 0,
            difference: Difference::default(),
            without_value: BTreeSet::new(),
            is_stopping: false,
        };
        if let Some(saved) = saved {
            metrics.restore(saved);
        }
        metrics.clear_if_off();
        metrics
    }

    /// The machine was booted since: what waits is old news, which must not look like a fresh
    /// breach to any alarm. It is given up and counted.
    pub fn give_up_old_news(&mut self) {
        let given_up = self.clear();
        self.tally.refuse(Refusal::BeforeBoot, given_up);
        if given_up > 0 {
            tracing::warn!(
                given_up,
                "metrics from before the machine's boot are not published"
            );
        }
    }

    /// Takes another configuration. What waits is still sent as it was counted.
    pub fn reload(&mut self, config: &MetricsConfig) {
        self.config = config.clone();
        self.registry.reload(config);
        self.listener = Listener::new(config);
        self.without_value.clear();
        self.clear_if_off();
    }

    /// Takes what was learned about the instance. What was counted on another one (this disk is a
    /// copy of its) is given up: its news are not this instance's.
    pub fn learn(&mut self, identity: &Identity) {
        self.identity = identity.clone();
        let Some(id) = &identity.instance_id else {
            return;
        };
        if self.instance_id.as_ref().is_some_and(|known| known != id) {
            let given_up = self.clear();
            self.tally.refuse(Refusal::OtherInstance, given_up);
            tracing::warn!(
                given_up,
                "the state is of another instance; its metrics are given up"
            );
        }
        if self.instance_id.as_ref() != Some(id) {
            self.instance_id = Some(id.clone());
            self.version += 1;
        }
    }

    /// Counts for a built-in metric, at the time it happened.
    pub fn count(&mut self, metric: BuiltinMetric, value: f64, at_ms: EpochMs) {
        let at_ms = self.dated(at_ms);
        let number = Number { value, at_ms };
        self.registry.count(metric, None, number, &mut self.tally);
        self.version += 1;
    }

    /// Counts for a built-in metric that has a series for each `label`
    /// ([`BuiltinMetric::LifecycleEventSeconds`]: the lifecycle event).
    pub fn time(&mut self, metric: BuiltinMetric, label: &str, seconds: f64, at_ms: EpochMs) {
        let number = Number {
            value: seconds,
            at_ms: self.dated(at_ms),
        };
        self.registry
            .count(metric, Some(label), number, &mut self.tally);
        self.version += 1;
    }

    /// Says how things stand from now on; the last word before a period's end is its datum, and
    /// with `None` there is none. Not kept over a restart: a gauge nobody has set has no data.
    pub fn gauge(&mut self, metric: BuiltinMetric, value: Option<f64>) {
        self.registry.gauge(metric, value, &mut self.tally);
    }

    /// Whether [`Self::hear`] does anything with a source's records.
    #[must_use]
    pub fn hears(&self, source: &str) -> bool {
        self.listener.hears(source)
    }

    /// Counts what a record says, as the user's `[[metric]]`s want it. The text is redacted.
    pub fn hear(&mut self, source: &str, text: &str, time_ms: EpochMs) {
        let record = (source, text, self.dated(time_ms));
        if self
            .listener
            .hear(record, &mut self.registry, &mut self.tally)
        {
            self.version += 1;
        }
    }

    /// Takes the answers that are there. A call of its own is for the end: what was taken is not to
    /// be sent again by the next process.
    pub fn take_answers(&mut self, now: Now, service: &mut dyn MetricService) {
        if self.publisher.settle(service, now, &mut self.tally) {
            self.version += 1;
        }
    }

    /// One turn: takes answers, ends a period, sends what is due and saved.
    pub fn step(&mut self, now: Now, service: &mut dyn MetricService, customs: &mut dyn Customs) {
        self.take_answers(now, service);
        let now = self.agree_on_date(service.clock_offset_ms(), now);
        if !self.config.enabled {
            return;
        }
        self.turn(now);
        if self.is_publish_due(now) && self.publisher.is_idle() && self.is_someone() {
            self.expire(now);
            self.make_request(now, customs);
        }
        if self.is_someone() {
            let saved = self.saved_version;
            if self.publisher.is_due(saved, now)
                && self.publisher.hold_back(customs, &mut self.tally)
            {
                self.version += 1;
            }
            if self.publisher.submit(service, saved, now, &mut self.tally) {
                self.version += 1;
            }
        }
    }

    /// Begins to stop: what the present period has counted is sent too, without gauges, since the
    /// period is not over.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Whether there is nothing to send or to wait for. After [`Self::stop`]: all is delivered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let waits = self.is_stopping && self.is_someone() && self.sendable().next().is_some();
        self.publisher.is_idle() && !waits
    }

    /// When a step is needed next, by the clock that never goes back. A request that waits for
    /// [`Self::confirm_saved`] needs none before that.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        if !self.config.enabled {
            return None;
        }
        let send_ms = match self.is_someone() {
            true => self.publisher.due_ms(self.saved_version),
            false => None,
        };
        let publish_ms = self
            .publish_at_ms
            .filter(|_| self.publisher.is_idle() && self.is_someone());
        let due = [Some(self.turn_at_ms), send_ms, publish_ms];
        due.into_iter().flatten().min()
    }

    /// Whether something changed since the state that was last confirmed.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.version > self.saved_version
    }

    /// One sentence where a person should hear that nothing is published.
    #[must_use]
    pub fn problem(&self, now: Now) -> Option<String> {
        let namespace = &self.config.namespace;
        let answer = self.publisher.problem(now)?;
        Some(format!(
            "metrics, namespace {namespace}: {answer}; they are kept and tried again"
        ))
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self, now: Now) -> MetricsStatus {
        let (last_answer, last_answer_ms) = self.publisher.last_answer.clone().unwrap_or_default();
        let retry_ms = self.publisher.retry_at_ms().map(|at_ms| {
            let wait_ms = at_ms.saturating_sub(now.mono_ms);
            now.wall_ms + EpochMs::try_from(wait_ms).unwrap_or(EpochMs::MAX / 2)
        });
        MetricsStatus {
            namespace: self.config.namespace.clone(),
            period_s: self.config.period_s,
            delivered: self.publisher.delivered,
            pending: self.publisher.len()
                + self.registry.builtin_pending.len()
                + self.registry.custom_pending.len(),
            refused: self.tally.counts().clone(),
            last_answer,
            last_answer_ms,
            retry_ms,
            without_value: self.without_value.iter().cloned().collect(),
        }
    }

    /// Who switches metrics off wants nothing published any more.
    fn clear_if_off(&mut self) {
        if !self.config.enabled {
            self.clear();
        }
    }

    /// Gives everything up that waits; how many data.
    fn clear(&mut self) -> u64 {
        self.version += 1;
        self.publisher.clear()
            + self.registry.builtin_pending.clear()
            + self.registry.custom_pending.clear()
    }

    /// Whether it is known who we are: data of a state that may be another's must not leave.
    fn is_someone(&self) -> bool {
        self.identity.instance_id.is_some() || self.identity.complete
    }

    fn turn(&mut self, now: Now) {
        if self.registry.turn(now, &mut self.tally) {
            self.version += 1;
            let bound_ms = u64::from(self.config.period_s) * 1000 / JITTER_SHARE;
            let jitter_ms = self.publisher.jitter(bound_ms);
            self.publish_at_ms.get_or_insert(now.mono_ms + jitter_ms);
        }
        let until_ms = self.registry.open_until_ms().unwrap_or(now.wall_ms);
        let left_ms = u64::try_from(until_ms - now.wall_ms).unwrap_or(0);
        self.turn_at_ms = now.mono_ms + left_ms.max(1);
    }

    fn is_publish_due(&self, now: Now) -> bool {
        self.is_stopping || self.publish_at_ms.is_some_and(|at_ms| at_ms <= now.mono_ms)
    }
}
