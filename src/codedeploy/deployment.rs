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
use super::ending::End;
use super::fact::Report;
use super::failure::{Failure, SCRIPT_BYTES_MAX};
use super::lifecycle::{LifecycleEvent, Teller};
use super::news::{Outbox, Outcome, What};
use super::roster::{Moment, mono};
use super::tail::Tail;
use crate::event::{EpochMs, Now};

/// Lifecycle events remembered of one deployment; a whole one has 13.
const EVENTS_MAX: usize = 20;
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
    /// It ended before the machine was booted, whatever the dates say.
    #[serde(default)]
    pub(super) is_of_earlier_boot: bool,
    pub(super) told: Told,
    pub(super) tail: Tail,
    /// The lifecycle event whose scripts follow, in scripts.log and in the deployments log.
    pub(super) hook: [Option<String>; 2],
    #[serde(default)]
    pub(super) life: Life,
}

/// What was told of it already.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) succeeded: bool,
    pub(super) failed: bool,
    pub(super) superseded: bool,
    pub(super) hanging: bool,
}

/// What is known of a deployment in monotonic milliseconds (which may be before the machine's start,
/// hence signed). That clock goes on over a restart of ours, and begins anew with a boot.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Life {
    /// When it began: kept over a restart of ours.
    pub(super) began: Option<i64>,
    /// That is no more than a guess: only hooks' logs told of it, which say nothing of the command, and in
    /// whose dates the zone may be another than ours. Kept likewise.
    #[serde(default)]
    pub(super) is_guess: bool,
    /// The last record about it, output included.
    #[serde(skip)]
    pub(super) sign: Option<i64>,
    /// Whether its tracking file is there.
    #[serde(skip)]
    pub(super) is_tracked: bool,
    /// It had one since our start.
    #[serde(skip)]
    pub(super) was_tracked: bool,
    /// Since when a command is said to be under way that no tracking file speaks of.
    #[serde(skip)]
    pub(super) untracked_since: Option<i64>,
}

/// When something happened, and how it is to be told.
pub(super) struct Telling<'t> {
    pub(super) at_ms: EpochMs,
    /// The same on the monotonic clock.
    pub(super) mono: i64,
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
            is_of_earlier_boot: false,
            told: Told::default(),
            tail: Tail::default(),
            hook: [None, None],
            life: Life::default(),
        }
    }

    /// Something was heard of it.
    #[inline]
    pub(super) fn live(&mut self, moment: Moment) {
        let sign = moment.mono();
        if self.life.sign.is_none_or(|last| last < sign) {
            self.life.sign = Some(sign);
            self.told.hanging = false;
        }
        self.began_ms = self.began_ms.min(moment.at_ms);
    }

    /// Something was heard of its commands, which may come in any order: a tracking file, which is that of
    /// the command under way, is seen before the log is read.
    pub(super) fn command_lives(&mut self, moment: Moment) {
        let mono = moment.mono();
        if std::mem::take(&mut self.life.is_guess) {
            self.life.began = Some(mono);
        } else if moment.at_ms < self.began_ms {
            self.life.began = self.life.began.map(|began| began.min(mono));
        }
        self.live(moment);
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
        let is_command = |event: &LifecycleEvent| {
            [event.received_ms, event.started_ms, event.finished_ms] != [None; 3]
        };
        self.events.iter().any(is_command)
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
        event.started_mono = Some(telling.mono);
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
        event.elapsed_ms = end.elapsed_ms.or_else(|| event.measured_ms(telling.mono));
        event.failure = end.failure.cloned();
        let began_ms = event.started_ms.unwrap_or(at_ms).min(end.began_by_ms);
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

    /// The service took, or did not take, a report of a command's end. A failure is reported twice
    /// by 1.x; one taken is enough.
    pub(super) fn report(
        &mut self,
        report: Report,
        name: &str,
        identifier: Option<u64>,
        at_ms: EpochMs,
    ) {
        self.command(name, identifier, at_ms).is_unreported = report == Report::NotTaken;
    }

    /// Why it failed is not said again.
    pub(super) fn said_all(&mut self, name: &str) {
        self.latest(name).is_said_twice = true;
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
        let location = bounded(location, SCRIPT_BYTES_MAX);
        if !self.latest(name).hear_script(&location, teller, at_ms) {
            return;
        }
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
    /// It began then at the latest, whatever else is known.
    pub(super) began_by_ms: EpochMs,
    pub(super) failure: Option<&'a Failure>,
}
