//! A lane's calls and what their answers do to it.
//!
//! | answer to a put | what the lane does |
//! |---|---|
//! | accepted, already accepted | next part of the batch, or the batch is decided |
//! | missing target | creates the stream, if that misses the group, the group; then again |
//! | invalid | bisects; see below |
//! | retry soon, throttled, retry slowly | the same again, after a backoff ([`Pace`](super::pace::Pace)) |
//!
//! **Suspicion.** A refusal as invalid may be about the target and not about an event. When
//! [`SUSPICION_FIRST`] events in a row were refused alone and nothing was accepted between, across
//! batches, the target itself is suspected: the events refused in this batch are undecided again,
//! it is said loudly, and the batch waits as for a missing permission. Each suspicion doubles how
//! many in a row it takes, up to [`SUSPICION_MAX`], so a cluster of really guilty events is got
//! over in a few tries; an acceptance resets it. A misconfigured target thus keeps its data and is
//! tried for ever. Only batches of very few events can be refused whole before it is suspected:
//! that costs at most 63 events, which are in the dead-letter file.

use fastrand::Rng;

use crate::event::{Now, Target};
use crate::ports::{Accepted, ErrorClass, LogAnswer, LogCall, ServiceError};

use super::batch::Begin;
use super::bisect::Undecided;
use super::buffers::weight_of;
use super::lane::{Created, Flight, Haste, Head, Lane, Step, Verdict};

/// So many events refused in a row make the target suspect.
pub(crate) const SUSPICION_FIRST: usize = 8;
/// The most it can take.
const SUSPICION_MAX: usize = 64;

impl Lane {
    /// Makes the call that is due.
    pub(crate) fn call(&mut self, now: Now) -> LogCall {
        self.flight = Flight::UnderWay;
        match self.step {
            Step::CreateStream => LogCall::CreateStream(Target::clone(&self.target)),
            Step::CreateGroup => {
                LogCall::CreateGroup(self.target.group.clone(), self.options.clone())
            }
            Step::Put => {
                self.pace.put(now);
                self.promote();
                let head = self
                    .head
                    .as_mut()
                    .expect("a put is due only when there are events");
                LogCall::Put {
                    batch: head
                        .batch
                        .take()
                        .expect("the batch is here while none is under way"),
                    range: head
                        .undecided
                        .next()
                        .expect("a decided batch is no longer the head"),
                }
            }
        }
    }

    /// Makes the oldest batch the one being sent.
    fn promote(&mut self) {
        if self.head.is_some() {
            return;
        }
        let batch = self.full.pop_front().or_else(|| {
            self.begin = Begin::Small;
            self.haste = Haste::Usual;
            self.feed();
            self.open.take().map(|open| open.close())
        });
        self.head = batch.map(|batch| {
            Box::new(Head {
                weight: weight_of(&batch),
                counted_bytes: batch.counted_bytes,
                undecided: Undecided::new(batch.slots.len()),
                batch: Some(batch),
            })
        });
    }

    /// Takes the answer to its call.
    pub(crate) fn answered(&mut self, answer: LogAnswer, now: Now, rng: &mut Rng) -> Verdict {
        self.flight = Flight::Landed;
        match self.step {
            Step::Put => {
                let head = self
                    .head
                    .as_mut()
                    .expect("the head stays until it is decided");
                head.batch = answer.batch;
                assert!(
                    head.batch.is_some(),
                    "the answer to a put brings the batch back"
                );
                self.put_answered(answer.result, now, rng)
            }
            Step::CreateStream | Step::CreateGroup => self.create_answered(answer.result, now, rng),
        }
    }

    fn put_answered(
        &mut self,
        result: Result<Accepted, ServiceError>,
        now: Now,
        rng: &mut Rng,
    ) -> Verdict {
        let error = match result {
            Ok(accepted) => return self.accepted(accepted, now),
            Err(error) => error,
        };
        match error.class {
            ErrorClass::AlreadyAccepted => return self.accepted(Accepted::default(), now),
            ErrorClass::Invalid => return self.refused(&error, now, rng),
            ErrorClass::MissingTarget => {
                self.step = Step::CreateStream;
                match self.created {
                    Created::No => self.pace.noted(&error, now),
                    Created::Yes => {
                        self.created = Created::No;
                        self.pace.failed(ErrorClass::RetrySoon, &error, now, rng);
                    }
                }
            }
            ErrorClass::AlreadyExists => {
                self.pace.failed(ErrorClass::RetrySoon, &error, now, rng);
            }
            class => {
                if class == ErrorClass::Throttled {
                    self.pace.slow_down();
                }
                self.pace.failed(class, &error, now, rng);
            }
        }
        Verdict::GoOn
    }

    fn accepted(&mut self, accepted: Accepted, now: Now) -> Verdict {
        self.pace.succeeded(now);
        self.created = Created::No;
        self.guilty_in_row = 0;
        self.suspicion_at = SUSPICION_FIRST;
        if let Some(head) = &mut self.head {
            head.undecided.accept(accepted);
        }
        self.decided()
    }

    fn refused(&mut self, error: &ServiceError, now: Now, rng: &mut Rng) -> Verdict {
        self.pace.noted(error, now);
        let Some(head) = &mut self.head else {
            return Verdict::GoOn;
        };
        head.undecided.refuse(&error.to_string());
        let in_row = head.undecided.suspects();
        if in_row > 0 && self.guilty_in_row + in_row >= self.suspicion_at {
            head.undecided.doubt();
            self.suspicion_at = (self.suspicion_at * 2).min(SUSPICION_MAX);
            self.pace.failed(ErrorClass::RetrySlowly, error, now, rng);
            return Verdict::GoOn;
        }
        self.decided()
    }

    /// Lets the head go when every event of it has its answer.
    fn decided(&mut self) -> Verdict {
        match self.head.take().map(|head| *head) {
            Some(Head {
                batch: Some(batch),
                weight,
                undecided,
                ..
            }) if undecided.next().is_none() => {
                self.guilty_in_row += undecided.suspects();
                self.weight -= weight;
                Verdict::Decided {
                    batch,
                    refused: undecided.into_refused(),
                    weight,
                }
            }
            undecided => {
                self.head = undecided.map(Box::new);
                Verdict::GoOn
            }
        }
    }

    fn create_answered(
        &mut self,
        result: Result<Accepted, ServiceError>,
        now: Now,
        rng: &mut Rng,
    ) -> Verdict {
        let made = self.step;
        let error = match result {
            Ok(_) => return self.made(made),
            Err(error) => error,
        };
        match (error.class, made) {
            (ErrorClass::AlreadyExists | ErrorClass::AlreadyAccepted, _) => return self.made(made),
            (ErrorClass::MissingTarget, Step::CreateStream) if self.created == Created::No => {
                self.step = Step::CreateGroup;
                self.pace.noted(&error, now);
            }
            (ErrorClass::RetrySoon | ErrorClass::Throttled, _) => {
                self.pace.failed(error.class, &error, now, rng);
            }
            (ErrorClass::MissingTarget, _) => {
                self.restart();
                self.pace.failed(ErrorClass::RetrySoon, &error, now, rng);
            }
            // We may not, or the service will not. Somebody else may create it meanwhile, so the
            // next try begins with the events.
            (ErrorClass::RetrySlowly | ErrorClass::Invalid, _) => {
                self.restart();
                self.pace.failed(ErrorClass::RetrySlowly, &error, now, rng);
            }
        }
        Verdict::GoOn
    }

    fn restart(&mut self) {
        self.step = Step::Put;
        self.created = Created::No;
    }

    fn made(&mut self, made: Step) -> Verdict {
        self.created = Created::Yes;
        match made {
            Step::CreateGroup => {
                self.step = Step::CreateStream;
                Verdict::GroupExists
            }
            Step::CreateStream | Step::Put => {
                self.step = Step::Put;
                Verdict::GoOn
            }
        }
    }

    /// Another lane created the group this one wants.
    pub(crate) fn group_exists(&mut self) {
        if self.step == Step::CreateGroup && !self.is_under_way() {
            self.made(Step::CreateGroup);
        }
    }
}
