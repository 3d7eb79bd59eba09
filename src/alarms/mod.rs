//! The alarms the configuration declares: kept as they are wanted, and kept from acting in a
//! loop.
//!
//! `spec.rs` and `aim.rs` say what shall be there, `plan.rs` in what the service differs, `apply.rs`
//! which call is next, `pace.rs` when, `answers.rs` what comes of it; `breach.rs` follows our own datapoints and `guard.rs` counts the
//! restarts they lead to (in `boots.rs`); `switch.rs` has the service switch actions off and on; `state.rs` keeps
//! it all. [`Alarms`] is the one stage the agent steps. It makes one call at a time, and none at
//! all while what was applied last is what is wanted, but for a look once a day.
//!
//! Only alarms that act on the instance are suspended: those that tell people go on telling.

mod aim;
mod answers;
pub mod apply;
mod boots;
mod breach;
pub mod guard;
mod history;
pub mod news;
pub mod pace;
pub mod plan;
pub mod spec;
pub mod state;
mod switch;

use fastrand::Rng;

use crate::config::Identity;
use crate::config::alarm::AlarmsConfig;
use crate::event::Now;
use crate::ports::alarm::{ActionTaken, AlarmAnswer, AlarmReply, AlarmService, is_denied};
use crate::ports::{CallId, Datum, ErrorClass, ServiceError};
use crate::status::{AlarmStatus, AlarmsStatus};

use apply::{Applying, Task, Until};
use breach::Watched;
use guard::{By, Disarmed, Guard, Limits, Unseen, Verdict};
use history::History;
pub use news::News;
use pace::{Hurry, Pace};
use plan::{ByHand, Change};
use spec::Wanted;
use state::{Applied, Order, Saved};
use switch::Switch;

/// How often a managed agent looks whether its alarms are still as it made them.
const REFRESH_MS: u64 = 24 * 3_600_000;

/// Failures in a row before they are told; a fleet that starts is throttled, that is no news.
const LOUD_AFTER: u32 = 3;
/// The same, while the service only throttles.
const LOUD_AFTER_THROTTLES: u32 = 15;

/// What people are told while the memory of boots cannot be written.
const UNSAVED: &str = "boots cannot be written down, so a loop would not be seen: breaches of the \
                       agent's own metrics are not published";

/// The stage.
#[derive(Debug)]
pub struct Alarms {
    config: AlarmsConfig,
    identity: Identity,
    /// What shall be there, once that can be said.
    wanted: Option<Wanted>,
    guard: Guard,
    switch: Switch,
    watched: Vec<Watched>,
    applied: Option<Applied>,
    applying: Option<Applying>,
    /// When to look at the service next, in monotonic ms; `None`: never, by our own will.
    apply_due_ms: Option<u64>,
    apply_pace: Pace,
    apply_failures: u32,
    history: History,
    flight: Option<(CallId, Errand)>,
    next_id: u64,
    random: Rng,
    news: Vec<News>,
    /// What a person should know, one sentence for each thing.
    problem: Option<String>,
    changed: bool,
    /// What changed could not be written: a restart now would not be counted.
    unsaved: bool,
    /// An order that is obeyed, and stays in its file until that is on disk.
    obeyed: Option<Order>,
}

/// What the call under way is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Errand {
    /// Off or on.
    Switch(switch::Turn),
    Apply,
    History,
}

impl Alarms {
    /// Takes up what was saved. `boot_id` is the kernel's, another one after every boot.
    #[must_use]
    pub fn new(
        config: &AlarmsConfig,
        saved: Option<Saved>,
        boot_id: &str,
        seed: u64,
        now: Now,
    ) -> Self {
        let saved = saved.unwrap_or_default();
        let guard = Guard::new(Some(saved.boots), boot_id, limits(config), now);
        let switch = Switch::restore(guard.suspension(), saved.off_confirmed, saved.on_wanted);
        let history = History::restore(boot_id, &saved.history_asked_for, saved.preceded_by);
        let mut alarms = Self {
            config: config.clone(),
            identity: Identity::default(),
            wanted: None,
            guard,
            switch,
            watched: Watched::all(&config.alarms),
            applied: saved.applied,
            applying: None,
            apply_due_ms: None,
            apply_pace: Pace::new(Hurry::Calm),
            apply_failures: 0,
            history,
            flight: None,
            next_id: 0,
            random: Rng::with_seed(seed),
            news: Vec::new(),
            problem: None,
            changed: true,
            unsaved: false,
            obeyed: None,
        };
        alarms.arm();
        // Before anything is published: a value that goes out now could be one too many.
        alarms.judge(now);
        alarms
    }

    /// Takes another configuration between two steps.
    pub fn reload(&mut self, config: &AlarmsConfig, now: Now) {
        if self.config == *config {
            return;
        }
        self.config = config.clone();
        self.guard.set_limits(limits(config));
        self.watched = Watched::all(&config.alarms);
        self.want(now);
    }

    /// Takes what was learnt about the instance.
    pub fn learn(&mut self, identity: &Identity, now: Now) {
        if self.identity != *identity {
            self.identity = identity.clone();
            self.disown();
            self.want(now);
        }
    }

    /// Obeys a person, once.
    pub fn obey(&mut self, order: Order, now: Now) {
        if self.obeyed.replace(order) == Some(order) {
            return;
        }
        match order {
            Order::Suspend => self.suspend(By::Hand, self.guard.restarts(), now),
            Order::Resume => {
                self.guard.resume();
                self.resume(By::Hand, now);
            }
        }
    }

    /// The order is in its file no more: the next one is another.
    pub fn forget_order(&mut self) {
        self.obeyed = None;
    }

    /// A datum of one of our own metrics that is published now, under the instance's dimension.
    pub fn note_datum(&mut self, datum: &Datum, now: Now) {
        for watched in self.watched.iter_mut().filter(|w| w.sees(datum)) {
            let breaches = watched.note(datum);
            let (name, reach_ms) = (&watched.alarm.name, watched.reach_ms());
            self.guard.note_datapoint(name, breaches, reach_ms, now);
        }
    }

    /// Whether a datum must not be published: an alarm could act on it, and either actions are to
    /// be suspended and the service has not confirmed that, or nobody would remember the restart.
    #[must_use]
    pub fn holds_back(&self, datum: &Datum) -> bool {
        let is_looping = self.guard.suspension().is_some() && !self.switch.is_off();
        let mut watched = self.watched.iter().filter(|w| w.sees(datum));
        (is_looping || self.unsaved) && watched.any(|watched| watched.would_breach(datum))
    }

    /// We are told to stop: what ends this boot from here on was somebody's will.
    pub fn say_goodbye(&mut self) {
        self.guard.say_goodbye();
    }

    /// One turn: takes answers, lets the guard decide, makes the next call if one is due.
    pub fn step(&mut self, now: Now, service: &mut dyn AlarmService) {
        while let Some(answer) = service.answer() {
            self.take(answer, now);
        }
        self.judge(now);
        if self.flight.is_none()
            && let Some((errand, call)) = self.next_call(now)
        {
            let id = CallId(self.next_id);
            self.next_id += 1;
            self.flight = Some((id, errand));
            service.submit(id, call);
        }
    }

    /// When the next step is due, in monotonic ms; `None`: only an answer or the agent's own beat
    /// brings anything new.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        if self.flight.is_some() {
            return None;
        }
        let apply = self.apply_due_ms.filter(|_| self.wanted.is_some());
        let apply = apply.map(|due| due.max(self.apply_pace.due_ms()));
        // Without a name there is nobody to ask about, however long it has been due.
        let named = |due: Option<u64>| due.filter(|_| self.knows_acting());
        [
            named(self.switch.due_ms()),
            apply,
            named(self.history.due_ms()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What happened since the last call.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// What is to be kept, by [`state::save`].
    #[must_use]
    pub fn saved(&self) -> Saved {
        Saved {
            boots: self.guard.boots().clone(),
            off_confirmed: self.switch.is_off(),
            on_wanted: self.switch.is_turning_on(),
            applied: self.applied.clone(),
            history_asked_for: self.history.asked_for().to_owned(),
            preceded_by: self.history.preceded_by().cloned(),
        }
    }

    /// Whether that is worth a write now.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.changed || self.guard.is_dirty()
    }

    /// It has been written.
    pub fn note_saved(&mut self) {
        self.changed = false;
        self.unsaved = false;
        self.guard.note_saved();
    }

    /// It could not be written; true the first time, until it can again.
    pub fn note_unsaved(&mut self) -> bool {
        !std::mem::replace(&mut self.unsaved, true)
    }

    /// The gauge ActionsSuspended: 1 while actions are to be suspended.
    #[must_use]
    pub fn actions_suspended(&self) -> f64 {
        f64::from(u8::from(self.guard.suspension().is_some()))
    }

    /// The action that led to this boot, if the history tells.
    #[must_use]
    pub fn preceded_by(&self) -> Option<&ActionTaken> {
        self.history.preceded_by()
    }

    /// What a person should know, if there is anything.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        let holds_back = self.unsaved && !self.watched.is_empty();
        holds_back.then_some(UNSAVED).or(self.problem.as_deref())
    }

    /// What people are shown.
    #[must_use]
    pub fn status(&self) -> AlarmsStatus {
        let suspension = self.guard.suspension();
        AlarmsStatus {
            managed: self.config.manage,
            suspended_by: suspension.map(|suspension| match suspension.by {
                By::Breaker => "loop breaker".to_owned(),
                By::Hand => "hand".to_owned(),
            }),
            suspended_since_ms: suspension.map(|suspension| suspension.since_ms),
            suspension_confirmed: suspension.is_some() && self.switch.is_off(),
            restarts: self.guard.restarts(),
            applied_ms: self
                .applied
                .as_ref()
                .map(|applied| applied.at_ms)
                .filter(|at_ms| *at_ms > 0),
            preceded_by: self
                .history
                .preceded_by()
                .map(|action| format!("{}: {}", action.alarm, action.summary)),
            problem: self.problem().map(str::to_owned),
            alarms: self
                .config
                .alarms
                .iter()
                .map(|alarm| AlarmStatus {
                    name: alarm.name.to_string(),
                    metric: format!("{} {}", alarm.namespace, alarm.metric),
                    action: alarm.ec2_action().map(|action| action.word().to_owned()),
                    breaching: self.guard.breaches(&alarm.name),
                })
                .collect(),
        }
    }
}

/// What happens inside.
impl Alarms {
    /// Lets the guard decide.
    fn judge(&mut self, now: Now) {
        match self.guard.step(now) {
            Some(Verdict::Suspend { restarts }) => self.suspend(By::Breaker, restarts, now),
            Some(Verdict::Resume) => self.resume(By::Breaker, now),
            None => {}
        }
    }

    fn suspend(&mut self, by: By, restarts: u32, now: Now) {
        self.guard.suspend(by, restarts, now);
        self.switch.turn_off(now);
        self.switched(now, News::Suspended { by, restarts });
    }

    fn resume(&mut self, by: By, now: Now) {
        self.switch.turn_on(now);
        self.switched(now, News::Resumed { by });
    }

    fn switched(&mut self, now: Now, news: News) {
        self.news.push(news);
        self.changed = true;
        self.arm();
        // What is being applied was planned for the other state.
        if self.applying.take().is_some() {
            self.plan_look(now);
        }
    }

    fn next_call(&mut self, now: Now) -> Option<(Errand, crate::ports::alarm::AlarmCall)> {
        if self.switch.is_due(now)
            && let Some(names) = self.acting()
        {
            match self.switch.call(names) {
                Some(call) => return Some((Errand::Switch(self.switch.turn_wanted()), call)),
                // There is nothing that could act.
                None => self.confirmed(),
            }
        }
        if let Some(call) = self.next_apply_call(now) {
            return Some((Errand::Apply, call));
        }
        let acting = self.acting()?;
        let was_due = self.history.due_ms().is_some();
        let call = self
            .history
            .next_call(&acting, self.guard.life_before(), now);
        // That nothing is left to ask must be known after a restart.
        self.changed |= was_due && self.history.due_ms().is_none();
        Some((Errand::History, call?))
    }
}

fn limits(config: &AlarmsConfig) -> Limits {
    Limits {
        max_restarts: config.max_restarts,
        window_ms: u64::try_from(config.window.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests;
