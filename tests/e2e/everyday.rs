//! What a user gets on an ordinary day: everything, at once, in its place.

#![cfg(test)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::LIMIT;
use crate::support::cloud::{Cloud, now_ms};
use crate::support::fault::{Fault, Trouble};
use crate::support::imds::{Imds, Instance};
use crate::support::lines::Writer;
use crate::support::oracle::{APP, findings, judge, wait_complete};
use crate::support::state::Action;
use crate::support::world::World;

/// The interval between requests: what does not leave at once takes that long.
const INTERVAL: &str = "flush_interval = \"6s\"";
/// How fast a line must be there after a quiet time: well within the interval, and within the half
/// minute after which a directory is looked at again. Idle machines need a hundredth of it.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Longer than the interval.
const QUIET: Duration = Duration::from_millis(6_200);

/// With nothing configured but where things are, all logs of the CodeDeploy agent arrive in the
/// groups and streams that the README names, records whole and dated by their own time.
#[test]
fn defaults_ship_every_codedeploy_log() {
    let cloud = Cloud::start();
    let imds = Imds::start(Instance::default());
    let mut world = World::on_instance(&cloud, &imds);
    let tree = world.codedeploy();
    let id = imds.state().instance.id.clone();
    let first = tree.agent("Started master 4711 with 1 children");
    let trace =
        tree.agent("CommandPoller: Error during perform: IOError - a.rb:1:in `x'\n\n\tb.rb:2");
    let deployment = tree.deployments("d-AB12CD34E", "deployed");
    let script = tree.scripts("d-AB12CD34E", "installing");
    let updater = tree.updater("/tmp/update");

    let agent = world.start();
    let stream = format!("d-AB12CD34E/{id}");
    cloud.wait(LIMIT, "every log arrives", |state| {
        state.events("/codedeploy/agent", &id).len() == 2
            && state.events("/codedeploy/deployments", &id).len() == 1
            && state.events("/codedeploy/scripts", &stream).len() == 1
            && state.events("/codedeploy/updater", &id).len() == 1
    });
    assert_eq!(cloud.messages("/codedeploy/agent", &id), [first, trace]);
    assert_eq!(cloud.messages("/codedeploy/deployments", &id), [deployment]);
    assert_eq!(cloud.messages("/codedeploy/scripts", &stream), [script]);
    assert_eq!(cloud.messages("/codedeploy/updater", &id), [updater]);
    let age_ms = now_ms() - cloud.events("/codedeploy/deployments", &id)[0].time_ms;
    assert!((0..60_000).contains(&age_ms), "dated {age_ms} ms ago");

    let later = tree.scripts("d-ZZ12CD34E", "a deployment that began later");
    let stream = format!("d-ZZ12CD34E/{id}");
    cloud.wait(LIMIT, "a new deployment arrives", |state| {
        state.events("/codedeploy/scripts", &stream).len() == 1
    });
    assert_eq!(cloud.messages("/codedeploy/scripts", &stream), [later]);
    agent.stop(LIMIT);
    assert_eq!(
        cloud.state().groups["/codedeploy/agent"].retention_days,
        Some(30)
    );
    assert!(
        imds.state().violations.is_empty(),
        "{:?}",
        imds.state().violations
    );
    cloud.assert_no_violations();
}

/// A line written after a quiet time is in the service at once, time after time.
#[test]
fn a_line_after_quiet_is_there_at_once() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.app_source("*.log");
    world.set("logs", INTERVAL);
    let mut writer = Writer::open(&world.log("app.log"), "app");
    writer.write(1);
    let _agent = world.start();
    cloud.wait(LIMIT, "the first line arrives", |state| state.total() == 1);
    for count in 2..4 {
        cloud.wait_quiet(QUIET);
        let written = Instant::now();
        writer.write(1);
        cloud.wait(AT_ONCE, "a line arrives at once", |state| {
            state.total() == count
        });
        let arrived = cloud.events("/app", "app.log")[count - 1].arrived;
        assert!(arrived - written < AT_ONCE, "{:?}", arrived - written);
    }
    cloud.assert_no_violations();
}

/// A directory that appears with directories and a file in it is found at once, file and all.
#[test]
fn a_fresh_nested_directory_is_found_at_once() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.app_source("**/*.log");
    Writer::open(&world.log("app.log"), "old").write(1);
    let _agent = world.start();
    cloud.wait(LIMIT, "the old file arrives", |state| state.total() == 1);
    for round in 0..3 {
        let name = format!("fresh-{round}.log");
        let path = world.log(&format!("{round}/a/b/{name}"));
        Writer::open(&path, "fresh").write(3);
        cloud.wait(AT_ONCE, "a fresh file arrives at once", |state| {
            state.events("/app", &name).len() == 3
        });
    }
    cloud.assert_no_violations();
}

/// `run --once` reads everything to its end, waits for the answers, and exits 0; a second one has
/// nothing to say.
#[test]
fn once_ships_everything_and_exits() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.app_source("*.log");
    let mut writers = ["a", "b", "c"].map(|id| Writer::open(&world.log(&format!("{id}.log")), id));
    for writer in &mut writers {
        writer.write(12_000);
    }
    world.write_config();
    let finished = world.run(&["run", "--once"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for (writer, id) in writers.iter().zip(["a", "b", "c"]) {
        let events = cloud.events("/app", &format!("{id}.log"));
        judge(&[writer.written()], &events).assert_exact();
    }
    let finished = world.run(&["run", "--once"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(cloud.state().total(), 36_000);
    cloud.assert_no_violations();
}

/// `status --json` says of every file how far it is answered for, and of every source how much.
#[test]
fn status_tells_where_every_file_is() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.app_source("*.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    writer.write(50);
    let size = std::fs::metadata(&writer.path).unwrap().len();
    let _agent = world.start();
    world.wait_status(LIMIT, "the file is answered for", |status| {
        status.files.iter().any(|file| file.settled == size)
    });
    let status = world.status();
    let file = &status.files[0];
    assert_eq!(
        (file.size, file.read, file.lag_bytes),
        (size, size, 0),
        "{file:?}"
    );
    assert_eq!(
        (file.source.as_str(), file.path.as_str()),
        ("app", writer.path.to_str().unwrap())
    );
    assert_eq!(status.sources["app"].events_delivered, 50);
    assert_eq!(status.sources["app"].bytes_delivered, size - 50);
    let target = &status.targets[0];
    assert_eq!(
        (target.group.as_str(), target.stream.as_str()),
        ("/app", "app.log")
    );
    assert_eq!(target.last_answer, "ok");
    assert_eq!(status.problems, [] as [String; 0]);
    cloud.assert_no_violations();
}

/// The directory sink gets every line as one object of JSON, and the service is never asked.
#[test]
fn the_directory_sink_gets_every_line() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    let out = world.path("out");
    world.set("logs", "sink = \"directory\"");
    world.set("logs", &format!("directory = \"{}\"", out.display()));
    world.app_source("*.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    writer.write(1_000);
    world.write_config();
    let finished = world.run(&["run", "--once"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let text = std::fs::read_to_string(out.join("logs.ndjson")).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1_000);
    for (number, object) in lines.iter().enumerate() {
        let wanted = crate::support::lines::line("app", number as u64);
        assert_eq!(object["message"], wanted);
        assert_eq!(
            (&object["group"], &object["stream"]),
            (&"/app".into(), &"app.log".into())
        );
        assert_eq!(object["source"], "app");
    }
    assert_eq!(cloud.state().calls.values().sum::<u64>(), 0);
}

/// `check --online` does not keep silent about a group that it made and that keeps its events for ever:
/// shown by a role that may not set retentions.
#[test]
fn a_check_tells_of_a_group_without_its_retention() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.source("name = \"app\"\npaths = [\"/x/y\"]\ngroup = \"/app\"\nstream = \"s\"");
    world.write_config();
    cloud.fault(Fault::new(Trouble::DENIED).on(Action::Retention));
    let checked = world.run(&["check", "--online"]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    let missing = checked.stdout.lines().find(|line| line.contains("MISSING"));
    let missing = missing.expect("a line about what is missing");
    assert!(missing.starts_with("logs:CreateLogGroup"), "{missing}");
    assert!(missing.contains("made without its retention"), "{missing}");
    cloud.assert_no_violations();
}

/// With the directory sink `check --online` asks AWS for nothing: shown by the calls there are.
#[test]
fn a_check_of_a_dry_run_asks_for_nothing() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    let out = world.path("out").display().to_string();
    world.set("logs", "sink = \"directory\"");
    world.set("logs", &format!("directory = \"{out}\""));
    world.write_config();
    let checked = world.run(&["check", "--online"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(cloud.state().calls.values().sum::<u64>(), 0);
    assert!(cloud.state().metrics.is_empty());
}

/// A group that the agent makes gets the retention, class and tags of its source; one that was
/// there is left as it was.
#[test]
fn only_groups_of_its_own_get_options() {
    let cloud = Cloud::start();
    cloud.make("/old", &[]);
    let mut world = World::new(&cloud);
    for name in ["new", "old"] {
        let path = world.log(&format!("{name}.log"));
        world.source(&format!(
            "name = \"{name}\"\npaths = [\"{}\"]\ngroup = \"/{name}\"\nstream = \"s\"\n\
             retention_days = 7\nlog_class = \"INFREQUENT_ACCESS\"\ntags = {{ Team = \"shop\" }}",
            path.display()
        ));
        Writer::open(&path, name).write(1);
    }
    let agent = world.start();
    cloud.wait(LIMIT, "both arrive", |state| {
        !state.events("/new", "s").is_empty() && !state.events("/old", "s").is_empty()
    });
    agent.stop(LIMIT);
    let state = cloud.state();
    let (new, old) = (&state.groups["/new"], &state.groups["/old"]);
    assert_eq!((new.retention_days, old.retention_days), (Some(7), None));
    assert_eq!(new.class.as_deref(), Some("INFREQUENT_ACCESS"));
    assert_eq!(new.tags["Team"], "shop");
    assert_eq!(
        (&old.class, &old.kms_key_id, old.tags.len()),
        (&None, &None, 0)
    );
    assert_eq!(state.calls.get(&Action::Retention), Some(&1));
    drop(state);
    cloud.assert_no_violations();
}

/// A file that may not be read is said to be so, and is read when the permission comes. The agent
/// runs as a user without privileges, for nothing is forbidden to root.
#[test]
fn a_permission_granted_later_is_used() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.unprivileged();
    world.app_source("*.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    writer.write(10);
    std::fs::set_permissions(&writer.path, Permissions::from_mode(0o000)).unwrap();
    let _agent = world.start();
    world.wait_status(LIMIT, "the file is said to be unreadable", |status| {
        status
            .problems
            .iter()
            .any(|problem| problem.contains("app.log"))
    });
    assert_eq!(cloud.state().total(), 0);
    std::fs::set_permissions(&writer.path, Permissions::from_mode(0o644)).unwrap();
    wait_complete(&cloud, LIMIT, &writer, APP);
    findings(&cloud, &writer, APP).assert_exact();
}
