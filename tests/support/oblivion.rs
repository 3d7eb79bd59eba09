//! A metric service that takes everything and keeps nothing. For tests and measurements that are
//! about something else.

use deploywatch::ports::{CallId, MetricAnswer, MetricCall, MetricService};

/// Every datum is taken at once.
#[derive(Default)]
pub(crate) struct AllMetrics {
    answers: Vec<CallId>,
}

impl MetricService for AllMetrics {
    fn submit(&mut self, id: CallId, _call: MetricCall) {
        self.answers.push(id);
    }

    fn answer(&mut self) -> Option<MetricAnswer> {
        let id = self.answers.pop()?;
        Some(MetricAnswer { id, result: Ok(()) })
    }
}
