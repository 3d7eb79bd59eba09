//! The CodeDeploy agent as seen from outside: where it writes ([`layout`]), what its records tell,
//! and what follows from them for each deployment and for its own health ([`Observer`]).
//!
//! ```text
//! record ─ v1, v2 ─ fact ┬ deed ─ roster ─ deployment ┬ news ─ metrics, own log
//!                        └ sign ─ health ─────────────┴ status
//! ```
//!
//! Invariants:
//! - A marker counts only right behind a record's head, and a name only if it matches its grammar:
//!   nothing that a hook prints can start, end or fail anything. It costs nothing: a script's start
//!   that is glued behind a hook's output in scripts.log (1.x) also stands in the deployments log,
//!   and how a command ended only in the agent log.
//! - The verdict on a command comes from the agent log alone, so it does not depend on the order in
//!   which files are read.
//! - A fact that is known already changes nothing: doubled records are no second event.
//! - What is kept is bounded, whatever is read: see the constants of `roster` and its neighbours.
//! - Silence is judged by monotonic time only.

mod deployment;
mod discovery;
mod ending;
mod fact;
mod failure;
mod health;
pub mod layout;
mod lifecycle;
mod look;
mod news;
mod roster;
mod show;
mod tail;
mod v1;
mod v2;
mod verdict;
mod zone;

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Builtin;
use crate::event::{EpochMs, Now};
use crate::ports::{Files, Processes};
use crate::status::{AgentHealth, DeploymentsStatus};
use fact::{Facts, HookLine};
use health::{Generation, Health, SavedHealth};
use layout::Layout;
use look::Look;
use news::Outbox;
use roster::{Moment, Roster, SavedRoster, mono};
use zone::Difference;

pub use failure::{Cause, Failure};
pub use news::{Eras, Freshness, News, Outcome, What};
pub use roster::{DEPLOYMENTS_MAX, HANGING_AFTER_MS, QUIET_AFTER_MS};
pub use verdict::Verdict;

/// The length of a date and time, `2026-11-21T02:12:40`, as both agents write it.
const TIME_BYTES: usize = 19;

/// Who did not look for so long was not running: the machine was suspended, or we were.
const SLEPT_MS: i64 = 60_000;

/// Every deployment on this instance, and the CodeDeploy agent's health.
#[derive(Debug)]
pub struct Observer {
    roster: Roster,
    health: Health,
    look: Look,
    outbox: Outbox,
    /// The monotonic time of the last step.
    stepped: i64,
    /// The same of the last look.
    looked: Option<i64>,
    /// All that the agent log held by then was heard: what is heard of it now was written later,
    /// whatever its date says. The 1.x agent may write in another zone than ours.
    heard_until: Option<i64>,
    difference: Difference,
}

/// What an [`Observer`] knows, for the state on disk. Belongs to the positions up to which records
/// were heard: both are to be saved together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    roster: SavedRoster,
    health: SavedHealth,
    difference: Difference,
}

impl Saved {
    /// Forgets what held of the boot it was saved in only. To be called when the machine was booted
    /// since, before an [`Observer`] is made of it.
    pub fn forget_boot(&mut self) {
        self.roster.forget_boot();
        self.health.forget_boot();
    }
}

impl Observer {
    /// An observer that knows what was saved.
    #[must_use]
    pub fn new(saved: Option<Saved>, eras: Eras) -> Self {
        let saved = saved.unwrap_or_default();
        let roster = Roster::restore(saved.roster);
        Self {
            outbox: Outbox {
                eras,
                news: Vec::new(),
                ends: roster.ends(),
            },
            roster,
            health: Health::new(saved.health),
            look: Look::default(),
            stepped: 0,
            looked: None,
            heard_until: None,
            difference: saved.difference,
        }
    }

    /// Hears one record: redacted, whole, each once, in the order of its file. Of a record that was
    /// split, the first part is enough and the others must not come here. Gives when it happened, to
    /// the best of our knowledge.
    pub fn hear(
        &mut self,
        feed: Builtin,
        path: &Path,
        text: &str,
        time_ms: EpochMs,
        now: Now,
    ) -> EpochMs {
        let at_ms = match feed {
            Builtin::Scripts | Builtin::Deployments => self.difference.right(time_ms),
            Builtin::Agent | Builtin::Updater | Builtin::Local => time_ms,
        };
        let moment = Moment {
            at_ms,
            not_before: self.heard_until.filter(|_| feed == Builtin::Agent),
            now,
        };
        match feed {
            Builtin::Agent => return self.hear_agent(text, moment),
            Builtin::Scripts => {
                if let Some(line) = behind_time(text).and_then(HookLine::read) {
                    let path = path.as_os_str().as_bytes();
                    self.roster
                        .scripts_line(path, line, moment, &mut self.outbox);
                }
            }
            Builtin::Deployments => {
                if let Some((id, line)) = v1::deployments_line(text, self.roster.hot_id()) {
                    self.roster
                        .deployments_line(id, line, moment, &mut self.outbox);
                }
            }
            Builtin::Updater | Builtin::Local => {}
        }
        moment.at_ms
    }

    /// Either generation, told apart record by record: an upgrade in place is an ordinary day.
    fn hear_agent(&mut self, text: &str, mut moment: Moment) -> EpochMs {
        let Some(rest) = behind_time(text) else {
            return moment.at_ms;
        };
        let (generation, Facts { deed, sign }) = if let Some(message) = v1::message(rest) {
            self.difference.learn(moment);
            moment.at_ms = self.difference.right(moment.at_ms);
            (Generation::First, v1::read(message))
        } else if let Some(message) = v2::message(rest) {
            // It writes UTC, and nothing tells the zone of its hooks' logs; it need not be the last agent's.
            self.difference = Difference::default();
            (Generation::Second, v2::read(message))
        } else {
            return moment.at_ms;
        };
        self.health.heard(generation, moment.at_ms);
        if let Some(sign) = sign {
            self.health.take(sign, moment);
        }
        if let Some(deed) = deed {
            self.roster.take(&deed, moment, &mut self.outbox);
        }
        moment.at_ms
    }

    /// The times that divide old from new.
    #[must_use]
    pub fn eras(&self) -> Eras {
        self.outbox.eras
    }

    /// Follows a date that was set back: see [`Eras`]. On the beat of [`Observer::look`], before it.
    pub fn follow_date(&mut self, now: Now) {
        self.outbox.eras.follow(now);
    }

    /// Looks at the CodeDeploy agent's small files: which deployments have a command under way, its
    /// process id, whether it is there at all. To be called on the scan's beat, with whether all was
    /// heard by now that the agent log held at the last look.
    pub fn look(&mut self, files: &mut dyn Files, layout: &Layout, is_heard: bool, now: Now) {
        let before = self.looked.replace(mono(now));
        self.heard_until = before.filter(|_| is_heard);
        let gap_ms = before.map_or(0, |before| mono(now).saturating_sub(before));
        if gap_ms >= SLEPT_MS {
            self.roster.slept(gap_ms, now);
            self.health.slept(gap_ms, now);
        }
        let seen = self.look.at_files(files, layout);
        self.health.presence = seen.presence;
        if let Some(written_ms) = seen.log_written_ms {
            self.health.written(written_ms);
        }
        if let Some(tracked) = seen.tracked {
            self.roster.track(&tracked, now);
        }
    }

    /// Looks whether the process of the last [`Observer::look`] is there.
    pub fn look_at_processes(&mut self, processes: &mut dyn Processes, now: Now) {
        self.health.process = self.look.at_processes(processes, self.health.process, now);
    }

    /// What time alone changes: hanging, superseded, no answered poll since…
    pub fn step(&mut self, now: Now) {
        self.stepped = mono(now);
        self.roster.step(now, &mut self.outbox);
        if let Some(verdict) = self.health.change(now) {
            self.outbox
                .tell(now.wall_ms, What::HealthChanged { verdict });
        }
    }

    /// When [`Observer::step`] has something to do that no record causes, in monotonic
    /// milliseconds, behind its last call.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let behind = self.stepped.max(0);
        let dues = [self.roster.next_due(behind), self.health.next_due(behind)];
        dues.into_iter().flatten().min().map(i64::unsigned_abs)
    }

    /// What happened since the last call.
    #[must_use = "news is told once"]
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.outbox.news)
    }

    /// What is to be kept over a restart.
    #[must_use]
    pub fn saved(&self) -> Saved {
        Saved {
            roster: self.roster.saved(),
            health: self.health.saved(),
            difference: self.difference,
        }
    }

    /// All deployments remembered, for `status`.
    #[must_use]
    pub fn deployments(&self, now: Now) -> DeploymentsStatus {
        show::deployments(&self.roster, self.outbox.eras, now)
    }

    /// The CodeDeploy agent's health, for `status`.
    #[must_use]
    pub fn health(&self) -> AgentHealth {
        show::health(&self.health)
    }

    /// For how long the oldest running deployment has been running, in seconds; 0 when none is.
    #[must_use]
    pub fn running_seconds(&self, now: Now) -> f64 {
        self.roster.running_seconds(self.outbox.eras, now)
    }

    /// Whether the newest deployment that ended in this boot failed.
    #[must_use]
    pub fn last_deployment_failed(&self) -> bool {
        self.roster.last_failed(self.outbox.eras)
    }

    /// Whether the CodeDeploy agent is healthy; `None` while nothing can be said, which is no
    /// reason to call anybody.
    #[must_use]
    pub fn is_healthy(&self) -> Option<bool> {
        self.health.last().is_healthy()
    }
}

/// What stands behind the time at a record's head and one blank.
fn behind_time(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let is_head =
        bytes.first().is_some_and(u8::is_ascii_digit) && bytes.get(TIME_BYTES) == Some(&b' ');
    is_head.then(|| text.get(TIME_BYTES + 1..)).flatten()
}

/// At most so many bytes of a text, in whole characters, without control characters.
fn bounded(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let blank = |letter: char| if letter.is_control() { ' ' } else { letter };
    text[..end]
        .chars()
        .map(blank)
        .collect::<String>()
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An upgrade to the second generation takes no zone along that the first one taught: shown by a
    /// difference of five hours, and by what a hook prints before and after.
    #[test]
    fn an_upgrade_forgets_the_zone() {
        let eras = Eras {
            boot_ms: None,
            since_ms: 0,
        };
        let mut observer = Observer::new(None, eras);
        observer.difference = serde_json::from_str(r#"{"ms":18000000}"#).unwrap();
        let now = Now {
            mono_ms: 1_000,
            wall_ms: 1_795_000_000_000,
        };
        let mut hear = |feed, text| observer.hear(feed, Path::new("/x"), text, 0, now);
        let line = "[2026-11-21 02:00:00.000] [d-000000001][stdout]x";
        assert_eq!(hear(Builtin::Deployments, line), 18_000_000);
        assert_eq!(hear(Builtin::Updater, "x"), 0);
        hear(Builtin::Agent, "2026-11-21 03:24:01  INFO x");
        assert_eq!(hear(Builtin::Deployments, line), 0);
    }
}
