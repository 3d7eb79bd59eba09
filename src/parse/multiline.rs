//! Which lines begin a record.
//!
//! Owns the answer for one line; joining is the caller's. The CodeDeploy agent's heads are matched
//! by hand, byte for byte equal to the two regexes below (a test holds them against each other),
//! because every line of the agent's log passes here:
//!
//! - 1.x: `^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d (DEBUG|INFO|WARN|ERROR|FATAL|UNKNOWN) *\[[^\]]+\(\d+\)\]: `
//! - 2.x: `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {1,2}(TRACE|DEBUG|INFO|WARN|ERROR) `
//!
//! Every 1.x head with a space instead of `T` and one of the shared levels is a 2.x head too; the
//! `[name(pid)]: ` decides, since 2.x never writes it. Called by `parse` for each line and by
//! `timestamp`, for which the generation decides the zone.

use std::borrow::Cow;

use regex::Regex;

use crate::config::Multiline;

/// `2026-11-21T02:02:58`: the bytes of a date and a time to the second.
const STAMP_BYTES: usize = 19;

/// Which agent wrote a line of codedeploy-agent.log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// 1.x (Ruby): local time.
    One,
    /// 2.x (Rust): UTC.
    Two,
}

/// Whether a record begins with this line (given without its line end).
#[must_use]
pub fn is_head(rule: &Multiline, line: &[u8]) -> bool {
    match rule {
        Multiline::None => true,
        Multiline::CodeDeployAgent => agent_head(line).is_some(),
        Multiline::Start(regex) => is_match(regex, line),
        Multiline::Continue(regex) => !is_match(regex, line),
    }
}

/// Which generation's record begins with this line, if one does.
#[must_use]
pub fn agent_head(line: &[u8]) -> Option<Generation> {
    let separator = date_and_time(line)?;
    let rest = &line[STAMP_BYTES..];
    if rest.first() != Some(&b' ') {
        return None;
    }
    if has_process(&rest[1..]) {
        return Some(Generation::One);
    }
    let level = match rest {
        [b' ', b' ', level @ ..] | [b' ', level @ ..] => level,
        _ => return None,
    };
    let levels: [&[u8]; 5] = [b"TRACE ", b"DEBUG ", b"INFO ", b"WARN ", b"ERROR "];
    (separator == b' ' && levels.iter().any(|name| level.starts_with(name)))
        .then_some(Generation::Two)
}

/// The byte between date and time (`T` or a space) when both stand at the beginning.
fn date_and_time(line: &[u8]) -> Option<u8> {
    const SHAPE: &[u8; STAMP_BYTES] = b"dddd-dd-dd?dd:dd:dd";
    let stamp = line.first_chunk::<STAMP_BYTES>()?;
    let fits = stamp.iter().zip(SHAPE).all(|(byte, shape)| match shape {
        b'd' => byte.is_ascii_digit(),
        b'?' => matches!(byte, b'T' | b' '),
        _ => byte == shape,
    });
    fits.then_some(stamp[10])
}

/// `LEVEL *[name(pid)]: ` at the beginning.
fn has_process(text: &[u8]) -> bool {
    let levels: [&[u8]; 6] = [b"INFO", b"WARN", b"ERROR", b"DEBUG", b"FATAL", b"UNKNOWN"];
    let Some(rest) = levels.iter().find_map(|level| text.strip_prefix(*level)) else {
        return false;
    };
    let padding = rest.iter().take_while(|&&byte| byte == b' ').count();
    let Some((b'[', process)) = rest[padding..].split_first() else {
        return false;
    };
    let Some(close) = memchr::memchr(b']', process) else {
        return false;
    };
    let inside = &process[..close];
    let Some(named) = inside.strip_suffix(b")") else {
        return false;
    };
    let digits = named
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let name = &named[..named.len() - digits];
    digits > 0 && name.len() > 1 && name.ends_with(b"(") && process[close..].starts_with(b"]: ")
}

/// User regexes are written for text: bytes that are not are seen as U+FFFD.
fn is_match(regex: &Regex, line: &[u8]) -> bool {
    match std::str::from_utf8(line) {
        Ok(text) => regex.is_match(text),
        Err(_) => {
            let text: Cow<'_, str> = String::from_utf8_lossy(line);
            regex.is_match(&text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static ONE: LazyLock<regex::bytes::Regex> = LazyLock::new(|| {
        regex::bytes::Regex::new(
            r"(?-u)^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d) (DEBUG|INFO|WARN|ERROR|FATAL|UNKNOWN) *\[([^\]]+)\((\d+)\)\]: (.*)$",
        )
        .unwrap()
    });
    static TWO: LazyLock<regex::bytes::Regex> = LazyLock::new(|| {
        regex::bytes::Regex::new(
            r"(?-u)^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) {1,2}(TRACE|DEBUG|INFO|WARN|ERROR) (.*)$",
        )
        .unwrap()
    });

    fn by_regex(line: &[u8]) -> Option<Generation> {
        if ONE.is_match(line) {
            Some(Generation::One)
        } else {
            TWO.is_match(line).then_some(Generation::Two)
        }
    }

    const V1: &[u8] = include_bytes!("../../tests/corpus/heads/agent-1.x.log");
    const V2: &[u8] = include_bytes!("../../tests/corpus/heads/agent-2.x.log");

    fn lines() -> impl Iterator<Item = &'static [u8]> {
        V1.split(|&b| b == b'\n').chain(V2.split(|&b| b == b'\n'))
    }

    #[test]
    fn hand_written_heads_equal_the_regexes_on_real_logs() {
        // On excerpts of both agents' real logs the two ways agree line by line, and both kinds of
        // line occur in each.
        for line in lines() {
            assert_eq!(
                agent_head(line),
                by_regex(line),
                "{}",
                String::from_utf8_lossy(line)
            );
        }
        let count = |log: &[u8], want| {
            log.split(|&b| b == b'\n')
                .filter(|line| agent_head(line) == want)
                .count()
        };
        assert!(count(V1, Some(Generation::One)) > 20);
        assert_eq!(count(V1, Some(Generation::Two)), 0);
        assert!(count(V1, None) > 20);
        assert!(count(V2, Some(Generation::Two)) > 20);
        assert_eq!(count(V2, Some(Generation::One)), 0);
        assert!(count(V2, None) > 1);
    }

    #[test]
    fn generations_are_told_apart_by_line() {
        // The process in brackets decides, also where old agents print a space for the T.
        let head = |line: &str| agent_head(line.as_bytes());
        let one = Some(Generation::One);
        assert_eq!(
            head("2026-11-21T02:02:58 INFO  [codedeploy-agent(30350)]: msg"),
            one
        );
        assert_eq!(
            head("2026-11-21 02:02:58 INFO  [codedeploy-agent(30350)]: msg"),
            one
        );
        assert_eq!(head("2026-11-21 02:02:58 UNKNOWN [a(1)]: "), one);
        let two = Some(Generation::Two);
        assert_eq!(head("2026-11-21 02:02:58  INFO msg"), two);
        assert_eq!(head("2026-11-21 02:02:58 ERROR msg"), two);
        assert_eq!(head("2026-11-21 02:02:58  INFO [not a process]: msg"), two);
        for line in [
            "",
            "2026-11-21T02:02:58  INFO msg",
            "2026-11-21T02:02:58 INFO  [(1)]: msg",
            "2026-11-21T02:02:58 INFO  [a()]: msg",
            "2026-11-21T02:02:58 INFO  [a(1)]:msg",
            "2026-11-21 02:02:58   INFO msg",
            "2026-11-21 02:02:58  INFO",
            "    at Main.java:42",
        ] {
            assert_eq!(head(line), None, "{line}");
        }
    }

    #[test]
    fn user_rules_see_broken_bytes_as_replaced() {
        // A start rule and its opposite answer opposite, also on a line that is not UTF-8.
        let start = Multiline::Start(Regex::new(r"^\d{4}-").unwrap());
        let more = Multiline::Continue(Regex::new(r"^\s").unwrap());
        assert!(is_head(&start, b"2026-11-21 x\xff"));
        assert!(!is_head(&start, b"\xff2026-11-21"));
        assert!(!is_head(&more, b"\tat x\xff"));
        assert!(is_head(&more, b"x"));
        assert!(is_head(&Multiline::None, b"\xff"));
    }

    proptest! {
        #[test]
        fn hand_written_heads_equal_the_regexes_on_mutations(
            nth in 0usize..200,
            edits in prop::collection::vec((0usize..70, any::<prop::sample::Index>(), 0u8..3), 0..4),
        ) {
            // A few bytes of real heads are replaced, added or removed; the two ways still agree.
            const BYTES: &[u8] = b" T-:[]()0123456789INFOWARNDEBUGTRACEX\r\xffZ";
            let all: Vec<_> = lines().filter(|line| !line.is_empty()).collect();
            let mut line = all[nth % all.len()].to_vec();
            for (at, byte, kind) in edits {
                let at = at.min(line.len().saturating_sub(1));
                let byte = BYTES[byte.index(BYTES.len())];
                match kind {
                    0 if !line.is_empty() => line[at] = byte,
                    1 if !line.is_empty() => { line.remove(at); }
                    _ => line.insert(at, byte),
                }
            }
            prop_assert_eq!(agent_head(&line), by_regex(&line));
        }
    }
}
