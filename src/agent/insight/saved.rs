//! What a checkpoint keeps of what was made of records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::EpochMs;
use crate::status::SourceCounts;
use crate::{codedeploy, events, metrics};

/// What a checkpoint keeps of it.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    /// When an agent first worked with this state directory: what is older is history.
    pub(super) since_ms: EpochMs,
    /// Which boot the metrics were counted in.
    pub(super) boot_id: Option<String>,
    pub(super) totals: Totals,
    pub(super) observer: codedeploy::Saved,
    pub(super) metrics: metrics::Saved,
    #[serde(default)]
    pub(super) events: events::Saved,
}

/// Totals that metrics were already made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Totals {
    pub(super) lost_bytes: u64,
    pub(super) refused_events: u64,
    /// `None` in what older versions kept.
    #[serde(default)]
    pub(super) redacted: Option<u64>,
}

impl Totals {
    /// Nothing was counted yet.
    pub(super) fn none() -> Self {
        Self::of(&BTreeMap::new())
    }

    pub(super) fn of(counts: &BTreeMap<String, SourceCounts>) -> Self {
        let sum = |of: fn(&SourceCounts) -> u64| counts.values().map(of).sum();
        Self {
            lost_bytes: sum(|counts| counts.lost.values().sum()),
            refused_events: sum(|counts| counts.refused.total()),
            redacted: Some(sum(|counts| counts.redacted.values().sum())),
        }
    }
}

/// Reads what a checkpoint kept; `None` where it kept nothing that can be read.
pub(super) fn read_saved(saved: Value) -> Option<Saved> {
    if saved.is_null() {
        return None;
    }
    serde_json::from_value(saved)
        .inspect_err(|error| {
            tracing::error!(%error, "what was known of deployments and metrics cannot be read and is forgotten");
        })
        .ok()
}
