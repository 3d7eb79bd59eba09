//! The parts of a line's path by themselves: parser, redaction, timestamp, encoder.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deploywatch::config::{Builtin, Config, Source, Timestamp};
use deploywatch::event::{Event, FileId, FileOrigin, Now, Offset, Origin, Span, Target};
use deploywatch::parse::redact::{RedactState, Redactor};
use deploywatch::parse::timestamp::Dater;
use deploywatch::parse::{Chunk, Ending, Memory, Next, Parser};
use deploywatch::ship::{Limits, Push, Shipper};
use jiff::tz::TimeZone;

use super::{measured, text};

const NOW: Now = Now {
    mono_ms: 1_000,
    wall_ms: 1_795_230_000_000,
};

/// Records of one line.
pub(crate) fn parse_plain() -> u64 {
    parse(&plain_source(), &text::plain(4_000))
}

/// Records of several lines.
pub(crate) fn parse_agent_log() -> u64 {
    let config = Config::default();
    let (_, source) = config
        .codedeploy
        .sources
        .iter()
        .find(|(builtin, _)| *builtin == Builtin::Agent)
        .expect("there is a source for the agent's log");
    parse(source, &text::repeated(text::AGENT_LOG, 256 << 10))
}

fn parse(source: &Source, text: &str) -> u64 {
    let mut parser =
        Parser::new(Arc::new(source.clone()), TimeZone::UTC).expect("the source can be parsed");
    let mut records = 0;
    measured(&mut || {
        let mut memory = Memory::at(None);
        let bytes = text.as_bytes();
        let text = parser.begin(&memory, bytes);
        let chunk = Chunk {
            file: FileId(1),
            start: Offset(0),
            bytes,
            ending: Ending::Final,
            text,
        };
        let mut at = 0;
        while at < bytes.len() {
            match parser.next(&memory, &chunk, at, NOW) {
                Next::Event(event, taken) | Next::Unwanted(event, taken) => {
                    let (_ack, _) = event.skip(deploywatch::event::Skip::Filtered);
                    at += taken.bytes;
                    parser.take(&mut memory, taken);
                    records += 1;
                }
                Next::Skipped(_ack, _, taken) => {
                    at += taken.bytes;
                    parser.take(&mut memory, taken);
                }
                Next::Incomplete(_) => panic!("a final chunk has no incomplete record"),
            }
        }
    });
    assert!(records > 100, "{records} records");
    text::lines_of(text)
}

/// One look over a chunk without a secret.
pub(crate) fn redact_innocent() -> u64 {
    let source = plain_source();
    let redactor = Redactor::new(&source.redact);
    let text = text::plain(4_000);
    let mut is_suspicious = true;
    measured(&mut || is_suspicious = redactor.suspicious(text.as_bytes()));
    assert!(!is_suspicious, "the plain lines hold nothing like a secret");
    text::lines_of(&text)
}

/// Lines that hold secrets, one by one.
pub(crate) fn redact_secrets() -> u64 {
    let source = plain_source();
    let mut redactor = Redactor::new(&source.redact);
    let text = text::repeated(text::SCRIPTS_LOG, 128 << 10);
    let lines: Vec<&str> = text.lines().collect();
    let mut changed = 0;
    measured(&mut || {
        let mut state = RedactState::default();
        for line in &lines {
            changed += u64::from(redactor.redact(&mut state, line).is_some());
        }
    });
    assert!(changed > 0, "the recorded lines hold secrets");
    text::lines_of(&text)
}

/// The usual ISO time, found by itself.
pub(crate) fn timestamp_auto() -> u64 {
    let mut dater = Dater::new(&Timestamp::Auto, TimeZone::UTC).expect("no pattern can be wrong");
    let text = text::plain(4_000);
    let lines: Vec<&str> = text.lines().collect();
    let mut sum = 0_i64;
    measured(&mut || {
        for line in &lines {
            if let deploywatch::parse::timestamp::Dated::At(ms) =
                dater.date(line.as_bytes(), NOW.wall_ms)
            {
                sum += ms - NOW.wall_ms;
            }
        }
    });
    assert!(sum != 0, "the lines have times");
    text::lines_of(&text)
}

/// From events to a request's body.
pub(crate) fn encode_plain() -> u64 {
    encode(&text::plain(4_000).replace(['"', '\\'], "'"))
}

/// The same with quotes, backslashes, colours and tabs in every line.
pub(crate) fn encode_escapes() -> u64 {
    encode(&text::plain(3_000).replace(' ', "\t\"\u{1b}[0m\\ "))
}

fn encode(text: &str) -> u64 {
    let mut shipper = Shipper::new(Limits::default(), 1);
    let target = shipper.target(
        Target {
            group: "/app".to_owned(),
            stream: "i-0123456789abcdef0".to_owned(),
        },
        deploywatch::ports::GroupOptions::default(),
    );
    let file = Arc::new(FileOrigin {
        source: "app".into(),
        path: Path::new("/var/log/app.log").into(),
    });
    let lines: Vec<&str> = text.lines().collect();
    let mut taken = 0;
    measured(&mut || {
        let mut at = Offset(0);
        for line in &lines {
            let end = at.plus(line.len() + 1);
            let event = Event {
                time_ms: NOW.wall_ms + taken,
                text: Cow::Borrowed(*line),
                origin: Origin::File(Span {
                    file: FileId(1),
                    start: at,
                    end,
                }),
            };
            if let Push::Taken = shipper.push(&target, event, &file, NOW) {
                taken += 1;
            }
            at = end;
        }
    });
    let count = text::lines_of(text);
    assert_eq!(taken.unsigned_abs(), count, "all lines fit");
    count
}

fn plain_source() -> Source {
    let text = "[[source]]\nname = \"app\"\npaths = [\"/var/log/app.log\"]\ngroup = \"/app\"\nstream = \"x\"\n";
    let (config, _notes) = Config::parse(&[(PathBuf::from("bench.toml"), text.to_owned())])
        .expect("the configuration is right");
    Source::clone(&config.sources[0])
}
