//! A whole simulated instance with its alarm: the real agent on simulated files, the simulated
//! CodeDeploy agent, CloudWatch's data and alarms in memory, EC2's status checks, and a *simulated*
//! executor that stops, reboots, terminates and recovers the machine when the modelled alarm calls
//! for it. No real action runs here.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use deploywatch::agent::{Agent, Edges, Host, Next};
use deploywatch::alarms::apply::{Applying, Task, Until};
use deploywatch::alarms::plan::ByHand;
use deploywatch::alarms::spec;
use deploywatch::alarms::state::{ORDER_FILE, Order};
use deploywatch::config::{Config, Identity};
use deploywatch::ports::alarm::AlarmCall;
use deploywatch::ports::{Datum, Numbers, Store as _};
use deploywatch::ship::checkpoint;
use jiff::tz::TimeZone;

use super::alarm_codedeploy::{CodeDeploy, Fate, Generation, Mode, Scene as Stage};
use super::alarm_oracle::{Oracle, Scene};
use super::alarm_plan::{APP, Plan, Subject};
use super::alarm_service::MemAlarms;
use super::muted::NoEvents;
use super::world::clock::{Clock, EPOCH_MS};
use super::world::files::MemFiles;
use super::world::fuse::Fuse;
use super::world::metrics::MemMetrics;
use super::world::service::MemService;
use super::world::store::MemStore;
use super::world::watch::{Hearing, MemWatch};
use super::world::wire::Mood;

const MINUTE: u64 = 60_000;
const INSTANCE: &str = "i-0123456789abcdef0";
/// A file beside [`APP`] that loses bytes when the story wants it.
const UNREADABLE: &str = "/var/log/app/unreadable.log";
/// Our agent is woken on this beat, which spares steps in which nothing happens.
const WAKE_MS: u64 = 15_000;
/// What it asks for sooner than this, such as the end of a record, it gets when it asked for it.
const SOON_MS: u64 = 1_000;
/// After so many failures our agent asks the alarms' history no more in a boot.
const HISTORY_TRIES: u32 = 8;
/// More steps than any story needs.
const STEPS_MAX: u64 = 20_000;
/// Trouble ends so long before the story does.
const QUIET_MS: u64 = 40 * MINUTE;

/// Everything outside our agent.
struct Outside {
    files: MemFiles,
    store: MemStore,
    watch: MemWatch,
    logs: MemService,
    metrics: MemMetrics,
    alarms: MemAlarms,
    events: NoEvents,
    codedeploy: CodeDeploy,
}

impl Outside {
    fn edges(&mut self) -> Edges<'_> {
        Edges {
            files: &mut self.files,
            store: &mut self.store,
            watch: &mut self.watch,
            logs: &mut self.logs,
            metrics: &mut self.metrics,
            alarms: &mut self.alarms,
            events: &mut self.events,
            processes: &mut self.codedeploy.processes,
        }
    }
}

/// Whether the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    Up,
    /// Until then.
    Off(u64),
    /// For ever.
    Gone,
}

/// What becomes of the machine when our agent has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// It is started again at that time.
    Restart(u64),
    /// The machine goes down for so long; `None`: for ever.
    Down {
        for_ms: Option<u64>,
        by_action: bool,
    },
}

/// What a seed came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) acts: u64,
    pub(crate) told: u64,
    pub(crate) incidents: u64,
    pub(crate) boots: u64,
    pub(crate) processes: u64,
    pub(crate) suspensions: u64,
    pub(crate) data: u64,
    pub(crate) steps: u64,
}

impl Tally {
    /// Sums up.
    pub(crate) fn add(&mut self, other: &Self) {
        self.acts += other.acts;
        self.told += other.told;
        self.incidents += other.incidents;
        self.boots += other.boots;
        self.processes += other.processes;
        self.suspensions += other.suspensions;
        self.data += other.data;
        self.steps += other.steps;
    }
}

/// The instance and the account around it.
pub(crate) struct Machine {
    plan: Plan,
    config: Config,
    rng: fastrand::Rng,
    is_loud: bool,
    story: Vec<String>,
    clock: Clock,
    skew_ms: i64,
    /// Until when data of a wrong date, or the want of some, may tell.
    skewed_until: u64,
    /// When the date was moved, and how far.
    jumps: Vec<(u64, u64)>,
    /// When our agent last began to learn of deployments that it had not seen begin.
    learned_ms: Option<u64>,
    /// When it was gone last.
    gone_ms: u64,
    fuse: Fuse,
    outside: Outside,
    oracle: Oracle,
    agent: Option<Agent>,
    next: Next,
    /// When it asked for that.
    asked_mono_ms: u64,
    learn_ms: Option<u64>,
    start_ms: u64,
    after: Option<After>,
    /// Our agent ended in peace, and did not start again.
    said_goodbye: bool,
    power: Power,
    boots: u32,
    booted_ms: u64,
    processes: u64,
    /// Actions that were called and are not carried out yet.
    ordered: Vec<(u64, String)>,
    mood_until: u64,
    minute_ms: u64,
    check_fails: bool,
    is_frozen: bool,
    /// When what is broken mends itself, or what works breaks: in the minute after that.
    turn_ms: Option<u64>,
    /// When somebody last stopped CodeDeploy.
    stopped_ms: Option<u64>,
    last_failed: bool,
    losing: Option<u64>,
    resume_ms: Option<u64>,
    snapshot: Option<Vec<u8>>,
    steps: u64,
    /// The step at which the status is looked at next.
    looked: u64,
}

fn identity() -> Identity {
    Identity {
        instance_id: Some(INSTANCE.to_owned()),
        hostname: Some("ip-10-0-0-1".to_owned()),
        region: Some("eu-west-1".to_owned()),
        account_id: Some("111122223333".to_owned()),
        asg: Some(String::new()),
        complete: true,
        ..Identity::default()
    }
}

impl Machine {
    pub(crate) fn new(plan: &Plan, is_loud: bool) -> Self {
        let fuse = Fuse::default();
        let seed = plan.seed;
        let file = (PathBuf::from("sim.toml"), plan.config());
        let (config, _) = Config::parse(&[file]).expect("the plan's configuration is good");
        let mut alarms = MemAlarms::new(seed ^ 0xa1a0, fuse.clone());
        alarms.denied.extend(plan.denied.iter().copied());
        let mut machine = Self {
            plan: plan.clone(),
            config,
            rng: fastrand::Rng::with_seed(seed ^ 0x3ac1),
            is_loud,
            story: Vec::new(),
            clock: Clock::default(),
            skew_ms: 0,
            skewed_until: 0,
            jumps: Vec::new(),
            learned_ms: None,
            gone_ms: 0,
            outside: Outside {
                files: MemFiles::new(seed ^ 0xf11e, fuse.clone()),
                store: MemStore::new(seed ^ 0x570e, fuse.clone()),
                watch: MemWatch::new(seed ^ 0x3a7c, Hearing::Perfect),
                logs: MemService::new(seed ^ 0x5e21, fuse.clone()),
                metrics: MemMetrics::new(seed ^ 0x3e7c, fuse.clone()),
                alarms,
                events: NoEvents,
                codedeploy: CodeDeploy::new(plan.generation, seed ^ 0xc0de),
            },
            oracle: Oracle::new(plan, EPOCH_MS),
            fuse,
            agent: None,
            next: Next::Now,
            asked_mono_ms: 0,
            learn_ms: None,
            start_ms: 8_000,
            after: None,
            said_goodbye: false,
            power: Power::Up,
            boots: 0,
            booted_ms: 0,
            processes: 0,
            ordered: Vec::new(),
            mood_until: 0,
            minute_ms: 0,
            check_fails: false,
            is_frozen: false,
            turn_ms: None,
            stopped_ms: None,
            last_failed: false,
            losing: None,
            resume_ms: None,
            snapshot: None,
            steps: 0,
            looked: 0,
        };
        machine.advance(0);
        if !plan.managed {
            machine.apply();
        }
        machine
            .outside
            .files
            .append(Path::new(APP), b"the first line\n");
        machine.on_stage(|codedeploy, stage| codedeploy.start(Mode::Working, stage));
        machine
    }

    /// Plays the whole story; `Err` says what was broken, and what happened before.
    pub(crate) fn play(mut self) -> Result<Tally, String> {
        let result = self.whole();
        result.map_err(|what| {
            let mut text = format!("at {} ms: {what}\n{:#?}\n", self.clock.ms, self.plan);
            for line in self.story.iter().rev().take(50).rev() {
                writeln!(text, "{line}").expect("a string takes all");
            }
            text
        })?;
        Ok(Tally {
            acts: self.oracle.acts.len() as u64,
            told: self.oracle.told,
            incidents: self.oracle.incidents,
            boots: u64::from(self.boots),
            processes: self.processes,
            suspensions: self.oracle.suspensions,
            data: self.oracle.data,
            steps: self.steps,
        })
    }

    fn whole(&mut self) -> Result<(), String> {
        while self.clock.ms < self.plan.span_ms {
            let next = self.next_ms().clamp(self.clock.ms, self.plan.span_ms);
            self.advance(next);
            self.cloud()?;
            self.power()?;
            if self.clock.ms >= self.minute_ms {
                self.minute()?;
            }
            self.codedeploy_turn();
            self.agent_turn()?;
            self.outside.files.fates.clear();
            for touch in self.outside.files.touched.drain(..) {
                self.outside.watch.note(touch);
            }
            let scene = self.scene();
            self.oracle.see(scene, self.clock.ms)?;
        }
        Ok(())
    }

    /// `alarms apply`, before anything else.
    fn apply(&mut self) {
        let wanted = spec::wanted(&self.config.alarms, &identity()).expect("all is known");
        assert!(wanted.impossible.is_empty(), "{wanted:?}");
        let mut applying = Applying::new(Task {
            wanted,
            by_hand: ByHand::Revert,
            made: std::collections::BTreeSet::new(),
            suspended: false,
            outdated: Vec::new(),
            until: Until::Applied,
        });
        while let Some(call) = applying.next_call() {
            let reply = self
                .outside
                .alarms
                .obey(call)
                .expect("nothing is in the way");
            applying.take(reply);
        }
    }

    fn next_ms(&self) -> u64 {
        let now = self.clock.ms;
        let mut next = self.minute_ms;
        let dues = [
            self.outside.alarms.evaluation_ms(),
            self.ordered.iter().map(|(ms, _)| *ms).min(),
            match self.power {
                Power::Off(until) => Some(until),
                Power::Up | Power::Gone => None,
            },
        ];
        next = dues.into_iter().flatten().fold(next, u64::min);
        if self.power != Power::Up {
            return next.max(now);
        }
        next = next.min(self.outside.codedeploy.next_ms().unwrap_or(u64::MAX));
        // Starts and answers wait until it runs again.
        if self.is_frozen {
            return next.max(now);
        }
        if self.agent.is_none() {
            return next.min(self.start_ms).max(now);
        }
        let dues = [
            self.learn_ms,
            self.outside.alarms.wire.next_ms(),
            self.outside.logs.wire.next_ms(),
            self.outside.metrics.wire.next_ms(),
            match self.next {
                Next::Now => Some(now),
                Next::At(mono_ms) => Some(self.wakes_ms(mono_ms)),
            },
        ];
        next = dues.into_iter().flatten().fold(next, u64::min);
        if self.outside.watch.is_ready() {
            now
        } else {
            next.max(now)
        }
    }

    /// When our agent is woken that asked for that time: a busy machine lets it wait.
    fn wakes_ms(&self, mono_ms: u64) -> u64 {
        let asked_ms = self.clock.at_mono(mono_ms);
        let is_soon = mono_ms < self.asked_mono_ms + SOON_MS;
        match self.after {
            None if !is_soon => asked_ms.next_multiple_of(WAKE_MS),
            _ => asked_ms,
        }
    }

    fn advance(&mut self, ms: u64) {
        self.clock.advance_to(ms);
        self.outside.files.wall_ms = self.clock.now().wall_ms;
        let (ms, true_ms) = (self.clock.ms, self.clock.true_ms());
        self.outside.logs.wire.advance_to(ms, true_ms);
        self.outside.metrics.wire.advance_to(ms, true_ms);
        self.outside.metrics.wall_ms = self.clock.now().wall_ms;
        self.outside.alarms.wire.advance_to(ms, true_ms);
    }

    /// CloudWatch's part: data come to light, alarms are evaluated, actions are called.
    fn cloud(&mut self) -> Result<(), String> {
        let now = self.clock.ms;
        for take in std::mem::take(&mut self.outside.metrics.takes) {
            self.oracle.took(&take, now)?;
            let late_ms = match self.rng.u8(0..20) {
                0 if self.plan.troubles > 0.0 => self.rng.i64(0..50_000),
                _ => self.rng.i64(0..3_000),
            };
            for datum in take.data {
                self.say_datum(&take.namespace, &datum);
                let visible_ms = self.clock.true_ms() + late_ms;
                self.outside
                    .alarms
                    .publish(&take.namespace, datum, visible_ms);
            }
        }
        let broken = [
            self.outside.metrics.wire.violations.pop(),
            self.outside.alarms.wire.violations.pop(),
            self.outside.logs.wire.violations.pop(),
            self.outside.files.violations.pop(),
        ];
        if let Some(broken) = broken.into_iter().flatten().next() {
            return Err(broken);
        }
        self.outside.alarms.pass();
        for called in std::mem::take(&mut self.outside.alarms.called) {
            let action = called.arn.rsplit(":ec2:").next().map(str::to_owned);
            let action = action.filter(|_| called.arn.contains(":automate:"));
            self.say(format!("{} calls {}", called.alarm, called.arn));
            self.look_at_breaker()?;
            if self.outside.alarms.is_freed {
                self.oracle.freed();
            }
            self.oracle.called(now, action.is_some())?;
            if let Some(action) = action {
                let wait_ms = self.rng.u64(1_000..45_000);
                self.ordered.push((now + wait_ms, action));
            }
        }
        Ok(())
    }

    /// The simulated executor, and the power switch.
    fn power(&mut self) -> Result<(), String> {
        let now = self.clock.ms;
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.ordered)
            .into_iter()
            .partition(|(ms, _)| *ms <= now);
        self.ordered = later;
        for (_, action) in due {
            self.say(format!("the simulated executor does: {action}"));
            let for_ms = match action.as_str() {
                "reboot" => Some(self.rng.u64(20_000..120_000)),
                "stop" => Some(self.rng.u64(120_000..900_000)),
                "recover" => Some(self.rng.u64(60_000..240_000)),
                "terminate" => None,
                other => return Err(format!("nobody can {other}")),
            };
            let cleanly = action != "recover" && self.rng.f64() < self.plan.clean_shutdowns;
            self.shut_down(for_ms, cleanly, true);
        }
        if matches!(self.power, Power::Off(until) if until <= now) {
            self.boot();
        }
        Ok(())
    }

    fn shut_down(&mut self, for_ms: Option<u64>, cleanly: bool, by_action: bool) {
        if self.power != Power::Up {
            return;
        }
        if cleanly && !self.is_frozen && self.agent.is_some() {
            if self.outside.codedeploy.generation == Generation::Second
                && self.outside.codedeploy.is_working()
            {
                self.on_stage(|codedeploy, stage| codedeploy.break_down(Mode::Stopped, stage));
            }
            self.after = Some(After::Down { for_ms, by_action });
            self.stop_agent();
            return;
        }
        self.agent_gone();
        self.outside.store.power_cut();
        self.outside.files.power_cut();
        self.down(for_ms, by_action);
    }

    /// The machine is off.
    fn down(&mut self, for_ms: Option<u64>, by_action: bool) {
        self.say(format!("the machine is off, for {for_ms:?} ms"));
        self.outside.codedeploy.power_off();
        self.after = None;
        self.power = match for_ms {
            Some(for_ms) => Power::Off(self.clock.ms + for_ms),
            None => Power::Gone,
        };
        let ms = self.clock.ms;
        self.oracle.boots(ms, by_action, self.said_goodbye);
        let mends = by_action && self.rng.f64() < self.plan.heals;
        // What no reboot heals breaks again soon: this is how loops come about.
        let is_hopeless = by_action && self.plan.heals == 0.0;
        let (fate, well_max) = match is_hopeless {
            true => (self.rng.u8(1..12), 5),
            false => (self.rng.u8(0..4), 25),
        };
        self.turn_ms = None;
        match (mends, fate) {
            (true, _) | (_, 0) => self.mend(),
            (false, 1) => {}
            // Well for some minutes after each boot.
            (false, _) => {
                self.mend();
                let well_ms = for_ms.unwrap_or(0) + self.rng.u64(1..well_max) * MINUTE;
                self.turn_ms = Some(self.clock.ms + well_ms);
            }
        }
    }

    /// What is broken will be well with the next boot.
    fn mend(&mut self) {
        self.check_fails = false;
        self.is_frozen = false;
        if self.plan.subject == Subject::Dead {
            self.outside.codedeploy.mode = Mode::Working;
        }
    }

    fn boot(&mut self) {
        self.boots += 1;
        self.power = Power::Up;
        self.clock.reboot();
        self.outside.alarms.dark_histories = 0;
        self.booted_ms = self.clock.ms;
        self.is_frozen = false;
        self.last_failed = false;
        self.start_ms = self.clock.ms + self.rng.u64(3_000..20_000);
        self.advance(self.clock.ms);
        // Whoever stopped it did not forbid it to start with the machine.
        let mode = match self.outside.codedeploy.mode {
            Mode::Stopped => Mode::Working,
            other => other,
        };
        self.say(format!("the machine boots; CodeDeploy is {mode:?}"));
        self.on_stage(|codedeploy, stage| codedeploy.start(mode, stage));
    }

    /// What a minute brings: EC2's own data, troubles, incidents.
    fn minute(&mut self) -> Result<(), String> {
        let now = self.clock.ms;
        self.minute_ms = (now / MINUTE + 1) * MINUTE;
        self.oracle.heartbeats(now)?;
        self.publish_checks();
        if self.power != Power::Up {
            return Ok(());
        }
        self.outside.files.sync();
        if let Some(bytes) = self.outside.store.peek(checkpoint::NAME)
            && self.rng.u8(0..12) == 0
        {
            self.snapshot = Some(bytes.to_vec());
        }
        self.moods(now);
        self.lose_bytes(now);
        let has_turned = self.turns(now);
        if now + QUIET_MS < self.plan.span_ms {
            if !has_turned {
                self.incidents(now);
            }
            self.troubles(now);
        }
        Ok(())
    }

    fn publish_checks(&mut self) {
        if self.power == Power::Gone || matches!(self.power, Power::Off(_)) {
            return;
        }
        for (name, subject) in [
            ("StatusCheckFailed_Instance", Subject::InstanceCheck),
            ("StatusCheckFailed_System", Subject::SystemCheck),
        ] {
            let fails = self.check_fails && self.plan.subject == subject;
            let datum = Datum {
                name: name.to_owned(),
                dimensions: vec![("InstanceId".to_owned(), INSTANCE.to_owned())],
                time_ms: self.clock.true_ms().div_euclid(60_000) * 60_000,
                unit: "Count".to_owned(),
                resolution_s: 60,
                numbers: Numbers::One(f64::from(u8::from(fails))),
            };
            let visible_ms = self.clock.true_ms() + self.rng.i64(0..40_000);
            self.outside.alarms.publish("AWS/EC2", datum, visible_ms);
        }
    }

    fn moods(&mut self, now: u64) {
        if now < self.mood_until {
            return;
        }
        let calm = now + QUIET_MS >= self.plan.span_ms || self.rng.f64() > self.plan.troubles;
        let mood = match calm {
            true => Mood::default(),
            false => {
                self.mood_until = now + self.rng.u64(1..25) * MINUTE;
                Mood::drawn(&mut self.rng)
            }
        };
        self.outside.logs.wire.mood = mood.clone();
        // Where only the logs are in trouble, nothing else is to be felt of it.
        if !self.plan.is_logs_alone {
            self.outside.alarms.wire.mood = mood.clone();
            self.outside.metrics.wire.mood = mood;
        }
    }

    /// A file that may not be read is deleted: its bytes were seen, and are lost.
    fn lose_bytes(&mut self, now: u64) {
        if self.losing.is_some_and(|at| now >= at) {
            self.losing = None;
            self.say("bytes are lost".to_owned());
            self.outside.files.unlink(Path::new(UNREADABLE));
            self.oracle.pulse(now);
        }
    }

    /// What was to turn turns; whether it did.
    fn turns(&mut self, now: u64) -> bool {
        if self.turn_ms.is_none_or(|at| now < at) {
            return false;
        }
        self.turn_ms = None;
        if self.is_broken() {
            self.say("it mends itself".to_owned());
            self.check_fails = false;
            self.is_frozen = false;
            self.on_stage(|codedeploy, stage| codedeploy.mend(stage));
        } else {
            self.incident(now);
        }
        true
    }

    fn is_broken(&self) -> bool {
        self.check_fails || !self.outside.codedeploy.is_working()
    }

    fn incidents(&mut self, now: u64) {
        if self.rng.f64() < self.plan.incidents {
            self.incident(now);
        }
        // Deployments come and go whatever the alarm is about.
        let idle = self.outside.codedeploy.running() == 0 && self.outside.codedeploy.is_working();
        if idle && self.rng.u8(0..40) == 0 {
            let fate = match self.rng.u8(0..3) {
                0 => Fate::FailsAt(self.rng.usize(0..7)),
                _ => Fate::Succeeds,
            };
            self.deploy(fate);
        }
    }

    /// Something of the kind that the alarm is about.
    fn incident(&mut self, now: u64) {
        let works = self.outside.codedeploy.is_working();
        let quickly = self.rng.u64(1..40) * MINUTE;
        match self.plan.subject {
            Subject::Dead if works => {
                let mode = match (self.rng.u8(0..4), self.plan.generation) {
                    (0, _) => Mode::Gone,
                    (1, _) => Mode::Refused,
                    (2, Generation::First) => Mode::Mute,
                    (2, Generation::Second) => Mode::Gone,
                    _ => Mode::Stopped,
                };
                self.say(format!("CodeDeploy is {mode:?}"));
                self.stopped_ms = (mode == Mode::Stopped).then_some(now);
                self.on_stage(|codedeploy, stage| codedeploy.break_down(mode, stage));
                self.turn_ms = self.rng.bool().then_some(now + quickly);
            }
            Subject::Hangs if works && self.outside.codedeploy.running() < 2 => {
                let for_ms = self.plan.hangs_after_s * 1_000 * self.rng.u64(5..30) / 10;
                let event = self.rng.usize(0..7);
                self.deploy(Fate::HangsAt(event, for_ms));
            }
            Subject::LastFailed | Subject::Failed if works => {
                let event = self.rng.usize(0..7);
                self.deploy(Fate::FailsAt(event));
            }
            Subject::InstanceCheck | Subject::SystemCheck if !self.check_fails => {
                self.check_fails = true;
                self.is_frozen = self.rng.bool();
                self.say(format!("EC2's check fails, frozen: {}", self.is_frozen));
                self.turn_ms = self.rng.bool().then_some(now + quickly / 4);
            }
            Subject::Silent if self.agent.is_some() && self.after.is_none() => {
                let until = now + self.rng.u64(1..40) * MINUTE;
                self.kill(until);
            }
            Subject::Lost if self.losing.is_none() && now > 2 * MINUTE => {
                let path = Path::new(UNREADABLE);
                self.outside
                    .files
                    .append(path, b"never to be read, and seen\n");
                self.outside.files.chmod(path, false);
                self.losing = Some(now + 2 * MINUTE);
            }
            _ => {}
        }
    }

    fn deploy(&mut self, fate: Fate) {
        self.say(format!("a deployment that {fate:?}"));
        self.on_stage(|codedeploy, stage| codedeploy.deploy(fate, stage));
    }

    fn troubles(&mut self, now: u64) {
        let rate = self.plan.troubles;
        if self.plan.jumpy && self.rng.f64() < rate.max(0.01) {
            self.jump();
        }
        if self.rng.f64() < rate && self.agent.is_some() && self.after.is_none() {
            let until = now + self.rng.u64(1_000..180_000);
            match self.rng.u8(0..4) {
                0 => self.fuse.light(self.rng.u32(0..60)),
                1 => {
                    self.after = Some(After::Restart(until));
                    self.stop_agent();
                }
                2 if self.plan.rollbacks => {
                    self.kill(until);
                    self.roll_back();
                }
                _ => self.kill(until),
            }
        }
        if self.rng.f64() < rate / 4.0 {
            let cleanly = self.rng.bool();
            self.say(format!("somebody reboots, cleanly: {cleanly}"));
            let for_ms = self.rng.u64(20_000..180_000);
            self.shut_down(Some(for_ms), cleanly, false);
        }
        self.order(now, rate);
    }

    /// The state directory is put back to an earlier checkpoint, or has none.
    fn roll_back(&mut self) {
        self.learned_ms = Some(self.clock.ms);
        self.oracle.rolled_back(self.clock.ms);
        match self.snapshot.take() {
            Some(bytes) if self.rng.bool() => {
                self.say("an old checkpoint comes back".to_owned());
                self.outside.store.place(checkpoint::NAME, &bytes);
            }
            _ => {
                self.say("the checkpoint is removed".to_owned());
                self.outside
                    .store
                    .remove(checkpoint::NAME)
                    .expect("the disk is fine");
            }
        }
    }

    /// A person suspends or resumes, as the command line does.
    fn order(&mut self, now: u64, rate: f64) {
        let is_due = self.resume_ms.is_some_and(|at| now >= at);
        let names = self.outside.alarms.alarm(self.plan.preset);
        let Some(name) = names.map(|model| model.spec().name.clone()) else {
            return;
        };
        if self.plan.action.is_none() || !(is_due || self.rng.f64() < rate / 5.0) {
            return;
        }
        let order = match self.resume_ms.take() {
            Some(_) => {
                self.oracle.resumed_by_hand(now);
                Order::Resume
            }
            None => {
                self.resume_ms = Some(now + self.rng.u64(5..60) * MINUTE);
                Order::Suspend
            }
        };
        self.say(format!("a person orders: {order:?}"));
        let names = vec![name];
        let call = match order {
            Order::Suspend => AlarmCall::DisableActions { names },
            Order::Resume => AlarmCall::EnableActions { names },
        };
        drop(self.outside.alarms.obey(call));
        let text = order.word().as_bytes();
        self.outside.store.place(ORDER_FILE, text);
    }

    fn jump(&mut self) {
        let all = [
            0, 30_000, -30_000, 300_000, -300_000, 3_600_000, -3_600_000, 10_800_000,
        ];
        let skew_ms = all[self.rng.usize(0..all.len())];
        let skew_ms = skew_ms.clamp(-self.plan.jump_ms_max, self.plan.jump_ms_max);
        // A stop that is read after the date was set ahead looks older than the boot: nobody can tell.
        // It is read within minutes, unless logs are not taken.
        let is_wide = self.plan.jump_ms_max > 300_000;
        let is_new = |at: u64| is_wide || self.clock.ms - at < 10 * MINUTE;
        if skew_ms > self.skew_ms && self.stopped_ms.is_some_and(is_new) {
            return;
        }
        self.say(format!("the date is set to {skew_ms} ms off"));
        self.clock.set_skew(skew_ms);
        let span = u64::try_from(self.skew_ms.abs().max(skew_ms.abs())).unwrap_or(0);
        self.skewed_until = self.skewed_until.max(self.clock.ms + span + 5 * MINUTE);
        let moved_ms = self.skew_ms.abs_diff(skew_ms);
        self.jumps.push((self.clock.ms, moved_ms));
        self.skew_ms = skew_ms;
        self.advance(self.clock.ms);
    }

    fn codedeploy_turn(&mut self) {
        if self.power != Power::Up {
            return;
        }
        if self
            .outside
            .codedeploy
            .next_ms()
            .is_some_and(|ms| ms <= self.clock.ms)
        {
            self.on_stage(CodeDeploy::turn);
        }
        for ended in std::mem::take(&mut self.outside.codedeploy.ended) {
            self.say(format!("a deployment ended: {ended:?}"));
            // What ended before our first start is history.
            if !ended.by_boot && self.processes > 0 {
                self.last_failed = ended.failed;
            }
            if ended.failed && !ended.aborted && self.plan.subject == Subject::Failed {
                self.oracle.pulse(self.clock.ms);
            }
            self.oracle.ended(ended, self.clock.ms);
        }
    }

    fn on_stage<T>(&mut self, act: impl FnOnce(&mut CodeDeploy, &mut Stage<'_>) -> T) -> T {
        let now = self.clock.now();
        let mut stage = Stage {
            ms: self.clock.ms,
            wall_ms: now.wall_ms,
            files: &mut self.outside.files,
        };
        act(&mut self.outside.codedeploy, &mut stage)
    }

    /// Starts, teaches or steps our agent, if it is time.
    fn agent_turn(&mut self) -> Result<(), String> {
        if self.power != Power::Up || self.is_frozen {
            return Ok(());
        }
        let now = self.clock.ms;
        if self.agent.is_none() {
            if now >= self.start_ms {
                self.start()?;
            }
            return Ok(());
        }
        if self.learn_ms.is_some_and(|ms| now >= ms) {
            self.learn_ms = None;
            self.next = Next::Now;
            let now = self.clock.now();
            if let Some(agent) = &mut self.agent {
                agent.learn(identity(), now);
            }
        }
        let is_due = match self.next {
            Next::Now => true,
            Next::At(mono_ms) => self.wakes_ms(mono_ms) <= now,
        };
        let is_awake = is_due
            || self.outside.watch.is_ready()
            || self.outside.alarms.wire.is_ready()
            || self.outside.logs.wire.is_ready()
            || self.outside.metrics.wire.is_ready();
        if is_awake { self.step() } else { Ok(()) }
    }

    fn start(&mut self) -> Result<(), String> {
        self.processes += 1;
        let now = self.clock.now();
        let began_unseen = |since| since >= self.gone_ms;
        if self
            .outside
            .codedeploy
            .running_since_ms()
            .is_some_and(began_unseen)
        {
            self.learned_ms = Some(self.clock.ms);
        }
        let host = Host {
            zone: TimeZone::UTC,
            // As the kernel tells it: the date less the time since the boot.
            boot_ms: Some(now.wall_ms - i64::try_from(now.mono_ms).unwrap_or(0)),
            boot_id: Some(format!("boot-{}", self.boots)),
        };
        let seed = self.rng.u64(..);
        let config = self.config.clone();
        let agent = Agent::start(config, host, seed, &mut self.outside.edges(), now);
        self.agent = Some(agent.map_err(|error| format!("the agent does not start: {error}"))?);
        self.say("our agent starts".to_owned());
        self.said_goodbye = false;
        self.looked = self.steps;
        self.next = Next::Now;
        self.learn_ms = Some(self.clock.ms + self.rng.u64(0..3_000));
        self.after_step()
    }

    fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err("our agent does not come to rest".to_owned());
        }
        let now = self.clock.now();
        if let Some(agent) = &mut self.agent {
            self.next = agent.step(&mut self.outside.edges(), now);
            self.asked_mono_ms = now.mono_ms;
        }
        self.after_step()?;
        self.advance(self.clock.ms + 1);
        Ok(())
    }

    fn after_step(&mut self) -> Result<(), String> {
        if self.fuse.is_dead() {
            let until = self.clock.ms + self.rng.u64(1_000..60_000);
            self.kill(until);
            return Ok(());
        }
        if self.outside.alarms.dark_histories >= HISTORY_TRIES {
            self.oracle.boot_stays_dark();
        }
        if self.steps >= self.looked {
            self.looked = self.steps + 40;
            self.look_at_breaker()?;
        }
        let now = self.clock.now();
        let Some(agent) = &self.agent else {
            return Ok(());
        };
        let Some(after) = self.after.filter(|_| agent.is_done(now)) else {
            return Ok(());
        };
        if let Some(agent) = self.agent.take() {
            agent.finish(&mut self.outside.edges(), now);
        }
        self.say("our agent has stopped".to_owned());
        self.said_goodbye = true;
        self.agent_gone();
        match after {
            After::Restart(until) => {
                self.after = None;
                self.start_ms = until.max(self.clock.ms + 1);
            }
            After::Down { for_ms, by_action } => self.down(for_ms, by_action),
        }
        Ok(())
    }

    /// What our agent says of its breaker; nothing new while there is none.
    fn look_at_breaker(&mut self) -> Result<(), String> {
        let Some(agent) = &self.agent else {
            return Ok(());
        };
        let status = agent.status(self.clock.now()).alarms;
        let by_breaker = status.suspended_by.as_deref() == Some("loop breaker");
        self.oracle.breaker(by_breaker, status.suspension_confirmed)
    }

    fn stop_agent(&mut self) {
        self.say("our agent is told to stop".to_owned());
        let now = self.clock.now();
        if let Some(agent) = &mut self.agent {
            agent.stop(Some(30_000), now);
        }
        self.next = Next::Now;
    }

    /// kill -9; it comes back then.
    fn kill(&mut self, until: u64) {
        self.say(format!("our agent is killed until {until}"));
        self.agent_gone();
        self.start_ms = until;
        // The shutdown that it was killed in goes on.
        if let Some(After::Down { for_ms, by_action }) = self.after.take() {
            self.down(for_ms, by_action);
        }
    }

    fn agent_gone(&mut self) {
        self.agent = None;
        self.gone_ms = self.clock.ms;
        self.learn_ms = None;
        self.outside.files.exit();
        self.outside.logs.forget();
        self.outside.metrics.forget();
        self.outside.alarms.wire.forget();
        self.outside.watch.forget();
        self.fuse.reset();
    }

    /// How the machine fares, for the oracle.
    fn scene(&self) -> Scene {
        let now = self.clock.ms;
        let is_up = self.power == Power::Up;
        let runs = self.agent.is_some() && self.after.is_none() && !self.is_frozen;
        let mood = &self.outside.metrics.wire.mood;
        let serves = !mood.down
            && !mood.expired
            && mood.throttle + mood.error + mood.timeout + mood.lost_answer == 0.0;
        let since = self.outside.codedeploy.running_since_ms();
        // What began by a wrong date may look as if another boot had cut it off.
        let is_dated = self.skew_ms == 0 && since.unwrap_or(now) >= self.skewed_until;
        let is_calm = is_up && runs && self.learn_ms.is_none() && serves && is_dated;
        let works =
            self.outside.codedeploy.is_working() || self.outside.codedeploy.mode == Mode::Stopped;
        let age_ms = |since: u64| now.saturating_sub(since);
        let hangs_ms = self.plan.hangs_after_s * 1_000;
        // The age of what it did not see begin is told by dates.
        let misdated_ms = |since: u64| match self.learned_ms {
            Some(learned_ms) if learned_ms >= since => {
                let jumps = self.jumps.iter().filter(|(at, _)| *at >= since);
                jumps.map(|(_, moved_ms)| moved_ms).sum()
            }
            _ => 0,
        };
        let condition = match self.plan.subject {
            Subject::Dead => !works,
            Subject::Hangs => {
                since.is_some_and(|since| age_ms(since) + misdated_ms(since) > hangs_ms)
            }
            Subject::LastFailed => self.last_failed && is_up,
            Subject::Failed | Subject::Lost => false,
            Subject::InstanceCheck | Subject::SystemCheck => self.check_fails,
            Subject::Silent => !is_calm,
        };
        // EC2's own data need none of us.
        let unseen = matches!(
            self.plan.subject,
            Subject::InstanceCheck | Subject::SystemCheck
        );
        let alarm = self.outside.alarms.alarm(self.plan.preset);
        Scene {
            condition,
            is_publishing: is_calm,
            is_silent: !is_up || !runs || mood.down,
            is_calm: is_calm || unseen && is_up,
            is_enabled: alarm.is_some_and(|alarm| alarm.actions_enabled),
            is_up,
            runs: is_up && runs,
            works,
            last_failed: self.last_failed,
            running_since_ms: since,
        }
    }

    /// What the alarm is given to judge.
    fn say_datum(&self, namespace: &str, datum: &Datum) {
        let alarm = self.outside.alarms.alarm(self.plan.preset);
        if self.is_loud && alarm.is_some_and(|alarm| alarm.watches(namespace, datum)) {
            let for_ms = datum.time_ms - EPOCH_MS;
            println!(
                "{:>9} datum for {for_ms}: {:?}",
                self.clock.ms, datum.numbers
            );
        }
    }

    fn say(&mut self, what: String) {
        let line = format!("{:>9} {what}", self.clock.ms);
        if self.is_loud {
            println!("{line}");
        }
        self.story.push(line);
    }
}
