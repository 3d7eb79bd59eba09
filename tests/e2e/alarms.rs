//! The commands about alarms, against CloudWatch in its own language (rpc-v2-cbor).

#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use deploywatch::ports::sealed::{seal, unseal};
use serde_json::{Value, json};

use crate::LIMIT;
use crate::support::cloud::Cloud;
use crate::support::imds::{Imds, Instance};
use crate::support::state::State;
use crate::support::world::{Finished, World};

/// The agent spreads its calls after a start over half a minute; and then some.
const MANAGED: Duration = Duration::from_secs(180);
/// Fifty agents besides, at three puts a second, on a machine that has other things to do.
const FLEET: Duration = Duration::from_secs(240);
/// `alarms plan` found a difference.
const DIFFERENT: i32 = 2;
const REBOOT: &str = "reboot-when-codedeploy-agent-dead";
const SNS: &str = "arn:aws:sns:eu-west-1:111122223333:oncall";

/// An instance with four alarms, and its id's prefix.
fn instance(cloud: &Cloud) -> (World, Imds, String) {
    let imds = Imds::start(Instance::default());
    let mut world = World::on_instance(cloud, &imds);
    world.set("alarms", "manage = true");
    for alarm in [
        format!("preset = \"{REBOOT}\""),
        "preset = \"recover-when-system-check-fails\"".to_owned(),
        format!("preset = \"notify-when-silent\"\nactions = [\"{SNS}\"]\nwarm_up = \"10m\""),
        format!(
            "name = \"slow\"\nmetric = \"LifecycleEventSeconds\"\nstatistic = \"p99.5\"\n\
             dimensions = {{ LifecycleEvent = \"Install\" }}\ncomparison = \">\"\n\
             threshold = 0.5\nok_actions = [\"{SNS}\"]\nmissing_data = \"not_breaching\"\n\
             evaluation_periods = 3\ndatapoints_to_alarm = 2"
        ),
    ] {
        world.alarm(&alarm);
    }
    world.write_config();
    let id = imds.state().instance.id.clone();
    (world, imds, format!("deploywatch/{id}/"))
}

fn said(finished: &Finished) -> String {
    format!("{}{}", finished.stdout, finished.stderr)
}

#[track_caller]
fn run(world: &World, arguments: &[&str], code: i32) -> String {
    let finished = world.run(arguments);
    assert_eq!(finished.code, Some(code), "{arguments:?}: {finished:?}");
    said(&finished)
}

/// plan says what would be done and exits 2, apply does it, and then there is nothing to do; every
/// field arrives as it was meant: shown over several pages of alarms, with the whole of two.
#[test]
fn plan_then_apply_leaves_nothing_to_do() {
    let cloud = Cloud::start();
    let (world, _imds, prefix) = instance(&cloud);
    let plan = run(&world, &["alarms", "plan"], DIFFERENT);
    assert!(plan.contains(&format!("+ {prefix}{REBOOT}")), "{plan}");
    assert!(
        plan.contains("4 to make, 0 to change, 0 to delete"),
        "{plan}"
    );
    assert!(
        cloud.state().alarms.alarms.is_empty(),
        "a plan makes nothing"
    );
    run(&world, &["alarms", "apply"], 0);
    {
        let state = cloud.state();
        let all = &state.alarms.alarms;
        assert_eq!(all.len(), 4);
        assert!(
            all.values()
                .all(|alarm| alarm.tags["ManagedBy"] == "deploywatch")
        );
        let reboot = &all[&format!("{prefix}{REBOOT}")].fields;
        let id = prefix.split('/').nth(1).unwrap();
        assert_eq!(
            reboot["Dimensions"],
            json!([{ "Name": "InstanceId", "Value": id }])
        );
        assert_eq!(
            reboot["AlarmActions"],
            json!(["arn:aws:automate:eu-west-1:ec2:reboot"])
        );
        assert_eq!(reboot["TreatMissingData"], "ignore");
        let slow = &all[&format!("{prefix}slow")].fields;
        assert_eq!(slow["ExtendedStatistic"], "p99.5");
        assert_eq!(slow["Threshold"], 0.5);
        assert_eq!(slow["DatapointsToAlarm"], 2);
    }
    let plan = run(&world, &["alarms", "plan"], 0);
    assert!(
        plan.contains("0 to make, 0 to change, 0 to delete, 4 as wanted"),
        "{plan}"
    );
    run(&world, &["alarms", "apply"], 0);
    let puts = |cloud: &Cloud| {
        let state = cloud.state();
        state
            .alarms
            .calls
            .iter()
            .filter(|call| *call == "PutMetricAlarm")
            .count()
    };
    assert_eq!(puts(&cloud), 4, "nothing is put twice");
    cloud.assert_no_violations();
}

/// What people changed by hand is shown with its key and both values, reverted by apply, and kept
/// by `apply --adopt`; an alarm of ours that is not wanted goes, one that is not ours stays: shown
/// by changing the service's alarms behind our back.
#[test]
fn changes_by_hand_are_reverted_or_adopted() {
    let cloud = Cloud::start();
    let (world, _imds, prefix) = instance(&cloud);
    run(&world, &["alarms", "apply"], 0);
    let other = "arn:aws:sns:eu-west-1:111122223333:added-by-hand";
    let meddle = || {
        let mut state = cloud.state();
        let all = &mut state.alarms.alarms;
        let reboot = all.get_mut(&format!("{prefix}{REBOOT}")).unwrap();
        reboot.fields.insert("OKActions".to_owned(), json!([other]));
        let silent = all.get_mut(&format!("{prefix}notify-when-silent")).unwrap();
        silent.fields.insert("Threshold".to_owned(), json!(7.0));
        let mut stranger = silent.clone();
        stranger.tags.clear();
        stranger
            .fields
            .insert("AlarmName".to_owned(), json!(format!("{prefix}mine")));
        all.insert(format!("{prefix}mine"), stranger.clone());
        stranger
            .tags
            .insert("ManagedBy".to_owned(), "deploywatch".to_owned());
        stranger
            .fields
            .insert("AlarmName".to_owned(), json!(format!("{prefix}old")));
        all.insert(format!("{prefix}old"), stranger);
    };
    meddle();
    let plan = run(&world, &["alarms", "plan"], DIFFERENT);
    for part in [
        &format!("- {prefix}old") as &str,
        &format!("! {prefix}mine is not ours"),
        "7 -> 1",
        &format!("{other} -> (none)"),
        "0 to make, 2 to change, 1 to delete",
    ] {
        assert!(plan.contains(part), "{part} is not in:\n{plan}");
    }
    run(&world, &["alarms", "apply", "--adopt"], 0);
    {
        let state = cloud.state();
        let all = &state.alarms.alarms;
        assert_eq!(
            all[&format!("{prefix}{REBOOT}")].fields["OKActions"],
            json!([other])
        );
        assert_eq!(
            all[&format!("{prefix}notify-when-silent")].fields["Threshold"],
            1.0
        );
        assert!(all.contains_key(&format!("{prefix}mine")));
        assert!(!all.contains_key(&format!("{prefix}old")));
    }
    run(&world, &["alarms", "plan", "--adopt"], 0);
    run(&world, &["alarms", "apply"], 0);
    let kept =
        cloud.state().alarms.alarms[&format!("{prefix}{REBOOT}")].fields["OKActions"].clone();
    assert_eq!(kept, json!([]));

    let deleted = run(&world, &["alarms", "delete"], 0);
    assert!(deleted.contains("4 to delete"), "{deleted}");
    let left: Vec<String> = cloud.state().alarms.alarms.keys().cloned().collect();
    assert_eq!(left, [format!("{prefix}mine")]);
    cloud.assert_no_violations();
}

/// suspend switches off the alarms that act on the instance and no others, leaves the agent its
/// order, and resume undoes it; status shows state, reason, what would be done and the last
/// action: shown by the service's alarms and the texts.
#[test]
fn suspend_resume_and_status() {
    let cloud = Cloud::start();
    let (world, _imds, prefix) = instance(&cloud);
    run(&world, &["alarms", "apply"], 0);
    let reboot = format!("{prefix}{REBOOT}");
    std::fs::create_dir_all(world.path("state")).unwrap();
    let text = run(&world, &["alarms", "suspend"], 0);
    assert!(text.contains("suspended"), "{text}");
    let enabled = |name: &str| cloud.state().alarms.alarms[name].actions_enabled();
    assert!(!enabled(&reboot) && !enabled(&format!("{prefix}recover-when-system-check-fails")));
    assert!(enabled(&format!("{prefix}notify-when-silent")));
    let order = std::fs::read_to_string(world.path("state/alarms-order")).unwrap();
    assert_eq!(order, "suspend\n");
    let summary = "Successfully executed action arn:aws:automate:eu-west-1:ec2:reboot";
    cloud.state().alarms.history.push((
        reboot.clone(),
        crate::support::cloud::now_ms() - 1000,
        summary.to_owned(),
    ));
    let status = run(&world, &["alarms", "status"], 0);
    for part in [
        &reboot as &str,
        "INSUFFICIENT_DATA",
        "SUSPENDED",
        "REBOOT i-",
        summary,
    ] {
        assert!(status.contains(part), "{part} is not in:\n{status}");
    }
    // Applying switches nothing on again.
    run(&world, &["alarms", "apply"], 0);
    assert!(!enabled(&reboot));
    run(&world, &["alarms", "resume"], 0);
    assert!(enabled(&reboot));
    let status = run(&world, &["alarms", "status", "--json"], 0);
    let json: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(json["alarms"].as_array().unwrap().len(), 4);
    assert_eq!(json["alarms"][0]["actions_enabled"], true);
    assert_eq!(json["alarms"][0]["last_action"]["summary"], summary);
    cloud.assert_no_violations();
}

/// An order reaches the agent also where nobody can say who this instance is, which is when CloudWatch
/// cannot be asked at all; nothing is written where a link of the agent's user leads: shown by the state
/// directory after a command that fails, with such a link in it.
#[test]
fn an_order_is_left_though_nobody_answers() {
    let cloud = Cloud::start();
    let (world, imds, _prefix) = instance(&cloud);
    drop(imds);
    let victim = world.path("victim");
    std::fs::write(&victim, "mine").unwrap();
    std::fs::create_dir_all(world.path("state")).unwrap();
    std::os::unix::fs::symlink(&victim, world.path("state/.alarms-order.tmp")).unwrap();
    let text = run(&world, &["alarms", "suspend"], 1);
    assert!(text.contains("the agent has the order"), "{text}");
    let order = std::fs::read_to_string(world.path("state/alarms-order")).unwrap();
    assert_eq!(order, "suspend\n");
    assert_eq!(std::fs::read_to_string(victim).unwrap(), "mine");
}

/// Tools are answered in JSON by every command about alarms: shown by the three that act at once.
#[test]
fn tools_are_answered_in_json() {
    let cloud = Cloud::start();
    let (world, _imds, prefix) = instance(&cloud);
    run(&world, &["alarms", "apply", "--json"], 0);
    std::fs::create_dir_all(world.path("state")).unwrap();
    let json = |arguments: &[&str]| -> Value {
        let finished = world.run(arguments);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        serde_json::from_str(&finished.stdout).unwrap()
    };
    for (word, suspended) in [("suspend", true), ("resume", false)] {
        let answer = json(&["alarms", word, "--json"]);
        assert_eq!(answer["suspended"], suspended);
        assert_eq!(answer["alarms"].as_array().unwrap().len(), 2);
    }
    let answer = json(&["alarms", "test", REBOOT, "--json", "--yes-run-the-action"]);
    let expected = json!({ "name": format!("{prefix}{REBOOT}"), "state": "ALARM" });
    assert_eq!(answer, expected);
}

/// test says in plain words what will happen and does nothing without a yes; with it the alarm is
/// set for real, once: shown without a terminal, with the flag, and again.
#[test]
fn a_test_asks_first() {
    let cloud = Cloud::start();
    let (world, _imds, prefix) = instance(&cloud);
    run(&world, &["alarms", "apply"], 0);
    let state = |cloud: &Cloud| {
        cloud.state().alarms.alarms[&format!("{prefix}{REBOOT}")]
            .state
            .clone()
    };
    let text = run(&world, &["alarms", "test", REBOOT], 2);
    assert!(
        text.contains("REBOOT i-") && text.contains("nothing was done"),
        "{text}"
    );
    assert_eq!(state(&cloud), "INSUFFICIENT_DATA");
    run(
        &world,
        &["alarms", "test", REBOOT, "--yes-run-the-action"],
        0,
    );
    assert_eq!(state(&cloud), "ALARM");
    let text = run(
        &world,
        &["alarms", "test", REBOOT, "--yes-run-the-action"],
        1,
    );
    assert!(text.contains("in ALARM already"), "{text}");
    let text = run(&world, &["alarms", "test", "rebot"], 1);
    assert!(text.contains(REBOOT), "{text}");
    cloud.assert_no_violations();
}

/// Instances that apply at once all get their alarms, though the service takes three puts a second
/// from all of them: shown by four real commands in parallel and the puts that were refused.
#[test]
fn applying_at_once_waits_its_turn() {
    let cloud = Arc::new(Cloud::start());
    cloud.state().alarms.puts_per_second = Some(3);
    let (world, imds, _prefix) = instance(&cloud);
    let ids: Vec<String> = (0..4).map(|n| format!("i-0000000000000{n:04}")).collect();
    std::thread::scope(|scope| {
        for id in &ids {
            let world = &world;
            scope.spawn(move || {
                run(world, &["alarms", "apply", "--instance-id", id], 0);
            });
        }
    });
    let state = cloud.state();
    assert_eq!(state.alarms.alarms.len(), 16);
    assert!(state.alarms.throttled > 0, "the limit was never reached");
    drop(state);
    drop(imds);
    cloud.assert_no_violations();
}

/// A fleet that starts at once gets all its alarms, though the service takes three puts a second
/// from all of it, and then asks for nothing more: shown by fifty real agents of one account, the
/// puts that were refused, and how many calls each alarm took.
#[test]
fn fifty_agents_that_start_at_once_all_get_their_alarms() {
    const AGENTS: usize = 50;
    let cloud = Cloud::start();
    cloud.state().alarms.puts_per_second = Some(3);
    let fleet: Vec<(World, Imds)> = (0..AGENTS)
        .map(|n| {
            let imds = Imds::start(Instance {
                id: format!("i-0000000000000{n:04}"),
                ..Instance::default()
            });
            let mut world = World::on_instance(&cloud, &imds);
            world.set("alarms", "manage = true");
            for preset in [REBOOT, "recover-when-system-check-fails"] {
                world.alarm(&format!("preset = \"{preset}\""));
            }
            (world, imds)
        })
        .collect();
    let agents: Vec<_> = fleet.iter().map(|(world, _)| world.start()).collect();
    for (world, _) in &fleet {
        world.wait_status(FLEET, "its alarms are made", |status| {
            status.alarms.applied_ms.is_some()
        });
    }
    for agent in agents {
        agent.stop(LIMIT);
    }
    let state = cloud.state();
    let made = state.alarms.alarms.len();
    assert_eq!(made, 2 * AGENTS);
    assert!(state.alarms.throttled > 0, "the limit was never reached");
    let puts = state.alarms.calls.iter();
    let puts = puts.filter(|call| *call == "PutMetricAlarm").count();
    assert!(puts < 6 * made, "{puts} puts for {made} alarms");
    drop(state);
    cloud.assert_no_violations();
}

/// A refused permission is named, and what is not permitted does not keep the rest from being
/// done: shown by a role that may not put, and by `check --online`, which names each one of those that
/// keeping alarms takes.
#[test]
fn a_missing_permission_is_named() {
    let cloud = Cloud::start();
    let (world, _imds, _prefix) = instance(&cloud);
    cloud.state().alarms.denied = vec!["PutMetricAlarm".to_owned()];
    let text = run(&world, &["alarms", "apply"], 1);
    assert!(text.contains("cloudwatch:PutMetricAlarm"), "{text}");
    for operation in [
        "DescribeAlarms",
        "DescribeAlarmHistory",
        "DisableAlarmActions",
        "EnableAlarmActions",
        "PutMetricAlarm",
        "ListTagsForResource",
        "DeleteAlarms",
    ] {
        cloud.state().alarms.denied = vec![operation.to_owned()];
        let text = run(&world, &["check", "--online"], 1);
        let named = format!("cloudwatch:{operation} ");
        let missing = text.lines().filter(|line| line.contains("MISSING"));
        let missing: Vec<&str> = missing.collect();
        assert!(!missing.is_empty(), "{operation}\n{text}");
        assert!(
            missing.iter().all(|line| line.starts_with(&named)),
            "{text}"
        );
    }
    cloud.state().alarms.denied.clear();
    let text = run(&world, &["check", "--online"], 0);
    assert!(text.contains("none is missing"), "{text}");
    let left = cloud.state().alarms.alarms.len();
    assert_eq!(left, 0, "nothing is left behind");
    cloud.assert_no_violations();
}

/// The agent makes its alarms itself when it starts, tagged and under its prefix, asks nothing
/// after a restart, and makes what a reload changes, and only that: shown by the calls.
#[test]
fn a_managing_agent_keeps_its_alarms() {
    let cloud = Cloud::start();
    let (mut world, _imds, prefix) = instance(&cloud);
    let agent = world.start();
    cloud.wait(MANAGED, "the alarms are made", |state| {
        state.alarms.alarms.len() == 4
    });
    world.wait_status(LIMIT, "the agent knows", |status| {
        status.alarms.applied_ms.is_some()
    });
    {
        let state = cloud.state();
        let all = &state.alarms.alarms;
        assert!(all.keys().all(|name| name.starts_with(&prefix)), "{all:#?}");
        assert!(
            all.values()
                .all(|alarm| alarm.tags["ManagedBy"] == "deploywatch")
        );
    }
    let glance = world.run(&["status"]).stdout;
    for part in ["Alarms: 4, made by the agent", REBOOT, "REBOOT"] {
        assert!(glance.contains(part), "{part} is not in:\n{glance}");
    }
    agent.stop(LIMIT);
    let before = cloud.state().alarms.calls.len();
    let agent = world.start();
    world.wait_status(LIMIT, "it goes on", |status| {
        status.alarms.applied_ms.is_some() && status.instance_id.is_some()
    });
    world.alarm(&format!(
        "preset = \"notify-when-lines-are-lost\"\nactions = [\"{SNS}\"]"
    ));
    world.write_config();
    agent.hup();
    cloud.wait(MANAGED, "the new alarm is made", |state| {
        state.alarms.alarms.len() == 5
    });
    agent.stop(LIMIT);
    let state = cloud.state();
    let calls = &state.alarms.calls[before..];
    let puts = calls
        .iter()
        .filter(|call| *call == "PutMetricAlarm")
        .count();
    let looks = calls
        .iter()
        .filter(|call| *call == "DescribeAlarms")
        .count();
    assert_eq!(puts, 1, "{calls:?}");
    assert_eq!(looks, 2, "one look, over two pages: {calls:?}");
    drop(state);
    cloud.assert_no_violations();
}

/// An order that `alarms suspend` leaves reaches the running agent: it has the service switch the
/// actions off, publishes that, and says so; `resume` undoes it: shown by alarms, metric and status.
#[test]
fn an_order_reaches_the_running_agent() {
    let cloud = Cloud::start();
    let (mut world, _imds, prefix) = instance(&cloud);
    world.set("metrics", "period = \"10s\"");
    let agent = world.start();
    cloud.wait(MANAGED, "the alarms are made", |state| {
        state.alarms.alarms.len() == 4
    });
    world.wait_status(LIMIT, "the agent knows", |status| {
        status.alarms.applied_ms.is_some()
    });
    let suspended = |state: &State| {
        let data = state
            .metrics
            .iter()
            .filter(|datum| datum.name == "ActionsSuspended");
        data.max_by_key(|datum| datum.time_ms)
            .map(|datum| datum.max)
    };
    run(&world, &["alarms", "suspend"], 0);
    // As if the command could not reach the service: only the agent is left to do it.
    let reboot = format!("{prefix}{REBOOT}");
    world.wait_status(MANAGED, "the order is obeyed", |status| {
        status.alarms.suspended_by.as_deref() == Some("hand") && status.alarms.suspension_confirmed
    });
    assert!(!cloud.state().alarms.alarms[&reboot].actions_enabled());
    let off = cloud
        .state()
        .alarms
        .calls
        .iter()
        .filter(|call| *call == "DisableAlarmActions")
        .count();
    assert_eq!(off, 2, "the command's call and the agent's own");
    assert!(
        !world.path("state/alarms-order").exists(),
        "an order is taken once"
    );
    let glance = world.run(&["status"]).stdout;
    assert!(
        glance.contains("actions on this instance are suspended by hand"),
        "{glance}"
    );
    cloud.wait(MANAGED, "it is published", |state| {
        suspended(state) == Some(1.0)
    });
    run(&world, &["alarms", "resume"], 0);
    world.wait_status(MANAGED, "actions are resumed", |status| {
        status.alarms.suspended_by.is_none()
    });
    cloud.wait(MANAGED, "that is published", |state| {
        suspended(state) == Some(0.0) && state.alarms.alarms[&reboot].actions_enabled()
    });
    agent.stop(LIMIT);
    cloud.assert_no_violations();
}

/// After a boot that an alarm's action led to, the agent writes that into the CodeDeploy agent's
/// stream, once, and `status` says it: shown by a state directory that remembers another boot, and
/// the service's history.
#[test]
fn the_action_before_a_boot_is_told() {
    let cloud = Cloud::start();
    let (mut world, imds, prefix) = instance(&cloud);
    let tree = world.codedeploy();
    tree.agent("first words");
    let agent = world.start();
    world.wait_status(MANAGED, "it knows its boot", |status| {
        status.alarms.applied_ms.is_some()
    });
    agent.stop(LIMIT);
    let boots = world.path("state/boots");
    let text = std::fs::read_to_string(&boots).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(text.contains(boot.trim()), "{text}");
    let body = unseal("boots", u32::MAX, text.as_bytes()).unwrap();
    let other = String::from_utf8_lossy(body).replace(boot.trim(), "another-boot");
    std::fs::write(&boots, seal("boots", 1, other.into_bytes())).unwrap();
    let summary = "Successfully executed action arn:aws:automate:eu-west-1:ec2:reboot";
    let at_ms = crate::support::cloud::now_ms() - 1_000;
    cloud
        .state()
        .alarms
        .history
        .push((format!("{prefix}{REBOOT}"), at_ms, summary.to_owned()));
    let group = "/codedeploy/agent";
    let id = imds.state().instance.id.clone();
    let told = |state: &State| {
        let events = state.events(group, &id).iter();
        events
            .filter(|event| event.message.contains(summary))
            .count()
    };
    let agent = world.start();
    cloud.wait(MANAGED, "it is told", |state| told(state) > 0);
    let glance = world.run(&["status"]).stdout;
    assert!(glance.contains(summary), "{glance}");
    agent.stop(LIMIT);
    let agent = world.start();
    agent.wait_said(LIMIT, "running on EC2");
    agent.stop(LIMIT);
    assert_eq!(told(&cloud.state()), 1);
    cloud.assert_no_violations();
}
