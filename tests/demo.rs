//! The demo with the real binary: real files, real notifications, a real checkpoint, a restart.

use std::path::PathBuf;

use deploywatch::cli::demo::{Options, Outcome, Pace, Place, run};
use deploywatch::cli::terminal::Colour;

#[test]
fn every_record_written_arrives_exactly_once() {
    // Across rotation by rename and by copy and truncate, pruning and a restart nothing is lost,
    // repeated, out of order or in another deployment's stream, no secret leaves, each deployment
    // is counted once, and what failed would have set off its alarm: shown by the demo's own count
    // and by what it tells.
    let options = Options {
        pace: Pace::Fast,
        place: Place::Temporary,
        binary: PathBuf::from(env!("CARGO_BIN_EXE_deploywatch")),
        colour: Colour::Off,
        width: 100,
    };
    let mut screen = Vec::new();
    let outcome = run(&options, &mut screen);
    let screen = String::from_utf8_lossy(&screen);
    assert!(
        matches!(outcome, Ok(Outcome::Complete)),
        "{outcome:?}\n{screen}"
    );
    for told in [
        "DeploymentsSucceeded   7 published, 7 played",
        "DeploymentsFailed      1 published, 1 played",
        "PaymentsFailed         42.75 published, 42.75 played",
        "ALARM        notify-when-deployment-fails: would tell the SNS topic oncall (not done)",
        "would have had AWS tell the SNS topic oncall: not done",
        "d-FAIL00002  failed",
        "scripts/after_install.sh: exit code 1",
    ] {
        assert!(screen.contains(told), "{told} in\n{screen}");
    }
}
