//! The loop: one owner of all state, one [`Agent::step`] that names its parts.
//!
//! A step runs in a fixed order, every part bounded: take answers and settle them, look at the
//! files, hear what is stuck, read what there is room for, submit, save what is due. Settling first
//! frees memory before reading takes it. The agent runs at its own pace: hints, answers and signals
//! only wake it. `keeper.rs` holds what must survive us, `lane.rs` what belongs to one file on its
//! way from bytes to batch, `report.rs` the snapshot people see.
//!
//! Invariants:
//! - Every span is in the ledger before the step that batched it ends, and no answer is taken in
//!   between.
//! - Stopping settles nothing: what has no answer is read again after the next start.
//! - Same inputs, same clock, same seed: same calls.

mod alarming;
mod edges;
mod insight;
mod keeper;
mod lane;
mod marker;
mod names;
mod news;
mod orphans;
mod patient;
mod report;
mod rescue;
mod saving;
mod sources;
#[cfg(test)]
mod testing;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::alarms::{Alarms, state};
use crate::codedeploy::layout::Discovery;
use crate::config::{Config, Identity};
use crate::event::{EpochMs, FileId, Now};
use crate::parse::Parser;
use crate::ship::ledger::{Ledger, Noted};
use crate::ship::{Limits, Shipper};
use crate::tail::{ReadBuffer, Tail};

pub use edges::Edges;
use insight::Insight;
use keeper::Keeper;
pub use keeper::StartError;
use lane::Lane;
use report::Announcer;
use waiting::Waiting;

/// Raw bytes one step reads at most before it looks at answers again.
const STEP_BYTES_MAX: usize = 4 * 1_048_576;

/// What the agent must know of the machine it runs on.
#[derive(Clone, Debug)]
pub struct Host {
    /// The zone in which times without an offset are written.
    pub zone: TimeZone,
    /// When the machine booted, for `start = "boot"`.
    pub boot_ms: Option<EpochMs>,
    /// The kernel's name for this boot: another one after each.
    pub boot_id: Option<String>,
}

/// When the next step is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: there is more to do.
    Now,
    /// At this monotonic time, or earlier if something wakes us.
    At(u64),
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    host: Host,
    identity: Arc<Identity>,
    tail: Tail,
    ledger: Ledger,
    shipper: Shipper,
    keeper: Keeper,
    insight: Insight,
    alarms: Alarms,
    announcer: Announcer,
    parsers: BTreeMap<Arc<str>, Parser>,
    lanes: BTreeMap<FileId, Lane>,
    /// Files whose turn ended for want of room.
    waiting: Waiting,
    /// Files to listen to although nothing is settled of them.
    stuck: BTreeSet<FileId>,
    /// How large the CodeDeploy agent's own log and its rotated ones were when it was last asked
    /// whether they are heard.
    agent_log: BTreeMap<FileId, u64>,
    /// Files whose target's name is not known yet.
    nameless: BTreeSet<FileId>,
    orphans: orphans::Orphans,
    buffer: ReadBuffer,
    discovery: Discovery,
    discovery_due_ms: u64,
    mode: Mode,
    started_ms: EpochMs,
}

/// What the agent is about.
#[derive(Clone, Debug)]
enum Mode {
    Running,
    Stopping {
        /// When to stop waiting for answers; `None`: never.
        deadline_ms: Option<u64>,
        /// How far each file is still read.
        limits: Option<BTreeMap<FileId, StopLimit>>,
    },
}

/// How far a stop reads a file.
#[derive(Clone, Copy, Debug)]
struct StopLimit {
    /// What it held when the stop first met it.
    bytes: u64,
    /// Whether that was after the stop had looked at everything: half a line that it ends with then is the
    /// next start's, unless we are only to read what there is, and end.
    is_late: bool,
}

impl Agent {
    /// Restores what an earlier run knew and makes an agent that is ready to step.
    ///
    /// # Errors
    /// When the state was written by a newer version, or cannot be read.
    pub fn start(
        config: Config,
        host: Host,
        seed: u64,
        edges: &mut Edges<'_>,
        now: Now,
    ) -> Result<Self, StartError> {
        let (keeper, records, insight) = Keeper::restore(edges.store, now)?;
        let limits = Limits {
            flush_interval_ms: flush_ms(&config),
            ..Limits::default()
        };
        let shipper = Shipper::new(limits, seed);
        let boots = state::load(edges.store, now)?;
        let boot_id = host.boot_id.clone().unwrap_or_default();
        let alarms = Alarms::new(&config.alarms, boots, &boot_id, seed, now);
        let discovery = Discovery::default();
        let mut agent = Self {
            tail: Tail::new(records, host.boot_ms),
            insight: Insight::restore(&config, &host, insight, seed, now),
            config,
            host,
            identity: Arc::new(Identity::default()),
            ledger: Ledger::default(),
            alarms,
            announcer: Announcer::default(),
            shipper,
            keeper,
            parsers: BTreeMap::new(),
            lanes: BTreeMap::new(),
            waiting: Waiting::default(),
            stuck: BTreeSet::new(),
            agent_log: BTreeMap::new(),
            nameless: BTreeSet::new(),
            orphans: orphans::Orphans::new(),
            buffer: ReadBuffer::default(),
            discovery,
            discovery_due_ms: 0,
            mode: Mode::Running,
            started_ms: now.wall_ms,
        };
        agent.discover(edges, now);
        agent.take_rescued(edges, now);
        Ok(agent)
    }

    /// Takes what was learned about the instance: names of targets may now be known.
    pub fn learn(&mut self, identity: Identity, now: Now) {
        self.alarms.learn(&identity, now);
        self.insight.learn(&identity);
        self.identity = Arc::new(identity);
        for id in std::mem::take(&mut self.nameless) {
            self.tail.requeue(id);
        }
    }

    /// Takes another configuration between two steps.
    pub fn reload(&mut self, config: Config, edges: &mut Edges<'_>, now: Now) {
        self.alarms.reload(&config.alarms, now);
        self.config = config;
        self.shipper.set_flush_interval_ms(flush_ms(&self.config));
        self.find_codedeploy(edges);
        self.discovery_due_ms = 0;
        self.parsers.clear();
        self.insight.reload(&self.config);
        self.tail.leave_none_alone();
        for (id, lane) in &mut self.lanes {
            if let Some(file) = self.tail.file(*id) {
                lane.reload(self.insight.ear(&file.source.name));
            }
        }
        self.wake_all();
        self.set_sources(edges);
    }

    /// One turn of the loop.
    pub fn step(&mut self, edges: &mut Edges<'_>, now: Now) -> Next {
        patient::with(edges, |edges| self.take_step(edges, now))
    }

    fn take_step(&mut self, edges: &mut Edges<'_>, now: Now) -> Next {
        self.discover(edges, now);
        let hints = edges.watch.take();
        self.tail.hint(&hints, edges.files, now);
        self.shipper.step(now, edges.logs);
        self.settle(edges, now);
        self.look(edges, now);
        self.rescue_crowd(edges, now);
        self.news(edges, now);
        self.listen_ahead(edges, now);
        self.read(edges, now);
        self.buffer.rest(now);
        let has_looked = self.tail.has_looked();
        if !has_looked {
            // It need not wait until thousands of others are found.
            self.shipper.close_open();
        }
        self.shipper.step(now, edges.logs);
        if has_looked {
            self.conclude(edges, now);
            self.save_if_due(edges, now);
            self.confirm_saved();
        }
        self.next(now)
    }

    /// Begins to stop: what is readable now is still read and sent; of files that come later, what they
    /// hold when they are met, and nothing after that. With a grace period, what has no answer by its end
    /// is left for the next start.
    pub fn stop(&mut self, grace_ms: Option<u64>, now: Now) {
        let deadline_ms = grace_ms.map(|grace| now.mono_ms + grace);
        self.mode = Mode::Stopping {
            deadline_ms,
            limits: None,
        };
        self.tail.look_at_everything();
        self.shipper.close_open();
        self.insight.stop(now);
        self.alarms.say_goodbye();
    }

    /// Whether a stop is complete: nothing is left to send, or the time is over.
    #[must_use]
    pub fn is_done(&self, now: Now) -> bool {
        match &self.mode {
            Mode::Running => false,
            Mode::Stopping {
                deadline_ms,
                limits,
            } => {
                let is_drained = limits.is_some()
                    && self.tail.ready_len() == 0
                    && self.waiting.is_empty()
                    && self.nameless.is_empty()
                    && self.tail.is_in_place()
                    && self.shipper.is_idle()
                    && self.insight.is_done(now);
                is_drained || deadline_ms.is_some_and(|deadline| now.mono_ms >= deadline)
            }
        }
    }

    /// Ends the agent: saves how far it came, and what would be gone after a restart.
    pub fn finish(mut self, edges: &mut Edges<'_>, now: Now) {
        patient::with(edges, |edges| {
            while !self.tail.has_looked() {
                // What was heard of one source is not kept without what all of them make of it.
                self.take_step(edges, now);
            }
            self.shipper.step(now, edges.logs);
            self.settle(edges, now);
            self.insight.take_answers(edges, now);
            self.tail.notice_deleted(edges.files, now);
            // What the last answers were for need not be kept.
            let settled = |id| self.ledger.settled(id).unwrap_or_default();
            self.tail.let_go(edges.files, &settled, now);
            self.news(edges, now);
            self.rescue_deleted(edges, now);
            // What is told of now is in the checkpoint, and leaves after the next start.
            self.report_losses(now);
            self.keeper.bury_last(edges.store, now);
            self.save(edges, now);
        });
    }

    /// Settles what was answered for, takes back what was given back.
    fn settle(&mut self, edges: &mut Edges<'_>, now: Now) {
        for settled in self.shipper.take_settled() {
            self.keeper.count_settled(&settled.tallies);
            for ack in settled.acks {
                match self.ledger.settle(ack) {
                    Noted::File(id) => {
                        self.keeper.touch(now);
                        self.tail.settled(id);
                        self.release_orphan(id);
                    }
                    Noted::Marker(id) => self.keeper.marker_delivered(id, now),
                }
            }
        }
        self.take_back(now);
        self.keeper
            .bury(edges.store, &self.shipper.take_rejected(), now);
    }

    /// Scans what is due and takes the news; at a stop, of all sources.
    fn look(&mut self, edges: &mut Edges<'_>, now: Now) {
        loop {
            let settled = |id| self.ledger.settled(id).unwrap_or_default();
            self.tail.look(edges.files, edges.watch, &settled, now);
            self.news(edges, now);
            if self.tail.has_looked() || matches!(self.mode, Mode::Running) {
                break;
            }
        }
        if let Mode::Stopping {
            deadline_ms,
            limits,
        } = &mut self.mode
        {
            let is_late = limits.is_some() && deadline_ms.is_some();
            let limits = limits.get_or_insert_default();
            for file in self.tail.files() {
                let bytes = file.size;
                limits
                    .entry(file.id)
                    .or_insert(StopLimit { bytes, is_late });
            }
        }
    }

    /// Gives turns to the files that have something to read, as far as there is room.
    fn read(&mut self, edges: &mut Edges<'_>, now: Now) {
        self.wake(now);
        self.send_markers(now);
        let mut budget = STEP_BYTES_MAX;
        for _ in 0..self.tail.ready_len() {
            let Some(id) = self.tail.next_turn() else {
                break;
            };
            self.turn(id, edges, &mut budget, now);
            self.requeue_woken(now);
            if budget == 0 {
                break;
            }
        }
        self.tail.compare_hinted(edges.files, now);
        self.keeper.count_parsed(&mut self.parsers);
    }

    fn next(&self, now: Now) -> Next {
        if self.tail.is_ready() {
            return Next::Now;
        }
        let deadline_ms = match self.mode {
            Mode::Stopping { deadline_ms, .. } => deadline_ms,
            Mode::Running => None,
        };
        let due = [
            self.shipper.next_due(),
            self.tail.next_due(),
            self.buffer.rest_due_ms(),
            self.keeper.saving.next_due(),
            deadline_ms,
            self.insight.next_due(now),
            self.alarms.next_due(),
        ];
        let due = due.into_iter().flatten();
        let due = due.fold(self.discovery_due_ms, u64::min);
        if due <= now.mono_ms {
            Next::Now
        } else {
            Next::At(due)
        }
    }
}

fn flush_ms(config: &Config) -> u64 {
    u64::try_from(config.logs.flush_interval.as_millis()).unwrap_or(u64::MAX)
}
