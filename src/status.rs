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

impl SourceCounts {
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
