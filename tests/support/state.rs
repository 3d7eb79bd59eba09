//! What the log service remembers: groups, streams, events, keys, and how the client behaved.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};

use super::alarms::AlarmBook;
use super::bus::{self, Entry};
use super::fault::{Call, Dice, Fault, Trouble};
use super::monitoring::{self, PutMetrics, StoredDatum};
use super::rules::{self, Put, Rejected};
use super::sigv4::Key;

/// What the service can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// PutLogEvents.
    Put,
    /// CreateLogStream.
    CreateStream,
    /// CreateLogGroup.
    CreateGroup,
    /// PutRetentionPolicy.
    Retention,
    /// PutMetricData.
    PutMetrics,
    /// PutEvents, of EventBridge.
    PutEvents,
    /// Any call about alarms.
    Alarms,
    /// Anything else, above all Describe*: no line may depend on it.
    Other,
}

impl Action {
    /// From the part of `x-amz-target` behind the dot.
    pub(crate) fn parse(name: &str) -> Self {
        match name {
            "PutLogEvents" => Self::Put,
            "CreateLogStream" => Self::CreateStream,
            "CreateLogGroup" => Self::CreateGroup,
            "PutRetentionPolicy" => Self::Retention,
            _ => Self::Other,
        }
    }
}

/// A call refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// HTTP status.
    pub(crate) status: u16,
    /// The service's code.
    pub(crate) code: String,
    /// Its text.
    pub(crate) message: String,
    /// Whether a correct client could not have caused it.
    pub(crate) breach: bool,
}

impl Refusal {
    /// A refusal that happens to good clients.
    pub(crate) fn plain(code: &str, message: &str) -> Self {
        Self {
            status: 400,
            code: code.to_owned(),
            message: message.to_owned(),
            breach: false,
        }
    }

    /// A refusal that shows a fault of the client.
    pub(crate) fn breach(code: &str, message: &str) -> Self {
        Self {
            breach: true,
            ..Self::plain(code, message)
        }
    }
}

/// How the service treats a gzip body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gzip {
    /// Unpacked.
    Accepted,
    /// HTTP 415.
    Refused,
    /// The header is ignored, so the body is no JSON: SerializationException.
    Ignored,
}

/// One event as stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Its time.
    pub(crate) time_ms: i64,
    /// Its text.
    pub(crate) message: String,
    /// When it came.
    pub(crate) arrived: Instant,
}

/// One log group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// After how many days events expire.
    pub(crate) retention_days: Option<u32>,
    /// Class it was made with.
    pub(crate) class: Option<String>,
    /// Key it was made with.
    pub(crate) kms_key_id: Option<String>,
    /// Tags it was made with.
    pub(crate) tags: BTreeMap<String, String>,
    /// Its streams; events in the order of arrival.
    pub(crate) streams: BTreeMap<String, Vec<Stored>>,
}

/// One PutLogEvents that was read.
#[derive(Clone, Debug)]
pub(crate) struct PutSeen {
    /// When.
    pub(crate) at: Instant,
    /// Group.
    pub(crate) group: String,
    /// Stream.
    pub(crate) stream: String,
    /// How many events.
    pub(crate) events: usize,
    /// Bytes of the body as sent.
    pub(crate) wire_bytes: usize,
    /// Whether the body was gzip.
    pub(crate) gzip: bool,
    /// What came of it: `ok`, an error code, or the name of a trouble.
    pub(crate) answer: String,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct State {
    /// Groups by name.
    pub(crate) groups: BTreeMap<String, Group>,
    /// Calls read, by action.
    pub(crate) calls: BTreeMap<Action, u64>,
    /// Answers, by `ok`, error code or name of trouble.
    pub(crate) answers: BTreeMap<String, u64>,
    /// Every PutLogEvents in order.
    pub(crate) puts: Vec<PutSeen>,
    /// Every datum that was taken, in order.
    pub(crate) metrics: Vec<StoredDatum>,
    /// Metric names that make CloudWatch call their call invalid.
    pub(crate) metric_poison: Vec<String>,
    /// Every entry that EventBridge took, in order.
    pub(crate) entries: Vec<Entry>,
    /// Which entries of the next PutEvents, by index, are refused with which code.
    pub(crate) entry_refusals: BTreeMap<usize, &'static str>,
    /// Alarms.
    pub(crate) alarms: AlarmBook,
    /// What the client did that the service forbids.
    pub(crate) violations: Vec<String>,
    /// Events rejected one by one: too new, too old, expired.
    pub(crate) rejected: u64,
    /// Troubles on order.
    pub(crate) faults: Vec<Fault>,
    /// For the faults.
    pub(crate) dice: Dice,
    /// Messages that hold one of these texts spoil their call.
    pub(crate) poison: Vec<String>,
    /// How gzip is treated.
    pub(crate) gzip: Gzip,
    /// How far the service's clock is ahead of this machine's.
    pub(crate) clock_ahead_ms: i64,
    /// Keys that are known, and whether they are still good.
    pub(crate) keys: Vec<(Key, KeyState)>,
}

/// Whether a known key is still good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyState {
    /// It is.
    Good,
    /// It has expired.
    Expired,
}

impl Default for State {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
            calls: BTreeMap::new(),
            answers: BTreeMap::new(),
            puts: Vec::new(),
            metrics: Vec::new(),
            entries: Vec::new(),
            entry_refusals: BTreeMap::new(),
            metric_poison: Vec::new(),
            alarms: AlarmBook::default(),
            violations: Vec::new(),
            rejected: 0,
            faults: Vec::new(),
            dice: Dice::new(1),
            poison: Vec::new(),
            gzip: Gzip::Accepted,
            clock_ahead_ms: 0,
            keys: vec![(Key::fixed(), KeyState::Good)],
        }
    }
}

impl State {
    /// The events of a stream in the order of arrival; empty where there is none.
    pub(crate) fn events(&self, group: &str, stream: &str) -> &[Stored] {
        self.groups
            .get(group)
            .and_then(|group| group.streams.get(stream))
            .map_or(&[], Vec::as_slice)
    }

    /// How many events there are in all streams.
    pub(crate) fn total(&self) -> usize {
        let streams = self
            .groups
            .values()
            .flat_map(|group| group.streams.values());
        streams.map(Vec::len).sum()
    }

    /// How often this came of a call: `ok`, an error code, or the name of a trouble.
    pub(crate) fn answered(&self, name: &str) -> u64 {
        self.answers.get(name).copied().unwrap_or(0)
    }

    /// A glance, for a test that failed.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!(
            "calls {:?}\nanswers {:?}\nviolations {:?}\n",
            self.calls, self.answers, self.violations
        );
        for (name, group) in &self.groups {
            for (stream, events) in &group.streams {
                let last = events.last().map_or("", |event| &event.message);
                let last: String = last.chars().take(80).collect();
                text.push_str(&format!(
                    "{name} {stream}: {} events, last {last:?}\n",
                    events.len()
                ));
            }
        }
        text
    }

    /// The first fault that strikes this call.
    pub(crate) fn strike(&mut self, call: &Call<'_>) -> Option<Trouble> {
        let (faults, dice) = (&mut self.faults, &mut self.dice);
        // Before a request is read only a reset can strike, and afterwards it no longer can.
        let early = call.action.is_none();
        let fault = faults
            .iter_mut()
            .filter(|fault| (fault.trouble == Trouble::ResetBefore) == early)
            .find_map(|fault| fault.strikes(call, dice).then(|| fault.trouble.clone()))?;
        Some(match fault {
            Trouble::Any => self.dice.trouble(),
            other => other,
        })
    }

    /// Does what a call asks. `body` is plain JSON.
    pub(crate) fn apply(
        &mut self,
        action: Action,
        body: &[u8],
        now_ms: i64,
    ) -> Result<Value, Refusal> {
        match action {
            Action::Put => self.put(&parse(body)?, now_ms, None),
            Action::CreateStream => self.create_stream(&parse(body)?),
            Action::CreateGroup => self.create_group(parse(body)?),
            Action::Retention => self.put_retention(&parse(body)?),
            Action::PutEvents => self.put_events(body),
            Action::PutMetrics | Action::Alarms | Action::Other => Err(Refusal::breach(
                "AccessDeniedException",
                "not authorized to perform this action: no line may depend on it",
            )),
        }
    }

    /// PutLogEvents; `reject_oldest` says of so many that they are too old.
    pub(crate) fn put(
        &mut self,
        put: &Put<'_>,
        now_ms: i64,
        reject_oldest: Option<usize>,
    ) -> Result<Value, Refusal> {
        rules::shape(put)?;
        let group = self
            .groups
            .get_mut(&put.log_group_name)
            .ok_or_else(|| not_found("log group"))?;
        let stream = group
            .streams
            .get_mut(&put.log_stream_name)
            .ok_or_else(|| not_found("log stream"))?;
        let mut rejected = rules::window(&put.log_events, now_ms, group.retention_days)?;
        let bad = |text: &str| self.poison.iter().any(|poison| text.contains(poison));
        if put.log_events.iter().any(|event| bad(&event.message)) {
            return Err(Refusal::plain(
                "InvalidParameterException",
                "Log event is not valid.",
            ));
        }
        if let Some(oldest) = reject_oldest {
            rejected.too_old_until = Some(oldest.min(put.log_events.len()));
        }
        let taken = rejected.taken(put.log_events.len());
        self.rejected += (put.log_events.len() - taken.len()) as u64;
        let arrived = Instant::now();
        stream.extend(put.log_events[taken].iter().map(|event| Stored {
            time_ms: event.timestamp,
            message: event.message.clone().into_owned(),
            arrived,
        }));
        Ok(answer(&rejected))
    }

    /// PutMetricData.
    pub(crate) fn put_metrics(&mut self, put: &PutMetrics, now_ms: i64) -> Result<(), Refusal> {
        let call = self
            .calls
            .get(&Action::PutMetrics)
            .map_or(0, |calls| *calls as usize - 1);
        let stored = monitoring::take(put, now_ms, call)?;
        if stored
            .iter()
            .any(|datum| self.metric_poison.contains(&datum.name))
        {
            let text = "The value for parameter MetricName is invalid.";
            return Err(Refusal::plain("InvalidParameterValueException", text));
        }
        self.metrics.extend(stored);
        Ok(())
    }

    fn put_events(&mut self, body: &[u8]) -> Result<Value, Refusal> {
        let refusals = std::mem::take(&mut self.entry_refusals);
        let (judged, answer) = bus::put(body, |index| refusals.get(&index).copied());
        self.entries.extend(judged.taken);
        self.violations.extend(judged.breaches);
        answer.map_err(|(code, message)| Refusal::plain(code, &message))
    }

    /// The data of a metric under exactly these dimensions, in the order of arrival.
    pub(crate) fn data(&self, name: &str, dimensions: &[(&str, &str)]) -> Vec<&StoredDatum> {
        let wanted = dimensions
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let wanted: BTreeMap<String, String> = wanted.collect();
        let data = self.metrics.iter();
        data.filter(|datum| datum.name == name && datum.dimensions == wanted)
            .collect()
    }

    fn create_stream(&mut self, call: &CreateStream) -> Result<Value, Refusal> {
        rules::group_name(&call.log_group_name)?;
        rules::stream_name(&call.log_stream_name)?;
        let group = self
            .groups
            .get_mut(&call.log_group_name)
            .ok_or_else(|| not_found("log group"))?;
        if group.streams.contains_key(&call.log_stream_name) {
            return Err(exists("log stream"));
        }
        group
            .streams
            .insert(call.log_stream_name.clone(), Vec::new());
        Ok(json!({}))
    }

    fn create_group(&mut self, call: CreateGroup) -> Result<Value, Refusal> {
        rules::group_name(&call.log_group_name)?;
        rules::group_options(call.log_group_class.as_deref(), call.tags.len())?;
        if self.groups.contains_key(&call.log_group_name) {
            return Err(exists("log group"));
        }
        let group = Group {
            retention_days: None,
            class: call.log_group_class,
            kms_key_id: call.kms_key_id,
            tags: call.tags,
            streams: BTreeMap::new(),
        };
        self.groups.insert(call.log_group_name, group);
        Ok(json!({}))
    }

    fn put_retention(&mut self, call: &Retention) -> Result<Value, Refusal> {
        rules::group_name(&call.log_group_name)?;
        rules::retention(call.retention_in_days)?;
        let group = self
            .groups
            .get_mut(&call.log_group_name)
            .ok_or_else(|| not_found("log group"))?;
        group.retention_days = Some(call.retention_in_days);
        Ok(json!({}))
    }
}

/// JSON of a call.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::breach("SerializationException", &error.to_string()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateStream {
    log_group_name: String,
    log_stream_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateGroup {
    log_group_name: String,
    kms_key_id: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    log_group_class: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Retention {
    log_group_name: String,
    retention_in_days: u32,
}

fn answer(rejected: &Rejected) -> Value {
    let mut answer = json!({"nextSequenceToken": "49039859574577"});
    let fields = [
        ("tooNewLogEventStartIndex", rejected.too_new_from),
        ("tooOldLogEventEndIndex", rejected.too_old_until),
        ("expiredLogEventEndIndex", rejected.expired_until),
    ];
    for (name, index) in fields {
        if let Some(index) = index {
            answer["rejectedLogEventsInfo"][name] = json!(index);
        }
    }
    answer
}

fn not_found(what: &str) -> Refusal {
    Refusal::plain(
        "ResourceNotFoundException",
        &format!("The specified {what} does not exist."),
    )
}

fn exists(what: &str) -> Refusal {
    Refusal::plain(
        "ResourceAlreadyExistsException",
        &format!("The specified {what} already exists"),
    )
}
