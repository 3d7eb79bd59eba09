//! What must hold for any bytes whatever: one function for each reader of what others write.
//!
//! The fuzzers run them without end, `cargo test --test hostile` over the kept corpus. A new reader
//! gets a function, a line in [`ALL`], a file in `fuzz_targets` and a folder in `corpus`.

use std::path::PathBuf;
use std::sync::Arc;

use deploywatch::codedeploy::{DEPLOYMENTS_MAX, Eras, News, Observer, Saved, layout};
use deploywatch::config::{Builtin, Config, Redact, Source, Timestamp};
use deploywatch::event::{FileId, Now, Offset};
use deploywatch::parse::redact::{RedactState, Redactor};
use deploywatch::parse::timestamp::{Dated, Dater};
use deploywatch::parse::{Chunk, Ending, Memory, Next, Parser};
use deploywatch::ship::checkpoint::Checkpoint;
use deploywatch::ship::rescue;
use jiff::tz::TimeZone;

/// A reader that holds its laws against some bytes, or panics.
pub(crate) type Target = fn(&[u8]);

/// All of them, by the name of their folder in `corpus`.
#[cfg_attr(fuzzing, expect(dead_code, reason = "a fuzzer names its one"))]
pub(crate) const ALL: &[(&str, Target)] = &[
    ("lines", lines),
    ("records", records),
    ("v1", v1),
    ("v2", v2),
    ("timestamp", timestamp),
    ("redact", redact),
    ("config", config),
    ("checkpoint", checkpoint),
    ("rescue", rescue),
];

/// The time of every reading.
const NOW: Now = Now {
    mono_ms: 1_000_000,
    wall_ms: 1_795_000_000_000,
};

/// Zones in which a local time may be missing or there twice.
const ZONES: [&str; 4] = [
    "UTC",
    "Etc/GMT+5",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "EST5EDT,M3.2.0,M11.1.0",
];

/// The user's sources, of which the first byte of the input chooses.
const SOURCES: [&str; 8] = [
    "",
    "event_bytes_max = 1000",
    "multiline = \"java\"\nevent_bytes_max = 1000",
    "multiline = \"python\"\nstrip_ansi = true",
    "multiline = { start = '^\\d{4}-' }\ntimestamp = \"%Y-%m-%d %H:%M:%S\"",
    "timestamp = { json = \"ts\" }\nexclude_lines = ['DEBUG']\nevent_bytes_max = 1000",
    "redact = \"off\"\ntimestamp = \"epoch_ms\"",
    "redact_rules = [{ name = \"card\", pattern = 'card=(?<secret>\\d+)' }]\nevent_bytes_max = 1000",
];

/// Every byte of a file belongs to one record, each event is text that may be sent, and what is
/// there ends: read in one piece, and again in pieces of any size.
pub(crate) fn lines(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let written = SOURCES[usize::from(choice) % SOURCES.len()];
    let text = format!("[[source]]\nname = \"a\"\npaths = [\"/x/*\"]\n{written}\n");
    let (config, _) = Config::parse(&[("a.toml".into(), text)]).expect("a good configuration");
    read(&config.sources[0], choice, bytes);
}

/// The same for the CodeDeploy agents' own records, of both generations, and for its configuration
/// and version file.
pub(crate) fn records(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let config = Config::default();
    let sources: Vec<_> = config.all_sources().collect();
    read(sources[usize::from(choice) % sources.len()], choice, bytes);
    if let Ok(found) = layout::parse(bytes) {
        for source in found.sources(&config.codedeploy) {
            assert!(
                source
                    .paths
                    .iter()
                    .all(|pattern| pattern.root.is_absolute())
            );
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _version = layout::parse_version(text);
    }
}

fn read(source: &Source, choice: u8, bytes: &[u8]) {
    let zone = zone(choice);
    let whole = pull(source, zone.clone(), bytes, bytes.len().max(1));
    let piece = usize::from(choice) % 61 + 3;
    let pieces = pull(source, zone, bytes, piece);
    assert_eq!(whole, bytes.len(), "a whole file is read to its end");
    assert_eq!(pieces, bytes.len(), "so is one in pieces");
}

/// Reads all, looking at `piece` bytes more each time nothing whole is there.
fn pull(source: &Source, zone: TimeZone, bytes: &[u8], piece: usize) -> usize {
    let mut parser = Parser::new(Arc::new(source.clone()), zone).expect("a good source");
    let mut memory = Memory::at(None);
    let (mut start, mut end) = (0, piece.min(bytes.len()));
    loop {
        let chunk = Chunk {
            file: FileId(1),
            start: Offset(start as u64),
            bytes: &bytes[start..end],
            ending: if end == bytes.len() {
                Ending::Final
            } else {
                Ending::More
            },
            text: parser.begin(&memory, &bytes[start..end]),
        };
        let mut at = 0;
        while at < chunk.bytes.len() {
            let taken = match parser.next(&memory, &chunk, at, NOW) {
                Next::Event(event, taken) | Next::Unwanted(event, taken) => {
                    assert!(!event.text.is_empty());
                    assert!(event.text.len() <= source.event_bytes_max);
                    let _settled = event.skip(deploywatch::event::Skip::Filtered);
                    taken
                }
                Next::Skipped(_ack, _, taken) => taken,
                Next::Incomplete(_) => break,
            };
            assert!(taken.bytes > 0, "a record has bytes");
            at += taken.bytes;
            parser.take(&mut memory, taken);
        }
        start += at;
        match end == bytes.len() {
            true => return start,
            false => end = (end + piece).min(bytes.len()),
        }
    }
}

fn zone(choice: u8) -> TimeZone {
    let name = ZONES[usize::from(choice / 8) % ZONES.len()];
    TimeZone::posix(name).unwrap_or(TimeZone::UTC)
}

/// Whatever records of the first generation tell, what is kept of deployments is bounded and can be
/// shown, is the same after a restart, and a record of its log that is there twice (as all are after a
/// restart of the CodeDeploy agent) changes nothing.
pub(crate) fn v1(data: &[u8]) {
    let head = "2026-11-21T02:11:56 INFO  [codedeploy-agent(28677)]: ";
    let text = String::from_utf8_lossy(data);
    let once = observe(&text, head, 1);
    if !text
        .split('\n')
        .any(|line| line.starts_with(['a', 'd', 's']))
    {
        let twice = observe(&text, head, 2);
        assert_eq!(once, twice, "a record that is there twice");
    }
}

/// The same for the second generation, which doubles nothing.
pub(crate) fn v2(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _told = observe(&text, "2026-11-21 03:24:31  INFO ", 1);
}

/// Longest text that may be kept of a record, in bytes: a command's identifier.
const KEPT_BYTES_MAX: usize = 4_096;

/// What is told of these records, each heard so many times. Each line is a record, and its first letter
/// says of which log: `m` a message of the agent log behind a good head, `a` anything in that log, `d`
/// the deployments log, `s` a scripts.log; `t` lets an hour pass, anything else a second.
fn observe(text: &str, head: &str, times: usize) -> (Vec<News>, String) {
    let mut now = NOW;
    let eras = Eras {
        boot_ms: Some(NOW.wall_ms + 60_000),
        since_ms: NOW.wall_ms + 30_000,
    };
    let mut observer = Observer::new(None, eras);
    let mut news = Vec::new();
    for line in text.split('\n') {
        let (kind, rest) = line.split_at(line.chars().next().map_or(0, char::len_utf8));
        let (feed, record) = match kind {
            "m" => (Builtin::Agent, format!("{head}{rest}")),
            "a" => (Builtin::Agent, rest.to_owned()),
            "d" => (Builtin::Deployments, rest.to_owned()),
            "s" => (Builtin::Scripts, rest.to_owned()),
            _ => (Builtin::Local, String::new()),
        };
        let pause_ms = if kind == "t" { 3_600_000 } else { 1_000 };
        now.mono_ms += pause_ms;
        now.wall_ms += pause_ms as i64;
        let path = PathBuf::from("/r/g/d-AAAAAAAAA/logs/scripts.log");
        for _ in 0..times {
            observer.hear(feed, &path, &record, now.wall_ms, now);
        }
        observer.step(now);
        news.extend(observer.take_news());
    }
    let shown = observer.deployments(now);
    assert!(shown.deployments.len() <= DEPLOYMENTS_MAX);
    assert!(shown.running_seconds.is_finite() && shown.running_seconds >= 0.0);
    let shown = serde_json::to_value((shown, observer.health())).expect("numbers and texts");
    assert_showable(&shown);
    let saved = serde_json::to_string(&observer.saved()).expect("numbers and texts");
    let restored: Saved = serde_json::from_str(&saved).expect("what was written can be read");
    let again = Observer::new(Some(restored), eras).saved();
    assert_eq!(
        serde_json::to_string(&again).expect("numbers and texts"),
        saved
    );
    (news, shown.to_string())
}

/// Every text in it is bounded and moves no terminal.
fn assert_showable(value: &serde_json::Value) {
    match value {
        serde_json::Value::String(text) => {
            assert!(
                text.len() <= KEPT_BYTES_MAX && !text.contains(char::is_control),
                "{text:?}"
            );
        }
        serde_json::Value::Array(values) => values.iter().for_each(assert_showable),
        serde_json::Value::Object(fields) => fields.values().for_each(assert_showable),
        _ => {}
    }
}

/// Any text has a time that may be believed, or none; and the same text the same one.
pub(crate) fn timestamp(data: &[u8]) {
    let rules = [
        Timestamp::Auto,
        Timestamp::EpochMillis,
        Timestamp::EpochSeconds,
        Timestamp::Json("ts".to_owned()),
        Timestamp::CodeDeployAgent,
        Timestamp::CodeDeployDeployments,
        Timestamp::CodeDeployScripts,
        Timestamp::CodeDeployUpdater,
        Timestamp::Pattern("%d/%b/%Y:%H:%M:%S %z".to_owned()),
    ];
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let rule = &rules[usize::from(choice) % rules.len()];
    let mut dater = Dater::new(rule, zone(choice)).expect("a good rule");
    for line in bytes.split(|byte| *byte == b'\n') {
        let dated = dater.date(line, NOW.wall_ms);
        if let Dated::At(time_ms) = dated {
            assert!(time_ms <= NOW.wall_ms + 2 * 3_600_000, "{time_ms}");
        }
    }
    let pattern = String::from_utf8_lossy(bytes).into_owned();
    if let Ok(mut dater) = Dater::new(&Timestamp::Pattern(pattern), TimeZone::UTC) {
        let _dated = dater.date(bytes, NOW.wall_ms);
    }
}

/// What is taken out is counted, what stays stays in its order, a planted secret goes, wherever the
/// line is cut.
pub(crate) fn redact(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let rules = Redact {
        builtin: true,
        rules: Vec::new(),
    };
    let mut redactor = Redactor::new(&rules);
    let mut state = RedactState::default();
    for line in text.split('\n') {
        let may = state.is_active() || redactor.suspicious(line.as_bytes());
        if let Some(result) = redactor.redact(&mut state, line) {
            assert!(may, "the prefilter missed it");
            let markers = |text: &str| text.matches("[redacted:").count() as u64;
            let counted: u64 = redactor.take_counts().values().sum();
            assert!(markers(&result) <= counted + markers(line));
        }
    }
    let cut = data
        .first()
        .map_or(0, |byte| usize::from(*byte))
        .min(text.len());
    let cut = text.floor_char_boundary(cut);
    if cut > 0 {
        let cut = redactor.cut_before(text.as_bytes(), cut);
        assert!(cut > 0 && text.is_char_boundary(cut));
        let mut state = RedactState::default();
        let _first = redactor.redact_part(&mut state, &text[..cut]);
        let _second = redactor.redact(&mut state, &text[cut..]);
        redactor.recall(&mut RedactState::default(), &data[..data.len() / 2]);
    }
    let planted = format!("{text} password=q7ZpX9vK2mB4nT6w");
    let result = redactor.redact(&mut RedactState::default(), &planted);
    assert!(!result.unwrap_or(planted).contains("q7ZpX9vK2mB4nT6w"));
}

/// A configuration is taken, or refused with at least one mistake that says something.
pub(crate) fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    match Config::parse(&[(PathBuf::from("a.toml"), text)]) {
        Ok((config, _notes)) => {
            for source in config.all_sources() {
                for pattern in &source.paths {
                    let _fits = pattern.matches(&pattern.root.join("a/b/c.log"));
                }
            }
        }
        Err(mistakes) => assert!(!mistakes.is_empty()),
    }
}

/// What is read as a checkpoint is written as the same one.
pub(crate) fn checkpoint(data: &[u8]) {
    if let Ok(known) = Checkpoint::decode(data) {
        assert_eq!(Checkpoint::decode(&known.encode()), Ok(known));
    }
    // No fuzzer finds a checksum: the same body with the right one.
    if let Ok(known) = Checkpoint::decode_body(data) {
        assert_eq!(Checkpoint::decode(&known.encode()), Ok(known));
    }
}

/// What is read as a rescued segment is as long as it says, and written as the same one.
pub(crate) fn rescue(data: &[u8]) {
    if let Ok((segment, bytes)) = rescue::decode(data) {
        assert_eq!(segment.length, bytes.len() as u64);
        let again = rescue::decode(&rescue::encode(&segment, &bytes));
        assert_eq!(again, Ok((segment, bytes)));
    }
}
