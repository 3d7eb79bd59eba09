//! PutMetricData: one call, one answer.
//!
//! The SDK speaks rpc-v2-cbor and packs bodies of more than 10 KiB as gzip by itself. The service
//! takes all data of a call or none.
//!
//! The answer has nothing in it, and is asked for the marks of the service ([`Genuine`]).

use std::rc::Rc;

use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit, StatisticSet};
use aws_smithy_types::DateTime;

use super::client::Gateway;
use super::errors::Operation;
use super::genuine::Genuine;
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
                    .interceptor(Genuine::Cbor)
                    .send()
            })
            .await
            .map(drop)
            .map_err(|failure| failure.into_service_error(Operation::PutMetricData))
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
        Numbers::Summary(summary) => builder.statistic_values(
            StatisticSet::builder()
                .sample_count(summary.count)
                .sum(summary.sum)
                .minimum(summary.min)
                .maximum(summary.max)
                .build(),
        ),
    }
    .build()
}
