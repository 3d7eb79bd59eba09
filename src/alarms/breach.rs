//! Whether an alarm that acts on the instance breaches, judged by the datapoints we publish.
//!
//! The service decides; this only follows it closely enough to know, after a restart, whether an
//! alarm may have caused it. In doubt it says that the alarm breaches.

use std::collections::VecDeque;
use std::sync::Arc;

use super::guard::{Breaches, REACH_SLACK_MS};
use crate::config::alarm::Alarm;

/// One alarm on a metric of our own that acts on the instance.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) alarm: Arc<Alarm>,
    /// The last datapoints the service looks at: whether each breached. Those of an earlier
    /// process are not known, and count as breaching: one more may be all that the alarm lacks.
    recent: VecDeque<bool>,
}

impl Watched {
    /// The alarms of a configuration that are to be watched.
    pub(crate) fn all(alarms: &[Arc<Alarm>]) -> Vec<Self> {
        let acting = alarms.iter().filter(|alarm| alarm.ec2_action().is_some());
        acting
            .filter(|alarm| alarm.is_own_metric)
            .map(|alarm| Self {
                alarm: Arc::clone(alarm),
                recent: (1..alarm.datapoints_to_alarm).map(|_| true).collect(),
            })
            .collect()
    }

    /// Takes a datapoint of the alarm's metric and says whether the alarm now breaches.
    pub(crate) fn note(&mut self, value: f64) -> Breaches {
        let alarm = &self.alarm;
        self.recent
            .push_back(alarm.comparison.holds(value, alarm.threshold));
        while self.recent.len() > self.looks_back() {
            self.recent.pop_front();
        }
        let breaching = self.recent.iter().filter(|breaches| **breaches).count();
        match breaching >= alarm.datapoints_to_alarm as usize {
            true => Breaches::Yes,
            false => Breaches::No,
        }
    }

    /// How long behind its last breach the alarm may still act.
    pub(crate) fn reach_ms(&self) -> u64 {
        let alarm = &self.alarm;
        u64::from(alarm.period_s) * u64::from(alarm.evaluation_periods) * 1000 + REACH_SLACK_MS
    }

    /// How many of our datapoints an evaluation looks at.
    fn looks_back(&self) -> usize {
        let alarm = &self.alarm;
        let in_period = (alarm.period_s / alarm.datapoint_s.max(1)).max(1);
        (alarm.evaluation_periods * in_period) as usize
    }
}
