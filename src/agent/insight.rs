//! What is made of records besides shipping them: deployments, the CodeDeploy agent's health,
//! metrics.
//!
//! Every record is heard once, however often it is read: how far a file was heard is kept with the
//! file and saved in one checkpoint with what was made of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{Builtin, Config};
use crate::event::{EpochMs, Event, Now};

/// Who listens to the records of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ear {
    /// The CodeDeploy agent's log that it is, if any.
    builtin: Option<Builtin>,
}

/// What was made of records.
#[derive(Debug)]
pub(super) struct Insight {
    builtins: BTreeMap<Arc<str>, Builtin>,
    since_ms: EpochMs,
}

/// What a checkpoint keeps of it.
#[derive(Serialize, Deserialize)]
struct Saved {
    /// When an agent first worked with this state directory: what is older is history.
    since_ms: EpochMs,
}

impl Insight {
    /// Goes on where the run before left off.
    pub(super) fn restore(config: &Config, saved: Value, now: Now) -> Self {
        let saved = serde_json::from_value(saved).unwrap_or(Saved {
            since_ms: now.wall_ms,
        });
        let mut insight = Self {
            builtins: BTreeMap::new(),
            since_ms: saved.since_ms,
        };
        insight.reload(config);
        insight
    }

    /// Takes another configuration.
    pub(super) fn reload(&mut self, config: &Config) {
        let own = config.codedeploy.sources.iter();
        self.builtins = own
            .filter(|_| config.codedeploy.enabled)
            .map(|(builtin, source)| (Arc::clone(&source.name), *builtin))
            .collect();
    }

    /// Who listens to a source.
    pub(super) fn ear(&self, source: &str) -> Ear {
        Ear {
            builtin: self.builtins.get(source).copied(),
        }
    }

    /// Hears one record.
    pub(super) fn hear(&mut self, ear: Ear, family: &Path, event: &Event<'_>, now: Now) {
        let _ = (ear.builtin, family, event, now);
    }

    /// What a checkpoint keeps.
    pub(super) fn saved(&self) -> Value {
        let saved = Saved {
            since_ms: self.since_ms,
        };
        serde_json::to_value(saved).expect("plain data with text keys is always JSON")
    }
}
