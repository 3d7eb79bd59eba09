//! The corpus as the observer hears it: each file cut into records, dated and redacted by the real
//! parser, and what the service was told.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use deploywatch::config::{Builtin, Config};
use deploywatch::event::{EpochMs, FileId, Now, Offset};
use deploywatch::parse::{Chunk, Ending, Memory, Next, Parser};
use jiff::tz::TimeZone;
use serde_json::Value;

/// The clock while the corpus is parsed: shortly after the last record of it.
const READ_AT: &str = "2026-11-23T06:00:00Z";

/// A record as the observer gets it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) feed: Builtin,
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) time_ms: EpochMs,
}

/// The records of one log in order, from one file or, where it was rotated, several.
pub(crate) type Log = Vec<Record>;

/// What the service was told of one command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    /// `succeeded`, `failed`, `noop`; `-` where it was told nothing.
    pub(crate) result: String,
    pub(crate) error_code: Option<u8>,
    pub(crate) script: String,
}

/// Commands by deployment and lifecycle event.
pub(crate) type Truths = BTreeMap<(String, String), Truth>;

/// One folder of the corpus.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) logs: Vec<Log>,
    pub(crate) truths: Truths,
}

/// Folder, zone of the machine, files of the agent log (the oldest first), folder and file of what
/// the service was told, and whose truth that is (all when empty).
type Row = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static [&'static str],
);

const LIVE: &str = "codedeploy-agent.log";
const TRUTH: &str = "service-side-ground-truth.json.gz";

/// All folders with an agent log. Of `2.x/rotation`, what is left of the agent log speaks of one
/// deployment only; the others lost theirs to rotations by size.
const ROWS: [Row; 8] = [
    (
        "1.x/daemon",
        "UTC0",
        &["codedeploy-agent.log.gz"],
        "1.x/daemon/service-side-history.json",
        &[],
    ),
    (
        "2.x/info",
        "UTC0",
        &["codedeploy-agent.log.gz"],
        "2.x/info",
        &[],
    ),
    ("2.x/boot", "UTC0", &[LIVE], "2.x/boot", &[]),
    ("2.x/restrict", "UTC0", &[LIVE], "2.x/restrict", &[]),
    (
        "2.x/rotation",
        "UTC0",
        &[LIVE],
        "2.x/rotation",
        &["d-AROT00001"],
    ),
    (
        "2.x/midnight",
        "UTC0",
        &["codedeploy-agent.20261121.log", LIVE],
        "2.x/midnight",
        &[],
    ),
    (
        "2.x/first-midnight",
        "UTC0",
        &[
            "codedeploy-agent.20261115.log.gz",
            "codedeploy-agent.20261121.log.gz",
            "codedeploy-agent.log.gz",
        ],
        "2.x/rotation",
        &["d-ROTDAY001"],
    ),
    (
        "2.x/new-york",
        "EST5EDT,M3.2.0,M11.1.0",
        &["codedeploy-agent.20261120.log", LIVE],
        "2.x/rotation",
        &["d-ROTTZ0001"],
    ),
];

impl Case {
    pub(crate) fn all() -> Vec<Self> {
        ROWS.iter().map(Self::load).collect()
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::load(ROWS.iter().find(|row| row.0 == name).unwrap())
    }

    fn load((name, zone, agent, truth, only): &Row) -> Self {
        let folder = corpus().join(name);
        let mut reader = Reader::new(zone);
        let mut logs = Vec::new();
        let parts = agent.iter().flat_map(|file| {
            let path =
                Path::new("/var/log/aws/codedeploy-agent").join(file.trim_end_matches(".gz"));
            reader.read(Builtin::Agent, &path, &unpacked(&folder.join(file)))
        });
        logs.push(parts.collect::<Log>());
        for file in [
            "codedeploy-agent-deployments.log",
            "codedeploy-agent-deployments.log.gz",
        ] {
            if folder.join(file).exists() {
                let path = Path::new("/r/deployment-logs/codedeploy-agent-deployments.log");
                logs.push(reader.read(Builtin::Deployments, path, &unpacked(&folder.join(file))));
            }
        }
        let mut scripts: Vec<PathBuf> = std::fs::read_dir(folder.join("scripts"))
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        scripts.sort();
        for file in scripts {
            let stem = file.file_name().unwrap().to_str().unwrap();
            let stem = stem
                .trim_end_matches(".gz")
                .trim_end_matches(".scripts.log");
            let (group, id) = stem.split_once("__").unwrap();
            let path = PathBuf::from(format!("/r/{group}/{id}/logs/scripts.log"));
            logs.push(reader.read(Builtin::Scripts, &path, &unpacked(&file)));
        }
        let mut truths = truth_of(truth);
        truths.retain(|(id, _), _| only.is_empty() || only.contains(&id.as_str()));
        Self { name, logs, truths }
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.logs.iter().map(Vec::len).sum()
    }
}

/// Cuts files into records by the real parser, with the sources as they are built in.
pub(crate) struct Reader {
    parsers: Vec<(Builtin, Parser)>,
    now: Now,
}

impl Reader {
    pub(crate) fn new(zone: &str) -> Self {
        let text = "[codedeploy]\nenabled = true\n".to_owned();
        let (config, _notes) = Config::parse(&[(PathBuf::from("c.toml"), text)]).unwrap();
        let parsers = config.codedeploy.sources.into_iter().map(|(feed, source)| {
            let zone = TimeZone::posix(zone).unwrap();
            (feed, Parser::new(source.into(), zone).unwrap())
        });
        let now: jiff::Timestamp = READ_AT.parse().unwrap();
        let now = Now {
            mono_ms: 0,
            wall_ms: now.as_millisecond(),
        };
        Self {
            parsers: parsers.collect(),
            now,
        }
    }

    pub(crate) fn read(&mut self, feed: Builtin, path: &Path, bytes: &[u8]) -> Log {
        let parser = self.parsers.iter_mut().find(|(of, _)| *of == feed);
        let (_, parser) = parser.unwrap();
        let mut memory = Memory::at(None);
        let text = parser.begin(&memory, bytes);
        let (file, start, ending) = (FileId(1), Offset(0), Ending::Final);
        let chunk = Chunk {
            file,
            start,
            bytes,
            ending,
            text,
        };
        let mut log = Log::new();
        let mut at = 0;
        while at < bytes.len() {
            match parser.next(&memory, &chunk, at, self.now) {
                Next::Event(event, taken) | Next::Unwanted(event, taken) => {
                    log.push(Record {
                        feed,
                        path: path.to_owned(),
                        text: event.text.to_string(),
                        time_ms: event.time_ms,
                    });
                    at += taken.bytes;
                    parser.take(&mut memory, taken);
                }
                Next::Skipped(_, _, taken) => {
                    at += taken.bytes;
                    parser.take(&mut memory, taken);
                }
                Next::Incomplete(_) => panic!("a whole file has no incomplete record"),
            }
        }
        log
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn unpacked(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_none_or(|end| end != "gz") {
        return bytes;
    }
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_end(&mut unpacked)
        .unwrap();
    unpacked
}

/// What the service was told, in either stand-in's own form. The second report of a failure, which
/// the service has no open command for, is none of its results.
fn truth_of(place: &str) -> Truths {
    if place.ends_with(".json") {
        let history: Value = serde_json::from_slice(&unpacked(&corpus().join(place))).unwrap();
        let rows = history["hist"].as_array().unwrap().iter();
        return rows
            .filter_map(|row| row[2].as_str().map(|result| (row, result)))
            .map(|(row, result)| {
                let told: Value =
                    serde_json::from_str(row[3].as_str().unwrap()).unwrap_or(Value::Null);
                (command(&row[0], &row[1]), truth(result, &told))
            })
            .collect();
    }
    let told: Value = serde_json::from_slice(&unpacked(&corpus().join(place).join(TRUTH))).unwrap();
    let mut truths = Truths::new();
    for entry in told
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["command"].is_string())
    {
        let command = command(&entry["deployment"], &entry["command"]);
        match entry["op"].as_str().unwrap() {
            "PutHostCommandAcknowledgement" => {
                truths
                    .entry(command)
                    .or_insert_with(|| truth("-", &Value::Null));
            }
            "PutHostCommandComplete" => {
                let result = entry["result"].as_str().unwrap();
                truths.insert(command, truth(result, &entry["diagnostics"]));
            }
            _ => {}
        }
    }
    truths
}

fn command(deployment: &Value, event: &Value) -> (String, String) {
    (
        deployment.as_str().unwrap().to_owned(),
        event.as_str().unwrap().to_owned(),
    )
}

fn truth(result: &str, told: &Value) -> Truth {
    let is_failed = result == "Failed";
    let code = told["error_code"]
        .as_u64()
        .and_then(|code| u8::try_from(code).ok());
    let script = told["script_name"].as_str().unwrap_or_default();
    Truth {
        result: result.to_lowercase(),
        error_code: code.filter(|_| is_failed),
        script: if is_failed {
            script.to_owned()
        } else {
            String::new()
        },
    }
}
