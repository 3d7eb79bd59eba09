//! An incident: what happened on this instance, before it is an event.

use serde::{Deserialize, Serialize};

pub use crate::config::events::EventKind;
use crate::event::{EpochMs, Target};

/// Most bytes of a text that is told with an incident, cut at its end.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// Most bytes of the last lines of output, cut at their beginning.
pub const OUTPUT_BYTES_MAX: usize = 4_096;

/// Most lines of output.
pub const OUTPUT_LINES_MAX: usize = 20;

/// Most bytes of one identifier.
const NAME_BYTES_MAX: usize = 256;

/// Whether an incident is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It happened in this boot, and is heard of for the first time.
    News,
    /// It happened before this boot, or before this agent came to the instance, or is read again.
    Old,
}

/// What happened. What is not known or does not belong to its kind is `None`; all texts are
/// redacted already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// What kind of thing.
    pub kind: EventKind,
    /// When it happened.
    pub at_ms: EpochMs,
    /// The deployment, `d-…`.
    pub deployment_id: Option<String>,
    /// Its deployment group's id.
    pub deployment_group_id: Option<String>,
    /// The lifecycle event, `BeforeInstall`.
    pub lifecycle_event: Option<String>,
    /// The script, as the AppSpec file names it.
    pub script: Option<String>,
    /// What it exited with.
    pub exit_code: Option<i32>,
    /// The signal that ended it, by name or number.
    pub signal: Option<String>,
    /// CodeDeploy's error code, `ScriptFailed`.
    pub error_code: Option<String>,
    /// Why, in words: the error's message, why the agent is unhealthy, why actions are suspended,
    /// how bytes were lost.
    pub reason: Option<String>,
    /// When that which ended began.
    pub started_ms: Option<EpochMs>,
    /// How long it took, or has been going on, by the best clock.
    pub duration_ms: Option<u64>,
    /// The last lines it printed.
    pub output: Option<String>,
    /// The loss, for [`EventKind::BytesLost`].
    pub lost: Option<Lost>,
    /// Where its log is.
    pub log: Option<Target>,
}

/// Bytes that could not be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The number of the loss: the same loss has the same number for ever.
    pub number: u64,
    /// The source that lost them.
    pub source: String,
    /// How many.
    pub bytes: u64,
}

impl Incident {
    /// An incident of which nothing more is known.
    #[must_use]
    pub fn new(kind: EventKind, at_ms: EpochMs) -> Self {
        Self {
            kind,
            at_ms,
            deployment_id: None,
            deployment_group_id: None,
            lifecycle_event: None,
            script: None,
            exit_code: None,
            signal: None,
            error_code: None,
            reason: None,
            started_ms: None,
            duration_ms: None,
            output: None,
            lost: None,
            log: None,
        }
    }

    /// What tells it from every other incident on this instance. A deployment runs each lifecycle
    /// event once, and ends once; a loss has its number; the rest has only its time.
    #[must_use]
    pub fn key(&self) -> String {
        let kind = self.kind.name();
        let event = self.lifecycle_event.as_deref().unwrap_or("-");
        match (self.kind, &self.deployment_id, &self.lost) {
            (EventKind::LifecycleEventFailed | EventKind::DeploymentHanging, Some(id), _) => {
                format!("{kind}/{id}/{event}")
            }
            (_, Some(id), _) => format!("{kind}/{id}"),
            (_, None, Some(lost)) => format!("{kind}/{}", lost.number),
            (_, None, None) => format!("{kind}/{}", self.at_ms),
        }
    }

    /// The same within the limits: what is longer is cut.
    pub(crate) fn bounded(mut self) -> Self {
        for name in [
            &mut self.deployment_id,
            &mut self.deployment_group_id,
            &mut self.lifecycle_event,
            &mut self.signal,
            &mut self.error_code,
        ] {
            cut_end(name, NAME_BYTES_MAX);
        }
        cut_end(&mut self.script, TEXT_BYTES_MAX);
        cut_end(&mut self.reason, TEXT_BYTES_MAX);
        if let Some(output) = &mut self.output {
            cut_begin(output);
        }
        if let Some(lost) = &mut self.lost {
            lost.source
                .truncate(lost.source.floor_char_boundary(NAME_BYTES_MAX));
        }
        self
    }

    /// How much memory it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        let texts = [
            &self.deployment_id,
            &self.deployment_group_id,
            &self.lifecycle_event,
            &self.script,
            &self.signal,
            &self.error_code,
            &self.reason,
            &self.output,
        ];
        let log = self
            .log
            .as_ref()
            .map_or(0, |log| log.group.len() + log.stream.len());
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        size_of::<Self>() + texts + log
    }
}

/// Cuts what is too long, and says so with an ellipsis.
fn cut_end(text: &mut Option<String>, limit: usize) {
    let Some(text) = text else { return };
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit - '…'.len_utf8()));
        text.push('…');
    }
}

/// Keeps the last lines: where things end is where the reason stands.
fn cut_begin(output: &mut String) {
    let end = output.trim_end_matches('\n').len();
    output.truncate(end);
    let mut from = output.ceil_char_boundary(output.len().saturating_sub(OUTPUT_BYTES_MAX));
    if let Some((at, _)) = output.rmatch_indices('\n').nth(OUTPUT_LINES_MAX - 1) {
        from = from.max(at + 1);
    }
    output.drain(..from);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is reported, what is kept is bounded and is the end of the output: shown with
        /// texts of any length and letters.
        #[test]
        fn an_incident_is_bounded(text in "(\\PC|\n){0,200}", times in 1_usize..100) {
            let long = text.repeat(times);
            let given = Some(long.clone());
            let incident = Incident {
                deployment_id: given.clone(),
                lifecycle_event: given.clone(),
                script: given.clone(),
                signal: given.clone(),
                error_code: given.clone(),
                reason: given.clone(),
                output: given,
                lost: Some(Lost { number: 1, source: long.clone(), bytes: 1 }),
                ..Incident::new(EventKind::BytesLost, 0)
            }.bounded();
            prop_assert!(incident.bytes() < 8 * 1024);
            let output = incident.output.unwrap();
            prop_assert!(long.trim_end_matches('\n').ends_with(&output));
            prop_assert!(output.lines().count() <= OUTPUT_LINES_MAX);
            prop_assert!(incident.reason.unwrap().len() <= TEXT_BYTES_MAX);
        }
    }

    /// Different incidents have different keys, one reported twice has one: shown by a table.
    #[test]
    fn keys_tell_incidents_apart() {
        let deployment = |kind, id: &str, event: Option<&str>, at_ms| {
            Incident {
                deployment_id: Some(id.to_owned()),
                lifecycle_event: event.map(str::to_owned),
                ..Incident::new(kind, at_ms)
            }
            .key()
        };
        use EventKind::{DeploymentFailed, LifecycleEventFailed};
        let one = deployment(LifecycleEventFailed, "d-1", Some("BeforeInstall"), 5);
        assert_eq!(one, "lifecycle_event_failed/d-1/BeforeInstall");
        assert_eq!(
            one,
            deployment(LifecycleEventFailed, "d-1", Some("BeforeInstall"), 6)
        );
        assert_ne!(
            one,
            deployment(LifecycleEventFailed, "d-1", Some("AfterInstall"), 5)
        );
        assert_ne!(
            one,
            deployment(LifecycleEventFailed, "d-2", Some("BeforeInstall"), 5)
        );
        let failed = deployment(DeploymentFailed, "d-1", Some("BeforeInstall"), 5);
        assert_eq!(failed, deployment(DeploymentFailed, "d-1", None, 9));
        let sick = |at_ms| Incident::new(EventKind::CodeDeployAgentUnhealthy, at_ms).key();
        assert_ne!(sick(1), sick(2));
        let lost = |number, at_ms| {
            let lost = Some(Lost {
                number,
                source: "a".to_owned(),
                bytes: 3,
            });
            Incident {
                lost,
                ..Incident::new(EventKind::BytesLost, at_ms)
            }
            .key()
        };
        assert_eq!(lost(1, 5), lost(1, 6));
        assert_ne!(lost(1, 5), lost(2, 5));
    }
}
