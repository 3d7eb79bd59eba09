//! A deployment as the 1.x agent writes it down: what each lifecycle event leaves in its logs.

#![cfg(test)]

use std::io::Write;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::support::command;
use crate::support::lines::append;
use crate::support::tree::Tree;

/// How long every lifecycle event takes, in seconds.
pub(crate) const TAKES_S: i64 = 3;

/// One deployment, told when it is over.
pub(crate) struct Deployment<'t> {
    tree: &'t Tree,
    id: &'static str,
    /// When its events end, in seconds before now.
    ago_s: i64,
}

impl<'t> Deployment<'t> {
    /// A deployment that happens now.
    pub(crate) fn now(tree: &'t Tree, id: &'static str) -> Self {
        Self { tree, id, ago_s: 0 }
    }

    /// One that happened some time ago.
    pub(crate) fn ago(tree: &'t Tree, id: &'static str, ago_s: i64) -> Self {
        Self { tree, id, ago_s }
    }

    /// Events that go well, one after the other; when they ended, in ms.
    pub(crate) fn succeed(&self, events: &[&str]) -> i64 {
        let mut end_ms = 0;
        for event in events {
            let end = self.end();
            let identifier = self.begin(end, event, "scripts/good.sh", &["[stdout]all is well"]);
            end_ms = self.complete(end, &identifier, "Succeeded", (0, "", "Succeeded: ", ""));
        }
        end_ms
    }

    /// An event that fails in its script; when it ended, in ms.
    pub(crate) fn fail(&self, event: &str, script: &str, code: i32, output: &[&str]) -> i64 {
        let end = self.end();
        let identifier = self.begin(end, event, script, output);
        let message =
            format!("Script at specified location: {script} failed with exit code {code}");
        let log = format!(
            "LifecycleEvent - {event}\nScript - {script}\n{}\n",
            output.join("\n")
        );
        self.complete(end, &identifier, "Failed", (4, script, &message, &log))
    }

    /// When an event ends that is written down now. The clock is read once for each, or one that
    /// is written down as a second begins would take longer than the others.
    fn end(&self) -> Timestamp {
        Timestamp::now() - SignedDuration::from_secs(self.ago_s)
    }

    fn begin(&self, end: Timestamp, event: &str, script: &str, output: &[&str]) -> String {
        let at = end - SignedDuration::from_secs(TAKES_S);
        let identifier = command::identifier(self.id, event);
        self.call(at, &command::acknowledged(&identifier));
        let heads = [
            format!("LifecycleEvent - {event}"),
            format!("Script - {script}"),
        ];
        for line in heads
            .iter()
            .map(String::as_str)
            .chain(output.iter().copied())
        {
            let scripts = format!("{} {line}", at.strftime("%Y-%m-%d %H:%M:%S"));
            put(&self.tree.scripts_log(self.id), &scripts);
            let time = at.strftime("%Y-%m-%d %H:%M:%S%.3f");
            let deployments = format!("[{time}] [{}]{line}", self.id);
            put(&self.tree.deployments_log(), &deployments);
        }
        identifier
    }

    /// The report of a command: error code, script, message, log.
    fn complete(
        &self,
        end: Timestamp,
        identifier: &str,
        status: &str,
        (code, script, message, log): (u8, &str, &str, &str),
    ) -> i64 {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let payload = format!(
            "{{\"error_code\":{code},\"script_name\":{},\"message\":{},\"log\":{}}}",
            quoted(script),
            quoted(message),
            quoted(log)
        );
        let call = format!(
            "put_host_command_complete(command_status:\"{status}\",diagnostics:{{format:\"JSON\",\
             payload:{}}},host_command_identifier:\"{identifier}\")",
            quoted(&payload)
        );
        self.call(end, &call)
    }

    /// A call of the service, as the SDK logs it; when, in ms: it writes whole seconds.
    fn call(&self, at: Timestamp, call: &str) -> i64 {
        let time = at.strftime("%Y-%m-%dT%H:%M:%S");
        let record = format!(
            "{time} INFO  [codedeploy-agent(4711)]: [Aws::CodeDeployCommand::Client 200 0.051951 \
             0 retries] {call}  \n"
        );
        put(&self.tree.agent_log(), &record);
        at.as_second() * 1_000
    }
}

fn put(path: &Path, record: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let record = format!("{record}\n");
    append(path).write_all(record.as_bytes()).unwrap();
}
