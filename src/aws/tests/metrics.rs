//! PutMetricData: what goes over the wire, and what each kind of answer becomes.

use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::client::Settings;
use super::calls::expected_authorization_for;
use super::cbor;
use super::stand_in::{Reply, Request, StandIn};
use super::{Edge, PATIENCE, batch, settings};
use crate::config::Compression;
use crate::ports::{
    CallId, Datum, ErrorClass, LogService, MetricAnswer, MetricCall, MetricService, Numbers,
    ServiceError, Summary,
};

const PATH: &str = "/service/GraniteServiceVersion20100801/operation/PutMetricData";

fn datum(name: &str, numbers: Numbers) -> Datum {
    Datum {
        name: name.to_owned(),
        dimensions: vec![
            ("AutoScalingGroupName".to_owned(), "web".to_owned()),
            ("InstanceId".to_owned(), "i-1".to_owned()),
        ],
        time_ms: 1_795_262_400_000,
        unit: "Count/Second".to_owned(),
        resolution_s: 1,
        numbers,
    }
}

fn call_with(data: Vec<Datum>) -> MetricCall {
    MetricCall {
        namespace: "Deploywatch".into(),
        data: data.into(),
    }
}

pub(super) fn small() -> MetricCall {
    call_with(vec![datum("Heartbeat", Numbers::One(1.0))])
}

impl Edge {
    fn metric_answer(&mut self) -> MetricAnswer {
        loop {
            if let Some(answer) = self.metrics.answer() {
                return answer;
            }
            self.rings.recv_timeout(PATIENCE).expect("an answer");
        }
    }

    pub(super) fn put_metrics(&mut self, call: MetricCall) -> Result<(), ServiceError> {
        let id = CallId(self.next);
        self.next += 1;
        self.metrics.submit(id, call);
        let answer = self.metric_answer();
        assert_eq!(answer.id, id);
        assert!(self.metrics.answer().is_none(), "one answer only");
        answer.result
    }
}

/// A good answer as the service gives it.
pub(super) fn done() -> Reply {
    cbor_reply(200, &json!({}))
}

pub(super) fn cbor_reply(status: u16, body: &Value) -> Reply {
    let headers = vec![
        ("content-type", "application/cbor".to_owned()),
        ("smithy-protocol", "rpc-v2-cbor".to_owned()),
    ];
    Reply::Whole(status, headers, cbor::encode(body))
}

fn refused(status: u16, code: &str) -> Reply {
    let body = json!({"__type": format!("com.amazonaws.cloudwatch#{code}"), "message": "text"});
    cbor_reply(status, &body)
}

fn body(request: &Request) -> Value {
    let mut plain = Vec::new();
    match request.header("content-encoding") {
        "gzip" => drop(
            flate2::read::GzDecoder::new(&request.body[..])
                .read_to_end(&mut plain)
                .unwrap(),
        ),
        _ => plain.clone_from(&request.body),
    }
    cbor::decode(&plain).unwrap()
}

/// The three kinds of data arrive as the service reads them, signed for its name: shown by decoding
/// what came over the wire and signing it once more with AWS's signer.
#[test]
fn sends_every_kind_of_numbers() {
    let service = StandIn::new(|_, _| done());
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    let data = vec![
        datum("One", Numbers::One(1.5)),
        datum("Many", Numbers::Many(vec![(2.0, 3.0), (4.0, 1.0)])),
        datum(
            "Summary",
            Numbers::Summary(Summary {
                count: 4.0,
                sum: 10.0,
                min: 1.0,
                max: 5.0,
            }),
        ),
    ];
    assert_eq!(edge.put_metrics(call_with(data)), Ok(()));
    let [request] = &service.seen()[..] else {
        panic!("one request")
    };
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", PATH)
    );
    assert_eq!(request.header("content-type"), "application/cbor");
    assert_eq!(request.header("smithy-protocol"), "rpc-v2-cbor");
    assert_eq!(request.header("content-encoding"), "");
    assert!(request.header("user-agent").contains("deploywatch-"));
    let signed = request.header("authorization");
    assert_eq!(signed, expected_authorization_for("monitoring", request));
    let common = |name: &str, key: &str, value: Value| {
        let mut datum = json!({
            "MetricName": name,
            "Dimensions": [
                {"Name": "AutoScalingGroupName", "Value": "web"},
                {"Name": "InstanceId", "Value": "i-1"},
            ],
            "Timestamp": {"epoch_s": 1_795_262_400.0},
            "Unit": "Count/Second",
            "StorageResolution": 1,
        });
        datum[key] = value;
        datum
    };
    let mut many = common("Many", "Values", json!([2.0, 4.0]));
    many["Counts"] = json!([3.0, 1.0]);
    let summary = json!({"SampleCount": 4.0, "Sum": 10.0, "Minimum": 1.0, "Maximum": 5.0});
    let expected = json!({
        "Namespace": "Deploywatch",
        "MetricData": [
            common("One", "Value", json!(1.5)),
            many,
            common("Summary", "StatisticValues", summary),
        ],
    });
    assert_eq!(body(request), expected);
}

/// A large call is packed, and what is packed is what was signed: shown by the largest call there
/// is, which also shows that bytes are counted on the safe side.
#[test]
fn sends_a_large_call_packed() {
    let service = StandIn::new(|_, _| done());
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    let many: Vec<(f64, f64)> = (0..30).map(|n| (f64::from(n) + 0.1, 1.0)).collect();
    let data: Vec<Datum> = (0..1000)
        .map(|n| datum(&format!("Metric{n}"), Numbers::Many(many.clone())))
        .collect();
    let counted: usize = data.iter().map(crate::metrics::bytes_of_datum).sum();
    assert_eq!(edge.put_metrics(call_with(data)), Ok(()));
    let [request] = &service.seen()[..] else {
        panic!("one request")
    };
    assert_eq!(request.header("content-encoding"), "gzip");
    assert!(
        request
            .header("authorization")
            .contains("content-encoding;")
    );
    let signed = request.header("authorization");
    assert_eq!(signed, expected_authorization_for("monitoring", request));
    let body = body(request);
    assert_eq!(body["MetricData"].as_array().unwrap().len(), 1000);
    let plain = cbor::encode(&body).len();
    assert!(plain <= counted && counted < plain * 2, "{plain} {counted}");
}

/// Every bad answer is one of the four classes, throttling and invalid data told apart from the
/// rest, and none is taken for a good one: shown row by row.
#[test]
fn bad_answers_are_classed() {
    use ErrorClass::{Invalid, RetrySlowly, RetrySoon, Throttled};
    let page = Reply::Whole(
        503,
        vec![("content-type", "text/html".to_owned())],
        b"<html>".to_vec(),
    );
    let lost = Reply::Whole(
        404,
        vec![("content-type", "text/html".to_owned())],
        b"<html>".to_vec(),
    );
    let rows = [
        (refused(400, "ThrottlingException"), Throttled),
        (refused(400, "Throttling"), Throttled),
        (refused(400, "InvalidParameterValueException"), Invalid),
        (
            refused(400, "InvalidParameterCombinationException"),
            Invalid,
        ),
        (refused(400, "MissingRequiredParameterException"), Invalid),
        (refused(413, "RequestEntityTooLarge"), Invalid),
        (refused(500, "InternalServiceFault"), RetrySoon),
        (refused(403, "AccessDeniedException"), RetrySlowly),
        (refused(403, "ExpiredTokenException"), RetrySlowly),
        (refused(400, "SomethingNew"), RetrySlowly),
        (page, RetrySoon),
        (lost, RetrySlowly),
        (Reply::Hangup, RetrySoon),
    ];
    for (reply, class) in rows {
        let said = format!("{reply:?}");
        let service = StandIn::new(move |_, _| reply.clone());
        let mut edge = Edge::to(&service.url, Compression::Gzip);
        let error = edge.put_metrics(small()).unwrap_err();
        assert_eq!(error.class, class, "{said} became {error:?}");
        assert!(!error.code.is_empty());
        assert_eq!(
            service.seen().len(),
            1,
            "the edge must not try again by itself"
        );
    }
}

/// A lost answer, one cut off and one that is no CBOR are no success; and the next call is fine:
/// shown one after the other on one edge.
#[test]
fn what_is_no_answer_is_no_success() {
    let page = || {
        Reply::Whole(
            200,
            vec![("content-type", "text/html".to_owned())],
            b"<p>".to_vec(),
        )
    };
    let service = StandIn::new(move |number, _| match number {
        0 => Reply::Silence,
        1 => Reply::Whole(500, Vec::new(), b"\xff\xff".to_vec()),
        2 => Reply::Cut,
        3 => page(),
        4 => Reply::Whole(200, Vec::new(), Vec::new()),
        _ => done(),
    });
    let settings = Settings {
        call_timeout: Duration::from_millis(300),
        ..settings(&service.url)
    };
    let mut edge = Edge::start(settings, Compression::Gzip, &[]);
    for _ in 0..3 {
        let error = edge.put_metrics(small()).unwrap_err();
        assert_eq!(error.class, ErrorClass::RetrySoon, "{error}");
    }
    for _ in 0..2 {
        let error = edge.put_metrics(small()).unwrap_err();
        assert_eq!(error.class, ErrorClass::RetrySlowly, "{error}");
    }
    assert_eq!(edge.put_metrics(small()), Ok(()));
}

/// Logs and metrics share the thread and not their answers: shown by both at once.
#[test]
fn logs_and_metrics_do_not_mix() {
    let service = StandIn::new(|_, request| match request.path.as_str() {
        PATH => done(),
        _ => Reply::ok(),
    });
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    edge.metrics.submit(CallId(1), small());
    let range = 0..1;
    let batch = batch(&["x"]);
    edge.logs
        .submit(CallId(1), crate::ports::LogCall::Put { batch, range });
    assert_eq!(edge.metric_answer().result, Ok(()));
    assert!(edge.answer().result.is_ok());
}
