//! `[alarms]` and `[[alarm]]`: which CloudWatch alarms this instance keeps on its metrics, and
//! what they may do to it.
//!
//! `read.rs` makes an [`AlarmsConfig`] of what the user wrote, `key.rs` reads single values, `preset.rs` holds the alarms that
//! come in one line, `check.rs` refuses what would act by mistake, `arn.rs` knows the forms of
//! ARNs. CloudWatch itself checks nothing about actions: an alarm with an action it cannot carry
//! out is made without a word and does nothing, or the wrong thing, on the day it counts. So
//! everything that can be known offline is refused here, with the reason.

pub mod arn;
mod check;
mod key;
mod preset;
mod read;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::template::{Template, Variable};
use crate::ports::alarm::{Comparison, MissingData, NAMES_MAX};
pub use preset::PRESETS;
pub(super) use read::{Around, alarms};

/// Most alarms of one configuration: one call suspends as many, and more are only what others left behind.
pub const ALARMS_MAX: usize = NAMES_MAX;

/// Most actions of one state (CloudWatch API reference, PutMetricAlarm).
pub const ACTIONS_MAX: usize = 5;

/// Longest name of an alarm, in characters (CloudWatch API reference, PutMetricAlarm).
pub const ALARM_NAME_MAX: usize = 255;

/// Longest `name` below the prefix: leaves room for prefixes.
pub const SHORT_NAME_MAX: usize = 100;

/// `[alarms]` and every `[[alarm]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmsConfig {
    /// Whether the agent itself makes the alarms, at its start and on a reload. Default false:
    /// `deploywatch alarms apply` does.
    pub manage: bool,
    /// Whether an action may be `terminate`. Default false.
    pub allow_terminate: bool,
    /// Restarts after a breach that are let pass within [`AlarmsConfig::window`]; one more
    /// suspends the alarms' actions. Default 3.
    pub max_restarts: u32,
    /// See there; also how long nothing may restart before actions are resumed. Default 1 h.
    pub window: Duration,
    /// What every alarm's name begins with; holds `{instance_id}` and ends with `/`. Default
    /// `deploywatch/{instance_id}/`.
    pub name_prefix: Template,
    /// The alarms that are switched on.
    pub alarms: Vec<Arc<Alarm>>,
}

impl AlarmsConfig {
    /// What must be known of this machine to make the alarms; nothing where there are none.
    #[must_use]
    pub fn variables(&self) -> BTreeSet<Variable> {
        if self.alarms.is_empty() {
            return BTreeSet::new();
        }
        let dimensions = self.alarms.iter().flat_map(|alarm| &alarm.dimensions);
        dimensions
            .filter_map(|(_, value)| match value {
                DimensionValue::Machine(variable) => Some(variable.clone()),
                DimensionValue::Literal(_) => None,
            })
            .chain(self.name_prefix.variables().cloned())
            .chain([Variable::InstanceId, Variable::Region])
            .collect()
    }

    /// Whether any alarm may restart or end this instance.
    #[must_use]
    pub fn acts_on_instance(&self) -> bool {
        self.alarms.iter().any(|alarm| alarm.ec2_action().is_some())
    }
}

/// One `[[alarm]]`, presets filled in and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// Its name below the prefix.
    pub name: Arc<str>,
    /// For people.
    pub description: String,
    /// The metric's namespace.
    pub namespace: String,
    /// The metric's name.
    pub metric: String,
    /// Whether this agent publishes the metric, so that it knows of a breach by itself.
    pub is_own_metric: bool,
    /// A datapoint of it comes once in so many seconds, as far as we know.
    pub datapoint_s: u32,
    /// Exactly the dimensions it is published under, sorted by name.
    pub dimensions: Vec<(String, DimensionValue)>,
    /// As CloudWatch writes it: `Maximum`, `p99`.
    pub statistic: String,
    /// When a datapoint breaches.
    pub comparison: Comparison,
    /// What it is compared with.
    pub threshold: f64,
    /// Length of a period in seconds.
    pub period_s: u32,
    /// How many periods are looked at.
    pub evaluation_periods: u32,
    /// How many of them must breach.
    pub datapoints_to_alarm: u32,
    /// What a period without data means.
    pub missing_data: MissingData,
    /// Minutes after it was made or changed in which it does nothing.
    pub warm_up_minutes: Option<u32>,
    /// What ALARM calls.
    pub actions: Vec<Action>,
    /// What OK calls; never an action on the instance.
    pub ok_actions: Vec<Action>,
    /// What INSUFFICIENT_DATA calls; never an action on the instance.
    pub insufficient_data_actions: Vec<Action>,
}

impl Alarm {
    /// What it does to the instance, if anything; one alarm does at most one thing.
    #[must_use]
    pub fn ec2_action(&self) -> Option<Ec2Action> {
        self.actions.iter().find_map(|action| match action {
            Action::Ec2(action) => Some(*action),
            Action::Arn(_) => None,
        })
    }
}

/// Where a dimension's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DimensionValue {
    /// The user wrote it.
    Literal(String),
    /// This machine's own.
    Machine(Variable),
}

/// What an alarm calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Something done to this instance.
    Ec2(Ec2Action),
    /// SNS, Lambda, Systems Manager and so on, by ARN.
    Arn(String),
}

/// What CloudWatch can have EC2 do to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ec2Action {
    /// Stops it.
    Stop,
    /// Reboots it, as the console does.
    Reboot,
    /// Ends it for ever.
    Terminate,
    /// Moves it to other hardware and starts it there.
    Recover,
}

impl Ec2Action {
    /// All, in the order people are shown them.
    pub const ALL: [Self; 4] = [Self::Stop, Self::Reboot, Self::Terminate, Self::Recover];

    /// As the user writes it, and as it stands in the ARN.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Reboot => "reboot",
            Self::Terminate => "terminate",
            Self::Recover => "recover",
        }
    }
}

#[cfg(test)]
mod tests;
