//! What the service was told by the CodeDeploy agent itself, against the incidents we tell of.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::case::Case;

/// Deployments of 1.x that came after what the service was told had been saved.
const AFTER_THE_TRUTH: [&str; 2] = ["d-SECRET001", "d-SECRET002"];

/// A lifecycle event of a deployment, and how it failed: error code, script, message.
type Failures = BTreeMap<(String, String), (String, String, String)>;

/// Every command of which the service was told that it failed is an incident, as its diagnostics
/// say, and nothing else is; and its deployment is one that failed. How many those are.
pub(crate) fn check(case: &Case, details: &[Value]) -> Result<usize, String> {
    let Some(truth) = case.service_side() else {
        return Ok(0);
    };
    let truth = failures(&truth);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut told = Failures::new();
    let mut failed: Vec<String> = Vec::new();
    for detail in details {
        let id = text(&detail["deployment"]["id"]);
        if AFTER_THE_TRUTH.contains(&id.as_str()) {
            continue;
        }
        if detail["kind"] == "deployment_failed" {
            failed.push(id);
        } else if detail["kind"] == "lifecycle_event_failed" {
            // What the service is told when the output cannot be told is not in the agent's log.
            let code = match detail["error_code"].as_str() {
                None if id == "d-BADUTF801" => "UnknownError",
                code => code.unwrap_or_default(),
            };
            let how = (
                code.to_owned(),
                text(&detail["script"]),
                text(&detail["reason"]),
            );
            told.insert((id, text(&detail["lifecycle_event"])), how);
        }
    }
    let mut owed: Vec<String> = truth.keys().map(|(id, _)| id.clone()).collect();
    owed.dedup();
    if told != truth || failed != owed {
        return Err(format!(
            "the service was told {truth:#?}, we tell {told:#?} and that {failed:?} failed"
        ));
    }
    Ok(truth.len())
}

/// The first failure of each command, from either stand-in's record.
fn failures(truth: &Value) -> Failures {
    let mut failures = Failures::new();
    let mut note = |deployment: &Value, command: &Value, diagnostics: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let code = match diagnostics["error_code"].as_u64() {
            Some(1) => "ScriptMissing",
            Some(2) => "ScriptNotExecutable",
            Some(3) => "ScriptTimedOut",
            Some(4) => "ScriptFailed",
            _ => "UnknownError",
        };
        let message = text(&diagnostics["message"]).trim_end().to_owned();
        let how = (code.to_owned(), text(&diagnostics["script_name"]), message);
        let what = (text(deployment), text(command));
        failures.entry(what).or_insert(how);
    };
    if let Some(history) = truth["hist"].as_array() {
        for row in history.iter().filter(|row| row[2] == "Failed") {
            let diagnostics: Value = serde_json::from_str(row[3].as_str().unwrap()).unwrap();
            note(&row[0], &row[1], &diagnostics);
        }
        return failures;
    }
    for call in truth.as_array().unwrap() {
        if call["op"] == "PutHostCommandComplete" && call["result"] == "Failed" {
            note(&call["deployment"], &call["command"], &call["diagnostics"]);
        }
    }
    failures
}
