//! The JSON of an event: `detail` as consumers read it, described by
//! `packaging/event-detail.schema.json`. Fields are only ever added to a version.

use serde::Serialize;

use super::console;
use super::incident::Incident;
use crate::config::Identity;
use crate::config::events::EventKind;
use crate::event::EpochMs;
use crate::ports::EventEntry;

/// Version of the detail's shape.
pub const DETAIL_VERSION: u32 = 1;

/// The `source` of every event.
pub const SOURCE: &str = "deploywatch";

/// Its fields in the order in which they are written.
#[derive(Serialize)]
struct Detail<'a> {
    version: u32,
    id: String,
    kind: EventKind,
    time: String,
    instance_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_scaling_group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<Deployment<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifecycle_event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Log<'a>>,
}

#[derive(Serialize)]
struct Deployment<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<&'a str>,
    /// How its end is known, where that is not by a word of the CodeDeploy agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    inferred: Option<bool>,
}

#[derive(Serialize)]
struct Log<'a> {
    group: &'a str,
    stream: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    console_url: Option<String>,
}

/// The event of an incident. `None` while it is not known on which instance it happened.
pub(super) fn entry(incident: &Incident, identity: &Identity) -> Option<EventEntry> {
    let instance_id = identity.instance_id.as_deref()?;
    let region = identity.region.as_deref();
    let detail = Detail {
        version: DETAIL_VERSION,
        id: format!("{instance_id}/{}", incident.key()),
        kind: incident.kind,
        time: date(incident.at_ms),
        instance_id,
        auto_scaling_group: identity.asg.as_deref().filter(|asg| !asg.is_empty()),
        deployment: incident.deployment_id.as_deref().map(|id| Deployment {
            id,
            group_id: incident.deployment_group_id.as_deref(),
            inferred: (incident.kind == EventKind::DeploymentSucceeded).then_some(true),
        }),
        lifecycle_event: incident.lifecycle_event.as_deref(),
        script: incident.script.as_deref(),
        exit_code: incident.exit_code,
        signal: incident.signal.as_deref(),
        error_code: incident.error_code.as_deref(),
        reason: incident.reason.as_deref(),
        started: incident.started_ms.map(date),
        duration_ms: incident.duration_ms,
        output: incident.output.as_deref().filter(|text| !text.is_empty()),
        source: incident.lost.as_ref().map(|lost| lost.source.as_str()),
        bytes: incident.lost.as_ref().map(|lost| lost.bytes),
        log: incident.log.as_ref().map(|log| Log {
            group: &log.group,
            stream: &log.stream,
            console_url: region.and_then(|region| {
                let from_ms = incident.started_ms.unwrap_or(incident.at_ms);
                console::link(region, log, from_ms)
            }),
        }),
    };
    Some(EventEntry {
        time_ms: incident.at_ms,
        source: SOURCE,
        detail_type: incident.kind.detail_type(),
        detail: serde_json::to_string(&detail).expect("texts and numbers are always JSON"),
        resources: instance_arn(identity).into_iter().collect(),
    })
}

fn instance_arn(identity: &Identity) -> Option<String> {
    let (id, region, account) = (
        identity.instance_id.as_deref()?,
        identity.region.as_deref()?,
        identity.account_id.as_deref()?,
    );
    let partition = console::partition(region);
    id.starts_with("i-")
        .then(|| format!("arn:{partition}:ec2:{region}:{account}:instance/{id}"))
}

/// RFC 3339 in UTC with milliseconds; a time that no calendar knows is the epoch.
fn date(time_ms: EpochMs) -> String {
    let time = jiff::Timestamp::from_millisecond(time_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}
