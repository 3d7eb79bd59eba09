//! Files whose turn ended for want of room, and when each may try again.
//!
//! Most wait for memory: they sleep until their target is woken, however many they are. The others
//! wait for their target's own answers, and try in every step.

use std::collections::BTreeSet;

use crate::event::{FileId, Now};
use crate::ship::TargetId;

use super::Agent;

/// Each file waits in one of the two, or twice, which does no harm.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    for_memory: BTreeSet<(TargetId, FileId)>,
    for_answers: BTreeSet<FileId>,
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

    /// Those that sleep until a target is woken.
    fn take_woken(&mut self, target: &TargetId) -> Vec<FileId> {
        let first = (target.clone(), FileId(0));
        let files = self.for_memory.range(first..);
        let files = files.take_while(|(of, _)| of == target);
        let files: Vec<FileId> = files.map(|(_, id)| *id).collect();
        for id in &files {
            self.for_memory.remove(&(target.clone(), *id));
        }
        files
    }

    /// All of them.
    fn take(&mut self) -> impl Iterator<Item = FileId> {
        let Self {
            for_memory,
            for_answers,
        } = std::mem::take(self);
        let asleep = for_memory.into_iter().map(|(_, id)| id);
        for_answers.into_iter().chain(asleep)
    }
}

impl Agent {
    /// There is no room for more of a file now.
    pub(super) fn wait(&mut self, id: FileId, target: &TargetId) {
        match self.shipper.waits(target) {
            true => _ = self.waiting.for_memory.insert((target.clone(), id)),
            false => _ = self.waiting.for_answers.insert(id),
        }
    }

    /// Gives turns to the files whose target was woken since.
    pub(super) fn requeue_woken(&mut self, now: Now) {
        while let Some(target) = self.shipper.next_woken(now) {
            for id in self.waiting.take_woken(&target) {
                self.tail.requeue(id);
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
        for id in self.waiting.take() {
            self.tail.requeue(id);
        }
    }
}
