//! The metric service that is a file: what would be sent to CloudWatch is written to
//! `metrics.ndjson`, one JSON object a datum: `namespace`, `name`, `dimensions`, `timestamp` in
//! ms, `unit`, `resolution` in seconds, and `value`, or `values` with `counts`, or `statistics`
//! (`count`, `sum`, `min`, `max`).
//!
//! The promises are those of the log lines' file beside it, except one: after an answer that could
//! not be given because the process was killed, the same data are written a second time, as they
//! would be sent to CloudWatch.

use std::collections::VecDeque;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Appended;
use crate::ports::{CallId, Datum, MetricAnswer, MetricCall, MetricService, Numbers};

/// The file's name in the directory.
pub const METRICS_FILE: &str = "metrics.ndjson";

/// Writes data points to a file and answers at once.
#[derive(Debug)]
pub struct DirectoryMetrics {
    file: Appended,
    answers: VecDeque<MetricAnswer>,
}

impl DirectoryMetrics {
    /// A sink for a directory, which is made with the first data if it is not there.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            file: Appended::new(directory, METRICS_FILE),
            answers: VecDeque::new(),
        }
    }

    /// Whether answers wait to be taken: nobody is woken for them.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }
}

impl MetricService for DirectoryMetrics {
    fn submit(&mut self, id: CallId, call: MetricCall) {
        let objects = call.data.iter();
        let objects = objects.map(|datum| object(&call.namespace, datum));
        let result = self.file.write_lines(objects);
        self.answers.push_back(MetricAnswer { id, result });
    }

    fn answer(&mut self) -> Option<MetricAnswer> {
        self.answers.pop_front()
    }
}

fn object(namespace: &str, datum: &Datum) -> Value {
    let dimensions = datum.dimensions.iter();
    let dimensions: Map<String, Value> = dimensions
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let mut object = json!({
        "namespace": namespace,
        "name": datum.name,
        "dimensions": dimensions,
        "timestamp": datum.time_ms,
        "unit": datum.unit,
        "resolution": datum.resolution_s,
    });
    match &datum.numbers {
        Numbers::One(value) => object["value"] = json!(value),
        Numbers::Many(values) => {
            object["values"] = values.iter().map(|(value, _)| *value).collect();
            object["counts"] = values.iter().map(|(_, count)| *count).collect();
        }
        Numbers::Summary(summary) => object["statistics"] = json!(summary),
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{ErrorClass, ServiceError, Summary};

    fn call(numbers: Numbers) -> MetricCall {
        let datum = Datum {
            name: "LifecycleEventSeconds".to_owned(),
            dimensions: vec![("LifecycleEvent".to_owned(), "After\"Install".to_owned())],
            time_ms: 1_795_262_400_000,
            unit: "Seconds".to_owned(),
            resolution_s: 60,
            numbers,
        };
        MetricCall {
            namespace: "Deploywatch".into(),
            data: [datum].into(),
        }
    }

    fn put(sink: &mut DirectoryMetrics, numbers: Numbers) -> Result<(), ServiceError> {
        sink.submit(CallId(3), call(numbers));
        let answer = sink.answer().expect("one answer per call");
        assert_eq!(answer.id, CallId(3));
        assert!(sink.answer().is_none(), "one answer only");
        answer.result
    }

    /// The file's text changes only on purpose: shown by the whole file with each kind of numbers.
    #[test]
    fn the_file_is_as_documented() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = DirectoryMetrics::new(&dir.path().join("not/yet"));
        let summary = Numbers::Summary(Summary {
            count: 4.0,
            sum: 10.5,
            min: 1.0,
            max: 5.0,
        });
        for numbers in [
            Numbers::One(0.0),
            Numbers::Many(vec![(1.5, 1.0), (2.0, 3.0)]),
            summary,
        ] {
            put(&mut sink, numbers).unwrap();
        }
        let text = std::fs::read_to_string(dir.path().join("not/yet").join(METRICS_FILE)).unwrap();
        let head = r#"{"dimensions":{"LifecycleEvent":"After\"Install"},"name":"LifecycleEventSeconds","namespace":"Deploywatch","resolution":60"#;
        let time = r#""timestamp":1795262400000,"unit":"Seconds""#;
        let expected = [
            format!(r#"{head},{time},"value":0.0}}"#),
            format!(
                r#"{{"counts":[1.0,3.0],{},{time},"values":[1.5,2.0]}}"#,
                &head[1..]
            ),
            format!(
                r#"{head},"statistics":{{"count":4.0,"max":5.0,"min":1.0,"sum":10.5}},{time}}}"#
            ),
        ];
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines, expected);
    }

    /// Nothing is accepted that could not be written, and what was torn harms no other line: shown
    /// with a link in its place, and with half a line in the file.
    #[test]
    fn trouble_with_the_file_is_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(METRICS_FILE);
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut sink = DirectoryMetrics::new(dir.path());
        let error = put(&mut sink, Numbers::One(1.0)).unwrap_err();
        assert_eq!(error.class, ErrorClass::RetrySlowly);
        assert!(error.message.contains(path.to_str().unwrap()), "{error}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "{\"na").unwrap();
        put(&mut sink, Numbers::One(2.0)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["value"], 2.0);
    }
}
