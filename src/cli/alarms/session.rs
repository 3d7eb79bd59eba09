//! One conversation with CloudWatch about alarms: calls made one after the other, each repeated
//! while that may help.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::alarms::apply::Applying;
use crate::alarms::pace::{Hurry, Pace};
use crate::alarms::spec::{self, Unready, Wanted};
use crate::aws::environment::Service;
use crate::aws::{self, AwsOptions};
use crate::config::{Config, Identity};
use crate::os::clock;
use crate::ports::alarm::{AlarmCall, AlarmReply, AlarmService};
use crate::ports::{CallId, ErrorClass, ServiceError};

/// How long instance metadata may take to say who we are.
const IDENTITY_WAIT: Duration = Duration::from_secs(15);

/// How long one call is repeated while the service throttles or stumbles.
const CALL_WAIT: Duration = Duration::from_secs(120);

/// What is needed to talk.
pub struct Session {
    services: aws::Services,
    rings: Receiver<()>,
    random: fastrand::Rng,
    next_id: u64,
    /// What shall be there, on the instance in question.
    pub wanted: Wanted,
}

impl Session {
    /// Finds out who and where we are; another instance's id can be given.
    ///
    /// # Errors
    /// When the network thread cannot start, or id or Region stay unknown.
    pub fn open(config: &Config, instance_id: Option<&str>) -> anyhow::Result<Self> {
        let (ring, rings) = channel();
        let options = AwsOptions {
            aws: config.aws.clone(),
            compression: config.logs.compression,
            wanted: config
                .alarms
                .variables()
                .iter()
                .map(ToString::to_string)
                .collect(),
            used: vec![Service::CloudWatch],
        };
        let waker = move || {
            // The command may be over.
            let _heard = ring.send(());
        };
        let mut services =
            aws::start(options, waker).context("failed to start the network thread")?;
        let until = Instant::now() + IDENTITY_WAIT;
        let mut identity = Identity::default();
        let wanted = loop {
            if let Some(news) = services.identity.take() {
                identity = news;
            }
            let mut of_target = identity.clone();
            if let Some(id) = instance_id {
                of_target.instance_id = Some(id.to_owned());
            }
            match spec::wanted(&config.alarms, &of_target) {
                Ok(wanted) => break wanted,
                Err(error @ Unready::Unknown(_)) => return Err(error).context(REMEDY),
                Err(error @ Unready::Waiting(_)) if Instant::now() >= until => {
                    return Err(error).context(REMEDY);
                }
                Err(Unready::Waiting(_)) => {
                    // A ring or not: the loop looks again.
                    let _rung = rings.recv_timeout(Duration::from_millis(200));
                }
            }
        };
        Ok(Self {
            services,
            rings,
            random: fastrand::Rng::with_seed(clock::now().wall_ms.unsigned_abs()),
            next_id: 0,
            wanted,
        })
    }

    /// Makes a call and waits for its answer; throttling, timeouts and 5xx are repeated.
    ///
    /// # Errors
    /// What the service said last.
    pub fn call(&mut self, call: &AlarmCall) -> Result<AlarmReply, ServiceError> {
        let until = Instant::now() + CALL_WAIT;
        let mut pace = Pace::new(Hurry::Urgent);
        loop {
            let id = CallId(self.next_id);
            self.next_id += 1;
            self.services.alarms.submit(id, call.clone());
            let result = loop {
                match self.services.alarms.answer() {
                    Some(answer) if answer.id == id => break answer.result,
                    Some(_) => {}
                    None => drop(self.rings.recv_timeout(Duration::from_millis(200))),
                }
            };
            match result {
                Err(error) if may_pass(&error) && Instant::now() < until => {
                    let now_ms = clock::now().mono_ms;
                    pace.failed(error.class, now_ms, &mut self.random);
                    std::thread::sleep(Duration::from_millis(pace.due_ms() - now_ms));
                }
                result => return result,
            }
        }
    }

    /// Makes all calls of an application. An alarm that is refused is noted in it, and the others
    /// go on; what concerns the whole is an error.
    ///
    /// # Errors
    /// When the alarms cannot be looked at.
    pub fn drive(&mut self, applying: &mut Applying) -> Result<(), ServiceError> {
        while let Some(call) = applying.next_call() {
            match self.call(&call) {
                Ok(reply) => applying.take(reply),
                Err(error) if matches!(call, AlarmCall::Describe { .. }) => return Err(error),
                Err(error) => applying.skip(error),
            }
        }
        Ok(())
    }
}

const REMEDY: &str =
    "run it on the instance, or give --instance-id, and region in [aws] or AWS_REGION";

fn may_pass(error: &ServiceError) -> bool {
    matches!(error.class, ErrorClass::RetrySoon | ErrorClass::Throttled)
}
