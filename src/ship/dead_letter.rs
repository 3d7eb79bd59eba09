//! Events the service refuses even alone, kept for people to look at.
//!
//! `dead-letter/events.ndjson`, one object a line: `time_ms`, `group`, `stream`, `source`, `path`,
//! `error`, `message`. When it is full it becomes `events.ndjson.1` and what was there before goes;
//! so much is kept and no more (an event longer than the bound stands alone). Redaction happened
//! long before: what is here is what would have been sent.

use std::collections::VecDeque;
use std::io;

use crate::ports::Store;

use super::Poison;
use super::encode::{push_escaped, push_integer};

/// Most bytes of each of the two files.
pub const DEAD_LETTER_BYTES_MAX: u64 = 4 << 20;

const FOLDER: &str = "dead-letter";
const NAME: &str = "dead-letter/events.ndjson";
const OLD_NAME: &str = "dead-letter/events.ndjson.1";

/// The file, and how full it is.
#[derive(Debug)]
pub struct DeadLetter {
    bytes: u64,
    /// Lines that could not be written, the oldest first.
    waiting: VecDeque<Vec<u8>>,
    /// Those that there was no room for among them, until somebody asks.
    dropped: usize,
}

impl DeadLetter {
    /// Looks at what is there.
    ///
    /// # Errors
    /// As the state directory says.
    pub fn open(store: &mut dyn Store) -> io::Result<Self> {
        let names = store.names(FOLDER)?;
        let file = names
            .iter()
            .find(|(name, _)| NAME.ends_with(name.as_str()) || name == NAME);
        Ok(Self {
            bytes: file.map_or(0, |(_, bytes)| *bytes),
            waiting: VecDeque::new(),
            dropped: 0,
        })
    }

    /// How many events wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many events waited in vain since this was asked last.
    pub fn take_dropped(&mut self) -> usize {
        std::mem::take(&mut self.dropped)
    }

    /// Adds events. What cannot be written waits for the next call, at most as much as a file holds.
    ///
    /// # Errors
    /// As the state directory says.
    pub fn add(&mut self, store: &mut dyn Store, poisons: &[Poison]) -> io::Result<()> {
        self.waiting.extend(poisons.iter().map(line));
        while let Some(line) = self.waiting.pop_front() {
            if let Err(error) = self.write(store, &line) {
                self.waiting.push_front(line);
                self.make_room();
                return Err(error);
            }
        }
        Ok(())
    }

    fn write(&mut self, store: &mut dyn Store, line: &[u8]) -> io::Result<()> {
        let bytes = line.len() as u64;
        if self.bytes > 0 && self.bytes + bytes > DEAD_LETTER_BYTES_MAX {
            match store.rename(NAME, OLD_NAME) {
                // Somebody took it away to look at it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
            self.bytes = 0;
        }
        store.append(NAME, line)?;
        self.bytes += bytes;
        Ok(())
    }

    fn make_room(&mut self) {
        let mut bytes: u64 = self.waiting.iter().map(|line| line.len() as u64).sum();
        while bytes > DEAD_LETTER_BYTES_MAX && self.waiting.len() > 1 {
            bytes -= self.waiting.pop_front().map_or(0, |line| line.len() as u64);
            self.dropped += 1;
        }
    }
}

fn line(poison: &Poison) -> Vec<u8> {
    let mut line = b"{\"time_ms\":".to_vec();
    push_integer(&mut line, poison.time_ms);
    let path = poison.file.path.to_string_lossy();
    for (key, text) in [
        (",\"group\":\"", poison.target.group.as_str()),
        ("\",\"stream\":\"", &poison.target.stream),
        ("\",\"source\":\"", &poison.file.source),
        ("\",\"path\":\"", &path),
        ("\",\"error\":\"", &poison.error),
    ] {
        line.extend_from_slice(key.as_bytes());
        push_escaped(&mut line, text);
    }
    line.extend_from_slice(b"\",\"message\":\"");
    line.extend_from_slice(poison.message.as_bytes());
    line.extend_from_slice(b"\"}\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ship::testing::{Disk, MemoryStore, poison};

    /// A line is one JSON object with everything a person needs, the message as it was.
    #[test]
    fn a_line_is_json() {
        let mut store = MemoryStore::default();
        let mut letter = DeadLetter::open(&mut store).unwrap();
        letter.add(&mut store, &[poison("a \\\"b\\\"\\n")]).unwrap();
        let content = store.load(NAME).unwrap().unwrap();
        let read: serde_json::Value = serde_json::from_slice(&content).unwrap();
        let wanted = serde_json::json!({
            "time_ms": 7, "group": "/a", "stream": "s\"", "source": "app",
            "path": "/var/log/a\n.log", "error": "InvalidParameterException: \"no\"",
            "message": "a \"b\"\n",
        });
        assert_eq!(read, wanted);
    }

    /// Two files of bounded size hold the newest events, whatever is added, over restarts too.
    #[test]
    fn it_is_bounded() {
        let mut store = MemoryStore::default();
        for nth in 0..40 {
            let mut letter = DeadLetter::open(&mut store).unwrap();
            let message = format!("{nth:04}{}", "x".repeat(500_000));
            letter.add(&mut store, &[poison(&message)]).unwrap();
            for (_, bytes) in store.names(FOLDER).unwrap() {
                assert!(bytes <= DEAD_LETTER_BYTES_MAX);
            }
        }
        let newest = store.load(NAME).unwrap().unwrap();
        assert!(String::from_utf8(newest).unwrap().contains("\"0039x"));
        assert_eq!(store.names(FOLDER).unwrap().len(), 2);
    }

    /// Of what cannot be written, the newest events wait, as many as a file holds, and the others are
    /// counted: each event is in the end written, or one of those. Shown on a disk that was full.
    #[test]
    fn what_waits_in_vain_is_counted() {
        let mut disk = Disk::full();
        let mut letter = DeadLetter::open(&mut disk).unwrap();
        let long = "x".repeat(500_000);
        for _ in 0..20 {
            letter.add(&mut disk, &[poison(&long)]).unwrap_err();
        }
        let waiting = letter.waiting();
        assert!(waiting * long.len() <= DEAD_LETTER_BYTES_MAX as usize);
        assert_eq!(letter.take_dropped() + waiting, 20);
        assert_eq!(letter.take_dropped(), 0);
        disk.is_full = false;
        letter.add(&mut disk, &[]).unwrap();
        let written = disk.load(NAME).unwrap().unwrap();
        assert_eq!(written.split(|byte| *byte == b'\n').count() - 1, waiting);
    }

    /// Who takes the file away to look at it costs nobody the events that come after: shown with one
    /// that was nearly full.
    #[test]
    fn it_goes_on_when_the_file_is_taken_away() {
        let mut store = MemoryStore::default();
        let mut letter = DeadLetter::open(&mut store).unwrap();
        let long = "x".repeat(3 << 20);
        letter.add(&mut store, &[poison(&long)]).unwrap();
        store.remove(NAME).unwrap();
        letter.add(&mut store, &[poison(&long)]).unwrap();
        let kept = store.names(FOLDER).unwrap();
        assert_eq!(kept.len(), 1, "{kept:?}");
    }
}
