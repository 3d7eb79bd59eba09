//! The metric service of a golden case: every datum is taken at once.

use deploywatch::ports::{CallId, Datum, MetricAnswer, MetricCall, MetricService};

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
