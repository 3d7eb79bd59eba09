//! What an alarm must not be: every rule with its reason.
//!
//! Pure: an alarm and its surroundings in, findings out. The rules about actions come from the
//! CloudWatch user guide ("Using Amazon CloudWatch alarms", "Create alarms to stop, terminate,
//! reboot, or recover an EC2 instance") and the API reference of PutMetricAlarm.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::metric::{BuiltinMetric, Published};
use super::super::mistake::{Problem, nearest};
use super::super::template::Variable;
use super::read::Around;
use super::{ACTIONS_MAX, Action, Alarm, DimensionValue, Ec2Action, arn};
use crate::ports::alarm::MissingData;

/// How far back an alarm may look, in seconds: with periods of an hour and more, and below
/// (CloudWatch API reference, PutMetricAlarm).
const LOOK_BACK_MAX_S: (u64, u64) = (604_800, 86_400);

/// What an alarm is held against.
pub(super) struct Context<'a> {
    pub(super) around: &'a Around<'a>,
    pub(super) allow_terminate: bool,
    /// The alarms before it.
    pub(super) others: &'a [Arc<Alarm>],
}

/// Something wrong, and the keys it can be blamed on: the first that is written is pointed at.
pub(super) struct Finding {
    pub(super) keys: &'static [&'static str],
    pub(super) problem: Problem,
}

/// Everything that is wrong with an alarm.
pub(super) fn check(alarm: &Alarm, context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |keys: &'static [&'static str], found: Option<Problem>| {
        findings.extend(found.map(|problem| Finding { keys, problem }));
    };
    let published = context.around.metrics.published();
    let metric_keys = &["metric", "preset", "namespace"];
    find(&["name", "preset"], same_name(alarm, context));
    match published_as(alarm, &published, context.around) {
        Err((keys, problem)) => find(keys, Some(problem)),
        Ok(series) => find(&["period", "preset"], period_of(alarm, series)),
    }
    find(&["evaluation_periods", "period"], look_back(alarm));
    find(&["datapoints_to_alarm"], datapoints(alarm));
    for (key, list, state) in [
        (&["actions", "preset"], &alarm.actions, "ALARM"),
        (&["ok_actions", "preset"], &alarm.ok_actions, "OK"),
        (
            &["insufficient_data_actions", "preset"],
            &alarm.insufficient_data_actions,
            "INSUFFICIENT_DATA",
        ),
    ] {
        find(key, list_of_actions(list));
        find(key, only_in_alarm(list, state));
    }
    if let Some(action) = alarm.ec2_action() {
        find(&["actions", "preset"], one_action(alarm));
        find(&["actions", "preset"], permitted(action, context));
        find(
            &["dimensions", "actions", "preset"],
            exactly_instance(alarm, action),
        );
        find(metric_keys, recoverable(alarm, action));
        find(&["missing_data", "actions"], stays_fired(alarm, action));
        find(
            &["evaluation_periods", "period", "preset"],
            race(alarm, action, context),
        );
    }
    findings
}

fn same_name(alarm: &Alarm, context: &Context<'_>) -> Option<Problem> {
    context
        .others
        .iter()
        .find(|other| other.name == alarm.name)?;
    let what = format!("there is another alarm \"{}\"", alarm.name);
    Some(Problem::new(what, "give each its own name = \"…\""))
}

type Blamed = (&'static [&'static str], Problem);

/// The series an alarm on one of our own metrics would see; `None` for anyone else's.
fn published_as<'p>(
    alarm: &Alarm,
    published: &'p [Published],
    around: &Around<'_>,
) -> Result<Option<&'p Published>, Blamed> {
    let metric_keys: &[&str] = &["metric", "preset", "namespace"];
    if !alarm.is_own_metric {
        return Ok(None);
    }
    let of_name: Vec<&Published> = published
        .iter()
        .filter(|series| series.name == alarm.metric)
        .collect();
    if of_name.is_empty() {
        return Err((metric_keys, unpublished(alarm, published, around)));
    }
    let names: Vec<&str> = alarm
        .dimensions
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let of_set = of_name.iter().find(|series| series.dimensions == names);
    of_set.map(|series| Some(*series)).ok_or_else(|| {
        let sets: Vec<String> = of_name
            .iter()
            .map(|series| format!("{:?}", series.dimensions))
            .collect();
        let what = format!(
            "{} is not published under exactly {names:?}: the alarm would never see a datapoint",
            alarm.metric
        );
        let remedy = format!(
            "write one of {}, or add the set to the metric's dimensions",
            sets.join(" ")
        );
        let keys: &[&str] = &["dimensions", "metric", "preset"];
        (keys, Problem::new(what, remedy))
    })
}

fn unpublished(alarm: &Alarm, published: &[Published], around: &Around<'_>) -> Problem {
    let metric = &alarm.metric;
    let builtin = BuiltinMetric::ALL
        .iter()
        .any(|builtin| builtin.name() == metric);
    let what = format!("{metric} is not published");
    if !around.metrics.enabled {
        return Problem::new(what, "remove enabled = false from [metrics]");
    }
    if builtin && !around.codedeploy {
        let remedy = "remove enabled = false from [codedeploy], or the alarm";
        return Problem::new(format!("{what}: CodeDeploy is not watched"), remedy);
    }
    if builtin {
        return Problem::new(what, format!("remove \"{metric}\" from metrics.disable"));
    }
    let names: BTreeSet<&str> = published
        .iter()
        .map(|series| series.name.as_str())
        .collect();
    let remedy = match nearest(metric, names.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!(
            "write the namespace too if it is not the agent's own; published here: {}",
            names.into_iter().collect::<Vec<_>>().join(", ")
        ),
    };
    Problem::new(what, remedy)
}

/// Whether each period has a datapoint.
fn period_of(alarm: &Alarm, series: Option<&Published>) -> Option<Problem> {
    let period = alarm.period_s;
    match series {
        Some(series) if period < 60 && series.resolution_s != 1 => Some(Problem::new(
            format!(
                "a period of {period} s needs data of high resolution; {} has none",
                series.name
            ),
            "write metrics.period = \"10s\", or a period of at least \"1m\"",
        )),
        Some(series) if !period.is_multiple_of(series.period_s) => Some(Problem::new(
            format!(
                "{} comes once in {} s, which does not fit into {period} s",
                series.name, series.period_s
            ),
            format!(
                "write a period that is a multiple of \"{}s\"",
                series.period_s
            ),
        )),
        None if period < 60 && alarm.namespace.starts_with("AWS/") => Some(Problem::new(
            format!(
                "a period of {period} s needs data of high resolution; {} has none",
                alarm.namespace
            ),
            "write a period of at least \"1m\"",
        )),
        _ => None,
    }
}

fn look_back(alarm: &Alarm) -> Option<Problem> {
    let max = if alarm.period_s >= 3600 {
        LOOK_BACK_MAX_S.0
    } else {
        LOOK_BACK_MAX_S.1
    };
    let seconds = u64::from(alarm.period_s) * u64::from(alarm.evaluation_periods);
    (seconds > max).then(|| {
        let what =
            format!("period × evaluation_periods is {seconds} s, CloudWatch looks back {max} s");
        let most = max / u64::from(alarm.period_s);
        Problem::new(what, format!("write at most {most} periods of this length"))
    })
}

fn datapoints(alarm: &Alarm) -> Option<Problem> {
    let (datapoints, periods) = (alarm.datapoints_to_alarm, alarm.evaluation_periods);
    (datapoints > periods).then(|| {
        let what =
            format!("{datapoints} datapoints of {periods} evaluation_periods can never breach");
        Problem::new(what, format!("write at most {periods}"))
    })
}

fn list_of_actions(actions: &[Action]) -> Option<Problem> {
    if actions.len() > ACTIONS_MAX {
        let what = format!("{} actions are too many", actions.len());
        return Some(Problem::new(what, format!("write at most {ACTIONS_MAX}")));
    }
    let twice = actions
        .iter()
        .enumerate()
        .find(|(at, action)| actions[..*at].contains(action));
    if twice.is_some() {
        return Some(Problem::new("an action is there twice", "write each once"));
    }
    let partitions: BTreeSet<&str> = actions.iter().filter_map(partition).collect();
    (partitions.len() > 1).then(|| {
        let names: Vec<&str> = partitions.into_iter().collect();
        let what = format!("the ARNs are of different partitions: {}", names.join(", "));
        Problem::new(what, "name targets in the instance's own partition")
    })
}

fn partition(action: &Action) -> Option<&str> {
    match action {
        Action::Arn(arn) => arn.split(':').nth(1),
        Action::Ec2(_) => None,
    }
}

/// A new alarm leaves INSUFFICIENT_DATA for OK at once, and a gap in the data leads back there.
fn only_in_alarm(actions: &[Action], state: &str) -> Option<Problem> {
    let acts = actions.iter().find_map(|action| match action {
        Action::Ec2(action) if state != "ALARM" => Some(action.word()),
        _ => None,
    })?;
    let what = match state {
        "OK" => format!("a new alarm goes to OK at once and would {acts} a healthy instance"),
        _ => format!("any gap in the data would {acts} the instance"),
    };
    Some(Problem::new(
        what,
        format!("write \"{acts}\" under actions only"),
    ))
}

fn one_action(alarm: &Alarm) -> Option<Problem> {
    let words: Vec<&str> = alarm
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Ec2(action) => Some(action.word()),
            Action::Arn(_) => None,
        })
        .collect();
    (words.len() > 1).then(|| {
        let what = format!("{} exclude each other", words.join(" and "));
        Problem::new(
            what,
            "write one of them; make another alarm, later, for the other",
        )
    })
}

fn permitted(action: Ec2Action, context: &Context<'_>) -> Option<Problem> {
    (action == Ec2Action::Terminate && !context.allow_terminate).then(|| {
        Problem::new(
            "\"terminate\" ends this instance for ever, with its local disks",
            "write allow_terminate = true in [alarms] if that is meant",
        )
    })
}

fn exactly_instance(alarm: &Alarm, action: Ec2Action) -> Option<Problem> {
    let own = DimensionValue::Machine(Variable::InstanceId);
    let exact =
        matches!(&alarm.dimensions[..], [(name, value)] if name == "InstanceId" && *value == own);
    (!exact).then(|| {
        let what = format!(
            "\"{}\" is done to the instance in the dimension InstanceId, which must be the only \
             one and this instance's own",
            action.word()
        );
        Problem::new(what, "write dimensions = [\"InstanceId\"]")
    })
}

fn recoverable(alarm: &Alarm, action: Ec2Action) -> Option<Problem> {
    let right = alarm.namespace == "AWS/EC2" && alarm.metric == "StatusCheckFailed_System";
    (action == Ec2Action::Recover && !right).then(|| {
        Problem::new(
            format!(
                "\"recover\" only helps against broken hardware, and EC2 does it only on AWS/EC2 \
                 StatusCheckFailed_System, not on {} {}",
                alarm.namespace, alarm.metric
            ),
            "write preset = \"recover-when-system-check-fails\", or use \"reboot\"",
        )
    })
}

/// A restart makes a gap in the data; an alarm that leaves ALARM in it fires again behind it.
fn stays_fired(alarm: &Alarm, action: Ec2Action) -> Option<Problem> {
    let does = action.word();
    let what = match alarm.missing_data {
        MissingData::Ignore => return None,
        MissingData::Breaching => {
            format!(
                "a gap in the data, such as an outage of the network, would {does} the instance"
            )
        }
        MissingData::Missing | MissingData::NotBreaching => format!(
            "the gap that \"{does}\" itself leaves in the data would take the alarm out of ALARM, \
             and it would {does} again"
        ),
    };
    Some(Problem::new(what, "write missing_data = \"ignore\""))
}

/// Two alarms that fire in the same moment race for the instance.
fn race(alarm: &Alarm, action: Ec2Action, context: &Context<'_>) -> Option<Problem> {
    use Ec2Action::{Reboot, Recover};
    let rival = context.others.iter().find_map(|other| {
        let theirs = other.ec2_action()?;
        let same_time = other.period_s == alarm.period_s
            && other.evaluation_periods == alarm.evaluation_periods;
        let same_metric = other.namespace == alarm.namespace && other.metric == alarm.metric;
        let pair = matches!((action, theirs), (Reboot, Recover) | (Recover, Reboot));
        (same_time && theirs != action && (pair || same_metric)).then_some((other, theirs))
    });
    rival.map(|(other, theirs)| {
        let what = format!(
            "alarm \"{}\" would {} in the same moment in which this one would {}: they race",
            other.name,
            theirs.word(),
            action.word()
        );
        let remedy = "give them different evaluation_periods, such as 2 to recover and 3 to reboot";
        Problem::new(what, remedy)
    })
}

/// Whether CloudWatch in this Region can call an ARN.
pub(super) fn check_arn(written: &str, region: Option<&str>) -> Result<(), Problem> {
    if let Some(action) = arn::ec2_action_of(written) {
        return Err(Problem::new(
            format!(
                "\"{written}\" is what the word \"{}\" stands for",
                action.word()
            ),
            format!("write \"{}\": its rules are checked then", action.word()),
        ));
    }
    let Some(target) = arn::target(written) else {
        let what = format!("\"{written}\" is not the ARN of anything an alarm can call");
        return Err(Problem::new(
            what,
            format!("write it in full, such as \"{}\"", arn::example()),
        ));
    };
    if let Some(known) = arn::refuse_service(target.service) {
        let what = format!("an alarm cannot call {}", target.service);
        return Err(Problem::new(
            what,
            format!("name a target in one of: {known}"),
        ));
    }
    match region.and_then(|region| arn::misplaced(written, region)) {
        Some(what) => Err(Problem::new(
            what,
            "name a target in the instance's own Region",
        )),
        None => Ok(()),
    }
}
