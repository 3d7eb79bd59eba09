//! Which metrics there are, what was counted for each period, and when a period ends.
//!
//! Numbers belong to the period in which they happened, however late they come; a datum already
//! sent gets a second one with the same time, which CloudWatch adds to the first. Gauges and
//! fill-in zeros are different: they say how things stood *at the end of a period*, so each period
//! gets them once, when it ends while the agent is there to see it. A clock that jumps back enters
//! periods that were closed before; they stay closed ([`Closed`]), so nothing old looks new.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::closed::Closed;
use super::numbers;
use super::pending::Pending;
use super::series::{Crowded, Family, Series, families, label};
use super::tally::{Refusal, Tally};
use crate::config::metric::{BuiltinMetric, Dimension, MetricsConfig, Statistic};
use crate::event::{EpochMs, Now};

/// Numbers of built-in metrics that wait, at most: more than a day of the default set.
pub(super) const BUILTIN_WEIGHT_MAX: usize = 20_000;

/// Numbers of `[[metric]]`s that wait, at most. Their own, so that a wild log takes no room from
/// what alarms need.
pub(super) const CUSTOM_WEIGHT_MAX: usize = 10_000;

/// Bytes that all labels told by lines may take.
pub(super) const LABEL_BYTES_MAX: usize = 256 * 1024;

/// Lifecycle events that are kept apart: CodeDeploy knows 13.
const LIFECYCLE_EVENTS_MAX: usize = 20;

/// A combination of labels unused for so long makes room for others.
const UNUSED_MS: u64 = 3_600_000;

/// The service takes data so old (CloudWatch API reference, MetricDatum), less a margin for the
/// way and the clock.
pub(super) const OLDEST_MS: EpochMs = 14 * 86_400_000 - 600_000;

/// The service takes data so far in the future (same place), less a margin.
pub(super) const NEWEST_MS: EpochMs = 2 * 3_600_000 - 60_000;

/// What is told with a date further ahead than this did not happen then: the date was set since. At
/// the service it would look fresh when that date comes.
const AHEAD_MS: EpochMs = 300_000;

/// What is counted.
#[derive(Debug)]
pub(super) struct Registry {
    period_ms: EpochMs,
    builtin: BTreeMap<BuiltinMetric, Vec<Family>>,
    /// In the order of the configuration.
    custom: Vec<Vec<Family>>,
    gauges: BTreeMap<BuiltinMetric, f64>,
    label_room: usize,
    pub(super) builtin_pending: Pending,
    pub(super) custom_pending: Pending,
    /// The period that is being lived through.
    pub(super) open_ms: Option<EpochMs>,
    pub(super) closed: Closed,
    /// The period an earlier run died in.
    inherited_ms: Option<EpochMs>,
    /// The last clocks that were read.
    now: Option<Now>,
}

/// One number on its way in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    pub(super) value: f64,
    /// When it happened.
    pub(super) at_ms: EpochMs,
}

impl Registry {
    pub(super) fn new(config: &MetricsConfig) -> Self {
        let mut registry = Self {
            period_ms: 60_000,
            builtin: BTreeMap::new(),
            custom: Vec::new(),
            gauges: BTreeMap::new(),
            label_room: LABEL_BYTES_MAX,
            builtin_pending: Pending::new(BUILTIN_WEIGHT_MAX),
            custom_pending: Pending::new(CUSTOM_WEIGHT_MAX),
            open_ms: None,
            closed: Closed::default(),
            inherited_ms: None,
            now: None,
        };
        registry.reload(config);
        registry
    }

    /// Takes another configuration. What waits is still sent as it was counted.
    pub(super) fn reload(&mut self, config: &MetricsConfig) {
        let known = self.labelled();
        let resolution_s = config.resolution_s();
        let period_ms = EpochMs::from(config.period_s) * 1000;
        if period_ms != self.period_ms {
            self.open_ms = None;
            self.period_ms = period_ms;
        }
        let published = BuiltinMetric::ALL.into_iter();
        let published = published.filter(|metric| config.publishes(*metric));
        self.builtin = published
            .map(|metric| {
                let template = Series {
                    name: metric.name().to_owned(),
                    unit: metric.unit().to_owned(),
                    resolution_s,
                    statistic: metric.statistic(),
                    dimensions: Vec::new(),
                };
                let sets = config.sets_of(metric);
                (metric, families(&template, sets, LIFECYCLE_EVENTS_MAX))
            })
            .collect();
        let custom = config.custom.iter().filter(|_| config.enabled);
        self.custom = custom
            .map(|metric| {
                let template = Series {
                    name: metric.name.clone(),
                    unit: metric.unit.to_owned(),
                    resolution_s,
                    statistic: metric.statistic,
                    dimensions: Vec::new(),
                };
                families(&template, &metric.dimensions, metric.series_max)
            })
            .collect();
        self.gauges.retain(|metric, _| config.publishes(*metric));
        self.label_room = LABEL_BYTES_MAX;
        for series in known {
            self.restore_label(&series);
        }
    }

    /// Every series that lines made.
    pub(super) fn labelled(&self) -> Vec<Arc<Series>> {
        let families = self.builtin.values().chain(&self.custom).flatten();
        families.flat_map(Family::labelled).cloned().collect()
    }

    /// Keeps a combination of labels apart, as an earlier run did; nothing if it is not asked for
    /// any more.
    pub(super) fn restore_label(&mut self, series: &Series) {
        let mut families = self.builtin.values_mut().chain(&mut self.custom).flatten();
        families.any(|family| family.restore(series, &mut self.label_room));
    }

    /// Counts for a built-in metric.
    pub(super) fn count(
        &mut self,
        metric: BuiltinMetric,
        told: Option<&str>,
        number: Number,
        tally: &mut Tally,
    ) {
        let Some(families) = self.builtin.get_mut(&metric) else {
            return;
        };
        let labels = |_: &Dimension| told.and_then(label);
        let mut into = Into {
            pending: &mut self.builtin_pending,
            room: &mut self.label_room,
            period_ms: self.period_ms,
            now: self.now,
        };
        into.count(families, number, labels, tally);
    }

    /// Counts for the user's metric at a place of the configuration; `told` gives the text of a
    /// group.
    pub(super) fn count_custom<'t>(
        &mut self,
        index: usize,
        number: Number,
        told: impl Fn(&str) -> Option<&'t str>,
        tally: &mut Tally,
    ) {
        let labels = |dimension: &Dimension| match dimension {
            Dimension::Group(name) => told(name).and_then(label),
            _ => None,
        };
        let mut into = Into {
            pending: &mut self.custom_pending,
            room: &mut self.label_room,
            period_ms: self.period_ms,
            now: self.now,
        };
        into.count(&mut self.custom[index], number, labels, tally);
    }

    /// Says how things stand from now on.
    pub(super) fn gauge(&mut self, metric: BuiltinMetric, value: Option<f64>, tally: &mut Tally) {
        let Some(value) = value else {
            self.gauges.remove(&metric);
            return;
        };
        if !numbers::is_in_range(value) {
            tally.refuse(Refusal::NotANumber, 1);
        } else if self.builtin.contains_key(&metric) {
            self.gauges.insert(metric, plain(value));
        }
    }

    /// Notices that a period is over. True if one was.
    pub(super) fn turn(&mut self, now: Now, tally: &mut Tally) -> bool {
        self.now = Some(now);
        let current_ms = self.period_of(now.wall_ms);
        let over_ms = self.open_ms.filter(|open_ms| *open_ms < current_ms);
        if let Some(over_ms) = over_ms {
            self.close(over_ms, tally);
        }
        let changed = self.open_ms != Some(current_ms);
        self.open_ms = Some(current_ms);
        changed
    }

    /// Goes on where an earlier run ended: it lived through part of this period, so the period has
    /// a heartbeat and its zeros; nobody saw its end, so it has no gauges.
    pub(super) fn resume(&mut self, open_ms: Option<EpochMs>, closed: &[(EpochMs, EpochMs)]) {
        self.open_ms = open_ms;
        self.inherited_ms = open_ms;
        self.closed = Closed::restore(closed);
    }

    /// Drops what waits and is not between two times; how many data are too old, how many too new.
    pub(super) fn keep_within(&mut self, oldest_ms: EpochMs, newest_ms: EpochMs) -> (u64, u64) {
        let builtin = self.builtin_pending.keep_within(oldest_ms, newest_ms);
        let custom = self.custom_pending.keep_within(oldest_ms, newest_ms);
        (builtin.0 + custom.0, builtin.1 + custom.1)
    }

    /// Forgets what was lived through by a date that lies ahead of the right one.
    pub(super) fn forget_ahead(&mut self, now_ms: EpochMs) {
        self.open_ms = self.open_ms.filter(|open_ms| *open_ms <= now_ms);
        self.closed.forget_ahead(now_ms);
    }

    /// Takes out what waits for a period of a series.
    pub(super) fn take(&mut self, period_ms: EpochMs, series: &Arc<Series>) {
        let builtin = self.builtin_pending.take(period_ms, series);
        // Built-in names cannot be the user's, so that it is in one of them only.
        if builtin.is_none() {
            drop(self.custom_pending.take(period_ms, series));
        }
    }

    /// When the period that is being lived through ends.
    pub(super) fn open_until_ms(&self) -> Option<EpochMs> {
        self.open_ms.map(|open_ms| open_ms + self.period_ms)
    }

    fn close(&mut self, period_ms: EpochMs, tally: &mut Tally) {
        let until_ms = period_ms + self.period_ms;
        let inherited = self.inherited_ms.take() == Some(period_ms);
        if self.closed.add(period_ms, until_ms) {
            for (metric, families) in &mut self.builtin {
                let pending = &mut self.builtin_pending;
                let gauge = match metric {
                    BuiltinMetric::Heartbeat => Some(1.0),
                    _ if inherited => None,
                    _ => self.gauges.get(metric).copied(),
                };
                for series in unlabelled(families, &mut self.label_room) {
                    let put = match (metric.statistic(), gauge) {
                        (Statistic::Gauge, Some(value)) => pending.put(period_ms, &series, value),
                        (Statistic::Sum, _) => pending.fill(period_ms, &series),
                        (Statistic::Gauge | Statistic::Distribution, _) => continue,
                    };
                    tally.refuse(Refusal::NoRoom, put.evicted);
                }
            }
            for series in unlabelled(self.custom.iter_mut().flatten(), &mut self.label_room) {
                if series.statistic == Statistic::Sum {
                    let put = self.custom_pending.fill(period_ms, &series);
                    tally.refuse(Refusal::NoRoom, put.evicted);
                }
            }
        }
        let unused_ms = self
            .now
            .map_or(0, |now| now.mono_ms.saturating_sub(UNUSED_MS));
        let families = self.builtin.values_mut().chain(&mut self.custom).flatten();
        let freed: usize = families.map(|f| f.forget_unused_since(unused_ms)).sum();
        self.label_room += freed;
    }

    fn period_of(&self, at_ms: EpochMs) -> EpochMs {
        at_ms.div_euclid(self.period_ms) * self.period_ms
    }
}

/// The series of families that lines tell nothing of.
fn unlabelled<'f>(
    families: impl IntoIterator<Item = &'f mut Family>,
    room: &mut usize,
) -> Vec<Arc<Series>> {
    let families = families.into_iter();
    let plain = families.filter(|family| family.asks().next().is_none());
    plain
        .filter_map(|family| family.series(&[], 0, room).ok())
        .collect()
}

/// Where numbers go.
struct Into<'r> {
    pending: &'r mut Pending,
    room: &'r mut usize,
    period_ms: EpochMs,
    now: Option<Now>,
}

impl Into<'_> {
    fn count(
        &mut self,
        families: &mut [Family],
        number: Number,
        labels: impl Fn(&Dimension) -> Option<String>,
        tally: &mut Tally,
    ) {
        let Number { value, at_ms } = number;
        if !numbers::is_in_range(value) {
            return tally.refuse(Refusal::NotANumber, 1);
        }
        if let Some(now) = self.now {
            if at_ms < now.wall_ms - OLDEST_MS {
                return tally.refuse(Refusal::TooOld, 1);
            }
            if at_ms > now.wall_ms + AHEAD_MS {
                return tally.refuse(Refusal::TooNew, 1);
            }
        }
        let mono_ms = self.now.map_or(0, |now| now.mono_ms);
        let period_ms = at_ms.div_euclid(self.period_ms) * self.period_ms;
        for family in families {
            let told: Option<Vec<String>> = family.asks().map(&labels).collect();
            let Some(told) = told else {
                tally.refuse(Refusal::NoLabel, 1);
                continue;
            };
            match family.series(&told, mono_ms, self.room) {
                Ok(series) => {
                    let put = self.pending.put(period_ms, &series, plain(value));
                    tally.refuse(Refusal::NoRoom, put.evicted);
                    tally.refuse(Refusal::NotANumber, u64::from(put.is_out_of_range));
                }
                Err(Crowded) => tally.refuse(Refusal::Crowded, 1),
            }
        }
    }
}

/// The same number; -0 becomes 0.
fn plain(value: f64) -> f64 {
    value + 0.0
}
