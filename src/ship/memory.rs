//! The memory of all batches: who may have how much of it, and in which order.
//!
//! Every byte of a batch is granted here before it is allocated and given back when the batch is
//! done with. A target that is refused stands in a queue, and what its first needs is kept free
//! for it, whoever asks meanwhile; so each gets its turn whatever order the caller asks in. The
//! buffers of full batches are kept for the next ones, within the same bound.
//!
//! Two things are not counted, since they last for a moment: the copy made when a batch grows,
//! and the second body of a batch that must be sorted.

use std::collections::VecDeque;

use crate::event::Now;

use super::buffers::Buffers;

/// Pairs of buffers kept for the next full batches.
const POOL_MAX: usize = 4;
/// How long nothing may be asked for before the pool is let go.
const POOL_IDLE_MS: u64 = 5_000;
/// A place in the queue is lost when its owner does not ask again for so long.
const WANT_MS_MAX: u64 = 5_000;

/// The bound, what is taken of it, and who waits.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes_max: usize,
    held_bytes: usize,
    pool: Vec<Buffers>,
    used_ms: u64,
    wants: VecDeque<Want>,
}

/// A refused target's place in the queue.
#[derive(Debug)]
struct Want {
    lane: u32,
    bytes: usize,
    asked_ms: u64,
}

impl Memory {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            held_bytes: 0,
            pool: Vec::new(),
            used_ms: 0,
            wants: VecDeque::new(),
        }
    }

    /// Bytes granted and not given back.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether a target would be granted so much now. If not, it has a place in the queue from
    /// now on.
    pub(crate) fn offers(&mut self, lane: u32, bytes: usize, now: Now) -> bool {
        self.used_ms = now.mono_ms;
        while self.wants.front().is_some_and(|want| {
            want.lane != lane && now.mono_ms.saturating_sub(want.asked_ms) > WANT_MS_MAX
        }) {
            self.wants.pop_front();
        }
        let reserved = match self.wants.front() {
            Some(want) if want.lane != lane => want.bytes,
            _ => 0,
        };
        // What is too big for the bound is served alone, or it would wait for ever.
        let fits = self
            .held_bytes
            .saturating_add(bytes)
            .saturating_add(reserved)
            <= self.bytes_max
            || self.held_bytes == 0 && reserved == 0;
        if !fits {
            let asked_ms = now.mono_ms;
            match self.wants.iter_mut().find(|want| want.lane == lane) {
                Some(want) => (want.bytes, want.asked_ms) = (bytes, asked_ms),
                None => self.wants.push_back(Want {
                    lane,
                    bytes,
                    asked_ms,
                }),
            }
        }
        fits
    }

    /// Takes what was offered.
    pub(crate) fn take(&mut self, lane: u32, bytes: usize) {
        self.forget(lane);
        self.held_bytes += bytes;
        self.trim();
    }

    /// The target wants nothing any more.
    pub(crate) fn forget(&mut self, lane: u32) {
        self.wants.retain(|want| want.lane != lane);
    }

    /// Large buffers from the pool, if there are any. They are part of what was taken.
    pub(crate) fn reuse(&mut self) -> Option<Buffers> {
        self.pool.pop()
    }

    /// A batch is done with: its memory is free, its buffers may serve again.
    pub(crate) fn give_back(&mut self, bytes: usize, mut buffers: Buffers) {
        self.held_bytes = self
            .held_bytes
            .checked_sub(bytes)
            .expect("no more memory is given back than was taken");
        if self.pool.len() < POOL_MAX && buffers.weight() == Buffers::LARGE_WEIGHT {
            buffers.body.clear();
            buffers.slots.clear();
            self.pool.push(buffers);
            self.trim();
        }
    }

    /// Whether anybody was refused and waits.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.wants.is_empty()
    }

    /// Whether it is this target's turn.
    pub(crate) fn is_first(&self, lane: u32) -> bool {
        self.wants.front().is_some_and(|want| want.lane == lane)
    }

    /// How much must be given back before the first in the queue can be served.
    pub(crate) fn short_bytes(&self) -> usize {
        let wanted = self.wants.front().map_or(0, |want| want.bytes);
        (self.held_bytes + wanted).saturating_sub(self.bytes_max)
    }

    /// When the pool may be let go; `None` when it is empty.
    pub(crate) fn pool_due_ms(&self) -> Option<u64> {
        (!self.pool.is_empty()).then_some(self.used_ms + POOL_IDLE_MS)
    }

    /// Lets the pool go when nothing has been asked for a while.
    pub(crate) fn rest(&mut self, now: Now) {
        if self
            .pool_due_ms()
            .is_some_and(|due_ms| due_ms <= now.mono_ms)
        {
            self.pool = Vec::new();
        }
    }

    /// Keeps the pool within what nobody holds.
    fn trim(&mut self) {
        let free = self.bytes_max.saturating_sub(self.held_bytes);
        self.pool.truncate(free / Buffers::LARGE_WEIGHT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everybody gets a turn, though the caller always asks in the same order and the first would
    /// take everything: memory for one of five is passed around.
    #[test]
    fn each_gets_its_turn() {
        let mut memory = Memory::new(100);
        let mut served = [0; 5];
        let mut holder = None;
        for turn in 0..100 {
            let now = Now {
                mono_ms: turn,
                wall_ms: 0,
            };
            for lane in 0..5_u32 {
                if memory.offers(lane, 60, now) {
                    memory.take(lane, 60);
                    served[lane as usize] += 1;
                    assert_eq!(holder.replace(lane), None);
                }
            }
            assert_eq!(memory.short_bytes(), 20);
            if let Some(lane) = holder.take() {
                memory.give_back(60, Buffers::default());
                assert!(
                    memory.offers(lane, 10, now),
                    "a little is free beside the first's"
                );
            }
        }
        assert_eq!(served, [20; 5]);
    }

    /// Who does not come back loses the place; who is too big for the bound is served alone.
    #[test]
    fn places_are_lost_and_giants_served() {
        let mut memory = Memory::new(100);
        let at = |mono_ms| Now {
            mono_ms,
            wall_ms: 0,
        };
        memory.take(1, 90);
        assert!(!memory.offers(2, 500, at(0)));
        assert!(!memory.offers(3, 5, at(10)), "all is kept for the giant");
        memory.give_back(90, Buffers::default());
        assert!(memory.offers(2, 500, at(20)));
        assert!(
            memory.offers(3, 5, at(9_000)),
            "the giant did not come back"
        );
    }
}
