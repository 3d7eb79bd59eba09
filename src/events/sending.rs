//! Requests to EventBridge and what their answers mean for each incident in them.

use super::{
    Dirty, ENTRIES_MAX, Events, Place, REMEMBERED_MAX, REQUEST_BYTES_MAX, Waiting, detail,
};
use crate::event::Now;
use crate::ports::{CallId, ErrorClass, EventCall, EventEntry, EventService, ServiceError};

impl Events {
    /// Sends what is due, as much as one request holds.
    pub(super) fn send(&mut self, now: Now, service: &mut dyn EventService) {
        let most = if self.singly > 0 { 1 } else { ENTRIES_MAX };
        let mut entries: Vec<EventEntry> = Vec::new();
        let mut bytes = 0;
        for at in 0..self.waiting.len() {
            let waiting = &self.waiting[at];
            if waiting.place != Place::Ready || self.due_ms(waiting) > now.mono_ms {
                continue;
            }
            let Some(entry) = detail::entry(&waiting.incident, &self.identity) else {
                continue;
            };
            bytes += entry.counted_bytes();
            if entries.len() == most || bytes > REQUEST_BYTES_MAX {
                break;
            }
            entries.push(entry);
            self.waiting[at].place = Place::InFlight;
        }
        if entries.is_empty() {
            return;
        }
        self.singly = self.singly.saturating_sub(1);
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.in_flight = Some(id);
        let bus = self.config.bus.clone();
        service.submit(id, EventCall { bus, entries });
    }

    /// Takes what the service said of the request that was under way.
    pub(super) fn settle(
        &mut self,
        result: Result<Vec<Result<(), ServiceError>>, ServiceError>,
        now: Now,
    ) {
        let mut flown: Vec<usize> = Vec::new();
        for (at, waiting) in self.waiting.iter_mut().enumerate() {
            if waiting.place == Place::InFlight {
                waiting.place = Place::Ready;
                flown.push(at);
            }
        }
        let answers = match result {
            Ok(answers) if answers.len() == flown.len() => answers,
            Ok(answers) => {
                let text = format!("{} answers for {} entries", answers.len(), flown.len());
                return self.settle_failure(unreadable(text), &flown, now);
            }
            Err(error) => return self.settle_failure(error, &flown, now),
        };
        self.backoff.reset();
        self.last_error = None;
        // From the back, so that the places in front stay right.
        for (at, answer) in flown.into_iter().zip(answers).rev() {
            match answer {
                Ok(()) => {
                    self.counts.sent += 1;
                    let done = self.take(at);
                    self.remember(done.key);
                }
                Err(error) if error.class == ErrorClass::Invalid => self.refuse(at, &error),
                Err(error) => {
                    let backoff = &mut self.waiting[at].backoff;
                    backoff.failed(error.class, now.mono_ms, &mut self.random);
                    self.last_error = Some(error);
                }
            }
        }
    }

    /// The call as a whole failed.
    fn settle_failure(&mut self, error: ServiceError, flown: &[usize], now: Now) {
        match (error.class, flown) {
            (ErrorClass::Invalid, [at]) => self.refuse(*at, &error),
            (ErrorClass::Invalid, _) => self.singly = flown.len(),
            (class, _) => {
                self.backoff.failed(class, now.mono_ms, &mut self.random);
                self.last_error = Some(error);
            }
        }
    }

    fn refuse(&mut self, at: usize, error: &ServiceError) {
        self.counts.refused += 1;
        let refused = self.take(at);
        tracing::error!(event = %refused.key, %error, "EventBridge refuses an event");
        self.remember(refused.key);
    }

    fn take(&mut self, at: usize) -> Waiting {
        let taken = self.waiting.remove(at).expect("a place of the queue");
        self.waiting_bytes -= taken.incident.bytes();
        self.dirty = Dirty::Yes;
        taken
    }

    fn remember(&mut self, key: String) {
        if self.sent.len() == REMEMBERED_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(key);
    }
}

/// An answer of the wrong shape.
fn unreadable(message: String) -> ServiceError {
    ServiceError {
        class: ErrorClass::RetrySlowly,
        code: "Unreadable".to_owned(),
        message,
    }
}
