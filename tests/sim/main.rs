//! The simulation: the whole middle of the agent on a machine, a disk, a clock and a service that
//! exist only in memory and fail in every way a seed can think of.
//!
//! `cargo test --test sim` runs a few hundred seeds. `SIM_SEEDS=100000 SIM_START=5000` runs others,
//! `SIM_SEED=123` plays one seed and prints what happens. The same seed does the same thing.

mod alarm_codedeploy;
mod alarm_loop;
mod alarm_machine;
mod alarm_model;
mod alarm_oracle;
mod alarm_plan;
mod alarm_seeds;
mod alarm_service;
#[path = "../support/base64.rs"]
mod base64;
#[path = "../support/command.rs"]
mod command;
mod events;
mod metrics;
#[path = "../support/muted.rs"]
mod muted;
mod news;
#[path = "../support/nobody.rs"]
mod nobody;
mod oracle;
mod plan;
mod real;
mod run;
mod scene;
mod seeds;
mod subject;
mod text;
mod toys;
mod verdicts;
mod workload;
mod world;

use deploywatch::agent::Agent;
use plan::Plan;
use run::{Voice, run_with};
use seeds::{Seeds, kinds, many};
use subject::Subject;
use toys::Toy;
use world::store::Durability;

/// Seeds that are run when nobody asks for others: about half a minute on one slow core.
const DEFAULT_SEEDS: u64 = 200;
/// Seeds with deployments that fail.
const TELLING_SEEDS: u64 = 24;
/// How often each defect is looked for.
const GENTLE_SEEDS: u64 = 40;

/// How many times a flood is played: each is 20 MB.
const FLOODED_SEEDS: u64 = 2;

/// Seeds that once showed a defect, with what was wrong then.
const MENDED: &[(u64, &str)] = &[
    (
        13,
        "the copy of an original that may not be read was read again",
    ),
    (79, "a piece of a torn line was not recognised"),
    (85, "a shared header was taken for a shared content"),
    (
        109,
        "one error of a system call lost what a stop should have rescued",
    ),
    (151, "the head of a torn line could not be repeated"),
    (
        213,
        "the first bytes of one line, which fit every line, were taken for an answer to another",
    ),
    (
        219,
        "a copy found while the service was away was not held open",
    ),
    (
        225,
        "an inode that another source had lost hid the file that has it now",
    ),
    (231, "an old shorter copy was mistaken for the content"),
    (
        238,
        "what was on its way of a truncated file vanished with an orderly stop, uncounted",
    ),
    (267, "a line glued to a torn header was expected in order"),
    (
        307,
        "an original and its copy, met in the same scan, were both read",
    ),
    (338, "a few equal bytes were skipped in an unrelated file"),
    (388, "errors in comparing kept a live file from being read"),
    (464, "a failed save was taken for a new checkpoint"),
    (
        474,
        "a content cut and copied again before its turn was not known",
    ),
    (
        502,
        "a date ahead of a clock that was set back was expected to be believed",
    ),
    (533, "an unreadable original that was cut hid its copy"),
    (
        536,
        "what was cut again between a hint and the next scan vanished uncounted",
    ),
    (
        687,
        "open files below a root that vanished were not rescued by a stop",
    ),
    (
        713,
        "after a power cut a shorter copy was believed to be what was settled",
    ),
    (
        722,
        "what an inode held after an unreadable one was taken for history",
    ),
    (779, "a file deleted during a stop was not rescued"),
    (
        810,
        "a repeated piece was expected in a checkpoint before it was written",
    ),
    (
        832,
        "after a power cut a shorter copy was believed to be what was settled",
    ),
    (
        885,
        "an empty file whose inode was reused gave its family to another",
    ),
    (
        910,
        "a torn letter before the head of another torn line was not recognised",
    ),
    (
        1052,
        "the head of a torn line was not recognised where the one before seemed to go on",
    ),
    (
        1083,
        "what a file that may not be read held was taken for the content its inode had before",
    ),
    (
        1127,
        "a record was taken for one of what came two power cuts later",
    ),
    (1129, "one known byte was taken for evidence"),
    (1331, "an unreadable new file was never followed"),
    (
        1541,
        "what was left of a refused line was expected in order",
    ),
    (
        1629,
        "a short file cut and written again between two looks hid its copies",
    ),
    (
        1635,
        "an empty file written, cut and written again hid its copy",
    ),
    (
        1745,
        "an inode that may not be read was believed to hold what it had held before a power cut",
    ),
    (
        1820,
        "what was left of a refused line was expected in order",
    ),
    (
        3286,
        "after a power cut a shorter copy was believed to be what was settled",
    ),
    (
        3100,
        "bytes of a file that was seen only under another's name vanished uncounted",
    ),
    (
        3389,
        "a content that had inode and name of a closed one was read again from its beginning",
    ),
    (
        3461,
        "a file that may not be read was cut after a restart, uncounted",
    ),
    (
        3515,
        "a piece was expected in a checkpoint when another of its line was answered",
    ),
    (
        3657,
        "after a power cut a shorter head kept a file's own copy from being known",
    ),
    (
        3908,
        "a short file cut and written again between two looks hid its copies",
    ),
    (
        3926,
        "the disk stayed full for a stop that outlived the trouble",
    ),
    (
        4014,
        "a short file cut and written again between two looks hid its copies",
    ),
    (
        3364,
        "a content whose copy was looked for was forgotten by a stop, uncounted",
    ),
    (
        3488,
        "a torn header with a torn line glued to it was not recognised",
    ),
    (
        3901,
        "a copy and its original were expected to be known as one after a power cut made them differ",
    ),
    (
        4079,
        "a closed file that a hint showed cut had grown again by the next scan, uncounted",
    ),
    (
        4261,
        "a new file that was cut and grew again before the first scan vanished uncounted",
    ),
    (
        4997,
        "a content whose copy was looked for was forgotten by a stop, uncounted",
    ),
    (
        5155,
        "a checkpoint that went with the power was taken for one of what stood there",
    ),
    (
        5264,
        "a file that was written anew and deleted during a stop was rescued from the old position",
    ),
    (
        5592,
        "what was on its way of a cut file was forgotten when its copy was rescued",
    ),
    (
        10437,
        "a new log with the inode of a rotated one of 8 bytes was taken for that",
    ),
    (
        11529,
        "a copy of a content that was found to have begun anew in the same scan was read, too",
    ),
    (
        11883,
        "an agent that was dead was expected to write a checkpoint",
    ),
    (
        12349,
        "a record that goes beyond what a power cut left was taken for one of that",
    ),
    (
        12623,
        "a hint took over the size of a log that was cut and written beyond its old size",
    ),
    (
        12628,
        "a log cut and written beyond what it had held hid its next copy, uncounted",
    ),
    (
        12910,
        "what vanished with the directory of a stopped agent was to be counted at once",
    ),
    (
        13239,
        "a torn copy of a log that nobody could ever read was to be known again",
    ),
];

/// Mixtures of all troubles do not make the agent break a promise: shown on as many as there is time
/// for. `SIM_SEEDS`, `SIM_START` and `SIM_SEED` choose others.
#[test]
fn thousands_of_seeds() {
    println!(
        "{:?}",
        many::<Agent>(Seeds::chosen(DEFAULT_SEEDS), Plan::new)
    );
}

/// Every line counts once in a metric, through kills, restarts and outages: shown on seeds that
/// write nothing but whole lines, by adding up.
#[test]
fn every_line_counts_once() {
    let total = many::<Agent>(Seeds::chosen(DEFAULT_SEEDS), Plan::counting);
    assert!(
        total.counted > 1_000.0 || std::env::var_os("SIM_SEED").is_some(),
        "{total:?}"
    );
}

/// Each failed deployment is told to EventBridge under exactly one id, through kills, stops, outages,
/// lost answers and partial failures, and old ones never are: shown by what arrived there against
/// what the log service was told.
#[test]
fn every_incident_is_told_once() {
    let total = many::<Agent>(Seeds::chosen(TELLING_SEEDS), Plan::telling);
    assert!(
        total.incidents > 100 || std::env::var_os("SIM_SEED").is_some(),
        "{total:?}"
    );
}

/// Memory stays under its limit where more is written in an outage than fits, and all of it arrives
/// afterwards: shown on long lines to three streams.
#[test]
fn a_flood_in_an_outage_takes_no_more_memory() {
    let total = many::<Agent>(Seeds::first(FLOODED_SEEDS), Plan::flooding);
    assert!(total.arrived > 30, "{total:?}");
}

/// What was mended stays mended: each seed that once showed a defect is played again.
#[test]
fn mended_defects_stay_mended() {
    for (seed, what) in MENDED {
        let result = run_with::<Agent>(Plan::new(*seed), Voice::Silent, Durability::Durable);
        assert!(result.is_ok(), "seed {seed}, {what}: {result:?}");
    }
}

/// Mixtures that count, which once counted wrong, stay mended, too.
#[test]
fn mended_counts_stay_mended() {
    let counting = [295, 647].map(Plan::counting);
    let telling = [97, 629, 1011].map(Plan::telling);
    for plan in counting.into_iter().chain(telling) {
        let seed = plan.seed;
        let result = run_with::<Agent>(plan, Voice::Silent, Durability::Durable);
        assert!(result.is_ok(), "seed {seed}: {result:?}");
    }
}

/// A reader without a defect breaks no promise: shown on gentle seeds, which it is made for.
#[test]
fn a_sound_reader_passes() {
    let seeds = Seeds::first(GENTLE_SEEDS);
    let total = many::<Toy<{ toys::SOUND }>>(seeds, Plan::gentle);
    assert!(total.lines > 1_000 && total.arrived > 1_000, "{total:?}");
    assert!(total.processes > 60, "kills are missing: {total:?}");
}

/// Each known defect is found, and by the check that is made for it.
#[test]
fn defects_are_found() {
    let durable = Durability::Durable;
    must_fail::<Toy<{ toys::EAGER }>>("checkpoint passes an unsettled line", durable);
    must_fail::<Toy<{ toys::FORGETFUL }>>("never arrived", durable);
    must_fail::<Toy<{ toys::STUTTERING }>>("arrived 2 times, 1 allowed", durable);
    must_fail::<Toy<{ toys::HASTY }>>("checkpoint passes an unsettled line", durable);
    must_fail::<Toy<{ toys::SLOPPY }>>("alien text", durable);
    must_fail::<Toy<{ toys::SOUND }>>("checkpoint is stale", Durability::Lying);
}

fn must_fail<S: Subject>(with: &str, durability: Durability) {
    let failure = (0..GENTLE_SEEDS).find_map(|seed| {
        let mut plan = Plan::gentle(seed);
        if durability == Durability::Lying {
            plan.blows.power_cut = 1.0;
        }
        run_with::<S>(plan, Voice::Silent, durability).err()
    });
    let failure = failure.expect("the defect is not found");
    assert!(failure.contains(with), "found something else: {failure}");
}

/// Says which kinds of failures many seeds come to, with some seeds of each: for work on the agent
/// and on the simulation. `SIM_SEEDS=1000 cargo test --test sim survey -- --ignored --nocapture`
#[test]
#[ignore = "it only tells"]
fn survey() {
    for (kind, seeds) in kinds::<Agent>(Seeds::chosen(DEFAULT_SEEDS), Plan::new) {
        println!(
            "{:5}  {kind}  {:?}",
            seeds.len(),
            &seeds[..seeds.len().min(6)]
        );
    }
}
