//! What the observer has to say: one [`News`] for each thing that happened, with its own time.
//!
//! Metrics, the agent's own log and events to other systems are made of these and of nothing else.

use serde::{Deserialize, Serialize};

use super::Verdict;
use super::failure::Failure;
use crate::event::{EpochMs, Now};

/// Something happened on this instance.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// When it happened, as the record says; for what we conclude ourselves, the present.
    pub at_ms: EpochMs,
    /// Whether it may count as new.
    pub freshness: Freshness,
    /// What happened.
    pub what: What,
}

/// Whether news may count as new. Only [`Freshness::Fresh`] news makes metrics: nothing that a
/// reboot brings back to mind may cause the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// It happened in this boot, and while this agent was installed.
    Fresh,
    /// It happened, or what it is the end of began, before the machine's last boot.
    BeforeBoot,
    /// It happened before this agent was first started on this instance.
    History,
}

/// The times that divide old from new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eras {
    /// When this system booted; `None` where it does not say.
    pub boot_ms: Option<EpochMs>,
    /// When this agent was first started on this instance (the caller stores it).
    pub since_ms: EpochMs,
}

impl Eras {
    /// Follows a date that was set back: what happens now would be dated before the start and,
    /// perhaps, before the boot as they were dated then. One that is set ahead leaves both where they
    /// are.
    pub(super) fn follow(&mut self, now: Now) {
        let up_ms = i64::try_from(now.mono_ms).unwrap_or(0);
        let booted_ms = now.wall_ms.saturating_sub(up_ms);
        self.boot_ms = self.boot_ms.map(|boot_ms| boot_ms.min(booted_ms));
        self.since_ms = self.since_ms.min(now.wall_ms);
    }

    /// What a thing of that time is now.
    #[must_use]
    pub fn freshness(self, at_ms: EpochMs) -> Freshness {
        if at_ms < self.since_ms {
            Freshness::History
        } else if self.is_before_boot(at_ms) {
            Freshness::BeforeBoot
        } else {
            Freshness::Fresh
        }
    }

    /// Whether that was before the machine's last boot.
    pub(super) fn is_before_boot(self, at_ms: EpochMs) -> bool {
        self.boot_ms.is_some_and(|boot_ms| at_ms < boot_ms)
    }
}

/// What happened. `deployment` is a deployment id, `event` the name of a lifecycle event.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The service sent a command: a lifecycle event of a deployment is to be run.
    CommandReceived {
        /// Deployment id.
        deployment: String,
        /// Lifecycle event.
        event: String,
    },
    /// The command is being carried out.
    LifecycleEventStarted {
        /// Deployment id.
        deployment: String,
        /// Lifecycle event.
        event: String,
    },
    /// A hook's script was started. Dated by the file that told of it first; two files may
    /// disagree by a second.
    ScriptStarted {
        /// Deployment id.
        deployment: String,
        /// Lifecycle event.
        event: String,
        /// Where the script lies in the revision.
        script: String,
    },
    /// The command ended.
    LifecycleEventFinished {
        /// Deployment id.
        deployment: String,
        /// Lifecycle event.
        event: String,
        /// How.
        outcome: Outcome,
        /// How long it took: to the millisecond from 2.x, from whole seconds from 1.x; `None`
        /// where its start was not seen or nothing was run.
        duration_ms: Option<u64>,
        /// Why, when it failed.
        failure: Option<Failure>,
    },
    /// The last expected lifecycle event succeeded. No record says so: it is inferred.
    DeploymentSucceeded {
        /// Deployment id.
        deployment: String,
        /// Always true: the instance is never told.
        inferred: bool,
    },
    /// A lifecycle event failed, which ends a deployment on this instance.
    DeploymentFailed {
        /// Deployment id.
        deployment: String,
        /// The event that failed.
        event: String,
        /// Why.
        failure: Failure,
    },
    /// No command came for it any more, and another deployment did.
    DeploymentSuperseded {
        /// Deployment id.
        deployment: String,
        /// The deployment that came instead.
        by: String,
    },
    /// A lifecycle event is being run and has given no sign of life for long.
    DeploymentHanging {
        /// Deployment id.
        deployment: String,
        /// The event.
        event: String,
        /// For how long, in milliseconds.
        silent_ms: u64,
    },
    /// A restart of the CodeDeploy agent or of the machine cut a lifecycle event off.
    DeploymentAborted {
        /// Deployment id.
        deployment: String,
        /// The event that was cut off.
        event: String,
    },
    /// The CodeDeploy agent's health is another than before.
    HealthChanged {
        /// What it is now, with the reason.
        verdict: Verdict,
    },
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All scripts, or the agent's own work, succeeded.
    Succeeded,
    /// There was nothing to run, and the service was told so (1.x only).
    Noop,
    /// Something failed.
    Failed,
    /// The service refused the agent's acknowledgement: nothing was run, nothing is owed.
    Refused,
}

impl Outcome {
    /// For people and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Noop => "noop",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// News that is waiting to be taken.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) eras: Eras,
    pub(super) news: Vec<News>,
    /// How many ends of deployments were heard.
    pub(super) ends: u64,
}

/// So many pieces of old news may wait; what comes on top is not told. New ones always are: they
/// are bounded by what is read in one step.
const OLD_NEWS_MAX: usize = 4_096;

impl Outbox {
    /// Tells what happened at a time.
    pub(super) fn tell(&mut self, at_ms: EpochMs, what: What) {
        self.tell_of(at_ms, at_ms, what);
    }

    /// Tells what happened at a time and ends what began at another.
    pub(super) fn tell_of(&mut self, began_ms: EpochMs, at_ms: EpochMs, what: What) {
        // What began before we were installed and ended after is new to us, what began before the
        // boot is not.
        let freshness = match self.eras.freshness(at_ms) {
            Freshness::Fresh if self.eras.is_before_boot(began_ms) => Freshness::BeforeBoot,
            freshness => freshness,
        };
        if freshness == Freshness::Fresh || self.news.len() < OLD_NEWS_MAX {
            self.news.push(News {
                at_ms,
                freshness,
                what,
            });
        }
    }
}
