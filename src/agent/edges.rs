//! What the agent is given of the world.

use crate::ports::alarm::AlarmService;
use crate::ports::{EventService, Files, LogService, MetricService, Processes, Store, Watch};

/// Everything the agent may touch.
pub struct Edges<'a> {
    /// The log files.
    pub files: &'a mut dyn Files,
    /// The agent's own state.
    pub store: &'a mut dyn Store,
    /// Hints that something changed.
    pub watch: &'a mut dyn Watch,
    /// Where batches go.
    pub logs: &'a mut dyn LogService,
    /// Where metrics go.
    pub metrics: &'a mut dyn MetricService,
    /// Where alarms are kept.
    pub alarms: &'a mut dyn AlarmService,
    /// Where events about incidents go.
    pub events: &'a mut dyn EventService,
    /// The machine's processes.
    pub processes: &'a mut dyn Processes,
}

impl Edges<'_> {
    /// The same once more, to give some of them other ones.
    pub(super) fn again(&mut self) -> Edges<'_> {
        Edges {
            files: self.files,
            store: self.store,
            watch: self.watch,
            logs: self.logs,
            metrics: self.metrics,
            alarms: self.alarms,
            events: self.events,
            processes: self.processes,
        }
    }
}
