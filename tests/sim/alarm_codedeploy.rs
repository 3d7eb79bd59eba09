//! A CodeDeploy agent that exists only in the simulated tree: of either generation it writes the
//! records, tracking files and pid file that the real ones write, works, hangs, dies, and tells the
//! oracle the truth.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use deploywatch::event::EpochMs;
use deploywatch::ports::{Process, Processes};

use super::base64::base64;
use super::world::files::MemFiles;

const LOG: &str = "/var/log/aws/codedeploy-agent/codedeploy-agent.log";
const ROOT: &str = "/opt/codedeploy-agent/deployment-root";
const PID_FILE: &str = "/opt/codedeploy-agent/state/.pid/codedeploy-agent.pid";
const GROUP: &str = "9fb43944-176a-43f3-8093-3a53bc771e35";
const EVENTS: [&str; 7] = [
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
];

/// Which of the two agents it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    First,
    Second,
}

/// How the agent fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The service answers it.
    Working,
    /// Its process is gone, nobody wanted that.
    Gone,
    /// It is there, and says nothing (1.x).
    Mute,
    /// It is there, and the service refuses it.
    Refused,
    /// Somebody stopped it.
    Stopped,
}

/// How a deployment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Succeeds,
    /// At this lifecycle event.
    FailsAt(usize),
    /// This lifecycle event takes so long, and succeeds.
    HangsAt(usize, u64),
}

/// A deployment under way.
#[derive(Clone, Debug)]
struct Run {
    id: String,
    fate: Fate,
    event: usize,
    /// Whether the command of that event is being carried out.
    is_started: bool,
    next_ms: u64,
    began_ms: u64,
    /// The agent died meanwhile: nobody goes on with it, its tracking file stays.
    is_cut_off: bool,
}

/// What truly happened to a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The date in the record.
    pub(crate) wall_ms: EpochMs,
    pub(crate) failed: bool,
    /// A restart of the CodeDeploy agent cut it off: it failed, and no record gives a reason.
    pub(crate) aborted: bool,
    /// It was the machine's boot that cut it off.
    pub(crate) by_boot: bool,
}

/// Time and place of a turn.
pub(crate) struct Scene<'a> {
    /// The simulation's time.
    pub(crate) ms: u64,
    /// The machine's date.
    pub(crate) wall_ms: EpochMs,
    pub(crate) files: &'a mut MemFiles,
}

/// The agent.
#[derive(Debug)]
pub(crate) struct CodeDeploy {
    pub(crate) generation: Generation,
    pub(crate) mode: Mode,
    pub(crate) processes: MemProcesses,
    rng: fastrand::Rng,
    pid: u32,
    poll_ms: u64,
    runs: Vec<Run>,
    deployments: u32,
    /// What ended since the oracle looked.
    pub(crate) ended: Vec<Ended>,
}

impl CodeDeploy {
    pub(crate) fn new(generation: Generation, seed: u64) -> Self {
        Self {
            generation,
            mode: Mode::Gone,
            processes: MemProcesses::default(),
            rng: fastrand::Rng::with_seed(seed),
            pid: 1_000,
            poll_ms: 0,
            runs: Vec::new(),
            deployments: 0,
            ended: Vec::new(),
        }
    }

    /// Whether it can do its work.
    pub(crate) fn is_working(&self) -> bool {
        self.mode == Mode::Working
    }

    /// Since when the oldest deployment under way has been running.
    pub(crate) fn running_since_ms(&self) -> Option<u64> {
        self.runs.iter().map(|run| run.began_ms).min()
    }

    /// How many deployments are under way.
    pub(crate) fn running(&self) -> usize {
        self.runs.len()
    }

    /// When it has something to do.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let polls = match self.mode {
            Mode::Working | Mode::Refused => Some(self.poll_ms),
            Mode::Gone | Mode::Mute | Mode::Stopped => None,
        };
        let works = matches!(self.mode, Mode::Working);
        let going_on = self.runs.iter().filter(|run| !run.is_cut_off);
        let steps = going_on.map(|run| run.next_ms);
        steps.filter(|_| works).chain(polls).min()
    }

    /// Its process starts, in that mode.
    pub(crate) fn start(&mut self, mode: Mode, scene: &mut Scene<'_>) {
        self.pid += 7;
        self.mode = mode;
        self.poll_ms = scene.ms + self.rng.u64(1_000..8_000);
        if mode == Mode::Gone || mode == Mode::Stopped {
            return;
        }
        let pid = format!("{}\n", self.pid);
        scene.files.unlink(Path::new(PID_FILE));
        scene.files.append(Path::new(PID_FILE), pid.as_bytes());
        self.processes.start(self.pid);
        match self.generation {
            Generation::First => {
                let pid = self.pid;
                self.agent(
                    &format!("Started master {pid} with child {}", pid + 1),
                    scene,
                );
            }
            Generation::Second => {
                let pid = self.pid;
                self.agent(&format!("Worker {pid} starting"), scene);
                self.agent(&format!("Worker {pid} entering polling loop"), scene);
                let host = "host_identifier=arn:aws:ec2:us-east-1:1:instance/i-0";
                self.agent(&format!("Starting host command poll loop {host}"), scene);
            }
        }
        if mode != Mode::Working {
            return;
        }
        let runs = std::mem::take(&mut self.runs);
        for id in self.tracked(scene.files) {
            let path = tracking(&id);
            let identifier = scene.files.content(&path).unwrap_or_default().to_vec();
            let identifier = String::from_utf8_lossy(&identifier).into_owned();
            let text = match self.generation {
                Generation::First => format!(
                    "InstanceAgent::Plugins::CodeDeployPlugin::CommandPoller: Calling \
                     PutHostCommandComplete: 'Failed' {identifier}"
                ),
                Generation::Second => {
                    format!("Calling PutHostCommandComplete: 'Failed' {identifier}")
                }
            };
            self.agent(&text, scene);
            scene.files.unlink(&path);
            self.ended.push(Ended {
                wall_ms: scene.wall_ms,
                failed: true,
                aborted: true,
                by_boot: !runs.iter().any(|run| run.id == id),
            });
        }
        if self.generation == Generation::First {
            self.poll(scene);
        }
    }

    /// It breaks. What it was doing is cut off.
    pub(crate) fn break_down(&mut self, mode: Mode, scene: &mut Scene<'_>) {
        if matches!(mode, Mode::Gone | Mode::Stopped) {
            if mode == Mode::Stopped {
                let text = match self.generation {
                    Generation::First => format!("Stopping master {}", self.pid),
                    Generation::Second => format!("Worker {} shutting down", self.pid),
                };
                self.agent(&text, scene);
                scene.files.unlink(Path::new(PID_FILE));
            }
            self.processes.0.clear();
            self.runs.retain(|run| run.is_started);
            for run in &mut self.runs {
                run.is_cut_off = true;
            }
        }
        self.mode = mode;
        self.poll_ms = scene.ms;
    }

    /// It works again without having been away.
    pub(crate) fn mend(&mut self, scene: &mut Scene<'_>) {
        match self.mode {
            Mode::Gone | Mode::Stopped => self.start(Mode::Working, scene),
            Mode::Mute | Mode::Refused | Mode::Working => {
                self.mode = Mode::Working;
                self.poll_ms = scene.ms;
            }
        }
    }

    /// The machine goes down.
    pub(crate) fn power_off(&mut self) {
        self.processes.0.clear();
        self.runs.clear();
    }

    /// A deployment comes.
    pub(crate) fn deploy(&mut self, fate: Fate, scene: &mut Scene<'_>) {
        self.deployments += 1;
        let id = format!("d-SIM{:06}", self.deployments);
        self.runs.push(Run {
            id,
            fate,
            event: 0,
            is_started: false,
            next_ms: scene.ms,
            began_ms: scene.ms,
            is_cut_off: false,
        });
    }

    /// Does what is due.
    pub(crate) fn turn(&mut self, scene: &mut Scene<'_>) {
        if scene.ms >= self.poll_ms {
            match (self.mode, self.generation) {
                (Mode::Working, Generation::First) => self.poll(scene),
                (Mode::Working, Generation::Second) => self.poll_ms = u64::MAX,
                (Mode::Refused, _) => self.refused(scene),
                _ => {}
            }
        }
        if self.mode != Mode::Working {
            return;
        }
        for at in (0..self.runs.len()).rev() {
            if self.runs[at].next_ms <= scene.ms && !self.runs[at].is_cut_off {
                self.step(at, scene);
            }
        }
    }

    fn poll(&mut self, scene: &mut Scene<'_>) {
        self.poll_ms = scene.ms + self.rng.u64(40_000..80_000);
        self.call("200 45.04 0 retries", POLL, "", scene);
    }

    fn refused(&mut self, scene: &mut Scene<'_>) {
        self.poll_ms = scene.ms + self.rng.u64(20_000..90_000);
        let error = "User: x is not authorized to perform: codedeploy-commands-secure:Poll";
        match self.generation {
            Generation::First => {
                let error =
                    format!("Aws::CodeDeployCommand::Errors::AccessDeniedException {error}");
                self.call("403 0.1 0 retries", POLL, &error, scene);
            }
            Generation::Second => {
                let text = format!(
                    "Error polling for host commands: CodeDeploy command service error: \
                     HttpError: {error}"
                );
                self.record("ERROR", &text, scene);
            }
        }
    }

    /// The next thing in a deployment: a command comes, or ends.
    fn step(&mut self, at: usize, scene: &mut Scene<'_>) {
        let run = self.runs[at].clone();
        let event = EVENTS[run.event];
        let identifier = identifier(&run.id, run.event);
        if !run.is_started {
            let takes_ms = match run.fate {
                Fate::HangsAt(hung, for_ms) if hung == run.event => for_ms,
                _ => self.rng.u64(300..9_000),
            };
            self.begin(&run.id, event, &identifier, scene);
            let run = &mut self.runs[at];
            run.is_started = true;
            run.next_ms = scene.ms + takes_ms;
            return;
        }
        scene.files.unlink(&tracking(&run.id));
        if run.fate == Fate::FailsAt(run.event) {
            self.fail(&run.id, event, &identifier, scene);
        } else {
            self.succeed(&run.id, event, &identifier, scene);
        }
        let is_last = run.event + 1 == EVENTS.len();
        let has_failed = run.fate == Fate::FailsAt(run.event);
        if is_last || has_failed {
            self.runs.remove(at);
            self.ended.push(Ended {
                wall_ms: scene.wall_ms,
                failed: has_failed,
                aborted: false,
                by_boot: false,
            });
            return;
        }
        let gap_ms = self.rng.u64(100..5_000);
        let run = &mut self.runs[at];
        run.event += 1;
        run.is_started = false;
        run.next_ms = scene.ms + gap_ms;
    }

    fn begin(&mut self, id: &str, event: &str, identifier: &str, scene: &mut Scene<'_>) {
        match self.generation {
            Generation::First => {
                let spec = format!(
                    "get_deployment_specification(deployment_execution_id:\"x/arn:deployment/{id}\"\
                     ,host_identifier:\"h\")"
                );
                self.call("200 0.05 0 retries", &spec, "", scene);
                let acknowledgement = format!(
                    r#"put_host_command_acknowledgement(diagnostics:{{format:"JSON",payload:"{{\"IsCommandNoop\":false}}"}},host_command_identifier:"{identifier}")"#
                );
                self.call("200 0.05 0 retries", &acknowledgement, "", scene);
            }
            Generation::Second => {
                let text = format!(
                    "Processing host command command_name={event} \
                     deployment_execution_id=x/arn:deployment/{id} host_command_id={identifier}"
                );
                self.agent(&text, scene);
                self.agent(&span(id, event, "Executing command"), scene);
            }
        }
        let path = tracking(id);
        scene.files.append(&path, identifier.as_bytes());
        let scripts = PathBuf::from(format!("{ROOT}/{GROUP}/{id}/logs/scripts.log"));
        let time = time(scene.wall_ms, "%Y-%m-%d %H:%M:%S");
        let mut text = format!("{time} LifecycleEvent - {event}\n{time} Script - {event}.sh\n");
        for line in 0..self.rng.u32(1..4) {
            text.push_str(&format!("{time} [stdout]line {line} of {id}\n"));
        }
        scene.files.append(&scripts, text.as_bytes());
    }

    fn succeed(&mut self, id: &str, event: &str, identifier: &str, scene: &mut Scene<'_>) {
        match self.generation {
            Generation::First => {
                self.complete("Succeeded", r#"{\"error_code\":0}"#, identifier, scene);
            }
            Generation::Second => {
                let text = span(id, event, "Command succeeded elapsed_ms=1200");
                self.agent(&text, scene);
            }
        }
    }

    /// A failure is told of twice by both generations.
    fn fail(&mut self, id: &str, event: &str, identifier: &str, scene: &mut Scene<'_>) {
        let message = format!("Script at specified location: {event}.sh failed with exit code 3");
        match self.generation {
            Generation::First => {
                for code in [4, 5] {
                    let payload = format!(
                        r#"{{\"error_code\":{code},\"script_name\":\"{event}.sh\",\"message\":\"{message}\",\"log\":\"\"}}"#
                    );
                    self.complete("Failed", &payload, identifier, scene);
                }
            }
            Generation::Second => {
                let error = format!("{event}.sh: {message}");
                let text = format!("Command failed elapsed_ms=1200 error={error}");
                self.record("ERROR", &span(id, event, &text), scene);
                self.record(
                    "ERROR",
                    &format!("Command processing failed: {error}"),
                    scene,
                );
            }
        }
    }

    fn complete(&mut self, status: &str, payload: &str, identifier: &str, scene: &mut Scene<'_>) {
        let call = format!(
            r#"put_host_command_complete(command_status:"{status}",diagnostics:{{format:"JSON",payload:"{payload}"}},host_command_identifier:"{identifier}")"#
        );
        self.call("200 0.05 0 retries", &call, "", scene);
    }

    /// A call as the SDK of 1.x logs it.
    fn call(&mut self, status: &str, call: &str, error: &str, scene: &mut Scene<'_>) {
        let text = format!("[Aws::CodeDeployCommand::Client {status}] {call} {error} \n");
        self.agent(&text, scene);
    }

    fn agent(&mut self, text: &str, scene: &mut Scene<'_>) {
        self.record("INFO", text, scene);
    }

    fn record(&mut self, level: &str, text: &str, scene: &mut Scene<'_>) {
        let line = match self.generation {
            Generation::First => {
                let time = time(scene.wall_ms, "%Y-%m-%dT%H:%M:%S");
                format!(
                    "{time} {level:<5} [codedeploy-agent({})]: {text}\n",
                    self.pid
                )
            }
            Generation::Second => {
                let time = time(scene.wall_ms, "%Y-%m-%d %H:%M:%S");
                format!("{time} {level:>5} {text}\n")
            }
        };
        scene.files.append(Path::new(LOG), line.as_bytes());
    }

    fn tracked(&self, files: &MemFiles) -> Vec<String> {
        let dir = format!("{ROOT}/ongoing-deployment");
        let entries = files.entries(Path::new(&dir));
        let name = |path: PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        entries.into_iter().filter_map(name).collect()
    }
}

const POLL: &str = "poll_host_command(host_identifier:\"arn:aws:ec2:us-east-1:1:instance/i-0\")";

fn span(id: &str, event: &str, text: &str) -> String {
    format!("deployment{{deployment_id={id} command={event} app=sim}}: {text}")
}

fn tracking(id: &str) -> PathBuf {
    PathBuf::from(format!("{ROOT}/ongoing-deployment/{id}"))
}

/// The service's name of a command: JSON in base64.
fn identifier(id: &str, event: usize) -> String {
    let name = EVENTS[event];
    let json = format!(
        r#"["x",{{"deploymentId":"CodeDeploy/arn:deployment/{id}","commandName":"{name}"}}]"#
    );
    base64(json.as_bytes())
}

fn time(wall_ms: EpochMs, format: &str) -> String {
    let time = jiff::Timestamp::from_millisecond(wall_ms).expect("a simulated date is a date");
    time.strftime(format).to_string()
}

/// The simulated machine's processes.
#[derive(Debug, Default)]
pub(crate) struct MemProcesses(BTreeMap<u32, Process>);

impl MemProcesses {
    fn start(&mut self, id: u32) {
        self.0.clear();
        let process = Process {
            command: "/opt/codedeploy-agent/bin/codedeploy-agent start".to_owned(),
            has_child: true,
        };
        self.0.insert(id, process);
    }
}

impl Processes for MemProcesses {
    fn process(&mut self, id: u32, _service: &str) -> io::Result<Option<Process>> {
        Ok(self.0.get(&id).cloned())
    }
}
