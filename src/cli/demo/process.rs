//! The real agent as a child process: this very binary, its own configuration and state, no
//! network and nothing of this machine's own CodeDeploy agent.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::DemoError;
use super::machine::Machine;
use crate::cli::load::load_config;
use crate::config::alarm::Alarm;
use crate::os::status_socket;
use crate::status::Status;

/// How long the agent may take to stop before the demo gives it up.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// How often a stopping agent is asked whether it is gone.
const STOP_LOOK: Duration = Duration::from_millis(10);

/// What the demo publishes and judges: periods so short that they end while somebody looks.
const METRICS_AND_ALARMS: &str = r#"
[metrics]
period = "10s"

[[metric]]
name = "PaymentsFailed"
source = "app"
pattern = "payment failed amount=(?<value>[0-9.]+)"

[[alarm]]
preset = "notify-when-deployment-fails"
period = "10s"
actions = ["arn:aws:sns:us-east-1:123456789012:oncall"]

# the preset waits for an hour, three times
[[alarm]]
preset = "stop-when-deployment-hangs"
threshold = 3
period = "10s"
evaluation_periods = 1

[[alarm]]
preset = "reboot-when-codedeploy-agent-dead"
period = "10s"
"#;

/// Where `run` and its agent meet.
#[derive(Debug)]
pub(super) struct Process {
    binary: PathBuf,
    config: PathBuf,
    log: PathBuf,
    socket: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Writes the agent's configuration below `root`. Nothing is started yet.
    pub(super) fn new(binary: &Path, root: &Path, directory: &Path) -> Result<Self, DemoError> {
        let config = root.join("deploywatch.toml");
        let state_dir = root.join("state");
        let text = format!(
            "[agent]\nstate_dir = {}\nshutdown_grace = \"10s\"\n\n\
             [logs]\nsink = \"directory\"\ndirectory = {}\nflush_interval = \"250ms\"\n\n\
             [codedeploy]\nconfig_file = {}\n\n\
             # its log has a fixed place, which may be this machine's own\n\
             [codedeploy.updater]\nenabled = false\n\n\
             [[source]]\nname = \"app\"\npaths = [{}]\n{METRICS_AND_ALARMS}",
            toml_text(&state_dir),
            toml_text(directory),
            toml_text(&Machine::config_file(root)),
            toml_text(&Machine::app_logs(root)),
        );
        std::fs::write(&config, text).map_err(DemoError::at(&config))?;
        Ok(Self {
            binary: binary.to_owned(),
            config,
            log: root.join("deploywatch.log"),
            socket: state_dir.join("status.sock"),
            child: None,
        })
    }

    /// The alarms of the agent's configuration, as the agent reads it.
    pub(super) fn alarms(&self) -> Result<Vec<Arc<Alarm>>, DemoError> {
        let (config, _) = load_config(Some(&self.config))?;
        Ok(config.alarms.alarms)
    }

    /// The agent's own account of itself; `None` while nobody answers.
    pub(super) fn status(&self) -> Option<Status> {
        self.child.as_ref()?;
        // It is starting or stopping: whoever needs an answer asks again.
        status_socket::fetch(&self.socket).ok()
    }

    /// What the agent said so far.
    fn said(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Starts the agent.
    pub(super) fn start(&mut self) -> Result<(), DemoError> {
        let log = OpenOptions::new().append(true).create(true).open(&self.log);
        let log: File = log.map_err(DemoError::at(&self.log))?;
        let again = log.try_clone().map_err(DemoError::at(&self.log))?;
        let child = Command::new(&self.binary)
            .args(["run", "--config"])
            .arg(&self.config)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .env_remove("RUNTIME_DIRECTORY")
            .env_remove("STATE_DIRECTORY")
            .env_remove("JOURNAL_STREAM")
            // Ctrl-C is for the demo, which stops the agent in an orderly way.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(again)
            .spawn()
            .map_err(DemoError::at(&self.binary))?;
        self.child = Some(child);
        Ok(())
    }

    /// The agent's process id, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Fails if the agent has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        match child.try_wait().map_err(DemoError::at(&self.binary))? {
            None => Ok(()),
            Some(status) => Err(self.died(status)),
        }
    }

    /// Stops the agent the way systemd does, and waits until it has drained.
    pub(super) fn stop(&mut self) -> Result<(), DemoError> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        terminate(child).map_err(DemoError::at(&self.binary))?;
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(DemoError::at(&self.binary))? {
                self.child = None;
                return if status.success() {
                    Ok(())
                } else {
                    Err(self.died(status))
                };
            }
            if began.elapsed() > STOP_LIMIT {
                return Err(DemoError::Stuck(self.log.clone()));
            }
            std::thread::sleep(STOP_LOOK);
        }
    }

    fn died(&self, status: ExitStatus) -> DemoError {
        DemoError::Died {
            status,
            said: self.said(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only when it is gone already, which is what is wanted.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn terminate(child: &Child) -> io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("process id out of range"))?;
    Ok(kill_process(pid, Signal::TERM)?)
}

/// A path as a TOML basic string, whose escapes are those of JSON.
fn toml_text(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}
