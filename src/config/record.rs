//! How the lines of a source become records: where their time stands, which belong together.

use regex::Regex;

use super::mistake::{Problem, quoted_choice};
use super::preset::PRESETS;
use super::tree::{Node, Value};
use super::value;
use super::{Multiline, Timestamp};

/// The key `timestamp`: a name, a pattern, or the field of a JSON record.
pub(super) fn timestamp(node: &Node) -> Result<Timestamp, Problem> {
    let named = [
        ("auto", Timestamp::Auto),
        ("none", Timestamp::None),
        ("epoch_ms", Timestamp::EpochMillis),
        ("epoch_s", Timestamp::EpochSeconds),
        ("codedeploy_agent", Timestamp::CodeDeployAgent),
        ("codedeploy_deployments", Timestamp::CodeDeployDeployments),
        ("codedeploy_scripts", Timestamp::CodeDeployScripts),
        ("codedeploy_updater", Timestamp::CodeDeployUpdater),
    ];
    let others = "a pattern such as \"%Y-%m-%d %H:%M:%S\", or { json = \"FIELD\" }";
    match &node.value {
        Value::Text(text) if text.contains('%') => {
            check_time_pattern(text)?;
            Ok(Timestamp::Pattern(text.clone()))
        }
        Value::Text(_) => value::choice(node, &named)
            .map_err(|problem| Problem::new(problem.what, format!("{}, {others}", problem.remedy))),
        Value::Table(table) => {
            let remedy = "write { json = \"FIELD\" }";
            let (_, field) = value::only_key(table, &["json"], remedy)?;
            let name = value::text(field, "ts").map_err(|problem| problem.at(field.place))?;
            if name.is_empty() {
                let problem = Problem::new("the field's name is empty", remedy);
                return Err(problem.at(field.place));
            }
            Ok(Timestamp::Json(name.to_owned()))
        }
        other => {
            let what = format!("expected a text or a table, found {}", other.kind());
            let names = quoted_choice(named.iter().map(|(name, _)| *name));
            Err(Problem::new(what, format!("write {names}, {others}")))
        }
    }
}

/// Whether a pattern can be read back and says at least month, day and hour: shown by writing a
/// date with it and reading that.
fn check_time_pattern(pattern: &str) -> Result<(), Problem> {
    let remedy = "see strftime(3); such as \"%Y-%m-%d %H:%M:%S%.f\", with %z or %:z for an offset";
    let sample = jiff::Timestamp::constant(1_795_226_578, 0).to_zoned(jiff::tz::TimeZone::UTC);
    let broken = |error: jiff::Error| {
        let text = error.to_string();
        let reason = text.rsplit(": ").next().unwrap_or_default().to_owned();
        Problem::new(format!("\"{pattern}\" cannot be used: {reason}"), remedy)
    };
    let written = jiff::fmt::strtime::format(pattern, &sample).map_err(broken)?;
    let read = jiff::fmt::strtime::parse(pattern, &written).map_err(broken)?;
    let day_known = read.month().is_some() && read.day().is_some() || read.to_date().is_ok();
    if read.to_timestamp().is_ok() || day_known && read.hour().is_some() {
        return Ok(());
    }
    let what = format!("\"{pattern}\" does not say month, day and hour");
    Err(Problem::new(what, remedy))
}

/// The key `multiline`: a preset, or a rule of the user's.
pub(super) fn multiline(node: &Node) -> Result<Multiline, Problem> {
    let names = std::iter::once("none").chain(PRESETS.iter().map(|(name, _)| *name));
    let tables = "{ start = \"PATTERN\" } or { continue = \"PATTERN\" }";
    match &node.value {
        Value::Text(text) if text == "none" => Ok(Multiline::None),
        Value::Text(text) => match PRESETS.iter().find(|(name, _)| name == text) {
            Some((_, rule)) => {
                let rule = Regex::new(rule).expect("the presets in the code are valid patterns");
                Ok(Multiline::Continue(rule))
            }
            None => {
                let problem = value::not_allowed(text, names);
                let remedy = format!("{}, {tables}", problem.remedy);
                Err(Problem::new(problem.what, remedy))
            }
        },
        Value::Table(table) => {
            let remedy = format!("write {tables}");
            let (key, rule) = value::only_key(table, &["start", "continue"], &remedy)?;
            let pattern = value::regex(rule).map_err(|problem| problem.at(rule.place))?;
            Ok(match key {
                "start" => Multiline::Start(pattern),
                _ => Multiline::Continue(pattern),
            })
        }
        other => {
            let what = format!("expected a text or a table, found {}", other.kind());
            let names = quoted_choice(names);
            Err(Problem::new(what, format!("write {names}, {tables}")))
        }
    }
}
