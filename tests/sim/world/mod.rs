//! One simulated machine and the service it talks to.

pub(crate) mod clock;
pub(crate) mod events;
pub(crate) mod files;
pub(crate) mod fuse;
pub(crate) mod legal;
pub(crate) mod metrics;
pub(crate) mod service;
pub(crate) mod store;
pub(crate) mod watch;
pub(crate) mod wire;

use crate::nobody::{NoAlarms, NoProcesses};
use clock::Clock;
use events::MemEvents;
use files::MemFiles;
use fuse::Fuse;
use metrics::MemMetrics;
use service::MemService;
use store::MemStore;
use watch::{Hearing, MemWatch};

/// All edges, and the hands that move them.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) fuse: Fuse,
    pub(crate) files: MemFiles,
    pub(crate) store: MemStore,
    pub(crate) watch: MemWatch,
    pub(crate) service: MemService,
    pub(crate) metrics: MemMetrics,
    pub(crate) alarms: NoAlarms,
    pub(crate) events: MemEvents,
    pub(crate) processes: NoProcesses,
}

impl World {
    pub(crate) fn new(seed: u64, hearing: Hearing) -> Self {
        let fuse = Fuse::default();
        let mut world = Self {
            clock: Clock::default(),
            files: MemFiles::new(seed ^ 0xf11e, fuse.clone()),
            store: MemStore::new(seed ^ 0x570e, fuse.clone()),
            watch: MemWatch::new(seed ^ 0x3a7c, hearing),
            service: MemService::new(seed ^ 0x5e21, fuse.clone()),
            metrics: MemMetrics::new(seed ^ 0x3e7c, fuse.clone()),
            alarms: NoAlarms,
            events: MemEvents::new(seed ^ 0xb005, fuse.clone()),
            processes: NoProcesses,
            fuse,
        };
        world.advance_to(0);
        world
    }

    /// Time goes on.
    pub(crate) fn advance_to(&mut self, ms: u64) {
        self.clock.advance_to(ms);
        self.files.wall_ms = self.clock.now().wall_ms;
        self.metrics.wall_ms = self.clock.now().wall_ms;
        let (ms, true_ms) = (self.clock.ms, self.clock.true_ms());
        self.service.wire.advance_to(ms, true_ms);
        self.metrics.wire.advance_to(ms, true_ms);
        self.events.wire.advance_to(ms, true_ms);
    }

    /// Lets the watch hear of what happened to the files.
    pub(crate) fn pass_hints(&mut self) {
        for touch in self.files.touched.drain(..) {
            self.watch.note(touch);
        }
    }

    /// The agent's process ends, however it came.
    pub(crate) fn process_ends(&mut self) {
        self.files.exit();
        self.service.forget();
        self.metrics.forget();
        self.events.wire.forget();
        self.watch.forget();
        self.fuse.reset();
    }
}
