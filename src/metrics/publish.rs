//! From what waits to answered requests: one in flight, repeated unchanged until it is answered.
//!
//! A put is not idempotent: when an answer is lost, nobody can know whether the data count. We
//! repeat, so that nothing is lost, and pay with data that may count twice, at most those of the
//! one request in flight. Alarms stay safe: a repeated gauge leaves average, minimum and maximum
//! as they are, a repeated count is counted at its own time and never makes something of a zero.
//!
//! | answer | first wait, at most | longest wait, at most | at least |
//! |---|---|---|---|
//! | retry soon (5xx, timeout, reset) | 1 s | 60 s | 100 ms |
//! | throttled | 2 s | 120 s | 500 ms |
//! | retry slowly (credentials, permission) | 5 s | 300 s | 2 s |
//!
//! The bound doubles with each failure since the last success, the wait is drawn evenly below it
//! (full jitter). A request that the service calls invalid is halved until the guilty datum stands
//! alone, and only that one is given up.

use std::collections::VecDeque;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use super::Customs;
use super::numbers;
use super::registry::OLDEST_MS;
use super::tally::{Refusal, Tally};
use crate::event::{EpochMs, Now};
use crate::ports::{
    CallId, Datum, ErrorClass, MetricAnswer, MetricCall, MetricService, Numbers, ServiceError,
};

/// Data of a request (CloudWatch API reference, PutMetricData).
pub(super) const REQUEST_DATA_MAX: usize = 1000;

/// Bytes of a request as [`bytes_of`] counts them, safely below the service's 1 MB (same place).
pub(super) const REQUEST_BYTES_MAX: usize = 900_000;

/// A request whose state cannot be saved (a full disk) leaves after so long all the same: losing
/// the heartbeat would be worse than a count that a crash repeats.
const UNSAVED_WAIT_MS: u64 = 30_000;

/// Bytes of a service's text that are kept.
const ANSWER_CHARS_MAX: usize = 300;

/// How long a kind of failure is waited for: first bound, last bound, least.
fn backoff(class: ErrorClass) -> (u64, u64, u64) {
    match class {
        ErrorClass::RetrySoon => (1_000, 60_000, 100),
        ErrorClass::Throttled => (2_000, 120_000, 500),
        _ => (5_000, 300_000, 2_000),
    }
}

/// Data that are sent together, as often as it takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Request {
    namespace: String,
    data: Vec<Datum>,
    /// The state that must be on disk before it is sent.
    #[serde(skip)]
    version: u64,
    /// When it was made, by the clock that never goes back.
    #[serde(skip)]
    made_ms: u64,
}

/// Sends requests, the front one first.
#[derive(Debug)]
pub(super) struct Publisher {
    requests: VecDeque<Request>,
    in_flight: Option<CallId>,
    /// Whether it has lost data since: the answer may be about those.
    is_thinned: bool,
    next_call: u64,
    rng: Rng,
    failures: u32,
    /// Since when tries fail, and how the last one did.
    trouble: Option<(u64, ErrorClass)>,
    retry_at_ms: Option<u64>,
    pub(super) delivered: u64,
    pub(super) last_answer: Option<(String, EpochMs)>,
}

impl Publisher {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            requests: VecDeque::new(),
            in_flight: None,
            is_thinned: false,
            next_call: 0,
            rng: Rng::with_seed(seed),
            failures: 0,
            trouble: None,
            retry_at_ms: None,
            delivered: 0,
            last_answer: None,
        }
    }

    /// Whether there is nothing to send or to wait for.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// Every request that is not answered for.
    pub(super) fn requests(&self) -> &VecDeque<Request> {
        &self.requests
    }

    /// Data that are not answered for.
    pub(super) fn len(&self) -> u64 {
        self.requests
            .iter()
            .map(|request| request.data.len() as u64)
            .sum()
    }

    /// Takes back the requests of an earlier run: they were saved, and are sent again as they are.
    pub(super) fn restore(&mut self, requests: VecDeque<Request>) {
        self.requests = requests;
    }

    /// Makes a request of data, to be sent when the state of that version is saved.
    pub(super) fn add(&mut self, namespace: &str, data: Vec<Datum>, version: u64, now: Now) {
        debug_assert!(data.len() <= REQUEST_DATA_MAX);
        self.requests.push_back(Request {
            namespace: namespace.to_owned(),
            data,
            version,
            made_ms: now.mono_ms,
        });
    }

    /// Gives everything up; how many data. What is in flight may still arrive.
    pub(super) fn clear(&mut self) -> u64 {
        let data = self.len();
        self.requests.clear();
        self.in_flight = None;
        self.retry_at_ms = None;
        self.trouble = None;
        data
    }

    /// A pause drawn from the seed.
    pub(super) fn jitter(&mut self, bound_ms: u64) -> u64 {
        self.rng.u64(0..=bound_ms)
    }

    /// Takes the answers that are there; true if that changed anything worth saving.
    pub(super) fn settle(
        &mut self,
        service: &mut dyn MetricService,
        now: Now,
        tally: &mut Tally,
    ) -> bool {
        let mut changed = false;
        while let Some(MetricAnswer { id, result }) = service.answer() {
            // An answer to a call of before a reset says nothing about the present one.
            if self.in_flight != Some(id) {
                continue;
            }
            self.in_flight = None;
            changed |= match result {
                Ok(()) => self.delivered(now),
                // What is left may be without fault: it is sent again.
                Err(error) if error.class == ErrorClass::Invalid && self.is_thinned => false,
                Err(error) if error.class == ErrorClass::Invalid => self.halve(&error, now, tally),
                Err(error) => self.failed(&error, now),
            };
        }
        changed
    }

    /// Whether the front request may leave now.
    pub(super) fn is_due(&self, saved_version: u64, now: Now) -> bool {
        let due = self.due_ms(saved_version);
        due.is_some_and(|due_ms| due_ms <= now.mono_ms)
    }

    /// Gives up data that must not leave now; true if there were any. What was made and may have
    /// been taken before is sent without them: a repetition only ever gets smaller.
    pub(super) fn hold_back(&mut self, customs: &dyn Customs, tally: &mut Tally) -> bool {
        let Some(request) = self.requests.front_mut() else {
            return false;
        };
        let before = request.data.len();
        request.data.retain(|datum| customs.may_leave(datum));
        let held = before - request.data.len();
        tally.refuse(Refusal::HeldBack, held as u64);
        if request.data.is_empty() {
            self.requests.pop_front();
        }
        held > 0
    }

    /// Sends the front request if it is its time; true if data were given up for their age.
    pub(super) fn submit(
        &mut self,
        service: &mut dyn MetricService,
        saved_version: u64,
        now: Now,
        tally: &mut Tally,
    ) -> bool {
        if !self.is_due(saved_version, now) {
            return false;
        }
        let aged = self.expire(now, tally);
        let Some(request) = self.requests.front() else {
            return aged;
        };
        self.next_call += 1;
        let id = CallId(self.next_call);
        self.in_flight = Some(id);
        self.is_thinned = false;
        self.retry_at_ms = None;
        let call = MetricCall {
            namespace: request.namespace.as_str().into(),
            data: request.data.as_slice().into(),
        };
        service.submit(id, call);
        aged
    }

    /// When the next call may leave, by the clock that never goes back; `None` when there is none
    /// to leave, or one under way.
    pub(super) fn due_ms(&self, saved_version: u64) -> Option<u64> {
        let request = self.requests.front().filter(|_| self.in_flight.is_none())?;
        let saved_ms = match request.version <= saved_version {
            true => 0,
            false => request.made_ms + UNSAVED_WAIT_MS,
        };
        Some(saved_ms.max(self.retry_at_ms.unwrap_or(0)))
    }

    /// When the next try is due, if the last one failed.
    pub(super) fn retry_at_ms(&self) -> Option<u64> {
        self.retry_at_ms
    }

    /// What the service said, where a person should hear of it.
    pub(super) fn problem(&self, now: Now) -> Option<&str> {
        let (since_ms, class) = self.trouble?;
        let failing_ms = now.mono_ms.saturating_sub(since_ms);
        let (answer, _) = self.last_answer.as_ref()?;
        class.is_loud(failing_ms).then_some(answer)
    }

    fn delivered(&mut self, now: Now) -> bool {
        if let Some(request) = self.requests.pop_front() {
            self.delivered += request.data.len() as u64;
        }
        self.failures = 0;
        self.trouble = None;
        self.last_answer = Some(("ok".to_owned(), now.wall_ms));
        true
    }

    /// Somebody in the front request is guilty.
    fn halve(&mut self, error: &ServiceError, now: Now, tally: &mut Tally) -> bool {
        self.failures = 0;
        self.say(error, now);
        let Some(request) = self.requests.pop_front() else {
            return false;
        };
        if let [guilty] = request.data.as_slice() {
            tracing::error!(metric = %guilty.name, %error, "a datum was refused");
            tally.refuse(Refusal::Invalid, 1);
            return true;
        }
        let (first, second) = request.data.split_at(request.data.len() / 2);
        for half in [second, first] {
            self.requests.push_front(Request {
                data: half.to_vec(),
                ..request.clone()
            });
        }
        true
    }

    fn failed(&mut self, error: &ServiceError, now: Now) -> bool {
        self.say(error, now);
        let (since_ms, _) = self.trouble.unwrap_or((now.mono_ms, error.class));
        self.trouble = Some((since_ms, error.class));
        let (first_ms, most_ms, least_ms) = backoff(error.class);
        let bound_ms = most_ms.min(first_ms << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let wait_ms = self.rng.u64(0..=bound_ms).max(least_ms);
        self.retry_at_ms = Some(now.mono_ms + wait_ms);
        false
    }

    fn say(&mut self, error: &ServiceError, now: Now) {
        let text = error.to_string().chars().take(ANSWER_CHARS_MAX).collect();
        self.last_answer = Some((text, now.wall_ms));
    }

    /// The service would call the whole request invalid for one datum that is too old.
    fn expire(&mut self, now: Now, tally: &mut Tally) -> bool {
        let old = self.keep(|datum| datum.time_ms >= now.wall_ms - OLDEST_MS);
        tally.refuse(Refusal::TooOld, old);
        old > 0
    }

    /// Gives up what is dated later; how many data. What is in flight may still arrive.
    pub(super) fn drop_newer(&mut self, newest_ms: EpochMs) -> u64 {
        self.keep(|datum| datum.time_ms <= newest_ms)
    }

    /// Keeps some data; how many went.
    fn keep(&mut self, stays: impl Fn(&Datum) -> bool) -> u64 {
        let before = self.len();
        for (nth, request) in self.requests.iter_mut().enumerate() {
            if !request.data.iter().all(&stays) {
                request.data.retain(&stays);
                self.is_thinned |= nth == 0;
            }
        }
        let gone = before - self.len();
        if self
            .requests
            .front()
            .is_some_and(|request| request.data.is_empty())
        {
            // The answer to it is not one to the next.
            self.in_flight = None;
        }
        self.requests.retain(|request| !request.data.is_empty());
        gone
    }
}

/// Bytes a datum takes in a request, at most: a name of a field is counted with its largest value.
pub(crate) fn bytes_of(datum: &Datum) -> usize {
    const FIELDS: usize = 150;
    const DIMENSION_FIELDS: usize = 20;
    const NUMBER: usize = 9;
    let dimensions = datum.dimensions.iter();
    let dimensions = dimensions.map(|(name, value)| DIMENSION_FIELDS + name.len() + value.len());
    let numbers = match &datum.numbers {
        Numbers::Summary(_) => 80,
        other => 2 * NUMBER * numbers::weight(other),
    };
    FIELDS + datum.name.len() + dimensions.sum::<usize>() + numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::MetricAnswer;

    /// Notes the calls, and answers well when it is told.
    #[derive(Default)]
    struct Slow(Vec<CallId>, Vec<MetricAnswer>);

    impl MetricService for Slow {
        fn submit(&mut self, id: CallId, _call: MetricCall) {
            self.0.push(id);
        }
        fn answer(&mut self) -> Option<MetricAnswer> {
            self.1.pop()
        }
    }

    fn datum(time_ms: EpochMs) -> Datum {
        Datum {
            name: "Heartbeat".to_owned(),
            dimensions: Vec::new(),
            time_ms,
            unit: "Count".to_owned(),
            resolution_s: 60,
            numbers: Numbers::One(1.0),
        }
    }

    const NOW: Now = Now {
        mono_ms: 1_000,
        wall_ms: 1_800_000_000_000,
    };

    /// A late answer to a request of which nothing is wanted any more says nothing of the next one: shown by
    /// one that was under way when its data were given up for their date.
    #[test]
    fn a_late_answer_settles_no_other_request() {
        let now = NOW;
        let (mut publisher, mut service) = (Publisher::new(1), Slow::default());
        let mut tally = Tally::default();
        publisher.add("n", vec![datum(now.wall_ms + 600_000)], 0, now);
        publisher.add("n", vec![datum(now.wall_ms)], 0, now);
        publisher.submit(&mut service, 0, now, &mut tally);
        assert_eq!(publisher.drop_newer(now.wall_ms), 1);
        let id = service.0[0];
        let result = Ok(());
        service.1.push(MetricAnswer { id, result });
        publisher.settle(&mut service, now, &mut tally);
        assert_eq!((publisher.len(), publisher.delivered), (1, 0));
        publisher.submit(&mut service, 0, now, &mut tally);
        assert_eq!(service.0.len(), 2);
    }

    /// A number is not refused for another that was given up meanwhile: shown by a request that is called
    /// invalid after one of its two was dropped.
    #[test]
    fn nobody_is_guilty_for_what_was_given_up() {
        let now = NOW;
        let (mut publisher, mut service) = (Publisher::new(1), Slow::default());
        let mut tally = Tally::default();
        let data = vec![datum(now.wall_ms + 600_000), datum(now.wall_ms)];
        publisher.add("n", data, 0, now);
        for answered in 1..3 {
            publisher.submit(&mut service, 0, now, &mut tally);
            assert_eq!(publisher.drop_newer(now.wall_ms), 2 - answered);
            let result = Err(ServiceError {
                class: ErrorClass::Invalid,
                code: "InvalidParameterValue".to_owned(),
                message: String::new(),
            });
            let id = *service.0.last().unwrap();
            service.1.push(MetricAnswer { id, result });
            publisher.settle(&mut service, now, &mut tally);
            assert_eq!(publisher.len(), 2 - answered, "{answered}");
        }
    }
}
