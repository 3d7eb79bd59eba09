//! A second opinion: the real binary against moto, an imitation of AWS that others wrote.
//!
//! Our own stand-in (`tests/support`) is stricter about limits; moto knows things we might have
//! got wrong in the same way on both sides: it checks signatures and policies by itself, and what
//! arrived is read back with boto3, AWS's own client. The agent's user may do only what the README
//! asks for. moto computes the signature of a packed body from the unpacked one, so it cannot check
//! those: packing is tried on a server that does not check.
//!
//! moto is Python. A virtual environment is made once below `target/`, from `requirements.txt`
//! with its hashes. Where that cannot be had (no Python, no network) the tests say SKIPPED and
//! pass, unless `CI=true` or `DEPLOYWATCH_MOTO=required`: then they fail.

#![expect(clippy::unwrap_used, reason = "this is a test")]

#[path = "../support/python.rs"]
mod pinned;
mod python;
mod tree;

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use deploywatch::status::Status;
use python::{Checks, Key, Lines, Moto, lines_of};
use rustix::process::{Pid, Signal, kill_process};
use tree::{Part, Streams, Tree};

/// How long anything may take that takes a second or two on an idle machine.
const LIMIT: Duration = Duration::from_secs(90);

/// A running agent, killed when the test ends before it does.
struct Agent {
    child: Child,
    log: Lines,
}

impl Agent {
    fn start(tree: &Tree, arguments: &[&str], key: &Key) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_deploywatch"))
            .args(arguments)
            .arg("--config")
            .arg(tree.config())
            .env_clear()
            .envs([
                ("PATH", "/usr/bin:/bin"),
                ("TZ", "UTC"),
                ("AWS_EC2_METADATA_DISABLED", "true"),
            ])
            .env("HOME", tree.path())
            .env("AWS_ACCESS_KEY_ID", &key.id)
            .env("AWS_SECRET_ACCESS_KEY", &key.secret)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = lines_of(child.stderr.take().unwrap());
        Self { child, log }
    }

    fn is_up(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits until it has ended by itself.
    fn wait(mut self) -> ExitStatus {
        let mut said = Vec::new();
        let begin = Instant::now();
        // Its end closes the pipe.
        while let Ok(line) = self.log.recv_timeout(LIMIT.saturating_sub(begin.elapsed())) {
            said.push(line);
        }
        assert!(
            begin.elapsed() < LIMIT,
            "the agent does not end:\n{}",
            said.join("\n")
        );
        let status = self.child.wait().unwrap();
        if !status.success() {
            // Shown with the test's failure.
            eprintln!("{}", said.join("\n"));
        }
        status
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Every event of every stream must be there once, in order, with its time.
fn assert_same(expected: &Streams, found: &Streams) {
    let names = |streams: &Streams| streams.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(expected), names(found));
    for (name, expected) in expected {
        let found = &found[name];
        for (at, (ours, theirs)) in expected.iter().zip(found).enumerate() {
            assert!(
                ours == theirs,
                "{name}, event {at}: {} {:.200?} expected, found {} {:.200?}",
                ours.0,
                ours.1,
                theirs.0,
                theirs.1
            );
        }
        assert_eq!(expected.len(), found.len(), "{name}");
    }
}

/// `run --once` brings everything, and a second one nothing twice.
fn assert_everything_arrives(checks: Checks, compression: &str) {
    let Some(moto) = Moto::start(checks) else {
        return;
    };
    let tree = Tree::new(&moto.endpoint, compression);
    let expected = tree.fill(Part::First);
    for _ in 0..2 {
        let status = Agent::start(&tree, &["run", "--once"], &moto.users.agent).wait();
        assert!(status.success(), "{status}");
        let found = moto.read();
        assert_same(&expected, &found.streams);
        assert!(
            found.retention.values().all(|days| *days == Some(30)),
            "{:?}",
            found.retention
        );
    }
}

#[test]
fn everything_arrives_exactly_once_with_the_least_permissions() {
    // The four permissions of the README must do to bring every record of a small CodeDeploy tree
    // and of an application, each once and in order, to a service that checks signatures and
    // policies: shown by reading everything back with boto3.
    assert_everything_arrives(Checks::On, "none");
}

#[test]
fn packed_requests_arrive_as_well() {
    // The default, gzip, must be readable to others, too.
    assert_everything_arrives(Checks::Off, "gzip");
}

#[test]
fn a_running_agent_ships_what_is_written_and_drains_when_it_is_stopped() {
    // Lines written before the start, while the agent runs and just before SIGTERM must all have
    // arrived when it has ended.
    let Some(moto) = Moto::start(Checks::On) else {
        return;
    };
    let tree = Tree::new(&moto.endpoint, "none");
    let mut expected = tree.fill(Part::First);
    let agent = Agent::start(&tree, &["run"], &moto.users.agent);
    wait_until(|| moto.read().streams == expected);
    tree::extend(&mut expected, tree.fill(Part::Second));
    wait_until(|| moto.read().streams == expected);
    tree::extend(&mut expected, tree.fill(Part::Last));
    agent.terminate();
    let status = agent.wait();
    assert!(status.success(), "{status}");
    assert_same(&expected, &moto.read().streams);
}

#[test]
fn refused_credentials_deliver_nothing_lose_nothing_and_are_told() {
    // With a wrong secret, and with a user who may not write, nothing must be accepted and the
    // agent must stay up and tell of it; with the right key all of it must arrive.
    let Some(moto) = Moto::start(Checks::On) else {
        return;
    };
    let tree = Tree::new(&moto.endpoint, "none");
    let expected = tree.fill(Part::First);
    let wrong = Key {
        id: moto.users.agent.id.clone(),
        secret: "not-the-secret".to_owned(),
    };
    for key in [&wrong, &moto.users.stranger] {
        let mut agent = Agent::start(&tree, &["run"], key);
        wait_until(|| problems(&tree).contains("403"));
        assert!(agent.is_up());
        let found = moto.read();
        assert!(found.streams.is_empty() && found.retention.is_empty());
        agent.terminate();
        agent.wait();
    }
    let status = Agent::start(&tree, &["run", "--once"], &moto.users.agent).wait();
    assert!(status.success(), "{status}");
    assert_same(&expected, &moto.read().streams);
}

/// What the running agent says a person must look after.
fn problems(tree: &Tree) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_deploywatch"))
        .args(["status", "--json", "--config"])
        .arg(tree.config())
        .output()
        .unwrap();
    // No agent answers while it is still starting.
    let status = serde_json::from_slice::<Status>(&output.stdout).unwrap_or_default();
    status.problems.join("\n")
}

/// Asks again until it is so; each question takes boto3 a moment.
fn wait_until(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LIMIT, "it did not come to pass");
    }
}

/// The folder of this test's Python parts.
fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moto"))
}
