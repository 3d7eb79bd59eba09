//! Alarms in words.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::alarms::plan::{Change, Difference, Plan, settings};
use crate::alarms::spec::Wanted;
use crate::alarms::state::Order;
use crate::config::alarm::{Ec2Action, arn};
use crate::ports::alarm::{ActionTaken, ServiceAlarm};

/// What became of the alarms that act on the instance.
pub(super) fn order(order: Order, names: &[String], out: &mut dyn Write) -> io::Result<()> {
    let does = match order {
        Order::Suspend => "suspended: no action is called",
        Order::Resume => "resumed: actions are called again",
    };
    for name in names {
        writeln!(out, "{name} {does}")?;
    }
    match names {
        [] => writeln!(out, "no alarm of ours acts on this instance"),
        _ => Ok(()),
    }
}

/// A plan for people: every alarm that would change, and how.
pub(super) fn plan(plan: &Plan, wanted: &Wanted, out: &mut dyn Write) -> io::Result<()> {
    for change in &plan.changes {
        match change {
            Change::Create(spec) => {
                writeln!(out, "+ {}", spec.name)?;
                let all = settings(spec);
                for (key, value) in all.iter().filter(|(_, value)| !value.is_empty()) {
                    writeln!(out, "    {key:<26} {value}")?;
                }
            }
            Change::Update { spec, differences } => {
                writeln!(out, "~ {}", spec.name)?;
                write_differences(differences, out)?;
            }
            Change::Adopt {
                spec, differences, ..
            } => {
                writeln!(out, "~ {} (was not ours, becomes ours)", spec.name)?;
                write_differences(differences, out)?;
            }
            Change::Delete(spec) => writeln!(out, "- {}", spec.name)?,
        }
    }
    for name in &plan.strangers {
        writeln!(
            out,
            "! {name} is not ours and stays as it is; --adopt takes it over"
        )?;
    }
    for alarm in &wanted.impossible {
        writeln!(out, "! {} cannot be made: {}", alarm.name, alarm.reason)?;
    }
    let [made, changed, deleted] = counts(plan);
    writeln!(
        out,
        "{made} to make, {changed} to change, {deleted} to delete, {} as wanted",
        plan.unchanged.len()
    )
}

fn write_differences(differences: &[Difference], out: &mut dyn Write) -> io::Result<()> {
    let shown = |text: &str| match text {
        "" => "(none)".to_owned(),
        text => text.to_owned(),
    };
    for difference in differences {
        let (from, to) = (shown(&difference.from), shown(&difference.to));
        writeln!(out, "    {:<26} {from} -> {to}", difference.key)?;
    }
    Ok(())
}

/// How many are made, changed, deleted.
pub(super) fn counts(plan: &Plan) -> [usize; 3] {
    let mut counts = [0; 3];
    for change in &plan.changes {
        counts[match change {
            Change::Create(_) => 0,
            Change::Update { .. } | Change::Adopt { .. } => 1,
            Change::Delete(_) => 2,
        }] += 1;
    }
    counts
}

/// A plan for tools.
pub(super) fn plan_json(plan: &Plan, wanted: &Wanted) -> Value {
    let change = |change: &Change| {
        let (what, differences) = match change {
            Change::Create(_) => ("create", &[][..]),
            Change::Update { differences, .. } => ("update", &differences[..]),
            Change::Adopt { differences, .. } => ("adopt", &differences[..]),
            Change::Delete(_) => ("delete", &[][..]),
        };
        let differences = differences.iter();
        let differences: Vec<Value> = differences
            .map(|d| json!({ "key": d.key, "from": d.from, "to": d.to }))
            .collect();
        json!({ "change": what, "name": change.name(), "differences": differences })
    };
    let impossible = wanted.impossible.iter();
    let impossible = impossible.map(|alarm| json!({ "name": alarm.name, "reason": alarm.reason }));
    json!({
        "changes": plan.changes.iter().map(change).collect::<Vec<_>>(),
        "unchanged": plan.unchanged,
        "not_ours": plan.strangers,
        "impossible": impossible.collect::<Vec<_>>(),
    })
}

/// What happens when an alarm goes to ALARM, in plain words.
pub(super) fn consequence(action: &str, dimensions: &[(String, String)]) -> String {
    let instance = dimensions.iter().find(|(name, _)| name == "InstanceId");
    let instance = instance.map_or("the instance", |(_, id)| id);
    match arn::ec2_action_of(action) {
        Some(Ec2Action::Stop) => format!("STOP {instance}: everything running on it ends"),
        Some(Ec2Action::Reboot) => format!("REBOOT {instance}: everything running on it ends"),
        Some(Ec2Action::Terminate) => {
            format!("TERMINATE {instance}: it is gone for ever, with its local disks")
        }
        Some(Ec2Action::Recover) => {
            format!("RECOVER {instance}: it is moved to other hardware and restarted")
        }
        None => format!("call {action}"),
    }
}

/// One alarm of `alarms status`.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    /// As the service has it; `None`: it does not.
    pub(super) there: Option<&'a ServiceAlarm>,
    /// In how many settings that differs.
    pub(super) differences: usize,
    pub(super) last_action: Option<ActionTaken>,
}

impl Line<'_> {
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(there) = self.there else {
            return writeln!(
                out,
                "{}\n    not made yet: `deploywatch alarms apply`",
                self.name
            );
        };
        writeln!(out, "{}", self.name)?;
        let since = there.state_since_ms.map(time).unwrap_or_default();
        writeln!(out, "    state    {} since {since}", there.state.word())?;
        if !there.state_reason.is_empty() {
            writeln!(out, "    because  {}", there.state_reason)?;
        }
        if !there.actions_enabled {
            writeln!(out, "    actions  SUSPENDED: none is called")?;
        }
        for action in &there.spec.alarm_actions {
            let does = consequence(action, &there.spec.dimensions);
            writeln!(out, "    in ALARM {does}")?;
        }
        match &self.last_action {
            Some(action) => writeln!(
                out,
                "    last     {} {}",
                time(action.at_ms),
                action.summary
            )?,
            None => writeln!(out, "    last     no action known")?,
        }
        match self.differences {
            0 => Ok(()),
            n => writeln!(
                out,
                "    differs  in {n} setting(s) from the configuration: `deploywatch alarms plan`"
            ),
        }
    }

    pub(super) fn json(&self) -> Value {
        let there = self.there;
        json!({
            "name": self.name,
            "exists": there.is_some(),
            "state": there.map(|alarm| alarm.state.word()),
            "state_reason": there.map(|alarm| &alarm.state_reason),
            "state_since_ms": there.and_then(|alarm| alarm.state_since_ms),
            "actions_enabled": there.map(|alarm| alarm.actions_enabled),
            "actions": there.map(|alarm| &alarm.spec.alarm_actions),
            "differences": self.differences,
            "last_action": self.last_action,
        })
    }
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}
