//! The CodeDeploy agent's files read a second time, by other means than the program's: regular
//! expressions and day counting, no look at how the program does it.

use std::collections::BTreeMap;
use std::path::Path;

use regex::bytes::Regex;

use crate::case::Case;
use crate::machine::{Arrived, INSTANCE};

/// A record: when it happened where it says so, and its bytes.
type Record = (Option<i64>, Vec<u8>);

/// Which stream holds what.
type Streams = BTreeMap<(String, String), Vec<Record>>;

/// Heads of records that may span lines.
const AGENT_HEADS: &str = r"^(?:(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d) (?:DEBUG|INFO|WARN|ERROR|FATAL|UNKNOWN) *\[[^\]]+\(\d+\)\]: )";
const AGENT_HEADS_2: &str =
    r"^(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d) {1,2}(?:TRACE|DEBUG|INFO|WARN|ERROR) ";

/// Heads of lines that are records by themselves.
const DEPLOYMENTS_HEAD: &str = r"^\[(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{3})\] ";
const SCRIPTS_HEAD: &str = r"^(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d) (?:\[std(?:out|err)\]|LifecycleEvent - |Script - )";

/// A crash leaves at least so many NUL bytes in a row.
const NUL_RUN_MIN: usize = 16;

/// Compares what arrived with the second reading of the case's CodeDeploy files; how many records
/// those hold.
pub(crate) fn check(case: &Case, arrived: &[Arrived]) -> Result<usize, String> {
    let mut seen = 0;
    for ((group, stream), records) in expected(case) {
        let mut events: Vec<&Arrived> = (arrived.iter())
            .filter(|e| (&e.group, &e.stream) == (&group, &stream))
            .collect();
        let here = format!("{group} {stream}");
        seen += records.len();
        // Lines that say no time have the time of their reading: only that they came counts.
        let (dated, undated): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|(time, _)| time.is_some());
        for (_, text) in undated {
            let at = (events.iter().position(|e| e.message.as_bytes() == text))
                .ok_or_else(|| format!("{here}: {:?} is missing", lossy(&text)))?;
            events.remove(at);
        }
        let mut dated = dated;
        dated.sort_by_key(|(time, _)| *time);
        if events.len() != dated.len() {
            return Err(format!(
                "{here}: {} events for {} records",
                events.len(),
                dated.len()
            ));
        }
        for (event, (time, text)) in events.iter().zip(&dated) {
            if Some(event.time_ms) != *time || !is_same(text, &event.message) {
                return Err(format!(
                    "{here}: {:?} at {time:?} became {:?} at {}",
                    lossy(text),
                    event.message,
                    event.time_ms
                ));
            }
        }
    }
    Ok(seen)
}

/// The second reading: what each stream must hold.
fn expected(case: &Case) -> Streams {
    let mut streams = Streams::new();
    if case.name == "codedeploy-dst-fold" {
        // Counting days does not tell which of two equal hours is meant.
        return streams;
    }
    for input in case.inputs() {
        let Some((target, records)) = read(&input.path, &input.bytes, west_ms(case)) else {
            continue;
        };
        streams.entry(target).or_default().extend(records);
    }
    streams
}

/// How far west of Greenwich the machine's winter is.
fn west_ms(case: &Case) -> i64 {
    if case.spec.zone.starts_with("EST5") {
        5 * 3_600_000
    } else {
        0
    }
}

fn read(path: &Path, bytes: &[u8], west_ms: i64) -> Option<((String, String), Vec<Record>)> {
    let text = path.to_str().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let instance = INSTANCE.to_owned();
    if let Some(rest) = text.strip_prefix("root/")
        && name == "scripts.log"
    {
        let deployment = rest.split('/').nth(1).unwrap();
        let target = (
            "/codedeploy/scripts".to_owned(),
            format!("{deployment}/{instance}"),
        );
        return Some((target, lines(bytes, SCRIPTS_HEAD, west_ms)));
    }
    if name.starts_with("codedeploy-agent-deployments.log") {
        let target = ("/codedeploy/deployments".to_owned(), instance);
        return Some((target, lines(bytes, DEPLOYMENTS_HEAD, west_ms)));
    }
    let group = match name {
        "codedeploy-local.log" => "/codedeploy/local",
        _ if text.starts_with("log/codedeploy-agent") => "/codedeploy/agent",
        _ => return None,
    };
    Some(((group.to_owned(), instance), agent_records(bytes, west_ms)))
}

/// One record a line; empty lines are none.
fn lines(bytes: &[u8], head: &str, west_ms: i64) -> Vec<Record> {
    let head = Regex::new(head).unwrap();
    (bytes.split(|byte| *byte == b'\n'))
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .map(|line| (time_ms(&head, line).map(|ms| ms + west_ms), line.to_vec()))
        .collect()
}

/// A record is a line with a head and all lines behind it that have none.
fn agent_records(bytes: &[u8], west_ms: i64) -> Vec<Record> {
    let (ruby, rust) = (
        Regex::new(AGENT_HEADS).unwrap(),
        Regex::new(AGENT_HEADS_2).unwrap(),
    );
    let mut records: Vec<Record> = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        // The first generation writes local time, the second UTC.
        let time = match time_ms(&ruby, line) {
            Some(ms) => Some(ms + west_ms),
            None => time_ms(&rust, line),
        };
        match records.last_mut() {
            Some((_, record)) if time.is_none() => record.extend_from_slice(line),
            _ => records.push((time, line.to_vec())),
        }
    }
    for (_, record) in &mut records {
        while record.ends_with(b"\n") || record.ends_with(b"\r\n") {
            record.pop();
        }
    }
    records
}

/// What a head says, as if its clock were in Greenwich.
fn time_ms(head: &Regex, line: &[u8]) -> Option<i64> {
    let found = head.captures(line)?;
    let number = |group: usize| -> i64 {
        let digits = found
            .get(group)
            .map_or(&b"0"[..], |digits| digits.as_bytes());
        std::str::from_utf8(digits).unwrap().parse().unwrap()
    };
    let (year, month, day) = (number(1), number(2), number(3));
    let is_leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let mut days: i64 = (1970..year)
        .map(|y| if is_leap(y) { 366 } else { 365 })
        .sum();
    let months = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days += months
        .iter()
        .take(usize::try_from(month).unwrap() - 1)
        .sum::<i64>();
    days += i64::from(is_leap(year) && month > 2) + day - 1;
    let seconds = ((days * 24 + number(4)) * 60 + number(5)) * 60 + number(6);
    Some(seconds * 1000 + number(7))
}

/// Whether a message is a record's text, apart from what redaction and cleaning may do.
fn is_same(record: &[u8], message: &str) -> bool {
    let text = cleaned(record);
    if !message.contains("[redacted:") {
        return text == message;
    }
    // What is left around the redactions must stand in the record in that order, from its
    // beginning to its end.
    let redacted = regex::Regex::new(r"\[redacted:[A-Za-z0-9_-]+\]").unwrap();
    let kept: Vec<&str> = redacted.split(message).collect();
    let (first, last) = (kept[0], kept[kept.len() - 1]);
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    for part in &kept[1..kept.len() - 1] {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn cleaned(record: &[u8]) -> String {
    let mut text = lossy(record).replace("\r\n", "\n");
    if text.contains('\0') {
        let runs = regex::Regex::new(&format!(r"\x00{{{NUL_RUN_MIN},}}")).unwrap();
        text = runs.replace_all(&text, "").into_owned();
    }
    text
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
