//! Configuration: good, bad, and changed while running.

#![cfg(test)]

use crate::LIMIT;
use crate::support::cloud::Cloud;
use crate::support::lines::Writer;
use crate::support::world::World;

/// The exit code of a configuration with mistakes (`EX_CONFIG` of sysexits.h).
const BAD_CONFIG: i32 = 78;

/// A bad configuration is told with file, line, key and what was probably meant, all mistakes at
/// once, by `run` as by `check`; the exit code is its own.
#[test]
fn a_bad_configuration_is_told_at_once() {
    let cloud = Cloud::start();
    let world = World::new(&cloud);
    world.write_raw_config("[agent]\nstate_dri = \"/x\"\n\n[logs]\nflush_interval = \"soon\"\n");
    for command in [&["run"][..], &["check"]] {
        let finished = world.run(command);
        assert_eq!(finished.code, Some(BAD_CONFIG), "{finished:?}");
        let said = finished.stdout + &finished.stderr;
        for wanted in [
            "deploywatch.toml:2",
            "state_dri",
            "state_dir",
            "deploywatch.toml:5",
            "soon",
        ] {
            assert!(
                said.contains(wanted),
                "{command:?} does not name {wanted}: {said}"
            );
        }
    }
    assert_eq!(cloud.state().calls.values().sum::<u64>(), 0);
}

/// SIGHUP with a bad configuration changes nothing but says so; with a good one it is followed,
/// without a line lost or doubled.
#[test]
fn sighup_takes_a_good_configuration_and_refuses_a_bad_one() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.app_source("*.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    writer.write(10);
    let mut agent = world.start();
    cloud.wait(LIMIT, "the first lines arrive", |state| state.total() == 10);

    world.write_raw_config("[agent]\nstate_dri = \"/x\"\n");
    agent.hup();
    agent.wait_said(LIMIT, "state_dri");
    agent.assert_runs();
    writer.write(10);
    cloud.wait(LIMIT, "it goes on as before", |state| state.total() == 20);

    let more = world.path("more/other.txt");
    let mut other = Writer::open(&more, "other");
    other.write(5);
    world.source(&format!(
        "name = \"other\"\npaths = [\"{}\"]\ngroup = \"/other\"\nstream = \"s\"",
        more.display()
    ));
    world.write_config();
    agent.hup();
    cloud.wait(LIMIT, "the new source is read", |state| {
        state.events("/other", "s").len() == 5
    });
    writer.write(10);
    cloud.wait(LIMIT, "the old one still is", |state| state.total() == 35);
    agent.stop(LIMIT);
    assert_eq!(cloud.events("/app", "app.log").len(), 30);
    cloud.assert_no_violations();
}

/// No source ships what the agent writes itself, which would never end: shown by a source for each file
/// that a run and a run into a directory have left.
#[test]
fn nothing_of_its_own_is_shipped() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.app_source("*.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    world.write_config();
    writer.write(10);
    assert_eq!(world.run(&["run", "--once"]).code, Some(0));
    let out = world.path("out");
    let sink = format!("sink = \"directory\"\ndirectory = \"{}\"", out.display());
    world.set("logs", &sink);
    world.write_config();
    writer.write(10);
    assert_eq!(world.run(&["run", "--once"]).code, Some(0));
    let files = |dir: &std::path::Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let own = [files(&world.path("state")), files(&out)].concat();
    assert!(own.len() >= 4, "{own:?}");
    for (nth, path) in own.into_iter().enumerate() {
        world.source(&format!(
            "name = \"own{nth}\"\npaths = [\"{}\"]",
            path.display()
        ));
        world.write_config();
        let finished = world.run(&["check"]);
        assert_eq!(finished.code, Some(BAD_CONFIG), "{finished:?}");
        let refused = format!("source[own{nth}].paths: {} is one", path.display());
        assert!(finished.stdout.contains(&refused), "{finished:?}");
    }
}

/// A reload that is asked for while the agent starts does not end it: shown by a signal that comes while
/// it reads a long configuration, which has a mistake, so that it says how it ended.
#[test]
fn sighup_during_a_start_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("a.toml");
    let sources =
        (0..5_000).map(|nth| format!("[[source]]\nname = \"a{nth}\"\npaths = [\"/x/{nth}\"]\n"));
    std::fs::write(&config, sources.collect::<String>() + "wrong = 1\n").unwrap();
    let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_deploywatch"))
        .args(["run", "--config"])
        .arg(&config)
        .env_clear()
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&agent);
    let status = format!("/proc/{}/status", agent.id());
    // One that has ended is not waited for, and so can be sent a signal.
    let hears = || {
        let status = std::fs::read_to_string(&status).unwrap();
        let line = |name| status.lines().find_map(|line| line.strip_prefix(name));
        let caught = line("SigCgt:").and_then(|caught| u64::from_str_radix(caught.trim(), 16).ok());
        caught.is_none_or(|caught| caught & 1 == 1)
            || line("State:").is_some_and(|state| state.trim_start().starts_with('Z'))
    };
    let until = std::time::Instant::now() + LIMIT;
    while !hears() {
        assert!(std::time::Instant::now() < until);
        std::thread::yield_now();
    }
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    assert_eq!(agent.wait().unwrap().code(), Some(BAD_CONFIG));
}

/// A reader that has seen enough (`deploywatch check | head`) is no failure: shown by a pipe whose
/// other end is closed before anything is written.
#[test]
fn a_reader_may_leave_early() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let left = std::process::Command::new(env!("CARGO_BIN_EXE_deploywatch"))
        .arg("check")
        .env_clear()
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stderr), "");
    assert!(left.status.success(), "{:?}", left.status);
}
