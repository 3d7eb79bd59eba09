//! The keys of `[alarms]` and `[[alarm]]`.

use std::sync::Arc;
use std::time::Duration;

use super::super::metric::MetricsConfig;
use super::super::mistake::Problem;
use super::super::name::NameKind;
use super::super::section::Section;
use super::super::template::{Template, Variable};
use super::super::value;
use super::check::{self, Context};
use super::preset::Preset;
use super::{ALARMS_MAX, Action, Alarm, AlarmsConfig, DimensionValue, arn, key};
use crate::ports::alarm::{Comparison, MissingData};

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
    let name_prefix = section.read("name_prefix", key::name_prefix);
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
            Template::parse(key::PREFIX_DEFAULT, NameKind::Alarm)
                .expect("the default is a template")
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
    require(&mut section);
    let written = Written::read(&mut section, context);
    let enabled = section.read("enabled", value::boolean).unwrap_or(true);
    let made = written.complete(context.around);
    if let Some(alarm) = &made {
        for finding in check::check(alarm, context) {
            let mut written = finding.keys.iter().copied();
            match written.find_map(|key| Some((key, section.place_of(key)?))) {
                Some((key, place)) => section.complain(key, place, finding.problem),
                None => section.complain_of_all(finding.problem),
            }
        }
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

/// Reports what an alarm without a preset cannot do without.
fn require(section: &mut Section<'_>) {
    if section.place_of("preset").is_some() {
        return;
    }
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

/// An alarm as the user wrote it: what is not there, or bad, is `None`.
struct Written {
    preset: Option<&'static Preset>,
    /// Whether there is a name, good or bad: a bad one must not become the preset's.
    is_named: bool,
    name: Option<String>,
    description: Option<String>,
    namespace: Option<String>,
    metric: Option<String>,
    dimensions: Option<Vec<(String, DimensionValue)>>,
    statistic: Option<String>,
    comparison: Option<Comparison>,
    threshold: Option<f64>,
    period: Option<u32>,
    evaluation_periods: Option<u32>,
    datapoints_to_alarm: Option<u32>,
    missing_data: Option<MissingData>,
    warm_up_minutes: Option<u32>,
    actions: Option<Vec<Action>>,
    ok_actions: Option<Vec<Action>>,
    insufficient_data_actions: Option<Vec<Action>>,
}

impl Written {
    fn read(section: &mut Section<'_>, context: &Context<'_>) -> Self {
        let preset = section.read("preset", key::preset);
        let tells_nobody = preset.is_some_and(|preset| preset.action.is_none())
            && section.place_of("actions").is_none();
        if tells_nobody {
            let remedy = format!(
                "write actions = [\"{}\"]: whom the alarm tells",
                arn::example()
            );
            section.missing("actions", &remedy);
        }
        let region = context.around.region;
        let mut actions =
            |list| section.read_list(list, "\"reboot\"", |node| key::action(node, region));
        let (alarm, ok, insufficient) = (
            actions("actions"),
            actions("ok_actions"),
            actions("insufficient_data_actions"),
        );
        Self {
            preset,
            is_named: section.place_of("name").is_some(),
            name: section.read("name", key::name),
            description: section.read("description", key::description),
            namespace: section.read("namespace", |node| key::bounded_text(node, "AWS/EC2")),
            metric: section.read("metric", |node| key::bounded_text(node, "Heartbeat")),
            dimensions: section.read("dimensions", key::dimensions),
            statistic: section.read("statistic", key::statistic),
            comparison: section.read("comparison", key::comparison),
            threshold: section.read("threshold", value::number),
            period: section.read("period", key::period),
            evaluation_periods: section.read("evaluation_periods", key::periods),
            datapoints_to_alarm: section.read("datapoints_to_alarm", key::periods),
            missing_data: section.read("missing_data", key::missing_data),
            warm_up_minutes: section.read("warm_up", key::warm_up),
            actions: alarm,
            ok_actions: ok,
            insufficient_data_actions: insufficient,
        }
    }

    /// The whole alarm, with what the preset and the defaults say; `None` where too much is
    /// missing to check it.
    fn complete(self, around: &Around<'_>) -> Option<Alarm> {
        let preset = self.preset;
        let own_namespace = &around.metrics.namespace;
        let namespace = self
            .namespace
            .or(preset.and_then(|preset| preset.namespace.map(str::to_owned)))
            .unwrap_or_else(|| own_namespace.clone());
        let actions = self.actions.unwrap_or_else(|| {
            let action = preset.and_then(|preset| preset.action);
            action.map(Action::Ec2).into_iter().collect()
        });
        let of_preset = |text: fn(&Preset) -> &str| preset.map(|preset| text(preset).to_owned());
        let evaluation_periods = self
            .evaluation_periods
            .or(preset.map(|preset| preset.evaluation_periods))
            .unwrap_or(1);
        let of_preset_warm_up = preset.and_then(|preset| preset.warm_up_minutes);
        // Who says how far to look back, and no more, means all of it.
        let of_preset_alone = preset.filter(|_| self.evaluation_periods.is_none());
        let datapoints = of_preset_alone.map(|preset| preset.datapoints_to_alarm);
        let datapoints = self.datapoints_to_alarm.or(datapoints);
        Some(Alarm {
            name: match self.is_named {
                true => self.name?.into(),
                false => preset?.name.into(),
            },
            description: self
                .description
                .or(of_preset(|p| p.purpose))
                .unwrap_or_default(),
            is_own_metric: namespace == *own_namespace,
            datapoint_s: match namespace == *own_namespace {
                true => around.metrics.period_s,
                false => 60,
            },
            period_s: self
                .period
                .unwrap_or_else(|| default_period(&namespace, around)),
            namespace,
            metric: self.metric.or(of_preset(|p| p.metric))?,
            dimensions: self.dimensions.unwrap_or_else(own_instance),
            statistic: self
                .statistic
                .or(of_preset(|p| p.statistic))
                .unwrap_or_else(|| "Average".to_owned()),
            comparison: self.comparison.or(preset.map(|preset| preset.comparison))?,
            threshold: self.threshold.or(preset.map(|preset| preset.threshold))?,
            evaluation_periods,
            datapoints_to_alarm: datapoints.unwrap_or(evaluation_periods),
            missing_data: self
                .missing_data
                .or(preset.map(|preset| preset.missing_data))
                .unwrap_or_else(|| default_treatment(&actions)),
            warm_up_minutes: self.warm_up_minutes.or(of_preset_warm_up),
            actions,
            ok_actions: self.ok_actions.unwrap_or_default(),
            insufficient_data_actions: self.insufficient_data_actions.unwrap_or_default(),
        })
    }
}

/// What EC2 actions need, and what our own metrics have unless told otherwise.
fn own_instance() -> Vec<(String, DimensionValue)> {
    let value = DimensionValue::Machine(Variable::InstanceId);
    vec![("InstanceId".to_owned(), value)]
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

/// What a gap in the data means: to an alarm that acts on the instance, nothing.
fn default_treatment(actions: &[Action]) -> MissingData {
    let acts = |action: &Action| matches!(action, Action::Ec2(_));
    match actions.iter().any(acts) {
        true => MissingData::Ignore,
        false => MissingData::Missing,
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
