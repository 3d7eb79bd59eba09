//! A model of how CloudWatch evaluates an alarm on one metric, and what it would call. Simulated:
//! no real alarm runs here, and the actions only go into a list.
//!
//! Every rule has its source in the CloudWatch user guide:
//!
//! - *Alarm evaluation*: M of the N most recent datapoints must breach; an alarm with a period of a
//!   minute or more is evaluated once a minute, a shorter one every 10 s.
//! - *Configuring how CloudWatch alarms treat missing data*: more datapoints are fetched than N (the
//!   evaluation range; 5 for N = 3 in the guide's tables, N + 2 here). With N real ones among them
//!   the treatment does not matter; with fewer, missing ones are filled in as few times as possible,
//!   and all real ones count.
//! - *Avoiding premature transitions to alarm state*: where missing data are `missing`, a breaching
//!   datapoint that is at least as old as M, with nothing but breaching or missing ones behind it,
//!   is enough. With `ignore` the state is kept (fifth rows of both tables).
//! - *Actions*: called on a change of state only, not while switched off, not while warming up
//!   (API reference, PutMetricAlarm: WarmUpConfiguration, ActionsEnabled).
//!
//! Where the guide is silent the model acts rather than not: `X X` with M = 2 of 3 is enough.

use std::collections::BTreeMap;

use deploywatch::ports::alarm::{AlarmSpec, AlarmState, MissingData};
use deploywatch::ports::{Datum, Numbers, Summary};

/// How many datapoints more than N are fetched.
const RANGE_EXTRA: u32 = 2;

/// One alarm and the metric it watches.
pub(crate) struct AlarmModel {
    spec: AlarmSpec,
    /// Where it stands.
    pub(crate) state: AlarmState,
    /// Whether actions are called.
    pub(crate) actions_enabled: bool,
    /// What was called: when, and the ARN.
    pub(crate) called: Vec<(i64, String)>,
    /// Periods with data, by their beginning.
    periods: BTreeMap<i64, Summary>,
    warm_until_ms: i64,
}

impl AlarmModel {
    /// Made now; it begins without data.
    pub(crate) fn put(spec: AlarmSpec, now_ms: i64) -> Self {
        Self::put_again(spec, AlarmState::InsufficientData, now_ms)
    }

    /// Overwritten now: PutMetricAlarm leaves an alarm where it stands.
    pub(crate) fn put_again(spec: AlarmSpec, state: AlarmState, now_ms: i64) -> Self {
        let warm_ms = i64::from(spec.warm_up_minutes.unwrap_or(0)) * 60_000;
        Self {
            spec,
            state,
            actions_enabled: true,
            called: Vec::new(),
            periods: BTreeMap::new(),
            warm_until_ms: now_ms + warm_ms,
        }
    }

    /// Takes a datum of its metric.
    pub(crate) fn publish(&mut self, time_ms: i64, numbers: &Numbers) {
        let period_ms = i64::from(self.spec.period_s) * 1000;
        let begin = time_ms.div_euclid(period_ms) * period_ms;
        let sum = match self.periods.remove(&begin) {
            None => numbers.summary(),
            Some(there) => join(&there, &numbers.summary()),
        };
        self.periods.insert(begin, sum);
    }

    /// What it consists of.
    pub(crate) fn spec(&self) -> &AlarmSpec {
        &self.spec
    }

    /// Whether it watches a metric under exactly these dimensions.
    pub(crate) fn watches(&self, namespace: &str, datum: &Datum) -> bool {
        let mut dimensions = datum.dimensions.clone();
        dimensions.sort();
        self.spec.namespace == namespace
            && self.spec.metric == datum.name
            && self.spec.dimensions == dimensions
    }

    /// How often it is evaluated, in ms.
    pub(crate) fn beat_ms(&self) -> i64 {
        if self.spec.period_s < 60 {
            10_000
        } else {
            60_000
        }
    }

    /// Looks at the periods that are over, and calls what a change of state calls.
    pub(crate) fn evaluate(&mut self, now_ms: i64) {
        if now_ms < self.warm_until_ms {
            return;
        }
        let range = self.range(now_ms);
        let Some(next) = judge(&range, &self.spec) else {
            return;
        };
        if next == self.state {
            return;
        }
        self.state = next;
        let actions = match next {
            AlarmState::Ok => &self.spec.ok_actions,
            AlarmState::Alarm => &self.spec.alarm_actions,
            AlarmState::InsufficientData => &self.spec.insufficient_data_actions,
        };
        if self.actions_enabled {
            self.called
                .extend(actions.iter().map(|arn| (now_ms, arn.clone())));
        }
    }

    /// The evaluation range, oldest first: whether each datapoint breaches, `None` where missing.
    fn range(&self, now_ms: i64) -> Vec<Option<bool>> {
        let period_ms = i64::from(self.spec.period_s) * 1000;
        let end = now_ms.div_euclid(period_ms) * period_ms;
        let length = i64::from(self.spec.evaluation_periods + RANGE_EXTRA);
        (1..=length)
            .rev()
            .map(|back| {
                let numbers = self.periods.get(&(end - back * period_ms))?;
                let value = statistic(&self.spec.statistic, numbers);
                Some(self.spec.comparison.holds(value, self.spec.threshold))
            })
            .collect()
    }
}

/// What a range means; `None`: the state stays.
fn judge(range: &[Option<bool>], spec: &AlarmSpec) -> Option<AlarmState> {
    let (m, n) = (
        spec.datapoints_to_alarm as usize,
        spec.evaluation_periods as usize,
    );
    let real: Vec<bool> = range.iter().copied().flatten().collect();
    let by_count = |breaching: usize| match breaching >= m {
        true => AlarmState::Alarm,
        false => AlarmState::Ok,
    };
    let breaching = |points: &[bool]| points.iter().filter(|breaches| **breaches).count();
    if real.is_empty() {
        return match spec.missing_data {
            MissingData::Missing => Some(AlarmState::InsufficientData),
            MissingData::Ignore => None,
            MissingData::Breaching => Some(AlarmState::Alarm),
            MissingData::NotBreaching => Some(AlarmState::Ok),
        };
    }
    if real.len() >= n {
        return Some(by_count(breaching(&real[real.len() - n..])));
    }
    match spec.missing_data {
        MissingData::Breaching => Some(by_count(breaching(&real) + n - real.len())),
        MissingData::NotBreaching => Some(by_count(breaching(&real))),
        MissingData::Missing | MissingData::Ignore => {
            if breaching(&real) >= m || real.contains(&false) {
                return Some(by_count(breaching(&real)));
            }
            // Nothing but breaching ones, and too few: how old is the oldest of the last N?
            let recent = &range[range.len() - n..];
            let age = recent.iter().position(Option::is_some).map(|at| n - at);
            let is_old = age.is_some_and(|age| age >= m);
            (is_old && spec.missing_data == MissingData::Missing).then_some(AlarmState::Alarm)
        }
    }
}

fn join(a: &Summary, b: &Summary) -> Summary {
    Summary {
        count: a.count + b.count,
        sum: a.sum + b.sum,
        min: a.min.min(b.min),
        max: a.max.max(b.max),
    }
}

/// A statistic of a datum, by the name that CloudWatch gives it.
pub(crate) fn statistic(name: &str, all: &Summary) -> f64 {
    match name {
        "Sum" => all.sum,
        "Average" => all.sum / all.count,
        "Minimum" => all.min,
        "Maximum" => all.max,
        "SampleCount" => all.count,
        other => panic!("the model knows no {other}"),
    }
}

#[cfg(test)]
mod tests {
    use deploywatch::ports::alarm::Comparison;

    use super::*;

    const MINUTE: i64 = 60_000;

    fn spec(m: u32, n: u32, missing_data: MissingData) -> AlarmSpec {
        AlarmSpec {
            name: "a".to_owned(),
            description: String::new(),
            namespace: "Deploywatch".to_owned(),
            metric: "X".to_owned(),
            dimensions: Vec::new(),
            statistic: "Maximum".to_owned(),
            comparison: Comparison::GreaterOrEqual,
            threshold: 1.0,
            period_s: 60,
            evaluation_periods: n,
            datapoints_to_alarm: m,
            missing_data,
            warm_up_minutes: None,
            alarm_actions: vec!["reboot".to_owned()],
            ok_actions: vec!["ok".to_owned()],
            insufficient_data_actions: vec!["insufficient".to_owned()],
            by_hand: BTreeMap::new(),
        }
    }

    fn range(text: &str) -> Vec<Option<bool>> {
        let point = |letter| match letter {
            "0" => Some(false),
            "X" => Some(true),
            _ => None,
        };
        text.split(' ').map(point).collect()
    }

    /// Both tables of the user guide hold, cell by cell: ten rows, four treatments; `.` is "retain
    /// current state".
    #[test]
    fn the_tables_of_the_guide_hold() {
        use MissingData::{Breaching, Ignore, Missing, NotBreaching};
        let table = [
            (3, "0 - X - X", "O O O O"),
            (3, "0 - - - -", "O O O O"),
            (3, "- - - - -", "I . A O"),
            (3, "0 X X - X", "A A A A"),
            (3, "- - X - -", "A . A O"),
            (2, "0 - X - X", "A A A A"),
            (2, "0 0 X 0 X", "A A A A"),
            (2, "0 - X - -", "O O A O"),
            (2, "- - - - 0", "O O A O"),
            (2, "- - - X -", "A . A O"),
        ];
        for (m, points, expected) in table {
            let treatments = [Missing, Ignore, Breaching, NotBreaching];
            for (missing, expected) in treatments.into_iter().zip(expected.split(' ')) {
                let got = match judge(&range(points), &spec(m, 3, missing)) {
                    Some(AlarmState::Ok) => "O",
                    Some(AlarmState::Alarm) => "A",
                    Some(AlarmState::InsufficientData) => "I",
                    None => ".",
                };
                assert_eq!(got, expected, "{m} of 3, {points}, {missing:?}");
            }
        }
    }

    /// The examples of the text hold: a breaching datapoint that is younger than M is not enough.
    #[test]
    fn a_young_breach_is_not_enough() {
        for points in ["- - - - X", "- - - X -"] {
            assert_eq!(
                judge(&range(points), &spec(3, 3, MissingData::Missing)),
                None
            );
        }
    }

    /// Plays values minute by minute; `None` is a minute without data.
    fn play(model: &mut AlarmModel, from_ms: i64, values: &[Option<f64>]) -> i64 {
        let mut now_ms = from_ms;
        for value in values {
            if let Some(value) = value {
                model.publish(now_ms, &Numbers::One(*value));
            }
            now_ms += model.beat_ms();
            model.evaluate(now_ms);
        }
        now_ms
    }

    fn called(model: &AlarmModel) -> Vec<&str> {
        model.called.iter().map(|(_, arn)| arn.as_str()).collect()
    }

    /// Actions are called on a change only: an alarm that stays in ALARM calls once, one that
    /// leaves and comes back calls again.
    #[test]
    fn actions_are_called_on_changes_only() {
        let mut model = AlarmModel::put(spec(2, 2, MissingData::Ignore), 0);
        let now_ms = play(&mut model, 0, &[Some(1.0); 9]);
        assert_eq!(called(&model), ["reboot"]);
        let now_ms = play(&mut model, now_ms, &[Some(0.0); 3]);
        play(&mut model, now_ms, &[Some(1.0); 3]);
        assert_eq!(called(&model), ["reboot", "ok", "reboot"]);
    }

    /// The gap a reboot leaves fires again with every treatment but `ignore`: which is why no
    /// other is taken for an alarm that acts on the instance. Shown by a breach on both sides of
    /// a gap of ten minutes.
    #[test]
    fn only_ignore_survives_the_gap_of_a_reboot() {
        use MissingData::{Breaching, Ignore, Missing, NotBreaching};
        let breach = [Some(1.0); 3];
        let values = [&breach[..], &[None; 10], &breach, &[Some(0.0); 3]].concat();
        for (missing, reboots) in [(Ignore, 1), (Missing, 2), (NotBreaching, 2), (Breaching, 1)] {
            let mut model = AlarmModel::put(spec(3, 3, missing), 0);
            play(&mut model, 0, &values);
            let count = called(&model)
                .iter()
                .filter(|arn| **arn == "reboot")
                .count();
            assert_eq!(count, reboots, "{missing:?}");
        }
        // `breaching` fires without any breach instead.
        let mut model = AlarmModel::put(spec(3, 3, Breaching), 0);
        play(&mut model, 0, &[&[Some(0.0); 3][..], &[None; 10]].concat());
        assert_eq!(called(&model), ["ok", "reboot"]);
    }

    /// Nothing is called while actions are switched off or the alarm warms up; switching them on
    /// calls nothing by itself.
    #[test]
    fn switched_off_and_warming_up_call_nothing() {
        let mut model = AlarmModel::put(spec(1, 1, MissingData::Ignore), 0);
        model.actions_enabled = false;
        let now_ms = play(&mut model, 0, &[Some(1.0); 3]);
        model.actions_enabled = true;
        play(&mut model, now_ms, &[Some(1.0); 3]);
        assert_eq!(called(&model), [""; 0]);
        let warm = AlarmSpec {
            warm_up_minutes: Some(5),
            ..spec(1, 1, MissingData::Ignore)
        };
        let mut model = AlarmModel::put(warm, 0);
        let now_ms = play(&mut model, 0, &[Some(1.0); 4]);
        assert_eq!(called(&model), [""; 0]);
        play(&mut model, now_ms, &[Some(1.0); 2]);
        assert_eq!(called(&model), ["reboot"]);
    }

    /// Several data of a period are one datapoint, by the alarm's statistic: shown for all of
    /// them.
    #[test]
    fn a_period_is_one_datapoint() {
        for (name, expected) in [
            ("Sum", 9.0),
            ("Average", 1.8),
            ("Minimum", 1.0),
            ("Maximum", 3.0),
            ("SampleCount", 5.0),
        ] {
            let mut model = AlarmModel::put(spec(1, 1, MissingData::Ignore), 0);
            model.publish(1_000, &Numbers::Many(vec![(1.0, 3.0)]));
            model.publish(
                MINUTE - 1,
                &Numbers::Summary(Summary {
                    count: 2.0,
                    sum: 6.0,
                    min: 3.0,
                    max: 3.0,
                }),
            );
            assert!(
                (statistic(name, &model.periods[&0]) - expected).abs() < 1e-9,
                "{name}"
            );
        }
    }
}
