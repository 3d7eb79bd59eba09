//! What takes minutes of silence or several reboots is told to EventBridge by the whole agent: a
//! hanging deployment, the CodeDeploy agent's health, the loop breaker. A scene on a machine whose
//! services do as they are told; nothing is really rebooted.

#![cfg(test)]

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use deploywatch::agent::{Agent, Edges, Host, Next};
use deploywatch::config::{Config, Identity};
use deploywatch::ports::CallId;
use deploywatch::ports::alarm::{AlarmAnswer, AlarmCall, AlarmReply, AlarmService};
use jiff::tz::TimeZone;

use crate::plan::{CODEDEPLOY_YML, LOG_DIR, ROOT_DIR};
use crate::workload::{date, hooks};
use crate::world::World;
use crate::world::watch::Hearing;

const MINUTE_MS: u64 = 60_000;
/// How often the agent looks beyond the logs.
const BEAT_MS: u64 = 5_000;
/// How often it is answered on an ordinary day.
const POLL_MS: u64 = 30_000;
/// Where a CodeDeploy agent that runs says its process.
const PID_FILE: &str = "/opt/codedeploy-agent/state/.pid/codedeploy-agent.pid";
const INSTANCE: &str = "i-0123456789abcdef0";

/// Whether the CodeDeploy agent does its work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Polls {
    Answered,
    Silent,
}

/// The machine, and the agent on it.
struct Scene {
    world: World,
    alarms: Obedient,
    config: Config,
    agent: Agent,
    boots: u32,
    /// How often a living CodeDeploy agent's question is answered.
    poll_ms: u64,
    /// Ids of events without the instance, in the order in which they came.
    told: Vec<String>,
}

impl Scene {
    fn new(settings: &str) -> Self {
        let mut world = World::new(7, Hearing::Perfect);
        let yml = format!("---\n:log_dir: '{LOG_DIR}/'\n:root_dir: '{ROOT_DIR}'\n");
        world
            .files
            .append(Path::new(CODEDEPLOY_YML), yml.as_bytes());
        world.files.append(Path::new(PID_FILE), b"4711\n");
        let text = format!(
            "[codedeploy]\nconfig_file = \"{CODEDEPLOY_YML}\"\n[events]\nenabled = true\n{settings}"
        );
        let (config, _) = Config::parse(&[(PathBuf::from("scene.toml"), text)]).unwrap();
        let mut alarms = Obedient::default();
        let agent = started(&mut world, &mut alarms, &config, 0);
        Self {
            world,
            alarms,
            config,
            agent,
            boots: 0,
            poll_ms: POLL_MS,
            told: Vec::new(),
        }
    }

    /// The process ends without a word, and another begins.
    fn kill(&mut self) {
        self.world.process_ends();
        self.alarms.answers.clear();
        self.agent = started(&mut self.world, &mut self.alarms, &self.config, self.boots);
    }

    /// The machine boots.
    fn boot(&mut self) {
        self.boots += 1;
        self.world.clock.reboot();
        self.kill();
    }

    /// The CodeDeploy agent logs a call.
    fn call(&mut self, call: &str) {
        self.call_ago(0, call);
    }

    /// The same, dated so long ago: it is in the log when the agent comes.
    fn call_ago(&mut self, ago_ms: u64, call: &str) {
        let now_ms = self.world.clock.now().wall_ms;
        let record = hooks::record(now_ms - i64::try_from(ago_ms).unwrap(), call);
        let path = format!("{LOG_DIR}/codedeploy-agent.log");
        let line = format!("{record}\n");
        self.world.files.append(path.as_ref(), line.as_bytes());
        self.world.pass_hints();
    }

    /// A hook prints something.
    fn output(&mut self, deployment: &str) {
        let time = date("%Y-%m-%d %H:%M:%S%.3f", self.world.clock.now().wall_ms);
        let path = format!("{ROOT_DIR}/deployment-logs/codedeploy-agent-deployments.log");
        let line = format!("[{time}] [{deployment}][stdout]still here\n");
        self.world.files.append(path.as_ref(), line.as_bytes());
        self.world.pass_hints();
    }

    /// The agent is asked to stop, and its time is over just as this answer comes.
    fn stop_as_it_comes(mut self, next_ms: fn(&World) -> Option<u64>) -> Self {
        while next_ms(&self.world) != Some(self.world.clock.ms) {
            self.live_until(self.world.clock.ms + 1, Polls::Silent);
        }
        let Self {
            mut world,
            mut alarms,
            mut agent,
            ..
        } = self;
        let now = world.clock.now();
        agent.stop(None, now);
        agent.finish(&mut edges(&mut world, &mut alarms), now);
        world.process_ends();
        let agent = started(&mut world, &mut alarms, &self.config, self.boots);
        Self {
            world,
            alarms,
            agent,
            ..self
        }
    }

    /// So many minutes pass.
    fn live(&mut self, minutes: u64, polls: Polls) {
        self.live_until(self.world.clock.ms + minutes * MINUTE_MS, polls);
    }

    fn live_until(&mut self, until_ms: u64, polls: Polls) {
        let mut poll_ms = self.world.clock.ms;
        while self.world.clock.ms < until_ms {
            if polls == Polls::Answered && self.world.clock.ms >= poll_ms {
                poll_ms += self.poll_ms;
                self.call("poll_host_command(host_identifier:\"arn:aws:ec2:eu-west-1:111122223333:instance/i-0\")");
            }
            let now = self.world.clock.now();
            let next = self
                .agent
                .step(&mut edges(&mut self.world, &mut self.alarms), now);
            for take in self.world.events.takes.drain(..) {
                let detail: serde_json::Value = serde_json::from_str(&take.entry.detail).unwrap();
                let id = detail["id"].as_str().unwrap();
                let id = id.strip_prefix(INSTANCE).unwrap();
                assert_eq!(
                    detail["log"]["group"].as_str(),
                    group_of(&detail),
                    "{detail}"
                );
                self.told.push(id.trim_start_matches('/').to_owned());
            }
            let after_ms = self.world.clock.ms + 1;
            let due_ms = match next {
                Next::Now => after_ms,
                Next::At(mono_ms) => self.world.clock.at_mono(mono_ms),
            };
            let answers = [
                self.world.service.wire.next_ms(),
                self.world.metrics.wire.next_ms(),
                self.world.events.wire.next_ms(),
            ];
            let next_ms = answers.into_iter().flatten().fold(due_ms, u64::min);
            let next_ms = match polls {
                Polls::Answered => next_ms.min(poll_ms),
                Polls::Silent => next_ms,
            };
            self.world
                .advance_to(next_ms.clamp(after_ms, until_ms.max(after_ms)));
        }
    }

    /// What was told since the last time; what is told by a time without that time.
    fn told(&mut self) -> Vec<String> {
        let told = self.told.drain(..).map(|id| match id.split_once('/') {
            Some((kind, rest)) if rest.bytes().all(|byte| byte.is_ascii_digit()) => kind.to_owned(),
            _ => id,
        });
        told.collect()
    }
}

fn started(world: &mut World, alarms: &mut Obedient, config: &Config, boots: u32) -> Agent {
    let now = world.clock.now();
    let up_ms = i64::try_from(now.mono_ms).unwrap();
    let host = Host {
        zone: TimeZone::UTC,
        boot_ms: Some(now.wall_ms - up_ms),
        boot_id: Some(format!("boot-{boots}")),
    };
    let mut agent = Agent::start(config.clone(), host, 7, &mut edges(world, alarms), now).unwrap();
    let identity = Identity {
        instance_id: Some(INSTANCE.to_owned()),
        region: Some("eu-west-1".to_owned()),
        account_id: Some("111122223333".to_owned()),
        complete: true,
        ..Identity::default()
    };
    agent.learn(identity, now);
    agent
}

fn edges<'a>(world: &'a mut World, alarms: &'a mut Obedient) -> Edges<'a> {
    Edges {
        files: &mut world.files,
        store: &mut world.store,
        watch: &mut world.watch,
        logs: &mut world.service,
        metrics: &mut world.metrics,
        alarms,
        events: &mut world.events,
        processes: &mut world.processes,
    }
}

/// Alarms that are there when they are put, and switched when they are.
#[derive(Default)]
struct Obedient {
    answers: VecDeque<AlarmAnswer>,
}

impl AlarmService for Obedient {
    fn submit(&mut self, id: CallId, call: AlarmCall) {
        let result = Ok(match call {
            AlarmCall::Describe { .. } => AlarmReply::Alarms(Vec::new()),
            AlarmCall::History { .. } => AlarmReply::History(Vec::new()),
            _ => AlarmReply::Done,
        });
        self.answers.push_back(AlarmAnswer { id, result });
    }

    fn answer(&mut self) -> Option<AlarmAnswer> {
        self.answers.pop_front()
    }
}

/// Where the lines are that say more.
fn group_of(detail: &serde_json::Value) -> Option<&'static str> {
    match detail["kind"].as_str().unwrap() {
        kind if kind.starts_with("actions_") => None,
        kind if kind.starts_with("codedeploy_agent_") => Some("/codedeploy/agent"),
        _ => Some("/codedeploy/scripts"),
    }
}

/// A deployment that hangs, its failure, and a CodeDeploy agent that falls silent and comes back are
/// told, each once, with the group of the log that says more, and not again by the next process: shown
/// by all that is told.
#[test]
fn hanging_and_health_are_told() {
    let mut scene = Scene::new("");
    scene.live(10, Polls::Answered);
    let command = hooks::identifier("d-HANG00001", "AfterInstall");
    // There while a command is carried out.
    let tracking = PathBuf::from(format!("{ROOT_DIR}/ongoing-deployment/d-HANG00001"));
    scene.world.files.append(&tracking, b"1");
    scene.call(&hooks::acknowledged(&command));
    scene.live(5, Polls::Answered);
    assert_eq!(scene.told(), [""; 0]);
    scene.live(20, Polls::Answered);
    assert_eq!(
        scene.told(),
        ["deployment_hanging/d-HANG00001/AfterInstall"]
    );
    scene.world.files.unlink(&tracking);
    scene.call(&hooks::failed(&command));
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
    let command = hooks::identifier("d-LONG00001", "AfterInstall");
    let tracking = PathBuf::from(format!("{ROOT_DIR}/ongoing-deployment/d-LONG00001"));
    scene.live(1, Polls::Answered);
    scene.world.files.append(&tracking, b"1");
    scene.call(&hooks::acknowledged(&command));
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
        let command = hooks::identifier("d-LEFT00001", "AfterInstall");
        let tracking = format!("{ROOT_DIR}/ongoing-deployment/d-LEFT00001");
        scene.world.files.append(tracking.as_ref(), b"1");
        scene.call(&hooks::acknowledged(&command));
        let later_ms = hours * 60 * MINUTE_MS;
        scene.world.advance_to(scene.world.clock.ms + later_ms);
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
    let command = hooks::identifier("d-HANG00001", "AfterInstall");
    let tracking = PathBuf::from(format!("{ROOT_DIR}/ongoing-deployment/d-HANG00001"));
    scene.world.files.append(&tracking, b"1");
    scene.call(&hooks::acknowledged(&command));
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
