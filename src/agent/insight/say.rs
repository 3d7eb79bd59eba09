//! What the own log says of deployments and of the CodeDeploy agent's health, and what keeps such news
//! from leaving.

use crate::codedeploy::{Freshness, News, What};
use crate::event::Now;

use super::Insight;

impl Insight {
    /// One sentence for each service that takes nothing until a person helps.
    pub(in crate::agent) fn problems(&self, now: Now) -> impl Iterator<Item = String> {
        let problems = [self.metrics.problem(now), self.events.problem()];
        problems.into_iter().flatten()
    }
}

/// Says what happened; what is old is not news.
pub(super) fn say(news: &News) {
    if news.freshness != Freshness::Fresh {
        return;
    }
    match &news.what {
        What::DeploymentSucceeded { deployment, .. } => {
            tracing::info!(
                deployment,
                "deployment succeeded, as far as this instance can tell"
            );
        }
        What::DeploymentFailed {
            deployment,
            event,
            failure,
        } => {
            let (why, script) = (failure.cause.words(), &failure.script);
            tracing::warn!(deployment, event, why, script, "deployment failed");
        }
        What::DeploymentHanging {
            deployment,
            event,
            silent_ms,
        } => {
            let silent_s = silent_ms / 1000;
            tracing::warn!(deployment, event, silent_s, "deployment hangs");
        }
        What::DeploymentAborted { deployment, event } => {
            tracing::warn!(deployment, event, "deployment was cut off by a restart");
        }
        What::DeploymentSuperseded { deployment, by } => {
            tracing::info!(deployment, by, "deployment was superseded");
        }
        What::HealthChanged { verdict } => match verdict.is_healthy() {
            Some(false) => {
                tracing::warn!(why = verdict.reason(), "the CodeDeploy agent is not well");
            }
            _ => tracing::info!(why = verdict.reason(), "the CodeDeploy agent's health"),
        },
        What::LifecycleEventFinished {
            deployment,
            event,
            outcome,
            ..
        } => {
            let outcome = outcome.word();
            tracing::debug!(deployment, event, outcome, "lifecycle event finished");
        }
        What::CommandReceived { deployment, event }
        | What::LifecycleEventStarted { deployment, event }
        | What::ScriptStarted {
            deployment, event, ..
        } => tracing::debug!(deployment, event, "lifecycle event goes on"),
    }
}
