//! What one [`Shipper::step`] does, part by part: answers, memory, calls, forgetting.

use crate::event::Now;
use crate::ports::{CallId, ErrorClass, LogAnswer, LogService};

use super::buffers::Buffers;
use super::lane::{Lane, Shrunk, Step, Verdict};
use super::pace::{End, Outage};
use super::{Shipper, TargetId, report};

/// Create calls under way at once: the quota is 50 CreateLogStream and 10 CreateLogGroup calls a
/// second for a whole account and Region.
const CREATE_CALLS_MAX: usize = 2;
/// After so long without any success, the first one wakes the targets that wait to retry.
const OUTAGE_MS: u64 = 5_000;
/// How often idle targets nobody holds any more are forgotten.
const FORGET_INTERVAL_MS: u64 = 60_000;

/// A call under way.
#[derive(Debug)]
pub(super) struct Call {
    id: CallId,
    lane: u32,
    step: Step,
    attempt: Attempt,
}

/// Whether a call tries again what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    First,
    Again,
}

/// What is known of the service as a whole.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// The last good answer to anybody.
    well_ms: u64,
    /// Whether some call found it unreachable or broken since.
    failing: bool,
    /// Whether some call was refused for want of help (credentials, permission) since.
    refusing: bool,
}

impl Shipper {
    pub(super) fn answered(&mut self, answer: LogAnswer, now: Now) {
        let Some(at) = self.calls.iter().position(|call| call.id == answer.id) else {
            tracing::warn!(call = answer.id.0, "answer to no call of ours");
            return;
        };
        let index = self.calls.swap_remove(at).lane;
        self.note(answer.result.as_ref().err().map(|error| error.class), now);
        let lane = self.lanes[index as usize]
            .as_mut()
            .expect("a lane with a call is kept");
        match lane.answered(answer, now, &mut self.rng) {
            Verdict::GoOn => {}
            Verdict::GroupExists => {
                let group = lane.target.group.clone();
                let lanes = self.lanes.iter_mut().flatten();
                lanes
                    .filter(|lane| lane.target.group == group)
                    .for_each(|lane| lane.group_exists());
            }
            Verdict::Decided {
                batch,
                refused,
                weight,
            } => {
                let (settled, poisons, buffers) = report::settle(batch, refused);
                self.memory.give_back(weight, buffers);
                self.settled.push(settled);
                self.rejected.extend(poisons);
            }
        }
        if self.lane(index).pace.is_troubled() {
            self.memory.forget(index);
        }
    }

    /// Learns from any answer how the service is. The first good one after an outage, or after
    /// credentials failed for all, wakes those who wait for that, so that recovery does not take
    /// as long as the longest backoff.
    fn note(&mut self, error: Option<ErrorClass>, now: Now) {
        match error {
            Some(ErrorClass::RetrySoon) => self.service.failing = true,
            Some(ErrorClass::RetrySlowly) => self.service.refusing = true,
            None | Some(ErrorClass::AlreadyAccepted | ErrorClass::AlreadyExists) => {
                let before = std::mem::take(&mut self.service);
                self.service.well_ms = now.mono_ms;
                if before.failing || before.refusing {
                    self.wake(&before, now);
                }
            }
            Some(_) => {}
        }
    }

    fn wake(&mut self, before: &Service, now: Now) {
        let since_ms = now.mono_ms.saturating_sub(before.well_ms);
        let end = End {
            well_ms: before.well_ms,
            outage: match before.failing && since_ms >= OUTAGE_MS {
                true => Outage::Over,
                false => Outage::None,
            },
        };
        for lane in self.lanes.iter_mut().flatten() {
            lane.pace.wake(end, now, &mut self.rng);
        }
    }

    /// While somebody is refused memory who could send before those who hold some, these give back
    /// theirs, the one that waits longest first, its newest batch first.
    pub(super) fn relieve(&mut self, now: Now) {
        while self.memory.is_short() {
            let Some(index) = self.longest_waiting(now) else {
                return;
            };
            let Some((origins, weight)) = self.lane_mut(index).dissolve_newest() else {
                return;
            };
            self.memory.give_back(weight, Buffers::default());
            self.returned.extend(origins);
        }
    }

    pub(super) fn longest_waiting(&self, now: Now) -> Option<u32> {
        let waiting = self.listed.iter().filter_map(|index| {
            let lane = self.lane(*index);
            let until_ms = lane.waits_until_ms(&self.limits, now)?;
            let sends_before = |first: u32| {
                let first_ms = self.lane(first).would_wait_until_ms(&self.limits, now);
                first_ms.is_none_or(|first_ms| first_ms < until_ms)
            };
            let helps = self
                .memory
                .helped_by(lane.dissolvable_bytes()?)
                .any(sends_before);
            (helps && !self.memory.is_first(*index)).then_some((until_ms, *index))
        });
        waiting.max().map(|(_, index)| index)
    }

    /// All there is for a target has been pushed: while others wait for memory, it must not keep a
    /// full batch's for what may come some day.
    pub fn reached_end(&mut self, id: &TargetId) {
        let is_wanted = self.memory.is_wanted();
        let lane = self.lane_mut(id.index);
        lane.expected = 0;
        if is_wanted && let Some(Shrunk { from, to, buffers }) = lane.make_room() {
            self.memory.shrink(from, to, buffers);
        }
    }

    /// Makes the calls that are due, those served longest ago first.
    pub(super) fn submit(&mut self, now: Now, service: &mut dyn LogService) {
        let mut served = Vec::new();
        for _ in 0..self.listed.len() {
            if self.calls.len() >= self.limits.calls_max {
                break;
            }
            let Some(index) = self.listed.pop_front() else {
                break;
            };
            let lane = self.lane(index);
            let is_due = lane
                .due_ms(&self.limits)
                .is_some_and(|due_ms| due_ms <= now.mono_ms);
            if lane.is_resting(now) {
                self.lane_mut(index).is_listed = false;
            } else if is_due && self.may_call(lane) {
                self.call(index, now, service);
                served.push(index);
            } else {
                self.listed.push_back(index);
            }
        }
        self.listed.extend(served);
    }

    /// Whether the limits of calls allow a lane its next one.
    pub(super) fn may_call(&self, lane: &Lane) -> bool {
        let creating = || self.calls.iter().filter(|call| call.step != Step::Put);
        let calls_max = self.limits.calls_max;
        // Half of the calls are for those whose last try did not fail.
        let again = self
            .calls
            .iter()
            .filter(|call| call.attempt == Attempt::Again)
            .count();
        self.calls.len() < calls_max
            && (!lane.pace.is_troubled() || again < calls_max.div_ceil(2))
            && match lane.step {
                Step::Put => true,
                Step::CreateStream => creating().count() < CREATE_CALLS_MAX,
                Step::CreateGroup => {
                    creating().count() < CREATE_CALLS_MAX
                        && !creating().any(|call| {
                            call.step == Step::CreateGroup
                                && self.lane(call.lane).target.group == lane.target.group
                        })
                }
            }
    }

    fn call(&mut self, index: u32, now: Now, service: &mut dyn LogService) {
        let id = CallId(self.next_call);
        self.next_call += 1;
        let lane = self.lane_mut(index);
        let attempt = match lane.pace.is_troubled() {
            true => Attempt::Again,
            false => Attempt::First,
        };
        let step = lane.step;
        let call = lane.call(now);
        self.calls.push(Call {
            id,
            lane: index,
            step,
            attempt,
        });
        service.submit(id, call);
    }

    /// Lets go of what nobody needs: the pool when idle, targets that nobody can push to.
    pub(super) fn forget(&mut self, now: Now) {
        self.now = now;
        self.memory.rest(now);
        if now.mono_ms.saturating_sub(self.forgotten_ms) < FORGET_INTERVAL_MS {
            return;
        }
        self.forgotten_ms = now.mono_ms;
        for (index, place) in (0..).zip(&mut self.lanes) {
            if place.as_ref().is_some_and(|lane| lane.is_forgettable(now))
                && let Some(lane) = place.take()
            {
                self.by_target.remove(&lane.target);
                self.memory.forget(index);
                self.free.push(index);
            }
        }
    }
}
