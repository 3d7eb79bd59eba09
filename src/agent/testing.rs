//! An agent that ships a directory of logs into another, for tests.

use std::path::Path;

use crate::config::{Config, Identity};
use crate::directory::{DirectoryEvents, DirectoryMetrics, DirectorySink, LOGS_FILE};
use crate::event::{FileId, Now};
use crate::os::files::OsFiles;
use crate::os::processes::SystemProcesses;
use crate::os::store::OsStore;
use crate::ports::CallId;
use crate::ports::alarm::{AlarmAnswer, AlarmCall, AlarmService};
use crate::ship::TargetId;
use crate::status::Status;
use crate::tail::testing::Silent;

use super::{Agent, Edges, Host};

/// No alarm is configured.
struct NoAlarms;

impl AlarmService for NoAlarms {
    fn submit(&mut self, _id: CallId, call: AlarmCall) {
        panic!("no alarm is configured, and yet {call:?}");
    }
    fn answer(&mut self) -> Option<AlarmAnswer> {
        None
    }
}

pub(super) fn at(mono_ms: u64) -> Now {
    Now {
        mono_ms,
        wall_ms: 1_795_000_000_000 + mono_ms as i64,
    }
}

/// A directory with these logs in it, for [`run`].
pub(super) fn directory_of(logs: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("logs")).unwrap();
    for (name, text) in logs {
        std::fs::write(dir.path().join(format!("logs/{name}.log")), text).unwrap();
    }
    dir
}

/// Starts an agent that has found one log and not read it, and does so with it.
pub(super) fn with_one_file(text: &str, so: impl FnOnce(Agent, &mut Edges<'_>, FileId, TargetId)) {
    run(directory_of(&[("a", text)]).path(), |mut agent, edges| {
        agent.look(edges, at(1));
        let id = *agent.lanes.keys().next().unwrap();
        let target = agent.target_of(id).unwrap();
        so(agent, edges, id, target);
    });
}

/// Drains a directory of logs into `out`, as one run of the agent; gives what its status said.
pub(super) fn drain(dir: &Path) -> Status {
    run(dir, finish)
}

/// Has an agent read and send all there is, and ends it; gives what its status said.
pub(super) fn finish(mut agent: Agent, edges: &mut Edges<'_>) -> Status {
    let mut mono_ms = 100;
    agent.stop(None, at(mono_ms));
    while !agent.is_done(at(mono_ms)) {
        assert!(mono_ms < 600_000, "{:?}", agent.status(at(mono_ms)));
        agent.step(edges, at(mono_ms));
        mono_ms += 100;
    }
    let status = agent.status(at(mono_ms));
    agent.finish(edges, at(mono_ms));
    status
}

/// The logs of a directory as a source of that name.
pub(super) fn config_of(dir: &Path, source: &str) -> Config {
    config_with(dir, source, "")
}

/// The same with more keys.
pub(super) fn config_with(dir: &Path, source: &str, keys: &str) -> Config {
    let text = format!(
        "[codedeploy]\nenabled = false\n[[source]]\nname = \"{source}\"\npaths = [\"{}/*.log\"]\n{keys}\n",
        dir.join("logs").display()
    );
    let (config, _) = Config::parse(&[("a.toml".into(), text)]).unwrap();
    config
}

/// A configuration that names the CodeDeploy agent's own, which says that its logs and its root are
/// below a directory.
pub(super) fn codedeploy_config(dir: &Path) -> Config {
    let file = dir.join("codedeployagent.yml");
    let (logs, root) = (dir.join("logs"), dir.join("root"));
    let text = format!(
        "---\n:log_dir: '{}'\n:root_dir: '{}'\n",
        logs.display(),
        root.display()
    );
    std::fs::write(&file, text).unwrap();
    let text = format!("[codedeploy]\nconfig_file = \"{}\"\n", file.display());
    Config::parse(&[("a.toml".into(), text)]).unwrap().0
}

/// Starts an agent that ships the logs of a directory into `out`, and runs it so.
pub(super) fn run<T>(dir: &Path, so: impl FnOnce(Agent, &mut Edges<'_>) -> T) -> T {
    let config = config_of(dir, "app");
    let mut files = OsFiles::new();
    let mut store = OsStore::open(&dir.join("state")).unwrap();
    let mut logs = DirectorySink::new(&dir.join("out"));
    let mut edges = Edges {
        files: &mut files,
        store: &mut store,
        watch: &mut Silent { is_watching: false },
        logs: &mut logs,
        metrics: &mut DirectoryMetrics::new(&dir.join("out")),
        events: &mut DirectoryEvents::new(&dir.join("out")),
        alarms: &mut NoAlarms,
        processes: &mut SystemProcesses::default(),
    };
    let host = Host {
        zone: jiff::tz::TimeZone::UTC,
        boot_ms: None,
        boot_id: None,
    };
    let mut agent = Agent::start(config, host, 7, &mut edges, at(0)).unwrap();
    let identity = Identity {
        instance_id: Some("i-0".to_owned()),
        complete: true,
        ..Identity::default()
    };
    agent.learn(identity, at(0));
    so(agent, &mut edges)
}

/// What arrived, a line for each event.
pub(super) fn sent_text(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("out").join(LOGS_FILE)).unwrap_or_default()
}

/// The messages that arrived, in their order.
pub(super) fn sent(dir: &Path) -> Vec<String> {
    let text = sent_text(dir);
    let message = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event["message"].as_str().unwrap().to_owned()
    };
    text.lines().map(message).collect()
}

/// How often a message arrived.
pub(super) fn count_sent(dir: &Path, message: &str) -> usize {
    let sent = sent(dir);
    sent.iter().filter(|other| *other == message).count()
}
