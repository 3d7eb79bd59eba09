//! What of the metrics survives a restart.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Metrics;
use super::pending::Pending;
use super::publish::Request;
use super::series::Series;
use super::tally::Tally;
use crate::event::EpochMs;
use crate::ports::Numbers;

/// Everything that was counted and not answered for. To be stored in one go with how far the log
/// files were read, so that a line counts exactly once whatever happens in between. Bounded by the
/// limits of what may wait.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// To be given to [`Metrics::confirm_saved`] once this is on disk.
    pub version: u64,
    /// The instance it was counted on.
    pub(super) instance_id: Option<String>,
    /// The period that was being lived through.
    pub(super) open_ms: Option<EpochMs>,
    /// Periods that were closed.
    pub(super) closed: Vec<(EpochMs, EpochMs)>,
    /// Every series that the other fields name by its index.
    pub(super) series: Vec<Series>,
    /// Series that lines made.
    pub(super) labelled: Vec<usize>,
    /// Numbers of built-in metrics.
    pub(super) builtin: Periods,
    /// Numbers of the user's.
    pub(super) custom: Periods,
    /// Requests without an answer.
    pub(super) requests: VecDeque<Request>,
    /// Data that were delivered.
    pub(super) delivered: u64,
    /// What was not, by reason.
    pub(super) refused: BTreeMap<String, u64>,
}

impl Metrics {
    /// All that must survive a restart; to be stored in one go with how far the files were read.
    #[must_use]
    pub fn saved(&self) -> Saved {
        let labelled = self.registry.labelled();
        let mut indexes = Indexes::default();
        let builtin = indexes.periods(&self.registry.builtin_pending);
        let custom = indexes.periods(&self.registry.custom_pending);
        let labelled = labelled.iter().map(|series| indexes.of(series)).collect();
        Saved {
            version: self.version,
            instance_id: self.instance_id.clone(),
            open_ms: self.registry.open_ms,
            closed: self.registry.closed.ranges().to_vec(),
            labelled,
            builtin,
            custom,
            requests: self.publisher.requests().clone(),
            delivered: self.publisher.delivered,
            refused: self.tally.counts().clone(),
            series: indexes.into_series(),
        }
    }

    /// The state of that version is on disk: what it holds may be sent.
    pub fn confirm_saved(&mut self, version: u64) {
        self.saved_version = self.saved_version.max(version);
    }

    /// Goes on where an earlier run ended.
    pub(super) fn restore(&mut self, saved: Saved) {
        let series: Vec<Arc<Series>> = saved.series.into_iter().map(Arc::new).collect();
        for series in saved.labelled.iter().filter_map(|index| series.get(*index)) {
            self.registry.restore_label(series);
        }
        restore(saved.builtin, &series, &mut self.registry.builtin_pending);
        restore(saved.custom, &series, &mut self.registry.custom_pending);
        self.registry.resume(saved.open_ms, &saved.closed);
        self.publisher.restore(saved.requests);
        self.publisher.delivered = saved.delivered;
        self.tally = Tally::restore(saved.refused);
        self.instance_id = saved.instance_id;
        self.version = saved.version;
        self.saved_version = saved.version;
        // What waited for the end of a period that is long over need not wait for the next one.
        self.publish_at_ms = Some(0);
    }
}

/// By when a period began: index of a series and its numbers.
pub(super) type Periods = Vec<(EpochMs, Vec<(usize, Numbers)>)>;

/// Gives series their indexes.
#[derive(Debug, Default)]
pub(super) struct Indexes<'s> {
    by_series: BTreeMap<&'s Series, usize>,
    series: Vec<Series>,
}

impl<'s> Indexes<'s> {
    pub(super) fn of(&mut self, series: &'s Series) -> usize {
        let next = self.series.len();
        let all = &mut self.series;
        *self.by_series.entry(series).or_insert_with(|| {
            all.push(series.clone());
            next
        })
    }

    pub(super) fn periods(&mut self, pending: &'s Pending) -> Periods {
        let mut periods = Periods::new();
        for (at_ms, series, numbers) in pending.newest_first() {
            let one = (self.of(series), numbers.clone());
            match periods.last_mut() {
                Some((last_ms, data)) if *last_ms == at_ms => data.push(one),
                _ => periods.push((at_ms, vec![one])),
            }
        }
        periods
    }

    pub(super) fn into_series(self) -> Vec<Series> {
        self.series
    }
}

/// Puts periods back; an index that names no series (a file from elsewhere) is passed over.
fn restore(periods: Periods, series: &[Arc<Series>], into: &mut Pending) {
    for (at_ms, data) in periods {
        for (index, numbers) in data {
            if let Some(series) = series.get(index) {
                into.restore(at_ms, Arc::clone(series), numbers);
            }
        }
    }
}
