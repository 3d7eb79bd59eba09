//! The checked configuration: what the rest of the agent may rely on.
//!
//! Two layers. `tree.rs` holds what the user wrote, every value with its place; `file.rs`,
//! `source.rs`, `record.rs`, `metric/` and `alarm/` make of it a [`Config`], which cannot hold a bad value. All defaults live in this
//! folder and nowhere else; `conf/deploywatch.toml` shows them, and a test holds the two against
//! each other. Every mistake of all files is found in one go and told with file, line, key, what
//! is allowed and what to do.
//!
//! Nothing here reads a file: [`Config::parse`] takes texts, `cli/mod.rs` finds and reads them.

pub mod alarm;
pub mod events;
mod file;
pub mod metric;
mod mistake;
pub mod name;
mod own;
mod pattern;
mod preset;
mod record;
mod section;
mod shipping;
mod source;
pub mod template;
mod tree;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use crate::ports::GroupOptions;
use alarm::AlarmsConfig;
use events::EventsConfig;
use metric::MetricsConfig;
pub use mistake::{Mistake, Note};
pub use own::is_excluded;
pub use pattern::{Component, Fit, PathPattern, PatternError};
use template::{Template, Variable};
pub use value::is_region;

/// Longest message an event may have, in bytes: a request's 1,048,576 less 26 for the event
/// (CloudWatch Logs API reference, PutLogEvents).
pub const EVENT_BYTES_MAX: usize = 1_048_550;

/// Everything the user may decide, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The process itself.
    pub agent: AgentConfig,
    /// How to reach AWS.
    pub aws: AwsConfig,
    /// Sending, for all sources.
    pub logs: LogsConfig,
    /// The CodeDeploy agent's files.
    pub codedeploy: CodeDeployConfig,
    /// The user's own `[[source]]`s.
    pub sources: Vec<Arc<Source>>,
    /// What is counted and published.
    pub metrics: MetricsConfig,
    /// Which incidents are told to EventBridge.
    pub events: EventsConfig,
    /// The alarms to keep, and their limits.
    pub alarms: AlarmsConfig,
}

impl Config {
    /// Checks the files, given with the names to call them by. Later files add their `[[source]]`s,
    /// `[[metric]]`s and `[[alarm]]`s to those of earlier ones and override everything else key by key.
    ///
    /// # Errors
    /// All mistakes of all files, in the order of the files and lines; never an empty list.
    pub fn parse(files: &[(PathBuf, String)]) -> Result<(Self, Vec<Note>), Vec<Mistake>> {
        file::parse(files)
    }

    /// Every source that is switched on: the CodeDeploy agent's own, then the user's.
    pub fn all_sources(&self) -> impl Iterator<Item = &Source> {
        let builtin = self.codedeploy.sources.iter();
        builtin
            .filter(|_| self.codedeploy.enabled)
            .map(|(_, source)| source)
            .chain(self.sources.iter().map(Arc::as_ref))
    }

    /// Whether any metric goes to CloudWatch: with the directory sink they go where the lines go.
    #[must_use]
    pub fn puts_metrics(&self) -> bool {
        self.logs.sink == Sink::CloudWatch && !self.metrics.published().is_empty()
    }

    /// Whether any incident is told to EventBridge.
    #[must_use]
    pub fn tells_events(&self) -> bool {
        self.logs.sink == Sink::CloudWatch && self.events.kinds().next().is_some()
    }

    /// The variables all group and stream names and all metrics' and alarms' dimensions ask
    /// for: nothing else need be looked up.
    #[must_use]
    pub fn variables(&self) -> BTreeSet<Variable> {
        self.all_sources()
            .flat_map(|source| source.group.variables().chain(source.stream.variables()))
            .cloned()
            .chain(self.metrics.variables())
            .chain(self.events.variables())
            .chain(self.alarms.variables())
            .collect()
    }
}

impl Default for Config {
    /// What an empty file means.
    fn default() -> Self {
        let (config, _no_notes) =
            Self::parse(&[]).expect("the defaults in the code make no mistakes");
        config
    }
}

/// `[agent]`.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Checkpoints, rescue, dead letter. Default `/var/lib/deploywatch`.
    pub state_dir: PathBuf,
    /// How long SIGTERM may drain. Default 30 s.
    pub shutdown_grace: Duration,
    /// `error`, `warn`, `info`, `debug` or `trace`. Default `info`.
    pub log_level: tracing::Level,
}

/// `[aws]`: all optional on EC2.
#[derive(Clone, Debug, Default)]
pub struct AwsConfig {
    /// Region; default: environment, profile, instance metadata.
    pub region: Option<String>,
    /// Another endpoint for every service.
    pub endpoint_url: Option<String>,
    /// PEM file of certificate authorities to trust besides the system's.
    pub ca_bundle: Option<PathBuf>,
    /// FIPS endpoints.
    pub use_fips: bool,
    /// Dual-stack endpoints.
    pub use_dualstack: bool,
}

/// Where batches go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// CloudWatch Logs.
    CloudWatch,
    /// NDJSON files in this directory.
    Directory(PathBuf),
}

/// How a request's body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip, before signing.
    Gzip,
    /// As it is.
    None,
}

/// `[logs]`: defaults for every source.
#[derive(Clone, Debug)]
pub struct LogsConfig {
    /// Default CloudWatch.
    pub sink: Sink,
    /// Default gzip.
    pub compression: Compression,
    /// At most one request a stream in this time unless a batch is full. Default 1 s.
    pub flush_interval: Duration,
}

/// `[codedeploy]`.
#[derive(Clone, Debug)]
pub struct CodeDeployConfig {
    /// Whether the CodeDeploy agent's files are watched at all. Default true.
    pub enabled: bool,
    /// Where its configuration lies; the fallback path is tried when the default is absent.
    pub config_file: PathBuf,
    /// The built-in sources that are switched on, in this order: agent, deployments, scripts,
    /// updater, local. Their `paths` are empty: `codedeploy::layout` fills them in.
    pub sources: Vec<(Builtin, Source)>,
}

/// The CodeDeploy agent's own logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Builtin {
    /// codedeploy-agent.log
    Agent,
    /// codedeploy-agent-deployments.log
    Deployments,
    /// scripts.log of every deployment
    Scripts,
    /// the self-update's log
    Updater,
    /// codedeploy-local.log
    Local,
}

/// One kind of log: which files, how to read them, where they go.
#[derive(Clone, Debug)]
pub struct Source {
    /// Unique name.
    pub name: Arc<str>,
    /// Which files.
    pub paths: Vec<PathPattern>,
    /// Files among them to leave alone; matched against the file name, or against the whole path
    /// when the pattern has a `/`.
    pub exclude: Vec<globset::GlobMatcher>,
    /// Log group name.
    pub group: Template,
    /// Log stream name.
    pub stream: Template,
    /// What a group created by us is created with.
    pub group_options: GroupOptions,
    /// Where to begin in files that are there at the very first start.
    pub start: Start,
    /// Where a record's time stands.
    pub timestamp: Timestamp,
    /// Which lines belong together.
    pub multiline: Multiline,
    /// When not empty, only records that match one of these are sent.
    pub include_lines: Vec<Regex>,
    /// Records that match one of these are not sent.
    pub exclude_lines: Vec<Regex>,
    /// What must never leave.
    pub redact: Redact,
    /// Remove ANSI escape sequences.
    pub strip_ansi: bool,
    /// Whether files are read that others than their owner could have linked to.
    pub hard_links: HardLinks,
    /// Longest message in bytes; a longer record is split. Default 1,048,550.
    pub event_bytes_max: usize,
}

/// What becomes of a file with several names, in a directory where others than the file's owner
/// (and root) can write: they may have linked a file there that they cannot read themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardLinks {
    /// It is not read, and `status` says so (default).
    Refuse,
    /// It is read. Holds for the whole literal directory that the source's patterns begin with.
    Allow,
}

/// Where to begin in a file that is there at the very first start. Files born later are read
/// from their beginning, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the beginning (default).
    Beginning,
    /// At the end: only what comes from now on.
    End,
    /// At the beginning of files written since this boot; at the end of older ones.
    Boot,
}

/// Where a record's time stands and how it is written.
#[derive(Clone, Debug)]
pub enum Timestamp {
    /// The time it was read.
    None,
    /// Any of the known formats at the head of the record (default).
    Auto,
    /// A strftime-like pattern, searched at the head of the record.
    Pattern(String),
    /// Milliseconds since the epoch at the head of the record.
    EpochMillis,
    /// Seconds since the epoch (fraction allowed) at the head of the record.
    EpochSeconds,
    /// A top-level field of a JSON record: a number (s or ms by size) or a text in a known format.
    Json(String),
    /// codedeploy-agent.log and codedeploy-local.log: local time in 1.x, UTC in 2.x, told apart
    /// line by line.
    CodeDeployAgent,
    /// codedeploy-agent-deployments.log: local time, milliseconds.
    CodeDeployDeployments,
    /// scripts.log: local time, seconds.
    CodeDeployScripts,
    /// The updater's log of either generation.
    CodeDeployUpdater,
}

/// Which lines make one record.
#[derive(Clone, Debug)]
pub enum Multiline {
    /// Every line is a record (default).
    None,
    /// A record begins where this matches; other lines belong to the record before.
    Start(Regex),
    /// A line that this matches belongs to the record before.
    Continue(Regex),
    /// Heads of the CodeDeploy agent's log, both generations.
    CodeDeployAgent,
}

/// What is taken out of records before they leave.
#[derive(Clone, Debug)]
pub struct Redact {
    /// The built-in rules. Default true; off only by an explicit `redact = "off"`.
    pub builtin: bool,
    /// The user's own: name and pattern. What the group `secret` (or the whole match) holds goes.
    pub rules: Vec<(String, Regex)>,
}

/// Names for values in templates that are the same for all files, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `i-…`, or the host's name off EC2.
    pub instance_id: Option<String>,
    /// The system's host name.
    pub hostname: Option<String>,
    /// AWS Region.
    pub region: Option<String>,
    /// AWS account.
    pub account_id: Option<String>,
    /// Auto Scaling group. `None`: not known (yet); empty: known to be in none.
    pub asg: Option<String>,
    /// Instance tags, where the instance allows them in metadata.
    pub tags: BTreeMap<String, String>,
    /// Whether everything that can be known is known: what is still missing will stay missing.
    pub complete: bool,
}

#[cfg(test)]
mod tests;
