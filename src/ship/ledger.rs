//! How far each file is safely done.
//!
//! The agent enters each span it reads, in the order of the file, before it hands the events on;
//! acknowledgements come back in any order. What may be stored in a checkpoint is the end of the
//! longest settled *prefix*, never the greatest offset settled.
//!
//! Invariants: `settled ≤ read`; the prefix never passes a byte that is entered and not settled;
//! a byte that was given back is not settled until it is entered again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::event::{Ack, FileId, Offset, Origin, Span};

/// Spans read and settled, of all files.
#[derive(Debug, Default)]
pub struct Ledger {
    files: HashMap<FileId, Account>,
    /// Those that were cut: where bytes may be severed.
    cut: BTreeSet<FileId>,
}

/// One file's.
#[derive(Debug)]
struct Account {
    /// All before it is done with.
    settled: u64,
    /// All before it has been read.
    read: u64,
    /// What nearly all of thousands of files have none of.
    apart: Option<Box<Apart>>,
}

/// Bytes of a file that are done with, or gone, out of their order.
#[derive(Debug, Default)]
struct Apart {
    /// Done with, but behind something that is not: start to end, apart from each other.
    islands: BTreeMap<u64, u64>,
    /// Read, on their way, and nowhere on disk any more: start to end, apart from each other.
    severed: Vec<(u64, u64)>,
}

/// What an acknowledgement was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// Bytes of this file; its settled prefix may have grown.
    File(FileId),
    /// A loss marker: the service has answered for it, the loss need not be told again.
    Marker(u64),
}

impl Ledger {
    /// No file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a file: all before `at` is done with, nothing behind it has been read.
    pub fn open(&mut self, file: FileId, at: Offset) {
        let account = Account {
            settled: at.0,
            read: at.0,
            apart: None,
        };
        self.files.insert(file, account);
    }

    /// Enters bytes that were read, before they are handed on.
    ///
    /// # Panics
    /// When they do not begin where the bytes before ended: a gap would never be settled, an
    /// overlap settled twice.
    pub fn enter(&mut self, span: Span) {
        let account = self
            .files
            .get_mut(&span.file)
            .expect("a file is opened before it is read");
        assert_eq!(
            account.read, span.start.0,
            "spans are entered in the order of the file"
        );
        account.read = span.end.0.max(span.start.0);
    }

    /// Notes that something is done with. Files forgotten meanwhile are ignored, and so are bytes
    /// that were given back after the batch had left: they are read again anyhow.
    pub fn settle(&mut self, ack: Ack) -> Noted {
        let span = match ack.origin() {
            Origin::Marker(id) => return Noted::Marker(id),
            Origin::File(span) => span,
        };
        if let Some(account) = self.files.get_mut(&span.file) {
            account.take_severed(span.start.0, span.end.0);
            account.settle(span.start.0, span.end.0.min(account.read));
        }
        Noted::File(span.file)
    }

    /// Takes back what was read from `to` on: it will be read and entered again. What is settled
    /// as part of the prefix stays so.
    pub fn rewind(&mut self, file: FileId, to: Offset) {
        if let Some(account) = self.files.get_mut(&file) {
            account.rewind(to.0.max(account.settled));
        }
    }

    /// Forgets all there was behind `at`: the content ends there now. What is on its way of what
    /// comes before stays so; what is on its way of what came behind is severed.
    pub fn cut(&mut self, file: FileId, at: Offset) {
        if let Some(account) = self.files.get_mut(&file) {
            self.cut.insert(file);
            account.sever(at.0);
            account.rewind(at.0);
            account.settled = account.settled.min(at.0);
        }
    }

    /// Bytes of a file that are on their way and cannot be read again.
    #[must_use]
    pub fn severed(&self, file: FileId) -> u64 {
        self.files.get(&file).map_or(0, Account::severed_bytes)
    }

    /// The same of every file that has some.
    #[must_use]
    pub fn all_severed(&self) -> BTreeMap<FileId, u64> {
        let all = self.cut.iter().map(|id| (*id, self.severed(*id)));
        all.filter(|(_, bytes)| *bytes > 0).collect()
    }

    /// Gives up bytes that will not be sent: how many of them cannot be read again.
    pub fn abandon(&mut self, span: Span) -> u64 {
        let account = self.files.get_mut(&span.file);
        account.map_or(0, |account| account.take_severed(span.start.0, span.end.0))
    }

    /// The end of the settled prefix: what a checkpoint may say.
    #[must_use]
    pub fn settled(&self, file: FileId) -> Option<Offset> {
        self.files.get(&file).map(|account| Offset(account.settled))
    }

    /// The end of what was read.
    #[must_use]
    pub fn read(&self, file: FileId) -> Option<Offset> {
        self.files.get(&file).map(|account| Offset(account.read))
    }

    /// Forgets a file; acknowledgements still to come for it are ignored.
    pub fn forget(&mut self, file: FileId) {
        self.files.remove(&file);
        self.cut.remove(&file);
    }

    /// Bytes read and not settled as part of a prefix, of all files.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        let accounts = self.files.values();
        accounts.map(|account| account.read - account.settled).sum()
    }
}

impl Account {
    fn settle(&mut self, start: u64, end: u64) {
        let (mut start, mut end) = (start.max(self.settled), end);
        if start >= end {
            return;
        }
        if start == self.settled && self.apart.is_none() {
            self.settled = end;
            return;
        }
        let islands = &mut self.apart.get_or_insert_default().islands;
        // Joins the islands that touch it, so that they stay few.
        while let Some((&at, &island_end)) = islands.range(..=end).next_back() {
            if island_end < start {
                break;
            }
            (start, end) = (start.min(at), end.max(island_end));
            islands.remove(&at);
        }
        if start == self.settled {
            self.settled = end;
        } else {
            islands.insert(start, end);
        }
        self.tidy();
    }

    /// Lets go of what holds nothing any more.
    fn tidy(&mut self) {
        let is_empty = |apart: &Apart| apart.islands.is_empty() && apart.severed.is_empty();
        if self.apart.as_deref().is_some_and(is_empty) {
            self.apart = None;
        }
    }

    fn severed_bytes(&self) -> u64 {
        let severed = self.apart.iter().flat_map(|apart| &apart.severed);
        severed.map(|(start, end)| end - start).sum()
    }

    /// What is read and not settled from `at` on can only arrive now, or be lost.
    fn sever(&mut self, at: u64) {
        let mut from = at.max(self.settled);
        let Apart { islands, severed } = &mut **self.apart.get_or_insert_default();
        for (&start, &end) in &*islands {
            if start > from {
                severed.push((from, start));
            }
            from = from.max(end);
        }
        if from < self.read {
            severed.push((from, self.read));
        }
        self.tidy();
    }

    /// Takes out what lies within a span: how many bytes.
    fn take_severed(&mut self, start: u64, end: u64) -> u64 {
        let Some(apart) = &mut self.apart else {
            return 0;
        };
        let mut taken = 0;
        for (from, to) in std::mem::take(&mut apart.severed) {
            let (first, last) = (from.max(start), to.min(end));
            if first >= last {
                apart.severed.push((from, to));
                continue;
            }
            taken += last - first;
            let rest = [(from, first), (last, to)];
            apart
                .severed
                .extend(rest.into_iter().filter(|(a, b)| a < b));
        }
        self.tidy();
        taken
    }

    fn rewind(&mut self, to: u64) {
        if to >= self.read {
            return;
        }
        self.read = to;
        let Some(apart) = &mut self.apart else {
            return;
        };
        apart.islands.split_off(&to);
        if let Some(mut last) = apart.islands.last_entry()
            && *last.get() > to
        {
            last.insert(to);
        }
        self.tidy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Skip};
    use proptest::prelude::*;

    const FILE: FileId = FileId(7);

    fn span(start: u64, end: u64) -> Span {
        Span {
            file: FILE,
            start: Offset(start),
            end: Offset(end),
        }
    }

    fn ack(origin: Origin) -> Ack {
        let event = Event {
            time_ms: 0,
            text: "x".into(),
            origin,
        };
        event.skip(Skip::Filtered).0
    }

    #[derive(Clone, Debug)]
    enum Act {
        Enter(u64),
        Settle(usize),
        Rewind(u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            5 => (1_u64..9).prop_map(Act::Enter),
            5 => any::<usize>().prop_map(Act::Settle),
            1 => (0_u64..60).prop_map(Act::Rewind),
        ]
    }

    proptest! {
        /// The prefix is exactly the settled bytes without a gap, for any interleaving of reads,
        /// settlements and rewinds: a model keeps one flag for each byte. As the shipper does, a
        /// rewind gives back whole spans from the newest on.
        #[test]
        fn the_prefix_never_passes_an_unsettled_byte(acts in proptest::collection::vec(act(), 1..120)) {
            let mut ledger = Ledger::new();
            ledger.open(FILE, Offset(3));
            let mut done: Vec<bool> = vec![true; 3];
            let mut under_way: Vec<Span> = Vec::new();
            for act in acts {
                match act {
                    Act::Enter(bytes) => {
                        let start = done.len() as u64;
                        under_way.push(span(start, start + bytes));
                        ledger.enter(span(start, start + bytes));
                        done.resize(done.len() + bytes as usize, false);
                    }
                    Act::Settle(nth) if !under_way.is_empty() => {
                        let span = under_way.remove(nth % under_way.len());
                        done[span.start.0 as usize..span.end.0 as usize].fill(true);
                        prop_assert_eq!(ledger.settle(ack(Origin::File(span))), Noted::File(FILE));
                    }
                    Act::Settle(_) => {}
                    Act::Rewind(to) => {
                        let prefix = done.iter().take_while(|done| **done).count();
                        let to = under_way.iter().map(|span| span.start.0)
                            .find(|start| *start >= to).unwrap_or(done.len() as u64);
                        let to = to.max(prefix as u64);
                        under_way.retain(|span| span.start.0 < to);
                        ledger.rewind(FILE, Offset(to));
                        done.truncate(to as usize);
                    }
                }
                let prefix = done.iter().take_while(|done| **done).count() as u64;
                prop_assert_eq!(ledger.settled(FILE), Some(Offset(prefix)));
                prop_assert_eq!(ledger.read(FILE), Some(Offset(done.len() as u64)));
                prop_assert_eq!(ledger.unsettled(), done.len() as u64 - prefix);
            }
            for span in under_way {
                let _: Noted = ledger.settle(ack(Origin::File(span)));
            }
            let account = &ledger.files[&FILE];
            let islands = account.apart.as_ref().map_or(0, |apart| apart.islands.len());
            prop_assert!(account.settled + islands as u64 <= account.read);
        }
    }

    /// Acknowledgements for a file that is forgotten or bytes that were given back change
    /// nothing; a marker's is handed to the caller.
    #[test]
    fn strangers_are_ignored() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.settle(ack(Origin::Marker(5))), Noted::Marker(5));
        ledger.open(FILE, Offset(0));
        ledger.enter(span(0, 10));
        ledger.rewind(FILE, Offset(4));
        assert_eq!(
            ledger.settle(ack(Origin::File(span(6, 10)))),
            Noted::File(FILE)
        );
        assert_eq!(ledger.settled(FILE), Some(Offset(0)));
        assert_eq!(
            ledger.settle(ack(Origin::File(span(0, 10)))),
            Noted::File(FILE)
        );
        assert_eq!(ledger.settled(FILE), Some(Offset(4)));
        ledger.forget(FILE);
        assert_eq!(
            ledger.settle(ack(Origin::File(span(4, 10)))),
            Noted::File(FILE)
        );
        assert_eq!((ledger.settled(FILE), ledger.unsettled()), (None, 0));
    }

    /// What is cut off while it is on its way is severed until its answer comes or it is given up,
    /// also where settled bytes lie between: shown by cutting behind the fourth byte.
    #[test]
    fn what_cannot_be_read_again_is_severed() {
        let mut ledger = Ledger::new();
        ledger.open(FILE, Offset(0));
        ledger.enter(span(0, 20));
        let _: Noted = ledger.settle(ack(Origin::File(span(8, 12))));
        ledger.cut(FILE, Offset(4));
        assert_eq!(ledger.severed(FILE), 12, "4..8 and 12..20");
        assert_eq!(
            (ledger.read(FILE), ledger.unsettled()),
            (Some(Offset(4)), 4)
        );
        let _: Noted = ledger.settle(ack(Origin::File(span(0, 6))));
        assert_eq!(ledger.settled(FILE), Some(Offset(4)));
        assert_eq!(ledger.abandon(span(12, 15)), 3);
        assert_eq!(ledger.all_severed(), BTreeMap::from([(FILE, 7)]));
        let _: Noted = ledger.settle(ack(Origin::File(span(6, 20))));
        assert_eq!(ledger.all_severed(), BTreeMap::new());
    }

    /// A gap is a bug of the caller and is found at once.
    #[test]
    #[should_panic(expected = "in the order of the file")]
    fn a_gap_is_refused() {
        let mut ledger = Ledger::new();
        ledger.open(FILE, Offset(0));
        ledger.enter(span(1, 2));
    }
}
