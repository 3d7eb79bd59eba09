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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::{
        at, config_of, config_with, count_sent, directory_of, drain, finish, run, with_one_file,
    };
    use super::super::{Next, orphans};
    use super::*;
    use crate::event::Offset;

    /// What was on its way when a reload took a source away is not sent again when another gives it back,
    /// whether it was answered for in between or not, nor by a later run.
    #[test]
    fn a_source_that_comes_back_goes_on() {
        for steps_between in 0..4 {
            let dir = directory_of(&[("a", "one\ntwo\n")]);
            run(dir.path(), |mut agent, edges| {
                agent.step(edges, at(1));
                std::fs::write(dir.path().join("logs/b.log"), "three\n").unwrap();
                agent.reload(
                    config_of(&dir.path().join("elsewhere"), "other"),
                    edges,
                    at(2),
                );
                for nth in 0..steps_between {
                    agent.step(edges, at(3 + nth));
                }
                agent.reload(config_of(dir.path(), "app"), edges, at(10));
                finish(agent, edges);
            });
            drain(dir.path());
            let counts = ["one", "two", "three"].map(|word| count_sent(dir.path(), word));
            assert_eq!(counts, [1; 3], "{steps_between}");
        }
    }

    /// What comes before bytes that were given back is on its way all the same when a reload takes the source
    /// away: shown on a file of which the second line is read again.
    #[test]
    fn what_comes_before_bytes_given_back_goes_once() {
        with_one_file("one\ntwo\n", |mut agent, edges, id, target| {
            let other = config_of(Path::new("/nowhere"), "other");
            let wanted = agent.config.clone();
            agent.turn(id, edges, &mut 1_000, at(1));
            assert!(agent.shipper.held_bytes() > 0 && agent.ledger.read(id) == Some(Offset(8)));
            agent.ledger.rewind(id, Offset(4));
            agent.tail.rewind(id, Offset(4));
            agent.reload(other, edges, at(2));
            assert_eq!(agent.ledger.read(id), Some(Offset(4)));
            agent.reload(wanted, edges, at(3));
            assert_eq!(agent.tail.file(id).unwrap().read, Offset(4));
            assert_eq!(agent.target_of(id), Some(target));
        });
    }

    /// What is on its way of a file and nowhere on disk is at stake also while the file sleeps.
    #[test]
    fn what_is_at_stake_is_not_forgotten_asleep() {
        with_one_file("one\ntwo\n", |mut agent, edges, id, _target| {
            agent.turn(id, edges, &mut 1_000, at(1));
            agent.ledger.cut(id, Offset(4));
            agent.tail.rewind(id, Offset(4));
            let stake =
                |agent: &Agent| orphans::at_stake(&agent.tail, &agent.ledger, &agent.orphans);
            let before = stake(&agent);
            assert_eq!(before[0].bytes, 4);
            agent.reload(config_of(Path::new("/nowhere"), "other"), edges, at(2));
            assert_eq!(stake(&agent), before);
        });
    }

    /// A file that a reload excludes is left alone, at rest, and goes on where it was when the next one wants
    /// it again; what is excluded when a run begins is not read either.
    #[test]
    fn an_excluded_file_rests_until_it_is_wanted() {
        let dir = directory_of(&[("a", "one\n"), ("b", "two\n")]);
        let wanted = config_of(dir.path(), "app");
        let excluding = config_with(dir.path(), "app", "exclude = [\"a.log\"]");
        let write = |line: &str| {
            for name in ["a", "b"] {
                let path = dir.path().join(format!("logs/{name}.log"));
                let text = std::fs::read_to_string(&path).unwrap() + line;
                std::fs::write(path, text).unwrap();
            }
        };
        let sent = |word: &str| count_sent(dir.path(), word);
        let rests = |agent: &mut Agent, edges: &mut Edges<'_>, from_ms: u64| {
            let steps = (from_ms..).step_by(100).take(100);
            let busy = steps.filter(|at_ms| agent.step(edges, at(*at_ms)) == Next::Now);
            assert!(busy.count() < 10);
            assert_eq!(agent.lanes.len(), agent.tail.files().count());
        };
        drain(dir.path());
        run(dir.path(), |mut agent, edges| {
            agent.reload(excluding.clone(), edges, at(1));
            write("three\n");
            rests(&mut agent, edges, 2);
            assert_eq!((sent("one"), sent("two"), sent("three")), (1, 1, 1));
            agent.reload(wanted.clone(), edges, at(20_000));
            rests(&mut agent, edges, 20_001);
            assert_eq!((sent("one"), sent("two"), sent("three")), (1, 1, 2));
            agent.reload(excluding, edges, at(40_000));
            write("four\n");
            rests(&mut agent, edges, 40_001);
            assert_eq!(sent("four"), 1);
            agent.reload(wanted, edges, at(60_000));
            finish(agent, edges);
        });
        assert_eq!(["one", "two", "three", "four"].map(sent), [1, 1, 2, 2]);
    }
}
