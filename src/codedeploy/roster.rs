//! Every deployment remembered on this instance: takes what the records tell to the right one, and
//! knows what time alone changes.
//!
//! Bounded: [`DEPLOYMENTS_MAX`] deployments, those that ended longest ago go first. Verdicts about
//! silence are made by monotonic time only, counted from when the record was written, so a jump of
//! the wall clock makes none; a deployment found at our own start is given its whole time anew.

use serde::{Deserialize, Serialize};

use super::bounded;
use super::deployment::{Deployment, Ending, Finish, Teller, Telling};
use super::fact::{Deed, HookLine, Identifier, Report, Which, Work};
use super::failure::Failure;
use super::news::{Eras, Freshness, Outbox, Outcome};
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
    /// Where the deployment of the last line of a hook's log stands, and the last path it had.
    hot: usize,
    hot_path: Vec<u8>,
    hot_at: Option<usize>,
}

/// The roster on disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct SavedRoster {
    deployments: Vec<Deployment>,
    specified: Option<String>,
}

/// When a record was written, and when it is heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// As the record says.
    pub(super) at_ms: EpochMs,
    pub(super) now: Now,
}

impl Moment {
    /// The record's time on the monotonic clock, not later than now.
    pub(super) fn mono(self) -> i64 {
        let age_ms = self.now.wall_ms.saturating_sub(self.at_ms).max(0);
        mono(self.now).saturating_sub(age_ms)
    }
}

/// Monotonic milliseconds, signed: what is remembered may be older than the machine's start.
pub(super) fn mono(now: Now) -> i64 {
    i64::try_from(now.mono_ms).unwrap_or(i64::MAX)
}

fn millis(limit_ms: u64) -> i64 {
    i64::try_from(limit_ms).unwrap_or(i64::MAX)
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
                let identifier = Identifier::read(identifier).map(|identifier| identifier.hash);
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
                if let Some((deployment, event, hash)) = self.resolve(identifier) {
                    let deployment = self.known(&deployment, moment);
                    deployment.receive(&event, Some(hash), telling);
                    match work {
                        Work::Some => deployment.start(&event, Some(hash), telling),
                        Work::None => deployment.finish(noop(&event, hash), telling),
                    }
                }
            }
            Deed::Executing { command } => {
                self.known(command.deployment, moment)
                    .start(command.event, None, telling);
            }
            Deed::Refused { deployment, event } => self.refuse(deployment, event, moment, telling),
            Deed::Script { command, path } => {
                let deployment = self.known(command.deployment, moment);
                deployment.script(command.event, path, Teller::AgentLog, telling);
            }
            Deed::Completed {
                which,
                elapsed_ms,
                report,
                ref failure,
            } => {
                let (id, event, identifier) = match which {
                    Which::Named(command) => (
                        command.deployment.to_owned(),
                        command.event.to_owned(),
                        None,
                    ),
                    Which::Identifier(text) => match self.resolve(text) {
                        Some((id, event, hash)) => (id, event, Some(hash)),
                        None => return,
                    },
                };
                let deployment = self.known(&id, moment);
                deployment.finish(
                    Finish {
                        name: &event,
                        identifier,
                        outcome: match failure {
                            Some(_) => Outcome::Failed,
                            None => Outcome::Succeeded,
                        },
                        elapsed_ms,
                        failure: failure.as_deref(),
                    },
                    telling,
                );
                if report == Report::NotTaken {
                    deployment.unreported(&event, identifier, moment.at_ms);
                }
            }
            Deed::FailedAgain { text } => self.fail_unnamed(text, moment, telling),
            Deed::Unreported { command } => {
                let deployment = self.known(command.deployment, moment);
                deployment.unreported(command.event, None, moment.at_ms);
            }
            Deed::Recovered { identifier } => {
                if let Some((id, event, hash)) = self.resolve(identifier) {
                    let failure = Failure::restart();
                    let deployment = self.known(&id, moment);
                    deployment.finish(failed(&event, Some(hash), &failure), telling);
                }
            }
        }
    }

    /// 1.x names no deployment when the service refuses: it is the one that has that event under
    /// way, the newest if there are two.
    fn refuse(
        &mut self,
        deployment: Option<&str>,
        event: &str,
        moment: Moment,
        telling: &mut Telling<'_>,
    ) {
        let id = deployment.map(str::to_owned).or_else(|| {
            let has = |d: &&Deployment| d.under_way().is_some_and(|e| e.name == event);
            self.deployments
                .iter()
                .rev()
                .find(has)
                .map(|d| d.id.clone())
        });
        let Some(id) = id else {
            return;
        };
        let outcome = Outcome::Refused;
        let finish = Finish {
            name: event,
            identifier: None,
            outcome,
            elapsed_ms: None,
            failure: None,
        };
        self.known(&id, moment).finish(finish, telling);
    }

    /// 2.x says twice why a command failed, the second time without a name. Only where no command
    /// failed of this just before, it is the one that never began.
    fn fail_unnamed(&mut self, text: &str, moment: Moment, telling: &mut Telling<'_>) {
        let mut events = self
            .deployments
            .iter()
            .flat_map(|deployment| &deployment.events);
        if events.any(|event| {
            event
                .failure
                .as_ref()
                .is_some_and(|failure| failure.is_from(text))
        }) {
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
        self.known(&id, moment)
            .finish(failed(&event, None, &failure), telling);
    }

    /// Takes a line of a hook's log. This is called for each line of output: for the same file as
    /// before it costs comparing the path and copying the line.
    pub(super) fn scripts_line(
        &mut self,
        path: &[u8],
        line: HookLine<'_>,
        moment: Moment,
        outbox: &mut Outbox,
    ) {
        let at = match self.hot_at {
            Some(at) if self.hot_path == path => at,
            _ => {
                let Some((group_id, id)) = deployment_of(path) else {
                    return;
                };
                let at = self.place(id, moment);
                self.deployments[at].group_id = Some(bounded(group_id, NAME_BYTES_MAX));
                self.hot_path.clear();
                self.hot_path.extend_from_slice(path);
                self.hot_at = Some(at);
                at
            }
        };
        self.hook_line(at, line, Teller::ScriptsLog, moment, outbox);
    }

    /// Takes a line of the deployments log, which repeats every hook's log.
    pub(super) fn deployments_line(
        &mut self,
        id: &str,
        line: HookLine<'_>,
        moment: Moment,
        outbox: &mut Outbox,
    ) {
        let at = match self.deployments.get(self.hot) {
            Some(deployment) if deployment.id == id => self.hot,
            _ => self.place(id, moment),
        };
        self.hot = at;
        match line {
            HookLine::Output(_) => self.deployments[at].live(moment),
            line => self.hook_line(at, line, Teller::DeploymentsLog, moment, outbox),
        }
    }

    fn hook_line(
        &mut self,
        at: usize,
        line: HookLine<'_>,
        teller: Teller,
        moment: Moment,
        outbox: &mut Outbox,
    ) {
        let deployment = &mut self.deployments[at];
        deployment.live(moment);
        let is_scripts_log = matches!(teller, Teller::ScriptsLog);
        let place = usize::from(!is_scripts_log);
        match line {
            HookLine::Output(line) => {
                let succeeded = |end: &super::deployment::End| end.state == Ending::Succeeded;
                if is_scripts_log && !deployment.end.as_ref().is_some_and(succeeded) {
                    deployment.tail.push(line);
                }
            }
            HookLine::Event(name) => {
                deployment.hook[place] = Some(name.to_owned());
                if is_scripts_log {
                    deployment.tail.begin(name);
                }
            }
            HookLine::Script(location) => {
                let Some(name) = deployment.hook[place].clone() else {
                    return;
                };
                if is_scripts_log {
                    deployment.tail.begin(&name);
                }
                let telling = &mut Telling {
                    at_ms: moment.at_ms,
                    outbox,
                };
                deployment.script(&name, location, teller, telling);
            }
        }
    }

    /// Takes the list of deployments that have a tracking file, with the time it was written.
    pub(super) fn track(&mut self, tracked: &[(String, EpochMs)], now: Now) {
        for (id, at_ms) in tracked {
            let moment = Moment { at_ms: *at_ms, now };
            let at = self.place(id, moment);
            let deployment = &mut self.deployments[at];
            if !deployment.life.is_tracked {
                deployment.live(moment);
            }
        }
        for deployment in &mut self.deployments {
            let life = &mut deployment.life;
            life.is_tracked = tracked.iter().any(|(id, _)| *id == deployment.id);
            let is_missing = !life.is_tracked && deployment.under_way().is_some();
            let life = &mut deployment.life;
            life.untracked_since = match (is_missing, life.untracked_since) {
                (true, since) => Some(since.unwrap_or_else(|| mono(now))),
                (false, _) => None,
            };
        }
    }

    /// What time alone changes.
    pub(super) fn step(&mut self, now: Now, outbox: &mut Outbox) {
        let newest = self.newest();
        for deployment in &mut self.deployments {
            deployment.settle_in(now);
            if deployment.end.is_some() || !deployment.is_running() {
                continue;
            }
            let life = deployment.life;
            let silent_ms = mono(now).saturating_sub(life.sign.unwrap_or_else(|| mono(now)));
            if let Some(began_ms) = deployment.under_way().and_then(|event| event.started_ms) {
                let boot_ms = outbox.eras.boot_ms.unwrap_or(EpochMs::MIN);
                if began_ms < boot_ms && deployment.last_ms < boot_ms {
                    // Nothing runs on through a boot.
                    if now.mono_ms >= RECOVERY_MS {
                        deployment.cut_off(boot_ms, outbox);
                    }
                    continue;
                }
                let is_gone = |since: i64| mono(now).saturating_sub(since) >= UNTRACKED_MS;
                if silent_ms >= STALE_MS || life.untracked_since.is_some_and(is_gone) {
                    deployment.give_up();
                } else if silent_ms >= millis(HANGING_AFTER_MS) {
                    let telling = &mut Telling {
                        at_ms: now.wall_ms,
                        outbox,
                    };
                    deployment.hang(silent_ms.unsigned_abs(), telling);
                }
                continue;
            }
            if silent_ms >= millis(QUIET_AFTER_MS) && !life.is_tracked {
                let by = (newest.as_ref())
                    .filter(|newer| {
                        newer.id != deployment.id && newer.began_ms >= deployment.last_ms
                    })
                    .filter(|newer| {
                        let groups = newer.group_id.as_ref().zip(deployment.group_id.as_ref());
                        groups.is_none_or(|(theirs, ours)| theirs == ours)
                    });
                deployment.abandon(by.map(|newer| (newer.id.as_str(), newer.began_ms)), outbox);
            }
        }
    }

    /// The deployment whose first command came last.
    fn newest(&self) -> Option<Deployment> {
        let commanded = self
            .deployments
            .iter()
            .filter(|deployment| deployment.is_commanded());
        let newest = commanded.max_by_key(|deployment| deployment.began_ms)?;
        // Its names alone are needed.
        let mut newer = Deployment::new(&newest.id, newest.began_ms);
        newer.group_id.clone_from(&newest.group_id);
        Some(newer)
    }

    /// When [`Roster::step`] has something to do next, behind a monotonic time in milliseconds.
    pub(super) fn next_due(&self, behind: i64) -> Option<i64> {
        let running = self
            .deployments
            .iter()
            .filter(|deployment| deployment.is_running());
        let dues = running.flat_map(|deployment| {
            let limit_ms = match deployment.under_way() {
                Some(_) => HANGING_AFTER_MS,
                None => QUIET_AFTER_MS,
            };
            let life = deployment.life;
            [
                life.sign.map(|sign| sign.saturating_add(millis(limit_ms))),
                life.untracked_since
                    .map(|since| since.saturating_add(UNTRACKED_MS)),
            ]
        });
        dues.flatten().filter(|due| *due > behind).min()
    }

    /// For how long the oldest running deployment has been running, in seconds; 0 when none is.
    /// What a boot cut off is not running, even before the CodeDeploy agent says so.
    pub(super) fn running_seconds(&self, eras: Eras, now: Now) -> f64 {
        let age = |deployment: &Deployment| {
            let wall = || mono(now).saturating_sub(now.wall_ms.saturating_sub(deployment.began_ms));
            let began = deployment.life.began.unwrap_or_else(wall);
            mono(now).saturating_sub(began).max(0)
        };
        let boot_ms = eras.boot_ms.unwrap_or(EpochMs::MIN);
        let running = (self.deployments.iter())
            .filter(|deployment| deployment.is_running() && deployment.last_ms >= boot_ms);
        running.map(age).max().map_or(0.0, |ms| ms as f64 / 1_000.0)
    }

    /// Whether the newest deployment that ended since the boot, and since we were installed,
    /// failed.
    pub(super) fn last_failed(&self, eras: Eras) -> bool {
        let ended = self
            .deployments
            .iter()
            .filter_map(|deployment| deployment.end.as_ref());
        let of_now = ended.filter(|end| {
            eras.freshness(end.at_ms) == Freshness::Fresh
                && eras.freshness(end.began_ms) != Freshness::BeforeBoot
                && matches!(
                    end.state,
                    Ending::Succeeded | Ending::Failed | Ending::Aborted
                )
        });
        let last = of_now.max_by_key(|end| end.at_ms);
        last.is_some_and(|end| end.state != Ending::Succeeded)
    }

    /// Deployment, event and hash of a command; names that cannot be read come from what was
    /// fetched last.
    fn resolve(&self, text: &str) -> Option<(String, String, u64)> {
        let identifier = Identifier::read(text)?;
        if let Some((id, event)) = identifier.name {
            return Some((id, event, identifier.hash));
        }
        let known = self.deployments.iter().find_map(|deployment| {
            let events = deployment.events.iter();
            let mut same = events.filter(|event| event.identifier == Some(identifier.hash));
            Some((deployment.id.clone(), same.next()?.name.clone()))
        });
        let unnamed = || Some((self.specified.clone()?, "Unknown".to_owned()));
        let (id, event) = known.or_else(unnamed)?;
        Some((id, event, identifier.hash))
    }

    /// The deployment of that id, about which the agent log says something.
    fn known(&mut self, id: &str, moment: Moment) -> &mut Deployment {
        let at = self.place(id, moment);
        let deployment = &mut self.deployments[at];
        deployment.last_ms = deployment.last_ms.max(moment.at_ms);
        deployment.live(moment);
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

fn noop(event: &str, hash: u64) -> Finish<'_> {
    let (identifier, outcome) = (Some(hash), Outcome::Noop);
    Finish {
        name: event,
        identifier,
        outcome,
        elapsed_ms: None,
        failure: None,
    }
}

fn failed<'a>(event: &'a str, identifier: Option<u64>, failure: &'a Failure) -> Finish<'a> {
    let (outcome, failure) = (Outcome::Failed, Some(failure));
    Finish {
        name: event,
        identifier,
        outcome,
        elapsed_ms: None,
        failure,
    }
}

/// Group and deployment of `…/GROUP/DEPLOYMENT/logs/scripts.log`, wherever the root is.
fn deployment_of(path: &[u8]) -> Option<(&str, &str)> {
    let path = std::str::from_utf8(path).ok()?;
    let mut parts = path.rsplit('/').skip(2);
    let id = parts.next().filter(|id| super::fact::is_id(id))?;
    Some((parts.next()?, id))
}
