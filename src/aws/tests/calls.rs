//! Calls: what goes over the wire, and what each kind of answer becomes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SigningSettings, sign as sign_request,
};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use super::super::client::Ambient;
use super::stand_in::{Reply, Request, StandIn};
use super::{Edge, KEY_ID, REGION, SECRET, batch, settings, target};
use crate::config::Compression;
use crate::ports::{Accepted, ErrorClass, GroupOptions, LogCall, LogService};

fn ungzip(request: &Request) -> Vec<u8> {
    assert_eq!(request.header("content-encoding"), "gzip");
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(&request.body[..])
        .read_to_end(&mut body)
        .unwrap();
    body
}

fn long_batch() -> crate::event::Batch {
    batch(&["[stdout] the same line again and again"; 50])
}

/// The Authorization header that AWS's own signer gives to what arrived.
fn expected_authorization(request: &Request) -> String {
    expected_authorization_for("logs", request)
}

/// The same for any service.
pub(super) fn expected_authorization_for(service: &str, request: &Request) -> String {
    let amz_date = request.header("x-amz-date");
    let time = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &amz_date[..4],
        &amz_date[4..6],
        &amz_date[6..8],
        &amz_date[9..11],
        &amz_date[11..13],
        &amz_date[13..15]
    );
    let time = DateTime::from_str(&time, Format::DateTime).unwrap();
    let identity = Credentials::new(KEY_ID, SECRET, None, None, "test").into();
    let params = aws_sigv4::sign::v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(service)
        .time(SystemTime::try_from(time).unwrap())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let signed = request.header("authorization");
    let signed = signed.split("SignedHeaders=").nth(1).unwrap();
    let signed: Vec<&str> = signed.split(',').next().unwrap().split(';').collect();
    let headers = request
        .headers
        .iter()
        .filter(|(name, _)| signed.contains(&name.as_str()) && *name != "x-amz-date")
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let uri = format!("http://{}{}", request.header("host"), request.path);
    let body = SignableBody::Bytes(&request.body);
    let signable = SignableRequest::new(&request.method, uri, headers, body).unwrap();
    let (instructions, _) = sign_request(signable, &params).unwrap().into_parts();
    let (headers, _) = instructions.into_parts();
    headers
        .iter()
        .find(|header| header.name() == "authorization")
        .map(|header| header.value().to_owned())
        .unwrap()
}

/// The bytes on the wire are the batch's own, plain, and they are what was signed: shown by
/// signing what arrived once more with AWS's signer. Target, length and user agent are right.
#[test]
fn sends_the_body_as_it_was_written() {
    let service = StandIn::new(|_, _| Reply::ok());
    let mut edge = Edge::to(&service.url, Compression::None);
    let sent = batch(&["one", "tw\"o", "drei \u{1f980}"]);
    let body = sent.body.clone();
    assert_eq!(edge.put(sent), Ok(Accepted::default()));
    let [request] = &service.seen()[..] else {
        panic!("one request")
    };
    assert_eq!(request.body, body);
    assert_eq!(request.operation(), "PutLogEvents");
    assert_eq!(request.header("content-length"), body.len().to_string());
    assert_eq!(request.header("content-encoding"), "");
    assert_eq!(request.header("content-type"), "application/x-amz-json-1.1");
    assert!(request.header("user-agent").contains("deploywatch-"));
    assert_eq!(
        request.header("authorization"),
        expected_authorization(request)
    );
}

/// A gzip'd body says so, unpacks to the batch's own bytes and is what was signed.
#[test]
fn sends_gzip_and_signs_it() {
    let service = StandIn::new(|_, _| Reply::ok());
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    let body = long_batch().body;
    assert_eq!(edge.put(long_batch()), Ok(Accepted::default()));
    let [request] = &service.seen()[..] else {
        panic!("one request")
    };
    assert_eq!(ungzip(request), body);
    assert!(request.body.len() < body.len() / 5);
    assert_eq!(
        request.header("content-length"),
        request.body.len().to_string()
    );
    assert!(
        request
            .header("authorization")
            .contains("content-encoding;")
    );
    assert_eq!(
        request.header("authorization"),
        expected_authorization(request)
    );
}

/// Only the events of the range go out, plain and packed, as the batch itself cuts them.
#[test]
fn sends_a_part_of_a_batch() {
    for compression in [Compression::None, Compression::Gzip] {
        let service = StandIn::new(|_, _| Reply::ok());
        let mut edge = Edge::to(&service.url, compression);
        let batch = long_batch();
        let want = batch.body_of(7..33).into_owned();
        let answer = edge.call(LogCall::Put {
            batch,
            range: 7..33,
        });
        assert_eq!(answer.result, Ok(Accepted::default()));
        assert_eq!(answer.batch.unwrap().body, long_batch().body);
        let request = &service.seen()[0];
        let body = match compression {
            Compression::None => request.body.clone(),
            Compression::Gzip => ungzip(request),
        };
        assert_eq!(body, want);
    }
}

/// A plain whole body is not copied: the buffer that comes back is the very one that was lent,
/// in its place in memory, after many calls on one connection.
#[test]
fn lends_the_buffer_without_a_copy() {
    let service = StandIn::new(|_, _| Reply::ok());
    let mut edge = Edge::to(&service.url, Compression::None);
    let mut batch = long_batch();
    let place = batch.body.as_ptr();
    for _ in 0..20 {
        let range = 0..batch.slots.len();
        let answer = edge.call(LogCall::Put { batch, range });
        assert_eq!(answer.result, Ok(Accepted::default()));
        batch = answer.batch.unwrap();
        assert_eq!(batch.body.as_ptr(), place);
    }
    assert_eq!(batch.body, long_batch().body);
}

/// A call that names events its batch does not have is answered, not sent and not a crash.
#[test]
fn answers_an_impossible_range() {
    let service = StandIn::new(|_, _| Reply::ok());
    let mut edge = Edge::to(&service.url, Compression::None);
    for range in [0..0, 2..4, 9..9] {
        let answer = edge.call(LogCall::Put {
            batch: batch(&["a", "b", "c"]),
            range,
        });
        assert_eq!(answer.result.unwrap_err().class, ErrorClass::RetrySlowly);
        assert!(answer.batch.is_some());
    }
    assert!(service.seen().is_empty());
}

/// Refused events come through with exact indexes; numbers that name no event of ours (negative,
/// zero as an end, beyond the batch) are ignored or cut, never passed on.
#[test]
fn passes_on_refused_events() {
    let rows: [(&str, Accepted); 6] = [
        (r#"{}"#, Accepted::default()),
        (
            r#"{"tooNewLogEventStartIndex":2,"tooOldLogEventEndIndex":1}"#,
            Accepted {
                too_new_from: Some(2),
                too_old_until: Some(1),
                expired_until: None,
            },
        ),
        (
            r#"{"expiredLogEventEndIndex":3,"tooNewLogEventStartIndex":0}"#,
            Accepted {
                too_new_from: Some(0),
                too_old_until: None,
                expired_until: Some(3),
            },
        ),
        (
            r#"{"tooNewLogEventStartIndex":3,"tooOldLogEventEndIndex":0}"#,
            Accepted::default(),
        ),
        (
            r#"{"tooNewLogEventStartIndex":-1,"tooOldLogEventEndIndex":-7}"#,
            Accepted::default(),
        ),
        (
            r#"{"tooOldLogEventEndIndex":2147483647,"expiredLogEventEndIndex":4}"#,
            Accepted {
                too_new_from: None,
                too_old_until: Some(3),
                expired_until: Some(3),
            },
        ),
    ];
    let answers = rows.map(|(info, _)| format!("{{\"rejectedLogEventsInfo\":{info}}}"));
    let service = StandIn::new(move |n, _| Reply::json(200, &answers[n]));
    let mut edge = Edge::to(&service.url, Compression::None);
    for (_, want) in rows {
        assert_eq!(edge.put(batch(&["a", "b", "c"])), Ok(want));
    }
}

/// Rows of the error table as the service writes them: in the body with and without a namespace,
/// in the header with and without a URL, with nothing to read at all.
#[test]
fn maps_real_answers_to_classes() {
    use ErrorClass::*;
    let header = |status, code: &str| {
        let kind = ("x-amzn-errortype", code.to_owned());
        Reply::Whole(status, vec![kind], br#"{"message":"m"}"#.to_vec())
    };
    let html = |status| Reply::Whole(status, vec![], b"<html>proxy says no</html>".to_vec());
    let rows: Vec<(Reply, ErrorClass, &str)> = vec![
        (
            Reply::error(400, "ThrottlingException", "Rate exceeded"),
            Throttled,
            "ThrottlingException",
        ),
        (
            Reply::error(400, "com.amazonaws.logs#ThrottlingException", "x"),
            Throttled,
            "ThrottlingException",
        ),
        (
            header(400, "ThrottlingException"),
            Throttled,
            "ThrottlingException",
        ),
        (
            header(400, "ThrottlingException:http://internal.amazon.com/coral/"),
            Throttled,
            "ThrottlingException",
        ),
        (html(429), Throttled, "Http429"),
        (
            Reply::error(500, "ServiceUnavailableException", "x"),
            RetrySoon,
            "ServiceUnavailableException",
        ),
        (
            Reply::error(500, "InternalFailure", "x"),
            RetrySoon,
            "InternalFailure",
        ),
        (html(503), RetrySoon, "Http503"),
        (html(502), RetrySoon, "Http502"),
        (Reply::Whole(500, vec![], vec![]), RetrySoon, "Http500"),
        (
            Reply::error(400, "OperationAbortedException", "x"),
            RetrySoon,
            "OperationAbortedException",
        ),
        (
            Reply::error(400, "InvalidSequenceTokenException", "x"),
            RetrySoon,
            "InvalidSequenceTokenException",
        ),
        (
            Reply::error(400, "DataAlreadyAcceptedException", "x"),
            AlreadyAccepted,
            "DataAlreadyAcceptedException",
        ),
        (
            Reply::error(
                400,
                "ResourceNotFoundException",
                "The specified log stream does not exist.",
            ),
            MissingTarget,
            "ResourceNotFoundException",
        ),
        (
            Reply::error(400, "InvalidParameterException", "order"),
            Invalid,
            "InvalidParameterException",
        ),
        (html(413), Invalid, "Http413"),
        (
            Reply::error(400, "UnrecognizedClientException", "x"),
            RetrySlowly,
            "UnrecognizedClientException",
        ),
        (
            Reply::error(400, "ExpiredTokenException", "x"),
            RetrySlowly,
            "ExpiredTokenException",
        ),
        (
            Reply::error(400, "AccessDeniedException", "x"),
            RetrySlowly,
            "AccessDeniedException",
        ),
        (
            Reply::error(400, "InvalidSignatureException", "does not match"),
            RetrySlowly,
            "InvalidSignatureException",
        ),
        (
            Reply::error(400, "SomethingNew", "x"),
            RetrySlowly,
            "SomethingNew",
        ),
        (html(403), RetrySlowly, "Http403"),
        (html(200), RetrySlowly, "Http200"),
        (
            Reply::Whole(
                302,
                vec![("location", "http://127.0.0.1:9/".to_owned())],
                vec![],
            ),
            RetrySlowly,
            "Http302",
        ),
    ];
    let replies: Vec<Reply> = rows.iter().map(|(reply, ..)| reply.clone()).collect();
    let service = StandIn::new(move |n, _| replies[n].clone());
    let mut edge = Edge::to(&service.url, Compression::None);
    let wanted = rows.len();
    for (reply, class, code) in rows {
        let error = edge.put(batch(&["a"])).unwrap_err();
        assert_eq!(
            (error.class, error.code.as_str()),
            (class, code),
            "{reply:?}"
        );
    }
    assert_eq!(service.seen().len(), wanted, "nothing is retried in here");
}

/// Broken connections, silence and answers that never end are answered in time, with the batch,
/// and are worth another try; the edge goes on working.
#[test]
fn survives_a_bad_line() {
    let giant = vec![b' '; super::super::http::ANSWER_BYTES_MAX + 1];
    let rows = [
        (Reply::Hangup, ErrorClass::RetrySoon, "Connection"),
        (Reply::Cut, ErrorClass::RetrySoon, "Connection"),
        (Reply::Silence, ErrorClass::RetrySoon, "Timeout"),
        (
            Reply::Whole(200, vec![], giant),
            ErrorClass::RetrySlowly,
            "Http200",
        ),
    ];
    for (reply, class, code) in rows {
        let first = reply.clone();
        let service = StandIn::new(move |n, _| match n {
            0 => first.clone(),
            _ => Reply::ok(),
        });
        let mut settings = settings(&service.url);
        settings.call_timeout = Duration::from_millis(800);
        let mut edge = Edge::start(settings, Compression::None, &[]);
        let error = edge.put(long_batch()).unwrap_err();
        assert_eq!(
            (error.class, error.code.as_str()),
            (class, code),
            "{reply:?}: {error}"
        );
        assert_eq!(edge.put(long_batch()), Ok(Accepted::default()));
    }
}

/// Nobody listening: said soon, worth another try, and the text names what happened.
#[test]
fn reports_a_refused_connection() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut edge = Edge::to(&format!("http://{address}"), Compression::None);
    let error = edge.put(batch(&["a"])).unwrap_err();
    assert_eq!(error.class, ErrorClass::RetrySoon);
    assert_eq!(error.code, "Connection");
    assert!(error.message.contains("refused"), "{error}");
}

/// An endpoint that refuses gzip gets the events plain at once, and from then on only plain.
#[test]
fn falls_back_from_gzip() {
    let refusals = [
        Reply::Whole(415, vec![], vec![]),
        Reply::error(400, "SerializationException", "not JSON"),
        Reply::error(400, "UnsupportedMediaTypeException", "x"),
        Reply::error(400, "InvalidParameterException", "x"),
        Reply::Whole(400, vec![], b"Bad Request".to_vec()),
    ];
    for refusal in refusals {
        let told = refusal.clone();
        let service = StandIn::new(move |_, request| match request.header("content-encoding") {
            "gzip" => told.clone(),
            _ => Reply::ok(),
        });
        let mut edge = Edge::to(&service.url, Compression::Gzip);
        for _ in 0..2 {
            assert_eq!(edge.put(long_batch()), Ok(Accepted::default()));
        }
        let seen = service.seen();
        assert_eq!(seen.len(), 3, "{refusal:?}");
        assert_eq!(seen[1].body, long_batch().body);
        assert_eq!(seen[2].header("content-encoding"), "");
    }
}

/// A bad event is not mistaken for a dislike of gzip: packing stays on, and once it is proven, an
/// InvalidParameterException costs no second request.
#[test]
fn keeps_gzip_when_an_event_is_guilty() {
    let service = StandIn::new(|_, _| Reply::error(400, "InvalidParameterException", "order"));
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    for _ in 0..2 {
        let error = edge.put(long_batch()).unwrap_err();
        assert_eq!(error.class, ErrorClass::Invalid);
    }
    let encodings: Vec<String> = service
        .seen()
        .iter()
        .map(|request| request.header("content-encoding").to_owned())
        .collect();
    assert_eq!(encodings, ["gzip", "", "gzip"]);

    let service = StandIn::new(|n, _| match n {
        0 => Reply::ok(),
        _ => Reply::error(400, "InvalidParameterException", "order"),
    });
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    assert_eq!(edge.put(long_batch()), Ok(Accepted::default()));
    let error = edge.put(long_batch()).unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid);
    assert_eq!(service.seen().len(), 2);
}

/// A clock that is two hours wrong is corrected from the answer's date: the next request carries
/// the service's time and is accepted.
#[test]
fn corrects_the_clock() {
    let hours = Duration::from_secs(2 * 3_600);
    let service_now = move || DateTime::from(SystemTime::now() + hours);
    let service = StandIn::new(move |_, request| {
        let date = service_now().fmt(Format::HttpDate).unwrap();
        let signed_hour = request.header("x-amz-date")[..11].to_owned();
        let right: String = service_now().fmt(Format::DateTime).unwrap();
        let right: String = right.chars().filter(|c| !"-:".contains(*c)).collect();
        let near = signed_hour == right[..11]
            || signed_hour
                == DateTime::from(SystemTime::now() + hours - Duration::from_secs(60))
                    .fmt(Format::DateTime)
                    .unwrap()
                    .replace(['-', ':'], "")[..11];
        if near {
            return Reply::ok();
        }
        Reply::Whole(
            400,
            vec![("date", date)],
            br#"{"__type":"InvalidSignatureException","message":"Signature expired: 1 is now earlier than 2"}"#
                .to_vec(),
        )
    });
    let mut edge = Edge::to(&service.url, Compression::None);
    let error = edge.put(batch(&["a"])).unwrap_err();
    assert_eq!(error.class, ErrorClass::RetrySoon);
    assert_eq!(edge.put(batch(&["a"])), Ok(Accepted::default()));
    assert_eq!(edge.put(batch(&["a"])), Ok(Accepted::default()));
}

/// Nothing secret comes through in a service's text, which is bounded: a signature error that
/// quotes the request is shown without token, key id and signature, an IAM refusal whole.
#[test]
fn keeps_secrets_out_of_messages() {
    let token = "IQoJb3JpZ2luX2VjEAAaCWV1LXdlc3QtMSJHMEUCIQ/8dKz+Ab1".repeat(8);
    let hash = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let quoting = format!(
        "The Canonical String should have been\n'POST\n/\n\nx-amz-security-token:{token}\n{hash}' \
         Credential=ASIAIOSFODNN7EXAMPLE/20260101"
    );
    let refusal = "User: arn:aws:sts::111122223333:assumed-role/CodeDeployInstanceRole2/\
                   i-0123456789abcdef0 is not authorized to perform: logs:PutLogEvents on \
                   resource: arn:aws:logs:eu-west-1:111122223333:log-group:/codedeploy/agent:log-stream:x";
    let long = "word ".repeat(10_000);
    let texts = [quoting, refusal.to_owned(), long];
    let service =
        StandIn::new(move |n, _| Reply::error(400, "InvalidSignatureException", &texts[n]));
    let mut edge = Edge::to(&service.url, Compression::None);
    let message = edge.put(batch(&["a"])).unwrap_err().message;
    for secret in ["IQoJ", "8dKz", "ASIA", &hash[..16]] {
        assert!(!message.contains(secret), "{message}");
    }
    assert!(message.contains("x-amz-security-token:[redacted]"));
    assert_eq!(edge.put(batch(&["a"])).unwrap_err().message, refusal);
    let message = edge.put(batch(&["a"])).unwrap_err().message;
    assert!(message.len() <= super::super::errors::MESSAGE_CHARS_MAX);
}

/// A group is created with class, key and tags and then given its retention, tried again when
/// throttled; a group that exists is left alone.
#[test]
fn creates_a_group_with_what_belongs_to_it() {
    let service = StandIn::new(|n, request| match (n, request.operation()) {
        (1, "PutRetentionPolicy") => Reply::error(400, "ThrottlingException", "Rate exceeded"),
        (0..=2, _) => Reply::ok(),
        _ => Reply::error(400, "ResourceAlreadyExistsException", "exists"),
    });
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    let options = GroupOptions {
        retention_days: Some(30),
        class: Some("INFREQUENT_ACCESS".to_owned()),
        kms_key_id: Some("arn:aws:kms:eu-west-1:1:key/k".to_owned()),
        tags: BTreeMap::from([("team".to_owned(), "web".to_owned())]),
    };
    let create = LogCall::CreateGroup("/a".to_owned(), options);
    assert_eq!(edge.call(create).result, Ok(Accepted::default()));
    let seen = service.seen();
    let json = |n: usize| serde_json::from_slice::<serde_json::Value>(&seen[n].body).unwrap();
    let operations: Vec<&str> = seen.iter().map(Request::operation).collect();
    assert_eq!(
        operations,
        ["CreateLogGroup", "PutRetentionPolicy", "PutRetentionPolicy"]
    );
    assert_eq!(
        json(0),
        serde_json::json!({
            "logGroupName": "/a", "logGroupClass": "INFREQUENT_ACCESS",
            "kmsKeyId": "arn:aws:kms:eu-west-1:1:key/k", "tags": {"team": "web"}
        })
    );
    assert_eq!(
        json(2),
        serde_json::json!({"logGroupName": "/a", "retentionInDays": 30})
    );

    let options = GroupOptions {
        retention_days: Some(1),
        ..GroupOptions::default()
    };
    let again = edge.call(LogCall::CreateGroup("/a".to_owned(), options));
    assert_eq!(again.result.unwrap_err().class, ErrorClass::AlreadyExists);
    assert_eq!(
        service.seen().len(),
        4,
        "an existing group is never changed"
    );
}

/// A group whose creation had no answer, and which is there when it is tried again, is taken for our own
/// and given its retention, once: shown by an answer that breaks off. Where the service had refused, it
/// is somebody else's.
#[test]
fn a_group_made_without_an_answer_has_its_retention() {
    for (first, is_ours) in [
        (Reply::error(503, "ServiceUnavailableException", "x"), true),
        (Reply::error(400, "ThrottlingException", "x"), false),
        (Reply::error(400, "OperationAbortedException", "x"), false),
    ] {
        let service = StandIn::new(move |n, request| match (n, request.operation()) {
            (0, _) => first.clone(),
            (_, "CreateLogGroup") => Reply::error(400, "ResourceAlreadyExistsException", "exists"),
            _ => Reply::ok(),
        });
        let mut edge = Edge::to(&service.url, Compression::Gzip);
        let options = GroupOptions {
            retention_days: Some(30),
            ..GroupOptions::default()
        };
        for _ in 0..3 {
            let create = LogCall::CreateGroup("/a".to_owned(), options.clone());
            edge.call(create).result.unwrap_err();
        }
        let seen = service.seen();
        let retentions = seen
            .iter()
            .filter(|request| request.operation() == "PutRetentionPolicy");
        assert_eq!(retentions.count(), usize::from(is_ours));
    }
}

/// A new group whose retention may not be set is reported as there, with the reason.
#[test]
fn reports_a_group_even_without_its_retention() {
    let service = StandIn::new(|_, request| match request.operation() {
        "PutRetentionPolicy" => Reply::error(400, "AccessDeniedException", "no"),
        _ => Reply::ok(),
    });
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    let options = GroupOptions {
        retention_days: Some(1),
        ..GroupOptions::default()
    };
    let created = edge.call(LogCall::CreateGroup("/a".to_owned(), options));
    let told = created.result.unwrap_err();
    assert_eq!(told.class, ErrorClass::AlreadyExists);
    assert_eq!(told.code, "AccessDeniedException");
    assert!(told.message.starts_with("made without its retention"));
    assert_eq!(service.seen().len(), 2);
}

/// The same codes mean other things for a create call: nothing to bisect, a missing group.
#[test]
fn maps_errors_of_create_calls() {
    let rows = [
        ("ResourceNotFoundException", ErrorClass::MissingTarget),
        ("ResourceAlreadyExistsException", ErrorClass::AlreadyExists),
        ("InvalidParameterException", ErrorClass::RetrySlowly),
        ("LimitExceededException", ErrorClass::Throttled),
    ];
    let service = StandIn::new(move |n, _| match rows.get(n) {
        Some((code, _)) => Reply::error(400, code, "x"),
        None => Reply::ok(),
    });
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    for (_, class) in rows {
        let error = edge.call(LogCall::CreateStream(target())).result;
        assert_eq!(error.unwrap_err().class, class);
    }
    let created = edge.call(LogCall::CreateStream(target()));
    assert_eq!(created.result, Ok(Accepted::default()));
    let body: serde_json::Value = serde_json::from_slice(&service.seen()[4].body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "logGroupName": target().group, "logStreamName": target().stream
        })
    );
}

/// Many calls at once are each answered once, with their own batch.
#[test]
fn answers_every_call_once() {
    let service = StandIn::new(|n, _| match n % 3 {
        0 => Reply::Hangup,
        1 => Reply::error(400, "ThrottlingException", "x"),
        _ => Reply::ok(),
    });
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    use crate::ports::CallId;
    for n in 0..60_u64 {
        let batch = batch(&[&format!("call {n} {}", "x".repeat(500))]);
        let range = 0..1;
        edge.logs.submit(CallId(n), LogCall::Put { batch, range });
    }
    let mut open: std::collections::BTreeSet<u64> = (0..60).collect();
    while !open.is_empty() {
        let answer = edge.answer();
        assert!(open.remove(&answer.id.0), "{} twice", answer.id.0);
        let body = String::from_utf8(answer.batch.unwrap().body).unwrap();
        assert!(body.contains(&format!("call {} ", answer.id.0)));
    }
    assert!(edge.logs.answer().is_none());
}

/// A provider that always panics.
#[derive(Debug)]
struct Panics;

impl ProvideCredentials for Panics {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        panic!("on purpose")
    }
}

/// A task that panics in the midst of a call still answers, with the batch whole, and the thread
/// lives on.
#[test]
fn answers_when_a_task_panics() {
    let service = StandIn::new(|_, _| Reply::ok());
    let mut settings = settings(&service.url);
    settings.ambient = Ambient::Keys(SharedCredentialsProvider::new(Panics));
    let mut edge = Edge::start(settings, Compression::None, &[]);
    for _ in 0..2 {
        let error = edge.put(long_batch()).unwrap_err();
        assert_eq!(error.code, "Internal");
    }
    assert!(edge.logs.is_running());
}

/// When the thread ends for a reason of its own, the waker is rung, the end is told, and calls made
/// after it come back with their batches: shown by a waker that panics when first called.
#[test]
fn tells_that_the_thread_has_ended() {
    let (ring, rings) = std::sync::mpsc::channel();
    let rung = std::sync::atomic::AtomicBool::new(false);
    let waker = move || {
        if !rung.swap(true, std::sync::atomic::Ordering::SeqCst) {
            panic!("on purpose");
        }
        ring.send(()).unwrap();
    };
    let settings = settings("http://127.0.0.1:9");
    let services =
        super::super::start_with(settings, Compression::None, Default::default(), waker).unwrap();
    let mut logs = services.logs;
    rings.recv_timeout(super::PATIENCE).unwrap();
    assert!(!logs.is_running());
    let batch = batch(&["a"]);
    let id = crate::ports::CallId(7);
    logs.submit(id, LogCall::Put { batch, range: 0..1 });
    let answer = logs.answer().unwrap();
    assert_eq!((answer.id, answer.batch.is_some()), (id, true));
    assert_eq!(answer.result.unwrap_err().class, ErrorClass::RetrySlowly);
    assert!(logs.answer().is_none());
}

/// Without a region the answer says how to set one, and keeps the batch.
#[test]
fn says_how_to_set_a_missing_region() {
    let mut settings = settings("http://127.0.0.1:9");
    settings.aws.region = None;
    let mut edge = Edge::start(settings, Compression::None, &[]);
    let error = edge.put(batch(&["a"])).unwrap_err();
    assert_eq!(error.class, ErrorClass::RetrySlowly);
    assert!(error.message.contains("AWS_REGION"), "{error}");
}

/// An endpoint that is no URL stops the start and is named.
#[test]
fn refuses_a_bad_endpoint() {
    let failed = super::super::start_with(
        settings("not a url"),
        Compression::None,
        Default::default(),
        || {},
    );
    assert!(failed.unwrap_err().to_string().contains("not a url"));
}

/// TLS: a server whose certificate stands in `ca_bundle` is spoken to; without the bundle it is
/// refused with a class that waits for a person; a bundle that is none stops the start.
#[test]
fn trusts_the_ca_bundle_and_nobody_else() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let socket = socket.unwrap();
            let closer = socket.try_clone().unwrap();
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let stream = rustls::StreamOwned::new(tls, socket);
            super::stand_in::serve(stream, &closer, &Mutex::new(Vec::new()), &|_, _| {
                Reply::ok()
            });
        }
    });

    let error = Edge::to(&url, Compression::Gzip)
        .put(long_batch())
        .unwrap_err();
    assert_eq!(
        (error.class, error.code.as_str()),
        (ErrorClass::RetrySlowly, "Tls"),
        "{error}"
    );

    let mut bundle = tempfile::NamedTempFile::new().unwrap();
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    write!(bundle, "# ours\n{nonsense}{}", made.cert.pem()).unwrap();
    let mut trusting = settings(&url);
    trusting.aws.ca_bundle = Some(bundle.path().to_owned());
    let mut edge = Edge::start(trusting, Compression::Gzip, &[]);
    assert_eq!(edge.put(long_batch()), Ok(Accepted::default()));

    for bad in [nonsense, "", "hello"] {
        std::fs::write(bundle.path(), bad).unwrap();
        let failed = super::super::http::client(Some(bundle.path()));
        let text = failed.unwrap_err().to_string();
        assert!(text.contains("no usable"), "{text}");
    }
    assert!(super::super::http::client(Some("/nonexistent/ca.pem".as_ref())).is_err());
}
