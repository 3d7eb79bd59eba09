//! The event service that is a file: what would be sent to EventBridge is written to
//! `events.ndjson`, one JSON object an event: `bus`, `time` in ms, `source`, `detail-type`,
//! `resources`, `detail`.
//!
//! The promises are those of the log lines' file beside it. After an answer that could not be
//! given because the process was killed, the same events are written a second time, under the same
//! ids.

use std::collections::VecDeque;
use std::path::Path;

use serde_json::{Value, json};

use super::Appended;
use crate::ports::{CallId, EventAnswer, EventCall, EventEntry, EventService};

/// The file's name in the directory.
pub const EVENTS_FILE: &str = "events.ndjson";

/// Writes events to a file and answers at once.
#[derive(Debug)]
pub struct DirectoryEvents {
    file: Appended,
    answers: VecDeque<EventAnswer>,
}

impl DirectoryEvents {
    /// A sink for a directory, which is made with the first event if it is not there.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            file: Appended::new(directory, EVENTS_FILE),
            answers: VecDeque::new(),
        }
    }

    /// Whether answers wait to be taken: nobody is woken for them.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }
}

impl EventService for DirectoryEvents {
    fn submit(&mut self, id: CallId, call: EventCall) {
        let objects = call.entries.iter().map(|entry| object(&call.bus, entry));
        let result = self.file.write_lines(objects);
        let result = result.map(|()| call.entries.iter().map(|_| Ok(())).collect());
        self.answers.push_back(EventAnswer { id, result });
    }

    fn answer(&mut self) -> Option<EventAnswer> {
        self.answers.pop_front()
    }
}

fn object(bus: &str, entry: &EventEntry) -> Value {
    // Ours are always JSON; what is not is kept as it is.
    let detail: Value =
        serde_json::from_str(&entry.detail).unwrap_or_else(|_| json!(entry.detail.as_str()));
    json!({
        "bus": bus,
        "time": entry.time_ms,
        "source": entry.source,
        "detail-type": entry.detail_type,
        "resources": entry.resources,
        "detail": detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::ErrorClass;

    fn call(details: &[&str]) -> EventCall {
        let entry = |detail: &&str| EventEntry {
            time_ms: 1_700_000_000_000,
            source: "deploywatch",
            detail_type: "Deploywatch Bytes Lost",
            detail: (*detail).to_owned(),
            resources: vec!["arn:1".to_owned()],
        };
        EventCall {
            bus: "default".into(),
            entries: details.iter().map(entry).collect(),
        }
    }

    fn lines(directory: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(directory.join(EVENTS_FILE)).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Every event is one line that says all that would be sent, and every entry is answered:
    /// shown by reading the lines back.
    #[test]
    fn each_event_is_one_object() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("not/yet");
        let mut sink = DirectoryEvents::new(&deep);
        sink.submit(CallId(3), call(&["{\"id\":\"a\"}", "{\"id\":\"b\\n\"}"]));
        let answer = sink.answer().unwrap();
        assert_eq!(
            (answer.id, answer.result),
            (CallId(3), Ok(vec![Ok(()), Ok(())]))
        );
        assert!(sink.answer().is_none());
        let expected = |id: &str| {
            json!({"bus": "default", "time": 1_700_000_000_000_i64, "source": "deploywatch",
                   "detail-type": "Deploywatch Bytes Lost", "resources": ["arn:1"],
                   "detail": {"id": id}})
        };
        assert_eq!(lines(&deep), [expected("a"), expected("b\n")]);
    }

    /// A file that cannot be written is an answer that names it, and the next try is whole: shown with a
    /// link in its place.
    #[test]
    fn trouble_with_the_file_is_an_answer_and_heals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(EVENTS_FILE);
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut sink = DirectoryEvents::new(dir.path());
        sink.submit(CallId(1), call(&["{}"]));
        let error = sink.answer().unwrap().result.unwrap_err();
        assert_eq!(error.class, ErrorClass::RetrySlowly);
        assert!(error.message.contains(path.to_str().unwrap()), "{error}");
        std::fs::remove_file(&path).unwrap();
        sink.submit(CallId(2), call(&["{}"]));
        assert_eq!(sink.answer().unwrap().result, Ok(vec![Ok(())]));
        assert_eq!(lines(dir.path()).len(), 1);
    }
}
