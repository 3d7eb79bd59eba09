//! `[events]`: which incidents are told to EventBridge, and on which bus.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::mistake::Problem;
use super::section::Section;
use super::template::Variable;
use super::tree::Node;
use super::value;

/// Longest name of a bus, in bytes (EventBridge API reference, EventBusName).
const BUS_NAME_BYTES_MAX: usize = 256;

/// What one million events cost in US dollars (EventBridge pricing, custom events, us-east-1).
pub const DOLLARS_PER_MILLION: f64 = 1.0;

/// `[events]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsConfig {
    /// Whether any are sent. Default false: an event may start what its receiver likes.
    pub enabled: bool,
    /// The bus, by name or, in another account or Region, by ARN. Default `default`.
    pub bus: Arc<str>,
    /// Kinds that are not sent.
    pub disable: BTreeSet<EventKind>,
}

impl EventsConfig {
    /// Whether incidents of a kind are sent.
    #[must_use]
    pub fn sends(&self, kind: EventKind) -> bool {
        self.enabled && !self.disable.contains(&kind)
    }

    /// The kinds that are sent.
    pub fn kinds(&self) -> impl Iterator<Item = EventKind> {
        EventKind::ALL.into_iter().filter(|kind| self.sends(*kind))
    }

    /// What must be known of this machine for an event to be whole.
    #[must_use]
    pub fn variables(&self) -> BTreeSet<Variable> {
        let wanted = [
            Variable::InstanceId,
            Variable::Region,
            Variable::AccountId,
            Variable::Asg,
        ];
        wanted.into_iter().filter(|_| self.enabled).collect()
    }
}

/// What an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A hook, or the CodeDeploy agent itself, failed in a lifecycle event.
    LifecycleEventFailed,
    /// The last lifecycle event that was seen succeeded, and nothing more came: inferred.
    DeploymentSucceeded,
    /// A deployment failed on this instance.
    DeploymentFailed,
    /// A deployment shows no sign of life.
    DeploymentHanging,
    /// The CodeDeploy agent does not do its work.
    #[serde(rename = "codedeploy_agent_unhealthy")]
    CodeDeployAgentUnhealthy,
    /// It does again.
    #[serde(rename = "codedeploy_agent_healthy")]
    CodeDeployAgentHealthy,
    /// The loop breaker suspended the actions of this instance's alarms.
    ActionsSuspended,
    /// It gave them free again.
    ActionsResumed,
    /// Bytes that were on disk could not be kept.
    BytesLost,
}

impl EventKind {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 9] = [
        Self::LifecycleEventFailed,
        Self::DeploymentSucceeded,
        Self::DeploymentFailed,
        Self::DeploymentHanging,
        Self::CodeDeployAgentUnhealthy,
        Self::CodeDeployAgentHealthy,
        Self::ActionsSuspended,
        Self::ActionsResumed,
        Self::BytesLost,
    ];

    /// Its word in the configuration, in `detail.kind` and in ids.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LifecycleEventFailed => "lifecycle_event_failed",
            Self::DeploymentSucceeded => "deployment_succeeded",
            Self::DeploymentFailed => "deployment_failed",
            Self::DeploymentHanging => "deployment_hanging",
            Self::CodeDeployAgentUnhealthy => "codedeploy_agent_unhealthy",
            Self::CodeDeployAgentHealthy => "codedeploy_agent_healthy",
            Self::ActionsSuspended => "actions_suspended",
            Self::ActionsResumed => "actions_resumed",
            Self::BytesLost => "bytes_lost",
        }
    }

    /// Its `detail-type`, for people: at most 128 characters (EventBridge API reference).
    #[must_use]
    pub fn detail_type(self) -> &'static str {
        match self {
            Self::LifecycleEventFailed => "Deploywatch Lifecycle Event Failed",
            Self::DeploymentSucceeded => "Deploywatch Deployment Succeeded",
            Self::DeploymentFailed => "Deploywatch Deployment Failed",
            Self::DeploymentHanging => "Deploywatch Deployment Hanging",
            Self::CodeDeployAgentUnhealthy => "Deploywatch CodeDeploy Agent Unhealthy",
            Self::CodeDeployAgentHealthy => "Deploywatch CodeDeploy Agent Healthy",
            Self::ActionsSuspended => "Deploywatch Alarm Actions Suspended",
            Self::ActionsResumed => "Deploywatch Alarm Actions Resumed",
            Self::BytesLost => "Deploywatch Bytes Lost",
        }
    }
}

/// Reads `[events]`.
pub(super) fn events(mut section: Section<'_>) -> EventsConfig {
    let enabled = section.read("enabled", value::boolean);
    let bus = section.read("bus", bus);
    let disable = section.read_list("disable", "\"deployment_succeeded\"", |node| {
        value::choice(node, &EventKind::ALL.map(|kind| (kind.name(), kind)))
    });
    section.finish(&[
        ("event_bus", "write bus"),
        ("bus_name", "write bus"),
        (
            "source",
            "remove it: the source of every event is deploywatch",
        ),
    ]);
    EventsConfig {
        enabled: enabled.unwrap_or(false),
        bus: bus.unwrap_or_else(|| "default".into()),
        disable: disable.unwrap_or_default().into_iter().collect(),
    }
}

/// A bus's name, or its ARN: `arn:PARTITION:events:REGION:ACCOUNT:event-bus/NAME`.
fn bus(node: &Node) -> Result<Arc<str>, Problem> {
    let written = value::text(node, "default")?;
    let name = match written.strip_prefix("arn:") {
        None => Some(written),
        Some(rest) => {
            let parts: Vec<&str> = rest.splitn(5, ':').collect();
            match parts[..] {
                [partition, "events", region, account, name]
                    if partition.starts_with("aws")
                        && !region.is_empty()
                        && account.len() == 12
                        && account.bytes().all(|b| b.is_ascii_digit()) =>
                {
                    name.strip_prefix("event-bus/")
                }
                _ => None,
            }
        }
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    match name {
        Some(name)
            if (1..=BUS_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed) =>
        {
            Ok(written.into())
        }
        _ => Err(Problem::new(
            format!("\"{written}\" is not an event bus"),
            "write its name (letters, digits and . - _ /, at most 256) or its ARN, such as \
             \"arn:aws:events:eu-west-1:111122223333:event-bus/NAME\"",
        )),
    }
}
