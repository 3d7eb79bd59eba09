//! The demo with the real binary: real files, real notifications, a real checkpoint, a restart.

use std::path::PathBuf;

use deploywatch::cli::demo::{Options, Outcome, Pace, Place, run};
use deploywatch::cli::terminal::Colour;

#[test]
fn every_record_written_arrives_exactly_once() {
    // Across rotation by rename and by copy and truncate, pruning and a restart nothing is lost,
    // repeated or out of order, and no secret leaves: shown by the demo's own count.
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
}
