//! The metric service and the processes of a golden case: every datum is taken at once.

use deploywatch::ports::{
    CallId, Datum, MetricAnswer, MetricCall, MetricService, Process, Processes,
};

/// Takes every datum, and keeps it.
#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) data: Vec<Datum>,
    answers: Vec<CallId>,
}

impl MetricService for Counted {
    fn submit(&mut self, id: CallId, call: MetricCall) {
        self.data.extend(call.data.iter().cloned());
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
