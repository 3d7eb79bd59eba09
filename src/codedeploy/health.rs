//! Whether the CodeDeploy agent is alive, and why not.
//!
//! ```text
//! 1.x  alive: the service answered it within three minutes (it asks at least every 90 s, also
//!      while a hook runs); a process that is there proves nothing, its child may fail for ever
//! 2.x  alive: main process and worker are there, no starting again and again, no run of errors;
//!      when idle it logs nothing
//! both a stop somebody asked for in this boot is no fault; nor is an agent that is not installed
//! ```
//!
//! All limits are monotonic and begin anew with our own start, so neither a jump of the wall clock
//! nor a restart of ours makes a verdict. What is read late makes none either: while the log has
//! been written to since its last record that we heard, silence means nothing.

use serde::{Deserialize, Serialize};

use super::bounded;
use super::fact::Sign;
use super::roster::{Moment, mono};
use super::verdict::Verdict;
use crate::event::{EpochMs, Now};

/// Without an answer, with errors alone, for so long: dead.
const SILENCE_MS: i64 = 180_000;
/// A process may be missing for so long (a restart, an update).
const GONE_MS: i64 = 60_000;
/// A worker that is not ready so long after its first start of several is in a loop.
const LOOP_MS: i64 = 60_000;
/// Starts of the worker without getting ready that make a loop.
const LOOP_STARTS: u32 = 2;
/// An error of 2.x is over after so long without another; it tries again within 90 s.
const ERROR_OVER_MS: i64 = 150_000;
/// The log may have been written so long after its last record that we heard; more means that we
/// have not read it all.
const BEHIND_MS: i64 = 30_000;
/// Longest reason kept, in bytes.
const REASON_BYTES_MAX: usize = 200;

/// Which of the two agents writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Generation {
    /// Ruby, 1.x.
    First,
    /// Rust, 2.x.
    Second,
}

/// What is known of the main process, with the monotonic time since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MainProcess {
    /// The system does not say.
    #[default]
    Unknown,
    /// It is there, and has a child.
    Alive,
    /// It is there alone.
    Alone(i64),
    /// There is none.
    Gone(i64),
}

/// What went wrong last.
#[derive(Clone, Debug)]
struct Trouble {
    text: String,
    first: i64,
    last: i64,
}

/// The health as it develops.
#[derive(Debug)]
pub(super) struct Health {
    memory: SavedHealth,
    /// When we began to look.
    began: Option<i64>,
    /// When the service last answered.
    answered: Option<i64>,
    trouble: Option<Trouble>,
    /// Starts of the worker that did not get ready yet: the first, and how many.
    starts: Option<(i64, u32)>,
    pub(super) process: MainProcess,
    pub(super) presence: Presence,
    is_behind: bool,
    /// The last verdict is of this run of ours.
    is_told_here: bool,
    /// The run before ours, perhaps in another boot, left it as not well.
    was_unwell: bool,
}

/// Whether there is an agent at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presence {
    /// Nobody looked.
    #[default]
    Unknown,
    /// Its files are there.
    Installed,
    /// They are not.
    Missing,
}

/// The health on disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedHealth {
    generation: Option<Generation>,
    /// The time of the last record of the agent log that was heard.
    heard_ms: Option<EpochMs>,
    answered_ms: Option<EpochMs>,
    /// When somebody stopped it, in this boot.
    stopped_ms: Option<EpochMs>,
    told: Option<Verdict>,
    /// Whether it was not well when something was last known of it.
    is_unwell: bool,
}

impl SavedHealth {
    /// A stop holds until the next boot, and so does health; what is ill may stay so.
    pub(super) fn forget_boot(&mut self) {
        self.stopped_ms = None;
        self.told.take_if(|told| told.is_healthy() == Some(true));
    }
}

impl Health {
    pub(super) fn new(memory: SavedHealth) -> Self {
        Self {
            was_unwell: memory.is_unwell,
            memory,
            began: None,
            answered: None,
            trouble: None,
            starts: None,
            process: MainProcess::default(),
            presence: Presence::default(),
            is_behind: false,
            is_told_here: false,
        }
    }

    pub(super) fn saved(&self) -> SavedHealth {
        self.memory.clone()
    }

    pub(super) fn answered_ms(&self) -> Option<EpochMs> {
        self.memory.answered_ms
    }

    /// A record of the agent log was heard, whatever it says.
    pub(super) fn heard(&mut self, generation: Generation, at_ms: EpochMs) {
        if self.memory.generation != Some(generation) {
            // An upgrade in place: what one generation lacked says nothing of the other.
            self.memory.generation = Some(generation);
            self.trouble = None;
            self.starts = None;
        }
        self.memory.heard_ms = self.memory.heard_ms.max(Some(at_ms));
    }

    /// What a record says of the agent itself.
    pub(super) fn take(&mut self, sign: Sign<'_>, moment: Moment) {
        if sign == Sign::Answered {
            self.memory.answered_ms = self.memory.answered_ms.max(Some(moment.at_ms));
        }
        let at = moment.mono();
        // What it said before the boot says nothing of the process that runs now. The age tells,
        // not the date of the boot: that is another one as soon as the date is set.
        if at < 0 {
            return;
        }
        match sign {
            Sign::Answered => {
                self.answered = self.answered.max(Some(at));
                self.trouble = None;
                self.starts = None;
                self.running_since(moment.at_ms);
            }
            Sign::Ready => {
                self.starts = None;
                self.running_since(moment.at_ms);
            }
            Sign::Trouble(text) | Sign::CannotStart(text) => self.trouble_with(text, at),
            Sign::Starting => {
                self.running_since(moment.at_ms);
                let (first, count) = self.starts.unwrap_or((at, 0));
                self.starts = Some((first, count.saturating_add(1)));
            }
            Sign::Stopped => {
                self.memory.stopped_ms = Some(moment.at_ms);
                self.starts = None;
                self.trouble = None;
            }
        }
    }

    /// It runs since then at least, so an earlier stop is over.
    fn running_since(&mut self, at_ms: EpochMs) {
        if self
            .memory
            .stopped_ms
            .is_some_and(|stopped_ms| stopped_ms <= at_ms)
        {
            self.memory.stopped_ms = None;
        }
    }

    fn trouble_with(&mut self, text: &str, at: i64) {
        if text.is_empty() {
            return;
        }
        let first = match &self.trouble {
            Some(trouble) if at.saturating_sub(trouble.last) < ERROR_OVER_MS => trouble.first,
            _ => at,
        };
        let text = bounded(text, REASON_BYTES_MAX);
        self.trouble = Some(Trouble {
            text,
            first,
            last: at,
        });
    }

    /// The agent log was last written at that time.
    pub(super) fn written(&mut self, at_ms: EpochMs) {
        self.is_behind = self
            .memory
            .heard_ms
            .is_none_or(|heard_ms| at_ms.saturating_sub(heard_ms) > BEHIND_MS);
    }

    /// The machine, or we, slept for so long: that was no silence.
    pub(super) fn slept(&mut self, gap_ms: i64, now: Now) {
        let later = |since: &mut i64| *since = since.saturating_add(gap_ms).min(mono(now));
        self.began.iter_mut().for_each(later);
        self.answered.iter_mut().for_each(later);
        if let Some(trouble) = &mut self.trouble {
            later(&mut trouble.first);
            later(&mut trouble.last);
        }
        self.starts.iter_mut().for_each(|(first, _)| later(first));
        if let MainProcess::Alone(since) | MainProcess::Gone(since) = &mut self.process {
            later(since);
        }
    }

    /// The verdict of now, when it is another than the last.
    pub(super) fn change(&mut self, now: Now) -> Option<Verdict> {
        let verdict = self.verdict(now);
        let kind = |verdict: &Verdict| verdict.is_healthy();
        let is_same = match &self.memory.told {
            Some(told) => kind(told) == kind(&verdict),
            // At first, waiting is nothing new.
            None => kind(&verdict).is_none(),
        };
        self.memory.is_unwell = match verdict.is_healthy() {
            Some(healthy) => !healthy,
            None => self.memory.is_unwell,
        };
        self.memory.told = Some(verdict.clone());
        self.is_told_here = true;
        (!is_same).then_some(verdict)
    }

    /// The health as last judged.
    pub(super) fn last(&self) -> Verdict {
        let waiting =
            || Verdict::Waiting("nothing is known of the CodeDeploy agent yet".to_owned());
        self.memory.told.clone().unwrap_or_else(waiting)
    }

    fn verdict(&mut self, now: Now) -> Verdict {
        let began = *self.began.get_or_insert_with(|| mono(now));
        let age = |since: i64| mono(now).saturating_sub(since);
        if self.presence == Presence::Missing && !matches!(self.process, MainProcess::Alive) {
            return Verdict::Waiting("no CodeDeploy agent is installed".to_owned());
        }
        if let Some(stopped_ms) = self.memory.stopped_ms
            && !matches!(self.process, MainProcess::Alive)
        {
            return Verdict::Waiting(format!("stopped on purpose at {}", clock(stopped_ms)));
        }
        if let MainProcess::Gone(since) = self.process
            && age(since) >= GONE_MS
        {
            let since_ms = now.wall_ms.saturating_sub(age(since));
            return Verdict::Unhealthy(format!("its process is gone since {}", clock(since_ms)));
        }
        let verdict = match self.memory.generation {
            Some(Generation::First) => self.first(began, now),
            Some(Generation::Second) => self.second(began, now),
            None => None,
        };
        verdict.unwrap_or_else(|| match &self.memory.told {
            Some(told) if self.stands(told, now) => told.clone(),
            _ => Verdict::Waiting("it has not said anything yet".to_owned()),
        })
    }

    /// Whether a verdict holds without new evidence. A good one that an earlier run of ours left may
    /// be as old as its checkpoint: what it rests on must have been fresh when we began, which 2.x
    /// has no way to say.
    fn stands(&self, told: &Verdict, now: Now) -> bool {
        let is_fresh = |at_ms| now.wall_ms.saturating_sub(at_ms) < SILENCE_MS;
        let holds = self.is_told_here
            || self.memory.generation == Some(Generation::First)
                && self.memory.answered_ms.is_some_and(is_fresh);
        told.is_healthy().is_some_and(|healthy| holds || !healthy)
    }

    fn first(&self, began: i64, now: Now) -> Option<Verdict> {
        let age = |since: i64| mono(now).saturating_sub(since);
        if self
            .answered
            .is_some_and(|answered| age(answered) < SILENCE_MS)
        {
            return Some(Verdict::Healthy("the service answers it".to_owned()));
        }
        let since = self.answered.unwrap_or(began).max(began);
        if age(since) < SILENCE_MS || self.is_behind {
            return None;
        }
        let reason = match (&self.trouble, self.memory.answered_ms) {
            (Some(trouble), _) => format!("the service does not answer it: {}", trouble.text),
            (None, Some(at_ms)) => format!("no answered poll since {}", clock(at_ms)),
            (None, None) => "no answered poll yet".to_owned(),
        };
        Some(Verdict::Unhealthy(reason))
    }

    fn second(&self, began: i64, now: Now) -> Option<Verdict> {
        let age = |since: i64| mono(now).saturating_sub(since);
        let trouble = self.trouble.as_ref();
        if let Some((first, count)) = self.starts
            && count >= LOOP_STARTS
            && age(first) >= LOOP_MS
            && !self.is_behind
        {
            let why = trouble.map_or(String::new(), |trouble| format!(": {}", trouble.text));
            return Some(Verdict::Unhealthy(format!(
                "its worker starts again and again{why}"
            )));
        }
        if let MainProcess::Alone(since) = self.process
            && age(since) >= GONE_MS
        {
            return Some(Verdict::Unhealthy("its worker is gone".to_owned()));
        }
        if let Some(trouble) = trouble
            && age(trouble.last) < ERROR_OVER_MS
        {
            // A run of errors is judged once it is long enough; until then nothing changes.
            return (age(trouble.first) >= SILENCE_MS && !self.is_behind).then(|| {
                Verdict::Unhealthy(format!("the service does not answer it: {}", trouble.text))
            });
        }
        let answers = self
            .answered
            .is_some_and(|answered| age(answered) < SILENCE_MS);
        match self.process {
            // Its errors come again only some time after a start; until then, that there are none
            // proves nothing.
            _ if self.was_unwell && !answers && age(began) < SILENCE_MS => Some(Verdict::Waiting(
                "it is too early to say whether it is well again".to_owned(),
            )),
            MainProcess::Alive if self.starts.is_none() => Some(Verdict::Healthy(
                "its worker runs, and logs no errors".to_owned(),
            )),
            _ if answers => Some(Verdict::Healthy("the service answers it".to_owned())),
            _ => None,
        }
    }

    /// When time alone may change the verdict next, behind a monotonic time in milliseconds.
    pub(super) fn next_due(&self, behind: i64) -> Option<i64> {
        let process = match self.process {
            MainProcess::Alone(since) | MainProcess::Gone(since) => Some(since + GONE_MS),
            MainProcess::Unknown | MainProcess::Alive => None,
        };
        let is_first = self.memory.generation == Some(Generation::First);
        let is_watched = is_first || self.was_unwell;
        let silent_since = self.answered.max(self.began).filter(|_| is_watched);
        let trouble = self.trouble.as_ref();
        let dues = [
            process,
            silent_since.map(|since| since + SILENCE_MS),
            trouble.map(|trouble| trouble.first + SILENCE_MS),
            trouble.map(|trouble| trouble.last + ERROR_OVER_MS),
            self.starts.map(|(first, _)| first + LOOP_MS),
        ];
        dues.into_iter().flatten().filter(|due| *due > behind).min()
    }
}

/// A time in words, in UTC.
fn clock(at_ms: EpochMs) -> String {
    let time = jiff::Timestamp::from_millisecond(at_ms / 1_000 * 1_000);
    time.map_or_else(|_| at_ms.to_string(), |time| time.to_string())
}
