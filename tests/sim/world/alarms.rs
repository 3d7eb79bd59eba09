//! A service of alarms for agents that have none: nobody calls it.

use deploywatch::ports::CallId;
use deploywatch::ports::alarm::{AlarmAnswer, AlarmCall, AlarmService};

/// Takes no call.
pub(crate) struct NoAlarms;

impl AlarmService for NoAlarms {
    fn submit(&mut self, _id: CallId, call: AlarmCall) {
        panic!("no alarm is configured, and yet {call:?}");
    }

    fn answer(&mut self) -> Option<AlarmAnswer> {
        None
    }
}
