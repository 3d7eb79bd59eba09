//! The published limits of CloudWatch Logs, with the service's error codes and texts.
//!
//! Pure: a parsed call and a time in, a judgement out. The numbers are from the service's API
//! model (PutLogEvents, CreateLogGroup, CreateLogStream, PutRetentionPolicy).

use std::borrow::Cow;

use serde::Deserialize;

use super::state::Refusal;

/// Events in one PutLogEvents.
pub(crate) const EVENTS_MAX: usize = 10_000;
/// Bytes of one batch: message bytes and [`EVENT_OVERHEAD_BYTES`] per event.
pub(crate) const BATCH_BYTES_MAX: usize = 1_048_576;
/// What each event counts besides its message.
pub(crate) const EVENT_OVERHEAD_BYTES: usize = 26;
/// Bytes of one message.
const MESSAGE_BYTES_MAX: usize = 1_048_576;
/// The valid events of one batch span at most this.
pub(crate) const SPAN_MS_MAX: i64 = 24 * HOUR_MS;
/// Events later than now and this are rejected.
pub(crate) const FUTURE_MS_MAX: i64 = 2 * HOUR_MS;
/// Events earlier than now less this are rejected.
pub(crate) const PAST_MS_MAX: i64 = 14 * 24 * HOUR_MS;
/// One hour.
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// Tags on a group.
const TAGS_MAX: usize = 50;
/// The only retentions there are, in days.
const RETENTION_DAYS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];
/// The classes there are.
const CLASSES: [&str; 4] = ["STANDARD", "INFREQUENT_ACCESS", "DELIVERY", "ESSENTIALS"];

/// PutLogEvents as sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Put<'a> {
    /// Group.
    pub(crate) log_group_name: String,
    /// Stream.
    pub(crate) log_stream_name: String,
    /// Events.
    #[serde(borrow)]
    pub(crate) log_events: Vec<InputEvent<'a>>,
}

/// One event as sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InputEvent<'a> {
    /// Milliseconds since the epoch.
    pub(crate) timestamp: i64,
    /// Text.
    #[serde(borrow)]
    pub(crate) message: Cow<'a, str>,
}

/// Which events of a legal batch are not taken, as `rejectedLogEventsInfo` tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// From this index on (inclusive).
    pub(crate) too_new_from: Option<usize>,
    /// Up to this index (exclusive).
    pub(crate) too_old_until: Option<usize>,
    /// Up to this index (exclusive): older than the group's retention.
    pub(crate) expired_until: Option<usize>,
}

impl Rejected {
    /// The events that are taken.
    pub(crate) fn taken(&self, events: usize) -> std::ops::Range<usize> {
        let start = self.too_old_until.max(self.expired_until).unwrap_or(0);
        start..self.too_new_from.unwrap_or(events).max(start)
    }
}

/// What of a call can be judged without knowing the group: counts, sizes, order.
pub(crate) fn shape(put: &Put<'_>) -> Result<(), Refusal> {
    group_name(&put.log_group_name)?;
    stream_name(&put.log_stream_name)?;
    let events = &put.log_events;
    if events.is_empty() {
        return constraint(
            "[]",
            "logEvents",
            "Member must have length greater than or equal to 1",
        );
    }
    if events.len() > EVENTS_MAX {
        return constraint(
            "[...]",
            "logEvents",
            "Member must have length less than or equal to 10000",
        );
    }
    let mut counted_bytes = 0;
    for (index, event) in events.iter().enumerate() {
        let member = format!("logEvents.{}.member", index + 1);
        if event.message.is_empty() {
            let rule = "Member must have length greater than or equal to 1";
            return constraint("", &format!("{member}.message"), rule);
        }
        if event.timestamp < 0 {
            let rule = "Member must have value greater than or equal to 0";
            return constraint("-1", &format!("{member}.timestamp"), rule);
        }
        if event.message.len() > MESSAGE_BYTES_MAX {
            return broken(&format!(
                "Log event too large: {} bytes exceeds limit of {MESSAGE_BYTES_MAX}",
                event.message.len()
            ));
        }
        counted_bytes += event.message.len() + EVENT_OVERHEAD_BYTES;
    }
    if counted_bytes > BATCH_BYTES_MAX {
        return broken(&format!(
            "Upload too large: {counted_bytes} bytes exceeds limit of {BATCH_BYTES_MAX}"
        ));
    }
    if !events.is_sorted_by_key(|event| event.timestamp) {
        return broken(
            "Log events in a single PutLogEvents request must be in chronological order.",
        );
    }
    Ok(())
}

/// Which events the service takes now, the others told by index.
pub(crate) fn window(
    events: &[InputEvent<'_>],
    now_ms: i64,
    retention_days: Option<u32>,
) -> Result<Rejected, Refusal> {
    let before = |limit_ms: i64| {
        let index = events.partition_point(|event| event.timestamp < limit_ms);
        (index > 0).then_some(index)
    };
    let new = events.partition_point(|event| event.timestamp <= now_ms + FUTURE_MS_MAX);
    let rejected = Rejected {
        too_new_from: (new < events.len()).then_some(new),
        too_old_until: before(now_ms - PAST_MS_MAX),
        expired_until: retention_days
            .and_then(|days| before(now_ms - i64::from(days) * 24 * HOUR_MS)),
    };
    let valid = &events[rejected.taken(events.len())];
    if let (Some(first), Some(last)) = (valid.first(), valid.last())
        && last.timestamp - first.timestamp > SPAN_MS_MAX
    {
        broken(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        )?;
    }
    Ok(rejected)
}

/// `[\.\-_/#A-Za-z0-9]+`, 1 to 512, not beginning with `aws/`.
pub(crate) fn group_name(name: &str) -> Result<(), Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_/#".contains(c);
    if name.is_empty() || name.len() > 512 || !name.chars().all(legal) || name.starts_with("aws/") {
        let rule = "Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+";
        return constraint(name, "logGroupName", rule);
    }
    Ok(())
}

/// `[^:*]*`, 1 to 512.
pub(crate) fn stream_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.chars().count() > 512 || name.contains([':', '*']) {
        let rule = "Member must satisfy regular expression pattern: [^:*]*";
        return constraint(name, "logStreamName", rule);
    }
    Ok(())
}

/// One of the days the service knows.
pub(crate) fn retention(days: u32) -> Result<(), Refusal> {
    match RETENTION_DAYS.contains(&days) {
        true => Ok(()),
        false => constraint(
            &days.to_string(),
            "retentionInDays",
            "Member must satisfy enum value set",
        ),
    }
}

/// Class and number of tags of a new group.
pub(crate) fn group_options(class: Option<&str>, tags: usize) -> Result<(), Refusal> {
    if let Some(class) = class.filter(|class| !CLASSES.contains(class)) {
        return constraint(class, "logGroupClass", "Member must satisfy enum value set");
    }
    match tags <= TAGS_MAX {
        true => Ok(()),
        false => constraint(
            "{...}",
            "tags",
            "Map must have length less than or equal to 50",
        ),
    }
}

fn constraint(value: &str, at: &str, rule: &str) -> Result<(), Refusal> {
    broken(&format!(
        "1 validation error detected: Value '{value}' at '{at}' failed to satisfy constraint: {rule}"
    ))
}

fn broken(text: &str) -> Result<(), Refusal> {
    Err(Refusal::breach("InvalidParameterException", text))
}
