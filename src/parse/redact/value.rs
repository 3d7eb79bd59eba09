//! How far a secret reaches, and whether what stands there is one at all.

use std::ops::Range;

/// Longest placeholder: what is longer is a secret, and is not read again by each word in it.
const PLACEHOLDER_BYTES_MAX: usize = 256;

/// What is quoted, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quote {
    mark: u8,
    /// Backslashes before the mark: 0, or more in JSON that is text in JSON.
    backslashes: usize,
}

/// The value that begins here, without its quotes; `None` where there is none, or a placeholder.
pub(super) fn find(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let range = quoted(bytes, at).unwrap_or_else(|| bare(bytes, at));
    let value = &text[range.clone()];
    (!value.is_empty() && !is_placeholder(value)).then_some(range)
}

/// The inside of the quotes that open here. Without a closing one on the line, up to its end.
pub(super) fn quoted(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    if let Some(opened) = written_quote(bytes, at) {
        return Some(inside_written(bytes, at, opened));
    }
    let at = at + string_prefix(bytes, at);
    let rest = bytes.get(at..)?;
    let backslashes = backslashes(rest);
    let mark = *rest.get(backslashes)?;
    if !matches!(mark, b'"' | b'\'' | b'`') {
        return None;
    }
    let mut start = at + backslashes + 1;
    // Three of them, as Python and TOML have; two, as a table of commas does.
    let repeated = bytes[start..].iter().take_while(|&&byte| byte == mark);
    match repeated.take(3).count() {
        2 => start += 2,
        1 if bytes.get(start + 1).is_some_and(u8::is_ascii_alphanumeric) => start += 1,
        _ => {}
    }
    let end = closing(bytes, start, &Quote { mark, backslashes });
    Some(start..end)
}

/// Whether a value opens with a quote here.
pub(super) fn is_quoted(bytes: &[u8], at: usize) -> bool {
    let mark = at + string_prefix(bytes, at);
    let mark = mark + bytes.get(mark..).map_or(0, backslashes);
    matches!(bytes.get(mark), Some(b'"' | b'\'' | b'`')) || written_quote(bytes, at).is_some()
}

/// The `b` of Python's `b'…'`.
fn string_prefix(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at..) {
        Some([b'b' | b'B' | b'u' | b'r' | b'E' | b'N', rest @ ..]) => {
            let mark = rest.get(backslashes(rest));
            usize::from(matches!(mark, Some(b'"' | b'\'')))
        }
        _ => 0,
    }
}

/// A quote that is written out, as access logs, web pages and URLs have it: how long it is here, and what of
/// it closes.
pub(super) fn written_quote(bytes: &[u8], at: usize) -> Option<(usize, &'static [u8])> {
    const PLAIN: [&[u8]; 3] = [b"%22", b"&quot;", b"&#34;"];
    const ESCAPED: [&[u8]; 2] = [b"x22", b"u0022"];
    let rest = bytes.get(at..)?;
    let backslashes = backslashes(rest);
    let known: &[&[u8]] = if backslashes > 0 { &ESCAPED } else { &PLAIN };
    let body = known
        .iter()
        .find(|body| rest[backslashes..].starts_with(body))?;
    Some((backslashes + body.len(), body))
}

fn inside_written(bytes: &[u8], at: usize, (len, body): (usize, &[u8])) -> Range<usize> {
    let start = at + len;
    let closed = memchr::memmem::find(&bytes[start..], body);
    let inside = &bytes[start..closed.map_or(bytes.len(), |closed| start + closed)];
    let mut end = start + memchr::memchr(b'\n', inside).unwrap_or(inside.len());
    while end > start && bytes[end - 1] == b'\\' {
        end -= 1;
    }
    start..end
}

/// A value without quotes: up to a space, a quote, an escaped newline, or a separator that
/// another field follows; brackets that close what was opened before it do not belong to it.
pub(super) fn bare(bytes: &[u8], at: usize) -> Range<usize> {
    let mut end = at;
    while end < bytes.len() {
        let ends = match bytes[end] {
            b'"' | b'\'' | b'`' | b'<' => true,
            byte if byte.is_ascii_whitespace() || byte.is_ascii_control() => true,
            b'\\' => {
                let run = backslashes(&bytes[end..]);
                let is_escape = matches!(
                    bytes.get(end + run),
                    None | Some(b'n' | b'r' | b't' | b'"' | b'\'' | b'u')
                );
                if !is_escape {
                    end += run - 1;
                }
                is_escape
            }
            b',' | b';' | b'&' => is_followed_by_field(&bytes[end + 1..]),
            _ => false,
        };
        if ends {
            break;
        }
        end += 1;
    }
    at..without_closers(bytes, at, end)
}

/// Where the value ends without closing brackets that nothing in it opened, and punctuation.
fn without_closers(bytes: &[u8], at: usize, mut end: usize) -> usize {
    let may_not_belong = |byte: &u8| matches!(byte, b',' | b';' | b'.' | b')' | b']' | b'}');
    if !bytes[at..end].last().is_some_and(may_not_belong) {
        return end;
    }
    let count = |byte: u8| {
        bytes[at..end]
            .iter()
            .filter(|&&other| other == byte)
            .count()
    };
    let pairs = [(b'(', b')'), (b'[', b']'), (b'{', b'}')];
    let mut unopened = pairs.map(|(open, close)| count(close).saturating_sub(count(open)));
    while end > at {
        match bytes[end - 1] {
            b',' | b';' | b'.' => {}
            last => match pairs.iter().position(|&(_, close)| close == last) {
                Some(pair) if unopened[pair] > 0 => unopened[pair] -= 1,
                _ => break,
            },
        }
        end -= 1;
    }
    end
}

/// What of a secret lies before the last argument of the CodeDeploy agent's report on a command. What the hook
/// printed last is cut there, and with it the quote that would end the secret; but without that argument nobody
/// knows which command it was.
pub(super) fn within_report(bytes: &[u8], secret: Range<usize>) -> Range<usize> {
    const LAST_ARGUMENT: &[u8] = b"},host_command_identifier:\"";
    let Some(at) = memchr::memmem::find(&bytes[secret.clone()], LAST_ARGUMENT) else {
        return secret;
    };
    let report = &bytes[secret.start..secret.start + at];
    let rest = &bytes[secret.start + at + LAST_ARGUMENT.len()..];
    let is_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let identifier = rest.iter().take_while(is_base64).count();
    // The report's own quote; those of the output are escaped in it.
    let end = rest[identifier..].strip_prefix(b"\")");
    match memchr::memrchr(b'"', report) {
        // Nothing more stands behind it.
        Some(quote) if end.is_some_and(|end| end.trim_ascii().is_empty()) => {
            secret.start..secret.start + quote
        }
        _ => secret,
    }
}

/// What people write where a secret would be: nothing to take out.
pub(super) fn is_placeholder(value: &str) -> bool {
    const WORDS: [&str; 14] = [
        "null",
        "nil",
        "none",
        "undefined",
        "true",
        "false",
        "(null)",
        "(none)",
        "(redacted)",
        "redacted",
        "masked",
        "hidden",
        "{}",
        "[]",
    ];
    let inside = |open: &str, close: char| {
        value
            .strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close))
    };
    let is_name = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':'))
    };
    if value.len() > PLACEHOLDER_BYTES_MAX {
        return false;
    }
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(value))
        || value.bytes().all(|byte| byte == b'*')
        || value.len() >= 3
            && value
                .bytes()
                .all(|byte| matches!(byte, b'x' | b'X' | b'.' | b'-'))
        || inside("<", '>').is_some()
        || inside("[", ']').is_some_and(is_name)
        || inside("${", '}').is_some_and(is_name)
        || inside("{{", '}').is_some()
        || matches!(value, "%s" | "%d" | "%v" | "%q")
        || value.strip_prefix('$').is_some_and(|name| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        })
}

/// Whether this is `name=…` or `name: …`, thus another field and no value; by its separator.
pub(super) fn field(text: &[u8]) -> Option<u8> {
    let name = text
        .iter()
        .take(64)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        .count();
    match text.get(name..)? {
        _ if name == 0 => None,
        // `==` and a `=` at the end are base64's.
        [b'=', next, ..] if !next.is_ascii_whitespace() && *next != b'=' => Some(b'='),
        [b':', next, ..] if next.is_ascii_whitespace() => Some(b':'),
        [b':'] => Some(b':'),
        _ => None,
    }
}

/// The quote that opens right before a value, if one does.
pub(super) fn quote_before(bytes: &[u8], start: usize) -> Option<Quote> {
    let (&mark, before) = bytes[..start].split_last()?;
    let escapes = before.iter().rev().take_while(|&&byte| byte == b'\\');
    matches!(mark, b'"' | b'\'' | b'`').then(|| Quote {
        mark,
        backslashes: escapes.count(),
    })
}

/// Where the quote closes that opened before `start`; without one, the end of the line.
pub(super) fn closing(bytes: &[u8], start: usize, quote: &Quote) -> usize {
    // A mark behind n backslashes closes when n is this level's number plus whole escaped
    // backslashes of this level: 0, 2, 4… at the first; 1, 5, 9… at the second.
    let period = 2 * (quote.backslashes + 1);
    let mut run = 0;
    for (at, &byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            b'\\' => run += 1,
            b'\n' => return at,
            _ if byte == quote.mark && run % period == quote.backslashes => {
                return at - quote.backslashes;
            }
            _ => run = 0,
        }
    }
    bytes.len()
}

/// Whether a separator was one: another field, a space or nothing comes.
fn is_followed_by_field(rest: &[u8]) -> bool {
    match rest.first() {
        None => true,
        Some(next) if next.is_ascii_whitespace() || matches!(next, b'"' | b'\'') => true,
        Some(_) => field(rest).is_some(),
    }
}

/// How many backslashes stand here.
pub(super) fn backslashes(text: &[u8]) -> usize {
    text.iter().take_while(|&&byte| byte == b'\\').count()
}
