//! Having the service switch actions off and on, until it has confirmed it.

use super::guard::Suspension;
use super::pace::{Hurry, Pace};
use crate::event::Now;
use crate::ports::alarm::AlarmCall;

/// Where the switch stands at the service, as far as confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Switch {
    stand: Stand,
    pub(crate) pace: Pace,
    /// Names are asked for one by one from this one on, because the service knows not all of them.
    singly: Option<usize>,
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
            singly: None,
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
        self.singly = None;
        self.denied = None;
        self.pace.hurry(now.mono_ms);
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

    /// The call to make; `None` where there is nothing to switch.
    pub(crate) fn call(&self, mut names: Vec<String>) -> Option<AlarmCall> {
        if let Some(index) = self.singly {
            names = names.into_iter().skip(index).take(1).collect();
        }
        match self.stand {
            _ if names.is_empty() => None,
            Stand::TurningOff => Some(AlarmCall::DisableActions { names }),
            Stand::TurningOn => Some(AlarmCall::EnableActions { names }),
            Stand::On | Stand::Off => None,
        }
    }

    /// A good answer: whether that was all of it.
    pub(crate) fn is_complete(&mut self, now: Now) -> bool {
        let Some(index) = &mut self.singly else {
            return true;
        };
        *index += 1;
        self.pace.hurry(now.mono_ms);
        false
    }

    /// The service does not know a name. It does not say which: from now on one by one, so that
    /// the others are switched all the same.
    pub(crate) fn step_over(&mut self, now: Now) {
        self.singly = Some(self.singly.map_or(0, |index| index + 1));
        self.pace.hurry(now.mono_ms);
    }

    /// It is done; true where it is off now.
    pub(crate) fn confirm(&mut self) -> bool {
        self.denied = None;
        self.singly = None;
        self.stand = match self.stand {
            Stand::TurningOff | Stand::Off => Stand::Off,
            Stand::TurningOn | Stand::On => Stand::On,
        };
        self.is_off()
    }
}
