//! From numbers that wait to the data of one request.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Metrics;
use super::border::Customs;
use super::pending::Waiting;
use super::publish::{REQUEST_BYTES_MAX, REQUEST_DATA_MAX, bytes_of};
use super::registry::{NEWEST_MS, OLDEST_MS};
use super::series::Place;
use super::tally::Refusal;
use crate::event::Now;
use crate::ports::Datum;

impl Metrics {
    /// What may be sent: the numbers of every period but the one that is being lived through.
    pub(super) fn sendable(&self) -> impl Iterator<Item = (Waiting<'_>, Place)> {
        let builtin = self.registry.builtin_pending.newest_first();
        let all = builtin.chain(self.registry.custom_pending.newest_first());
        let open_ms = self.registry.open_ms.filter(|_| !self.is_stopping);
        all.filter(move |(at_ms, ..)| Some(*at_ms) != open_ms)
            .map(|waiting| (waiting, waiting.1.place(&self.identity)))
            .filter(|(_, place)| *place != Place::Waiting)
    }

    /// Gives up what the service would refuse by now.
    pub(super) fn expire(&mut self, now: Now) {
        let (oldest_ms, newest_ms) = (now.wall_ms - OLDEST_MS, now.wall_ms + NEWEST_MS);
        let (old, new) = self.registry.keep_within(oldest_ms, newest_ms);
        self.tally.refuse(Refusal::TooOld, old);
        self.tally.refuse(Refusal::TooNew, new);
        self.version += u64::from(old + new > 0);
    }

    /// Makes one request of what may be sent, the newest first: after an outage the present
    /// matters most.
    pub(super) fn make_request(&mut self, now: Now, customs: &mut dyn Customs) {
        let mut chosen = Vec::new();
        let mut nowhere = BTreeSet::new();
        let (mut count, mut bytes) = (0, 0);
        for ((at_ms, series, numbers), place) in self.sendable() {
            let datum = match place {
                Place::Known(dimensions) => Some(Datum {
                    name: series.name.clone(),
                    dimensions,
                    time_ms: at_ms,
                    unit: series.unit.clone(),
                    resolution_s: series.resolution_s,
                    numbers: numbers.clone(),
                }),
                Place::Nowhere(name) => {
                    nowhere.insert(name);
                    None
                }
                Place::Waiting => continue,
            };
            count += usize::from(datum.is_some());
            bytes += datum.as_ref().map_or(0, bytes_of);
            if count > REQUEST_DATA_MAX || bytes > REQUEST_BYTES_MAX {
                break;
            }
            chosen.push((at_ms, Arc::clone(series), datum));
        }
        let mut data = Vec::new();
        for (at_ms, series, datum) in chosen {
            self.registry.take(at_ms, &series);
            if let Some(datum) = datum {
                customs.made(&datum);
                data.push(datum);
            }
        }
        self.say_without_value(nowhere);
        if data.is_empty() {
            self.publish_at_ms = None;
            return;
        }
        self.version += 1;
        let namespace = &self.config.namespace;
        self.publisher.add(namespace, data, self.version, now);
    }

    fn say_without_value(&mut self, names: BTreeSet<String>) {
        for name in names {
            if self.without_value.insert(name.clone()) {
                tracing::warn!(dimension = %name, "this instance has no value for a dimension; metrics of its sets are not published");
            }
        }
    }
}
