//! The loop breaker: remembers this instance's boots and says when the alarms' actions must stop.
//!
//! A *life* is what lies between two boots, told apart by the kernel's boot id. A boot *counts*
//! when something speaks for one of our alarms having caused it: a breach of an armed alarm that
//! was under way when the last life ended, an action in the alarm's history, or, for an armed
//! alarm on somebody else's metric (a status check), an end without a goodbye. A clean reboot by
//! an operator does not count, unless such an alarm is armed and its history cannot be read: then
//! nobody can tell one from the other, and each counts.
//!
//! More boots that count than `max_restarts` within `window` suspend the actions. The suspension
//! survives restarts. It ends when this life is as long as the window and nothing breaches, or by
//! hand; one that was made by hand ends only by hand.
//!
//! Pure, and it trusts no wall clock: a life's length is measured on the monotonic clock, and the
//! time the machine was off, which only the wall clock tells, counts for at most [`OFF_MAX_MS`].
//! So a clock that jumps can make boots look nearer to each other, never further apart.

use std::collections::BTreeMap;

use super::boots::Life;
pub use super::boots::{Boots, By, Cause, Suspension};
use crate::event::{EpochMs, Now};

/// Lives remembered; more than any `max_restarts` allows.
const LIVES_MAX: usize = 128;

/// The most that the time between two lives counts for: about what a reboot takes. Were it more, a
/// clock that jumps ahead at every boot would hide a loop of longer lives.
pub const OFF_MAX_MS: u64 = 2 * 60_000;

/// How often the length of a life is worth writing down, while an alarm could restart us.
const LIVED_NOTE_MS: u64 = 5 * 60_000;

/// How long behind its last breaching datapoint an alarm may still act: the service evaluates
/// late, and a shutdown takes its time. Added to what the alarm looks back.
pub const REACH_SLACK_MS: u64 = 5 * 60_000;

/// When the breaker trips and resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Boots that count and are let pass within the window.
    pub max_restarts: u32,
    /// The window, in ms.
    pub window_ms: u64,
}

/// What the guard decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So many boots counted within the window: suspend.
    Suspend {
        /// How many.
        restarts: u32,
    },
    /// A quiet period has passed: resume.
    Resume,
}

/// The loop breaker.
#[derive(Clone, Debug)]
pub struct Guard {
    limits: Limits,
    boots: Boots,
    /// What the present life had lived when this process began, and when that was.
    base: (u64, u64),
    /// Since when each alarm of the present life's `breaches` is calm; absent: it still breaches.
    calm_since_ms: BTreeMap<String, u64>,
    /// `lived_ms` as it was saved last.
    saved_lived_ms: u64,
    changed: bool,
}

impl Guard {
    /// Takes up what was saved; a boot id that differs from the last one begins a life.
    #[must_use]
    pub fn new(saved: Option<Boots>, boot_id: &str, limits: Limits, now: Now) -> Self {
        let mut boots = saved.unwrap_or_default();
        let is_new = boots
            .lives
            .back()
            .is_none_or(|life| life.boot_id != boot_id);
        if is_new {
            let caused_by = boots.lives.back().and_then(Life::cause_of_its_end);
            boots.lives.push_back(Life {
                boot_id: boot_id.to_owned(),
                began_ms: now.wall_ms,
                last_ms: now.wall_ms,
                caused_by,
                ..Life::default()
            });
        }
        while boots.lives.len() > LIVES_MAX {
            boots.lives.pop_front();
        }
        let present = boots
            .lives
            .back_mut()
            .expect("one was pushed if none was there");
        present.said_goodbye = false;
        let lived_ms = present.lived_ms;
        // An earlier process saw these; whether they still breach, the next datapoint tells.
        let calm = present
            .breaches
            .iter()
            .map(|alarm| (alarm.clone(), now.mono_ms))
            .collect();
        Self {
            limits,
            boots,
            base: (lived_ms, now.mono_ms),
            calm_since_ms: calm,
            saved_lived_ms: lived_ms,
            changed: is_new,
        }
    }

    /// Takes other limits.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Moves time on and decides. Call at every step.
    pub fn step(&mut self, now: Now) -> Option<Verdict> {
        let lived_ms = self.base.0 + now.mono_ms.saturating_sub(self.base.1);
        let life = self.present();
        life.lived_ms = lived_ms;
        life.last_ms = now.wall_ms;
        match &self.boots.suspension {
            None => {
                let restarts = self.restarts();
                (restarts > self.limits.max_restarts).then(|| {
                    self.suspend(By::Breaker, restarts, now);
                    Verdict::Suspend { restarts }
                })
            }
            Some(suspension) if suspension.by == By::Breaker => {
                let quiet = lived_ms >= self.limits.window_ms && !self.is_breaching();
                quiet.then(|| {
                    self.resume();
                    Verdict::Resume
                })
            }
            Some(_) => None,
        }
    }

    /// A datapoint of a metric with an alarm that would restart us: whether it breaches, and how
    /// long after the last one that does the alarm may still act.
    pub fn note_datapoint(&mut self, alarm: &str, breaches: Breaches, reach_ms: u64, now: Now) {
        let known = self.present().breaches.iter().any(|name| name == alarm);
        match breaches {
            Breaches::Yes => {
                self.calm_since_ms.remove(alarm);
                if !known {
                    self.present().breaches.push(alarm.to_owned());
                    self.changed = true;
                }
            }
            Breaches::No if known => {
                let since = self.calm_since_ms.entry(alarm.to_owned());
                let since_ms = *since.or_insert(now.mono_ms);
                if now.mono_ms.saturating_sub(since_ms) > reach_ms {
                    self.calm_since_ms.remove(alarm);
                    self.present().breaches.retain(|name| name != alarm);
                    self.changed = true;
                }
            }
            Breaches::No => {}
        }
    }

    /// Forgets breaches of alarms that cannot restart us any more, and notes whether one on a
    /// metric that we do not see could.
    pub fn set_armed(&mut self, seen: &[&str], unseen: Unseen) {
        let life = self.present();
        let before = (life.breaches.len(), life.armed_unseen);
        life.breaches.retain(|name| seen.contains(&name.as_str()));
        life.armed_unseen = unseen == Unseen::Armed;
        let after = (life.breaches.len(), life.armed_unseen);
        self.changed |= before != after;
    }

    /// Notes whether the service has confirmed that no action is called: what ends a life then,
    /// it was no alarm.
    pub fn set_disarmed(&mut self, disarmed: Disarmed) {
        let disarmed = disarmed == Disarmed::Confirmed;
        let life = self.present();
        if life.disarmed != disarmed {
            life.disarmed = disarmed;
            self.changed = true;
        }
    }

    /// When the life before this one was first and last seen, by the wall clock.
    #[must_use]
    pub fn life_before(&self) -> Option<(EpochMs, EpochMs)> {
        let life = self.boots.lives.iter().rev().nth(1)?;
        Some((life.began_ms, life.last_ms))
    }

    /// Whether an alarm's metric breaches, or did so shortly ago.
    #[must_use]
    pub fn breaches(&self, alarm: &str) -> bool {
        let life = self.boots.lives.back();
        life.is_some_and(|life| life.breaches.iter().any(|name| name == alarm))
    }

    /// The alarm's history has an action that led to this life.
    pub fn note_action(&mut self, alarm: &str) {
        self.present().caused_by = Some(Cause::Action(alarm.to_owned()));
        self.changed = true;
    }

    /// Nobody will say whether an action led to this life: where an alarm on a metric that we do
    /// not see could have, it counts, goodbye or not.
    pub fn note_untold(&mut self) {
        let before = self.boots.lives.iter().rev().nth(1);
        let is_possible = before.is_some_and(|life| life.armed_unseen && !life.disarmed);
        let life = self.present();
        if is_possible && life.caused_by.is_none() {
            life.caused_by = Some(Cause::NoGoodbye);
            self.changed = true;
        }
    }

    /// We are told to stop: a boot that follows was somebody's will.
    pub fn say_goodbye(&mut self) {
        self.present().said_goodbye = true;
        self.changed = true;
    }

    /// Suspends, by hand or by the breaker.
    pub fn suspend(&mut self, by: By, restarts: u32, now: Now) {
        self.boots.suspension = Some(Suspension {
            by,
            since_ms: now.wall_ms,
            restarts,
        });
        self.changed = true;
    }

    /// Resumes. Where so many boots count that actions would be suspended at once, those count no
    /// more; fewer go on counting.
    pub fn resume(&mut self) {
        self.boots.suspension = None;
        if self.restarts() > self.limits.max_restarts {
            for life in &mut self.boots.lives {
                life.caused_by = None;
            }
        }
        self.changed = true;
    }

    /// Why actions are suspended, if they are.
    #[must_use]
    pub fn suspension(&self) -> Option<&Suspension> {
        self.boots.suspension.as_ref()
    }

    /// What speaks for an alarm having caused the present boot.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.boots
            .lives
            .back()
            .and_then(|life| life.caused_by.as_ref())
    }

    /// How many boots within the window count.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        let mut age_ms = 0;
        let mut count = 0;
        let mut later: Option<&Life> = None;
        for life in self.boots.lives.iter().rev() {
            let off_ms = later.map_or(0, |later| later.began_ms.saturating_sub(life.last_ms));
            age_ms += life.lived_ms + u64::try_from(off_ms).unwrap_or(0).min(OFF_MAX_MS);
            if age_ms > self.limits.window_ms {
                break;
            }
            count += u32::from(life.caused_by.is_some());
            later = Some(life);
        }
        count
    }

    /// What is to be kept on disk.
    #[must_use]
    pub fn boots(&self) -> &Boots {
        &self.boots
    }

    /// Whether that differs from what was saved last by more than is worth a write.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        let life = self.boots.lives.back();
        let unsaved_ms = life.map_or(0, |life| life.lived_ms - self.saved_lived_ms);
        let armed = life.is_some_and(|life| life.armed_unseen || !life.breaches.is_empty());
        let worth = self.boots.suspension.is_some() || armed || self.restarts() > 0;
        self.changed || (worth && unsaved_ms >= LIVED_NOTE_MS)
    }

    /// It has been saved.
    pub fn note_saved(&mut self) {
        self.changed = false;
        self.saved_lived_ms = self.boots.lives.back().map_or(0, |life| life.lived_ms);
    }

    fn is_breaching(&self) -> bool {
        self.boots
            .lives
            .back()
            .is_some_and(|life| !life.breaches.is_empty())
    }

    fn present(&mut self) -> &mut Life {
        self.boots
            .lives
            .back_mut()
            .expect("the present life is pushed at the start")
    }
}

/// Whether a datapoint breaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaches {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Whether an alarm on a metric that we do not see could restart us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// One could.
    Armed,
    /// None could.
    None,
}

/// Whether the service has confirmed that no action is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disarmed {
    /// It has.
    Confirmed,
    /// Actions may be called.
    No,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000;
    const LIMITS: Limits = Limits {
        max_restarts: 3,
        window_ms: 60 * MINUTE,
    };
    const ALARM: &str = "deploywatch/i-0/reboot";

    /// A machine that boots: its clocks and what is on its disk.
    struct Machine {
        saved: Option<Boots>,
        boots: u32,
        mono_ms: u64,
        wall_ms: EpochMs,
    }

    impl Machine {
        fn new() -> Self {
            Self {
                saved: None,
                boots: 0,
                mono_ms: 0,
                wall_ms: 1_800_000_000_000,
            }
        }

        fn now(&self) -> Now {
            Now {
                mono_ms: self.mono_ms,
                wall_ms: self.wall_ms,
            }
        }

        fn boot(&mut self) -> Guard {
            self.boots += 1;
            self.mono_ms = 20_000;
            self.wall_ms += 30_000;
            self.start()
        }

        fn start(&mut self) -> Guard {
            let id = format!("boot-{}", self.boots);
            Guard::new(self.saved.clone(), &id, LIMITS, self.now())
        }

        fn pass(&mut self, guard: &mut Guard, ms: u64) -> Option<Verdict> {
            self.mono_ms += ms;
            self.wall_ms += i64::try_from(ms).unwrap();
            let verdict = guard.step(self.now());
            if guard.is_dirty() {
                self.saved = Some(guard.boots().clone());
                guard.note_saved();
            }
            verdict
        }
    }

    /// A life that breaches and ends by the alarm's reboot, `minutes` after its boot.
    fn looping_life(machine: &mut Machine, minutes: u64) -> Option<Verdict> {
        let mut guard = machine.boot();
        let first = machine.pass(&mut guard, MINUTE);
        guard.note_datapoint(ALARM, Breaches::Yes, 5 * MINUTE, machine.now());
        let second = machine.pass(&mut guard, (minutes - 1) * MINUTE);
        machine.saved = Some(guard.boots().clone());
        first.or(second)
    }

    /// More restarts after a breach than allowed within the window suspend, at the first step of
    /// the boot that is one too many: shown by a reboot loop of four minutes.
    #[test]
    fn a_loop_trips_the_breaker() {
        let mut machine = Machine::new();
        for life in 0..4 {
            assert_eq!(looping_life(&mut machine, 4), None, "life {life}");
        }
        let verdict = looping_life(&mut machine, 4);
        assert_eq!(verdict, Some(Verdict::Suspend { restarts: 4 }));
        let guard = machine.boot();
        assert_eq!(guard.suspension().unwrap().by, By::Breaker);
    }

    /// A suspension by hand hides no loop, and a resume takes effect: shown by three lives of a loop,
    /// one suspended and resumed, and one more that trips; resumed again, one passes.
    #[test]
    fn a_resume_forgets_only_what_would_trip_at_once() {
        let mut machine = Machine::new();
        for _ in 0..4 {
            assert_eq!(looping_life(&mut machine, 4), None);
        }
        let mut guard = machine.start();
        guard.suspend(By::Hand, 0, machine.now());
        guard.resume();
        assert_eq!(guard.restarts(), 3);
        machine.saved = Some(guard.boots().clone());
        let verdict = looping_life(&mut machine, 4);
        assert_eq!(verdict, Some(Verdict::Suspend { restarts: 4 }));
        let mut guard = machine.start();
        guard.resume();
        assert_eq!(guard.restarts(), 0);
        assert_eq!(machine.pass(&mut guard, MINUTE), None);
    }

    /// Restarts that are further apart than the window never trip it: shown by a day of them.
    #[test]
    fn slow_restarts_pass() {
        let mut machine = Machine::new();
        for _ in 0..40 {
            assert_eq!(looping_life(&mut machine, 35), None);
        }
    }

    /// Reboots by an operator count for nothing, however many: shown with a goodbye, and with
    /// none where nothing is armed that we do not see; but a status-check alarm makes an end
    /// without a goodbye count.
    #[test]
    fn an_operators_reboots_do_not_count() {
        for (goodbye, unseen, trips) in [
            (true, Unseen::Armed, false),
            (true, Unseen::None, false),
            (false, Unseen::None, false),
            (false, Unseen::Armed, true),
        ] {
            let mut machine = Machine::new();
            let mut tripped = false;
            for _ in 0..8 {
                let mut guard = machine.boot();
                guard.set_armed(&[ALARM], unseen);
                tripped |= machine.pass(&mut guard, 2 * MINUTE).is_some();
                if goodbye {
                    guard.say_goodbye();
                }
                machine.pass(&mut guard, 1000);
            }
            assert_eq!(tripped, trips, "{goodbye} {unseen:?}");
        }
    }

    /// A breach that is over for longer than the alarm can still act does not count against a
    /// later reboot; one that is just over does: shown by two lives that differ in that.
    #[test]
    fn an_old_breach_is_forgotten() {
        for (calm_minutes, counts) in [(3, true), (7, false)] {
            let mut machine = Machine::new();
            let mut guard = machine.boot();
            guard.note_datapoint(ALARM, Breaches::Yes, 5 * MINUTE, machine.now());
            for _ in 0..calm_minutes {
                machine.pass(&mut guard, MINUTE);
                guard.note_datapoint(ALARM, Breaches::No, 5 * MINUTE, machine.now());
            }
            machine.pass(&mut guard, 1000);
            let guard = machine.boot();
            assert_eq!(guard.cause().is_some(), counts, "{calm_minutes}");
        }
    }

    /// A suspension ends after a window without a boot, not while the metric breaches, and never
    /// by itself if a person made it; restarts of the agent alone change nothing: shown by
    /// stepping through two hours.
    #[test]
    fn a_quiet_period_resumes() {
        for (by, breaching, resumes) in [
            (By::Breaker, false, true),
            (By::Breaker, true, false),
            (By::Hand, false, false),
        ] {
            let mut machine = Machine::new();
            let mut guard = machine.boot();
            guard.suspend(by, 4, machine.now());
            let mut resumed_at = None;
            for minute in 1..120 {
                if minute % 25 == 0 {
                    machine.saved = Some(guard.boots().clone());
                    guard = machine.start();
                }
                if breaching {
                    guard.note_datapoint(ALARM, Breaches::Yes, 5 * MINUTE, machine.now());
                }
                if machine.pass(&mut guard, MINUTE) == Some(Verdict::Resume) {
                    resumed_at.get_or_insert(minute);
                }
            }
            assert_eq!(resumed_at, resumes.then_some(60), "{by:?} {breaching}");
            assert_eq!(guard.suspension().is_none(), resumes);
            assert_eq!(guard.restarts(), 0);
        }
    }

    /// A reboot while actions are suspended counts for nothing: shown by a breaching life that
    /// ends so.
    #[test]
    fn nothing_counts_while_suspended() {
        let mut machine = Machine::new();
        let mut guard = machine.boot();
        guard.suspend(By::Breaker, 4, machine.now());
        guard.set_disarmed(Disarmed::Confirmed);
        guard.note_datapoint(ALARM, Breaches::Yes, MINUTE, machine.now());
        machine.pass(&mut guard, MINUTE);
        assert!(guard.breaches(ALARM));
        let guard = machine.boot();
        assert_eq!((guard.cause(), guard.restarts()), (None, 0));
        assert!(guard.suspension().is_some() && guard.life_before().is_some());
    }

    /// Where the history cannot be read, a clean reboot counts if an alarm on a metric that we do
    /// not see was armed, and only then: shown by boots with a goodbye each.
    #[test]
    fn what_nobody_tells_counts() {
        for (unseen, disarmed, trips) in [
            (Unseen::Armed, Disarmed::No, true),
            (Unseen::Armed, Disarmed::Confirmed, false),
            (Unseen::None, Disarmed::No, false),
        ] {
            let mut machine = Machine::new();
            let mut tripped_in = None;
            for life in 0..6 {
                let mut guard = machine.boot();
                guard.note_untold();
                guard.set_armed(&[ALARM], unseen);
                guard.set_disarmed(disarmed);
                if machine.pass(&mut guard, 2 * MINUTE).is_some() {
                    tripped_in.get_or_insert(life);
                }
                guard.say_goodbye();
                machine.pass(&mut guard, 1000);
            }
            assert_eq!(tripped_in, trips.then_some(4), "{unseen:?} {disarmed:?}");
        }
    }

    /// What speaks in the history for an alarm's action counts even where nothing breached here:
    /// shown by four boots whose history has one.
    #[test]
    fn an_action_in_the_history_counts() {
        let mut machine = Machine::new();
        let mut verdicts = Vec::new();
        for _ in 0..4 {
            let mut guard = machine.boot();
            guard.note_action(ALARM);
            verdicts.push(machine.pass(&mut guard, MINUTE));
        }
        assert_eq!(verdicts[..3], [None, None, None]);
        assert_eq!(verdicts[3], Some(Verdict::Suspend { restarts: 4 }));
    }

    proptest! {
        /// However the wall clock jumps, a loop with short lives trips in its fourth counted
        /// boot: random jumps of up to years at every boot and within lives.
        #[test]
        fn no_clock_jump_hides_a_loop(jumps in proptest::collection::vec(
            -100_000_000_000_i64..100_000_000_000, 12), short in 2..4_u64)
        {
            let mut machine = Machine::new();
            let mut tripped_in = None;
            for (life, pair) in jumps.chunks(2).enumerate() {
                machine.wall_ms += pair[0];
                let mut guard = machine.boot();
                let mut verdict = machine.pass(&mut guard, MINUTE);
                machine.wall_ms += pair[1];
                guard.note_datapoint(ALARM, Breaches::Yes, 5 * MINUTE, machine.now());
                verdict = verdict.or(machine.pass(&mut guard, short * MINUTE));
                machine.saved = Some(guard.boots().clone());
                if verdict.is_some() {
                    tripped_in.get_or_insert(life);
                }
            }
            // The first life has no restart before it, so the fourth restart begins life 4.
            prop_assert_eq!(tripped_in, Some(4));
        }

        /// What is kept is bounded and any of it is read back: hundreds of boots.
        #[test]
        fn memory_is_bounded(lives in 1..300_usize) {
            let mut machine = Machine::new();
            for _ in 0..lives {
                let mut guard = machine.boot();
                guard.suspend(By::Hand, 0, machine.now());
                machine.pass(&mut guard, 1000);
            }
            let boots = machine.saved.unwrap();
            prop_assert!(boots.lives.len() <= LIVES_MAX);
            let json = serde_json::to_string(&boots).unwrap();
            prop_assert_eq!(serde_json::from_str::<Boots>(&json).unwrap(), boots);
        }
    }
}
