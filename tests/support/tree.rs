//! A CodeDeploy tree as the 1.x agent keeps it, written by hand.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::lines::{append, shift};

/// Group id of the tree's deployments.
pub(crate) const GROUP: &str = "9fb43944-176a-43f3-8093-3a53bc771e35";

/// The directories of one CodeDeploy agent.
pub(crate) struct Tree {
    /// `/var/log/aws/codedeploy-agent` elsewhere.
    pub(crate) log_dir: PathBuf,
    /// `/opt/codedeploy-agent/deployment-root` elsewhere.
    pub(crate) root_dir: PathBuf,
    /// `codedeployagent.yml`.
    pub(crate) config_file: PathBuf,
}

impl Tree {
    /// Makes the directories and the configuration, with the Ruby symbols the package has.
    pub(crate) fn make(dir: &Path) -> Self {
        let tree = Self {
            log_dir: dir.join("var-log"),
            root_dir: dir.join("deployment-root"),
            config_file: dir.join("codedeployagent.yml"),
        };
        std::fs::create_dir_all(&tree.log_dir).unwrap();
        for name in [
            "deployment-logs",
            "deployment-instructions",
            "ongoing-deployment",
        ] {
            std::fs::create_dir_all(tree.root_dir.join(name)).unwrap();
        }
        let yml = format!(
            "---\n:log_aws_wire: false\n:log_dir: '{}/'\n:pid_dir: '/opt/codedeploy-agent/state/.pid/'\n\
             :program_name: codedeploy-agent\n:root_dir: '{}'\n:on_premises_config_file: \
             '/etc/codedeploy-agent/conf/codedeploy.onpremises.yml'\n:verbose: false\n\
             :wait_between_runs: 1\n:proxy_uri:\n:max_revisions: 5\n",
            tree.log_dir.display(),
            tree.root_dir.display()
        );
        std::fs::write(&tree.config_file, yml).unwrap();
        tree
    }

    /// The agent's own log.
    pub(crate) fn agent_log(&self) -> PathBuf {
        self.log_dir.join("codedeploy-agent.log")
    }

    /// The log of all deployments.
    pub(crate) fn deployments_log(&self) -> PathBuf {
        let logs = self.root_dir.join("deployment-logs");
        logs.join("codedeploy-agent-deployments.log")
    }

    /// The log of one deployment's scripts.
    pub(crate) fn scripts_log(&self, deployment: &str) -> PathBuf {
        self.deployment(deployment).join("logs/scripts.log")
    }

    /// The updater's log where 2.x keeps it.
    pub(crate) fn updater_log(&self) -> PathBuf {
        self.log_dir.join("codedeploy-agent-updater.log")
    }

    /// Appends a record to the agent's log; the text may have several lines.
    pub(crate) fn agent(&self, text: &str) -> String {
        put(&self.agent_log(), &format!("{}{text}", agent_head()))
    }

    /// Appends a line of script output to the deployments log.
    pub(crate) fn deployments(&self, deployment: &str, text: &str) -> String {
        let time = now("%Y-%m-%d %H:%M:%S%.3f");
        put(
            &self.deployments_log(),
            &format!("[{time}] [{deployment}][stdout]{text}"),
        )
    }

    /// Appends a line of script output to a deployment's log; its directories appear with it.
    pub(crate) fn scripts(&self, deployment: &str, text: &str) -> String {
        let record = format!("{}{text}", scripts_head());
        put(&self.scripts_log(deployment), &record)
    }

    /// Appends a line to the updater's log.
    pub(crate) fn updater(&self, text: &str) -> String {
        let record = format!("[{}] /bin/sh {text} exit=0", now("%Y-%m-%dT%H:%M:%SZ"));
        put(&self.updater_log(), &record)
    }

    /// Rotates the deployments log as Ruby's Logger does: `.log` → `.log.0` → … `.log.6`.
    pub(crate) fn rotate_deployments(&self) {
        shift(&self.deployments_log(), 0, 7);
        let head = format!(
            "# Logfile created on {} +0000 by logger.rb/v1.5.0",
            now("%Y-%m-%d %H:%M:%S")
        );
        put(&self.deployments_log(), &head);
    }

    /// Removes a deployment's directory, as DownloadBundle does with old ones.
    pub(crate) fn prune(&self, deployment: &str) {
        std::fs::remove_dir_all(self.deployment(deployment)).unwrap();
    }

    fn deployment(&self, deployment: &str) -> PathBuf {
        self.root_dir.join(GROUP).join(deployment)
    }
}

/// The head of a record of the 1.x agent's log, written now.
pub(crate) fn agent_head() -> String {
    now("%Y-%m-%dT%H:%M:%S INFO  [codedeploy-agent(4711)]: ")
}

/// The head of a line of a deployment's scripts, written now.
pub(crate) fn scripts_head() -> String {
    now("%Y-%m-%d %H:%M:%S [stdout]")
}

fn put(path: &Path, record: &str) -> String {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    append(path)
        .write_all(format!("{record}\n").as_bytes())
        .unwrap();
    record.to_owned()
}

/// The time in UTC, which is the agent's local zone in these tests.
fn now(format: &str) -> String {
    jiff::Timestamp::now().strftime(format).to_string()
}
