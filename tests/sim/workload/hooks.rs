//! Deployments that fail, as the CodeDeploy agent 1.x reports them in its log.

use super::{Workload, date};
pub(crate) use crate::command::{acknowledged, identifier};
use crate::oracle::Oracle;
use crate::plan::LOG_DIR;
use crate::world::World;

/// A lifecycle event that failed, and when, by the record that tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) deployment: String,
    pub(crate) event: &'static str,
    /// The command's name in the log.
    pub(crate) identifier: String,
    /// The date of the record: whole seconds.
    pub(crate) at_ms: i64,
}

const EVENTS: [&str; 4] = [
    "ApplicationStop",
    "BeforeInstall",
    "AfterInstall",
    "ValidateService",
];

impl Workload {
    /// A command is acknowledged, or one that was is reported as failed.
    pub(super) fn hook(&mut self, world: &mut World, oracle: &mut Oracle) {
        let now_ms = world.clock.now().wall_ms;
        let record = if self.hooks.is_empty() || self.rng.bool() {
            self.hook_count += 1;
            let deployment = format!("d-HOOK{:05}", self.hook_count);
            let event = EVENTS[self.rng.usize(0..EVENTS.len())];
            let failure = Failure {
                identifier: identifier(&deployment, event),
                deployment,
                event,
                at_ms: 0,
            };
            let record = record(now_ms, &acknowledged(&failure.identifier));
            self.hooks.push_back(failure);
            record
        } else if let Some(mut failure) = self.hooks.pop_front() {
            failure.at_ms = now_ms / 1_000 * 1_000;
            let record = record(now_ms, &failed(&failure.identifier));
            self.failed.push(failure);
            record
        } else {
            return;
        };
        oracle.lines.allow(&record);
        let path = format!("{LOG_DIR}/codedeploy-agent.log");
        let line = format!("{record}\n");
        world.files.append(path.as_ref(), line.as_bytes());
    }
}

/// A call of the service, as the CodeDeploy agent logs it, without the line's end.
pub(crate) fn record(now_ms: i64, call: &str) -> String {
    format!(
        "{} INFO  [codedeploy-agent(4711)]: [Aws::CodeDeployCommand::Client 200 0.051951 0 retries] \
         {call}",
        date("%Y-%m-%dT%H:%M:%S", now_ms)
    )
}

/// The call that reports its failure.
pub(crate) fn failed(identifier: &str) -> String {
    format!(
        "put_host_command_complete(command_status:\"Failed\",diagnostics:{{format:\"JSON\",payload:\
         \"{{\\\"error_code\\\":4,\\\"script_name\\\":\\\"s/x.sh\\\",\\\"message\\\":\\\"Script at \
         specified location: s/x.sh failed with exit code 3\\\",\\\"log\\\":\\\"no such table\\\"}}\"}},\
         host_command_identifier:\"{identifier}\")"
    )
}

/// The call that reports a success.
pub(crate) fn succeeded(identifier: &str) -> String {
    format!(
        "put_host_command_complete(command_status:\"Succeeded\",diagnostics:{{format:\"JSON\",payload:\
         \"{{\\\"error_code\\\":0,\\\"script_name\\\":\\\"\\\",\\\"message\\\":\\\"Succeeded\\\",\\\"log\\\":\\\"\\\"}}\"}},\
         host_command_identifier:\"{identifier}\")"
    )
}
