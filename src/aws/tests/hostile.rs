//! Answers made to do harm: each is bounded in time and size, and classified.

use std::time::Duration;

use proptest::prelude::*;

use super::events::entry;
use super::identity::{complete, metadata, on_instance};
use super::metrics::{cbor_reply, done, small};
use super::stand_in::{Reply, StandIn};
use super::{Edge, PATIENCE, batch, settings};
use crate::config::Compression;
use crate::ports::alarm::{AlarmCall, AlarmReply, AlarmService, NAMES_MAX};
use crate::ports::{Accepted, CallId, ErrorClass, ServiceError};

/// Hostile answers are bounded in time and size, and classified: headers and bodies that drip, heads
/// without end, JSON of another shape or depth, indexes of no event, redirects (which nobody
/// follows). Shown with one stand-in that answers and one that must never be asked.
#[test]
fn hostile_answers_are_bounded() {
    use ErrorClass::{RetrySlowly, RetrySoon};
    let trap = StandIn::new(|_, _| Reply::ok());
    let to_trap = || vec![("location", format!("{}/latest/meta-data/", trap.url))];
    let deep = format!("{{\"rejectedLogEventsInfo\":{}", "[".repeat(100_000));
    let head = vec![("x-long", "y".repeat(1 << 20))];
    let rows = [
        (Reply::Drip(b"HTTP/1.1 2"), RetrySoon, "Timeout"),
        (
            Reply::Drip(b"HTTP/1.1 200 X\r\ncontent-length: 9999\r\n\r\n{"),
            RetrySoon,
            "Timeout",
        ),
        (
            Reply::Drip(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n1\r\n"),
            RetrySoon,
            "*",
        ),
        (
            Reply::Drip(b"\x16\x03\x01\x02\x00"),
            RetrySoon,
            "Connection",
        ),
        (Reply::Whole(200, head, vec![]), RetrySoon, "Connection"),
        (Reply::json(200, &deep), RetrySlowly, "Http200"),
        (Reply::json(200, "[1,2"), RetrySlowly, "Http200"),
        (Reply::Whole(200, vec![], vec![]), RetrySlowly, "Http200"),
        (
            Reply::json(200, "{\"rejectedLogEventsInfo\":3}"),
            RetrySlowly,
            "Http200",
        ),
        (Reply::json(500, "<html>no</html>"), RetrySoon, "Http500"),
        (Reply::Whole(301, to_trap(), vec![]), RetrySlowly, "Http301"),
        (Reply::Whole(307, to_trap(), vec![]), RetrySlowly, "Http307"),
        (
            Reply::Whole(308, to_trap(), b"{}".to_vec()),
            RetrySlowly,
            "Http308",
        ),
    ];
    for (reply, class, code) in rows {
        let words = format!("{reply:?}");
        let words: String = words.chars().take(200).collect();
        let first = reply.clone();
        let service = StandIn::new(move |n, _| match n {
            0 => first.clone(),
            _ => Reply::ok(),
        });
        let mut settings = settings(&service.url);
        settings.call_timeout = Duration::from_millis(800);
        let mut edge = Edge::start(settings, Compression::None, &[]);
        let error = edge.put(batch(&["a", "b"])).expect_err(&words);
        assert_eq!(error.class, class, "{words}: {error}");
        assert!(code == "*" || error.code == code, "{words}: {error}");
        assert!(error.message.chars().count() <= 400, "{error}");
        assert_eq!(edge.put(batch(&["a"])), Ok(Accepted::default()), "{words}");
    }
    assert!(trap.seen().is_empty(), "a redirect was followed");
}

/// Numbers that name no event of ours change nothing: shown with negative, huge and crossed ones.
#[test]
fn wrong_indexes_name_nothing() {
    for (json, accepted) in [
        ("\"tooNewLogEventStartIndex\":-1", Accepted::default()),
        ("\"tooNewLogEventStartIndex\":2", Accepted::default()),
        (
            "\"tooNewLogEventStartIndex\":2147483647",
            Accepted::default(),
        ),
        ("\"tooOldLogEventEndIndex\":-5", Accepted::default()),
        (
            "\"tooOldLogEventEndIndex\":2147483647",
            Accepted {
                too_old_until: Some(2),
                ..Accepted::default()
            },
        ),
    ] {
        let body = format!("{{\"rejectedLogEventsInfo\":{{{json}}}}}");
        let service = StandIn::new(move |_, _| Reply::json(200, &body));
        let mut edge = Edge::to(&service.url, Compression::None);
        assert_eq!(edge.put(batch(&["a", "b"])), Ok(accepted), "{json}");
    }
}

impl Edge {
    fn describe_alarms(&mut self) -> Result<AlarmReply, ServiceError> {
        let id = CallId(self.next);
        self.next += 1;
        let prefix = "deploywatch/".to_owned();
        self.alarms.submit(id, AlarmCall::Describe { prefix });
        loop {
            if let Some(answer) = self.alarms.answer() {
                assert_eq!(answer.id, id);
                return answer.result;
            }
            self.rings.recv_timeout(PATIENCE).expect("an answer");
        }
    }
}

/// What no client may swallow, whatever it asked for: drips, heads and bodies without end, redirects,
/// nesting without end (in CBOR and in JSON), nonsense of the right type.
fn hostile_replies(trap: &str) -> Vec<Reply> {
    let cbor = || {
        vec![
            ("content-type", "application/cbor".to_owned()),
            ("smithy-protocol", "rpc-v2-cbor".to_owned()),
        ]
    };
    let json = || vec![("content-type", "application/x-amz-json-1.1".to_owned())];
    let redirect = |status| Reply::Whole(status, vec![("location", trap.to_owned())], vec![]);
    let unknown = |nested: &[u8]| [b"\xa1\x61x".as_slice(), nested].concat();
    vec![
        Reply::Drip(b"HTTP/1.1 200 X\r\ncontent-length: 9999\r\n\r\n{"),
        Reply::Whole(200, vec![("x-long", "y".repeat(1 << 20))], vec![]),
        Reply::Whole(200, cbor(), vec![b'x'; 1 << 20]),
        Reply::Whole(200, json(), vec![b' '; 1 << 20]),
        redirect(301),
        redirect(307),
        Reply::Whole(200, cbor(), unknown(&[0x81; 200_000])),
        Reply::Whole(200, cbor(), unknown(&[0x9f; 200_000])),
        Reply::Whole(
            200,
            cbor(),
            b"\xbf\xbb\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        ),
        Reply::Whole(
            200,
            json(),
            format!("{{\"Entries\":{}", "[".repeat(200_000)).into_bytes(),
        ),
        Reply::Whole(200, json(), b"{\"Entries\":7}".to_vec()),
        Reply::Whole(200, json(), b"{\"Entries\":[]}".to_vec()),
        Reply::Whole(500, json(), b"\x00\xff".to_vec()),
    ]
}

/// Metrics, events and alarms, too: no hostile answer is a success, each is told in bounded words
/// within the time of a call, no redirect is followed, and the next call is fine. Shown by each
/// answer for each service.
#[test]
fn no_service_is_believed_blindly() {
    let trap = StandIn::new(|_, _| Reply::ok());
    let good = Reply::json(
        200,
        "{\"FailedEntryCount\":0,\"Entries\":[{\"EventId\":\"x\"}]}",
    );
    for reply in hostile_replies(&trap.url) {
        let words: String = format!("{reply:?}").chars().take(200).collect();
        let first = reply.clone();
        let good = good.clone();
        let service = StandIn::new(move |n, request| match (n % 2, request.operation()) {
            (0, _) => first.clone(),
            (_, "PutEvents") => good.clone(),
            _ => done(),
        });
        let mut settings = settings(&service.url);
        settings.call_timeout = Duration::from_millis(800);
        let mut edge = Edge::start(settings, Compression::None, &[]);
        let check = |error: ServiceError| {
            assert!(error.message.chars().count() <= 400, "{words}: {error}");
            assert!(
                !error.message.contains(char::is_control),
                "{words}: {error}"
            );
        };
        // A good answer to metrics says nothing but its status.
        match edge.put_metrics(small()) {
            Err(error) => check(error),
            Ok(()) => assert!(
                words.starts_with("Whole(200, [(\"content-type\", \"application/cbor"),
                "{words}"
            ),
        }
        let _second = edge.put_metrics(small());
        match edge.put_events(vec![entry("{}")]) {
            Err(error) => check(error),
            // Who asked sees that there are too few.
            Ok(answers) => assert!(answers.is_empty(), "{words}"),
        }
        assert_eq!(
            edge.put_events(vec![entry("{}")]),
            Ok(vec![Ok(())]),
            "{words}"
        );
        match edge.describe_alarms() {
            Err(error) => check(error),
            Ok(answer) => assert_eq!(answer, AlarmReply::Alarms(vec![]), "{words}"),
        }
        assert_eq!(
            edge.describe_alarms(),
            Ok(AlarmReply::Alarms(vec![])),
            "{words}"
        );
    }
    assert!(trap.seen().is_empty(), "a redirect was followed");
}

/// As many alarms as a configuration may have are read, each as long as the service lets it be, though no
/// answer may be longer than 256 KiB: shown with a stand-in that makes its pages as long as it is asked to.
#[test]
fn the_longest_alarms_are_read() {
    let alarm = |nth: usize| {
        let action = |nth| {
            format!(
                "arn:aws:sns:ap-southeast-2:111122223333:{nth}{}",
                "t".repeat(255)
            )
        };
        let actions: Vec<String> = (0..5).map(action).collect();
        let dimension = |nth| serde_json::json!({"Name": format!("{nth:02}{}", "k".repeat(253)), "Value": "v".repeat(255)});
        serde_json::json!({
            "AlarmName": format!("deploywatch/{nth:03}{}", "n".repeat(240)),
            "AlarmArn": format!("arn:aws:cloudwatch:ap-southeast-2:111122223333:alarm:{}", "n".repeat(255)),
            "AlarmDescription": "\u{1f980}".repeat(1_024),
            "StateReason": "\u{1f980}".repeat(1_023),
            "StateReasonData": "x".repeat(4_000),
            "AlarmActions": actions.clone(), "OKActions": actions.clone(), "InsufficientDataActions": actions,
            "Dimensions": (0..5).map(dimension).collect::<Vec<_>>(),
        })
    };
    let service = StandIn::new(move |_, request| {
        let asked = super::cbor::decode(&request.body).unwrap();
        let from = asked["NextToken"]
            .as_str()
            .map_or(0, |token| token.parse().unwrap());
        let until = NAMES_MAX.min(from + asked["MaxRecords"].as_u64().unwrap() as usize);
        let mut page =
            serde_json::json!({"MetricAlarms": (from..until).map(alarm).collect::<Vec<_>>()});
        if until < NAMES_MAX {
            page["NextToken"] = until.to_string().into();
        }
        cbor_reply(200, &page)
    });
    let mut edge = Edge::to(&service.url, Compression::None);
    match edge.describe_alarms() {
        Ok(AlarmReply::Alarms(alarms)) => assert_eq!(alarms.len(), NAMES_MAX),
        other => panic!("{other:?}"),
    }
}

/// A list of alarms that never ends is read for so many pages and no further.
#[test]
fn endless_pages_end() {
    let page = serde_json::json!({"MetricAlarms": [], "NextToken": "again"});
    let service = StandIn::new(move |_, _| cbor_reply(200, &page));
    let mut edge = Edge::to(&service.url, Compression::None);
    assert_eq!(edge.describe_alarms(), Ok(AlarmReply::Alarms(vec![])));
    assert!(service.seen().len() <= 100);
}

/// Instance metadata that lies, floods or sends elsewhere is asked again until it behaves, and nobody
/// else is: shown with a stand-in that goes through every hostile answer first.
#[test]
fn hostile_metadata_is_not_believed() {
    let trap = StandIn::new(|_, request| metadata(request));
    let to_trap = |status| {
        let location = format!("{}/latest/meta-data/", trap.url);
        Reply::Whole(status, vec![("location", location)], vec![])
    };
    let flood = || vec![("x-aws-ec2-metadata-token-ttl-seconds", "21600".to_owned())];
    let bad = [
        to_trap(301),
        to_trap(302),
        to_trap(307),
        to_trap(308),
        Reply::Whole(200, flood(), vec![b'x'; 1 << 20]),
        Reply::Whole(200, flood(), b"a\nb: c".to_vec()),
        Reply::Whole(
            200,
            vec![("x-aws-ec2-metadata-token-ttl-seconds", "-1".to_owned())],
            b"x".to_vec(),
        ),
        Reply::Whole(200, vec![], vec![b'['; 200_000]),
        Reply::Cut,
    ];
    let imds = StandIn::new(move |n, request| match bad.get(n) {
        Some(reply) => reply.clone(),
        None => metadata(request),
    });
    let mut edge = Edge::start(on_instance(&imds), Compression::None, &["instance_id"]);
    let identity = edge.identity(complete);
    assert_eq!(identity.instance_id.as_deref(), Some("i-0abc"));
    assert!(trap.seen().is_empty(), "a redirect was followed");
}

/// Whatever bytes come as an answer, the middle is told something bounded: shown with any bytes, and
/// with the answers that fuzzing kept.
#[test]
fn any_answer_is_bounded() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus/answers");
    let mut kept = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        crate::aws::fuzzing::answer(&std::fs::read(entry.unwrap().path()).unwrap());
        kept += 1;
    }
    assert!(kept > 5, "the corpus is not where it was");
    proptest!(ProptestConfig::with_cases(64), |(bytes in prop::collection::vec(any::<u8>(), 3..80))| {
        crate::aws::fuzzing::answer(&bytes);
    });
}
