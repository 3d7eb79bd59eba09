//! `deploywatch run`: builds the edges, drives the agent's loop, and ends it well.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::agent::{Agent, Edges, Host, Next};
use crate::aws::environment::{self, Service};
use crate::aws::{
    self, AwsOptions, CloudWatchAlarms, CloudWatchLogs, CloudWatchMetrics, EventBridge,
    IdentityFeed,
};
use crate::config::{Config, HardLinks, Sink, Source};
use crate::directory::{DirectoryEvents, DirectoryMetrics, DirectorySink};
use crate::os::files::OsFiles;
use crate::os::log::LogHandle;
use crate::os::processes::SystemProcesses;
use crate::os::status_socket::{StatusSocket, status_socket_path};
use crate::os::store::OsStore;
use crate::os::systemd::Systemd;
use crate::os::wake::{Reasons, Waker, Wakeup};
use crate::os::watch::NotifyWatch;
use crate::os::{clock, host, signal};
use crate::ports::{EventService, LogService, MetricService};
use crate::status::{FileStatus, Status};

use super::ExitCode;
use super::load::load_config;

/// How long to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// A signal says stop.
    Signalled,
    /// Everything there is has been read and answered for.
    Drained,
}

/// Where batches, metrics and events go.
type Services<'a> = (
    &'a mut dyn LogService,
    &'a mut dyn MetricService,
    &'a mut dyn EventService,
);

/// What takes them.
#[derive(Debug)]
enum Out {
    Aws(CloudWatchLogs, CloudWatchMetrics, EventBridge),
    Directory(DirectorySink, DirectoryMetrics, DirectoryEvents),
}

impl Out {
    fn services(&mut self) -> Services<'_> {
        match self {
            Self::Aws(logs, metrics, events) => (logs, metrics, events),
            Self::Directory(logs, metrics, events) => (logs, metrics, events),
        }
    }

    fn is_running(&self) -> bool {
        match self {
            Self::Aws(logs, ..) => logs.is_running(),
            Self::Directory(..) => true,
        }
    }

    /// Whether answers wait that wake nobody.
    fn has_answers(&self) -> bool {
        match self {
            Self::Aws(..) => false,
            Self::Directory(logs, metrics, events) => {
                logs.has_answers() || metrics.has_answers() || events.has_answers()
            }
        }
    }
}

/// Runs the agent.
///
/// # Errors
/// When it cannot start (state directory, threads) or its network thread died.
pub fn run(config_path: Option<&Path>, until: Until) -> anyhow::Result<ExitCode> {
    // First of all: a reload that is asked for before there is anything to reload must not end us.
    let ears = Ears::open()?;
    let (config, notes) = match load_config(config_path) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            return Ok(error.exit_code());
        }
    };
    let log = crate::os::log::start(config.agent.log_level).context("failed to start logging")?;
    crate::os::log::tell_panics_by_place();
    if let Err(error) = host::keep_memory_private() {
        tracing::warn!(%error, "a core dump of this process would hold credentials");
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "deploywatch starts");
    for note in &notes {
        tracing::warn!("{note}");
    }
    let mut process = Process::build(config, config_path.map(Path::to_path_buf), log, ears)?;
    process.drive(until)
}

/// Where signals and everything else that wakes the loop are heard.
struct Ears {
    wakeup: Wakeup,
    waker: Waker,
    signals: signal::SignalListener,
}

impl Ears {
    fn open() -> anyhow::Result<Self> {
        let (wakeup, waker) = Wakeup::new();
        let signals = signal::listen(waker.clone()).context("failed to listen for signals")?;
        Ok(Self {
            wakeup,
            waker,
            signals,
        })
    }
}

/// The edges, the agent, and what the operating system wants of a daemon.
struct Process {
    config_path: Option<PathBuf>,
    files: OsFiles,
    /// Goes first of all: behind the lock that the store holds, its path is the next agent's.
    status: Option<StatusSocket>,
    store: OsStore,
    watch: NotifyWatch,
    out: Out,
    alarms: CloudWatchAlarms,
    processes: SystemProcesses,
    identity: IdentityFeed,
    wakeup: Wakeup,
    systemd: Systemd,
    log: LogHandle,
    config: Config,
    watchdog_due_ms: u64,
    _signals: signal::SignalListener,
}

impl Process {
    fn build(
        config: Config,
        config_path: Option<PathBuf>,
        log: LogHandle,
        ears: Ears,
    ) -> anyhow::Result<Self> {
        let store = OsStore::open(&config.agent.state_dir).context("failed to start")?;
        let Ears {
            wakeup,
            waker,
            signals,
        } = ears;
        let options = AwsOptions {
            aws: config.aws.clone(),
            compression: config.logs.compression,
            wanted: config.variables().iter().map(ToString::to_string).collect(),
            used: Service::used(&config),
        };
        let callback = waker.callback();
        let aws::Services {
            logs,
            metrics,
            alarms,
            events,
            identity,
        } = aws::start(options, callback).context("failed to start the network thread")?;
        let out = match &config.logs.sink {
            Sink::CloudWatch => Out::Aws(logs, metrics, events),
            Sink::Directory(dir) => {
                let metrics = DirectoryMetrics::new(dir);
                Out::Directory(DirectorySink::new(dir), metrics, DirectoryEvents::new(dir))
            }
        };
        let status = open_status(&config, &waker);
        let watch = NotifyWatch::new(waker.callback());
        let mut files = OsFiles::new();
        files.accept_hard_links(hard_link_roots(&config));
        Ok(Self {
            config_path,
            files,
            store,
            watch,
            out,
            alarms,
            processes: SystemProcesses::default(),
            identity,
            wakeup,
            status,
            systemd: Systemd::from_env(),
            log,
            config,
            watchdog_due_ms: 0,
            _signals: signals,
        })
    }

    fn drive(&mut self, until: Until) -> anyhow::Result<ExitCode> {
        let host = Host {
            zone: host::time_zone(),
            boot_ms: host::boot_time_ms()
                .inspect_err(|error| tracing::warn!(%error, "boot time is not known"))
                .ok(),
            boot_id: host::boot_id()
                .inspect_err(|error| tracing::warn!(%error, "the kernel does not name this boot"))
                .ok(),
        };
        let seed = seed();
        let config = self.config.clone();
        let mut agent = Agent::start(config, host, seed, &mut self.edges(), clock::now())
            .context("failed to start")?;
        self.systemd.ready();
        if until == Until::Drained {
            agent.stop(None, clock::now());
        }
        let mut stops = 0;
        loop {
            let next = self.turn(&mut agent);
            if agent.is_done(clock::now()) {
                break;
            }
            anyhow::ensure!(self.out.is_running(), "the network thread has died");
            let reasons = self.wakeup.wait(Some(self.pause(next)));
            stops += reasons.stops;
            self.obey(&mut agent, reasons, stops);
        }
        let code = match until {
            Until::Signalled => ExitCode::Ok,
            Until::Drained if agent.is_blind() => ExitCode::Incomplete,
            Until::Drained => code_of_drain(&agent.status(clock::now()), stops),
        };
        agent.finish(&mut self.edges(), clock::now());
        tracing::info!("deploywatch ends");
        self.log.finish();
        Ok(code)
    }

    /// One step, and what goes with it.
    fn turn(&mut self, agent: &mut Agent) -> Next {
        let now = clock::now();
        if let Some(identity) = self.identity.take() {
            agent.learn(identity, now);
        }
        let next = agent.step(&mut self.edges(), now);
        while let Some(client) = self.status.as_ref().and_then(StatusSocket::request) {
            client.send(agent.status(now));
        }
        if let Some(interval) = self.systemd.watchdog_interval()
            && now.mono_ms >= self.watchdog_due_ms
        {
            // Fed by the loop's own progress: a loop that hangs is restarted.
            self.systemd.watchdog();
            self.watchdog_due_ms = now.mono_ms + millis(interval) / 2;
        }
        self.log.tick();
        next
    }

    /// How long to sleep before the next step.
    fn pause(&self, next: Next) -> Duration {
        let now_ms = clock::now().mono_ms;
        let mut due_ms = match next {
            Next::At(due_ms) if !self.out.has_answers() => due_ms,
            Next::Now | Next::At(_) => now_ms,
        };
        if self.systemd.watchdog_interval().is_some() {
            due_ms = due_ms.min(self.watchdog_due_ms);
        }
        Duration::from_millis(due_ms.saturating_sub(now_ms))
    }

    fn obey(&mut self, agent: &mut Agent, reasons: Reasons, stops: u32) {
        if reasons.stops > 0 {
            let grace = self.config.agent.shutdown_grace;
            // A second signal means now.
            let grace = if stops > 1 { Duration::ZERO } else { grace };
            tracing::info!(
                grace_s = grace.as_secs(),
                "stopping: sending what can be read"
            );
            self.systemd.stopping(grace);
            agent.stop(Some(millis(grace)), clock::now());
        }
        if reasons.reload {
            self.reload(agent);
        }
    }

    /// Takes a changed configuration, or keeps the old one if the new one is bad.
    fn reload(&mut self, agent: &mut Agent) {
        self.systemd.reloading();
        match load_config(self.config_path.as_deref()) {
            Ok((config, notes)) => {
                for note in notes {
                    tracing::warn!("{note}");
                }
                if needs_restart(&self.config, &config) {
                    tracing::warn!(
                        "state_dir, sink, compression and [aws] take effect after a restart"
                    );
                }
                if asks_for_more(&self.config, &config) {
                    tracing::warn!(
                        "names use {{asg}} or {{tag:NAME}} that were not used before: they are \
                         looked up at a start only, restart soon"
                    );
                }
                if let Err(error) = environment::check(&self.config.aws, &Service::used(&config)) {
                    tracing::error!(%error, "calls to a service will fail");
                }
                self.log.set_level(config.agent.log_level);
                self.files.accept_hard_links(hard_link_roots(&config));
                self.config = config.clone();
                agent.reload(config, &mut self.edges(), clock::now());
                tracing::info!("configuration reloaded");
            }
            Err(error) => {
                tracing::error!(%error, "the new configuration is bad and was not taken; the old one stays");
            }
        }
        self.systemd.ready();
    }

    fn edges(&mut self) -> Edges<'_> {
        let (logs, metrics, events) = self.out.services();
        Edges {
            files: &mut self.files,
            store: &mut self.store,
            watch: &mut self.watch,
            logs,
            metrics,
            events,
            alarms: &mut self.alarms,
            processes: &mut self.processes,
        }
    }
}

/// What `--once` has come to: bytes that are left because a signal cut it short, or because a file
/// cannot be read, want another try. What a file grew by meanwhile does not.
fn code_of_drain(status: &Status, stops: u32) -> ExitCode {
    let is_left = |file: &FileStatus| {
        file.lag_bytes > 0 && (stops > 0 || file.state.starts_with("unreadable"))
    };
    match status.files.iter().any(is_left) {
        true => ExitCode::Incomplete,
        false => ExitCode::Ok,
    }
}

/// Below which directories files may have names that others gave them.
fn hard_link_roots(config: &Config) -> Vec<PathBuf> {
    let allowed = |source: &&Source| source.hard_links == HardLinks::Allow;
    let sources = config.all_sources().filter(allowed);
    let patterns = sources.flat_map(|source| &source.paths);
    patterns.map(|pattern| pattern.root.to_path_buf()).collect()
}

fn open_status(config: &Config, waker: &Waker) -> Option<StatusSocket> {
    let path = status_socket_path(&config.agent);
    let callback = waker.callback();
    StatusSocket::open(&path, Box::new(callback))
        .inspect_err(|error| tracing::warn!(%error, "`deploywatch status` will not work"))
        .ok()
}

fn needs_restart(old: &Config, new: &Config) -> bool {
    old.agent.state_dir != new.agent.state_dir
        || old.logs.sink != new.logs.sink
        || old.logs.compression != new.logs.compression
        || format!("{:?}", old.aws) != format!("{:?}", new.aws)
}

/// Whether names use what instance metadata was not asked for at the start.
fn asks_for_more(old: &Config, new: &Config) -> bool {
    let (known, wanted) = (old.variables(), new.variables());
    wanted.difference(&known).any(|variable| {
        let name = variable.to_string();
        name == "asg" || name.starts_with("tag:")
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Jitter must differ between instances, not repeat: time and process id are enough.
fn seed() -> u64 {
    let now = clock::now();
    now.wall_ms.unsigned_abs().rotate_left(20) ^ now.mono_ms ^ u64::from(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what is new and must be looked up wants a restart: shown by a tag, which does, by a
    /// name of the file, which does not, and by going back.
    #[test]
    fn a_tag_that_is_new_wants_a_restart() {
        let config = |group: &str| {
            let text = format!("[codedeploy.agent]\ngroup = \"{group}\"\n");
            Config::parse(&[(PathBuf::from("a.toml"), text)]).unwrap().0
        };
        let (plain, tagged) = (config("/a"), config("/a/{tag:Stage|none}"));
        assert!(asks_for_more(&plain, &tagged));
        assert!(!asks_for_more(&tagged, &tagged));
        assert!(!asks_for_more(&tagged, &plain));
        assert!(!asks_for_more(&plain, &config("/a/{file_name}")));
    }

    /// Who may have the state directory next finds no socket that goes with the agent before: shown by
    /// an agent that ends while another waits for its state.
    #[test]
    fn the_socket_goes_before_the_state_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let text = format!(
            "[agent]\nstate_dir = \"{}\"\n[logs]\nsink = \"directory\"\n",
            state.display()
        );
        let (config, _) = Config::parse(&[(PathBuf::from("a.toml"), text)]).unwrap();
        let socket = status_socket_path(&config.agent);
        let log = crate::os::log::start(tracing::Level::ERROR).unwrap();
        for _ in 0..20 {
            let process = {
                let ears = Ears::open().unwrap();
                Process::build(config.clone(), None, log.clone(), ears).unwrap()
            };
            assert!(socket.exists());
            let lock = std::fs::File::open(state.join("lock")).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| drop(process));
                lock.lock_shared().unwrap();
                assert!(!socket.exists(), "the next agent's socket would go");
            });
        }
    }

    /// Only a drain that was cut short, or met a file it cannot read, asks for another try: shown
    /// by one file that is behind, in each state, with and without a signal.
    #[test]
    fn a_drain_says_whether_another_try_is_worth_it() {
        let code = |state: &str, lag_bytes: u64, stops: u32| {
            let file = FileStatus {
                state: state.to_owned(),
                lag_bytes,
                ..FileStatus::default()
            };
            let status = Status {
                files: vec![FileStatus::default(), file],
                ..Status::default()
            };
            code_of_drain(&status, stops)
        };
        assert_eq!(code("idle", 0, 0), ExitCode::Ok);
        assert_eq!(code("reading", 7, 0), ExitCode::Ok);
        assert_eq!(code("idle", 0, 1), ExitCode::Ok);
        assert_eq!(code("idle", 7, 1), ExitCode::Incomplete);
        assert_eq!(code("unreadable: denied", 7, 0), ExitCode::Incomplete);
    }
}
