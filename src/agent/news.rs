//! What happened to the table of files, for all that goes with a file: its lane, its account, losses.

use crate::event::Now;

use super::lane::Lane;
use super::{Agent, Edges};

impl Agent {
    /// Follows what happened to the table of files: lanes, accounts, losses.
    pub(super) fn news(&mut self, edges: &mut Edges<'_>, now: Now) {
        let news = self.tail.take_news();
        for id in news.joined {
            if let Some(file) = self.tail.file(id) {
                let ear = self.insight.ear(&file.source.name);
                self.lanes.insert(id, Lane::new(file, ear));
                self.keeper.note_scanned(&file.source.name, now);
                match self.ledger.read(id) {
                    // It was asleep, and may have been given back bytes.
                    Some(read) => self.tail.rewind(id, read),
                    None => self.ledger.open(id, file.read),
                }
            }
        }
        for (id, position) in news.reset {
            self.ledger.cut(id, position);
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.cut();
            }
            self.keeper.touch(now);
        }
        for lost in news.lost {
            self.keeper.lose(&lost, now);
        }
        for (id, what) in news.orphaned {
            self.orphan(id, what);
        }
        for id in &news.left {
            if !self.orphans.contains_key(id) {
                self.ledger.forget(*id);
            }
        }
        for id in news.left.into_iter().chain(news.asleep) {
            self.remove_lane(id);
            self.nameless.remove(&id);
            self.keeper.touch(now);
        }
        for segment in news.spent {
            self.keeper.spent(edges.store, segment);
        }
    }
}
