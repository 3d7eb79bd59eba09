//! Alarms in the SDK's types and in the port's.

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::operation::describe_alarm_history::DescribeAlarmHistoryOutput;
use aws_sdk_cloudwatch::types::{ComparisonOperator, MetricAlarm, StateValue, Statistic, Tag};

use crate::ports::alarm::{
    ActionTaken, AlarmSpec, AlarmState, Comparison, MissingData, ServiceAlarm,
};

pub(super) fn actions(output: &DescribeAlarmHistoryOutput) -> Vec<ActionTaken> {
    let items = output.alarm_history_items().iter();
    items
        .filter_map(|item| {
            Some(ActionTaken {
                alarm: item.alarm_name()?.to_owned(),
                at_ms: item.timestamp()?.to_millis().ok()?,
                summary: item.history_summary().unwrap_or_default().to_owned(),
            })
        })
        .collect()
}

/// An alarm as the port has it; `None` for one without a name, which there is none of.
pub(super) fn read(alarm: &MetricAlarm) -> Option<ServiceAlarm> {
    let evaluation_periods = count(alarm.evaluation_periods());
    let unit = alarm.unit().map(|unit| ("Unit", unit.as_str()));
    let low_samples = alarm
        .evaluate_low_sample_count_percentile()
        .map(|text| ("EvaluateLowSampleCountPercentile", text));
    let by_hand = [unit, low_samples].into_iter().flatten();
    let statistic = alarm.statistic().map(Statistic::as_str);
    let spec = AlarmSpec {
        name: alarm.alarm_name()?.to_owned(),
        description: alarm.alarm_description().unwrap_or_default().to_owned(),
        namespace: alarm.namespace().unwrap_or_default().to_owned(),
        metric: alarm.metric_name().unwrap_or_default().to_owned(),
        dimensions: dimensions(alarm),
        statistic: statistic
            .or(alarm.extended_statistic())
            .unwrap_or_default()
            .to_owned(),
        comparison: comparison(alarm.comparison_operator()),
        threshold: alarm.threshold().unwrap_or(f64::NAN),
        period_s: count(alarm.period()),
        evaluation_periods,
        datapoints_to_alarm: match alarm.datapoints_to_alarm() {
            None => evaluation_periods,
            datapoints => count(datapoints),
        },
        missing_data: missing_data(alarm.treat_missing_data()),
        warm_up_minutes: alarm
            .warm_up_configuration()
            .and_then(|warm_up| warm_up.warm_up_period_duration_in_minutes())
            .and_then(|minutes| u32::try_from(minutes).ok()),
        alarm_actions: alarm.alarm_actions().to_vec(),
        ok_actions: alarm.ok_actions().to_vec(),
        insufficient_data_actions: alarm.insufficient_data_actions().to_vec(),
        by_hand: by_hand
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    };
    Some(ServiceAlarm {
        spec,
        arn: alarm.alarm_arn().unwrap_or_default().to_owned(),
        other_kind: other_kind(alarm).map(str::to_owned),
        actions_enabled: alarm.actions_enabled().unwrap_or(true),
        state: match alarm.state_value() {
            Some(StateValue::Ok) => AlarmState::Ok,
            Some(StateValue::Alarm) => AlarmState::Alarm,
            _ => AlarmState::InsufficientData,
        },
        state_reason: alarm.state_reason().unwrap_or_default().to_owned(),
        state_since_ms: alarm
            .state_transitioned_timestamp()
            .or(alarm.state_updated_timestamp())
            .and_then(|time| time.to_millis().ok()),
    })
}

pub(super) fn named_statistic(word: &str) -> Option<Statistic> {
    let named = [
        Statistic::Average,
        Statistic::Maximum,
        Statistic::Minimum,
        Statistic::SampleCount,
        Statistic::Sum,
    ];
    named
        .into_iter()
        .find(|statistic| statistic.as_str() == word)
}

pub(super) fn operator(comparison: Comparison) -> ComparisonOperator {
    match comparison {
        // `Other` is only ever read; a plan replaces it.
        Comparison::GreaterOrEqual | Comparison::Other => {
            ComparisonOperator::GreaterThanOrEqualToThreshold
        }
        Comparison::Greater => ComparisonOperator::GreaterThanThreshold,
        Comparison::Less => ComparisonOperator::LessThanThreshold,
        Comparison::LessOrEqual => ComparisonOperator::LessThanOrEqualToThreshold,
    }
}

pub(super) fn comparison(operator: Option<&ComparisonOperator>) -> Comparison {
    match operator {
        Some(ComparisonOperator::GreaterThanOrEqualToThreshold) => Comparison::GreaterOrEqual,
        Some(ComparisonOperator::GreaterThanThreshold) => Comparison::Greater,
        Some(ComparisonOperator::LessThanThreshold) => Comparison::Less,
        Some(ComparisonOperator::LessThanOrEqualToThreshold) => Comparison::LessOrEqual,
        _ => Comparison::Other,
    }
}

pub(super) fn treatment(missing: MissingData) -> &'static str {
    match missing {
        MissingData::Missing => "missing",
        MissingData::Ignore => "ignore",
        MissingData::Breaching => "breaching",
        MissingData::NotBreaching => "notBreaching",
    }
}

pub(super) fn missing_data(treatment: Option<&str>) -> MissingData {
    match treatment {
        Some("ignore") => MissingData::Ignore,
        Some("breaching") => MissingData::Breaching,
        Some("notBreaching") => MissingData::NotBreaching,
        _ => MissingData::Missing,
    }
}

pub(super) fn sdk_tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
    tags.iter().map(tag).collect()
}

pub(super) fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) fn count(number: Option<i32>) -> u32 {
    number
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}

/// What an alarm is besides a plain one on one metric.
fn other_kind(alarm: &MetricAlarm) -> Option<&'static str> {
    if !alarm.metrics().is_empty() {
        Some("metric math")
    } else if alarm.threshold_metric_id().is_some() {
        Some("an anomaly band")
    } else if alarm.evaluation_criteria().is_some() {
        Some("a query")
    } else {
        None
    }
}

fn dimensions(alarm: &MetricAlarm) -> Vec<(String, String)> {
    let dimensions = alarm.dimensions().iter();
    let mut dimensions: Vec<(String, String)> = dimensions
        .filter_map(|d| Some((d.name()?.to_owned(), d.value()?.to_owned())))
        .collect();
    dimensions.sort();
    dimensions
}
