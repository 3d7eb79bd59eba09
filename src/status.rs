//! What `deploywatch status` shows: a snapshot the running agent makes on request.
//!
//! Plain data in the shape of its JSON. `agent.rs` fills it, `os/` carries it over the socket,
//! `cli/status.rs` draws it. Counts only, never contents of lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{EpochMs, Refusals};

/// The whole snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the running agent.
    pub version: String,
    /// When it started.
    pub started_ms: EpochMs,
    /// When the snapshot was made.
    pub now_ms: EpochMs,
    /// Instance id (or host name), once known.
    pub instance_id: Option<String>,
    /// One sentence for each thing that needs a person, empty when all is well.
    pub problems: Vec<String>,
    /// The CodeDeploy agent as found, in words (`1.8.1 at /var/log/aws/codedeploy-agent`, or why
    /// we wait for it).
    pub codedeploy: String,
    /// Every file known, those with a backlog first.
    pub files: Vec<FileStatus>,
    /// Every target with events on their way or a recent answer.
    pub targets: Vec<TargetStatus>,
    /// Totals since the state directory was made, by source.
    pub sources: BTreeMap<String, SourceCounts>,
    /// Memory held by batches, and its limit, in bytes.
    pub batch_bytes: (u64, u64),
    /// Rescue segments not yet shipped: how many, how many bytes.
    pub rescue: (u64, u64),
    /// Deployments on this instance, each as a timeline.
    #[serde(default)]
    pub deployments: DeploymentsStatus,
    /// How the CodeDeploy agent is.
    #[serde(default)]
    pub codedeploy_health: AgentHealth,
    /// How publishing metrics goes.
    #[serde(default)]
    pub metrics: MetricsStatus,
    /// The alarms that this instance keeps.
    #[serde(default)]
    pub alarms: AlarmsStatus,
    /// Events to EventBridge.
    #[serde(default)]
    pub events: EventsStatus,
}

/// Where one file is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FileStatus {
    /// Its source.
    pub source: String,
    /// Its present name.
    pub path: String,
    /// Device and inode, `device:inode`.
    pub identity: String,
    /// Group and stream.
    pub target: String,
    /// Bytes on disk.
    pub size: u64,
    /// Bytes handed on.
    pub read: u64,
    /// Bytes the service has answered for, without a gap.
    pub settled: u64,
    /// `size - settled`.
    pub lag_bytes: u64,
    /// Age of the oldest byte not settled, as far as known, in seconds.
    pub lag_seconds: u64,
    /// `reading`, `waiting`, `idle`, `deleted`, `unreadable: …`.
    pub state: String,
}

/// What the service last said about one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Group name.
    pub group: String,
    /// Stream name.
    pub stream: String,
    /// `ok`, or the last error in words.
    pub last_answer: String,
    /// When it came.
    pub last_answer_ms: EpochMs,
    /// Bytes waiting or in flight.
    pub pending_bytes: u64,
    /// When the next try is due, if it waits to retry.
    pub retry_ms: Option<EpochMs>,
}

/// What became of a source's bytes, counted. Stored in the checkpoint, so it survives restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceCounts {
    /// Events the service took.
    pub events_delivered: u64,
    /// Their message bytes.
    pub bytes_delivered: u64,
    /// Events refused one by one.
    pub refused: Refusals,
    /// Bytes that were on disk and could not be kept, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Bytes read and not sent on purpose (`filtered`, `nul`), by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Records split because they were too long.
    pub split: u64,
    /// Records with bytes that were not UTF-8.
    pub not_utf8: u64,
    /// Records whose time was not believable or not found where one was expected.
    pub undated: u64,
    /// Redactions by rule.
    pub redacted: BTreeMap<String, u64>,
}

/// The deployments of this instance, as far as they are remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeploymentsStatus {
    /// For how long the oldest running deployment has been running, in seconds; 0 when none is.
    pub running_seconds: f64,
    /// Whether the newest deployment that ended since the boot failed.
    pub last_failed: bool,
    /// All that are remembered (at most 100), the newest first.
    pub deployments: Vec<DeploymentStatus>,
}

/// One deployment as a timeline of lifecycle events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeploymentStatus {
    /// Its id.
    pub id: String,
    /// Name of the deployment group, or its id where only that is known.
    pub group: Option<String>,
    /// The deployment group's id, once its hooks' log told it.
    #[serde(default)]
    pub group_id: Option<String>,
    /// Name of the application (2.x tells).
    pub application: Option<String>,
    /// `running`, `waiting` (for the next command), `hanging`, `succeeded`, `failed`, `aborted`,
    /// `superseded`, `unknown`.
    pub state: String,
    /// Whether the state is no record's word but what follows from the records.
    pub inferred: bool,
    /// The time of the first record about it.
    pub began_ms: EpochMs,
    /// When it ended.
    pub ended_ms: Option<EpochMs>,
    /// Its lifecycle events in the order in which they came.
    pub events: Vec<LifecycleEventStatus>,
    /// The last lines that the failed event's scripts printed, redacted; at most 20 and 2 KiB.
    pub output: Vec<String>,
}

/// One lifecycle event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LifecycleEventStatus {
    /// Its name.
    pub name: String,
    /// `received`, `running`, `succeeded`, `noop`, `failed`, `refused`, `unknown`.
    pub state: String,
    /// When its command came.
    pub received_ms: Option<EpochMs>,
    /// When its work began.
    pub started_ms: Option<EpochMs>,
    /// When it ended.
    pub finished_ms: Option<EpochMs>,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// The service did not take the report of how it ended.
    pub unreported: bool,
    /// Its scripts, in the order in which they were started.
    pub scripts: Vec<ScriptStatus>,
    /// Why it failed.
    pub failure: Option<FailureStatus>,
}

/// One script of a lifecycle event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScriptStatus {
    /// As appspec.yml names it.
    pub location: String,
    /// When it was started.
    pub started_ms: EpochMs,
    /// `running`, `finished`, `failed`, `unknown`.
    pub state: String,
}

/// Why a lifecycle event failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FailureStatus {
    /// CodeDeploy's error code, where it gave one.
    pub error_code: Option<u8>,
    /// The script at fault; empty where none is.
    pub script: String,
    /// What happened, in a few words (`exit code 3`, `timed out after 60 s`).
    pub cause: String,
    /// CodeDeploy's own words, redacted.
    pub message: String,
}

/// The CodeDeploy agent's health.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentHealth {
    /// `None` while nothing can be said: none is installed, or it is too early.
    pub healthy: Option<bool>,
    /// Why, in a sentence.
    pub reason: String,
    /// When the service last answered it, as far as the log says.
    pub answered_ms: Option<EpochMs>,
}

/// Events to EventBridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsStatus {
    /// Whether any are sent.
    pub enabled: bool,
    /// The bus.
    pub bus: String,
    /// Incidents not yet taken by the service.
    pub waiting: u64,
    /// What became of the others.
    pub counts: EventCounts,
    /// Why the last try failed, while there is trouble.
    pub last_error: Option<String>,
}

/// What became of incidents, since the state directory was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCounts {
    /// Taken by the service.
    pub sent: u64,
    /// Reported again, and dropped.
    pub repeated: u64,
    /// Old news when they were found: never sent.
    pub old: u64,
    /// Found in an earlier boot and not sent in it.
    pub before_boot: u64,
    /// Waited for a day.
    pub expired: u64,
    /// Refused by the service, one by one.
    pub refused: u64,
    /// Pushed out by newer ones in an outage.
    pub no_room: u64,
}

/// The alarms this instance keeps, and whether they may act.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlarmsStatus {
    /// Whether the agent itself makes them.
    pub managed: bool,
    /// Who suspended their actions: `loop breaker` or `hand`; absent: nobody.
    pub suspended_by: Option<String>,
    /// Since when.
    pub suspended_since_ms: Option<EpochMs>,
    /// Whether CloudWatch has confirmed it; until then breaches are not published.
    pub suspension_confirmed: bool,
    /// Restarts within the window that count.
    pub restarts: u32,
    /// When CloudWatch was last seen to have all of them as they are wanted.
    pub applied_ms: Option<EpochMs>,
    /// The alarm and action that led to this boot, where the history tells.
    pub preceded_by: Option<String>,
    /// What a person should know.
    pub problem: Option<String>,
    /// Each of them.
    pub alarms: Vec<AlarmStatus>,
}

/// One alarm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlarmStatus {
    /// Its name below the prefix.
    pub name: String,
    /// Namespace and name of its metric.
    pub metric: String,
    /// What it does to the instance: `reboot` and so on.
    pub action: Option<String>,
    /// Whether the values we publish breach it; only known for our own metrics that act.
    pub breaching: bool,
}

/// How publishing metrics goes. Totals since the state directory was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricsStatus {
    /// Namespace the data go to.
    pub namespace: String,
    /// Length of a period in seconds.
    pub period_s: u32,
    /// Data that the service took.
    pub delivered: u64,
    /// Data that wait, in flight or for the next call.
    pub pending: u64,
    /// Numbers and data that were not delivered and never will be, by reason.
    pub refused: BTreeMap<String, u64>,
    /// `ok`, or the last error in words.
    pub last_answer: String,
    /// When it came.
    pub last_answer_ms: EpochMs,
    /// When the next try is due, if it waits to retry.
    pub retry_ms: Option<EpochMs>,
    /// Dimensions that this instance has no value for: sets with them are left out.
    pub without_value: Vec<String>,
}

impl SourceCounts {
    /// Counts bytes that were not sent on purpose.
    pub(crate) fn skip(&mut self, reason: &str, bytes: u64) {
        if bytes > 0 {
            *self.skipped.entry(reason.to_owned()).or_default() += bytes;
        }
    }

    /// Every number in it, for checks that hold for all.
    pub fn all(&self) -> impl Iterator<Item = u64> + '_ {
        let refused = &self.refused;
        let maps = [&self.lost, &self.skipped, &self.redacted];
        let single = [
            self.events_delivered,
            self.bytes_delivered,
            self.split,
            self.not_utf8,
            self.undated,
            refused.too_new,
            refused.too_old,
            refused.expired,
            refused.invalid,
        ];
        let mapped = maps.into_iter().flat_map(|map| map.values().copied());
        single.into_iter().chain(mapped)
    }
}
