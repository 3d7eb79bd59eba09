//! A directory with log files in it, and the whole agent run over it in this process: real files,
//! real state, and a directory where everything arrives.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::muted::NoEvents;
use crate::nobody::{NoAlarms, NoProcesses};
use crate::oblivion::AllMetrics;
use deploywatch::agent::{Agent, Edges, Host};
use deploywatch::config::{Config, Identity};
use deploywatch::directory::{DirectorySink, LOGS_FILE};
use deploywatch::event::Now;
use deploywatch::os::files::OsFiles;
use deploywatch::os::store::OsStore;
use deploywatch::ports::{
    CallId, ErrorClass, EventAnswer, EventCall, EventService, Hints, ServiceError, Watch,
};
use deploywatch::status::Status;

/// Virtual milliseconds that a drain may take.
const DRAIN_MS: u64 = 600_000;

/// No hints: the scans find everything.
struct Blind;

impl Watch for Blind {
    fn watch(&mut self, _: &Path) -> bool {
        false
    }
    fn unwatch(&mut self, _: &Path) {}
    fn take(&mut self) -> Hints {
        Hints::default()
    }
}

/// A bus that always says to come back later, so that incidents wait in the state.
#[derive(Default)]
struct BusyBus {
    answers: Vec<CallId>,
}

impl EventService for BusyBus {
    fn submit(&mut self, id: CallId, _call: EventCall) {
        self.answers.push(id);
    }

    fn answer(&mut self) -> Option<EventAnswer> {
        let error = ServiceError {
            class: ErrorClass::RetrySoon,
            code: "InternalFailure".to_owned(),
            message: String::new(),
        };
        let id = self.answers.pop()?;
        Some(EventAnswer {
            id,
            result: Err(error),
        })
    }
}

/// The directory; it vanishes with its owner.
pub(crate) struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let machine = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(machine.path("logs")).unwrap();
        machine
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The configuration text of a source over `paths` below the log directory.
    pub(crate) fn source(&self, paths: &str, rest: &str) -> String {
        format!(
            "[codedeploy]\nenabled = false\n[[source]]\nname = \"app\"\npaths = [\"{}/{paths}\"]\n{rest}\n",
            self.path("logs").display()
        )
    }

    /// One run: reads all there is, waits for the answers, stops. What its status said at the end,
    /// or why it did not start.
    pub(crate) fn drain(&self, config: &str) -> Result<Status, String> {
        let (config, _) = Config::parse(&[("a.toml".into(), config.to_owned())]).unwrap();
        let mut files = OsFiles::new();
        let store = OsStore::open(&self.path("state"));
        let mut store = store.map_err(|error| format!("{error}: {:?}", error))?;
        let mut logs = DirectorySink::new(&self.path("out"));
        let (mut no_events, mut busy_bus) = (NoEvents, BusyBus::default());
        let events: &mut dyn EventService = match config.events.enabled {
            true => &mut busy_bus,
            false => &mut no_events,
        };
        let mut edges = Edges {
            files: &mut files,
            store: &mut store,
            watch: &mut Blind,
            logs: &mut logs,
            metrics: &mut AllMetrics::default(),
            events,
            alarms: &mut NoAlarms,
            processes: &mut NoProcesses,
        };
        let host = Host {
            zone: jiff::tz::TimeZone::UTC,
            boot_ms: None,
            boot_id: None,
        };
        let at = |mono_ms: u64| Now {
            mono_ms,
            wall_ms: 1_795_000_000_000 + mono_ms as i64,
        };
        let mut agent = Agent::start(config, host, 7, &mut edges, at(0))
            .map_err(|error| format!("{error}: {error:?}"))?;
        let identity = Identity {
            instance_id: Some("i-0".to_owned()),
            complete: true,
            ..Identity::default()
        };
        agent.learn(identity, at(0));
        agent.stop(None, at(1));
        let mut mono_ms = 1;
        while !agent.is_done(at(mono_ms)) {
            assert!(mono_ms < DRAIN_MS, "{:?}", agent.status(at(mono_ms)));
            agent.step(&mut edges, at(mono_ms));
            mono_ms += 50;
        }
        let status = agent.status(at(mono_ms));
        agent.finish(&mut edges, at(mono_ms));
        Ok(status)
    }

    /// All that arrived, as stream and message, in the order of arrival.
    pub(crate) fn arrived(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.path("out").join(LOGS_FILE)).unwrap_or_default();
        let event = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| event[key].as_str().unwrap().to_owned();
            (text("stream"), text("message"))
        };
        text.lines().map(event).collect()
    }

    /// The messages alone, sorted.
    pub(crate) fn messages(&self) -> Vec<String> {
        let mut messages: Vec<String> = self.arrived().into_iter().map(|(_, text)| text).collect();
        messages.sort();
        messages
    }
}
