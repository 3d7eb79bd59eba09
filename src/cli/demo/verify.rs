//! The count: was every record written delivered, once, in its file's order, without its secret?
//! Pure; the answer decides the demo's exit code.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::arrivals::Arrived;
use super::machine::{Key, Tally, Written};
use super::points::{self, Point};

/// The secret one hook prints. It must not be in any event.
pub(super) const SECRET: &str = "correct-horse-battery";

/// What stands before the secret. Records are compared up to here: what redaction puts in the
/// secret's place is its own business.
pub(super) const SECRET_NAME: &str = "DB_PASSWORD";

/// The first line of a new deployments log has no time of its own where the other lines have
/// theirs, so its place among them is not promised.
const UNTIMED: &str = "# Logfile created on ";

/// Examples of what is wrong that are kept.
const EXAMPLES_MAX: usize = 5;

/// The count for one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Group and stream it went to, if anything came.
    pub(super) target: String,
    /// Records written.
    pub(super) written: usize,
    /// Of those, how many arrived.
    pub(super) arrived: usize,
    /// Arrived again.
    pub(super) twice: usize,
    /// Never arrived.
    pub(super) missing: usize,
    /// Arrived and never written in this form.
    pub(super) unknown: usize,
    /// Arrived behind a record that was written later in the same file.
    pub(super) disordered: usize,
    /// Arrived in the stream of another deployment than the one in whose directory it was written.
    pub(super) misfiled: usize,
}

impl Count {
    /// Whether every record arrived once, in order, where it belongs.
    pub(super) fn is_good(&self) -> bool {
        let wrong = self.twice + self.missing + self.unknown + self.disordered + self.misfiled;
        self.written == self.arrived && wrong == 0
    }
}

/// Where one and the same text was written.
#[derive(Debug, Default)]
struct Places {
    /// Not arrived yet, oldest first.
    indexes: VecDeque<usize>,
    /// In these files of one log. A text that stands in two of them (the CodeDeploy agent repeats
    /// itself within a second) does not tell from which it came, so its place is not checked.
    generations: BTreeSet<u32>,
}

/// The whole count.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    /// By log.
    pub(super) counts: BTreeMap<Key, Count>,
    /// Events in which the secret arrived.
    pub(super) leaked: usize,
    /// Records that carried the secret.
    pub(super) secrets: usize,
    /// Some of what is wrong, in words.
    pub(super) examples: Vec<String>,
}

impl Verdict {
    /// Whether everything arrived exactly once, in order, without the secret.
    pub(super) fn is_good(&self) -> bool {
        self.leaked == 0 && self.counts.values().all(Count::is_good)
    }

    /// The sum over all logs of one figure.
    pub(super) fn sum(&self, figure: impl Fn(&Count) -> usize) -> usize {
        self.counts.values().map(figure).sum()
    }

    fn example(&mut self, what: &str, text: &str) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("{what}: {text}"));
        }
    }
}

/// A metric, as it was played and as it was published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sum {
    pub(super) metric: &'static str,
    pub(super) played: f64,
    pub(super) published: f64,
}

impl Sum {
    /// Whether what happened is what was published.
    pub(super) fn is_good(&self) -> bool {
        self.played == self.published
    }
}

/// Compares what happened with the sums of what was published.
pub(super) fn sums(played: &Tally, points: &[Point]) -> [Sum; 3] {
    [
        ("DeploymentsSucceeded", f64::from(played.succeeded)),
        ("DeploymentsFailed", f64::from(played.failed)),
        ("PaymentsFailed", played.unpaid),
    ]
    .map(|(metric, played)| Sum {
        metric,
        played,
        published: points::sum(points, metric),
    })
}

/// Compares what was written with what arrived.
pub(super) fn compare(written: &[Written], arrived: &[Arrived]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut expected: HashMap<(&Key, &str), Places> = HashMap::new();
    for (index, record) in written.iter().enumerate() {
        let text = canonical(&record.text);
        let places = expected.entry((&record.key, text)).or_default();
        places.indexes.push_back(index);
        places.generations.insert(record.generation);
        verdict.count(&record.key).written += 1;
        verdict.secrets += usize::from(record.text.contains(SECRET));
    }
    let mut last: HashMap<(&Key, u32), usize> = HashMap::new();
    for event in arrived {
        if event.message.contains(SECRET) {
            verdict.leaked += 1;
            verdict.example("arrived with its secret", canonical(&event.message));
        }
        verdict.check_stream(event);
        let count = verdict.count(&event.key);
        if count.target.is_empty() {
            count.target = format!("{} {}", event.group, event.stream);
        }
        let text = canonical(&event.message);
        match expected.get_mut(&(&event.key, text)) {
            None => {
                count.unknown += 1;
                verdict.example("never written like this", text);
            }
            Some(places) => match places.indexes.pop_front() {
                None => {
                    count.twice += 1;
                    verdict.example("arrived twice", text);
                }
                Some(index) => {
                    count.arrived += 1;
                    if text.starts_with(UNTIMED) || places.generations.len() > 1 {
                        continue;
                    }
                    let file = (&event.key, written[index].generation);
                    let before = last.entry(file).or_insert(index);
                    if *before > index {
                        count.disordered += 1;
                        verdict.example("out of order", text);
                    }
                    *before = index.max(*before);
                }
            },
        }
    }
    let mut missing: Vec<usize> = expected
        .into_values()
        .flat_map(|places| places.indexes)
        .collect();
    missing.sort_unstable();
    for index in missing {
        verdict.count(&written[index].key).missing += 1;
        verdict.example("missing", canonical(&written[index].text));
    }
    verdict
}

impl Verdict {
    fn count(&mut self, key: &Key) -> &mut Count {
        if !self.counts.contains_key(key) {
            self.counts.insert(key.clone(), Count::default());
        }
        self.counts
            .get_mut(key)
            .expect("the key was inserted just now")
    }

    /// A deployment's lines belong into the stream whose name begins with its id.
    fn check_stream(&mut self, event: &Arrived) {
        let Some(deployment) = &event.key.deployment else {
            return;
        };
        if event.stream.split('/').next() != Some(deployment) {
            self.count(&event.key).misfiled += 1;
            let what = format!("of {deployment}, arrived in stream {}", event.stream);
            self.example(&what, canonical(&event.message));
        }
    }
}

/// What of a record is compared: without the white space at its end (the blank lines between the
/// SDK's records) and without what follows the name of the secret.
fn canonical(text: &str) -> &str {
    let text = match text.split_once(SECRET_NAME) {
        Some((before, _)) => before,
        None => text,
    };
    text.trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(source: &str, texts: &[&str]) -> Vec<Written> {
        let one = |text: &&str| Written {
            key: Key::of(source),
            generation: 0,
            text: (*text).to_owned(),
        };
        texts.iter().map(one).collect()
    }

    fn arrived(source: &str, texts: &[&str]) -> Vec<Arrived> {
        let one = |text: &&str| Arrived {
            group: "/codedeploy/x".into(),
            stream: "host".into(),
            message: (*text).to_owned(),
            key: Key::of(source),
        };
        texts.iter().map(one).collect()
    }

    fn verdict(wrote: &[&str], came: &[&str]) -> (bool, Count) {
        let verdict = compare(&written("agent", wrote), &arrived("agent", came));
        let count = verdict.counts[&Key::of("agent")].clone();
        (verdict.is_good(), count)
    }

    #[test]
    fn exactly_once_in_order_is_good() {
        // The same records in the same order pass, equal records included, blank ends aside.
        let (good, count) = verdict(
            &["a", "b  \n", "a", "c\n at d"],
            &["a", "b", "a", "c\n at d"],
        );
        assert!(good);
        assert_eq!((count.written, count.arrived), (4, 4));
    }

    #[test]
    fn every_way_to_go_wrong_is_found() {
        // Loss, repetition, invention, disorder: each alone spoils the verdict and is counted.
        let (good, count) = verdict(&["a", "b"], &["a"]);
        assert!(!good);
        assert_eq!(count.missing, 1);
        let (good, count) = verdict(&["a", "b"], &["a", "b", "a"]);
        assert!(!good);
        assert_eq!(count.twice, 1);
        let (good, count) = verdict(&["a"], &["a", "x"]);
        assert!(!good);
        assert_eq!(count.unknown, 1);
        let (good, count) = verdict(&["a", "b"], &["b", "a"]);
        assert!(!good);
        assert_eq!(count.disordered, 1);
    }

    #[test]
    fn a_record_in_the_wrong_log_is_not_taken_for_the_right_one() {
        // Each log is counted alone; shown by sending the right record as another source's.
        let verdict = compare(&written("agent", &["a"]), &arrived("deployments", &["a"]));
        assert!(!verdict.is_good());
        assert_eq!(verdict.counts[&Key::of("agent")].missing, 1);
        assert_eq!(verdict.counts[&Key::of("deployments")].unknown, 1);
    }

    #[test]
    fn order_is_asked_for_within_one_file_only() {
        // What was written after a rotation may come before the rest of the old file.
        let mut wrote = written("deployments", &["old 1", "old 2", "new 1"]);
        wrote[2].generation = 1;
        let came = arrived("deployments", &["old 1", "new 1", "old 2"]);
        assert!(compare(&wrote, &came).is_good());
        let mut wrote = written("agent", &["old", "same", "same", "new"]);
        wrote[2].generation = 1;
        wrote[3].generation = 1;
        let came = arrived("agent", &["same", "new", "old", "same"]);
        assert!(compare(&wrote, &came).is_good());
    }

    #[test]
    fn a_line_in_another_deployments_stream_is_a_failure() {
        // The stream's name begins with the deployment's id; shown with the right and a wrong one.
        let wrote = [Written {
            key: Key::scripts("d-1"),
            generation: 0,
            text: "a".into(),
        }];
        let verdict = |stream: &str| {
            let came = [Arrived {
                group: "/codedeploy/scripts".into(),
                stream: stream.into(),
                message: "a".into(),
                key: Key::scripts("d-1"),
            }];
            compare(&wrote, &came)
        };
        assert!(verdict("d-1/host").is_good());
        assert!(!verdict("d-2/host").is_good());
        assert_eq!(verdict("d-2/host").sum(|count| count.misfiled), 1);
    }

    #[test]
    fn published_sums_must_be_those_played() {
        // One failure too few is found, and nothing else; shown with what would be right.
        let played = Tally {
            failed: 2,
            ..Tally::default()
        };
        let point = Point {
            name: "DeploymentsFailed".into(),
            value: Some(1.0),
            ..Point::default()
        };
        let is_good = |points: &[Point]| sums(&played, points).map(|sum| sum.is_good());
        assert_eq!(is_good(std::slice::from_ref(&point)), [true, false, true]);
        assert_eq!(is_good(&[point.clone(), point.clone()]), [true; 3]);
    }

    #[test]
    fn a_secret_that_arrives_is_a_failure() {
        // A redacted record passes whatever stands for the secret; the secret itself never does.
        let wrote = [format!("x {SECRET_NAME}={SECRET}")];
        let wrote: Vec<&str> = wrote.iter().map(String::as_str).collect();
        let hidden = format!("x {SECRET_NAME}=[redacted]");
        let (good, _) = verdict(&wrote, &[hidden.as_str()]);
        assert!(good);
        let (good, _) = verdict(&wrote, &wrote);
        assert!(!good);
    }
}
