//! Lines too long to lie in a folder: made here, and compared by what they are made of.

use deploywatch::config::{Config, EVENT_BYTES_MAX};
use jiff::tz::TimeZone;

use crate::case::Input;
use crate::machine::{Machine, Pace};

const SOURCE: &str = r#"
[codedeploy]
enabled = false
[[source]]
name = "app"
paths = ["@DIR@/app/app.log"]
"#;

/// A long line of characters of one to four bytes without a blank, different at every place.
fn giant(bytes: usize) -> String {
    let mut line = String::with_capacity(bytes + 16);
    let mut number = 0_u32;
    while line.len() < bytes {
        line.push_str(&format!("{number:x}äé€🦀"));
        number += 1;
    }
    line
}

fn ship(content: String, pace: Pace) -> Vec<String> {
    let config = |dir: &std::path::Path| {
        let text = SOURCE.replace("@DIR@", dir.to_str().unwrap());
        Config::parse(&[("source.toml".into(), text)]).unwrap().0
    };
    let input = Input {
        path: "app/app.log".into(),
        bytes: content.into_bytes(),
        grows: true,
    };
    let wall_ms = 1_795_226_578_000;
    let mut machine = Machine::with(&config, vec![input], TimeZone::UTC, wall_ms, pace);
    machine.run(pace);
    machine
        .service
        .sorted()
        .into_iter()
        .map(|event| event.message)
        .collect()
}

/// A line may be as long as it likes: what is longer than an event is split at a character and
/// nothing of it is cut, and the lines around it arrive as they are.
fn assert_arrives(bytes: usize, parts: usize, pace: Pace) {
    let line = giant(bytes);
    let arrived = ship(format!("before\n{line}\nafter\n"), pace);
    let (first, rest) = arrived.split_first().unwrap();
    let (last, middle) = rest.split_last().unwrap();
    assert_eq!((first.as_str(), last.as_str()), ("before", "after"));
    assert_eq!(middle.len(), parts);
    assert!(middle.iter().all(|part| part.len() <= EVENT_BYTES_MAX));
    assert!(middle.concat() == line, "the parts are not the line");
}

#[test]
fn a_line_of_300_kilobytes_is_one_event() {
    // Below the limit nothing is split, however the line comes in.
    assert_arrives(300_000, 1, Pace::Whole);
    assert_arrives(300_000, 1, Pace::Growing { restarts: 5 });
}

#[test]
fn a_line_of_5_megabytes_is_split_and_nothing_of_it_is_lost() {
    // Five events, whole characters, together the line; also when it grows and the agent restarts
    // in the middle of it.
    assert_arrives(5_000_000, 5, Pace::Whole);
    assert_arrives(5_000_000, 5, Pace::Growing { restarts: 10 });
    assert_arrives(5_000_000, 5, Pace::Stuttering);
}

#[test]
fn a_line_without_an_end_arrives_when_the_agent_stops() {
    // A giant without its newline is not kept back at a stop.
    let line = giant(2_000_000);
    let arrived = ship(line.clone(), Pace::Whole);
    assert!(arrived.len() == 2 && arrived.concat() == line);
}
