//! What arrived: follows the NDJSON file the agent's directory sink writes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::machine::Key;

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

/// The file, and how far it is read.
#[derive(Debug)]
pub(super) struct Arrivals {
    path: PathBuf,
    offset: u64,
    /// A line of which the end is not there yet.
    rest: Vec<u8>,
    /// Everything that arrived, in order.
    pub(super) all: Vec<Arrived>,
    counts: HashMap<Key, usize>,
}

impl Arrivals {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            rest: Vec::new(),
            all: Vec::new(),
            counts: HashMap::new(),
        }
    }

    /// The file that is followed.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many events of a log have arrived.
    pub(super) fn count(&self, key: &Key) -> usize {
        self.counts.get(key).copied().unwrap_or(0)
    }

    /// Reads on; the number of events that were there before.
    pub(super) fn look(&mut self) -> io::Result<usize> {
        let before = self.all.len();
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(before),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        self.offset += file.read_to_end(&mut self.rest)? as u64;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(before);
        };
        let open = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, open);
        for line in whole.split(|byte| *byte == b'\n') {
            if !line.is_empty() {
                let line: Line = serde_json::from_slice(line)?;
                self.take(line);
            }
        }
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
