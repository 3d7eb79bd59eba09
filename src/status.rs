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
