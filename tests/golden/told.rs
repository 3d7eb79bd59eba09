//! EventBridge in a golden case: every entry is taken at once, and kept as the incident it tells of.

use std::collections::BTreeMap;

use deploywatch::ports::{CallId, EventAnswer, EventCall, EventEntry, EventService};
use serde_json::Value;

/// Takes every entry, and keeps it.
#[derive(Clone, Default)]
pub(crate) struct Told {
    /// By its id; the first of each.
    entries: BTreeMap<String, EventEntry>,
    answers: Vec<(CallId, usize)>,
    /// Ids in the call under way, whose answer the agent may never learn.
    flying: Vec<String>,
    /// Ids that may come again, since the agent ended before it learned that they were taken.
    doubtful: Vec<String>,
}

impl EventService for Told {
    fn submit(&mut self, id: CallId, call: EventCall) {
        self.answers.push((id, call.entries.len()));
        for entry in call.entries {
            let detail: Value = serde_json::from_str(&entry.detail).unwrap();
            let id = detail["id"].as_str().unwrap().to_owned();
            self.flying.push(id.clone());
            if let Some(first) = self.entries.get(&id) {
                assert!(self.doubtful.contains(&id), "{id} is told twice");
                assert_eq!(first.detail, entry.detail, "{id} is told in another way");
                continue;
            }
            self.entries.insert(id, entry);
        }
    }

    fn answer(&mut self) -> Option<EventAnswer> {
        let (id, entries) = self.answers.pop()?;
        self.flying.clear();
        let result = Ok(vec![Ok(()); entries]);
        Some(EventAnswer { id, result })
    }
}

impl Told {
    /// The agent is ended.
    pub(crate) fn forget(&mut self) {
        self.answers.clear();
        self.doubtful.append(&mut self.flying);
    }

    /// Every event as the service got it, one a line, in the order of their ids.
    pub(crate) fn lines(&self) -> String {
        let line = |entry: &EventEntry| line(entry, &entry.detail);
        self.entries.values().map(line).collect()
    }

    /// The same without what the scripts printed: where the files grow at any pace, the agent may
    /// hear of a failure before it has read that.
    pub(crate) fn lines_without_output(&self) -> String {
        let lines = self.entries.values().map(|entry| {
            let mut detail: Value = serde_json::from_str(&entry.detail).unwrap();
            detail.as_object_mut().unwrap().remove("output");
            line(entry, &detail.to_string())
        });
        lines.collect()
    }

    /// Their details.
    pub(crate) fn details(&self) -> Vec<Value> {
        let entries = self.entries.values();
        entries
            .map(|entry| serde_json::from_str(&entry.detail).unwrap())
            .collect()
    }
}

fn line(entry: &EventEntry, detail: &str) -> String {
    let resources = entry.resources.join(",");
    format!(
        "{} {} {resources} {detail}\n",
        entry.detail_type, entry.time_ms
    )
}
