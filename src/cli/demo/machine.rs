//! A made-up instance: what a CodeDeploy agent 1.8 writes on disk while it deploys, in its real
//! formats, with its real ways of rotating and pruning, under a temporary directory. What it says
//! about the service's commands is in [`super::commands`].
//!
//! Everything that is written is remembered as records, which is what [`super::verify`] compares
//! the arrivals with. The story itself is told in [`super::script`].

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Zoned;

use super::DemoError;

/// Deployments kept per deployment group (`:max_revisions:` of the agent's configuration).
const REVISIONS_MAX: usize = 5;

/// Process ids of the made-up agent.
const MASTER_PID: u32 = 2867;
const CHILD_PID: u32 = 2879;

/// Which log, as the agent's sources are called; for scripts one per deployment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    /// `agent`, `deployments`, `scripts`, or the application's.
    pub(super) source: String,
    /// Of a scripts.log.
    pub(super) deployment: Option<String>,
}

impl Key {
    pub(super) fn of(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            deployment: None,
        }
    }

    pub(super) fn scripts(deployment: &str) -> Self {
        Self {
            source: "scripts".to_owned(),
            deployment: Some(deployment.to_owned()),
        }
    }
}

/// One record as it was written: what must arrive as one event, once.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// In which log.
    pub(super) key: Key,
    /// How often that log had been rotated before: order is promised within one file.
    pub(super) generation: u32,
    /// All its lines, without the last newline.
    pub(super) text: String,
}

/// What the machine did besides writing lines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Rolls of the agent log by copy and truncate.
    pub(super) copy_truncates: u32,
    /// Rotations of the deployments log by rename.
    pub(super) renames: u32,
    /// Deployments removed with their scripts.log.
    pub(super) pruned: u32,
    /// Deployments that succeeded.
    pub(super) succeeded: u32,
    /// Deployments that failed.
    pub(super) failed: u32,
    /// What the application failed to be paid.
    pub(super) unpaid: f64,
}

/// One deployment of the story.
#[derive(Clone, Debug)]
pub(super) struct Deployment {
    /// `d-` and nine letters or digits.
    pub(super) id: &'static str,
    /// The deployment group's id: the directory above.
    pub(super) group: &'static str,
}

/// The made-up instance.
#[derive(Debug)]
pub(super) struct Machine {
    log_dir: PathBuf,
    /// Where deployments are unpacked.
    pub(super) root_dir: PathBuf,
    /// The log of the application that is deployed.
    app_log: PathBuf,
    agent_generation: u32,
    deployments_generation: u32,
    /// Deployments on disk, oldest first.
    on_disk: Vec<Deployment>,
    /// Everything written so far.
    pub(super) written: Vec<Written>,
    /// Everything else done so far.
    pub(super) tally: Tally,
    /// Commands received so far.
    pub(super) commands: u32,
}

impl Machine {
    /// Makes the directories and the CodeDeploy agent's configuration below `root`.
    pub(super) fn new(root: &Path) -> Result<Self, DemoError> {
        let log_dir = root.join("var-log/codedeploy-agent");
        let root_dir = root.join("deployment-root");
        for dir in [
            &log_dir,
            &root_dir.join("deployment-logs"),
            &root_dir.join("deployment-instructions"),
            &root_dir.join("ongoing-deployment"),
            &root.join("app"),
        ] {
            std::fs::create_dir_all(dir).map_err(DemoError::at(dir))?;
        }
        let config = Self::config_file(root);
        let text = format!(
            "---\n:log_aws_wire: false\n:log_dir: '{}/'\n:pid_dir: '{}'\n\
             :program_name: codedeploy-agent\n:root_dir: '{}'\n:verbose: false\n\
             :wait_between_runs: 1\n:max_revisions: {REVISIONS_MAX}\n",
            log_dir.display(),
            root.join("pid").display(),
            root_dir.display(),
        );
        std::fs::write(&config, text).map_err(DemoError::at(&config))?;
        Ok(Self {
            log_dir,
            root_dir,
            app_log: root.join("app").join("checkout.log"),
            agent_generation: 0,
            deployments_generation: 0,
            on_disk: Vec::new(),
            written: Vec::new(),
            tally: Tally::default(),
            commands: 0,
        })
    }

    /// The CodeDeploy agent's configuration file.
    pub(super) fn config_file(root: &Path) -> PathBuf {
        root.join("codedeployagent.yml")
    }

    /// The application's logs, as a source names them.
    pub(super) fn app_logs(root: &Path) -> PathBuf {
        root.join("app/*.log")
    }

    /// How many records a log has got so far.
    pub(super) fn count(&self, key: &Key) -> usize {
        self.written.iter().filter(|one| one.key == *key).count()
    }

    /// How many lines were written in all.
    pub(super) fn lines(&self) -> usize {
        let lines = self.written.iter().map(|one| one.text.split('\n').count());
        lines.sum()
    }

    /// One record of the agent log; its lines after the first are its continuation.
    pub(super) fn agent(&mut self, level: &str, message: &str) -> Result<(), DemoError> {
        self.agent_as(CHILD_PID, level, message)
    }

    /// The same by the master process.
    pub(super) fn master(&mut self, message: &str) -> Result<(), DemoError> {
        self.agent_as(
            MASTER_PID,
            "INFO",
            &format!("master {MASTER_PID}: {message}"),
        )
    }

    fn agent_as(&mut self, pid: u32, level: &str, message: &str) -> Result<(), DemoError> {
        let time = Zoned::now().strftime("%Y-%m-%dT%H:%M:%S");
        let text = format!("{time} {level:<5} [codedeploy-agent({pid})]: {message}");
        let generation = self.agent_generation;
        self.record(&self.agent_log(), Key::of("agent"), generation, text)
    }

    /// A line of the application's own log.
    pub(super) fn app(&mut self, text: &str) -> Result<(), DemoError> {
        let path = self.app_log.clone();
        self.record(&path, Key::of("app"), 0, script_line(text))
    }

    /// The application could not take a payment, and logs it.
    pub(super) fn payment_fails(&mut self, amount: f64) -> Result<(), DemoError> {
        self.tally.unpaid += amount;
        self.app(&format!("payment failed amount={amount}"))
    }

    /// A line about a deployment (`LifecycleEvent - …`, `Script - …`, `[stdout]…`) in both places
    /// it goes to.
    pub(super) fn line(&mut self, deployment: &Deployment, text: &str) -> Result<(), DemoError> {
        let path = self.open_scripts(deployment)?;
        let line = script_line(text);
        self.record(&path, Key::scripts(deployment.id), 0, line)?;
        self.deployments_line(deployment, text)
    }

    /// The first half of a line, as a reader sees it who comes in mid-write. The other half comes
    /// by [`Machine::second_half`].
    pub(super) fn first_half(
        &mut self,
        deployment: &Deployment,
        text: &str,
    ) -> Result<String, DemoError> {
        let path = self.open_scripts(deployment)?;
        let line = script_line(text);
        append(&path, line.as_bytes())?;
        Ok(line)
    }

    /// The rest of a line of which `first` is written.
    pub(super) fn second_half(
        &mut self,
        deployment: &Deployment,
        first: &str,
        rest: &str,
    ) -> Result<(), DemoError> {
        let path = self.open_scripts(deployment)?;
        append(&path, format!("{rest}\n").as_bytes())?;
        self.written.push(Written {
            key: Key::scripts(deployment.id),
            generation: 0,
            text: format!("{first}{rest}"),
        });
        Ok(())
    }

    fn deployments_line(&mut self, deployment: &Deployment, text: &str) -> Result<(), DemoError> {
        let path = self.deployments_log();
        if !path.exists() {
            let time = Zoned::now().strftime("%Y-%m-%d %H:%M:%S %z");
            let head = format!("# Logfile created on {time} by logger.rb/v1.5.0");
            self.deployments_record(&path, head)?;
        }
        let time = Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.3f");
        self.deployments_record(&path, format!("[{time}] [{}]{text}", deployment.id))
    }

    fn deployments_record(&mut self, path: &Path, text: String) -> Result<(), DemoError> {
        let generation = self.deployments_generation;
        self.record(path, Key::of("deployments"), generation, text)
    }

    fn open_scripts(&mut self, deployment: &Deployment) -> Result<PathBuf, DemoError> {
        let logs = self.directory(deployment).join("logs");
        if !self.on_disk.iter().any(|known| known.id == deployment.id) {
            self.on_disk.push(deployment.clone());
        }
        std::fs::create_dir_all(&logs).map_err(DemoError::at(&logs))?;
        Ok(logs.join("scripts.log"))
    }

    fn directory(&self, deployment: &Deployment) -> PathBuf {
        self.root_dir.join(deployment.group).join(deployment.id)
    }

    /// The deployments a download of `deployment`'s bundle is going to remove.
    pub(super) fn to_prune(&self, deployment: &Deployment) -> Vec<Deployment> {
        let others: Vec<&Deployment> = self
            .on_disk
            .iter()
            .filter(|other| other.group == deployment.group && other.id != deployment.id)
            .collect();
        let surplus = (others.len() + 1).saturating_sub(REVISIONS_MAX);
        others.into_iter().take(surplus).cloned().collect()
    }

    /// Removes old deployments with everything in them, as `DownloadBundle` does.
    pub(super) fn prune(&mut self, old: &[Deployment]) -> Result<(), DemoError> {
        for deployment in old {
            let dir = self.directory(deployment);
            std::fs::remove_dir_all(&dir).map_err(DemoError::at(&dir))?;
            self.on_disk.retain(|known| known.id != deployment.id);
            self.tally.pruned += 1;
        }
        Ok(())
    }

    /// The daily roll of the agent log: one more record, a copy beside, the log cut to nothing,
    /// the copy renamed to its date. The inode stays.
    pub(super) fn roll_agent_log(&mut self) -> Result<(), DemoError> {
        self.poll()?;
        let live = self.agent_log();
        let copy = self.log_dir.join("codedeploy-agent.log._copy_");
        std::fs::copy(&live, &copy).map_err(DemoError::at(&copy))?;
        let file = OpenOptions::new().write(true).open(&live);
        file.and_then(|file| file.set_len(0))
            .map_err(DemoError::at(&live))?;
        let date = Zoned::now().strftime("%Y%m%d");
        let dated = self.log_dir.join(format!("codedeploy-agent.{date}.log"));
        std::fs::rename(&copy, &dated).map_err(DemoError::at(&dated))?;
        let age = self.log_dir.join("codedeploy-agent.log.age");
        File::create(&age).map_err(DemoError::at(&age))?;
        self.agent_generation += 1;
        self.tally.copy_truncates += 1;
        Ok(())
    }

    /// The rotation of the deployments log by size: every old one one number up, a new file with
    /// the next line.
    pub(super) fn rotate_deployments_log(&mut self) -> Result<(), DemoError> {
        let live = self.deployments_log();
        let old = |number: u32| PathBuf::from(format!("{}.{number}", live.display()));
        for number in (0..self.tally.renames).rev() {
            let to = old(number + 1);
            std::fs::rename(old(number), &to).map_err(DemoError::at(&to))?;
        }
        std::fs::rename(&live, old(0)).map_err(DemoError::at(&live))?;
        self.deployments_generation += 1;
        self.tally.renames += 1;
        Ok(())
    }

    fn agent_log(&self) -> PathBuf {
        self.log_dir.join("codedeploy-agent.log")
    }

    fn deployments_log(&self) -> PathBuf {
        let dir = self.root_dir.join("deployment-logs");
        dir.join("codedeploy-agent-deployments.log")
    }

    fn record(
        &mut self,
        path: &Path,
        key: Key,
        generation: u32,
        text: String,
    ) -> Result<(), DemoError> {
        append(path, format!("{text}\n").as_bytes())?;
        self.written.push(Written {
            key,
            generation,
            text,
        });
        Ok(())
    }
}

fn script_line(text: &str) -> String {
    format!("{} {text}", Zoned::now().strftime("%Y-%m-%d %H:%M:%S"))
}

fn append(path: &Path, bytes: &[u8]) -> Result<(), DemoError> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(bytes))
        .map_err(DemoError::at(path))
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::super::commands::Failure;
    use super::*;

    const GROUP: &str = "9fb43944-176a-43f3-8093-3a53bc771e35";

    fn deployed(machine: &mut Machine, id: &'static str) -> Deployment {
        let deployment = Deployment { id, group: GROUP };
        let command = machine.receive(&deployment, "AfterInstall").unwrap();
        machine.begin(&command).unwrap();
        for text in ["LifecycleEvent - AfterInstall", "[stdout]ü → \"x\""] {
            machine.line(&deployment, text).unwrap();
        }
        let failure = Failure {
            script: "scripts/after_install.sh",
            exit_code: 1,
            output: &["[stderr]no \"table\""],
        };
        machine.fail(&command, failure).unwrap();
        deployment
    }

    fn texts(machine: &Machine, key: &Key) -> String {
        let records = machine.written.iter().filter(|one| one.key == *key);
        records.map(|one| format!("{}\n", one.text)).collect()
    }

    fn read(path: impl AsRef<Path>) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn what_is_remembered_is_what_is_on_disk() {
        // Across both kinds of rotation the files hold exactly the remembered records, in order.
        let dir = tempfile::tempdir().unwrap();
        let mut machine = Machine::new(dir.path()).unwrap();
        deployed(&mut machine, "d-TEST00001");
        machine.roll_agent_log().unwrap();
        machine.rotate_deployments_log().unwrap();
        let deployment = deployed(&mut machine, "d-TEST00002");
        machine.rotate_deployments_log().unwrap();
        let half = machine.first_half(&deployment, "[stdout]a").unwrap();
        machine.second_half(&deployment, &half, "b").unwrap();

        let date = Zoned::now().strftime("%Y%m%d");
        let dated = machine.log_dir.join(format!("codedeploy-agent.{date}.log"));
        let agent = read(dated) + &read(machine.agent_log());
        assert_eq!(agent, texts(&machine, &Key::of("agent")));
        let old = |number| format!("{}.{number}", machine.deployments_log().display());
        let deployments = read(old(1)) + &read(old(0));
        assert_eq!(deployments, texts(&machine, &Key::of("deployments")));
        let scripts = machine.directory(&deployment).join("logs/scripts.log");
        assert_eq!(read(scripts), texts(&machine, &Key::scripts(deployment.id)));
    }

    #[test]
    fn records_have_the_formats_of_the_real_agent() {
        // Each record begins with its log's head, and no other line of it does; the patterns are
        // those that fit real logs without a miss.
        let dir = tempfile::tempdir().unwrap();
        let mut machine = Machine::new(dir.path()).unwrap();
        deployed(&mut machine, "d-TEST00001");
        let pattern = |text: &str| Regex::new(text).unwrap();
        let agent = pattern(
            r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d (?:INFO |WARN |ERROR) \[codedeploy-agent\(\d+\)\]: ",
        );
        let deployments = pattern(
            r"^(?:# Logfile created on .* by logger|\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] \[d-\w+\](?:\[stdout\]|LifecycleEvent - ))",
        );
        let scripts = pattern(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:\[stdout\]|LifecycleEvent - )");
        for record in &machine.written {
            let head = match record.key.source.as_str() {
                "agent" => &agent,
                "deployments" => &deployments,
                _ => &scripts,
            };
            let mut lines = record.text.split('\n');
            assert!(head.is_match(lines.next().unwrap()), "{}", record.text);
            assert!(!lines.any(|line| head.is_match(line)), "{}", record.text);
        }
    }

    #[test]
    fn five_deployments_of_a_group_are_kept() {
        // The oldest goes when a sixth comes, with everything in it.
        let dir = tempfile::tempdir().unwrap();
        let mut machine = Machine::new(dir.path()).unwrap();
        let ids = ["d-1", "d-2", "d-3", "d-4", "d-5"];
        let kept = ids.map(|id| deployed(&mut machine, id));
        assert!(machine.to_prune(&kept[4]).is_empty());
        let sixth = deployed(&mut machine, "d-6");
        let old = machine.to_prune(&sixth);
        assert_eq!(old.len(), 1);
        assert_eq!(old[0].id, "d-1");
        machine.prune(&old).unwrap();
        assert!(!machine.directory(&kept[0]).exists());
        assert!(machine.directory(&kept[1]).exists());
    }
}
