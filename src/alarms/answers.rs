//! What becomes of the service's answers.

use super::plan::Owner;
use super::spec::acts_on_instance;
use super::{
    AlarmAnswer, AlarmReply, Alarms, Applied, Applying, ByHand, Change, Errand, ErrorClass,
    LOUD_AFTER, LOUD_AFTER_THROTTLES, News, Now, ServiceError, Task, Until, is_denied,
};
use crate::ports::alarm::{AlarmCall, AlarmSpec};

impl Alarms {
    pub(super) fn take(&mut self, answer: AlarmAnswer, now: Now) {
        let Some((_, errand)) = self.flight.take_if(|(id, _)| *id == answer.id) else {
            return;
        };
        match errand {
            // The mind was changed meanwhile: the switch asks again, the other way.
            Errand::Switch(turn) if turn != self.switch.turn_wanted() => {}
            Errand::Switch(_) => self.take_switch(answer.result, now),
            Errand::Apply => self.take_apply(answer.result, now),
            Errand::History => self.take_history(answer.result, now),
        }
    }

    fn take_switch(&mut self, result: Result<AlarmReply, ServiceError>, now: Now) {
        match result {
            Ok(_) => self.switch.went_well(now),
            Err(error) if error.class == ErrorClass::MissingTarget => self.switch.step_over(now),
            Err(error) => {
                self.switch
                    .pace
                    .failed(error.class, now.mono_ms, &mut self.random);
                if is_denied(&error) && self.switch.denied.is_none() {
                    self.switch.denied = Some(error.to_string());
                    if self.guard.suspension().is_some() {
                        let error = error.to_string();
                        self.news.push(News::SuspensionDenied { error });
                    }
                }
                self.problem = Some(format!("alarms' actions are not switched yet: {error}"));
            }
        }
    }

    /// The service has done what the switch asked for, or there is nothing to switch.
    pub(super) fn confirmed(&mut self) {
        if self.switch.due_ms().is_none() {
            return;
        }
        self.problem = None;
        self.changed = true;
        if self.switch.confirm() {
            self.news.push(News::SuspensionConfirmed);
        }
        self.arm();
    }

    pub(super) fn next_apply_call(&mut self, now: Now) -> Option<AlarmCall> {
        let begun_ms = self.apply_due_ms?;
        let wanted = self.wanted.as_ref()?;
        if now.mono_ms < begun_ms.max(self.apply_pace.due_ms()) {
            return None;
        }
        if now.mono_ms >= begun_ms.saturating_add(super::REFRESH_MS) {
            // What cannot be done for so long must not keep the others from being looked at again.
            self.applying = None;
            self.apply_due_ms = Some(now.mono_ms);
        }
        if self.applying.is_none() {
            let applied = self.applied.iter().flat_map(|applied| &applied.specs);
            let id = self.identity.instance_id.as_ref();
            let is_own = self.applied.as_ref().map(|applied| &applied.instance_id) == id;
            let is_outdated = |spec: &&AlarmSpec| is_own && !spec.name.starts_with(&wanted.prefix);
            self.applying = Some(Applying::new(Task {
                wanted: wanted.clone(),
                by_hand: ByHand::Revert,
                made: applied.clone().map(|spec| spec.name.clone()).collect(),
                outdated: applied.filter(is_outdated).cloned().collect(),
                suspended: self.guard.suspension().is_some(),
                until: Until::Applied,
            }));
        }
        let call = self.applying.as_ref()?.next_call();
        if let Some(AlarmCall::Put { spec, .. }) = &call {
            self.note_put(AlarmSpec::clone(spec));
        }
        call
    }

    fn take_apply(&mut self, result: Result<AlarmReply, ServiceError>, now: Now) {
        // Dropped meanwhile: another plan is made.
        let Some(applying) = &mut self.applying else {
            return;
        };
        let call = applying.next_call();
        let asks_owner = matches!(call, Some(AlarmCall::Tags { .. }));
        let deleted = match &call {
            Some(AlarmCall::Delete { names }) => names.as_slice(),
            _ => &[],
        };
        match result {
            Ok(reply) => {
                self.apply_failures = 0;
                self.apply_pace.went_well(now.mono_ms);
                applying.take(reply);
                self.note_deleted(deleted);
            }
            // Somebody was faster; those that were there are gone all the same (CloudWatch API
            // reference, DeleteAlarms).
            Err(error) if !deleted.is_empty() && error.class == ErrorClass::MissingTarget => {
                applying.take(AlarmReply::Done);
                self.note_deleted(deleted);
            }
            Err(error) if error.class == ErrorClass::Invalid => applying.skip(error),
            Err(error) if asks_owner && nobody_says(&error) => applying.skip(error),
            Err(error) => return self.try_again(call.as_ref(), &error, now),
        }
        if (self.applying.as_ref()).is_some_and(|applying| applying.next_call().is_none()) {
            self.finish_apply(now);
        }
    }

    /// Alarms are gone, also where the rest is not done for long.
    fn note_deleted(&mut self, names: &[String]) {
        if let Some(applied) = self.applied.as_mut().filter(|_| !names.is_empty()) {
            applied.specs.retain(|spec| !names.contains(&spec.name));
            self.changed = true;
            self.arm();
        }
    }

    /// A call failed for a reason that may pass.
    fn try_again(&mut self, call: Option<&AlarmCall>, error: &ServiceError, now: Now) {
        self.apply_failures += 1;
        let loud_after = match error.class {
            ErrorClass::Throttled => LOUD_AFTER_THROTTLES,
            _ => LOUD_AFTER,
        };
        self.apply_pace
            .failed(error.class, now.mono_ms, &mut self.random);
        if let Some(applying) = self.applying.as_mut().filter(|_| is_denied(error)) {
            applying.postpone();
        }
        let what = format!("{} fails", call.map_or("", AlarmCall::permission));
        let error = error.to_string();
        self.problem = Some(format!("alarms: {what}: {error}"));
        if self.apply_failures == loud_after {
            self.news.push(News::Failed { what, error });
        }
    }

    /// An alarm may be there from now on. That must be known also where no answer comes and the
    /// others are never made, or nobody would suspend or delete it.
    fn note_put(&mut self, spec: AlarmSpec) {
        let applied = self.applied.get_or_insert_default();
        // Those that are known already may be another instance's, and do not become ours by this.
        if applied.specs.is_empty() {
            applied.instance_id = self.identity.instance_id.clone().unwrap_or_default();
        }
        let is_new = !applied.specs.contains(&spec);
        if is_new {
            // One that acts may be there as it was, too: only a look at all of them tells.
            let stays = |known: &AlarmSpec| known.name != spec.name || acts_on_instance(known);
            applied.specs.retain(stays);
            applied.specs.push(spec);
        }
        self.changed |= is_new || applied.at_ms != 0;
        // Not all is there: to be looked at soon.
        applied.at_ms = 0;
    }

    fn finish_apply(&mut self, now: Now) {
        let Some(applying) = self.applying.take() else {
            return;
        };
        let failed = applying.failed();
        let has_failed = |name: &str| failed.iter().any(|(other, _)| other == name);
        let mut put = Vec::new();
        let mut deleted = Vec::new();
        for change in applying.plan().map_or(&[][..], |plan| &plan.changes) {
            let name = change.name().to_owned();
            match change {
                _ if has_failed(&name) || deleted.contains(&name) => {}
                Change::Delete(_) => deleted.push(name),
                Change::Create(_) | Change::Update { .. } | Change::Adopt { .. } => put.push(name),
            }
        }
        let strangers = applying
            .plan()
            .map_or(Vec::new(), |plan| plan.strangers.clone());
        let mut specs = applying.task().wanted.specs.clone();
        specs.retain(|spec| !has_failed(&spec.name) && !strangers.contains(&spec.name));
        let ours = applying.present().iter();
        let ours = ours.filter(|there| there.owner == Owner::Us);
        let ours = ours.map(|there| &there.alarm.spec);
        for left in ours.chain(&applying.task().outdated) {
            let is_wanted = specs.iter().any(|spec| spec.name == left.name);
            if !is_wanted && !deleted.contains(&left.name) {
                specs.push(left.clone());
            }
        }
        let at_ms = now.wall_ms;
        let is_first = self.applied.is_none();
        self.problem = failed
            .first()
            .map(|(name, error)| format!("alarm {name} was refused: {error}"));
        for (what, error) in failed {
            self.news.push(News::Failed {
                what: what.clone(),
                error: error.to_string(),
            });
        }
        if !strangers.is_empty() {
            self.news.push(News::Strangers(strangers));
        }
        if is_first || !put.is_empty() || !deleted.is_empty() {
            self.news.push(News::Applied { put, deleted });
        }
        self.applied = Some(Applied {
            instance_id: self.identity.instance_id.clone().unwrap_or_default(),
            specs,
            at_ms,
        });
        self.changed = true;
        self.arm();
        // Also when something was refused: another day, or after another reload.
        let jitter_ms = self.random.u64(0..=super::pace::START_JITTER_MS);
        self.apply_due_ms = Some(now.mono_ms + super::REFRESH_MS + jitter_ms);
    }

    fn take_history(&mut self, result: Result<AlarmReply, ServiceError>, now: Now) {
        self.changed = true;
        match result {
            Ok(AlarmReply::History(actions)) => {
                if let Some(action) = self.history.take(&actions, now) {
                    let prefix = self.wanted.as_ref().map_or("", |wanted| &wanted.prefix);
                    let name = action.alarm.strip_prefix(prefix).unwrap_or(&action.alarm);
                    self.guard.note_action(name);
                    self.news.push(News::Acted(action));
                }
            }
            Ok(_) => self.history_stays_dark(),
            Err(error) if is_denied(&error) || error.class == ErrorClass::Invalid => {
                tracing::debug!(%error, "the alarms' history is not for us");
                self.history_stays_dark();
            }
            Err(error) => {
                self.history
                    .pace
                    .failed(error.class, now.mono_ms, &mut self.random);
                self.history.failed();
                if self.history.due_ms().is_none() {
                    self.guard.note_untold();
                }
            }
        }
    }

    /// The history will not say what led to this boot.
    fn history_stays_dark(&mut self) {
        self.history.give_up();
        self.guard.note_untold();
    }
}

/// Whether it will not be known whose an alarm is: we may not ask, or it is gone meanwhile.
fn nobody_says(error: &ServiceError) -> bool {
    is_denied(error) || error.class == ErrorClass::MissingTarget
}
