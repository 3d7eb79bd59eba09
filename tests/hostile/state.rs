//! Whatever is found in the state directory: no line is lost, nothing outside is touched.

#![cfg(test)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use deploywatch::event::Offset;
use deploywatch::ports::sealed::seal;
use deploywatch::ship::rescue::{Segment, encode};
use proptest::prelude::*;

use crate::machine::Machine;

/// What is done to one file of the state.
#[derive(Clone, Debug)]
enum Harm {
    /// A bit at a place (in thousandths of the file).
    Flip(usize, u8),
    /// Cut at a place (in thousandths).
    Cut(usize),
    /// Its content and another's change places.
    Swap(usize),
    /// A link to a file elsewhere.
    Link,
    /// A link to nothing.
    Dangling,
    /// A directory with something in it.
    Directory,
    /// A FIFO that nobody writes to.
    Fifo,
    /// So large that it fits in no memory.
    Huge,
    /// Any bytes.
    Bytes(Vec<u8>),
    /// Numbers as large as they can be, with a checksum that is right.
    Numbers(&'static str, u64),
    /// Gone.
    Gone,
}

const FILES: [&str; 12] = [
    "boots",
    "boots.damaged-1",
    "alarms-order",
    "rescue",
    "dead-letter",
    "checkpoints.damaged-1",
    "checkpoints",
    "checkpoints.recent",
    "checkpoints.changes",
    "rescue/0000000000000001.gz",
    "rescue/0000000000000002.gz",
    "dead-letter/events.ndjson",
];

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        6 => (0usize..1000, 0u8..8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        2 => (0usize..1000).prop_map(Harm::Cut),
        2 => (0..FILES.len()).prop_map(Harm::Swap),
        5 => prop::sample::select(vec![Harm::Link, Harm::Dangling, Harm::Directory, Harm::Fifo, Harm::Huge]),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Harm::Bytes),
        2 => (
            prop::sample::select(vec!["settled", "size", "sequence", "next_loss", "modified_ms", "events_delivered", "start", "length"]),
            prop::sample::select(vec![u64::MAX, i64::MAX as u64, i64::MAX as u64 + 1, 1 << 59, 1 << 60, (1 << 60) + 1]),
        ).prop_map(|(key, number)| Harm::Numbers(key, number)),
        1 => Just(Harm::Gone),
    ]
}

impl Harm {
    fn apply(&self, state: &Path, name: &str, victim: &Path) {
        let path = state.join(name);
        // An earlier harm may have come to its folder.
        if !path.parent().is_some_and(is_folder) {
            return;
        }
        let content = content_of(&path);
        let at = |thousandths: usize| thousandths * content.len() / 1000;
        let place = |content: &[u8]| {
            remove(&path);
            fs::write(&path, content).unwrap();
        };
        match self {
            Self::Flip(thousandths, bit) if !content.is_empty() => {
                let mut content = content.clone();
                content[at(*thousandths)] ^= 1 << bit;
                place(&content);
            }
            Self::Cut(thousandths) => place(&content[..at(*thousandths)]),
            Self::Swap(with) => {
                let other = state.join(FILES[*with]);
                let theirs = content_of(&other);
                place(&theirs);
                // What was put in the place of its folder, now or by an earlier harm, took it along.
                if other.parent().is_some_and(is_folder) {
                    remove(&other);
                    fs::write(&other, content).unwrap();
                }
            }
            Self::Link | Self::Dangling => {
                remove(&path);
                let to = match self {
                    Self::Link => victim.to_owned(),
                    _ => PathBuf::from("/nonexistent/x"),
                };
                symlink(to, &path).unwrap();
            }
            Self::Directory => {
                remove(&path);
                fs::create_dir(&path).unwrap();
                fs::write(path.join("x"), "x").unwrap();
            }
            Self::Fifo => {
                remove(&path);
                let made = std::process::Command::new("mkfifo").arg(&path).status();
                assert!(made.unwrap().success());
            }
            Self::Huge => {
                if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
                    remove(&path);
                }
                let file = fs::File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(&path);
                file.unwrap().set_len(1 << 40).unwrap();
            }
            Self::Bytes(bytes) => place(bytes),
            Self::Numbers(key, number) => {
                if let Some(content) = with_number(&content, key, *number) {
                    place(&content);
                }
            }
            Self::Gone => remove(&path),
            Self::Flip(..) => {}
        }
    }
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// What a file holds, if it is one and was not harmed before.
fn content_of(path: &Path) -> Vec<u8> {
    let is_ours =
        fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() < 1 << 20);
    match is_ours {
        true => fs::read(path).unwrap(),
        false => Vec::new(),
    }
}

fn remove(path: &Path) {
    let _gone = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
}

/// A checkpoint or segment with another number and the checksum that belongs to it.
fn with_number(content: &[u8], key: &str, number: u64) -> Option<Vec<u8>> {
    let line_end = content.iter().position(|byte| *byte == b'\n')?;
    let (head_line, rest) = content.split_at(line_end);
    let head: serde_json::Value = serde_json::from_slice(head_line).ok()?;
    let text = format!("\"{key}\":");
    let replaced = |json: &[u8]| {
        let json = std::str::from_utf8(json).ok()?;
        let at = json.find(&text)? + text.len();
        let digits = json[at..]
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'-')
            .count();
        Some(format!("{}{number}{}", &json[..at], &json[at + digits..]))
    };
    if head["deploywatch"] != "rescue" {
        return with_sum(&head, &replaced(&rest[1..])?);
    }
    Some([replaced(head_line)?.as_bytes(), rest].concat())
}

/// A file of this head's kind and this body, with the checksum that belongs to it.
pub(crate) fn with_sum(head: &serde_json::Value, body: &str) -> Option<Vec<u8>> {
    let version = u32::try_from(head["version"].as_u64()?).ok()?;
    let kind = head["deploywatch"].as_str()?;
    Some(seal(kind, version, body.as_bytes().to_vec()))
}

/// State as a run leaves it that was interrupted: a checkpoint, two rescued pieces, a dead letter.
fn lived_in(config: &str, machine: &Machine) {
    fs::write(machine.path("logs/a.log"), "one\ntwo\n").unwrap();
    fs::write(machine.path("logs/b.log"), "three\n").unwrap();
    machine.drain(config).unwrap();
    let state = machine.path("state");
    for copy in ["checkpoints.recent", "checkpoints.changes"] {
        fs::copy(state.join("checkpoints"), state.join(copy)).unwrap();
    }
    for dir in ["rescue", "dead-letter"] {
        fs::create_dir_all(state.join(dir)).unwrap();
    }
    for (nth, (start, data)) in [(0, "rescued 1\n"), (10, "rescued 2\n")].iter().enumerate() {
        let segment = Segment {
            source: "app".to_owned(),
            path: machine.path("logs/gone.log"),
            family: machine.path("logs/gone.log"),
            root: machine.path("logs"),
            start: Offset(*start),
            heard: Offset(*start),
            length: data.len() as u64,
            at_ms: 9,
        };
        let name = format!("rescue/{:016}.gz", nth + 1);
        fs::write(state.join(name), encode(&segment, data.as_bytes())).unwrap();
    }
    fs::write(state.join("dead-letter/events.ndjson"), "{}\n").unwrap();
    fs::write(state.join("boots"), seal("boots", 1, b"{}".to_vec())).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_state_crashes_or_misleads(
        harms in prop::collection::vec((0..FILES.len(), harm()), 1..4),
    ) {
        // After any harm to any of its files the agent starts, delivers every line of the logs that
        // are there at least once (those written later exactly once), follows no link, and does not
        // read what was set aside again at the next start.
        let machine = Machine::new();
        let config = machine.source("*.log", "");
        lived_in(&config, &machine);
        let state = machine.path("state");
        let victim = machine.path("victim");
        fs::write(&victim, "theirs\n").unwrap();
        for (file, harm) in &harms {
            harm.apply(&state, FILES[*file], &victim);
        }
        fs::write(machine.path("logs/later.log"), "later\n").unwrap();
        let status = machine.drain(&config);
        prop_assert!(status.is_ok(), "{:?}", status);
        let messages = machine.messages();
        for line in ["one", "two", "three", "later"] {
            prop_assert!(messages.iter().any(|message| message == line), "{} of {:?}", line, messages);
        }
        prop_assert_eq!(messages.iter().filter(|message| *message == "later").count(), 1);
        prop_assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs\n");
        let before = messages.len();
        let again = machine.drain(&config);
        prop_assert!(again.is_ok(), "{:?}", again);
        let repeated = machine.messages().len() - before;
        // A rescued piece that could not be removed comes again; nothing else does.
        prop_assert!(repeated <= 2, "{} came again", repeated);
    }
}
