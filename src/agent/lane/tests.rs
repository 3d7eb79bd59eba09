//! What one file's bug does to the others: nothing; and how far a stop reads each.

use std::path::Path;

use super::*;
use crate::agent::testing::{
    at, codedeploy_config, directory_of, drain, finish, run, sent, with_one_file,
};
use crate::config::Config;
use crate::event::{Event, Origin, Target};
use crate::parse::testing::fail_at;
use crate::ports::GroupOptions;
use crate::ship::Push;

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
        let mut messages = sent(dir.path());
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

/// What is written after a file that is left alone is read all the same: shown with one that is
/// rotated away behind the failure.
#[test]
fn a_quarantined_file_does_not_hold_up_the_next() {
    let dir = directory_of(&[("b", "b first\npoison\nb last\n")]);
    fail_at(Some("poison"));
    let status = run(dir.path(), |mut agent, edges| {
        agent.step(edges, at(1));
        let log = dir.path().join("logs/b.log");
        std::fs::rename(&log, dir.path().join("logs/b.log.1")).unwrap();
        std::fs::write(&log, "new\n").unwrap();
        finish(agent, edges)
    });
    fail_at(None);
    assert_eq!(sent(dir.path()), ["b first", "new"]);
    assert_eq!(status.problems.len(), 1, "{:?}", status.problems);
}

/// Of a log that comes while a stop is under way whole lines are sent, and half a line is left to the next
/// start; who is only to read what there is, sends that, too: shown on a log that is rotated meanwhile.
#[test]
fn half_a_line_that_is_begun_after_a_stop_is_left_to_the_next_start() {
    for (grace_ms, is_late) in [(Some(120_000), true), (None, false)] {
        let dir = directory_of(&[("a", "one\n")]);
        let log = dir.path().join("logs/a.log");
        run(dir.path(), |mut agent, edges| {
            agent.stop(grace_ms, at(1));
            agent.step(edges, at(1));
            std::fs::rename(&log, dir.path().join("logs/a.log.1")).unwrap();
            std::fs::write(&log, "two\nthr").unwrap();
            end(agent, edges, 60_000);
        });
        let sent_by_stop = if is_late {
            &["one", "two"][..]
        } else {
            &["one", "two", "thr"]
        };
        assert_eq!(sent(dir.path()), sent_by_stop);
        std::fs::write(&log, "two\nthree\n").unwrap();
        drain(dir.path());
        let rest = if is_late { "three" } else { "ee" };
        assert_eq!(sent(dir.path()), [sent_by_stop, &[rest]].concat());
    }
}

/// A file that has grown beyond what a stop reads of it keeps nobody waiting: shown on a rotated log before
/// the live one.
#[test]
fn nobody_waits_for_what_a_stop_does_not_read() {
    let dir = directory_of(&[("a", "the live one\n"), ("a.log.1", "the rotated one\n")]);
    let logs = dir.path().join("logs");
    std::fs::rename(logs.join("a.log.1.log"), logs.join("a.log.1")).unwrap();
    run(dir.path(), |mut agent, edges| {
        let text = format!(
            "[[source]]\nname = \"app\"\npaths = [\"{}/*.log*\"]\n",
            logs.display()
        );
        let (config, _) = Config::parse(&[("a.toml".into(), text)]).unwrap();
        agent.reload(config, edges, at(1));
        agent.look(edges, at(1));
        agent.stop(None, at(1));
        agent.look(edges, at(1));
        let rotated = agent
            .tail
            .files()
            .find(|file| file.path.ends_with("a.log.1"));
        let rotated = rotated.unwrap().id;
        let Mode::Stopping {
            limits: Some(limits),
            ..
        } = &mut agent.mode
        else {
            panic!("it does not stop");
        };
        limits.get_mut(&rotated).unwrap().bytes = 0;
        end(agent, edges, 100);
    });
    assert_eq!(sent(dir.path()), ["the live one"]);
}

/// Lets an agent that stops come to its end.
fn end(mut agent: Agent, edges: &mut Edges<'_>, mut mono_ms: u64) {
    while {
        agent.step(edges, at(mono_ms));
        !agent.is_done(at(mono_ms))
    } {
        mono_ms += 100;
        assert!(mono_ms < 100_000, "{:?}", agent.status(at(mono_ms)));
    }
    agent.finish(edges, at(mono_ms));
}

/// NUL bytes that a crash left are counted once, whether a line stands behind them or nothing.
#[test]
fn what_a_crash_left_is_counted() {
    let nuls = "\0".repeat(100);
    let dir = directory_of(&[("a", &format!("one\n{nuls}two\n{nuls}\n"))]);
    let status = drain(dir.path());
    assert_eq!(status.sources["app"].skipped["nul"], 100 + 101);
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

/// While the CodeDeploy agent's own log is left alone, conclusions are drawn from the rest, as where it
/// cannot be opened, and from the log that follows it: shown by whether it counts as heard, before and
/// after it was rotated away.
#[test]
fn a_quarantined_log_of_the_codedeploy_agent_holds_up_no_conclusion() {
    const POISON: &str = "2026-11-23T02:12:41 INFO  [codedeploy-agent(7)]: two";
    let record = |nth: u32, word: &str| {
        format!("2026-11-23T02:12:4{nth} INFO  [codedeploy-agent(7)]: {word}\n")
    };
    let text = record(0, "one") + POISON + "\n" + &record(2, "three");
    let dir = directory_of(&[("codedeploy-agent", &text)]);
    let config = codedeploy_config(dir.path());
    fail_at(Some(POISON));
    run(dir.path(), |mut agent, edges| {
        agent.reload(config, edges, at(1));
        let mut mono_ms = 1;
        let mut step_until = |agent: &mut Agent, is_so: &dyn Fn(&mut Agent) -> bool| {
            while !is_so(agent) {
                assert!(mono_ms < 600_000, "{:?}", agent.status(at(mono_ms)));
                mono_ms += 1_000;
                agent.step(edges, at(mono_ms));
            }
        };
        let is_left_alone =
            |agent: &mut Agent| agent.lanes.values().any(|lane| lane.quarantine.is_some());
        step_until(&mut agent, &is_left_alone);
        step_until(&mut agent, &Agent::is_agent_heard);
        let logs = dir.path().join("logs");
        let log = logs.join("codedeploy-agent.log");
        std::fs::rename(&log, logs.join("codedeploy-agent.20261123.log")).unwrap();
        std::fs::write(&log, record(3, "four")).unwrap();
        step_until(&mut agent, &|agent| agent.tail.files().count() == 2);
        step_until(&mut agent, &Agent::is_agent_heard);
    });
    fail_at(None);
}
