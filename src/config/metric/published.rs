//! Which series a configuration can publish, and what CloudWatch charges for them.

use super::{BuiltinMetric, Dimension, DimensionSet, MetricsConfig, Statistic};

/// Where [`Cost`] has its prices from.
pub const PRICES_OF: &str = "us-east-1";

/// Since when those prices were known to hold; <https://aws.amazon.com/cloudwatch/pricing/>.
pub const PRICES_AS_OF: &str = "2026-11";

/// A custom metric for a month, in US dollars: the first 10,000 of an account.
const USD_METRIC_MONTH: f64 = 0.30;

/// 1,000 requests, in US dollars. PutMetricData has no free ones.
const USD_THOUSAND_REQUESTS: f64 = 0.01;

/// Hours of a month as AWS counts them.
const MONTH_HOURS: u64 = 730;

/// Lifecycle events that CodeDeploy runs on an instance in place: ApplicationStop, DownloadBundle,
/// BeforeInstall, Install, AfterInstall, ApplicationStart, ValidateService. A load balancer adds
/// up to six.
const LIFECYCLE_EVENTS: usize = 7;

/// A metric under one of its dimension sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Metric name.
    pub name: String,
    /// Unit.
    pub unit: &'static str,
    /// How a period's numbers become a datum.
    pub statistic: Statistic,
    /// Names of its dimensions, sorted: exactly this set, no part of it, can be alarmed on.
    pub dimensions: Vec<String>,
    /// `StorageResolution` in seconds, 1 or 60.
    pub resolution_s: u32,
    /// A datum comes once in so many seconds.
    pub period_s: u32,
    /// How many series (metrics, to CloudWatch's bill) it can be; for groups of a pattern the
    /// limit that the user set, for LifecycleEvent the usual number.
    pub series: usize,
    /// Whether other instances publish into the same series.
    pub shared: bool,
}

/// What a configuration costs in a month of 730 hours at the prices of [`PRICES_OF`], in US
/// dollars, if every series is used all the time. CloudWatch's free tier is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Series of this instance alone.
    pub series: usize,
    /// What these cost.
    pub series_usd: f64,
    /// Series that all instances with the same values share, paid once.
    pub shared_series: usize,
    /// What those cost, once for all instances.
    pub shared_usd: f64,
    /// Requests an instance makes.
    pub requests: u64,
    /// What these cost.
    pub requests_usd: f64,
}

impl Cost {
    /// What each further instance costs.
    #[must_use]
    pub fn instance_usd(&self) -> f64 {
        self.series_usd + self.requests_usd
    }
}

impl MetricsConfig {
    /// Every metric under every set that this configuration can publish, built-in ones first.
    #[must_use]
    pub fn published(&self) -> Vec<Published> {
        let mut all = Vec::new();
        for metric in BuiltinMetric::ALL {
            if !self.publishes(metric) {
                continue;
            }
            for set in self.sets_of(metric) {
                let events = set.0.contains(&Dimension::LifecycleEvent);
                let series = if events { LIFECYCLE_EVENTS } else { 1 };
                let (unit, statistic) = (metric.unit(), metric.statistic());
                all.push(self.one(metric.name(), (unit, statistic), set, series));
            }
        }
        for metric in self.custom.iter().filter(|_| self.enabled) {
            for set in &metric.dimensions {
                let series = if set.has_groups() {
                    metric.series_max
                } else {
                    1
                };
                all.push(self.one(&metric.name, (metric.unit, metric.statistic), set, series));
            }
        }
        all
    }

    /// What [`Self::published`] costs.
    #[must_use]
    pub fn monthly_cost(&self) -> Cost {
        let published = self.published();
        let count = |shared| -> usize {
            let these = published.iter().filter(|metric| metric.shared == shared);
            these.map(|metric| metric.series).sum()
        };
        let (series, shared_series) = (count(false), count(true));
        let requests = match published.is_empty() {
            true => 0,
            false => MONTH_HOURS * 3600 / u64::from(self.period_s),
        };
        Cost {
            series,
            series_usd: series as f64 * USD_METRIC_MONTH,
            shared_series,
            shared_usd: shared_series as f64 * USD_METRIC_MONTH,
            requests,
            requests_usd: requests as f64 / 1000.0 * USD_THOUSAND_REQUESTS,
        }
    }

    fn one(
        &self,
        name: &str,
        (unit, statistic): (&'static str, Statistic),
        set: &DimensionSet,
        series: usize,
    ) -> Published {
        let of_one_machine = |dimension: &Dimension| {
            matches!(dimension, Dimension::InstanceId | Dimension::Hostname)
        };
        Published {
            name: name.to_owned(),
            unit,
            statistic,
            dimensions: set.0.iter().map(|d| d.name().to_owned()).collect(),
            resolution_s: self.resolution_s(),
            period_s: self.period_s,
            series,
            shared: !set.0.iter().any(of_one_machine),
        }
    }
}
