//! Answers made to do harm: each is bounded in time and size, and classified.

use std::time::Duration;

use proptest::prelude::*;

use super::stand_in::{Reply, StandIn};
use super::{Edge, batch, settings};
use crate::config::Compression;
use crate::ports::{Accepted, ErrorClass};

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
