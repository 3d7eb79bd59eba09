//! The caller's ends of the channels to the network thread: one for each service, all alike.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::{mpsc, watch};

use super::clock_skew::Clock;
use super::logs::broken;
use crate::config::Identity;
use crate::ports::alarm::{AlarmAnswer, AlarmCall, AlarmService};
use crate::ports::{
    CallId, EventAnswer, EventCall, EventService, LogAnswer, LogCall, LogService, MetricAnswer,
    MetricCall, MetricService, ServiceError,
};

/// What the network thread does for the rest of the process.
#[derive(Debug)]
pub struct Services {
    /// CloudWatch Logs.
    pub logs: CloudWatchLogs,
    /// CloudWatch metrics.
    pub metrics: CloudWatchMetrics,
    /// CloudWatch alarms.
    pub alarms: CloudWatchAlarms,
    /// EventBridge.
    pub events: EventBridge,
    /// What is known of this instance.
    pub identity: IdentityFeed,
}

/// What the thread is asked.
#[derive(Debug)]
pub(super) enum Call {
    Log(CallId, LogCall),
    Metric(CallId, MetricCall),
    Alarm(CallId, AlarmCall),
    Event(CallId, EventCall),
}

/// One service's line to the thread: calls in, answers out.
#[derive(Debug)]
pub(super) struct Line<A> {
    calls: mpsc::UnboundedSender<Call>,
    answers: Receiver<A>,
    /// Answers to calls that the dead thread could not take.
    unsent: VecDeque<A>,
}

impl<A> Line<A> {
    /// The caller's end, and where the thread puts its answers.
    pub(super) fn new(calls: &mpsc::UnboundedSender<Call>) -> (Self, Sender<A>) {
        let (answers_in, answers) = channel();
        let line = Self {
            calls: calls.clone(),
            answers,
            unsent: VecDeque::new(),
        };
        (line, answers_in)
    }

    /// Passes a call on. A dead thread answers nothing: `unsent` does, with the call back.
    fn submit(&mut self, call: Call, unsent: impl FnOnce(Call, ServiceError) -> A) {
        if let Err(back) = self.calls.send(call) {
            let error = broken("the network thread has ended");
            self.unsent.push_back(unsent(back.0, error));
        }
    }

    fn answer(&mut self) -> Option<A> {
        // A closed channel is no answer; `CloudWatchLogs::is_running` tells it.
        self.answers
            .try_recv()
            .ok()
            .or_else(|| self.unsent.pop_front())
    }
}

/// CloudWatch Logs as the middle sees it.
#[derive(Debug)]
pub struct CloudWatchLogs(Line<LogAnswer>);

impl CloudWatchLogs {
    pub(super) fn new(line: Line<LogAnswer>) -> Self {
        Self(line)
    }

    /// False once the network thread has ended, which only a bug can bring about. Calls that were
    /// under way are then never answered and their batches are gone: the process must exit with
    /// an error, and what they held is read again after the restart.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.0.calls.is_closed()
    }
}

impl LogService for CloudWatchLogs {
    fn submit(&mut self, id: CallId, call: LogCall) {
        self.0.submit(Call::Log(id, call), |call, error| LogAnswer {
            id,
            batch: match call {
                Call::Log(_, LogCall::Put { batch, .. }) => Some(batch),
                _ => None,
            },
            result: Err(error),
        });
    }

    fn answer(&mut self) -> Option<LogAnswer> {
        self.0.answer()
    }
}

/// CloudWatch as the middle sees it.
#[derive(Debug)]
pub struct CloudWatchMetrics {
    line: Line<MetricAnswer>,
    clock: Clock,
}

impl CloudWatchMetrics {
    pub(super) fn new(line: Line<MetricAnswer>, clock: Clock) -> Self {
        Self { line, clock }
    }
}

impl MetricService for CloudWatchMetrics {
    fn submit(&mut self, id: CallId, call: MetricCall) {
        self.line
            .submit(Call::Metric(id, call), |_, error| MetricAnswer {
                id,
                result: Err(error),
            });
    }

    fn answer(&mut self) -> Option<MetricAnswer> {
        self.line.answer()
    }

    fn clock_offset_ms(&self) -> i64 {
        self.clock.offset_ms()
    }
}

/// CloudWatch's alarms as the middle sees them.
#[derive(Debug)]
pub struct CloudWatchAlarms(Line<AlarmAnswer>);

impl CloudWatchAlarms {
    pub(super) fn new(line: Line<AlarmAnswer>) -> Self {
        Self(line)
    }
}

impl AlarmService for CloudWatchAlarms {
    fn submit(&mut self, id: CallId, call: AlarmCall) {
        self.0
            .submit(Call::Alarm(id, call), |_, error| AlarmAnswer {
                id,
                result: Err(error),
            });
    }

    fn answer(&mut self) -> Option<AlarmAnswer> {
        self.0.answer()
    }
}

/// EventBridge as the middle sees it.
#[derive(Debug)]
pub struct EventBridge(Line<EventAnswer>);

impl EventBridge {
    pub(super) fn new(line: Line<EventAnswer>) -> Self {
        Self(line)
    }
}

impl EventService for EventBridge {
    fn submit(&mut self, id: CallId, call: EventCall) {
        self.0
            .submit(Call::Event(id, call), |_, error| EventAnswer {
                id,
                result: Err(error),
            });
    }

    fn answer(&mut self) -> Option<EventAnswer> {
        self.0.answer()
    }
}

/// What is known of this instance, as it becomes known.
#[derive(Debug)]
pub struct IdentityFeed {
    pub(super) feed: watch::Receiver<Option<Identity>>,
    /// Keeps the thread alive for those who want the identity but no CloudWatch Logs.
    pub(super) _thread: mpsc::UnboundedSender<Call>,
}

impl IdentityFeed {
    /// The newest identity, if it changed since the last call.
    pub fn take(&mut self) -> Option<Identity> {
        let newest = self.feed.borrow_and_update();
        if newest.has_changed() {
            newest.clone()
        } else {
            None
        }
    }
}
