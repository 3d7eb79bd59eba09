//! What is remembered of this instance's boots, in the form in which it is kept on disk.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::event::{EpochMs, Now};

/// What is kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Boots {
    /// Oldest first; the last one is the present.
    pub(super) lives: VecDeque<Life>,
    /// Whether actions are suspended, and why.
    pub(super) suspension: Option<Suspension>,
}

/// What lies between two boots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Life {
    pub(super) boot_id: String,
    /// When we first saw it, by the wall clock.
    pub(super) began_ms: EpochMs,
    /// When we last saw it, by the wall clock.
    pub(super) last_ms: EpochMs,
    /// How long we saw it, by the monotonic clock.
    pub(super) lived_ms: u64,
    /// Alarms that breach, or did so shortly ago, and would restart us.
    pub(super) breaches: Vec<String>,
    /// An alarm that could restart us was there, on a metric that we do not see.
    pub(super) armed_unseen: bool,
    /// The alarms' actions were suspended, and the service had confirmed it.
    pub(super) disarmed: bool,
    /// We were told to stop.
    pub(super) said_goodbye: bool,
    /// What speaks for an alarm having caused the boot it began with.
    pub(super) caused_by: Option<Cause>,
}

/// What speaks for an alarm having caused a boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// This alarm's metric was breaching when the last life ended.
    Breach(String),
    /// This alarm's history has an action.
    Action(String),
    /// A status-check alarm was armed, and the last life ended without a goodbye or nobody could
    /// tell what ended it.
    NoGoodbye,
}

/// Why actions are suspended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Who did it.
    pub by: By,
    /// When.
    pub since_ms: EpochMs,
    /// How many boots counted.
    pub restarts: u32,
}

/// Who suspended actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The loop breaker.
    Breaker,
    /// `deploywatch alarms suspend`.
    Hand,
}

impl Boots {
    /// What to go on with where the file is damaged: nobody knows what stood there, so actions
    /// are suspended for a quiet period.
    #[must_use]
    pub fn unknown(now: Now) -> Self {
        Self {
            lives: VecDeque::new(),
            suspension: Some(Suspension {
                by: By::Breaker,
                since_ms: now.wall_ms,
                restarts: 0,
            }),
        }
    }
}

impl Life {
    /// What speaks for an alarm having caused the boot that ended it.
    pub(super) fn cause_of_its_end(&self) -> Option<Cause> {
        match self.breaches.first() {
            _ if self.disarmed => None,
            Some(alarm) => Some(Cause::Breach(alarm.clone())),
            None if self.armed_unseen && !self.said_goodbye => Some(Cause::NoGoodbye),
            None => None,
        }
    }
}
