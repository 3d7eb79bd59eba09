//! A temporary world with the real binary in it: log directory, state, configuration, environment.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use deploywatch::status::Status;
use rustix::process::{Pid, Signal, kill_process};

use super::cloud::Cloud;
use super::imds::Imds;
use super::sigv4::Key;
use super::tree::Tree;

/// The region of every test.
pub(crate) const REGION: &str = "eu-west-1";
/// A user without privileges.
const NOBODY: u32 = 65_534;
/// How long a command that ends by itself may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Everything an agent needs, in one directory that vanishes with it.
pub(crate) struct World {
    dir: tempfile::TempDir,
    sections: BTreeMap<String, Vec<String>>,
    sources: Vec<String>,
    env: BTreeMap<String, String>,
    user: Option<u32>,
}

impl World {
    /// Off EC2: fixed keys in the environment, no instance metadata, no CodeDeploy.
    pub(crate) fn new(cloud: &Cloud) -> Self {
        let mut world = Self::bare(&cloud.endpoint());
        let key = Key::fixed();
        world.env("AWS_ACCESS_KEY_ID", &key.id);
        world.env("AWS_SECRET_ACCESS_KEY", &key.secret);
        world.env("AWS_EC2_METADATA_DISABLED", "true");
        world.set("aws", &format!("region = \"{REGION}\""));
        world.set("codedeploy", "enabled = false");
        world
    }

    /// On EC2: identity, region and keys come from instance metadata; the service knows the keys.
    pub(crate) fn on_instance(cloud: &Cloud, imds: &Imds) -> Self {
        let mut world = Self::bare(&cloud.endpoint());
        world.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &imds.endpoint());
        if let Some((key, _)) = &imds.state().instance.role {
            cloud.set_key(key, super::state::KeyState::Good);
        }
        world
    }

    /// Nothing but a state directory and an endpoint.
    pub(crate) fn bare(endpoint: &str) -> Self {
        let mut world = Self {
            dir: tempfile::tempdir().unwrap(),
            sections: BTreeMap::new(),
            sources: Vec::new(),
            env: BTreeMap::new(),
            user: None,
        };
        let state = world.path("state");
        let home = world.path("home");
        for dir in [&state, &home, &world.path("log")] {
            std::fs::create_dir_all(dir).unwrap();
        }
        world.set("agent", &format!("state_dir = \"{}\"", state.display()));
        world.set("aws", &format!("endpoint_url = \"{endpoint}\""));
        world.env("HOME", &home.display().to_string());
        world.env("PATH", "/usr/bin:/bin");
        world.env("TZ", "UTC");
        world.env("RUST_BACKTRACE", "1");
        // Nobody listens there: an agent that asks all the same is answered at once.
        world.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
        world
    }

    /// The agent runs without privileges, as far as the test has any to take away.
    pub(crate) fn unprivileged(&mut self) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        self.user = Some(NOBODY);
        std::fs::set_permissions(self.dir.path(), Permissions::from_mode(0o755)).unwrap();
        for name in ["state", "home"] {
            std::os::unix::fs::chown(self.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A path in its log directory, which `app_source` watches.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path("log").join(name)
    }

    /// Sets an environment variable of the agent.
    pub(crate) fn env(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// Adds a line to a section of the configuration, in place of one with the same key.
    pub(crate) fn set(&mut self, section: &str, line: &str) {
        let lines = self.sections.entry(section.to_owned()).or_default();
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        lines.retain(|old| key(old) != key(line));
        lines.push(line.to_owned());
    }

    /// Adds a source: its table without the head.
    pub(crate) fn source(&mut self, table: &str) {
        self.sources.push(format!("[[source]]\n{table}\n"));
    }

    /// Adds an alarm: its table without the head.
    pub(crate) fn alarm(&mut self, table: &str) {
        self.sources.push(format!("[[alarm]]\n{table}\n"));
    }

    /// Adds a metric: its table without the head.
    pub(crate) fn metric(&mut self, table: &str) {
        self.sources.push(format!("[[metric]]\n{table}\n"));
    }

    /// Adds a source `app` over files of the log directory: group `/app`, stream the file's name.
    pub(crate) fn app_source(&mut self, pattern: &str) {
        let path = self.log(pattern);
        self.source(&format!(
            "name = \"app\"\npaths = [\"{}\"]\ngroup = \"/app\"\nstream = \"{{file_name}}\"\n\
             timestamp = \"none\"\nredact = \"off\"",
            path.display()
        ));
    }

    /// Makes a CodeDeploy tree that the configuration leads to.
    pub(crate) fn codedeploy(&mut self) -> Tree {
        let tree = Tree::make(&self.path("codedeploy"));
        let file = tree.config_file.display().to_string();
        self.set("codedeploy", "enabled = true");
        self.set("codedeploy", &format!("config_file = \"{file}\""));
        tree
    }

    /// Writes the configuration as it is now.
    pub(crate) fn write_config(&self) -> PathBuf {
        let mut text = String::new();
        for (section, lines) in &self.sections {
            text.push_str(&format!("[{section}]\n{}\n\n", lines.join("\n")));
        }
        text.push_str(&self.sources.join("\n"));
        self.write_raw_config(&text)
    }

    /// Writes a configuration of the test's own.
    pub(crate) fn write_raw_config(&self, text: &str) -> PathBuf {
        let file = self.path("deploywatch.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Writes the configuration and starts the agent.
    pub(crate) fn start(&self) -> Agent {
        self.write_config();
        self.start_as_written()
    }

    /// Starts the agent with the configuration that is there.
    pub(crate) fn start_as_written(&self) -> Agent {
        let mut child = self
            .command(&["run"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let heard = Arc::new(Heard::default());
        let stderr = child.stderr.take().unwrap();
        let thread_heard = Arc::clone(&heard);
        std::thread::spawn(move || thread_heard.listen(stderr));
        Agent {
            child,
            heard,
            status: None,
        }
    }

    /// Runs a command of the binary to its end: `run --once`, `status --json`, `check`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let heard = Arc::new(Heard::default());
        let stderr = child.stderr.take().unwrap();
        let thread_heard = Arc::clone(&heard);
        std::thread::spawn(move || thread_heard.listen(stderr));
        let mut stdout = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            // What is not UTF-8 shows as missing output.
            stdout.read_to_string(&mut text).ok();
            text
        });
        let mut agent = Agent {
            child,
            heard,
            status: None,
        };
        let status = agent.wait_exit(COMMAND_LIMIT);
        Finished {
            code: status.code(),
            stdout: reader.join().unwrap(),
            stderr: agent.stderr(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deploywatch"));
        command
            .args(&arguments[..1])
            .arg("--config")
            .arg(self.path("deploywatch.toml"))
            .args(&arguments[1..])
            .current_dir(self.dir.path())
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// What the running agent says of itself.
    #[track_caller]
    pub(crate) fn status(&self) -> Status {
        let finished = self.run(&["status", "--json"]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        serde_json::from_str(&finished.stdout).unwrap()
    }

    /// Asks the running agent until it says what is wanted; not yet answering is no fault.
    ///
    /// # Panics
    /// When it has not within `limit`.
    #[track_caller]
    pub(crate) fn wait_status(&self, limit: Duration, what: &str, met: impl Fn(&Status) -> bool) {
        let limit_at = Instant::now() + limit;
        loop {
            let finished = self.run(&["status", "--json"]);
            let status = serde_json::from_str::<Status>(&finished.stdout);
            match status {
                Ok(status) if met(&status) => return,
                other if Instant::now() > limit_at => {
                    panic!("not within {limit:?}: {what}\n{other:#?}\n{finished:?}")
                }
                _ => {}
            }
        }
    }

    /// The contents of all files of a directory of the world, sorted by name; none where there is
    /// no directory.
    pub(crate) fn contents(&self, dir: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(dir)) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.is_file());
        paths.sort();
        let read =
            |path: &PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        paths.iter().map(read).collect()
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Exit code; `None` = killed by a signal.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it said.
    pub(crate) stderr: String,
}

/// A running agent. It is killed when dropped, and what it said is printed when the test fails.
pub(crate) struct Agent {
    child: Child,
    heard: Arc<Heard>,
    status: Option<ExitStatus>,
}

#[derive(Default)]
struct Heard {
    inner: Mutex<(String, Ear)>,
    changed: Condvar,
}

#[derive(Default, PartialEq, Eq)]
enum Ear {
    #[default]
    Open,
    Closed,
}

impl Heard {
    fn listen(&self, stderr: impl Read) {
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let mut inner = self.inner.lock().unwrap();
            inner.0.push_str(&String::from_utf8_lossy(&line));
            self.changed.notify_all();
            line.clear();
        }
        self.inner.lock().unwrap().1 = Ear::Closed;
        self.changed.notify_all();
    }
}

impl Agent {
    /// `kill -9`, and waits for its end.
    pub(crate) fn kill9(mut self) {
        self.signal(Signal::KILL);
        self.wait_exit(Duration::from_secs(5));
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGHUP.
    pub(crate) fn hup(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGTERM, and asserts that it ends with exit code 0 in time.
    #[track_caller]
    pub(crate) fn stop(mut self, limit: Duration) {
        self.terminate();
        let status = self.wait_exit(limit);
        assert_eq!(status.code(), Some(0), "exit of a drained agent: {status}");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended within `limit`.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        // Its end closes its stderr, and unlike its end that can be waited for with a limit.
        let inner = self.heard.inner.lock().unwrap();
        let (inner, waited) = self
            .heard
            .changed
            .wait_timeout_while(inner, limit, |inner| inner.1 == Ear::Open)
            .unwrap();
        drop(inner);
        assert!(
            !waited.timed_out(),
            "the agent has not ended within {limit:?}"
        );
        let status = self.child.wait().unwrap();
        self.status = Some(status);
        status
    }

    /// Waits until it has said a text.
    ///
    /// # Panics
    /// When it has not within `limit`.
    #[track_caller]
    pub(crate) fn wait_said(&self, limit: Duration, text: &str) {
        let inner = self.heard.inner.lock().unwrap();
        let (inner, waited) = self
            .heard
            .changed
            .wait_timeout_while(inner, limit, |inner| !inner.0.contains(text))
            .unwrap();
        drop(inner);
        assert!(
            !waited.timed_out(),
            "the agent has not said {text:?} within {limit:?}"
        );
    }

    /// What it has said so far.
    pub(crate) fn stderr(&self) -> String {
        self.heard.inner.lock().unwrap().0.clone()
    }

    /// Asserts that it still runs.
    #[track_caller]
    pub(crate) fn assert_runs(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the agent ended: {ended:?}");
    }

    fn signal(&self, signal: Signal) {
        // It may have ended already, which whoever waits for it will see.
        kill_process(Pid::from_child(&self.child), signal).ok();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.status.is_none() {
            // It may have ended by itself.
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- the agent said:\n{}---", self.stderr());
        }
    }
}
