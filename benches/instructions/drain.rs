//! The real agent over real files, with a log service that takes everything at once: every
//! instruction of a line's path but the network's.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use crate::muted::NoEvents;
use crate::nobody::{NoAlarms, NoProcesses};
use crate::oblivion::AllMetrics;
use deploywatch::agent::{Agent, Edges, Host, Next};
use deploywatch::config::{Config, Identity};
use deploywatch::event::Now;
use deploywatch::os::files::OsFiles;
use deploywatch::os::store::OsStore;
use deploywatch::ports::{Accepted, CallId, Hints, LogAnswer, LogCall, LogService, Watch};
use jiff::tz::TimeZone;

use super::{measured, text};

/// 21 November 2026, 03:00 UTC: an hour after the lines were written.
const START_MS: i64 = 1_795_230_000_000;

/// A drain that takes more steps than this has come to a stop.
const STEPS_MAX: usize = 100_000;

/// Lines of one file, as scripts print them.
pub(crate) fn plain() -> u64 {
    let text = text::plain(20_000);
    let place = Place::new();
    fs::write(place.path("app.log"), &text).expect("the log can be written");
    place.drain(&place.source("*.log"), text::lines_of(&text))
}

/// The CodeDeploy agent's own log: records of several lines.
pub(crate) fn agent_log() -> u64 {
    let text = text::repeated(text::AGENT_LOG, 1 << 20);
    let place = Place::new();
    fs::write(place.path("log/codedeploy-agent.log"), &text).expect("the log can be written");
    place.drain(&place.codedeploy(), text::lines_of(&text))
}

/// The CodeDeploy agent's log of all deployments.
pub(crate) fn deployments_log() -> u64 {
    let text = text::repeated(text::DEPLOYMENTS_LOG, 1 << 20);
    let place = Place::new();
    let path = "root/deployment-logs/codedeploy-agent-deployments.log";
    fs::write(place.path(path), &text).expect("the log can be written");
    place.drain(&place.codedeploy(), text::lines_of(&text))
}

/// The logs of many deployments, each with a stream of its own.
pub(crate) fn scripts_logs() -> u64 {
    let place = Place::new();
    let mut lines = 0;
    for deployment in 0..200 {
        let text = text::plain(50);
        lines += text::lines_of(&text);
        let dir = format!("root/group-{}/d-{deployment:09}/logs", deployment % 5);
        fs::create_dir_all(place.path(&dir)).expect("a directory can be made");
        let path = format!("{dir}/scripts.log");
        fs::write(place.path(&path), text).expect("the log can be written");
    }
    place.drain(&place.codedeploy(), lines)
}

/// More backlogs than there is memory for at a time: a line costs what it costs in one file.
pub(crate) fn backlogs() -> u64 {
    let text = text::plain(1_500);
    let place = Place::new();
    let files = 100;
    for file in 0..files {
        let path = place.path(&format!("app-{file}.log"));
        fs::write(path, &text).expect("the log can be written");
    }
    place.drain(&place.source("*.log"), files * text::lines_of(&text))
}

/// A minute in which nothing happens, with a thousand files that are read to their end.
pub(crate) fn idle_minute() -> u64 {
    let files = 1_000;
    let place = Place::new();
    for file in 0..files {
        let path = place.path(&format!("app-{file}.log"));
        fs::write(path, text::plain(2)).expect("the log can be written");
    }
    let mut world = World::new(&place, &place.source("*.log"));
    world.run_until_delivered(files * 2);
    world.rest(60_000);
    measured(&mut || world.rest(60_000));
    files
}

/// A directory for one workload.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let place = Self { dir };
        for below in ["log", "root/deployment-logs", "root/ongoing-deployment"] {
            fs::create_dir_all(place.path(below)).expect("a directory can be made");
        }
        place
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// A configuration with one source, a stream for each file.
    fn source(&self, names: &str) -> String {
        format!(
            "[codedeploy]\nenabled = false\n[[source]]\nname = \"app\"\npaths = [\"{}\"]\n\
             group = \"/app\"\nstream = \"{{file_name}}\"\n",
            self.path(names).display()
        )
    }

    /// The default configuration, with the CodeDeploy agent's files in this place.
    fn codedeploy(&self) -> String {
        let settings = format!(
            ":log_dir: {}\n:root_dir: {}\n",
            self.path("log").display(),
            self.path("root").display()
        );
        let path = self.path("codedeployagent.yml");
        fs::write(&path, settings).expect("the settings can be written");
        format!("[codedeploy]\nconfig_file = \"{}\"\n", path.display())
    }

    fn drain(&self, config: &str, lines: u64) -> u64 {
        let mut world = World::new(self, config);
        let bytes: u64 = bytes_below(self.dir.path());
        measured(&mut || world.run_until_idle());
        assert!(
            world.service.bytes * 2 > bytes,
            "{} bytes of messages of {bytes} bytes of logs",
            world.service.bytes
        );
        lines
    }
}

/// The size of all logs below a directory.
fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("a directory can be listed");
    let sizes = entries.map(|entry| {
        let path = entry.expect("an entry can be read").path();
        match path.extension() {
            _ if path.is_dir() => bytes_below(&path),
            Some(extension) if extension == "log" => {
                path.metadata().expect("a log can be looked at").len()
            }
            _ => 0,
        }
    });
    sizes.sum()
}

/// The agent and its edges.
struct World {
    agent: Agent,
    files: OsFiles,
    store: OsStore,
    watch: Quiet,
    service: Taker,
    metrics: AllMetrics,
    now: Now,
}

impl World {
    fn new(place: &Place, config: &str) -> Self {
        let (config, _notes) = Config::parse(&[(PathBuf::from("bench.toml"), config.to_owned())])
            .expect("the configuration is right");
        let mut files = OsFiles::new();
        let mut store = OsStore::open(&place.path("state")).expect("the store can be opened");
        let (mut watch, mut service, mut metrics) =
            (Quiet, Taker::default(), AllMetrics::default());
        let host = Host {
            zone: TimeZone::UTC,
            boot_ms: None,
            boot_id: None,
        };
        let now = Now {
            mono_ms: 1_000,
            wall_ms: START_MS,
        };
        let mut edges = Edges {
            files: &mut files,
            store: &mut store,
            watch: &mut watch,
            logs: &mut service,
            metrics: &mut metrics,
            events: &mut NoEvents,
            alarms: &mut NoAlarms,
            processes: &mut NoProcesses,
        };
        let mut agent =
            Agent::start(config, host, 1, &mut edges, now).expect("the agent can start");
        let identity = Identity {
            instance_id: Some("i-0123456789abcdef0".to_owned()),
            ..Identity::default()
        };
        agent.learn(identity, now);
        Self {
            agent,
            files,
            store,
            watch,
            service,
            metrics,
            now,
        }
    }

    /// One step; time goes on to when the next is due.
    fn step(&mut self) {
        let mut edges = Edges {
            files: &mut self.files,
            store: &mut self.store,
            watch: &mut self.watch,
            logs: &mut self.service,
            metrics: &mut self.metrics,
            events: &mut NoEvents,
            alarms: &mut NoAlarms,
            processes: &mut NoProcesses,
        };
        let next = self.agent.step(&mut edges, self.now);
        let pause_ms = match next {
            Next::At(due_ms) if self.service.answers.is_empty() => {
                due_ms.saturating_sub(self.now.mono_ms).max(1)
            }
            Next::Now | Next::At(_) => 1,
        };
        self.now.mono_ms += pause_ms;
        self.now.wall_ms = self.now.wall_ms.saturating_add_unsigned(pause_ms);
    }

    /// Ships what there is, as a stop does.
    fn run_until_idle(&mut self) {
        self.agent.stop(None, self.now);
        for _ in 0..STEPS_MAX {
            self.step();
            if self.agent.is_done(self.now) {
                return;
            }
        }
        panic!("the drain has come to a stop");
    }

    fn run_until_delivered(&mut self, events: u64) {
        for _ in 0..STEPS_MAX {
            self.step();
            if self.service.events >= events {
                return;
            }
        }
        panic!("{} of {events} events delivered", self.service.events);
    }

    fn rest(&mut self, ms: u64) {
        let end_ms = self.now.mono_ms + ms;
        while self.now.mono_ms < end_ms {
            self.step();
        }
    }
}

/// Directories that give hints, of which there are none.
struct Quiet;

impl Watch for Quiet {
    fn watch(&mut self, _: &Path) -> bool {
        true
    }

    fn unwatch(&mut self, _: &Path) {}

    fn take(&mut self) -> Hints {
        Hints::default()
    }
}

/// A log service that takes everything and keeps nothing.
#[derive(Default)]
struct Taker {
    answers: VecDeque<LogAnswer>,
    events: u64,
    bytes: u64,
}

impl LogService for Taker {
    fn submit(&mut self, id: CallId, call: LogCall) {
        let batch = match call {
            LogCall::Put { batch, range } => {
                self.events += range.len() as u64;
                self.bytes += batch.counted_bytes as u64;
                Some(batch)
            }
            LogCall::CreateStream(_) | LogCall::CreateGroup(..) => None,
        };
        self.answers.push_back(LogAnswer {
            id,
            batch,
            result: Ok(Accepted::default()),
        });
    }

    fn answer(&mut self) -> Option<LogAnswer> {
        self.answers.pop_front()
    }
}
