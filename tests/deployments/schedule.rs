//! Ways in which the same records may come: live, replayed, in any order between the files, with
//! restarts in between.

use std::collections::VecDeque;

use deploywatch::codedeploy::{Eras, News, Observer, What};
use deploywatch::event::{EpochMs, Now};
use deploywatch::status::DeploymentsStatus;

use crate::corpus::{Case, Record};

/// How the records of a case come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Schedule {
    /// Each at its time.
    Live,
    /// File after file, long after.
    Replay,
    /// File after file in any order.
    Shuffled(u64),
    /// Any number of records of any file, then of another; within a file in order.
    Interleaved(u64),
}

/// When the observer is ended and made anew from what it saved.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Restarts {
    Never,
    /// After one of so many records.
    OneIn(usize),
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) news: Vec<News>,
    pub(crate) status: DeploymentsStatus,
    pub(crate) last_failed: bool,
}

/// An hour: whatever has been silent so long is over.
const HOUR_MS: i64 = 3_600_000;

/// The records of a case in the order of a schedule.
pub(crate) fn arrange(case: &Case, schedule: Schedule) -> Vec<&Record> {
    let mut logs: Vec<VecDeque<&Record>> =
        case.logs.iter().map(|log| log.iter().collect()).collect();
    match schedule {
        Schedule::Live => {
            let mut all: Vec<&Record> = logs.into_iter().flatten().collect();
            all.sort_by_key(|record| record.time_ms);
            all
        }
        Schedule::Replay => logs.into_iter().flatten().collect(),
        Schedule::Shuffled(seed) => {
            fastrand::Rng::with_seed(seed).shuffle(&mut logs);
            logs.into_iter().flatten().collect()
        }
        Schedule::Interleaved(seed) => {
            let mut rng = fastrand::Rng::with_seed(seed);
            let longest = 1 << rng.usize(0..10);
            let mut all = Vec::new();
            while !logs.is_empty() {
                let at = rng.usize(..logs.len());
                let count = rng.usize(1..=longest).min(logs[at].len());
                all.extend(logs[at].drain(..count));
                logs.retain(|log| !log.is_empty());
            }
            all
        }
    }
}

/// The last record's time and a second.
pub(crate) fn end_ms(case: &Case) -> EpochMs {
    let times = case.logs.iter().flatten().map(|record| record.time_ms);
    times.max().unwrap() + 1_000
}

/// A clock whose monotonic time goes with the wall.
pub(crate) fn at(wall_ms: EpochMs) -> Now {
    const BOOT_MS: EpochMs = 1_763_000_000_000;
    Now {
        mono_ms: u64::try_from(wall_ms - BOOT_MS).unwrap(),
        wall_ms,
    }
}

/// All that ever was is new.
pub(crate) const ALWAYS: Eras = Eras {
    boot_ms: None,
    since_ms: 0,
};

/// Lets an observer hear a case and then an hour of silence.
pub(crate) fn play(case: &Case, schedule: Schedule, restarts: Restarts) -> Outcome {
    let mut rng = fastrand::Rng::with_seed(7);
    let end_ms = end_ms(case);
    let mut observer = Observer::new(None, ALWAYS);
    let mut news = Vec::new();
    for record in arrange(case, schedule) {
        let now = match schedule {
            Schedule::Live => at(record.time_ms),
            _ => at(end_ms),
        };
        observer.hear(record.feed, &record.path, &record.text, record.time_ms, now);
        if let Restarts::OneIn(records) = restarts
            && rng.usize(..records) == 0
        {
            news.extend(observer.take_news());
            observer = restarted(&observer);
        }
    }
    observer.step(at(end_ms));
    observer.step(at(end_ms + HOUR_MS));
    news.extend(observer.take_news());
    Outcome {
        news: in_order(news),
        status: observer.deployments(at(end_ms + HOUR_MS)),
        last_failed: observer.last_deployment_failed(),
    }
}

/// What was saved goes through the disk.
pub(crate) fn restarted(observer: &Observer) -> Observer {
    let saved = serde_json::to_vec(&observer.saved()).unwrap();
    Observer::new(serde_json::from_slice(&saved).unwrap(), ALWAYS)
}

/// News in the order of their times. Which file tells first of a script's start is chance, and they
/// may disagree by a second; health has its own tests.
fn in_order(mut news: Vec<News>) -> Vec<News> {
    news.retain(|news| !matches!(news.what, What::HealthChanged { .. }));
    for news in &mut news {
        if let What::ScriptStarted { .. } = news.what {
            news.at_ms = 0;
        }
    }
    news.sort_by_cached_key(|news| (news.at_ms, format!("{:?}", news.what)));
    news
}
