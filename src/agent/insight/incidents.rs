//! What happened, as an incident that people are told of.

use super::{Age, EventKind, Incident, Insight, Loss};
use crate::codedeploy::{Cause, Failure, Freshness, News, Outcome, What};
use crate::event::{EpochMs, Now, Target};
use crate::events::Lost;
use crate::status::DeploymentStatus;

impl Insight {
    /// Reports what the records told.
    pub(super) fn report_news(
        &mut self,
        news: &News,
        log_of: &dyn Fn(Option<&str>) -> Option<Target>,
        now: Now,
    ) {
        let Some((kind, id)) = kind_of(&news.what) else {
            return;
        };
        let mut incident = Incident::new(kind, news.at_ms);
        incident.deployment_id = id.map(str::to_owned);
        // Old news goes no further, and a first start reads months of it.
        if news.freshness == Freshness::Fresh {
            incident.log = log_of(id);
            if let Some(id) = id {
                let all = self.observer.deployments(now).deployments;
                if let Some(deployment) = all.iter().find(|deployment| deployment.id == id) {
                    describe(&mut incident, deployment);
                }
            }
        }
        explain(&mut incident, &news.what);
        let age = match news.freshness {
            Freshness::Fresh => Age::News,
            Freshness::BeforeBoot | Freshness::History => Age::Old,
        };
        self.events.report(incident, age, now);
    }

    /// Reports that the alarms' actions were suspended, or are not any more.
    pub(in crate::agent) fn report_actions(&mut self, kind: EventKind, reason: String, now: Now) {
        let mut incident = Incident::new(kind, now.wall_ms);
        incident.reason = Some(reason);
        self.events.report(incident, Age::News, now);
    }

    /// Reports bytes that could not be kept.
    pub(in crate::agent) fn report_loss(&mut self, loss: &Loss, now: Now) {
        let mut incident = Incident::new(EventKind::BytesLost, loss.at_ms);
        incident.reason = Some(loss.reason.clone());
        incident.lost = Some(Lost {
            number: loss.id,
            source: loss.source.clone(),
            bytes: loss.bytes,
        });
        self.events.report(incident, Age::News, now);
    }
}

/// What kind of incident it is, if it is one, and of which deployment.
fn kind_of(what: &What) -> Option<(EventKind, Option<&str>)> {
    Some(match what {
        What::LifecycleEventFinished {
            deployment,
            outcome: Outcome::Failed,
            ..
        } => (EventKind::LifecycleEventFailed, Some(deployment.as_str())),
        What::DeploymentSucceeded { deployment, .. } => {
            (EventKind::DeploymentSucceeded, Some(deployment))
        }
        What::DeploymentFailed { deployment, .. } | What::DeploymentAborted { deployment, .. } => {
            (EventKind::DeploymentFailed, Some(deployment))
        }
        What::DeploymentHanging { deployment, .. } => {
            (EventKind::DeploymentHanging, Some(deployment))
        }
        What::HealthChanged { verdict } => match verdict.is_healthy()? {
            true => (EventKind::CodeDeployAgentHealthy, None),
            false => (EventKind::CodeDeployAgentUnhealthy, None),
        },
        _ => return None,
    })
}

/// What is known of the deployment as a whole.
fn describe(incident: &mut Incident, deployment: &DeploymentStatus) {
    (incident.deployment_group_id).clone_from(&deployment.group_id);
    incident.started_ms = Some(deployment.began_ms);
    incident.duration_ms = since(deployment.began_ms, incident.at_ms);
    if incident.kind != EventKind::DeploymentSucceeded && !deployment.output.is_empty() {
        incident.output = Some(deployment.output.join("\n"));
    }
}

/// What the news itself tells.
fn explain(incident: &mut Incident, what: &What) {
    match what {
        What::LifecycleEventFinished {
            event,
            duration_ms,
            failure,
            ..
        } => {
            incident.lifecycle_event = Some(event.clone());
            incident.duration_ms = *duration_ms;
            incident.started_ms = duration_ms
                .and_then(|ms| i64::try_from(ms).ok())
                .map(|ms| incident.at_ms - ms);
            if let Some(failure) = failure {
                blame(incident, failure);
            }
        }
        What::DeploymentFailed { event, failure, .. } => {
            incident.lifecycle_event = Some(event.clone());
            blame(incident, failure);
        }
        What::DeploymentAborted { event, .. } => {
            incident.lifecycle_event = Some(event.clone());
            incident.reason = Some("cut off by a restart".to_owned());
        }
        What::DeploymentHanging {
            event, silent_ms, ..
        } => {
            incident.lifecycle_event = Some(event.clone());
            incident.reason = Some(format!("no sign of life for {} s", silent_ms / 1000));
        }
        What::HealthChanged { verdict } => {
            incident.reason = Some(verdict.reason().to_owned());
        }
        _ => {}
    }
}

fn blame(incident: &mut Incident, failure: &Failure) {
    incident.script = Some(failure.script.clone()).filter(|script| !script.is_empty());
    incident.error_code = failure.error_code.map(error_code);
    match failure.cause {
        Cause::ExitCode(code) => incident.exit_code = Some(code),
        Cause::Signal => incident.signal = Some("unknown".to_owned()),
        _ => {}
    }
    incident.reason = Some(match failure.message.as_str() {
        "" => failure.cause.words(),
        message => message.to_owned(),
    });
    if incident.output.is_none() && !failure.excerpt.is_empty() {
        incident.output = Some(failure.excerpt.clone());
    }
}

/// CodeDeploy's names for what the agent knows by number (CodeDeploy API reference, Diagnostics).
fn error_code(code: u8) -> String {
    let name = match code {
        0 => "Success",
        1 => "ScriptMissing",
        2 => "ScriptNotExecutable",
        3 => "ScriptTimedOut",
        4 => "ScriptFailed",
        _ => "UnknownError",
    };
    name.to_owned()
}

fn since(from_ms: EpochMs, to_ms: EpochMs) -> Option<u64> {
    u64::try_from(to_ms - from_ms).ok()
}
