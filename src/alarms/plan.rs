//! The difference between the alarms the configuration wants and those the service has.
//!
//! Pure. An alarm is ours when its name begins with our prefix *and* it carries our tag; nothing
//! else is ever changed or deleted. Whether an alarm's actions are switched on is no part of the
//! difference: what a person or the loop breaker switched off, no plan switches on again.

use std::collections::BTreeSet;

use super::spec::Wanted;
use crate::config::alarm::{ACTIONS_MAX, arn};
use crate::ports::alarm::{AlarmSpec, ServiceAlarm};

/// An alarm that is there, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    /// As the service has it.
    pub alarm: ServiceAlarm,
    /// Whose.
    pub owner: Owner,
}

/// Whose an alarm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It carries our tag, or we know that we made it.
    Us,
    /// Somebody made it by hand, under a name with our prefix.
    Other,
}

/// What becomes of what people changed by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// An alarm that is not ours is left alone; what was added to one that is ours goes.
    Revert,
    /// Alarms with our names become ours; actions and settings added to them stay. An action on
    /// the instance never does: only the configuration can ask for that.
    Adopt,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Make an alarm.
    Create(AlarmSpec),
    /// Overwrite one of ours.
    Update {
        /// What it becomes.
        spec: AlarmSpec,
        /// In what it differs.
        differences: Vec<Difference>,
    },
    /// Tag an alarm that was not ours, and overwrite it where it differs.
    Adopt {
        /// Which.
        arn: String,
        /// What it becomes.
        spec: AlarmSpec,
        /// In what it differs.
        differences: Vec<Difference>,
    },
    /// Delete one of ours that is not wanted any more.
    Delete(AlarmSpec),
}

impl Change {
    /// The whole name of the alarm it is about.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Create(spec) | Self::Delete(spec) => &spec.name,
            Self::Update { spec, .. } | Self::Adopt { spec, .. } => &spec.name,
        }
    }
}

/// One setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The setting, as the user writes it.
    pub key: &'static str,
    /// What it is.
    pub from: String,
    /// What it shall be.
    pub to: String,
}

/// What there is to do, and what there is not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Deletions first, so that no alarm acts that nobody wants any more.
    pub changes: Vec<Change>,
    /// Alarms of ours that are as they should be, by name.
    pub unchanged: Vec<String>,
    /// Alarms under our prefix that are not ours and stay as they are, by name.
    pub strangers: Vec<String>,
}

impl Plan {
    /// Whether the service has everything as it is wanted, as far as it may be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Compares.
#[must_use]
pub fn plan(wanted: &Wanted, present: &[Present], by_hand: ByHand) -> Plan {
    let mut plan = Plan::default();
    let spared: BTreeSet<&str> = wanted
        .specs
        .iter()
        .map(|spec| spec.name.as_str())
        .chain(wanted.impossible.iter().map(|alarm| alarm.name.as_str()))
        .collect();
    for there in present {
        let name = &there.alarm.spec.name;
        if spared.contains(name.as_str()) || !name.starts_with(&wanted.prefix) {
            continue;
        }
        match there.owner {
            Owner::Us => plan.changes.push(Change::Delete(there.alarm.spec.clone())),
            Owner::Other => plan.strangers.push(name.clone()),
        }
    }
    for spec in &wanted.specs {
        match present
            .iter()
            .find(|there| there.alarm.spec.name == spec.name)
        {
            None => plan.changes.push(Change::Create(spec.clone())),
            Some(there) => plan.meet(spec, there, by_hand),
        }
    }
    plan
}

impl Plan {
    /// Decides about an alarm that is wanted and there.
    fn meet(&mut self, spec: &AlarmSpec, there: &Present, by_hand: ByHand) {
        let spec = match by_hand {
            ByHand::Revert => spec.clone(),
            ByHand::Adopt => with_additions(spec, &there.alarm.spec),
        };
        let differences = differences(&there.alarm, &spec);
        match (there.owner, by_hand) {
            (Owner::Us, _) if differences.is_empty() => self.unchanged.push(spec.name),
            (Owner::Us, _) => self.changes.push(Change::Update { spec, differences }),
            (Owner::Other, ByHand::Revert) => self.strangers.push(spec.name),
            (Owner::Other, ByHand::Adopt) => {
                let arn = there.alarm.arn.clone();
                self.changes.push(Change::Adopt {
                    arn,
                    spec,
                    differences,
                });
            }
        }
    }
}

/// What is wanted, with what people added to it.
fn with_additions(spec: &AlarmSpec, there: &AlarmSpec) -> AlarmSpec {
    let mut spec = spec.clone();
    for (ours, theirs) in [
        (&mut spec.alarm_actions, &there.alarm_actions),
        (&mut spec.ok_actions, &there.ok_actions),
        (
            &mut spec.insufficient_data_actions,
            &there.insufficient_data_actions,
        ),
    ] {
        for action in theirs {
            let acts_on_instance = arn::ec2_action_of(action).is_some();
            if ours.len() < ACTIONS_MAX && !ours.contains(action) && !acts_on_instance {
                ours.push(action.clone());
            }
        }
    }
    spec.by_hand.clone_from(&there.by_hand);
    spec
}

/// In what an alarm that is there differs from what it shall be.
#[must_use]
pub fn differences(there: &ServiceAlarm, wanted: &AlarmSpec) -> Vec<Difference> {
    let (from, to) = (settings(&there.spec), settings(wanted));
    let kind = |kind: Option<&str>| ("kind", kind.unwrap_or("one metric").to_owned());
    let from = from.into_iter().chain([kind(there.other_kind.as_deref())]);
    let to = to.into_iter().chain([kind(None)]);
    from.zip(to)
        .filter(|((_, from), (_, to))| from != to)
        .map(|((key, from), (_, to))| Difference { key, from, to })
        .collect()
}

/// Every setting of an alarm in words, always the same ones in the same order.
#[must_use]
pub fn settings(spec: &AlarmSpec) -> Vec<(&'static str, String)> {
    let list = |actions: &[String]| {
        // The service calls them all; their order means nothing.
        let sorted: BTreeSet<&str> = actions.iter().map(String::as_str).collect();
        sorted.into_iter().collect::<Vec<_>>().join(" ")
    };
    let pairs = |pairs: &mut dyn Iterator<Item = (&String, &String)>| {
        let written: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        written.join(" ")
    };
    vec![
        ("metric", format!("{} {}", spec.namespace, spec.metric)),
        (
            "dimensions",
            pairs(&mut spec.dimensions.iter().map(|(n, v)| (n, v))),
        ),
        ("statistic", spec.statistic.clone()),
        ("comparison", spec.comparison.symbol().to_owned()),
        ("threshold", spec.threshold.to_string()),
        ("period", format!("{}s", spec.period_s)),
        ("evaluation_periods", spec.evaluation_periods.to_string()),
        ("datapoints_to_alarm", spec.datapoints_to_alarm.to_string()),
        ("missing_data", spec.missing_data.word().to_owned()),
        (
            "warm_up",
            spec.warm_up_minutes
                .map_or("none".to_owned(), |minutes| format!("{minutes}m")),
        ),
        ("actions", list(&spec.alarm_actions)),
        ("ok_actions", list(&spec.ok_actions)),
        (
            "insufficient_data_actions",
            list(&spec.insufficient_data_actions),
        ),
        ("description", spec.description.clone()),
        ("added by hand", pairs(&mut spec.by_hand.iter())),
    ]
}

#[cfg(test)]
mod tests;
