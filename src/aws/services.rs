//! The caller's ends of the channels: each service as the middle sees it.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

use tokio::sync::{mpsc, watch};

use super::Call;
use super::logs::broken;
use crate::config::Identity;
use crate::ports::alarm::{AlarmAnswer, AlarmCall, AlarmService};
use crate::ports::{
    CallId, LogAnswer, LogCall, LogService, MetricAnswer, MetricCall, MetricService,
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
    /// What is known of this instance.
    pub identity: IdentityFeed,
}

impl Services {
    pub(super) fn new(
        calls: &mpsc::UnboundedSender<Call>,
        logs: Receiver<LogAnswer>,
        metrics: Receiver<MetricAnswer>,
        alarms: Receiver<AlarmAnswer>,
        feed: watch::Receiver<Option<Identity>>,
    ) -> Self {
        Self {
            logs: CloudWatchLogs {
                calls: calls.clone(),
                answers: logs,
                unsent: VecDeque::new(),
            },
            metrics: CloudWatchMetrics {
                calls: calls.clone(),
                answers: metrics,
                unsent: VecDeque::new(),
            },
            alarms: CloudWatchAlarms {
                calls: calls.clone(),
                answers: alarms,
                unsent: VecDeque::new(),
            },
            identity: IdentityFeed {
                feed,
                _thread: calls.clone(),
            },
        }
    }
}

/// CloudWatch Logs as the middle sees it.
#[derive(Debug)]
pub struct CloudWatchLogs {
    calls: mpsc::UnboundedSender<Call>,
    answers: Receiver<LogAnswer>,
    /// Answers to calls that the dead thread could not take.
    unsent: VecDeque<LogAnswer>,
}

impl CloudWatchLogs {
    /// False once the network thread has ended, which only a bug can bring about. Calls that were
    /// under way are then never answered and their batches are gone: the process must exit with
    /// an error, and what they held is read again after the restart.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.calls.is_closed()
    }
}

impl LogService for CloudWatchLogs {
    fn submit(&mut self, id: CallId, call: LogCall) {
        if let Err(back) = self.calls.send(Call::Log(id, call)) {
            let batch = match back.0 {
                Call::Log(_, LogCall::Put { batch, .. }) => Some(batch),
                Call::Log(..) | Call::Metric(..) | Call::Alarm(..) => None,
            };
            self.unsent.push_back(LogAnswer {
                id,
                batch,
                result: Err(broken("the network thread has ended")),
            });
        }
    }

    fn answer(&mut self) -> Option<LogAnswer> {
        // A closed channel is no answer; `is_running` tells it.
        self.answers
            .try_recv()
            .ok()
            .or_else(|| self.unsent.pop_front())
    }
}

/// CloudWatch as the middle sees it.
#[derive(Debug)]
pub struct CloudWatchMetrics {
    calls: mpsc::UnboundedSender<Call>,
    answers: Receiver<MetricAnswer>,
    /// Answers to calls that the dead thread could not take.
    unsent: VecDeque<MetricAnswer>,
}

impl MetricService for CloudWatchMetrics {
    fn submit(&mut self, id: CallId, call: MetricCall) {
        if self.calls.send(Call::Metric(id, call)).is_err() {
            let result = Err(broken("the network thread has ended"));
            self.unsent.push_back(MetricAnswer { id, result });
        }
    }

    fn answer(&mut self) -> Option<MetricAnswer> {
        // A closed channel is no answer; `CloudWatchLogs::is_running` tells it.
        self.answers
            .try_recv()
            .ok()
            .or_else(|| self.unsent.pop_front())
    }
}

/// CloudWatch's alarms as the middle sees them.
#[derive(Debug)]
pub struct CloudWatchAlarms {
    calls: mpsc::UnboundedSender<Call>,
    answers: Receiver<AlarmAnswer>,
    /// Answers to calls that the dead thread could not take.
    unsent: VecDeque<AlarmAnswer>,
}

impl AlarmService for CloudWatchAlarms {
    fn submit(&mut self, id: CallId, call: AlarmCall) {
        if self.calls.send(Call::Alarm(id, call)).is_err() {
            let result = Err(broken("the network thread has ended"));
            self.unsent.push_back(AlarmAnswer { id, result });
        }
    }

    fn answer(&mut self) -> Option<AlarmAnswer> {
        // A closed channel is no answer; `CloudWatchLogs::is_running` tells it.
        self.answers
            .try_recv()
            .ok()
            .or_else(|| self.unsent.pop_front())
    }
}

/// What is known of this instance, as it becomes known.
#[derive(Debug)]
pub struct IdentityFeed {
    feed: watch::Receiver<Option<Identity>>,
    /// Keeps the thread alive for those who want the identity but no CloudWatch Logs.
    _thread: mpsc::UnboundedSender<Call>,
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
