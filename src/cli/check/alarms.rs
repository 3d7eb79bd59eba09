//! What `check` says of alarms: each one that is configured, and what it calls.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::cli::terminal::Side::Left;
use crate::cli::terminal::Table;
use crate::config::alarm::{Action, Alarm, AlarmsConfig};

/// Wider than any line: `check` is read from files and pagers, too.
const WIDTH: usize = 10_000;

/// Writes them for people; nothing where there are none.
pub(super) fn write(config: &AlarmsConfig, out: &mut dyn Write) -> io::Result<()> {
    if config.alarms.is_empty() {
        return Ok(());
    }
    let maker = match config.manage {
        true => "the agent keeps them so",
        false => "`deploywatch alarms apply` makes them",
    };
    let prefix = config.name_prefix.text();
    writeln!(out, "CloudWatch alarms, named {prefix}…; {maker}:")?;
    let mut table = Table::new([Left, Left, Left]);
    for alarm in &config.alarms {
        let metric = format!("{} {}", alarm.namespace, alarm.metric);
        table.row([format!("  {}", alarm.name), metric, calls(alarm)]);
    }
    for line in table.lines(WIDTH) {
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)
}

/// The same for tools.
pub(super) fn to_json(config: &AlarmsConfig) -> Value {
    let one = |alarm: &Alarm| {
        json!({
            "name": &*alarm.name,
            "namespace": alarm.namespace,
            "metric": alarm.metric,
            "actions": words(&alarm.actions),
            "ok_actions": words(&alarm.ok_actions),
            "insufficient_data_actions": words(&alarm.insufficient_data_actions),
        })
    };
    json!({
        "manage": config.manage,
        "name_prefix": config.name_prefix.text(),
        "alarms": config.alarms.iter().map(|alarm| one(alarm)).collect::<Vec<_>>(),
    })
}

/// What each state calls, in words.
fn calls(alarm: &Alarm) -> String {
    let states = [
        ("ALARM", &alarm.actions),
        ("OK", &alarm.ok_actions),
        ("INSUFFICIENT_DATA", &alarm.insufficient_data_actions),
    ];
    let told: Vec<String> = states
        .iter()
        .filter(|(_, actions)| !actions.is_empty())
        .map(|(state, actions)| format!("{state}: {}", words(actions).join(", ")))
        .collect();
    match told.is_empty() {
        true => "calls nobody".to_owned(),
        false => told.join("; "),
    }
}

/// As the user wrote them.
fn words(actions: &[Action]) -> Vec<&str> {
    let word = |action| match action {
        &Action::Ec2(action) => action.word(),
        Action::Arn(arn) => arn,
    };
    actions.iter().map(word).collect()
}
