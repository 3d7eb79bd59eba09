//! Top-level fields of a JSON record, found by walking over its bytes: no tree is built, nested
//! objects are stepped over, and what is not JSON simply ends the walk.

use std::borrow::Cow;

use memchr::{memchr2, memchr3};

use super::scan::Stamp;

/// Where programs that log JSON put their time.
pub(super) const USUAL_FIELDS: &[&[u8]] = &[b"timestamp", b"time", b"ts", b"@timestamp", b"date"];

/// A field's value, as far as it may be a time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number, as written.
    Number(&'a [u8]),
    /// The text of a string, without its escapes.
    Text(Cow<'a, [u8]>),
}

/// The values of these top-level fields, in the order of the record.
pub(super) fn find<'a>(
    record: &'a [u8],
    fields: &'a [&'a [u8]],
) -> impl Iterator<Item = Value<'a>> + 'a {
    let mut walk = Walk::new(record);
    std::iter::from_fn(move || {
        while let Some((key, value)) = walk.next_field() {
            if !fields.iter().any(|&field| field == key.as_ref()) {
                continue;
            }
            if let Some(value) = value {
                return Some(value);
            }
        }
        None
    })
}

/// A number since the epoch, in seconds, milliseconds, micro- or nanoseconds by its size: today
/// is ten, thirteen, sixteen or nineteen digits long, and the borders lie between.
pub(super) fn epoch_by_size(text: &[u8]) -> Option<Stamp> {
    let whole = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let simple = text[whole..].is_empty();
    let ms = if simple {
        let value: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        match value {
            ..100_000_000_000 => value * 1000,
            100_000_000_000..100_000_000_000_000 => value,
            100_000_000_000_000..100_000_000_000_000_000 => value / 1000,
            _ => value / 1_000_000,
        }
    } else {
        // A fraction or an exponent; a double holds today's milliseconds exactly.
        let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        let ms = match value {
            v if !(0.0..1e17).contains(&v) => return None,
            v if v < 1e11 => v * 1e3,
            v if v < 1e14 => v,
            v => v / 1e3,
        };
        #[expect(clippy::cast_possible_truncation, reason = "below 1e14, checked above")]
        let ms = ms.round() as i64;
        ms
    };
    Some(Stamp::Instant(ms))
}

/// A position in a JSON object, between two fields.
struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    fn new(record: &'a [u8]) -> Self {
        let rest = skip_space(record);
        Self {
            rest: rest.strip_prefix(b"{").unwrap_or_default(),
        }
    }

    /// The next key, and its value where that is a number or a string.
    fn next_field(&mut self) -> Option<(Cow<'a, [u8]>, Option<Value<'a>>)> {
        let rest = skip_space(self.rest);
        let rest = skip_space(rest.strip_prefix(b",").unwrap_or(rest));
        let (key, rest) = string(rest.strip_prefix(b"\"")?)?;
        let rest = skip_space(skip_space(rest).strip_prefix(b":")?);
        let (value, rest) = match rest.first()? {
            b'"' => {
                let (text, rest) = string(&rest[1..])?;
                (Some(Value::Text(text)), rest)
            }
            b'{' | b'[' => (None, skip_nested(rest)?),
            _ => {
                let end = rest
                    .iter()
                    .position(|byte| matches!(byte, b',' | b'}') || byte.is_ascii_whitespace())
                    .unwrap_or(rest.len());
                let value = &rest[..end];
                let numeric = value.first().is_some_and(u8::is_ascii_digit);
                (numeric.then_some(Value::Number(value)), &rest[end..])
            }
        };
        self.rest = rest;
        Some((key, value))
    }
}

fn skip_space(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// A string behind its opening quote, unescaped, and what follows the closing one.
fn string(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let end = closing_quote(text)?;
    let raw = &text[..end];
    let rest = &text[end + 1..];
    if memchr::memchr(b'\\', raw).is_none() {
        return Some((Cow::Borrowed(raw), rest));
    }
    // Rare enough to let serde_json unescape it; what it refuses is no key and no time.
    let quoted = [b"\"", raw, b"\""].concat();
    let text: String = serde_json::from_slice(&quoted).unwrap_or_default();
    Some((Cow::Owned(text.into_bytes()), rest))
}

fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// What follows an object or array that begins here.
fn skip_nested(text: &[u8]) -> Option<&[u8]> {
    let (open, close) = match text.first()? {
        b'{' => (b'{', b'}'),
        _ => (b'[', b']'),
    };
    // In valid JSON the other kind of bracket is balanced within, so one kind is enough.
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        at += memchr3(b'"', open, close, text.get(at..)?)?;
        match text[at] {
            b'"' => at += 1 + closing_quote(&text[at + 1..])?,
            byte if byte == open => depth += 1,
            _ => depth -= 1,
        }
        at += 1;
        if depth == 0 {
            return Some(&text[at..]);
        }
    }
}
