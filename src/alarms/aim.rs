//! What the stage aims at: which alarms shall be there, when to look at the service, which of them
//! could restart us.

use std::collections::BTreeSet;

use super::pace::START_JITTER_MS;
use super::state::Applied;
use super::{Alarms, Disarmed, Now, REFRESH_MS, Unseen, spec};
use crate::ports::alarm::AlarmSpec;

impl Alarms {
    /// Forgets what was applied where that was another instance's: this disk is a copy of its.
    pub(super) fn disown(&mut self) {
        let id = self.identity.instance_id.as_deref().unwrap_or_default();
        // The host's name stands in for an id that cannot be learnt: that is no other instance.
        let is_another = |applied: &mut Applied| {
            let known = &applied.instance_id;
            id.starts_with("i-") && !known.is_empty() && known != id
        };
        if self.applied.take_if(is_another).is_some() {
            tracing::warn!("the state is of another instance; its alarms are left alone");
            self.changed = true;
        }
    }

    /// Says anew what shall be there, and when to look at the service.
    pub(super) fn want(&mut self, now: Now) {
        self.wanted = None;
        self.applying = None;
        self.apply_due_ms = None;
        self.arm();
        if self.config.alarms.is_empty() && self.applied.is_none() && !self.config.manage {
            return;
        }
        match spec::wanted(&self.config, &self.identity) {
            Ok(wanted) => {
                self.problem = wanted
                    .impossible
                    .first()
                    .map(|alarm| format!("alarm {} cannot be made: {}", alarm.name, alarm.reason));
                self.wanted = Some(wanted);
                self.plan_look(now);
            }
            Err(spec::Unready::Waiting(_)) => {}
            Err(error @ spec::Unready::Unknown(_)) => self.problem = Some(error.to_string()),
        }
    }

    /// When to look at the service: soon when something differs from what was applied, else a day
    /// after that; each agent at its own moment.
    pub(super) fn plan_look(&mut self, now: Now) {
        let Some(wanted) = self.wanted.as_ref().filter(|_| self.config.manage) else {
            return;
        };
        let is_same = |applied: &&Applied| applied.specs == wanted.specs;
        let wait_ms = match self.applied.as_ref().filter(is_same) {
            Some(applied) => {
                // A clock that was set back must not put the look off for longer than a day.
                let age_ms = u64::try_from(now.wall_ms - applied.at_ms).unwrap_or(0);
                REFRESH_MS.saturating_sub(age_ms)
            }
            None if wanted.specs.is_empty() && self.applied.is_none() => return,
            None => 0,
        };
        let jitter_ms = self.random.u64(0..=START_JITTER_MS);
        self.apply_due_ms = Some(now.mono_ms + wait_ms + jitter_ms);
    }

    /// Tells the guard which alarms could restart us.
    pub(super) fn arm(&mut self) {
        let seen: Vec<&str> = self.watched.iter().map(|w| &*w.alarm.name).collect();
        let mut acting = self
            .config
            .alarms
            .iter()
            .filter(|alarm| alarm.ec2_action().is_some());
        let is_unseen = acting.any(|alarm| !alarm.is_own_metric) || self.leaves_acting();
        let unseen = match is_unseen {
            true => Unseen::Armed,
            false => Unseen::None,
        };
        self.guard.set_armed(&seen, unseen);
        let disarmed = match self.switch.is_off() {
            true => Disarmed::Confirmed,
            false => Disarmed::No,
        };
        self.guard.set_disarmed(disarmed);
    }

    /// Whether an alarm that acts on the instance was applied and is none of the configuration's any
    /// more: nobody looks whether its metric breaches.
    pub(super) fn leaves_acting(&self) -> bool {
        let is_configured = |spec: &AlarmSpec| {
            let mut acting = self.config.alarms.iter();
            acting.any(|alarm| {
                let prefix = spec.name.strip_suffix(&*alarm.name);
                alarm.ec2_action().is_some() && prefix.is_some_and(|prefix| prefix.ends_with('/'))
            })
        };
        let mut applied = self.applied.iter().flat_map(|applied| &applied.specs);
        applied.any(|spec| spec::acts_on_instance(spec) && !is_configured(spec))
    }

    /// Whether the names of the alarms that act on the instance are known; not before it is known
    /// that what was applied is this instance's.
    pub(super) fn knows_acting(&self) -> bool {
        match self.applied {
            Some(_) => self.identity.instance_id.is_some(),
            None => self.wanted.is_some() || !self.config.acts_on_instance(),
        }
    }

    /// Whole names of the alarms that act on the instance: those wanted and those applied before.
    pub(super) fn acting(&self) -> Option<Vec<String>> {
        let applied = self.applied.iter().flat_map(|applied| &applied.specs);
        let wanted = self.wanted.iter().flat_map(|wanted| &wanted.specs);
        if !self.knows_acting() {
            return None;
        }
        let acting = applied
            .chain(wanted)
            .filter(|spec| spec::acts_on_instance(spec));
        let names: BTreeSet<&String> = acting.map(|spec| &spec.name).collect();
        Some(names.into_iter().cloned().collect())
    }
}
