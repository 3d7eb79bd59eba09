//! The traits of the edges: everything the middle may ask of this machine or of the network.
//!
//! `os/`, `aws/` and `directory.rs` implement them for real; `tests/sim` implements them in
//! memory. Calls never block for long: the network's are "submit now, ask for answers later".

pub mod alarm;
mod bus;
pub mod sealed;
mod store;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::event::FileKey;
use crate::event::{Batch, EpochMs, Offset, Target};
pub use bus::{EventAnswer, EventCall, EventEntry, EventService};
pub use store::{DAMAGED_MAX, Pieces, Sheet, Store};

/// An open file, as a number the edge understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub u32);

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file: the only kind that is opened.
    File,
    /// A directory: the only kind that is descended into.
    Directory,
    /// Symlinks that leave their root, FIFOs, sockets, devices: left alone.
    Other,
}

/// What the system says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Which file.
    pub key: FileKey,
    /// What kind of thing.
    pub kind: Kind,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last write.
    pub modified_ms: EpochMs,
    /// Names that still lead to it; 0 = deleted, its bytes live only as long as it is open.
    pub links: u64,
}

/// The log files of this machine, read only. `root` is the literal directory the user's pattern
/// begins with: no symlink is followed out of it, and none to what its maker does not own.
pub trait Files {
    /// The names in a directory (not `.` and `..`) with what they are, in no order.
    ///
    /// # Errors
    /// As the system says; a missing directory is `NotFound`.
    fn list(&mut self, root: &Path, dir: &Path) -> io::Result<Vec<(std::ffi::OsString, Kind)>>;

    /// What the system says of a path, the link itself not followed out of `root`.
    ///
    /// # Errors
    /// As the system says.
    fn stat(&mut self, root: &Path, path: &Path) -> io::Result<Meta>;

    /// Opens a regular file for reading without blocking.
    ///
    /// # Errors
    /// As the system says; anything but a regular file is `InvalidInput`.
    fn open(&mut self, root: &Path, path: &Path) -> io::Result<(Handle, Meta)>;

    /// What the system says of an open file.
    ///
    /// # Errors
    /// As the system says.
    fn meta(&mut self, handle: Handle) -> io::Result<Meta>;

    /// Reads up to `into.len()` bytes at `offset`; 0 = end of file for now.
    ///
    /// # Errors
    /// As the system says.
    fn read_at(&mut self, handle: Handle, offset: Offset, into: &mut [u8]) -> io::Result<usize>;

    /// Lets go of an open file.
    fn close(&mut self, handle: Handle);
}

/// The processes of this machine, as far as anybody may see them.
pub trait Processes {
    /// What the system says of a process; `None` where there is no such process. Of one that it hides
    /// from us, it says what it says of `service`, such as `x.service`, if the process is part of that.
    ///
    /// # Errors
    /// Where the system does not say.
    fn process(&mut self, id: u32, service: &str) -> io::Result<Option<Process>>;
}

/// What the system says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The command line, arguments separated by blanks, at most 256 bytes; the name of its service where
    /// the system hides the process.
    pub command: String,
    /// Whether it has a child; whether its service has another process where the system hides both.
    pub has_child: bool,
}

/// Wakes the scan: a hint that something happened, never the truth about what.
pub trait Watch {
    /// Asks for hints about a directory's entries (not recursively). False: no hints will come
    /// for it (no inotify here, out of watches, no such directory), so it must be polled.
    fn watch(&mut self, dir: &Path) -> bool;

    /// Whether what was asked for last was refused for want of watches, as everything would be.
    fn is_full(&self) -> bool {
        false
    }

    /// No more hints about a directory.
    fn unwatch(&mut self, dir: &Path);

    /// Names the paths about which hints are wanted from now on; until then, all are. Others may
    /// still come.
    fn care_for(&mut self, _interest: Interest) {}

    /// The hints since the last call.
    fn take(&mut self) -> Hints;
}

/// Which paths somebody wants hints about, by their names alone. Asked on other threads.
#[derive(Clone)]
pub struct Interest(pub Arc<dyn Fn(&Path) -> bool + Send + Sync>);

impl fmt::Debug for Interest {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Interest")
    }
}

/// What a [`Watch`] noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Paths that changed, appeared or vanished; duplicates allowed.
    pub paths: Vec<PathBuf>,
    /// Hints were lost (the queue overflowed): look at everything.
    pub rescan: bool,
}

/// A request's name while it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What the log service can be asked. A batch moves out with its call and back with the answer,
/// so there is never a second owner who could settle it.
#[derive(Debug)]
pub enum LogCall {
    /// PutLogEvents with the events of `range`.
    Put {
        /// The batch, borrowed for the time of the call.
        batch: Batch,
        /// Which of its events to send.
        range: Range<usize>,
    },
    /// CreateLogStream.
    CreateStream(Target),
    /// CreateLogGroup, then what belongs to a group of ours (retention).
    CreateGroup(String, GroupOptions),
}

/// What a group is created with. An existing group is never changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupOptions {
    /// Days the service keeps events; `None` = for ever.
    pub retention_days: Option<u16>,
    /// `STANDARD` or `INFREQUENT_ACCESS`; `None` = the service's default.
    pub class: Option<String>,
    /// ARN of the key to encrypt with.
    pub kms_key_id: Option<String>,
    /// Tags, name to value.
    pub tags: std::collections::BTreeMap<String, String>,
}

/// An answer, or the want of one.
#[derive(Debug)]
pub struct LogAnswer {
    /// Which call.
    pub id: CallId,
    /// The batch of a [`LogCall::Put`], back from its journey.
    pub batch: Option<Batch>,
    /// What the service said.
    pub result: Result<Accepted, ServiceError>,
}

/// A good answer. Indexes count from the first event of the call's range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Events from this index on are too new (inclusive).
    pub too_new_from: Option<usize>,
    /// Events before this index are too old (exclusive).
    pub too_old_until: Option<usize>,
    /// Events before this index are older than the group's retention (exclusive).
    pub expired_until: Option<usize>,
}

/// A bad answer, or none, already mapped to what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ServiceError {
    /// What to do.
    pub class: ErrorClass,
    /// The service's error code, or ours for want of one (`Timeout`, `Connect`…).
    pub code: String,
    /// The service's text, bounded in length, without secrets.
    pub message: String,
}

/// What to do about a bad answer. The table from codes to classes is `aws/errors.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// 5xx, timeouts, resets, clock skew (already corrected): again, after a short backoff.
    RetrySoon,
    /// ThrottlingException: again, after a longer backoff, and less often from then on.
    Throttled,
    /// No or refused credentials, no permission, a missing KMS key: keep the data, try now and
    /// then, be loud in health.
    RetrySlowly,
    /// ResourceNotFoundException: create the group and the stream, then again.
    MissingTarget,
    /// ResourceAlreadyExistsException of a create call, or a group that was made without its
    /// retention: as good as done.
    AlreadyExists,
    /// InvalidParameterException: some event is guilty; find it by bisection.
    Invalid,
    /// DataAlreadyAcceptedException: as good as accepted.
    AlreadyAccepted,
}

/// Failing for so long is worth telling, whatever the reason.
const LOUD_AFTER_MS: u64 = 60_000;

impl ErrorClass {
    /// Whether a person should hear of it, when nothing else has come for so long.
    #[must_use]
    pub fn is_loud(self, failing_ms: u64) -> bool {
        self == Self::RetrySlowly || failing_ms >= LOUD_AFTER_MS
    }
}

/// The log service, or something that stands in for it.
pub trait LogService {
    /// Starts a call. Its answer comes by [`LogService::answer`], exactly one per call.
    fn submit(&mut self, id: CallId, call: LogCall);

    /// The next answer that is there, if any.
    fn answer(&mut self) -> Option<LogAnswer>;
}

/// One metric's numbers for one period, checked against the service's rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Datum {
    /// Metric name.
    pub name: String,
    /// Names and values, in the order of the names.
    pub dimensions: Vec<(String, String)>,
    /// When the period began, in ms since the epoch.
    pub time_ms: EpochMs,
    /// One of CloudWatch's units.
    pub unit: String,
    /// `StorageResolution` in seconds, 1 or 60.
    pub resolution_s: u32,
    /// The numbers.
    pub numbers: Numbers,
}

/// The three ways CloudWatch takes numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// `Value`.
    One(f64),
    /// `Values` with `Counts`: at most 150 different values, each with how often it was seen.
    Many(Vec<(f64, f64)>),
    /// `StatisticValues`, where there are more different values than that.
    Summary(Summary),
}

/// What is said of many numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Numbers {
    /// All of them together.
    pub fn summary(&self) -> Summary {
        match self {
            Self::One(value) => Summary {
                count: 1.0,
                sum: *value,
                min: *value,
                max: *value,
            },
            Self::Many(values) => {
                let each = values.iter().map(|(value, _)| *value);
                Summary {
                    count: values.iter().map(|(_, count)| count).sum(),
                    sum: values.iter().map(|(value, count)| value * count).sum(),
                    min: each.clone().fold(f64::INFINITY, f64::min),
                    max: each.fold(f64::NEG_INFINITY, f64::max),
                }
            }
            Self::Summary(summary) => *summary,
        }
    }
}

/// A PutMetricData call: one namespace, at most 1,000 data and 1 MB.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricCall {
    /// Where the data go.
    pub namespace: Arc<str>,
    /// What is sent; shared, since the caller keeps it until the answer is there.
    pub data: Arc<[Datum]>,
}

/// The answer to a [`MetricCall`]. The service takes all data of a call or none.
#[derive(Debug)]
pub struct MetricAnswer {
    /// Which call.
    pub id: CallId,
    /// What the service said. Only the classes [`ErrorClass::RetrySoon`],
    /// [`ErrorClass::Throttled`], [`ErrorClass::RetrySlowly`] and [`ErrorClass::Invalid`] occur.
    pub result: Result<(), ServiceError>,
}

/// The metric service, or something that stands in for it.
pub trait MetricService {
    /// Starts a call. Its answer comes by [`MetricService::answer`], exactly one per call.
    fn submit(&mut self, id: CallId, call: MetricCall);

    /// The next answer that is there, if any.
    fn answer(&mut self) -> Option<MetricAnswer>;

    /// By how much the service's date is ahead of the system's, in ms, as far as its answers told;
    /// 0 while it takes the system's, and where there is no service.
    fn clock_offset_ms(&self) -> i64 {
        0
    }
}
