//! A metric service that takes everything at once, and a machine without processes to see.

use deploywatch::ports::{CallId, MetricAnswer, MetricCall, MetricService, Process, Processes};

/// Takes every datum.
#[derive(Default)]
pub(crate) struct Counted {
    answers: Vec<CallId>,
}

impl MetricService for Counted {
    fn submit(&mut self, id: CallId, _call: MetricCall) {
        self.answers.push(id);
    }

    fn answer(&mut self) -> Option<MetricAnswer> {
        let id = self.answers.pop()?;
        Some(MetricAnswer { id, result: Ok(()) })
    }
}

/// A machine on which no process can be seen.
pub(crate) struct NoProcesses;

impl Processes for NoProcesses {
    fn process(&mut self, _id: u32) -> std::io::Result<Option<Process>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}
