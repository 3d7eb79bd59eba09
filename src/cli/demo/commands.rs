//! What the made-up CodeDeploy agent writes about the commands of the service: the calls it makes,
//! and how a command ends. Shapes and order are those of a real 1.8 agent log.

use std::path::PathBuf;

use super::machine::{Deployment, Machine};
use super::{DemoError, identifier};

/// The instance and account of the story.
const HOST: &str = "arn:aws:ec2:us-east-1:123456789012:instance/i-0abcdef1234567890";

/// A real backtrace: the frames behind the head of a failed script.
const FRAMES: &[&str] = &[
    "hook_executor.rb:142:in `block (2 levels) in execute'",
    "hook_executor.rb:130:in `each'",
    "hook_executor.rb:130:in `block in execute'",
    "hook_executor.rb:227:in `create_script_log_file_if_needed'",
    "hook_executor.rb:128:in `execute'",
    "command_executor.rb:195:in `block (3 levels) in map'",
    "command_executor.rb:193:in `each'",
    "command_executor.rb:193:in `block (2 levels) in map'",
    "command_executor.rb:115:in `execute_command'",
    "command_poller.rb:137:in `process_command'",
    "command_poller.rb:119:in `acknowledge_and_process_command'",
    "command_poller.rb:99:in `block in perform'",
];

/// Where the frames' files lie.
const PLUGIN: &str = "/opt/codedeploy-agent/lib/instance_agent/plugins/codedeploy";

/// A command the service gave for a deployment, with the name it is answered for.
#[derive(Clone, Debug)]
pub(super) struct Command<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) name: &'a str,
    pub(super) identifier: String,
}

/// How a script failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure<'a> {
    pub(super) script: &'a str,
    pub(super) exit_code: i32,
    /// The last lines of its output, as the agent reports them.
    pub(super) output: &'a [&'a str],
}

impl Machine {
    /// A call of the service: the version file is read before each, and the SDK's own line ends
    /// with blanks and an empty line.
    pub(super) fn api(&mut self, call: &str) -> Result<(), DemoError> {
        self.agent(
            "INFO",
            "Version file found in /opt/codedeploy-agent/.version with agent version \
             OFFICIAL_1.8.1-1_deb.",
        )?;
        self.agent(
            "INFO",
            &format!("[Aws::CodeDeployCommand::Client 200 0.051951 0 retries] {call}  \n"),
        )
    }

    /// The long poll for the next command.
    pub(super) fn poll(&mut self) -> Result<(), DemoError> {
        self.api(&format!("poll_host_command(host_identifier:\"{HOST}\")"))
    }

    /// A command is received and acknowledged.
    pub(super) fn receive<'a>(
        &mut self,
        deployment: &'a Deployment,
        name: &'a str,
    ) -> Result<Command<'a>, DemoError> {
        self.commands += 1;
        let execution = format!(
            "CodeDeploy/us-east-1/Prod/arn:aws:sds:us-east-1:123456789012:deployment/{}",
            deployment.id
        );
        let identifier = identifier::encode(&format!(
            "[\"com.amazon.apollo.deploycontrol.domain.HostCommandIdentifier\",\
             {{\"deploymentId\":\"{execution}\",\"hostId\":\"{HOST}\",\
             \"commandName\":\"{name}\",\"commandPosition\":{},\"commandAttempt\":1}}]",
            self.commands
        ));
        self.api(&format!(
            "get_deployment_specification(deployment_execution_id:\"{execution}\",\
             host_identifier:\"{HOST}\")"
        ))?;
        Ok(Command {
            deployment,
            name,
            identifier,
        })
    }

    /// The command has something to do: it is acknowledged and tracked.
    pub(super) fn begin(&mut self, command: &Command<'_>) -> Result<(), DemoError> {
        self.acknowledge(command, "false")?;
        let path = self.tracking_file(command);
        std::fs::write(&path, &command.identifier).map_err(DemoError::at(&path))
    }

    /// The command has nothing to do.
    pub(super) fn noop(&mut self, command: &Command<'_>) -> Result<(), DemoError> {
        let executor = "InstanceAgent::Plugins::CodeDeployPlugin::CommandExecutor";
        let name = command.name;
        self.agent(
            "INFO",
            &format!("{executor}: Lifecycle event {name} is a noop"),
        )?;
        self.acknowledge(command, "true")
    }

    fn acknowledge(&mut self, command: &Command<'_>, noop: &str) -> Result<(), DemoError> {
        self.api(&format!(
            "put_host_command_acknowledgement(diagnostics:{{format:\"JSON\",\
             payload:\"{{\\\"IsCommandNoop\\\":{noop}}}\"}},host_command_identifier:\"{}\")",
            command.identifier
        ))
    }

    /// A command ended well.
    pub(super) fn succeed(&mut self, command: &Command<'_>) -> Result<(), DemoError> {
        let report = report(0, "", "Succeeded: ", "");
        self.complete(command, "Succeeded", &report)?;
        // Nothing says so: it was the last event of a deployment without a load balancer.
        self.tally.succeeded += u32::from(command.name == "ValidateService");
        self.untrack(command)?;
        self.poll()
    }

    /// A command failed: reported twice, with a backtrace between, as the real agent does.
    pub(super) fn fail(
        &mut self,
        command: &Command<'_>,
        failure: Failure<'_>,
    ) -> Result<(), DemoError> {
        let Failure {
            script, exit_code, ..
        } = failure;
        let message =
            format!("Script at specified location: {script} failed with exit code {exit_code}");
        let mut log = format!("LifecycleEvent - {}\nScript - {script}\n", command.name);
        for line in failure.output {
            log.push_str(line);
            log.push('\n');
        }
        let details = report(4, script, &message, &log);
        self.complete(command, "Failed", &details)?;
        let poller = "InstanceAgent::Plugins::CodeDeployPlugin::CommandPoller";
        self.tally.failed += 1;
        let mut trace = format!(
            "{poller}: Error during perform: \
             InstanceAgent::Plugins::CodeDeployPlugin::ScriptError - {message} - \
             {PLUGIN}/hook_executor.rb:202:in `execute_script'"
        );
        for frame in FRAMES {
            trace.push_str(&format!("\n{PLUGIN}/{frame}"));
        }
        self.agent("ERROR", &trace)?;
        self.agent(
            "WARN",
            &format!("{poller}: Calling PutHostCommandComplete: \"Code Error\" "),
        )?;
        let details = report(5, "", &message, "");
        self.complete(command, "Failed", &details)?;
        self.untrack(command)?;
        self.poll()
    }

    fn complete(
        &mut self,
        command: &Command<'_>,
        status: &str,
        report: &str,
    ) -> Result<(), DemoError> {
        let payload = serde_json::Value::from(report);
        self.api(&format!(
            "put_host_command_complete(command_status:\"{status}\",\
             diagnostics:{{format:\"JSON\",payload:{payload}}},host_command_identifier:\"{}\")",
            command.identifier
        ))
    }

    fn tracking_file(&self, command: &Command<'_>) -> PathBuf {
        let dir = self.root_dir.join("ongoing-deployment");
        dir.join(command.deployment.id)
    }

    fn untrack(&self, command: &Command<'_>) -> Result<(), DemoError> {
        let path = self.tracking_file(command);
        std::fs::remove_file(&path).map_err(DemoError::at(&path))
    }
}

/// How a command ended, as JSON with its keys in the real agent's order.
fn report(error_code: u8, script: &str, message: &str, log: &str) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "{{\"error_code\":{error_code},\"script_name\":{},\"message\":{},\"log\":{}}}",
        text(script),
        text(message),
        text(log)
    )
}
