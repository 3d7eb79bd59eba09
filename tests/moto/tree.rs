//! A small instance on disk: a CodeDeploy agent's logs and an application's, and what of them must
//! arrive.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// `GROUP STREAM` → events: time and message, in order.
pub(crate) type Streams = BTreeMap<String, Vec<(i64, String)>>;

const GROUP: &str = "9fb43944-176a-43f3-8093-3a53bc771e35";

/// Lines of the application in each part.
const APP_LINES: usize = 2_000;

/// Lines of each deployment in each part.
const SCRIPT_LINES: usize = 400;

/// Which of the lines: each part is later than the one before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    First,
    Second,
    Last,
}

/// The files, and the configuration beside them.
pub(crate) struct Tree {
    dir: tempfile::TempDir,
    /// The first record's time: an hour ago, for the service takes nothing that is very old.
    begin_ms: i64,
}

impl Tree {
    pub(crate) fn new(endpoint: &str, compression: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let config = format!(
            r#"
[agent]
state_dir = "{path}/state"
shutdown_grace = "5s"
[aws]
region = "us-east-1"
endpoint_url = "{endpoint}"
[logs]
compression = "{compression}"
[codedeploy]
config_file = "{path}/codedeployagent.yml"
[codedeploy.agent]
stream = "agent"
[codedeploy.deployments]
stream = "deployments"
[codedeploy.scripts]
stream = "{{deployment_id}}"
[codedeploy.updater]
enabled = false
[[source]]
name = "app"
paths = ["{path}/app/*.log"]
stream = "{{file_name}}"
multiline = "java"
"#
        );
        std::fs::write(dir.path().join("deploywatch.toml"), config).unwrap();
        let layout = format!(":log_dir: '{path}/log'\n:root_dir: '{path}/root'\n");
        std::fs::write(dir.path().join("codedeployagent.yml"), layout).unwrap();
        let begin_ms = Timestamp::now().as_millisecond() / 1000 * 1000 - 3_600_000;
        Self { dir, begin_ms }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("deploywatch.toml")
    }

    /// Writes a part of the lines; what of them must arrive.
    pub(crate) fn fill(&self, part: Part) -> Streams {
        let mut streams = Streams::new();
        let begin_ms = self.begin_ms + 600_000 * part as i64;
        let mut write = |path: &str, target: &str, records: Vec<(i64, String)>| {
            self.append(path, &records);
            streams.insert(target.to_owned(), records);
        };
        write(
            "log/codedeploy-agent.log",
            "/codedeploy/agent agent",
            agent(begin_ms),
        );
        write(
            "root/deployment-logs/codedeploy-agent-deployments.log",
            "/codedeploy/deployments deployments",
            deployments(begin_ms),
        );
        for deployment in ["d-MOTO00001", "d-MOTO00002"] {
            write(
                &format!("root/{GROUP}/{deployment}/logs/scripts.log"),
                &format!("/codedeploy/scripts {deployment}"),
                scripts(begin_ms, deployment),
            );
        }
        write("app/app.log", "/deploywatch/app app.log", app(begin_ms));
        streams
    }

    fn append(&self, path: &str, records: &[(i64, String)]) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        let text: String = records
            .iter()
            .map(|(_, message)| format!("{message}\n"))
            .collect();
        file.write_all(text.as_bytes()).unwrap();
    }
}

/// Adds later events behind earlier ones.
pub(crate) fn extend(streams: &mut Streams, more: Streams) {
    for (name, events) in more {
        streams.entry(name).or_default().extend(events);
    }
}

fn format(time_ms: i64, pattern: &str) -> String {
    Timestamp::from_millisecond(time_ms)
        .unwrap()
        .strftime(pattern)
        .to_string()
}

/// Records of whole seconds, some of several lines.
fn agent(begin_ms: i64) -> Vec<(i64, String)> {
    (0..300)
        .map(|number| {
            let time_ms = begin_ms + 1_000 * number;
            let head = format(time_ms, "%Y-%m-%dT%H:%M:%S");
            let head = format!("{head} INFO  [codedeploy-agent(1814)]: record {number}");
            let message = match number % 7 {
                0 => format!("{head}\n/opt/agent/lib/poller.rb:61:in `run'\n\n    deeper {number}"),
                _ => head,
            };
            (time_ms, message)
        })
        .collect()
}

/// Several lines a millisecond: their order must hold.
fn deployments(begin_ms: i64) -> Vec<(i64, String)> {
    (0..500)
        .map(|number| {
            let time_ms = begin_ms + number / 3;
            let head = format(time_ms, "[%Y-%m-%d %H:%M:%S%.3f]");
            (
                time_ms,
                format!("{head} [d-MOTO00001][stdout]line {number}"),
            )
        })
        .collect()
}

/// Many lines a second.
fn scripts(begin_ms: i64, deployment: &str) -> Vec<(i64, String)> {
    (0..SCRIPT_LINES)
        .map(|number| {
            let time_ms = begin_ms + i64::try_from(number).unwrap() / 50 * 1_000;
            let head = format(time_ms, "%Y-%m-%d %H:%M:%S");
            (
                time_ms,
                format!("{head} [stdout]{deployment} äöü€🦀 \"quoted\"\ttab \\ {number}"),
            )
        })
        .collect()
}

/// Milliseconds, traces, a line of 300 KB.
fn app(begin_ms: i64) -> Vec<(i64, String)> {
    (0..APP_LINES)
        .map(|number| {
            let time_ms = begin_ms + 3 * i64::try_from(number).unwrap();
            let head = format(time_ms, "%Y-%m-%dT%H:%M:%S%.3fZ");
            let message = match number {
                1_000 => format!("{head} long {}", "0123456789äöü€🦀 ".repeat(300_000 / 24)),
                _ if number % 100 == 7 => format!(
                    "{head} ERROR {number}\njava.lang.IllegalStateException: no\n\tat a.B.c(D.java:1)"
                ),
                _ => format!("{head} INFO line {number} of the application"),
            };
            (time_ms, message)
        })
        .collect()
}
