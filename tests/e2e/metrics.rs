//! What happens on the instance arrives at CloudWatch as metrics, once, at its own time.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::deployment::{Deployment, TAKES_S};
use crate::support::cloud::Cloud;
use crate::support::fault::{Fault, Trouble};
use crate::support::imds::{Imds, Instance};
use crate::support::lines::Writer;
use crate::support::monitoring::StoredDatum;
use crate::support::oracle::{APP, wait_complete};
use crate::support::state::{Action, State};
use crate::support::tree::Tree;
use crate::support::world::World;
use crate::{LIMIT, SLOWLY};

/// The shortest period there is.
const PERIOD_MS: i64 = 10_000;
/// Some of them, on a machine under load.
const PERIODS: Duration = Duration::from_secs(60);
const HOUR_S: i64 = 3_600;
/// Every lifecycle event of a deployment without a load balancer.
const EVENTS: [&str; 3] = ["BeforeInstall", "AfterInstall", "ValidateService"];

/// An instance with CodeDeploy whose metrics are published every ten seconds.
fn instance(cloud: &Cloud) -> (World, Imds, Tree) {
    let imds = Imds::start(Instance::default());
    let mut world = World::on_instance(cloud, &imds);
    world.set("metrics", "period = \"10s\"");
    let tree = world.codedeploy();
    (world, imds, tree)
}

/// Waits until what is written now is dated, in whole seconds, after the agent's first start.
fn wait_until_first_start_is_over(world: &World) {
    world.wait_status(LIMIT, "a second has passed", |status| {
        status.now_ms / 1000 > status.started_ms / 1000
    });
}

fn named<'s>(state: &'s State, name: &str) -> impl Iterator<Item = &'s StoredDatum> {
    let name = name.to_owned();
    state.metrics.iter().filter(move |datum| datum.name == name)
}

fn sum(state: &State, name: &str) -> f64 {
    named(state, name).map(|datum| datum.sum).sum()
}

/// When it was counted, for a name that was counted once.
fn time_of_the_one(state: &State, name: &str) -> i64 {
    let counted: Vec<&StoredDatum> = named(state, name).filter(|datum| datum.sum > 0.0).collect();
    assert_eq!(counted.len(), 1, "{counted:#?}");
    assert_eq!(counted[0].sum, 1.0);
    counted[0].time_ms
}

fn period_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(PERIOD_MS) * PERIOD_MS
}

/// A deployment that fails and one that succeeds are counted once each, in the period in which
/// they ended, with how long each event took and nothing that is not to be published; what the
/// logs tell of the time before the first start is not counted; a restart counts nothing anew:
/// shown by every datum that arrived, and by `status`.
#[test]
fn deployments_are_counted_once() {
    let cloud = Cloud::start();
    let (world, imds, tree) = instance(&cloud);
    Deployment::ago(&tree, "d-HISTORY01", 2 * HOUR_S).fail(
        "Install",
        "s/old.sh",
        9,
        &["[stderr]no"],
    );
    let agent = world.start();
    wait_until_first_start_is_over(&world);
    let failed_ms = {
        let deployment = Deployment::now(&tree, "d-FAILED001");
        deployment.succeed(&EVENTS[..1]);
        let output = [
            "[stdout]connecting with password=hunter2hunter2",
            "[stderr]no such table",
        ];
        deployment.fail("AfterInstall", "scripts/migrate.sh", 3, &output)
    };
    let succeeded_ms = Deployment::now(&tree, "d-GOOD00001").succeed(&EVENTS);
    world.wait_status(LIMIT, "both are known", |status| {
        let all = &status.deployments.deployments;
        let is = |id: &str, state: &str| all.iter().any(|one| one.id == id && one.state == state);
        is("d-FAILED001", "failed") && is("d-GOOD00001", "succeeded")
    });
    assert_status_tells(&world);
    // What the logs tell as a whole is known some seconds after a start: perhaps a period later.
    let gauges = ["CodeDeployAgentHealthy", "DeploymentRunningSeconds"];
    cloud.wait(PERIODS, "both are counted, the gauges told", |state| {
        let is_told = |name: &&str| named(state, name).next().is_some();
        sum(state, "DeploymentsFailed") > 0.0
            && sum(state, "DeploymentsSucceeded") > 0.0
            && gauges.iter().all(is_told)
    });
    agent.stop(LIMIT);
    let last_ms = cloud
        .state()
        .metrics
        .iter()
        .map(|datum| datum.time_ms)
        .max()
        .unwrap();
    let agent = world.start();
    cloud.wait(PERIODS, "another period is published", |state| {
        named(state, "Heartbeat").any(|datum| datum.time_ms > last_ms)
    });
    agent.stop(LIMIT);

    let state = cloud.state();
    assert_eq!(
        time_of_the_one(&state, "DeploymentsFailed"),
        period_of(failed_ms)
    );
    assert_eq!(
        time_of_the_one(&state, "DeploymentsSucceeded"),
        period_of(succeeded_ms)
    );
    assert_eq!(sum(&state, "LifecycleEventSeconds"), (TAKES_S * 5) as f64);
    for name in ["LostBytes", "RefusedEvents"] {
        assert_eq!(sum(&state, name), 0.0, "{name}");
    }
    assert!(sum(&state, "RedactedSecrets") > 0.0, "the password counts");
    let id = imds.state().instance.id.clone();
    let expected: BTreeSet<(String, String, String)> = [
        "Heartbeat",
        "DeploymentsSucceeded",
        "DeploymentsFailed",
        "LastDeploymentFailed",
        "DeploymentRunningSeconds",
        "CodeDeployAgentHealthy",
        "BacklogBytes",
        "LostBytes",
        "RefusedEvents",
        "RedactedSecrets",
    ]
    .into_iter()
    .map(|name| (name, "InstanceId", id.as_str()))
    .chain(EVENTS.map(|event| ("LifecycleEventSeconds", "LifecycleEvent", event)))
    .map(|(name, dimension, value)| (name.to_owned(), dimension.to_owned(), value.to_owned()))
    .collect();
    let series = state.metrics.iter().map(|datum| {
        assert_eq!(
            (datum.namespace.as_str(), datum.resolution_s),
            ("Deploywatch", 1)
        );
        assert_eq!(datum.time_ms % PERIOD_MS, 0, "{datum:?}");
        let (name, value) = datum.dimensions.iter().next().unwrap();
        assert_eq!(datum.dimensions.len(), 1, "{datum:?}");
        (datum.name.clone(), name.clone(), value.clone())
    });
    assert_eq!(series.collect::<BTreeSet<_>>(), expected);
    let mut beats: Vec<i64> = named(&state, "Heartbeat")
        .map(|beat| beat.time_ms)
        .collect();
    for beat_ms in &beats {
        let zeros = named(&state, "LostBytes").filter(|datum| datum.time_ms == *beat_ms);
        assert_eq!(zeros.count(), 1, "zero is told once each period");
    }
    let count = beats.len();
    beats.dedup();
    assert_eq!(beats.len(), count, "a period has one heartbeat");
    drop(state);
    cloud.assert_no_violations();
}

/// What `status` says of the two deployments, to people and to tools.
#[track_caller]
fn assert_status_tells(world: &World) {
    let status = world.status();
    let all = &status.deployments.deployments;
    let failed = all.iter().find(|one| one.id == "d-FAILED001").unwrap();
    let event = failed
        .events
        .iter()
        .find(|event| event.name == "AfterInstall")
        .unwrap();
    let failure = event.failure.as_ref().unwrap();
    assert_eq!(failure.script, "scripts/migrate.sh");
    assert_eq!(failure.cause, "exit code 3");
    assert_eq!(event.duration_ms, Some(TAKES_S.unsigned_abs() * 1000));
    let output = failed.output.join("\n");
    assert!(output.contains("no such table"), "{output}");
    assert!(output.contains("password=[redacted:"), "{output}");
    assert_eq!(
        (status.metrics.period_s, status.metrics.namespace.as_str()),
        (10, "Deploywatch")
    );
    let glance = world.run(&["status"]).stdout;
    for part in [
        "d-FAILED001  failed",
        "AfterInstall",
        "scripts/migrate.sh: exit code 3",
        "no such table",
        "d-GOOD00001  succeeded",
        "Metrics: namespace Deploywatch, every 10 s",
    ] {
        assert!(glance.contains(part), "{part} is not in:\n{glance}");
    }
    assert!(!glance.contains("hunter2"), "{glance}");
}

/// While the service takes no logs, and all memory is full of another file's, what happens is still
/// published; once, although the same records are shipped later: shown by a deployment that fails
/// behind tens of megabytes that are refused, and arrives in the end.
#[test]
fn metrics_do_not_wait_for_logs() {
    let cloud = Cloud::start();
    let (mut world, _imds, tree) = instance(&cloud);
    world.app_source("*.log");
    cloud.fault(Fault::new(Trouble::DENIED).on(Action::Put));
    let agent = world.start();
    wait_until_first_start_is_over(&world);
    let mut writer = Writer::open(&world.log("app.log"), "app");
    writer.write(300_000);
    world.wait_status(LIMIT, "memory is full", |status| {
        let app = status.files.iter().find(|file| file.source == "app");
        app.is_some_and(|file| file.read > 0 && file.read < file.size)
    });
    let failed_ms =
        Deployment::now(&tree, "d-FAILED001").fail("Install", "s/a.sh", 1, &["[stderr]no"]);
    let failed = |state: &State| sum(state, "DeploymentsFailed");
    cloud.wait(PERIODS, "the failure is counted", |state| {
        failed(state) > 0.0
    });
    assert_eq!(cloud.state().total(), 0, "nothing was shipped");
    cloud.clear_faults();
    cloud.wait(SLOWLY, "the deployment's log has arrived", |state| {
        let streams = state
            .groups
            .values()
            .flat_map(|group| group.streams.values());
        let mut events = streams.flatten();
        events.any(|event| event.message.contains("d-FAILED001"))
    });
    wait_complete(&cloud, SLOWLY, &writer, APP);
    agent.stop(LIMIT);
    let state = cloud.state();
    assert_eq!(
        time_of_the_one(&state, "DeploymentsFailed"),
        period_of(failed_ms)
    );
    drop(state);
    cloud.assert_no_violations();
}

/// Each line that a metric counts is counted once, though the agent is killed again and again with
/// a request under way, and a stop publishes the period that is not over: shown by the sum of all
/// data, where only a request that came twice, unchanged, may count twice.
#[test]
fn lines_are_counted_once_over_kill_9() {
    let cloud = Cloud::start();
    let (mut world, _imds, _tree) = instance(&cloud);
    world.app_source("*.log");
    world.metric("name = \"Hits\"\nsource = \"app\"\npattern = '<app:'");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    cloud.fault(Fault::new(Trouble::Delay(Duration::from_millis(500))).on(Action::PutMetrics));
    let mut agent = world.start();
    wait_until_first_start_is_over(&world);
    let asked = |state: &State| state.calls.get(&Action::PutMetrics).copied().unwrap_or(0);
    // Numbers of which no two sums are the same, so that the same datum twice is a repetition.
    for size in [1, 4, 16] {
        writer.write(size);
        let before = asked(&cloud.state());
        cloud.wait(PERIODS, "a request is under way", |state| {
            asked(state) > before
        });
        writer.write(2 * size);
        agent.kill9();
        agent = world.start();
    }
    cloud.clear_faults();
    writer.write(64);
    let written = writer.written();
    wait_complete(&cloud, PERIODS, &writer, APP);
    agent.stop(LIMIT);
    let state = cloud.state();
    let hits = named(&state, "Hits").filter(|datum| datum.sum > 0.0);
    let distinct: BTreeMap<(i64, u64), f64> = hits
        .map(|datum| ((datum.time_ms, datum.sum as u64), datum.sum))
        .collect();
    let counted: f64 = distinct.values().sum();
    assert_eq!(counted, written.count as f64);
    drop(state);
    cloud.assert_no_violations();
}

/// Where the sink is a directory, metrics are written to a file beside the lines, with the same
/// points: shown by the file, after a deployment that failed and a stop.
#[test]
fn a_directory_gets_the_same_points() {
    let cloud = Cloud::start();
    let (mut world, imds, tree) = instance(&cloud);
    let out = world.path("out").display().to_string();
    world.set("logs", "sink = \"directory\"");
    world.set("logs", &format!("directory = \"{out}\""));
    let agent = world.start();
    wait_until_first_start_is_over(&world);
    let failed_ms =
        Deployment::now(&tree, "d-FAILED001").fail("Install", "scripts/a.sh", 1, &["[stderr]no"]);
    world.wait_status(LIMIT, "it is known", |status| {
        status.deployments.last_failed
    });
    agent.stop(LIMIT);
    let text = std::fs::read_to_string(world.path("out/metrics.ndjson")).unwrap();
    let data: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let failed: Vec<&Value> = data
        .iter()
        .filter(|datum| datum["name"] == "DeploymentsFailed")
        .collect();
    let counted: Vec<&&Value> = failed
        .iter()
        .filter(|datum| datum["value"] == 1.0)
        .collect();
    assert_eq!(counted.len(), 1, "{text}");
    assert_eq!(counted[0]["timestamp"], period_of(failed_ms));
    assert_eq!(
        counted[0]["dimensions"]["InstanceId"],
        imds.state().instance.id
    );
    assert!(
        data.iter()
            .any(|datum| datum["name"] == "LifecycleEventSeconds"),
        "{text}"
    );
    let calls = cloud.state().calls.clone();
    assert!(calls.is_empty(), "nothing leaves the machine: {calls:?}");
}
