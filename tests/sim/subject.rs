//! What is simulated: the agent, or a toy that stands in for it in the simulation's own tests.

use std::path::PathBuf;

use deploywatch::config::Identity;
use deploywatch::event::Now;
use deploywatch::ports::alarm::AlarmService;
use deploywatch::ports::{
    EventService, FileKey, Files, LogService, MetricService, Processes, Store, Watch,
};

use crate::plan::Plan;
use crate::world::store::MemStore;

/// The edges a step works on.
pub(crate) struct Edges<'a> {
    pub(crate) files: &'a mut dyn Files,
    pub(crate) store: &'a mut dyn Store,
    pub(crate) watch: &'a mut dyn Watch,
    pub(crate) logs: &'a mut dyn LogService,
    pub(crate) metrics: &'a mut dyn MetricService,
    pub(crate) alarms: &'a mut dyn AlarmService,
    pub(crate) events: &'a mut dyn EventService,
    pub(crate) processes: &'a mut dyn Processes,
}

/// When the subject wants to be stepped again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// There is more to do.
    Now,
    /// At this monotonic time, or when something happens.
    At(u64),
}

/// How far a file is done with, as the state directory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) path: PathBuf,
    pub(crate) key: FileKey,
    pub(crate) settled: u64,
    /// The rest of the file lies in the state directory, so the file itself counts as done with.
    pub(crate) rescued: bool,
}

/// What the state directory says of all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Of two, the greater is the newer. A power cut may bring back an older one.
    pub(crate) number: u64,
    pub(crate) records: Vec<Record>,
}

/// What the subject says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauge {
    /// Memory of all batches, and its limit.
    pub(crate) batch_bytes: (u64, u64),
    /// Bytes counted as lost, all sources and reasons.
    pub(crate) lost: u64,
    /// Events counted as refused.
    pub(crate) refused: u64,
}

/// Something that ships files.
pub(crate) trait Subject: Sized {
    fn start(plan: &Plan, seed: u64, edges: &mut Edges<'_>, now: Now) -> Result<Self, String>;
    fn learn(&mut self, identity: Identity, now: Now);
    /// Takes its configuration again, as on SIGHUP.
    fn reload(&mut self, plan: &Plan, edges: &mut Edges<'_>, now: Now);
    fn step(&mut self, edges: &mut Edges<'_>, now: Now) -> Wake;
    fn stop(&mut self, now: Now);
    fn is_done(&self, now: Now) -> bool;
    fn finish(self, edges: &mut Edges<'_>, now: Now);
    fn gauge(&self, now: Now) -> Gauge;
    /// When it was first started, as the state on disk says.
    fn since_ms(store: &MemStore) -> Option<i64>;
    /// What the checkpoint on disk says; none where there is none.
    fn checkpoint(store: &MemStore) -> Result<Checkpoint, String>;
}
