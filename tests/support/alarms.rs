//! CloudWatch alarms: what PutMetricAlarm takes and refuses (API reference), paging, tags, and a
//! limit on puts a second for the whole account. It evaluates nothing and runs no action.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::cbor;
use super::state::Refusal;

/// The operations that are answered.
pub(crate) const OPERATIONS: [&str; 9] = [
    "PutMetricAlarm",
    "DescribeAlarms",
    "DeleteAlarms",
    "DisableAlarmActions",
    "EnableAlarmActions",
    "SetAlarmState",
    "DescribeAlarmHistory",
    "ListTagsForResource",
    "TagResource",
];

/// Alarms of a page: fewer than asked for, so that paging is walked.
const PAGE: usize = 3;

/// One alarm as stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredAlarm {
    /// What was put, without its tags.
    pub(crate) fields: serde_json::Map<String, Value>,
    /// Tags.
    pub(crate) tags: BTreeMap<String, String>,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub(crate) state: String,
    /// Why.
    pub(crate) reason: String,
    /// Since when.
    pub(crate) since_ms: i64,
}

impl StoredAlarm {
    /// Whether actions are called.
    pub(crate) fn actions_enabled(&self) -> bool {
        self.fields["ActionsEnabled"] == true
    }
}

/// All alarms, and how their calls went.
#[derive(Debug, Default)]
pub(crate) struct AlarmBook {
    /// By name.
    pub(crate) alarms: BTreeMap<String, StoredAlarm>,
    /// Operations in order, refused ones too.
    pub(crate) calls: Vec<String>,
    /// What history tells: alarm, time, summary.
    pub(crate) history: Vec<(String, i64, String)>,
    /// Operations the caller may not use.
    pub(crate) denied: Vec<String>,
    /// Puts let through in a second.
    pub(crate) puts_per_second: Option<u32>,
    /// Puts refused as too many.
    pub(crate) throttled: u32,
    second: (i64, u32),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Put {
    alarm_name: String,
    alarm_description: Option<String>,
    actions_enabled: Option<bool>,
    #[serde(rename = "OKActions", default)]
    ok_actions: Vec<String>,
    #[serde(default)]
    alarm_actions: Vec<String>,
    #[serde(default)]
    insufficient_data_actions: Vec<String>,
    metric_name: String,
    namespace: String,
    statistic: Option<String>,
    extended_statistic: Option<String>,
    #[serde(default)]
    dimensions: Vec<BTreeMap<String, String>>,
    period: i64,
    evaluation_periods: i64,
    datapoints_to_alarm: Option<i64>,
    threshold: f64,
    comparison_operator: String,
    treat_missing_data: Option<String>,
    #[serde(default)]
    tags: Vec<BTreeMap<String, String>>,
    warm_up_configuration: Option<Value>,
    unit: Option<String>,
    evaluate_low_sample_count_percentile: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Named {
    alarm_names: Vec<String>,
}

fn invalid<T>(text: &str) -> Result<T, Refusal> {
    Err(Refusal::breach("InvalidParameterValueException", text))
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Refusal> {
    serde_json::from_value(value.clone())
        .map_err(|error| Refusal::breach("SerializationException", &error.to_string()))
}

fn arn(name: &str) -> String {
    format!("arn:aws:cloudwatch:eu-west-1:111122223333:alarm:{name}")
}

impl AlarmBook {
    /// Answers an operation.
    pub(crate) fn answer(
        &mut self,
        operation: &str,
        body: &[u8],
        now_ms: i64,
    ) -> Result<Value, Refusal> {
        self.calls.push(operation.to_owned());
        if self.denied.iter().any(|denied| denied == operation) {
            let text = format!(
                "User: arn:aws:sts::111122223333:assumed-role/x/i-0 is not authorized to perform: cloudwatch:{operation}"
            );
            return Err(Refusal {
                status: 403,
                ..Refusal::plain("AccessDeniedException", &text)
            });
        }
        let value =
            cbor::decode(body).map_err(|text| Refusal::breach("SerializationException", &text))?;
        match operation {
            "PutMetricAlarm" => self.put(&value, now_ms),
            "DescribeAlarms" => Ok(self.describe(&value)),
            "DescribeAlarmHistory" => Ok(self.history(&value)),
            "ListTagsForResource" => self.tags(&value),
            "TagResource" => self.tag(&value),
            "SetAlarmState" => self.set_state(&value, now_ms),
            _ => self.named(operation, &value),
        }
    }

    fn put(&mut self, value: &Value, now_ms: i64) -> Result<Value, Refusal> {
        let put: Put = parse(value)?;
        check(&put)?;
        if let Some(most) = self.puts_per_second {
            if self.second.0 != now_ms / 1000 {
                self.second = (now_ms / 1000, 0);
            }
            self.second.1 += 1;
            if self.second.1 > most {
                self.throttled += 1;
                return Err(Refusal::plain("Throttling", "Rate exceeded"));
            }
        }
        let mut fields = value.as_object().unwrap().clone();
        fields.remove("Tags");
        fields.entry("ActionsEnabled").or_insert(json!(true));
        let tag = |tag: &BTreeMap<String, String>| (tag["Key"].clone(), tag["Value"].clone());
        match self.alarms.get_mut(&put.alarm_name) {
            // Tags count for a new alarm only, and the state stays.
            Some(alarm) => alarm.fields = fields,
            None => {
                let alarm = StoredAlarm {
                    fields,
                    tags: put.tags.iter().map(tag).collect(),
                    state: "INSUFFICIENT_DATA".to_owned(),
                    reason: "Unchecked: Initial alarm creation".to_owned(),
                    since_ms: now_ms,
                };
                self.alarms.insert(put.alarm_name, alarm);
            }
        }
        Ok(json!({}))
    }

    fn describe(&self, value: &Value) -> Value {
        let prefix = value["AlarmNamePrefix"].as_str().unwrap_or_default();
        let from: usize = value["NextToken"]
            .as_str()
            .map_or(0, |token| token.parse().unwrap());
        let all = self
            .alarms
            .iter()
            .filter(|(name, _)| name.starts_with(prefix));
        let page: Vec<Value> = all
            .clone()
            .skip(from)
            .take(PAGE)
            .map(|(name, alarm)| {
                let mut fields = alarm.fields.clone();
                fields.insert("AlarmArn".to_owned(), json!(arn(name)));
                fields.insert("StateValue".to_owned(), json!(alarm.state));
                fields.insert("StateReason".to_owned(), json!(alarm.reason));
                let since = json!({ "epoch_s": alarm.since_ms as f64 / 1000.0 });
                fields.insert("StateTransitionedTimestamp".to_owned(), since);
                Value::Object(fields)
            })
            .collect();
        let more = all.count() > from + PAGE;
        let mut answer = json!({ "MetricAlarms": page, "CompositeAlarms": [] });
        if more {
            answer["NextToken"] = json!((from + PAGE).to_string());
        }
        answer
    }

    fn history(&self, value: &Value) -> Value {
        let name = value["AlarmName"].as_str().unwrap_or_default();
        let since_s = value["StartDate"]["epoch_s"].as_f64().unwrap_or(0.0);
        let items = self
            .history
            .iter()
            .filter(|(alarm, at_ms, _)| alarm == name && *at_ms as f64 / 1000.0 >= since_s);
        let items: Vec<Value> = items
            .map(|(alarm, at_ms, summary)| {
                json!({
                    "AlarmName": alarm,
                    "AlarmType": "MetricAlarm",
                    "HistoryItemType": "Action",
                    "Timestamp": { "epoch_s": *at_ms as f64 / 1000.0 },
                    "HistorySummary": summary,
                })
            })
            .collect();
        json!({ "AlarmHistoryItems": items })
    }

    fn by_arn(&mut self, value: &Value) -> Result<&mut StoredAlarm, Refusal> {
        let wanted = value["ResourceARN"].as_str().unwrap_or_default();
        let mut all = self.alarms.iter_mut();
        all.find(|(name, _)| arn(name) == wanted)
            .map(|(_, alarm)| alarm)
            .ok_or_else(|| Refusal::plain("ResourceNotFoundException", "no such resource"))
    }

    fn tags(&mut self, value: &Value) -> Result<Value, Refusal> {
        let tags = self.by_arn(value)?.tags.iter();
        let tags: Vec<Value> = tags
            .map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect();
        Ok(json!({ "Tags": tags }))
    }

    fn tag(&mut self, value: &Value) -> Result<Value, Refusal> {
        let tags = value["Tags"].as_array().cloned().unwrap_or_default();
        let alarm = self.by_arn(value)?;
        for tag in tags {
            let text = |key: &str| tag[key].as_str().unwrap().to_owned();
            alarm.tags.insert(text("Key"), text("Value"));
        }
        Ok(json!({}))
    }

    fn set_state(&mut self, value: &Value, now_ms: i64) -> Result<Value, Refusal> {
        let name = value["AlarmName"].as_str().unwrap_or_default();
        let Some(alarm) = self.alarms.get_mut(name) else {
            return Err(Refusal::plain("ResourceNotFound", "no such alarm"));
        };
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        alarm.state = text("StateValue");
        alarm.reason = text("StateReason");
        alarm.since_ms = now_ms;
        Ok(json!({}))
    }

    fn named(&mut self, operation: &str, value: &Value) -> Result<Value, Refusal> {
        let names = parse::<Named>(value)?.alarm_names;
        if names.is_empty() || names.len() > 100 {
            return invalid("AlarmNames takes 1 to 100 names");
        }
        for name in &names {
            let Some(alarm) = self.alarms.get_mut(name) else {
                if operation == "DeleteAlarms" {
                    return Err(Refusal::plain("ResourceNotFound", "no such alarm"));
                }
                continue;
            };
            match operation {
                "DeleteAlarms" => drop(self.alarms.remove(name)),
                _ => {
                    let enabled = json!(operation == "EnableAlarmActions");
                    alarm.fields.insert("ActionsEnabled".to_owned(), enabled);
                }
            }
        }
        Ok(json!({}))
    }
}

/// What the service refuses.
fn check(put: &Put) -> Result<(), Refusal> {
    let length = put.alarm_name.chars().count();
    if !(1..=255).contains(&length) || put.alarm_name.chars().any(char::is_control) {
        return invalid("AlarmName is invalid");
    }
    if put
        .alarm_description
        .as_ref()
        .is_some_and(|text| text.chars().count() > 1024)
    {
        return invalid("AlarmDescription is too long");
    }
    if put.namespace.is_empty() || put.metric_name.is_empty() || put.dimensions.len() > 30 {
        return invalid("the metric is invalid");
    }
    if put.statistic.is_some() == put.extended_statistic.is_some() {
        return invalid("exactly one of Statistic and ExtendedStatistic is needed");
    }
    let statistics = ["Average", "Sum", "Minimum", "Maximum", "SampleCount"];
    if put
        .statistic
        .as_ref()
        .is_some_and(|s| !statistics.contains(&s.as_str()))
    {
        return invalid("Statistic is not known");
    }
    let operators = [
        "GreaterThanOrEqualToThreshold",
        "GreaterThanThreshold",
        "LessThanThreshold",
        "LessThanOrEqualToThreshold",
    ];
    if !operators.contains(&put.comparison_operator.as_str()) || !put.threshold.is_finite() {
        return invalid("the comparison is invalid");
    }
    if !matches!(put.period, 10 | 20 | 30) && (put.period < 60 || put.period % 60 != 0) {
        return invalid("Period must be 10, 20, 30 or a multiple of 60");
    }
    let longest = if put.period >= 3600 { 604_800 } else { 86_400 };
    if put.evaluation_periods < 1 || put.period * put.evaluation_periods > longest {
        return invalid("Metrics cannot be checked across more than a day or a week");
    }
    if put
        .datapoints_to_alarm
        .is_some_and(|m| m < 1 || m > put.evaluation_periods)
    {
        return invalid("DatapointsToAlarm must be at most EvaluationPeriods");
    }
    let treatments = ["breaching", "notBreaching", "ignore", "missing"];
    if put
        .treat_missing_data
        .as_ref()
        .is_some_and(|t| !treatments.contains(&t.as_str()))
    {
        return invalid("TreatMissingData is invalid");
    }
    for list in [
        &put.ok_actions,
        &put.alarm_actions,
        &put.insufficient_data_actions,
    ] {
        if list.len() > 5
            || list
                .iter()
                .any(|arn| !arn.starts_with("arn:") || arn.len() > 1024)
        {
            return invalid("actions are invalid");
        }
    }
    let minutes = put.warm_up_configuration.as_ref();
    let minutes = minutes.map(|warm_up| warm_up["WarmUpPeriodDurationInMinutes"].as_i64());
    if minutes.is_some_and(|minutes| !minutes.is_some_and(|m| (1..=2880).contains(&m))) {
        return invalid("WarmUpConfiguration is invalid");
    }
    // Fields that are read by nobody here and may be there.
    let _known = (
        &put.actions_enabled,
        &put.unit,
        &put.evaluate_low_sample_count_percentile,
    );
    Ok(())
}
