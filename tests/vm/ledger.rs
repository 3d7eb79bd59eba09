//! What the guest's logs held on stable storage, and whether it arrived.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::cloud::Cloud;
use crate::support::lines::Written;
use crate::support::listener::Listener;
use crate::support::oracle::{Findings, judge, tags};
use crate::support::state::State;

/// How long an answer may be without its checkpoint on disk: a second, and then some for a guest
/// that has a part of a busy CPU.
const UNSAVED: Duration = Duration::from_secs(5);

/// The group of the one log that lies in /tmp.
const UPDATER: &str = "/codedeploy/updater";

/// The book of all lines: fed by the guest's CodeDeploy agent, which tells what it has synced.
pub(crate) struct Ledger {
    logs: Arc<Mutex<BTreeMap<String, Log>>>,
    _reports: Listener,
    instance: String,
    /// Lines that may have come twice, by now.
    pub(crate) doubled_max: u64,
}

/// One writer's log.
#[derive(Clone, Debug)]
struct Log {
    /// Lines known to be on stable storage.
    synced: u64,
    group: String,
    deployment: String,
}

/// So many lines of each writer had arrived at a moment, without a gap from the first.
pub(crate) type Arrived = BTreeMap<String, u64>;

impl Ledger {
    /// Opens the book, and the port at which the guest reports.
    pub(crate) fn open(address: &str, instance: &str) -> Self {
        let logs = Arc::new(Mutex::new(BTreeMap::new()));
        let shared = Arc::clone(&logs);
        let reports = Listener::start(address, move |stream| {
            // A line that a power cut has torn tells nothing.
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                note(&mut shared.lock().unwrap(), &line);
            }
        });
        Self {
            logs,
            _reports: reports,
            instance: instance.to_owned(),
            doubled_max: 0,
        }
    }

    /// How many lines are on stable storage, in all.
    pub(crate) fn synced(&self) -> u64 {
        self.logs
            .lock()
            .unwrap()
            .values()
            .map(|log| log.synced)
            .sum()
    }

    /// Takes what was found on the disk: at least what was synced, and all of it must arrive.
    pub(crate) fn found(&self, inspected: &str) {
        let mut logs = self.logs.lock().unwrap();
        for line in inspected.lines() {
            let ["disk", id, count] = words(line)[..] else {
                continue;
            };
            let count: u64 = count.parse().unwrap();
            let Some(log) = logs.get_mut(id) else {
                // It was made and cut off before it was ever synced; where it goes is not known.
                continue;
            };
            assert!(
                count >= log.synced,
                "{id}: synced {}, on the disk {count}",
                log.synced
            );
            log.synced = count;
        }
    }

    /// Debian empties /tmp at boot: what the updater wrote there and had not arrived when the power was
    /// cut, nobody can read any more. That the agent calls it lost is then right.
    pub(crate) fn forget_tmp(&self, arrived: &Arrived) {
        let mut logs = self.logs.lock().unwrap();
        for (id, log) in logs.iter_mut().filter(|(_, log)| log.group == UPDATER) {
            log.synced = log.synced.min(arrived.get(id).copied().unwrap_or(0));
        }
    }

    /// The checkpoint that a boot found must not be ahead of what had been answered for.
    pub(crate) fn assert_not_ahead(&self, inspected: &str, arrived: &Arrived) {
        let mut looked = 0;
        for line in inspected.lines() {
            let ["settled", id, count] = words(line)[..] else {
                continue;
            };
            let count: u64 = count.parse().unwrap();
            let here = arrived.get(id).copied().unwrap_or(0);
            assert!(
                count <= here,
                "{id}: settled {count}, but only {here} had arrived"
            );
            looked += 1;
        }
        assert!(looked > 0, "the checkpoint knew no line:\n{inspected}");
    }

    /// What has arrived until now.
    pub(crate) fn arrived(&self, cloud: &Cloud) -> Arrived {
        let state = cloud.state();
        let logs = self.logs.lock().unwrap();
        let mut arrived = Arrived::new();
        for (group, stream) in self.streams(&logs) {
            let mut numbers: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
            for event in state.events(&group, &stream) {
                for (id, number) in tags(&event.message) {
                    numbers.entry(id).or_default().push(number);
                }
            }
            for (id, mut numbers) in numbers {
                numbers.sort_unstable();
                numbers.dedup();
                let whole = (0..).zip(&numbers).take_while(|(at, number)| at == *number);
                arrived.insert(id.to_owned(), whole.count() as u64);
            }
        }
        arrived
    }

    /// After a crash at that moment, what was answered shortly before may come again.
    pub(crate) fn allow_repeats(&mut self, cloud: &Cloud, crash: Instant) {
        let state = cloud.state();
        let recent = |at: Instant| crash.saturating_duration_since(at) < UNSAVED;
        let unsaved = state.puts.iter().filter(|put| recent(put.at));
        self.doubled_max += unsaved.map(|put| put.events as u64).sum::<u64>();
    }

    /// Waits until every line has arrived, and asserts that all is as promised.
    #[track_caller]
    pub(crate) fn assert_all_arrives(&self, cloud: &Cloud, limit: Duration) {
        // The events grow while the guest writes; what counts is what was synced when this began.
        let logs = self.logs.lock().unwrap().clone();
        let streams = self.streams(&logs);
        cloud.wait(limit, "all that was synced arrives", |state| {
            streams.iter().all(|(group, stream)| {
                let written = self.written(&logs, group, stream);
                state.events(group, stream).len() as u64 >= written.iter().map(|w| w.count).sum()
                    && findings(state, &written, group, stream).lost == 0
            })
        });
        let state = cloud.state();
        let (mut lines, mut doubled) = (0, 0);
        for (group, stream) in &streams {
            let written = self.written(&logs, group, stream);
            let findings = findings(&state, &written, group, stream);
            findings.assert_none_lost();
            lines += written.iter().map(|written| written.count).sum::<u64>();
            doubled += findings.doubled;
            for event in state.events(group, stream) {
                let loss = group != UPDATER && event.message.contains("were lost:");
                assert!(!loss, "{}", event.message);
            }
        }
        assert!(
            doubled <= self.doubled_max,
            "{doubled} lines came twice, allowed are {}",
            self.doubled_max
        );
        println!(
            "    {lines} lines are on the disk or were, all arrived; {doubled} came twice, at most {}",
            self.doubled_max
        );
    }

    fn streams(&self, logs: &BTreeMap<String, Log>) -> Vec<(String, String)> {
        let mut streams: Vec<_> = logs
            .values()
            .map(|log| (log.group.clone(), self.stream(log)))
            .collect();
        streams.sort();
        streams.dedup();
        streams
    }

    fn stream(&self, log: &Log) -> String {
        match log.deployment.as_str() {
            "-" => self.instance.clone(),
            deployment => format!("{deployment}/{}", self.instance),
        }
    }

    fn written(&self, logs: &BTreeMap<String, Log>, group: &str, stream: &str) -> Vec<Written> {
        let here = logs
            .iter()
            .filter(|(_, log)| log.group == group && self.stream(log) == stream);
        here.map(|(id, log)| Written {
            id: id.clone(),
            count: log.synced,
        })
        .collect()
    }
}

fn findings(state: &State, written: &[Written], group: &str, stream: &str) -> Findings {
    judge(written, state.events(group, stream))
}

fn note(logs: &mut BTreeMap<String, Log>, line: &str) {
    let [_, id, count, group, deployment] = words(line)[..] else {
        return;
    };
    let Ok(count) = count.parse() else {
        return;
    };
    let log = logs.entry(id.to_owned()).or_insert_with(|| Log {
        synced: 0,
        group: group.to_owned(),
        deployment: deployment.to_owned(),
    });
    log.synced = log.synced.max(count);
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}
