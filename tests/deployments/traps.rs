//! Each trap that the logs set, by name.

use std::path::{Path, PathBuf};

use deploywatch::codedeploy::{
    DEPLOYMENTS_MAX, Eras, Freshness, HANGING_AFTER_MS, News, Observer, Outcome, QUIET_AFTER_MS,
    What,
};
use deploywatch::config::Builtin;
use deploywatch::event::{EpochMs, Now};
use deploywatch::status::{DeploymentStatus, LifecycleEventStatus};

use crate::base64::base64;
use crate::corpus::{Case, Reader};
use crate::schedule::{ALWAYS, Restarts, Schedule, at, play, restarted};

/// When the plays here begin.
const BEGIN_MS: EpochMs = 1_795_300_000_000;
const MINUTE_MS: i64 = 60_000;

/// An observer that is fed line by line, a second each.
struct Play {
    observer: Observer,
    now: Now,
}

impl Play {
    fn new() -> Self {
        Self::with(ALWAYS)
    }

    fn with(eras: Eras) -> Self {
        Self {
            observer: Observer::new(None, eras),
            now: at(BEGIN_MS),
        }
    }

    fn wait(&mut self, ms: i64) {
        self.now = at(self.now.wall_ms + ms);
    }

    fn hear(&mut self, feed: Builtin, path: &str, text: &str) {
        self.wait(1_000);
        let time_ms = self.now.wall_ms;
        self.observer
            .hear(feed, Path::new(path), text, time_ms, self.now);
    }

    /// A record of the agent log of 1.x.
    fn ruby(&mut self, message: &str) {
        let text = format!("2026-11-21T02:00:00 INFO  [codedeploy-agent(7)]: {message}");
        self.hear(Builtin::Agent, "/l/codedeploy-agent.log", &text);
    }

    fn call(&mut self, call: &str) {
        self.ruby(&format!(
            "[Aws::CodeDeployCommand::Client 200 0.04 0 retries] {call}  "
        ));
    }

    fn acknowledge(&mut self, id: &str, event: &str, is_noop: bool) {
        self.call(&format!(
            r#"put_host_command_acknowledgement(diagnostics:{{format:"JSON",payload:"{{\"IsCommandNoop\":{is_noop}}}"}},host_command_identifier:"{}")"#,
            identifier(id, event)
        ));
    }

    fn complete(&mut self, id: &str, event: &str, status: &str, payload: &str) {
        self.call(&format!(
            r#"put_host_command_complete(command_status:"{status}",diagnostics:{{format:"JSON",payload:"{payload}"}},host_command_identifier:"{}")"#,
            identifier(id, event)
        ));
    }

    /// A whole command of 1.x that succeeds.
    fn run(&mut self, id: &str, event: &str) {
        self.acknowledge(id, event, false);
        self.complete(id, event, "Succeeded", r#"{\"error_code\":0}"#);
    }

    fn fail(&mut self, id: &str, event: &str, code: &str) {
        let payload = format!(
            r#"{{\"error_code\":{code},\"script_name\":\"s\",\"message\":\"m\",\"log\":\"\"}}"#
        );
        self.complete(id, event, "Failed", &payload);
    }

    /// A record of the agent log of 2.x.
    fn rust(&mut self, record: &str) {
        let text = format!("2026-11-21 03:24:01 {record}");
        self.hear(Builtin::Agent, "/l/codedeploy-agent.log", &text);
    }

    fn step_of(&mut self, id: &str, event: &str, message: &str) {
        self.rust(&format!(
            " INFO deployment{{deployment_id={id} command={event} app=a}}: {message}"
        ));
    }

    fn script_log(&mut self, id: &str, line: &str) {
        let path = format!("/r/11111111-2222/{id}/logs/scripts.log");
        self.hear(
            Builtin::Scripts,
            &path,
            &format!("2026-11-21 01:53:20 {line}"),
        );
    }

    fn one(&self, id: &str) -> DeploymentStatus {
        let all = self.observer.deployments(self.now).deployments;
        all.into_iter()
            .find(|deployment| deployment.id == id)
            .unwrap()
    }

    fn event(&self, id: &str, name: &str) -> LifecycleEventStatus {
        self.one(id)
            .events
            .into_iter()
            .find(|event| event.name == name)
            .unwrap()
    }

    fn step(&mut self) {
        self.observer.step(self.now);
    }

    fn news(&mut self) -> Vec<News> {
        let mut news = self.observer.take_news();
        news.retain(|news| !matches!(news.what, What::HealthChanged { .. }));
        news
    }

    fn count(&mut self, is_it: impl Fn(&What) -> bool) -> usize {
        self.news().iter().filter(|news| is_it(&news.what)).count()
    }
}

/// The service's identifier of a command, as the stand-in makes it: without padding.
fn identifier(id: &str, event: &str) -> String {
    let json = format!(
        r#"["x",{{"deploymentId":"CodeDeploy/arn:deployment/{id}","commandName":"{event}"}}]"#
    );
    base64(json.as_bytes()).trim_end_matches('=').to_owned()
}

fn is_finished(what: &What) -> bool {
    matches!(what, What::LifecycleEventFinished { .. })
}

#[test]
fn doubled_lines_after_a_restart_are_one_event() {
    // Each record twice, and two of two threads in turn, must be one command each: counted.
    let mut play = Play::new();
    for _ in 0..2 {
        play.acknowledge("d-A1", "AfterInstall", false);
        play.acknowledge("d-B1", "Install", false);
    }
    for _ in 0..2 {
        play.fail("d-A1", "AfterInstall", "4");
        play.complete("d-B1", "Install", "Succeeded", "");
    }
    let news = play.news();
    let count = |is_it: fn(&What) -> bool| news.iter().filter(|news| is_it(&news.what)).count();
    assert_eq!(
        count(|what| matches!(what, What::CommandReceived { .. })),
        2
    );
    assert_eq!(
        count(|what| matches!(what, What::LifecycleEventStarted { .. })),
        2
    );
    assert_eq!(count(is_finished), 2);
    assert_eq!(
        count(|what| matches!(what, What::DeploymentFailed { .. })),
        1
    );
}

#[test]
fn a_failure_reported_twice_is_told_once_with_its_first_code() {
    // 1.x reports code 4, then code 5; 2.x has two records of a failure: the first must count.
    let mut play = Play::new();
    play.acknowledge("d-A1", "AfterInstall", false);
    play.fail("d-A1", "AfterInstall", "4");
    play.fail("d-A1", "AfterInstall", "5");
    assert_eq!(
        play.event("d-A1", "AfterInstall")
            .failure
            .unwrap()
            .error_code,
        Some(4)
    );
    assert_eq!(play.count(is_finished), 1);

    let text = "s.sh: Script at specified location: s.sh failed with exit code 3";
    play.step_of("d-B1", "AfterInstall", "Executing command");
    play.rust(&format!("ERROR deployment{{deployment_id=d-B1 command=AfterInstall app=a}}: Command failed elapsed_ms=9 error={text}"));
    // Another command waits: the second record must not be taken for its failure.
    play.rust(&format!(" INFO Processing host command command_name=Install deployment_execution_id=x:deployment/d-C1 host_command_id={}", identifier("d-C1", "Install")));
    play.rust(&format!("ERROR Command processing failed: {text}"));
    assert_eq!(play.count(is_finished), 1);
    assert_eq!(play.event("d-C1", "Install").state, "received");
    // A failure before the work began is told by that record alone.
    play.rust("ERROR Command processing failed: cannot read the deployment's specification");
    let event = play.event("d-C1", "Install");
    assert_eq!(
        (event.state.as_str(), event.failure.unwrap().error_code),
        ("failed", Some(5))
    );
    assert_eq!(play.one("d-C1").state, "failed");
}

#[test]
fn noop_hooks_lead_to_success() {
    // A deployment whose last hook has nothing to run must succeed, marked as inferred, and noops
    // have no duration.
    let mut play = Play::new();
    for event in [
        "ApplicationStop",
        "BeforeInstall",
        "AfterInstall",
        "ApplicationStart",
    ] {
        play.acknowledge("d-A1", event, true);
    }
    assert_eq!(play.one("d-A1").state, "waiting");
    play.acknowledge("d-A1", "ValidateService", true);
    let deployment = play.one("d-A1");
    assert_eq!(
        (deployment.state.as_str(), deployment.inferred),
        ("succeeded", true)
    );
    let news = play.news();
    assert!(news.iter().any(|news| matches!(
        &news.what,
        What::LifecycleEventFinished {
            outcome: Outcome::Noop,
            duration_ms: None,
            ..
        }
    )));
    assert!(
        news.iter()
            .any(|news| matches!(news.what, What::DeploymentSucceeded { .. }))
    );
    assert!(
        !news
            .iter()
            .any(|news| matches!(news.what, What::LifecycleEventStarted { .. }))
    );
}

#[test]
fn traffic_hooks_are_waited_for() {
    // With traffic hooks ValidateService is not the end, without it is; a deployment that goes on
    // after that is told of once.
    let mut play = Play::new();
    play.run("d-A1", "BeforeBlockTraffic");
    play.run("d-A1", "ValidateService");
    assert_eq!(play.one("d-A1").state, "waiting");
    play.run("d-A1", "AfterAllowTraffic");
    assert_eq!(play.one("d-A1").state, "succeeded");

    // The new half of a blue/green deployment: the first traffic hook comes after.
    play.run("d-B1", "ValidateService");
    assert_eq!(play.one("d-B1").state, "succeeded");
    play.acknowledge("d-B1", "BeforeAllowTraffic", false);
    assert_eq!(play.one("d-B1").state, "running");
    play.complete("d-B1", "BeforeAllowTraffic", "Succeeded", "");
    play.run("d-B1", "AfterAllowTraffic");
    let succeeded = play.count(|what| matches!(what, What::DeploymentSucceeded { .. }));
    assert_eq!(succeeded, 2);
}

#[test]
fn two_groups_in_turn_are_two_deployments() {
    // Commands of two groups that mix must each be timed and judged for its own.
    let mut play = Play::new();
    play.acknowledge("d-A1", "AfterInstall", false);
    play.acknowledge("d-B1", "AfterInstall", false);
    play.fail("d-A1", "AfterInstall", "4");
    play.complete("d-B1", "AfterInstall", "Succeeded", "");
    assert_eq!(play.event("d-A1", "AfterInstall").duration_ms, Some(2_000));
    assert_eq!(play.event("d-B1", "AfterInstall").duration_ms, Some(2_000));
    assert_eq!(
        (play.one("d-A1").state, play.one("d-B1").state),
        ("failed".into(), "waiting".into())
    );
}

#[test]
fn markers_printed_by_a_hook_do_nothing() {
    // Whatever a hook prints, in either log, only its own scripts may be there and no command
    // start, end or fail: all markers of both agents, printed.
    let mut play = Play::new();
    play.acknowledge("d-A1", "AfterInstall", false);
    play.script_log("d-A1", "LifecycleEvent - AfterInstall");
    play.script_log("d-A1", "Script - real.sh");
    let forged = [
        "LifecycleEvent - ValidateService".to_owned(),
        "Script - forged.sh".to_owned(),
        "2026-11-21 01:53:20 LifecycleEvent - ValidateService".to_owned(),
        "2026-11-21 03:24:01  INFO deployment{deployment_id=d-A1 command=AfterInstall app=a}: Command succeeded elapsed_ms=1".to_owned(),
        format!("put_host_command_complete(command_status:\"Failed\",host_command_identifier:\"{}\")", identifier("d-A1", "AfterInstall")),
        "[2026-11-21 01:53:20.025] [d-ZZ]LifecycleEvent - Install".to_owned(),
    ];
    for line in &forged {
        for stream in ["stdout", "stderr"] {
            play.script_log("d-A1", &format!("[{stream}]{line}"));
            let mirrored = format!("[2026-11-21 01:53:20.025] [d-A1][{stream}]{line}");
            play.hear(Builtin::Deployments, "/r/deployment-logs/x.log", &mirrored);
        }
    }
    let deployment = play.one("d-A1");
    assert_eq!(
        (deployment.state.as_str(), deployment.events.len()),
        ("running", 1)
    );
    assert_eq!(deployment.events[0].scripts.len(), 1);
    assert_eq!(play.observer.deployments(play.now).deployments.len(), 1);
    assert_eq!(play.count(is_finished), 0);
}

#[test]
fn a_record_glued_behind_output_is_no_marker_but_is_not_missed() {
    // What stands behind a hook's last words in scripts.log is not believed, true or not; the
    // deployments log tells of the script all the same, and the verdict never needed it.
    let mut play = Play::new();
    play.acknowledge("d-A1", "AfterInstall", false);
    play.script_log("d-A1", "LifecycleEvent - BeforeInstall");
    play.script_log(
        "d-A1",
        "[stdout]no newline2026-11-21 01:54:08 LifecycleEvent - AfterInstall",
    );
    play.script_log("d-A1", "Script - after.sh");
    assert!(play.event("d-A1", "AfterInstall").scripts.is_empty());
    for line in ["LifecycleEvent - AfterInstall", "Script - after.sh"] {
        let text = format!("[2026-11-21 01:54:08.025] [d-A1]{line}");
        play.hear(Builtin::Deployments, "/r/deployment-logs/x.log", &text);
    }
    play.fail("d-A1", "AfterInstall", "4");
    let event = play.event("d-A1", "AfterInstall");
    assert_eq!(event.scripts[0].location, "after.sh");
    assert_eq!(event.state, "failed");
}

#[test]
fn secrets_of_a_failed_hook_are_nowhere() {
    // The hooks of the corpus that print secrets and fail must leave none of them in the state on
    // disk, in status or in news: searched for what they print, in 1.x's report too.
    for (case, id) in [("1.x/daemon", "d-SECRET002"), ("2.x/info", "d-FAILSECR1")] {
        let case = Case::named(case);
        let mut observer = Observer::new(None, ALWAYS);
        for record in case.logs.iter().flatten() {
            observer.hear(
                record.feed,
                &record.path,
                &record.text,
                record.time_ms,
                at(BEGIN_MS),
            );
        }
        let status = observer.deployments(at(BEGIN_MS));
        let shown = status
            .deployments
            .iter()
            .find(|deployment| deployment.id == id)
            .unwrap();
        assert!(!shown.output.is_empty(), "{id} shows no output");
        let saved = serde_json::to_string(&observer.saved()).unwrap();
        let told = format!("{:?}", observer.take_news());
        let shown = serde_json::to_string(&status).unwrap();
        assert!(shown.contains("[redacted:"), "{id}: nothing was redacted");
        for text in [saved, shown, told] {
            for secret in ["hunter2", "AKIA", "wJalr"] {
                assert!(!text.contains(secret), "{id}: {secret}");
            }
        }
    }
}

#[test]
fn a_signal_an_unknown_code_and_a_restart_have_their_words() {
    // The failures without an exit code must be told apart: those of the corpus.
    let outcome = play(&Case::named("1.x/daemon"), Schedule::Live, Restarts::Never);
    let failure = |id: &str| {
        let all = outcome.status.deployments.iter();
        let deployment = all.clone().find(|deployment| deployment.id == id).unwrap();
        let event = deployment
            .events
            .iter()
            .find_map(|event| event.failure.clone())
            .unwrap();
        (event.error_code, event.cause)
    };
    assert_eq!(
        failure("d-SIGNAL001"),
        (Some(4), "killed by a signal".to_owned())
    );
    assert_eq!(failure("d-BADUTF801"), (None, "failed".to_owned()));
    assert_eq!(
        failure("d-KILLCHILD"),
        (Some(7), "cut off by a restart".to_owned())
    );
    assert_eq!(
        failure("d-TIMEOUT01"),
        (Some(3), "timed out after 3 s".to_owned())
    );
}

#[test]
fn an_upgrade_in_place_is_an_ordinary_day() {
    // The Ruby agent's records and then the Rust agent's in one file must be one story: a
    // deployment of each, in two time zones, a restart in between.
    let text = "2026-11-21T02:00:00 INFO  [codedeploy-agent(7)]: [Aws::CodeDeployCommand::Client 200 0.04 0 retries] put_host_command_acknowledgement(diagnostics:{format:\"JSON\",payload:\"{\\\"IsCommandNoop\\\":true}\"},host_command_identifier:\"ID\")  \n\n2026-11-21 07:00:05  INFO deployment{deployment_id=d-NEW1 command=ValidateService app=a}: Executing command\n2026-11-21 07:00:06  INFO deployment{deployment_id=d-NEW1 command=ValidateService app=a}: Command succeeded elapsed_ms=812\n";
    let text = text.replace("ID", &identifier("d-OLD1", "ValidateService"));
    let mut reader = Reader::new("EST5EDT,M3.2.0,M11.1.0");
    let records = reader.read(
        Builtin::Agent,
        Path::new("/l/codedeploy-agent.log"),
        text.as_bytes(),
    );
    let mut observer = Observer::new(None, ALWAYS);
    for record in &records {
        observer.hear(
            record.feed,
            &record.path,
            &record.text,
            record.time_ms,
            at(BEGIN_MS),
        );
        observer = restarted(&observer);
    }
    let all = observer.deployments(at(BEGIN_MS)).deployments;
    let states: Vec<(&str, &str)> = all
        .iter()
        .map(|d| (d.id.as_str(), d.state.as_str()))
        .collect();
    assert_eq!(states, [("d-NEW1", "succeeded"), ("d-OLD1", "succeeded")]);
    assert_eq!(all[0].events[0].duration_ms, Some(812));
    assert_eq!(all[0].began_ms - all[1].began_ms, 5_000);
}

#[test]
fn records_split_over_a_rotation_are_one_deployment() {
    // A deployment at midnight lies in two files: whichever is read first, it must succeed, each of
    // its commands once.
    let whole = Case::named("2.x/midnight");
    let agent = &whole.logs[0];
    let dated = PathBuf::from("/var/log/aws/codedeploy-agent/codedeploy-agent.20261121.log");
    let (old, new): (Vec<_>, Vec<_>) = agent.iter().partition(|record| record.path == dated);
    assert!(!old.is_empty() && !new.is_empty());
    for order in [[&old, &new], [&new, &old]] {
        let mut observer = Observer::new(None, ALWAYS);
        for record in order.into_iter().flatten() {
            observer.hear(
                record.feed,
                &record.path,
                &record.text,
                record.time_ms,
                at(BEGIN_MS),
            );
        }
        let status = observer.deployments(at(BEGIN_MS));
        assert_eq!(status.deployments[0].state, "succeeded");
        assert_eq!(status.deployments[0].events.len(), 7);
        let news = observer.take_news();
        assert_eq!(
            news.iter().filter(|news| is_finished(&news.what)).count(),
            7
        );
    }
}

#[test]
fn a_first_start_on_an_old_instance_has_no_news() {
    // Months of logs, heard for the first time today, must be history: nothing fresh, no gauge up,
    // whatever they end with; what goes on after the start is fresh.
    let since_ms = BEGIN_MS;
    let mut play = Play::with(Eras {
        boot_ms: None,
        since_ms,
    });
    for name in ["1.x/daemon", "2.x/info"] {
        for record in Case::named(name).logs.iter().flatten() {
            play.observer.hear(
                record.feed,
                &record.path,
                &record.text,
                record.time_ms,
                play.now,
            );
        }
    }
    let begun = "2026-11-21T02:00:00 INFO  [codedeploy-agent(7)]: [Aws::CodeDeployCommand::Client 200 0.04 0 retries] put_host_command_acknowledgement(diagnostics:{},host_command_identifier:\"ID\")";
    let begun = begun.replace("ID", &identifier("d-OPEN", "AfterInstall"));
    let long_ago = BEGIN_MS - 2 * 24 * 60 * MINUTE_MS;
    play.observer.hear(
        Builtin::Agent,
        Path::new("/l/a.log"),
        &begun,
        long_ago,
        play.now,
    );
    play.step();
    let news = play.news();
    assert!(news.len() > 500 && news.iter().all(|news| news.freshness == Freshness::History));
    assert!(!play.observer.last_deployment_failed());
    play.wait(1_000 + QUIET_AFTER_MS as i64);
    play.step();
    play.step();
    assert_eq!(
        play.observer.running_seconds(play.now),
        0.0,
        "{:?}",
        play.one("d-OPEN").state
    );
    assert!(
        play.news()
            .iter()
            .all(|news| news.freshness == Freshness::History)
    );

    play.acknowledge("d-NEW1", "AfterInstall", false);
    play.fail("d-NEW1", "AfterInstall", "4");
    assert!(
        play.news()
            .iter()
            .all(|news| news.freshness == Freshness::Fresh)
    );
    assert!(play.observer.last_deployment_failed());
}

#[test]
fn what_a_reboot_brings_back_is_no_news_of_this_boot() {
    // A failure before the boot, and a command that the boot cut off, must not be fresh, however
    // late they are told; nor may they raise a gauge.
    let boot_ms = BEGIN_MS + 10_500;
    let mut play = Play::with(Eras {
        boot_ms: Some(boot_ms),
        since_ms: 0,
    });
    play.acknowledge("d-A1", "AfterInstall", false);
    play.fail("d-A1", "AfterInstall", "4");
    play.acknowledge("d-B1", "AfterInstall", false);
    play.wait(60_000);
    assert_eq!(play.observer.running_seconds(play.now), 0.0);
    play.ruby(&format!(
        "InstanceAgent::Plugins::CodeDeployPlugin::CommandPoller: Calling PutHostCommandComplete: 'Failed' {}",
        identifier("d-B1", "AfterInstall")
    ));
    assert_eq!(play.one("d-B1").state, "aborted");
    assert!(!play.observer.last_deployment_failed());
    let news = play.news();
    assert!(
        news.iter()
            .any(|news| matches!(news.what, What::DeploymentAborted { .. }))
    );
    assert!(
        news.iter()
            .all(|news| news.freshness == Freshness::BeforeBoot),
        "{news:?}"
    );
}

#[test]
fn a_recovered_command_is_as_old_as_it_may_be() {
    // What the CodeDeploy agent finds cut off after a boot must not be fresh though its beginning
    // was not heard: its deployment is known from another command, whose name a power cut
    // mutilated; or not at all; or we were installed after the boot.
    for (begins, named, since_ms) in [
        (true, "Befor", 0),
        (false, "BeforeInstall", 0),
        (true, "BeforeInstall", BEGIN_MS + 30_000),
    ] {
        let mut play = Play::with(Eras {
            boot_ms: Some(BEGIN_MS + 10_000),
            since_ms,
        });
        if begins {
            play.acknowledge("d-A1", "BeforeInstall", false);
        }
        play.wait(60_000);
        play.ruby(&format!(
            "InstanceAgent::Plugins::CodeDeployPlugin::CommandPoller: Calling PutHostCommandComplete: 'Failed' {}",
            identifier("d-A1", named)
        ));
        assert!(
            !play.observer.last_deployment_failed(),
            "{named} {since_ms}"
        );
        let news = play.news();
        let aborted = |news: &&News| matches!(news.what, What::DeploymentAborted { .. });
        let aborted = news.iter().find(aborted).unwrap();
        assert_eq!(
            aborted.freshness,
            Freshness::BeforeBoot,
            "{named} {since_ms}"
        );
    }
}

#[test]
fn a_command_that_a_boot_cut_off_ends_without_a_word() {
    // Where the CodeDeploy agent says nothing after a boot, the command must be given up after a
    // while, as aborted, and not be taken for running or hanging.
    let mut play = Play::new();
    play.acknowledge("d-A1", "AfterInstall", false);
    let saved = play.observer.saved();
    let boot_ms = play.now.wall_ms + 5_000;
    let eras = Eras {
        boot_ms: Some(boot_ms),
        since_ms: 0,
    };
    let mut observer = Observer::new(Some(saved), eras);
    let up = |minutes: i64| Now {
        mono_ms: (minutes * MINUTE_MS).unsigned_abs(),
        wall_ms: boot_ms + minutes * MINUTE_MS,
    };
    observer.step(up(1));
    assert_eq!(observer.running_seconds(up(1)), 0.0);
    assert_eq!(observer.take_news(), []);
    observer.step(up(11));
    assert_eq!(observer.deployments(up(11)).deployments[0].state, "aborted");
    let mut news = observer.take_news();
    news.retain(|news| matches!(news.what, What::DeploymentAborted { .. }));
    assert_eq!((news.len(), news[0].freshness), (1, Freshness::BeforeBoot));
}

#[test]
fn a_hook_without_a_sign_of_life_hangs_by_monotonic_time() {
    // Output must keep a hook alive, silence make it hang once, a jump of the wall clock nothing;
    // a restart of ours must give it its time anew, and a late end be taken.
    let mut play = Play::new();
    play.acknowledge("d-A1", "AfterInstall", false);
    play.script_log("d-A1", "LifecycleEvent - AfterInstall");
    play.script_log("d-A1", "Script - slow.sh");
    let limit_ms = HANGING_AFTER_MS as i64;
    for _ in 0..3 {
        play.wait(limit_ms - 2_000);
        play.script_log("d-A1", "[stdout]still here");
        play.step();
    }
    let due = play.observer.next_due().unwrap();
    assert_eq!(due, play.now.mono_ms + HANGING_AFTER_MS);
    let jumped = Now {
        wall_ms: play.now.wall_ms + 10 * limit_ms,
        ..play.now
    };
    play.observer.step(jumped);
    assert_eq!(play.one("d-A1").state, "running");
    assert!(play.observer.running_seconds(play.now) > 2_600.0);
    play.observer = restarted(&play.observer);
    play.step();
    play.wait(limit_ms - 1_000);
    play.step();
    assert_eq!(play.one("d-A1").state, "running");
    play.wait(1_000);
    play.step();
    play.step();
    let deployment = play.one("d-A1");
    assert_eq!(
        (deployment.state.as_str(), deployment.output.len()),
        ("hanging", 3)
    );
    assert_eq!(
        play.count(|what| matches!(what, What::DeploymentHanging { .. })),
        1
    );
    play.complete("d-A1", "AfterInstall", "Succeeded", "");
    assert_eq!(play.one("d-A1").state, "waiting");
}

#[test]
fn a_deployment_without_commands_is_superseded_or_unknown() {
    // When commands stop coming, a deployment must be superseded by the one that came next, and be
    // unknown where none did; a command that comes after all takes it up again.
    let mut play = Play::new();
    play.run("d-A1", "Install");
    play.run("d-B1", "Install");
    play.run("d-C1", "Install");
    play.wait(QUIET_AFTER_MS as i64 + 10_000);
    play.step();
    let states: Vec<String> = ["d-A1", "d-B1", "d-C1"].map(|id| play.one(id).state).into();
    assert_eq!(states, ["superseded", "superseded", "unknown"]);
    let by: Vec<String> = (play.news().into_iter())
        .filter_map(|news| match news.what {
            What::DeploymentSuperseded { by, .. } => Some(by),
            _ => None,
        })
        .collect();
    assert_eq!(by, ["d-B1", "d-C1"]);
    play.acknowledge("d-C1", "AfterInstall", false);
    assert_eq!(play.one("d-C1").state, "running");
}

#[test]
fn a_hostile_log_grows_nothing() {
    // Endless deployments, events, scripts, names and output must leave a bounded state: its size
    // on disk is measured, and the newest deployment must still be there.
    let mut play = Play::new();
    let long = "y€".repeat(50_000);
    for n in 0..(3 * DEPLOYMENTS_MAX) {
        let id = format!("d-{n}");
        for event in 0..60 {
            let event = format!("Event{event}{}", &"z".repeat(50));
            play.acknowledge(&id, &event, false);
            if event.starts_with("Event1") {
                play.script_log(&id, &format!("LifecycleEvent - {event}"));
                for script in 0..40 {
                    play.script_log(&id, &format!("Script - {script}"));
                }
            }
        }
        play.fail(&id, &format!("Event59{}", "z".repeat(50)), "4");
        for line in [&long, "x"] {
            play.script_log(&id, &format!("Script - {line}"));
            play.script_log(&id, &format!("[stdout]{line}"));
        }
        play.step_of(
            &id,
            "Install",
            &format!("Deployment spec parsed deployment_group={long}"),
        );
        if n % 50 == 0 {
            play.news();
        }
    }
    play.script_log("d-../../x", "LifecycleEvent - A");
    play.step_of(&"d-A".repeat(500), "Install", "Executing command");
    let status = play.observer.deployments(play.now);
    assert_eq!(status.deployments.len(), DEPLOYMENTS_MAX);
    assert_eq!(
        status.deployments[0].id,
        format!("d-{}", 3 * DEPLOYMENTS_MAX - 1)
    );
    let saved = serde_json::to_vec(&play.observer.saved()).unwrap();
    assert!(saved.len() < 4 * 1024 * 1024, "{} bytes", saved.len());
}

#[test]
fn records_cut_anywhere_do_no_harm() {
    // Half records, as they stand behind a crash, must neither panic nor invent a deployment: every
    // record of both agents' logs, cut at a random place, after and before the whole ones.
    for name in ["1.x/daemon", "2.x/info"] {
        let case = Case::named(name);
        let mut rng = fastrand::Rng::with_seed(11);
        let mut observer = Observer::new(None, ALWAYS);
        for _ in 0..20 {
            for record in case.logs.iter().take(2).flatten() {
                let mut cut = rng.usize(..=record.text.len());
                while !record.text.is_char_boundary(cut) {
                    cut -= 1;
                }
                for part in [&record.text[..cut], &record.text[cut..]] {
                    observer.hear(
                        record.feed,
                        &record.path,
                        part,
                        record.time_ms,
                        at(BEGIN_MS),
                    );
                }
            }
        }
        let known: Vec<String> = case.truths.keys().map(|(id, _)| id.clone()).collect();
        for deployment in observer.deployments(at(BEGIN_MS)).deployments {
            let id = deployment.id.as_str();
            assert!(
                known.iter().any(|known| known == id) || id.starts_with("d-SECRET00"),
                "{id}"
            );
        }
    }
}

#[test]
fn local_deployments_are_shown_without_a_verdict() {
    // Deployments by hand never reach the agent log: their scripts must be shown, and nothing be
    // said, counted or told of how they ended.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/2.x/local/scripts");
    let mut play = Play::new();
    let mut reader = Reader::new("UTC0");
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let (group, id) = name
            .trim_end_matches(".scripts.log")
            .split_once("__")
            .unwrap();
        let path = PathBuf::from(format!("/r/{group}/{id}/logs/scripts.log"));
        for record in reader.read(Builtin::Scripts, &path, &std::fs::read(&file).unwrap()) {
            play.observer
                .hear(record.feed, &path, &record.text, record.time_ms, play.now);
        }
    }
    play.wait(60 * MINUTE_MS);
    play.step();
    let deployments = play.observer.deployments(play.now).deployments;
    assert_eq!(deployments.len(), 4);
    assert!(
        deployments
            .iter()
            .all(|deployment| deployment.state == "unknown")
    );
    assert!(
        deployments
            .iter()
            .any(|deployment| !deployment.events[0].scripts.is_empty())
    );
    assert_eq!(play.observer.running_seconds(play.now), 0.0);
    assert!(
        play.news()
            .iter()
            .all(|news| matches!(news.what, What::ScriptStarted { .. }))
    );
}

#[test]
fn a_report_that_the_service_did_not_take_is_marked() {
    // A command whose report got a 500 ended as its log says, but the service does not know; when
    // the second report of a failure is taken, it does.
    let mut play = Play::new();
    let report = |play: &mut Play, code: u16, status: &str| {
        let payload = r#"{\"error_code\":5,\"script_name\":\"\",\"message\":\"m\",\"log\":\"\"}"#;
        play.ruby(&format!(
            r#"[Aws::CodeDeployCommand::Client {code} 2.1 3 retries] put_host_command_complete(command_status:"{status}",diagnostics:{{format:"JSON",payload:"{payload}"}},host_command_identifier:"{}") Aws::X Internal failure"#,
            identifier("d-A1", "Install")
        ));
    };
    play.acknowledge("d-A1", "Install", false);
    report(&mut play, 500, "Failed");
    let event = play.event("d-A1", "Install");
    assert_eq!((event.state.as_str(), event.unreported), ("failed", true));
    report(&mut play, 200, "Failed");
    assert!(!play.event("d-A1", "Install").unreported);
    assert_eq!(play.count(is_finished), 1);
}

/// Two commands of 2.x that fail before they begin, of the same cause, are two failures: the service is out
/// of reach, or a specification cannot be read, for one deployment after the other.
#[test]
fn two_failures_of_one_cause_are_two() {
    let mut play = Play::new();
    for id in ["d-A1", "d-B1"] {
        play.rust(&format!(
            " INFO Processing host command command_name=DownloadBundle deployment_execution_id=x/arn:deployment/{id} host_command_id={}",
            identifier(id, "DownloadBundle")
        ));
        play.rust("ERROR Command processing failed: the deployment's specification cannot be read");
        play.wait(30 * MINUTE_MS);
    }
    assert_eq!(
        play.count(|what| matches!(what, What::DeploymentFailed { .. })),
        2
    );
}

/// The service refuses the command it sent last, not one of another group's deployment that happened to be
/// heard of later; what that one does next is told.
#[test]
fn what_is_refused_is_what_was_acknowledged_last() {
    let refused = "InstanceAgent::Plugins::CodeDeployPlugin::CommandPoller: Received Failed for command AfterInstall, checking whether command is a noop...";
    for doubled in [false, true] {
        let mut play = Play::new();
        let (runs, stopped) = match doubled {
            // Each record is there twice after `codedeploy-agent restart`.
            true => ("d-A1", "d-B1"),
            false => ("d-B1", "d-A1"),
        };
        play.run("d-A1", "Install");
        play.run("d-B1", "Install");
        play.acknowledge(runs, "AfterInstall", false);
        play.wait(MINUTE_MS);
        play.acknowledge(stopped, "AfterInstall", false);
        play.ruby(refused);
        if doubled {
            play.now = at(play.now.wall_ms - 1_000);
            play.ruby(refused);
        }
        assert_eq!(play.event(stopped, "AfterInstall").state, "refused");
        assert_eq!(
            play.event(runs, "AfterInstall").state,
            "running",
            "{doubled}"
        );
        play.fail(runs, "AfterInstall", "4");
        assert_eq!(
            play.count(|what| matches!(what, What::DeploymentFailed { .. })),
            1
        );
    }
}

/// A noop that the service refuses is nobody else's.
#[test]
fn a_refused_noop_is_nobody_elses() {
    let mut play = Play::new();
    play.acknowledge("d-A1", "AfterInstall", false);
    play.acknowledge("d-B1", "AfterInstall", true);
    play.ruby("InstanceAgent::Plugins::CodeDeployPlugin::CommandPoller: Received Failed for command AfterInstall, checking whether command is a noop...");
    assert_eq!(play.event("d-A1", "AfterInstall").state, "running");
}

/// The newest deployment is the one whose last end was heard last, though it had ended before: shown by
/// failures of one around the success of another, and the last of them of a command that nobody
/// acknowledged.
#[test]
fn who_ends_once_more_is_the_newest_again() {
    let mut play = Play::new();
    play.run("d-A1", "AfterInstall");
    play.fail("d-A1", "Install", "4");
    play.wait(MINUTE_MS);
    play.run("d-B1", "ValidateService");
    assert!(!play.observer.last_deployment_failed());
    play.wait(MINUTE_MS);
    play.fail("d-A1", "ValidateService", "4");
    assert!(play.observer.last_deployment_failed());
}
