//! Every deployment remembered on this instance: takes what the records tell to the right one, and
//! knows what time alone changes.
//!
//! Bounded: [`DEPLOYMENTS_MAX`] deployments, those that ended longest ago go first. Verdicts about
//! silence are made by monotonic time only, counted from when the record was written, so a jump of
//! the wall clock makes none; a deployment found at our own start is given its whole time anew.

use serde::{Deserialize, Serialize};

mod hooks;
mod silence;

use super::bounded;
use super::deployment::{Deployment, Finish, Telling};
use super::fact::{CommandEnd, CommandName, Deed, Identifier, Report, Which, Work};
use super::failure::Failure;
use super::lifecycle::{LifecycleEvent, Teller};
use super::news::{Outbox, Outcome};
use crate::event::{EpochMs, Now};

/// Deployments remembered.
pub const DEPLOYMENTS_MAX: usize = 100;
/// A lifecycle event that is being run and gave no sign of life for so long hangs. CodeDeploy's
/// own limit for a script is an hour unless its appspec.yml says otherwise.
pub const HANGING_AFTER_MS: u64 = 15 * 60_000;
/// A deployment without a command under way for so long is over for this instance: stopped,
/// finished elsewhere or superseded.
pub const QUIET_AFTER_MS: u64 = 10 * 60_000;
/// After a boot, the CodeDeploy agent has so long to say what became of the command that the boot
/// cut off.
const RECOVERY_MS: u64 = 10 * 60_000;
/// A command under way without its tracking file for so long is given up.
const UNTRACKED_MS: i64 = 60_000;
/// What began so long ago runs no more: an event ends within an hour, whatever it does, and the
/// agent itself gives up a tracking file after a day.
const STALE_MS: i64 = 24 * 3_600_000;
/// Longest name of an application or a deployment group kept, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// All deployments, the one first heard of first.
#[derive(Debug, Default)]
pub(super) struct Roster {
    deployments: Vec<Deployment>,
    /// The deployment 1.x fetched last, for commands whose identifier cannot be read.
    specified: Option<String>,
    /// Deployment and lifecycle event that 1.x acknowledged last.
    acknowledged: Option<(String, String)>,
    /// Where the deployment of the last line of a hook's log stands, and the last path it had.
    hot: usize,
    hot_path: Vec<u8>,
    hot_at: Option<usize>,
    /// The last identifier that could be read: the records of one command follow each other.
    hot_identifier: Option<(String, Identifier)>,
}

/// The roster on disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedRoster {
    deployments: Vec<Deployment>,
    specified: Option<String>,
}

/// When a record was written, and when it is heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// As the record says.
    pub(super) at_ms: EpochMs,
    /// Monotonic milliseconds before which it was not there, if that is known.
    pub(super) not_before: Option<i64>,
    pub(super) now: Now,
}

impl Moment {
    /// The record's time on the monotonic clock, not later than now.
    #[inline]
    pub(super) fn mono(self) -> i64 {
        let age_ms = self.now.wall_ms.saturating_sub(self.at_ms).max(0);
        let dated = mono(self.now).saturating_sub(age_ms);
        self.not_before.map_or(dated, |before| before.max(dated))
    }
}

/// Monotonic milliseconds, signed: what is remembered may be older than the machine's start.
pub(super) fn mono(now: Now) -> i64 {
    i64::try_from(now.mono_ms).unwrap_or(i64::MAX)
}

impl SavedRoster {
    /// The monotonic clock began anew, and what has ended is none of the new boot's.
    pub(super) fn forget_boot(&mut self) {
        for deployment in &mut self.deployments {
            deployment.is_of_earlier_boot = deployment.end.is_some();
            deployment.life.began = None;
        }
    }
}

impl Roster {
    pub(super) fn restore(saved: SavedRoster) -> Self {
        let mut roster = Self {
            deployments: saved.deployments,
            specified: saved.specified,
            ..Self::default()
        };
        roster.deployments.truncate(DEPLOYMENTS_MAX);
        roster
    }

    pub(super) fn saved(&self) -> SavedRoster {
        let mut deployments = self.deployments.clone();
        for deployment in &mut deployments {
            deployment.tail = deployment.tail.trimmed();
        }
        SavedRoster {
            deployments,
            specified: self.specified.clone(),
        }
    }

    pub(super) fn deployments(&self) -> &[Deployment] {
        &self.deployments
    }

    /// Takes what a record of the agent log tells.
    pub(super) fn take(&mut self, deed: &Deed<'_>, moment: Moment, outbox: &mut Outbox) {
        let telling = &mut Telling {
            at_ms: moment.at_ms,
            mono: moment.mono(),
            outbox,
        };
        match *deed {
            Deed::Specified { deployment } => {
                self.known(deployment, moment);
                self.specified = Some(deployment.to_owned());
            }
            Deed::Received {
                command,
                identifier,
            } => {
                let identifier = self
                    .identifier(identifier)
                    .map(|identifier| identifier.hash);
                self.known(command.deployment, moment)
                    .receive(command.event, identifier, telling);
            }
            Deed::Described {
                deployment,
                application,
                group,
            } => {
                let deployment = self.known(deployment, moment);
                deployment.application = Some(bounded(application, NAME_BYTES_MAX));
                deployment.group = Some(bounded(group, NAME_BYTES_MAX));
            }
            Deed::Acknowledged { identifier, work } => {
                self.acknowledge(identifier, work, moment, telling);
            }
            Deed::Executing { command } => {
                self.known(command.deployment, moment)
                    .start(command.event, None, telling);
            }
            Deed::Refused { deployment, event } => self.refuse(deployment, event, moment, telling),
            Deed::Script { command, path } => {
                let deployment = self.known(command.deployment, moment);
                deployment.script(command.event, path, Teller::Agent, telling);
            }
            Deed::Completed { which, ref end } => self.complete(which, end, moment, telling),
            Deed::FailedAgain { text } => self.fail_unnamed(text, moment, telling),
            Deed::Unreported { command } => {
                let deployment = self.known(command.deployment, moment);
                deployment.report(Report::NotTaken, command.event, None, moment.at_ms);
            }
            Deed::Recovered { identifier } => self.recover(identifier, moment, telling),
        }
    }

    /// The agent found a command that was under way when it was started. Where nobody told of its
    /// beginning, it is as old as the last word about its deployment, or older than anything.
    fn recover(&mut self, identifier: &str, moment: Moment, telling: &mut Telling<'_>) {
        let Some((id, event, hash)) = self.resolve(identifier) else {
            return;
        };
        let mut others = self.deployments.iter();
        let heard_ms = others.find(|other| other.id == id).map(|it| it.last_ms);
        let failure = Failure::restart();
        let end = finish(&event, Some(hash), Some(&failure));
        let began_by_ms = heard_ms.unwrap_or(EpochMs::MIN);
        self.known(&id, moment)
            .finish(Finish { began_by_ms, ..end }, telling);
    }

    /// 1.x received a command.
    fn acknowledge(
        &mut self,
        identifier: &str,
        work: Work,
        moment: Moment,
        telling: &mut Telling<'_>,
    ) {
        let Some((deployment, event, hash)) = self.resolve(identifier) else {
            return;
        };
        self.acknowledged = Some((deployment.clone(), event.clone()));
        let deployment = self.known(&deployment, moment);
        deployment.receive(&event, Some(hash), telling);
        let outcome = Outcome::Noop;
        match work {
            Work::Some => deployment.start(&event, Some(hash), telling),
            Work::None => {
                let end = finish(&event, Some(hash), None);
                deployment.finish(Finish { outcome, ..end }, telling);
            }
        }
    }

    /// A command ended.
    fn complete(
        &mut self,
        which: Which<'_>,
        end: &CommandEnd,
        moment: Moment,
        telling: &mut Telling<'_>,
    ) {
        let named = match which {
            Which::Named(CommandName { deployment, event }) => {
                Some((deployment.to_owned(), event.to_owned(), None))
            }
            Which::Identifier(text) => (self.resolve(text))
                .map(|(deployment, event, hash)| (deployment, event, Some(hash))),
        };
        let Some((id, event, identifier)) = named else {
            return;
        };
        let deployment = self.known(&id, moment);
        let elapsed_ms = end.elapsed_ms;
        let finished = finish(&event, identifier, end.failure.as_ref());
        deployment.finish(
            Finish {
                elapsed_ms,
                ..finished
            },
            telling,
        );
        deployment.report(end.report, &event, identifier, moment.at_ms);
    }

    /// 1.x names no deployment when the service refuses: it is the one whose command was
    /// acknowledged last, or else the one that has that event under way, begun last.
    fn refuse(
        &mut self,
        deployment: Option<&str>,
        event: &str,
        moment: Moment,
        telling: &mut Telling<'_>,
    ) {
        let acknowledged = || {
            let (id, of) = self.acknowledged.as_ref()?;
            (of == event).then(|| id.clone())
        };
        let begun_last = || {
            let under_way = self.deployments.iter().filter_map(|deployment| {
                let of = deployment.under_way().filter(|of| of.name == event)?;
                Some((of.started_ms, deployment))
            });
            let last = under_way.max_by_key(|(started_ms, _)| *started_ms);
            last.map(|(_, deployment)| deployment.id.clone())
        };
        let id = deployment.map(str::to_owned);
        let id = id.or_else(acknowledged).or_else(begun_last);
        let Some(id) = id else {
            return;
        };
        let outcome = Outcome::Refused;
        let end = finish(event, None, None);
        self.known(&id, moment)
            .finish(Finish { outcome, ..end }, telling);
    }

    /// 2.x says twice why a command failed, the second time without a name. Only where no command
    /// failed of this just before, it is the one that never began.
    fn fail_unnamed(&mut self, text: &str, moment: Moment, telling: &mut Telling<'_>) {
        let mut events =
            (self.deployments.iter_mut()).flat_map(|deployment| &mut deployment.events);
        let is_said_once = |event: &&mut LifecycleEvent| {
            let failure = event.failure.as_ref();
            !event.is_said_twice && failure.is_some_and(|failure| failure.is_from(text))
        };
        if let Some(event) = events.find(is_said_once) {
            event.is_said_twice = true;
            return;
        }
        let mut waiting = self.deployments.iter().flat_map(|deployment| {
            (deployment.events.iter())
                .filter(|event| event.received_ms.is_some() && event.started_ms.is_none())
                .filter(|event| event.outcome.is_none())
                .map(|event| (deployment.id.clone(), event.name.clone()))
        });
        let (Some((id, event)), None) = (waiting.next(), waiting.next()) else {
            return;
        };
        let failure = Failure::from_text(text);
        let deployment = self.known(&id, moment);
        deployment.finish(finish(&event, None, Some(&failure)), telling);
        deployment.said_all(&event);
    }

    /// Deployment, event and hash of a command; names that cannot be read come from what was
    /// fetched last.
    fn resolve(&mut self, text: &str) -> Option<(String, String, u64)> {
        let Identifier { hash, name } = self.identifier(text)?;
        if let Some((id, event)) = name {
            return Some((id, event, hash));
        }
        let known = self.deployments.iter().find_map(|deployment| {
            let events = deployment.events.iter();
            let mut same = events.filter(|event| event.identifier == Some(hash));
            Some((deployment.id.clone(), same.next()?.name.clone()))
        });
        let unnamed = || Some((self.specified.clone()?, "Unknown".to_owned()));
        let (id, event) = known.or_else(unnamed)?;
        Some((id, event, hash))
    }

    /// What an identifier says; decoded once, however often it comes in a row.
    fn identifier(&mut self, text: &str) -> Option<Identifier> {
        if let Some((hot, identifier)) = &self.hot_identifier
            && hot == text
        {
            return Some(identifier.clone());
        }
        let identifier = Identifier::read(text)?;
        self.hot_identifier = Some((text.to_owned(), identifier.clone()));
        Some(identifier)
    }

    /// The deployment of that id, about which the agent log says something.
    fn known(&mut self, id: &str, moment: Moment) -> &mut Deployment {
        let at = self.place(id, moment);
        let deployment = &mut self.deployments[at];
        deployment.last_ms = deployment.last_ms.max(moment.at_ms);
        deployment.command_lives(moment);
        deployment
    }

    fn place(&mut self, id: &str, moment: Moment) -> usize {
        if let Some(at) = self
            .deployments
            .iter()
            .rposition(|deployment| deployment.id == id)
        {
            return at;
        }
        if self.deployments.len() >= DEPLOYMENTS_MAX {
            self.make_room();
        }
        let mut deployment = Deployment::new(id, moment.at_ms);
        deployment.life.began = Some(moment.mono());
        deployment.life.is_guess = true;
        self.deployments.push(deployment);
        self.deployments.len() - 1
    }

    /// Forgets the deployment that ended, or was last heard of, longest ago.
    fn make_room(&mut self) {
        let age = |deployment: &Deployment| {
            (
                deployment.end.is_none() && deployment.is_running(),
                deployment.last_ms,
            )
        };
        let oldest = (0..self.deployments.len()).min_by_key(|at| age(&self.deployments[*at]));
        if let Some(oldest) = oldest {
            self.deployments.remove(oldest);
            self.hot_at = None;
            self.hot = 0;
        }
    }
}

/// The end of a command: failed where there is a failure.
fn finish<'a>(name: &'a str, identifier: Option<u64>, failure: Option<&'a Failure>) -> Finish<'a> {
    let outcome = match failure {
        Some(_) => Outcome::Failed,
        None => Outcome::Succeeded,
    };
    Finish {
        name,
        identifier,
        outcome,
        elapsed_ms: None,
        began_by_ms: EpochMs::MAX,
        failure,
    }
}
