//! CloudWatch: PutMetricData over rpc-v2-cbor, with the published limits and the service's error
//! codes. The numbers are from its API model (PutMetricData, MetricDatum, Dimension).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::cbor;
use super::http::{Request, Response};
use super::state::Refusal;

/// Where the service's operations are.
const PREFIX: &str = "/service/GraniteServiceVersion20100801/operation/";
/// Data of one call.
pub(crate) const DATA_MAX: usize = 1000;
/// Bytes of one call's body, unpacked.
pub(crate) const BODY_BYTES_MAX: usize = 1_048_576;
/// Different values of one datum.
pub(crate) const VALUES_MAX: usize = 150;
/// Dimensions of one datum.
pub(crate) const DIMENSIONS_MAX: usize = 30;
/// How old a datum may be.
pub(crate) const PAST_MS_MAX: i64 = 14 * 24 * 3_600_000;
/// How far in the future it may be.
pub(crate) const FUTURE_MS_MAX: i64 = 2 * 3_600_000;

/// The units there are.
const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// PutMetricData as sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct PutMetrics {
    /// Namespace.
    pub(crate) namespace: String,
    /// Data.
    pub(crate) metric_data: Vec<SentDatum>,
}

/// One datum as sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct SentDatum {
    /// Name.
    pub(crate) metric_name: String,
    /// Dimensions.
    #[serde(default)]
    pub(crate) dimensions: Vec<SentDimension>,
    timestamp: Option<Value>,
    value: Option<Value>,
    values: Option<Vec<Value>>,
    counts: Option<Vec<Value>>,
    statistic_values: Option<BTreeMap<String, Value>>,
    /// Unit.
    pub(crate) unit: Option<String>,
    /// 1 or 60.
    pub(crate) storage_resolution: Option<i64>,
}

/// One dimension as sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct SentDimension {
    /// Name.
    pub(crate) name: String,
    /// Value.
    pub(crate) value: String,
}

/// One datum as stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredDatum {
    /// Namespace.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
    /// Name to value.
    pub(crate) dimensions: BTreeMap<String, String>,
    /// When.
    pub(crate) time_ms: i64,
    /// Unit.
    pub(crate) unit: String,
    /// 1 or 60.
    pub(crate) resolution_s: i64,
    /// Statistics of its numbers.
    pub(crate) count: f64,
    /// Their sum.
    pub(crate) sum: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
    /// Which call brought it, counted from 0.
    pub(crate) call: usize,
}

/// The operation a request asks for; `None` when it is for another service.
pub(crate) fn operation(request: &Request) -> Option<&str> {
    request.path.strip_prefix(PREFIX)
}

/// Whether the request speaks the protocol.
pub(crate) fn protocol(request: &Request) -> Result<(), Refusal> {
    let is = |name: &str, value: &str| request.header(name) == Some(value);
    if request.method != "POST"
        || !is("smithy-protocol", "rpc-v2-cbor")
        || !is("content-type", "application/cbor")
    {
        let text = "not POST with smithy-protocol rpc-v2-cbor and content-type application/cbor";
        return Err(Refusal::breach("UnknownOperationException", text));
    }
    Ok(())
}

/// Reads a call's plain body.
pub(crate) fn parse(body: &[u8]) -> Result<PutMetrics, Refusal> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Refusal {
            status: 413,
            ..Refusal::breach("RequestEntityTooLarge", "the body is larger than 1 MB")
        });
    }
    let broken = |text: String| Refusal::breach("SerializationException", &text);
    let value = cbor::decode(body).map_err(broken)?;
    serde_json::from_value(value).map_err(|error| broken(error.to_string()))
}

/// What the service stores of a call; it takes all data or none.
pub(crate) fn take(
    put: &PutMetrics,
    now_ms: i64,
    call: usize,
) -> Result<Vec<StoredDatum>, Refusal> {
    let namespace = &put.namespace;
    if !is_name(namespace, 255) || namespace.starts_with(':') {
        return invalid("The value for parameter Namespace is invalid.");
    }
    if namespace.starts_with("AWS/") {
        return invalid("The value AWS/ for parameter Namespace is invalid.");
    }
    if put.metric_data.is_empty() {
        let text = "The parameter MetricData is required.";
        return Err(Refusal::breach("MissingRequiredParameterException", text));
    }
    if put.metric_data.len() > DATA_MAX {
        return invalid("The collection MetricData must not have a size greater than 1000.");
    }
    let data = put.metric_data.iter().enumerate();
    data.map(|(index, datum)| {
        let mut stored = one(datum, now_ms).map_err(|refusal| Refusal {
            message: format!("MetricData.member.{}: {}", index + 1, refusal.message),
            ..refusal
        })?;
        stored.namespace.clone_from(namespace);
        stored.call = call;
        Ok(stored)
    })
    .collect()
}

fn one(datum: &SentDatum, now_ms: i64) -> Result<StoredDatum, Refusal> {
    if !is_name(&datum.metric_name, 255) || datum.metric_name.starts_with(':') {
        return invalid("MetricName is invalid.");
    }
    if datum.dimensions.len() > DIMENSIONS_MAX {
        return invalid("Dimensions must not have a size greater than 30.");
    }
    let mut dimensions = BTreeMap::new();
    for SentDimension { name, value } in &datum.dimensions {
        if !is_name(name, 255) || name.starts_with(':') || !is_name(value, 1024) {
            return invalid("a dimension is invalid.");
        }
        if dimensions.insert(name.clone(), value.clone()).is_some() {
            return invalid("a dimension is there twice.");
        }
    }
    let unit = datum.unit.clone().unwrap_or_else(|| "None".to_owned());
    if !UNITS.contains(&unit.as_str()) {
        return invalid("Unit is invalid.");
    }
    let resolution_s = datum.storage_resolution.unwrap_or(60);
    if !matches!(resolution_s, 1 | 60) {
        return invalid("StorageResolution must be 1 or 60.");
    }
    let time_ms = match &datum.timestamp {
        None => now_ms,
        Some(value) => match value["epoch_s"].as_f64() {
            Some(seconds) => (seconds * 1000.0).round() as i64,
            None => {
                let text = "a timestamp without its tag";
                return Err(Refusal::breach("SerializationException", text));
            }
        },
    };
    if !(now_ms - PAST_MS_MAX..=now_ms + FUTURE_MS_MAX).contains(&time_ms) {
        return invalid("Timestamp must be within the past two weeks and the next two hours.");
    }
    let (count, sum, min, max) = numbers(datum)?;
    Ok(StoredDatum {
        namespace: String::new(),
        name: datum.metric_name.clone(),
        dimensions,
        time_ms,
        unit,
        resolution_s,
        count,
        sum,
        min,
        max,
        call: 0,
    })
}

/// Count, sum, least and greatest of exactly one of the three kinds of numbers.
fn numbers(datum: &SentDatum) -> Result<(f64, f64, f64, f64), Refusal> {
    let kinds = [
        datum.value.is_some(),
        datum.values.is_some(),
        datum.statistic_values.is_some(),
    ];
    if kinds.iter().filter(|kind| **kind).count() != 1 {
        let text = "exactly one of Value, Values and StatisticValues must be specified.";
        return Err(Refusal::breach(
            "InvalidParameterCombinationException",
            text,
        ));
    }
    if let Some(value) = &datum.value {
        let value = number(value)?;
        return Ok((1.0, value, value, value));
    }
    if let Some(statistics) = &datum.statistic_values {
        let field = |name: &str| match statistics.get(name) {
            Some(value) => number(value),
            None => invalid("StatisticValues lacks a field."),
        };
        let (count, sum) = (field("SampleCount")?, field("Sum")?);
        let (min, max) = (field("Minimum")?, field("Maximum")?);
        if count <= 0.0 || min > max {
            return invalid("StatisticValues contradict each other.");
        }
        return Ok((count, sum, min, max));
    }
    let values = datum.values.iter().flatten().map(number);
    let values: Vec<f64> = values.collect::<Result<_, _>>()?;
    let counts = match &datum.counts {
        Some(counts) => counts.iter().map(number).collect::<Result<_, _>>()?,
        None => vec![1.0; values.len()],
    };
    if values.len() != counts.len() || !(1..=VALUES_MAX).contains(&values.len()) {
        return invalid("Values and Counts must be of the same size, 1 to 150.");
    }
    let pairs = || values.iter().zip(&counts);
    Ok((
        counts.iter().sum(),
        pairs().map(|(value, count)| value * count).sum(),
        values.iter().copied().fold(f64::INFINITY, f64::min),
        values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    ))
}

fn number(value: &Value) -> Result<f64, Refusal> {
    match value.as_f64() {
        Some(number) if number.abs() <= 2_f64.powi(360) => Ok(number),
        _ => invalid("a value is not a number, infinite, or out of range."),
    }
}

/// Printable ASCII, not all blank.
fn is_name(name: &str, bytes_max: usize) -> bool {
    let printable = |b: u8| (b' '..=b'~').contains(&b);
    (1..=bytes_max).contains(&name.len()) && name.bytes().all(printable) && !name.trim().is_empty()
}

fn invalid<T>(text: &str) -> Result<T, Refusal> {
    Err(Refusal::breach("InvalidParameterValueException", text))
}

/// The answer in the service's language, with the code old clients look for too.
pub(crate) fn respond(result: Result<Value, Refusal>) -> Response {
    let (status, body) = match &result {
        Ok(body) => (200, body.clone()),
        Err(refusal) => {
            let code = format!("com.amazonaws.cloudwatch#{}", refusal.code);
            let body = json!({"__type": code, "message": refusal.message});
            (refusal.status, body)
        }
    };
    let response = Response::new(status, cbor::encode(&body))
        .with("content-type", "application/cbor")
        .with("smithy-protocol", "rpc-v2-cbor");
    match result {
        Ok(_) => response,
        Err(refusal) => {
            let code = refusal.code.trim_end_matches("Exception");
            response.with("x-amzn-query-error", format!("{code};Sender"))
        }
    }
}
