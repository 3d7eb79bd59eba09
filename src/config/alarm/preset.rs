//! Alarms that come in one line.
//!
//! A preset is what the user would have written: any key beside it overrides it, and the result is
//! checked like any other alarm. Those that act on the instance treat missing data as `ignore`,
//! because a reboot itself leaves a gap, and an alarm that leaves ALARM in that gap fires again
//! behind it.

use super::Ec2Action;
use crate::ports::alarm::{Comparison, MissingData};

/// An alarm as its preset has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preset {
    /// The word in `preset = "…"`, and the alarm's name where none is given.
    pub name: &'static str,
    /// What it is good for, one sentence.
    pub purpose: &'static str,
    /// The metric; `None` in the namespace means the agent's own.
    pub(super) namespace: Option<&'static str>,
    pub(super) metric: &'static str,
    pub(super) statistic: &'static str,
    pub(super) comparison: Comparison,
    pub(super) threshold: f64,
    pub(super) evaluation_periods: u32,
    /// How many of them must breach. One of several, where a single minute tells all: a datum that
    /// comes a little late is no longer the newest when the service looks.
    pub(super) datapoints_to_alarm: u32,
    pub(super) missing_data: MissingData,
    /// Minutes in which a new alarm calls nothing. Where missing data breach, an alarm would else
    /// call before the first datum can be there.
    pub(super) warm_up_minutes: Option<u32>,
    /// What it does to the instance; `None`: the user says whom it tells.
    pub(super) action: Option<Ec2Action>,
}

const AWS_EC2: Option<&str> = Some("AWS/EC2");

/// Every preset, those that act on the instance first.
pub const PRESETS: [Preset; 11] = [
    Preset {
        name: "reboot-when-codedeploy-agent-dead",
        purpose: "Reboots the instance when the CodeDeploy agent has not worked for 10 minutes",
        namespace: None,
        metric: "CodeDeployAgentHealthy",
        statistic: "Maximum",
        comparison: Comparison::Less,
        threshold: 1.0,
        evaluation_periods: 10,
        datapoints_to_alarm: 10,
        missing_data: MissingData::Ignore,
        warm_up_minutes: None,
        action: Some(Ec2Action::Reboot),
    },
    Preset {
        name: "reboot-when-deployment-hangs",
        purpose: "Reboots the instance when a deployment runs for more than an hour",
        namespace: None,
        metric: "DeploymentRunningSeconds",
        statistic: "Maximum",
        comparison: Comparison::Greater,
        threshold: 3600.0,
        evaluation_periods: 3,
        datapoints_to_alarm: 3,
        missing_data: MissingData::Ignore,
        warm_up_minutes: None,
        action: Some(Ec2Action::Reboot),
    },
    Preset {
        name: "stop-when-deployment-hangs",
        purpose: "Stops the instance when a deployment runs for more than an hour",
        namespace: None,
        metric: "DeploymentRunningSeconds",
        statistic: "Maximum",
        comparison: Comparison::Greater,
        threshold: 3600.0,
        evaluation_periods: 3,
        datapoints_to_alarm: 3,
        missing_data: MissingData::Ignore,
        warm_up_minutes: None,
        action: Some(Ec2Action::Stop),
    },
    Preset {
        name: "terminate-when-deployment-fails",
        purpose: "Ends the instance after a failed deployment, so that its group makes a new one",
        namespace: None,
        metric: "LastDeploymentFailed",
        statistic: "Minimum",
        comparison: Comparison::GreaterOrEqual,
        threshold: 1.0,
        evaluation_periods: 5,
        datapoints_to_alarm: 5,
        missing_data: MissingData::Ignore,
        warm_up_minutes: None,
        action: Some(Ec2Action::Terminate),
    },
    Preset {
        name: "reboot-when-instance-check-fails",
        purpose: "Reboots the instance when EC2 cannot reach its operating system for 3 minutes",
        namespace: AWS_EC2,
        metric: "StatusCheckFailed_Instance",
        statistic: "Maximum",
        comparison: Comparison::GreaterOrEqual,
        threshold: 1.0,
        evaluation_periods: 3,
        datapoints_to_alarm: 3,
        missing_data: MissingData::Ignore,
        warm_up_minutes: None,
        action: Some(Ec2Action::Reboot),
    },
    Preset {
        name: "recover-when-system-check-fails",
        purpose: "Moves the instance to other hardware when that below it fails for 2 minutes",
        namespace: AWS_EC2,
        metric: "StatusCheckFailed_System",
        statistic: "Maximum",
        comparison: Comparison::GreaterOrEqual,
        threshold: 1.0,
        evaluation_periods: 2,
        datapoints_to_alarm: 2,
        missing_data: MissingData::Ignore,
        warm_up_minutes: None,
        action: Some(Ec2Action::Recover),
    },
    Preset {
        name: "notify-when-deployment-fails",
        purpose: "Tells you when a deployment failed on this instance",
        namespace: None,
        metric: "DeploymentsFailed",
        statistic: "Sum",
        comparison: Comparison::GreaterOrEqual,
        threshold: 1.0,
        evaluation_periods: 3,
        datapoints_to_alarm: 1,
        missing_data: MissingData::NotBreaching,
        warm_up_minutes: None,
        action: None,
    },
    Preset {
        name: "notify-when-deployment-hangs",
        purpose: "Tells you when a deployment runs for more than half an hour",
        namespace: None,
        metric: "DeploymentRunningSeconds",
        statistic: "Maximum",
        comparison: Comparison::Greater,
        threshold: 1800.0,
        evaluation_periods: 2,
        datapoints_to_alarm: 2,
        missing_data: MissingData::NotBreaching,
        warm_up_minutes: None,
        action: None,
    },
    Preset {
        name: "notify-when-codedeploy-agent-dead",
        purpose: "Tells you when the CodeDeploy agent has not worked for 5 minutes",
        namespace: None,
        metric: "CodeDeployAgentHealthy",
        statistic: "Maximum",
        comparison: Comparison::Less,
        threshold: 1.0,
        evaluation_periods: 5,
        datapoints_to_alarm: 5,
        missing_data: MissingData::Ignore,
        warm_up_minutes: None,
        action: None,
    },
    Preset {
        name: "notify-when-silent",
        purpose: "Tells you when this agent has not been heard of for 10 minutes",
        namespace: None,
        metric: "Heartbeat",
        statistic: "Sum",
        comparison: Comparison::Less,
        threshold: 1.0,
        evaluation_periods: 10,
        datapoints_to_alarm: 10,
        missing_data: MissingData::Breaching,
        warm_up_minutes: Some(10),
        action: None,
    },
    Preset {
        name: "notify-when-lines-are-lost",
        purpose: "Tells you when bytes on disk could not be kept",
        namespace: None,
        metric: "LostBytes",
        statistic: "Sum",
        comparison: Comparison::Greater,
        threshold: 0.0,
        evaluation_periods: 3,
        datapoints_to_alarm: 1,
        missing_data: MissingData::NotBreaching,
        warm_up_minutes: None,
        action: None,
    },
];
