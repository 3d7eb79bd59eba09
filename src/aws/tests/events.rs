//! PutEvents: what goes over the wire, and what each kind of answer becomes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::client::Settings;
use super::bus::{self, Entry};
use super::calls::expected_authorization_for;
use super::stand_in::{Reply, Request, StandIn};
use super::{Edge, PATIENCE, batch, settings};
use crate::config::Compression;
use crate::events::{ENTRIES_MAX, REQUEST_BYTES_MAX};
use crate::ports::{
    CallId, ErrorClass, EventAnswer, EventCall, EventEntry, EventService, LogCall, LogService,
    ServiceError,
};

pub(super) fn entry(detail: &str) -> EventEntry {
    EventEntry {
        time_ms: 1_795_262_400_250,
        source: "deploywatch",
        detail_type: "Deploywatch Deployment Failed",
        detail: detail.to_owned(),
        resources: vec!["arn:aws:ec2:eu-west-1:111122223333:instance/i-1".to_owned()],
    }
}

fn call_with(entries: Vec<EventEntry>) -> EventCall {
    EventCall {
        bus: "default".into(),
        entries,
    }
}

impl Edge {
    fn event_answer(&mut self) -> EventAnswer {
        loop {
            if let Some(answer) = self.events.answer() {
                return answer;
            }
            self.rings.recv_timeout(PATIENCE).expect("an answer");
        }
    }

    pub(super) fn put_events(
        &mut self,
        entries: Vec<EventEntry>,
    ) -> Result<Vec<Result<(), ServiceError>>, ServiceError> {
        let id = CallId(self.next);
        self.next += 1;
        self.events.submit(id, call_with(entries));
        let answer = self.event_answer();
        assert_eq!(answer.id, id);
        assert!(self.events.answer().is_none(), "one answer only");
        answer.result
    }
}

/// The service's rules, with entries refused as ordered; what it took is kept.
fn judged(
    taken: &Mutex<Vec<Entry>>,
    request: &Request,
    trouble: impl Fn(usize) -> Option<&'static str>,
) -> Reply {
    assert_eq!(request.header("x-amz-target"), "AWSEvents.PutEvents");
    assert_eq!(request.header("content-type"), "application/x-amz-json-1.1");
    let (judged, answer) = bus::put(&request.body, trouble);
    taken.lock().unwrap().extend(judged.taken);
    match answer {
        Ok(answer) => Reply::json(200, &answer.to_string()),
        Err((code, message)) => Reply::error(400, code, &message),
    }
}

/// An entry arrives as the service reads it, signed for its name: shown by the strict stand-in's
/// reading and by signing once more with AWS's signer.
#[test]
fn sends_an_entry() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&taken);
    let service = StandIn::new(move |_, request| judged(&into, request, |_| None));
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    assert_eq!(
        edge.put_events(vec![entry("{\"a\":\"ä\"}")]),
        Ok(vec![Ok(())])
    );
    let expected = Entry {
        time: Some(1_795_262_400.25),
        source: Some("deploywatch".to_owned()),
        resources: vec!["arn:aws:ec2:eu-west-1:111122223333:instance/i-1".to_owned()],
        detail_type: Some("Deploywatch Deployment Failed".to_owned()),
        detail: Some("{\"a\":\"ä\"}".to_owned()),
        event_bus_name: Some("default".to_owned()),
    };
    assert_eq!(*taken.lock().unwrap(), [expected]);
    let [request] = &service.seen()[..] else {
        panic!("one request")
    };
    let signed = request.header("authorization");
    assert_eq!(signed, expected_authorization_for("events", request));
}

/// The largest request there may be is taken, one byte or one entry more is not, and is told as
/// invalid: shown at the limits.
#[test]
fn the_limits_are_the_services() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&taken);
    let service = StandIn::new(move |_, request| judged(&into, request, |_| None));
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    let small = entry("{}");
    let all = vec![small.clone(); ENTRIES_MAX];
    assert_eq!(edge.put_events(all.clone()), Ok(vec![Ok(()); ENTRIES_MAX]));
    let mut large = small.clone();
    let room = REQUEST_BYTES_MAX - small.counted_bytes() + 2 - "{\"a\":\"\"}".len();
    large.detail = format!("{{\"a\":\"{}\"}}", "x".repeat(room));
    assert_eq!(large.counted_bytes(), REQUEST_BYTES_MAX);
    assert_eq!(edge.put_events(vec![large.clone()]), Ok(vec![Ok(())]));
    let one_more = [all, vec![small]].concat();
    large.resources[0].push('0');
    assert_eq!(large.counted_bytes(), REQUEST_BYTES_MAX + 1);
    for entries in [one_more, vec![large]] {
        let error = edge.put_events(entries).unwrap_err();
        assert_eq!(error.class, ErrorClass::Invalid, "{error}");
    }
}

/// What is wrong with one entry is told of that one, by its index and with its class: shown with a
/// code for each class.
#[test]
fn entries_are_answered_by_index() {
    use ErrorClass::{Invalid, RetrySlowly, RetrySoon, Throttled};
    let codes = [
        ("InternalFailure", RetrySoon),
        ("InternalException", RetrySoon),
        ("ThrottlingException", Throttled),
        ("AccessDeniedException", RetrySlowly),
        ("NotAuthorizedForSourceException", RetrySlowly),
        ("NotAuthorizedForDetailTypeException", RetrySlowly),
        ("SomethingNew", RetrySlowly),
        ("InvalidArgument", Invalid),
        ("MalformedDetail", Invalid),
    ];
    let taken = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&taken);
    let service =
        StandIn::new(move |_, request| judged(&into, request, |index| Some(codes.get(index)?.0)));
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    let answers = edge.put_events(vec![entry("{}"); 10]).unwrap();
    for ((code, class), answer) in codes.iter().zip(&answers) {
        let error = answer.as_ref().unwrap_err();
        assert_eq!((error.code.as_str(), error.class), (*code, *class));
        assert_eq!(error.message, "as ordered");
    }
    assert_eq!(answers[9], Ok(()));
    assert_eq!(taken.lock().unwrap().len(), 1);
}

/// Every bad answer to the whole call has its class, and none is taken for a good one: shown row
/// by row; what is no answer at all too.
#[test]
fn bad_answers_are_classed() {
    use ErrorClass::{Invalid, RetrySlowly, RetrySoon, Throttled};
    let page = vec![("content-type", "text/html".to_owned())];
    let rows = [
        (Reply::error(400, "ThrottlingException", "x"), Throttled),
        (Reply::error(500, "InternalException", "x"), RetrySoon),
        (Reply::error(503, "ServiceUnavailable", "x"), RetrySoon),
        (Reply::error(400, "AccessDeniedException", "x"), RetrySlowly),
        (Reply::error(400, "ExpiredTokenException", "x"), RetrySlowly),
        (
            Reply::error(400, "ResourceNotFoundException", "x"),
            RetrySlowly,
        ),
        (Reply::error(400, "ValidationException", "x"), Invalid),
        (Reply::Whole(413, page.clone(), b"<html>".to_vec()), Invalid),
        (Reply::Whole(502, page, b"<html>".to_vec()), RetrySoon),
        (Reply::Hangup, RetrySoon),
        (Reply::Cut, RetrySoon),
        (Reply::Silence, RetrySoon),
    ];
    for (reply, class) in rows {
        let said = format!("{reply:?}");
        let service = StandIn::new(move |_, _| reply.clone());
        let settings = Settings {
            call_timeout: Duration::from_millis(800),
            ..settings(&service.url)
        };
        let mut edge = Edge::start(settings, Compression::Gzip, &[]);
        let error = edge.put_events(vec![entry("{}")]).unwrap_err();
        assert_eq!(error.class, class, "{said} became {error:?}");
        assert!(!error.code.is_empty());
        assert_eq!(
            service.seen().len(),
            1,
            "the edge must not try again by itself"
        );
    }
}

/// Logs and events share the thread and not their answers: shown by both at once.
#[test]
fn logs_and_events_do_not_mix() {
    let taken = Mutex::new(Vec::new());
    let service = StandIn::new(move |_, request| match request.operation() {
        "PutEvents" => judged(&taken, request, |_| None),
        _ => Reply::ok(),
    });
    let mut edge = Edge::to(&service.url, Compression::Gzip);
    edge.events.submit(CallId(1), call_with(vec![entry("{}")]));
    let (batch, range) = (batch(&["x"]), 0..1);
    edge.logs.submit(CallId(1), LogCall::Put { batch, range });
    assert_eq!(edge.event_answer().result, Ok(vec![Ok(())]));
    assert!(edge.answer().result.is_ok());
}
