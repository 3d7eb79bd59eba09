//! The calls about alarms: between the SDK's types and the port's.
//!
//! An alarm that is read back must equal the one that was put, field by field, or the plan would
//! never be empty; so both directions stand side by side in `alarm_fields.rs`. What the service fills in by itself
//! is taken for what it means: no DatapointsToAlarm is EvaluationPeriods, no TreatMissingData is
//! `missing`.

use std::collections::BTreeMap;
use std::rc::Rc;

use aws_sdk_cloudwatch::types::{
    AlarmType, Dimension, HistoryItemType, ScanBy, StateValue, WarmUpConfiguration,
};
use aws_smithy_types::DateTime;

use super::alarm_fields::{actions, named_statistic, operator, read, sdk_tags, treatment, whole};
use super::client::Gateway;
use super::errors::{Failure, Operation};
use crate::ports::ServiceError;
use crate::ports::alarm::{
    ActionTaken, AlarmCall, AlarmReply, AlarmSpec, AlarmState, ServiceAlarm,
};

/// Alarms of a page: so many fit into the longest answer that is read, each as long as it can be.
const PAGE_ALARMS: i32 = 10;

/// Pages that are read: of more alarms than an instance may have.
const PAGES_MAX: usize = 100;

/// The newest entries of a history that are read.
const HISTORY_ITEMS: i32 = 50;

/// The calls.
pub(super) struct AlarmCalls {
    gateway: Rc<Gateway>,
}

impl AlarmCalls {
    /// Ready to call.
    pub(super) fn new(gateway: Rc<Gateway>) -> Self {
        Self { gateway }
    }

    /// Makes a call.
    pub(super) async fn make(&self, call: &AlarmCall) -> Result<AlarmReply, ServiceError> {
        let result = match call {
            AlarmCall::Describe { prefix } => self.describe(prefix).await.map(AlarmReply::Alarms),
            AlarmCall::Tags { arn } => self.tags(arn).await.map(AlarmReply::Tags),
            AlarmCall::Put {
                spec,
                actions_enabled,
                tags,
            } => self.put(spec, *actions_enabled, tags).await,
            AlarmCall::Tag { arn, tags } => self.tag(arn, tags).await,
            AlarmCall::Delete { .. }
            | AlarmCall::DisableActions { .. }
            | AlarmCall::EnableActions { .. } => self.all_of(call).await,
            AlarmCall::SetState {
                name,
                state,
                reason,
            } => self.set_state(name, *state, reason).await,
            AlarmCall::History { name, since_ms } => {
                self.history(name, *since_ms).await.map(AlarmReply::History)
            }
        };
        result.map_err(|failure| failure.into_service_error(Operation::Alarms))
    }

    async fn describe(&self, prefix: &str) -> Result<Vec<ServiceAlarm>, Failure> {
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = self
                .gateway
                .call(|connection| {
                    connection
                        .monitoring()
                        .describe_alarms()
                        .alarm_name_prefix(prefix)
                        .alarm_types(AlarmType::MetricAlarm)
                        .max_records(PAGE_ALARMS)
                        .set_next_token(token.clone())
                        .send()
                })
                .await?;
            all.extend(page.metric_alarms().iter().filter_map(read));
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        Ok(all)
    }

    async fn tags(&self, arn: &str) -> Result<BTreeMap<String, String>, Failure> {
        let output = self
            .gateway
            .call(|connection| {
                connection
                    .monitoring()
                    .list_tags_for_resource()
                    .resource_arn(arn)
                    .send()
            })
            .await?;
        let tags = output.tags().iter();
        Ok(tags
            .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())))
            .collect())
    }

    async fn put(
        &self,
        spec: &AlarmSpec,
        actions_enabled: bool,
        tags: &BTreeMap<String, String>,
    ) -> Result<AlarmReply, Failure> {
        let (statistic, percentile) = match named_statistic(&spec.statistic) {
            Some(statistic) => (Some(statistic), None),
            None => (None, Some(spec.statistic.clone())),
        };
        let dimensions = spec.dimensions.iter();
        let dimensions =
            dimensions.map(|(name, value)| Dimension::builder().name(name).value(value).build());
        let dimensions: Vec<Dimension> = dimensions.collect();
        let warm_up = spec.warm_up_minutes.map(|minutes| {
            WarmUpConfiguration::builder()
                .warm_up_period_duration_in_minutes(whole(minutes))
                .only_start_evaluating_after_warm_up_period_ends(true)
                .build()
        });
        let low_samples = spec
            .by_hand
            .get("EvaluateLowSampleCountPercentile")
            .cloned();
        self.gateway
            .call(|connection| {
                connection
                    .monitoring()
                    .put_metric_alarm()
                    .alarm_name(&spec.name)
                    .alarm_description(&spec.description)
                    .actions_enabled(actions_enabled)
                    .namespace(&spec.namespace)
                    .metric_name(&spec.metric)
                    .set_dimensions(Some(dimensions))
                    .set_statistic(statistic)
                    .set_extended_statistic(percentile)
                    .comparison_operator(operator(spec.comparison))
                    .threshold(spec.threshold)
                    .period(whole(spec.period_s))
                    .evaluation_periods(whole(spec.evaluation_periods))
                    .datapoints_to_alarm(whole(spec.datapoints_to_alarm))
                    .treat_missing_data(treatment(spec.missing_data))
                    .set_warm_up_configuration(warm_up)
                    .set_unit(spec.by_hand.get("Unit").map(|unit| unit.as_str().into()))
                    .set_evaluate_low_sample_count_percentile(low_samples)
                    .set_alarm_actions(Some(spec.alarm_actions.clone()))
                    .set_ok_actions(Some(spec.ok_actions.clone()))
                    .set_insufficient_data_actions(Some(spec.insufficient_data_actions.clone()))
                    .set_tags(Some(sdk_tags(tags)))
                    .send()
            })
            .await
            .map(|_| AlarmReply::Done)
    }

    async fn tag(&self, arn: &str, tags: &BTreeMap<String, String>) -> Result<AlarmReply, Failure> {
        self.gateway
            .call(|connection| {
                connection
                    .monitoring()
                    .tag_resource()
                    .resource_arn(arn)
                    .set_tags(Some(sdk_tags(tags)))
                    .send()
            })
            .await
            .map(|_| AlarmReply::Done)
    }

    /// The calls that only name alarms.
    async fn all_of(&self, call: &AlarmCall) -> Result<AlarmReply, Failure> {
        let done = match call {
            AlarmCall::Delete { names } => {
                let names = Some(names.clone());
                let request = |client: &aws_sdk_cloudwatch::Client| {
                    client.delete_alarms().set_alarm_names(names).send()
                };
                self.gateway
                    .call(|c| request(c.monitoring()))
                    .await
                    .map(drop)
            }
            AlarmCall::DisableActions { names } => {
                let names = Some(names.clone());
                let request = |client: &aws_sdk_cloudwatch::Client| {
                    client.disable_alarm_actions().set_alarm_names(names).send()
                };
                self.gateway
                    .call(|c| request(c.monitoring()))
                    .await
                    .map(drop)
            }
            AlarmCall::EnableActions { names } => {
                let names = Some(names.clone());
                let request = |client: &aws_sdk_cloudwatch::Client| {
                    client.enable_alarm_actions().set_alarm_names(names).send()
                };
                self.gateway
                    .call(|c| request(c.monitoring()))
                    .await
                    .map(drop)
            }
            _ => Ok(()),
        };
        done.map(|()| AlarmReply::Done)
    }

    async fn set_state(
        &self,
        name: &str,
        state: AlarmState,
        reason: &str,
    ) -> Result<AlarmReply, Failure> {
        self.gateway
            .call(|connection| {
                connection
                    .monitoring()
                    .set_alarm_state()
                    .alarm_name(name)
                    .state_value(StateValue::from(state.word()))
                    .state_reason(reason)
                    .send()
            })
            .await
            .map(|_| AlarmReply::Done)
    }

    async fn history(&self, name: &str, since_ms: i64) -> Result<Vec<ActionTaken>, Failure> {
        self.gateway
            .call(|connection| {
                connection
                    .monitoring()
                    .describe_alarm_history()
                    .alarm_name(name)
                    .history_item_type(HistoryItemType::Action)
                    .start_date(DateTime::from_millis(since_ms))
                    .scan_by(ScanBy::TimestampDescending)
                    .max_records(HISTORY_ITEMS)
                    .send()
            })
            .await
            .map(|output| actions(&output))
    }
}
