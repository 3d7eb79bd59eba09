//! One target's events on their way: the open batch → full batches → the one being sent.
//!
//! A [`Lane`] is a pure state machine: events are put into its open batch, it says when it is
//! due, makes its next call and takes the answer (`send.rs`). At most one call is under way, and
//! batches go in the order in which they were filled, so a target's events keep their order.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{Batch, Now, Origin, Target};
use crate::ports::GroupOptions;
use crate::status::TargetStatus;

use super::batch::{BATCH_BYTES_MAX, Begin, Builder};
use super::bisect::{Refusal, Undecided};
use super::buffers::{Buffers, weight_of};
use super::pace::Pace;
use super::send::SUSPICION_FIRST;
use super::{Limits, TargetId};

/// A batch of so much leaves at once while others wait for memory, though it is not full: in the second
/// that it would wait, a backlog of sixteen times as much leaves through the same memory.
const HURRY_BYTES: usize = 64 << 10;

/// One target's queue and state.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) target: Arc<Target>,
    /// What its group is created with, if we must create it.
    pub(super) options: GroupOptions,
    /// Shared with every [`TargetId`](super::TargetId): alone here, nobody can push any more.
    pub(super) handle: Arc<()>,
    /// Being filled. Of thousands of targets few are, so what is under way lies elsewhere.
    pub(super) open: Option<Box<Builder>>,
    /// Whether the open batch waits for its time like any other.
    pub(super) haste: Haste,
    /// Since when the open batch could not grow for want of memory.
    starved_since_ms: Option<u64>,
    /// Closed because nothing more went in, oldest first.
    pub(super) full: VecDeque<Batch>,
    /// The batch being sent.
    pub(super) head: Option<Box<Head>>,
    /// Memory of all of them.
    pub(super) weight: usize,
    /// How the next batch begins: large while the one before was full.
    pub(super) begin: Begin,
    /// Bytes of the log that are known to come.
    pub(super) expected: usize,
    /// What the next call does.
    pub(super) step: Step,
    pub(super) flight: Flight,
    /// Whether a creation succeeded since events were last taken: if they then still miss their
    /// target, it is not the first thing to try again at once.
    pub(super) created: Created,
    pub(super) pace: Pace,
    /// Events refused alone in earlier batches since events were last taken.
    pub(super) guilty_in_row: usize,
    pub(super) suspicion_at: usize,
    /// Listed among the lanes with something to do.
    pub(super) is_listed: bool,
}

/// The batch being sent; it is away while its call is under way.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) batch: Option<Batch>,
    pub(super) weight: usize,
    pub(super) counted_bytes: usize,
    pub(super) undecided: Undecided,
}

/// A batch that gave up memory.
#[derive(Debug)]
pub(super) struct Shrunk {
    pub(super) from: usize,
    pub(super) to: usize,
    /// What it gave up.
    pub(super) buffers: Buffers,
}

/// Whether what is open waits for more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    Usual,
    Now,
}

/// What the next call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Put,
    CreateStream,
    CreateGroup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight {
    Landed,
    UnderWay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Created {
    No,
    Yes,
}

/// What an answer means beyond its lane.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing: the lane goes on, or waits.
    GoOn,
    /// Every event of the batch has its answer.
    Decided {
        batch: Batch,
        /// What was not delivered of it.
        refused: Vec<(std::ops::Range<usize>, Refusal)>,
        /// Memory to give back.
        weight: usize,
    },
    /// The group exists from now on.
    GroupExists,
}

impl Lane {
    pub(super) fn new(target: Arc<Target>, options: GroupOptions, limits: &Limits) -> Self {
        Self {
            target,
            options,
            handle: Arc::new(()),
            open: None,
            haste: Haste::Usual,
            starved_since_ms: None,
            full: VecDeque::new(),
            head: None,
            weight: 0,
            begin: Begin::Small,
            expected: 0,
            step: Step::Put,
            flight: Flight::Landed,
            created: Created::No,
            pace: Pace::new(limits.flush_interval_ms),
            guilty_in_row: 0,
            suspicion_at: SUSPICION_FIRST,
            is_listed: false,
        }
    }

    /// Whether it holds nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none() && self.full.is_empty() && self.head.is_none()
    }

    /// Whether it takes more events. After a failure it does not before that is mended: they
    /// would only lie in memory that others can use, and the file keeps them as well. When it had
    /// to give up what it held, it takes one to try with when the next try is due.
    pub(super) fn takes_events(&self, now: Now) -> bool {
        self.pace
            .retry_at_ms()
            .is_none_or(|at_ms| self.is_empty() && at_ms <= now.mono_ms)
    }

    /// Whether it needs no attention before somebody pushes.
    pub(super) fn is_resting(&self, now: Now) -> bool {
        self.is_empty()
            && self
                .pace
                .retry_at_ms()
                .is_none_or(|at_ms| at_ms <= now.mono_ms)
    }

    /// Whether a call is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.flight == Flight::UnderWay
    }

    /// Message bytes (as the service counts them) without an answer.
    pub(super) fn pending_bytes(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| open.counted_bytes());
        let full: usize = self.full.iter().map(|batch| batch.counted_bytes).sum();
        open + full + self.head.as_ref().map_or(0, |head| head.counted_bytes)
    }

    /// So many bytes of its log are there to be read. In trouble it takes one event to try with, and
    /// memory for no more.
    pub(super) fn expect(&mut self, bytes: u64) {
        if self.pace.is_troubled() {
            self.begin = Begin::Small;
            self.expected = 0;
        } else {
            self.expected =
                usize::try_from(bytes).map_or(BATCH_BYTES_MAX, |all| all.min(BATCH_BYTES_MAX));
        }
    }

    /// What the open batch, or one not begun, says of how it would grow, given the bytes of the log to
    /// have memory for.
    pub(super) fn growth<T>(&self, of: impl FnOnce(&Builder, usize) -> T) -> T {
        let outlook = match self.begin {
            Begin::Large if self.open.is_none() => BATCH_BYTES_MAX,
            Begin::Large | Begin::Small => self.expected,
        };
        match &self.open {
            Some(open) => of(open, outlook),
            None => of(&Builder::new(Arc::clone(&self.target), 0), outlook),
        }
    }

    /// Holds the place of this lane, which has this index.
    pub(super) fn id(&self, index: u32) -> TargetId {
        TargetId {
            index,
            _handle: Arc::clone(&self.handle),
        }
    }

    /// The open batch could not grow. It waits a little longer than usual for memory, since a
    /// full batch later is better than a small one now; one that is worth a call leaves.
    pub(super) fn starve(&mut self, now: Now) {
        let open = self.open.as_ref();
        if open.is_some_and(|open| open.counted_bytes() >= HURRY_BYTES) {
            self.hurry();
        } else if open.is_some() {
            self.starved_since_ms.get_or_insert(now.mono_ms);
        }
    }

    /// It could.
    pub(super) fn feed(&mut self) {
        self.starved_since_ms = None;
    }

    /// Nothing more goes into the open batch: it leaves as soon as the one before is answered.
    pub(super) fn close_full(&mut self) {
        if let Some(open) = self.open.take() {
            self.begin = open.begin_of_next();
            self.full.push_back(open.close());
            self.haste = Haste::Usual;
            self.feed();
        }
    }

    /// What is open is due now.
    pub(super) fn hurry(&mut self) {
        if self.open.is_some() {
            self.haste = Haste::Now;
        }
    }

    /// Others wait for memory, and nothing more goes into the open batch for now: it leaves if that
    /// is worth a call, since it would take up its memory until its time has come; a smaller one
    /// gives up what it does not need.
    pub(super) fn make_room(&mut self) -> Option<Shrunk> {
        let open = self.open.as_mut()?;
        if open.counted_bytes() >= HURRY_BYTES {
            self.hurry();
            return None;
        }
        let from = open.weight();
        let buffers = open.shrink();
        let to = open.weight();
        self.weight = self.weight - from + to;
        Some(Shrunk { from, to, buffers })
    }

    /// When it wants attention: its next call may be made, or it takes events again. `None` while
    /// a call is under way or nothing is held.
    pub(super) fn due_ms(&self, limits: &Limits) -> Option<u64> {
        if self.is_under_way() {
            return None;
        }
        let retry_at_ms = self.pace.retry_at_ms().unwrap_or(0);
        if self.head.is_some() || !self.full.is_empty() {
            return Some(retry_at_ms);
        }
        let Some(open) = &self.open else {
            return self.pace.retry_at_ms();
        };
        if self.haste == Haste::Now {
            return Some(retry_at_ms);
        }
        let wait_ms = match self.begin {
            Begin::Small => limits.linger_ms,
            Begin::Large => limits.linger_ms.max(limits.flush_interval_ms),
        };
        let starved_ms = self.starved_since_ms.map_or(0, |since_ms| {
            since_ms.saturating_add(limits.flush_interval_ms)
        });
        let due_ms = open
            .opened_ms
            .saturating_add(wait_ms)
            .max(self.pace.interval_over_ms())
            .max(starved_ms);
        Some(due_ms.max(retry_at_ms))
    }

    /// Until when it cannot send what it holds, if that is long: it failed, or throttling slowed it
    /// down.
    pub(super) fn waits_until_ms(&self, limits: &Limits, now: Now) -> Option<u64> {
        self.long_until(self.due_ms(limits), limits, now)
    }

    /// The same for what it would be given now. A full batch is not held up by the interval.
    pub(super) fn would_wait_until_ms(&self, limits: &Limits, now: Now) -> Option<u64> {
        let is_backlog = self.expected >= BATCH_BYTES_MAX;
        let over_ms = (!is_backlog).then(|| self.pace.interval_over_ms());
        self.long_until(over_ms, limits, now)
    }

    fn long_until(&self, due_ms: Option<u64>, limits: &Limits, now: Now) -> Option<u64> {
        let usual_ms = now.mono_ms.saturating_add(2 * limits.flush_interval_ms);
        let retry_ms = self.pace.retry_at_ms().map(|at_ms| at_ms.max(now.mono_ms));
        retry_ms.or_else(|| due_ms.filter(|due_ms| *due_ms > usual_ms))
    }

    /// The memory of the largest batch that [`Lane::dissolve_newest`] would come to, if it would find any.
    pub(super) fn dissolvable_bytes(&self) -> Option<usize> {
        let open = self.open.iter().map(|open| open.weight());
        let full = self.full.iter().map(weight_of);
        let head = self.head.iter().filter(|_| self.is_head_untouched());
        let all = open.chain(full).chain(head.map(|head| head.weight));
        all.max()
    }

    /// Whether the head is here and nothing of it has been answered for.
    fn is_head_untouched(&self) -> bool {
        self.head
            .as_ref()
            .is_some_and(|head| head.batch.is_some() && head.undecided.is_untouched())
    }

    /// Gives up its newest batch: what it was made of, and the memory it held.
    pub(super) fn dissolve_newest(&mut self) -> Option<(Vec<Origin>, usize)> {
        self.begin = Begin::Small;
        let (pieces, weight) = if let Some(open) = self.open.take() {
            self.feed();
            self.haste = Haste::Usual;
            let weight = open.weight();
            (open.dissolve(), weight)
        } else if let Some(batch) = self.full.pop_back() {
            let weight = weight_of(&batch);
            (batch.pieces, weight)
        } else if self.is_head_untouched() {
            let head = self.head.take()?;
            (head.batch?.pieces, head.weight)
        } else {
            return None;
        };
        self.weight -= weight;
        Some((
            pieces.into_iter().map(|piece| piece.origin).collect(),
            weight,
        ))
    }

    /// Whether nothing would change if it were made anew when somebody needs it.
    pub(super) fn is_forgettable(&self, now: Now) -> bool {
        Arc::strong_count(&self.handle) == 1
            && self.is_empty()
            && !self.is_under_way()
            && !self.is_listed
            && !self.pace.is_recent(now)
    }

    /// What `deploywatch status` shows of it, if anything happened yet.
    pub(super) fn status(&self, now: Now) -> Option<TargetStatus> {
        if self.is_empty() && self.pace.last_answer.is_none() {
            return None;
        }
        let (last_answer, last_answer_ms) = self.pace.last_answer.clone().unwrap_or_default();
        let retry_ms = self.pace.retry_at_ms().map(|at_ms| {
            let wait_ms = at_ms.saturating_sub(now.mono_ms);
            now.wall_ms.saturating_add_unsigned(wait_ms)
        });
        Some(TargetStatus {
            group: self.target.group.clone(),
            stream: self.target.stream.clone(),
            last_answer,
            last_answer_ms,
            pending_bytes: self.pending_bytes() as u64,
            retry_ms,
        })
    }

    /// What a person should know of it.
    pub(super) fn problem(&self, now: Now) -> Option<String> {
        let (answer, _) = self.pace.last_answer.as_ref()?;
        if !self.pace.is_loud(now) {
            return None;
        }
        Some(match self.suspicion_at {
            SUSPICION_FIRST => answer.clone(),
            _ => format!("every event is refused, so the group's settings are suspected: {answer}"),
        })
    }
}
