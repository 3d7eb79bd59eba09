//! Single values of `[alarms]` and `[[alarm]]`: each checked by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::mistake::{Problem, quoted_choice};
use super::super::name::NameKind;
use super::super::template::{Template, Variable};
use super::super::tree::{Node, Value};
use super::super::value;
use super::preset::{PRESETS, Preset};
use super::{Action, DimensionValue, Ec2Action, SHORT_NAME_MAX, arn, check};
use crate::ports::alarm::{Comparison, MissingData};

/// What alarms' names begin with unless told otherwise.
pub(super) const PREFIX_DEFAULT: &str = "deploywatch/{instance_id}/";

/// Longest description, in characters (CloudWatch API reference, PutMetricAlarm).
const DESCRIPTION_CHARS_MAX: usize = 1024;

/// Most periods an alarm can look at: a day of 10 s.
const EVALUATION_PERIODS_MAX: usize = 8640;

const DIMENSIONS_REMEDY: &str =
    "write dimensions = [\"InstanceId\"], or { InstanceId = \"{instance_id}\", NAME = \"VALUE\" }";

pub(super) fn preset(node: &Node) -> Result<&'static Preset, Problem> {
    let words: Vec<(&str, &'static Preset)> =
        PRESETS.iter().map(|preset| (preset.name, preset)).collect();
    value::choice(node, &words)
}

pub(super) fn name_prefix(node: &Node) -> Result<Template, Problem> {
    let written = value::text(node, PREFIX_DEFAULT)?;
    let template = Template::parse(written, NameKind::Alarm)
        .map_err(|error| Problem::new(error.to_string(), error.remedy()))?;
    let of_files = [
        Variable::DeploymentId,
        Variable::DeploymentGroupId,
        Variable::FileName,
        Variable::Source,
    ];
    if let Some(variable) = template.variables().find(|v| of_files.contains(v)) {
        let what = format!("{{{variable}}} is not the same for the whole instance");
        return Err(Problem::new(what, "remove it"));
    }
    if !template.variables().any(|v| *v == Variable::InstanceId) || !written.ends_with('/') {
        return Err(Problem::new(
            "without {instance_id} and a / at the end, instances would change each other's alarms",
            format!("write it like \"{PREFIX_DEFAULT}\""),
        ));
    }
    Ok(template)
}

pub(super) fn name(node: &Node) -> Result<String, Problem> {
    let written = value::text(node, "payment-errors")?;
    let good = (1..=SHORT_NAME_MAX).contains(&written.len())
        && written.chars().all(|c| NameKind::Alarm.allows(c));
    if good {
        return Ok(written.to_owned());
    }
    Err(Problem::new(
        format!("\"{written}\" is not a name for an alarm"),
        format!("write 1 to {SHORT_NAME_MAX} letters, digits or . - _ / #"),
    ))
}

pub(super) fn description(node: &Node) -> Result<String, Problem> {
    let written = value::text(node, "why it is there")?;
    if written.chars().count() <= DESCRIPTION_CHARS_MAX {
        return Ok(written.to_owned());
    }
    let what = "the description is too long";
    Err(Problem::new(
        what,
        format!("write at most {DESCRIPTION_CHARS_MAX} characters"),
    ))
}

/// 1 to 255 printable ASCII characters.
pub(super) fn bounded_text(node: &Node, example: &str) -> Result<String, Problem> {
    let written = value::text(node, example)?;
    let printable = |b: u8| b == b' ' || b.is_ascii_graphic();
    let good = (1..=255).contains(&written.len()) && written.bytes().all(printable);
    if good && !written.trim().is_empty() && !written.starts_with(':') {
        return Ok(written.to_owned());
    }
    Err(Problem::new(
        format!("\"{written}\" is not a name for CloudWatch"),
        format!("write 1 to 255 ASCII characters, such as \"{example}\""),
    ))
}

pub(super) fn statistic(node: &Node) -> Result<String, Problem> {
    let written = value::text(node, "maximum")?;
    let named = [
        ("average", "Average"),
        ("sum", "Sum"),
        ("minimum", "Minimum"),
        ("maximum", "Maximum"),
        ("sample_count", "SampleCount"),
    ];
    if let Some((_, statistic)) = named.iter().find(|(word, _)| *word == written) {
        return Ok((*statistic).to_owned());
    }
    let percent = written.strip_prefix('p').and_then(|number| {
        let digits = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let fraction = number
            .split_once('.')
            .map_or(0, |(_, fraction)| fraction.len());
        number
            .parse::<f64>()
            .ok()
            .filter(|_| digits && fraction <= 2)
    });
    if percent.is_some_and(|percent| percent > 0.0 && percent <= 100.0) {
        return Ok(written.to_owned());
    }
    let problem = value::not_allowed(written, named.iter().map(|(word, _)| *word));
    Err(Problem::new(
        problem.what,
        format!("{}, or a percentile such as \"p99\"", problem.remedy),
    ))
}

pub(super) fn comparison(node: &Node) -> Result<Comparison, Problem> {
    value::choice(
        node,
        &[
            (">=", Comparison::GreaterOrEqual),
            (">", Comparison::Greater),
            ("<", Comparison::Less),
            ("<=", Comparison::LessOrEqual),
        ],
    )
}

pub(super) fn missing_data(node: &Node) -> Result<MissingData, Problem> {
    use MissingData::{Breaching, Ignore, Missing, NotBreaching};
    value::choice(
        node,
        &[Missing, Ignore, Breaching, NotBreaching].map(|data| (data.word(), data)),
    )
}

pub(super) fn period(node: &Node) -> Result<u32, Problem> {
    let period = value::duration(node, "10s", "7d")?;
    let seconds = u32::try_from(period.as_secs()).unwrap_or(u32::MAX);
    let whole = period == Duration::from_secs(u64::from(seconds));
    if whole && (matches!(seconds, 10 | 20 | 30) || seconds % 60 == 0) {
        return Ok(seconds);
    }
    Err(Problem::new(
        "CloudWatch does not evaluate in such periods",
        "write \"10s\", \"20s\", \"30s\" or whole minutes, such as \"1m\"",
    ))
}

pub(super) fn periods(node: &Node) -> Result<u32, Problem> {
    let count = value::integer(node, 1, EVALUATION_PERIODS_MAX)?;
    Ok(u32::try_from(count).expect("the maximum fits"))
}

pub(super) fn warm_up(node: &Node) -> Result<u32, Problem> {
    let duration = value::duration(node, "1m", "2d")?;
    if duration.as_millis() % 60_000 == 0 {
        return Ok(u32::try_from(duration.as_secs() / 60).expect("two days have few minutes"));
    }
    let what = "an alarm warms up for whole minutes";
    Err(Problem::new(what, "write whole minutes, such as \"10m\""))
}

/// One action: a word, or the ARN of somebody to tell.
pub(super) fn action(node: &Node, region: Option<&str>) -> Result<Action, Problem> {
    let written = value::text(node, "reboot")?;
    if let Some(action) = Ec2Action::ALL
        .iter()
        .find(|action| action.word() == written)
    {
        return Ok(Action::Ec2(*action));
    }
    if !written.starts_with("arn:") {
        let words = Ec2Action::ALL.iter().map(|action| action.word());
        let problem = value::not_allowed(written, words);
        let remedy = format!(
            "{}, or an ARN such as \"{}\"",
            problem.remedy,
            arn::example()
        );
        return Err(Problem::new(problem.what, remedy));
    }
    check::check_arn(written, region)?;
    Ok(Action::Arn(written.to_owned()))
}

pub(super) fn dimensions(node: &Node) -> Result<Vec<(String, DimensionValue)>, Problem> {
    let mut found: Vec<(String, DimensionValue)> = Vec::new();
    match &node.value {
        Value::Array(items) => {
            for item in items {
                let name = value::text(item, "InstanceId").map_err(|p| p.at(item.place))?;
                let value = machine_value(name).ok_or_else(|| {
                    let names = MACHINE.iter().map(|(name, _)| *name);
                    let what = format!("\"{name}\" has no value of its own on this machine");
                    let remedy = format!(
                        "write {}, or give the value: {{ {name} = \"VALUE\" }}",
                        quoted_choice(names)
                    );
                    Problem::new(what, remedy).at(item.place)
                })?;
                let name = name.strip_prefix("tag:").unwrap_or(name);
                found.push((name.to_owned(), value));
            }
        }
        Value::Table(table) => {
            for entry in table.entries() {
                let text = bounded_text(&entry.node, "{instance_id}")
                    .map_err(|problem| problem.at(entry.node.place))?;
                found.push((entry.key.clone(), dimension_value(&text, &entry.node)?));
            }
        }
        other => {
            let what = format!("expected an array of names, found {}", other.kind());
            return Err(Problem::new(what, DIMENSIONS_REMEDY));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let names: BTreeSet<&String> = found.iter().map(|(name, _)| name).collect();
    if names.len() < found.len() {
        return Err(Problem::new("a dimension is there twice", "name each once"));
    }
    Ok(found)
}

/// Dimensions this machine has a value for, as the metrics publish them.
const MACHINE: [(&str, Variable); 5] = [
    ("InstanceId", Variable::InstanceId),
    ("AutoScalingGroupName", Variable::Asg),
    ("Hostname", Variable::Hostname),
    ("Region", Variable::Region),
    ("AccountId", Variable::AccountId),
];

fn machine_value(name: &str) -> Option<DimensionValue> {
    if let Some(tag) = name.strip_prefix("tag:") {
        return Some(DimensionValue::Machine(Variable::Tag(tag.to_owned())));
    }
    let (_, variable) = MACHINE.iter().find(|(known, _)| *known == name)?;
    Some(DimensionValue::Machine(variable.clone()))
}

/// `{instance_id}` and so on, alone, or the value itself.
fn dimension_value(text: &str, node: &Node) -> Result<DimensionValue, Problem> {
    if !text.contains(['{', '}']) {
        return Ok(DimensionValue::Literal(text.to_owned()));
    }
    let known = MACHINE
        .iter()
        .find(|(_, variable)| text == format!("{{{variable}}}"));
    match known {
        Some((_, variable)) => Ok(DimensionValue::Machine(variable.clone())),
        None => {
            let words: Vec<String> = MACHINE
                .iter()
                .map(|(_, variable)| format!("{{{variable}}}"))
                .collect();
            let what = format!("\"{text}\" is neither a value nor one variable");
            let remedy = format!("write one of {}, alone", words.join(" "));
            Err(Problem::new(what, remedy).at(node.place))
        }
    }
}
