//! Which alarm's action preceded this boot: asked once a boot, where the role may.

use std::collections::BTreeSet;

use super::pace::{Hurry, Pace};
use crate::config::alarm::arn;
use crate::event::{EpochMs, Now};
use crate::ports::alarm::{ActionTaken, AlarmCall};

/// How long before we were last seen an action may lie that ended that life: what we noted of
/// ourselves is minutes old at worst.
const BEFORE_END_MS: EpochMs = 30 * 60_000;

/// How much of a difference between the service's clock and ours is allowed for.
const CLOCK_MS: EpochMs = 2 * 60_000;

/// Tries before it is left.
const TRIES_MAX: u32 = 8;

/// The question and its answer.
#[derive(Clone, Debug)]
pub(crate) struct History {
    boot_id: String,
    asked_for: String,
    preceded_by: Option<ActionTaken>,
    /// When the action was that preceded an earlier boot: it is not this one's.
    earlier_ms: EpochMs,
    /// Alarms that were asked about: which there are may change meanwhile.
    asked: BTreeSet<String>,
    /// The one that is being asked about.
    asking: Option<String>,
    tries: u32,
    pub(crate) pace: Pace,
    /// When this process began: an action after that did not lead to it.
    began_ms: Option<EpochMs>,
}

impl History {
    /// Asks again only in another boot.
    pub(crate) fn restore(
        boot_id: &str,
        asked_for: &str,
        preceded_by: Option<ActionTaken>,
    ) -> Self {
        let is_known = boot_id == asked_for;
        let earlier = preceded_by.as_ref().filter(|_| !is_known);
        let earlier_ms = earlier.map_or(EpochMs::MIN, |action| action.at_ms);
        Self {
            boot_id: boot_id.to_owned(),
            asked_for: asked_for.to_owned(),
            preceded_by: preceded_by.filter(|_| is_known),
            earlier_ms,
            asked: BTreeSet::new(),
            asking: None,
            tries: 0,
            pace: Pace::new(Hurry::Calm),
            began_ms: None,
        }
    }

    /// The boot that was asked about.
    pub(crate) fn asked_for(&self) -> &str {
        &self.asked_for
    }

    /// The answer.
    pub(crate) fn preceded_by(&self) -> Option<&ActionTaken> {
        self.preceded_by.as_ref()
    }

    /// When to ask; `None`: nothing is left to ask.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        (self.asked_for != self.boot_id).then(|| self.pace.due_ms())
    }

    /// The call to make now, if there is one. Without a life before this one there is nothing to
    /// ask: nobody knows when it ended.
    pub(crate) fn next_call(
        &mut self,
        acting: &[String],
        life_before: Option<(EpochMs, EpochMs)>,
        now: Now,
    ) -> Option<AlarmCall> {
        self.began_ms.get_or_insert(now.wall_ms);
        if self.due_ms().is_none_or(|due| now.mono_ms < due) {
            return None;
        }
        let next = acting.iter().find(|name| !self.asked.contains(*name));
        let (Some(name), Some((began_ms, last_ms))) = (next, life_before) else {
            self.give_up();
            return None;
        };
        self.asking = Some(name.clone());
        Some(AlarmCall::History {
            name: name.clone(),
            // What came before that life began led to that one.
            since_ms: (last_ms - BEFORE_END_MS).max(began_ms - CLOCK_MS),
        })
    }

    /// Takes an alarm's actions; the newest on the instance, in the time in question, is told.
    pub(crate) fn take(&mut self, actions: &[ActionTaken], now: Now) -> Option<ActionTaken> {
        self.pace.went_well(now.mono_ms);
        self.asked.extend(self.asking.take());
        let until_ms = self.began_ms.unwrap_or(now.wall_ms) + CLOCK_MS;
        let on_instance = |action: &&ActionTaken| {
            let mut words = action.summary.split_whitespace();
            let succeeded = action.summary.starts_with("Successfully");
            let is_new = action.at_ms > self.earlier_ms;
            is_new
                && action.at_ms <= until_ms
                && succeeded
                && words.any(|w| arn::ec2_action_of(w).is_some())
        };
        let newest = actions
            .iter()
            .filter(on_instance)
            .max_by_key(|action| action.at_ms)?;
        let known_ms = self.preceded_by.as_ref().map(|known| known.at_ms);
        if known_ms.is_some_and(|known_ms| known_ms >= newest.at_ms) {
            return None;
        }
        self.preceded_by = Some(newest.clone());
        self.preceded_by.clone()
    }

    /// Counts a failure; too many end it.
    pub(crate) fn failed(&mut self) {
        self.tries += 1;
        if self.tries >= TRIES_MAX {
            self.give_up();
        }
    }

    /// Asks no more in this boot.
    pub(crate) fn give_up(&mut self) {
        self.asked_for.clone_from(&self.boot_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(at_ms: EpochMs) -> ActionTaken {
        ActionTaken {
            alarm: "a".to_owned(),
            at_ms,
            summary: "Successfully executed action arn:aws:automate:eu-west-1:ec2:reboot"
                .to_owned(),
        }
    }

    /// An action leads to one boot: the one that led to an earlier boot is neither asked for nor
    /// taken again. Shown by two boots within half an hour, of which an operator made the second.
    #[test]
    fn an_action_leads_to_one_boot() {
        let now = Now {
            mono_ms: 60_000,
            wall_ms: 10_000_000,
        };
        let mut history = History::restore("second", "first", Some(action(8_000_000)));
        let call = history.next_call(&["a".to_owned()], Some((8_300_000, 9_800_000)), now);
        let Some(AlarmCall::History { since_ms, .. }) = call else {
            panic!("{call:?}");
        };
        assert_eq!(since_ms, 8_300_000 - CLOCK_MS);
        assert_eq!(history.take(&[action(8_000_000)], now), None);
        let newer = action(9_900_000);
        assert_eq!(history.take(std::slice::from_ref(&newer), now), Some(newer));
    }

    /// No alarm goes unasked because another has left the list meanwhile: shown by the first of two, which
    /// is deleted behind its answer.
    #[test]
    fn a_list_that_changes_hides_no_alarm() {
        let mut now = Now {
            mono_ms: 60_000,
            wall_ms: 10_000_000,
        };
        let mut history = History::restore("second", "first", None);
        let life = Some((8_300_000, 9_800_000));
        let mut asked = Vec::new();
        for names in [&["a", "b"][..], &["b"], &["b"]] {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            if let Some(AlarmCall::History { name, .. }) = history.next_call(&names, life, now) {
                asked.push(name);
                history.take(&[], now);
            }
            now.mono_ms += 60_000;
        }
        assert_eq!(asked, ["a", "b"]);
        assert_eq!(history.due_ms(), None);
    }
}
