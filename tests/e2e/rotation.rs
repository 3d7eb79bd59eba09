//! Whatever rotation does, every line arrives once, in order.

#![cfg(test)]

use std::time::Duration;

use crate::LIMIT;
use crate::support::cloud::Cloud;
use crate::support::imds::{Imds, Instance};
use crate::support::lines::Writer;
use crate::support::oracle::{APP, findings, wait_complete};
use crate::support::tree::agent_head;
use crate::support::world::World;

/// The writer's pause between calls: the pace of the load, not a wait for anything.
const PACE: Duration = Duration::from_millis(2);

fn write_paced(writer: &mut Writer, lines: u64) {
    for _ in 0..lines / 50 {
        writer.write(50);
        std::thread::sleep(PACE);
    }
}

/// Ten renames under load lose nothing, double nothing and keep the order, though the rotated
/// names do not match the pattern.
#[test]
fn renames_under_load_lose_nothing() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.app_source("app.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    let agent = world.start();
    // What is renamed before it was ever seen has no name that matches.
    writer.write(1);
    wait_complete(&cloud, LIMIT, &writer, APP);
    for _ in 0..10 {
        write_paced(&mut writer, 2_000);
        writer.rotate_by_rename(20);
    }
    write_paced(&mut writer, 1_000);
    wait_complete(&cloud, LIMIT, &writer, APP);
    agent.stop(LIMIT);
    findings(&cloud, &writer, APP).assert_exact();
}

/// The Ruby agent's copy-and-truncate, under load, loses nothing: what was written since the last
/// read is found in the dated copy.
#[test]
fn copy_truncate_as_the_ruby_agent_does_it_loses_nothing() {
    let cloud = Cloud::start();
    let imds = Imds::start(Instance::default());
    let mut world = World::on_instance(&cloud, &imds);
    let tree = world.codedeploy();
    let stream = imds.state().instance.id.clone();
    let mut writer = Writer::headed(&tree.agent_log(), "agent", agent_head);
    let agent = world.start();
    for day in 1..=5 {
        write_paced(&mut writer, 2_000);
        let dated = tree
            .log_dir
            .join(format!("codedeploy-agent.2026110{day}.log"));
        writer.rotate_by_copy(&dated);
    }
    write_paced(&mut writer, 1_000);
    wait_complete(&cloud, LIMIT, &writer, ("/codedeploy/agent", &stream));
    agent.stop(LIMIT);
    findings(&cloud, &writer, ("/codedeploy/agent", &stream)).assert_exact();
}

/// Rotation while the agent is down is followed at its next start: the rest of the old file first,
/// then the new ones, the header line of Ruby's Logger included.
#[test]
fn rotation_while_the_agent_is_down_is_followed() {
    let cloud = Cloud::start();
    let imds = Imds::start(Instance::default());
    let mut world = World::on_instance(&cloud, &imds);
    let tree = world.codedeploy();
    let stream = imds.state().instance.id.clone();
    let put = |number: u32| tree.deployments("d-AB12CD34E", &format!("line {number}"));
    let mut written: Vec<String> = (0..10).map(put).collect();
    let agent = world.start();
    let arrived = |count: usize| {
        let what = "the lines so far arrive";
        cloud.wait(LIMIT, what, |state| {
            state.events("/codedeploy/deployments", &stream).len() >= count
        });
    };
    arrived(written.len());
    agent.stop(LIMIT);
    written.extend((10..20).map(put));
    tree.rotate_deployments();
    written.extend((20..30).map(put));
    tree.rotate_deployments();
    written.extend((30..40).map(put));
    let _agent = world.start();
    arrived(written.len() + 2);
    let mut messages = cloud.messages("/codedeploy/deployments", &stream);
    messages.retain(|message| !message.starts_with("# Logfile created on "));
    assert_eq!(messages, written);
    cloud.assert_no_violations();
}
