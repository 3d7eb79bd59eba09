//! A year of deployments leaves nothing behind in the agent: real files, real state, simulated time.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use deploywatch::agent::{Agent, Edges, Host, Next};
use deploywatch::config::{Config, Identity};
use deploywatch::directory::DirectorySink;
use deploywatch::event::Now;
use deploywatch::os::files::OsFiles;
use deploywatch::os::store::OsStore;
use deploywatch::ports::{Hints, Watch};
use jiff::tz::TimeZone;

#[path = "support/muted.rs"]
mod muted;
#[path = "support/nobody.rs"]
mod nobody;
#[path = "support/oblivion.rs"]
mod oblivion;

use muted::NoEvents;
use nobody::{NoAlarms, NoProcesses};
use oblivion::AllMetrics;

/// Deployments a day, by day and night.
const DEPLOYMENTS_A_DAY: u64 = 2;

/// How many the CodeDeploy agent keeps of its one group.
const KEPT: u64 = 5;

/// 21 November 2026, 02:00 UTC.
const START_MS: i64 = 1_795_226_400_000;

/// Steps in which a deployment must have been read, sent and answered for.
const STEPS: usize = 20;

/// Watches what it is asked to, and says that anything may have changed whenever it is asked.
#[derive(Default)]
struct Attentive {
    watched: BTreeSet<PathBuf>,
    changed: bool,
}

impl Watch for Attentive {
    fn watch(&mut self, dir: &Path) -> bool {
        self.watched.insert(dir.to_owned());
        dir.is_dir()
    }

    fn unwatch(&mut self, dir: &Path) {
        self.watched.remove(dir);
    }

    fn take(&mut self) -> Hints {
        Hints {
            paths: Vec::new(),
            rescan: std::mem::take(&mut self.changed),
        }
    }
}

/// What the agent holds.
#[derive(Debug)]
struct Held {
    files: usize,
    watched: usize,
    descriptors: usize,
    /// Of the largest file: a checkpoint, of which there are three once it was noted twice.
    state_bytes: u64,
    resident_kb: u64,
}

/// The machine and the agent on it.
struct Machine {
    dir: tempfile::TempDir,
    agent: Agent,
    files: OsFiles,
    store: OsStore,
    watch: Attentive,
    logs: DirectorySink,
    metrics: AllMetrics,
    now: Now,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["log", "root/deployment-logs", "root/ongoing-deployment"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        let settings = format!(
            ":log_dir: {}\n:root_dir: {}\n",
            path("log").display(),
            path("root").display()
        );
        fs::write(path("codedeployagent.yml"), settings).unwrap();
        let text = format!(
            "[codedeploy]\nconfig_file = \"{}\"\n",
            path("codedeployagent.yml").display()
        );
        let (config, _) = Config::parse(&[("a.toml".into(), text)]).unwrap();
        let now = Now {
            mono_ms: 1_000,
            wall_ms: START_MS,
        };
        let (mut files, mut watch) = (OsFiles::new(), Attentive::default());
        let mut store = OsStore::open(&path("state")).unwrap();
        let mut logs = DirectorySink::new(&path("out"));
        let mut metrics = AllMetrics::default();
        let host = Host {
            zone: TimeZone::UTC,
            boot_ms: None,
            boot_id: None,
        };
        let mut edges = Edges {
            files: &mut files,
            store: &mut store,
            watch: &mut watch,
            logs: &mut logs,
            metrics: &mut metrics,
            events: &mut NoEvents,
            alarms: &mut NoAlarms,
            processes: &mut NoProcesses,
        };
        let mut agent = Agent::start(config, host, 1, &mut edges, now).unwrap();
        let identity = Identity {
            instance_id: Some("i-0123456789abcdef0".to_owned()),
            complete: true,
            ..Identity::default()
        };
        agent.learn(identity, now);
        Self {
            dir,
            agent,
            files,
            store,
            watch,
            logs,
            metrics,
            now,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Steps, from one due moment to the next, for this many steps; then time goes on so far.
    fn run(&mut self, steps: usize, then_ms: u64) {
        self.watch.changed = true;
        for _ in 0..steps {
            let mut edges = Edges {
                files: &mut self.files,
                store: &mut self.store,
                watch: &mut self.watch,
                logs: &mut self.logs,
                metrics: &mut self.metrics,
                events: &mut NoEvents,
                alarms: &mut NoAlarms,
                processes: &mut NoProcesses,
            };
            let next = self.agent.step(&mut edges, self.now);
            let pause_ms = match next {
                Next::At(due_ms) => due_ms.saturating_sub(self.now.mono_ms).clamp(1, 1_000),
                Next::Now => 1,
            };
            self.pass(pause_ms);
        }
        self.pass(then_ms);
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms = self.now.wall_ms.saturating_add_unsigned(ms);
    }

    fn append(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// One deployment: its logs, the pruning of old ones, and now and then a rotation.
    fn deploy(&mut self, nth: u64) {
        let time = jiff::Timestamp::from_millisecond(self.now.wall_ms).unwrap();
        let (clock, id) = (time.strftime("%Y-%m-%d %H:%M:%S"), format!("d-{nth:09}"));
        let group = "root/9fb43944-176a-43f3-8093-3a53bc771e35";
        for line in 0..5 {
            let scripts = format!("{group}/{id}/logs/scripts.log");
            self.append(&scripts, &format!("{clock} [stdout]line {line} of {id}\n"));
            self.append(
                "root/deployment-logs/codedeploy-agent-deployments.log",
                &format!("[{clock}.000] [{id}][stdout]line {line} of {id}\n"),
            );
        }
        self.append(
            "log/codedeploy-agent.log",
            &format!(
                "{} INFO  [codedeploy-agent(4711)]: [Aws::CodeDeployCommand::Client 200 0.1 0 retries] poll_host_command()\n",
                time.strftime("%Y-%m-%dT%H:%M:%S")
            ),
        );
        if let Some(old) = nth.checked_sub(KEPT) {
            fs::remove_dir_all(self.path(&format!("{group}/d-{old:09}"))).unwrap();
        }
        if nth.is_multiple_of(DEPLOYMENTS_A_DAY) {
            let log = self.path("log/codedeploy-agent.log");
            fs::rename(&log, log.with_extension("log.old")).unwrap();
        }
    }

    fn held(&self) -> Held {
        let state = fs::read_dir(self.path("state")).unwrap();
        let sizes = state.map(|entry| entry.unwrap().metadata().unwrap().len());
        let process = fs::read_to_string("/proc/self/status").unwrap();
        let resident = process.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident_kb = resident.unwrap().trim().trim_end_matches(" kB");
        Held {
            files: self.agent.status(self.now).files.len(),
            watched: self.watch.watched.len(),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            state_bytes: sizes.max().unwrap_or_default(),
            resident_kb: resident_kb.parse().unwrap(),
        }
    }
}

/// Memory, descriptors, watches and state do not grow with the deployments that ever were: shown by
/// what is held after a quarter, and after a year of two a day, of which five are kept; and every line
/// of theirs has arrived once.
#[test]
fn a_year_of_deployments_leaves_nothing_behind() {
    let mut machine = Machine::new();
    let mut quarter = None;
    let deployments = 365 * DEPLOYMENTS_A_DAY;
    for nth in 0..deployments {
        machine.deploy(nth);
        machine.run(STEPS, 86_400_000 / DEPLOYMENTS_A_DAY);
        if nth + 1 == 90 * DEPLOYMENTS_A_DAY {
            quarter = Some(machine.held());
        }
    }
    machine.run(10 * STEPS, 0);
    let (quarter, year) = (quarter.unwrap(), machine.held());
    let told = format!("{quarter:?} after a quarter, {year:?} after a year");
    println!("{told}");
    assert!(year.files <= quarter.files, "{told}");
    assert!(year.watched <= quarter.watched, "{told}");
    assert!(year.descriptors <= quarter.descriptors, "{told}");
    // Numbers become longer, and so do the names of deployments that were.
    assert!(year.state_bytes <= quarter.state_bytes * 11 / 10, "{told}");
    assert!(year.resident_kb <= quarter.resident_kb + 2_048, "{told}");
    let arrived = fs::read_to_string(machine.path("out/logs.ndjson")).unwrap();
    let lines = arrived.matches("of d-").count() as u64;
    assert_eq!(lines, deployments * 10);
}
