//! The network edge: CloudWatch Logs, CloudWatch with its alarms, EventBridge, and the instance's
//! identity, on one thread of their own.
//!
//! [`start`] spawns the thread, which runs a single-threaded tokio; nothing outside this folder
//! knows that tokio exists. Calls go in and answers come out through channels, and the caller's
//! waker is called after each answer, each piece of identity, and when the thread ends.
//!
//! # Invariants
//!
//! - Every submitted call is answered exactly once, whatever happens to the task that serves it:
//!   its batch is held outside the task and comes back also after a panic.
//! - Nothing is retried here. Errors are mapped once, by the table in `errors.rs`.
//! - The queues hold at most one entry per call in flight: the middle's window is their limit.
//! - Nothing that could be a credential is logged or passed on.
//! - The thread's death is visible: [`CloudWatchLogs::is_running`].

mod alarm_fields;
mod alarms;
mod client;
mod clock_skew;
pub mod environment;
mod errors;
mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod genuine;
mod gzip;
mod http;
mod identity;
mod lasting;
mod line;
mod logs;
mod monitoring;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::config::{AwsConfig, Compression, Identity};
use crate::ports::alarm::{AlarmAnswer, AlarmCall};
use crate::ports::{CallId, EventAnswer, EventCall, LogAnswer, LogCall, MetricAnswer, MetricCall};
use alarms::AlarmCalls;
use client::{Gateway, RegionState, Settings};
use clock_skew::Clock;
use environment::Service;
use events::Bus;
use identity::{Parts, Seeker};
use line::{Call, Line};
pub use line::{
    CloudWatchAlarms, CloudWatchLogs, CloudWatchMetrics, EventBridge, IdentityFeed, Services,
};
use logs::{Carried, Logs, SharedLogs, broken};
use monitoring::Monitoring;

/// How long nothing may be asked for before what only calls need is let go.
const REST_AFTER: Duration = Duration::from_secs(5);

/// What [`start`] needs to know.
#[derive(Clone, Debug)]
pub struct AwsOptions {
    /// `[aws]` of the configuration.
    pub aws: AwsConfig,
    /// How bodies are packed.
    pub compression: Compression,
    /// The identity's template variables in use (`account_id`, `asg`, `tag:NAME`…): what no
    /// template needs is not asked for.
    pub wanted: BTreeSet<String>,
    /// What will be called.
    pub used: Vec<Service>,
}

/// Starts the network thread. `waker` is called on it whenever there is something to fetch, so it
/// must be quick.
///
/// # Errors
/// When the CA bundle or an endpoint in use is unusable, or the system has no thread left.
pub fn start(options: AwsOptions, waker: impl Fn() + Send + 'static) -> io::Result<Services> {
    environment::check(&options.aws, &options.used)?;
    let settings = Settings::from_environment(options.aws);
    start_with(settings, options.compression, options.wanted, waker)
}

fn start_with(
    settings: Settings,
    compression: Compression,
    wanted: BTreeSet<String>,
    waker: impl Fn() + Send + 'static,
) -> io::Result<Services> {
    if let Some(url) = &settings.aws.endpoint_url
        && !http::is_url(url)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("endpoint_url {url}: neither http://host nor https://host"),
        ));
    }
    let http = http::client(settings.aws.ca_bundle.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Only name look-ups block; their thread ends soon after.
        .max_blocking_threads(2)
        .thread_keep_alive(Duration::from_secs(2))
        .build()?;
    let (calls, calls_in) = mpsc::unbounded_channel();
    let (logs, log_answers) = Line::new(&calls);
    let (metrics, metric_answers) = Line::new(&calls);
    let (alarms, alarm_answers) = Line::new(&calls);
    let (events, event_answers) = Line::new(&calls);
    let (feed_out, feed) = watch::channel(None);
    let clock = Clock::default();
    let worker = Worker {
        settings,
        clock: clock.clone(),
        compression,
        wanted,
        http,
        calls: calls_in,
        log_answers,
        metric_answers,
        alarm_answers,
        event_answers,
        feed: feed_out,
    };
    std::thread::Builder::new()
        .name("aws".to_owned())
        .spawn(move || {
            let bell: Bell = Rc::new(waker);
            let _last = LastRing(Rc::clone(&bell));
            worker.run(&runtime, &bell);
        })?;
    Ok(Services {
        logs: CloudWatchLogs::new(logs),
        metrics: CloudWatchMetrics::new(metrics, clock),
        alarms: CloudWatchAlarms::new(alarms),
        events: EventBridge::new(events),
        identity: IdentityFeed {
            feed,
            _thread: calls,
        },
    })
}

/// The caller's waker.
type Bell = Rc<dyn Fn()>;

/// Rings when the thread ends, in whatever way, so that its end is noticed.
struct LastRing(Bell);

impl Drop for LastRing {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The thread's side of the channels.
struct Worker {
    settings: Settings,
    clock: Clock,
    compression: Compression,
    wanted: BTreeSet<String>,
    http: SharedHttpClient,
    calls: mpsc::UnboundedReceiver<Call>,
    log_answers: Sender<LogAnswer>,
    metric_answers: Sender<MetricAnswer>,
    alarm_answers: Sender<AlarmAnswer>,
    event_answers: Sender<EventAnswer>,
    feed: watch::Sender<Option<Identity>>,
}

impl Worker {
    /// Serves until the caller has let go of both of its ends.
    fn run(self, runtime: &tokio::runtime::Runtime, bell: &Bell) {
        let clock = self.clock;
        let (region_out, region) = watch::channel(RegionState::Looking);
        let seeker = Seeker::new(Parts {
            settings: self.settings.clone(),
            http: self.http.clone(),
            clock: clock.clone(),
            wanted: self.wanted,
            region: region_out,
            feed: self.feed,
            bell: Rc::clone(bell),
        });
        let gateway = Rc::new(Gateway::new(self.settings, self.http, clock, region));
        let logs: SharedLogs = Rc::new(Logs::new(Rc::clone(&gateway), self.compression));
        let monitoring = Rc::new(Monitoring::new(Rc::clone(&gateway)));
        let alarms = Rc::new(AlarmCalls::new(Rc::clone(&gateway)));
        let bus = Rc::new(Bus::new(gateway));
        let (mut calls, log_answers) = (self.calls, self.log_answers);
        let (metric_answers, alarm_answers) = (self.metric_answers, self.alarm_answers);
        let event_answers = self.event_answers;
        let tasks = LocalSet::new();
        // Ending this ends the tasks with it: the caller is gone, or has its last answers. The
        // seeker is no task, so that a panic in it ends the thread, which is noticed.
        tasks.block_on(runtime, async move {
            let mut seeker = pin!(seeker.run());
            let mut seeking = true;
            let mut rested = true;
            loop {
                let next = poll_fn(|context| {
                    seeking = seeking && seeker.as_mut().poll(context).is_pending();
                    calls.poll_recv(context)
                });
                let next = match rested {
                    true => Ok(next.await),
                    false => timeout(REST_AFTER, next).await,
                };
                rested = next.is_err();
                match next {
                    Err(_elapsed) => logs.rest(),
                    Ok(None) => break,
                    Ok(Some(Call::Log(id, call))) => {
                        let task = serve(Rc::clone(&logs), id, call);
                        answer(task, log_answers.clone(), Rc::clone(bell));
                    }
                    Ok(Some(Call::Metric(id, call))) => {
                        let task = serve_metrics(Rc::clone(&monitoring), id, call);
                        answer(task, metric_answers.clone(), Rc::clone(bell));
                    }
                    Ok(Some(Call::Alarm(id, call))) => {
                        let task = serve_alarms(Rc::clone(&alarms), id, call);
                        answer(task, alarm_answers.clone(), Rc::clone(bell));
                    }
                    Ok(Some(Call::Event(id, call))) => {
                        let task = serve_events(Rc::clone(&bus), id, call);
                        answer(task, event_answers.clone(), Rc::clone(bell));
                    }
                }
            }
        });
    }
}

/// Sends what a task comes to, and rings.
fn answer<A: 'static>(task: impl Future<Output = A> + 'static, to: Sender<A>, bell: Bell) {
    tokio::task::spawn_local(async move {
        // Nobody is left to take the answer when the caller is stopping.
        if to.send(task.await).is_ok() {
            bell();
        }
    });
}

/// Runs a call in a task of its own and makes its answer, also when that task panics.
async fn serve_metrics(monitoring: Rc<Monitoring>, id: CallId, call: MetricCall) -> MetricAnswer {
    let task = tokio::task::spawn_local(async move { monitoring.put(&call).await });
    let result = task
        .await
        .unwrap_or_else(|_| Err(broken("the task of a call panicked")));
    MetricAnswer { id, result }
}

/// The same for a call about alarms.
async fn serve_alarms(alarms: Rc<AlarmCalls>, id: CallId, call: AlarmCall) -> AlarmAnswer {
    let task = tokio::task::spawn_local(async move { alarms.make(&call).await });
    let result = task
        .await
        .unwrap_or_else(|_| Err(broken("the task of a call panicked")));
    AlarmAnswer { id, result }
}

/// The same for a call about events.
async fn serve_events(bus: Rc<Bus>, id: CallId, call: EventCall) -> EventAnswer {
    let task = tokio::task::spawn_local(async move { bus.put(&call).await });
    let result = task
        .await
        .unwrap_or_else(|_| Err(broken("the task of a call panicked")));
    EventAnswer { id, result }
}

/// The same for a call about logs, whose batch comes back too.
async fn serve(logs: SharedLogs, id: CallId, call: LogCall) -> LogAnswer {
    let slot = Rc::new(RefCell::new(None));
    let task = match call {
        LogCall::Put { batch, range } => {
            slot.replace(Some(Carried::new(batch)));
            let slot = Rc::clone(&slot);
            tokio::task::spawn_local(async move { logs.put(&slot, range).await })
        }
        LogCall::CreateStream(target) => {
            tokio::task::spawn_local(async move { logs.create_stream(&target).await })
        }
        LogCall::CreateGroup(name, options) => {
            tokio::task::spawn_local(async move { logs.create_group(&name, &options).await })
        }
    };
    let result = task
        .await
        .unwrap_or_else(|_| Err(broken("the task of a call panicked")));
    LogAnswer {
        id,
        batch: slot.take().map(Carried::unpack),
        result,
    }
}
