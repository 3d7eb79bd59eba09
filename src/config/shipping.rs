//! How events are shipped: the keys of `[logs]` that each kind of log may override.

use regex::Regex;

use super::mistake::Problem;
use super::section::Section;
use super::tree::{Node, Value};
use super::value;
use super::{EVENT_BYTES_MAX, Redact};
use crate::ports::GroupOptions;

/// Shortest limit for an event: below it every stack trace would fall to pieces.
const EVENT_BYTES_MIN: usize = 1000;

/// Longest name of a redaction rule, in bytes; it is a key in counts.
const RULE_NAME_BYTES_MAX: usize = 64;

/// What `[logs]` decides for every source and every source may decide for itself.
#[derive(Clone, Debug)]
pub(super) struct Shipping {
    pub(super) group_options: GroupOptions,
    pub(super) redact: Redact,
    pub(super) strip_ansi: bool,
    pub(super) event_bytes_max: usize,
}

impl Default for Shipping {
    fn default() -> Self {
        Self {
            group_options: GroupOptions {
                retention_days: Some(30),
                ..GroupOptions::default()
            },
            redact: Redact {
                builtin: true,
                rules: Vec::new(),
            },
            strip_ansi: false,
            event_bytes_max: EVENT_BYTES_MAX,
        }
    }
}

impl Shipping {
    /// Reads the keys that override `self`. Tags and redaction rules add to those of `self`.
    pub(super) fn overridden_by(&self, section: &mut Section<'_>) -> Self {
        let mut shipping = self.clone();
        let options = &mut shipping.group_options;
        if let Some(retention) = section.read("retention_days", value::retention) {
            options.retention_days = retention;
        }
        if let Some(class) = section.read("log_class", log_class) {
            options.class = Some(class.to_owned());
        }
        if let Some(key) = section.read("kms_key_id", value::kms_key) {
            options.kms_key_id = Some(key);
        }
        let tags = section.read_map("tags", "Team = \"shop\"", value::tag);
        options.tags.extend(tags.unwrap_or_default());
        if let Some(place) = section.place_of("tags")
            && options.tags.len() > value::TAGS_MAX
        {
            let what = format!("{} tags are too many", options.tags.len());
            let remedy = format!("write at most {}", value::TAGS_MAX);
            section.complain("tags", place, Problem::new(what, remedy));
        }
        if let Some(builtin) = section.read("redact", |node| {
            value::choice(node, &[("default", true), ("off", false)])
        }) {
            shipping.redact.builtin = builtin;
        }
        let rules = section.read_list("redact_rules", REDACT_RULE, redact_rule);
        shipping.redact.rules.extend(rules.unwrap_or_default());
        if let Some(strip) = section.read("strip_ansi", value::boolean) {
            shipping.strip_ansi = strip;
        }
        let bytes = section.read("event_bytes_max", |node| {
            value::integer(node, EVENT_BYTES_MIN, EVENT_BYTES_MAX)
        });
        shipping.event_bytes_max = bytes.unwrap_or(self.event_bytes_max);
        shipping
    }
}

fn log_class(node: &Node) -> Result<&'static str, Problem> {
    let classes = [
        ("standard", "STANDARD"),
        ("infrequent_access", "INFREQUENT_ACCESS"),
    ];
    if let Value::Text(written) = &node.value
        && let Some((_, class)) = classes.iter().find(|(_, class)| class == written)
    {
        return Ok(class);
    }
    value::choice(node, &classes)
}

const REDACT_RULE: &str = "{ name = \"card\", pattern = \"card=(?<secret>\\\\d+)\" }";

fn redact_rule(node: &Node) -> Result<(String, Regex), Problem> {
    let remedy = format!("write {REDACT_RULE}");
    let Value::Table(table) = &node.value else {
        let what = format!("expected a table, found {}", node.value.kind());
        return Err(Problem::new(what, remedy));
    };
    let (mut name, mut pattern) = (None, None);
    for entry in table.entries() {
        let (key, node) = (&entry.key, &entry.node);
        match key.as_str() {
            "name" => name = Some(value::text(node, "card").map_err(|p| p.at(node.place))?),
            "pattern" => pattern = Some(value::regex(node).map_err(|p| p.at(node.place))?),
            _ => return Err(Problem::new(format!("unknown key {key}"), remedy).at(entry.key_place)),
        }
    }
    let (Some(name), Some(pattern)) = (name, pattern) else {
        return Err(Problem::new("a rule needs a name and a pattern", remedy));
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    if name.is_empty() || name.len() > RULE_NAME_BYTES_MAX || !name.bytes().all(allowed) {
        let what = format!("\"{name}\" is not a name for a rule");
        let remedy = format!("write 1 to {RULE_NAME_BYTES_MAX} letters, digits, _ or -");
        return Err(Problem::new(what, remedy));
    }
    Ok((name.to_owned(), pattern))
}
