//! PutMetricData: one call, one answer.
//!
//! The SDK speaks rpc-v2-cbor and packs bodies of more than 10 KiB as gzip by itself. The service
//! takes all data of a call or none.
//!
//! The answer to a put has nothing in it, so the SDK takes any HTTP 200 for a good one, also the
//! page of a proxy or of a hotel's network. We ask it for the marks of the service ([`Genuine`]).

use std::rc::Rc;

use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit, StatisticSet};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;

use super::client::Gateway;
use super::errors::Operation;
use crate::ports::{Datum, MetricCall, Numbers, ServiceError};

/// The call.
pub(super) struct Monitoring {
    gateway: Rc<Gateway>,
}

impl Monitoring {
    /// Ready to call.
    pub(super) fn new(gateway: Rc<Gateway>) -> Self {
        Self { gateway }
    }

    /// PutMetricData with all data of the call.
    pub(super) async fn put(&self, call: &MetricCall) -> Result<(), ServiceError> {
        let data: Vec<MetricDatum> = call.data.iter().map(encoded).collect();
        self.gateway
            .call(|connection| {
                connection
                    .monitoring()
                    .put_metric_data()
                    .namespace(&*call.namespace)
                    .set_metric_data(Some(data))
                    .customize()
                    .interceptor(Genuine)
                    .send()
            })
            .await
            .map(drop)
            .map_err(|failure| failure.into_service_error(Operation::PutMetricData))
    }
}

/// Refuses answers that bear neither the protocol's header nor the request's number, of which the
/// service sends both.
#[derive(Debug)]
struct Genuine;

#[dyn_dispatch_hint]
impl Intercept for Genuine {
    fn name(&self) -> &'static str {
        "Genuine"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let marks = ["smithy-protocol", "x-amzn-requestid"];
        let is_marked = marks
            .iter()
            .any(|mark| response.headers().contains_key(*mark));
        match is_marked || !response.status().is_success() {
            true => Ok(()),
            false => Err("an answer that is not the service's".into()),
        }
    }
}

fn encoded(datum: &Datum) -> MetricDatum {
    let dimensions = datum.dimensions.iter();
    let dimensions =
        dimensions.map(|(name, value)| Dimension::builder().name(name).value(value).build());
    let resolution_s = i32::try_from(datum.resolution_s).unwrap_or(60);
    let builder = MetricDatum::builder()
        .metric_name(&datum.name)
        .set_dimensions(Some(dimensions.collect()))
        .timestamp(DateTime::from_millis(datum.time_ms))
        .unit(StandardUnit::from(datum.unit.as_str()))
        .storage_resolution(resolution_s);
    match &datum.numbers {
        Numbers::One(value) => builder.value(*value),
        Numbers::Many(values) => builder
            .set_values(Some(values.iter().map(|(value, _)| *value).collect()))
            .set_counts(Some(values.iter().map(|(_, count)| *count).collect())),
        Numbers::Summary {
            count,
            sum,
            min,
            max,
        } => builder.statistic_values(
            StatisticSet::builder()
                .sample_count(*count)
                .sum(*sum)
                .minimum(*min)
                .maximum(*max)
                .build(),
        ),
    }
    .build()
}
