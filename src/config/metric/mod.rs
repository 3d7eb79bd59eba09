//! `[metrics]` and `[[metric]]`: what is counted on this instance, and as which CloudWatch metrics
//! it is published.
//!
//! `read.rs` makes a [`MetricsConfig`] of what the user wrote, `published.rs` answers which series
//! a configuration can publish and what they cost. CloudWatch keeps each combination of name and
//! dimension *set* apart, so an alarm sees only what was published under exactly its set.

mod published;
mod read;

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::template::Variable;
pub use published::{Cost, PRICES_AS_OF, PRICES_OF, Published};
pub(super) use read::{Surroundings, metrics};

/// Most `[[metric]]`s of one configuration: each may cost money and is matched against every line.
pub const CUSTOM_METRICS_MAX: usize = 100;

/// Most values of one `[[metric]]`'s dimensions that it may be told to keep apart.
pub const SERIES_MAX: usize = 500;

/// Most dimension sets of one metric: each is another metric to pay for.
pub const DIMENSION_SETS_MAX: usize = 10;

/// Most dimensions of a metric (CloudWatch API reference, MetricDatum).
pub const DIMENSIONS_MAX: usize = 30;

/// Longest name of a metric, a dimension or a namespace, in bytes (CloudWatch API reference,
/// MetricDatum, Dimension, PutMetricData).
pub const NAME_BYTES_MAX: usize = 255;

/// Units a datum may have (CloudWatch API reference, MetricDatum).
const UNITS: [&str; 27] = [
    "Count",
    "None",
    "Seconds",
    "Milliseconds",
    "Microseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
];

/// `[metrics]` and every `[[metric]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsConfig {
    /// Whether anything is published at all. Default true.
    pub enabled: bool,
    /// Default `Deploywatch`.
    pub namespace: String,
    /// Length of a period in seconds: 10, 20, 30, or whole minutes that divide an hour. Default
    /// 60. Below 60, data are stored with high resolution.
    pub period_s: u32,
    /// The dimension sets of all built-in metrics but `LifecycleEventSeconds`, and of every
    /// `[[metric]]` that names none. Default `[["InstanceId"]]`.
    pub dimensions: Vec<DimensionSet>,
    /// The dimension sets of `LifecycleEventSeconds`: those of `[metrics]` that name
    /// `LifecycleEvent`. Default `[["LifecycleEvent"]]`.
    pub lifecycle_dimensions: Vec<DimensionSet>,
    /// Built-in metrics that are not published: those of `disable`, and all about CodeDeploy where
    /// it is not watched.
    pub disable: BTreeSet<BuiltinMetric>,
    /// The user's own.
    pub custom: Vec<Arc<CustomMetric>>,
}

impl MetricsConfig {
    /// Whether a built-in metric is published.
    #[must_use]
    pub fn publishes(&self, metric: BuiltinMetric) -> bool {
        self.enabled && !self.disable.contains(&metric)
    }

    /// The dimension sets of a built-in metric.
    #[must_use]
    pub fn sets_of(&self, metric: BuiltinMetric) -> &[DimensionSet] {
        match metric {
            BuiltinMetric::LifecycleEventSeconds => &self.lifecycle_dimensions,
            _ => &self.dimensions,
        }
    }

    /// `StorageResolution` of every datum, in seconds: 1 or 60.
    #[must_use]
    pub fn resolution_s(&self) -> u32 {
        if self.period_s < 60 { 1 } else { 60 }
    }

    /// What must be known of this machine to publish every set.
    #[must_use]
    pub fn variables(&self) -> BTreeSet<Variable> {
        if !self.enabled {
            return BTreeSet::new();
        }
        let builtin = BuiltinMetric::ALL.into_iter();
        builtin
            .filter(|metric| self.publishes(*metric))
            .flat_map(|metric| self.sets_of(metric))
            .chain(self.custom.iter().flat_map(|metric| &metric.dimensions))
            .flat_map(|set| &set.0)
            .filter_map(Dimension::variable)
            .collect()
    }
}

/// What the agent publishes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BuiltinMetric {
    /// 1 each period in which this agent works.
    Heartbeat,
    /// 1 while the CodeDeploy agent does its work, 0 while it does not.
    CodeDeployAgentHealthy,
    /// Deployments that succeeded here in the period.
    DeploymentsSucceeded,
    /// Deployments that failed here in the period.
    DeploymentsFailed,
    /// 1 while the newest finished deployment of this boot failed, else 0.
    LastDeploymentFailed,
    /// Age of the running deployment, 0 when there is none.
    DeploymentRunningSeconds,
    /// How long a lifecycle event took; a series for each of them.
    LifecycleEventSeconds,
    /// Bytes on disk that CloudWatch Logs has not answered for.
    BacklogBytes,
    /// Bytes that were on disk and could not be kept, in the period.
    LostBytes,
    /// Events that CloudWatch Logs refused in the period.
    RefusedEvents,
    /// Secrets taken out of records in the period; no datum in one without any.
    RedactedSecrets,
    /// 1 while the actions of this instance's alarms are suspended, else 0; only where there is
    /// an alarm that acts on the instance.
    ActionsSuspended,
}

/// How the numbers of a period become one datum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// Their sum, as one value; 0 in a period without any.
    Sum,
    /// Every number for itself (average, minimum, percentiles); no datum in a period without any.
    Distribution,
    /// The last number, at the period's end.
    Gauge,
}

impl BuiltinMetric {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 12] = [
        Self::Heartbeat,
        Self::CodeDeployAgentHealthy,
        Self::DeploymentsSucceeded,
        Self::DeploymentsFailed,
        Self::LastDeploymentFailed,
        Self::DeploymentRunningSeconds,
        Self::LifecycleEventSeconds,
        Self::BacklogBytes,
        Self::LostBytes,
        Self::RefusedEvents,
        Self::RedactedSecrets,
        Self::ActionsSuspended,
    ];

    /// Its name in CloudWatch.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "Heartbeat",
            Self::CodeDeployAgentHealthy => "CodeDeployAgentHealthy",
            Self::DeploymentsSucceeded => "DeploymentsSucceeded",
            Self::DeploymentsFailed => "DeploymentsFailed",
            Self::LastDeploymentFailed => "LastDeploymentFailed",
            Self::DeploymentRunningSeconds => "DeploymentRunningSeconds",
            Self::LifecycleEventSeconds => "LifecycleEventSeconds",
            Self::BacklogBytes => "BacklogBytes",
            Self::LostBytes => "LostBytes",
            Self::RefusedEvents => "RefusedEvents",
            Self::RedactedSecrets => "RedactedSecrets",
            Self::ActionsSuspended => "ActionsSuspended",
        }
    }

    /// Its unit in CloudWatch.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::CodeDeployAgentHealthy | Self::LastDeploymentFailed | Self::ActionsSuspended => {
                "None"
            }
            Self::DeploymentRunningSeconds | Self::LifecycleEventSeconds => "Seconds",
            Self::BacklogBytes | Self::LostBytes => "Bytes",
            Self::Heartbeat
            | Self::DeploymentsSucceeded
            | Self::DeploymentsFailed
            | Self::RefusedEvents
            | Self::RedactedSecrets => "Count",
        }
    }

    /// How its numbers become a datum.
    #[must_use]
    pub fn statistic(self) -> Statistic {
        match self {
            Self::CodeDeployAgentHealthy
            | Self::LastDeploymentFailed
            | Self::DeploymentRunningSeconds
            | Self::BacklogBytes
            | Self::ActionsSuspended
            | Self::Heartbeat => Statistic::Gauge,
            Self::LifecycleEventSeconds | Self::RedactedSecrets => Statistic::Distribution,
            Self::DeploymentsSucceeded
            | Self::DeploymentsFailed
            | Self::LostBytes
            | Self::RefusedEvents => Statistic::Sum,
        }
    }

    /// Whether it says something about CodeDeploy, and so has nothing to say without it.
    fn is_about_codedeploy(self) -> bool {
        match self {
            Self::CodeDeployAgentHealthy
            | Self::DeploymentsSucceeded
            | Self::DeploymentsFailed
            | Self::LastDeploymentFailed
            | Self::DeploymentRunningSeconds
            | Self::LifecycleEventSeconds => true,
            Self::Heartbeat
            | Self::BacklogBytes
            | Self::LostBytes
            | Self::RefusedEvents
            | Self::RedactedSecrets
            | Self::ActionsSuspended => false,
        }
    }
}

/// One dimension of a set: its name is known from the configuration, its value later.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// `InstanceId`
    InstanceId,
    /// `AutoScalingGroupName`; an instance in no group has no value for it.
    AutoScalingGroupName,
    /// `Hostname`
    Hostname,
    /// `Region`
    Region,
    /// `AccountId`
    AccountId,
    /// `tag:NAME`, published under the name of the tag.
    Tag(String),
    /// `LifecycleEvent`, of `LifecycleEventSeconds` only.
    LifecycleEvent,
    /// A named group of a `[[metric]]`'s pattern.
    Group(String),
}

impl Dimension {
    /// Those that every metric can have, but for tags.
    const OF_THE_MACHINE: [Self; 5] = [
        Self::InstanceId,
        Self::AutoScalingGroupName,
        Self::Hostname,
        Self::Region,
        Self::AccountId,
    ];

    /// Its name in CloudWatch.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::InstanceId => "InstanceId",
            Self::AutoScalingGroupName => "AutoScalingGroupName",
            Self::Hostname => "Hostname",
            Self::Region => "Region",
            Self::AccountId => "AccountId",
            Self::LifecycleEvent => "LifecycleEvent",
            Self::Tag(name) | Self::Group(name) => name,
        }
    }

    /// What must be known of the machine for it; `None` where the line or the record tells it.
    fn variable(&self) -> Option<Variable> {
        match self {
            Self::InstanceId => Some(Variable::InstanceId),
            Self::AutoScalingGroupName => Some(Variable::Asg),
            Self::Hostname => Some(Variable::Hostname),
            Self::Region => Some(Variable::Region),
            Self::AccountId => Some(Variable::AccountId),
            Self::Tag(name) => Some(Variable::Tag(name.clone())),
            Self::LifecycleEvent | Self::Group(_) => None,
        }
    }
}

/// Dimensions that are published together. An empty one is a metric without dimensions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DimensionSet(pub Vec<Dimension>);

impl DimensionSet {
    /// Whether lines tell values of it, so that nobody knows how many series it makes.
    #[must_use]
    pub fn has_groups(&self) -> bool {
        self.0
            .iter()
            .any(|dimension| matches!(dimension, Dimension::Group(_)))
    }
}

/// One `[[metric]]`: what is counted in the lines of some sources.
#[derive(Clone, Debug)]
pub struct CustomMetric {
    /// Its name in CloudWatch.
    pub name: String,
    /// The sources whose records are looked at.
    pub sources: BTreeSet<String>,
    /// A record that matches counts once; the group `value` is what it counts, else 1.
    pub pattern: Regex,
    /// Its unit in CloudWatch. Default `None` with a group `value`, else `Count`.
    pub unit: &'static str,
    /// [`Statistic::Distribution`] by default with a group `value`, else [`Statistic::Sum`].
    pub statistic: Statistic,
    /// Its dimension sets.
    pub dimensions: Vec<DimensionSet>,
    /// How many combinations of its groups' values are kept apart; further ones are refused and
    /// counted. Default 20.
    pub series_max: usize,
}

impl PartialEq for CustomMetric {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.sources == other.sources
            && self.pattern.as_str() == other.pattern.as_str()
            && self.unit == other.unit
            && self.statistic == other.statistic
            && self.dimensions == other.dimensions
            && self.series_max == other.series_max
    }
}

impl CustomMetric {
    /// The names of the pattern's groups that some set needs, without repetition.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<&str> {
        let dimensions = self.dimensions.iter().flat_map(|set| &set.0);
        dimensions
            .filter_map(|dimension| match dimension {
                Dimension::Group(name) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
