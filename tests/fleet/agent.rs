//! One agent of the fleet: lines that are written at their times, and the real shipper between them
//! and the account.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use deploywatch::event::{EpochMs, Event, FileId, FileOrigin, Now, Offset, Origin, Span, Target};
use deploywatch::ports::{
    Accepted, CallId, GroupOptions, LogAnswer, LogCall, LogService, ServiceError,
};
use deploywatch::ship::ledger::Ledger;
use deploywatch::ship::{Limits, Push, Shipper, TargetId};

use super::account::Account;

/// 21 November 2026, 03:00 UTC.
pub(crate) const START_MS: EpochMs = 1_795_230_000_000;

/// One line of each kind; what stands in it does not matter.
const LINE: &str = "2026-11-21 03:00:00.000 [stderr]ERROR: could not connect to the database";

/// How long a call takes.
const CALL_MS: u64 = 40;

/// What is written to one stream.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    /// The stream's name, beside the instance's.
    pub(crate) stream: &'static str,
    /// Whether the stream was there before.
    pub(crate) exists: bool,
    /// When the first line is written.
    pub(crate) from_ms: u64,
    /// How many there are.
    pub(crate) count: u64,
    /// Time from one to the next.
    pub(crate) each_ms: u64,
}

/// A file that is written, and how far it was read.
struct File {
    id: FileId,
    lines: Lines,
    target: TargetId,
    origin: Arc<FileOrigin>,
    read: u64,
}

/// The agent.
pub(crate) struct Agent {
    shipper: Shipper,
    ledger: Ledger,
    files: Vec<File>,
    line: Connection,
    unknown: Vec<Target>,
}

impl Agent {
    pub(crate) fn new(nth: u64, lines: Vec<Lines>) -> Self {
        let mut shipper = Shipper::new(Limits::default(), nth);
        let mut ledger = Ledger::default();
        let mut unknown = Vec::new();
        let mut files = Vec::new();
        for (number, lines) in (1..).zip(lines) {
            let target = Target {
                group: "/fleet".to_owned(),
                stream: format!("{}/i-{nth}", lines.stream),
            };
            if lines.exists {
                unknown.push(target.clone());
            }
            let id = FileId(number);
            ledger.open(id, Offset(0));
            files.push(File {
                id,
                target: shipper.target(target, GroupOptions::default()),
                origin: Arc::new(FileOrigin {
                    source: lines.stream.into(),
                    path: std::path::Path::new(&format!("/var/log/{}.log", lines.stream)).into(),
                }),
                lines,
                read: 0,
            });
        }
        Self {
            shipper,
            ledger,
            files,
            line: Connection::default(),
            unknown,
        }
    }

    /// One turn at this time; when the next is due, or nothing when all is written and answered.
    pub(crate) fn step(&mut self, account: &mut Account, now: Now) -> Option<u64> {
        for target in self.unknown.drain(..) {
            account.has(target);
        }
        let mut wire = Wire {
            connection: &mut self.line,
            account: &mut *account,
            now_ms: now.mono_ms,
        };
        self.shipper.step(now, &mut wire);
        for settled in self.shipper.take_settled() {
            for ack in settled.acks {
                let _noted = self.ledger.settle(ack);
            }
        }
        for origin in self.shipper.take_returned() {
            if let Origin::File(span) = origin {
                self.ledger.rewind(span.file, span.start);
                for file in self.files.iter_mut().filter(|file| file.id == span.file) {
                    file.read = file.read.min(span.start.0 / line_bytes());
                }
            }
        }
        assert!(
            self.shipper.take_rejected().is_empty(),
            "nothing is refused"
        );
        // The files are few: all are looked at, whoever was woken.
        while self.shipper.next_woken(now).is_some() {}
        let mut next_ms = Vec::new();
        for file in &mut self.files {
            next_ms.extend(file.read_on(&mut self.shipper, &mut self.ledger, now));
        }
        self.shipper.step(now, &mut wire);
        next_ms.extend(self.shipper.next_due());
        next_ms.extend(wire.connection.answers.front().map(|(at_ms, _)| *at_ms));
        let is_done = next_ms.is_empty() && self.shipper.is_idle();
        // Whatever else: what waits for room is looked at again.
        let again_ms = next_ms.into_iter().min().unwrap_or(now.mono_ms + 1_000);
        (!is_done).then_some(again_ms)
    }

    /// Every byte of every file has its answer.
    pub(crate) fn assert_all_delivered_once(&self) {
        for file in &self.files {
            let bytes = file.lines.count * line_bytes();
            assert_eq!(self.ledger.settled(file.id), Some(Offset(bytes)));
        }
        let events: u64 = self.files.iter().map(|file| file.lines.count).sum();
        assert_eq!(self.line.events, events, "no line was taken twice");
    }
}

impl File {
    /// Hands on what is written by now, as far as there is room; when the next line is written.
    fn read_on(&mut self, shipper: &mut Shipper, ledger: &mut Ledger, now: Now) -> Option<u64> {
        let lines = &self.lines;
        let passed_ms = now.mono_ms.checked_sub(lines.from_ms);
        let written = passed_ms.map_or(0, |ms| (ms / lines.each_ms + 1).min(lines.count));
        while self.read < written {
            let unread = (written - self.read) * line_bytes();
            shipper.room(&self.target, unread, now)?;
            let span = Span {
                file: self.id,
                start: Offset(self.read * line_bytes()),
                end: Offset((self.read + 1) * line_bytes()),
            };
            let event = Event {
                time_ms: now.wall_ms,
                text: Cow::Borrowed(LINE),
                origin: Origin::File(span),
            };
            match shipper.push(&self.target, event, &self.origin, now) {
                Push::Taken => ledger.enter(span),
                Push::Full(_) => return None,
            }
            self.read += 1;
        }
        (written < lines.count).then(|| lines.from_ms + written * lines.each_ms)
    }
}

fn line_bytes() -> u64 {
    LINE.len() as u64 + 1
}

/// The agent's answers under way, in the order in which they come.
#[derive(Default)]
struct Connection {
    answers: VecDeque<(u64, LogAnswer)>,
    /// Events taken.
    events: u64,
}

/// The connection while it is used.
struct Wire<'a> {
    connection: &'a mut Connection,
    account: &'a mut Account,
    now_ms: u64,
}

impl LogService for Wire<'_> {
    fn submit(&mut self, id: CallId, call: LogCall) {
        let (batch, result): (_, Result<(), ServiceError>) = match call {
            LogCall::Put { batch, range } => {
                let result = self.account.put(&batch.target, self.now_ms);
                if result.is_ok() {
                    self.connection.events += range.len() as u64;
                }
                (Some(batch), result)
            }
            LogCall::CreateStream(target) => (None, self.account.create(&target, self.now_ms)),
            LogCall::CreateGroup(..) => (None, Ok(())),
        };
        let answer = LogAnswer {
            id,
            batch,
            result: result.map(|()| Accepted::default()),
        };
        let at_ms = self.now_ms + CALL_MS;
        self.connection.answers.push_back((at_ms, answer));
    }

    fn answer(&mut self) -> Option<LogAnswer> {
        let (at_ms, _) = self.connection.answers.front()?;
        if *at_ms > self.now_ms {
            return None;
        }
        self.connection
            .answers
            .pop_front()
            .map(|(_, answer)| answer)
    }
}
