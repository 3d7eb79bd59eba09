//! Single values: from a [`Node`] to a checked value, or the [`Problem`] with it.
//!
//! Every function names the offending value in the problem and the allowed ones in the remedy.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::mistake::{Problem, nearest, quoted_choice};
use super::tree::{Node, Table, Value};

/// How long `retentionInDays` may be (CloudWatch Logs API reference, PutRetentionPolicy).
pub(super) const RETENTION_DAYS: [u16; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

/// Tags a group may be created with (CloudWatch Logs API reference, CreateLogGroup).
pub(super) const TAGS_MAX: usize = 50;
/// Their lengths in characters, same place.
const TAG_KEY_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;

/// Memory a compiled user pattern may take, so that no pattern can outgrow the agent.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// A text.
pub(super) fn text<'n>(node: &'n Node, example: &str) -> Result<&'n str, Problem> {
    match &node.value {
        Value::Text(text) => Ok(text),
        other => Err(Problem::new(
            format!("expected a text, found {}", other.kind()),
            format!("write it in quotes, such as \"{example}\""),
        )),
    }
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node) -> Result<bool, Problem> {
    match &node.value {
        Value::Boolean(boolean) => Ok(*boolean),
        other => Err(Problem::new(
            format!("expected a boolean, found {}", other.kind()),
            "write true or false, without quotes",
        )),
    }
}

/// An integer within bounds.
pub(super) fn integer(node: &Node, min: usize, max: usize) -> Result<usize, Problem> {
    let remedy = format!("write a whole number from {min} to {max}");
    match &node.value {
        Value::Integer(integer) => match usize::try_from(*integer) {
            Ok(value) if (min..=max).contains(&value) => Ok(value),
            _ => Err(Problem::new(format!("{integer} is out of bounds"), remedy)),
        },
        other => Err(Problem::new(
            format!("expected an integer, found {}", other.kind()),
            remedy,
        )),
    }
}

/// A finite number, with or without a fraction.
pub(super) fn number(node: &Node) -> Result<f64, Problem> {
    let remedy = "write a number, such as 1 or 0.5, without quotes";
    match &node.value {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a number so large is rounded anyway"
        )]
        Value::Integer(integer) => Ok(*integer as f64),
        Value::Float(float) if float.is_finite() => Ok(*float),
        Value::Float(float) => Err(Problem::new(format!("{float} is not finite"), remedy)),
        other => Err(Problem::new(
            format!("expected a number, found {}", other.kind()),
            remedy,
        )),
    }
}

/// One word of a list, as what it stands for.
pub(super) fn choice<T: Clone>(node: &Node, words: &[(&str, T)]) -> Result<T, Problem> {
    let allowed = || words.iter().map(|(word, _)| *word);
    let written = text(node, words[0].0)?;
    match words.iter().find(|(word, _)| *word == written) {
        Some((_, value)) => Ok(value.clone()),
        None => Err(not_allowed(written, allowed())),
    }
}

/// The problem with a word that is not among the allowed ones.
pub(super) fn not_allowed<'a>(
    written: &str,
    allowed: impl Iterator<Item = &'a str> + Clone,
) -> Problem {
    let choice = quoted_choice(allowed.clone());
    let remedy = match nearest(written, allowed) {
        Some(near) => format!("did you mean \"{near}\"? Allowed: {choice}"),
        None => format!("write {choice}"),
    };
    Problem::new(format!("\"{written}\" is not known here"), remedy)
}

/// An absolute path.
pub(super) fn path(node: &Node, example: &str) -> Result<PathBuf, Problem> {
    let written = text(node, example)?;
    let path = PathBuf::from(written);
    if path.is_absolute() && !written.contains('\0') {
        return Ok(path);
    }
    Err(Problem::new(
        format!("\"{written}\" is not an absolute path"),
        format!("begin it with a /, such as \"{example}\""),
    ))
}

/// A length of time within bounds, written as whole number and unit.
pub(super) fn duration(node: &Node, min: &str, max: &str) -> Result<Duration, Problem> {
    let written = text(node, "30s")?;
    let example = "write a whole number and a unit (ms, s, m, h or d), such as \"30s\"";
    let Some(duration) = parse_duration(written) else {
        let what = format!("\"{written}\" is not a length of time");
        return Err(Problem::new(what, example));
    };
    let bound = |text| parse_duration(text).expect("the bounds in the code are lengths of time");
    if (bound(min)..=bound(max)).contains(&duration) {
        return Ok(duration);
    }
    Err(Problem::new(
        format!("\"{written}\" is out of bounds"),
        format!("write at least \"{min}\" and at most \"{max}\""),
    ))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_millis(number.checked_mul(unit_ms)?))
}

/// Whether this is an AWS Region, by its shape; new ones appear every year, so there is no list.
#[must_use]
pub fn is_region(written: &str) -> bool {
    let words: Vec<&str> = written.split('-').collect();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_word = |text: &&str| text.len() >= 2 && text.bytes().all(|b| b.is_ascii_lowercase());
    let good = match words.split_last() {
        Some((number, words)) => is_number(number) && words.len() >= 2 && words.iter().all(is_word),
        None => false,
    };
    good && written.len() <= 32
}

/// An AWS Region.
pub(super) fn region(node: &Node) -> Result<String, Problem> {
    let written = text(node, "eu-west-1")?;
    if is_region(written) {
        return Ok(written.to_owned());
    }
    let zone = written.strip_suffix(|c: char| c.is_ascii_lowercase());
    let remedy = match zone {
        Some(region) if region.ends_with(|c: char| c.is_ascii_digit()) => {
            format!("leave out the zone's letter: \"{region}\"")
        }
        _ => "write it as AWS does, such as \"eu-west-1\", or remove the key on EC2".to_owned(),
    };
    Err(Problem::new(
        format!("\"{written}\" is not a Region"),
        remedy,
    ))
}

/// An endpoint; without TLS only where nobody can listen.
pub(super) fn endpoint_url(node: &Node) -> Result<String, Problem> {
    let example = "https://127.0.0.1:8443";
    let written = text(node, example)?;
    let (scheme, rest) = written.split_once("://").unwrap_or(("", written));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').unwrap_or((v6, "?")),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if !matches!(scheme, "http" | "https") || host.is_empty() {
        let what = format!("\"{written}\" is not the address of an endpoint");
        return Err(Problem::new(what, format!("write it like \"{example}\"")));
    }
    if authority.contains('@') || written.contains(char::is_whitespace) {
        let what = format!("\"{host}\" stands with a user name or blanks in the address");
        return Err(Problem::new(what, "leave only scheme, host and port"));
    }
    if !is_port(port) || !rest.bytes().all(is_of_address) {
        let what = format!("\"{written}\" has more in it than an address, or a port that is none");
        return Err(Problem::new(what, format!("write it like \"{example}\"")));
    }
    if scheme == "http" && !is_local(host) {
        return Err(Problem::new(
            format!("http to {host} would send logs over the network in the clear"),
            "write https:// (http is allowed to this machine only: localhost, 127.0.0.0/8, ::1)",
        ));
    }
    Ok(written.trim_end_matches('/').to_owned())
}

/// Nothing, or `:` and a number that a port can have.
fn is_port(text: &str) -> bool {
    let Some(number) = text.strip_prefix(':') else {
        return text.is_empty();
    };
    number.bytes().all(|b| b.is_ascii_digit()) && number.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Whether a byte may stand in host, port and path.
fn is_of_address(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/[]".contains(&byte)
}

fn is_local(host: &str) -> bool {
    host == "localhost"
        || host == "::1"
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Days of retention; `"never"` deletes nothing.
pub(super) fn retention(node: &Node) -> Result<Option<u16>, Problem> {
    let days: Vec<String> = RETENTION_DAYS.iter().map(u16::to_string).collect();
    let remedy = |nearest: String| format!("{nearest}allowed: {}, \"never\"", days.join(", "));
    match &node.value {
        Value::Text(text) if text == "never" => Ok(None),
        Value::Integer(written) => {
            let known = RETENTION_DAYS
                .iter()
                .find(|days| i64::from(**days) == *written);
            if let Some(known) = known {
                return Ok(Some(*known));
            }
            let longer = RETENTION_DAYS
                .iter()
                .find(|days| i64::from(**days) > *written);
            let near = longer.map_or(String::new(), |days| format!("write {days}; "));
            let what = format!("CloudWatch Logs cannot keep events for {written} days");
            Err(Problem::new(what, remedy(near)))
        }
        Value::Text(text) => {
            let what = format!("\"{text}\" is not a number of days");
            Err(Problem::new(what, remedy(String::new())))
        }
        other => {
            let what = format!("expected a number of days, found {}", other.kind());
            Err(Problem::new(what, remedy(String::new())))
        }
    }
}

/// ARN of a key in the key management service.
pub(super) fn kms_key(node: &Node) -> Result<String, Problem> {
    let example = "arn:aws:kms:eu-west-1:111122223333:key/ID";
    let written = text(node, example)?;
    let fields: Vec<&str> = written.splitn(6, ':').collect();
    let good = matches!(fields[..], ["arn", _, "kms", _, _, key] if key.starts_with("key/"));
    if good && written.len() <= 256 {
        return Ok(written.to_owned());
    }
    Err(Problem::new(
        format!("\"{written}\" is not the ARN of a key"),
        format!("write it in full, such as \"{example}\" (an alias will not do)"),
    ))
}

/// One tag for groups we create.
pub(super) fn tag(key: &str, node: &Node) -> Result<String, Problem> {
    let value = text(node, "shop").map_err(|problem| problem.at(node.place))?;
    let allowed = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    let within = |text: &str, max| text.chars().count() <= max && text.chars().all(allowed);
    if key.is_empty() || !within(key, TAG_KEY_CHARS_MAX) || !within(value, TAG_VALUE_CHARS_MAX) {
        return Err(Problem::new(
            format!("{key} = \"{value}\" is not a valid tag"),
            format!(
                "keys take 1 to {TAG_KEY_CHARS_MAX} and values up to {TAG_VALUE_CHARS_MAX} of \
                 letters, digits, blanks and _.:/=+-@"
            ),
        ));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        let what = format!("{key} begins with aws:, which AWS keeps for itself");
        return Err(Problem::new(what, "choose another key"));
    }
    Ok(value.to_owned())
}

/// A user's pattern, compiled within bounds.
pub(super) fn regex(node: &Node) -> Result<Regex, Problem> {
    let written = text(node, "^ERROR")?;
    if written.is_empty() {
        let what = "an empty pattern matches every line";
        return Err(Problem::new(what, "write a pattern, or remove it"));
    }
    let built = RegexBuilder::new(written)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => Problem::new(
            format!("\"{written}\" takes more than {REGEX_BYTES_MAX} bytes when compiled"),
            "repeat less, or write (?-u) in front so that \\w, \\d and . mean ASCII only",
        ),
        other => {
            let text = other.to_string();
            let reason = text.lines().find_map(|line| line.strip_prefix("error: "));
            let reason = reason.unwrap_or("not understood").to_owned();
            Problem::new(
                format!("\"{written}\" is not a valid pattern: {reason}"),
                "see https://docs.rs/regex/#syntax (single quotes spare doubling the \\)",
            )
        }
    })
}

/// A table's only key out of `allowed`, with its value.
pub(super) fn only_key<'t>(
    table: &'t Table,
    allowed: &'static [&'static str],
    remedy: &str,
) -> Result<(&'static str, &'t Node), Problem> {
    let [entry] = table.entries() else {
        return Err(Problem::new("expected a table with one key", remedy));
    };
    let key = entry.key.as_str();
    match allowed.iter().find(|word| **word == key) {
        Some(word) => Ok((word, &entry.node)),
        None => {
            let near = nearest(key, allowed.iter().copied());
            let near = near.map_or(String::new(), |near| format!("did you mean {near}? "));
            let problem = Problem::new(format!("unknown key {key}"), format!("{near}{remedy}"));
            Err(problem.at(entry.key_place))
        }
    }
}
