//! Edges at which there is nobody: no process, no alarm. For tests and measurements that
//! are about something else.

use std::io;

use deploywatch::ports::alarm::{AlarmAnswer, AlarmCall, AlarmService};
use deploywatch::ports::{CallId, Process, Processes};

/// No process can be seen.
pub(crate) struct NoProcesses;

impl Processes for NoProcesses {
    fn process(&mut self, _id: u32, _service: &str) -> io::Result<Option<Process>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// No alarm is configured, so nobody asks for any.
pub(crate) struct NoAlarms;

impl AlarmService for NoAlarms {
    fn submit(&mut self, _id: CallId, call: AlarmCall) {
        panic!("no alarm is configured, and yet {call:?}");
    }

    fn answer(&mut self) -> Option<AlarmAnswer> {
        None
    }
}
