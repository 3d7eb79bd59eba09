//! Incidents arrive at EventBridge, each once.

#![cfg(test)]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::LIMIT;
use crate::deployment::Deployment;
use crate::support::cloud::Cloud;
use crate::support::fault::{Fault, Trouble};
use crate::support::imds::{Imds, Instance};
use crate::support::lines::Writer;
use crate::support::listener::Gate;
use crate::support::state::{Action, State};
use crate::support::tree::Tree;
use crate::support::world::World;

/// A checkpoint, and one beat of the agent, on a machine under load.
const SOON: Duration = Duration::from_secs(40);

fn instance(cloud: &Cloud) -> (World, Imds, Tree) {
    let imds = Imds::start(Instance::default());
    let mut world = World::on_instance(cloud, &imds);
    world.set("events", "enabled = true");
    let tree = world.codedeploy();
    (world, imds, tree)
}

/// Waits until what is written now is dated, in whole seconds, after the agent's first start.
fn wait_until_first_start_is_over(world: &World) {
    world.wait_status(LIMIT, "a second has passed", |status| {
        status.now_ms / 1000 > status.started_ms / 1000
    });
}

fn fail(tree: &Tree) {
    let output = [
        "[stdout]login with password=hunter2hunter2",
        "[stderr]no such table",
    ];
    Deployment::now(tree, "d-FAILED001").fail("AfterInstall", "scripts/migrate.sh", 3, &output);
}

/// What was told of deployments and losses, in order.
fn details(state: &State) -> Vec<Value> {
    let entries = state.entries.iter();
    let details = entries.map(|entry| {
        assert_eq!(entry.source.as_deref(), Some("deploywatch"));
        serde_json::from_str::<Value>(entry.detail.as_deref().unwrap()).unwrap()
    });
    details.filter(is_not_of_health).collect()
}

/// Whether a CodeDeploy agent's process is there is not the test's affair.
fn is_not_of_health(detail: &Value) -> bool {
    !detail["kind"]
        .as_str()
        .unwrap()
        .starts_with("codedeploy_agent")
}

fn kinds(state: &State) -> Vec<String> {
    let details = details(state);
    let kinds = details
        .iter()
        .map(|detail| detail["kind"].as_str().unwrap().to_owned());
    kinds.collect()
}

/// A failed deployment is told of once, with its script, exit code and last lines, redacted; a
/// restart of the agent, even by kill -9, tells nothing anew, and what comes then is told of too:
/// shown by every event that arrived.
#[test]
fn each_incident_is_told_of_once() {
    let cloud = Cloud::start();
    let (world, imds, tree) = instance(&cloud);
    Deployment::ago(&tree, "d-HISTORY01", 7_200).fail("Install", "s/old.sh", 9, &["[stderr]no"]);
    let agent = world.start();
    wait_until_first_start_is_over(&world);
    fail(&tree);
    cloud.wait(SOON, "the failure is told of", |state| {
        kinds(state).len() >= 2
    });
    world.wait_status(LIMIT, "the answer is known", |status| {
        status.events.counts.sent >= 2 && status.events.waiting == 0
    });
    agent.stop(LIMIT);
    world.start().kill9();
    let agent = world.start();
    Deployment::now(&tree, "d-GOOD00001").succeed(&["ValidateService"]);
    cloud.wait(SOON, "the success is told of", |state| {
        kinds(state).contains(&"deployment_succeeded".to_owned())
    });
    agent.stop(LIMIT);

    let state = cloud.state();
    let details = details(&state);
    let id = imds.state().instance.id.clone();
    let ids: BTreeSet<&str> = details
        .iter()
        .map(|detail| detail["id"].as_str().unwrap())
        .collect();
    let expected = [
        format!("{id}/deployment_failed/d-FAILED001"),
        format!("{id}/deployment_succeeded/d-GOOD00001"),
        format!("{id}/lifecycle_event_failed/d-FAILED001/AfterInstall"),
    ];
    assert_eq!(ids, expected.iter().map(String::as_str).collect());
    assert_eq!(details.len(), 3, "{details:#?}");
    let failed = details
        .iter()
        .find(|detail| detail["kind"] == "lifecycle_event_failed")
        .unwrap();
    assert_eq!(failed["script"], "scripts/migrate.sh");
    assert_eq!(failed["exit_code"], 3);
    assert_eq!(failed["error_code"], "ScriptFailed");
    assert_eq!(failed["duration_ms"], 3_000);
    let output = failed["output"].as_str().unwrap();
    assert!(output.contains("no such table"), "{output}");
    for detail in &details {
        assert!(!detail.to_string().contains("hunter2"), "{detail}");
        let stream = detail["log"]["stream"].as_str().unwrap_or_default();
        assert!(
            stream.contains(detail["deployment"]["id"].as_str().unwrap()),
            "{detail}"
        );
    }
    drop(state);
    cloud.assert_no_violations();
}

/// Bytes that could not be kept are told of, though nobody saw them go: shown by lines that were
/// written and deleted while the agent was away.
#[test]
fn a_loss_is_told_of() {
    let cloud = Cloud::start();
    let (mut world, _imds, _tree) = instance(&cloud);
    world.app_source("*.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    writer.write(10);
    cloud.set_gate(Gate::Refuse);
    let agent = world.start();
    world.wait_status(LIMIT, "the file is known", |status| {
        // By then it is in a durable checkpoint, too.
        status.files.iter().any(|file| file.read > 0) && status.now_ms > status.started_ms + 4_000
    });
    agent.kill9();
    std::fs::remove_file(world.log("app.log")).unwrap();
    cloud.set_gate(Gate::Open);
    let agent = world.start();
    cloud.wait(SOON, "the loss is told of", |state| {
        kinds(state).contains(&"bytes_lost".to_owned())
    });
    agent.stop(LIMIT);
    let state = cloud.state();
    let details = details(&state);
    assert_eq!(details.len(), 1, "{details:#?}");
    assert_eq!(details[0]["source"], "app");
    assert!(details[0]["bytes"].as_u64().unwrap() > 0, "{details:#?}");
    drop(state);
    cloud.assert_no_violations();
}

/// Where the sink is a directory, events are written to a file, once each, before a stop is over:
/// shown by the file after two runs.
#[test]
fn a_directory_gets_the_same_events() {
    let cloud = Cloud::start();
    let (mut world, _imds, tree) = instance(&cloud);
    let out = world.path("out").display().to_string();
    world.set("logs", "sink = \"directory\"");
    world.set("logs", &format!("directory = \"{out}\""));
    let agent = world.start();
    wait_until_first_start_is_over(&world);
    fail(&tree);
    world.wait_status(LIMIT, "it is known", |status| {
        status.deployments.last_failed
    });
    agent.stop(LIMIT);
    let agent = world.start();
    agent.wait_said(LIMIT, "running on EC2");
    agent.stop(LIMIT);
    let text = std::fs::read_to_string(world.path("out/events.ndjson")).unwrap();
    let events = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let details = events
        .map(|event| event["detail"].clone())
        .filter(is_not_of_health);
    let mut kinds: Vec<String> = details
        .map(|detail| detail["kind"].as_str().unwrap().to_owned())
        .collect();
    kinds.sort();
    assert_eq!(
        kinds,
        ["deployment_failed", "lifecycle_event_failed"],
        "{text}"
    );
}

/// `check --online` tries whether events may be sent without sending one, and names what is
/// missing: shown by a role that may and one that may not, by a bus that lets nobody in, and by what
/// arrived.
#[test]
fn a_permission_to_tell_is_tried_without_telling() {
    let cloud = Cloud::start();
    let (world, _imds, _tree) = instance(&cloud);
    world.write_config();
    let check = |code| {
        let checked = world.run(&["check", "--online"]);
        assert_eq!(checked.code, Some(code), "{checked:?}");
        let mut lines = checked.stdout.lines().map(str::to_owned);
        lines
            .find(|line| line.starts_with("events:PutEvents"))
            .expect("a line about events")
    };
    let permitted = check(0);
    assert!(permitted.ends_with("bus default permitted"), "{permitted}");
    cloud.fault(Fault::new(Trouble::DENIED).on(Action::PutEvents));
    let missing = check(1);
    assert!(missing.contains("MISSING: User: arn:aws:sts"), "{missing}");
    cloud.clear_faults();
    let refusal = "NotAuthorizedForSourceException";
    cloud.state().entry_refusals.insert(0, refusal);
    let missing = check(1);
    assert!(missing.contains("MISSING: as ordered"), "{missing}");
    assert!(cloud.state().entries.is_empty(), "an event was taken");
    cloud.assert_no_violations();
}
