//! The observer against what really happened: over the whole corpus of both agents, its verdict on
//! each command must be what the service was told, however the records come.
//!
//! `expected/verdicts.txt` is the table of all commands, truth beside verdict;
//! `expected/news.txt` all that is told. `GOLDEN_UPDATE=1 cargo test --test deployments` writes
//! them anew; the difference is reviewed like code.

#![expect(clippy::unwrap_used, reason = "this is a test")]

#[path = "../support/base64.rs"]
mod base64;
mod corpus;
mod health;
mod schedule;
mod speed;
mod traps;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use corpus::{Case, Truth, Truths};
use deploywatch::codedeploy::{News, What};
use deploywatch::status::{DeploymentsStatus, LifecycleEventStatus};
use schedule::{Restarts, Schedule, play};

/// Commands of which the log knows more than the service: what it was told, and our verdict.
const DISAGREEMENTS: [(&str, &str, &str, &str); 2] = [
    // The service refused the acknowledgement, so nothing was run and nothing reported.
    ("d-ACKFAIL01", "AfterInstall", "-", "refused"),
    // The hook succeeded, but the report of it was answered with a 500.
    ("d-PUTFAIL01", "AfterInstall", "-", "succeeded, unreported"),
];

/// Deployments that came after the service's history was saved. What became of them is read in the
/// log by eye: both failed in AfterInstall, with exit code 3.
const LATER: [&str; 2] = ["d-SECRET001", "d-SECRET002"];
const LATER_COMMANDS: [&str; 5] = [
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
];

/// What the service was told, and what is known without it.
fn truths(case: &Case) -> Truths {
    let mut truths = case.truths.clone();
    if case.name == "1.x/daemon" {
        for (id, event) in LATER
            .iter()
            .flat_map(|id| LATER_COMMANDS.map(|event| (*id, event)))
        {
            let failed = Truth {
                result: "failed".to_owned(),
                error_code: Some(4),
                script: "scripts/after_install.sh".to_owned(),
            };
            let succeeded = Truth {
                result: "succeeded".to_owned(),
                ..Truth::default()
            };
            let truth = if event == "AfterInstall" {
                failed
            } else {
                succeeded
            };
            truths.insert((id.to_owned(), event.to_owned()), truth);
        }
    }
    truths
}

/// The verdicts that a status shows, on commands the agent log speaks of: of others only a hook's
/// log is left, which says nothing of how they ended.
fn verdicts(status: &DeploymentsStatus) -> BTreeMap<(String, String), LifecycleEventStatus> {
    let mut verdicts = BTreeMap::new();
    for deployment in &status.deployments {
        let is_command = |event: &&LifecycleEventStatus| event.state != "unknown";
        for event in deployment.events.iter().filter(is_command) {
            let key = (deployment.id.clone(), event.name.clone());
            assert!(
                verdicts.insert(key, event.clone()).is_none(),
                "{} twice",
                event.name
            );
        }
    }
    verdicts
}

fn words(event: &LifecycleEventStatus) -> String {
    let unreported = if event.unreported { ", unreported" } else { "" };
    format!("{}{unreported}", event.state)
}

/// Checks each command's verdict, and that none is missing, doubled or invented.
fn check(case: &Case, truths: &Truths, status: &DeploymentsStatus, news: &[News]) {
    let verdicts = verdicts(status);
    for ((id, name), event) in &verdicts {
        assert!(
            truths.contains_key(&(id.clone(), name.clone())),
            "{}: {id} {name} was invented: {event:?}",
            case.name
        );
    }
    for ((id, name), truth) in truths {
        let here = format!("{}: {id} {name}", case.name);
        let event = (verdicts.get(&(id.clone(), name.clone())))
            .unwrap_or_else(|| panic!("{here} is missing"));
        let known = DISAGREEMENTS
            .iter()
            .find(|(of, on, ..)| (of, on) == (&id.as_str(), &name.as_str()));
        let expected = known.map_or(truth.result.as_str(), |(.., verdict)| verdict);
        assert_eq!(words(event), expected, "{here}");
        let failure = event.failure.clone().unwrap_or_default();
        let got = (failure.error_code, failure.script.as_str());
        assert_eq!(got, (truth.error_code, truth.script.as_str()), "{here}");
    }
    let mut told: BTreeMap<(String, String), usize> = BTreeMap::new();
    for news in news {
        if let What::LifecycleEventFinished {
            deployment, event, ..
        } = &news.what
        {
            *told.entry((deployment.clone(), event.clone())).or_default() += 1;
        }
    }
    assert!(
        told.values().all(|count| *count == 1),
        "{}: told twice: {told:?}",
        case.name
    );
    assert_eq!(told.len(), truths.len(), "{}", case.name);
}

#[test]
fn each_verdict_is_what_the_service_was_told() {
    // For every command of the corpus, of both agents, result, error code and script must equal
    // what the service was told, each told once: compared with its own record, apart from the two
    // commands named above, of which the service was told nothing.
    let mut commands = 0;
    for case in Case::all() {
        let outcome = play(&case, Schedule::Live, Restarts::Never);
        let truths = truths(&case);
        check(&case, &truths, &outcome.status, &outcome.news);
        commands += truths.len();
    }
    assert!(
        commands >= 300,
        "the corpus has shrunk to {commands} commands"
    );
}

#[test]
fn the_result_is_the_same_however_the_records_come() {
    // Replayed, in any order between the files, in random chunks, and with restarts anywhere, news
    // and status must be those of hearing everything live: all cases, many seeds.
    for case in Case::all() {
        let live = play(&case, Schedule::Live, Restarts::Never);
        let same = |schedule, restarts| {
            let other = play(&case, schedule, restarts);
            assert_same(
                &live,
                &other,
                &format!("{} {schedule:?} {restarts:?}", case.name),
            );
        };
        let often = Restarts::OneIn(if case.len() < 1_000 {
            2
        } else {
            case.len() / 40
        });
        same(Schedule::Live, often);
        same(Schedule::Replay, Restarts::Never);
        let seeds = if case.len() < 1_000 { 25 } else { 3 };
        for seed in 0..seeds {
            same(Schedule::Shuffled(seed), Restarts::Never);
            same(Schedule::Shuffled(seed), often);
            same(Schedule::Interleaved(seed), Restarts::Never);
            same(Schedule::Interleaved(seed), often);
        }
    }
}

/// Tells the first difference, not two whole worlds.
fn assert_same(live: &schedule::Outcome, other: &schedule::Outcome, here: &str) {
    for (ours, theirs) in live
        .status
        .deployments
        .iter()
        .zip(&other.status.deployments)
    {
        assert_eq!(ours, theirs, "{here}");
    }
    for (ours, theirs) in live.news.iter().zip(&other.news) {
        assert_eq!(ours, theirs, "{here}");
    }
    assert_eq!(live.news.len(), other.news.len(), "{here}");
    assert!(live == other, "{here}");
}

#[test]
fn restarts_after_each_record_change_nothing() {
    // Saved and restored after every single record, the result must be the same: shown by a whole
    // day of the Ruby agent's own log, doubled lines included.
    let mut case = Case::named("1.x/daemon");
    case.logs.truncate(1);
    let once = play(&case, Schedule::Live, Restarts::Never);
    let always = play(&case, Schedule::Live, Restarts::OneIn(1));
    assert_same(&once, &always, "after each record");
}

#[test]
fn the_tables_are_as_reviewed() {
    // The table of commands, truth beside verdict, and all news must be what was reviewed: compared
    // with the files.
    let (mut table, mut told) = (String::new(), String::new());
    for case in Case::all() {
        let outcome = play(&case, Schedule::Live, Restarts::Never);
        let verdicts = verdicts(&outcome.status);
        for ((id, name), truth) in &truths(&case) {
            let event = &verdicts[&(id.clone(), name.clone())];
            let agreement = if words(event) == truth.result {
                "="
            } else {
                "≠"
            };
            let (place, truth, verdict) = (case.name, shown(truth), described(event));
            writeln!(
                table,
                "{place:<19} {id:<12} {name:<19} {truth:<12} {agreement} {verdict}"
            )
            .unwrap();
        }
        for news in &outcome.news {
            let time = match news.at_ms {
                // Which file tells first of a script's start is chance.
                0 => "-".to_owned(),
                at_ms => jiff::Timestamp::from_millisecond(at_ms)
                    .unwrap()
                    .to_string(),
            };
            writeln!(told, "{} {time} {:?}", case.name, news.what).unwrap();
        }
    }
    compare_or_update("verdicts.txt", &table);
    compare_or_update("news.txt", &told);
}

fn shown(truth: &Truth) -> String {
    match truth.error_code {
        Some(code) => format!("{} {code}", truth.result),
        None => truth.result.clone(),
    }
}

fn described(event: &LifecycleEventStatus) -> String {
    let mut text = words(event);
    if let Some(ms) = event.duration_ms {
        write!(text, " {ms} ms").unwrap();
    }
    if let Some(failure) = &event.failure {
        let code = failure
            .error_code
            .map_or("?".to_owned(), |code| code.to_string());
        write!(text, ", code {code}: {} {}", failure.script, failure.cause).unwrap();
    }
    text
}

fn compare_or_update(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/deployments/expected")
        .join(name);
    if std::env::var_os("GOLDEN_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        return std::fs::write(path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (at, (ours, theirs)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(ours, theirs, "{name}, line {}", at + 1);
    }
    assert_eq!(
        text.len(),
        expected.len(),
        "{name} is longer or shorter than expected"
    );
}
