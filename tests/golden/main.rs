//! Golden tests: files in, events out, byte for byte.
//!
//! Each folder here is a case: `case.toml` says what it shows and which files lie where,
//! `source.toml` is the configuration, `expected.ndjson` (`.gz` when it is long) every event that
//! must arrive, with its group, stream and time. The agent is run as it is, with real files and a
//! real state directory; only the clock stands still and the service is in memory
//! (`machine.rs`). `GOLDEN_UPDATE=1 cargo test --test golden` writes the expected files anew; the
//! difference is reviewed like code.
//!
//! What is expected was once produced by the program itself, so `oracle.rs` reads the CodeDeploy
//! agent's files a second time, in another way, and both must agree.

#![expect(clippy::unwrap_used, reason = "this is a test")]

mod case;
mod counted;
#[path = "../support/event_schema.rs"]
mod event_schema;
mod giants;
mod machine;
#[path = "../support/nobody.rs"]
mod nobody;
mod oracle;
mod told;
mod truth;

use std::cell::Cell;

use case::Case;
use event_schema::EventSchema;
use machine::{Arrived, Machine, Pace};
use told::Told;

/// Runs every case and tells of all that fail.
fn every_case(check: impl Fn(&Case) -> Result<(), String>) {
    let cases = Case::all();
    assert!(cases.len() >= 20, "only {} cases were found", cases.len());
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|case| check(case).err().map(|why| format!("{}: {why}", case.name)))
        .collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

fn run(case: &Case, pace: Pace) -> Vec<Arrived> {
    let mut machine = Machine::new(case, pace);
    machine.run(pace);
    machine.service.sorted()
}

#[test]
fn each_case_gives_exactly_the_expected_events() {
    // Group, stream, time and text of every event must be what the expected file says: shown by
    // comparing all of them after the agent has read everything and stopped. And independent of
    // what is written there: the CodeDeploy agent's files are cut into records and dated by
    // regular expressions and day counting alone, and their streams must hold just that, each
    // record once, in order and on time, apart from what redaction took out.
    let seen = Cell::new(0);
    every_case(|case| {
        let arrived = run(case, Pace::Whole);
        case.compare_or_update(&arrived)?;
        seen.set(seen.get() + oracle::check(case, &arrived)?);
        Ok(())
    });
    let seen = seen.get();
    assert!(seen > 80_000, "the corpus has shrunk to {seen} records");
}

#[test]
fn each_case_gives_exactly_the_expected_data_points_and_incidents() {
    // What the deployments in a case come to as metrics and as events to EventBridge must be what
    // its files say, whether the logs are read whole, as they grow, or by an agent that is ended and
    // started all the time: the numbers are added up by series and period, so one that is counted
    // twice or never shows; of the events each id must come once, or again in the same words. And
    // independent of what is written there: the failures are those that the CodeDeploy service was
    // told of, and every detail keeps to the published schema.
    let (schema, seen) = (EventSchema::published(), Cell::new(0));
    every_case(|case| {
        let mut expected = None;
        for pace in [
            Pace::Whole,
            Pace::Stuttering,
            Pace::Growing { restarts: 0 },
            Pace::Growing { restarts: 25 },
        ] {
            let mut machine = Machine::installed_before(case, pace);
            machine.run_and_publish(pace);
            let (points, told) = (machine.metrics.points(), machine.events);
            let (first_points, first) =
                expected.get_or_insert_with(|| (points.clone(), told.clone()));
            let texts = |told: &Told| match pace {
                Pace::Growing { .. } => told.lines_without_output(),
                Pace::Whole | Pace::Stuttering => told.lines(),
            };
            case::compare(first_points, &points)
                .and_then(|()| case::compare(&texts(first), &texts(&told)))
                .map_err(|why| format!("{pace:?}: {why}"))?;
        }
        let (points, told) = expected.unwrap_or_default();
        let details = told.details();
        for detail in &details {
            if let Some(complaint) = schema.complaint(detail) {
                return Err(format!("{complaint} in {detail}"));
            }
        }
        seen.set(seen.get() + truth::check(case, &details)?);
        case.compare_or_update_part("points.txt", &points)?;
        case.compare_or_update_part("incidents.txt", &told.lines())
    });
    let seen = seen.get();
    assert!(seen >= 29, "the corpus has shrunk to {seen} failures");
}

#[test]
fn files_that_grow_in_small_pieces_give_the_same_events() {
    // Where a write ends must not show: every file is written piece by piece, cut anywhere, with a
    // step of the agent after each piece, and the same events must arrive without a stop.
    every_case(|case| case.compare_variant(&run(case, Pace::Growing { restarts: 0 })));
}

#[test]
fn restarts_in_between_give_the_same_events() {
    // A stop and a start at any moment must neither lose nor double an event: the files grow as
    // above, and the agent is ended and started again many times; what was in flight when it ended
    // never arrived, so every event must be there exactly once.
    every_case(|case| case.compare_variant(&run(case, Pace::Growing { restarts: 25 })));
}

#[test]
fn an_agent_that_is_ended_again_and_again_loses_and_doubles_nothing() {
    // The same where everything is there from the beginning and the agent gets to make a step or
    // two before it is ended.
    every_case(|case| case.compare_variant(&run(case, Pace::Stuttering)));
}
