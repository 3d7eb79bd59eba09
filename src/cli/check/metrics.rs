//! What `check` says of metrics: every series this configuration can publish, and the bill.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::cli::terminal::Side::Left;
use crate::cli::terminal::{Table, number};
use crate::config::Sink;
use crate::config::metric::{Cost, MetricsConfig, PRICES_AS_OF, PRICES_OF, Published};

/// Wider than any line: `check` is read from files and pagers, too.
const WIDTH: usize = 10_000;

/// Writes them for people.
pub(super) fn write(config: &MetricsConfig, sink: &Sink, out: &mut dyn Write) -> io::Result<()> {
    let published = config.published();
    if published.is_empty() {
        return writeln!(out, "No metrics are published: {}.", why_none(config));
    }
    let place = match sink {
        Sink::CloudWatch => "CloudWatch".to_owned(),
        Sink::Directory(path) => path.join("metrics.ndjson").display().to_string(),
    };
    writeln!(
        out,
        "Metrics go to {place}, namespace {}, every {} seconds, each set of dimensions exactly as \
         written here:",
        config.namespace, config.period_s
    )?;
    let mut table = Table::new([Left, Left, Left, Left]);
    for metric in &published {
        table.row([
            format!("  {}", metric.name),
            metric.unit.to_owned(),
            dimensions(metric),
            series(metric),
        ]);
    }
    for line in table.lines(WIDTH) {
        writeln!(out, "{}", line.trim_end())?;
    }
    match sink {
        Sink::CloudWatch => writeln!(out, "{}", bill(config.monthly_cost())),
        Sink::Directory(_) => Ok(()),
    }
}

/// The same for tools.
pub(super) fn to_json(config: &MetricsConfig) -> Value {
    let published = config.published();
    let cost = config.monthly_cost();
    let one = |metric: &Published| {
        json!({
            "name": metric.name,
            "unit": metric.unit,
            "dimensions": metric.dimensions,
            "period_s": metric.period_s,
            "resolution_s": metric.resolution_s,
            "series": metric.series,
            "shared": metric.shared,
        })
    };
    json!({
        "namespace": config.namespace,
        "published": published.iter().map(one).collect::<Vec<_>>(),
        "monthly_cost": {
            "prices_of": PRICES_OF,
            "prices_as_of": PRICES_AS_OF,
            "series": cost.series,
            "series_usd": cost.series_usd,
            "shared_series": cost.shared_series,
            "shared_usd": cost.shared_usd,
            "requests": cost.requests,
            "requests_usd": cost.requests_usd,
            "instance_usd": cost.instance_usd(),
        },
    })
}

fn why_none(config: &MetricsConfig) -> &'static str {
    match config.enabled {
        false => "metrics.enabled = false",
        true => "all of them are switched off",
    }
}

fn dimensions(metric: &Published) -> String {
    match metric.dimensions.as_slice() {
        [] => "no dimensions".to_owned(),
        names => names.join(", "),
    }
}

fn series(metric: &Published) -> String {
    let shared = match metric.shared {
        true => ", shared by all instances",
        false => "",
    };
    match metric.series {
        1 => shared.trim_start_matches(", ").to_owned(),
        many => format!("up to {many} series{shared}"),
    }
}

fn bill(cost: Cost) -> String {
    let mut text = format!(
        "These metrics cost at most {:.2} USD a month for each instance ({} series, {} requests)",
        cost.instance_usd(),
        number(cost.series as u64),
        number(cost.requests),
    );
    if cost.shared_series > 0 {
        text.push_str(&format!(
            " and {:.2} USD once for all instances ({} series)",
            cost.shared_usd,
            number(cost.shared_series as u64)
        ));
    }
    text + &format!("; prices of {PRICES_OF}, {PRICES_AS_OF}, without the free tier.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn said(text: &str) -> String {
        let files = [("a.toml".into(), text.to_owned())];
        let (config, _) = Config::parse(&files).unwrap();
        let mut out = Vec::new();
        write(&config.metrics, &config.logs.sink, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Every series of the default is named with its unit and exact dimensions, and the bill adds
    /// up: shown by the whole text.
    #[test]
    fn the_default_metrics_are_listed_with_their_price() {
        let expected = "\
Metrics go to CloudWatch, namespace Deploywatch, every 60 seconds, each set of dimensions exactly \
as written here:
  Heartbeat                 Count    InstanceId
  CodeDeployAgentHealthy    None     InstanceId
  DeploymentsSucceeded      Count    InstanceId
  DeploymentsFailed         Count    InstanceId
  LastDeploymentFailed      None     InstanceId
  DeploymentRunningSeconds  Seconds  InstanceId
  LifecycleEventSeconds     Seconds  LifecycleEvent  up to 7 series, shared by all instances
  BacklogBytes              Bytes    InstanceId
  LostBytes                 Bytes    InstanceId
  RefusedEvents             Count    InstanceId
  RedactedSecrets           Count    InstanceId
These metrics cost at most 3.44 USD a month for each instance (10 series, 43,800 requests) and \
2.10 USD once for all instances (7 series); prices of us-east-1, 2026-11, without the free tier.
";
        assert_eq!(said(""), expected);
    }

    /// Nothing is published where nothing shall be, and the reason is said; a directory has no
    /// bill: shown by the text.
    #[test]
    fn no_metrics_no_bill() {
        assert_eq!(
            said("[metrics]\nenabled = false\n"),
            "No metrics are published: metrics.enabled = false.\n"
        );
        let text = said("[logs]\nsink = \"directory\"\n");
        assert!(text.contains("/var/tmp/deploywatch-out/metrics.ndjson"));
        assert!(!text.contains("USD"));
    }
}
