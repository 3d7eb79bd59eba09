//! The agent itself as a [`Subject`].

use std::io;
use std::path::PathBuf;

use deploywatch::agent::{Agent, Edges as AgentEdges, Host, Next};
use deploywatch::config::{Config, Identity};
use deploywatch::event::Now;
use deploywatch::ports::Store;
use deploywatch::ship::checkpoint::{self, Loaded};
use jiff::tz::TimeZone;

use crate::plan::Plan;
use crate::subject::{Checkpoint, Edges, Gauge, Record, Subject, Wake};
use crate::world::store::MemStore;

/// The default grace period.
const GRACE_MS: u64 = 30_000;

impl<'a> Edges<'a> {
    fn of_agent(&mut self) -> AgentEdges<'_> {
        AgentEdges {
            files: &mut *self.files,
            store: &mut *self.store,
            watch: &mut *self.watch,
            logs: &mut *self.logs,
            metrics: &mut *self.metrics,
            alarms: &mut *self.alarms,
            events: &mut *self.events,
            processes: &mut *self.processes,
        }
    }
}

fn parsed(text: String) -> Result<Config, String> {
    let file = (PathBuf::from("sim.toml"), text);
    let (config, _notes) = Config::parse(&[file]).map_err(|mistakes| format!("{mistakes:?}"))?;
    Ok(config)
}

impl Subject for Agent {
    fn start(plan: &Plan, seed: u64, edges: &mut Edges<'_>, now: Now) -> Result<Self, String> {
        let config = parsed(plan.config())?;
        let host = Host {
            zone: TimeZone::UTC,
            boot_ms: None,
            boot_id: None,
        };
        Agent::start(config, host, seed, &mut edges.of_agent(), now)
            .map_err(|error| error.to_string())
    }

    fn learn(&mut self, identity: Identity, now: Now) {
        Agent::learn(self, identity, now);
    }

    fn reload(&mut self, plan: &Plan, edges: &mut Edges<'_>, now: Now) {
        let config = parsed(plan.config()).expect("it was taken before");
        Agent::reload(self, config, &mut edges.of_agent(), now);
    }

    fn step(&mut self, edges: &mut Edges<'_>, now: Now) -> Wake {
        match Agent::step(self, &mut edges.of_agent(), now) {
            Next::Now => Wake::Now,
            Next::At(mono_ms) => Wake::At(mono_ms),
        }
    }

    fn stop(&mut self, now: Now) {
        Agent::stop(self, Some(GRACE_MS), now);
    }

    fn is_done(&self, now: Now) -> bool {
        Agent::is_done(self, now)
    }

    fn finish(self, edges: &mut Edges<'_>, now: Now) {
        Agent::finish(self, &mut edges.of_agent(), now);
    }

    fn gauge(&self, now: Now) -> Gauge {
        let status = self.status(now);
        let lost = |counts: &deploywatch::status::SourceCounts| counts.lost.values().sum::<u64>();
        Gauge {
            batch_bytes: status.batch_bytes,
            lost: status.sources.values().map(lost).sum(),
            refused: status
                .sources
                .values()
                .map(|counts| counts.refused.total())
                .sum(),
        }
    }

    fn since_ms(store: &MemStore) -> Option<i64> {
        match checkpoint::load(&mut Shelf(store)) {
            Ok(Loaded::Known(known)) => known.insight["since_ms"].as_i64(),
            _ => None,
        }
    }

    fn checkpoint(store: &MemStore) -> Result<Checkpoint, String> {
        match checkpoint::load(&mut Shelf(store)) {
            // What speaks of no inode says nothing of the content that one has now.
            Ok(Loaded::Known(known)) => Ok(Checkpoint {
                number: known.sequence,
                records: known
                    .files
                    .into_iter()
                    .filter(|file| !file.is_displaced)
                    .map(|file| Record {
                        path: file.path,
                        key: file.key,
                        settled: file.settled.0,
                        rescued: false,
                    })
                    .collect(),
            }),
            Ok(Loaded::Fresh) => Ok(Checkpoint::default()),
            Ok(Loaded::SetAside { why, .. }) => Err(format!("a damaged checkpoint: {why}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The store, only to be looked at.
struct Shelf<'a>(&'a MemStore);

impl Store for Shelf<'_> {
    fn load(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.peek(name).map(<[u8]>::to_vec))
    }

    fn save(&mut self, _name: &str, _content: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn append(&mut self, _name: &str, _content: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn rename(&mut self, _from: &str, _to: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    fn names(&mut self, _folder: &str) -> io::Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }
}
