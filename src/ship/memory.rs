//! The memory of all batches: who may have how much of it, and in which order.
//!
//! Every byte of a batch is granted here before it is allocated and given back when the batch is
//! done with. Who is refused stands in a queue, and what its first needs is kept free for it,
//! whoever begins a batch meanwhile; so each gets its turn whatever order the caller asks in, and
//! nobody need ask again before it is woken ([`Memory::next_woken`]).
//!
//! Two kinds of asks do not wait for each other: those of backlogs, for a full batch's memory, of
//! which there is enough for a few at a time, and the little that some new lines need, for which a
//! part is left free. A target may stand in both queues.
//!
//! The buffers of full batches are kept for the next ones, within the same bound. Two things are
//! not counted, since they last for a moment: the copy made when a batch grows, and the second
//! body of a batch that must be sorted.

use crate::event::Now;

use super::buffers::Buffers;
use super::queue::Queue;

/// Pairs of buffers kept for the next full batches.
const POOL_MAX: usize = 4;
/// How long nothing may be asked for before the pool is let go.
const POOL_IDLE_MS: u64 = 5_000;
/// What a small batch has at most: one of the two least sizes, with its pieces.
const LITTLE_BYTES: usize = 6 << 10;
/// The part of the bound that is left for small batches.
const LITTLE_PART: usize = 16;
/// A batch that needs no more than such a part of what it has goes on before those who wait.
const GROWTH_PART: usize = 4;

/// The bound, what is taken of it, and who waits.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes_max: usize,
    held: Held,
    pool: Vec<Buffers>,
    used_ms: u64,
    little: Queue,
    much: Queue,
    /// Who lost its place and is not woken yet.
    left: Vec<u32>,
}

/// A target's batch is to grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) lane: u32,
    /// Memory the batch has.
    pub(super) has: usize,
    /// How much more it needs.
    pub(super) bytes: usize,
}

/// Memory granted and not given back, that of small batches and that of the others.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    little: usize,
    much: usize,
}

/// What kind of batch has so much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Little,
    Much,
}

impl Kind {
    fn of(bytes: usize) -> Self {
        match bytes <= LITTLE_BYTES {
            true => Self::Little,
            false => Self::Much,
        }
    }
}

impl Ask {
    /// Whether a large batch is to go on: refused, it would leave half empty.
    fn goes_on(self) -> bool {
        Kind::of(self.has) == Kind::Much && self.bytes <= self.has / GROWTH_PART
    }

    /// How much it will have.
    pub(super) fn total(self) -> usize {
        self.has + self.bytes
    }

    fn kind(self) -> Kind {
        Kind::of(self.total())
    }

    /// How much more its kind will hold.
    pub(super) fn adds(self) -> usize {
        match Kind::of(self.has) == self.kind() {
            true => self.bytes,
            false => self.total(),
        }
    }
}

impl Held {
    /// After a batch that had so much has so much instead.
    fn resized(mut self, from: usize, to: usize) -> Self {
        let old = self.of(from);
        *old = old
            .checked_sub(from)
            .expect("no more memory is given back than was taken");
        *self.of(to) += to;
        self
    }

    fn of(&mut self, bytes: usize) -> &mut usize {
        match Kind::of(bytes) {
            Kind::Little => &mut self.little,
            Kind::Much => &mut self.much,
        }
    }

    fn total(self) -> usize {
        self.little + self.much
    }
}

impl Memory {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            held: Held::default(),
            pool: Vec::new(),
            used_ms: 0,
            little: Queue::default(),
            much: Queue::default(),
            left: Vec::new(),
        }
    }

    /// Bytes granted and not given back.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.total()
    }

    /// Whether a target would be granted so much now. If not, it has a place in the queue from
    /// now on.
    pub(super) fn offers(&mut self, ask: Ask, now: Now) -> bool {
        self.used_ms = now.mono_ms;
        self.drop_late(Some(ask.lane), now);
        if self.fits(ask) {
            return true;
        }
        match ask.kind() {
            Kind::Little => self.little.enter(ask),
            Kind::Much => self.much.enter(ask),
        }
        false
    }

    /// Takes what was offered. Who takes less for one file than another waits for keeps its place.
    pub(super) fn take(&mut self, ask: Ask) {
        let waited = self.little.leave(ask.lane);
        let is_all = ask.kind() == Kind::Much && !self.much.wants_more(ask);
        if (is_all && self.much.leave(ask.lane)) | waited {
            self.left.push(ask.lane);
        }
        self.held = self.held.resized(ask.has, ask.total());
        self.trim();
    }

    /// The target wants nothing any more.
    pub(crate) fn forget(&mut self, lane: u32) {
        if self.little.leave(lane) | self.much.leave(lane) {
            self.left.push(lane);
        }
    }

    /// The target has not taken what it was woken for, if it was.
    pub(crate) fn decline(&mut self, lane: u32) {
        for queue in [&mut self.little, &mut self.much] {
            let is_first = queue.first().is_some_and(|ask| ask.lane == lane);
            if is_first && queue.is_first_woken() && queue.leave(lane) {
                self.left.push(lane);
            }
        }
    }

    /// Whether a target stands in the queue. It need not ask before it is woken.
    pub(crate) fn waits(&self, lane: u32) -> bool {
        self.little.has(lane) || self.much.has(lane)
    }

    /// The next target that may ask again: there is room for it now, or it has lost its place.
    pub(crate) fn next_woken(&mut self, now: Now) -> Option<u32> {
        self.drop_late(None, now);
        if let Some(lane) = self.left.pop() {
            return Some(lane);
        }
        if self.first_fits(&self.little)
            && let Some(lane) = self.little.wake_first(now.mono_ms)
        {
            return Some(lane);
        }
        match self.first_fits(&self.much) {
            true => self.much.wake_first(now.mono_ms),
            false => None,
        }
    }

    /// Whether there is somebody to wake.
    pub(crate) fn has_woken(&self) -> bool {
        let is_due = |queue: &Queue| !queue.is_first_woken() && self.first_fits(queue);
        !self.left.is_empty() || is_due(&self.little) || is_due(&self.much)
    }

    /// Large buffers from the pool, if there are any. They are part of what was taken.
    pub(crate) fn reuse(&mut self) -> Option<Buffers> {
        self.pool.pop()
    }

    /// A batch of this memory is done with: its memory is free, its buffers may serve again.
    pub(crate) fn give_back(&mut self, bytes: usize, buffers: Buffers) {
        self.shrink(bytes, 0, buffers);
    }

    /// A batch keeps only so much of its memory; the buffers it gave up may serve again.
    pub(crate) fn shrink(&mut self, from: usize, to: usize, mut buffers: Buffers) {
        self.held = self.held.resized(from, to);
        if self.pool.len() < POOL_MAX && buffers.weight() == Buffers::LARGE_WEIGHT {
            buffers.body.clear();
            buffers.slots.clear();
            self.pool.push(buffers);
            self.trim();
        }
    }

    /// Whether anybody was refused and waits.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.little.is_empty() || !self.much.is_empty()
    }

    /// Whether it is this target's turn.
    pub(crate) fn is_first(&self, lane: u32) -> bool {
        let mut firsts = [&self.little, &self.much].into_iter();
        firsts.any(|queue| queue.first().is_some_and(|ask| ask.lane == lane))
    }

    /// Whether somebody must give back before the first in the queue can be served.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short_of(&self.little) || self.is_short_of(&self.much)
    }

    /// Whom it would help if a batch of this memory were given back: small ones do not take from the
    /// others what is left for them anyway.
    pub(crate) fn helped_by(&self, bytes: usize) -> impl Iterator<Item = u32> {
        let helps_much = Kind::of(bytes) == Kind::Much || self.held.little > self.little_max();
        let queues = [Some(&self.little), helps_much.then_some(&self.much)];
        let short = (queues.into_iter().flatten()).filter(|queue| self.is_short_of(queue));
        short.filter_map(Queue::first).map(|ask| ask.lane)
    }

    fn is_short_of(&self, queue: &Queue) -> bool {
        !queue.is_empty() && !self.first_fits(queue)
    }

    /// What is left for small batches.
    fn little_max(&self) -> usize {
        self.bytes_max / LITTLE_PART
    }

    /// When something is due by itself: somebody who was woken is late, the pool may be let go.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let late_ms = [self.little.late_ms(), self.much.late_ms()];
        let due = late_ms.into_iter().flatten();
        due.chain(self.pool_due_ms()).min()
    }

    /// When the pool may be let go; `None` when it is empty.
    fn pool_due_ms(&self) -> Option<u64> {
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

    fn fits(&self, ask: Ask) -> bool {
        let mut held = self.held;
        *held.of(ask.total()) += ask.adds();
        let little_max = self.little_max();
        let much_max = self.bytes_max - little_max;
        let (little, much) = (self.little.reserved(ask.lane), self.much.reserved(ask.lane));
        match ask.kind() {
            Kind::Little => {
                held.little + little <= little_max || held.total() + little + much <= self.bytes_max
            }
            // What is too big for the bound is served alone, or it would wait for ever.
            Kind::Much if held.much > much_max && much == 0 => {
                self.held.much == 0 && held.little <= little_max
            }
            Kind::Much => {
                let kept = if ask.goes_on() { 0 } else { much };
                held.much + held.little.max(little_max) + kept <= self.bytes_max
            }
        }
    }

    fn first_fits(&self, queue: &Queue) -> bool {
        queue.first().is_some_and(|ask| self.fits(ask))
    }

    /// Who was woken long ago and did not ask loses its place.
    fn drop_late(&mut self, but_for: Option<u32>, now: Now) {
        for queue in [&mut self.little, &mut self.much] {
            let is_late = queue
                .late_ms()
                .is_some_and(|late_ms| late_ms <= now.mono_ms);
            let first = queue.first().map(|ask| ask.lane);
            if let Some(lane) = first.filter(|_| is_late && first != but_for) {
                queue.leave(lane);
                self.left.push(lane);
            }
        }
    }

    /// Keeps the pool within what nobody holds.
    fn trim(&mut self) {
        let free = self.bytes_max.saturating_sub(self.held.total());
        self.pool.truncate(free / Buffers::LARGE_WEIGHT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now {
            mono_ms,
            wall_ms: 0,
        }
    }

    fn ask(lane: u32, bytes: usize) -> Ask {
        let has = 0;
        Ask { lane, has, bytes }
    }

    const BYTES_MAX: usize = 160_000;

    /// Everybody gets a turn, though the caller always asks in the same order and the first would
    /// take everything: memory for one of five is passed around, and what is little fits beside.
    #[test]
    fn each_gets_its_turn() {
        let mut memory = Memory::new(BYTES_MAX);
        let mut served = [0; 5];
        let mut holder = None;
        for turn in 0..100 {
            for lane in 0..5_u32 {
                let ask = ask(lane, 80_000);
                if memory.offers(ask, at(turn)) {
                    memory.take(ask);
                    served[lane as usize] += 1;
                    assert_eq!(holder.replace(lane), None);
                }
            }
            assert!(memory.is_short());
            if let Some(lane) = holder.take() {
                memory.give_back(80_000, Buffers::default());
                assert!(
                    memory.offers(ask(lane, 60_000), at(turn)),
                    "some is free beside the first's"
                );
            }
        }
        assert_eq!(served, [20; 5]);
    }

    /// Who was woken and does not come loses the place; who is too big for the bound is served
    /// alone.
    #[test]
    fn places_are_lost_and_giants_served() {
        let mut memory = Memory::new(BYTES_MAX);
        memory.take(ask(1, 90_000));
        assert!(!memory.offers(ask(2, 500_000), at(0)));
        assert!(
            !memory.offers(ask(3, 9_000), at(10)),
            "all is kept for the giant"
        );
        assert_eq!(memory.next_woken(at(10)), None);
        memory.give_back(90_000, Buffers::default());
        assert!(memory.has_woken());
        assert_eq!(memory.next_woken(at(20)), Some(2));
        assert!(memory.offers(ask(2, 500_000), at(20)));
        assert!(!memory.offers(ask(3, 9_000), at(30)));
        assert!(
            memory.offers(ask(3, 9_000), at(9_000)),
            "the giant did not come back"
        );
    }

    /// A file that takes less than another of its target waits for does not cost it the place.
    #[test]
    fn a_place_is_kept_for_who_waits_for_more() {
        let mut memory = Memory::new(BYTES_MAX);
        memory.take(ask(1, 100_000));
        assert!(!memory.offers(ask(2, 120_000), at(0)));
        assert!(!memory.offers(ask(3, 50_000), at(0)));
        memory.give_back(100_000, Buffers::default());
        assert_eq!(memory.next_woken(at(1)), Some(2));
        memory.take(ask(2, 20_000));
        assert!(!memory.offers(ask(3, 50_000), at(1)));
        let (has, bytes) = (20_000, 100_000);
        let rest = Ask {
            lane: 2,
            has,
            bytes,
        };
        assert!(memory.offers(rest, at(1)));
        memory.take(rest);
        assert!(!memory.waits(2) && memory.waits(3));
    }

    /// A new line's batch does not stand behind those of backlogs, however many they are.
    #[test]
    fn little_does_not_wait_for_much() {
        let mut memory = Memory::new(BYTES_MAX);
        for lane in 0..100 {
            let ask = ask(lane, 50_000);
            if memory.offers(ask, at(0)) {
                memory.take(ask);
            }
        }
        for lane in 100..105 {
            assert!(memory.offers(ask(lane, 2_000), at(0)));
            memory.take(ask(lane, 2_000));
        }
        assert!(
            !memory.offers(ask(105, 2_000), at(0)),
            "the part is used up"
        );
        memory.give_back(2_000, Buffers::default());
        assert_eq!(memory.next_woken(at(1)), Some(105));
    }

    /// Whatever is asked and given back, in whatever order: the bound holds, everybody who waits is
    /// woken, and nobody need ask before.
    #[test]
    fn who_waits_is_woken() {
        for seed in 0..500 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut memory = Memory::new(BYTES_MAX);
            let mut held = Vec::new();
            let mut asleep = std::collections::BTreeMap::new();
            let mut left = 300;
            for step in 0.. {
                if let Some(lane) = memory.next_woken(at(step)) {
                    let ask: Ask = asleep.remove(&lane).expect("who is woken was asleep");
                    assert!(memory.offers(ask, at(step)), "seed {seed}");
                    memory.take(ask);
                    // It has taken, so it is in no queue: nobody need tell it.
                    assert_eq!(memory.left.pop(), Some(lane));
                    held.push(ask);
                    continue;
                }
                let is_new = left > 0 && rng.bool();
                if is_new {
                    left -= 1;
                    let bytes = match rng.u8(0..9) {
                        0 => rng.usize(1..3 * BYTES_MAX),
                        1..4 => rng.usize(1..BYTES_MAX),
                        _ => rng.usize(1..LITTLE_BYTES),
                    };
                    let ask = ask(left, bytes);
                    if memory.offers(ask, at(step)) {
                        memory.take(ask);
                        held.push(ask);
                    } else {
                        asleep.insert(left, ask);
                    }
                } else if !held.is_empty() {
                    let ask = held.swap_remove(rng.usize(0..held.len()));
                    memory.give_back(ask.bytes, Buffers::default());
                } else if left == 0 {
                    break;
                }
                let is_alone = held.iter().filter(|ask| ask.bytes > LITTLE_BYTES).count() <= 1;
                assert!(
                    memory.held_bytes() <= BYTES_MAX || is_alone,
                    "seed {seed}: {}",
                    memory.held_bytes()
                );
            }
            assert!(asleep.is_empty(), "seed {seed}: {asleep:?}");
            assert_eq!((memory.held_bytes(), memory.is_wanted()), (0, false));
        }
    }
}
