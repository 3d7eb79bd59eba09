//! EventBridge's PutEvents (awsJson1.1), with its limits: a body in, an answer out.
//!
//! Pure and on its own, so that the edge's tests and those of the whole binary judge by the same
//! rules. From the service's API reference: 1 to 10 entries; the size of all of them less than
//! 256 KiB (the older limit, which still holds where the newer one of 1 MB has not come), counted
//! as 14 for the time and the bytes of source, detail type, detail and resources; a detail type of
//! at most 128 characters; a detail that is a JSON object; a source that does not begin with
//! `aws.`. What is wrong with one entry is told by its index, in an answer that is HTTP 200.

use serde::Deserialize;
use serde_json::{Value, json};

/// Entries of one call.
const ENTRIES_MAX: usize = 10;
/// Bytes of one call.
const BYTES_MAX: usize = 256 * 1024 - 1;
/// Characters of a detail type.
const DETAIL_TYPE_CHARS_MAX: usize = 128;
/// The one entry that is malformed on purpose: `check --online` tries its permission with it.
const MALFORMED_ON_PURPOSE: &str = "Deploywatch Check";

/// A call as sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Put {
    entries: Vec<Entry>,
}

/// One entry as sent.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Entry {
    /// Seconds since the epoch, with a fraction.
    pub(crate) time: Option<f64>,
    /// Who tells it.
    pub(crate) source: Option<String>,
    /// ARNs.
    #[serde(default)]
    pub(crate) resources: Vec<String>,
    /// What kind of event.
    pub(crate) detail_type: Option<String>,
    /// A JSON object as text.
    pub(crate) detail: Option<String>,
    /// Name or ARN of the bus.
    pub(crate) event_bus_name: Option<String>,
}

impl Entry {
    fn counted_bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_deref().map_or(0, str::len);
        let resources: usize = self.resources.iter().map(String::len).sum();
        self.time.map_or(0, |_| 14)
            + text(&self.source)
            + text(&self.detail_type)
            + text(&self.detail)
            + resources
    }

    /// Its code and text, if it is not taken.
    fn refusal(&self) -> Option<(&'static str, &'static str)> {
        let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        if !given(&self.source) || !given(&self.detail_type) || !given(&self.detail) {
            return Some((
                "InvalidArgument",
                "Parameter is not valid. Reason: missing.",
            ));
        }
        let source = self.source.as_deref().unwrap_or_default();
        if source.starts_with("aws.") {
            return Some((
                "NotAuthorizedForSourceException",
                "Not authorized for the source.",
            ));
        }
        let detail_type = self.detail_type.as_deref().unwrap_or_default();
        if detail_type.chars().count() > DETAIL_TYPE_CHARS_MAX {
            return Some((
                "InvalidArgument",
                "Parameter DetailType is not valid. Reason: too long.",
            ));
        }
        let detail = self.detail.as_deref().unwrap_or_default();
        match serde_json::from_str::<Value>(detail) {
            Ok(Value::Object(_)) => None,
            _ => Some(("MalformedDetail", "Detail is malformed.")),
        }
    }
}

/// What came of a call.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// Entries that were taken.
    pub(crate) taken: Vec<Entry>,
    /// What a correct client would not have sent.
    pub(crate) breaches: Vec<String>,
}

/// Judges a call. `trouble` may refuse an entry, by its index, that has no fault of its own. An
/// error is the code and text of HTTP 400.
pub(crate) fn put(
    body: &[u8],
    trouble: impl Fn(usize) -> Option<&'static str>,
) -> (Judged, Result<Value, (&'static str, String)>) {
    let mut judged = Judged::default();
    let put: Put = match serde_json::from_slice(body) {
        Ok(put) => put,
        Err(error) => {
            judged.breaches.push(format!("not a PutEvents: {error}"));
            return (judged, Err(("SerializationException", error.to_string())));
        }
    };
    let bytes: usize = put.entries.iter().map(Entry::counted_bytes).sum();
    let over = if !(1..=ENTRIES_MAX).contains(&put.entries.len()) {
        Some(format!(
            "1 validation error detected: {} entries",
            put.entries.len()
        ))
    } else if bytes > BYTES_MAX {
        Some("Total size of the entries in the request is over the limit.".to_owned())
    } else {
        None
    };
    if let Some(message) = over {
        judged.breaches.push(message.clone());
        return (judged, Err(("ValidationException", message)));
    }
    let mut failed = 0;
    let mut results = Vec::new();
    for (index, entry) in put.entries.into_iter().enumerate() {
        let own = entry.refusal();
        let is_on_purpose = entry.detail_type.as_deref() == Some(MALFORMED_ON_PURPOSE)
            && own.is_some_and(|(code, _)| code == "MalformedDetail");
        if let (Some((code, message)), false) = (own, is_on_purpose) {
            judged.breaches.push(format!("{code}: {message} {entry:?}"));
        }
        // What is not permitted is said before anything else.
        let denied = trouble(index).filter(|code| code.starts_with("NotAuthorized"));
        let refusal = denied.map(|code| (code, "as ordered"));
        let refusal = refusal
            .or(own)
            .or_else(|| Some((trouble(index)?, "as ordered")));
        match refusal {
            Some((code, message)) => {
                failed += 1;
                results.push(json!({"ErrorCode": code, "ErrorMessage": message}));
            }
            None => {
                results.push(json!({"EventId": format!("event-{index}")}));
                judged.taken.push(entry);
            }
        }
    }
    let answer = json!({"FailedEntryCount": failed, "Entries": results});
    (judged, Ok(answer))
}
