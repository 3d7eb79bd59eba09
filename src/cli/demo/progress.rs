//! What is new in the running agent's own account of the deployments, `status`: compared with what
//! was told before. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::status::{DeploymentStatus, LifecycleEventStatus, Status};

/// A running hook is mentioned when it has been running for so long …
const LONG_S: u64 = 2;

/// … and again each time it has been running for so much longer.
const LONG_STEP_S: u64 = 3;

/// Something worth a line on the screen. `deployment` is an id, `event` a lifecycle event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// A lifecycle event ended well.
    Succeeded { deployment: String, event: String },
    /// A lifecycle event failed.
    Failed {
        deployment: String,
        event: String,
        /// The script at fault, and what happened to it.
        why: String,
        /// What it said last.
        output: Vec<String>,
    },
    /// The whole deployment succeeded.
    Finished { deployment: String },
    /// A hook runs and runs.
    Running {
        deployment: String,
        event: String,
        seconds: u64,
    },
}

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Deployments and lifecycle events (or none) whose end was told.
    ended: BTreeSet<(String, Option<String>)>,
    /// How often running ones were mentioned.
    mentioned: BTreeMap<(String, String), u64>,
}

impl Progress {
    /// What a snapshot tells anew, oldest deployment first.
    pub(super) fn notes(&mut self, status: &Status) -> Vec<Note> {
        let mut notes = Vec::new();
        for deployment in status.deployments.deployments.iter().rev() {
            for event in &deployment.events {
                notes.extend(self.event(deployment, event, status));
            }
            let id = &deployment.id;
            if deployment.state == "succeeded" && self.ended.insert((id.clone(), None)) {
                notes.push(Note::Finished {
                    deployment: id.clone(),
                });
            }
        }
        notes
    }

    fn event(
        &mut self,
        of: &DeploymentStatus,
        event: &LifecycleEventStatus,
        status: &Status,
    ) -> Option<Note> {
        let (deployment, name) = (of.id.clone(), event.name.clone());
        match event.state.as_str() {
            "running" => {
                let ms = status.now_ms - event.started_ms?;
                let seconds = u64::try_from(ms / 1000).unwrap_or(0);
                let key = (deployment.clone(), name.clone());
                let mentioned = self.mentioned.entry(key).or_default();
                if seconds < LONG_S + LONG_STEP_S * *mentioned {
                    return None;
                }
                *mentioned += 1;
                Some(Note::Running {
                    deployment,
                    event: name,
                    seconds,
                })
            }
            "succeeded" | "failed" => {
                let key = (deployment.clone(), Some(name.clone()));
                if !self.ended.insert(key) {
                    return None;
                }
                Some(match &event.failure {
                    None => Note::Succeeded {
                        deployment,
                        event: name,
                    },
                    Some(failure) => Note::Failed {
                        deployment,
                        event: name,
                        why: format!("{}: {}", failure.script, failure.cause),
                        output: of.output.clone(),
                    },
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{DeploymentsStatus, FailureStatus};

    fn status(event: LifecycleEventStatus, state: &str, now_ms: i64) -> Status {
        Status {
            now_ms,
            deployments: DeploymentsStatus {
                deployments: vec![DeploymentStatus {
                    id: "d-1".to_owned(),
                    state: state.to_owned(),
                    events: vec![event],
                    output: vec!["no table".to_owned()],
                    ..DeploymentStatus::default()
                }],
                ..DeploymentsStatus::default()
            },
            ..Status::default()
        }
    }

    fn event(state: &str) -> LifecycleEventStatus {
        LifecycleEventStatus {
            name: "AfterInstall".to_owned(),
            state: state.to_owned(),
            started_ms: Some(0),
            ..LifecycleEventStatus::default()
        }
    }

    /// An end is told once, with the reason and the output of a failure: shown by two snapshots
    /// that say the same.
    #[test]
    fn an_end_is_told_once() {
        let mut failed = event("failed");
        failed.failure = Some(FailureStatus {
            script: "a.sh".to_owned(),
            cause: "exit code 1".to_owned(),
            ..FailureStatus::default()
        });
        let mut progress = Progress::default();
        let snapshot = status(failed, "failed", 0);
        let note = Note::Failed {
            deployment: "d-1".into(),
            event: "AfterInstall".into(),
            why: "a.sh: exit code 1".into(),
            output: vec!["no table".into()],
        };
        assert_eq!(progress.notes(&snapshot), [note]);
        assert_eq!(progress.notes(&snapshot), []);

        let mut progress = Progress::default();
        let snapshot = status(event("succeeded"), "succeeded", 0);
        assert_eq!(progress.notes(&snapshot).len(), 2);
        assert_eq!(progress.notes(&snapshot), []);
    }

    /// A hook that goes on and on is mentioned after two seconds and every three from then on:
    /// shown by a snapshot each second.
    #[test]
    fn a_running_hook_is_mentioned_now_and_then() {
        let mut progress = Progress::default();
        let told: Vec<i64> = (0..10)
            .filter(|second| {
                let snapshot = status(event("running"), "running", second * 1000);
                !progress.notes(&snapshot).is_empty()
            })
            .collect();
        assert_eq!(told, [2, 5, 8]);
    }
}
