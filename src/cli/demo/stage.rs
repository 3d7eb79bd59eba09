//! What the story is played with: the machine, the agent, and the screen, which looks for what
//! arrives whenever the story pauses or waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::alarms::{self, Judgement};
use super::arrivals::Arrivals;
use super::machine::{Key, Machine};
use super::points::Points;
use super::process::Process;
use super::progress::Progress;
use super::screen::{Restarts, Screen};
use super::{DemoError, Pace, verify};
use crate::config::alarm::Alarm;
use crate::status::Status;

/// How often the screen looks for arrivals, in milliseconds.
const LOOK_MS: u64 = 40;

/// [`LOOK_MS`] as a length of time.
const LOOK: Duration = Duration::from_millis(LOOK_MS);

/// Length of a period of the metrics, as in the agent's configuration.
const PERIOD_S: i64 = 10;

/// How often the agent is asked for its own account.
const ASK: Duration = Duration::from_millis(200);

/// How long the demo waits for records to arrive before it counts them as missing.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(15);

/// How long nothing more may come before what came is taken for all: what comes twice comes late.
const QUIET: Duration = Duration::from_millis(700);

/// Everything the story is played with.
pub(super) struct Stage<'a> {
    pub(super) machine: Machine,
    pub(super) process: Process,
    pub(super) arrivals: Arrivals,
    pub(super) points: Points,
    pub(super) alarms: Vec<Arc<Alarm>>,
    /// Alarms that were told to fire.
    pub(super) fired: BTreeSet<Arc<str>>,
    pub(super) progress: Progress,
    /// When the agent was asked last.
    pub(super) asked: Instant,
    pub(super) screen: Screen<'a>,
    pub(super) pace: Pace,
    pub(super) restarts: Restarts,
    pub(super) interrupted: Arc<AtomicBool>,
}

impl Stage<'_> {
    /// Tells what the machine does.
    pub(super) fn say(&mut self, text: &str) -> Result<(), DemoError> {
        self.screen.machine(text).map_err(DemoError::Screen)
    }

    /// Lets time go by, and shows what arrives meanwhile.
    pub(super) fn pause(&mut self, live_ms: u64) -> Result<(), DemoError> {
        let end = Instant::now()
            + match self.pace {
                Pace::Live => Duration::from_millis(live_ms),
                Pace::Fast => Duration::ZERO,
            };
        loop {
            self.look()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// Shows what has arrived since the last look.
    pub(super) fn look(&mut self) -> Result<(), DemoError> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(DemoError::Interrupted);
        }
        self.process.check()?;
        let before = self
            .arrivals
            .look()
            .map_err(DemoError::at(self.arrivals.path()))?;
        for event in &self.arrivals.all[before..] {
            if event.key.source == "scripts" && event.message.contains(verify::SECRET_NAME) {
                let redacted = self.screen.redacted(&event.message);
                redacted.map_err(DemoError::Screen)?;
            }
        }
        self.look_at_metrics()?;
        if self.asked.elapsed() >= ASK {
            self.ask()?;
        }
        Ok(())
    }

    /// Shows what was published since the last look, and which alarms that would have set off.
    fn look_at_metrics(&mut self) -> Result<(), DemoError> {
        let told = self
            .points
            .look()
            .map_err(DemoError::at(self.points.path()))?;
        for text in &told {
            self.screen.metric(text).map_err(DemoError::Screen)?;
        }
        for (alarm, judgement) in self.judged() {
            let is_firing = matches!(judgement, Judgement::Fired { .. });
            if is_firing && self.fired.insert(Arc::clone(&alarm.name)) {
                self.screen.alarm(&alarm).map_err(DemoError::Screen)?;
            }
        }
        Ok(())
    }

    /// Every alarm with what it would have made of what was published so far.
    pub(super) fn judged(&self) -> Vec<(Arc<Alarm>, Judgement)> {
        let alarms = self.alarms.iter();
        alarms
            .map(|alarm| (Arc::clone(alarm), alarms::judge(alarm, &self.points.all)))
            .collect()
    }

    /// Asks the agent what it makes of the deployments and shows what is new.
    fn ask(&mut self) -> Result<Option<Status>, DemoError> {
        let status = self.process.status();
        self.asked = Instant::now();
        for note in status.iter().flat_map(|status| self.progress.notes(status)) {
            self.screen.note(&note).map_err(DemoError::Screen)?;
        }
        Ok(status)
    }

    /// Waits until the agent tells how it is.
    pub(super) fn await_status(&mut self) -> Result<Status, DemoError> {
        let began = Instant::now();
        while began.elapsed() < ARRIVAL_LIMIT {
            self.look()?;
            if let Some(status) = self.ask()? {
                return Ok(status);
            }
            std::thread::sleep(LOOK);
        }
        Err(DemoError::Silent)
    }

    /// Waits for the next whole second: CodeDeploy's logs tell no smaller ones, and what is older
    /// than the agent's first start is history to it, of which it makes no metrics.
    pub(super) fn await_next_second(&mut self) -> Result<(), DemoError> {
        let second = Timestamp::now().as_second();
        while Timestamp::now().as_second() == second {
            self.look()?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Lets time go by until a period of the metrics ends in which a deployment that begins now
    /// has been running for more than `seconds`: how it stands then is what alarms judge. No time
    /// at all without pauses.
    pub(super) fn await_period_end(
        &mut self,
        began: Timestamp,
        seconds: i64,
    ) -> Result<(), DemoError> {
        if self.pace == Pace::Fast {
            return Ok(());
        }
        let due = began.as_second() + seconds + 1;
        let end = due + (-due).rem_euclid(PERIOD_S);
        // A moment later the agent has seen it, too.
        while Timestamp::now().as_second() <= end {
            self.pause(LOOK_MS)?;
        }
        Ok(())
    }

    /// Waits until all records of a log have arrived, or too long.
    pub(super) fn await_arrival(&mut self, key: &Key) -> Result<(), DemoError> {
        let began = Instant::now();
        while self.process.id().is_some()
            && self.arrivals.count(key) < self.machine.count(key)
            && began.elapsed() < ARRIVAL_LIMIT
        {
            self.look()?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until as much has arrived as was written and no more comes, or too long.
    pub(super) fn await_everything(&mut self) -> Result<(), DemoError> {
        let began = Instant::now();
        let (mut arrived, mut changed) = (0, began);
        while began.elapsed() < ARRIVAL_LIMIT {
            self.look()?;
            if self.arrivals.all.len() != arrived {
                (arrived, changed) = (self.arrivals.all.len(), Instant::now());
            }
            if arrived >= self.machine.written.len() && changed.elapsed() >= QUIET {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Stops the agent in the middle of the story, as an upgrade would.
    pub(super) fn stop_agent(&mut self) -> Result<(), DemoError> {
        self.say("deploywatch gets SIGTERM; the next deployment goes unseen")?;
        self.process.stop()?;
        self.restarts.times += 1;
        self.restarts.records_meanwhile = self.machine.written.len();
        self.look()
    }

    /// Starts it again.
    pub(super) fn start_agent(&mut self) -> Result<(), DemoError> {
        self.restarts.records_meanwhile =
            self.machine.written.len() - self.restarts.records_meanwhile;
        self.say("deploywatch is started again")?;
        self.process.start()
    }
}
