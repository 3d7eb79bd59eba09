//! What becomes of the service's answers.

use super::{
    AlarmAnswer, AlarmReply, Alarms, Applied, Applying, ByHand, Change, Errand, ErrorClass,
    LOUD_AFTER, LOUD_AFTER_THROTTLES, News, Now, ServiceError, Task, Until, is_denied,
};
use crate::ports::alarm::AlarmCall;

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
            Ok(_) if self.switch.is_complete(now) => self.confirmed(),
            Ok(_) => {}
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
        let due_ms = self.apply_due_ms?.max(self.apply_pace.due_ms());
        let wanted = self.wanted.as_ref()?;
        if now.mono_ms < due_ms {
            return None;
        }
        if self.applying.is_none() {
            let applied = self.applied.iter().flat_map(|applied| &applied.specs);
            self.applying = Some(Applying::new(Task {
                wanted: wanted.clone(),
                by_hand: ByHand::Revert,
                made: applied.map(|spec| spec.name.clone()).collect(),
                suspended: self.guard.suspension().is_some(),
                until: Until::Applied,
            }));
        }
        self.applying.as_ref()?.next_call()
    }

    fn take_apply(&mut self, result: Result<AlarmReply, ServiceError>, now: Now) {
        // Dropped meanwhile: another plan is made.
        let Some(applying) = &mut self.applying else {
            return;
        };
        let asks_owner = matches!(applying.next_call(), Some(AlarmCall::Tags { .. }));
        match result {
            Ok(reply) => {
                self.apply_failures = 0;
                self.apply_pace.went_well(now.mono_ms);
                applying.take(reply);
            }
            Err(error) if error.class == ErrorClass::Invalid => applying.skip(error),
            Err(error) if asks_owner && is_denied(&error) => applying.skip(error),
            Err(error) => {
                self.apply_failures += 1;
                let loud_after = match error.class {
                    ErrorClass::Throttled => LOUD_AFTER_THROTTLES,
                    _ => LOUD_AFTER,
                };
                self.apply_pace
                    .failed(error.class, now.mono_ms, &mut self.random);
                let call = applying.next_call().map_or("", |call| call.permission());
                let what = format!("{call} fails");
                let error = error.to_string();
                self.problem = Some(format!("alarms: {what}: {error}"));
                if self.apply_failures == loud_after {
                    self.news.push(News::Failed { what, error });
                }
                return;
            }
        }
        if applying.next_call().is_none() {
            self.finish_apply(now);
        }
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
                _ if has_failed(&name) => {}
                Change::Delete(_) => deleted.push(name),
                Change::Create(_) | Change::Update { .. } | Change::Adopt { .. } => put.push(name),
            }
        }
        let strangers = applying
            .plan()
            .map_or(Vec::new(), |plan| plan.strangers.clone());
        let mut specs = applying.task().wanted.specs.clone();
        specs.retain(|spec| !has_failed(&spec.name) && !strangers.contains(&spec.name));
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
