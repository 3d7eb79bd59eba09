//! Compares what was written with what arrived.

use std::collections::HashMap;
use std::time::Duration;

use super::cloud::Cloud;
use super::lines::{Writer, Written, line};
use super::state::Stored;

/// The group and stream of `app.log` in a world's source `app`.
pub(crate) const APP: (&str, &str) = ("/app", "app.log");

/// What is wrong with what arrived. Lists are cut after a few examples; counts are whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Lines that did not arrive.
    pub(crate) lost: u64,
    /// Lines that arrived again.
    pub(crate) doubled: u64,
    /// First arrivals that came after a later line of the same writer.
    pub(crate) disordered: u64,
    /// Lines whose text is not what was written.
    pub(crate) mangled: u64,
    /// Events that hold no line of ours.
    pub(crate) alien: u64,
    /// A few of the above, for people.
    pub(crate) examples: Vec<String>,
}

/// Judges the events of one or more streams, in the order of arrival.
pub(crate) fn judge<'a>(
    written: &[Written],
    events: impl IntoIterator<Item = &'a Stored>,
) -> Findings {
    let mut findings = Findings::default();
    let mut seen: HashMap<&str, (Vec<bool>, u64)> = written
        .iter()
        .map(|w| (w.id.as_str(), (vec![false; w.count as usize], 0)))
        .collect();
    for event in events {
        let mut found = 0;
        for (id, number) in tags(&event.message) {
            let known = seen
                .get_mut(id)
                .filter(|(lines, _)| number < lines.len() as u64);
            let Some((lines, next)) = known else {
                continue;
            };
            found += 1;
            if !event.message.contains(&line(id, number)) {
                findings.mangled += 1;
                findings.note("mangled", &event.message);
            }
            if std::mem::replace(&mut lines[number as usize], true) {
                findings.doubled += 1;
            } else if number < *next {
                findings.disordered += 1;
                findings.note("disordered", &event.message);
            }
            *next = number.max(*next);
        }
        if found == 0 {
            findings.alien += 1;
            findings.note("alien", &event.message);
        }
    }
    for (id, (lines, _)) in seen {
        for (number, _) in lines.iter().enumerate().filter(|(_, seen)| !**seen) {
            findings.lost += 1;
            findings.note("lost", &format!("{id}:{number}"));
        }
    }
    findings
}

/// Whether every line has arrived; cheap while there are too few events.
fn complete(written: &[Written], events: &[Stored]) -> bool {
    let wanted: u64 = written.iter().map(|written| written.count).sum();
    events.len() as u64 >= wanted && judge(written, events).lost == 0
}

/// Waits until every line of the writer is in the group and stream.
#[track_caller]
pub(crate) fn wait_complete(
    cloud: &Cloud,
    limit: Duration,
    writer: &Writer,
    (group, stream): (&str, &str),
) {
    let written = [writer.written()];
    cloud.wait(limit, "all arrives", |state| {
        complete(&written, state.events(group, stream))
    });
}

/// What is wrong with what arrived of the writer's lines in the group and stream, in a service
/// none of whose rules was broken.
#[track_caller]
pub(crate) fn findings(cloud: &Cloud, writer: &Writer, (group, stream): (&str, &str)) -> Findings {
    cloud.assert_no_violations();
    judge(&[writer.written()], &cloud.events(group, stream))
}

impl Findings {
    /// Every line arrived, once, whole and in order, and nothing else did.
    #[track_caller]
    pub(crate) fn assert_exact(&self) {
        self.assert_none_lost();
        assert_eq!((self.doubled, self.alien), (0, 0), "{self:#?}");
    }

    /// Every line arrived whole and in order; repetitions and notes of the agent's are allowed.
    #[track_caller]
    pub(crate) fn assert_none_lost(&self) {
        assert_eq!(
            (self.lost, self.mangled, self.disordered),
            (0, 0, 0),
            "{self:#?}"
        );
    }

    fn note(&mut self, what: &str, text: &str) {
        if self.examples.len() < 12 {
            let text: String = text.chars().take(100).collect();
            self.examples.push(format!("{what}: {text}"));
        }
    }
}

/// Every `<id:number>` in a text.
pub(crate) fn tags(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.split('<').skip(1).filter_map(|part| {
        let (id, rest) = part.split_once(':')?;
        let (digits, _) = rest.split_once('>')?;
        Some((id, digits.parse().ok()?))
    })
}
