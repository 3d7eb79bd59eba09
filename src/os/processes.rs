//! What the system says of a process, read on the beat of the scan for one process at a time.
//!
//! `/proc` says it best: a command line, and the children. Our unit hides the processes of others there
//! (`ProtectProc=invisible`). Then the service's control group tells whether the process is part of the
//! service, and whether it has company. That is weaker: what a hook left running in the service counts
//! as a child, and of an agent that somebody started by hand, outside of its service, nothing is known.
//! We chose to hide, because the logs tell a dead worker as well, and the rest of the machine's command
//! lines are nobody's business here.

use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::ports::{Process, Processes};

/// Most that is read of a command line.
const COMMAND_BYTES_MAX: u64 = 256;
/// Most that is read of the ids in a control group: more than 9,000 of them.
const MEMBERS_BYTES_MAX: u64 = 64 << 10;
/// Where systemd keeps the control groups of services: version 2, both versions, version 1.
const GROUPS: [&str; 3] = [
    "/sys/fs/cgroup/system.slice",
    "/sys/fs/cgroup/unified/system.slice",
    "/sys/fs/cgroup/systemd/system.slice",
];

/// The processes of this machine.
#[derive(Debug)]
pub struct SystemProcesses {
    proc: PathBuf,
    groups: Vec<PathBuf>,
}

impl Default for SystemProcesses {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            groups: GROUPS.iter().map(PathBuf::from).collect(),
        }
    }
}

impl Processes for SystemProcesses {
    fn process(&mut self, id: u32, service: &str) -> io::Result<Option<Process>> {
        let dir = self.proc.join(id.to_string());
        match fs::read_to_string(dir.join("stat")) {
            Ok(stat) if is_running(&stat) => {}
            Ok(_ended) => return Ok(None),
            Err(error) if is_gone(&error) && is_there(id)? => {
                return self.hidden(id, service).map(Some);
            }
            Err(error) => return absent(error),
        }
        let mut command = Vec::new();
        let read = fs::File::open(dir.join("cmdline"))
            .and_then(|file| file.take(COMMAND_BYTES_MAX).read_to_end(&mut command));
        if let Err(error) = read {
            return absent(error);
        }
        for byte in command.iter_mut().filter(|byte| **byte == 0) {
            *byte = b' ';
        }
        let children = dir.join("task").join(id.to_string()).join("children");
        match fs::read_to_string(children) {
            Ok(children) => Ok(Some(Process {
                command: String::from_utf8_lossy(&command).trim_end().to_owned(),
                has_child: !children.trim().is_empty(),
            })),
            Err(error) => absent(error),
        }
    }
}

impl SystemProcesses {
    /// What the service's control group says of a process that is there.
    fn hidden(&self, id: u32, service: &str) -> io::Result<Process> {
        for group in &self.groups {
            let mut members = String::new();
            let read = fs::File::open(group.join(service).join("cgroup.procs"))
                .and_then(|file| file.take(MEMBERS_BYTES_MAX).read_to_string(&mut members));
            match read {
                Ok(_) => {}
                // The service does not run, or this version of control groups is not in use.
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            }
            let mut ids = members.lines().map(str::parse);
            if ids.clone().any(|member| member == Ok(id)) {
                return Ok(Process {
                    command: service.to_owned(),
                    has_child: ids.any(|member| member != Ok(id)),
                });
            }
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("process {id} is hidden, and not part of {service}"),
        ))
    }
}

/// Whether there is such a process, visible or not: it may not be signalled, but that is said.
fn is_there(id: u32) -> io::Result<bool> {
    let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) else {
        return Ok(false);
    };
    match test_kill_process(id) {
        Ok(()) | Err(Errno::PERM) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether a line of `/proc/ID/stat` is of a process, and not of what is left of one: the state stands
/// behind the name, which may hold anything.
fn is_running(stat: &str) -> bool {
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_ascii_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}

/// No process where the error says that it ended, perhaps in the meantime.
fn absent(error: io::Error) -> io::Result<Option<Process>> {
    if is_gone(&error) {
        return Ok(None);
    }
    Err(error)
}

fn is_gone(error: &io::Error) -> bool {
    // A process that ends between two reads is `ESRCH`.
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child that waits for its input, and has a child.
    fn waiting() -> std::process::Child {
        std::process::Command::new("sh")
            .args(["-c", "cat; true"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    fn this_process_is_seen_and_one_that_is_not_there_is_not() {
        // Command line and child of a process must be seen, and neither the process once it is gone nor
        // an id beyond all: shown with a shell that waits for its child.
        let mut processes = SystemProcesses::default();
        let mut child = waiting();
        let id = child.id();
        let limit_at = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let seen = processes.process(id, "x.service").unwrap().unwrap();
            if seen.has_child && seen.command == "sh -c cat; true" {
                break;
            }
            assert!(std::time::Instant::now() < limit_at, "{seen:?}");
            std::thread::yield_now();
        }
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(processes.process(id, "x.service").unwrap(), None);
        assert_eq!(processes.process(u32::MAX, "x.service").unwrap(), None);
        assert_eq!(processes.process(0, "x.service").unwrap(), None);
    }

    #[test]
    fn a_hidden_process_is_known_by_its_service() {
        // Without its files in /proc, a process must be part of the service, alone or in company; a
        // stranger to it or to all services must be no answer, and one that ended must be none: shown
        // with an empty /proc, and a control group that we write.
        let dir = tempfile::tempdir().unwrap();
        let groups = vec![
            dir.path().join("not-in-use"),
            dir.path().join("system.slice"),
        ];
        let mut processes = SystemProcesses {
            proc: dir.path().join("proc"),
            groups,
        };
        let mut child = waiting();
        let id = child.id();
        let mut ask = |members: &str, service: &str| {
            let group = dir.path().join("system.slice/agent.service");
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join("cgroup.procs"), members).unwrap();
            processes.process(id, service)
        };
        let of = |has_child| Process {
            command: "agent.service".to_owned(),
            has_child,
        };
        let alone = format!("{id}\n");
        assert_eq!(ask(&alone, "agent.service").unwrap(), Some(of(false)));
        let company = format!("{id}\n{}\n", id + 1);
        assert_eq!(ask(&company, "agent.service").unwrap(), Some(of(true)));
        for (members, service) in [
            ("", "agent.service"),
            ("1\n2\n", "agent.service"),
            (&alone, "other.service"),
        ] {
            let error = ask(members, service).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        }
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(ask(&company, "agent.service").unwrap(), None);
    }

    #[test]
    fn what_is_left_of_a_process_is_none() {
        // A name with blanks and brackets must not shift the state, and what is left of an ended
        // process be none: shown by lines.
        let line = |state: &str| format!("7 (a) Z (c) {state} 1 2 3");
        for (state, runs) in [("S", true), ("R", true), ("Z", false), ("X", false)] {
            assert_eq!(is_running(&line(state)), runs, "{state}");
        }
        assert!(!is_running("7 (x"));
        assert!(!is_running("7 (x)"));
    }
}
