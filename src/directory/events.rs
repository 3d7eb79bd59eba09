//! The event service that is a file: what would be sent to EventBridge is written to
//! `events.ndjson`, one JSON object an event: `bus`, `time` in ms, `source`, `detail-type`,
//! `resources`, `detail`.
//!
//! The promises are those of the log lines' file beside it. After an answer that could not be
//! given because the process was killed, the same events are written a second time, under the same
//! ids.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Output;
use crate::ports::{
    CallId, ErrorClass, EventAnswer, EventCall, EventEntry, EventService, ServiceError,
};

/// The file's name in the directory.
pub const EVENTS_FILE: &str = "events.ndjson";

/// Writes events to a file and answers at once.
#[derive(Debug)]
pub struct DirectoryEvents {
    directory: PathBuf,
    path: PathBuf,
    open: Option<Output>,
    answers: VecDeque<EventAnswer>,
}

impl DirectoryEvents {
    /// A sink for a directory, which is made with the first event if it is not there.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            path: directory.join(EVENTS_FILE),
            open: None,
            answers: VecDeque::new(),
        }
    }

    /// Whether answers wait to be taken: nobody is woken for them.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    fn put(&mut self, call: &EventCall) -> Result<(), ServiceError> {
        let mut output = match self.open.take() {
            Some(output) if output.is_still_at(&self.path) => output,
            _ => Output::open(&self.directory, &self.path)
                .map_err(|error| self.error("open", &error))?,
        };
        let mut lines = Vec::new();
        for entry in &call.entries {
            // Into memory, where nothing fails.
            lines.extend(object(&call.bus, entry).to_string().into_bytes());
            lines.push(b'\n');
        }
        let written = output.file.write_all(&lines).and_then(|()| output.commit());
        if let Err(error) = written {
            // What cannot be cut off is looked at again by the next open, which ends a torn line.
            if output.cut_back().is_ok() {
                self.open = Some(output);
            }
            return Err(self.error("write", &error));
        }
        self.open = Some(output);
        Ok(())
    }

    fn error(&self, verb: &str, error: &io::Error) -> ServiceError {
        ServiceError {
            class: ErrorClass::RetrySlowly,
            code: "Directory".to_owned(),
            message: format!("failed to {verb} {}: {error}", self.path.display()),
        }
    }
}

impl EventService for DirectoryEvents {
    fn submit(&mut self, id: CallId, call: EventCall) {
        let result = self.put(&call);
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

    /// A full disk takes nothing and names the file, and the next try is whole: shown with the
    /// device that is always full.
    #[test]
    fn a_full_disk_is_an_answer_and_heals() {
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
