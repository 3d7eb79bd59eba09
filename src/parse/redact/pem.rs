//! Private keys in PEM: as one text (also with `\n` written out), cut off at either end, and line
//! by line over many records.

use std::ops::Range;

use memchr::memmem;

use super::{RedactState, Rule, Spans};

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// `ENCRYPTED `, `RSA `, `OPENSSH `, `PGP `: longest label before `PRIVATE KEY`.
const LABEL_BYTES_MAX: usize = 24;

/// How far behind its begin the end of a key is looked for: five times an RSA key of 8,192 bits.
const KEY_BYTES_MAX: usize = 32 * 1024;

/// From this length on base64 is a key's line without further proof.
const KEY_LINE_BYTES_MIN: usize = 16;

/// Marks what the shipped CodeDeploy logs put before a line of a script.
const STREAM_TAGS: [&[u8]; 2] = [b"[stdout]", b"[stderr]"];

/// What goes where the words `private key` stand at `hit`, if they are a marker's.
pub(super) fn block(
    bytes: &[u8],
    hit: Range<usize>,
    state: &mut RedactState,
    spans: &mut Spans,
) -> Option<Range<usize>> {
    let marker_end = marker_end(bytes, hit.end)?;
    if let Some(begin) = marker_start(bytes, hit.start, BEGIN) {
        let body = &bytes[marker_end..];
        let unseen = marker_end.max(spans.endless);
        let limit = marker_end + body.len().min(KEY_BYTES_MAX);
        if let Some(end) = memmem::find(&bytes[unseen..limit], END) {
            state.leave_key();
            let label = unseen + end + END.len();
            let close = memmem::find(&bytes[label..], DASHES).map_or(0, |at| at + DASHES.len());
            return Some(begin..label + close);
        }
        spans.endless = unseen.max((limit + 1).saturating_sub(END.len()));
        if body.iter().all(|&byte| is_material(byte)) {
            state.enter_key();
        }
        return Some(begin..marker_end + material(body));
    }
    let end = marker_start(bytes, hit.start, END)?;
    state.leave_key();
    let start = material_before(bytes, end)?;
    Some(start..marker_end)
}

/// The lines of a text that belong to the key its file is inside of, up to the key's end.
pub(super) fn key_lines(text: &str, state: &mut RedactState, spans: &mut Spans) {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let next = start + line.len();
        let line = line.trim_end();
        let is_marker = |marker| memmem::find(line.as_bytes(), marker).is_some();
        if !state.is_active() || is_marker(BEGIN) || is_marker(END) {
            // A marker is found by its own words, and ends this.
            return;
        }
        state.lines_left -= 1;
        let token = line
            .rfind(|c: char| c.is_whitespace() || matches!(c, ']' | '|' | '"'))
            .map_or(0, |at| {
                at + line[at..].chars().next().map_or(0, char::len_utf8)
            });
        let len = line.len() - token;
        let is_base64 = line[token..].bytes().all(is_base64);
        let is_last = state.after_key_line && len >= 4 && len.is_multiple_of(4);
        state.after_key_line = is_base64 && (len >= KEY_LINE_BYTES_MIN || is_last);
        if state.after_key_line {
            spans.add(start + token..start + line.len(), Rule::PrivateKey);
        }
        start = next;
    }
}

/// How far a key reaches whose end is missing.
pub(super) fn material(body: &[u8]) -> usize {
    let mut material = body.iter().take_while(|&&byte| is_material(byte)).count();
    // The backslashes belong to the quote that ended it.
    while material > 0 && body[material - 1] == b'\\' {
        material -= 1;
    }
    material
}

/// Where the marker begins whose label ends before `words`.
fn marker_start(bytes: &[u8], words: usize, marker: &[u8]) -> Option<usize> {
    let from = words.saturating_sub(marker.len() + LABEL_BYTES_MAX);
    let start = from + memmem::rfind(&bytes[from..words], marker)?;
    let label = &bytes[start + marker.len()..words];
    label
        .iter()
        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ')
        .then_some(start)
}

/// Where the marker ends whose words `PRIVATE KEY` end here.
fn marker_end(bytes: &[u8], words: usize) -> Option<usize> {
    let rest = &bytes[words..];
    let rest = rest.strip_prefix(b" BLOCK").unwrap_or(rest);
    rest.starts_with(DASHES)
        .then_some(bytes.len() - rest.len() + DASHES.len())
}

/// Where the key begins that ends here and whose head was cut off: lines of base64, the last of
/// which may be short, with newlines (also written out) and stream tags between.
fn material_before(bytes: &[u8], end: usize) -> Option<usize> {
    let mut key = None;
    let mut at = end;
    loop {
        at = separators_before(bytes, at);
        let run = bytes[..at]
            .iter()
            .rev()
            .take_while(|&&byte| is_base64(byte))
            .count();
        let mut start = at - run;
        if run > 0 && is_escaped(bytes, start) {
            start += 1;
        }
        let len = at - start;
        let is_short = key.is_none() && len >= 4 && len.is_multiple_of(4);
        if len >= KEY_LINE_BYTES_MIN {
            key = Some(start);
        } else if !is_short || at == end {
            return key;
        } else {
            // Believed only if a long line comes before it.
            let before = separators_before(bytes, start);
            let long = bytes[..before]
                .iter()
                .rev()
                .take_while(|&&byte| is_base64(byte))
                .count();
            if long < KEY_LINE_BYTES_MIN {
                return key;
            }
            key = Some(start);
        }
        at = start;
    }
}

fn separators_before(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let head = &bytes[..at];
        at -= match head {
            [.., b'\\', b'n' | b'r'] => 2,
            [.., b'\\'] => 1,
            [.., last] if last.is_ascii_whitespace() => 1,
            _ if STREAM_TAGS.iter().any(|tag| head.ends_with(tag)) => STREAM_TAGS[0].len(),
            _ => return at,
        };
    }
}

/// Whether the letter here is the `n` of a written-out newline.
fn is_escaped(bytes: &[u8], at: usize) -> bool {
    matches!(bytes[at], b'n' | b'r') && at > 0 && bytes[at - 1] == b'\\'
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// What may stand inside a key whose end is missing: base64, headers, newlines, record heads.
fn is_material(byte: u8) -> bool {
    is_base64(byte)
        || byte.is_ascii_whitespace()
        || matches!(byte, b'\\' | b'-' | b':' | b',' | b'.' | b'[' | b']')
}
