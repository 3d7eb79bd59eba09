//! What arrived: follows the NDJSON file the agent's directory sink writes.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::machine::Key;
use super::ndjson::Followed;

/// One delivered event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Log group.
    pub(super) group: String,
    /// Log stream.
    pub(super) stream: String,
    /// The text.
    pub(super) message: String,
    /// Which of the machine's logs it is from, by the event's source and path.
    pub(super) key: Key,
}

/// A line of the file.
#[derive(Deserialize)]
struct Line {
    group: String,
    stream: String,
    message: String,
    source: String,
    path: PathBuf,
}

/// The file, and what is in it so far.
#[derive(Debug)]
pub(super) struct Arrivals {
    file: Followed,
    /// Everything that arrived, in order.
    pub(super) all: Vec<Arrived>,
    counts: HashMap<Key, usize>,
}

impl Arrivals {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            file: Followed::new(path),
            all: Vec::new(),
            counts: HashMap::new(),
        }
    }

    /// The file that is followed.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// How many events of a log have arrived.
    pub(super) fn count(&self, key: &Key) -> usize {
        self.counts.get(key).copied().unwrap_or(0)
    }

    /// Reads on; the number of events that were there before.
    pub(super) fn look(&mut self) -> io::Result<usize> {
        let before = self.all.len();
        let lines: Vec<Line> = self.file.read_on()?;
        lines.into_iter().for_each(|line| self.take(line));
        Ok(before)
    }

    fn take(&mut self, line: Line) {
        let key = match line.source.as_str() {
            "scripts" => Key {
                deployment: deployment_of(&line.path),
                source: line.source,
            },
            _ => Key::of(&line.source),
        };
        *self.counts.entry(key.clone()).or_default() += 1;
        self.all.push(Arrived {
            group: line.group,
            stream: line.stream,
            message: line.message,
            key,
        });
    }
}

/// The deployment id in `…/<deployment>/logs/scripts.log`.
fn deployment_of(path: &Path) -> Option<String> {
    let directory = path.parent()?.parent()?;
    Some(directory.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_are_taken_when_they_are_whole() {
        // An event counts once, when its line has its end; shown by writing one in two halves.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs.ndjson");
        let mut arrivals = Arrivals::new(path.clone());
        assert_eq!(arrivals.look().unwrap(), 0);
        let mut file = File::create(&path).unwrap();
        let line = concat!(
            r#"{"group":"g","stream":"s","timestamp":1,"message":"m","#,
            r#""source":"scripts","path":"/r/group/d-1/logs/scripts.log"}"#,
            "\n"
        );
        let (first, second) = line.split_at(30);
        file.write_all(first.as_bytes()).unwrap();
        arrivals.look().unwrap();
        assert_eq!(arrivals.all.len(), 0);
        file.write_all(second.as_bytes()).unwrap();
        assert_eq!(arrivals.look().unwrap(), 0);
        assert_eq!(arrivals.look().unwrap(), 1);
        assert_eq!(arrivals.all[0].message, "m");
        assert_eq!(arrivals.count(&Key::scripts("d-1")), 1);
    }
}
