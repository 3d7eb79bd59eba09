//! Making the service have what is wanted: which call comes next.
//!
//! Look at what is there, ask whose it is where we do not know, compare, change. One call at a
//! time; the caller decides when, and repeats a call that failed for a passing reason by asking
//! for [`Applying::next_call`] again. Every call may be made twice without harm.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{ByHand, Change, Owner, Plan, Present, plan};
use super::spec::{Wanted, acts_on_instance};
use crate::ports::ServiceError;
use crate::ports::alarm::{AlarmCall, AlarmReply, AlarmSpec, NAMES_MAX, ServiceAlarm};

/// The tag that says that an alarm is ours.
pub const OWNER_TAG: (&str, &str) = ("ManagedBy", "deploywatch");

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Only compare.
    Planned,
    /// Change what differs.
    Applied,
}

/// What to do, and how far.
#[derive(Clone, Debug)]
pub struct Task {
    /// What shall be there.
    pub wanted: Wanted,
    /// What becomes of changes by hand.
    pub by_hand: ByHand,
    /// Whole names of alarms that we know we made: nobody is asked whose these are.
    pub made: BTreeSet<String>,
    /// Whether the alarms that act on the instance are suspended: none of them is then made, or
    /// changed, with its actions switched on.
    pub suspended: bool,
    /// Alarms that we made under a prefix that is not the present one, and that go.
    pub outdated: Vec<AlarmSpec>,
    /// How far to go.
    pub until: Until,
}

/// On the way there.
#[derive(Clone, Debug)]
pub struct Applying {
    task: Task,
    present: Vec<Present>,
    phase: Phase,
    plan: Plan,
    failed: Vec<(String, ServiceError)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Describe,
    /// Asking whose this alarm is.
    Tags(usize),
    /// Deleting what is to be deleted, from this name on as many as one call takes.
    Delete(usize),
    /// Making this change; the second step of an adoption is its put.
    Change(usize, Step),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Tag,
    Put,
}

impl Applying {
    /// Ready to look.
    #[must_use]
    pub fn new(task: Task) -> Self {
        Self {
            task,
            present: Vec::new(),
            phase: Phase::Describe,
            plan: Plan::default(),
            failed: Vec::new(),
        }
    }

    /// The call to make now; `None`: all is done.
    #[must_use]
    pub fn next_call(&self) -> Option<AlarmCall> {
        match self.phase {
            Phase::Describe => Some(AlarmCall::Describe {
                prefix: self.task.wanted.prefix.clone(),
            }),
            Phase::Tags(index) => Some(AlarmCall::Tags {
                arn: self.present[index].alarm.arn.clone(),
            }),
            Phase::Delete(from) => Some(AlarmCall::Delete {
                names: self.deleted_from(from),
            }),
            Phase::Change(index, step) => self.change_call(index, step),
            Phase::Done => None,
        }
    }

    /// Takes the good answer to [`Applying::next_call`].
    pub fn take(&mut self, reply: AlarmReply) {
        match (self.phase, reply) {
            (Phase::Describe, AlarmReply::Alarms(alarms)) => {
                self.present = alarms
                    .into_iter()
                    .map(|alarm| self.presume(alarm))
                    .collect();
                self.ask_from(0);
            }
            (Phase::Tags(index), AlarmReply::Tags(tags)) => {
                if is_ours(&tags) {
                    self.present[index].owner = Owner::Us;
                }
                self.ask_from(index + 1);
            }
            (Phase::Delete(from), _) => self.delete_from(from + NAMES_MAX),
            (Phase::Change(index, Step::Tag), _) => match &self.plan.changes[index] {
                Change::Adopt { differences, .. } if differences.is_empty() => {
                    self.change_from(index + 1);
                }
                _ => self.phase = Phase::Change(index, Step::Put),
            },
            (Phase::Change(index, Step::Put), _) => self.change_from(index + 1),
            // An answer that belongs to no question of ours.
            (Phase::Describe | Phase::Tags(_) | Phase::Done, _) => {}
        }
    }

    /// Takes a refusal that no repetition will change: the alarm it is about is left as it is,
    /// the others go on.
    pub fn skip(&mut self, error: ServiceError) {
        match self.phase {
            Phase::Describe => {
                self.failed.push((self.task.wanted.prefix.clone(), error));
                self.phase = Phase::Done;
            }
            // Whoever may not read the tags cannot know whose it is: then it is not ours.
            Phase::Tags(index) => self.ask_from(index + 1),
            Phase::Delete(from) => {
                let names = self.deleted_from(from).into_iter();
                self.failed.extend(names.map(|name| (name, error.clone())));
                self.delete_from(from + NAMES_MAX);
            }
            Phase::Change(index, _) => {
                let name = self.plan.changes[index].name().to_owned();
                self.failed.push((name, error));
                self.change_from(index + 1);
            }
            Phase::Done => {}
        }
    }

    /// Puts off a change that may not be made now: the others must not wait for it.
    pub fn postpone(&mut self) {
        if let Phase::Change(index, _) = self.phase {
            self.plan.changes[index..].rotate_left(1);
            self.change_from(index);
        }
    }

    /// What there is to do, once that is known.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        match self.phase {
            Phase::Describe | Phase::Tags(_) => None,
            Phase::Delete(_) | Phase::Change(..) | Phase::Done => Some(&self.plan),
        }
    }

    /// The alarms under our prefix, as they were found.
    #[must_use]
    pub fn present(&self) -> &[Present] {
        &self.present
    }

    /// What the service refused, by alarm.
    #[must_use]
    pub fn failed(&self) -> &[(String, ServiceError)] {
        &self.failed
    }

    /// What is wanted.
    #[must_use]
    pub fn task(&self) -> &Task {
        &self.task
    }

    fn presume(&self, alarm: ServiceAlarm) -> Present {
        let owner = match self.task.made.contains(&alarm.spec.name) {
            true => Owner::Us,
            false => Owner::Other,
        };
        Present { alarm, owner }
    }

    /// Asks whose the next alarm is that we do not know; then compares.
    fn ask_from(&mut self, index: usize) {
        let unknown = |there: &Present| there.owner == Owner::Other;
        let next = self.present[index..].iter().position(unknown);
        self.phase = match next {
            Some(further) => Phase::Tags(index + further),
            None => {
                self.plan = plan(&self.task.wanted, &self.present, self.task.by_hand);
                let outdated = self.task.outdated.iter().cloned().map(Change::Delete);
                self.plan.changes.splice(0..0, outdated);
                match self.task.until {
                    Until::Planned => Phase::Done,
                    Until::Applied => return self.delete_from(0),
                }
            }
        };
    }

    /// Deletes what is to be deleted from this name on; then changes the rest.
    fn delete_from(&mut self, from: usize) {
        match self.deleted_from(from).is_empty() {
            true => self.change_from(0),
            false => self.phase = Phase::Delete(from),
        }
    }

    /// The names that the call from this one on deletes.
    fn deleted_from(&self, from: usize) -> Vec<String> {
        let names = self.to_delete().into_iter();
        names.skip(from).take(NAMES_MAX).collect()
    }

    fn change_from(&mut self, index: usize) {
        let changes = self.plan.changes.iter().enumerate().skip(index);
        let mut further = changes.filter(|(_, change)| !matches!(change, Change::Delete(_)));
        self.phase = match further.next() {
            Some((index, Change::Adopt { .. })) => Phase::Change(index, Step::Tag),
            Some((index, _)) => Phase::Change(index, Step::Put),
            None => Phase::Done,
        };
    }

    /// Whole names, each once: of an alarm that was being changed, two versions may be known.
    fn to_delete(&self) -> Vec<String> {
        let deletions = self.plan.changes.iter().filter_map(|change| match change {
            Change::Delete(spec) => Some(&spec.name),
            _ => None,
        });
        let names: BTreeSet<&String> = deletions.collect();
        names.into_iter().cloned().collect()
    }

    fn change_call(&self, index: usize, step: Step) -> Option<AlarmCall> {
        let tags = || {
            let (name, value) = OWNER_TAG;
            BTreeMap::from([(name.to_owned(), value.to_owned())])
        };
        let (spec, arn) = match &self.plan.changes[index] {
            Change::Create(spec) | Change::Update { spec, .. } => (spec, None),
            Change::Adopt { spec, arn, .. } => (spec, Some(arn)),
            Change::Delete(_) => return None,
        };
        match (step, arn) {
            (Step::Tag, Some(arn)) => Some(AlarmCall::Tag {
                arn: arn.clone(),
                tags: tags(),
            }),
            _ => Some(AlarmCall::Put {
                spec: Box::new(spec.clone()),
                actions_enabled: self.actions_enabled(spec),
                tags: tags(),
            }),
        }
    }

    /// An alarm that is there keeps what it has: nobody's switching off is undone. A new one among
    /// others of its kind that are all switched off is switched off too. A suspension is of those
    /// that act on the instance: none of them is switched on in it, and one that was switched off
    /// for it and only tells people from now on is switched on again.
    fn actions_enabled(&self, spec: &AlarmSpec) -> bool {
        let acts = acts_on_instance(spec);
        let mut all = self.present.iter();
        let there = all.find(|there| there.alarm.spec.name == spec.name);
        match there.map(|there| &there.alarm) {
            _ if acts && self.task.suspended => false,
            Some(there) => {
                let was_suspended = self.task.suspended && acts_on_instance(&there.spec);
                there.actions_enabled || was_suspended
            }
            None => {
                let is_like = |there: &&Present| {
                    let other = &there.alarm.spec;
                    there.owner == Owner::Us && acts_on_instance(other) == acts
                };
                let mut like = self.present.iter().filter(is_like).peekable();
                like.peek().is_none() || like.any(|there| there.alarm.actions_enabled)
            }
        }
    }
}

/// Whether tags say that an alarm is ours.
#[must_use]
pub fn is_ours(tags: &BTreeMap<String, String>) -> bool {
    tags.get(OWNER_TAG.0)
        .is_some_and(|value| value == OWNER_TAG.1)
}
