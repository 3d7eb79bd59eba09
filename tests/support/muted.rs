//! EventBridge where events are off. For tests and measurements that are about something else.

use deploywatch::ports::{CallId, EventAnswer, EventCall, EventService};

/// Events are off, so nobody sends any.
pub(crate) struct NoEvents;

impl EventService for NoEvents {
    fn submit(&mut self, _id: CallId, call: EventCall) {
        panic!("events are off, and yet {call:?}");
    }

    fn answer(&mut self) -> Option<EventAnswer> {
        None
    }
}
