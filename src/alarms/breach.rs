//! Whether an alarm that acts on the instance breaches, judged by the data we publish.
//!
//! The service decides; this only follows it closely enough to know, after a restart, whether an
//! alarm may have caused it. In doubt it says that the alarm breaches.

use std::collections::VecDeque;
use std::sync::Arc;

use super::guard::{Breaches, REACH_SLACK_MS};
use crate::config::alarm::Alarm;
use crate::event::EpochMs;
use crate::ports::{Datum, Numbers, Summary};

/// One alarm on a metric of our own that acts on the instance.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) alarm: Arc<Alarm>,
    /// The last data the service looks at, as they came: their times are those of a clock that may
    /// be set back. Those of an earlier process are not known, and count as breaching: one more may
    /// be all that the alarm lacks.
    recent: VecDeque<Point>,
}

/// What the alarm sees of a datum.
#[derive(Clone, Copy, Debug)]
struct Point {
    time_ms: EpochMs,
    /// The least it can make of it.
    low: f64,
    /// The most.
    high: f64,
    breaches: bool,
}

impl Watched {
    /// The alarms of a configuration that are to be watched.
    pub(crate) fn all(alarms: &[Arc<Alarm>]) -> Vec<Self> {
        let unknown = Point {
            time_ms: EpochMs::MIN,
            low: 0.0,
            high: 0.0,
            breaches: true,
        };
        let acting = alarms.iter().filter(|alarm| alarm.ec2_action().is_some());
        acting
            .filter(|alarm| alarm.is_own_metric)
            .map(|alarm| Self {
                alarm: Arc::clone(alarm),
                recent: (1..alarm.datapoints_to_alarm).map(|_| unknown).collect(),
            })
            .collect()
    }

    /// Whether a datum is of the alarm's metric.
    pub(crate) fn sees(&self, datum: &Datum) -> bool {
        self.alarm.metric == datum.name
    }

    /// Takes a datum of the alarm's metric and says whether the alarm now breaches.
    pub(crate) fn note(&mut self, datum: &Datum) -> Breaches {
        self.recent.push_back(self.judge(datum));
        while self.recent.len() > self.looks_back() {
            self.recent.pop_front();
        }
        let breaching = self.recent.iter().filter(|point| point.breaches).count();
        match breaching >= self.alarm.datapoints_to_alarm as usize {
            true => Breaches::Yes,
            false => Breaches::No,
        }
    }

    /// Whether the alarm's period may breach with this datum. Where the statistic adds up, one that
    /// has been noted counts beside itself.
    pub(crate) fn would_breach(&self, datum: &Datum) -> bool {
        self.judge(datum).breaches
    }

    /// How long behind its last breach the alarm may still act.
    pub(crate) fn reach_ms(&self) -> u64 {
        let alarm = &self.alarm;
        u64::from(alarm.period_s) * u64::from(alarm.evaluation_periods) * 1000 + REACH_SLACK_MS
    }

    /// What the alarm sees of a datum, and whether that breaches: alone, or with what else may lie
    /// in the same period where the statistic adds that up. Where the service lets its periods
    /// begin, only it knows.
    fn judge(&self, datum: &Datum) -> Point {
        let alarm = &self.alarm;
        let (low, high) = seen(&datum.numbers, &alarm.statistic);
        let period_ms = u64::from(alarm.period_s) * 1000;
        let is_near = |point: &&Point| point.time_ms.abs_diff(datum.time_ms) < period_ms;
        let near = self.recent.iter().filter(is_near);
        let (fall, rise) = match adds_up(&alarm.statistic) {
            true => near.fold((0.0, 0.0), |(fall, rise), point| {
                (fall + point.low.min(0.0), rise + point.high.max(0.0))
            }),
            false => (0.0, 0.0),
        };
        let ends = [low, high, low + fall, high + rise];
        let mut ends = ends.into_iter();
        Point {
            time_ms: datum.time_ms,
            low,
            high,
            breaches: ends.any(|value| alarm.comparison.holds(value, alarm.threshold)),
        }
    }

    /// How many of our data an evaluation looks at.
    fn looks_back(&self) -> usize {
        let alarm = &self.alarm;
        let in_period = (alarm.period_s / alarm.datapoint_s.max(1)).max(1);
        (alarm.evaluation_periods * in_period) as usize
    }
}

/// Whether a statistic of two data together is more than that of either.
fn adds_up(statistic: &str) -> bool {
    matches!(statistic, "Sum" | "SampleCount")
}

/// The least and the greatest value that a statistic may be of these numbers.
fn seen(numbers: &Numbers, statistic: &str) -> (f64, f64) {
    let Summary {
        count,
        sum,
        min,
        max,
    } = numbers.summary();
    match statistic {
        "Sum" => (sum, sum),
        "SampleCount" => (count, count),
        "Minimum" => (min, min),
        "Maximum" => (max, max),
        _ => (min, max),
    }
}
