//! One seed from the first line to the last answer.
//!
//! Time jumps from one thing that happens to the next: a writer's act, a blow, an answer, a hint,
//! the time the agent asked to be woken at. The agent is stepped only when it is awake, so a
//! forgotten wake-up shows as lines that never arrive.

use std::fmt::Write as _;
use std::path::Path;

use deploywatch::config::Identity;

use crate::oracle::counts::Counts;
use crate::oracle::duty::Ending;
use crate::oracle::incidents::Incidents;
use crate::oracle::{Breach, Oracle};
use crate::plan::{APP_DIR, Counting, Plan, Trouble};
use crate::subject::{Checkpoint, Edges, Gauge, Subject, Wake};
use crate::workload::Workload;
use crate::world::World;
use crate::world::files::Fate;
use crate::world::service::Arrival;
use crate::world::store::Durability;
use crate::world::watch::Hearing;

/// Everything that is owed arrives this long after the end of all trouble.
const DRAIN_MS_MAX: u64 = 45 * 60_000;
/// Everything that was counted is published this long after the end of all trouble: the longest
/// pause after failures is 5 minutes.
const METRICS_DRAIN_MS: u64 = 10 * 60_000;
/// A stop ends this long after it was asked for: the default grace and one step.
const STOP_MS_MAX: u64 = 31_000;
/// So many steps in a row without any effect on the world are a busy loop.
const IDLE_STEPS_MAX: u32 = 200;
/// Wake-ups a second when nothing happens.
const IDLE_WAKES_PER_SECOND_MAX: u64 = 2;
/// The same where nobody gives hints, so that files have to be polled.
const POLLING_WAKES_PER_SECOND_MAX: u64 = 5;
/// How long the idle agent is watched.
const IDLE_MS: u64 = 60_000;
/// All batches together never take more memory.
const BATCH_BYTES_MAX: u64 = 8 << 20;
/// The agent never has more files open.
const OPEN_FILES_MAX: usize = 1_024;
/// Group deletions, clock jumps and the like are drawn this often.
const BLOW_EVERY_MS: u64 = 1_000;

/// What a seed came to, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Summary {
    pub(crate) lines: usize,
    pub(crate) arrived: u64,
    pub(crate) duplicates: u64,
    pub(crate) refused: u64,
    pub(crate) steps: u64,
    pub(crate) processes: u64,
    pub(crate) counted: f64,
    pub(crate) incidents: usize,
    pub(crate) digest: u64,
}

impl Summary {
    /// Sums up.
    pub(crate) fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.arrived += other.arrived;
        self.duplicates += other.duplicates;
        self.refused += other.refused;
        self.steps += other.steps;
        self.processes += other.processes;
        self.counted += other.counted;
        self.incidents += other.incidents;
        self.digest ^= other.digest;
    }
}

/// Whether to say what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    Silent,
    Loud,
}

/// Runs a plan; `Err` says which promise was broken and when.
pub(crate) fn run<S: Subject>(plan: Plan, voice: Voice) -> Result<Summary, String> {
    run_with::<S>(plan, voice, Durability::Durable)
}

/// [`run`] on a disk of a given honesty.
pub(crate) fn run_with<S: Subject>(
    plan: Plan,
    voice: Voice,
    durability: Durability,
) -> Result<Summary, String> {
    let mut run = Run::<S>::new(plan, voice);
    run.world.store.durability = durability;
    let result = run.whole();
    result
        .map_err(|Breach(what)| format!("at {} ms: {what}\n{}", run.world.clock.ms, run.story()))?;
    Ok(run.summary())
}

struct Run<S> {
    plan: Plan,
    voice: Voice,
    world: World,
    oracle: Oracle,
    counts: Counts,
    incidents: Incidents,
    workload: Workload,
    rng: fastrand::Rng,
    reload_rng: fastrand::Rng,
    agent: Option<S>,
    wake: Wake,
    /// When the agent is started again.
    start_ms: u64,
    /// When it learns who it is.
    learn_ms: Option<u64>,
    act_ms: u64,
    blow_ms: u64,
    store_version: u64,
    checkpoint: Checkpoint,
    steps: u64,
    processes: u64,
    /// Steps in a row without effect, and what the effects were.
    idle_steps: u32,
    effects: (u64, u64, u64, u64),
    tail: std::collections::VecDeque<String>,
}

impl<S: Subject> Run<S> {
    fn new(plan: Plan, voice: Voice) -> Self {
        let mut world = World::new(plan.seed, plan.hearing);
        world.files.reuse_inodes = plan.reuse_inodes;
        if plan.groups_exist {
            for group in [
                "/app",
                "/codedeploy/agent",
                "/codedeploy/deployments",
                "/codedeploy/scripts",
            ] {
                world.service.make_group(group);
            }
        }
        let mut oracle = Oracle::new(plan.expect(), plan.told());
        let workload = Workload::new(&plan, &mut world, &mut oracle);
        let mut rng = fastrand::Rng::with_seed(plan.seed ^ 0x4a11);
        let start_ms = rng.u64(0..plan.span_ms / 4 + 1);
        let reload_rng = fastrand::Rng::with_seed(plan.seed ^ 0x4e11);
        Self {
            plan,
            voice,
            world,
            oracle,
            counts: Counts::default(),
            incidents: Incidents::default(),
            workload,
            rng,
            reload_rng,
            agent: None,
            wake: Wake::Now,
            start_ms,
            learn_ms: None,
            act_ms: 0,
            blow_ms: BLOW_EVERY_MS,
            store_version: 0,
            checkpoint: Checkpoint::default(),
            steps: 0,
            processes: 0,
            idle_steps: 0,
            effects: (0, 0, 0, 0),
            tail: std::collections::VecDeque::new(),
        }
    }

    fn whole(&mut self) -> Result<(), Breach> {
        self.note_files();
        self.say(|run| format!("{:#?}", run.plan));
        while self.world.clock.ms < self.plan.span_ms {
            self.turn(self.plan.span_ms)?;
        }
        self.say(|_| "the trouble ends".to_owned());
        self.calm_down();
        self.drain()?;
        self.check_idle()?;
        self.check_counts()?;
        self.check_metrics()?;
        self.check_incidents()?;
        self.check_restart()
    }

    /// Goes to the next thing that happens, at most to `until_ms`, and lets it happen.
    fn turn(&mut self, until_ms: u64) -> Result<(), Breach> {
        let next = self.next_ms().min(until_ms);
        self.advance_to(next);
        let now = self.world.clock.ms;
        self.trouble(now);
        if now < self.plan.span_ms {
            if now >= self.act_ms {
                self.act_ms = now + self.workload.act(&mut self.world, &mut self.oracle);
                self.incidents
                    .happened(std::mem::take(&mut self.workload.failed));
                for did in std::mem::take(&mut self.workload.did) {
                    self.say(|_| did);
                }
                self.note_files();
            }
            if now >= self.blow_ms {
                self.blow_ms = now + BLOW_EVERY_MS;
                self.blows()?;
            }
        }
        self.agent_turn()
    }

    /// Starts, teaches or steps the agent, if it is time.
    fn agent_turn(&mut self) -> Result<(), Breach> {
        let now = self.world.clock.ms;
        if self.agent.is_none() {
            return if now >= self.start_ms {
                self.start()
            } else {
                Ok(())
            };
        }
        if self.learn_ms.is_some_and(|ms| now >= ms) {
            self.learn_ms = None;
            self.wake = Wake::Now;
            if let Some(agent) = &mut self.agent {
                agent.learn(identity(), self.world.clock.now());
            }
        }
        if self.is_awake() { self.step() } else { Ok(()) }
    }

    fn next_ms(&self) -> u64 {
        let now = self.world.clock.ms;
        let mut next = u64::MAX;
        if now < self.plan.span_ms {
            next = self.act_ms.min(self.blow_ms);
            next = next.min(self.plan.next_change_ms(now).unwrap_or(u64::MAX));
        }
        if self.agent.is_none() {
            return next.min(self.start_ms).max(now);
        }
        next = next.min(self.learn_ms.unwrap_or(u64::MAX));
        next = next.min(self.world.service.wire.next_ms().unwrap_or(u64::MAX));
        next = next.min(self.world.metrics.wire.next_ms().unwrap_or(u64::MAX));
        next = next.min(self.world.events.wire.next_ms().unwrap_or(u64::MAX));
        next = match self.wake {
            Wake::Now => now,
            Wake::At(mono_ms) => next.min(self.world.clock.at_mono(mono_ms)),
        };
        if self.world.watch.is_ready() {
            now
        } else {
            next.max(now)
        }
    }

    fn is_awake(&self) -> bool {
        let now = self.world.clock.ms;
        self.world.watch.is_ready()
            || self.world.service.wire.is_ready()
            || self.world.metrics.wire.is_ready()
            || self.world.events.wire.is_ready()
            || match self.wake {
                Wake::Now => true,
                Wake::At(mono_ms) => self.world.clock.at_mono(mono_ms) <= now,
            }
    }

    fn advance_to(&mut self, ms: u64) {
        self.world.advance_to(ms);
        self.oracle.advance_to(self.world.clock.ms);
    }

    /// Lets the plan's troubles of this moment begin and those of before end.
    fn trouble(&mut self, now: u64) {
        self.world.service.wire.mood = self.plan.mood(now);
        self.world.metrics.wire.mood = self.plan.mood(now);
        self.world.events.wire.mood = self.plan.bus_mood(now);
        self.world.store.full = false;
        self.world.files.error_rate = 0.0;
        for trouble in self.plan.troubles(now) {
            match trouble {
                Trouble::DiskFull => self.world.store.full = true,
                Trouble::FileErrors(rate) => self.world.files.error_rate = *rate,
                _ => {}
            }
        }
        if self.world.store.full {
            self.oracle.saves_fail();
        }
    }

    fn calm_down(&mut self) {
        self.trouble(self.plan.span_ms);
        self.world.fuse.reset();
        self.workload.finish(&mut self.world, &mut self.oracle);
        self.note_files();
        self.start_ms = self.start_ms.min(self.world.clock.ms + 1_000);
    }

    /// What may happen to the process or the machine in any second.
    fn blows(&mut self) -> Result<(), Breach> {
        let blows = self.plan.blows;
        let per_second = |rate: f64| rate * BLOW_EVERY_MS as f64 / 60_000.0;
        if self.rng.f64() < per_second(blows.clock_jump) {
            let skew_ms = [
                0, 1_000, -1_000, 60_000, -60_000, 3_600_000, -3_600_000, 10_800_000,
            ][self.rng.usize(0..8)];
            self.say(|_| format!("the clock jumps to {skew_ms} ms off"));
            self.world.clock.set_skew(skew_ms);
            self.oracle.date_set(skew_ms);
            self.advance_to(self.world.clock.ms);
        }
        if self.rng.f64() < per_second(blows.group_deleted) {
            self.say(|_| "somebody deletes a group".to_owned());
            self.world.service.delete_some_group();
        }
        if self.rng.f64() < per_second(blows.power_cut) {
            return self.power_cut();
        }
        if self.agent.is_none() {
            return Ok(());
        }
        if self.reload_rng.f64() < per_second(blows.reload) {
            self.reload()?;
        }
        if self.agent.is_none() {
            return Ok(());
        }
        if self.rng.f64() < per_second(blows.kill) {
            if self.rng.bool() {
                self.world.fuse.light(self.rng.u32(0..40));
                return Ok(());
            }
            return self.kill();
        }
        if self.rng.f64() < per_second(blows.stop) {
            return self.stop();
        }
        Ok(())
    }

    /// The agent takes its configuration again.
    fn reload(&mut self) -> Result<(), Breach> {
        self.say(|_| "the agent reloads".to_owned());
        let now = self.world.clock.now();
        if let Some(agent) = &mut self.agent {
            agent.reload(&self.plan, &mut edges(&mut self.world), now);
            self.wake = Wake::Now;
        }
        self.after_step()
    }

    fn start(&mut self) -> Result<(), Breach> {
        self.say(|run| format!("the agent starts: {:?}", run.checkpoint));
        self.processes += 1;
        let now = self.world.clock.now();
        let seed = self.rng.u64(..);
        let mut edges = edges(&mut self.world);
        let agent = S::start(&self.plan, seed, &mut edges, now);
        self.agent = match agent {
            Ok(agent) => Some(agent),
            Err(_) if self.world.fuse.is_dead() || self.world.store.full => None,
            Err(error) => return Err(Breach(format!("the agent does not start: {error}"))),
        };
        if self.agent.is_none() {
            self.world.process_ends();
            self.start_ms = self.world.clock.ms + 1_000;
            return Ok(());
        }
        self.wake = Wake::Now;
        let learn_ms = self.world.clock.ms + self.plan.identity_delay_ms;
        self.learn_ms = Some(learn_ms);
        self.oracle.process_started(learn_ms);
        self.after_step()
    }

    fn step(&mut self) -> Result<(), Breach> {
        self.steps += 1;
        let now = self.world.clock.now();
        let Some(agent) = &mut self.agent else {
            return Ok(());
        };
        self.wake = agent.step(&mut edges(&mut self.world), now);
        self.after_step()?;
        self.check_busy()?;
        // A step takes time, so that writers write between two of them.
        self.advance_to(self.world.clock.ms + 1);
        Ok(())
    }

    /// Everything that must hold after every step.
    fn after_step(&mut self) -> Result<(), Breach> {
        self.note_files();
        self.note_service()?;
        let broken = self.world.files.violations.pop();
        let broken = broken.or(self.world.metrics.wire.violations.pop());
        let broken = broken.or(self.world.events.wire.violations.pop());
        if let Some(broken) = broken.or(self.world.service.wire.violations.pop()) {
            return Err(Breach(broken));
        }
        self.note_checkpoint()?;
        if self.world.fuse.is_dead() {
            return self.kill();
        }
        let gauge = self.gauge();
        if gauge.batch_bytes.0 > gauge.batch_bytes.1.min(BATCH_BYTES_MAX) {
            return Err(Breach(format!(
                "batches over their limit: {:?}",
                gauge.batch_bytes
            )));
        }
        if self.world.service.held_bytes() as u64 > BATCH_BYTES_MAX {
            return Err(Breach("batches in flight over their limit".to_owned()));
        }
        if self.world.files.open_count() > OPEN_FILES_MAX {
            return Err(Breach("too many open files".to_owned()));
        }
        Ok(())
    }

    /// Checks what the agent wrote about its files, if it did.
    fn note_checkpoint(&mut self) -> Result<(), Breach> {
        if self.store_version != self.world.store.version {
            self.store_version = self.world.store.version;
            let checkpoint = S::checkpoint(&self.world.store).map_err(Breach)?;
            if checkpoint != self.checkpoint {
                self.checkpoint = checkpoint;
                self.oracle.check_checkpoint(&self.checkpoint)?;
            }
        }
        Ok(())
    }

    fn check_busy(&mut self) -> Result<(), Breach> {
        let world = &self.world;
        let effects = (
            world.files.bytes_read,
            world.service.wire.calls,
            world.store.version + world.store.refused,
            self.oracle.arrived,
        );
        let busy = self.wake == Wake::Now && effects == self.effects;
        self.idle_steps = if busy { self.idle_steps + 1 } else { 0 };
        self.effects = effects;
        if self.idle_steps > IDLE_STEPS_MAX {
            return Err(Breach(
                "a busy loop: steps without effect that ask for more".to_owned(),
            ));
        }
        Ok(())
    }

    fn note_files(&mut self) {
        let fates = std::mem::take(&mut self.world.files.fates);
        if self.voice == Voice::Loud {
            let grown = |fate: &&Fate| !matches!(fate, Fate::Grown { .. });
            for fate in fates.iter().filter(grown) {
                println!("{:>9}   {fate:?}", self.world.clock.ms);
            }
        }
        self.oracle.files_changed(fates);
        self.world.pass_hints();
    }

    fn note_service(&mut self) -> Result<(), Breach> {
        let arrivals = std::mem::take(&mut self.world.service.arrivals);
        if self.voice == Voice::Loud {
            for arrival in &arrivals {
                let text = &arrival.message;
                self.say(|_| format!("  {:?} in {}: {text:?}", arrival.taking, arrival.target));
            }
        }
        let app = |arrival: &&Arrival| self.world.service.targets[arrival.target].group == "/app";
        self.counts.arrived(arrivals.iter().filter(app));
        self.incidents.arrived(arrivals.iter());
        let takes = std::mem::take(&mut self.world.events.takes);
        self.incidents.took(takes, self.world.clock.ms)?;
        let metrics = &mut self.world.metrics;
        let answered = std::mem::take(&mut metrics.answered);
        self.counts
            .took(std::mem::take(&mut metrics.takes), &answered);
        self.oracle.arrived(arrivals)?;
        self.oracle
            .answered(std::mem::take(&mut self.world.service.answered));
        Ok(())
    }

    /// kill -9.
    fn kill(&mut self) -> Result<(), Breach> {
        self.say(|_| "the agent is killed".to_owned());
        self.agent = None;
        self.process_ended(Ending::Abrupt)
    }

    fn power_cut(&mut self) -> Result<(), Breach> {
        self.say(|_| "the power is cut".to_owned());
        self.agent = None;
        let torn = self.world.store.power_cut();
        self.process_ended(Ending::PowerCut)?;
        self.world.files.power_cut();
        self.note_files();
        if torn.iter().any(|name| name.starts_with("rescue/")) {
            self.oracle.rescue_torn();
        }
        self.store_version = self.world.store.version;
        self.world.clock.reboot();
        self.workload.power_cut();
        Ok(())
    }

    /// SIGTERM, the drain, and the last words.
    fn stop(&mut self) -> Result<(), Breach> {
        self.say(|_| "the agent is told to stop".to_owned());
        let begun = self.world.clock.ms;
        let now = self.world.clock.now();
        if let Some(agent) = &mut self.agent {
            agent.stop(now);
        }
        self.wake = Wake::Now;
        while self.is_stopping() {
            if self.world.clock.ms > begun + STOP_MS_MAX {
                return Err(Breach("the stop takes longer than its grace".to_owned()));
            }
            self.turn(self.world.clock.ms + 1_000)?;
        }
        let Some(agent) = self.agent.take() else {
            return Ok(());
        };
        let refused = self.world.store.refused;
        let now = self.world.clock.now();
        agent.finish(&mut edges(&mut self.world), now);
        let clean = self.world.store.refused == refused && !self.world.fuse.is_dead();
        self.note_files();
        self.note_service()?;
        self.note_checkpoint()?;
        self.say(|run| {
            format!(
                "the agent has stopped, clean: {clean}: {:?}",
                run.checkpoint
            )
        });
        self.process_ended(if clean {
            Ending::Orderly
        } else {
            Ending::Abrupt
        })
    }

    fn is_stopping(&self) -> bool {
        let now = self.world.clock.now();
        self.agent.as_ref().is_some_and(|agent| !agent.is_done(now))
    }

    fn process_ended(&mut self, ending: Ending) -> Result<(), Breach> {
        self.checkpoint = S::checkpoint(&self.world.store).map_err(Breach)?;
        self.note_service()?;
        self.note_files();
        self.counts.process_ended(ending);
        self.incidents.process_ended(self.world.clock.ms);
        self.oracle.process_ended(ending, &self.checkpoint)?;
        self.world.process_ends();
        self.note_files();
        self.learn_ms = None;
        self.start_ms = self.world.clock.ms + self.rng.u64(1..=self.plan.blows.down_ms_max.max(1));
        Ok(())
    }

    /// Everything that is owed arrives.
    fn drain(&mut self) -> Result<(), Breach> {
        let deadline = self.world.clock.ms + DRAIN_MS_MAX;
        let mut check_ms = self.world.clock.ms + 5_000;
        loop {
            self.turn(check_ms)?;
            if self.world.clock.ms < check_ms {
                continue;
            }
            let missing = self.oracle.missing();
            if missing.is_empty() && self.agent.is_some() && self.learn_ms.is_none() {
                return Ok(());
            }
            check_ms = self.world.clock.ms + 20_000;
            if self.world.clock.ms > deadline {
                return Err(Breach(format!(
                    "{} pieces never arrived:\n  {}",
                    missing.len(),
                    missing[..missing.len().min(8)].join("\n  ")
                )));
            }
        }
    }

    /// With nothing to do the agent is quiet.
    fn check_idle(&mut self) -> Result<(), Breach> {
        // What is still under way (saves, last answers) may end first.
        let until = self.world.clock.ms + 120_000;
        while self.world.clock.ms < until {
            self.turn(until)?;
        }
        let before = (self.steps, self.world.service.wire.calls);
        let until = self.world.clock.ms + IDLE_MS;
        while self.world.clock.ms < until {
            self.turn(until)?;
        }
        let wakes = self.steps - before.0;
        let per_second = match self.plan.hearing {
            Hearing::Absent => POLLING_WAKES_PER_SECOND_MAX,
            _ => IDLE_WAKES_PER_SECOND_MAX,
        };
        if wakes > per_second * IDLE_MS / 1_000 {
            return Err(Breach(format!("{wakes} wake-ups in an idle minute")));
        }
        if self.world.service.wire.calls != before.1 {
            return Err(Breach("calls without anything to send".to_owned()));
        }
        Ok(())
    }

    /// What could not be kept is said.
    fn check_counts(&mut self) -> Result<(), Breach> {
        let gauge = self.gauge();
        let app_dir = Path::new(APP_DIR);
        let away = (!self.world.files.exists(app_dir)).then_some(app_dir);
        let (lost, where_lost) = self.oracle.countable_loss(away);
        if gauge.lost < lost {
            return Err(Breach(format!(
                "bytes were lost and not counted: {lost}, of which {} are counted:{where_lost}",
                gauge.lost
            )));
        }
        let told = self.oracle.told_lost();
        if told < gauge.lost {
            return Err(Breach(format!(
                "losses without a marker: {} bytes are counted, markers tell of {told}",
                gauge.lost
            )));
        }
        if self.processes == 1 && gauge.refused < self.oracle.refused {
            return Err(Breach(format!(
                "{} events refused, {} counted",
                self.oracle.refused, gauge.refused
            )));
        }
        Ok(())
    }

    /// Every line was counted once.
    fn check_metrics(&mut self) -> Result<(), Breach> {
        if self.plan.counting == Counting::Exactly {
            let until = self.plan.span_ms + METRICS_DRAIN_MS;
            while self.world.clock.ms < until {
                self.turn(until)?;
            }
        }
        match (self.plan.counting, S::since_ms(&self.world.store)) {
            (Counting::Exactly, Some(since_ms)) => {
                let destroyed = self.oracle.destroyed(Path::new(APP_DIR));
                let forgotten = self.oracle.forgotten(Path::new(APP_DIR));
                self.counts.check(since_ms, destroyed, forgotten)
            }
            _ => Ok(()),
        }
    }

    /// Every incident was told once.
    fn check_incidents(&mut self) -> Result<(), Breach> {
        if !self.plan.is_telling() {
            return match self.world.events.wire.calls {
                0 => Ok(()),
                calls => Err(Breach(format!("events are off, and yet {calls} calls"))),
            };
        }
        let instance = identity().instance_id.unwrap_or_default();
        match S::since_ms(&self.world.store) {
            Some(since_ms) => self.incidents.check(&instance, since_ms),
            None => Ok(()),
        }
    }

    /// After an orderly stop nothing arrives twice, and nothing is left to send.
    fn check_restart(&mut self) -> Result<(), Breach> {
        self.stop()?;
        let before = self.oracle.arrived;
        let until = self.world.clock.ms + 60_000 + self.plan.blows.down_ms_max;
        while self.world.clock.ms < until {
            self.turn(until)?;
        }
        if self.oracle.arrived != before {
            return Err(Breach(format!(
                "{} events arrived again after an orderly stop",
                self.oracle.arrived - before
            )));
        }
        Ok(())
    }

    fn gauge(&self) -> Gauge {
        let now = self.world.clock.now();
        self.agent
            .as_ref()
            .map(|agent| agent.gauge(now))
            .unwrap_or_default()
    }

    fn say(&mut self, what: impl FnOnce(&Self) -> String) {
        const TAIL: usize = 40;
        let line = format!("{:>9} {}", self.world.clock.ms, what(self));
        if self.voice == Voice::Loud {
            println!("{line}");
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// The last things that happened.
    fn story(&self) -> String {
        let mut story = String::from("what happened last:\n");
        for line in &self.tail {
            writeln!(story, "{line}").expect("a string takes all");
        }
        story
    }

    fn summary(&self) -> Summary {
        Summary {
            lines: self.oracle.lines.count(),
            arrived: self.oracle.arrived,
            duplicates: self.oracle.duplicates,
            refused: self.oracle.refused,
            steps: self.steps,
            processes: self.processes,
            counted: self.counts.total(),
            incidents: self.incidents.count(),
            digest: self.world.service.digest ^ self.world.store.version.rotate_left(17),
        }
    }
}

fn edges(world: &mut World) -> Edges<'_> {
    Edges {
        files: &mut world.files,
        store: &mut world.store,
        watch: &mut world.watch,
        logs: &mut world.service,
        metrics: &mut world.metrics,
        alarms: &mut world.alarms,
        events: &mut world.events,
        processes: &mut world.processes,
    }
}

/// Who the simulated instance is.
fn identity() -> Identity {
    Identity {
        instance_id: Some("i-0123456789abcdef0".to_owned()),
        hostname: Some("ip-10-0-0-1".to_owned()),
        region: Some("eu-west-1".to_owned()),
        account_id: Some("111122223333".to_owned()),
        asg: Some(String::new()),
        complete: true,
        ..Identity::default()
    }
}
