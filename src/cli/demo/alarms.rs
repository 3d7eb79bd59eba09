//! Which alarm would have fired: the configuration's alarms, judged by the data points that were
//! published, with the comparison, threshold and periods CloudWatch would have been given. Nothing
//! is made in any account and nothing is done. Pure.

use std::collections::BTreeMap;

use super::points::{Figures, Point, time};
use crate::config::alarm::{Action, Alarm, DimensionValue, Ec2Action};
use crate::event::EpochMs;
use crate::ports::alarm::MissingData;

/// What an alarm would have made of the data points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Judgement {
    /// It would have gone to ALARM.
    Fired {
        /// At the end of this period.
        at_ms: EpochMs,
        /// Whose value was this.
        value: f64,
    },
    /// It would have stayed in OK.
    Calm {
        /// After so many periods with data.
        periods: usize,
        /// The last of them.
        last: f64,
    },
    /// There was nothing to judge.
    NoData,
}

/// Judges an alarm.
pub(super) fn judge(alarm: &Alarm, points: &[Point]) -> Judgement {
    let period_ms = EpochMs::from(alarm.period_s.max(1)) * 1000;
    let mut periods: BTreeMap<EpochMs, Figures> = BTreeMap::new();
    for point in points.iter().filter(|point| is_seen(alarm, point)) {
        let Some(figures) = point.figures() else {
            continue;
        };
        let start_ms = point.timestamp - point.timestamp.rem_euclid(period_ms);
        let sum = periods.get(&start_ms).map(|known| known.and(figures));
        periods.insert(start_ms, sum.unwrap_or(figures));
    }
    let values: BTreeMap<EpochMs, f64> = periods
        .into_iter()
        .filter_map(|(start_ms, figures)| Some((start_ms, statistic(alarm, figures)?)))
        .collect();
    let (Some((first_ms, _)), Some((last_ms, last))) =
        (values.first_key_value(), values.last_key_value())
    else {
        return Judgement::NoData;
    };
    let breaches = |start_ms: EpochMs| match values.get(&start_ms) {
        Some(value) => alarm.comparison.holds(*value, alarm.threshold),
        None => alarm.missing_data == MissingData::Breaching,
    };
    let step = usize::try_from(period_ms).unwrap_or(usize::MAX);
    for start_ms in (*first_ms..=*last_ms).step_by(step) {
        let looked_at = (0..EpochMs::from(alarm.evaluation_periods))
            .map(|back| start_ms - back * period_ms)
            .filter(|start_ms| start_ms >= first_ms);
        let breaching = looked_at.filter(|start_ms| breaches(*start_ms)).count();
        if breaching >= alarm.datapoints_to_alarm as usize
            && let Some(value) = values.get(&start_ms)
        {
            return Judgement::Fired {
                at_ms: start_ms + period_ms,
                value: *value,
            };
        }
    }
    Judgement::Calm {
        periods: values.len(),
        last: *last,
    }
}

/// Whether the alarm is on this series: the name, and exactly the dimensions.
fn is_seen(alarm: &Alarm, point: &Point) -> bool {
    let is_its = |(name, value): &(String, DimensionValue)| match value {
        DimensionValue::Literal(value) => point.dimensions.get(name) == Some(value),
        // Only this machine publishes into the file.
        DimensionValue::Machine(_) => point.dimensions.contains_key(name),
    };
    point.name == alarm.metric
        && point.namespace == alarm.namespace
        && point.dimensions.len() == alarm.dimensions.len()
        && alarm.dimensions.iter().all(is_its)
}

/// The statistic the alarm looks at; `None` for percentiles, which need every number.
fn statistic(alarm: &Alarm, figures: Figures) -> Option<f64> {
    match alarm.statistic.as_str() {
        "Sum" => Some(figures.sum),
        "Maximum" => Some(figures.max),
        "Minimum" => Some(figures.min),
        "Average" => Some(figures.sum / figures.count),
        "SampleCount" => Some(figures.count),
        _ => None,
    }
}

/// Why it fired or not, in words.
pub(super) fn reason(alarm: &Alarm, judgement: &Judgement) -> String {
    let limit = format!("{} {}", alarm.comparison.symbol(), alarm.threshold);
    let metric = &alarm.metric;
    match judgement {
        Judgement::Fired { at_ms, value } => {
            let at = time(*at_ms);
            format!("would be in ALARM since {at}: {metric} was {value}, the limit is {limit}")
        }
        Judgement::Calm { periods, last } => {
            let (asked, of) = (alarm.datapoints_to_alarm, alarm.evaluation_periods);
            format!(
                "would be OK: {metric} was {last} at last (periods: {periods}); \
                 ALARM takes {limit} in {asked} of {of}"
            )
        }
        Judgement::NoData => format!("would have no data: no {metric} was published"),
    }
}

/// What going to ALARM calls, in words: completes "would ".
pub(super) fn deeds(alarm: &Alarm) -> String {
    let deeds: Vec<String> = alarm.actions.iter().map(deed).collect();
    match deeds.is_empty() {
        true => "do nothing".to_owned(),
        false => deeds.join(" and "),
    }
}

fn deed(action: &Action) -> String {
    match action {
        Action::Ec2(Ec2Action::Stop) => "stop this instance".to_owned(),
        Action::Ec2(Ec2Action::Reboot) => "reboot this instance".to_owned(),
        Action::Ec2(Ec2Action::Terminate) => "terminate this instance".to_owned(),
        Action::Ec2(Ec2Action::Recover) => "move this instance to other hardware".to_owned(),
        Action::Arn(arn) => {
            let parts: Vec<&str> = arn.split(':').collect();
            match parts.as_slice() {
                [_, _, "sns", .., topic] => format!("tell the SNS topic {topic}"),
                _ => format!("call {arn}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;

    const HANGS: &str = "preset = \"stop-when-deployment-hangs\"\nthreshold = 3";

    fn alarm(keys: &str) -> Arc<Alarm> {
        let text = format!("[metrics]\nperiod = \"10s\"\n[[alarm]]\nperiod = \"10s\"\n{keys}\n");
        let (config, _) = Config::parse(&[(PathBuf::from("d.toml"), text)]).unwrap();
        Arc::clone(&config.alarms.alarms[0])
    }

    /// The metric's values, one a period, `None` for a period without.
    fn points(alarm: &Alarm, values: &[Option<f64>]) -> Vec<Point> {
        let place = (1_000_000..).step_by(10_000).zip(values);
        place
            .filter_map(|(timestamp, value)| {
                Some(Point {
                    namespace: "Deploywatch".to_owned(),
                    name: alarm.metric.clone(),
                    dimensions: [("InstanceId".to_owned(), "i-1".to_owned())].into(),
                    timestamp,
                    value: Some((*value)?),
                    ..Point::default()
                })
            })
            .collect()
    }

    /// An alarm fires at the end of the period that completes its count of breaches, and not
    /// before: shown by how one, two or three breaches of three that are asked for are judged.
    #[test]
    fn an_alarm_fires_when_enough_periods_breach() {
        let alarm = alarm(&format!("{HANGS}\nevaluation_periods = 3"));
        let judged = |values: &[Option<f64>]| judge(&alarm, &points(&alarm, values));
        assert_eq!(judged(&[]), Judgement::NoData);
        let calm = |periods, last| Judgement::Calm { periods, last };
        assert_eq!(judged(&[Some(9.0), Some(9.0)]), calm(2, 9.0));
        let broken = [Some(9.0), Some(9.0), Some(3.0), Some(9.0)];
        assert_eq!(judged(&broken), calm(4, 9.0));
        let gap = [Some(9.0), Some(9.0), None, Some(9.0)];
        assert_eq!(judged(&gap), calm(3, 9.0));
        let fired = Judgement::Fired {
            at_ms: 1_040_000,
            value: 5.0,
        };
        let three = [Some(0.0), Some(4.0), Some(4.0), Some(5.0), Some(9.0)];
        assert_eq!(judged(&three), fired);
    }

    /// What is published twice for one time counts as one: shown by a sum that breaches only
    /// together.
    #[test]
    fn points_of_one_period_are_added_up() {
        let keys = "metric = \"DeploymentsFailed\"\nname = \"two\"\nstatistic = \"sum\"\n\
                    comparison = \">=\"\nthreshold = 2\nevaluation_periods = 1\n\
                    actions = [\"arn:aws:sns:us-east-1:123456789012:oncall\"]";
        let alarm = alarm(keys);
        let mut once = points(&alarm, &[Some(1.0)]);
        assert!(matches!(judge(&alarm, &once), Judgement::Calm { .. }));
        once.extend(once.clone());
        let fired = Judgement::Fired {
            at_ms: 1_010_000,
            value: 2.0,
        };
        assert_eq!(judge(&alarm, &once), fired);
    }

    /// Another series is none of the alarm's business: shown by another name and by one more
    /// dimension.
    #[test]
    fn only_the_alarms_own_series_counts() {
        let alarm = alarm(&format!("{HANGS}\nevaluation_periods = 1"));
        let mut other = points(&alarm, &[Some(9.0), Some(9.0)]);
        other[0].name = "Other".to_owned();
        other[1].dimensions.insert("X".to_owned(), "y".to_owned());
        assert_eq!(judge(&alarm, &other), Judgement::NoData);
    }

    /// A person reads why, and what it would have done: word for word, but for the time zone.
    #[test]
    fn a_judgement_is_told_in_words() {
        let alarm = alarm(&format!(
            "{HANGS}\nactions = [\"stop\", \"arn:aws:sns:us-east-1:123456789012:oncall\"]"
        ));
        let fired = Judgement::Fired {
            at_ms: 0,
            value: 7.0,
        };
        let text = reason(&alarm, &fired);
        assert!(text.starts_with("would be in ALARM since "), "{text}");
        assert!(
            text.ends_with(": DeploymentRunningSeconds was 7, the limit is > 3"),
            "{text}"
        );
        assert_eq!(
            deeds(&alarm),
            "stop this instance and tell the SNS topic oncall"
        );
        let calm = Judgement::Calm {
            periods: 2,
            last: 1.0,
        };
        assert_eq!(
            reason(&alarm, &calm),
            "would be OK: DeploymentRunningSeconds was 1 at last (periods: 2); \
             ALARM takes > 3 in 3 of 3"
        );
    }
}
