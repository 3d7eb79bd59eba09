//! Many seeds, on all processors, and what to type to see a failed one again.

use std::collections::BTreeMap;
use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::plan::Plan;
use crate::run::{Summary, Voice, run};
use crate::subject::Subject;

/// Every so many seeds one is run twice, to see whether it does the same thing.
const TWICE_EVERY: u64 = 32;

/// Which seeds to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeds {
    start: u64,
    count: u64,
    voice: Voice,
}

impl Seeds {
    /// Those the environment names: `SIM_SEED` one to look at closely, `SIM_SEEDS` how many,
    /// `SIM_START` from which on.
    pub(crate) fn chosen(count: u64) -> Self {
        let number = |name| {
            let text = std::env::var(name).ok()?;
            Some(
                text.parse()
                    .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
            )
        };
        if let Some(start) = number("SIM_SEED") {
            return Self {
                start,
                count: 1,
                voice: Voice::Loud,
            };
        }
        Self {
            start: number("SIM_START").unwrap_or(0),
            count: number("SIM_SEEDS").unwrap_or(count),
            voice: Voice::Silent,
        }
    }

    /// The first ones.
    pub(crate) fn first(count: u64) -> Self {
        Self {
            start: 0,
            count,
            voice: Voice::Silent,
        }
    }
}

/// Runs seeds until all are done or one has failed, which panics with how to replay it.
pub(crate) fn many<S: Subject>(seeds: Seeds, plan: fn(u64) -> Plan) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let end = seeds.start + seeds.count;
    let work = || {
        let mut total = Summary::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return Ok(total);
            }
            match one::<S>(seed, seeds.voice, plan) {
                Ok(summary) => total.add(&summary),
                Err(what) => {
                    next.store(end, Ordering::Relaxed);
                    return Err((seed, what));
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<Result<Summary, (u64, String)>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| worker.join();
        workers
            .into_iter()
            .map(|worker| join(worker).expect("a seed panicked; its number is above"))
            .collect()
    });
    let mut total = Summary::default();
    for result in results {
        match result {
            Ok(summary) => total.add(&summary),
            Err((seed, what)) => panic!(
                "seed {seed} failed {what}\nreplay: SIM_SEED={seed} cargo test --test sim -- --nocapture"
            ),
        }
    }
    total
}

/// Runs seeds, whatever comes, and says at once what each failure was; for each kind of end the
/// seeds that came to it.
pub(crate) fn kinds<S: Subject>(seeds: Seeds, plan: fn(u64) -> Plan) -> BTreeMap<String, Vec<u64>> {
    let next = AtomicU64::new(seeds.start);
    let end = seeds.start + seeds.count;
    let kinds: Mutex<BTreeMap<String, Vec<u64>>> = Mutex::default();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let result = panic::catch_unwind(|| one::<S>(seed, seeds.voice, plan));
            let what = match result {
                Ok(Ok(_)) => "fine".to_owned(),
                Ok(Err(what)) => {
                    let said = what
                        .lines()
                        .take_while(|line| !line.starts_with("what happened"));
                    println!("seed {seed}: {}", said.collect::<Vec<_>>().join("\n    "));
                    kind(&what)
                }
                Err(_) => "panic".to_owned(),
            };
            let mut kinds = kinds.lock().expect("nobody panics while holding it");
            kinds.entry(what).or_default().push(seed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut kinds = kinds
        .into_inner()
        .expect("nobody panicked while holding it");
    kinds.values_mut().for_each(|seeds| seeds.sort_unstable());
    kinds
}

/// A failure without its numbers and names.
fn kind(what: &str) -> String {
    let what = what.split_once("ms: ").map_or(what, |(_, what)| what);
    let what = what.split([':', '/', '\n', '"']).next().unwrap_or(what);
    let plain = |letter: char| if letter.is_ascii_digit() { '#' } else { letter };
    what.chars().map(plain).collect()
}

/// Runs one seed, some twice; a panic inside says which seed it was.
fn one<S: Subject>(seed: u64, voice: Voice, plan: fn(u64) -> Plan) -> Result<Summary, String> {
    struct Name(u64);
    impl Drop for Name {
        fn drop(&mut self) {
            if thread::panicking() {
                eprintln!("seed {} panicked", self.0);
            }
        }
    }
    let _name = Name(seed);
    if voice == Voice::Loud {
        let log = tracing_subscriber::fmt().without_time().with_ansi(false);
        // A second seed in the same process finds the log already set up.
        drop(log.with_max_level(tracing::Level::DEBUG).try_init());
    }
    let summary = run::<S>(plan(seed), voice)?;
    if seed % TWICE_EVERY == 1 {
        let again = run::<S>(plan(seed), voice)?;
        if again != summary {
            return Err(format!("differs when run again: {summary:?} and {again:?}"));
        }
    }
    Ok(summary)
}
