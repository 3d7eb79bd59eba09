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

/// Hears events in the order of arrival and judges them against what was written.
struct Judge {
    /// Of each writer, which of its lines have arrived, and the greatest number among them.
    seen: HashMap<String, (Vec<bool>, u64)>,
    /// How many lines have not arrived.
    missing: u64,
    findings: Findings,
}

impl Judge {
    fn of(written: &[Written]) -> Judge {
        let unseen = |written: &Written| (vec![false; written.count as usize], 0);
        Judge {
            seen: written.iter().map(|w| (w.id.clone(), unseen(w))).collect(),
            missing: written.iter().map(|w| w.count).sum(),
            findings: Findings::default(),
        }
    }

    fn hear(&mut self, event: &Stored) {
        let findings = &mut self.findings;
        let mut is_ours = false;
        for (id, number) in tags(&event.message) {
            let known = self
                .seen
                .get_mut(id)
                .filter(|(lines, _)| number < lines.len() as u64);
            let Some((lines, greatest)) = known else {
                continue;
            };
            is_ours = true;
            if !event.message.contains(&line(id, number)) {
                findings.mangled += 1;
                findings.note("mangled", &event.message);
            }
            if std::mem::replace(&mut lines[number as usize], true) {
                findings.doubled += 1;
            } else {
                self.missing -= 1;
                if number < *greatest {
                    findings.disordered += 1;
                    findings.note("disordered", &event.message);
                }
            }
            *greatest = number.max(*greatest);
        }
        if !is_ours {
            findings.alien += 1;
            findings.note("alien", &event.message);
        }
    }

    fn findings(mut self) -> Findings {
        self.findings.lost = self.missing;
        for (id, (lines, _)) in self.seen {
            for (number, _) in lines.iter().enumerate().filter(|(_, seen)| !**seen) {
                self.findings.note("lost", &format!("{id}:{number}"));
            }
        }
        self.findings
    }
}

/// Judges the events of one or more streams, in the order of arrival.
pub(crate) fn judge<'a>(
    written: &[Written],
    events: impl IntoIterator<Item = &'a Stored>,
) -> Findings {
    let mut judge = Judge::of(written);
    events.into_iter().for_each(|event| judge.hear(event));
    judge.findings()
}

/// Waits until every line of the writer is in the group and stream. Each event is heard once: the
/// service waits meanwhile.
#[track_caller]
pub(crate) fn wait_complete(
    cloud: &Cloud,
    limit: Duration,
    writer: &Writer,
    (group, stream): (&str, &str),
) {
    let mut judge = Judge::of(&[writer.written()]);
    let mut heard = 0;
    cloud.wait(limit, "all arrives", |state| {
        let events = state.events(group, stream);
        events
            .iter()
            .skip(heard)
            .for_each(|event| judge.hear(event));
        heard = events.len();
        judge.missing == 0
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
