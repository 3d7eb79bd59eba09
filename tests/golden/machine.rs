//! A small machine for one case: files below a temporary folder, a clock that stands still for
//! dates and is moved by hand for delays, and a log service in memory that keeps the real one's
//! limits.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, FileTimes, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use deploywatch::agent::{Agent, Edges, Host, Next};
use deploywatch::config::{Config, Identity};
use deploywatch::event::Now;
use deploywatch::os::files::OsFiles;
use deploywatch::os::store::OsStore;
use deploywatch::ports::{
    Accepted, CallId, ErrorClass, Hints, LogAnswer, LogCall, LogService, ServiceError, Watch,
};
use jiff::tz::TimeZone;

use crate::case::{Case, Input};
use crate::counted::Counted;
use crate::nobody::{NoAlarms, NoProcesses};
use crate::told::Told;

/// The name of the instance in every stream.
pub(crate) const INSTANCE: &str = "i-0golden0golden00";

/// Steps after which a run that does not end has failed.
const STEPS_MAX: usize = 200_000;

/// How long a growing file is watched after its last piece: longer than any wait for the end of a
/// line or record.
const CALM_MS: u64 = 20_000;

/// About how many pieces a growing file is written in.
const PIECES: usize = 120;

/// Limits of PutLogEvents (CloudWatch Logs API reference).
const BATCH_BYTES_MAX: usize = 1_048_576;
const BATCH_EVENTS_MAX: usize = 10_000;
const EVENT_OVERHEAD_BYTES: usize = 26;
const BATCH_SPAN_MS_MAX: i64 = 24 * 3_600_000;

/// How the files come into being while the agent runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// All is there; the agent reads it to its end and stops.
    Whole,
    /// All is there; the agent is ended after each of its first steps.
    Stuttering,
    /// The files are written in pieces, with so many restarts in between.
    Growing { restarts: usize },
}

/// One event as the service got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) group: String,
    pub(crate) stream: String,
    pub(crate) time_ms: i64,
    pub(crate) message: String,
}

impl Arrived {
    /// Its line in an expected file.
    pub(crate) fn line(&self) -> String {
        let time = jiff::Timestamp::from_millisecond(self.time_ms).unwrap();
        let event = serde_json::json!({
            "group": self.group,
            "stream": self.stream,
            "time": format!("{time:.3}"),
            "message": self.message,
        });
        format!("{event}\n")
    }
}

/// How long before the case's date the agent was installed: longer ago than any record, but not
/// so long that metrics would be too old.
const INSTALLED_BEFORE_MS: i64 = 13 * 24 * 3_600_000;

/// The machine.
pub(crate) struct Machine {
    dir: tempfile::TempDir,
    config: Config,
    zone: TimeZone,
    wall_ms: i64,
    mono_ms: u64,
    /// What is still to be written of each growing file.
    growing: Vec<(PathBuf, VecDeque<Vec<u8>>)>,
    pub(crate) service: Service,
    pub(crate) metrics: Counted,
    pub(crate) events: Told,
}

/// One life of the agent.
struct Life {
    files: OsFiles,
    store: OsStore,
    watch: EverythingChanged,
    agent: Agent,
}

impl Machine {
    pub(crate) fn new(case: &Case, pace: Pace) -> Self {
        Self::with(
            &|dir| case.config(dir),
            case.inputs(),
            case.zone(),
            case.wall_ms(),
            pace,
        )
    }

    /// The same, on a machine where the agent was installed long before anything was written, and
    /// tells of incidents.
    pub(crate) fn installed_before(case: &Case, pace: Pace) -> Self {
        let nothing = Vec::new();
        let config = &|dir: &Path| {
            let mut config = case.config(dir);
            config.events.enabled = true;
            config
        };
        let mut machine = Self::with(config, nothing, case.zone(), case.wall_ms(), pace);
        machine.wall_ms -= INSTALLED_BEFORE_MS;
        machine.drain();
        machine.wall_ms += INSTALLED_BEFORE_MS;
        for input in case.inputs() {
            machine.place(input, pace);
        }
        machine
    }

    /// Lets the agent ship everything, and publish what it has counted.
    pub(crate) fn run_and_publish(&mut self, pace: Pace) {
        self.run(pace);
        self.drain();
    }

    /// A machine with these files.
    pub(crate) fn with(
        config: &dyn Fn(&Path) -> Config,
        inputs: Vec<Input>,
        zone: TimeZone,
        wall_ms: i64,
        pace: Pace,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for folder in ["log", "root", "app"] {
            std::fs::create_dir(root.join(folder)).unwrap();
        }
        let settings = format!(
            ":log_dir: '{0}/log/'\n:root_dir: '{0}/root'\n:program_name: codedeploy-agent\n",
            root.display()
        );
        std::fs::write(root.join("codedeployagent.yml"), settings).unwrap();
        let mut machine = Self {
            config: config(root),
            zone,
            wall_ms,
            mono_ms: 1_000_000,
            growing: Vec::new(),
            service: Service::default(),
            metrics: Counted::default(),
            events: Told::default(),
            dir,
        };
        for input in inputs {
            machine.place(input, pace);
        }
        machine
    }

    fn place(&mut self, input: Input, pace: Pace) {
        let path = self.dir.path().join(&input.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match pace {
            Pace::Growing { .. } if input.grows => {
                self.growing.push((path, pieces(&input.bytes)));
            }
            _ => {
                std::fs::write(&path, input.bytes).unwrap();
                self.date(&File::options().append(true).open(&path).unwrap());
            }
        }
    }

    /// Files bear the date of the standing clock, not of the day the test is run.
    fn date(&self, file: &File) {
        let wall = Duration::from_millis(self.wall_ms.unsigned_abs());
        let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + wall);
        file.set_times(times).unwrap();
    }

    /// Lets the agent ship everything.
    pub(crate) fn run(&mut self, pace: Pace) {
        match pace {
            Pace::Whole => self.drain(),
            Pace::Stuttering => {
                for steps in [1, 1, 1, 2, 2, 3, 5] {
                    self.run_steps(steps);
                }
                self.drain();
            }
            Pace::Growing { restarts } => self.grow(restarts),
        }
    }

    /// Reads all there is and stops when it is answered for.
    fn drain(&mut self) {
        let mut life = self.start();
        life.agent.stop(None, self.now());
        for _ in 0..STEPS_MAX {
            self.step(&mut life);
            if life.agent.is_done(self.now()) {
                return self.end(life);
            }
        }
        panic!("the agent does not come to an end");
    }

    fn run_steps(&mut self, steps: usize) {
        let mut life = self.start();
        for _ in 0..steps {
            self.step(&mut life);
        }
        self.end(life);
    }

    /// Writes the files piece by piece, then waits until nothing more can come.
    fn grow(&mut self, restarts: usize) {
        let rounds = self
            .growing
            .iter()
            .map(|(_, pieces)| pieces.len())
            .max()
            .unwrap_or(0);
        let life_rounds = rounds / (restarts + 1) + 1;
        let mut life = self.start();
        for round in 1..=rounds {
            self.write_pieces();
            self.mono_ms += 7;
            self.step_in_place(&mut life);
            if restarts > 0 && round % life_rounds == 0 {
                self.end(life);
                life = self.start();
            }
        }
        let calm_ms = self.mono_ms + CALM_MS;
        for _ in 0..STEPS_MAX {
            if self.mono_ms > calm_ms {
                return self.end(life);
            }
            self.step(&mut life);
        }
        panic!("the agent does not come to rest");
    }

    fn write_pieces(&mut self) {
        for (path, pieces) in &mut self.growing {
            if let Some(piece) = pieces.pop_front() {
                let mut file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .unwrap();
                file.write_all(&piece).unwrap();
            }
        }
        for (path, _) in &self.growing {
            if let Ok(file) = File::options().append(true).open(path) {
                self.date(&file);
            }
        }
    }

    fn now(&self) -> Now {
        Now {
            mono_ms: self.mono_ms,
            wall_ms: self.wall_ms,
        }
    }

    fn start(&mut self) -> Life {
        let mut files = OsFiles::new();
        let mut store = OsStore::open(&self.dir.path().join("state")).unwrap();
        let mut watch = EverythingChanged;
        let host = Host {
            zone: self.zone.clone(),
            boot_ms: None,
            boot_id: None,
        };
        let now = self.now();
        let mut edges = Edges {
            files: &mut files,
            store: &mut store,
            watch: &mut watch,
            logs: &mut self.service,
            metrics: &mut self.metrics,
            alarms: &mut NoAlarms,
            events: &mut self.events,
            processes: &mut NoProcesses,
        };
        let mut agent = Agent::start(self.config.clone(), host, 7, &mut edges, now).unwrap();
        agent.learn(
            Identity {
                instance_id: Some(INSTANCE.to_owned()),
                hostname: Some("golden".to_owned()),
                region: Some("eu-west-1".to_owned()),
                account_id: Some("111122223333".to_owned()),
                complete: true,
                ..Identity::default()
            },
            now,
        );
        Life {
            files,
            store,
            watch,
            agent,
        }
    }

    /// One step, and the time until the next one is due passes.
    fn step(&mut self, life: &mut Life) {
        match self.step_in_place(life) {
            Next::Now => self.mono_ms += 1,
            // An answer wakes the loop.
            Next::At(_) if !self.service.calls.is_empty() => self.mono_ms += 1,
            Next::At(due_ms) => self.mono_ms = due_ms.max(self.mono_ms + 1),
        }
    }

    fn step_in_place(&mut self, life: &mut Life) -> Next {
        let now = self.now();
        let mut edges = Edges {
            files: &mut life.files,
            store: &mut life.store,
            watch: &mut life.watch,
            logs: &mut self.service,
            metrics: &mut self.metrics,
            alarms: &mut NoAlarms,
            events: &mut self.events,
            processes: &mut NoProcesses,
        };
        life.agent.step(&mut edges, now)
    }

    fn end(&mut self, mut life: Life) {
        let now = self.now();
        let mut edges = Edges {
            files: &mut life.files,
            store: &mut life.store,
            watch: &mut life.watch,
            logs: &mut self.service,
            metrics: &mut self.metrics,
            alarms: &mut NoAlarms,
            events: &mut self.events,
            processes: &mut NoProcesses,
        };
        life.agent.finish(&mut edges, now);
        // What was still in flight never gets there.
        self.service.calls.clear();
        self.metrics.forget();
        self.events.forget();
        self.mono_ms += 100;
    }
}

/// Cuts a content anywhere, always in the same way.
fn pieces(bytes: &[u8]) -> VecDeque<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(bytes.len() as u64);
    let most = (2 * bytes.len() / PIECES).max(40);
    let mut rest = bytes;
    let mut pieces = VecDeque::new();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(random.usize(1..=most).min(rest.len()));
        pieces.push_back(piece.to_vec());
        rest = behind;
    }
    pieces
}

/// Hints that send the agent to look at everything in every step.
#[derive(Debug)]
struct EverythingChanged;

impl Watch for EverythingChanged {
    fn watch(&mut self, _dir: &Path) -> bool {
        true
    }

    fn unwatch(&mut self, _dir: &Path) {}

    fn take(&mut self) -> Hints {
        Hints {
            paths: Vec::new(),
            rescan: true,
        }
    }
}

/// The log service. A call happens when its answer is fetched: one whose answer nobody fetches
/// never got here.
#[derive(Default)]
pub(crate) struct Service {
    calls: VecDeque<(CallId, LogCall)>,
    groups: BTreeSet<String>,
    streams: BTreeSet<(String, String)>,
    arrived: Vec<Arrived>,
}

impl Service {
    /// Everything that arrived, by group, stream and time; what has the same time stays in the
    /// order in which it came.
    pub(crate) fn sorted(&self) -> Vec<Arrived> {
        let mut arrived = self.arrived.clone();
        arrived.sort_by(|a, b| {
            (&a.group, &a.stream, a.time_ms).cmp(&(&b.group, &b.stream, b.time_ms))
        });
        arrived
    }

    fn create_group(&mut self, group: String) -> Result<Accepted, ServiceError> {
        match self.groups.insert(group) {
            true => Ok(Accepted::default()),
            false => Err(refusal(
                ErrorClass::AlreadyExists,
                "ResourceAlreadyExistsException",
            )),
        }
    }

    fn create_stream(&mut self, group: String, stream: String) -> Result<Accepted, ServiceError> {
        if !self.groups.contains(&group) {
            return Err(refusal(
                ErrorClass::MissingTarget,
                "ResourceNotFoundException",
            ));
        }
        match self.streams.insert((group, stream)) {
            true => Ok(Accepted::default()),
            false => Err(refusal(
                ErrorClass::AlreadyExists,
                "ResourceAlreadyExistsException",
            )),
        }
    }

    fn put(&mut self, body: &[u8]) -> Result<Accepted, ServiceError> {
        let body: serde_json::Value = serde_json::from_slice(body).expect("the body is JSON");
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let (group, stream) = (text(&body["logGroupName"]), text(&body["logStreamName"]));
        if !self.streams.contains(&(group.clone(), stream.clone())) {
            return Err(refusal(
                ErrorClass::MissingTarget,
                "ResourceNotFoundException",
            ));
        }
        let events: Vec<Arrived> = (body["logEvents"].as_array().unwrap().iter())
            .map(|event| Arrived {
                group: group.clone(),
                stream: stream.clone(),
                time_ms: event["timestamp"].as_i64().unwrap(),
                message: text(&event["message"]),
            })
            .collect();
        assert_legal(&events);
        self.arrived.extend(events);
        Ok(Accepted::default())
    }
}

impl LogService for Service {
    fn submit(&mut self, id: CallId, call: LogCall) {
        self.calls.push_back((id, call));
    }

    fn answer(&mut self) -> Option<LogAnswer> {
        let (id, call) = self.calls.pop_front()?;
        let (batch, result) = match call {
            LogCall::Put { batch, range } => {
                let result = self.put(&batch.body_of(range));
                (Some(batch), result)
            }
            LogCall::CreateStream(target) => {
                (None, self.create_stream(target.group, target.stream))
            }
            LogCall::CreateGroup(group, _options) => (None, self.create_group(group)),
        };
        Some(LogAnswer { id, batch, result })
    }
}

/// What the service would refuse is a fault of ours.
fn assert_legal(events: &[Arrived]) {
    assert!(
        (1..=BATCH_EVENTS_MAX).contains(&events.len()),
        "{} events",
        events.len()
    );
    let bytes: usize = events
        .iter()
        .map(|e| e.message.len() + EVENT_OVERHEAD_BYTES)
        .sum();
    assert!(bytes <= BATCH_BYTES_MAX, "{bytes} bytes");
    assert!(
        events.iter().all(|e| !e.message.is_empty()),
        "an empty message"
    );
    assert!(
        events.is_sorted_by_key(|e| e.time_ms),
        "a batch out of order"
    );
    let span_ms = events[events.len() - 1].time_ms - events[0].time_ms;
    assert!(span_ms < BATCH_SPAN_MS_MAX, "a batch of {span_ms} ms");
}

fn refusal(class: ErrorClass, code: &str) -> ServiceError {
    ServiceError {
        class,
        code: code.to_owned(),
        message: "not there".to_owned(),
    }
}
