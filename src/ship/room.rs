//! Whether there is room for more of a target's log, and the memory its batches get.
//!
//! A file is read when the batch that will hold its bytes has its memory, and no further than that
//! batch goes. So a backlog leaves in full batches however many there are, and costs what one would.

use std::sync::Arc;

use crate::event::Now;

use super::batch::Builder;
use super::buffers::{Buffers, Growth};
use super::memory::Ask;
use super::{Shipper, TargetId};

impl Shipper {
    /// How much more may be read for this target now, when so many bytes of its log are there to be
    /// read: about what the batch that is being filled will take, so that nothing is read twice.
    /// `None`: nothing. If it is for want of memory, the target waits ([`Shipper::waits`]).
    pub fn room(&mut self, id: &TargetId, expected: u64, now: Now) -> Option<usize> {
        let lane = self.lane_mut(id.index);
        lane.expect(expected);
        if !lane.takes_events(now) {
            self.memory.forget(id.index);
            return None;
        }
        let is_troubled = lane.pace.is_troubled();
        let (bytes, room) =
            lane.growth(|open, outlook| (open.next_bytes(outlook), open.log_room()));
        // It takes one event to try with.
        let room = if is_troubled { 1 } else { room };
        self.offers(id.index, bytes, now).map(|_ask| room)
    }

    /// Whether a target stands in the queue for memory. Nothing need be read for it until it is woken
    /// ([`Shipper::next_woken`]); asking again does no harm.
    #[must_use]
    pub fn waits(&self, id: &TargetId) -> bool {
        self.memory.waits(id.index)
    }

    /// All files of a target that was woken have come: if none has taken what it was woken for and none
    /// asks for more, it gives up its place at once.
    pub fn decline(&mut self, id: &TargetId) {
        self.memory.decline(id.index);
    }

    /// A target's files want nothing more, or ask anew: it gives up its place.
    pub fn leave(&mut self, id: &TargetId) {
        self.memory.forget(id.index);
    }

    /// The next target that waited and may ask again. To be called until there is none, in every
    /// turn of the loop, and best after every file's turn.
    pub fn next_woken(&mut self, now: Now) -> Option<TargetId> {
        while let Some(index) = self.memory.next_woken(now) {
            if let Some(lane) = &self.lanes[index as usize] {
                return Some(lane.id(index));
            }
        }
        None
    }

    /// Gets the open batch (a new one if there is none) the memory it needs.
    pub(super) fn grow(&mut self, index: u32, growth: Growth, now: Now) -> bool {
        let Some(ask) = self.offers(index, growth.bytes, now) else {
            return false;
        };
        let given = match growth.is_large() && ask.has < Buffers::LARGE_WEIGHT {
            true => self.memory.reuse(),
            false => None,
        };
        self.memory.take(ask);
        let lane = self.lane_mut(index);
        lane.weight += growth.bytes;
        lane.feed();
        let target = &lane.target;
        lane.open
            .get_or_insert_with(|| Box::new(Builder::new(Arc::clone(target), now.mono_ms)))
            .grow(growth, given);
        if !lane.is_listed {
            lane.is_listed = true;
            self.listed.push_back(index);
        }
        true
    }

    /// What a target is to take if its batch may have so much more memory now.
    fn offers(&mut self, index: u32, bytes: usize, now: Now) -> Option<Ask> {
        let limits = self.limits;
        let lane = self.lane_mut(index);
        let has = lane.open.as_ref().map_or(0, |open| open.weight());
        // A batch that has the target to itself may always grow: it cannot wait for others.
        let alone = lane.weight == has;
        if !alone && lane.weight + bytes > limits.target_bytes_max {
            // Another of its files may wait for less, so its place is kept.
            return None;
        }
        let lane = index;
        let ask = Ask { lane, has, bytes };
        if bytes == 0 || self.memory.offers(ask, now) {
            return Some(ask);
        }
        self.lane_mut(index).starve(now);
        None
    }
}
