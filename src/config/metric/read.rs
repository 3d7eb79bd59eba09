//! The keys of `[metrics]` and `[[metric]]`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use super::super::mistake::{Problem, nearest, quoted_choice};
use super::super::section::Section;
use super::super::tree::{Node, Value};
use super::super::value;
use super::{
    BuiltinMetric, CUSTOM_METRICS_MAX, CustomMetric, DIMENSION_SETS_MAX, DIMENSIONS_MAX, Dimension,
    DimensionSet, MetricsConfig, NAME_BYTES_MAX, SERIES_MAX, Statistic, UNITS,
};

/// How many combinations of groups' values a metric keeps apart where the user does not say: as
/// much as six dollars a month buy.
const SERIES_DEFAULT: usize = 20;

/// Most bytes of a tag's key (EC2 user guide, tag restrictions).
const TAG_KEY_BYTES_MAX: usize = 128;

/// The group of a pattern that holds the number.
const VALUE_GROUP: &str = "value";

const SETS_EXAMPLE: &str = "[\"InstanceId\"]";

/// What the rest of the configuration means for metrics.
pub(in super::super) struct Surroundings {
    /// Whether CodeDeploy's files are watched.
    pub(in super::super) codedeploy: bool,
    /// Every source's name, also of those that are switched off.
    pub(in super::super) sources: BTreeSet<String>,
}

/// Reads `[metrics]` and the `[[metric]]`s.
pub(in super::super) fn metrics(
    mut section: Section<'_>,
    custom: Vec<Section<'_>>,
    around: &Surroundings,
) -> MetricsConfig {
    let enabled = section.read("enabled", value::boolean);
    let namespace = section.read("namespace", namespace);
    let period = section.read("period", period);
    let written = section.read_list("dimensions", SETS_EXAMPLE, |node| set(node, None));
    check_sets(&mut section, written.as_deref());
    let disable = section.read_list("disable", "\"BacklogBytes\"", builtin);
    section.finish(&[
        ("interval", "write period"),
        ("high_resolution", "write period = \"10s\""),
        ("metric", "write [[metric]]"),
    ]);

    let (lifecycle, dimensions): (Vec<_>, Vec<_>) = written
        .unwrap_or_default()
        .into_iter()
        .partition(|set| set.0.contains(&Dimension::LifecycleEvent));
    let or_default = |sets: Vec<DimensionSet>, default| match sets {
        sets if sets.is_empty() => vec![DimensionSet(vec![default])],
        sets => sets,
    };
    let mut disable: BTreeSet<BuiltinMetric> = disable.unwrap_or_default().into_iter().collect();
    if !around.codedeploy {
        let about = BuiltinMetric::ALL.into_iter();
        disable.extend(about.filter(|metric| metric.is_about_codedeploy()));
    }
    let mut config = MetricsConfig {
        enabled: enabled.unwrap_or(true),
        namespace: namespace.unwrap_or_else(|| "Deploywatch".to_owned()),
        period_s: period.unwrap_or(60),
        dimensions: or_default(dimensions, Dimension::InstanceId),
        lifecycle_dimensions: or_default(lifecycle, Dimension::LifecycleEvent),
        disable,
        custom: Vec::new(),
    };
    config.custom = custom_metrics(custom, &config.dimensions, around);
    config
}

fn custom_metrics(
    sections: Vec<Section<'_>>,
    default_sets: &[DimensionSet],
    around: &Surroundings,
) -> Vec<Arc<CustomMetric>> {
    let mut taken = BTreeSet::new();
    let mut metrics = Vec::new();
    for (index, section) in sections.into_iter().enumerate() {
        if index == CUSTOM_METRICS_MAX {
            let what = format!("there are more than {CUSTOM_METRICS_MAX} metrics");
            section.complain_of_all(Problem::new(what, "remove some"));
        }
        metrics.extend(custom_metric(section, default_sets, around, &mut taken).map(Arc::new));
    }
    metrics
}

fn custom_metric(
    mut section: Section<'_>,
    default_sets: &[DimensionSet],
    around: &Surroundings,
    taken: &mut BTreeSet<String>,
) -> Option<CustomMetric> {
    require(
        &mut section,
        "name",
        "write name = \"…\", as CloudWatch shall call it",
    );
    require(
        &mut section,
        "source",
        "write source = \"…\": the name of a [[source]]",
    );
    require(
        &mut section,
        "pattern",
        "write pattern = '…': what a record to count looks like",
    );
    let name = section.read("name", |node| metric_name(node, taken));
    let sources = section.read("source", |node| sources(node, around));
    let pattern = section.read("pattern", value::regex);
    let enabled = section.read("enabled", value::boolean);
    let has_value = pattern
        .as_ref()
        .is_some_and(|p| groups(p).any(|g| g == VALUE_GROUP));
    let unit = section.read("unit", unit);
    let statistic = section.read("statistic", statistic);
    // Which names are groups only the pattern can tell.
    let readable = section.place_of("dimensions").and(pattern.as_ref());
    let dimensions = readable.and_then(|pattern| {
        section.read_list("dimensions", SETS_EXAMPLE, |node| set(node, Some(pattern)))
    });
    check_sets(&mut section, dimensions.as_deref());
    let series_max = section.read("series_max", |node| value::integer(node, 1, SERIES_MAX));
    section.finish(&[
        ("sources", "write source = [\"…\", \"…\"]"),
        ("regex", "write pattern"),
        ("value", "name a group of the pattern so: (?<value>[0-9.]+)"),
    ]);
    let (name, sources, pattern) = (name?, sources?, pattern?);
    let metric = CustomMetric {
        name,
        sources,
        pattern,
        unit: unit.unwrap_or(if has_value { "None" } else { "Count" }),
        statistic: statistic.unwrap_or(if has_value {
            Statistic::Distribution
        } else {
            Statistic::Sum
        }),
        dimensions: dimensions.unwrap_or_else(|| default_sets.to_vec()),
        series_max: series_max.unwrap_or(SERIES_DEFAULT),
    };
    enabled.unwrap_or(true).then_some(metric)
}

fn require(section: &mut Section<'_>, key: &'static str, remedy: &str) {
    if section.place_of(key).is_none() {
        section.missing(key, remedy);
    }
}

fn groups(pattern: &Regex) -> impl Iterator<Item = &str> {
    pattern.capture_names().flatten()
}

/// 1 to 255 printable ASCII characters, not all blank, not beginning with a colon.
fn ascii_name<'n>(node: &'n Node, example: &str) -> Result<&'n str, Problem> {
    let written = value::text(node, example)?;
    let printable = |b: u8| b == b' ' || b.is_ascii_graphic();
    let good = (1..=NAME_BYTES_MAX).contains(&written.len())
        && written.bytes().all(printable)
        && !written.trim().is_empty()
        && !written.starts_with(':');
    if good {
        return Ok(written);
    }
    Err(Problem::new(
        format!("\"{written}\" is not a name for CloudWatch"),
        format!("write 1 to {NAME_BYTES_MAX} ASCII characters, not only blanks, no : in front"),
    ))
}

fn namespace(node: &Node) -> Result<String, Problem> {
    let written = ascii_name(node, "Deploywatch")?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_/#: ".contains(&b);
    if written.starts_with("AWS/") {
        let what = format!("\"{written}\" begins with AWS/, which AWS keeps for itself");
        return Err(Problem::new(
            what,
            "choose another, such as \"Deploywatch\"",
        ));
    }
    if !written.bytes().all(allowed) {
        let what = format!("\"{written}\" is not a namespace");
        return Err(Problem::new(
            what,
            "write letters, digits, blanks and . - _ / # :",
        ));
    }
    Ok(written.to_owned())
}

/// Seconds of a period that begins with the minute, and with the hour.
fn period(node: &Node) -> Result<u32, Problem> {
    let period = value::duration(node, "10s", "1h")?;
    let seconds = period.as_secs();
    let aligned = matches!(seconds, 10 | 20 | 30) || seconds % 60 == 0 && 3600 % seconds == 0;
    if aligned && period == Duration::from_secs(seconds) {
        return Ok(u32::try_from(seconds).expect("an hour has few seconds"));
    }
    Err(Problem::new(
        "the periods would not begin with the minute and the hour",
        "write \"10s\", \"20s\", \"30s\", or whole minutes that divide an hour, such as \"1m\" or \
         \"5m\"",
    ))
}

fn builtin(node: &Node) -> Result<BuiltinMetric, Problem> {
    let words = BuiltinMetric::ALL.map(|metric| (metric.name(), metric));
    value::choice(node, &words)
}

fn unit(node: &Node) -> Result<&'static str, Problem> {
    value::choice(node, &UNITS.map(|unit| (unit, unit)))
}

fn statistic(node: &Node) -> Result<Statistic, Problem> {
    value::choice(
        node,
        &[
            ("sum", Statistic::Sum),
            ("distribution", Statistic::Distribution),
        ],
    )
}

fn metric_name(node: &Node, taken: &mut BTreeSet<String>) -> Result<String, Problem> {
    let written = ascii_name(node, "PaymentErrors")?;
    if BuiltinMetric::ALL
        .iter()
        .any(|builtin| builtin.name() == written)
    {
        let what = format!("\"{written}\" is the name of a metric of the agent's own");
        return Err(Problem::new(what, "choose another"));
    }
    if !taken.insert(written.to_owned()) {
        let what = format!("there is another metric \"{written}\"");
        return Err(Problem::new(what, "give each its own name"));
    }
    Ok(written.to_owned())
}

fn sources(node: &Node, around: &Surroundings) -> Result<BTreeSet<String>, Problem> {
    let one = |node: &Node| {
        let written = value::text(node, "app").map_err(|problem| problem.at(node.place))?;
        if around.sources.contains(written) {
            return Ok(written.to_owned());
        }
        let known = around.sources.iter().map(String::as_str);
        let remedy = match nearest(written, known.clone()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("known here: {}", quoted_choice(known)),
        };
        let what = format!("there is no source \"{written}\"");
        Err(Problem::new(what, remedy).at(node.place))
    };
    match &node.value {
        Value::Array(items) if items.is_empty() => Err(Problem::new(
            "the array is empty",
            "name at least one source",
        )),
        Value::Array(items) => items.iter().map(one).collect(),
        _ => one(node).map(|name| BTreeSet::from([name])),
    }
}

/// One dimension set; `pattern` is that of a `[[metric]]`, whose groups may be dimensions.
fn set(node: &Node, pattern: Option<&Regex>) -> Result<DimensionSet, Problem> {
    let Value::Array(items) = &node.value else {
        return Err(Problem::new(
            format!("expected an array of names, found {}", node.value.kind()),
            format!("write dimensions = [{SETS_EXAMPLE}]"),
        ));
    };
    let mut dimensions: Vec<Dimension> = Vec::new();
    for item in items {
        let dimension = dimension(item, pattern).map_err(|problem| problem.at(item.place))?;
        if dimensions
            .iter()
            .any(|other| other.name() == dimension.name())
        {
            let what = format!("{} is twice in the set", dimension.name());
            return Err(Problem::new(what, "name it once").at(item.place));
        }
        dimensions.push(dimension);
    }
    if dimensions.len() > DIMENSIONS_MAX {
        let what = format!("{} dimensions are too many", dimensions.len());
        return Err(Problem::new(
            what,
            format!("write at most {DIMENSIONS_MAX}"),
        ));
    }
    // The order means nothing to the service, and an alarm's set is compared with this one.
    dimensions.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(DimensionSet(dimensions))
}

fn dimension(node: &Node, pattern: Option<&Regex>) -> Result<Dimension, Problem> {
    let written = value::text(node, "InstanceId")?;
    if let Some(group) = pattern.and_then(|p| groups(p).find(|group| *group == written)) {
        if group == VALUE_GROUP {
            let what = "the group value holds the number, which is no dimension";
            return Err(Problem::new(what, "name another group"));
        }
        return Ok(Dimension::Group(group.to_owned()));
    }
    if let Some(tag) = written.strip_prefix("tag:") {
        let named = Node {
            place: node.place,
            value: Value::Text(tag.to_owned()),
        };
        return match ascii_name(&named, "Stage") {
            Ok(tag) if tag.len() <= TAG_KEY_BYTES_MAX => Ok(Dimension::Tag(tag.to_owned())),
            _ => Err(Problem::new(
                format!("\"{tag}\" is not a tag that can be a dimension"),
                "write the tag's key, as in \"tag:Stage\"",
            )),
        };
    }
    let own = match pattern {
        None => Some(Dimension::LifecycleEvent),
        Some(_) => None,
    };
    let allowed = Dimension::OF_THE_MACHINE.into_iter().chain(own);
    if let Some(known) = allowed.clone().find(|known| known.name() == written) {
        return Ok(known);
    }
    let names: Vec<Dimension> = allowed.collect();
    let names = names.iter().map(Dimension::name);
    let names = names.chain(
        pattern
            .into_iter()
            .flat_map(groups)
            .filter(|g| *g != VALUE_GROUP),
    );
    let problem = value::not_allowed(written, names.collect::<Vec<_>>().into_iter());
    let remedy = format!("{}, or \"tag:NAME\"", problem.remedy);
    Err(Problem::new(problem.what, remedy))
}

fn check_sets(section: &mut Section<'_>, sets: Option<&[DimensionSet]>) {
    let (Some(place), Some(sets)) = (section.place_of("dimensions"), sets) else {
        return;
    };
    let distinct: BTreeSet<&DimensionSet> = sets.iter().collect();
    if distinct.len() < sets.len() {
        let problem = Problem::new("a set is there twice", "name each set once");
        section.complain("dimensions", place, problem);
    }
    if sets.len() > DIMENSION_SETS_MAX {
        let what = format!(
            "{} sets are too many: each is a metric to pay for",
            sets.len()
        );
        let problem = Problem::new(what, format!("write at most {DIMENSION_SETS_MAX}"));
        section.complain("dimensions", place, problem);
    }
}
