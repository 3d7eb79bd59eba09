//! Thousands of seeds of the whole story: agent, publisher, modelled alarm, simulated executor.
//!
//! `cargo test --test sim -- every_incident_gets_one_action` plays a few hundred; `SIM_SEEDS`,
//! `SIM_START` and `SIM_SEED` choose as for the other seeds, and one seed alone tells its story.

#![cfg(test)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use deploywatch::config::alarm::PRESETS;

use super::alarm_machine::{Machine, Tally};
use super::alarm_plan::Plan;

/// Seeds that are played when nobody asks for others: each preset some times.
const DEFAULT_SEEDS: u64 = 220;

/// Seeds that found something, and what.
const MENDED: &[(u64, &str)] = &[
    (
        191,
        "a command cut off by a boot, its name mutilated, made a failure of this boot",
    ),
    (
        194,
        "a deployment was as young as the tracking file it was first known by",
    ),
    (
        247,
        "an answer that a frozen machine could not take held the time",
    ),
    (
        294,
        "an old checkpoint called an agent well that had been silent for long",
    ),
    (
        228,
        "an agent of 2.x that the service refuses was well after our second restart",
    ),
    (427, "a clean restart of ours was taken for silence"),
    (
        576,
        "clean reboots by an alarm whose history is denied made a loop",
    ),
    (
        814,
        "with a date set ahead, an agent that somebody stopped looked dead",
    ),
    (
        1_607,
        "after a restart of ours a deployment was as old as the wall clock said",
    ),
    (
        2_244,
        "an old checkpoint called an agent of 2.x well whose process was gone",
    ),
    (
        3_601,
        "a suspension by hand made the breaker forget what had counted",
    ),
];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// For every preset, whatever happens to machine, agents, services and clocks: exactly one action
/// for each true incident, none without one, never a loop, and no datum out of old news. Shown by
/// the real agent's data under the modelled alarm, on as many seeds as there is time for.
#[test]
fn every_incident_gets_one_action() {
    play(Plan::new, "every_incident_gets_one_action");
}

/// What was mended stays mended: each seed that found something is played again.
#[test]
fn mended_alarm_seeds_hold() {
    for (seed, what) in MENDED {
        let result = Machine::new(&Plan::new(*seed), false).play();
        assert!(result.is_ok(), "seed {seed}, {what}: {result:?}");
    }
}

/// The same with a date that is up to three hours off: what it puts into the future is never
/// evaluated when its time comes.
#[test]
fn a_date_that_is_hours_off_makes_no_breach() {
    play(Plan::hours_off, "a_date_that_is_hours_off_makes_no_breach");
}

fn play(plan: fn(u64) -> Plan, test: &str) {
    let only = number("SIM_SEED");
    let start = only.or(number("SIM_START")).unwrap_or(0);
    let count = only.map_or(number("SIM_SEEDS").unwrap_or(DEFAULT_SEEDS), |_| 1);
    if only.is_some() {
        let log = tracing_subscriber::fmt().without_time().with_ansi(false);
        // A second test in the same process finds the log already set up.
        drop(log.with_max_level(tracing::Level::INFO).try_init());
    }
    let next = AtomicU64::new(start);
    let work = || {
        let mut all = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= start + count {
                return all;
            }
            let play = || Machine::new(&plan(seed), only.is_some()).play();
            let result = std::panic::catch_unwind(play);
            let result = result.unwrap_or_else(|_| Err("it panicked".to_owned()));
            if let Err(what) = &result {
                println!("seed {seed}: {}", what.lines().next().unwrap_or_default());
            }
            all.push((seed, result));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<(u64, Result<Tally, String>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| worker.join();
        let results = workers.into_iter().map(join);
        results
            .flat_map(|all| all.expect("a worker catches panics"))
            .collect()
    });
    let mut totals = vec![Tally::default(); PRESETS.len()];
    let mut failures = Vec::new();
    for (seed, result) in results {
        let preset = usize::try_from(seed).unwrap_or(0) % PRESETS.len();
        match result {
            Ok(summary) => totals[preset].add(&summary),
            Err(what) => failures.push((seed, what)),
        }
    }
    failures.sort();
    for (preset, total) in PRESETS.iter().zip(&totals) {
        println!("{:36} {total:?}", preset.name);
    }
    if let Some((seed, what)) = failures.first() {
        panic!(
            "{} of {count} seeds failed; seed {seed} {what}\nreplay: SIM_SEED={seed} cargo test \
             --test sim -- {test} --nocapture",
            failures.len()
        );
    }
    if count >= DEFAULT_SEEDS {
        for (preset, total) in PRESETS.iter().zip(&totals) {
            let name = preset.name;
            assert!(total.told > 0 && total.incidents > 0, "{name}: {total:?}");
            assert_eq!(
                total.acts > 0,
                !name.starts_with("notify"),
                "{name}: {total:?}"
            );
        }
        let suspensions: u64 = totals.iter().map(|total| total.suspensions).sum();
        assert!(suspensions > 0, "the breaker never tripped: {totals:?}");
    }
}
