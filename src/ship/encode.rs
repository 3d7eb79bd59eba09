//! JSON by hand: the few things a request body needs, written straight into the batch's buffer.
//!
//! Only what JSON demands is escaped: the quote, the backslash and the control characters below
//! 0x20. Everything else, U+007F included, stands verbatim. Most log lines need no escape at all, so
//! blocks of them are passed over by one test (which the compiler turns into vector instructions), and
//! what lies between two escapes is copied at once.

use crate::event::EpochMs;

/// What stands between the brace and the time.
const TIME_KEY: &[u8] = b"{\"timestamp\":";
/// What stands between the time and the message.
const MESSAGE_KEY: &[u8] = b",\"message\":\"";
/// What ends an event.
const EVENT_END: &[u8] = b"\"}";
/// How much of a text is looked at in one go.
const BLOCK_BYTES: usize = 32;
/// How much of a block that wants an escape.
const WORD_BYTES: usize = size_of::<u64>();
/// The longest integer: the digits and the sign of `i64::MIN`.
const INTEGER_BYTES_MAX: usize = 20;

/// Bytes of an event's object beside its escaped message, at most, with a comma before it.
pub(crate) const EVENT_OVERHEAD_BYTES_MAX: usize =
    1 + TIME_KEY.len() + INTEGER_BYTES_MAX + MESSAGE_KEY.len() + EVENT_END.len();

/// How much longer a message can become: every byte `\u00XX`.
pub(crate) const ESCAPE_FACTOR_MAX: usize = 6;

/// What stands before an event's message, kept from one event to the next: most of the digits of
/// the time stay, since lines come many to the second.
#[derive(Debug)]
pub(crate) struct EventHead {
    /// The second that is written in it.
    second: i64,
    bytes: [u8; HEAD_BYTES],
}

/// Times of thirteen digits: from 2001 to 2286.
const THIRTEEN_DIGITS: std::ops::Range<EpochMs> = 1_000_000_000_000..10_000_000_000_000;
const TIME_DIGITS: usize = 13;
const HEAD_BYTES: usize = TIME_KEY.len() + TIME_DIGITS + MESSAGE_KEY.len();

impl EventHead {
    /// One in which no second is written yet.
    pub(crate) fn new() -> Self {
        let mut bytes = [b'0'; HEAD_BYTES];
        bytes[..TIME_KEY.len()].copy_from_slice(TIME_KEY);
        bytes[HEAD_BYTES - MESSAGE_KEY.len()..].copy_from_slice(MESSAGE_KEY);
        Self { second: 0, bytes }
    }

    /// Writes one event's object: `{"timestamp":N,"message":"…"}`.
    pub(crate) fn push_event(&mut self, body: &mut Vec<u8>, time_ms: EpochMs, message: &str) {
        if THIRTEEN_DIGITS.contains(&time_ms) {
            self.set(time_ms);
            body.extend_from_slice(&self.bytes);
        } else {
            body.extend_from_slice(TIME_KEY);
            push_integer(body, time_ms);
            body.extend_from_slice(MESSAGE_KEY);
        }
        push_escaped(body, message);
        body.extend_from_slice(EVENT_END);
    }

    fn set(&mut self, time_ms: EpochMs) {
        const MS_AT: usize = TIME_KEY.len() + TIME_DIGITS - 3;
        let second = time_ms / 1_000;
        if second != self.second {
            self.second = second;
            write_digits(&mut self.bytes[TIME_KEY.len()..MS_AT], second);
        }
        write_digits(&mut self.bytes[MS_AT..MS_AT + 3], time_ms % 1_000);
    }
}

/// Writes a number that is not negative over these digits, zeros before it.
fn write_digits(digits: &mut [u8], number: i64) {
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// The still escaped message inside an event's object.
pub(crate) fn message_of(object: &[u8]) -> &[u8] {
    let digits = object[TIME_KEY.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit() || **byte == b'-')
        .count();
    &object[TIME_KEY.len() + digits + MESSAGE_KEY.len()..object.len() - EVENT_END.len()]
}

/// Writes a text as the inside of a JSON string.
pub(crate) fn push_escaped(body: &mut Vec<u8>, text: &str) {
    let text = text.as_bytes();
    let (blocks, tail) = text.as_chunks::<BLOCK_BYTES>();
    let mut copied = 0;
    for (start, block) in (0..).step_by(BLOCK_BYTES).zip(blocks) {
        if holds_escaped(block) {
            push_escapes(body, text, start, block, &mut copied);
        }
    }
    let may_tail = match text.last_chunk() {
        // The rest of a long text is looked at as the end of a whole block, part of it twice.
        Some(block) => holds_escaped(block),
        None => tail.iter().any(|byte| is_escaped(*byte)),
    };
    if may_tail {
        let mut block = [b' '; BLOCK_BYTES];
        block[..tail.len()].copy_from_slice(tail);
        push_escapes(body, text, text.len() - tail.len(), &block, &mut copied);
    }
    body.extend_from_slice(&text[copied..]);
}

/// Writes a text up to the last byte of a block of it that wants an escape.
fn push_escapes(
    body: &mut Vec<u8>,
    text: &[u8],
    start: usize,
    block: &[u8; BLOCK_BYTES],
    copied: &mut usize,
) {
    let (words, _) = block.as_chunks();
    for (start, word) in (start..).step_by(WORD_BYTES).zip(words) {
        let mut marks = marks_of_escaped(*word);
        while marks != 0 {
            let at = start + marks.trailing_zeros() as usize / 8;
            body.extend_from_slice(&text[*copied..at]);
            push_escape(body, text[at]);
            *copied = at + 1;
            marks &= marks - 1;
        }
    }
}

/// Whether any byte wants an escape; without a branch, so that it becomes vector code.
#[inline]
fn holds_escaped(block: &[u8; BLOCK_BYTES]) -> bool {
    block
        .iter()
        .fold(false, |any, byte| any | is_escaped(*byte))
}

/// Whether a byte is a quote, a backslash or a control character, whose distance from what they are is
/// none: in this form half as many vector instructions.
#[inline]
fn is_escaped(byte: u8) -> bool {
    let control = byte.saturating_sub(0x1f);
    control.min(byte ^ b'"').min(byte ^ b'\\') == 0
}

/// The highest bit of each byte that [`is_escaped`]; of the first byte it is the lowest of them.
fn marks_of_escaped(word: [u8; WORD_BYTES]) -> u64 {
    const HIGHEST: u64 = u64::from_ne_bytes([0x80; WORD_BYTES]);
    let word = u64::from_le_bytes(word);
    // Nothing carries from one byte into the next: the sum is of seven bits, and keeps the eighth free.
    let is_less = |word: u64, than: u8| {
        let rest = (word & !HIGHEST) + u64::from_ne_bytes([0x80 - than; WORD_BYTES]);
        !(rest | word) & HIGHEST
    };
    let is = |byte: u8| is_less(word ^ u64::from_ne_bytes([byte; WORD_BYTES]), 1);
    is_less(word, 0x20) | is(b'"') | is(b'\\')
}

/// How many bytes [`push_escaped`] would write.
pub(crate) fn escaped_len(text: &str) -> usize {
    let (blocks, tail) = text.as_bytes().as_chunks::<BLOCK_BYTES>();
    let added: usize = blocks.iter().map(|block| added_bytes(block)).sum();
    text.len() + added + added_bytes(tail)
}

/// How many bytes escapes add to a block; without a branch, so that it becomes vector code.
fn added_bytes(block: &[u8]) -> usize {
    let added = block.iter().fold(0_u8, |sum, byte| {
        let long = u8::from(*byte < 0x20) * (ESCAPE_FACTOR_MAX as u8 - 1);
        let letters = u8::from((0x08..=0x0d).contains(byte) && *byte != 0x0b);
        let quotes = u8::from(*byte == b'"') + u8::from(*byte == b'\\');
        // A block adds 5 times 32 at most.
        sum.wrapping_add(long.wrapping_add(quotes).wrapping_sub(letters * 4))
    });
    usize::from(added)
}

/// The letter after the backslash, for the characters that have one.
fn short_escape(byte: u8) -> Option<u8> {
    match byte {
        b'"' | b'\\' => Some(byte),
        b'\n' => Some(b'n'),
        b'\t' => Some(b't'),
        b'\r' => Some(b'r'),
        0x08 => Some(b'b'),
        0x0c => Some(b'f'),
        _ => None,
    }
}

fn push_escape(body: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match short_escape(byte) {
        Some(letter) => body.extend_from_slice(&[b'\\', letter]),
        None => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            body.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    }
}

/// Writes a number in decimal.
pub(crate) fn push_integer(body: &mut Vec<u8>, number: i64) {
    let mut digits = [0_u8; INTEGER_BYTES_MAX];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    body.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(text: &str) -> Vec<u8> {
        let mut body = Vec::new();
        push_escaped(&mut body, text);
        body
    }

    /// Each of the 256 first code points is written as documented, at every position of a word
    /// and of a block: the bytes are compared with a table written out differently.
    #[test]
    fn every_character_at_every_position() {
        for code in 0..256_u32 {
            let c = char::from_u32(code).unwrap();
            let expected = match c {
                '"' => "\\\"".to_owned(),
                '\\' => "\\\\".to_owned(),
                '\n' => "\\n".to_owned(),
                '\t' => "\\t".to_owned(),
                '\r' => "\\r".to_owned(),
                '\u{8}' => "\\b".to_owned(),
                '\u{c}' => "\\f".to_owned(),
                c if code < 0x20 => format!("\\u{:04x}", c as u32),
                c => c.to_string(),
            };
            for before in 0..70 {
                let text = format!("{}{c}{}", "a".repeat(before), "z".repeat(40));
                let wanted = text.replace(c, &expected);
                assert_eq!(
                    escaped(&text),
                    wanted.as_bytes(),
                    "{code:#x} behind {before}"
                );
            }
        }
    }

    /// Each byte is marked for what it is, whatever stands beside it: all pairs, at every place.
    #[test]
    fn marks_are_a_bytes_own() {
        for (byte, other) in (0..=255).flat_map(|byte| (0..=255).map(move |other| (byte, other))) {
            for at in 0..WORD_BYTES {
                let mut word = [other; WORD_BYTES];
                word[at] = byte;
                let marks = marks_of_escaped(word).to_le_bytes();
                let wanted = word.map(|byte| u8::from(is_escaped(byte)) << 7);
                assert_eq!(marks, wanted, "{word:?}");
            }
        }
    }

    /// Integers are written like everyone else writes them, ends of the range included.
    #[test]
    fn integers_at_the_edges() {
        for number in [
            0,
            9,
            10,
            99,
            100,
            1_000,
            -1,
            -10,
            1_700_000_000_009,
            i64::MAX,
            i64::MIN,
        ] {
            let mut body = Vec::new();
            push_integer(&mut body, number);
            assert_eq!(body, number.to_string().as_bytes());
        }
    }

    /// A head says the time of its event, whatever it said before: times around the ends of what
    /// it is made for, and of a second, one after the other.
    #[test]
    fn a_head_says_each_time() {
        let times = [
            0,
            1_795_230_000_000,
            1_795_230_000_009,
            1_795_229_999_999,
            999_999_999_999,
            1_000_000_000_000,
            9_999_999_999_999,
            10_000_000_000_000,
            -1,
        ];
        let mut head = EventHead::new();
        for time_ms in times.into_iter().chain(times.into_iter().rev()) {
            let mut body = Vec::new();
            head.push_event(&mut body, time_ms, "m");
            let wanted = format!(r#"{{"timestamp":{time_ms},"message":"m"}}"#);
            assert_eq!(String::from_utf8(body).unwrap(), wanted);
        }
    }

    proptest! {
        /// Any text and time come back by a JSON parser; the length was foretold and the bounds
        /// hold; the message is found again in the object.
        #[test]
        fn any_event_survives(
            text in "([a-z]|[\u{0}-\u{7f}]|[\\\\\"\n\t]|.){0,200}", time_ms: i64)
        {
            let mut body = Vec::new();
            EventHead::new().push_event(&mut body, time_ms, &text);
            let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(&read["message"], &serde_json::Value::from(text.as_str()));
            prop_assert_eq!(&read["timestamp"], &serde_json::Value::from(time_ms));
            prop_assert_eq!(message_of(&body), escaped(&text));
            prop_assert_eq!(escaped(&text).len(), escaped_len(&text));
            prop_assert!(escaped_len(&text) <= text.len() * ESCAPE_FACTOR_MAX);
            prop_assert!(body.len() < escaped_len(&text) + EVENT_OVERHEAD_BYTES_MAX);
        }
    }
}
