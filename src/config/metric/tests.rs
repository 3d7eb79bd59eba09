//! What `[metrics]` and `[[metric]]` mean; mistakes in them are in `config/mistakes.golden`.

use std::path::PathBuf;

use super::super::Config;
use super::*;

const APP: &str = "[[source]]\nname = \"app\"\npaths = [\"/x/y\"]\n";

fn metrics(text: &str) -> MetricsConfig {
    let files = [(PathBuf::from("a.toml"), format!("{APP}{text}"))];
    Config::parse(&files).unwrap().0.metrics
}

/// `name{dimensions} unit x series` of everything published.
fn published(config: &MetricsConfig) -> Vec<String> {
    let all = config.published().into_iter();
    all.map(|p| {
        let shared = if p.shared { " shared" } else { "" };
        let dimensions = p.dimensions.join(",");
        format!(
            "{}{{{dimensions}}} {} x{}{shared}",
            p.name, p.unit, p.series
        )
    })
    .collect()
}

/// Without a word from the user exactly the documented metrics are published, each under the
/// documented set: shown by the whole list, and by its cost.
#[test]
fn the_default_set_is_the_documented_one() {
    let config = metrics("");
    assert_eq!(
        published(&config),
        [
            "Heartbeat{InstanceId} Count x1",
            "CodeDeployAgentHealthy{InstanceId} None x1",
            "DeploymentsSucceeded{InstanceId} Count x1",
            "DeploymentsFailed{InstanceId} Count x1",
            "LastDeploymentFailed{InstanceId} None x1",
            "DeploymentRunningSeconds{InstanceId} Seconds x1",
            "LifecycleEventSeconds{LifecycleEvent} Seconds x7 shared",
            "BacklogBytes{InstanceId} Bytes x1",
            "LostBytes{InstanceId} Bytes x1",
            "RefusedEvents{InstanceId} Count x1",
            "RedactedSecrets{InstanceId} Count x1",
        ]
    );
    assert!(
        config
            .published()
            .iter()
            .all(|p| (p.resolution_s, p.period_s) == (60, 60))
    );
    let cost = config.monthly_cost();
    assert_eq!(
        (cost.series, cost.shared_series, cost.requests),
        (10, 7, 43_800)
    );
    assert_eq!(
        format!("{:.2} {:.2}", cost.instance_usd(), cost.shared_usd),
        "3.44 2.10"
    );
}

/// Every key arrives: shown by a file that sets all of them and what it publishes and asks for.
#[test]
fn every_key_arrives() {
    let config = metrics(
        r#"
        [metrics]
        namespace = "Shop/Deploy"
        period = "10s"
        dimensions = [["InstanceId", "AutoScalingGroupName"], [], ["tag:Stage", "LifecycleEvent"]]
        disable = ["BacklogBytes", "LostBytes", "RefusedEvents", "Heartbeat",
                   "CodeDeployAgentHealthy", "LastDeploymentFailed", "DeploymentRunningSeconds",
                   "RedactedSecrets"]
        [[metric]]
        name = "Payments"
        source = ["app", "scripts"]
        pattern = 'shop=(?<Shop>\w+) amount=(?<value>[0-9.]+)'
        unit = "Kilobytes/Second"
        statistic = "sum"
        dimensions = [["Shop", "Region"], []]
        series_max = 3
        [[metric]]
        name = "Took"
        source = "app"
        pattern = 'took (?<value>\d+)'
        [[metric]]
        name = "Errors"
        source = "app"
        pattern = 'ERROR'
        [[metric]]
        name = "Off"
        source = "app"
        pattern = 'x'
        enabled = false
        "#,
    );
    assert_eq!(
        (config.namespace.as_str(), config.resolution_s()),
        ("Shop/Deploy", 1)
    );
    assert_eq!(
        published(&config),
        [
            "DeploymentsSucceeded{AutoScalingGroupName,InstanceId} Count x1",
            "DeploymentsSucceeded{} Count x1 shared",
            "DeploymentsFailed{AutoScalingGroupName,InstanceId} Count x1",
            "DeploymentsFailed{} Count x1 shared",
            "LifecycleEventSeconds{LifecycleEvent,Stage} Seconds x7 shared",
            "Payments{Region,Shop} Kilobytes/Second x3 shared",
            "Payments{} Kilobytes/Second x1 shared",
            "Took{AutoScalingGroupName,InstanceId} None x1",
            "Took{} None x1 shared",
            "Errors{AutoScalingGroupName,InstanceId} Count x1",
            "Errors{} Count x1 shared",
        ]
    );
    let statistics: Vec<Statistic> = config.custom.iter().map(|m| m.statistic).collect();
    use Statistic::{Distribution, Sum};
    assert_eq!(statistics, [Sum, Distribution, Sum]);
    let asked: Vec<String> = config.variables().iter().map(ToString::to_string).collect();
    assert_eq!(asked, ["instance_id", "region", "asg", "tag:Stage"]);
}

/// Nothing is published, asked for or paid where metrics are off, and nothing about CodeDeploy
/// where that is not watched: shown by both files' lists.
#[test]
fn what_is_off_is_not_published() {
    let off = metrics(
        "[metrics]\nenabled = false\n[[metric]]\nname = \"E\"\nsource = \"app\"\npattern = \"x\"",
    );
    assert_eq!(published(&off), [""; 0]);
    assert!(off.variables().is_empty());
    assert_eq!(off.monthly_cost().requests, 0);
    let without = metrics("[codedeploy]\nenabled = false");
    let names: Vec<String> = without.published().into_iter().map(|p| p.name).collect();
    assert_eq!(
        names,
        [
            "Heartbeat",
            "BacklogBytes",
            "LostBytes",
            "RefusedEvents",
            "RedactedSecrets"
        ]
    );
}

/// Metrics of several files add up, like sources: shown with two files.
#[test]
fn metrics_of_several_files_add_up() {
    let one = |name| format!("[[metric]]\nname = \"{name}\"\nsource = \"app\"\npattern = \"x\"\n");
    let files = [
        (PathBuf::from("a"), format!("{APP}{}", one("A"))),
        (PathBuf::from("b"), one("B")),
    ];
    let config = Config::parse(&files).unwrap().0;
    let names: Vec<&str> = config
        .metrics
        .custom
        .iter()
        .map(|m| m.name.as_str())
        .collect();
    assert_eq!(names, ["A", "B"]);
}
