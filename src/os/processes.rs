//! What `/proc` says of a process: a command line and two files of numbers, read on the beat of the
//! scan for one process at a time.

use std::fs;
use std::io::{self, Read as _};

use crate::ports::{Process, Processes};

/// Most that is read of a command line.
const COMMAND_BYTES_MAX: u64 = 256;
/// A tick of the times in `/proc`: a hundredth of a second on every architecture of EC2.
const TICK_MS: u64 = 10;
/// Children looked at; the CodeDeploy agent has one.
const CHILDREN_MAX: usize = 8;

/// The processes of this machine.
#[derive(Debug, Default)]
pub struct SystemProcesses;

impl Processes for SystemProcesses {
    fn process(&mut self, id: u32) -> io::Result<Option<Process>> {
        let Some(started_mono_ms) = started(id)? else {
            return Ok(None);
        };
        let mut command = Vec::new();
        match fs::File::open(format!("/proc/{id}/cmdline")) {
            Ok(file) => file.take(COMMAND_BYTES_MAX).read_to_end(&mut command)?,
            // It ended in the meantime.
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        for byte in command.iter_mut().filter(|byte| **byte == 0) {
            *byte = b' ';
        }
        Ok(Some(Process {
            command: String::from_utf8_lossy(&command).trim_end().to_owned(),
            started_mono_ms,
            child_started_mono_ms: youngest_child(id)?,
        }))
    }
}

fn youngest_child(id: u32) -> io::Result<Option<u64>> {
    let children = match fs::read_to_string(format!("/proc/{id}/task/{id}/children")) {
        Err(error) if is_gone(&error) => return Ok(None),
        children => children?,
    };
    let mut youngest = None;
    for child in children.split_ascii_whitespace().take(CHILDREN_MAX) {
        if let Ok(child) = child.parse() {
            youngest = youngest.max(started(child)?);
        }
    }
    Ok(youngest)
}

/// When a process started; `None` where there is none, or only what is left of one.
fn started(id: u32) -> io::Result<Option<u64>> {
    match fs::read_to_string(format!("/proc/{id}/stat")) {
        Err(error) if is_gone(&error) => Ok(None),
        stat => Ok(parse_started(&stat?)),
    }
}

/// Milliseconds from boot to start, from a line of `/proc/ID/stat`: the fields count from behind
/// the name, which may hold anything.
fn parse_started(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    // `starttime`, the 22nd field of all, in ticks; then skipped: 4th to 21st.
    let ticks: u64 = fields.nth(18)?.parse().ok()?;
    (state != "Z" && state != "X").then(|| ticks.saturating_mul(TICK_MS))
}

fn is_gone(error: &io::Error) -> bool {
    // A process that ends between two reads is `ESRCH`.
    const NO_SUCH_PROCESS: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_and_one_that_is_not_there_is_not() {
        // Command line, start and a child of our own must be seen, and neither the child once it is
        // gone nor an id beyond all: shown with a child that waits for its input.
        let mut processes = SystemProcesses;
        let now = crate::os::clock::now().mono_ms;
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let seen = processes.process(child.id()).unwrap().unwrap();
        assert!(
            seen.started_mono_ms.abs_diff(now) < 60_000,
            "{seen:?} at {now}"
        );
        let me = processes.process(std::process::id()).unwrap().unwrap();
        assert!(me.command.contains("deploywatch"), "{me:?}");
        assert!(me.started_mono_ms <= seen.started_mono_ms);
        let id = child.id();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(processes.process(id).unwrap(), None);
        assert_eq!(processes.process(u32::MAX).unwrap(), None);
    }

    #[test]
    fn the_start_is_found_behind_any_name() {
        // A name with blanks and brackets must not shift the fields, and what is left of an ended
        // process be none: shown by lines.
        let line = |state: &str| {
            format!("7 (a) b (c) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 500 0")
        };
        assert_eq!(parse_started(&line("S")), Some(5_000));
        assert_eq!(parse_started(&line("Z")), None);
        assert_eq!(parse_started("7 (x"), None);
        assert_eq!(parse_started("7 (x) S 1 2"), None);
    }
}
