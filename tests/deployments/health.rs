//! The CodeDeploy agent's health: alive, dead and why, and when nothing may be said.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use deploywatch::codedeploy::layout::Layout;
use deploywatch::codedeploy::{Eras, Observer, Verdict, What};
use deploywatch::config::Builtin;
use deploywatch::event::{EpochMs, FileKey, Now, Offset};
use deploywatch::ports::{Files, Handle, Kind, Meta, Process, Processes};

use crate::schedule::{ALWAYS, at, restarted};

const BEGIN_MS: EpochMs = 1_795_300_000_000;
const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60_000;
const LOG: &str = "/var/log/aws/codedeploy-agent/codedeploy-agent.log";
const PID_FILE: &str = "/opt/codedeploy-agent/state/.pid/codedeploy-agent.pid";
const TRACKED: &str = "/opt/codedeploy-agent/deployment-root/ongoing-deployment/d-A1";

/// Files in memory: content and time of the last write.
#[derive(Default)]
struct Memory {
    files: BTreeMap<PathBuf, (String, EpochMs)>,
    opened: String,
}

fn meta(modified_ms: EpochMs) -> Meta {
    let key = FileKey {
        device: 1,
        inode: 1,
    };
    Meta {
        key,
        kind: Kind::File,
        size: 0,
        modified_ms,
        links: 1,
    }
}

impl Files for Memory {
    fn list(&mut self, _: &Path, dir: &Path) -> io::Result<Vec<(OsString, Kind)>> {
        let inside = self.files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .map(|path| (path.file_name().unwrap().to_owned(), Kind::File))
            .collect())
    }

    fn stat(&mut self, _: &Path, path: &Path) -> io::Result<Meta> {
        let (_, modified_ms) = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(meta(*modified_ms))
    }

    fn open(&mut self, _: &Path, path: &Path) -> io::Result<(Handle, Meta)> {
        let (content, modified_ms) = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        self.opened.clone_from(content);
        Ok((Handle(0), meta(*modified_ms)))
    }

    fn meta(&mut self, _: Handle) -> io::Result<Meta> {
        Ok(meta(0))
    }

    fn read_at(&mut self, _: Handle, _: Offset, into: &mut [u8]) -> io::Result<usize> {
        into[..self.opened.len()].copy_from_slice(self.opened.as_bytes());
        Ok(self.opened.len())
    }

    fn close(&mut self, _: Handle) {}
}

/// The processes that there are, by id.
#[derive(Default)]
struct Running(BTreeMap<u32, Process>);

impl Processes for Running {
    fn process(&mut self, id: u32, _service: &str) -> io::Result<Option<Process>> {
        Ok(self.0.get(&id).cloned())
    }
}

/// A machine with a CodeDeploy agent, and us on it.
struct Machine {
    observer: Observer,
    files: Memory,
    processes: Running,
    now: Now,
}

impl Machine {
    fn new(eras: Eras) -> Self {
        let (files, processes) = (Memory::default(), Running::default());
        Self {
            observer: Observer::new(None, eras),
            files,
            processes,
            now: at(BEGIN_MS),
        }
    }

    /// With an agent that runs under the id 42.
    fn running() -> Self {
        let mut machine = Self::new(ALWAYS);
        machine.start();
        machine
    }

    fn start(&mut self) {
        self.files
            .files
            .insert(PID_FILE.into(), ("42\n".to_owned(), 0));
        self.files
            .files
            .insert(LOG.into(), (String::new(), BEGIN_MS));
        self.run_with(1);
    }

    fn run_with(&mut self, children: usize) {
        let command = "/opt/codedeploy-agent/bin/codedeploy-agent start".to_owned();
        let process = Process {
            command,
            has_child: children > 0,
        };
        self.processes.0.insert(42, process);
    }

    /// Time passes on the beat of the scan.
    fn pass(&mut self, ms: i64) {
        let end_ms = self.now.wall_ms + ms;
        while self.now.wall_ms < end_ms {
            self.now = at((self.now.wall_ms + 5 * SECOND_MS).min(end_ms));
            self.observer
                .look(&mut self.files, &Layout::default(), false, self.now);
            self.observer
                .look_at_processes(&mut self.processes, self.now);
            self.observer.step(self.now);
        }
    }

    /// A record of the agent log: of 1.x from a message, of 2.x from the level on.
    fn log(&mut self, record: &str) {
        let time_ms = self.now.wall_ms;
        self.log_at(record, time_ms);
        self.files
            .files
            .insert(LOG.into(), (String::new(), time_ms));
    }

    fn log_at(&mut self, record: &str, time_ms: EpochMs) {
        let head = match record.starts_with(" INFO ") || record.starts_with("ERROR ") {
            true => "2026-11-21 03:24:01 ",
            false => "2026-11-21T02:00:00 INFO  [codedeploy-agent(7)]: ",
        };
        let text = format!("{head}{record}");
        self.observer
            .hear(Builtin::Agent, Path::new(LOG), &text, time_ms, self.now);
    }

    fn expect(&self, healthy: Option<bool>, reason: &str) {
        let health = self.observer.health();
        assert_eq!(health.healthy, healthy, "{}", health.reason);
        assert!(
            health.reason.contains(reason),
            "{:?} instead of {reason:?}",
            health.reason
        );
        assert_eq!(self.observer.is_healthy(), healthy);
    }

    fn changes(&mut self) -> Vec<Option<bool>> {
        let changes = self
            .observer
            .take_news()
            .into_iter()
            .filter_map(|news| match news.what {
                What::HealthChanged { verdict } => Some(Verdict::is_healthy(&verdict)),
                _ => None,
            });
        changes.collect()
    }
}

const POLL: &str = r#"[Aws::CodeDeployCommand::Client 200 3.04 0 retries] poll_host_command(host_identifier:"x")  "#;
const DENIED: &str = r#"[Aws::CodeDeployCommand::Client 400 0.002348 0 retries] poll_host_command(host_identifier:"x") Aws::CodeDeployCommand::Errors::AccessDeniedException User: u is not authorized"#;

#[test]
fn the_first_generation_lives_by_its_polls() {
    // Answered polls are health though nothing else is known; three minutes without, whatever the
    // process does, are not, and a poll ends that at once: each change told once.
    let mut machine = Machine::running();
    for _ in 0..10 {
        machine.log(POLL);
        machine.pass(MINUTE_MS);
    }
    machine.expect(Some(true), "answers");
    assert_eq!(machine.changes(), [Some(true)]);
    machine.pass(MINUTE_MS + 55 * SECOND_MS);
    machine.expect(Some(true), "answers");
    machine.pass(10 * SECOND_MS);
    machine.expect(Some(false), "no answered poll since 2026-11-21T");
    machine.log(POLL);
    machine.pass(5 * SECOND_MS);
    machine.expect(Some(true), "answers");
    assert_eq!(machine.changes(), [Some(false), Some(true)]);
}

#[test]
fn each_trouble_has_its_reason() {
    // What keeps the agent from working must be said in its own words, once it has lasted: a table
    // of records of both generations, repeated as the agents repeat them.
    const POLLER: &str = "InstanceAgent::Plugins::CodeDeployPlugin::CommandPoller: ";
    let table = [
        (DENIED.to_owned(), "AccessDeniedException User: u is not authorized"),
        (
            format!("{POLLER}Error polling for host commands: Aws::X - unable to sign - /usr/a.rb:3:in `x'"),
            "unable to sign",
        ),
        (format!("{POLLER}Missing credentials - please check"), "missing credentials"),
        (
            "booting child: error during start or run: Errno::ECONNREFUSED - refused - /a:1:in `x'"
                .to_owned(),
            "Errno::ECONNREFUSED - refused",
        ),
        (
            "ERROR Error polling for host commands: CodeDeploy command service error: HttpError: User: u is not authorized".to_owned(),
            "HttpError: User: u is not authorized",
        ),
    ];
    for (record, reason) in table {
        let mut machine = Machine::running();
        machine.log(&record);
        for _ in 0..6 {
            machine.pass(40 * SECOND_MS);
            machine.log(&record);
        }
        machine.pass(5 * SECOND_MS);
        machine.expect(Some(false), reason);
    }
}

#[test]
fn the_second_generation_lives_while_its_worker_does() {
    // Idle for hours without a line is health; an error or two are nothing; a run of errors is, and
    // is over when it stops; a missing worker is.
    let mut machine = Machine::running();
    machine.log(" INFO Worker 9 starting");
    machine.log(" INFO Starting host command poll loop host_identifier=x");
    machine.pass(180 * MINUTE_MS);
    machine.expect(Some(true), "worker runs");
    let error = "ERROR Error polling for host commands: CodeDeploy command service error: ServerException: Internal failure";
    machine.log(error);
    machine.pass(30 * SECOND_MS);
    machine.log(error);
    machine.pass(5 * MINUTE_MS);
    machine.expect(Some(true), "worker runs");
    for _ in 0..4 {
        machine.log(error);
        machine.pass(80 * SECOND_MS);
    }
    machine.expect(Some(false), "Internal failure");
    machine.pass(3 * MINUTE_MS);
    machine.expect(Some(true), "worker runs");
    machine.run_with(0);
    machine.pass(50 * SECOND_MS);
    machine.expect(Some(true), "worker runs");
    machine.pass(20 * SECOND_MS);
    machine.expect(Some(false), "worker is gone");
    assert_eq!(
        machine.changes(),
        [Some(true), Some(false), Some(true), Some(false)]
    );
}

#[test]
fn a_worker_that_starts_again_and_again_is_no_worker() {
    // Starts without getting ready must be told as a loop, with the reason.
    let mut machine = Machine::running();
    for _ in 0..4 {
        machine.log(" INFO Worker 9 starting");
        machine.log("ERROR Failed to resolve region/host identifier: no metadata");
        machine.pass(20 * SECOND_MS);
    }
    machine.expect(Some(false), "starts again and again: no metadata");
    machine.log(" INFO Starting host command poll loop host_identifier=x");
    machine.pass(4 * MINUTE_MS);
    machine.expect(Some(true), "worker runs");
}

#[test]
fn a_stop_on_purpose_is_no_fault_and_a_lost_process_is() {
    // A clean stop must keep quiet as long as it lasts, in this boot; a process that is just gone
    // must be told; another process under its id must not count.
    for stop in [
        "Stopping master 42",
        " INFO Polling loop stopped \u{2014} waiting for in-flight commands",
    ] {
        let mut machine = Machine::running();
        machine.log(POLL);
        machine.pass(MINUTE_MS);
        machine.log(stop);
        machine.processes.0.clear();
        machine.files.files.remove(Path::new(PID_FILE));
        machine.pass(60 * MINUTE_MS);
        machine.expect(None, "stopped on purpose at 2026-");
        machine.observer = restarted(&machine.observer);
        machine.pass(MINUTE_MS);
        machine.expect(None, "stopped on purpose");
        // With a date set ahead since, the boot seems to be later than the stop.
        let eras = Eras {
            boot_ms: Some(machine.now.wall_ms),
            since_ms: 0,
        };
        machine.observer = Observer::new(Some(machine.observer.saved()), eras);
        machine.pass(2 * MINUTE_MS);
        machine.expect(None, "stopped on purpose");
        // The same stop, but before a boot after which nothing started.
        let mut saved = machine.observer.saved();
        saved.forget_boot();
        machine.observer = Observer::new(Some(saved), eras);
        machine.pass(2 * MINUTE_MS);
        machine.expect(Some(false), "process is gone");
    }
    let mut machine = Machine::running();
    machine.log(" INFO Starting host command poll loop host_identifier=x");
    machine.pass(MINUTE_MS);
    let other = Process {
        command: "sshd".to_owned(),
        has_child: false,
    };
    machine.processes.0.insert(42, other);
    machine.pass(2 * MINUTE_MS);
    machine.expect(Some(false), "process is gone since 2026-11-21T");
}

#[test]
fn no_agent_is_waited_for_in_peace() {
    // Where none is installed nobody is to be called, however long; when it comes it is seen.
    let mut machine = Machine::new(ALWAYS);
    machine.pass(60 * MINUTE_MS);
    machine.expect(None, "no CodeDeploy agent is installed");
    assert_eq!(machine.changes(), []);
    machine.start();
    machine.log(POLL);
    machine.pass(5 * SECOND_MS);
    machine.expect(Some(true), "answers");
}

#[test]
fn neither_clocks_nor_restarts_nor_a_backlog_make_a_verdict() {
    // A jump of the wall clock, a restart of ours and a log that is read long after it was written
    // must not make a living agent dead.
    let mut machine = Machine::running();
    machine.log(POLL);
    machine.pass(MINUTE_MS);
    let now = machine.now;
    let jumped = Now {
        wall_ms: now.wall_ms + 24 * 60 * MINUTE_MS,
        ..now
    };
    machine.observer.step(jumped);
    machine.expect(Some(true), "answers");
    machine.observer = restarted(&machine.observer);
    machine.pass(2 * MINUTE_MS);
    machine.expect(Some(true), "answers");

    // Months of logs, read for ten minutes, while it is written on.
    let mut machine = Machine::running();
    for minute in 0..10 {
        let old_ms = BEGIN_MS - 90 * 24 * 60 * MINUTE_MS + minute * MINUTE_MS;
        machine.log_at(POLL, old_ms);
        machine
            .files
            .files
            .insert(LOG.into(), (String::new(), machine.now.wall_ms));
        machine.pass(MINUTE_MS);
    }
    assert_eq!(machine.changes(), []);
    machine.log(POLL);
    machine.pass(5 * SECOND_MS);
    machine.expect(Some(true), "answers");
}

#[test]
fn a_deployment_runs_since_its_first_record() {
    // The tracking file of the command under way, which is seen before the log is read, must not
    // make a deployment younger: shown by a start of ours in its second command.
    let mut machine = Machine::running();
    let began_ms = BEGIN_MS - 4 * MINUTE_MS;
    let content = ("x".to_owned(), BEGIN_MS - MINUTE_MS);
    machine.files.files.insert(TRACKED.into(), content);
    machine.pass(5 * SECOND_MS);
    for (event, at_ms) in [
        ("BeforeInstall", began_ms),
        ("Install", BEGIN_MS - MINUTE_MS),
    ] {
        let record = format!(
            " INFO Processing host command command_name={event} \
             deployment_execution_id=x/arn:deployment/d-A1 host_command_id=x"
        );
        machine.log_at(&record, at_ms);
    }
    machine.pass(5 * SECOND_MS);
    let seconds = machine.observer.running_seconds(machine.now);
    assert!((seconds - 250.0).abs() < 1.0, "{seconds}");
    // A date that is set ahead, and a restart of ours, do not make it older.
    let jumped = Now {
        wall_ms: machine.now.wall_ms + 60 * MINUTE_MS,
        ..machine.now
    };
    let seconds = restarted(&machine.observer).running_seconds(jumped);
    assert!((seconds - 250.0).abs() < 1.0, "{seconds}");
}

#[test]
fn a_good_verdict_of_long_ago_is_no_verdict() {
    // What an old checkpoint calls well is waited for, and not well, until the agent says something
    // or has been silent for three minutes; one of just now stands meanwhile: shown by restarts
    // some minutes after the last answered poll, of an agent that says no more.
    for (age_min, at_first) in [(2, Some(true)), (4, None), (600, None)] {
        let mut machine = Machine::running();
        machine.log(POLL);
        machine.pass(5 * SECOND_MS);
        let old = restarted(&machine.observer);
        machine.now = at(machine.now.wall_ms + age_min * MINUTE_MS);
        machine.observer = old;
        machine.pass(5 * SECOND_MS);
        assert_eq!(machine.observer.is_healthy(), at_first, "{age_min} minutes");
        machine.pass(3 * MINUTE_MS);
        machine.expect(Some(false), "no answered poll since");
    }
}

#[test]
fn the_second_generation_is_not_well_because_we_restarted() {
    // It logs nothing while all is well, so that nothing is logged proves nothing at our start: one
    // that was not well must not be called well by any number of restarts, and an old checkpoint
    // that calls it well must not make one whose process is gone so.
    let mut machine = Machine::running();
    machine.log(" INFO Starting host command poll loop host_identifier=x");
    machine.pass(MINUTE_MS);
    machine.expect(Some(true), "worker runs");
    let old = machine.observer.saved();
    let refused = "ERROR Error polling for host commands: CodeDeploy command service error: \
                   HttpError: User: u is not authorized";
    for _ in 0..5 {
        machine.log(refused);
        machine.pass(MINUTE_MS);
    }
    machine.expect(Some(false), "does not answer it");
    for _ in 0..3 {
        machine.observer = restarted(&machine.observer);
        machine.pass(20 * SECOND_MS);
        machine.expect(None, "too early");
    }
    machine.processes.0.clear();
    machine.observer = Observer::new(Some(old), ALWAYS);
    machine.pass(5 * SECOND_MS);
    machine.expect(None, "not said anything yet");
}

#[test]
fn time_alone_is_asked_for_and_never_in_the_past() {
    // Whatever happened, the next time to step must lie ahead, and the change must come at it: the
    // silence of 1.x is stepped to by these times alone.
    let mut machine = Machine::running();
    machine.log(POLL);
    machine.pass(5 * SECOND_MS);
    let mut steps = 0;
    while machine.observer.is_healthy() == Some(true) {
        let due = machine.observer.next_due().unwrap();
        assert!(due > machine.now.mono_ms);
        machine.now = at(machine.now.wall_ms + i64::try_from(due - machine.now.mono_ms).unwrap());
        machine.observer.step(machine.now);
        steps += 1;
        assert!(steps < 5, "too many steps");
    }
    machine.expect(Some(false), "no answered poll");
}

#[test]
fn a_tracking_file_shows_what_runs_and_what_does_not() {
    // A deployment with a tracking file must run before any record is read; a command without one
    // must be given up, but its end still be taken when it is read late.
    let mut machine = Machine::running();
    machine
        .files
        .files
        .insert(TRACKED.into(), ("x".to_owned(), BEGIN_MS - MINUTE_MS));
    machine.pass(5 * SECOND_MS);
    let state = |machine: &Machine| {
        let all = machine.observer.deployments(machine.now);
        all.deployments[0].state.clone()
    };
    assert_eq!(state(&machine), "running");
    assert_eq!(machine.observer.running_seconds(machine.now), 65.0);
    let record = |message: &str| {
        format!(" INFO deployment{{deployment_id=d-A1 command=Install app=a}}: {message}")
    };
    machine.log(&record("Executing command"));
    machine.pass(10 * MINUTE_MS);
    assert_eq!(state(&machine), "running");
    machine.files.files.remove(Path::new(TRACKED));
    machine.pass(2 * MINUTE_MS);
    assert_ne!(state(&machine), "running");
    machine.log(&record("Command succeeded elapsed_ms=7"));
    let status = machine.observer.deployments(machine.now);
    assert_eq!(status.deployments[0].events[0].state, "succeeded");
}
