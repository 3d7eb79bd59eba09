//! What the CodeDeploy agent's small files and its processes show: the evidence beside the logs.
//!
//! ```text
//! ongoing-deployment/ID        there while a command of that deployment is carried out
//! .pid/codedeploy-agent.pid    id of the main process; removed by a clean stop, stale after a kill
//! codedeploy-agent.log         when it was last written
//! ```

use std::io;
use std::path::Path;

use super::fact::is_id;
use super::health::{MainProcess, Presence};
use super::layout::{Layout, SERVICE, VERSION_PATH};
use super::roster::mono;
use crate::event::{EpochMs, Now, Offset};
use crate::ports::{Files, Kind, Processes};

/// Tracking files looked at; the agent works on at most 16 commands at once.
const TRACKED_MAX: usize = 64;
/// Most that is read of a pid file.
const PID_BYTES_MAX: usize = 32;

/// Looks, and remembers which process it is about.
#[derive(Debug, Default)]
pub(super) struct Look {
    pid: Pid,
}

/// What the pid file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pid {
    /// It cannot be read, or nobody looked.
    #[default]
    Unknown,
    /// There is none.
    Missing,
    Of(u32),
}

/// What was seen.
pub(super) struct Seen {
    pub(super) presence: Presence,
    /// When the agent log was last written.
    pub(super) log_written_ms: Option<EpochMs>,
    /// The deployments with a tracking file, and when it was written; `None` where the directory
    /// cannot be read.
    pub(super) tracked: Option<Vec<(String, EpochMs)>>,
}

impl Look {
    pub(super) fn at_files(&mut self, files: &mut dyn Files, layout: &Layout) -> Seen {
        self.pid = pid(files, &layout.pid_file);
        let log = layout.agent_log();
        let log = files.stat(Path::new("/"), &log).ok();
        let is_there = self.pid != Pid::Missing
            || log.is_some()
            || files.stat(Path::new("/"), Path::new(VERSION_PATH)).is_ok();
        Seen {
            presence: if is_there {
                Presence::Installed
            } else {
                Presence::Missing
            },
            log_written_ms: log.map(|meta| meta.modified_ms),
            tracked: tracked(files, layout),
        }
    }

    pub(super) fn at_processes(
        &self,
        processes: &mut dyn Processes,
        before: MainProcess,
        now: Now,
    ) -> MainProcess {
        let gone = match before {
            MainProcess::Gone(since) => MainProcess::Gone(since),
            _ => MainProcess::Gone(mono(now)),
        };
        let id = match self.pid {
            Pid::Unknown => return MainProcess::Unknown,
            Pid::Missing => return gone,
            Pid::Of(id) => id,
        };
        match processes.process(id, SERVICE) {
            Err(_unreadable) => MainProcess::Unknown,
            // An id is reused: what else runs under it is not the agent.
            Ok(Some(process)) if process.command.contains("codedeploy-agent") => {
                match (process.has_child, before) {
                    (true, _) => MainProcess::Alive,
                    (false, MainProcess::Alone(since)) => MainProcess::Alone(since),
                    (false, _) => MainProcess::Alone(mono(now)),
                }
            }
            Ok(_) => gone,
        }
    }
}

fn tracked(files: &mut dyn Files, layout: &Layout) -> Option<Vec<(String, EpochMs)>> {
    let dir = &layout.ongoing_deployment;
    let names = match files.list(&layout.root_dir, dir) {
        // 1.x makes the directory when it first needs it, and removes it after a crash.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names.ok()?,
    };
    let mut tracked = Vec::new();
    for (name, kind) in names {
        let Some(id) = name.to_str().filter(|id| is_id(id) && kind == Kind::File) else {
            continue;
        };
        // It may be gone again.
        if let Ok(meta) = files.stat(&layout.root_dir, &dir.join(id)) {
            tracked.push((id.to_owned(), meta.modified_ms));
        }
        if tracked.len() == TRACKED_MAX {
            break;
        }
    }
    tracked.sort();
    Some(tracked)
}

fn pid(files: &mut dyn Files, path: &Path) -> Pid {
    let (handle, _) = match files.open(Path::new("/"), path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Pid::Missing,
        Err(_unreadable) => return Pid::Unknown,
    };
    let mut bytes = [0; PID_BYTES_MAX];
    let read = files.read_at(handle, Offset(0), &mut bytes);
    files.close(handle);
    let text = match read {
        Ok(length) => std::str::from_utf8(&bytes[..length]).unwrap_or_default(),
        Err(_unreadable) => return Pid::Unknown,
    };
    // An empty one was left by a full disk: it says nothing.
    text.trim().parse().map_or(Pid::Unknown, Pid::Of)
}
