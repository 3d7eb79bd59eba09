//! Each true incident arrives at EventBridge under exactly one id, whatever happens to the process
//! and the service: what is told there is held against what the log service was told, and what was
//! written.
//!
//! A failed deployment whose report arrived as a log event is owed both its incidents, if it
//! happened after the agent's first start; if it happened before, it is old news and owes none. An id
//! comes again only where the agent could not know that it had come: its answer was lost, or the
//! process ended soon after.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Breach;
use crate::workload::Failure;
use crate::world::events::Take;
use crate::world::service::Arrival;

/// An answer is known and saved after so long at the latest, where the process lives: the longest
/// answer, and a save.
const SAVED_MS: u64 = 60_000;

/// What happened, and what was told of it.
#[derive(Default)]
pub(crate) struct Incidents {
    failures: Vec<Failure>,
    /// Command identifiers in reports that arrived at the log service.
    reported: BTreeSet<String>,
    told: BTreeMap<String, Tale>,
}

/// How often an id was told.
struct Tale {
    times: u32,
    allowed: u32,
    last_ms: u64,
    /// The incident, apart from its output, which depends on what was read.
    detail: Value,
}

impl Incidents {
    /// Deployments failed.
    pub(crate) fn happened(&mut self, failures: Vec<Failure>) {
        self.failures.extend(failures);
    }

    /// The CodeDeploy agent's records reached the log service.
    pub(crate) fn arrived<'a>(&mut self, arrivals: impl Iterator<Item = &'a Arrival>) {
        const REPORT: &str = "put_host_command_complete(";
        const NAME: &str = "host_command_identifier:\"";
        for arrival in arrivals.filter(|arrival| arrival.message.contains(REPORT)) {
            for (_, rest) in arrival
                .message
                .match_indices(NAME)
                .map(|(at, name)| arrival.message.split_at(at + name.len()))
            {
                self.reported
                    .extend(rest.split('"').next().map(str::to_owned));
            }
        }
    }

    /// EventBridge took entries at this time.
    pub(crate) fn took(&mut self, takes: Vec<Take>, now_ms: u64) -> Result<(), Breach> {
        for take in takes {
            let mut detail: Value = serde_json::from_str(&take.entry.detail)
                .map_err(|error| Breach(format!("an event's detail is no JSON: {error}")))?;
            let id = detail["id"].as_str().unwrap_or_default().to_owned();
            if let Some(fields) = detail.as_object_mut() {
                fields.remove("output");
            }
            let tale = self.told.entry(id.clone()).or_insert_with(|| Tale {
                times: 0,
                allowed: 1,
                last_ms: now_ms,
                detail: detail.clone(),
            });
            tale.times += 1;
            tale.last_ms = now_ms;
            if tale.times > tale.allowed {
                return Err(Breach(format!("the event {id} came {} times", tale.times)));
            }
            if tale.detail != detail {
                let what = format!("{} and {detail}", tale.detail);
                return Err(Breach(format!(
                    "the event {id} came in two versions: {what}"
                )));
            }
            if take.in_doubt {
                tale.allowed += 1;
            }
        }
        Ok(())
    }

    /// The process is gone, and with it what it knew of answers and had not saved.
    pub(crate) fn process_ended(&mut self, now_ms: u64) {
        for tale in self.told.values_mut() {
            if tale.last_ms + SAVED_MS >= now_ms {
                tale.allowed = tale.allowed.max(tale.times + 1);
            }
        }
    }

    /// All is drained: every incident that is owed was told, and none that nothing happened for.
    pub(crate) fn check(&self, instance: &str, since_ms: i64) -> Result<(), Breach> {
        let mut owed = BTreeSet::new();
        let news = self.failures.iter().filter(|failure| {
            failure.at_ms >= since_ms && self.reported.contains(&failure.identifier)
        });
        for Failure {
            deployment, event, ..
        } in news
        {
            owed.insert(format!(
                "{instance}/lifecycle_event_failed/{deployment}/{event}"
            ));
            owed.insert(format!("{instance}/deployment_failed/{deployment}"));
        }
        let of_deployments = |id: &&String| id.contains("_failed/");
        let told: BTreeSet<String> = self.told.keys().filter(of_deployments).cloned().collect();
        if told == owed {
            return Ok(());
        }
        let missing: Vec<&String> = owed.difference(&told).collect();
        let untrue: Vec<&String> = told.difference(&owed).collect();
        Err(Breach(format!(
            "incidents never told: {missing:?}; told for nothing: {untrue:?}"
        )))
    }

    /// How many incidents were told.
    pub(crate) fn count(&self) -> usize {
        self.told.len()
    }
}
