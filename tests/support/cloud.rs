//! The log service: awsJson1.1 over HTTP or TLS on loopback, as strict as the real one.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::alarms;
use super::fault::{Call, Fault, Trouble};
use super::http::{Request, Response, Wire};
use super::listener::{Gate, Listener};
use super::monitoring;
use super::rules::Put;
use super::sigv4::{self, Key};
use super::state::{self, Action, Gzip, KeyState, PutSeen, Refusal, State, Stored};
use super::tls::Authority;

/// The stand-in for CloudWatch Logs. It dies when dropped.
pub(crate) struct Cloud {
    shared: Arc<Shared>,
    listener: Listener,
    authority: Option<Authority>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Cloud {
    /// Over plain HTTP.
    pub(crate) fn start() -> Self {
        Self::with("127.0.0.1:0", None)
    }

    /// Over TLS, vouched for by an authority of its own: see [`Cloud::ca_pem`].
    pub(crate) fn start_tls() -> Self {
        Self::start_named("127.0.0.1:0", "127.0.0.1")
    }

    /// Over TLS at an address of one's own, under a name that the service really has.
    pub(crate) fn start_named(address: &str, name: &str) -> Self {
        Self::with(address, Some(Authority::for_name(name)))
    }

    fn with(address: &str, authority: Option<Authority>) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        });
        let serve = {
            let shared = Arc::clone(&shared);
            let tls = authority
                .as_ref()
                .map(|authority| Arc::clone(&authority.server));
            move |stream: TcpStream| {
                let ended = match &tls {
                    None => stream
                        .try_clone()
                        .and_then(|clone| shared.converse(&stream, Wire::new(clone))),
                    Some(config) => rustls::ServerConnection::new(Arc::clone(config))
                        .map_err(io::Error::other)
                        .and_then(|session| Ok((session, stream.try_clone()?)))
                        .and_then(|(session, clone)| {
                            let tls = rustls::StreamOwned::new(session, clone);
                            shared.converse(&stream, Wire::new(tls))
                        }),
                };
                // A connection that broke is the client's affair; it shows in what is missing.
                drop(ended);
            }
        };
        Self {
            shared,
            listener: Listener::start(address, serve),
            authority,
        }
    }

    /// The URL to give to the client.
    pub(crate) fn endpoint(&self) -> String {
        let scheme = if self.authority.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.listener.address)
    }

    /// PEM file of the authority to trust; only of a TLS stand-in.
    pub(crate) fn ca_pem(&self) -> PathBuf {
        self.authority.as_ref().expect("a stand-in with TLS").pem()
    }

    /// Looks at or changes the state.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Orders a trouble.
    pub(crate) fn fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// No troubles any more (those under way end as they began).
    pub(crate) fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Opens or closes the service's door; see [`Gate`].
    pub(crate) fn set_gate(&self, gate: Gate) {
        self.listener.set(gate);
    }

    /// Makes a group with its streams, as an administrator would.
    pub(crate) fn make(&self, group: &str, streams: &[&str]) {
        let mut state = self.state();
        let group = state.groups.entry(group.to_owned()).or_default();
        for stream in streams {
            group.streams.insert((*stream).to_owned(), Vec::new());
        }
    }

    /// Knows a key from now on, or knows it otherwise.
    pub(crate) fn set_key(&self, key: &Key, key_state: KeyState) {
        let mut state = self.state();
        state.keys.retain(|(known, _)| known.id != key.id);
        state.keys.push((key.clone(), key_state));
    }

    /// A copy of a stream's events, in the order of arrival.
    pub(crate) fn events(&self, group: &str, stream: &str) -> Vec<Stored> {
        self.state().events(group, stream).to_vec()
    }

    /// The texts of a stream's events, in the order of arrival.
    pub(crate) fn messages(&self, group: &str, stream: &str) -> Vec<String> {
        let state = self.state();
        let events = state.events(group, stream).iter();
        events.map(|event| event.message.clone()).collect()
    }

    /// Waits until `met` is true.
    ///
    /// # Panics
    /// When it is not within `limit`, with a summary of the state.
    #[track_caller]
    pub(crate) fn wait(&self, limit: Duration, what: &str, mut met: impl FnMut(&State) -> bool) {
        let state = self.state();
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(state, limit, |state| !met(state))
            .unwrap();
        let summary = waited.timed_out().then(|| state.summary());
        drop(state);
        if let Some(summary) = summary {
            panic!("not within {limit:?}: {what}\n{summary}");
        }
    }

    /// Waits until nothing has changed for `quiet`: for what must *not* come.
    pub(crate) fn wait_quiet(&self, quiet: Duration) {
        let mut state = self.state();
        loop {
            let before = state.calls.values().sum::<u64>();
            let waited = self
                .shared
                .changed
                .wait_timeout_while(state, quiet, |state| {
                    state.calls.values().sum::<u64>() == before
                });
            let (now, waited) = waited.unwrap();
            if waited.timed_out() {
                return;
            }
            state = now;
        }
    }

    /// Asserts that the client broke no rule of the service.
    #[track_caller]
    pub(crate) fn assert_no_violations(&self) {
        let violations = self.state().violations.clone();
        assert!(
            violations.is_empty(),
            "the client broke the service's rules: {violations:#?}"
        );
    }
}

/// How an answer leaves.
enum Manner {
    Whole,
    Drip(Duration),
    Never,
}

impl Shared {
    /// Serves one connection to its end.
    fn converse<S: Read + Write>(&self, socket: &TcpStream, mut wire: Wire<S>) -> io::Result<()> {
        loop {
            if !wire.has_begun() {
                // Closing with unread bytes resets the connection.
                let waiting = socket.peek(&mut [0])?;
                if waiting > 0 && self.reset_before() {
                    return Ok(());
                }
            }
            let Some(request) = wire.request()? else {
                return Ok(());
            };
            let (response, manner) = self.answer(&request);
            let bytes = response.encode();
            match manner {
                Manner::Never => return Ok(()),
                Manner::Whole => wire.stream.write_all(&bytes)?,
                Manner::Drip(all) => {
                    let pause = all / u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    for byte in &bytes {
                        wire.stream.write_all(&[*byte])?;
                        wire.stream.flush()?;
                        std::thread::sleep(pause);
                    }
                }
            }
            wire.stream.flush()?;
        }
    }

    fn reset_before(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        let Some(trouble) = state.strike(&Call::default()) else {
            return false;
        };
        *state.answers.entry(trouble.name().into()).or_default() += 1;
        self.changed.notify_all();
        true
    }

    fn answer(&self, request: &Request) -> (Response, Manner) {
        if let Some(operation) = monitoring::operation(request) {
            return self.answer_metrics(operation, request);
        }
        let (service, action) = match request.header("x-amz-target") {
            Some("AWSEvents.PutEvents") => ("events", Action::PutEvents),
            target => {
                let operation = target.and_then(|target| target.strip_prefix("Logs_20140328."));
                ("logs", operation.map_or(Action::Other, Action::parse))
            }
        };
        // Unpacking and parsing take long where tests are not optimised: not under the lock.
        let plain = unpack(request);
        let asked = plain
            .as_deref()
            .map_err(Clone::clone)
            .and_then(|body| match action {
                Action::Put => state::parse(body).map(Asked::Put),
                _ => Ok(Asked::Other(body)),
            });
        let (group, stream) = about(&asked);
        let mut state = self.state.lock().unwrap();
        *state.calls.entry(action).or_default() += 1;
        let seen = (action == Action::Put).then(|| {
            state.puts.push(PutSeen {
                at: Instant::now(),
                group: group.clone(),
                stream: stream.clone(),
                events: asked.as_ref().map_or(0, Asked::events),
                wire_bytes: request.body.len(),
                gzip: is_gzip(request),
                answer: "under way".into(),
            });
            state.puts.len() - 1
        });
        let call = Call {
            action: Some(action),
            group: &group,
            stream: &stream,
        };
        let trouble = state.strike(&call);
        if let Some(Trouble::Delay(time)) = trouble {
            drop(state);
            std::thread::sleep(time);
            state = self.state.lock().unwrap();
        }
        let now_ms = now_ms() + state.clock_ahead_ms;
        let result = match refused_by(trouble.as_ref()) {
            Some(answer) => Err(answer),
            None => front(&state, request, service, now_ms)
                .and(asked)
                .and_then(|asked| match (asked, &trouble) {
                    (Asked::Put(put), Some(Trouble::RejectOldest(count))) => {
                        state.put(&put, now_ms, Some(*count))
                    }
                    (Asked::Put(put), _) => state.put(&put, now_ms, None),
                    (Asked::Other(body), _) => state.apply(action, body, now_ms),
                })
                .map_err(Bad::Refusal),
        };
        if let Err(Bad::Refusal(refusal)) = &result
            && refusal.breach
        {
            state
                .violations
                .push(format!("{action:?}: {}: {}", refusal.code, refusal.message));
        }
        let name = match (&trouble, &result) {
            (Some(trouble), _) => trouble.name().to_owned(),
            (None, Ok(_)) => "ok".to_owned(),
            (None, Err(Bad::Refusal(refusal))) => refusal.code.clone(),
            (None, Err(Bad::Raw(..))) => unreachable!("only a trouble answers raw"),
        };
        if let Some(index) = seen {
            state.puts[index].answer.clone_from(&name);
        }
        *state.answers.entry(name).or_default() += 1;
        let number = state.calls.values().sum();
        self.changed.notify_all();
        let manner = match trouble {
            Some(Trouble::LoseAnswer) => Manner::Never,
            Some(Trouble::Drip(all)) => Manner::Drip(all),
            _ => Manner::Whole,
        };
        (respond(result, number, now_ms), manner)
    }
}

impl Shared {
    /// The same for CloudWatch, in its own language.
    fn answer_metrics(&self, operation: &str, request: &Request) -> (Response, Manner) {
        let action = match operation {
            "PutMetricData" => Action::PutMetrics,
            _ if alarms::OPERATIONS.contains(&operation) => Action::Alarms,
            _ => Action::Other,
        };
        let body = unpack(request);
        let mut state = self.state.lock().unwrap();
        *state.calls.entry(action).or_default() += 1;
        let call = Call {
            action: Some(action),
            ..Call::default()
        };
        let trouble = state.strike(&call);
        if let Some(Trouble::Delay(time)) = trouble {
            drop(state);
            std::thread::sleep(time);
            state = self.state.lock().unwrap();
        }
        let now_ms = now_ms() + state.clock_ahead_ms;
        let result = match refused_by(trouble.as_ref()) {
            Some(answer) => Err(answer),
            None if action == Action::Other => Err(Bad::Refusal(Refusal::breach(
                "AccessDeniedException",
                "not authorized to perform this action",
            ))),
            None => monitoring::protocol(request)
                .and_then(|()| signed(&state, request, "monitoring", now_ms))
                .and(body)
                .and_then(|body| match action {
                    Action::Alarms => state.alarms.answer(operation, &body, now_ms),
                    _ => {
                        let put = monitoring::parse(&body)?;
                        state.put_metrics(&put, now_ms).map(|()| json!({}))
                    }
                })
                .map_err(Bad::Refusal),
        };
        if let Err(Bad::Refusal(refusal)) = &result
            && refusal.breach
        {
            state.violations.push(format!(
                "{operation}: {}: {}",
                refusal.code, refusal.message
            ));
        }
        let name = match (&trouble, &result) {
            (Some(trouble), _) => trouble.name().to_owned(),
            (None, Err(Bad::Refusal(refusal))) => refusal.code.clone(),
            (None, _) => "ok".to_owned(),
        };
        *state.answers.entry(name).or_default() += 1;
        let number: u64 = state.calls.values().sum();
        self.changed.notify_all();
        let manner = match trouble {
            Some(Trouble::LoseAnswer) => Manner::Never,
            Some(Trouble::Drip(all)) => Manner::Drip(all),
            _ => Manner::Whole,
        };
        let response = match result {
            Ok(body) => numbered(monitoring::respond(Ok(body)), number, now_ms),
            Err(Bad::Refusal(refusal)) => {
                numbered(monitoring::respond(Err(refusal)), number, now_ms)
            }
            // A page of somebody in between, who knows nothing of request numbers.
            Err(Bad::Raw(status, text)) => {
                Response::new(status, text).with("content-type", "text/html")
            }
        };
        (response, manner)
    }
}

/// What a call asks, read as far as its kind needs.
enum Asked<'a> {
    Put(Put<'a>),
    Other(&'a [u8]),
}

impl Asked<'_> {
    fn events(&self) -> usize {
        match self {
            Self::Put(put) => put.log_events.len(),
            Self::Other(_) => 0,
        }
    }
}

/// A bad answer.
enum Bad {
    Refusal(Refusal),
    Raw(u16, &'static str),
}

/// The answer of a trouble that keeps the call from being done.
fn refused_by(trouble: Option<&Trouble>) -> Option<Bad> {
    match trouble? {
        Trouble::Throttle => Some(Bad::Refusal(Refusal::plain(
            "ThrottlingException",
            "Rate exceeded",
        ))),
        Trouble::Error(status, code, message) => Some(Bad::Refusal(Refusal {
            status: *status,
            ..Refusal::plain(code, message)
        })),
        Trouble::Html(status) => Some(Bad::Raw(
            *status,
            "<html><head><title>Service Unavailable</title></head><body>try later</body></html>",
        )),
        Trouble::Garbage => Some(Bad::Raw(200, "\u{1}{\"rejectedLogEventsInfo\": [")),
        _ => None,
    }
}

/// What stands before the service itself: gzip, content type, signature, key.
fn front(state: &State, request: &Request, service: &str, now_ms: i64) -> Result<(), Refusal> {
    if is_gzip(request) {
        match state.gzip {
            Gzip::Accepted => {}
            Gzip::Refused => {
                return Err(Refusal {
                    status: 415,
                    ..Refusal::plain(
                        "UnsupportedMediaTypeException",
                        "Content-Encoding not supported",
                    )
                });
            }
            Gzip::Ignored => {
                return Err(Refusal::plain(
                    "SerializationException",
                    "Start of structure or map found where not expected",
                ));
            }
        }
    }
    if request.method != "POST" || request.path != "/" {
        return Err(Refusal::breach("UnknownOperationException", "not POST /"));
    }
    if request.header("content-type") != Some("application/x-amz-json-1.1") {
        return Err(Refusal::breach(
            "UnknownOperationException",
            "content-type is not x-amz-json-1.1",
        ));
    }
    signed(state, request, service, now_ms)
}

/// Whether a request is signed for a service with a key that is good.
fn signed(state: &State, request: &Request, service: &str, now_ms: i64) -> Result<(), Refusal> {
    let known = |id: &str| {
        let mut keys = state.keys.iter();
        keys.find(|(key, _)| key.id == id)
            .map(|(key, _)| key.clone())
    };
    let id = sigv4::verify(request, service, known, now_ms)?;
    let expired =
        |(key, key_state): &(Key, KeyState)| key.id == id && *key_state == KeyState::Expired;
    match state.keys.iter().any(expired) {
        true => Err(Refusal::plain(
            "ExpiredTokenException",
            "The security token included in the request is expired",
        )),
        false => Ok(()),
    }
}

/// The answer in the shapes the service uses: some codes come with a namespace, AccessDenied
/// writes `Message`.
fn respond(result: Result<Value, Bad>, number: u64, now_ms: i64) -> Response {
    let response = match result {
        Ok(answer) => Response::new(200, answer.to_string()),
        Err(Bad::Raw(status, text)) => {
            Response::new(status, text).with("content-type", "text/html")
        }
        Err(Bad::Refusal(refusal)) => {
            let space = if number.is_multiple_of(2) {
                "com.amazonaws.logs#"
            } else {
                ""
            };
            let key = match refusal.code.as_str() {
                "AccessDeniedException" => "Message",
                _ => "message",
            };
            let body = json!({"__type": format!("{space}{}", refusal.code), key: refusal.message});
            Response::new(refusal.status, body.to_string())
        }
    };
    let response = match response.header("content-type") {
        Some(_) => response,
        None => response.with("content-type", "application/x-amz-json-1.1"),
    };
    numbered(response, number, now_ms)
}

fn numbered(response: Response, number: u64, now_ms: i64) -> Response {
    response
        .with(
            "x-amzn-requestid",
            format!("00000000-0000-4000-8000-{number:012}"),
        )
        .with("date", http_date(now_ms))
}

fn unpack(request: &Request) -> Result<Cow<'_, [u8]>, Refusal> {
    match request.header("content-encoding") {
        None => Ok(Cow::Borrowed(&request.body)),
        Some("gzip") => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&request.body[..])
                .read_to_end(&mut plain)
                .map(|_| Cow::Owned(plain))
                .map_err(|error| {
                    Refusal::breach("SerializationException", &format!("bad gzip: {error}"))
                })
        }
        Some(other) => Err(Refusal::breach(
            "UnsupportedMediaTypeException",
            &format!("unknown Content-Encoding {other}"),
        )),
    }
}

/// The group and the stream a call is about, as far as it names them.
fn about(asked: &Result<Asked<'_>, Refusal>) -> (String, String) {
    match asked {
        Ok(Asked::Put(put)) => (put.log_group_name.clone(), put.log_stream_name.clone()),
        Ok(Asked::Other(body)) => {
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            (text("logGroupName"), text("logStreamName"))
        }
        Err(_) => Default::default(),
    }
}

fn is_gzip(request: &Request) -> bool {
    request.header("content-encoding") == Some("gzip")
}

/// This machine's time.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn http_date(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap();
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
