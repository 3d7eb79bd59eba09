//! What time alone changes, and what is to be seen of it.

use super::super::deployment::{Deployment, Telling};
use super::super::ending::Ending;
use super::super::news::{Eras, Freshness, Outbox};
use super::{
    HANGING_AFTER_MS, Moment, QUIET_AFTER_MS, RECOVERY_MS, Roster, STALE_MS, UNTRACKED_MS, mono,
};
use crate::event::{EpochMs, Now};

impl Roster {
    /// Takes the list of deployments that have a tracking file, with the time it was written.
    pub(in super::super) fn track(&mut self, tracked: &[(String, EpochMs)], now: Now) {
        for (id, at_ms) in tracked {
            let moment = Moment {
                at_ms: *at_ms,
                not_before: None,
                now,
            };
            let at = self.place(id, moment);
            let deployment = &mut self.deployments[at];
            if !deployment.life.is_tracked {
                // One that is found at our own start may be old, and its hook print to this day.
                if mono(now).saturating_sub(moment.mono()) < STALE_MS {
                    deployment.settle_in(now);
                }
                deployment.command_lives(moment);
            }
        }
        for deployment in &mut self.deployments {
            let life = &mut deployment.life;
            life.is_tracked = tracked.iter().any(|(id, _)| *id == deployment.id);
            life.was_tracked |= life.is_tracked;
            let is_missing = !life.is_tracked && deployment.under_way().is_some();
            let life = &mut deployment.life;
            life.untracked_since = match (is_missing, life.untracked_since) {
                (true, since) => Some(since.unwrap_or_else(|| mono(now))),
                (false, _) => None,
            };
        }
    }

    /// What time alone changes.
    pub(in super::super) fn step(&mut self, now: Now, outbox: &mut Outbox) {
        let mut quiet = Vec::new();
        for (at, deployment) in self.deployments.iter_mut().enumerate() {
            deployment.settle_in(now);
            if deployment.end.is_some() || !deployment.is_running() {
                continue;
            }
            let life = deployment.life;
            let silent_ms = mono(now).saturating_sub(life.sign.unwrap_or_else(|| mono(now)));
            if let Some(began_ms) = deployment.under_way().and_then(|event| event.started_ms) {
                let boot_ms = outbox.eras.boot_ms.unwrap_or(EpochMs::MIN);
                if began_ms < boot_ms && deployment.last_ms < boot_ms {
                    // Nothing runs on through a boot.
                    if now.mono_ms >= RECOVERY_MS {
                        deployment.cut_off(boot_ms, outbox);
                    }
                    continue;
                }
                let is_gone = |since: i64| mono(now).saturating_sub(since) >= UNTRACKED_MS;
                let is_long = silent_ms >= millis(HANGING_AFTER_MS);
                // What has been silent for long and never was seen to have a tracking file ended
                // long ago. One that had it may have ended now, and its record be on its way.
                let is_over = |since: i64| is_gone(since) || (is_long && !life.was_tracked);
                if silent_ms >= STALE_MS || life.untracked_since.is_some_and(is_over) {
                    deployment.give_up();
                } else if is_long {
                    let telling = &mut Telling {
                        at_ms: now.wall_ms,
                        mono: mono(now),
                        outbox,
                    };
                    deployment.hang(silent_ms.unsigned_abs(), telling);
                }
            }
            if deployment.under_way().is_some() {
                continue;
            }
            // A tracking file that the agent itself does not believe any more keeps nothing alive.
            let quiet_ms = match life.is_tracked {
                true => STALE_MS,
                false => millis(QUIET_AFTER_MS),
            };
            if silent_ms >= quiet_ms {
                quiet.push(at);
            }
        }
        for at in quiet {
            let by = self.successor(&self.deployments[at]);
            let by = by.as_ref().map(|(id, began_ms)| (id.as_str(), *began_ms));
            self.deployments[at].abandon(by, outbox);
        }
    }

    /// The machine, or we, slept for so long: that was nobody's silence.
    pub(in super::super) fn slept(&mut self, gap_ms: i64, now: Now) {
        for deployment in &mut self.deployments {
            let life = &mut deployment.life;
            for since in [&mut life.began, &mut life.sign, &mut life.untracked_since] {
                *since = since.map(|since| since.saturating_add(gap_ms).min(mono(now)));
            }
        }
    }

    /// The first deployment that came after another's last command; not one known to be of another
    /// group.
    fn successor(&self, old: &Deployment) -> Option<(String, EpochMs)> {
        let other_group = |new: &Deployment| {
            let groups = new.group_id.as_ref().zip(old.group_id.as_ref());
            groups.is_some_and(|(new, old)| new != old)
        };
        let newer = (self.deployments.iter())
            .filter(|new| new.id != old.id && new.is_commanded() && new.began_ms >= old.last_ms)
            .filter(|new| !other_group(new));
        let next = newer.min_by_key(|new| (new.began_ms, &new.id))?;
        Some((next.id.clone(), next.began_ms))
    }

    /// When [`Roster::step`] has something to do next, behind a monotonic time in milliseconds.
    pub(in super::super) fn next_due(&self, behind: i64) -> Option<i64> {
        let running = self
            .deployments
            .iter()
            .filter(|deployment| deployment.is_running());
        let dues = running.flat_map(|deployment| {
            let limit_ms = match deployment.under_way() {
                Some(_) => HANGING_AFTER_MS,
                None => QUIET_AFTER_MS,
            };
            let life = deployment.life;
            [
                life.sign.map(|sign| sign.saturating_add(millis(limit_ms))),
                life.untracked_since
                    .map(|since| since.saturating_add(UNTRACKED_MS)),
                // Once after a boot, for what it cut off.
                Some(millis(RECOVERY_MS)),
            ]
        });
        dues.flatten().filter(|due| *due > behind).min()
    }

    /// For how long the oldest running deployment has been running, in seconds; 0 when none is.
    /// What a boot cut off is not running, even before the CodeDeploy agent says so.
    pub(in super::super) fn running_seconds(&self, eras: Eras, now: Now) -> f64 {
        let age = |deployment: &Deployment| {
            let wall = || mono(now).saturating_sub(now.wall_ms.saturating_sub(deployment.began_ms));
            let began = deployment.life.began.unwrap_or_else(wall);
            mono(now).saturating_sub(began).max(0)
        };
        let boot_ms = eras.boot_ms.unwrap_or(EpochMs::MIN);
        let running = (self.deployments.iter())
            .filter(|deployment| deployment.is_running() && deployment.last_ms >= boot_ms);
        running.map(age).max().map_or(0.0, |ms| ms as f64 / 1_000.0)
    }

    /// Whether the newest deployment that ended since the boot, and since we were installed,
    /// failed.
    pub(in super::super) fn last_failed(&self, eras: Eras) -> bool {
        let ended = self
            .deployments
            .iter()
            .filter(|deployment| !deployment.is_of_earlier_boot)
            .filter_map(|deployment| deployment.end.as_ref());
        let of_now = ended.filter(|end| {
            eras.freshness(end.at_ms) == Freshness::Fresh
                && !eras.is_before_boot(end.began_ms)
                && matches!(
                    end.state,
                    Ending::Succeeded | Ending::Failed | Ending::Aborted
                )
        });
        let last = of_now.max_by_key(|end| end.nth);
        last.is_some_and(|end| end.state != Ending::Succeeded)
    }

    /// How many ends were heard.
    pub(in super::super) fn ends(&self) -> u64 {
        let ends = self.deployments.iter().filter_map(|it| it.end.as_ref());
        ends.map(|end| end.nth).max().unwrap_or(0)
    }
}

fn millis(limit_ms: u64) -> i64 {
    i64::try_from(limit_ms).unwrap_or(i64::MAX)
}
