//! From incidents to EventBridge: each true incident once, with its reason, and never old news.
//!
//! The agent [reports](Events::report) what codedeploy, alarms and ship found out. An incident
//! waits here until the service has taken it; [`Events::step`] sends up to ten at a time, one
//! request in the air, and tries again what the service could not take, entry by entry.
//!
//! # Invariants
//!
//! - **One id per incident**, however often it is reported or sent: it is made of the instance and
//!   of what happened ([`Incident::key`]), never of the sending. Consumers drop repeats by it; they
//!   come only after an answer that never came or a crash.
//! - **What is sent is saved before.** An incident leaves only after [`Events::confirm_saved`]:
//!   otherwise a crash could make the agent find the same trouble anew, at another time and so
//!   under another id.
//! - **Old news is never sent**: nothing that is [`Age::Old`], nothing found before this boot,
//!   nothing that waited longer than [`WAIT_MS_MAX`]. An event may start something at its
//!   receiver, and a reboot may have been just that.
//! - **Well again, not well**: that the CodeDeploy agent does its work is told only after it was told
//!   that it does not; else each new instance would tell it.
//! - **Bounded**: [`WAITING_MAX`] incidents and [`WAITING_BYTES_MAX`]; beyond that the oldest goes.
//! - Whatever is not sent is counted by its reason ([`EventCounts`]).

mod backoff;
pub mod console;
mod detail;
mod incident;
mod sending;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::config::Identity;
use crate::config::events::EventsConfig;
use crate::event::Now;
use crate::ports::{CallId, ErrorClass, EventService, ServiceError};
use crate::status::{EventCounts, EventsStatus};
use backoff::Backoff;
pub use detail::{DETAIL_VERSION, SOURCE};
pub use incident::{
    Age, EventKind, Incident, Lost, OUTPUT_BYTES_MAX, OUTPUT_LINES_MAX, TEXT_BYTES_MAX,
};

/// Most entries of one PutEvents (EventBridge API reference, PutEvents).
pub const ENTRIES_MAX: usize = 10;

/// Most bytes of one PutEvents, as [`counted_bytes`](crate::ports::EventEntry::counted_bytes) counts
/// them: 256 KiB less one.
/// The limit has been raised to 1 MB since, but not everywhere; ten entries of ours hardly reach
/// either.
pub const REQUEST_BYTES_MAX: usize = 256 * 1024 - 1;

/// Most incidents that wait.
pub const WAITING_MAX: usize = 256;

/// Most memory they take, in bytes.
pub const WAITING_BYTES_MAX: usize = 512 * 1024;

/// After this time, in ms, an incident is no news any more. EventBridge itself tries for as long
/// to deliver.
pub const WAIT_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// How many incidents that were sent are remembered, so that a second report of one is dropped.
const REMEMBERED_MAX: usize = 512;

/// How long, in ms, an incident waits for what is not known yet of this instance.
const IDENTITY_WAIT_MS: u64 = 30_000;

/// What is kept over a restart, as part of the agent's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The boot it belongs to.
    boot_id: String,
    waiting: Vec<SavedIncident>,
    /// Keys of what was sent, the oldest first.
    sent: VecDeque<String>,
    counts: EventCounts,
    /// Absent in states of older versions.
    #[serde(default)]
    codedeploy_agent: Patient,
}

/// What was told of the CodeDeploy agent last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Patient {
    /// That it is well, or nothing.
    #[default]
    Well,
    /// That it is not.
    Sick,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedIncident {
    /// On the clock that goes on from boot to shutdown.
    reported_mono_ms: u64,
    incident: Incident,
}

/// Incidents on their way to EventBridge.
#[derive(Debug)]
pub struct Events {
    config: EventsConfig,
    boot_id: String,
    identity: Identity,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    sent: VecDeque<String>,
    counts: EventCounts,
    codedeploy_agent: Patient,
    in_flight: Option<CallId>,
    next_call: u64,
    next_number: u64,
    /// Numbers below this are saved, as soon as the last [`Saved`] is.
    offered: u64,
    /// How many more entries go one by one: one of a request was bad, and nobody said which.
    singly: usize,
    backoff: Backoff,
    random: Rng,
    dirty: Dirty,
    last_error: Option<ServiceError>,
}

/// Whether there is something that [`Events::saved`] has not given out yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dirty {
    Yes,
    No,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    key: String,
    incident: Incident,
    reported_mono_ms: u64,
    place: Place,
    backoff: Backoff,
}

/// How far an incident is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not saved yet.
    Unsaved,
    /// May be sent.
    Ready,
    /// In the request that is under way.
    InFlight,
}

impl Events {
    /// What was saved in this boot goes on; what is left of an earlier boot is no news any more.
    /// `boot_id` is the kernel's; `seed` decides the waits between tries.
    #[must_use]
    pub fn new(config: EventsConfig, saved: Option<Saved>, boot_id: &str, seed: u64) -> Self {
        let mut events = Self {
            config,
            boot_id: boot_id.to_owned(),
            identity: Identity::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            sent: VecDeque::new(),
            counts: EventCounts::default(),
            codedeploy_agent: Patient::default(),
            in_flight: None,
            next_call: 0,
            next_number: 0,
            offered: 0,
            singly: 0,
            backoff: Backoff::default(),
            random: Rng::with_seed(seed),
            dirty: Dirty::No,
            last_error: None,
        };
        if let Some(saved) = saved {
            events.restore(saved);
        }
        events
    }

    fn restore(&mut self, saved: Saved) {
        self.counts = saved.counts;
        self.sent = saved.sent;
        self.codedeploy_agent = saved.codedeploy_agent;
        if saved.boot_id != self.boot_id {
            self.counts.before_boot += saved.waiting.len() as u64;
            self.dirty = Dirty::Yes;
            return;
        }
        for saved in saved.waiting {
            self.push(saved.incident, saved.reported_mono_ms, Place::Ready);
        }
    }

    /// Goes on with another configuration. What waits and is not wanted any more is let go.
    pub fn reload(&mut self, config: EventsConfig) {
        self.config = config;
    }

    /// What is known of this instance, as it becomes known.
    pub fn learn(&mut self, identity: &Identity) {
        self.identity = identity.clone();
    }

    /// Takes an incident in. Old news, repeats and kinds nobody wants go no further.
    pub fn report(&mut self, incident: Incident, age: Age, now: Now) {
        if !self.is_a_turn(incident.kind) || !self.config.sends(incident.kind) {
            return;
        }
        let incident = incident.bounded();
        let key = incident.key();
        let known = self.sent.contains(&key) || self.waiting.iter().any(|w| w.key == key);
        let counted = match age {
            Age::Old => &mut self.counts.old,
            Age::News if known => &mut self.counts.repeated,
            Age::News => {
                self.push(incident, now.mono_ms, Place::Unsaved);
                self.make_room();
                return;
            }
        };
        *counted += 1;
        self.dirty = Dirty::Yes;
    }

    /// Whether an incident of this kind changes anything: only who was sick gets well.
    fn is_a_turn(&mut self, kind: EventKind) -> bool {
        let patient = &mut self.codedeploy_agent;
        match kind {
            EventKind::CodeDeployAgentUnhealthy => *patient = Patient::Sick,
            EventKind::CodeDeployAgentHealthy => {
                return std::mem::replace(patient, Patient::Well) == Patient::Sick;
            }
            _ => {}
        }
        true
    }

    fn push(&mut self, incident: Incident, reported_mono_ms: u64, place: Place) {
        self.waiting_bytes += incident.bytes();
        self.waiting.push_back(Waiting {
            number: self.next_number,
            key: incident.key(),
            incident,
            reported_mono_ms,
            place,
            backoff: Backoff::default(),
        });
        self.next_number += 1;
        self.dirty = Dirty::Yes;
    }

    fn make_room(&mut self) {
        while self.waiting.len() > WAITING_MAX || self.waiting_bytes > WAITING_BYTES_MAX {
            let oldest = self
                .waiting
                .iter()
                .position(|waiting| waiting.place != Place::InFlight);
            let Some(dropped) = oldest.and_then(|at| self.waiting.remove(at)) else {
                return;
            };
            self.waiting_bytes -= dropped.incident.bytes();
            self.counts.no_room += 1;
        }
    }

    /// Whether [`Events::saved`] has something new.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty == Dirty::Yes
    }

    /// What must be stored, together with whatever made the agent report it.
    pub fn saved(&mut self) -> Saved {
        self.offered = self.next_number;
        self.dirty = Dirty::No;
        let waiting = self.waiting.iter().map(|waiting| SavedIncident {
            reported_mono_ms: waiting.reported_mono_ms,
            incident: waiting.incident.clone(),
        });
        Saved {
            boot_id: self.boot_id.clone(),
            waiting: waiting.collect(),
            sent: self.sent.clone(),
            counts: self.counts,
            codedeploy_agent: self.codedeploy_agent,
        }
    }

    /// The last [`Saved`] is on disk: what is in it may leave. Where nothing can be saved (a full
    /// disk), the caller may call this all the same after a while: an event whose id may change in
    /// a crash is better than none.
    pub fn confirm_saved(&mut self) {
        for waiting in &mut self.waiting {
            if waiting.place == Place::Unsaved && waiting.number < self.offered {
                waiting.place = Place::Ready;
            }
        }
    }

    /// Takes the answer that is there. A call of its own is for the end: what was taken is not to
    /// be sent again by the next process.
    pub fn take_answers(&mut self, now: Now, service: &mut dyn EventService) {
        while let Some(answer) = service.answer() {
            if self.in_flight == Some(answer.id) {
                self.in_flight = None;
                self.settle(answer.result, now);
            }
        }
    }

    /// Takes the answer that is there, gives up what is too old, sends what is due.
    pub fn step(&mut self, now: Now, service: &mut dyn EventService) {
        self.take_answers(now, service);
        self.give_up(now);
        if self.in_flight.is_none() && self.backoff.is_due(now.mono_ms) {
            self.send(now, service);
        }
    }

    /// When [`Events::step`] has something to do even if no answer comes, in ms of the monotonic
    /// clock. `None`: nothing is waiting for time alone.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        let ready = self.waiting.iter().filter(|w| w.place == Place::Ready);
        let due = ready.map(|waiting| self.due_ms(waiting).max(self.backoff.due_ms()));
        due.min().filter(|_| self.in_flight.is_none())
    }

    fn due_ms(&self, waiting: &Waiting) -> u64 {
        let known = match (&self.identity.instance_id, self.identity.complete) {
            (_, true) => 0,
            (Some(_), false) => waiting.reported_mono_ms + IDENTITY_WAIT_MS,
            (None, false) => waiting.reported_mono_ms + WAIT_MS_MAX,
        };
        known.max(waiting.backoff.due_ms())
    }

    /// Lets go of what is no news any more, and of what nobody wants.
    fn give_up(&mut self, now: Now) {
        let mut expired = 0;
        let before = self.waiting.len();
        self.waiting.retain(|waiting| {
            let until_ms = waiting.reported_mono_ms.saturating_add(WAIT_MS_MAX);
            if waiting.place == Place::InFlight {
                return true;
            }
            expired += u64::from(until_ms <= now.mono_ms);
            now.mono_ms < until_ms && self.config.sends(waiting.incident.kind)
        });
        if self.waiting.len() < before {
            let each = self.waiting.iter().map(|waiting| waiting.incident.bytes());
            self.waiting_bytes = each.sum();
            self.counts.expired += expired;
            self.dirty = Dirty::Yes;
        }
        if expired > 0 {
            tracing::error!(
                events = expired,
                "events could not be sent for a day: given up"
            );
        }
    }

    /// Whether nothing is left to be sent, as far as it may leave: for the last words of a stop.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// One sentence where something waits for a person's help.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let error = self.last_error.as_ref().filter(|_| !self.is_idle())?;
        let text = || {
            let bus = &self.config.bus;
            format!("events, bus {bus}: {error}; they are kept for a day and tried again")
        };
        (error.class == ErrorClass::RetrySlowly).then(text)
    }

    /// For `status`.
    #[must_use]
    pub fn status(&self) -> EventsStatus {
        EventsStatus {
            enabled: self.config.enabled,
            bus: self.config.bus.to_string(),
            waiting: self.waiting.len() as u64,
            counts: self.counts,
            last_error: self.last_error.as_ref().map(ToString::to_string),
        }
    }
}
