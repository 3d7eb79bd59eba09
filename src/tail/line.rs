//! The order in which the contents of a family are read: the one they were written in.
//!
//! A content names those that come right before it, and each of them those before itself: a thousand rotated
//! logs that join at once make a line of a thousand links. One waits until all before it are read as far as
//! they were when it appeared, or have left. What may not be read keeps nobody waiting, but those before
//! it do, and itself once it may be.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::event::{FileId, Offset};

use super::Tail;
use super::file::{File, Place};
use super::lifetime::families_of;

/// Where new contents of one scan stand, by family: so that of many each need not be compared with all.
#[derive(Default)]
pub(super) struct Lines(HashMap<Arc<Path>, Line>);

struct Line {
    /// The rotated content that joined last.
    last: FileId,
    /// Those that come after it.
    later: Vec<FileId>,
}

impl Tail {
    /// Gives a file that joins its place among those of its family that hold unread bytes. What
    /// was written after it and is not begun comes later; the live one never comes before a rotated
    /// one.
    pub(super) fn line_up(&mut self, new: &mut File, lines: &mut Lines) {
        let is_there = |line: &Line| self.file(line.last).is_some_and(|it| !it.is_displaced());
        let line = lines.0.remove(&new.family).filter(is_there);
        let (before, others) = match &line {
            Some(line) => (vec![line.last], line.later.clone()),
            None => {
                let family = self.by_family.get(&new.family);
                (Vec::new(), family.cloned().unwrap_or_default())
            }
        };
        let (more, mut later) = self.beside(new, &others);
        if !later.is_empty() {
            // What is known of their order goes before their dates: no two must wait for each other.
            let before = self.all_before(&more, &before);
            later.retain(|id| !before.contains(id));
        }
        new.after.extend(before.into_iter().chain(more));
        self.keep_nearest(&mut new.after);
        for id in &later {
            if let Some(file) = self.files.get_mut(id) {
                // Those before the new one it need not name itself.
                file.after.retain(|id| !new.after.contains(id));
                file.after.push(new.id);
            }
        }
        let line = match line {
            _ if new.path != new.family => Some(Line {
                last: new.id,
                later,
            }),
            Some(mut line) => {
                line.later.push(new.id);
                Some(line)
            }
            None => None,
        };
        let family = Arc::clone(&new.family);
        lines.0.extend(line.map(|line| (family, line)));
    }

    /// Of some files of its family, those that come before a new one and those that come later, by what
    /// they are.
    fn beside(&self, new: &File, others: &[FileId]) -> (Vec<FileId>, Vec<FileId>) {
        let live = self.by_path.get(&new.family).copied();
        let is_live = new.path == new.family;
        let (mut before, mut later) = (Vec::new(), Vec::new());
        for other in others.iter().filter_map(|id| self.file(*id)) {
            if other.source.name != new.source.name || matches!(other.place, Place::Rescued(_)) {
                continue;
            }
            let other_is_live = live == Some(other.id);
            let is_later = other_is_live || other.modified_ms > new.modified_ms;
            if !is_live && is_later && other.read == Offset(0) {
                later.push(other.id);
            } else if (is_live || !other_is_live) && (!other.is_read() || other.is_displaced()) {
                before.push(other.id);
            }
        }
        (before, later)
    }

    /// Whether a file's turn comes after that of another one.
    pub(super) fn waits_for_others(&self, file: &File) -> bool {
        self.any_before(file, &is_awaited)
    }

    /// Whether any of the files before one is such.
    pub(crate) fn any_before(&self, file: &File, is_such: &dyn Fn(&File) -> bool) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), Vec::new());
        let mut at = Some(file);
        while let Some(file) = at {
            for before in file.after.iter().filter_map(|id| self.file(*id)) {
                if is_such(before) {
                    return true;
                }
                if !before.after.is_empty() && seen.insert(before.id) {
                    next.push(before);
                }
            }
            at = next.pop();
        }
        false
    }

    /// Those before a file for which it has to wait, now or once they can be read: the nearest.
    pub(super) fn still_before(&self, file: &File) -> Vec<FileId> {
        let (mut seen, mut nearest) = (BTreeSet::new(), Vec::new());
        let mut next = file.after.clone();
        while let Some(id) = next.pop() {
            let Some(before) = self.file(id).filter(|_| seen.insert(id)) else {
                continue;
            };
            match is_awaited(before) || !before.is_readable() {
                true => nearest.push(id),
                false => next.extend(&before.after),
            }
        }
        nearest
    }

    /// Those that came after a file that has left come after those before it.
    pub(super) fn close_gap(&mut self, left: &File) {
        let before = self.still_before(left);
        if before.is_empty() {
            return;
        }
        let families = families_of(left).filter_map(|family| self.by_family.get(&family));
        // Rescued pieces are in no family's list.
        let passing = self.passing.iter();
        let members: BTreeSet<FileId> = families.flatten().chain(passing).copied().collect();
        for id in members {
            if let Some(file) = self.files.get_mut(&id)
                && let Some(at) = file.after.iter().position(|id| *id == left.id)
            {
                file.after.swap_remove(at);
                file.after.extend(&before);
            }
        }
    }

    /// Leaves out of some files those that others of them come right after.
    fn keep_nearest(&self, files: &mut Vec<FileId>) {
        if files.len() < 2 {
            return;
        }
        let known = files.iter().filter_map(|id| self.file(*id));
        let named: BTreeSet<FileId> = known.flat_map(|file| file.after.iter().copied()).collect();
        files.retain(|id| !named.contains(id));
        files.sort_unstable();
        files.dedup();
    }

    /// Some files and all those before them, but for what is before `known`.
    fn all_before(&self, files: &[FileId], known: &[FileId]) -> BTreeSet<FileId> {
        let mut all: BTreeSet<FileId> = known.iter().copied().collect();
        let mut next = files.to_vec();
        while let Some(id) = next.pop() {
            if all.insert(id)
                && let Some(file) = self.file(id)
            {
                next.extend(&file.after);
            }
        }
        all
    }
}

/// Whether what comes after a file has to wait for it.
fn is_awaited(file: &File) -> bool {
    let wanted = file.gate_bytes.min(file.size);
    file.is_displaced() || (file.read.0 < wanted && file.is_readable())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::event::Now;
    use crate::tail::testing::{Logs, Silent, tail_of};

    /// What happens to a family.
    #[derive(Clone, Debug)]
    enum Act {
        /// A scan brings rotated logs of these dates, and perhaps the live one.
        Scan(Vec<u8>, bool),
        /// So many turns are given.
        Read(u8),
        /// One may not be read any more, or may be again.
        Lock(u8),
        /// One leaves unread.
        Leave(u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (prop::collection::vec(any::<u8>(), 0..5), any::<bool>())
                .prop_map(|(dates, is_live)| Act::Scan(dates, is_live)),
            (1..4_u8).prop_map(Act::Read),
            any::<u8>().prop_map(Act::Lock),
            any::<u8>().prop_map(Act::Leave),
        ]
    }

    struct Play {
        tail: Tail,
        logs: Logs,
        looks: u64,
        inodes: u64,
        /// All that comes before each, each compared with all that were there.
        all: BTreeMap<FileId, BTreeSet<FileId>>,
    }

    impl Play {
        fn scan(&mut self, dates: &[u8], is_live: bool) {
            self.looks += 1;
            let mut put = |name: &str, date: u8| {
                self.inodes += 1;
                let inode = self.inodes;
                let content = format!("{inode:05} is the first word\n");
                self.logs.put(name, inode, &content, i64::from(date));
            };
            for (nth, date) in dates.iter().enumerate() {
                put(&format!("a.log.{}{nth:02}", self.looks), *date);
            }
            if is_live && !self.tail.by_path.contains_key(Path::new("/l/a.log")) {
                put("a.log", 100);
            }
            self.tail.scan_all_now();
            let now = Now {
                mono_ms: self.looks * 10_000,
                wall_ms: 0,
            };
            let watch = &mut Silent { is_watching: true };
            self.tail.look(&mut self.logs, watch, &|_| Offset(0), now);
            for id in self.tail.take_news().joined {
                self.compare(id);
            }
        }

        /// Where one stands that has joined, by comparing it with all.
        fn compare(&mut self, id: FileId) {
            let new = self.tail.file(id).unwrap();
            let (mut before, mut later) = (BTreeSet::new(), Vec::new());
            let family = self.tail.by_family[&new.family].iter();
            let others = family.filter(|id| self.all.contains_key(id));
            for other in others.filter_map(|id| self.tail.file(*id)) {
                let other_is_live = other.path == new.family;
                let is_later = other_is_live || other.modified_ms > new.modified_ms;
                let is_live = new.path == new.family;
                if !is_live && is_later && other.read == Offset(0) {
                    later.push(other.id);
                } else if !other.is_read() && (is_live || !other_is_live) {
                    before.insert(other.id);
                }
            }
            let known = self.before(&before);
            self.all.insert(id, before);
            for other in later.into_iter().filter(|id| !known.contains(id)) {
                self.all.get_mut(&other).unwrap().insert(id);
            }
        }

        /// These, and all before them.
        fn before(&self, ids: &BTreeSet<FileId>) -> BTreeSet<FileId> {
            let mut all = BTreeSet::new();
            let mut next: Vec<FileId> = ids.iter().copied().collect();
            while let Some(id) = next.pop() {
                if all.insert(id) {
                    next.extend(self.all.get(&id).into_iter().flatten());
                }
            }
            all
        }

        fn is_any_awaited(&self, ids: &BTreeSet<FileId>) -> bool {
            let mut files = ids.iter().filter_map(|id| self.tail.file(*id));
            files.any(is_awaited)
        }

        fn read(&mut self) {
            let turn = self.tail.next_turn();
            if let Some(id) = turn {
                assert!(
                    !self.is_any_awaited(&self.all[&id]),
                    "{id:?} came too early"
                );
                let file = self.tail.files.get_mut(&id).unwrap();
                if file.unreadable.is_none() {
                    file.read = Offset(file.size);
                }
                return;
            }
            for file in self.tail.files().filter(|file| file.queued) {
                let before = self.before(&self.all[&file.id]);
                assert!(
                    self.is_any_awaited(&before),
                    "{:?} waits for nobody",
                    file.id
                );
            }
        }

        fn nth(&self, nth: u8) -> Option<FileId> {
            let ids: Vec<FileId> = self.tail.files().map(|file| file.id).collect();
            (!ids.is_empty()).then(|| ids[usize::from(nth) % ids.len()])
        }

        fn play(&mut self, act: &Act) {
            match act {
                Act::Scan(dates, is_live) => self.scan(dates, *is_live),
                Act::Read(turns) => (0..*turns).for_each(|_| self.read()),
                Act::Lock(nth) => {
                    let Some(id) = self.nth(*nth) else { return };
                    let file = self.tail.files.get_mut(&id).unwrap();
                    file.unreadable = match file.unreadable {
                        Some(_) => None,
                        None => Some("may not be read".to_owned()),
                    };
                    self.tail.requeue(id);
                }
                Act::Leave(nth) => {
                    let Some(id) = self.nth(*nth) else { return };
                    let path = self.tail.file(id).unwrap().path.clone();
                    let name = path.file_name().unwrap().to_str().unwrap();
                    self.tail.forget(id, &mut self.logs);
                    self.logs.names.remove(name);
                }
            }
        }
    }

    fn play() -> Play {
        let mut logs = Logs::default();
        Play {
            tail: tail_of(Vec::new(), "/l/a.log*", &mut logs, &|_| Offset(0)),
            logs,
            looks: 0,
            inodes: 0,
            all: BTreeMap::new(),
        }
    }

    proptest! {
        /// By naming the nearest only, each waits for exactly those it would wait for if it named all:
        /// shown on families that grow, are locked in part, and lose members.
        #[test]
        fn who_names_the_nearest_waits_for_all(acts in prop::collection::vec(act(), 1..20)) {
            let mut play = play();
            for act in &acts {
                play.play(act);
            }
            for _ in 0..100 {
                play.read();
            }
        }
    }

    /// Thousands of rotated logs cost a few steps each, not a few for each two of them: shown by how many
    /// names each has, by how often files are opened, and by the order of the turns.
    #[test]
    fn many_rotated_logs_join_at_once() {
        const LOGS: u64 = 2_000;
        let mut play = play();
        for nth in 0..LOGS {
            let content = format!("# Logfile created by a logger\n{nth:05}\n");
            let date = i64::try_from(nth * 7_919 % LOGS).unwrap();
            play.logs
                .put(&format!("a.log.{nth}"), nth + 1, &content, date);
        }
        play.logs.put("a.log", LOGS + 1, "the live one\n", 5);
        let now = Now {
            mono_ms: 0,
            wall_ms: 0,
        };
        let watch = &mut Silent { is_watching: true };
        play.tail.look(&mut play.logs, watch, &|_| Offset(0), now);
        let named: usize = play.tail.files().map(|file| file.after.len()).sum();
        assert!(named <= 2 * LOGS as usize, "{named} names");
        assert!(play.logs.opened <= 3 * LOGS, "{} opened", play.logs.opened);
        let mut dates = Vec::new();
        while let Some(id) = play.tail.next_turn() {
            let file = play.tail.files.get_mut(&id).unwrap();
            file.read = Offset(file.size);
            dates.push((file.path == file.family, file.modified_ms));
        }
        assert_eq!(dates.len() as u64, LOGS + 1);
        assert!(dates.is_sorted(), "{dates:?}");
    }
}
