//! What all services in memory have in common: a caller that may die while it calls, a mood, and
//! answers that take their virtual time. What becomes of a call is decided when it is submitted.

use deploywatch::event::EpochMs;
use deploywatch::ports::{CallId, ErrorClass, ServiceError};

use super::fuse::{Fuse, Pulse};

/// When a call that nobody answers is given up.
pub(crate) const TIMEOUT_MS: u64 = 30_000;

/// How a service feels just now. Shares are chances per call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mood {
    pub(crate) throttle: f64,
    pub(crate) error: f64,
    pub(crate) timeout: f64,
    /// Taken, but the answer is lost.
    pub(crate) lost_answer: f64,
    /// Answers take up to so long.
    pub(crate) slow_ms: u64,
    /// No network.
    pub(crate) down: bool,
    /// Credentials are refused.
    pub(crate) expired: bool,
    /// The log group that is denied.
    pub(crate) denied: Option<String>,
}

impl Mood {
    /// Some troubles at random, for a service that has no groups.
    pub(crate) fn drawn(rng: &mut fastrand::Rng) -> Self {
        Self {
            throttle: [0.0, 0.3][rng.usize(0..2)],
            error: [0.0, 0.3][rng.usize(0..2)],
            timeout: [0.0, 0.2][rng.usize(0..2)],
            lost_answer: [0.0, 0.3][rng.usize(0..2)],
            slow_ms: rng.u64(0..5_000),
            down: rng.u8(0..4) == 0,
            expired: rng.u8(0..6) == 0,
            denied: None,
        }
    }
}

/// What becomes of a call: after how many milliseconds the caller learns what.
pub(crate) type Fate<T> = (u64, Result<T, ServiceError>);

/// What a service calls its faults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codes {
    pub(crate) broken: &'static str,
    pub(crate) throttled: &'static str,
    pub(crate) expired: &'static str,
}

/// The way of calls to a service, and of answers `A` back.
#[derive(Debug)]
pub(crate) struct Wire<A> {
    fuse: Fuse,
    pub(crate) rng: fastrand::Rng,
    pub(crate) mood: Mood,
    /// The simulation's time.
    pub(crate) ms: u64,
    /// The true date.
    pub(crate) true_ms: EpochMs,
    pending: Vec<(u64, CallId, A)>,
    /// Broken rules.
    pub(crate) violations: Vec<String>,
    /// Calls submitted so far.
    pub(crate) calls: u64,
}

impl<A> Wire<A> {
    pub(crate) fn new(seed: u64, fuse: Fuse) -> Self {
        Self {
            fuse,
            rng: fastrand::Rng::with_seed(seed),
            mood: Mood::default(),
            ms: 0,
            true_ms: 0,
            pending: Vec::new(),
            violations: Vec::new(),
            calls: 0,
        }
    }

    /// Time goes on.
    pub(crate) fn advance_to(&mut self, ms: u64, true_ms: EpochMs) {
        (self.ms, self.true_ms) = (ms, true_ms);
    }

    /// Whether a call reaches the service: it does not if the caller dies before.
    pub(crate) fn is_reached(&mut self) -> bool {
        let reached = match self.fuse.pulse() {
            Pulse::Dead => false,
            Pulse::Dying => !self.rng.bool(),
            Pulse::Alive => true,
        };
        self.calls += u64::from(reached);
        reached
    }

    /// A call of which there is never more than one.
    pub(crate) fn expect_alone(&mut self, id: CallId) {
        if !self.pending.is_empty() {
            let what = format!("call {} overtakes another", id.0);
            self.violations.push(what);
        }
    }

    /// What goes wrong with a call before the service has done anything, if it answers after
    /// `delay_ms`.
    pub(crate) fn fault<T>(&mut self, codes: Codes, delay_ms: u64) -> Option<Fate<T>> {
        let failed = |class, code| Some((delay_ms, Err(refusal(class, code))));
        if self.mood.down || self.chance(self.mood.error) {
            return failed(ErrorClass::RetrySoon, codes.broken);
        }
        if self.chance(self.mood.throttle) {
            return failed(ErrorClass::Throttled, codes.throttled);
        }
        if self.mood.expired {
            return failed(ErrorClass::RetrySlowly, codes.expired);
        }
        self.chance(self.mood.timeout).then(silence)
    }

    /// Whether something happens of which that share of calls has its part.
    pub(crate) fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.f64() < share
    }

    /// Sends an answer on its way.
    pub(crate) fn reply(&mut self, id: CallId, delay_ms: u64, answer: A) {
        self.pending.push((self.ms + delay_ms.max(1), id, answer));
    }

    /// The next answer that is there.
    pub(crate) fn answer(&mut self) -> Option<A> {
        if self.fuse.pulse() != Pulse::Alive {
            return None;
        }
        let due = |at: &usize| (self.pending[*at].0, self.pending[*at].1);
        let ready = (0..self.pending.len())
            .filter(|at| due(at).0 <= self.ms)
            .min_by_key(due)?;
        Some(self.pending.swap_remove(ready).2)
    }

    /// Answers that are on their way.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &A> {
        self.pending.iter().map(|(.., answer)| answer)
    }

    /// When the next answer is there.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.pending.iter().map(|(ready_ms, ..)| *ready_ms).min()
    }

    /// Whether an answer is there.
    pub(crate) fn is_ready(&self) -> bool {
        self.next_ms().is_some_and(|ready_ms| ready_ms <= self.ms)
    }

    /// The process is gone: nobody waits for the answers.
    pub(crate) fn forget(&mut self) {
        self.pending.clear();
    }
}

/// No answer comes: the caller gives up.
pub(crate) fn silence<T>() -> Fate<T> {
    (TIMEOUT_MS, Err(refusal(ErrorClass::RetrySoon, "Timeout")))
}

/// A bad answer.
pub(crate) fn refusal(class: ErrorClass, code: &str) -> ServiceError {
    ServiceError {
        class,
        code: code.to_owned(),
        message: "simulated".to_owned(),
    }
}
