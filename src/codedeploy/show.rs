//! Deployments and health in the shape of `status`.

use super::deployment::Deployment;
use super::ending::Ending;
use super::health::Health;
use super::lifecycle::{LifecycleEvent, Script};
use super::news::{Eras, Outcome};
use super::roster::Roster;
use super::tail::last_lines;
use crate::event::Now;
use crate::status::{
    AgentHealth, DeploymentStatus, DeploymentsStatus, FailureStatus, LifecycleEventStatus,
    ScriptStatus,
};

pub(super) fn deployments(roster: &Roster, eras: Eras, now: Now) -> DeploymentsStatus {
    let mut deployments: Vec<DeploymentStatus> = roster.deployments().iter().map(one).collect();
    deployments.sort_by(|a, b| (b.began_ms, &b.id).cmp(&(a.began_ms, &a.id)));
    DeploymentsStatus {
        running_seconds: roster.running_seconds(eras, now),
        last_failed: roster.last_failed(eras),
        deployments,
    }
}

pub(super) fn health(health: &Health) -> AgentHealth {
    let verdict = health.last();
    AgentHealth {
        healthy: verdict.is_healthy(),
        reason: verdict.reason().to_owned(),
        answered_ms: health.answered_ms(),
    }
}

fn one(deployment: &Deployment) -> DeploymentStatus {
    let mut events: Vec<&LifecycleEvent> = deployment.events.iter().collect();
    events.sort_by_key(|event| event.order());
    let (state, inferred) = state(deployment);
    DeploymentStatus {
        id: deployment.id.clone(),
        group: deployment
            .group
            .clone()
            .or_else(|| deployment.group_id.clone()),
        group_id: deployment.group_id.clone(),
        application: deployment.application.clone(),
        state: state.to_owned(),
        inferred,
        began_ms: deployment.began_ms,
        ended_ms: deployment.end.as_ref().map(|end| end.at_ms),
        output: output(deployment, &events),
        events: events.into_iter().map(event).collect(),
    }
}

/// The state in a word, and whether it is inferred.
fn state(deployment: &Deployment) -> (&'static str, bool) {
    match deployment.end.as_ref().map(|end| end.state) {
        Some(Ending::Succeeded) => ("succeeded", true),
        Some(Ending::Failed) => ("failed", false),
        Some(Ending::Aborted) => ("aborted", false),
        Some(Ending::Superseded) => ("superseded", true),
        Some(Ending::Unknown) => ("unknown", true),
        None if deployment.is_hanging() => ("hanging", true),
        None if deployment.under_way().is_some() || deployment.life.is_tracked => {
            ("running", false)
        }
        None if deployment.is_commanded() => ("waiting", false),
        None => ("unknown", true),
    }
}

/// What the failed event printed: from its own log, else what 1.x reported with the failure.
fn output(deployment: &Deployment, events: &[&LifecycleEvent]) -> Vec<String> {
    let failed = events
        .iter()
        .rev()
        .find_map(|event| Some((event, event.failure.as_ref()?)));
    let Some((event, failure)) = failed else {
        return if deployment.is_hanging() {
            deployment.tail.lines()
        } else {
            Vec::new()
        };
    };
    let lines = match deployment.tail.event == event.name {
        true => deployment.tail.lines(),
        false => Vec::new(),
    };
    if lines.is_empty() {
        return last_lines(&failure.excerpt);
    }
    lines
}

fn event(event: &LifecycleEvent) -> LifecycleEventStatus {
    LifecycleEventStatus {
        name: event.name.clone(),
        state: match event.outcome {
            Some(outcome) => outcome.word(),
            None if event.is_under_way() => "running",
            None if event.started_ms.is_none() && event.received_ms.is_some() => "received",
            None => "unknown",
        }
        .to_owned(),
        received_ms: event.received_ms,
        started_ms: event.started_ms,
        finished_ms: event.finished_ms,
        duration_ms: event.outcome.and_then(|_| event.duration_ms()),
        unreported: event.is_unreported,
        scripts: scripts(event),
        failure: event.failure.as_ref().map(|failure| FailureStatus {
            error_code: failure.error_code,
            script: failure.script.clone(),
            cause: failure.cause.words(),
            message: failure.message.clone(),
        }),
    }
}

/// A script ended when the next one started, or as its event did: nothing else is said of it.
fn scripts(event: &LifecycleEvent) -> Vec<ScriptStatus> {
    let last = event.scripts.len().saturating_sub(1);
    let state = |at: usize| match event.outcome {
        _ if at < last => "finished",
        Some(Outcome::Succeeded) => "finished",
        Some(Outcome::Failed) => "failed",
        None if event.is_under_way() => "running",
        _ => "unknown",
    };
    let script = |(at, script): (usize, &Script)| ScriptStatus {
        location: script.location.clone(),
        started_ms: script.started_ms,
        state: state(at).to_owned(),
    };
    event.scripts.iter().enumerate().map(script).collect()
}
