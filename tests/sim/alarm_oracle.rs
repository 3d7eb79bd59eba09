//! What must hold of alarms and of the data behind them, judged by what truly happened.
//!
//! The rules, with the documented behaviour of CloudWatch that limits them:
//!
//! - *No action without an incident.* When an action is called, what the alarm is about must have
//!   been true for about as long as the alarm asks, within what an evaluation looks back at. Never
//!   excused: not by outages, clocks, replays, reboots.
//! - *One action per incident.* Between two calls of an alarm its subject must have been untrue.
//!   Where missing data do not breach, a gap in the data counts as untrue.
//! - *No incident without an action*, where nothing stood in the way: our agent ran, the metric
//!   service took data, the date was right, actions were not suspended, all of it for as long as
//!   detection, evaluation and publishing take, and the alarm had seen the subject untrue since it
//!   last fired: CloudWatch acts on a change of state only, so incidents without a datapoint
//!   between them are one to it, one that began while actions were suspended is over for it, and a datum that comes later than it looks back is not evaluated.
//! - *Never a loop.* In any window, at most `max_restarts` and one more actions on the instance.
//!   Where the metric is EC2's own, nothing can be held back, and of a boot in which our agent
//!   never ran nothing is known: there the rule holds of actions before which our agent ran for a
//!   minute with services that answer, and of none while the role lacks DisableAlarmActions.
//!   The breaker trips on nothing but restarts an alarm may have caused: where the history of an
//!   alarm on EC2's own metric cannot be read, for want of a permission or of answers, that is any
//!   restart.
//! - *Old news makes no datum* that looks fresh: every datum is checked against what was true in
//!   its own period and boot.

use std::collections::{BTreeMap, VecDeque};

use deploywatch::event::EpochMs;
use deploywatch::ports::{Datum, Numbers};

use super::alarm_codedeploy::Ended;
use super::alarm_plan::{Plan, Subject};
use super::world::metrics::Take;

const MINUTE: u64 = 60_000;
/// `[alarms]` as the plan leaves it at its default.
const MAX_RESTARTS: usize = 3;
const WINDOW_MS: u64 = 3_600_000;

/// How the machine fares just now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Scene {
    /// What the alarm is about is true.
    pub(crate) condition: bool,
    /// Nothing stands in the way of the data the alarm looks at.
    pub(crate) is_calm: bool,
    /// Our agent runs, its services answer, the date is right.
    pub(crate) is_publishing: bool,
    /// Nothing of our agent's can arrive.
    pub(crate) is_silent: bool,
    /// The alarm is there, and its actions are called.
    pub(crate) is_enabled: bool,
    /// The machine is up.
    pub(crate) is_up: bool,
    /// Our agent runs, and is not told to stop.
    pub(crate) runs: bool,
    /// The CodeDeploy agent works, or was stopped on purpose.
    pub(crate) works: bool,
    pub(crate) last_failed: bool,
    pub(crate) running_since_ms: Option<u64>,
}

/// How long the things an alarm waits for take, in ms.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// So long the subject must have been true within `looks_back`.
    least: u64,
    looks_back: u64,
    /// After so long without trouble it must have been called.
    sure: u64,
    /// After so long without trouble and subject the alarm is OK again.
    rests: u64,
}

fn times(plan: &Plan) -> Times {
    let minutes = |least, looks_back, sure, rests| Times {
        least: least * MINUTE,
        looks_back: looks_back * MINUTE,
        sure: sure * MINUTE,
        rests: rests * MINUTE,
    };
    let n = plan.periods;
    // Dated ahead, a datapoint is evaluated when its time comes, if there is no other by then.
    let jump = match plan.jumpy {
        true => u64::try_from(plan.jump_ms_max).unwrap_or(0) / MINUTE,
        false => 0,
    };
    match plan.subject {
        // Dead is after three minutes of silence; 2.x does not say when it is well again.
        Subject::Dead => minutes(n - 4, n + 8 + jump, n + 9, 9),
        Subject::Hangs => minutes(n - 2, n + 5 + jump, n + 6, 6),
        Subject::LastFailed => minutes(n - 2, n + 5 + jump, n + 6, 6),
        Subject::InstanceCheck | Subject::SystemCheck => minutes(n - 1, n + 5, n + 6, 6),
        Subject::Silent => minutes(n - 1, n + 7, n + 8, 7),
        // One datapoint is all.
        Subject::Failed | Subject::Lost => minutes(0, 8 + jump, 6, 8),
    }
}

/// A stretch of time in which the subject was true; the last one may not be over.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: u64,
    until: Option<u64>,
}

/// What was true at the end of a minute of the true date.
#[derive(Clone, Copy, Debug)]
struct Sample {
    scene: Scene,
    /// When the CodeDeploy agent last worked, and since when it does without a break.
    worked_ms: Option<u64>,
    works_since: Option<u64>,
    /// Since when our agent has been running undisturbed.
    running_since: Option<u64>,
    ms: u64,
}

/// A deployment's end, and the boot it happened in.
#[derive(Clone, Debug)]
struct Truth {
    ended: Ended,
    boot: u32,
    /// The true date: a datum has this one, or the record's, as long as the service takes that.
    true_ms: EpochMs,
}

/// Judges one seed.
pub(crate) struct Oracle {
    plan: Plan,
    times: Times,
    stretches: VecDeque<Stretch>,
    scene: Scene,
    /// Since when nothing stands in the way of data, and of actions.
    calm_since: Option<u64>,
    publishing_since: Option<u64>,
    silent_since: Option<u64>,
    enabled_since: Option<u64>,
    /// Since when the subject is as it is.
    since: u64,
    /// Whether the alarm is known to be out of ALARM.
    is_armed: bool,
    has_changed_since_call: bool,
    called_ms: Option<u64>,
    /// Pulses that are owed a call: when, and whether it came.
    owed: Vec<u64>,
    unspent: VecDeque<u64>,
    /// Actions on the instance.
    pub(crate) acts: Vec<u64>,
    /// Those that our agent had the time to see coming, and to switch off.
    preventable: Vec<u64>,
    /// It had that time since the last one.
    had_a_chance: bool,
    pub(crate) told: u64,
    pub(crate) incidents: u64,
    pub(crate) owed_in_all: u64,
    truths: Vec<Truth>,
    boot: u32,
    /// Boots that may be taken for an alarm's doing, by what our agent had lived until then.
    doubtful_boots: Vec<u64>,
    /// For how long our agent has run in all: what it did not live through it cannot measure.
    lived_ms: u64,
    seen_ms: u64,
    /// What it had lived when the machine last went down.
    down_ms: u64,
    has_tripped: bool,
    is_suspended: bool,
    pub(crate) suspensions: u64,
    samples: BTreeMap<i64, Sample>,
    worked_ms: Option<u64>,
    works_since: Option<u64>,
    /// When deployments came and went.
    changes: Vec<u64>,
    beats: BTreeMap<i64, u32>,
    beat_ms: Option<u64>,
    /// Minutes that must have a heartbeat.
    lived: Vec<(i64, u64)>,
    sampled: i64,
    doubtful: Option<Vec<Datum>>,
    begin_ms: EpochMs,
    pub(crate) data: u64,
}

impl Oracle {
    pub(crate) fn new(plan: &Plan, begin_ms: EpochMs) -> Self {
        Self {
            plan: plan.clone(),
            times: times(plan),
            stretches: VecDeque::new(),
            scene: Scene::default(),
            calm_since: None,
            publishing_since: None,
            silent_since: None,
            enabled_since: None,
            since: 0,
            is_armed: true,
            has_changed_since_call: true,
            called_ms: None,
            owed: Vec::new(),
            unspent: VecDeque::new(),
            acts: Vec::new(),
            preventable: Vec::new(),
            had_a_chance: false,
            told: 0,
            incidents: 0,
            owed_in_all: 0,
            truths: Vec::new(),
            boot: 0,
            doubtful_boots: Vec::new(),
            lived_ms: 0,
            seen_ms: 0,
            down_ms: 0,
            has_tripped: false,
            is_suspended: false,
            suspensions: 0,
            samples: BTreeMap::new(),
            worked_ms: None,
            works_since: None,
            changes: Vec::new(),
            beats: BTreeMap::new(),
            beat_ms: None,
            lived: Vec::new(),
            sampled: begin_ms.div_euclid(60_000),
            doubtful: None,
            begin_ms,
            data: 0,
        }
    }

    /// The scene changes now, or is looked at.
    pub(crate) fn see(&mut self, scene: Scene, ms: u64) -> Result<(), String> {
        self.sample(ms);
        self.lived_ms += if self.scene.runs {
            ms - self.seen_ms
        } else {
            0
        };
        self.seen_ms = ms;
        if scene.condition != self.scene.condition {
            self.has_changed_since_call |= !scene.condition;
            self.since = ms;
            match scene.condition {
                true => {
                    self.incidents += 1;
                    self.stretches.push_back(Stretch {
                        from: ms,
                        until: None,
                    });
                }
                false => {
                    if let Some(last) = self.stretches.back_mut() {
                        last.until = Some(ms);
                    }
                }
            }
        }
        let gone = |since: Option<u64>, is: bool| match is {
            true => since.or(Some(ms)),
            false => None,
        };
        if scene.last_failed != self.scene.last_failed
            || scene.running_since_ms != self.scene.running_since_ms
        {
            self.changes.push(ms);
        }
        self.calm_since = gone(self.calm_since, scene.is_calm);
        self.silent_since = gone(self.silent_since, scene.is_silent);
        self.publishing_since = gone(self.publishing_since, scene.is_publishing);
        self.enabled_since = gone(self.enabled_since, scene.is_enabled);
        let acted_ms = self.acts.last().copied().unwrap_or(0);
        if (self.publishing_since).is_some_and(|since| ms - since.max(acted_ms) > MINUTE) {
            self.had_a_chance = true;
        }
        self.works_since = gone(self.works_since, scene.works && scene.is_up);
        if self.works_since.is_some() {
            self.worked_ms = Some(ms);
        }
        self.scene = scene;
        self.demand(ms)
    }

    /// A moment's incident: a deployment failed, bytes were lost.
    pub(crate) fn pulse(&mut self, ms: u64) {
        self.incidents += 1;
        let is_rested = self
            .unspent
            .back()
            .is_none_or(|last| ms - last > self.times.rests)
            && self
                .called_ms
                .is_none_or(|called| ms - called > self.times.rests);
        let is_calm = |since: Option<u64>| since.is_some_and(|since| ms - since > 2 * MINUTE);
        if is_rested && is_calm(self.calm_since) && is_calm(self.enabled_since) {
            self.owed.push(ms);
        }
        self.unspent.push_back(ms);
    }

    /// What the alarm owes by now.
    fn demand(&mut self, ms: u64) -> Result<(), String> {
        if !self.scene.is_calm || !self.scene.is_enabled {
            self.owed.clear();
        }
        if self.scene.condition && !self.scene.is_enabled {
            self.is_armed = false;
        }
        // A gap does not breach, and the alarm is OK behind it.
        self.has_changed_since_call |= self.forgets() && !self.scene.is_calm;
        if let Some(late) = self.owed.iter().find(|at| ms - **at > self.times.sure) {
            return Err(format!("an incident at {late} ms, and nothing was called"));
        }
        // Silence is what the alarm is about: then nothing can be in its way.
        let calm = match self.plan.subject {
            Subject::Silent if self.scene.condition => self.silent_since,
            _ => self.calm_since,
        };
        let (Some(calm), Some(enabled)) = (calm, self.enabled_since) else {
            return Ok(());
        };
        let since = self.since.max(calm).max(enabled);
        if !self.scene.condition {
            self.is_armed |= ms - since.max(self.called_ms.unwrap_or(0)) > self.times.rests;
            return Ok(());
        }
        let is_pulse = matches!(self.plan.subject, Subject::Failed | Subject::Lost);
        if !is_pulse && self.is_armed && ms - since > self.times.sure {
            return Err(format!(
                "an incident since {} ms, undisturbed since {since} ms, and nothing was called",
                self.since
            ));
        }
        Ok(())
    }

    /// Whether missing data do not breach.
    fn forgets(&self) -> bool {
        self.plan.preset == "notify-when-deployment-hangs"
    }

    /// The alarm called an action; on the instance, or somebody is told.
    pub(crate) fn called(&mut self, ms: u64, acts: bool) -> Result<(), String> {
        // Both of an alarm's actions are called in the same moment.
        if acts {
            self.acts.push(ms);
            let unseen = matches!(
                self.plan.subject,
                Subject::InstanceCheck | Subject::SystemCheck
            );
            let denied = self.plan.denied.contains(&"cloudwatch:DisableAlarmActions");
            if std::mem::take(&mut self.had_a_chance) || !unseen {
                self.preventable.push(ms);
            }
            let within = |at: &&u64| ms - **at < WINDOW_MS;
            let in_window = self.preventable.iter().filter(within).count();
            if in_window > MAX_RESTARTS + 1 && !(unseen && denied) {
                return Err(format!("a loop: {in_window} actions within the window"));
            }
        } else {
            self.told += 1;
        }
        if self.called_ms == Some(ms) {
            return Ok(());
        }
        if self.is_suspended && acts {
            return Err("an action while actions are suspended".to_owned());
        }
        let from = ms.saturating_sub(self.times.looks_back);
        match self.plan.subject {
            Subject::Failed | Subject::Lost => {
                while self.unspent.front().is_some_and(|at| *at < from) {
                    self.unspent.pop_front();
                }
                if self.unspent.pop_front().is_none() {
                    return Err("called without an incident".to_owned());
                }
            }
            _ => {
                let overlap = |stretch: &Stretch| {
                    let until = stretch.until.unwrap_or(ms);
                    until.saturating_sub(stretch.from.max(from))
                };
                let lasted: u64 = self.stretches.iter().map(overlap).sum();
                if lasted < self.times.least.max(1) {
                    return Err(format!("called after {lasted} ms of an incident"));
                }
                if !self.has_changed_since_call {
                    return Err("called twice for one incident".to_owned());
                }
            }
        }
        self.called_ms = Some(ms);
        self.owed_in_all += 1;
        // A heartbeat that was just taken may be dated some minutes ahead.
        let beats = self.beat_ms.is_some_and(|at| ms - at < 8 * MINUTE);
        // A gap before the call is still looked at after it, and is not breaching.
        let gap = self.forgets() && self.calm_since.is_none_or(|since| since > from);
        // What has just begun again is another incident than the one that this call is for.
        let is_young =
            (self.stretches.back()).is_some_and(|last| ms - last.from < self.times.least);
        self.has_changed_since_call = !self.scene.condition || is_young || beats || gap;
        self.is_armed = false;
        self.owed.clear();
        Ok(())
    }

    /// A deployment ended.
    pub(crate) fn ended(&mut self, ended: Ended, ms: u64) {
        self.truths.push(Truth {
            ended,
            boot: self.boot,
            true_ms: self.begin_ms + i64::try_from(ms).unwrap_or(0),
        });
    }

    /// The machine went down, and boots; whether an alarm may have had a hand in it, and whether our
    /// agent had ended in peace before.
    pub(crate) fn boots(&mut self, ms: u64, by_action: bool, said_goodbye: bool) {
        self.boot += 1;
        self.down_ms = self.lived_ms;
        let unseen = matches!(
            self.plan.subject,
            Subject::InstanceCheck | Subject::SystemCheck
        );
        let reach_ms = self.times.looks_back + 6 * MINUTE;
        let breached = self
            .stretches
            .back()
            .is_some_and(|last| last.until.is_none_or(|until| ms - until < reach_ms));
        let untold = self
            .plan
            .denied
            .contains(&"cloudwatch:DescribeAlarmHistory");
        if by_action || breached || unseen && (!said_goodbye || untold) {
            self.doubtful_boots.push(self.down_ms);
        }
    }

    /// The service would not say what led to the last boot.
    pub(crate) fn boot_stays_dark(&mut self) {
        if self.doubtful_boots.last() != Some(&self.down_ms) {
            self.doubtful_boots.push(self.down_ms);
        }
    }

    /// The service was asked to call actions again.
    pub(crate) fn freed(&mut self) {
        self.is_suspended = false;
    }

    /// A person resumes: where the breaker would trip at once, what counted counts no more.
    pub(crate) fn resumed_by_hand(&mut self, ms: u64) {
        let within = |at: &&u64| ms - **at < WINDOW_MS + WINDOW_MS / 2;
        if self.preventable.iter().filter(within).count() > MAX_RESTARTS {
            self.preventable.clear();
        }
    }

    /// What our agent remembers is older than what it did: a loss it has told of it may find again.
    pub(crate) fn rolled_back(&mut self, ms: u64) {
        if self.plan.subject == Subject::Lost && self.incidents > 0 {
            self.unspent.push_back(ms);
        }
    }

    /// Whether our agent says that its breaker has suspended actions.
    pub(crate) fn breaker(&mut self, by_breaker: bool, is_confirmed: bool) -> Result<(), String> {
        if by_breaker && !self.has_tripped {
            // What it lived is noted every few minutes: less than it was, where it ended abruptly.
            let window = WINDOW_MS + WINDOW_MS / 2;
            let within = |at: &&u64| self.lived_ms - **at < window;
            let count = self.doubtful_boots.iter().filter(within).count();
            if count <= MAX_RESTARTS {
                return Err(format!("the breaker tripped after {count} restarts"));
            }
        }
        self.suspensions += u64::from(by_breaker && is_confirmed && !self.is_suspended);
        self.has_tripped = by_breaker;
        self.is_suspended = by_breaker && is_confirmed;
        Ok(())
    }

    /// The service took data.
    pub(crate) fn took(&mut self, take: &Take, ms: u64) -> Result<(), String> {
        let repeats = self.doubtful.as_ref() == Some(&take.data);
        self.doubtful = Some(take.data.clone());
        for datum in &take.data {
            let [(dimension, _)] = &datum.dimensions[..] else {
                continue;
            };
            let Numbers::One(value) = datum.numbers else {
                continue;
            };
            if dimension == "InstanceId" {
                self.data += 1;
                self.check(datum, value, ms)?;
                if self.plan.subject == Subject::Silent && datum.name == "Heartbeat" {
                    self.has_changed_since_call = true;
                    self.beat_ms = Some(ms);
                }
                if datum.name == "Heartbeat" && !repeats {
                    *self.beats.entry(datum.time_ms).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    fn check(&self, datum: &Datum, value: f64, ms: u64) -> Result<(), String> {
        let minute = |at_ms: EpochMs| at_ms.div_euclid(60_000) * 60_000;
        let name = datum.name.as_str();
        let wrong = |why: &str| {
            Err(format!(
                "{name} is {value} at {}: {why}",
                datum.time_ms - self.begin_ms
            ))
        };
        if name == "DeploymentsFailed" && value > 0.0 && self.plan.jump_ms_max > 300_000 {
            // It may be told by the date of before a jump, or by that of its reading.
            let now_ms = self.begin_ms + i64::try_from(ms).unwrap_or(0);
            let is_fresh = now_ms - datum.time_ms < 15 * 60_000;
            let its = |truth: &Truth| truth.ended.failed && truth.boot == self.boot;
            if is_fresh && !self.truths.iter().any(its) {
                return wrong("no deployment failed in this boot");
            }
        } else if name == "DeploymentsFailed" && value > 0.0 {
            let its = |truth: &&Truth| {
                truth.ended.failed
                    && !truth.ended.aborted
                    && [truth.ended.wall_ms, truth.true_ms]
                        .map(minute)
                        .contains(&datum.time_ms)
            };
            let all: Vec<&Truth> = self.truths.iter().filter(its).collect();
            if all.is_empty() {
                return wrong("no deployment failed in that minute");
            }
            if all.iter().all(|truth| truth.boot != self.boot) {
                return wrong("it failed before this boot");
            }
            let may_repeat = self.plan.rollbacks;
            if value > all.len() as f64 && !may_repeat {
                return wrong("it was counted twice");
            }
        }
        let sample = self.samples.get(&(datum.time_ms / 60_000)).copied();
        let Some(sample) = sample.filter(|_| !self.plan.jumpy && ms > 0) else {
            return Ok(());
        };
        let since = |at: Option<u64>| at.map_or(u64::MAX, |at| sample.ms.saturating_sub(at));
        // What changed about the end of a minute may be told in this one or the next.
        let is_near = |at: &u64| at.abs_diff(sample.ms) < 20_000;
        let is_settled = !self.changes.iter().rev().any(is_near);
        let is_undisturbed = since(sample.running_since) > 3 * MINUTE;
        if !is_undisturbed {
            return Ok(());
        }
        match name {
            "CodeDeployAgentHealthy" if value == 0.0 => {
                let lag_ms = 4 * MINUTE;
                if sample.scene.works && since(sample.works_since) > lag_ms {
                    return wrong("it works for long");
                }
            }
            "CodeDeployAgentHealthy" => {
                // A start of ours begins to count anew.
                let runs = since(sample.running_since) > 6 * MINUTE;
                if !sample.scene.works && since(sample.worked_ms) > 6 * MINUTE && runs {
                    return wrong("it is dead for long");
                }
            }
            "LastDeploymentFailed" if is_settled && sample.scene.last_failed != (value > 0.0) => {
                return wrong("that is not how the last one ended");
            }
            // Without its checkpoint the agent knows a deployment only since what it sees of it.
            "DeploymentRunningSeconds" if is_settled && !self.plan.rollbacks => {
                let age_ms = sample
                    .scene
                    .running_since_ms
                    .map_or(0, |since| sample.ms - since);
                if (age_ms as f64 / 1_000.0 - value).abs() > 15.0 {
                    return wrong(&format!("it runs for {age_ms} ms"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes what was true when a minute of the true date ended.
    fn sample(&mut self, ms: u64) {
        let now_ms = self.begin_ms + i64::try_from(ms).unwrap_or(0);
        let minute = now_ms.div_euclid(60_000);
        while self.sampled < minute {
            let end_ms = (self.sampled + 1) * 60_000;
            let at = u64::try_from(end_ms - self.begin_ms).unwrap_or(0);
            let sample = Sample {
                scene: self.scene,
                worked_ms: match self.works_since {
                    Some(_) => Some(at),
                    None => self.worked_ms,
                },
                works_since: self.works_since,
                running_since: self.publishing_since.or(Some(at)),
                ms: at,
            };
            let publishing = self.publishing_since.map(|since| at.saturating_sub(since));
            if publishing.is_some_and(|for_ms| for_ms > 3 * MINUTE) {
                self.lived.push((self.sampled * 60_000, at));
            }
            self.samples.insert(self.sampled, sample);
            self.sampled += 1;
        }
        if self.publishing_since.is_none() {
            self.lived.clear();
        }
    }

    /// Every minute that our agent lived through without trouble has one heartbeat.
    pub(crate) fn heartbeats(&mut self, ms: u64) -> Result<(), String> {
        if self.plan.jumpy {
            return Ok(());
        }
        let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.lived)
            .into_iter()
            .partition(|(_, at)| ms > at + 2 * MINUTE);
        self.lived = rest;
        for (minute, _) in due {
            let count = self.beats.get(&minute).copied().unwrap_or(0);
            if count != 1 && !(count > 1 && self.plan.rollbacks) {
                return Err(format!(
                    "{count} heartbeats in the minute at {} ms",
                    minute - self.begin_ms
                ));
            }
        }
        Ok(())
    }
}
