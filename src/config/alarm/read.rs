//! The keys of `[alarms]` and `[[alarm]]`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::super::metric::MetricsConfig;
use super::super::mistake::{Problem, quoted_choice};
use super::super::name::NameKind;
use super::super::section::Section;
use super::super::template::{Template, Variable};
use super::super::tree::{Node, Value};
use super::super::value;
use super::check::{self, Context};
use super::preset::{PRESETS, Preset};
use super::{
    ALARMS_MAX, Action, Alarm, AlarmsConfig, DimensionValue, Ec2Action, SHORT_NAME_MAX, arn,
};
use crate::ports::alarm::{Comparison, MissingData};

/// What alarms' names begin with unless told otherwise.
const PREFIX_DEFAULT: &str = "deploywatch/{instance_id}/";

/// Longest description, in characters (CloudWatch API reference, PutMetricAlarm).
const DESCRIPTION_CHARS_MAX: usize = 1024;

/// Most periods an alarm can look at: a day of 10 s.
const EVALUATION_PERIODS_MAX: usize = 8640;

const DIMENSIONS_REMEDY: &str =
    "write dimensions = [\"InstanceId\"], or { InstanceId = \"{instance_id}\", NAME = \"VALUE\" }";

/// What the rest of the configuration means for alarms.
pub(in super::super) struct Around<'a> {
    /// What this agent publishes.
    pub(in super::super) metrics: &'a MetricsConfig,
    /// Whether CodeDeploy's files are watched.
    pub(in super::super) codedeploy: bool,
    /// The Region, where the configuration says it.
    pub(in super::super) region: Option<&'a str>,
}

/// Reads `[alarms]` and the `[[alarm]]`s.
pub(in super::super) fn alarms(
    mut section: Section<'_>,
    sections: Vec<Section<'_>>,
    around: &Around<'_>,
) -> AlarmsConfig {
    let manage = section.read("manage", value::boolean);
    let allow_terminate = section.read("allow_terminate", value::boolean);
    let max_restarts = section.read("max_restarts", |node| value::integer(node, 1, 100));
    let window = section.read("window", |node| value::duration(node, "10m", "7d"));
    let name_prefix = section.read("name_prefix", name_prefix);
    section.finish(&[
        ("enabled", "write manage = true, or remove the [[alarm]]s"),
        ("alarm", "write [[alarm]] on a line of its own"),
    ]);
    let mut config = AlarmsConfig {
        manage: manage.unwrap_or(false),
        allow_terminate: allow_terminate.unwrap_or(false),
        max_restarts: max_restarts.map_or(3, |count| u32::try_from(count).unwrap_or(3)),
        window: window.unwrap_or(Duration::from_secs(3600)),
        name_prefix: name_prefix.unwrap_or_else(|| {
            Template::parse(PREFIX_DEFAULT, NameKind::Alarm).expect("the default is a template")
        }),
        alarms: Vec::new(),
    };
    let mut known: Vec<Arc<Alarm>> = Vec::new();
    for (index, section) in sections.into_iter().enumerate() {
        if index == ALARMS_MAX {
            let what = format!("there are more than {ALARMS_MAX} alarms");
            section.complain_of_all(Problem::new(what, "remove some"));
        }
        let context = Context {
            around,
            allow_terminate: config.allow_terminate,
            others: &known,
        };
        if let Some((alarm, enabled)) = alarm(section, &context) {
            known.push(Arc::clone(&alarm));
            if enabled {
                config.alarms.push(alarm);
            }
        }
    }
    config
}

/// One `[[alarm]]`, and whether it is switched on.
fn alarm(mut section: Section<'_>, context: &Context<'_>) -> Option<(Arc<Alarm>, bool)> {
    let preset = section.read("preset", preset);
    let enabled = section.read("enabled", value::boolean).unwrap_or(true);
    if section.place_of("preset").is_none() {
        for (key, remedy) in [
            (
                "name",
                "write name = \"…\": what the alarm is called below the prefix",
            ),
            ("metric", "write metric = \"…\", or a preset"),
            ("comparison", "write comparison = \">=\" (or >, <, <=)"),
            ("threshold", "write threshold = 1"),
        ] {
            if section.place_of(key).is_none() {
                section.missing(key, remedy);
            }
        }
    }
    let name = section.read("name", name);
    let description = section.read("description", description);
    let namespace = section.read("namespace", |node| bounded_text(node, "AWS/EC2"));
    let metric = section.read("metric", |node| {
        bounded_text(node, "CodeDeployAgentHealthy")
    });
    let dimensions = section.read("dimensions", dimensions);
    let statistic = section.read("statistic", statistic);
    let comparison = section.read("comparison", comparison);
    let threshold = section.read("threshold", value::number);
    let period = section.read("period", period);
    let evaluation = section.read("evaluation_periods", periods);
    let datapoints = section.read("datapoints_to_alarm", periods);
    let missing_data = section.read("missing_data", missing_data);
    let warm_up = section.read("warm_up", warm_up);
    let example = "\"reboot\"";
    let actions = section.read_list("actions", example, |node| action(node, context));
    let ok = section.read_list("ok_actions", example, |node| action(node, context));
    let insufficient = section.read_list("insufficient_data_actions", example, |node| {
        action(node, context)
    });
    if preset.is_some_and(|preset| preset.action.is_none()) && section.place_of("actions").is_none()
    {
        let remedy = format!(
            "write actions = [\"{}\"]: whom the alarm tells",
            arn::example()
        );
        section.missing("actions", &remedy);
    }

    let own_namespace = &context.around.metrics.namespace;
    let preset_namespace = preset
        .and_then(|preset| preset.namespace)
        .map(str::to_owned);
    let namespace = namespace
        .or(preset_namespace)
        .unwrap_or_else(|| own_namespace.clone());
    let actions = actions.unwrap_or_else(|| {
        let action = preset.and_then(|preset| preset.action);
        action.map(Action::Ec2).into_iter().collect()
    });
    let acts = actions
        .iter()
        .any(|action| matches!(action, Action::Ec2(_)));
    let evaluation = evaluation
        .or(preset.map(|preset| preset.evaluation_periods))
        .unwrap_or(1);
    let made = (|| {
        Some(Alarm {
            name: name.or(preset.map(|preset| preset.name.to_owned()))?.into(),
            description: description
                .or(preset.map(|preset| preset.purpose.to_owned()))
                .unwrap_or_default(),
            is_own_metric: namespace == *own_namespace,
            period_s: period.unwrap_or_else(|| default_period(&namespace, context.around)),
            namespace,
            metric: metric.or(preset.map(|preset| preset.metric.to_owned()))?,
            dimensions: dimensions.unwrap_or_else(|| {
                let value = DimensionValue::Machine(Variable::InstanceId);
                vec![("InstanceId".to_owned(), value)]
            }),
            statistic: statistic
                .or(preset.map(|preset| preset.statistic.to_owned()))
                .unwrap_or_else(|| "Average".to_owned()),
            comparison: comparison.or(preset.map(|preset| preset.comparison))?,
            threshold: threshold.or(preset.map(|preset| preset.threshold))?,
            evaluation_periods: evaluation,
            datapoints_to_alarm: datapoints.unwrap_or(evaluation),
            missing_data: missing_data
                .or(preset.map(|preset| preset.missing_data))
                .unwrap_or(if acts {
                    MissingData::Ignore
                } else {
                    MissingData::Missing
                }),
            warm_up_minutes: warm_up,
            actions,
            ok_actions: ok.unwrap_or_default(),
            insufficient_data_actions: insufficient.unwrap_or_default(),
        })
    })();
    if let Some(alarm) = &made {
        for finding in check::check(alarm, context) {
            let place = finding
                .keys
                .iter()
                .find_map(|key| section.place_of(key).map(|place| (*key, place)));
            match place {
                Some((key, place)) => section.complain(key, place, finding.problem),
                None => section.complain_of_all(finding.problem),
            }
        }
    }
    if let Some(alarm) = &made {
        note(&section, alarm);
    }
    section.finish(&[
        ("evaluation", "write evaluation_periods"),
        ("alarm_actions", "write actions"),
        ("treat_missing_data", "write missing_data"),
        (
            "unit",
            "remove it: an alarm with a unit sees no data of another",
        ),
        ("operator", "write comparison"),
    ]);
    made.map(|alarm| (Arc::new(alarm), enabled))
}

/// What is allowed and rarely meant.
fn note(section: &Section<'_>, alarm: &Alarm) {
    let calls = [
        &alarm.actions,
        &alarm.ok_actions,
        &alarm.insufficient_data_actions,
    ];
    if calls.iter().all(|list| list.is_empty()) {
        section.note(format!(
            "alarm {} calls nobody: it only shows its state",
            alarm.name
        ));
    }
    if let Some(action) = alarm.ec2_action()
        && alarm.datapoints_to_alarm == 1
    {
        section.note(format!(
            "alarm {}: one datapoint is enough to {} the instance",
            alarm.name,
            action.word()
        ));
    }
}

/// A minute, or the period of our own metrics where that is longer.
fn default_period(namespace: &str, around: &Around<'_>) -> u32 {
    if namespace == around.metrics.namespace {
        around.metrics.period_s.max(60)
    } else {
        60
    }
}

fn preset(node: &Node) -> Result<&'static Preset, Problem> {
    let words: Vec<(&str, &'static Preset)> =
        PRESETS.iter().map(|preset| (preset.name, preset)).collect();
    value::choice(node, &words)
}

fn name_prefix(node: &Node) -> Result<Template, Problem> {
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

fn name(node: &Node) -> Result<String, Problem> {
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

fn description(node: &Node) -> Result<String, Problem> {
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
fn bounded_text(node: &Node, example: &str) -> Result<String, Problem> {
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

fn statistic(node: &Node) -> Result<String, Problem> {
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

fn comparison(node: &Node) -> Result<Comparison, Problem> {
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

fn missing_data(node: &Node) -> Result<MissingData, Problem> {
    use MissingData::{Breaching, Ignore, Missing, NotBreaching};
    value::choice(
        node,
        &[Missing, Ignore, Breaching, NotBreaching].map(|data| (data.word(), data)),
    )
}

fn period(node: &Node) -> Result<u32, Problem> {
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

fn periods(node: &Node) -> Result<u32, Problem> {
    let count = value::integer(node, 1, EVALUATION_PERIODS_MAX)?;
    Ok(u32::try_from(count).expect("the maximum fits"))
}

fn warm_up(node: &Node) -> Result<u32, Problem> {
    let duration = value::duration(node, "1m", "2d")?;
    if duration.as_millis() % 60_000 == 0 {
        return Ok(u32::try_from(duration.as_secs() / 60).expect("two days have few minutes"));
    }
    let what = "an alarm warms up for whole minutes";
    Err(Problem::new(what, "write whole minutes, such as \"10m\""))
}

/// One action: a word, or the ARN of somebody to tell.
fn action(node: &Node, context: &Context<'_>) -> Result<Action, Problem> {
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
    check::check_arn(written, context.around.region)?;
    Ok(Action::Arn(written.to_owned()))
}

fn dimensions(node: &Node) -> Result<Vec<(String, DimensionValue)>, Problem> {
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
