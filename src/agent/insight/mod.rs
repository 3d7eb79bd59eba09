//! What is made of records besides shipping them: deployments, the CodeDeploy agent's health,
//! metrics.
//!
//! Every record is heard once, however often it is read: how far a file was heard is kept with the
//! file and saved in one checkpoint with what was made of it.
//!
//! Invariants:
//! - What happened before this boot, or before this agent was first started here, makes no metric:
//!   nothing that a reboot brings back to mind may cause the next one.
//! - Nothing is published that a durable checkpoint does not know of.

mod incidents;
mod saved;
mod say;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::codedeploy::layout::Layout;
use crate::codedeploy::{self, Eras, Freshness, News, Observer, Outcome, What};
use crate::config::metric::BuiltinMetric;
use crate::config::{Builtin, Config, Identity};
use crate::event::{EpochMs, Event, Loss, Now, Target};
use crate::events::{self, Age, EventKind, Events, Incident};
use crate::metrics::{self, Metrics};
use crate::status::{AgentHealth, DeploymentsStatus, EventsStatus, MetricsStatus, SourceCounts};

use super::alarming::Guarded;
use super::{Edges, Host};
use saved::{Saved, Totals, read_saved};
use say::say;

/// How long a stop waits for metrics, whatever becomes of the logs: what is left goes with the
/// next start.
const STOP_MS: u64 = 5_000;

/// A record of the CodeDeploy agent's that is heard so long after it was written was not heard as
/// it came: others may say what became of it.
const LATE_MS: EpochMs = 60_000;

/// Who listens to the records of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ear {
    /// The CodeDeploy agent's log that it is, if any.
    builtin: Option<Builtin>,
    /// Whether the user counts in it.
    is_counted: bool,
}

impl Ear {
    /// Whether anybody does.
    pub(super) fn listens(self) -> bool {
        self.builtin.is_some() || self.is_counted
    }
}

/// Whether an event begins where its line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It does.
    First,
    /// It is a further part of a line that was too long, or was cut by a restart.
    Further,
}

/// What was made of records.
#[derive(Debug)]
pub(super) struct Insight {
    observer: Observer,
    metrics: Metrics,
    events: Events,
    builtins: BTreeMap<Arc<str>, Builtin>,
    boot_id: Option<String>,
    totals: Totals,
    /// Whether silence means anything: all that the CodeDeploy agent has written was heard.
    is_caught_up: bool,
    /// Until when a stop waits for metrics.
    stop_until_ms: Option<u64>,
}

/// How things stand with the logs, as the agent knows it.
pub(super) struct Logs<'a> {
    pub(super) layout: &'a Layout,
    /// Bytes on disk that have no answer.
    pub(super) backlog_bytes: u64,
    /// Whether the CodeDeploy agent's own log has been read as far as it goes.
    pub(super) is_agent_heard: bool,
}

/// What the agent tells each step.
pub(super) struct Told<'a> {
    pub(super) counts: &'a BTreeMap<String, SourceCounts>,
    /// 1 while the alarms' actions are to be suspended, else 0.
    pub(super) suspended: f64,
    /// Where the log of a deployment's scripts goes; without one, that of the CodeDeploy agent.
    pub(super) log_of: &'a dyn Fn(Option<&str>) -> Option<Target>,
}

/// Where an event was heard.
#[derive(Clone, Copy)]
pub(super) struct Heard<'a> {
    pub(super) ear: Ear,
    pub(super) part: Part,
    pub(super) source: &'a str,
    /// The live path of the file.
    pub(super) family: &'a Path,
}

impl Insight {
    /// Goes on where the run before left off.
    pub(super) fn restore(config: &Config, host: &Host, saved: Value, seed: u64, now: Now) -> Self {
        let saved = read_saved(saved);
        let is_first = saved.is_none();
        let mut saved = saved.unwrap_or(Saved {
            since_ms: now.wall_ms,
            boot_id: host.boot_id.clone(),
            totals: Totals::none(),
            observer: codedeploy::Saved::default(),
            metrics: metrics::Saved::default(),
            events: events::Saved::default(),
        });
        let eras = Eras {
            boot_ms: host.boot_ms,
            since_ms: saved.since_ms,
        };
        let mut metrics = Metrics::new(&config.metrics, Some(saved.metrics), seed);
        if saved.boot_id != host.boot_id {
            metrics.give_up_old_news();
            saved.observer.forget_boot();
        }
        let mut insight = Self {
            observer: Observer::new(Some(saved.observer), eras),
            metrics,
            events: Events::new(
                config.events.clone(),
                Some(saved.events),
                host.boot_id.as_deref().unwrap_or_default(),
                seed,
            ),
            builtins: BTreeMap::new(),
            boot_id: host.boot_id.clone(),
            totals: saved.totals,
            is_caught_up: false,
            stop_until_ms: None,
        };
        insight.listen(config);
        if is_first {
            tracing::info!(
                "first start here: what the logs tell of earlier times makes no metrics"
            );
        }
        insight
    }

    /// Takes another configuration.
    pub(super) fn reload(&mut self, config: &Config) {
        self.metrics.reload(&config.metrics);
        self.events.reload(config.events.clone());
        self.listen(config);
    }

    fn listen(&mut self, config: &Config) {
        let own = config.codedeploy.sources.iter();
        self.builtins = own
            .filter(|_| config.codedeploy.enabled)
            .map(|(builtin, source)| (Arc::clone(&source.name), *builtin))
            .collect();
    }

    /// Takes what was learned about the instance.
    pub(super) fn learn(&mut self, identity: &Identity) {
        self.metrics.learn(identity);
        self.events.learn(identity);
    }

    /// The name of the source that is this log of the CodeDeploy agent's, if it is watched.
    pub(super) fn source_of(&self, log: Builtin) -> Option<Arc<str>> {
        let mut builtins = self.builtins.iter();
        let (name, _) = builtins.find(|(_, builtin)| **builtin == log)?;
        Some(Arc::clone(name))
    }

    /// Who listens to a source.
    pub(super) fn ear(&self, source: &str) -> Ear {
        Ear {
            builtin: self.builtins.get(source).copied(),
            is_counted: self.metrics.hears(source),
        }
    }

    /// Hears one event of a file.
    pub(super) fn hear(&mut self, heard: &Heard<'_>, event: &Event<'_>, now: Now) {
        let mut at_ms = event.time_ms;
        if let Some(builtin) = heard.ear.builtin
            && heard.part == Part::First
        {
            at_ms = self
                .observer
                .hear(builtin, heard.family, &event.text, at_ms, now);
            self.is_caught_up &= now.wall_ms.saturating_sub(at_ms) < LATE_MS;
        }
        if heard.ear.is_counted && self.observer.eras().freshness(at_ms) == Freshness::Fresh {
            self.metrics.hear(heard.source, &event.text, at_ms);
        }
    }

    /// Looks beyond the logs: tracking files, processes. On the beat of the discovery.
    pub(super) fn look(&mut self, edges: &mut Edges<'_>, logs: &Logs<'_>, now: Now) {
        self.observer.follow_date(now);
        // What was heard late since the last look is all heard by now, if nothing is left.
        self.is_caught_up = logs.is_agent_heard;
        if !self.builtins.is_empty() {
            self.observer
                .look(edges.files, logs.layout, self.is_caught_up, now);
            self.observer.look_at_processes(edges.processes, now);
        }
        self.metrics
            .gauge(BuiltinMetric::BacklogBytes, Some(logs.backlog_bytes as f64));
    }

    /// One turn: draws conclusions, counts them, publishes what is due.
    pub(super) fn step(
        &mut self,
        edges: &mut Edges<'_>,
        told: &Told<'_>,
        mut guarded: Guarded<'_>,
        now: Now,
    ) {
        if self.is_watching() {
            self.observer.step(now);
        }
        for news in self.observer.take_news() {
            say(&news);
            self.count(&news);
            self.report_news(&news, told.log_of, now);
        }
        self.count_totals(told.counts, now);
        self.set_gauges(now);
        let suspended = Some(told.suspended);
        self.metrics
            .gauge(BuiltinMetric::ActionsSuspended, suspended);
        self.metrics.step(now, edges.metrics, &mut guarded);
        self.events.step(now, edges.events);
    }

    /// Whether time alone may lead to a conclusion: what looks as if it had been running for hours
    /// may have ended in records that were not heard yet.
    fn is_watching(&self) -> bool {
        self.is_caught_up && !self.builtins.is_empty()
    }

    /// Makes metrics of news.
    fn count(&mut self, news: &News) {
        if news.freshness != Freshness::Fresh {
            return;
        }
        match &news.what {
            What::DeploymentSucceeded { .. } => {
                let metric = BuiltinMetric::DeploymentsSucceeded;
                self.metrics.count(metric, 1.0, news.at_ms);
            }
            What::DeploymentFailed { .. } => {
                let metric = BuiltinMetric::DeploymentsFailed;
                self.metrics.count(metric, 1.0, news.at_ms);
            }
            What::LifecycleEventFinished {
                event,
                outcome: Outcome::Succeeded | Outcome::Failed,
                duration_ms: Some(duration_ms),
                ..
            } => {
                let metric = BuiltinMetric::LifecycleEventSeconds;
                let seconds = *duration_ms as f64 / 1000.0;
                self.metrics.time(metric, event, seconds, news.at_ms);
            }
            _ => {}
        }
    }

    /// Counts what was lost, refused and taken out since it was last counted.
    fn count_totals(&mut self, counts: &BTreeMap<String, SourceCounts>, now: Now) {
        let totals = Totals::of(counts);
        for (metric, before, after) in [
            (
                BuiltinMetric::LostBytes,
                self.totals.lost_bytes,
                totals.lost_bytes,
            ),
            (
                BuiltinMetric::RefusedEvents,
                self.totals.refused_events,
                totals.refused_events,
            ),
            (
                BuiltinMetric::RedactedSecrets,
                self.totals.redacted.or(totals.redacted).unwrap_or(0),
                totals.redacted.unwrap_or(0),
            ),
        ] {
            if after > before {
                self.metrics
                    .count(metric, (after - before) as f64, now.wall_ms);
            }
        }
        self.totals = totals;
    }

    fn set_gauges(&mut self, now: Now) {
        let flag = |is: bool| if is { 1.0 } else { 0.0 };
        let observer = &self.observer;
        for (metric, value) in [
            (
                BuiltinMetric::CodeDeployAgentHealthy,
                observer.is_healthy().map(flag),
            ),
            (
                BuiltinMetric::LastDeploymentFailed,
                Some(flag(observer.last_deployment_failed())),
            ),
            (
                BuiltinMetric::DeploymentRunningSeconds,
                (self.is_caught_up).then(|| observer.running_seconds(now)),
            ),
        ] {
            self.metrics.gauge(metric, value);
        }
    }

    pub(super) fn next_due(&self, now: Now) -> Option<u64> {
        let due = [
            self.observer.next_due().filter(|_| self.is_watching()),
            self.metrics.next_due(),
            self.events.next_due_ms(),
            self.stop_until_ms
                .filter(|until_ms| *until_ms > now.mono_ms),
        ];
        due.into_iter().flatten().min()
    }

    /// Begins to stop: what is counted is sent as far as there is time.
    pub(super) fn stop(&mut self, now: Now) {
        self.metrics.stop();
        self.stop_until_ms = Some(now.mono_ms + STOP_MS);
    }

    /// Takes the answers that are there, before the last checkpoint.
    pub(super) fn take_answers(&mut self, edges: &mut Edges<'_>, now: Now) {
        self.metrics.take_answers(now, edges.metrics);
        self.events.take_answers(now, edges.events);
    }

    /// Whether a stop need not wait for metrics.
    pub(super) fn is_done(&self, now: Now) -> bool {
        let is_over = |until_ms| now.mono_ms >= until_ms;
        let is_idle = self.metrics.is_idle() && self.events.is_idle();
        is_idle || self.stop_until_ms.is_some_and(is_over)
    }

    /// Whether something waits for a durable checkpoint.
    pub(super) fn is_dirty(&self) -> bool {
        self.metrics.is_dirty() || self.events.is_dirty()
    }

    /// What a checkpoint keeps, and the version that [`Self::confirm`] wants.
    pub(super) fn saved(&mut self) -> (impl Serialize + use<>, u64) {
        let metrics = self.metrics.saved();
        let version = metrics.version;
        let saved = Saved {
            since_ms: self.observer.eras().since_ms,
            boot_id: self.boot_id.clone(),
            totals: self.totals,
            observer: self.observer.saved(),
            metrics,
            events: self.events.saved(),
        };
        (saved, version)
    }

    /// The checkpoint made last is durable, and this was its version.
    pub(super) fn confirm(&mut self, version: u64) {
        self.metrics.confirm_saved(version);
        self.events.confirm_saved();
    }

    pub(super) fn deployments(&self, now: Now) -> (DeploymentsStatus, AgentHealth) {
        (self.observer.deployments(now), self.observer.health())
    }

    pub(super) fn events(&self) -> EventsStatus {
        self.events.status()
    }

    pub(super) fn metrics(&self, now: Now) -> MetricsStatus {
        self.metrics.status(now)
    }
}
