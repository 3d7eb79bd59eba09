//! However the agent ends, what it had not delivered is delivered by the next one.

#![cfg(test)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::cloud::Cloud;
use crate::support::fault::{Fault, Trouble};
use crate::support::imds::{Imds, Instance};
use crate::support::lines::Writer;
use crate::support::oracle::{APP, findings, wait_complete};
use crate::support::state::Action;
use crate::support::tree::scripts_head;
use crate::support::world::World;
use crate::{LIMIT, SLOWLY};

/// How long an answer may be without its checkpoint on disk (one second), and then some for a
/// machine under load.
const UNSAVED: Duration = Duration::from_millis(3_000);
/// A service slow enough to be killed in the midst of.
const SLOW: Trouble = Trouble::Delay(Duration::from_millis(150));

/// Killed again and again in the midst of a drain, the agent loses nothing, and what comes twice
/// is no more than what was under way or answered within the last moments before each kill.
#[test]
fn kill_9_in_a_drain_loses_nothing() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.app_source("*.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    for _ in 0..80 {
        writer.write(1_000);
    }
    cloud.fault(Fault::new(SLOW).on(Action::Put));
    let mut doubled_max = 0;
    for more_puts in [3, 1, 4, 2] {
        let before = cloud.state().puts.len();
        let agent = world.start();
        cloud.wait(SLOWLY, "the drain goes on", |state| {
            state.puts.len() >= before + more_puts
        });
        let killed = Instant::now();
        agent.kill9();
        let recent = |at: Instant| killed.saturating_duration_since(at) < UNSAVED;
        let state = cloud.state();
        let unsaved = state.puts.iter().filter(|put| recent(put.at));
        doubled_max += unsaved.map(|put| put.events as u64).sum::<u64>();
    }
    cloud.clear_faults();
    let agent = world.start();
    wait_complete(&cloud, SLOWLY, &writer, APP);
    agent.stop(LIMIT);
    let found = findings(&cloud, &writer, APP);
    found.assert_none_lost();
    assert_eq!(found.alien, 0, "{found:#?}");
    assert!(
        found.doubled <= doubled_max,
        "{} > {doubled_max}",
        found.doubled
    );
    cloud.assert_no_violations();
}

/// SIGTERM sends everything that was readable before the agent ends, and nothing comes twice.
#[test]
fn sigterm_drains() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.app_source("*.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    for _ in 0..30 {
        writer.write(1_000);
    }
    cloud.fault(Fault::new(SLOW).on(Action::Put));
    let agent = world.start();
    cloud.wait(LIMIT, "the drain has begun", |state| !state.puts.is_empty());
    agent.stop(LIMIT);
    findings(&cloud, &writer, APP).assert_exact();
    let finished = world.run(&["run", "--once"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(cloud.state().total() as u64, writer.written().count);
    cloud.assert_no_violations();
}

/// Where it may not look into a directory, `run --once` does not end as if all were delivered, and
/// `check` does not say that there is no file: shown by a directory closed to the agent, then open.
#[test]
fn what_could_not_be_looked_at_is_not_done() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.unprivileged();
    world.app_source("*.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    writer.write(10);
    world.write_config();
    set_mode(&world.path("log"), 0o000);
    let finished = world.run(&["run", "--once"]);
    assert_eq!(finished.code, Some(75), "{finished:?}");
    let checked = world.run(&["check"]);
    assert!(checked.stdout.contains("unseen    "), "{checked:?}");
    assert!(!checked.stdout.contains("no such file yet"), "{checked:?}");
    set_mode(&world.path("log"), 0o755);
    let finished = world.run(&["run", "--once"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    findings(&cloud, &writer, APP).assert_exact();
    cloud.assert_no_violations();
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// With the service down, SIGTERM ends the agent within its grace period; the next one delivers
/// everything.
#[test]
fn sigterm_with_the_service_down_ends_in_time() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.set("agent", "shutdown_grace = \"2s\"");
    world.app_source("*.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    writer.write(5_000);
    cloud.fault(Fault::new(Trouble::ResetBefore));
    let mut agent = world.start();
    cloud.wait(LIMIT, "it tries", |state| {
        state.answered("reset before") > 0
    });
    let asked = Instant::now();
    agent.terminate();
    let status = agent.wait_exit(LIMIT);
    let took = asked.elapsed();
    assert!(status.code().is_some(), "it ended by itself: {status}");
    assert!(
        took < Duration::from_secs(4),
        "a grace of 2 s took {took:?}"
    );
    cloud.clear_faults();
    let agent = world.start();
    wait_complete(&cloud, LIMIT, &writer, APP);
    agent.stop(LIMIT);
    findings(&cloud, &writer, APP).assert_exact();
}

/// A deployment that was pruned unread while the service was down, and the agent stopped after,
/// is still delivered: its lines were rescued.
#[test]
fn a_pruned_deployment_is_rescued() {
    let cloud = Cloud::start();
    let imds = Imds::start(Instance::default());
    let mut world = World::on_instance(&cloud, &imds);
    world.set("agent", "shutdown_grace = \"1s\"");
    let tree = world.codedeploy();
    let stream = format!("d-AB12CD34E/{}", imds.state().instance.id);
    let path = tree.scripts_log("d-AB12CD34E");
    let mut writer = Writer::headed(&path, "scripts", scripts_head);
    writer.write(3_000);
    cloud.fault(Fault::new(Trouble::ResetBefore));
    let mut agent = world.start();
    cloud.wait(LIMIT, "it tries", |state| {
        state.answered("reset before") > 0
    });
    tree.prune("d-AB12CD34E");
    world.wait_status(LIMIT, "the file is known to be gone", |status| {
        status.files.iter().any(|file| file.state == "deleted")
    });
    agent.terminate();
    agent.wait_exit(LIMIT);
    assert!(
        !world.contents("state/rescue").is_empty(),
        "nothing was rescued"
    );
    cloud.clear_faults();
    let agent = world.start();
    let group = "/codedeploy/scripts";
    wait_complete(&cloud, LIMIT, &writer, (group, &stream));
    agent.stop(LIMIT);
    findings(&cloud, &writer, (group, &stream)).assert_exact();
    assert_eq!(
        world.contents("state/rescue").len(),
        0,
        "delivered and still kept"
    );
    cloud.assert_no_violations();
}
