//! One deployment on this instance, as a state machine over what the records say of it.
//!
//! ```text
//! lifecycle event   received ─ started ┬ succeeded
//!                       │              ├ failed (error code, script, exit code or signal, timeout)
//!                       │              └ (a restart cuts it off: failed, the deployment aborted)
//!                       ├ noop (1.x: nothing to run)
//!                       └ refused (the service did not want it any more)
//! deployment        running ─ waiting ─ running … ┬ succeeded (inferred)
//!                     └ hanging                   ├ failed, aborted
//!                                                 └ superseded, or unknown: no word any more
//! ```
//!
//! Only the agent log moves these states; the hooks' logs add scripts and output. So the order in
//! which the files are read does not matter, and a record that is there twice changes nothing: a
//! command is known by the service's identifier, and its first end counts. A deployment that
//! ended and gets another command goes on (a failure of ApplicationStop may be ignored, traffic
//! hooks may come late), and is told of as failed or succeeded once at most.

use serde::{Deserialize, Serialize};

use super::bounded;
use super::failure::{Failure, SCRIPT_BYTES_MAX};
use super::news::{Outbox, Outcome, What};
use super::roster::{Moment, mono};
use super::tail::Tail;
use crate::event::{EpochMs, Now};

/// Lifecycle events remembered of one deployment; a whole one has 13.
const EVENTS_MAX: usize = 32;
/// Scripts remembered of one lifecycle event.
const SCRIPTS_MAX: usize = 32;

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

/// A deployment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Deployment {
    pub(super) id: String,
    /// The group's id, from the path of its logs.
    pub(super) group_id: Option<String>,
    /// The group's name (2.x).
    pub(super) group: Option<String>,
    /// The application's name (2.x).
    pub(super) application: Option<String>,
    /// The time of the first record about it.
    pub(super) began_ms: EpochMs,
    /// The time of the last record of the agent log about it.
    pub(super) last_ms: EpochMs,
    pub(super) events: Vec<LifecycleEvent>,
    /// How it ended, if it did.
    pub(super) end: Option<End>,
    told: Told,
    pub(super) tail: Tail,
    /// The lifecycle event whose scripts follow, in scripts.log and in the deployments log.
    pub(super) hook: [Option<String>; 2],
    #[serde(skip)]
    pub(super) life: Life,
}

/// How a deployment ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) state: Ending,
    pub(super) at_ms: EpochMs,
    /// When what ended it began: what a reboot cut off does not count as this boot's.
    pub(super) began_ms: EpochMs,
}

/// The ways to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    /// Inferred from the last expected event.
    Succeeded,
    Failed,
    /// Cut off by a restart.
    Aborted,
    /// No word any more, and another deployment came.
    Superseded,
    /// No word any more.
    Unknown,
}

/// What was told of it already.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Told {
    succeeded: bool,
    failed: bool,
    superseded: bool,
    hanging: bool,
}

/// What is known of a deployment only while this process runs, in monotonic milliseconds (which may
/// be before the machine's start, hence signed).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Life {
    /// When it began.
    pub(super) began: Option<i64>,
    /// The last record about it, output included.
    pub(super) sign: Option<i64>,
    /// Whether its tracking file is there.
    pub(super) is_tracked: bool,
    /// Since when a command is said to be under way that no tracking file speaks of.
    pub(super) untracked_since: Option<i64>,
}

/// A lifecycle event of a deployment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct LifecycleEvent {
    pub(super) name: String,
    /// Stands for the service's identifier of the command.
    pub(super) identifier: Option<u64>,
    pub(super) received_ms: Option<EpochMs>,
    pub(super) started_ms: Option<EpochMs>,
    pub(super) finished_ms: Option<EpochMs>,
    /// As 2.x says it, in milliseconds.
    pub(super) elapsed_ms: Option<u64>,
    pub(super) outcome: Option<Outcome>,
    pub(super) failure: Option<Failure>,
    /// The service did not take the report of its end.
    pub(super) is_unreported: bool,
    /// It was given up: whatever runs it is gone. Not an outcome: a record of its end still counts.
    pub(super) is_given_up: bool,
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
    AgentLog = 1,
    DeploymentsLog = 2,
    ScriptsLog = 4,
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
}

/// When something happened, and how it is to be told.
pub(super) struct Telling<'t> {
    pub(super) at_ms: EpochMs,
    pub(super) outbox: &'t mut Outbox,
}

impl Deployment {
    pub(super) fn new(id: &str, at_ms: EpochMs) -> Self {
        Self {
            id: id.to_owned(),
            group_id: None,
            group: None,
            application: None,
            began_ms: at_ms,
            last_ms: at_ms,
            events: Vec::new(),
            end: None,
            told: Told::default(),
            tail: Tail::default(),
            hook: [None, None],
            life: Life::default(),
        }
    }

    /// Something was heard of it.
    pub(super) fn live(&mut self, moment: Moment) {
        let sign = moment.mono();
        if self.life.sign.is_none_or(|last| last < sign) {
            self.life.sign = Some(sign);
            self.told.hanging = false;
        }
        self.began_ms = self.began_ms.min(moment.at_ms);
    }

    /// After our own start: what is not known of before is counted from now.
    pub(super) fn settle_in(&mut self, now: Now) {
        let life = &mut self.life;
        life.sign.get_or_insert_with(|| mono(now));
        let age_ms = now.wall_ms.saturating_sub(self.began_ms).max(0);
        life.began
            .get_or_insert_with(|| mono(now).saturating_sub(age_ms));
    }

    /// The lifecycle event that is being run, if any: the one that began last.
    pub(super) fn under_way(&self) -> Option<&LifecycleEvent> {
        self.events.iter().rev().find(|event| event.is_under_way())
    }

    /// Whether the service has ever sent a command for it, as far as the agent log was read:
    /// never for local deployments.
    pub(super) fn is_commanded(&self) -> bool {
        (self.events.iter()).any(|event| event.received_ms.is_some() || event.finished_ms.is_some())
    }

    pub(super) fn is_running(&self) -> bool {
        self.end.is_none() && (self.is_commanded() || self.life.is_tracked)
    }

    pub(super) fn is_hanging(&self) -> bool {
        self.told.hanging && self.end.is_none() && self.under_way().is_some()
    }

    /// A command came.
    pub(super) fn receive(
        &mut self,
        name: &str,
        identifier: Option<u64>,
        telling: &mut Telling<'_>,
    ) {
        let id = self.id.clone();
        let at_ms = telling.at_ms;
        let event = self.command(name, identifier, at_ms);
        if event.received_ms.is_some() {
            return;
        }
        event.received_ms = Some(at_ms);
        telling.outbox.tell(
            at_ms,
            What::CommandReceived {
                deployment: id,
                event: name.to_owned(),
            },
        );
        let is_over = event.outcome.is_some();
        if !is_over && self.end.as_ref().is_some_and(|end| at_ms >= end.at_ms) {
            self.end = None;
        }
    }

    /// A command is being carried out.
    pub(super) fn start(&mut self, name: &str, identifier: Option<u64>, telling: &mut Telling<'_>) {
        let id = self.id.clone();
        let at_ms = telling.at_ms;
        let event = self.command(name, identifier, at_ms);
        if event.started_ms.is_some() || event.outcome == Some(Outcome::Noop) {
            return;
        }
        event.started_ms = Some(at_ms);
        self.told.hanging = false;
        let what = What::LifecycleEventStarted {
            deployment: id,
            event: name.to_owned(),
        };
        telling.outbox.tell(at_ms, what);
    }

    /// A command ended. Only the first end of a command counts: 1.x reports a failure twice.
    pub(super) fn finish(&mut self, end: Finish<'_>, telling: &mut Telling<'_>) {
        let at_ms = telling.at_ms;
        let id = self.id.clone();
        let event = self.command(end.name, end.identifier, at_ms);
        if event.outcome.is_some() {
            return;
        }
        event.outcome = Some(end.outcome);
        event.finished_ms = Some(at_ms);
        event.elapsed_ms = end.elapsed_ms;
        event.failure = end.failure.cloned();
        let began_ms = event.started_ms.unwrap_or(at_ms);
        let what = What::LifecycleEventFinished {
            deployment: id,
            event: end.name.to_owned(),
            outcome: end.outcome,
            duration_ms: match end.outcome {
                Outcome::Succeeded | Outcome::Failed => event.duration_ms(),
                Outcome::Noop | Outcome::Refused => None,
            },
            failure: end.failure.cloned(),
        };
        match end.failure {
            Some(failure) if failure.is_restart() => telling.outbox.tell_of(began_ms, at_ms, what),
            _ => telling.outbox.tell(at_ms, what),
        }
        match (end.outcome, end.failure) {
            (Outcome::Failed, Some(failure)) => self.fail(end.name, failure, began_ms, telling),
            (Outcome::Succeeded | Outcome::Noop, _) if self.expects_nothing_after(end.name) => {
                self.succeed(telling);
            }
            _ => {}
        }
    }

    /// Whether a deployment that got this far is done: nothing in the log says so.
    fn expects_nothing_after(&self, name: &str) -> bool {
        // Commands alone count: which hook's log is read when is chance.
        let has_traffic_hooks = || {
            (self.events.iter())
                .any(|event| event.received_ms.is_some() && event.name.ends_with("Traffic"))
        };
        match name {
            "AfterAllowTraffic" => true,
            "ValidateService" => !has_traffic_hooks(),
            _ => false,
        }
    }

    fn succeed(&mut self, telling: &mut Telling<'_>) {
        let at_ms = telling.at_ms;
        self.end = Some(End {
            state: Ending::Succeeded,
            at_ms,
            began_ms: at_ms,
        });
        self.tail.forget();
        if !std::mem::replace(&mut self.told.succeeded, true) {
            let deployment = self.id.clone();
            telling.outbox.tell(
                at_ms,
                What::DeploymentSucceeded {
                    deployment,
                    inferred: true,
                },
            );
        }
    }

    fn fail(
        &mut self,
        name: &str,
        failure: &Failure,
        began_ms: EpochMs,
        telling: &mut Telling<'_>,
    ) {
        let at_ms = telling.at_ms;
        let (deployment, event) = (self.id.clone(), name.to_owned());
        let is_first = !std::mem::replace(&mut self.told.failed, true);
        if failure.is_restart() {
            self.end = Some(End {
                state: Ending::Aborted,
                at_ms,
                began_ms,
            });
            if is_first {
                let what = What::DeploymentAborted { deployment, event };
                telling.outbox.tell_of(began_ms, at_ms, what);
            }
            return;
        }
        self.end = Some(End {
            state: Ending::Failed,
            at_ms,
            began_ms: at_ms,
        });
        if is_first {
            let failure = failure.clone();
            telling.outbox.tell(
                at_ms,
                What::DeploymentFailed {
                    deployment,
                    event,
                    failure,
                },
            );
        }
    }

    /// The service did not take the report of a command's end.
    pub(super) fn unreported(&mut self, name: &str, identifier: Option<u64>, at_ms: EpochMs) {
        self.command(name, identifier, at_ms).is_unreported = true;
    }

    /// A script was started, says one of the files that tell of each.
    pub(super) fn script(
        &mut self,
        name: &str,
        location: &str,
        teller: Teller,
        telling: &mut Telling<'_>,
    ) {
        let id = self.id.clone();
        let at_ms = telling.at_ms;
        let event = self.latest(name);
        let (location, bit) = (bounded(location, SCRIPT_BYTES_MAX), teller as u8);
        let known = (event.scripts.iter_mut())
            .find(|script| script.location == location && script.heard_from & bit == 0);
        if let Some(script) = known {
            script.heard_from |= bit;
            script.started_ms = script.started_ms.min(at_ms);
            return;
        }
        if event.scripts.len() >= SCRIPTS_MAX {
            return;
        }
        event.scripts.push(Script {
            location: location.clone(),
            started_ms: at_ms,
            heard_from: bit,
        });
        let (deployment, event, script) = (id, name.to_owned(), location);
        telling.outbox.tell(
            at_ms,
            What::ScriptStarted {
                deployment,
                event,
                script,
            },
        );
    }

    /// No command came any more.
    pub(super) fn abandon(&mut self, by: Option<(&str, EpochMs)>, outbox: &mut Outbox) {
        let Some((by, at_ms)) = by else {
            let at_ms = self.last_ms;
            self.end = Some(End {
                state: Ending::Unknown,
                at_ms,
                began_ms: at_ms,
            });
            return;
        };
        self.end = Some(End {
            state: Ending::Superseded,
            at_ms,
            began_ms: at_ms,
        });
        if !std::mem::replace(&mut self.told.superseded, true) {
            let (deployment, by) = (self.id.clone(), by.to_owned());
            outbox.tell(at_ms, What::DeploymentSuperseded { deployment, by });
        }
    }

    /// What is under way has been silent for so long.
    pub(super) fn hang(&mut self, silent_ms: u64, telling: &mut Telling<'_>) {
        let Some(event) = self.under_way().map(|event| event.name.clone()) else {
            return;
        };
        if !std::mem::replace(&mut self.told.hanging, true) {
            let deployment = self.id.clone();
            let what = What::DeploymentHanging {
                deployment,
                event,
                silent_ms,
            };
            telling.outbox.tell_of(self.last_ms, telling.at_ms, what);
        }
    }

    /// Whatever was being run is not run any more, and nobody will say how it ended.
    pub(super) fn give_up(&mut self) {
        for event in self.events.iter_mut().filter(|event| event.is_under_way()) {
            event.is_given_up = true;
        }
    }

    /// The machine was booted while a command was under way, and nobody spoke of it since.
    pub(super) fn cut_off(&mut self, boot_ms: EpochMs, outbox: &mut Outbox) {
        let Some(event) = self.under_way().map(|event| event.name.clone()) else {
            return;
        };
        self.give_up();
        let began_ms = self.last_ms.min(boot_ms);
        self.end = Some(End {
            state: Ending::Aborted,
            at_ms: boot_ms,
            began_ms,
        });
        if !std::mem::replace(&mut self.told.failed, true) {
            let deployment = self.id.clone();
            outbox.tell_of(
                began_ms,
                boot_ms,
                What::DeploymentAborted { deployment, event },
            );
        }
    }

    /// The lifecycle event a command is for. One that ended already is only meant where the
    /// identifiers say so or cannot tell; otherwise the event is tried again.
    fn command(
        &mut self,
        name: &str,
        identifier: Option<u64>,
        at_ms: EpochMs,
    ) -> &mut LifecycleEvent {
        let same = |event: &LifecycleEvent| identifier.is_some() && event.identifier == identifier;
        let found = self.events.iter().position(same).or_else(|| {
            let at = self.events.iter().rposition(|event| event.name == name)?;
            let event = &self.events[at];
            let is_other = identifier.is_some() && event.identifier.is_some();
            let is_past = identifier.is_some()
                && event
                    .finished_ms
                    .is_some_and(|finished_ms| at_ms > finished_ms);
            (!is_other && !is_past).then_some(at)
        });
        let at = found.unwrap_or_else(|| self.add(name));
        let event = &mut self.events[at];
        event.identifier = event.identifier.or(identifier);
        event
    }

    /// The last lifecycle event of that name.
    fn latest(&mut self, name: &str) -> &mut LifecycleEvent {
        let found = self.events.iter().rposition(|event| event.name == name);
        let at = found.unwrap_or_else(|| self.add(name));
        &mut self.events[at]
    }

    fn add(&mut self, name: &str) -> usize {
        if self.events.len() >= EVENTS_MAX {
            self.events.remove(0);
        }
        let name = name.to_owned();
        self.events.push(LifecycleEvent {
            name,
            ..LifecycleEvent::default()
        });
        self.events.len() - 1
    }
}

/// How a command ended.
pub(super) struct Finish<'a> {
    pub(super) name: &'a str,
    pub(super) identifier: Option<u64>,
    pub(super) outcome: Outcome,
    pub(super) elapsed_ms: Option<u64>,
    pub(super) failure: Option<&'a Failure>,
}
