//! The stage against a model of the service: what it calls, when, and what it never does.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use super::*;
use crate::config::Config;
use crate::ports::alarm::{AlarmCall, AlarmSpec, AlarmState, ServiceAlarm};
use crate::ports::sealed::seal;

const DAY_MS: u64 = 24 * 3_600_000;
const REBOOT: &str = "[alarms]\nmanage = true\n[[alarm]]\n\
    preset = \"reboot-when-codedeploy-agent-dead\"\nevaluation_periods = 2\n\
    [[alarm]]\npreset = \"notify-when-silent\"\n\
    actions = [\"arn:aws:sns:eu-west-1:111122223333:oncall\"]\n";

/// The service, shared by all agents of an account: 3 puts and 9 looks a second.
#[derive(Default)]
struct Cloud {
    alarms: BTreeMap<String, (ServiceAlarm, BTreeMap<String, String>)>,
    denied: Vec<&'static str>,
    /// Ends of the names of alarms that may not be put.
    denied_alarms: Vec<&'static str>,
    /// What the service calls invalid.
    invalid: Vec<&'static str>,
    /// Calls let through in the present second: puts, looks.
    second: (u64, u32, u32),
    limited: bool,
    throttled: u32,
    calls: Vec<String>,
    history: Vec<ActionTaken>,
    /// Whether the service complains of a call that switches or deletes a name that is not there.
    strict: bool,
}

impl Cloud {
    fn serve(&mut self, call: &AlarmCall, now_ms: u64) -> Result<AlarmReply, ServiceError> {
        let error = |class, code: &str| ServiceError {
            class,
            code: code.to_owned(),
            message: String::new(),
        };
        self.calls
            .push(call.permission().replace("cloudwatch:", ""));
        if self.denied.contains(&call.permission()) {
            return Err(error(ErrorClass::RetrySlowly, "AccessDenied"));
        }
        if let AlarmCall::Put { spec, .. } = call
            && self
                .denied_alarms
                .iter()
                .any(|end| spec.name.ends_with(end))
        {
            return Err(error(ErrorClass::RetrySlowly, "AccessDenied"));
        }
        let names = match call {
            AlarmCall::Delete { names }
            | AlarmCall::DisableActions { names }
            | AlarmCall::EnableActions { names } => names.len(),
            _ => 0,
        };
        if self.invalid.contains(&call.permission()) || names > 100 {
            return Err(error(ErrorClass::Invalid, "InvalidParameterValue"));
        }
        if self.second.0 != now_ms / 1000 {
            self.second = (now_ms / 1000, 0, 0);
        }
        let (used, most) = match call {
            AlarmCall::Describe { .. } => (&mut self.second.2, 9),
            _ => (&mut self.second.1, 3),
        };
        *used += 1;
        if self.limited && *used > most {
            self.throttled += 1;
            return Err(error(ErrorClass::Throttled, "Throttling"));
        }
        if let AlarmCall::DisableActions { names } = call
            && self.strict
            && names.iter().any(|name| !self.alarms.contains_key(name))
        {
            return Err(error(ErrorClass::MissingTarget, "ResourceNotFound"));
        }
        let missing = match call {
            AlarmCall::Delete { names } if self.strict => {
                names.iter().any(|name| !self.alarms.contains_key(name))
            }
            _ => false,
        };
        let reply = self.obey(call);
        // Those that were there are gone all the same (CloudWatch API reference, DeleteAlarms).
        match missing {
            true => Err(error(ErrorClass::MissingTarget, "ResourceNotFound")),
            false => Ok(reply),
        }
    }

    fn obey(&mut self, call: &AlarmCall) -> AlarmReply {
        match call {
            AlarmCall::Describe { prefix } => {
                let all = self.alarms.values().map(|(alarm, _)| alarm.clone());
                AlarmReply::Alarms(all.filter(|a| a.spec.name.starts_with(prefix)).collect())
            }
            AlarmCall::Tags { arn } => {
                let found = self.alarms.values().find(|(alarm, _)| alarm.arn == *arn);
                AlarmReply::Tags(found.map(|(_, tags)| tags.clone()).unwrap_or_default())
            }
            AlarmCall::Put {
                spec,
                actions_enabled,
                tags,
            } => {
                self.put(spec, *actions_enabled, tags);
                AlarmReply::Done
            }
            AlarmCall::Tag { arn, tags } => {
                let found = self
                    .alarms
                    .values_mut()
                    .find(|(alarm, _)| alarm.arn == *arn);
                found.unwrap().1.extend(tags.clone());
                AlarmReply::Done
            }
            AlarmCall::Delete { names } => {
                self.alarms.retain(|name, _| !names.contains(name));
                AlarmReply::Done
            }
            AlarmCall::DisableActions { names } => self.enable(names, false),
            AlarmCall::EnableActions { names } => self.enable(names, true),
            AlarmCall::SetState { .. } => AlarmReply::Done,
            AlarmCall::History { name, since_ms } => {
                let all = self.history.iter().filter(|action| action.alarm == *name);
                AlarmReply::History(all.filter(|a| a.at_ms >= *since_ms).cloned().collect())
            }
        }
    }

    fn put(&mut self, spec: &AlarmSpec, enabled: bool, tags: &BTreeMap<String, String>) {
        let entry = self.alarms.entry(spec.name.clone());
        let arn = format!(
            "arn:aws:cloudwatch:eu-west-1:111122223333:alarm:{}",
            spec.name
        );
        let (alarm, _tags) = entry.or_insert_with(|| {
            let alarm = ServiceAlarm {
                spec: spec.clone(),
                arn,
                other_kind: None,
                actions_enabled: enabled,
                state: AlarmState::InsufficientData,
                state_reason: String::new(),
                state_since_ms: None,
            };
            (alarm, tags.clone())
        });
        alarm.spec = spec.clone();
        alarm.actions_enabled = enabled;
    }

    fn enable(&mut self, names: &[String], enabled: bool) -> AlarmReply {
        for name in names {
            if let Some((alarm, _)) = self.alarms.get_mut(name) {
                alarm.actions_enabled = enabled;
            }
        }
        AlarmReply::Done
    }

    fn enabled(&self, end: &str) -> bool {
        let found = self.alarms.iter().find(|(name, _)| name.ends_with(end));
        found.unwrap().1.0.actions_enabled
    }
}

/// One agent's way to the service: answers take as long as it is told.
struct Line<'a> {
    cloud: &'a mut Cloud,
    answers: &'a mut VecDeque<AlarmAnswer>,
    now_ms: u64,
}

impl AlarmService for Line<'_> {
    fn submit(&mut self, id: CallId, call: AlarmCall) {
        let result = self.cloud.serve(&call, self.now_ms);
        self.answers.push_back(AlarmAnswer { id, result });
    }

    fn answer(&mut self) -> Option<AlarmAnswer> {
        self.answers.pop_front()
    }
}

/// An instance with an agent.
struct Instance {
    id: String,
    config: AlarmsConfig,
    agent: Option<Alarms>,
    answers: VecDeque<AlarmAnswer>,
    saved: Option<Saved>,
    boots: u32,
    /// Whether nothing can be saved.
    is_full: bool,
    news: Vec<News>,
}

/// Common time.
struct Time {
    mono_ms: u64,
    wall_ms: i64,
}

impl Time {
    fn new() -> Self {
        Self {
            mono_ms: 100_000,
            wall_ms: 1_800_000_000_000,
        }
    }

    fn now(&self) -> Now {
        Now {
            mono_ms: self.mono_ms,
            wall_ms: self.wall_ms,
        }
    }

    fn pass(&mut self, ms: u64) {
        self.mono_ms += ms;
        self.wall_ms += i64::try_from(ms).unwrap();
    }
}

fn config(text: &str) -> AlarmsConfig {
    Config::parse(&[(PathBuf::from("a.toml"), text.to_owned())])
        .unwrap()
        .0
        .alarms
}

/// A datum of the CodeDeploy agent's health.
fn healthy(value: f64) -> Datum {
    Datum {
        name: "CodeDeployAgentHealthy".to_owned(),
        dimensions: Vec::new(),
        time_ms: 0,
        unit: "None".to_owned(),
        resolution_s: 60,
        numbers: crate::ports::Numbers::One(value),
    }
}

impl Instance {
    fn new(id: &str, text: &str) -> Self {
        Self {
            id: id.to_owned(),
            config: config(text),
            agent: None,
            answers: VecDeque::new(),
            saved: None,
            boots: 0,
            is_full: false,
            news: Vec::new(),
        }
    }

    fn boot(&mut self, time: &Time) {
        self.boots += 1;
        self.start(time);
    }

    /// Starts the agent: nothing of the last one is left but what was saved.
    fn start(&mut self, time: &Time) {
        let boot_id = format!("boot-{}", self.boots);
        let seed = self.id.bytes().map(u64::from).sum::<u64>() * 7919;
        let saved = self.saved.clone();
        let mut agent = Alarms::new(&self.config, saved, &boot_id, seed, time.now());
        let identity = Identity {
            instance_id: Some(self.id.clone()),
            region: Some("eu-west-1".to_owned()),
            complete: true,
            ..Identity::default()
        };
        agent.learn(&identity, time.now());
        self.answers.clear();
        self.agent = Some(agent);
    }

    fn agent(&mut self) -> &mut Alarms {
        self.agent.as_mut().unwrap()
    }

    /// Whether all is there as it is wanted.
    fn has_applied(&self) -> bool {
        let status = self.agent.as_ref().map(Alarms::status);
        status.is_some_and(|status| status.applied_ms.is_some())
    }

    fn reload(&mut self, text: &str, time: &Time) {
        self.config = config(text);
        let (config, now) = (self.config.clone(), time.now());
        self.agent().reload(&config, now);
    }

    fn step(&mut self, cloud: &mut Cloud, time: &Time) {
        let mut line = Line {
            cloud,
            answers: &mut self.answers,
            now_ms: time.mono_ms,
        };
        let agent = self.agent.as_mut().unwrap();
        agent.step(time.now(), &mut line);
        self.news.extend(agent.take_news());
        if agent.is_dirty() && self.is_full {
            agent.note_unsaved();
        } else if agent.is_dirty() {
            // What is kept must survive the way over the disk.
            let bytes = serde_json::to_vec(&agent.saved()).unwrap();
            self.saved = Some(serde_json::from_slice(&bytes).unwrap());
            agent.note_saved();
        }
    }

    /// Steps every quarter of a second for so long; a datapoint of health once a minute.
    fn live(&mut self, cloud: &mut Cloud, time: &mut Time, ms: u64, health: Option<f64>) -> u32 {
        let mut published = 0;
        for beat in 0..ms / 250 {
            if let Some(health) = health.filter(|_| beat % 240 == 0) {
                let (now, datum) = (time.now(), healthy(health));
                let agent = self.agent();
                if !agent.holds_back(&datum) {
                    published += 1;
                }
                agent.note_datum(&datum, now);
            }
            self.step(cloud, time);
            time.pass(250);
        }
        published
    }
}

/// A managed agent makes its alarms soon after its start, makes no call when it is started again
/// with the same configuration, and looks once a day: shown by the calls the service saw.
#[test]
fn what_is_applied_is_left_alone() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    let mut instance = Instance::new("i-1", REBOOT);
    instance.boot(&time);
    instance.live(&mut cloud, &mut time, 60_000, None);
    assert_eq!(
        cloud.calls,
        ["DescribeAlarms", "PutMetricAlarm", "PutMetricAlarm"]
    );
    assert!(cloud.alarms.values().all(|(_, tags)| apply::is_ours(tags)));
    for _ in 0..3 {
        instance.start(&time);
        instance.live(&mut cloud, &mut time, 60_000, None);
    }
    assert_eq!(
        cloud.calls.len(),
        3,
        "a restart with nothing to do asks nothing"
    );
    time.pass(DAY_MS);
    instance.live(&mut cloud, &mut time, 60_000, None);
    assert_eq!(cloud.calls[3..], ["DescribeAlarms"]);

    // Somebody changes one and deletes the other; a day later all is as it was.
    let (name, _) = cloud.alarms.pop_first().unwrap();
    cloud
        .alarms
        .values_mut()
        .for_each(|(alarm, _)| alarm.spec.threshold = 9.0);
    time.pass(DAY_MS);
    instance.live(&mut cloud, &mut time, 60_000, None);
    assert!(cloud.alarms.contains_key(&name));
    assert!(
        cloud
            .alarms
            .values()
            .all(|(alarm, _)| alarm.spec.threshold == 1.0)
    );

    // An alarm that is not wanted any more goes.
    instance.config =
        config("[alarms]\nmanage = true\n[[alarm]]\npreset = \"stop-when-deployment-hangs\"");
    let (wanted, now) = (instance.config.clone(), time.now());
    instance.agent().reload(&wanted, now);
    instance.live(&mut cloud, &mut time, 60_000, None);
    assert_eq!(
        cloud.alarms.keys().collect::<Vec<_>>(),
        ["deploywatch/i-1/stop-when-deployment-hangs"]
    );
}

/// Without `manage` nothing is asked of the service, ever: shown by a day.
#[test]
fn unmanaged_alarms_are_not_touched() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    let mut instance = Instance::new("i-1", &REBOOT.replace("manage = true", "manage = false"));
    instance.boot(&time);
    instance.live(&mut cloud, &mut time, 60_000, Some(1.0));
    time.pass(DAY_MS);
    instance.live(&mut cloud, &mut time, 60_000, Some(1.0));
    assert_eq!(cloud.calls, [""; 0]);
}

/// Fifty agents that start in the same moment all have their alarms within some minutes, though
/// the service takes only three puts a second from all of them: shown by the calls it refused.
#[test]
fn a_fleet_that_starts_at_once_gets_through() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    cloud.limited = true;
    let presets = [
        "reboot-when-codedeploy-agent-dead",
        "stop-when-deployment-hangs",
    ];
    let others = [
        "reboot-when-instance-check-fails",
        "recover-when-system-check-fails",
    ];
    let alarms: String = presets
        .iter()
        .chain(&others)
        .map(|preset| format!("[[alarm]]\npreset = \"{preset}\"\n"))
        .collect();
    let text = format!("[alarms]\nmanage = true\n{alarms}");
    let mut fleet: Vec<Instance> = (0..50)
        .map(|n| Instance::new(&format!("i-{n:03}"), &text))
        .collect();
    fleet.iter_mut().for_each(|instance| instance.boot(&time));
    let start_ms = time.mono_ms;
    let mut all_done_ms = None;
    while all_done_ms.is_none() && time.mono_ms < start_ms + 900_000 {
        for instance in &mut fleet {
            instance.step(&mut cloud, &time);
        }
        time.pass(100);
        if fleet.iter().all(Instance::has_applied) {
            all_done_ms = Some(time.mono_ms - start_ms);
        }
    }
    let took_ms = all_done_ms.expect("not all alarms were made in a quarter of an hour");
    assert_eq!(cloud.alarms.len(), 200);
    // 200 puts at three a second take 67 s at the very least.
    assert!((60_000..480_000).contains(&took_ms), "took {took_ms} ms");
    assert!(
        cloud.throttled < 400,
        "{} calls were refused",
        cloud.throttled
    );
    assert!(
        fleet
            .iter()
            .all(|i| i.news.iter().all(|n| !matches!(n, News::Failed { .. })))
    );
}

/// A reboot loop is stopped: the fourth counted boot has the service switch the rebooting alarm
/// off (the telling one stays on) before any breach goes out, restarts of the agent keep it so,
/// and an hour without breach switches it on again: shown by lives that end as the alarm would
/// end them.
#[test]
fn a_loop_is_stopped_and_resumed() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    let mut instance = Instance::new("i-1", REBOOT);
    for life in 0..4 {
        instance.boot(&time);
        instance.live(&mut cloud, &mut time, 300_000, Some(0.0));
        assert_eq!(instance.agent().actions_suspended(), 0.0, "life {life}");
    }
    instance.boot(&time);
    let agent = instance.agent();
    assert!(
        agent.holds_back(&healthy(0.0)),
        "held back until it is confirmed"
    );
    assert!(
        !agent.holds_back(&healthy(1.0)),
        "what does not breach may go"
    );
    instance.live(&mut cloud, &mut time, 300_000, Some(0.0));
    assert!(!cloud.enabled("agent-dead") && cloud.enabled("silent"));
    assert!(instance.news.contains(&News::SuspensionConfirmed));
    assert!(!instance.agent().holds_back(&healthy(0.0)));
    instance.start(&time);
    instance.live(&mut cloud, &mut time, 60_000, Some(0.0));
    assert_eq!(instance.agent().actions_suspended(), 1.0);
    assert_eq!(
        instance.agent().status().suspended_by.as_deref(),
        Some("loop breaker")
    );
    instance.live(&mut cloud, &mut time, 2 * 3_600_000, Some(0.0));
    assert!(!cloud.enabled("agent-dead"), "it breaches as before");
    instance.live(&mut cloud, &mut time, 3_600_000, Some(1.0));
    assert!(cloud.enabled("agent-dead"));
    assert_eq!(instance.agent().actions_suspended(), 0.0);
    assert!(instance.news.contains(&News::Resumed { by: By::Breaker }));
}

/// Where the role may not suspend, breaches are not published, which is said once; when the
/// permission comes, the suspension is made: shown by a service that denies.
#[test]
fn without_permission_breaches_stay_here() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    cloud.denied.push("cloudwatch:DisableAlarmActions");
    let mut instance = Instance::new("i-1", REBOOT);
    for _ in 0..4 {
        instance.boot(&time);
        instance.live(&mut cloud, &mut time, 300_000, Some(0.0));
    }
    instance.boot(&time);
    let published = instance.live(&mut cloud, &mut time, 600_000, Some(0.0));
    assert_eq!(published, 0);
    let denied = |news: &&News| matches!(news, News::SuspensionDenied { .. });
    assert_eq!(instance.news.iter().filter(denied).count(), 1);
    assert!(
        instance
            .agent()
            .status()
            .problem
            .unwrap()
            .contains("AccessDenied")
    );
    cloud.denied.clear();
    instance.live(&mut cloud, &mut time, 120_000, Some(0.0));
    assert!(!cloud.enabled("agent-dead"));
    assert!(!instance.agent().holds_back(&healthy(0.0)));
}

/// A person's suspension lasts until a person ends it, also over boots and days, and no daily
/// look switches anything on: shown by both orders.
#[test]
fn a_persons_order_is_obeyed() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    let mut instance = Instance::new("i-1", REBOOT);
    instance.boot(&time);
    instance.live(&mut cloud, &mut time, 60_000, None);
    let now = time.now();
    instance.agent().obey(Order::Suspend, now);
    instance.live(&mut cloud, &mut time, 1000, None);
    assert!(!cloud.enabled("agent-dead"));
    for _ in 0..3 {
        time.pass(DAY_MS);
        instance.boot(&time);
        cloud
            .alarms
            .values_mut()
            .for_each(|(alarm, _)| alarm.spec.threshold = 9.0);
        instance.live(&mut cloud, &mut time, 60_000, Some(1.0));
        assert!(!cloud.enabled("agent-dead"));
        assert!(
            cloud
                .alarms
                .values()
                .all(|(alarm, _)| alarm.spec.threshold == 1.0)
        );
    }
    let now = time.now();
    instance.agent().obey(Order::Resume, now);
    instance.live(&mut cloud, &mut time, 1000, None);
    assert!(cloud.enabled("agent-dead"));
    assert_eq!(instance.agent().actions_suspended(), 0.0);
}

/// An alarm that somebody deleted does not keep the others from being switched off: shown by a
/// service that refuses the whole call for one unknown name.
#[test]
fn a_missing_alarm_does_not_keep_the_others_armed() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    cloud.strict = true;
    let mut text = "[alarms]\nmanage = true\n".to_owned();
    for preset in [
        "codedeploy-agent-dead",
        "deployment-hangs",
        "instance-check-fails",
    ] {
        text += &format!("[[alarm]]\npreset = \"reboot-when-{preset}\"\n");
    }
    for missing in ["agent-dead", "hangs", "check-fails"] {
        let mut instance = Instance::new("i-1", &text);
        cloud.alarms.clear();
        instance.boot(&time);
        instance.live(&mut cloud, &mut time, 60_000, None);
        assert_eq!(cloud.alarms.len(), 3);
        cloud.alarms.retain(|name, _| !name.ends_with(missing));
        let now = time.now();
        instance.agent().obey(Order::Suspend, now);
        instance.live(&mut cloud, &mut time, 5_000, None);
        assert!(cloud.alarms.keys().all(|name| !cloud.enabled(name)));
        assert!(
            instance.news.contains(&News::SuspensionConfirmed),
            "{missing}"
        );
    }
}

/// The action that preceded a boot is told once, counts, and one from long before does not: shown
/// by a history with both.
#[test]
fn the_action_before_a_boot_is_told() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    let text = "[alarms]\nmanage = true\n[[alarm]]\npreset = \"reboot-when-instance-check-fails\"";
    let mut instance = Instance::new("i-1", text);
    instance.boot(&time);
    instance.live(&mut cloud, &mut time, 60_000, None);
    let action = |at_ms, what: &str| ActionTaken {
        alarm: "deploywatch/i-1/reboot-when-instance-check-fails".to_owned(),
        at_ms,
        summary: format!("Successfully executed action {what}"),
    };
    let reboot = "arn:aws:automate:eu-west-1:ec2:reboot";
    cloud.history = vec![
        action(time.wall_ms - 7_200_000, reboot),
        action(time.wall_ms - 20_000, reboot),
        action(
            time.wall_ms - 10_000,
            "arn:aws:sns:eu-west-1:111122223333:oncall",
        ),
    ];
    instance.agent().say_goodbye();
    instance.step(&mut cloud, &time);
    time.pass(30_000);
    instance.boot(&time);
    instance.live(&mut cloud, &mut time, 60_000, None);
    let told: Vec<&ActionTaken> = instance
        .news
        .iter()
        .filter_map(|news| match news {
            News::Acted(action) => Some(action),
            _ => None,
        })
        .collect();
    assert_eq!(told, [&cloud.history[1]]);
    assert_eq!(instance.agent().guard.restarts(), 1);
    let asked = |cloud: &Cloud| {
        cloud
            .calls
            .iter()
            .filter(|c| *c == "DescribeAlarmHistory")
            .count()
    };
    let before = asked(&cloud);
    assert_eq!(instance.saved.as_ref().unwrap().history_asked_for, "boot-2");
    instance.start(&time);
    instance.live(&mut cloud, &mut time, 60_000, None);
    assert_eq!(asked(&cloud), before, "once a boot");
    assert!(instance.agent().preceded_by().is_some());
}

/// A status-check alarm's loop is stopped even where the role may not read its history and every
/// shutdown is clean: shown by a service that denies, and by one that has nothing to tell, where
/// the same reboots were an operator's.
#[test]
fn an_untold_loop_is_stopped() {
    let text = "[alarms]\nmanage = true\n[[alarm]]\npreset = \"reboot-when-instance-check-fails\"";
    for (denied, stops) in [
        (vec!["cloudwatch:DescribeAlarmHistory"], true),
        (vec![], false),
    ] {
        let (mut cloud, mut time) = (Cloud::default(), Time::new());
        cloud.denied = denied;
        let mut instance = Instance::new("i-1", text);
        for _ in 0..5 {
            instance.boot(&time);
            instance.live(&mut cloud, &mut time, 120_000, None);
            instance.agent().say_goodbye();
            instance.step(&mut cloud, &time);
        }
        assert_eq!(instance.agent().actions_suspended() > 0.0, stops);
        assert_eq!(cloud.enabled("check-fails"), !stops);
    }
}

/// A restart of ours in the middle of a breach hides no restart that it leads to: shown by lives
/// that the alarm ends after two breaching datapoints, each heard by another process.
#[test]
fn a_breach_outlives_the_process_that_noted_it() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    let mut instance = Instance::new("i-1", REBOOT);
    for life in 0..5 {
        instance.boot(&time);
        assert_eq!(instance.agent().actions_suspended() > 0.0, life == 4);
        instance.live(&mut cloud, &mut time, 60_000, Some(0.0));
        instance.start(&time);
        instance.live(&mut cloud, &mut time, 60_000, Some(0.0));
        instance.agent().say_goodbye();
        instance.step(&mut cloud, &time);
    }
}

/// An alarm made by hand under our prefix is not touched and said; a refused alarm does not keep
/// the others from being made: shown by a service with one, and a role that may not read tags.
#[test]
fn strangers_are_left_alone() {
    for denied in [vec![], vec!["cloudwatch:ListTagsForResource"]] {
        let (mut cloud, mut time) = (Cloud::default(), Time::new());
        cloud.denied = denied;
        let mut instance = Instance::new("i-1", REBOOT);
        instance.boot(&time);
        let wanted = instance.agent().wanted.clone().unwrap();
        let mut theirs = wanted.specs[0].clone();
        theirs.threshold = 5.0;
        cloud.put(&theirs, true, &BTreeMap::new());
        instance.live(&mut cloud, &mut time, 120_000, None);
        assert_eq!(cloud.alarms[&theirs.name].0.spec.threshold, 5.0);
        assert_eq!(cloud.alarms.len(), 2);
        assert!(
            instance
                .news
                .contains(&News::Strangers(vec![theirs.name.clone()]))
        );
    }
}

/// An agent that never learns where it is does not spin: shown by an alarm that acts, steps without
/// an identity, and when the next one is due.
#[test]
fn without_an_identity_nothing_is_due() {
    let mut cloud = Cloud::default();
    let mut answers = VecDeque::new();
    let time = Time {
        mono_ms: 1_000_000,
        wall_ms: 1_795_000_000_000,
    };
    let mut alarms = Alarms::new(&config(REBOOT), None, "boot", 1, time.now());
    alarms.obey(Order::Suspend, time.now());
    for _ in 0..3 {
        let mut line = Line {
            cloud: &mut cloud,
            answers: &mut answers,
            now_ms: time.mono_ms,
        };
        alarms.step(time.now(), &mut line);
        let due = alarms.next_due();
        assert!(due.is_none_or(|due| due > time.mono_ms), "{due:?}");
    }
}

/// What was saved is read back, a newer format is refused, damage suspends until nothing has
/// restarted for a while, and an order is taken once: shown by a store in memory.
#[test]
fn state_survives_or_is_refused() {
    use crate::ports::Store as _;

    #[derive(Default)]
    struct Disk(BTreeMap<String, Vec<u8>>);
    impl crate::ports::Store for Disk {
        fn load(&mut self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
            Ok(self.0.get(name).cloned())
        }
        fn save(&mut self, name: &str, content: &[u8]) -> std::io::Result<()> {
            self.0.insert(name.to_owned(), content.to_vec());
            Ok(())
        }
        fn append(&mut self, _: &str, _: &[u8]) -> std::io::Result<()> {
            unreachable!("nothing is appended")
        }
        fn rename(&mut self, from: &str, to: &str) -> std::io::Result<()> {
            let content = self.0.remove(from).unwrap();
            self.save(to, &content)
        }
        fn remove(&mut self, name: &str) -> std::io::Result<()> {
            self.0.remove(name);
            Ok(())
        }
        fn names(&mut self, _: &str) -> std::io::Result<Vec<(String, u64)>> {
            unreachable!("nothing is listed")
        }
    }
    let mut disk = Disk::default();
    let time = Time::new();
    assert_eq!(state::load(&mut disk, time.now()).unwrap(), None);
    let alarms = Alarms::new(&config(REBOOT), None, "boot", 1, time.now());
    state::save(&mut disk, &alarms.saved()).unwrap();
    let read = state::load(&mut disk, time.now()).unwrap().unwrap();
    assert_eq!(read.boots, alarms.saved().boots);

    let newer = seal(state::FILE, 99, b"{}".to_vec());
    disk.save(state::FILE, &newer).unwrap();
    let refused = state::load(&mut disk, time.now());
    assert!(matches!(refused, Err(state::LoadError::Newer(99))));

    disk.save(state::FILE, b"{\"boots").unwrap();
    let saved = state::load(&mut disk, time.now()).unwrap();
    let alarms = Alarms::new(&config(REBOOT), saved, "boot", 1, time.now());
    assert_eq!(alarms.actions_suspended(), 1.0);
    assert!(disk.0.contains_key("boots.damaged-1"));

    for (content, expected) in [
        (Order::Suspend.word(), Some(Order::Suspend)),
        (Order::Resume.word(), Some(Order::Resume)),
        ("reboot\n", None),
    ] {
        disk.save(state::ORDER_FILE, content.as_bytes()).unwrap();
        assert_eq!(state::find_order(&mut disk).unwrap(), expected);
        if let Some(order) = expected {
            let other = [Order::Suspend, Order::Resume].map(|other| (other, other == order));
            for (other, is_taken) in other.into_iter().rev() {
                state::forget_order(&mut disk, other).unwrap();
                let left = state::find_order(&mut disk).unwrap();
                assert!(left.is_none() || !is_taken);
            }
        }
        assert_eq!(state::find_order(&mut disk).unwrap(), None);
    }
}

/// What a reload changes while actions are suspended arms nothing and silences nobody: an alarm
/// that is to act from now on is switched off, one that tells, new or not, stays on, and after the
/// suspension all are on. Shown by reloads behind a person's order.
#[test]
fn a_reload_in_a_suspension_arms_and_silences_nothing() {
    let sns = "\"arn:aws:sns:eu-west-1:111122223333:oncall\"";
    let hangs = |actions: &str| {
        format!("[[alarm]]\npreset = \"stop-when-deployment-hangs\"\nactions = [{actions}]\n")
    };
    let dead = |actions: &str| {
        format!(
            "[[alarm]]\npreset = \"reboot-when-codedeploy-agent-dead\"\nactions = [{actions}]\n"
        )
    };
    let silent = format!("[[alarm]]\npreset = \"notify-when-silent\"\nactions = [{sns}]\n");
    let head = "[alarms]\nmanage = true\n".to_owned();
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    let before = head.clone() + &dead("\"reboot\"") + &hangs(sns);
    let mut instance = Instance::new("i-1", &before);
    instance.boot(&time);
    instance.live(&mut cloud, &mut time, 60_000, None);
    let now = time.now();
    instance.agent().obey(Order::Suspend, now);
    instance.live(&mut cloud, &mut time, 1000, None);
    assert!(!cloud.enabled("agent-dead") && cloud.enabled("hangs"));

    instance.reload(
        &(head.clone() + &dead("\"reboot\"") + &hangs("\"stop\"") + &silent),
        &time,
    );
    instance.live(&mut cloud, &mut time, 60_000, None);
    assert!(!cloud.enabled("hangs"), "it acts now");
    assert!(cloud.enabled("silent"), "it tells");
    instance.reload(&(head + &dead(sns) + &hangs("\"stop\"") + &silent), &time);
    instance.live(&mut cloud, &mut time, 60_000, None);
    assert!(cloud.enabled("agent-dead"), "it tells from now on");

    let now = time.now();
    instance.agent().obey(Order::Resume, now);
    instance.live(&mut cloud, &mut time, 1000, None);
    assert!(cloud.alarms.keys().all(|name| cloud.enabled(name)));
}

/// An alarm that is there and can no more be made as it is wanted, or that the service will not
/// change or delete, is suspended with the others: shown by a target in another Region, by a
/// service that refuses and by a role that may not.
#[test]
fn what_is_left_of_an_alarm_is_suspended_too() {
    let gone = "[alarms]\nmanage = true\n";
    let preset = "preset = \"reboot-when-codedeploy-agent-dead\"";
    let with = |actions: &str| format!("{gone}[[alarm]]\n{preset}\nactions = [{actions}]\n");
    let impossible = with("\"reboot\", \"arn:aws:sns:us-east-1:111122223333:oncall\"");
    let told = with("\"arn:aws:sns:eu-west-1:111122223333:oncall\"");
    let (put, delete) = ("cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms");
    for (text, invalid, denied) in [
        (&*impossible, None, None),
        (&*told, Some(put), None),
        (&*told, None, Some(put)),
        (gone, Some(delete), None),
        (gone, None, Some(delete)),
    ] {
        let (mut cloud, mut time) = (Cloud::default(), Time::new());
        let mut instance = Instance::new("i-1", REBOOT);
        instance.boot(&time);
        instance.live(&mut cloud, &mut time, 60_000, None);
        cloud.invalid.extend(invalid);
        cloud.denied.extend(denied);
        instance.reload(text, &time);
        instance.live(&mut cloud, &mut time, 60_000, None);
        let now = time.now();
        instance.agent().obey(Order::Suspend, now);
        instance.live(&mut cloud, &mut time, 5_000, None);
        assert!(!cloud.enabled("agent-dead"), "{invalid:?} {denied:?}");
        let deleted =
            |news: &News| matches!(news, News::Applied { deleted, .. } if !deleted.is_empty());
        let is_gone = instance.news.iter().any(deleted);
        assert!(text != gone || !is_gone, "said to be deleted");
    }
}

/// An alarm that was made before the role lost the permission, or before the agent was ended, goes
/// when the configuration has it no more: shown by a service that denies the second alarm, and by a
/// configuration that changes before the first one is answered for.
#[test]
fn a_half_applied_configuration_leaves_nothing_behind() {
    for (is_restarted, is_answered) in [(false, true), (true, true), (false, false), (true, false)]
    {
        let (mut cloud, mut time) = (Cloud::default(), Time::new());
        let mut instance = Instance::new("i-1", REBOOT);
        instance.boot(&time);
        while cloud.alarms.is_empty() {
            instance.live(&mut cloud, &mut time, 250, None);
        }
        cloud.denied.push("cloudwatch:PutMetricAlarm");
        if is_answered {
            instance.live(&mut cloud, &mut time, 60_000, None);
        }
        assert_eq!(cloud.alarms.len(), 1);
        assert!(!instance.has_applied());
        let none = "[alarms]\nmanage = true\n";
        match is_restarted {
            true => {
                instance.config = config(none);
                instance.start(&time);
            }
            false => instance.reload(none, &time),
        }
        instance.live(&mut cloud, &mut time, 600_000, None);
        assert!(cloud.alarms.is_empty(), "{:?}", cloud.alarms.keys());
    }
}

/// Another prefix leaves no alarm behind under the old one, and as long as those may not be deleted
/// none is made under the new one; what somebody deleted by hand stands in nobody's way. Shown by a
/// reload, with a role that may not delete for a while, and with an alarm that is gone.
#[test]
fn another_prefix_leaves_nothing_behind() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    cloud.strict = true;
    let mut instance = Instance::new("i-1", REBOOT);
    instance.boot(&time);
    instance.live(&mut cloud, &mut time, 60_000, None);
    cloud.alarms.retain(|name, _| name.ends_with("agent-dead"));
    cloud.denied.push("cloudwatch:DeleteAlarms");
    let renamed = REBOOT.replace(
        "manage = true",
        "manage = true\nname_prefix = \"prod/{instance_id}/\"",
    );
    instance.reload(&renamed, &time);
    instance.live(&mut cloud, &mut time, 120_000, None);
    let names = |cloud: &Cloud| cloud.alarms.keys().cloned().collect::<Vec<_>>();
    let old = "deploywatch/i-1/reboot-when-codedeploy-agent-dead";
    assert_eq!(names(&cloud), [old]);
    let now = time.now();
    instance.agent().obey(Order::Suspend, now);
    instance.live(&mut cloud, &mut time, 5_000, None);
    assert!(!cloud.enabled("agent-dead"));
    let now = time.now();
    instance.agent().obey(Order::Resume, now);
    cloud.denied.clear();
    time.pass(3_600_000);
    instance.live(&mut cloud, &mut time, 60_000, None);
    let new = ["notify-when-silent", "reboot-when-codedeploy-agent-dead"];
    assert_eq!(names(&cloud), new.map(|name| format!("prod/i-1/{name}")));
}

/// A copy of another instance's disk touches none of that instance's alarms, neither at once nor
/// when its own are made: shown by what is left of them, before and after it is known who we are.
#[test]
fn a_copied_disk_touches_nobody_elses_alarms() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    let mut first = Instance::new("i-1", REBOOT);
    first.boot(&time);
    first.live(&mut cloud, &mut time, 60_000, None);
    let theirs = cloud.alarms.clone();
    let now = time.now();
    let mut nobody = Alarms::new(&first.config, first.saved.clone(), "boot-7", 1, now);
    nobody.obey(Order::Suspend, now);
    assert_eq!(nobody.next_due(), None, "there is nobody to ask about");
    let mut copy = Instance::new("i-2", REBOOT);
    copy.saved.clone_from(&first.saved);
    copy.boots = 7;
    copy.boot(&time);
    copy.agent().obey(Order::Suspend, now);
    copy.live(&mut cloud, &mut time, 60_000, None);
    for (name, (alarm, _)) in theirs {
        assert_eq!(cloud.alarms[&name].0, alarm);
    }
    assert_eq!(cloud.alarms.len(), 4);
    let asked = cloud
        .calls
        .iter()
        .filter(|call| *call == "DescribeAlarmHistory");
    assert_eq!(asked.count(), 1, "about its own alarm");
}

/// Where the boots cannot be written down, nothing that breaches leaves, since nobody would count
/// the reboots it leads to; when they can, it does: shown by a disk that is full for some lives.
#[test]
fn a_full_disk_hides_no_loop() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    let mut instance = Instance::new("i-1", REBOOT);
    instance.boot(&time);
    instance.live(&mut cloud, &mut time, 60_000, Some(1.0));
    instance.is_full = true;
    for _ in 0..6 {
        instance.boot(&time);
        instance.step(&mut cloud, &time);
        assert_eq!(instance.live(&mut cloud, &mut time, 300_000, Some(0.0)), 0);
        let problem = instance.agent().status().problem;
        assert!(problem.is_some_and(|text| text.contains("written")));
        assert!(!instance.agent().holds_back(&healthy(1.0)));
    }
    instance.is_full = false;
    instance.step(&mut cloud, &time);
    assert!(!instance.agent().holds_back(&healthy(0.0)));
    assert_eq!(instance.agent().status().problem, None);
}

/// An alarm that the role may not make, for its action, keeps no other from being made, and is made
/// when the role may: shown by a service that denies the first one.
#[test]
fn a_denied_alarm_does_not_keep_the_others_from_being_made() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    cloud.denied_alarms = vec!["agent-dead"];
    let mut instance = Instance::new("i-1", REBOOT);
    instance.boot(&time);
    instance.live(&mut cloud, &mut time, 600_000, None);
    assert_eq!(cloud.alarms.len(), 1);
    assert!(cloud.enabled("silent"));
    let failed = |news: &&News| matches!(news, News::Failed { .. });
    assert_eq!(instance.news.iter().filter(failed).count(), 1);
    cloud.denied_alarms.clear();
    instance.live(&mut cloud, &mut time, 3_600_000, None);
    assert_eq!(cloud.alarms.len(), 2);
}

/// An alarm that the role may not make for good keeps none of the others from being made again where
/// somebody has deleted it: shown a day after the first was denied, and the day after.
#[test]
fn a_denied_alarm_does_not_keep_the_others_from_being_repaired() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    cloud.denied_alarms = vec!["agent-dead"];
    let mut instance = Instance::new("i-1", REBOOT);
    instance.boot(&time);
    instance.live(&mut cloud, &mut time, 600_000, None);
    for day in 0..2 {
        assert_eq!(cloud.alarms.len(), 1, "{day}");
        cloud.alarms.clear();
        time.pass(DAY_MS);
        instance.live(&mut cloud, &mut time, 3_600_000, None);
    }
    assert!(cloud.enabled("silent"));
}

/// What acts and is not configured any more is still seen to restart the instance, as long as it is
/// there: shown by a reload that takes the alarms and their management away, before lives that an
/// action in the alarm's history ends, or that end so where nobody may read that.
#[test]
fn a_loop_of_what_is_left_is_stopped() {
    for denied in [vec![], vec!["cloudwatch:DescribeAlarmHistory"]] {
        let (mut cloud, mut time) = (Cloud::default(), Time::new());
        let mut instance = Instance::new("i-1", REBOOT);
        instance.boot(&time);
        instance.live(&mut cloud, &mut time, 60_000, None);
        cloud.denied = denied;
        instance.reload("[alarms]\nmanage = false\n", &time);
        for _ in 0..5 {
            instance.live(&mut cloud, &mut time, 120_000, Some(0.0));
            cloud.history.push(ActionTaken {
                alarm: "deploywatch/i-1/reboot-when-codedeploy-agent-dead".to_owned(),
                at_ms: time.wall_ms,
                summary: "Successfully executed action arn:aws:automate:eu-west-1:ec2:reboot"
                    .to_owned(),
            });
            instance.agent().say_goodbye();
            instance.step(&mut cloud, &time);
            instance.boot(&time);
        }
        instance.live(&mut cloud, &mut time, 60_000, None);
        assert!(instance.agent().actions_suspended() > 0.0);
        assert!(!cloud.enabled("agent-dead"));
    }
}

/// As many alarms as there may be are deleted, and suspended, under an old prefix and a new one, though
/// one call takes a hundred names: shown by a prefix that comes back.
#[test]
fn more_alarms_than_a_call_takes_go() {
    let alarm = |nth: u32, key: &str| {
        format!(
            "[[alarm]]\npreset = \"reboot-when-codedeploy-agent-dead\"\nname = \"{key}{nth}\"\n"
        )
    };
    let alarms = |key: &str| (0..100).map(|nth| alarm(nth, key)).collect::<String>();
    let under = |prefix: &str, key: &str| {
        let prefix = format!("name_prefix = \"{prefix}/{{instance_id}}/\"");
        format!("[alarms]\nmanage = true\n{prefix}\n{}", alarms(key))
    };
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    let mut instance = Instance::new("i-1", &under("new", "a"));
    instance.boot(&time);
    instance.live(&mut cloud, &mut time, 120_000, None);
    let before = cloud.alarms.clone();
    instance.reload(&under("old", "b"), &time);
    instance.live(&mut cloud, &mut time, 120_000, None);
    // Somebody has restored what the agent deleted.
    cloud.alarms.extend(before);
    assert_eq!(cloud.alarms.len(), 200);
    cloud.denied.push("cloudwatch:DeleteAlarms");
    instance.reload(&under("new", "b"), &time);
    instance.live(&mut cloud, &mut time, 60_000, None);
    let now = time.now();
    instance.agent().obey(Order::Suspend, now);
    instance.live(&mut cloud, &mut time, 60_000, None);
    assert!(!cloud.enabled("old/i-1/b7"));
    assert!(instance.agent().status().suspension_confirmed);
    let now = time.now();
    instance.agent().obey(Order::Resume, now);
    cloud.denied.clear();
    time.pass(3_600_000);
    instance.live(&mut cloud, &mut time, 240_000, None);
    let is_new = |name: &String| name.starts_with("new/i-1/b");
    assert_eq!(cloud.alarms.len(), 100);
    assert!(cloud.alarms.keys().all(is_new));
}

/// What was deleted is known to be gone also while another alarm may not be made: shown by what is kept
/// on disk after a reload that takes one away and brings one that is denied.
#[test]
fn what_was_deleted_is_forgotten_at_once() {
    let (mut cloud, mut time) = (Cloud::default(), Time::new());
    let mut instance = Instance::new("i-1", REBOOT);
    instance.boot(&time);
    instance.live(&mut cloud, &mut time, 60_000, None);
    cloud.denied_alarms = vec!["silent"];
    let other = "[alarms]\nmanage = true\n[[alarm]]\npreset = \"notify-when-silent\"\n\
        period = \"5m\"\nactions = [\"arn:aws:sns:eu-west-1:111122223333:oncall\"]\n";
    instance.reload(other, &time);
    instance.live(&mut cloud, &mut time, 60_000, None);
    assert_eq!(cloud.alarms.len(), 1);
    let applied = instance.saved.clone().unwrap().applied.unwrap();
    let acting = applied
        .specs
        .iter()
        .filter(|spec| spec::acts_on_instance(spec));
    assert_eq!(acting.count(), 0);
    assert!(!instance.agent().leaves_acting());
}
