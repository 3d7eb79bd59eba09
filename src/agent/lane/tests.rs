//! What one file's bug does to the others: nothing.

use std::path::Path;

use super::*;
use crate::agent::{Host, orphans};
use crate::config::{Config, Identity};
use crate::directory::{DirectoryEvents, DirectoryMetrics, DirectorySink, LOGS_FILE};
use crate::event::{Event, Origin, Target};
use crate::os::files::OsFiles;
use crate::os::processes::SystemProcesses;
use crate::os::store::OsStore;
use crate::parse::testing::fail_at;
use crate::ports::alarm::{AlarmAnswer, AlarmCall, AlarmService};
use crate::ports::{CallId, GroupOptions};
use crate::ship::Push;
use crate::tail::testing::Silent;

thread_local! {
    static FAIL_HEARING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// On a thread where a test says so, who listens has a bug at one text.
pub(super) fn fail_if_asked(text: &str) {
    assert!(
        !FAIL_HEARING.get() || text != "poison",
        "a test wants what is made of a record to fail"
    );
}

/// No alarm is configured.
struct NoAlarms;

impl AlarmService for NoAlarms {
    fn submit(&mut self, _id: CallId, call: AlarmCall) {
        panic!("no alarm is configured, and yet {call:?}");
    }
    fn answer(&mut self) -> Option<AlarmAnswer> {
        None
    }
}

fn at(mono_ms: u64) -> Now {
    Now {
        mono_ms,
        wall_ms: 1_795_000_000_000 + mono_ms as i64,
    }
}

/// A directory with these logs in it, for [`run`].
fn directory_of(logs: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("logs")).unwrap();
    for (name, text) in logs {
        std::fs::write(dir.path().join(format!("logs/{name}.log")), text).unwrap();
    }
    dir
}

/// Starts an agent that has found one log and not read it, and runs it so.
fn with_one_file(text: &str, so: impl FnOnce(Agent, &mut Edges<'_>, FileId, TargetId)) {
    run(directory_of(&[("a", text)]).path(), |mut agent, edges| {
        agent.look(edges, at(1));
        let id = *agent.lanes.keys().next().unwrap();
        let target = agent.target_of(id).unwrap();
        so(agent, edges, id, target);
    });
}

/// Drains a directory of logs into `out`, as one run of the agent; gives what its status said.
fn drain(dir: &Path) -> crate::status::Status {
    run(dir, finish)
}

/// Has an agent read and send all there is, and ends it; gives what its status said.
fn finish(mut agent: Agent, edges: &mut Edges<'_>) -> crate::status::Status {
    let mut mono_ms = 100;
    agent.stop(None, at(mono_ms));
    while !agent.is_done(at(mono_ms)) {
        assert!(mono_ms < 600_000, "{:?}", agent.status(at(mono_ms)));
        agent.step(edges, at(mono_ms));
        mono_ms += 100;
    }
    let status = agent.status(at(mono_ms));
    agent.finish(edges, at(mono_ms));
    status
}

/// The logs of a directory as a source of that name.
fn config_of(dir: &Path, source: &str) -> Config {
    config_with(dir, source, "")
}

/// The same with more keys.
fn config_with(dir: &Path, source: &str, keys: &str) -> Config {
    let text = format!(
        "[codedeploy]\nenabled = false\n[[source]]\nname = \"{source}\"\npaths = [\"{}/*.log\"]\n{keys}\n",
        dir.join("logs").display()
    );
    let (config, _) = Config::parse(&[("a.toml".into(), text)]).unwrap();
    config
}

/// Starts an agent that ships the logs of a directory into `out`, and runs it so.
fn run<T>(dir: &Path, so: impl FnOnce(Agent, &mut Edges<'_>) -> T) -> T {
    let config = config_of(dir, "app");
    let mut files = OsFiles::new();
    let mut store = OsStore::open(&dir.join("state")).unwrap();
    let mut logs = DirectorySink::new(&dir.join("out"));
    let mut edges = Edges {
        files: &mut files,
        store: &mut store,
        watch: &mut Silent { is_watching: false },
        logs: &mut logs,
        metrics: &mut DirectoryMetrics::new(&dir.join("out")),
        events: &mut DirectoryEvents::new(&dir.join("out")),
        alarms: &mut NoAlarms,
        processes: &mut SystemProcesses::default(),
    };
    let host = Host {
        zone: jiff::tz::TimeZone::UTC,
        boot_ms: None,
        boot_id: None,
    };
    let mut agent = Agent::start(config, host, 7, &mut edges, at(0)).unwrap();
    let identity = Identity {
        instance_id: Some("i-0".to_owned()),
        complete: true,
        ..Identity::default()
    };
    agent.learn(identity, at(0));
    so(agent, &mut edges)
}

/// A file whose text makes the parser (redaction included) or what is made of records (deployments,
/// metrics) fail is left alone from that record on and named in the
/// status, all other files and its own records before arrive, and a run without the bug reads on
/// where it stopped: shown with both made to fail at one line.
#[test]
fn a_failure_at_one_text_costs_one_file() {
    costs_one_file(&|fails| fail_at(fails.then_some("poison")));
    costs_one_file(&|fails| FAIL_HEARING.set(fails));
}

fn costs_one_file(bug: &dyn Fn(bool)) {
    let dir = directory_of(&[
        ("a", "a first\na last\n"),
        ("b", "b first\npoison\nb last\n"),
        ("c", "c first\nc last\n"),
    ]);
    let arrived = || {
        let text = std::fs::read_to_string(dir.path().join("out").join(LOGS_FILE)).unwrap();
        let message = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["message"].as_str().unwrap().to_owned()
        };
        let mut messages: Vec<String> = text.lines().map(message).collect();
        messages.sort();
        messages
    };
    bug(true);
    let status = drain(dir.path());
    bug(false);
    assert_eq!(
        arrived(),
        ["a first", "a last", "b first", "c first", "c last"]
    );
    assert_eq!(status.problems.len(), 1, "{:?}", status.problems);
    for words in ["b.log is quarantined at byte 8", "report"] {
        assert!(status.problems[0].contains(words), "{:?}", status.problems);
    }
    let bad = status
        .files
        .iter()
        .find(|file| file.path.ends_with("b.log"));
    assert!(bad.unwrap().state.starts_with("unreadable: quarantined"));
    assert!(bad.unwrap().lag_bytes >= "poison\nb last\n".len() as u64);

    let status = drain(dir.path());
    assert_eq!(status.problems, Vec::<String>::new());
    assert_eq!(
        arrived(),
        [
            "a first", "a last", "b first", "b last", "c first", "c last", "poison"
        ]
    );
}

/// NUL bytes that a crash left are counted once, whether a line stands behind them or nothing.
#[test]
fn what_a_crash_left_is_counted() {
    let nuls = "\0".repeat(100);
    let dir = directory_of(&[("a", &format!("one\n{nuls}two\n{nuls}\n"))]);
    let status = drain(dir.path());
    assert_eq!(status.sources["app"].skipped["nul"], 100 + 101);
}

/// What was on its way when a reload took a source away is not sent again when another gives it back,
/// whether it was answered for in between or not, nor by a later run.
#[test]
fn a_source_that_comes_back_goes_on() {
    for steps_between in 0..4 {
        let dir = directory_of(&[("a", "one\ntwo\n")]);
        run(dir.path(), |mut agent, edges| {
            agent.step(edges, at(1));
            std::fs::write(dir.path().join("logs/b.log"), "three\n").unwrap();
            agent.reload(
                config_of(&dir.path().join("elsewhere"), "other"),
                edges,
                at(2),
            );
            for nth in 0..steps_between {
                agent.step(edges, at(3 + nth));
            }
            agent.reload(config_of(dir.path(), "app"), edges, at(10));
            finish(agent, edges);
        });
        drain(dir.path());
        let sent = std::fs::read_to_string(dir.path().join("out").join(LOGS_FILE)).unwrap();
        let count = |word: &str| sent.matches(&format!("\"{word}\"")).count();
        let counts = ["one", "two", "three"].map(count);
        assert_eq!(counts, [1; 3], "{steps_between}: {sent}");
    }
}

/// What comes before bytes that were given back is on its way all the same when a reload takes the source
/// away: shown on a file of which the second line is read again.
#[test]
fn what_comes_before_bytes_given_back_goes_once() {
    with_one_file("one\ntwo\n", |mut agent, edges, id, target| {
        let other = config_of(Path::new("/nowhere"), "other");
        let wanted = agent.config.clone();
        agent.turn(id, edges, &mut 1_000, at(1));
        assert!(agent.shipper.held_bytes() > 0 && agent.ledger.read(id) == Some(Offset(8)));
        agent.ledger.rewind(id, Offset(4));
        agent.tail.rewind(id, Offset(4));
        agent.reload(other, edges, at(2));
        assert_eq!(agent.ledger.read(id), Some(Offset(4)));
        agent.reload(wanted, edges, at(3));
        assert_eq!(agent.tail.file(id).unwrap().read, Offset(4));
        assert_eq!(agent.target_of(id), Some(target));
    });
}

/// What is on its way of a file and nowhere on disk is at stake also while the file sleeps.
#[test]
fn what_is_at_stake_is_not_forgotten_asleep() {
    with_one_file("one\ntwo\n", |mut agent, edges, id, _target| {
        agent.turn(id, edges, &mut 1_000, at(1));
        agent.ledger.cut(id, Offset(4));
        agent.tail.rewind(id, Offset(4));
        let stake = |agent: &Agent| orphans::at_stake(&agent.tail, &agent.ledger, &agent.orphans);
        let before = stake(&agent);
        assert_eq!(before[0].bytes, 4);
        agent.reload(config_of(Path::new("/nowhere"), "other"), edges, at(2));
        assert_eq!(stake(&agent), before);
    });
}

/// A file that a reload excludes is left alone, at rest, and goes on where it was when the next one wants
/// it again; what is excluded when a run begins is not read either.
#[test]
fn an_excluded_file_rests_until_it_is_wanted() {
    let dir = directory_of(&[("a", "one\n"), ("b", "two\n")]);
    let wanted = config_of(dir.path(), "app");
    let excluding = config_with(dir.path(), "app", "exclude = [\"a.log\"]");
    let write = |line: &str| {
        for name in ["a", "b"] {
            let path = dir.path().join(format!("logs/{name}.log"));
            let text = std::fs::read_to_string(&path).unwrap() + line;
            std::fs::write(path, text).unwrap();
        }
    };
    let sent = |word: &str| {
        let sent = std::fs::read_to_string(dir.path().join("out").join(LOGS_FILE)).unwrap();
        sent.matches(&format!("\"{word}\"")).count()
    };
    let rests = |agent: &mut Agent, edges: &mut Edges<'_>, from_ms: u64| {
        let steps = (from_ms..).step_by(100).take(100);
        let busy = steps.filter(|at_ms| agent.step(edges, at(*at_ms)) == crate::agent::Next::Now);
        assert!(busy.count() < 10);
        assert_eq!(agent.lanes.len(), agent.tail.files().count());
    };
    drain(dir.path());
    run(dir.path(), |mut agent, edges| {
        agent.reload(excluding.clone(), edges, at(1));
        write("three\n");
        rests(&mut agent, edges, 2);
        assert_eq!((sent("one"), sent("two"), sent("three")), (1, 1, 1));
        agent.reload(wanted.clone(), edges, at(20_000));
        rests(&mut agent, edges, 20_001);
        assert_eq!((sent("one"), sent("two"), sent("three")), (1, 1, 2));
        agent.reload(excluding, edges, at(40_000));
        write("four\n");
        rests(&mut agent, edges, 40_001);
        assert_eq!(sent("four"), 1);
        agent.reload(wanted, edges, at(60_000));
        finish(agent, edges);
    });
    assert_eq!(["one", "two", "three", "four"].map(sent), [1, 1, 2, 2]);
}

/// A process that is killed among many files repeats what was in flight, also one that has started
/// among them, and before anything was saved: shown on two kills in a drain.
#[test]
fn a_kill_repeats_what_was_in_flight() {
    // More than may be open, also of those that are left after the first part.
    const FILES: usize = 1_400;
    // Requests in flight, and those that were answered and sent at the end of the last step.
    const REPEATED_MAX: usize = 2 * 8;
    let text = "x".repeat(8_000);
    let names: Vec<String> = (0..FILES).map(|nth| nth.to_string()).collect();
    let texts: Vec<String> = (names.iter().map(|name| format!("{name} {text}\n"))).collect();
    let logs = names.iter().map(String::as_str);
    let logs: Vec<_> = logs.zip(texts.iter().map(String::as_str)).collect();
    let dir = directory_of(&logs);
    let sent = || std::fs::read_to_string(dir.path().join("out").join(LOGS_FILE));
    let sent = || sent().unwrap_or_default().lines().count();
    for part in [FILES / 3, FILES * 2 / 3] {
        run(dir.path(), |mut agent, edges| {
            let mut mono_ms = 1;
            while sent() < part {
                assert!(mono_ms < 1_000, "it was saved");
                agent.step(edges, at(mono_ms));
                mono_ms += 1;
            }
        });
    }
    drain(dir.path());
    assert!(
        (FILES..=FILES + 2 * REPEATED_MAX).contains(&sent()),
        "{}",
        sent()
    );
}

/// A file that is left alone while it was woken for memory does not keep others from it.
#[test]
fn a_quarantined_file_stands_in_nobodys_way() {
    with_one_file("a line\n", |mut agent, _edges, id, target| {
        agent.waiting.sleep(id, &target);
        assert_eq!(agent.waiting.wake(&target), [id]);
        assert!(agent.waiting.is_to_come(&target));
        agent.quarantine(id);
        assert!(!agent.waiting.is_to_come(&target));
    });
}

/// A marker that found no room keeps its place until it is tried again: others that wait would
/// otherwise always come before it.
#[test]
fn a_marker_keeps_its_place() {
    with_one_file("", |mut agent, edges, id, target| {
        for bytes in [200_000, 100] {
            fill(&mut agent, bytes);
        }
        let path = agent.tail.file(id).unwrap().path.to_path_buf();
        agent.keeper.tell("app", &path, "words", 0, at(1));
        agent.send_markers(at(1));
        assert!(agent.shipper.waits(&target) && !agent.keeper.unsent.is_empty());
        let mut mono_ms = 1;
        while agent.shipper.held_bytes() > 0 {
            mono_ms += 1;
            assert!(mono_ms < 600_000);
            agent.shipper.step(at(mono_ms), edges.logs);
        }
        agent.requeue_woken(at(mono_ms));
        assert!(agent.shipper.waits(&target));
        agent.send_markers(at(mono_ms));
        assert!(!agent.shipper.waits(&target) && agent.keeper.unsent.is_empty());
    });
}

/// Gives batches of such events to targets of their own, until there is no room for more.
fn fill(agent: &mut Agent, bytes: usize) {
    for nth in 0.. {
        let target = Target {
            group: "others".to_owned(),
            stream: format!("{bytes}-{nth}"),
        };
        let target = agent.shipper.target(target, GroupOptions::default());
        let event = Event {
            time_ms: 0,
            text: "x".repeat(bytes).into(),
            origin: Origin::Marker(u64::MAX),
        };
        let origin = Arc::new(FileOrigin {
            source: "others".into(),
            path: Path::new("/others").into(),
        });
        if let Push::Full(_) = agent.shipper.push(&target, event, &origin, at(1)) {
            return agent.shipper.leave(&target);
        }
    }
}
