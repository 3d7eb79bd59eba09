//! The service's rules for a PutLogEvents request, checked on the bytes of the body.
//!
//! Source of the numbers: the API reference of CloudWatch Logs, PutLogEvents.

use std::ops::Range;

use deploywatch::event::{Batch, EpochMs};
use serde::Deserialize;

const BATCH_BYTES_MAX: usize = 1_048_576;
const EVENT_OVERHEAD_BYTES: usize = 26;
const EVENTS_MAX: usize = 10_000;
const SPAN_MS_MAX: i64 = 24 * 3_600_000;
const NAME_CHARS_MAX: usize = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Request {
    log_group_name: String,
    log_stream_name: String,
    log_events: Vec<Sent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    timestamp: EpochMs,
    message: String,
}

/// Times and messages of the events, or which rule the body breaks.
pub(crate) fn check(
    batch: &Batch,
    range: Range<usize>,
    body: &[u8],
) -> Result<Vec<(EpochMs, String)>, String> {
    let request: Request = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    check_names(&request.log_group_name, &request.log_stream_name)?;
    if request.log_group_name != batch.target.group
        || request.log_stream_name != batch.target.stream
    {
        return Err("body and target name different streams".to_owned());
    }
    let events = request.log_events;
    if events.is_empty() || events.len() > EVENTS_MAX {
        return Err(format!("{} events", events.len()));
    }
    if range.end > batch.slots.len() || events.len() != range.len() {
        return Err(format!(
            "{} events in the body, {} in the range, {} slots",
            events.len(),
            range.len(),
            batch.slots.len()
        ));
    }
    let mut counted = 0;
    for (event, slot) in events.iter().zip(&batch.slots[range.clone()]) {
        if event.message.is_empty() {
            return Err("an empty message".to_owned());
        }
        if event.timestamp < 0 {
            return Err(format!("timestamp {}", event.timestamp));
        }
        if event.timestamp != slot.time_ms || event.message.len() != slot.message_bytes as usize {
            return Err("a slot differs from its event".to_owned());
        }
        counted += event.message.len() + EVENT_OVERHEAD_BYTES;
    }
    if counted > BATCH_BYTES_MAX {
        return Err(format!("{counted} bytes"));
    }
    if range.len() == batch.slots.len() && counted != batch.counted_bytes {
        return Err(format!(
            "counted_bytes is {}, not {counted}",
            batch.counted_bytes
        ));
    }
    if events.windows(2).any(|w| w[0].timestamp > w[1].timestamp) {
        return Err("events are not in the order of time".to_owned());
    }
    let span = events[events.len() - 1].timestamp - events[0].timestamp;
    if span > SPAN_MS_MAX {
        return Err(format!("events span {span} ms"));
    }
    Ok(events
        .into_iter()
        .map(|event| (event.timestamp, event.message))
        .collect())
}

/// The rules for names.
pub(crate) fn check_names(group: &str, stream: &str) -> Result<(), String> {
    let group_ok = (1..=NAME_CHARS_MAX).contains(&group.len())
        && !group.starts_with("aws/")
        && group
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_/#".contains(&b));
    let stream_ok =
        (1..=NAME_CHARS_MAX).contains(&stream.chars().count()) && !stream.contains([':', '*']);
    if group_ok && stream_ok {
        Ok(())
    } else {
        Err(format!("illegal name: {group:?} / {stream:?}"))
    }
}
