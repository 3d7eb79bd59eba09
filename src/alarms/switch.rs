//! Having the service switch actions off and on, until it has confirmed it.

use std::collections::BTreeSet;

use super::guard::Suspension;
use super::pace::{Hurry, Pace};
use crate::event::Now;
use crate::ports::alarm::{AlarmCall, NAMES_MAX};

/// Where the switch stands at the service, as far as confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Switch {
    stand: Stand,
    pub(crate) pace: Pace,
    /// Names that the service has answered for since it was turned: what there is besides may change
    /// from call to call.
    answered: BTreeSet<String>,
    /// Those of the call under way.
    asked: Vec<String>,
    /// How many a call asks for: one, where the service does not know all of them.
    at_once: usize,
    /// The role may not switch.
    pub(crate) denied: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    On,
    TurningOff,
    Off,
    TurningOn,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Off,
    On,
}

impl Switch {
    /// What an earlier process left.
    pub(crate) fn restore(
        suspension: Option<&Suspension>,
        off_confirmed: bool,
        on_wanted: bool,
    ) -> Self {
        let stand = match (suspension, off_confirmed, on_wanted) {
            (Some(_), true, _) => Stand::Off,
            (Some(_), false, _) => Stand::TurningOff,
            (None, _, true) => Stand::TurningOn,
            (None, _, false) => Stand::On,
        };
        Self {
            stand,
            pace: Pace::new(Hurry::Urgent),
            answered: BTreeSet::new(),
            asked: Vec::new(),
            at_once: NAMES_MAX,
            denied: None,
        }
    }

    /// Asks for it to be switched off; also when it is believed to be: somebody may have switched
    /// it on.
    pub(crate) fn turn_off(&mut self, now: Now) {
        self.turn(Stand::TurningOff, now);
    }

    /// Which way it is wanted.
    pub(crate) fn turn_wanted(&self) -> Turn {
        match self.stand {
            Stand::TurningOff | Stand::Off => Turn::Off,
            Stand::TurningOn | Stand::On => Turn::On,
        }
    }

    /// Asks for it to be switched on.
    pub(crate) fn turn_on(&mut self, now: Now) {
        self.turn(Stand::TurningOn, now);
    }

    fn turn(&mut self, stand: Stand, now: Now) {
        self.stand = stand;
        self.begin();
        self.denied = None;
        self.pace.hurry(now.mono_ms);
    }

    /// Nothing is answered for.
    fn begin(&mut self) {
        self.answered.clear();
        self.asked.clear();
        self.at_once = NAMES_MAX;
    }

    /// Whether the service has confirmed that no action is called.
    pub(crate) fn is_off(&self) -> bool {
        self.stand == Stand::Off
    }

    /// Whether it is still to be switched on.
    pub(crate) fn is_turning_on(&self) -> bool {
        self.stand == Stand::TurningOn
    }

    /// When it is to be asked for; `None`: it stands as it should.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        match self.stand {
            Stand::TurningOff | Stand::TurningOn => Some(self.pace.due_ms()),
            Stand::On | Stand::Off => None,
        }
    }

    /// Whether that is now.
    pub(crate) fn is_due(&self, now: Now) -> bool {
        self.due_ms().is_some_and(|due| now.mono_ms >= due)
    }

    /// The call to make for those of these names that the service has not answered for; `None` where
    /// there are none.
    pub(crate) fn call(&mut self, mut names: Vec<String>) -> Option<AlarmCall> {
        names.retain(|name| !self.answered.contains(name));
        names.truncate(self.at_once);
        self.asked.clone_from(&names);
        match self.stand {
            _ if names.is_empty() => None,
            Stand::TurningOff => Some(AlarmCall::DisableActions { names }),
            Stand::TurningOn => Some(AlarmCall::EnableActions { names }),
            Stand::On | Stand::Off => None,
        }
    }

    /// A good answer: those that were asked for stand as they should.
    pub(crate) fn went_well(&mut self, now: Now) {
        self.answered.extend(std::mem::take(&mut self.asked));
        self.pace.hurry(now.mono_ms);
    }

    /// The service does not know a name. It does not say which: from now on one by one, so that
    /// the others are switched all the same.
    pub(crate) fn step_over(&mut self, now: Now) {
        if self.at_once == 1 {
            self.answered.extend(std::mem::take(&mut self.asked));
        }
        self.at_once = 1;
        self.pace.hurry(now.mono_ms);
    }

    /// It is done; true where it is off now.
    pub(crate) fn confirm(&mut self) -> bool {
        self.denied = None;
        self.begin();
        self.stand = match self.stand {
            Stand::TurningOff | Stand::Off => Stand::Off,
            Stand::TurningOn | Stand::On => Stand::On,
        };
        self.is_off()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that the service was not asked for is not passed over because another has left the list
    /// meanwhile: shown where names are asked for one by one.
    #[test]
    fn a_list_that_changes_hides_no_name() {
        let now = Now {
            mono_ms: 7,
            wall_ms: 7,
        };
        let mut switch = Switch::restore(None, false, false);
        switch.turn_off(now);
        let mut asked = Vec::new();
        for names in [
            &["a", "b", "c"][..],
            &["a", "b", "c"],
            &["b", "c"],
            &["c", "d"],
        ] {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let Some(AlarmCall::DisableActions { names }) = switch.call(names) else {
                panic!("there are names left");
            };
            match names.len() {
                1 => switch.went_well(now),
                _ => switch.step_over(now),
            }
            asked.push(names.concat());
        }
        assert_eq!(asked, ["abc", "a", "b", "c"]);
        let next = switch.call(vec!["c".to_owned(), "d".to_owned()]);
        let names = vec!["d".to_owned()];
        assert_eq!(next, Some(AlarmCall::DisableActions { names }));
    }
}
