//! How deployments end: by a record, by what follows from one, or by silence.

use serde::{Deserialize, Serialize};

use super::deployment::{Deployment, Telling};
use super::failure::Failure;
use super::news::{Outbox, What};
use crate::event::EpochMs;

/// How a deployment ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) state: Ending,
    pub(super) at_ms: EpochMs,
    /// When what ended it began: what a reboot cut off does not count as this boot's.
    pub(super) began_ms: EpochMs,
    /// Its place among all ends, by when they were heard: a date may be set back.
    #[serde(default)]
    pub(super) nth: u64,
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

impl Deployment {
    /// Whether a deployment that got this far is done: nothing in the log says so.
    pub(super) fn expects_nothing_after(&self, name: &str) -> bool {
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

    /// It ended so; what ended it began and ended at these times.
    fn end_as(
        &mut self,
        state: Ending,
        (began_ms, at_ms): (EpochMs, EpochMs),
        outbox: &mut Outbox,
    ) {
        outbox.ends += 1;
        self.end = Some(End {
            state,
            at_ms,
            began_ms,
            nth: outbox.ends,
        });
    }

    pub(super) fn succeed(&mut self, telling: &mut Telling<'_>) {
        let at_ms = telling.at_ms;
        self.end_as(Ending::Succeeded, (at_ms, at_ms), telling.outbox);
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

    pub(super) fn fail(
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
            self.end_as(Ending::Aborted, (began_ms, at_ms), telling.outbox);
            if is_first {
                let what = What::DeploymentAborted { deployment, event };
                telling.outbox.tell_of(began_ms, at_ms, what);
            }
            return;
        }
        self.end_as(Ending::Failed, (at_ms, at_ms), telling.outbox);
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

    /// No command came any more.
    pub(super) fn abandon(&mut self, by: Option<(&str, EpochMs)>, outbox: &mut Outbox) {
        let Some((by, at_ms)) = by else {
            let at_ms = self.last_ms;
            self.end_as(Ending::Unknown, (at_ms, at_ms), outbox);
            return;
        };
        self.end_as(Ending::Superseded, (at_ms, at_ms), outbox);
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
        self.end_as(Ending::Aborted, (began_ms, boot_ms), outbox);
        if !std::mem::replace(&mut self.told.failed, true) {
            let deployment = self.id.clone();
            outbox.tell_of(
                began_ms,
                boot_ms,
                What::DeploymentAborted { deployment, event },
            );
        }
    }
}
