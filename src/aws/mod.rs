//! The network edge: CloudWatch Logs and the instance's identity, on one thread of their own.
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

mod client;
mod clock_skew;
mod errors;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gzip;
mod http;
mod identity;
mod logs;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::config::{AwsConfig, Compression, Identity};
use crate::ports::{CallId, LogAnswer, LogCall, LogService};
use client::{Gateway, RegionState, Settings};
use clock_skew::Clock;
use identity::{Parts, Seeker};
use logs::{Carried, Logs, SharedLogs, broken};

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
}

/// Starts the network thread. `waker` is called on it whenever there is something to fetch, so it
/// must be quick.
///
/// # Errors
/// When the CA bundle or the endpoint is unusable, or the system has no thread left.
pub fn start(
    options: AwsOptions,
    waker: impl Fn() + Send + 'static,
) -> io::Result<(CloudWatchLogs, IdentityFeed)> {
    let settings = Settings::from_environment(options.aws);
    start_with(settings, options.compression, options.wanted, waker)
}

fn start_with(
    settings: Settings,
    compression: Compression,
    wanted: BTreeSet<String>,
    waker: impl Fn() + Send + 'static,
) -> io::Result<(CloudWatchLogs, IdentityFeed)> {
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
    let (answers_out, answers) = channel();
    let (feed_out, feed) = watch::channel(None);
    let worker = Worker {
        settings,
        compression,
        wanted,
        http,
        calls: calls_in,
        answers: answers_out,
        feed: feed_out,
    };
    std::thread::Builder::new()
        .name("aws".to_owned())
        .spawn(move || {
            let bell: Bell = Rc::new(waker);
            let _last = LastRing(Rc::clone(&bell));
            worker.run(&runtime, &bell);
        })?;
    let identity = IdentityFeed {
        feed,
        _thread: calls.clone(),
    };
    let logs = CloudWatchLogs {
        calls,
        answers,
        unsent: VecDeque::new(),
    };
    Ok((logs, identity))
}

/// CloudWatch Logs as the middle sees it.
#[derive(Debug)]
pub struct CloudWatchLogs {
    calls: mpsc::UnboundedSender<(CallId, LogCall)>,
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
        if let Err(back) = self.calls.send((id, call)) {
            let (id, call) = back.0;
            let batch = match call {
                LogCall::Put { batch, .. } => Some(batch),
                LogCall::CreateStream(_) | LogCall::CreateGroup(..) => None,
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

/// What is known of this instance, as it becomes known.
#[derive(Debug)]
pub struct IdentityFeed {
    feed: watch::Receiver<Option<Identity>>,
    /// Keeps the thread alive for those who want the identity but no CloudWatch Logs.
    _thread: mpsc::UnboundedSender<(CallId, LogCall)>,
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
    compression: Compression,
    wanted: BTreeSet<String>,
    http: SharedHttpClient,
    calls: mpsc::UnboundedReceiver<(CallId, LogCall)>,
    answers: Sender<LogAnswer>,
    feed: watch::Sender<Option<Identity>>,
}

impl Worker {
    /// Serves until the caller has let go of both of its ends.
    fn run(self, runtime: &tokio::runtime::Runtime, bell: &Bell) {
        let clock = Clock::default();
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
        let gateway = Gateway::new(self.settings, self.http, clock, region);
        let logs: SharedLogs = Rc::new(Logs::new(gateway, self.compression));
        let (mut calls, answers) = (self.calls, self.answers);
        let tasks = LocalSet::new();
        // Ending this ends the tasks with it: the caller is gone, or has its last answers. The
        // seeker is no task, so that a panic in it ends the thread, which is noticed.
        tasks.block_on(runtime, async move {
            let mut seeker = pin!(seeker.run());
            let mut seeking = true;
            while let Some((id, call)) = poll_fn(|context| {
                seeking = seeking && seeker.as_mut().poll(context).is_pending();
                calls.poll_recv(context)
            })
            .await
            {
                let task = serve(Rc::clone(&logs), id, call);
                let (answers, bell) = (answers.clone(), Rc::clone(bell));
                tokio::task::spawn_local(async move {
                    // Nobody is left to take the answer when the caller is stopping.
                    if answers.send(task.await).is_ok() {
                        bell();
                    }
                });
            }
        });
    }
}

/// Runs a call in a task of its own and makes its answer, also when that task panics.
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
