//! What takes minutes of silence or several reboots is told to EventBridge by the whole agent: a
//! hanging deployment, the CodeDeploy agent's health, the loop breaker.

#![cfg(test)]

use std::collections::BTreeSet;

use crate::scene::{BEAT_MS, MINUTE_MS, Polls, Scene};
use crate::workload::hooks;
use crate::world::World;

/// A deployment that hangs, its failure, and a CodeDeploy agent that falls silent and comes back are
/// told, each once, with the group of the log that says more, and not again by the next process: shown
/// by all that is told.
#[test]
fn hanging_and_health_are_told() {
    let mut scene = Scene::new("");
    scene.live(10, Polls::Answered);
    scene.begin("d-HANG00001", "AfterInstall");
    scene.live(5, Polls::Answered);
    assert_eq!(scene.told(), [""; 0]);
    scene.live(20, Polls::Answered);
    assert_eq!(
        scene.told(),
        ["deployment_hanging/d-HANG00001/AfterInstall"]
    );
    scene.fail("d-HANG00001", "AfterInstall");
    scene.live(5, Polls::Answered);
    assert_eq!(
        scene.told(),
        [
            "lifecycle_event_failed/d-HANG00001/AfterInstall",
            "deployment_failed/d-HANG00001"
        ]
    );
    scene.live(10, Polls::Silent);
    assert_eq!(scene.told(), ["codedeploy_agent_unhealthy"]);
    scene.live(5, Polls::Answered);
    assert_eq!(scene.told(), ["codedeploy_agent_healthy"]);
    scene.kill();
    scene.live(20, Polls::Answered);
    assert_eq!(scene.told(), [""; 0]);
}

/// A hook that prints something is alive though its command began long ago, over a start of the agent
/// too; silence is counted from the start then, and told once: shown by starts around a long hook.
#[test]
fn a_start_gives_a_running_hook_its_time_anew() {
    let mut scene = Scene::new("");
    scene.live(1, Polls::Answered);
    scene.begin("d-LONG00001", "AfterInstall");
    for _ in 0..3 {
        scene.live(10, Polls::Answered);
        scene.output("d-LONG00001");
    }
    scene.live(1, Polls::Answered);
    scene.kill();
    scene.live(14, Polls::Answered);
    assert_eq!(scene.told(), [""; 0]);
    scene.live(2, Polls::Answered);
    assert_eq!(
        scene.told(),
        ["deployment_hanging/d-LONG00001/AfterInstall"]
    );
    scene.kill();
    scene.live(20, Polls::Answered);
    assert_eq!(scene.told(), [""; 0]);
}

/// A tracking file of yesterday is a hook's that hangs, one that is older than a day was left behind:
/// shown by a first start beside either.
#[test]
fn what_was_left_behind_days_ago_does_not_hang() {
    let hanging: &[_] = &["deployment_hanging/d-LEFT00001/AfterInstall"];
    for (hours, expected) in [(23, hanging), (25, &[])] {
        let mut scene = Scene::new("");
        scene.begin("d-LEFT00001", "AfterInstall");
        scene.sleep(hours * 60);
        scene.kill();
        scene.live(20, Polls::Answered);
        assert_eq!(scene.told(), expected, "{hours} hours");
    }
}

/// What ended long before the agent was started hangs at no time, wherever in its own beat the agent
/// meets a log whose last record may not be over: shown by starts all over a beat.
#[test]
fn what_ended_before_the_start_does_not_hang() {
    for later_ms in (0..BEAT_MS).step_by(50) {
        let mut scene = Scene::new("");
        let command = hooks::identifier("d-HISTORY01", "Install");
        // What was under way when the machine was booted is another matter.
        let up_ms = 30 * MINUTE_MS + later_ms;
        scene.world.advance_to(scene.world.clock.ms + up_ms);
        scene.call_ago(20 * MINUTE_MS + 3_000, &hooks::acknowledged(&command));
        scene.call_ago(20 * MINUTE_MS, &hooks::failed(&command));
        scene.kill();
        scene.live(1, Polls::Silent);
        assert_eq!(scene.told(), [""; 0], "{later_ms} ms into the beat");
    }
}

/// A hook hangs though the CodeDeploy agent's log never ends in a record that is surely over: shown by
/// one that is written to ten times a second.
#[test]
fn a_log_that_never_rests_keeps_nothing_back() {
    let mut scene = Scene::new("");
    scene.poll_ms = 100;
    scene.begin("d-HANG00001", "AfterInstall");
    scene.live(16, Polls::Answered);
    assert_eq!(
        scene.told(),
        ["deployment_hanging/d-HANG00001/AfterInstall"]
    );
}

/// A machine that is rebooted again and again by its alarm is told of once when the loop breaker
/// acts, and once when it gives the actions free again: shown by reboots that the test makes.
#[test]
fn the_loop_breaker_is_told() {
    let mut scene = Scene::new("[[alarm]]\npreset = \"reboot-when-codedeploy-agent-dead\"\n");
    scene.live(5, Polls::Answered);
    let actions = |scene: &mut Scene| -> Vec<String> {
        let told = scene.told().into_iter();
        told.filter(|id| id.starts_with("actions_")).collect()
    };
    for _ in 0..3 {
        scene.live(16, Polls::Silent);
        scene.boot();
        assert_eq!(actions(&mut scene), [""; 0]);
    }
    scene.live(16, Polls::Silent);
    scene.boot();
    scene.live(16, Polls::Silent);
    assert_eq!(actions(&mut scene), ["actions_suspended"]);
    scene.kill();
    scene.live(180, Polls::Answered);
    assert_eq!(actions(&mut scene), ["actions_resumed"]);
}

/// What was answered before a stop is over is not sent again by the next process: shown by stops that
/// end as the answer comes.
#[test]
fn what_is_answered_as_a_stop_ends_is_sent_once() {
    let next_ms: [fn(&World) -> Option<u64>; 2] = [
        |world| world.events.wire.next_ms(),
        |world| world.metrics.wire.next_ms(),
    ];
    for next_ms in next_ms {
        let mut scene = Scene::new("");
        let command = hooks::identifier("d-ENDS00001", "AfterInstall");
        scene.live(1, Polls::Answered);
        scene.call(&hooks::acknowledged(&command));
        scene.live(1, Polls::Answered);
        scene.call(&hooks::failed(&command));
        scene = scene.stop_as_it_comes(next_ms);
        scene.live(5, Polls::Answered);
        let failed = [
            "lifecycle_event_failed/d-ENDS00001/AfterInstall",
            "deployment_failed/d-ENDS00001",
        ];
        assert_eq!(scene.told(), failed);
        let mut sent = BTreeSet::new();
        for take in &scene.world.metrics.takes {
            for datum in &take.data {
                let key = (&datum.name, &datum.dimensions, datum.time_ms);
                assert!(sent.insert(key), "{datum:?} came twice");
            }
        }
        assert!(!sent.is_empty());
    }
}
