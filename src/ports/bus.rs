//! The event bus: what is told to it, and how it answers.

use std::sync::Arc;

use super::{CallId, ServiceError};
use crate::event::EpochMs;

/// One event for EventBridge, within its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventEntry {
    /// When it happened.
    pub time_ms: EpochMs,
    /// Who tells it; never begins with `aws.`.
    pub source: &'static str,
    /// What kind of event, in words: at most 128 characters.
    pub detail_type: &'static str,
    /// A JSON object.
    pub detail: String,
    /// ARNs of what it is about.
    pub resources: Vec<String>,
}

impl EventEntry {
    /// Its size as EventBridge counts it: 14 for the time, and the UTF-8 bytes of source, detail
    /// type, detail and each resource (EventBridge user guide, PutEvents entry size).
    #[must_use]
    pub fn counted_bytes(&self) -> usize {
        let resources: usize = self.resources.iter().map(String::len).sum();
        14 + self.source.len() + self.detail_type.len() + self.detail.len() + resources
    }
}

/// A PutEvents call: 1 to 10 entries for one bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCall {
    /// Name or ARN of the bus.
    pub bus: Arc<str>,
    /// What is sent.
    pub entries: Vec<EventEntry>,
}

/// The answer to an [`EventCall`].
#[derive(Debug)]
pub struct EventAnswer {
    /// Which call.
    pub id: CallId,
    /// What the service said: of the call as a whole, or of each of its entries in their order.
    /// Only the classes `ErrorClass::RetrySoon`, `ErrorClass::Throttled`,
    /// `ErrorClass::RetrySlowly` and `ErrorClass::Invalid` occur.
    pub result: Result<Vec<Result<(), ServiceError>>, ServiceError>,
}

/// The event service, or something that stands in for it.
pub trait EventService {
    /// Starts a call. Its answer comes by [`EventService::answer`], exactly one per call.
    fn submit(&mut self, id: CallId, call: EventCall);

    /// The next answer that is there, if any.
    fn answer(&mut self) -> Option<EventAnswer>;
}
