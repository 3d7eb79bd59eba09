//! The snapshot people see: what each file, target and source is at, in plain data.

use std::collections::BTreeMap;

use crate::event::Now;
use crate::status::{FileStatus, Status};
use crate::tail::{File, Naming};

use super::{Agent, names};

impl Agent {
    /// What `deploywatch status` shows.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        let mut files: Vec<FileStatus> = self
            .tail
            .files()
            .map(|file| self.file_status(file, now))
            .collect();
        let (deployments, codedeploy_health) = self.insight.deployments(now);
        files.sort_by(|a, b| (b.lag_bytes, &a.path).cmp(&(a.lag_bytes, &b.path)));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.started_ms,
            now_ms: now.wall_ms,
            instance_id: self.identity.instance_id.clone(),
            problems: self.problems(now),
            codedeploy: match self.config.codedeploy.enabled {
                true => self.discovery.words().to_owned(),
                false => "not watched (codedeploy.enabled = false)".to_owned(),
            },
            files,
            targets: self.shipper.statuses(now),
            sources: self.keeper.counts.clone(),
            batch_bytes: (
                self.shipper.held_bytes() as u64,
                self.shipper.limits().batch_bytes_max as u64,
            ),
            rescue: self.keeper.rescue.size(),
            deployments,
            codedeploy_health,
            metrics: self.insight.metrics(now),
            alarms: self.alarms.status(),
            events: self.insight.events(),
        }
    }

    /// Whether there are places it should look at and cannot.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.tail.is_blind()
    }

    /// One sentence for each thing that does not leave and needs a person for that.
    pub(super) fn refusals(&self, now: Now) -> Vec<String> {
        let mut refusals = self.shipper.problems();
        refusals.extend(self.insight.problems(now));
        refusals
    }

    /// One sentence for each thing that needs a person.
    fn problems(&self, now: Now) -> Vec<String> {
        let mut problems = self.refusals(now);
        problems.extend(self.discovery.problem().map(str::to_owned));
        problems.extend(self.tail.problems().cloned());
        let unreadable = self.tail.files().filter_map(|file| {
            let why = file.unreadable.as_ref()?;
            Some(format!("{} cannot be read: {why}", file.path.display()))
        });
        problems.extend(unreadable);
        let quarantined = self.tail.files().filter_map(|file| {
            let why = self.lanes.get(&file.id)?.quarantine.as_ref()?;
            Some(format!("{} is {why}", file.path.display()))
        });
        problems.extend(quarantined);
        problems.extend(self.keeper.trouble.clone());
        problems.extend(self.keeper.unburied.iter().map(|(why, _)| why.clone()));
        problems.extend(self.alarms.problem().map(str::to_owned));
        if !self.nameless.is_empty() {
            problems.push(format!(
                "{} files wait until the instance's identity is known",
                self.nameless.len()
            ));
        }
        problems
    }

    fn file_status(&self, file: &File, now: Now) -> FileStatus {
        let settled = self.ledger.settled(file.id).unwrap_or_default();
        let lane = self.lanes.get(&file.id);
        let layout = self.discovery.layout();
        let target = names::target(&file.source, &file.family, &self.identity, layout);
        let lag_bytes = file.size.saturating_sub(settled.0);
        let behind_ms = lane
            .and_then(|lane| lane.behind_since_ms)
            .filter(|_| lag_bytes > 0);
        FileStatus {
            source: file.source.name.to_string(),
            path: file.path.to_string_lossy().into_owned(),
            identity: file
                .key
                .map(|key| format!("{}:{}", key.device, key.inode))
                .unwrap_or_default(),
            target: target
                .map(|t| format!("{} {}", t.group, t.stream))
                .unwrap_or_default(),
            size: file.size,
            read: file.read.0,
            settled: settled.0,
            lag_bytes,
            lag_seconds: behind_ms.map_or(0, |since| {
                now.wall_ms.saturating_sub(since).max(0).unsigned_abs() / 1000
            }),
            state: match lane.and_then(|lane| lane.quarantine.as_ref()) {
                Some(why) => format!("unreadable: {why}"),
                None => file.state(match self.nameless.contains(&file.id) {
                    true => Naming::Waiting,
                    false => Naming::Named,
                }),
            },
        }
    }
}

/// Says in the own log when a problem begins and when it is over, once each.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    /// What was said, without its numbers: those change while the problem stays.
    said: BTreeMap<String, String>,
}

impl Announcer {
    /// Compares the problems there are with those that were said.
    pub(super) fn announce(&mut self, problems: Vec<String>) {
        let before = std::mem::take(&mut self.said);
        for problem in problems {
            let without_numbers: String = problem
                .chars()
                .filter(|letter| !letter.is_ascii_digit())
                .collect();
            if !before.contains_key(&without_numbers) {
                tracing::warn!("{problem}");
            }
            self.said.insert(without_numbers, problem);
        }
        for (key, problem) in before {
            if !self.said.contains_key(&key) {
                tracing::info!(problem, "over");
            }
        }
    }
}
