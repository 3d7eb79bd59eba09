//! A machine: Debian with systemd as process 1, under user-mode Linux or qemu.
//!
//! The machine is one tree of processes in a process namespace of its own, so that killing its first
//! ends all at once, like pulling the plug: what the guest had not written to its disk is gone. Its
//! network makes the guest's connections the host's own; since the test itself runs in a network
//! namespace without a way out, so does the guest.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::power::Power;

/// How long a boot may take on a machine that does much else.
const BOOT_LIMIT: Duration = Duration::from_secs(600);
/// How long a command in the guest may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);
/// How long an answer is waited for before the question is put again, while the guest boots: firmware
/// or the old system may have taken the first one with it.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// What tests/vm/run has made ready.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// What runs the machine.
    pub(crate) power: Power,
    /// The disk to begin with.
    pub(crate) base: PathBuf,
    /// A tar with all the guest needs from outside; its second disk.
    pub(crate) payload: PathBuf,
    /// Where disks and consoles of this run go.
    pub(crate) scratch: PathBuf,
}

/// One machine: its disk, and while it is on, its processes.
pub(crate) struct Guest {
    parts: Parts,
    name: String,
    disk: PathBuf,
    running: Option<Running>,
    boots: u32,
}

struct Running {
    /// Of user-mode Linux, or of qemu.
    kernel: Child,
    /// Beside the kernel, where that has no network of its own.
    network: Option<Child>,
    line: BufReader<UnixStream>,
    number: u64,
}

/// A command that has ended in the guest.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its exit code.
    pub(crate) code: i32,
    /// Both its outputs.
    pub(crate) output: String,
}

impl Guest {
    /// A new machine with a fresh disk, switched off.
    pub(crate) fn new(parts: &Parts, name: &str) -> Self {
        let disk = parts.scratch.join(format!("{name}.img"));
        let copied = Command::new("cp")
            .args(["--sparse=always", "--reflink=auto"])
            .args([&parts.base, &disk])
            .status()
            .unwrap();
        assert!(copied.success(), "copying the disk: {copied}");
        Self {
            parts: parts.clone(),
            name: name.to_owned(),
            disk,
            running: None,
            boots: 0,
        }
    }

    /// Switches it on and waits until systemd says that the boot is over.
    pub(crate) fn boot(&mut self) {
        assert!(self.running.is_none(), "it is on already");
        self.boots += 1;
        let began = Instant::now();
        let (ours, line) = UnixStream::pair().unwrap();
        let (kernel, network) = self
            .parts
            .power
            .on(&self.disk, &self.parts, line, |what| self.console(what));
        self.running = Some(Running {
            kernel,
            network,
            line: BufReader::new(ours),
            number: 0,
        });
        self.wait_up();
        println!("    {} is up after {:.1?}", self.name, began.elapsed());
    }

    /// Pulls the plug. Returns the moment before it.
    pub(crate) fn cut_power(&mut self) -> Instant {
        let mut running = self.running.take().expect("a machine that is on");
        let at = Instant::now();
        running.kernel.kill().unwrap();
        running.kernel.wait().unwrap();
        at
    }

    /// Reboots it as its administrator would, and waits until it is up again. Returns the moment
    /// after which nothing of the old system ran.
    pub(crate) fn reboot(&mut self) {
        let before = self.must("cat /proc/sys/kernel/random/boot_id");
        // It may be gone before it answers.
        self.running().send("systemctl reboot");
        self.boots += 1;
        let limit_at = Instant::now() + BOOT_LIMIT;
        loop {
            let answer = self
                .running()
                .ask("cat /proc/sys/kernel/random/boot_id", ASK_AGAIN);
            if answer.is_some_and(|finished| finished.code == 0 && finished.output.trim() != before)
            {
                break;
            }
            assert!(
                Instant::now() < limit_at,
                "no reboot within {BOOT_LIMIT:?}{}",
                self.told()
            );
        }
        self.wait_up();
    }

    /// Runs a command of the shell in it.
    pub(crate) fn run(&mut self, command: &str) -> Finished {
        match self.running().ask(command, COMMAND_LIMIT) {
            Some(finished) => finished,
            None => panic!(
                "no answer within {COMMAND_LIMIT:?} to {command:?}{}",
                self.told()
            ),
        }
    }

    /// The same, and it must succeed. Returns what it printed, trimmed.
    #[track_caller]
    pub(crate) fn must(&mut self, command: &str) -> String {
        let finished = self.run(command);
        assert_eq!(
            finished.code, 0,
            "{command:?} in the guest: {}",
            finished.output
        );
        finished.output.trim().to_owned()
    }

    /// Runs a command again and again until what it prints is as wanted.
    ///
    /// # Panics
    /// When it is not within `limit`.
    #[track_caller]
    pub(crate) fn wait(&mut self, limit: Duration, command: &str, met: impl Fn(&str) -> bool) {
        let limit_at = Instant::now() + limit;
        loop {
            let finished = self.run(command);
            if met(finished.output.trim()) {
                return;
            }
            assert!(
                Instant::now() < limit_at,
                "not within {limit:?}: {command:?} in the guest said last: {finished:?}"
            );
        }
    }

    fn wait_up(&mut self) {
        // Put before anybody listens, and perhaps lost.
        let limit_at = Instant::now() + BOOT_LIMIT;
        while self.running().ask("true", ASK_AGAIN).is_none() {
            assert!(
                Instant::now() < limit_at,
                "no boot within {BOOT_LIMIT:?}{}",
                self.told()
            );
        }
        // "degraded" is for the caller to judge.
        self.run("systemctl is-system-running --wait");
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("a machine that is on")
    }

    fn console(&self, what: &str) -> File {
        let name = format!("{}.{what}.{}", self.name, self.boots);
        File::create(self.parts.scratch.join(name)).unwrap()
    }

    /// The end of its console, for a failure.
    fn told(&self) -> String {
        let name = format!("{}.console.{}", self.name, self.boots);
        let bytes = std::fs::read(self.parts.scratch.join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let tail: Vec<&str> = text.lines().rev().take(25).collect();
        tail.iter()
            .rev()
            .fold("; its console:\n".to_owned(), |mut all, line| {
                // Writing to a string cannot fail.
                writeln!(all, "  {line}").unwrap();
                all
            })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.running.take();
        // A disk of 400 MB is worth keeping only for who wants to look at it.
        if std::env::var_os("DEPLOYWATCH_VM_KEEP").is_none() {
            std::fs::remove_file(&self.disk).ok();
        }
    }
}

impl Running {
    fn send(&mut self, command: &str) -> u64 {
        self.number += 1;
        let line = format!("{} {}\n", self.number, base64(command.as_bytes()));
        // A guest that is gone shows in the answer that does not come.
        self.line.get_mut().write_all(line.as_bytes()).ok();
        self.number
    }

    /// Asks, and waits for the answer for so long.
    fn ask(&mut self, command: &str, limit: Duration) -> Option<Finished> {
        let number = self.send(command);
        let limit_at = Instant::now() + limit;
        let mut line = Vec::new();
        loop {
            let left = limit_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.line.get_mut().set_read_timeout(Some(left)).unwrap();
            match self.line.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {
                    if let Some(finished) = answer(&line, number) {
                        return Some(finished);
                    }
                    line.clear();
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return None;
                }
                Err(error) => panic!("the guest's line: {error}"),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in [Some(&mut self.kernel), self.network.as_mut()]
            .into_iter()
            .flatten()
        {
            // They may have ended by themselves.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// The answer to question `number`; `None` for whatever else comes over the line.
fn answer(line: &[u8], number: u64) -> Option<Finished> {
    let line = std::str::from_utf8(line)
        .ok()?
        .trim_end_matches(['\r', '\n']);
    let mut parts = line.split(' ');
    // What stood on the line before may be glued to it.
    if parts
        .next()?
        .rsplit(|c: char| !c.is_ascii_digit())
        .next()?
        .parse::<u64>()
        .ok()?
        != number
    {
        return None;
    }
    let code = parts.next()?.parse().ok()?;
    let output = unbase64(parts.next()?)?;
    Some(Finished {
        code,
        output: String::from_utf8_lossy(&output).into_owned(),
    })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = (0..3).fold(0, |number, at| {
            number << 8 | u32::from(group.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            let letter = ALPHABET[(number >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= group.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0, 0u32);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = ALPHABET.iter().position(|other| *other == letter)?;
        held = held << 6 | u32::try_from(value).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 255).ok()?);
        }
    }
    Some(bytes)
}

/// Whether a file that tests/vm/run should have made is there.
pub(crate) fn require(path: &Path) {
    assert!(
        path.exists(),
        "{} is missing: start this with tests/vm/run",
        path.display()
    );
}
