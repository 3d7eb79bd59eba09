//! Those who were refused memory, first come first served.

use std::collections::BTreeMap;

use super::memory::Ask;

/// A place is lost when its owner was woken and does not ask for so long.
const WOKEN_MS_MAX: u64 = 1_000;

/// Targets by the order in which they came, each once.
#[derive(Debug, Default)]
pub(super) struct Queue {
    wants: BTreeMap<u64, Want>,
    /// Each target's place among the wants.
    places: BTreeMap<u32, u64>,
    next: u64,
}

/// Who waits for what.
#[derive(Debug)]
struct Want {
    ask: Ask,
    /// When it was told that there is room for it now.
    woken_ms: Option<u64>,
}

impl Queue {
    /// What the first asked for.
    pub(super) fn first(&self) -> Option<Ask> {
        self.wants.first_key_value().map(|(_, want)| want.ask)
    }

    /// What is to be kept free for the first, unless that is the one who asks.
    pub(super) fn reserved(&self, but_for: u32) -> usize {
        self.first()
            .filter(|ask| ask.lane != but_for)
            .map_or(0, |ask| ask.adds())
    }

    /// Whether the one who takes so much waits for more.
    pub(super) fn wants_more(&self, taken: Ask) -> bool {
        let place = self.places.get(&taken.lane);
        let want = place.and_then(|place| self.wants.get(place));
        want.is_some_and(|want| want.ask.total() > taken.total())
    }

    pub(super) fn has(&self, lane: u32) -> bool {
        self.places.contains_key(&lane)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wants.is_empty()
    }

    /// Takes a place at the end, or keeps the one it has: there was no room.
    pub(super) fn enter(&mut self, ask: Ask) {
        let place = *self.places.entry(ask.lane).or_insert(self.next);
        self.next = self.next.max(place + 1);
        let woken_ms = None;
        self.wants.insert(place, Want { ask, woken_ms });
    }

    /// Gives up its place; whether it had one.
    pub(super) fn leave(&mut self, lane: u32) -> bool {
        let place = self.places.remove(&lane);
        place.is_some_and(|place| self.wants.remove(&place).is_some())
    }

    /// Notes that the first is told that there is room for it; who that is, if it was not told
    /// before.
    pub(super) fn wake_first(&mut self, mono_ms: u64) -> Option<u32> {
        let mut first = self.wants.first_entry()?;
        let want = first.get_mut();
        if want.woken_ms.is_some() {
            return None;
        }
        want.woken_ms = Some(mono_ms);
        Some(want.ask.lane)
    }

    /// Whether the first was woken.
    pub(super) fn is_first_woken(&self) -> bool {
        let first = self.wants.first_key_value();
        first.is_some_and(|(_, want)| want.woken_ms.is_some())
    }

    /// When the first, which was woken, loses its place, if it does not ask before.
    pub(super) fn late_ms(&self) -> Option<u64> {
        let (_, want) = self.wants.first_key_value()?;
        Some(want.woken_ms? + WOKEN_MS_MAX)
    }
}
