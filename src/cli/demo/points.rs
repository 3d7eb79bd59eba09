//! What was published: the data points in the file the agent's directory sink writes, and which of
//! them say something to a person.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::ndjson::Followed;
use crate::config::metric::BuiltinMetric;
use crate::event::EpochMs;

/// One data point.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Point {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) dimensions: BTreeMap<String, String>,
    /// When its period began.
    pub(super) timestamp: EpochMs,
    /// Where it is a single number.
    pub(super) value: Option<f64>,
    /// Where each number is told: those that differ …
    pub(super) values: Vec<f64>,
    /// … and how often each came.
    pub(super) counts: Vec<f64>,
    /// Where only a summary is told.
    pub(super) statistics: Option<Figures>,
}

/// What CloudWatch makes its statistics of.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(super) struct Figures {
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Figures {
    /// Both together, as CloudWatch adds up what is published for one time.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

impl Point {
    /// Its numbers; `None` where there are none.
    pub(super) fn figures(&self) -> Option<Figures> {
        let one = |value: f64, count: f64| Figures {
            count,
            sum: value * count,
            min: value,
            max: value,
        };
        let single = self.value.map(|value| one(value, 1.0));
        let each = self.values.iter().zip(&self.counts);
        let each = each.map(|(value, count)| one(*value, *count));
        single
            .into_iter()
            .chain(each)
            .chain(self.statistics)
            .reduce(Figures::and)
    }
}

/// The file, everything in it so far, and what of it was told.
#[derive(Debug)]
pub(super) struct Points {
    file: Followed,
    /// Every data point, in the order of their arrival.
    pub(super) all: Vec<Point>,
    /// Gauges that are told when they change, as they were told last.
    told: BTreeMap<String, f64>,
}

impl Points {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            file: Followed::new(path),
            all: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    /// The file that is followed.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Reads on; a line of text for each new data point that says something.
    pub(super) fn look(&mut self) -> io::Result<Vec<String>> {
        let new: Vec<Point> = self.file.read_on()?;
        let told = new.iter().filter_map(|point| self.tell(point)).collect();
        self.all.extend(new);
        Ok(told)
    }

    fn tell(&mut self, point: &Point) -> Option<String> {
        let figures = point.figures()?;
        let is = |metric: BuiltinMetric| point.name == metric.name();
        let says_something = if is(BuiltinMetric::Heartbeat) || is(BuiltinMetric::BacklogBytes) {
            false
        } else if is(BuiltinMetric::CodeDeployAgentHealthy)
            || is(BuiltinMetric::LastDeploymentFailed)
        {
            let before = self.told.insert(point.name.clone(), figures.max);
            before != Some(figures.max)
        } else {
            figures.sum != 0.0
        };
        says_something.then(|| words(point, figures))
    }
}

/// The sum of all that was published of a metric.
pub(super) fn sum(points: &[Point], metric: &str) -> f64 {
    let of_metric = points.iter().filter(|point| point.name == metric);
    let figures = of_metric.filter_map(Point::figures);
    figures.map(|figures| figures.sum).sum()
}

/// A data point in a line: when its period began, its name, what is special about the series, its
/// numbers.
fn words(point: &Point, figures: Figures) -> String {
    let dimensions = point.dimensions.iter();
    let special: Vec<&str> = dimensions
        .filter(|(name, _)| *name != "InstanceId")
        .map(|(_, value)| value.as_str())
        .collect();
    let mut name = point.name.clone();
    if !special.is_empty() {
        name = format!("{name} {}", special.join(" "));
    }
    let numbers = match figures.count > 1.0 {
        true => format!(
            "{} to {}, {} of them",
            figures.min, figures.max, figures.count
        ),
        false => figures.sum.to_string(),
    };
    format!("{}  {name:<38} {numbers}", time(point.timestamp))
}

/// A time of the day here.
pub(super) fn time(at_ms: EpochMs) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    let at = at.to_zoned(TimeZone::system());
    at.strftime("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str, rest: &str) -> Point {
        let text = format!(
            r#"{{"namespace":"Deploywatch","name":"{name}","dimensions":{{"InstanceId":"i"}},
            "timestamp":0,"unit":"Count","resolution":1,{rest}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    /// All three ways to publish numbers are understood: shown by the same numbers in each.
    #[test]
    fn numbers_are_the_same_in_every_form() {
        let expected = Figures {
            count: 3.0,
            sum: 5.0,
            min: 1.0,
            max: 2.0,
        };
        for rest in [
            r#""values":[1.0,2.0],"counts":[1.0,2.0]"#,
            r#""statistics":{"count":3.0,"sum":5.0,"min":1.0,"max":2.0}"#,
        ] {
            assert_eq!(point("X", rest).figures(), Some(expected));
        }
        let one = point("X", r#""value":5.0"#).figures().unwrap();
        assert_eq!((one.count, one.sum, one.min, one.max), (1.0, 5.0, 5.0, 5.0));
        assert_eq!(Point::default().figures(), None);
    }

    /// Told is what a person wants to know, once: shown by points that come in a row.
    #[test]
    fn only_what_says_something_is_told() {
        let mut points = Points::new(PathBuf::new());
        let mut is_told = |name: &str, value: &str| {
            let point = point(name, &format!(r#""value":{value}"#));
            points.tell(&point).is_some()
        };
        assert!(!is_told("Heartbeat", "1.0"));
        assert!(!is_told("DeploymentsFailed", "0.0"));
        assert!(is_told("DeploymentsFailed", "1.0"));
        assert!(is_told("CodeDeployAgentHealthy", "1.0"));
        assert!(!is_told("CodeDeployAgentHealthy", "1.0"));
        assert!(is_told("CodeDeployAgentHealthy", "0.0"));
    }

    /// A line names the series by what sets it apart: shown by a lifecycle event's.
    #[test]
    fn a_series_is_named_by_its_dimension() {
        let mut point = point(
            "LifecycleEventSeconds",
            r#""values":[0.0,2.0],"counts":[1.0,1.0]"#,
        );
        point.dimensions = [("LifecycleEvent".to_owned(), "Install".to_owned())].into();
        let text = words(&point, point.figures().unwrap());
        assert!(text.contains("  LifecycleEventSeconds Install"), "{text}");
        assert!(text.ends_with(" 0 to 2, 2 of them"), "{text}");
    }
}
