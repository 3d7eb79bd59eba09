//! Files whose turn ended for want of room, and when each may try again.
//!
//! Most wait for memory: they sleep until their target is woken, however many they are. Then each has a
//! turn, and when none of them took what the target was woken for, the next target is woken. The others
//! wait for their target's own answers, and try in every step.

use std::collections::BTreeSet;

use crate::event::{FileId, Now};
use crate::ship::TargetId;

use super::Agent;

/// Each file waits in one of the first two, or twice, which does no harm.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    for_memory: BTreeSet<(TargetId, FileId)>,
    for_answers: BTreeSet<FileId>,
    /// Those that were woken and have not had their turn.
    woken: BTreeSet<(TargetId, FileId)>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.for_memory.is_empty() && self.for_answers.is_empty()
    }

    /// Whether this file waits.
    pub(super) fn has(&self, target: Option<&TargetId>, id: FileId) -> bool {
        let sleeps = |target: &TargetId| self.for_memory.contains(&(target.clone(), id));
        self.for_answers.contains(&id) || target.is_some_and(sleeps)
    }

    /// A file sleeps until its target is woken.
    pub(super) fn sleep(&mut self, id: FileId, target: &TargetId) {
        self.for_memory.insert((target.clone(), id));
    }

    /// A file's turn has come, or it is gone: it waits no more.
    pub(super) fn leave(&mut self, id: FileId, target: &TargetId) {
        let file = (target.clone(), id);
        self.for_memory.remove(&file);
        self.woken.remove(&file);
        self.for_answers.remove(&id);
    }

    /// Those that sleep until this target is woken: they come now.
    pub(super) fn wake(&mut self, target: &TargetId) -> Vec<FileId> {
        let files: Vec<FileId> = of_target(&self.for_memory, target).collect();
        for id in &files {
            self.for_memory.remove(&(target.clone(), *id));
            self.woken.insert((target.clone(), *id));
        }
        files
    }

    /// Whether a file of this target was woken and is still to come.
    pub(super) fn is_to_come(&self, target: &TargetId) -> bool {
        of_target(&self.woken, target).next().is_some()
    }
}

fn of_target(
    files: &BTreeSet<(TargetId, FileId)>,
    target: &TargetId,
) -> impl Iterator<Item = FileId> {
    let first = (target.clone(), FileId(0));
    let files = files.range(first..);
    files
        .take_while(move |(of, _)| of == target)
        .map(|(_, id)| *id)
}

impl Agent {
    /// There is no room for more of a file now.
    pub(super) fn wait(&mut self, id: FileId, target: &TargetId) {
        match self.shipper.waits(target) {
            true => self.waiting.sleep(id, target),
            false => _ = self.waiting.for_answers.insert(id),
        }
    }

    /// A file of a target has had its turn. If it was the last of those woken, its place is free
    /// unless one of them took what there was.
    pub(super) fn pass_on(&mut self, target: &TargetId) {
        if !self.waiting.is_to_come(target) {
            self.shipper.decline(target);
        }
    }

    /// Gives turns to the files whose target was woken since.
    pub(super) fn requeue_woken(&mut self, now: Now) {
        while let Some(target) = self.shipper.next_woken(now) {
            let files = self.waiting.wake(&target);
            let is_for_marker = files.is_empty() && !self.keeper.unsent.is_empty();
            for id in files {
                self.tail.requeue(id);
            }
            // A marker that found no room is tried again after this.
            if !is_for_marker {
                self.pass_on(&target);
            }
        }
    }

    /// Gives turns to all that may try again in this step.
    pub(super) fn wake(&mut self, now: Now) {
        for id in std::mem::take(&mut self.waiting.for_answers) {
            self.tail.requeue(id);
        }
        self.requeue_woken(now);
    }

    /// Gives turns to all, since their targets may be others now.
    pub(super) fn wake_all(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for (target, id) in waiting.for_memory.into_iter().chain(waiting.woken) {
            self.shipper.leave(&target);
            self.tail.requeue(id);
        }
        for id in waiting.for_answers {
            self.tail.requeue(id);
        }
    }
}
