//! A machine whose services do as they are told, the CodeDeploy agent's files on it, and the whole agent:
//! a test says what happens, minutes or days pass, and it asks what was told. Nothing is really rebooted.

#![cfg(test)]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use deploywatch::agent::{Agent, Edges, Host, Next};
use deploywatch::config::{Config, Identity};
use deploywatch::ports::CallId;
use deploywatch::ports::alarm::{AlarmAnswer, AlarmCall, AlarmReply, AlarmService};
use jiff::tz::TimeZone;

use crate::alarm_model::statistic;
use crate::plan::{CODEDEPLOY_YML, LOG_DIR, ROOT_DIR};
use crate::workload::{date, hooks};
use crate::world::World;
use crate::world::store::MemStore;
use crate::world::watch::Hearing;

pub(crate) const MINUTE_MS: u64 = 60_000;
/// How often the agent looks beyond the logs.
pub(crate) const BEAT_MS: u64 = 5_000;
/// How often it is answered on an ordinary day.
const POLL_MS: u64 = 30_000;
/// Where a CodeDeploy agent that runs says its process.
const PID_FILE: &str = "/opt/codedeploy-agent/state/.pid/codedeploy-agent.pid";
const INSTANCE: &str = "i-0123456789abcdef0";

/// Whether the CodeDeploy agent does its work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Polls {
    Answered,
    Silent,
}

/// The machine, and the agent on it.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) alarms: Obedient,
    config: Config,
    pub(crate) agent: Agent,
    boots: u32,
    /// How often a living CodeDeploy agent's question is answered.
    pub(crate) poll_ms: u64,
    /// Ids of events without the instance, in the order in which they came.
    told: Vec<String>,
    /// What else was told with them.
    pub(crate) details: Vec<serde_json::Value>,
    zone: TimeZone,
}

impl Scene {
    pub(crate) fn new(settings: &str) -> Self {
        Self::in_zone(settings, TimeZone::UTC)
    }

    pub(crate) fn in_zone(settings: &str, zone: TimeZone) -> Self {
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
        let agent = started(&mut world, &mut alarms, &config, 0, &zone);
        Self {
            world,
            alarms,
            config,
            agent,
            boots: 0,
            poll_ms: POLL_MS,
            told: Vec::new(),
            details: Vec::new(),
            zone,
        }
    }

    /// The greatest value of a metric that came since [`Scene::forget_data`].
    pub(crate) fn greatest(&self, name: &str) -> f64 {
        let data = self.world.metrics.takes.iter().flat_map(|take| &take.data);
        let of_it = data.filter(|datum| *datum.name == *name);
        let values = of_it.map(|datum| statistic("Maximum", &datum.numbers.summary()));
        values.fold(f64::MIN, f64::max)
    }

    /// Looks away from the data that came.
    pub(crate) fn forget_data(&mut self) {
        self.world.metrics.takes.clear();
    }

    pub(crate) fn tracking(&self, deployment: &str) -> PathBuf {
        PathBuf::from(format!("{ROOT_DIR}/ongoing-deployment/{deployment}"))
    }

    /// A command is begun.
    pub(crate) fn begin(&mut self, deployment: &str, event: &str) {
        let tracking = self.tracking(deployment);
        self.world.files.append(&tracking, b"1");
        self.call(&hooks::acknowledged(&hooks::identifier(deployment, event)));
    }

    /// A command succeeds.
    pub(crate) fn succeed(&mut self, deployment: &str, event: &str) {
        let tracking = self.tracking(deployment);
        self.world.files.unlink(&tracking);
        self.call(&hooks::succeeded(&hooks::identifier(deployment, event)));
    }

    /// A command fails.
    pub(crate) fn fail(&mut self, deployment: &str, event: &str) {
        let tracking = self.tracking(deployment);
        self.world.files.unlink(&tracking);
        self.call(&hooks::failed(&hooks::identifier(deployment, event)));
    }

    /// The date is set, by so much away from the truth.
    pub(crate) fn set_skew(&mut self, skew_ms: i64) {
        self.world.clock.set_skew(skew_ms);
        let ms = self.world.clock.ms;
        self.world.advance_to(ms);
    }

    /// The process ends without a word, and another begins.
    pub(crate) fn kill(&mut self) {
        self.world.process_ends();
        self.alarms.answers.clear();
        self.agent = started(
            &mut self.world,
            &mut self.alarms,
            &self.config,
            self.boots,
            &self.zone,
        );
    }

    /// The agent is installed anew: what it knew is gone.
    pub(crate) fn reinstall(&mut self) {
        self.world.store = MemStore::new(1, self.world.fuse.clone());
        self.kill();
    }

    /// The machine boots.
    pub(crate) fn boot(&mut self) {
        self.boots += 1;
        self.world.clock.reboot();
        self.kill();
    }

    /// The CodeDeploy agent logs a call.
    pub(crate) fn call(&mut self, call: &str) {
        self.call_ago(0, call);
    }

    /// The same, dated so long ago: it is in the log when the agent comes.
    pub(crate) fn call_ago(&mut self, ago_ms: u64, call: &str) {
        let now_ms = self.world.clock.now().wall_ms;
        let record = hooks::record(now_ms - i64::try_from(ago_ms).unwrap(), call);
        let path = format!("{LOG_DIR}/codedeploy-agent.log");
        let line = format!("{record}\n");
        self.world.files.append(path.as_ref(), line.as_bytes());
        self.world.pass_hints();
    }

    /// A hook prints something.
    pub(crate) fn output(&mut self, deployment: &str) {
        let time = date("%Y-%m-%d %H:%M:%S%.3f", self.world.clock.now().wall_ms);
        let path = format!("{ROOT_DIR}/deployment-logs/codedeploy-agent-deployments.log");
        let line = format!("[{time}] [{deployment}][stdout]still here\n");
        self.world.files.append(path.as_ref(), line.as_bytes());
        self.world.pass_hints();
    }

    /// The agent is asked to stop, and its time is over just as this answer comes.
    pub(crate) fn stop_as_it_comes(mut self, next_ms: fn(&World) -> Option<u64>) -> Self {
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
        let agent = started(
            &mut world,
            &mut alarms,
            &self.config,
            self.boots,
            &self.zone,
        );
        Self {
            world,
            alarms,
            agent,
            ..self
        }
    }

    /// So many minutes pass in which the machine sleeps, or nobody does anything on it.
    pub(crate) fn sleep(&mut self, minutes: u64) {
        let until_ms = self.world.clock.ms + minutes * MINUTE_MS;
        self.world.advance_to(until_ms);
    }

    /// So many minutes pass.
    pub(crate) fn live(&mut self, minutes: u64, polls: Polls) {
        self.live_until(self.world.clock.ms + minutes * MINUTE_MS, polls);
    }

    pub(crate) fn live_until(&mut self, until_ms: u64, polls: Polls) {
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
                self.details.push(detail);
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
    pub(crate) fn told(&mut self) -> Vec<String> {
        let told = self.told.drain(..).map(|id| match id.split_once('/') {
            Some((kind, rest)) if rest.bytes().all(|byte| byte.is_ascii_digit()) => kind.to_owned(),
            _ => id,
        });
        told.collect()
    }
}

fn started(
    world: &mut World,
    alarms: &mut Obedient,
    config: &Config,
    boots: u32,
    zone: &TimeZone,
) -> Agent {
    let now = world.clock.now();
    let up_ms = i64::try_from(now.mono_ms).unwrap();
    let host = Host {
        zone: zone.clone(),
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

pub(crate) fn edges<'a>(world: &'a mut World, alarms: &'a mut Obedient) -> Edges<'a> {
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
pub(crate) struct Obedient {
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
