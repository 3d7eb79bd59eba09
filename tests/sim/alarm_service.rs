//! CloudWatch's alarms in memory: the calls the real stage makes, the modelled evaluation
//! (`alarm_model.rs`) of whatever alarms those calls put, and a list of what the alarms called.
//! Simulated: nobody carries anything out here; `alarm_machine.rs` has the simulated executor.

use std::collections::{BTreeMap, BTreeSet};

use deploywatch::event::EpochMs;
use deploywatch::ports::alarm::{
    ActionTaken, AlarmAnswer, AlarmCall, AlarmReply, AlarmService, AlarmSpec, ServiceAlarm,
};
use deploywatch::ports::{CallId, Datum, ErrorClass, ServiceError};

use super::alarm_model::AlarmModel;
use super::world::fuse::Fuse;
use super::world::wire::{Codes, Fate, Wire, refusal, silence};

/// Data are kept for alarms that are put later: so far back as any of them looks.
const KEPT_MS: EpochMs = 3 * 3_600_000;

const CODES: Codes = Codes {
    broken: "InternalFailure",
    throttled: "Throttling",
    expired: "ExpiredToken",
};

/// An alarm called one of its actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Called {
    /// The true date.
    pub(crate) at_ms: EpochMs,
    pub(crate) alarm: String,
    pub(crate) arn: String,
}

/// One alarm as the service keeps it.
struct Kept {
    model: AlarmModel,
    tags: BTreeMap<String, String>,
    /// When it is evaluated next, by the true date.
    next_ms: EpochMs,
    told: usize,
}

/// [`AlarmService`] in memory.
pub(crate) struct MemAlarms {
    pub(crate) wire: Wire<AlarmAnswer>,
    /// IAM actions that the role lacks.
    pub(crate) denied: BTreeSet<&'static str>,
    alarms: BTreeMap<String, Kept>,
    /// Data that can be seen.
    data: Vec<(String, Datum)>,
    /// Data that were taken and cannot be seen before that date.
    late: Vec<(EpochMs, String, Datum)>,
    history: Vec<ActionTaken>,
    /// What was called since somebody looked.
    pub(crate) called: Vec<Called>,
    /// Whether somebody asked to call actions again, after the last time they were switched off.
    pub(crate) is_freed: bool,
    /// How often in a boot the history was asked for in vain.
    pub(crate) dark_histories: u32,
    /// PutMetricAlarm calls so far.
    pub(crate) puts: u64,
}

impl MemAlarms {
    pub(crate) fn new(seed: u64, fuse: Fuse) -> Self {
        Self {
            wire: Wire::new(seed, fuse),
            denied: BTreeSet::new(),
            alarms: BTreeMap::new(),
            data: Vec::new(),
            late: Vec::new(),
            history: Vec::new(),
            called: Vec::new(),
            is_freed: false,
            dark_histories: 0,
            puts: 0,
        }
    }

    /// When an alarm is evaluated next, in the simulation's time.
    pub(crate) fn evaluation_ms(&self) -> Option<u64> {
        let next_ms = self.alarms.values().map(|kept| kept.next_ms).min()?;
        let left_ms = u64::try_from(next_ms - self.wire.true_ms).unwrap_or(0);
        Some(self.wire.ms + left_ms)
    }

    /// The alarm of that name, below any prefix.
    pub(crate) fn alarm(&self, short: &str) -> Option<&AlarmModel> {
        let mut alarms = self.alarms.iter();
        let found = alarms.find(|(name, _)| name.rsplit('/').next() == Some(short));
        found.map(|(_, kept)| &kept.model)
    }

    /// Takes a datum that can be seen from that true date on.
    pub(crate) fn publish(&mut self, namespace: &str, datum: Datum, visible_ms: EpochMs) {
        self.late.push((visible_ms, namespace.to_owned(), datum));
    }

    /// Lets time pass at the service: data come to light, alarms are evaluated.
    pub(crate) fn pass(&mut self) {
        let now_ms = self.wire.true_ms;
        let (seen, late): (Vec<_>, Vec<_>) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(visible_ms, ..)| *visible_ms <= now_ms);
        self.late = late;
        for (_, namespace, datum) in seen {
            for kept in self.alarms.values_mut() {
                if kept.model.watches(&namespace, &datum) {
                    kept.model.publish(datum.time_ms, &datum.numbers);
                }
            }
            self.data.push((namespace, datum));
        }
        if self.data.len() > 4_096 {
            self.data
                .retain(|(_, datum)| datum.time_ms > now_ms - KEPT_MS);
        }
        for (name, kept) in &mut self.alarms {
            if kept.next_ms > now_ms {
                continue;
            }
            kept.next_ms = now_ms + kept.model.beat_ms();
            kept.model.evaluate(now_ms);
            for (at_ms, arn) in &kept.model.called[kept.told..] {
                self.called.push(Called {
                    at_ms: *at_ms,
                    alarm: name.clone(),
                    arn: arn.clone(),
                });
                self.history.push(ActionTaken {
                    alarm: name.clone(),
                    at_ms: *at_ms,
                    summary: format!("Successfully executed action {arn}"),
                });
            }
            kept.told = kept.model.called.len();
        }
    }

    /// Does what a call asks for, as for a caller whom nothing stands in the way of.
    pub(crate) fn obey(&mut self, call: AlarmCall) -> Result<AlarmReply, ServiceError> {
        match call {
            AlarmCall::Describe { prefix } => {
                let all = self.alarms.iter();
                let ours = all.filter(|(name, _)| name.starts_with(&prefix));
                return Ok(AlarmReply::Alarms(
                    ours.map(|(name, kept)| described(name, kept)).collect(),
                ));
            }
            AlarmCall::Tags { arn } => {
                let kept = self.alarms.iter().find(|(name, _)| arn_of(name) == arn);
                return match kept {
                    Some((_, kept)) => Ok(AlarmReply::Tags(kept.tags.clone())),
                    None => Err(missing()),
                };
            }
            AlarmCall::Put {
                spec,
                actions_enabled,
                tags,
            } => self.put(*spec, actions_enabled, tags),
            AlarmCall::Tag { arn, tags } => {
                let mut all = self.alarms.iter_mut();
                let (_, kept) = all
                    .find(|(name, _)| arn_of(name) == arn)
                    .ok_or_else(missing)?;
                kept.tags.extend(tags);
            }
            AlarmCall::Delete { names } => {
                self.alarms.retain(|name, _| !names.contains(name));
            }
            AlarmCall::DisableActions { names } => self.enable(&names, false)?,
            AlarmCall::EnableActions { names } => self.enable(&names, true)?,
            AlarmCall::SetState { name, .. } => {
                let violations = &mut self.wire.violations;
                violations.push(format!("nobody asked to set {name}"));
            }
            AlarmCall::History { name, since_ms } => {
                let all = self.history.iter().rev();
                let its = all.filter(|action| action.alarm == name && action.at_ms >= since_ms);
                return Ok(AlarmReply::History(its.cloned().collect()));
            }
        }
        Ok(AlarmReply::Done)
    }

    fn put(&mut self, spec: AlarmSpec, actions_enabled: bool, tags: BTreeMap<String, String>) {
        self.puts += 1;
        let name = spec.name.clone();
        let there = self.alarms.remove(&name);
        let mut model = match &there {
            Some(kept) => AlarmModel::put_again(spec, kept.model.state, self.wire.true_ms),
            None => AlarmModel::put(spec, self.wire.true_ms),
        };
        model.actions_enabled = actions_enabled;
        for (namespace, datum) in &self.data {
            if model.watches(namespace, datum) {
                model.publish(datum.time_ms, &datum.numbers);
            }
        }
        // A new alarm is evaluated at once, and from then on at its own moment of the minute.
        let next_ms = match &there {
            Some(kept) => kept.next_ms,
            None => self.wire.true_ms + self.wire.rng.i64(0..5_000),
        };
        let tags = there.map_or(tags, |kept| kept.tags);
        let kept = Kept {
            model,
            tags,
            next_ms,
            told: 0,
        };
        self.alarms.insert(name, kept);
    }

    fn enable(&mut self, names: &[String], enabled: bool) -> Result<(), ServiceError> {
        if names.iter().any(|name| !self.alarms.contains_key(name)) {
            return Err(missing());
        }
        self.is_freed = enabled;
        for name in names {
            if let Some(kept) = self.alarms.get_mut(name) {
                kept.model.actions_enabled = enabled;
            }
        }
        Ok(())
    }

    /// What becomes of a call, and after how long.
    fn judge(&mut self, call: AlarmCall) -> Fate<AlarmReply> {
        let wire = &mut self.wire;
        let delay = wire.rng.u64(5..=wire.mood.slow_ms.max(200));
        if let Some(fault) = wire.fault(CODES, delay) {
            return fault;
        }
        if self.denied.contains(call.permission()) {
            return (delay, Err(refusal(ErrorClass::RetrySlowly, "AccessDenied")));
        }
        let reply = self.obey(call);
        match self.wire.chance(self.wire.mood.lost_answer) {
            true => silence(),
            false => (delay, reply),
        }
    }
}

impl AlarmService for MemAlarms {
    fn submit(&mut self, id: CallId, call: AlarmCall) {
        if !self.wire.is_reached() {
            return;
        }
        self.wire.expect_alone(id);
        let is_history = matches!(call, AlarmCall::History { .. });
        let (delay, result) = self.judge(call);
        self.dark_histories += u32::from(is_history && result.is_err());
        self.wire.reply(id, delay, AlarmAnswer { id, result });
    }

    fn answer(&mut self) -> Option<AlarmAnswer> {
        self.wire.answer()
    }
}

fn described(name: &str, kept: &Kept) -> ServiceAlarm {
    ServiceAlarm {
        spec: kept.model.spec().clone(),
        arn: arn_of(name),
        other_kind: None,
        actions_enabled: kept.model.actions_enabled,
        state: kept.model.state,
        state_reason: String::new(),
        state_since_ms: None,
    }
}

fn arn_of(name: &str) -> String {
    format!("arn:aws:cloudwatch:eu-west-1:111122223333:alarm:{name}")
}

fn missing() -> ServiceError {
    refusal(ErrorClass::MissingTarget, "ResourceNotFound")
}
