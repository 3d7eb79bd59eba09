//! A metric service that takes everything and keeps nothing, and a bus that takes nothing. For tests
//! that are about something else.

use deploywatch::ports::{
    CallId, ErrorClass, EventAnswer, EventCall, EventService, MetricAnswer, MetricCall,
    MetricService, ServiceError,
};

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

/// A bus that always says to come back later.
#[derive(Default)]
pub(crate) struct BusyBus {
    answers: Vec<CallId>,
}

impl EventService for BusyBus {
    fn submit(&mut self, id: CallId, _call: EventCall) {
        self.answers.push(id);
    }

    fn answer(&mut self) -> Option<EventAnswer> {
        let error = ServiceError {
            class: ErrorClass::RetrySoon,
            code: "InternalFailure".to_owned(),
            message: String::new(),
        };
        let id = self.answers.pop()?;
        Some(EventAnswer {
            id,
            result: Err(error),
        })
    }
}
