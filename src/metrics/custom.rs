//! The user's `[[metric]]`s: from a record's text to numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::registry::{Number, Registry};
use super::tally::{Refusal, Tally};
use crate::config::metric::{CustomMetric, MetricsConfig};
use crate::event::EpochMs;

/// The group of a pattern that holds the number.
const VALUE_GROUP: &str = "value";

/// Which patterns are looked for in which source.
#[derive(Debug, Default)]
pub(super) struct Listener {
    by_source: BTreeMap<String, Vec<Heard>>,
}

/// One metric.
#[derive(Clone, Debug)]
struct Heard {
    /// Its place in the configuration.
    index: usize,
    metric: Arc<CustomMetric>,
    /// Whether the record tells the number.
    has_value: bool,
}

impl Listener {
    pub(super) fn new(config: &MetricsConfig) -> Self {
        let mut listener = Self::default();
        for (index, metric) in config.custom.iter().enumerate().filter(|_| config.enabled) {
            let heard = Heard {
                index,
                metric: Arc::clone(metric),
                has_value: metric
                    .pattern
                    .capture_names()
                    .flatten()
                    .any(|g| g == VALUE_GROUP),
            };
            for source in &metric.sources {
                let metrics = listener.by_source.entry(source.clone()).or_default();
                metrics.push(heard.clone());
            }
        }
        listener
    }

    /// Whether a source's records are of interest.
    pub(super) fn hears(&self, source: &str) -> bool {
        self.by_source.contains_key(source)
    }

    /// Counts what a record says; true if anything was counted or refused.
    pub(super) fn hear(
        &self,
        (source, text, time_ms): (&str, &str, EpochMs),
        registry: &mut Registry,
        tally: &mut Tally,
    ) -> bool {
        let mut heard = false;
        for one in self.by_source.get(source).into_iter().flatten() {
            let Some(found) = one.metric.pattern.captures(text) else {
                continue;
            };
            heard = true;
            let value = match one.has_value {
                true => found
                    .name(VALUE_GROUP)
                    .and_then(|number| number.as_str().trim().parse().ok()),
                false => Some(1.0),
            };
            let Some(value) = value else {
                tally.refuse(Refusal::NotANumber, 1);
                continue;
            };
            let number = Number {
                value,
                at_ms: time_ms,
            };
            let told = |group: &str| found.name(group).map(|told| told.as_str());
            registry.count_custom(one.index, number, told, tally);
        }
        heard
    }
}
