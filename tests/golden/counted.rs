//! The metric service of a golden case: every datum is taken at once, and what they add up to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use deploywatch::ports::{CallId, Datum, MetricAnswer, MetricCall, MetricService, Numbers};

/// Takes every datum, and keeps it.
#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) data: Vec<Datum>,
    answers: Vec<CallId>,
    /// What was taken last, if the agent ended before it learned of it: it sends the same again.
    doubtful: Option<Vec<Datum>>,
    last: Vec<Datum>,
}

impl MetricService for Counted {
    fn submit(&mut self, id: CallId, call: MetricCall) {
        self.last = call.data.to_vec();
        if self.doubtful.take().as_ref() != Some(&self.last) {
            self.data.extend(call.data.iter().cloned());
        }
        self.answers.push(id);
    }

    fn answer(&mut self) -> Option<MetricAnswer> {
        let id = self.answers.pop()?;
        Some(MetricAnswer { id, result: Ok(()) })
    }
}

impl Counted {
    /// The agent is ended.
    pub(crate) fn forget(&mut self) {
        if !std::mem::take(&mut self.answers).is_empty() {
            self.doubtful = Some(self.last.clone());
        }
    }

    /// Every number that something happened in, added up by series and period: one a line, sorted.
    /// Gauges and fill-in zeros are left out, since they tell of the time in between.
    pub(crate) fn points(&self) -> String {
        let mut all: BTreeMap<(String, String, i64), Vec<f64>> = BTreeMap::new();
        for datum in self.data.iter().filter(|datum| is_counted(&datum.name)) {
            let pairs = datum.dimensions.iter();
            let pairs: Vec<String> = pairs
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let key = (datum.name.clone(), pairs.join(","), datum.time_ms);
            all.entry(key).or_default().extend(values(&datum.numbers));
        }
        let mut text = String::new();
        for ((name, dimensions, time_ms), mut values) in all {
            values.retain(|value| *value != 0.0);
            values.sort_by(f64::total_cmp);
            if is_sum(&name) && !values.is_empty() {
                values = vec![values.iter().sum()];
            }
            if !values.is_empty() {
                writeln!(text, "{name} {dimensions} {time_ms} {values:?}").unwrap();
            }
        }
        text
    }
}

fn is_counted(name: &str) -> bool {
    is_sum(name) || name == "LifecycleEventSeconds"
}

fn is_sum(name: &str) -> bool {
    [
        "DeploymentsSucceeded",
        "DeploymentsFailed",
        "LostBytes",
        "RefusedEvents",
    ]
    .contains(&name)
}

fn values(numbers: &Numbers) -> Vec<f64> {
    match numbers {
        Numbers::One(value) => vec![*value],
        Numbers::Many(values) => values
            .iter()
            .flat_map(|(value, count)| std::iter::repeat_n(*value, *count as usize))
            .collect(),
        Numbers::Summary(_) => panic!("a golden period has few numbers: {numbers:?}"),
    }
}
