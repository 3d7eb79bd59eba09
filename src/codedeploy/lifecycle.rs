//! One lifecycle event of a deployment: its command, its times, its scripts.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::news::Outcome;
use crate::event::EpochMs;

/// Scripts remembered of one lifecycle event.
const SCRIPTS_MAX: usize = 16;

/// The date was set where it went on so much more, or less, than the monotonic clock. Below that, whole seconds
/// and the time until a record is heard are as likely.
const DATE_SET_MS: u64 = 5_000;

/// All lifecycle events in their order.
const ORDER: [&str; 13] = [
    "BeforeBlockTraffic",
    "BlockTraffic",
    "AfterBlockTraffic",
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
    "BeforeAllowTraffic",
    "AllowTraffic",
    "AfterAllowTraffic",
];

/// A lifecycle event of a deployment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct LifecycleEvent {
    pub(super) name: String,
    /// Stands for the service's identifier of the command.
    pub(super) identifier: Option<u64>,
    pub(super) received_ms: Option<EpochMs>,
    pub(super) started_ms: Option<EpochMs>,
    pub(super) finished_ms: Option<EpochMs>,
    /// When it was started, on the monotonic clock.
    #[serde(skip)]
    pub(super) started_mono: Option<i64>,
    /// As 2.x says it, or as we measured it where the date was set meanwhile; in milliseconds.
    pub(super) elapsed_ms: Option<u64>,
    pub(super) outcome: Option<Outcome>,
    pub(super) failure: Option<Failure>,
    /// The service did not take the report of its end.
    pub(super) is_unreported: bool,
    /// It was given up: whatever runs it is gone. Not an outcome: a record of its end still counts.
    pub(super) is_given_up: bool,
    /// 2.x said why it failed once more already, or says it only once.
    pub(super) is_said_twice: bool,
    pub(super) scripts: Vec<Script>,
}

/// A script of a lifecycle event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Script {
    pub(super) location: String,
    pub(super) started_ms: EpochMs,
    /// Which of the files told of it, one bit each.
    heard_from: u8,
}

/// The files that tell of scripts, each of every one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Teller {
    Agent = 1,
    Deployments = 2,
    Scripts = 4,
}

impl LifecycleEvent {
    /// Whether something is being run for it now.
    pub(super) fn is_under_way(&self) -> bool {
        self.started_ms.is_some() && self.outcome.is_none() && !self.is_given_up
    }

    /// How long it took, to the best clock: 2.x's own, else the agent log's seconds.
    pub(super) fn duration_ms(&self) -> Option<u64> {
        if self.elapsed_ms.is_some() {
            return self.elapsed_ms;
        }
        u64::try_from(self.finished_ms?.saturating_sub(self.started_ms?)).ok()
    }

    /// How long it took until now, where the date was set meanwhile and does not tell.
    pub(super) fn measured_ms(&self, now_mono: i64) -> Option<u64> {
        let dated_ms = self.finished_ms?.saturating_sub(self.started_ms?);
        let measured_ms = now_mono.saturating_sub(self.started_mono?);
        let is_set = dated_ms.abs_diff(measured_ms) > DATE_SET_MS;
        is_set.then(|| measured_ms.max(0).unsigned_abs())
    }

    /// The first time known of it, and its place among all: what it is sorted by.
    pub(super) fn order(&self) -> (EpochMs, usize) {
        let scripts = self.scripts.first().map(|script| script.started_ms);
        let times = [self.received_ms, self.started_ms, self.finished_ms, scripts];
        let place = ORDER.iter().position(|name| *name == self.name);
        (
            times.into_iter().flatten().next().unwrap_or(EpochMs::MAX),
            place.unwrap_or(ORDER.len()),
        )
    }

    /// Hears from one of the files that a script was started; whether that is new. Each file tells
    /// of each start once, so only what one has told before can be another start of the script.
    pub(super) fn hear_script(&mut self, location: &str, teller: Teller, at_ms: EpochMs) -> bool {
        let bit = teller as u8;
        let known = (self.scripts.iter_mut())
            .find(|script| script.location == location && script.heard_from & bit == 0);
        if let Some(script) = known {
            script.heard_from |= bit;
            script.started_ms = script.started_ms.min(at_ms);
            return false;
        }
        if self.scripts.len() >= SCRIPTS_MAX {
            return false;
        }
        self.scripts.push(Script {
            location: location.to_owned(),
            started_ms: at_ms,
            heard_from: bit,
        });
        true
    }
}
