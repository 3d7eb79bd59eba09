//! The stand-ins' own tests: they refuse what the services refuse, in the services' words.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::cbor;
use super::cloud::{Cloud, now_ms};
use super::fault::{Fault, Trouble};
use super::http::{Request, Response, Wire};
use super::imds::{Imds, Instance};
use super::lines::{Writer, line};
use super::listener::Gate;
use super::monitoring::{DATA_MAX, DIMENSIONS_MAX, VALUES_MAX};
use super::oracle::judge;
use super::rules::{
    BATCH_BYTES_MAX, EVENT_OVERHEAD_BYTES, EVENTS_MAX, FUTURE_MS_MAX, HOUR_MS, PAST_MS_MAX,
    SPAN_MS_MAX,
};
use super::sigv4::{Key, sign, sign_for};
use super::state::{Action, Gzip, KeyState, Stored};

const LIMIT: Duration = Duration::from_secs(5);

fn request(cloud: &Cloud, action: &str, body: &[u8]) -> Request {
    let host = cloud.endpoint().rsplit('/').next().unwrap().to_owned();
    Request {
        method: "POST".into(),
        path: "/".into(),
        headers: vec![
            ("host".into(), host),
            ("content-type".into(), "application/x-amz-json-1.1".into()),
            ("x-amz-target".into(), format!("Logs_20140328.{action}")),
            ("content-length".into(), body.len().to_string()),
        ],
        body: body.to_vec(),
    }
}

fn send(cloud: &Cloud, request: &Request) -> std::io::Result<Response> {
    let address = cloud.endpoint().rsplit('/').next().unwrap().to_owned();
    let mut wire = Wire::new(TcpStream::connect(address)?);
    wire.stream.set_read_timeout(Some(LIMIT))?;
    wire.stream.write_all(&request.encode())?;
    wire.response()
}

fn call(cloud: &Cloud, action: &str, body: &Value) -> Response {
    let mut request = request(cloud, action, body.to_string().as_bytes());
    sign(&mut request, &Key::fixed(), now_ms());
    send(cloud, &request).unwrap()
}

fn put(cloud: &Cloud, events: &[(i64, &str)]) -> Response {
    let events: Vec<Value> = events
        .iter()
        .map(|(time, text)| json!({"timestamp": time, "message": text}))
        .collect();
    let body = json!({"logGroupName": "g", "logStreamName": "s", "logEvents": events});
    call(cloud, "PutLogEvents", &body)
}

fn json_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

fn code(response: &Response) -> String {
    if response.status == 200 {
        return "ok".into();
    }
    let answer = json_of(response);
    let code = answer["__type"].as_str().unwrap();
    code.rsplit('#').next().unwrap().to_owned()
}

fn ready() -> Cloud {
    let cloud = Cloud::start();
    cloud.make("g", &["s"]);
    cloud
}

/// The counts and sizes of a batch are exact: the limit passes, one more is refused and noted.
#[test]
fn batch_limits_are_exact() {
    let cloud = ready();
    let now = now_ms();
    let full = "x".repeat(BATCH_BYTES_MAX - EVENT_OVERHEAD_BYTES);
    assert_eq!(code(&put(&cloud, &[(now, &full)])), "ok");
    assert_eq!(code(&put(&cloud, &vec![(now, "x"); EVENTS_MAX])), "ok");
    assert_eq!(code(&put(&cloud, &[(now, "a"), (now, "b")])), "ok");
    cloud.assert_no_violations();
    let long = full.clone() + "x";
    let refused: [&[(i64, &str)]; 6] = [
        &[],
        &[(now, &long)],
        &vec![(now, "x"); EVENTS_MAX + 1],
        &[(now, "a"), (now, "")],
        &[(now, "a"), (now - 1, "b")],
        &[(now - SPAN_MS_MAX - 1, "a"), (now, "b")],
    ];
    for (index, events) in refused.iter().enumerate() {
        assert_eq!(
            code(&put(&cloud, events)),
            "InvalidParameterException",
            "case {index}"
        );
        assert_eq!(cloud.state().violations.len(), index + 1);
    }
    assert_eq!(
        code(&put(&cloud, &[(now - SPAN_MS_MAX, "a"), (now, "b")])),
        "ok"
    );
    assert_eq!(cloud.state().total(), 1 + EVENTS_MAX + 2 + 2);
}

/// Events outside the window are rejected by index, start inclusive and ends exclusive, and do not
/// count for the span; the rest is stored.
#[test]
fn rejected_events_are_told_by_index() {
    let cloud = ready();
    let now = now_ms();
    let old = now - PAST_MS_MAX - HOUR_MS;
    let new = now + FUTURE_MS_MAX + HOUR_MS;
    let answer = json_of(&put(
        &cloud,
        &[(old, "a"), (old, "b"), (now, "c"), (new, "d"), (new, "e")],
    ));
    let info = &answer["rejectedLogEventsInfo"];
    assert_eq!(info["tooOldLogEventEndIndex"], 2);
    assert_eq!(info["tooNewLogEventStartIndex"], 3);
    assert_eq!(info["expiredLogEventEndIndex"], Value::Null);
    assert_eq!(cloud.messages("g", "s"), ["c"]);

    let retention = json!({"logGroupName": "g", "retentionInDays": 1});
    assert_eq!(code(&call(&cloud, "PutRetentionPolicy", &retention)), "ok");
    let answer = json_of(&put(
        &cloud,
        &[(old, "a"), (now - 30 * HOUR_MS, "b"), (now, "c")],
    ));
    let info = &answer["rejectedLogEventsInfo"];
    assert_eq!(info["tooOldLogEventEndIndex"], 1);
    assert_eq!(info["expiredLogEventEndIndex"], 2);
    let all_good = json_of(&put(&cloud, &[(now, "f")]));
    assert_eq!(all_good["rejectedLogEventsInfo"], Value::Null);
    assert_eq!(cloud.messages("g", "s"), ["c", "c", "f"]);
    assert_eq!(cloud.state().rejected, 6);
    cloud.assert_no_violations();
}

/// Groups and streams are made once, under legal names; Describe* is a breach.
#[test]
fn names_and_creation_follow_the_rules() {
    let cloud = Cloud::start();
    let stream = json!({"logGroupName": "/a/b", "logStreamName": "x/y"});
    let group = json!({"logGroupName": "/a/b", "tags": {"k": "v"}, "logGroupClass": "STANDARD"});
    assert_eq!(
        code(&call(&cloud, "CreateLogStream", &stream)),
        "ResourceNotFoundException"
    );
    assert_eq!(code(&call(&cloud, "CreateLogGroup", &group)), "ok");
    assert_eq!(
        code(&call(&cloud, "CreateLogGroup", &group)),
        "ResourceAlreadyExistsException"
    );
    assert_eq!(code(&call(&cloud, "CreateLogStream", &stream)), "ok");
    assert_eq!(
        code(&call(&cloud, "CreateLogStream", &stream)),
        "ResourceAlreadyExistsException"
    );
    assert_eq!(
        code(&put(&cloud, &[(now_ms(), "x")])),
        "ResourceNotFoundException"
    );
    cloud.assert_no_violations();
    let breaches = [
        (
            "CreateLogGroup",
            json!({"logGroupName": "a b"}),
            "InvalidParameterException",
        ),
        (
            "CreateLogGroup",
            json!({"logGroupName": "aws/x"}),
            "InvalidParameterException",
        ),
        (
            "CreateLogStream",
            json!({"logGroupName": "/a/b", "logStreamName": "a:b"}),
            "InvalidParameterException",
        ),
        (
            "PutRetentionPolicy",
            json!({"logGroupName": "/a/b", "retentionInDays": 8}),
            "InvalidParameterException",
        ),
        (
            "DescribeLogStreams",
            json!({"logGroupName": "/a/b"}),
            "AccessDeniedException",
        ),
        (
            "CreateLogGroup",
            json!({"logGroup": "/a/b"}),
            "SerializationException",
        ),
    ];
    for (index, (action, body, wanted)) in breaches.iter().enumerate() {
        assert_eq!(
            code(&call(&cloud, action, body)),
            *wanted,
            "{action} {body}"
        );
        assert_eq!(cloud.state().violations.len(), index + 1);
    }
}

/// The signature is really checked: any change of body, header, key or date is refused.
#[test]
fn signatures_are_checked() {
    let cloud = ready();
    let body = json!({"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": now_ms(), "message": "m"}]});
    let body = body.to_string();
    let signed = |key: &Key, ahead_ms: i64| {
        let mut request = request(&cloud, "PutLogEvents", body.as_bytes());
        sign(&mut request, key, now_ms() + ahead_ms);
        request
    };
    let good = signed(&Key::fixed(), 0);
    assert_eq!(code(&send(&cloud, &good).unwrap()), "ok");
    let temporary = Key::temporary(7);
    let unknown = send(&cloud, &signed(&temporary, 0)).unwrap();
    assert_eq!(code(&unknown), "UnrecognizedClientException");
    cloud.set_key(&temporary, KeyState::Good);
    assert_eq!(code(&send(&cloud, &signed(&temporary, 0)).unwrap()), "ok");
    cloud.set_key(&temporary, KeyState::Expired);
    let expired = send(&cloud, &signed(&temporary, 0)).unwrap();
    assert_eq!(code(&expired), "ExpiredTokenException");
    for ahead_ms in [-6 * 60 * 1000, 6 * 60 * 1000] {
        let answer = send(&cloud, &signed(&Key::fixed(), ahead_ms)).unwrap();
        assert_eq!(code(&answer), "InvalidSignatureException");
        assert!(answer.header("date").unwrap().ends_with(" GMT"));
    }
    cloud.assert_no_violations();

    let mut changed = signed(&Key::fixed(), 0);
    changed.body[body.len() - 6] ^= 1;
    assert_eq!(
        code(&send(&cloud, &changed).unwrap()),
        "InvalidSignatureException"
    );
    let wrong = Key {
        secret: "other".into(),
        ..Key::fixed()
    };
    assert_eq!(
        code(&send(&cloud, &signed(&wrong, 0)).unwrap()),
        "InvalidSignatureException"
    );
    let unsigned = request(&cloud, "PutLogEvents", body.as_bytes());
    assert_eq!(
        code(&send(&cloud, &unsigned).unwrap()),
        "MissingAuthenticationTokenException"
    );
    let mut late_header = signed(&Key::fixed(), 0);
    late_header.headers.push(("x-amz-meta".into(), "1".into()));
    assert_eq!(
        code(&send(&cloud, &late_header).unwrap()),
        "InvalidSignatureException"
    );
    assert_eq!(cloud.state().violations.len(), 4);
    assert_eq!(cloud.messages("g", "s"), ["m", "m"]);
}

/// The derivation gives the signature that Python's hmac and hashlib give for the same request.
#[test]
fn a_signature_equals_one_computed_elsewhere() {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut request = Request {
        method: "POST".into(),
        path: "/".into(),
        headers: vec![
            header("host", "logs.eu-west-1.amazonaws.com"),
            header("content-type", "application/x-amz-json-1.1"),
            header("x-amz-target", "Logs_20140328.PutLogEvents"),
        ],
        body: b"{}".to_vec(),
    };
    sign(&mut request, &Key::fixed(), 1_795_244_400_000);
    let wanted = "Signature=40a63621fbba483e1adc1a4d8d4e911f3fe6dcef0ee232932e459cf1c6a748e3";
    assert!(request.header("authorization").unwrap().ends_with(wanted));
}

/// A service whose clock is ahead says that signatures have expired, and when it thinks it is.
#[test]
fn a_service_clock_ahead_expires_signatures() {
    let cloud = ready();
    cloud.state().clock_ahead_ms = 10 * 60 * 1000;
    let answer = put(&cloud, &[(now_ms(), "m")]);
    assert_eq!(code(&answer), "InvalidSignatureException");
    let text = json_of(&answer)["message"].as_str().unwrap().to_owned();
    assert!(text.starts_with("Signature expired: "), "{text}");
    cloud.assert_no_violations();
}

/// gzip bodies and chunked bodies are read; gzip can be refused.
#[test]
fn gzip_and_chunked_bodies_are_read() {
    let cloud = ready();
    let body = json!({"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": now_ms(), "message": "zipped"}]});
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body.to_string().as_bytes()).unwrap();
    let mut zipped = request(&cloud, "PutLogEvents", &gzip.finish().unwrap());
    zipped
        .headers
        .push(("content-encoding".into(), "gzip".into()));
    sign(&mut zipped, &Key::fixed(), now_ms());
    assert_eq!(code(&send(&cloud, &zipped).unwrap()), "ok");
    cloud.state().gzip = Gzip::Refused;
    assert_eq!(send(&cloud, &zipped).unwrap().status, 415);
    cloud.state().gzip = Gzip::Ignored;
    assert_eq!(
        code(&send(&cloud, &zipped).unwrap()),
        "SerializationException"
    );

    let plain = body.to_string().replace("zipped", "chunked");
    let mut chunked = request(&cloud, "PutLogEvents", plain.as_bytes());
    chunked.headers.retain(|(name, _)| name != "content-length");
    sign(&mut chunked, &Key::fixed(), now_ms());
    chunked
        .headers
        .push(("transfer-encoding".into(), "chunked".into()));
    let (first, second) = plain.split_at(10);
    let body = format!(
        "a\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        second.len()
    );
    chunked.body = body.into_bytes();
    assert_eq!(code(&send(&cloud, &chunked).unwrap()), "ok");
    assert_eq!(cloud.messages("g", "s"), ["zipped", "chunked"]);
    assert!(cloud.state().puts[0].gzip && !cloud.state().puts[3].gzip);
    cloud.assert_no_violations();
}

/// Each trouble strikes what it was ordered for, as often as ordered, and is counted.
#[test]
fn troubles_strike_as_ordered() {
    let cloud = ready();
    cloud.make("other", &["s"]);
    let one = || put(&cloud, &[(now_ms(), "m")]);
    cloud.fault(
        Fault::new(Trouble::Throttle)
            .times(2)
            .on(Action::Put)
            .at("g", "s"),
    );
    let other = json!({"logGroupName": "other", "logStreamName": "s", "logEvents": [{"timestamp": now_ms(), "message": "m"}]});
    assert_eq!(code(&call(&cloud, "PutLogEvents", &other)), "ok");
    assert_eq!(
        (code(&one()), code(&one()), code(&one())),
        (
            "ThrottlingException".into(),
            "ThrottlingException".into(),
            "ok".into()
        )
    );
    cloud.fault(Fault::new(Trouble::Html(503)).times(1));
    assert_eq!(one().status, 503);
    cloud.fault(Fault::new(Trouble::Garbage).times(1));
    assert!(serde_json::from_slice::<Value>(&one().body).is_err());
    cloud.fault(Fault::new(Trouble::DENIED).on(Action::CreateGroup));
    let group = json!({"logGroupName": "new"});
    let denied = call(&cloud, "CreateLogGroup", &group);
    assert_eq!(code(&denied), "AccessDeniedException");
    assert!(json_of(&denied)["Message"].is_string());
    cloud.clear_faults();
    cloud.fault(Fault::new(Trouble::Delay(Duration::from_millis(30))).times(1));
    cloud.fault(Fault::new(Trouble::Drip(Duration::from_millis(30))).times(1));
    assert_eq!((code(&one()), code(&one())), ("ok".into(), "ok".into()));
    cloud.fault(Fault::new(Trouble::RejectOldest(1)).times(1));
    assert_eq!(
        json_of(&one())["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"],
        1
    );
    cloud.state().poison.push("venom".into());
    let spoiled = put(&cloud, &[(now_ms(), "good"), (now_ms(), "has venom in it")]);
    assert_eq!(code(&spoiled), "InvalidParameterException");
    assert_eq!(cloud.messages("g", "s"), ["m", "m", "m"]);
    assert_eq!(cloud.state().answered("throttle"), 2);
    cloud.assert_no_violations();
}

/// A lost answer stores the events and kills the connection; a reset before reading stores none.
#[test]
fn lost_answers_are_stored_and_resets_are_not() {
    let cloud = ready();
    let mut request = request(&cloud, "PutLogEvents", json!({"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": now_ms(), "message": "m"}]}).to_string().as_bytes());
    sign(&mut request, &Key::fixed(), now_ms());
    cloud.fault(Fault::new(Trouble::ResetBefore).times(1));
    assert!(send(&cloud, &request).is_err());
    assert_eq!(cloud.state().total(), 0);
    cloud.fault(Fault::new(Trouble::LoseAnswer).times(1));
    assert!(send(&cloud, &request).is_err());
    assert_eq!(cloud.state().total(), 1);
    assert_eq!(cloud.state().answered("reset before"), 1);
    assert_eq!(cloud.state().answered("lost answer"), 1);
}

/// An outage is told by refused or broken connections, on the port that comes back.
#[test]
fn the_door_closes_and_opens_again() {
    let cloud = ready();
    let works = || put(&cloud, &[(now_ms(), "m")]).status == 200;
    let address = cloud.endpoint().rsplit('/').next().unwrap().to_owned();
    assert!(works());
    let mut open = TcpStream::connect(&address).unwrap();
    cloud.set_gate(Gate::Refuse);
    assert!(TcpStream::connect(&address).is_err());
    assert!(std::io::Read::read(&mut open, &mut [0]).is_ok_and(|read| read == 0));
    cloud.set_gate(Gate::Open);
    assert!(works());
    cloud.set_gate(Gate::Reset);
    let answer = send(&cloud, &request(&cloud, "PutLogEvents", b"{}"));
    assert!(answer.is_err());
    cloud.set_gate(Gate::Open);
    assert!(works());
    drop(cloud);
    // The port is free again when the stand-in is gone.
    drop(TcpListener::bind(&address).unwrap());
}

/// The same seed makes the same mix of troubles; with them all, calls still succeed in the end.
#[test]
fn a_random_mix_repeats_by_its_seed() {
    let mix = || {
        let cloud = ready();
        cloud.state().dice = super::fault::Dice::new(42);
        cloud.fault(Fault::new(Trouble::Any).on(Action::Put).chance(500));
        let body = json!({"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": now_ms(), "message": "m"}]});
        for _ in 0..20 {
            let mut request = request(&cloud, "PutLogEvents", body.to_string().as_bytes());
            sign(&mut request, &Key::fixed(), now_ms());
            // A lost answer is one of the troubles.
            send(&cloud, &request).ok();
        }
        let state = cloud.state();
        state
            .puts
            .iter()
            .map(|put| put.answer.clone())
            .collect::<Vec<_>>()
    };
    let first = mix();
    assert_eq!(first, mix());
    assert!(first.iter().any(|answer| answer == "ok") && first.iter().any(|answer| answer != "ok"));
}

/// Metadata is given for a token only, tags only where they are shown, credentials as they are now.
#[test]
fn metadata_wants_a_token() {
    let imds = Imds::start(Instance::default());
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let address = imds.endpoint().rsplit('/').next().unwrap().to_owned();
        let mut wire = Wire::new(TcpStream::connect(address).unwrap());
        wire.stream.set_read_timeout(Some(LIMIT)).unwrap();
        let owned = headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let request = Request {
            method: method.into(),
            path: path.into(),
            headers: owned.collect(),
            body: Vec::new(),
        };
        wire.stream.write_all(&request.encode()).unwrap();
        let response = wire.response().unwrap();
        (response.status, String::from_utf8(response.body).unwrap())
    };
    let id = "/latest/meta-data/instance-id";
    assert_eq!(ask("GET", id, &[]).0, 401);
    assert_eq!(ask("PUT", "/latest/api/token", &[]).0, 400);
    assert_eq!(imds.state().violations.len(), 2);
    let (status, token) = ask(
        "PUT",
        "/latest/api/token",
        &[("x-aws-ec2-metadata-token-ttl-seconds", "60")],
    );
    assert_eq!(status, 200);
    let get = |path: &str| ask("GET", path, &[("x-aws-ec2-metadata-token", &token)]);
    assert_eq!(get(id), (200, "i-0123456789abcdef0".into()));
    assert_eq!(get("/latest/meta-data/placement/region").1, "eu-west-1");
    assert_eq!(get("/latest/meta-data/tags/instance/").0, 404);
    imds.state().instance.tags =
        Some([("aws:autoscaling:groupName".to_owned(), "web".to_owned())].into());
    assert_eq!(
        get("/latest/meta-data/tags/instance").1,
        "aws:autoscaling:groupName"
    );
    assert_eq!(
        get("/latest/meta-data/tags/instance/aws%3Aautoscaling:groupName").1,
        "web"
    );
    assert_eq!(get("/latest/meta-data/iam/security-credentials/").1, "web");
    imds.set_role(&Key::temporary(2), Duration::from_secs(60));
    let role: Value =
        serde_json::from_str(&get("/latest/meta-data/iam/security-credentials/web").1).unwrap();
    assert_eq!(role["AccessKeyId"], Key::temporary(2).id);
    let document: Value =
        serde_json::from_str(&get("/latest/dynamic/instance-identity/document").1).unwrap();
    assert_eq!(document["accountId"], "123456789012");
    assert_eq!(get("/latest/meta-data/spot/instance-action").0, 404);
    imds.set_gate(Gate::Refuse);
}

/// The oracle sees a lost, a doubled, a disordered, a mangled and an alien line, and none where
/// there is none.
#[test]
fn the_oracle_sees_every_fault() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(&dir.path().join("a/app.log"), "app");
    writer.write(3);
    writer.rotate_by_rename(2);
    writer.write(2);
    writer.rotate_by_copy(&dir.path().join("a/dated.log"));
    let text = |name: &str| std::fs::read_to_string(dir.path().join("a").join(name)).unwrap();
    let all = text("app.log.1") + &text("dated.log") + &text("app.log");
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(
        lines,
        (0..5).map(|number| line("app", number)).collect::<Vec<_>>()
    );
    let judged = |lines: &[&str]| {
        let stored: Vec<Stored> = lines
            .iter()
            .map(|line| Stored {
                time_ms: 0,
                message: (*line).to_owned(),
                arrived: std::time::Instant::now(),
            })
            .collect();
        let found = judge(&[writer.written()], &stored);
        (
            found.lost,
            found.doubled,
            found.disordered,
            found.mangled,
            found.alien,
        )
    };
    assert_eq!(judged(&lines), (0, 0, 0, 0, 0));
    assert_eq!(judged(&lines[1..]), (1, 0, 0, 0, 0));
    assert_eq!(judged(&[&lines[..], &lines[3..]].concat()), (0, 2, 0, 0, 0));
    let swapped = [lines[1], lines[0], lines[2], lines[3], lines[4]];
    assert_eq!(judged(&swapped), (0, 0, 1, 0, 0));
    let cut = &lines[4][..lines[4].len() - 1];
    assert_eq!(
        judged(&[lines[0], lines[1], lines[2], lines[3], cut, "stranger"]),
        (0, 0, 0, 1, 1)
    );
}

/// A PutMetricData call, signed, plain or packed.
fn put_metrics(cloud: &Cloud, namespace: &str, data: &Value, packed: bool) -> Response {
    let mut body = cbor::encode(&json!({"Namespace": namespace, "MetricData": data}));
    let mut request = request(cloud, "", b"");
    request.path = "/service/GraniteServiceVersion20100801/operation/PutMetricData".into();
    request.headers.truncate(1);
    if packed {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&body).unwrap();
        body = gzip.finish().unwrap();
        let gzip = ("content-encoding".into(), "gzip".into());
        request.headers.push(gzip);
    }
    for (name, value) in [
        ("content-type", "application/cbor"),
        ("smithy-protocol", "rpc-v2-cbor"),
    ] {
        request.headers.push((name.into(), value.into()));
    }
    let length = ("content-length".into(), body.len().to_string());
    request.headers.push(length);
    request.body = body;
    sign_for("monitoring", &mut request, &Key::fixed(), now_ms());
    send(cloud, &request).unwrap()
}

fn cbor_code(response: &Response) -> String {
    assert_eq!(response.header("smithy-protocol"), Some("rpc-v2-cbor"));
    if response.status == 200 {
        return "ok".into();
    }
    let answer = cbor::decode(&response.body).unwrap();
    let code = answer["__type"].as_str().unwrap();
    code.rsplit('#').next().unwrap().to_owned()
}

/// CloudWatch's limits are exact and its refusals named as it names them, and one bad datum spoils
/// its whole call: shown one by one, at and just beyond each limit.
#[test]
fn metric_limits_are_exact() {
    let cloud = Cloud::start();
    let base = json!({"MetricName": "M", "Value": 1.0});
    let with = |key: &str, value: Value| {
        let mut datum = base.clone();
        datum[key] = value;
        datum
    };
    let many = |values: usize| {
        let numbers: Vec<f64> = (0..values).map(|n| n as f64).collect();
        json!({"MetricName": "M", "Values": numbers, "Counts": vec![1.0; values]})
    };
    let dimensions = |count: usize| -> Value {
        (0..count)
            .map(|n| json!({"Name": format!("D{n}"), "Value": "v"}))
            .collect()
    };
    let ok = "ok";
    let bad = "InvalidParameterValueException";
    let rows = [
        (base.clone(), ok),
        (with("MetricName", json!("x".repeat(255))), ok),
        (with("MetricName", json!("x".repeat(256))), bad),
        (with("MetricName", json!(" ")), bad),
        (with("MetricName", json!("ä")), bad),
        (with("Dimensions", dimensions(DIMENSIONS_MAX)), ok),
        (with("Dimensions", dimensions(DIMENSIONS_MAX + 1)), bad),
        (with("Dimensions", json!([{"Name": "A", "Value": ""}])), bad),
        (
            with("Dimensions", json!([{"Name": ":A", "Value": "x"}])),
            bad,
        ),
        (with("Unit", json!("Count/Second")), ok),
        (with("Unit", json!("Counts")), bad),
        (with("StorageResolution", json!(1)), ok),
        (with("StorageResolution", json!(10)), bad),
        (with("Value", json!(2_f64.powi(360))), ok),
        (with("Value", json!(2_f64.powi(361))), bad),
        (
            with("Values", json!([1.0])),
            "InvalidParameterCombinationException",
        ),
        (with("Timestamp", json!(5)), "SerializationException"),
        (many(VALUES_MAX), ok),
        (many(VALUES_MAX + 1), bad),
    ];
    for (datum, expected) in rows {
        let response = put_metrics(&cloud, "N", &json!([datum]), false);
        assert_eq!(cbor_code(&response), expected, "{datum}");
    }
    let taken = cloud.state().metrics.len();
    assert_eq!(taken, 7);
    for (namespace, expected) in [("AWS/EC2", bad), (":x", bad), ("", bad), ("a/b", ok)] {
        let response = put_metrics(&cloud, namespace, &json!([base]), false);
        assert_eq!(cbor_code(&response), expected, "{namespace}");
    }
    for (count, packed, expected) in [(DATA_MAX, true, ok), (DATA_MAX + 1, false, bad)] {
        let data = json!(vec![base.clone(); count]);
        assert_eq!(
            cbor_code(&put_metrics(&cloud, "N", &data, packed)),
            expected
        );
    }
    let spoiled = json!([base, with("Unit", json!("x"))]);
    assert_eq!(cbor_code(&put_metrics(&cloud, "N", &spoiled, true)), bad);
    assert_eq!(cloud.state().metrics.len(), taken + 1 + DATA_MAX);
    assert_eq!(cloud.state().data("M", &[]).len(), taken - 2 + 1 + DATA_MAX);
    assert!(!cloud.state().violations.is_empty());
}

/// Metrics are signed for their own service, troubles strike them too, and a lost answer is taken
/// all the same: shown one after the other.
#[test]
fn metric_calls_have_troubles() {
    let cloud = Cloud::start();
    let data = json!([{"MetricName": "M", "Value": 1.0}]);
    cloud.fault(
        Fault::new(Trouble::Throttle)
            .on(Action::PutMetrics)
            .times(1),
    );
    let response = put_metrics(&cloud, "N", &data, false);
    assert_eq!(
        (response.status, cbor_code(&response).as_str()),
        (400, "ThrottlingException")
    );
    cloud.fault(Fault::new(Trouble::Garbage).on(Action::PutMetrics).times(1));
    let response = put_metrics(&cloud, "N", &data, false);
    assert_eq!(
        (response.status, response.header("x-amzn-requestid")),
        (200, None)
    );
    assert_eq!(cloud.state().metrics.len(), 0);
    let mut request = request(&cloud, "", b"");
    request.path = "/service/GraniteServiceVersion20100801/operation/PutMetricData".into();
    request.headers.truncate(1);
    for (name, value) in [
        ("content-type", "application/cbor"),
        ("smithy-protocol", "rpc-v2-cbor"),
        ("content-length", "0"),
    ] {
        request.headers.push((name.into(), value.into()));
    }
    sign(&mut request, &Key::fixed(), now_ms());
    let response = send(&cloud, &request).unwrap();
    assert_eq!(cbor_code(&response), "IncompleteSignatureException");
    cloud.state().metric_poison.push("M".into());
    let response = put_metrics(&cloud, "N", &data, true);
    assert_eq!(cbor_code(&response), "InvalidParameterValueException");
}

fn put_events(cloud: &Cloud, entries: &Value) -> Response {
    let body = json!({"Entries": entries}).to_string();
    let mut request = request(cloud, "", body.as_bytes());
    request.headers[2].1 = "AWSEvents.PutEvents".into();
    sign_for("events", &mut request, &Key::fixed(), now_ms());
    send(cloud, &request).unwrap()
}

fn an_entry(detail: &str) -> Value {
    json!({"Time": 1_795_262_400.25, "Source": "deploywatch", "DetailType": "Test", "Detail": detail,
           "Resources": ["arn:1"], "EventBusName": "default"})
}

/// EventBridge's limits are exact, and what is wrong with one entry is told by its index: shown at
/// each limit and just beyond it, with an entry of each fault, and with one refused on order.
#[test]
fn event_limits_are_exact() {
    let cloud = Cloud::start();
    assert_eq!(
        code(&put_events(&cloud, &json!(vec![an_entry("{}"); 10]))),
        "ok"
    );
    let room = 256 * 1024 - 1 - (14 + "deploywatch".len() + "Test".len() + "arn:1".len());
    let of_bytes = |bytes: usize| an_entry(&format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8)));
    assert_eq!(code(&put_events(&cloud, &json!([of_bytes(room)]))), "ok");
    cloud.assert_no_violations();
    assert_eq!(cloud.state().entries.len(), 11);
    let beyond = [
        json!([]),
        json!(vec![an_entry("{}"); 11]),
        json!([of_bytes(room + 1)]),
    ];
    for (index, entries) in beyond.iter().enumerate() {
        assert_eq!(code(&put_events(&cloud, entries)), "ValidationException");
        assert_eq!(cloud.state().violations.len(), index + 1);
    }
    let with = |key: &str, value: &str| {
        let mut entry = an_entry("{}");
        entry[key] = json!(value);
        entry
    };
    let mut nameless = an_entry("{}");
    nameless.as_object_mut().unwrap().remove("Source");
    let faulty = json!([
        an_entry("{}"),
        with("Source", "aws.ec2"),
        with("Detail", "[]"),
        with("Detail", "{"),
        with("DetailType", &"x".repeat(129)),
        with("DetailType", &"ä".repeat(128)),
        nameless,
    ]);
    let answer = json_of(&put_events(&cloud, &faulty));
    assert_eq!(answer["FailedEntryCount"], 5);
    let codes: Vec<&str> = answer["Entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["ErrorCode"].as_str().unwrap_or("ok"))
        .collect();
    let source = "NotAuthorizedForSourceException";
    let expected = [
        "ok",
        source,
        "MalformedDetail",
        "MalformedDetail",
        "InvalidArgument",
        "ok",
        "InvalidArgument",
    ];
    assert_eq!(codes, expected);
    assert_eq!(cloud.state().violations.len(), 8);
    cloud.state().entry_refusals.insert(1, "InternalFailure");
    let answer = json_of(&put_events(
        &cloud,
        &json!([an_entry("{}"), an_entry("{}")]),
    ));
    assert_eq!(answer["Entries"][1]["ErrorCode"], "InternalFailure");
    assert_eq!(
        cloud.state().violations.len(),
        8,
        "what was ordered is no fault of the client"
    );
    assert_eq!(cloud.state().calls[&Action::PutEvents], 7);
}
