//! What is wrongly concluded of a deployment may reboot a healthy machine: scenes in which the date is
//! set, the machine sleeps, files are left behind and histories are long, and what is told of them.

#![cfg(test)]

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::plan::{CODEDEPLOY_YML, LOG_DIR};
use crate::scene::{Polls, Scene, edges};
use crate::workload::hooks;

const HOUR_MS: i64 = 3_600_000;
const RUNNING: &str = "DeploymentRunningSeconds";

/// A deployment runs for a minute and fails.
fn run_and_fail(scene: &mut Scene) {
    scene.begin("d-FAIL00001", "AfterInstall");
    scene.live(1, Polls::Answered);
    scene.fail("d-FAIL00001", "AfterInstall");
}

/// A tracking file that the CodeDeploy agent itself does not believe any more is no deployment that runs:
/// shown by one of 25 hours ago, with a command in the log and without.
#[test]
fn what_was_left_behind_days_ago_does_not_run() {
    for is_logged in [true, false] {
        let mut scene = Scene::new("");
        match is_logged {
            true => scene.begin("d-LEFT00001", "AfterInstall"),
            false => drop(
                scene
                    .world
                    .files
                    .append(&scene.tracking("d-LEFT00001"), b"1"),
            ),
        }
        scene.sleep(25 * 60);
        scene.kill();
        scene.live(20, Polls::Answered);
        assert_eq!(scene.told(), [""; 0]);
        assert!(scene.greatest(RUNNING) < 3_600.0, "{is_logged}");
    }
}

/// A command without an end and without a tracking file ended long ago, whatever became of its record: it
/// neither hangs nor runs at a first start: shown by hundreds of such, beside one that does run.
#[test]
fn a_first_start_calls_nothing_hanging_that_has_no_tracking_file() {
    let mut scene = Scene::new("");
    scene.sleep(40 * 60);
    scene.begin("d-REAL00001", "AfterInstall");
    for nth in 0..600_u64 {
        let id = hooks::identifier(&format!("d-OLD{nth:06}"), "AfterInstall");
        let ago_ms = (1_000 - nth) * 20_000;
        scene.call_ago(ago_ms, &hooks::acknowledged(&id));
        match nth % 3 {
            0 => scene.call_ago(ago_ms - 5_000, &hooks::failed(&id)),
            1 => scene.call_ago(ago_ms - 5_000, &hooks::succeeded(&id)),
            _ => {}
        }
    }
    scene.reinstall();
    scene.live(14, Polls::Answered);
    assert_eq!(scene.told(), [""; 0]);
    let most = scene.greatest(RUNNING);
    assert!(most < 900.0, "{most}");
}

/// The whole time anew for what is found at a start, as the roster promises: shown with a root that is not
/// the default one, which is not known yet at the first look.
#[test]
fn a_running_hook_has_its_time_anew_wherever_the_root_is() {
    let mut scene = Scene::new("");
    scene.world.files.unlink(CODEDEPLOY_YML.as_ref());
    let yml = format!("---\n:log_dir: '{LOG_DIR}/'\n:root_dir: '/data/root'\n");
    let path = Path::new(CODEDEPLOY_YML);
    scene.world.files.append(path, yml.as_bytes());
    scene.sleep(40);
    let tracking = PathBuf::from("/data/root/ongoing-deployment/d-CALM00001");
    scene.world.files.append(&tracking, b"1");
    let command = hooks::identifier("d-CALM00001", "AfterInstall");
    scene.call(&hooks::acknowledged(&command));
    scene.sleep(25);
    scene.reinstall();
    scene.live(10, Polls::Answered);
    assert_eq!(scene.told(), [""; 0]);
}

/// A machine that sleeps (EC2 hibernates) is not silent meanwhile: no hook hangs, no deployment has run for
/// hours. Silence behind the sleep counts as ever.
#[test]
fn sleep_is_no_silence_of_a_hook() {
    let mut scene = Scene::new("");
    scene.live(10, Polls::Answered);
    scene.begin("d-SLEEP0001", "AfterInstall");
    scene.live(1, Polls::Answered);
    scene.forget_data();
    scene.sleep(8 * 60);
    scene.live(4, Polls::Answered);
    let most = scene.greatest(RUNNING);
    assert!(most < 3_600.0, "{most}");
    assert_eq!(scene.told(), [""; 0]);
    scene.live(20, Polls::Answered);
    assert_eq!(
        scene.told(),
        ["deployment_hanging/d-SLEEP0001/AfterInstall"]
    );
}

/// Nor is the CodeDeploy agent silent then: shown by polls that come a little later than we wake.
#[test]
fn sleep_is_no_silence_of_the_codedeploy_agent() {
    for wait_ms in [100, 1_000, 7_000] {
        let mut scene = Scene::new("");
        scene.live(10, Polls::Answered);
        scene.sleep(8 * 60);
        let polls_ms = scene.world.clock.ms + wait_ms;
        while scene.world.clock.ms < polls_ms {
            let now = scene.world.clock.now();
            let edges = &mut edges(&mut scene.world, &mut scene.alarms);
            scene.agent.step(edges, now);
            scene.world.advance_to(scene.world.clock.ms + 50);
        }
        scene.live(4, Polls::Answered);
        assert_eq!(scene.told(), [""; 0], "{wait_ms}");
        scene.live(10, Polls::Silent);
        assert_eq!(scene.told(), ["codedeploy_agent_unhealthy"], "{wait_ms}");
    }
}

/// The newest deployment is the one that ended last, also after the date was set back: shown by a success
/// that is dated before the failure it follows.
#[test]
fn the_newest_deployment_counts_though_the_date_was_set_back() {
    let mut scene = Scene::new("");
    scene.live(10, Polls::Answered);
    scene.set_skew(HOUR_MS);
    scene.live(10, Polls::Answered);
    run_and_fail(&mut scene);
    scene.live(3, Polls::Answered);
    scene.set_skew(0);
    scene.live(3, Polls::Answered);
    scene.begin("d-GOOD00001", "ValidateService");
    scene.live(1, Polls::Answered);
    scene.succeed("d-GOOD00001", "ValidateService");
    scene.live(2, Polls::Answered);
    scene.forget_data();
    scene.live(10, Polls::Answered);
    assert_eq!(scene.greatest("LastDeploymentFailed"), 0.0);
}

/// A clock that was ahead when the machine booted, and is set right, makes nothing old that happens then:
/// shown by a first start and by another boot.
#[test]
fn a_date_that_is_set_back_makes_nothing_old() {
    for is_first in [true, false] {
        let mut scene = Scene::new("");
        scene.live(10, Polls::Answered);
        scene.set_skew(2 * HOUR_MS);
        match is_first {
            true => scene.reinstall(),
            false => scene.boot(),
        }
        scene.live(1, Polls::Answered);
        scene.set_skew(0);
        scene.live(5, Polls::Answered);
        run_and_fail(&mut scene);
        scene.live(5, Polls::Answered);
        assert_eq!(
            scene.told(),
            [
                "lifecycle_event_failed/d-FAIL00001/AfterInstall",
                "deployment_failed/d-FAIL00001"
            ],
            "{is_first}"
        );
    }
}

/// A hook does not take longer because the date is set in its middle.
#[test]
fn a_date_that_is_set_makes_no_hook_longer() {
    let mut scene = Scene::new("");
    scene.live(10, Polls::Answered);
    scene.begin("d-FAIL00001", "AfterInstall");
    scene.live(1, Polls::Answered);
    scene.set_skew(HOUR_MS);
    scene.live(1, Polls::Answered);
    scene.fail("d-FAIL00001", "AfterInstall");
    scene.live(3, Polls::Answered);
    let most = scene.greatest("LifecycleEventSeconds");
    assert!(most < 180.0, "{most}");
    assert!(scene.details[0]["duration_ms"].as_u64().unwrap() < 180_000);
}

/// 1.x writes the time of its own zone, which a profile that it reads may set, and that may be another than
/// the machine's: a deployment is not hours old then.
#[test]
fn a_deployment_is_not_older_in_another_zone() {
    let mut scene = Scene::in_zone("", TimeZone::fixed(jiff::tz::offset(5)));
    scene.live(60 * 6, Polls::Answered);
    scene.forget_data();
    scene.begin("d-ZONE00001", "AfterInstall");
    scene.live(10, Polls::Answered);
    let most = scene.greatest(RUNNING);
    assert!(most < 700.0, "{most}");
}

/// Nor is it by what its hook prints, whose lines may be read before the agent's own log: shown by output
/// before and behind the command's record, by one agent and by one that starts in its middle.
#[test]
fn output_makes_no_deployment_older_in_another_zone() {
    for is_first in [true, false] {
        let mut scene = Scene::in_zone("", TimeZone::fixed(jiff::tz::offset(5)));
        scene.live(60 * 6, Polls::Silent);
        scene.forget_data();
        if is_first {
            scene.output("d-ZONE00001");
            scene.live(1, Polls::Silent);
        }
        scene.begin("d-ZONE00001", "AfterInstall");
        for _ in 0..20 {
            scene.live(1, Polls::Answered);
            scene.output("d-ZONE00001");
        }
        let most = scene.greatest(RUNNING);
        assert!(most < 1_300.0, "{most}");
        assert_eq!(scene.told(), [""; 0]);
    }
}

/// What fails soon after a boot is news though the CodeDeploy agent's zone dates it before the boot, or ahead
/// of now, counts as what users count themselves, too, and so does that it dies: shown in zones on both sides,
/// and by an agent that was installed since.
#[test]
fn what_fails_soon_after_a_boot_is_news_in_another_zone() {
    let own = "[[metric]]\nname = \"Own\"\nsource = \"agent\"\npattern = '_status:\"Failed\"'\n";
    for (hours, is_new) in [(5, false), (-1, false), (5, true), (-1, true), (0, false)] {
        let zone = TimeZone::fixed(jiff::tz::offset(hours));
        let mut scene = Scene::in_zone(own, zone);
        scene.live(10, Polls::Answered);
        scene.boot();
        if is_new {
            scene.reinstall();
        }
        scene.live(5, Polls::Answered);
        scene.forget_data();
        run_and_fail(&mut scene);
        scene.live(5, Polls::Answered);
        assert_eq!(
            scene.told(),
            [
                "lifecycle_event_failed/d-FAIL00001/AfterInstall",
                "deployment_failed/d-FAIL00001"
            ],
            "{hours} {is_new}"
        );
        for name in ["DeploymentsFailed", "Own"] {
            assert_eq!(scene.greatest(name), 1.0, "{name} {hours} {is_new}");
        }
        scene.live(10, Polls::Silent);
        assert_eq!(
            scene.told(),
            ["codedeploy_agent_unhealthy"],
            "{hours} {is_new}"
        );
    }
}

/// What is split to be shipped is understood all the same: shown by the report on a failed hook, which has a
/// thousand characters of output before it says of which command it is.
#[test]
fn a_failure_counts_though_events_are_short() {
    let mut scene = Scene::new("[logs]\nevent_bytes_max = 1000\n");
    scene.live(5, Polls::Answered);
    scene.begin("d-FAIL00001", "AfterInstall");
    scene.live(1, Polls::Answered);
    let report = hooks::failed(&hooks::identifier("d-FAIL00001", "AfterInstall"));
    scene.call(&report.replace("no such table", &"no such table ".repeat(70)));
    scene.live(3, Polls::Answered);
    assert_eq!(
        scene.told(),
        [
            "lifecycle_event_failed/d-FAIL00001/AfterInstall",
            "deployment_failed/d-FAIL00001"
        ]
    );
}
