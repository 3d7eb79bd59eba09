//! Rotation in all its ways.

use std::path::{Path, PathBuf};

use super::log::Style;
use super::{Op, Workload};
use crate::oracle::Oracle;
use crate::world::World;

/// How many old files are kept.
const KEEP: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `.1`, `.2`, … (Ruby's Logger: `.0`, `.1`, …).
    Shift,
    /// `app.20261118.log`.
    Dated,
    /// logrotate's `copytruncate`.
    CopyTruncate,
    /// The `logging` gem: `._copy_`, truncate, rename to dated.
    Ruby,
}

impl Workload {
    pub(super) fn roll(&mut self, world: &mut World, _oracle: &mut Oracle) {
        let Some(at) = self.some_log() else {
            return;
        };
        let times = if self.rng.u32(0..4) < self.habits.rolls_at_once {
            self.rng.u32(2..4)
        } else {
            1
        };
        let way = match self.logs[at].style {
            Style::Agent if self.habits.ruby_roll > 0 => Way::Ruby,
            Style::Deployments if self.habits.rename > 0 => Way::Shift,
            Style::Agent | Style::Deployments | Style::Scripts => return,
            Style::App => self.some_way(),
        };
        for _ in 0..times {
            self.plan_roll(at, way, world);
            self.ops.push_back(Op::Write(at));
        }
    }

    pub(super) fn perform(&mut self, op: Op, world: &mut World, oracle: &mut Oracle) {
        if !matches!(op, Op::Write(_)) {
            self.did.push(format!("{op:?}"));
        }
        let files = &mut world.files;
        match op {
            Op::Copy(from, to) => files.copy(&from, &to),
            Op::Truncate(path) => {
                files.truncate(&path);
                // The rest of a half line goes to the new content, as a real writer's would.
            }
            Op::Rename(from, to) => {
                for log in &mut self.logs {
                    if log.path == from {
                        log.old = files.descriptor(&from);
                    }
                }
                files.rename(&from, &to);
            }
            Op::Unlink(path) => files.unlink(&path),
            Op::Touch(path) => {
                files.append(&path, b"");
            }
            Op::Write(at) => self.write_to(at, world, oracle),
            Op::WriteOld(at) => {
                let lines = self.rng.usize(1..4);
                self.logs[at].write_old(lines, &self.habits, &mut self.rng, world, oracle);
            }
        }
    }

    fn some_way(&mut self) -> Way {
        let habits = self.habits;
        let ways = [
            (habits.rename, Way::Shift),
            (habits.dated, Way::Dated),
            (habits.copy_truncate, Way::CopyTruncate),
            (habits.ruby_roll, Way::Ruby),
        ];
        let total: u32 = ways.iter().map(|(weight, _)| weight).sum();
        let mut at = self.rng.u32(0..total.max(1));
        for (weight, way) in ways {
            if at < weight {
                return way;
            }
            at -= weight;
        }
        Way::Shift
    }

    fn plan_roll(&mut self, at: usize, way: Way, world: &World) {
        let live = self.logs[at].path.clone();
        if way == Way::Ruby || way == Way::Dated {
            // Now and then twice on one day: the first file of that day is overwritten.
            self.roll_count += u32::from(self.rng.u8(0..8) > 0);
        }
        let dated = dated(&live, self.roll_count);
        match way {
            Way::Shift => {
                let first = u32::from(self.logs[at].style != Style::Deployments);
                self.shift(&live, first);
                self.ops
                    .push_back(Op::Rename(live, numbered(&self.logs[at].path, first)));
                if self.habits.late_write {
                    self.ops.push_back(Op::WriteOld(at));
                }
            }
            Way::Dated => self.ops.push_back(Op::Rename(live, dated)),
            Way::CopyTruncate => {
                self.shift(&live, 1);
                self.ops
                    .push_back(Op::Copy(live.clone(), numbered(&live, 1)));
                if self.rng.bool() {
                    self.ops.push_back(Op::Write(at));
                }
                self.ops.push_back(Op::Truncate(live));
            }
            Way::Ruby => {
                let copy = append_name(&live, "._copy_");
                self.ops.push_back(Op::Copy(live.clone(), copy.clone()));
                if self.rng.u8(0..4) == 0 {
                    self.ops.push_back(Op::Write(at));
                }
                self.ops.push_back(Op::Truncate(live.clone()));
                self.ops.push_back(Op::Touch(append_name(&live, ".age")));
                if self.roll_count > KEEP {
                    let old = self::dated(&live, self.roll_count - KEEP);
                    if world.files.exists(&old) {
                        self.ops.push_back(Op::Unlink(old));
                    }
                }
                self.ops.push_back(Op::Rename(copy, dated));
            }
        }
    }

    fn shift(&mut self, live: &Path, first: u32) {
        for number in (first..first + KEEP).rev() {
            self.ops.push_back(Op::Rename(
                numbered(live, number),
                numbered(live, number + 1),
            ));
        }
        self.ops.push_back(Op::Unlink(numbered(live, first + KEEP)));
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    append_name(path, &format!(".{number}"))
}

fn append_name(path: &Path, tail: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(tail);
    PathBuf::from(name)
}

/// `x.log` → `x.YYYYMMDD.log`, a day per roll.
fn dated(path: &Path, day: u32) -> PathBuf {
    path.with_extension(format!("{}.log", 20_261_100 + day))
}
