//! Numbers by period and series until they are sent.
//!
//! A number that comes late joins what still waits for its period. When there is no room left, the
//! oldest go: first gauges and zeros, which nobody will miss of a time long gone, then counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::numbers;
use super::series::Series;
use crate::config::metric::Statistic;
use crate::event::EpochMs;
use crate::ports::Numbers;

/// When there is no room left, so much of it is made at once: one in so many.
const ROOM_SHARE: usize = 8;

/// Numbers of each period, by when it began.
#[derive(Debug)]
pub(super) struct Pending {
    periods: BTreeMap<EpochMs, BTreeMap<Arc<Series>, Numbers>>,
    /// In numbers.
    weight: usize,
    weight_max: usize,
}

/// Numbers that wait: when their period began, what they belong to.
pub(super) type Waiting<'p> = (EpochMs, &'p Arc<Series>, &'p Numbers);

/// What became of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Put {
    /// The sum would be beyond what the service takes.
    pub(super) is_out_of_range: bool,
    /// Data that had to go to make room for it.
    pub(super) evicted: u64,
}

impl Pending {
    /// Room for so many numbers.
    pub(super) fn new(weight_max: usize) -> Self {
        Self {
            periods: BTreeMap::new(),
            weight: 0,
            weight_max,
        }
    }

    /// One more number.
    pub(super) fn put(&mut self, period_ms: EpochMs, series: &Arc<Series>, value: f64) -> Put {
        let mut put = Put::default();
        let period = self.periods.entry(period_ms).or_default();
        match period.get_mut(series) {
            Some(present) => {
                let before = numbers::weight(present);
                put.is_out_of_range = !numbers::add(present, series.statistic, value);
                self.weight += numbers::weight(present);
                self.weight -= before;
            }
            None => {
                period.insert(Arc::clone(series), numbers::begin(series.statistic, value));
                self.weight += 1;
            }
        }
        if self.weight > self.weight_max {
            put.evicted = self.make_room();
        }
        put
    }

    /// A zero where there is no number yet.
    pub(super) fn fill(&mut self, period_ms: EpochMs, series: &Arc<Series>) -> Put {
        let has = self
            .periods
            .get(&period_ms)
            .is_some_and(|p| p.contains_key(series));
        if has {
            Put::default()
        } else {
            self.put(period_ms, series, 0.0)
        }
    }

    /// Takes back what an earlier run kept.
    pub(super) fn restore(&mut self, period_ms: EpochMs, series: Arc<Series>, numbers: Numbers) {
        self.weight += numbers::weight(&numbers);
        let before = self
            .periods
            .entry(period_ms)
            .or_default()
            .insert(series, numbers);
        self.weight -= before.as_ref().map_or(0, numbers::weight);
    }

    /// Drops what is not between two times; how many data are too old, and how many too new.
    pub(super) fn keep_within(&mut self, oldest_ms: EpochMs, newest_ms: EpochMs) -> (u64, u64) {
        let young = self.periods.split_off(&oldest_ms);
        let old = std::mem::replace(&mut self.periods, young);
        let new = self.periods.split_off(&newest_ms.saturating_add(1));
        let mut drop_all = |periods: BTreeMap<EpochMs, BTreeMap<_, Numbers>>| {
            let numbers = || periods.values().flat_map(BTreeMap::values);
            self.weight -= numbers().map(numbers::weight).sum::<usize>();
            numbers().count() as u64
        };
        (drop_all(old), drop_all(new))
    }

    /// Drops everything; how many data.
    pub(super) fn clear(&mut self) -> u64 {
        let data = self.len();
        self.periods.clear();
        self.weight = 0;
        data
    }

    /// How many data wait.
    pub(super) fn len(&self) -> u64 {
        self.periods.values().map(BTreeMap::len).sum::<usize>() as u64
    }

    /// Everything, the newest periods first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = Waiting<'_>> {
        let periods = self.periods.iter().rev();
        periods.flat_map(|(at, period)| period.iter().map(|(series, n)| (*at, series, n)))
    }

    /// Takes one out.
    pub(super) fn take(&mut self, period_ms: EpochMs, series: &Arc<Series>) -> Option<Numbers> {
        let period = self.periods.get_mut(&period_ms)?;
        let numbers = period.remove(series)?;
        if period.is_empty() {
            self.periods.remove(&period_ms);
        }
        self.weight -= numbers::weight(&numbers);
        Some(numbers)
    }

    fn make_room(&mut self) -> u64 {
        let wanted = self.weight_max - self.weight_max / ROOM_SHARE;
        let mut evicted = 0;
        for quiet_only in [true, false] {
            let weight = &mut self.weight;
            self.periods.retain(|_, period| {
                period.retain(|series, numbers| {
                    let stays = *weight <= wanted || quiet_only && !is_quiet(series, numbers);
                    if !stays {
                        *weight -= numbers::weight(numbers);
                        evicted += 1;
                    }
                    stays
                });
                !period.is_empty()
            });
        }
        evicted
    }

    #[cfg(test)]
    pub(super) fn weight(&self) -> usize {
        let numbers = self.periods.values().flat_map(BTreeMap::values);
        assert_eq!(self.weight, numbers.map(numbers::weight).sum::<usize>());
        self.weight
    }
}

/// Whether it only says that there was nothing to say.
fn is_quiet(series: &Series, numbers: &Numbers) -> bool {
    series.statistic == Statistic::Gauge || *numbers == Numbers::One(0.0)
}
