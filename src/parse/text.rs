//! From a record's bytes to text that may be sent.
//!
//! Owns what happens to bytes no log service wants: one trailing CR goes, and so does each CR
//! right before a newline inside a joined record; runs of [`NUL_RUN_MIN`] or more NUL bytes (what a
//! file system leaves behind a power cut) go and are counted, shorter ones stay, for a program may
//! have written them; bytes that are not UTF-8 become U+FFFD; ANSI escape sequences go only when
//! asked. The result may be empty: the caller skips it, since the service takes no empty message.
//!
//! Plain text passes through without a copy, and a line of a chunk without a look: [`NextOdd`] knows
//! where the next byte is that wants one. Called by `parse` for each record, before redaction.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr2, memchr3};

/// From this length on a run of NUL bytes is taken for the trace of a crash. A block that was
/// never written is hundreds of bytes of them; what programs write is a terminator or padding.
pub const NUL_RUN_MIN: usize = 16;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;

/// What to do with ANSI escape sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripAnsi {
    /// Leave them, as CloudWatch's console shows colours.
    Keep,
    /// Take them out.
    Strip,
}

/// The next byte of a chunk that may have to go: the search for it is not repeated for each of the
/// lines before it.
#[derive(Debug, Default)]
pub struct NextOdd {
    /// From the one up to the other there is none.
    from: usize,
    at: usize,
}

impl NextOdd {
    /// Whether it is behind a range of the chunk, which then needs no [`clean`]. Cheapest in ascending
    /// order.
    pub fn is_behind(&mut self, range: Range<usize>, chunk: &[u8], ansi: StripAnsi) -> bool {
        if range.start < self.from || self.at <= range.start {
            let rest = &chunk[range.start..];
            self.from = range.start;
            self.at = range.start + first_odd(rest, ansi).unwrap_or(rest.len());
        }
        range.end <= self.at
    }
}

/// A record's text, fit to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaned<'a> {
    /// Valid UTF-8; may be empty.
    pub text: Cow<'a, str>,
    /// Whether there were bytes that were not UTF-8 (now U+FFFD), for the source's count.
    pub not_utf8: bool,
    /// How many NUL bytes were dropped, for the source's count.
    pub nul_bytes: usize,
}

impl<'a> Cleaned<'a> {
    /// Text that is fit as it is.
    pub(super) fn plain(text: &'a str) -> Self {
        Self {
            text: Cow::Borrowed(text),
            not_utf8: false,
            nul_bytes: 0,
        }
    }
}

/// The text of a record's bytes (given without the last line's end).
#[must_use]
pub fn clean(bytes: &[u8], ansi: StripAnsi) -> Cleaned<'_> {
    match std::str::from_utf8(bytes) {
        Ok(text) => clean_valid(text, ansi),
        Err(_) => {
            let text = String::from_utf8_lossy(bytes);
            let cleaned = clean_valid(&text, ansi);
            Cleaned {
                text: Cow::Owned(cleaned.text.into_owned()),
                not_utf8: true,
                nul_bytes: cleaned.nul_bytes,
            }
        }
    }
}

/// The text of a record whose bytes are known to be UTF-8.
#[must_use]
pub fn clean_valid(text: &str, ansi: StripAnsi) -> Cleaned<'_> {
    let text = text.strip_suffix('\r').unwrap_or(text);
    match first_odd(text.as_bytes(), ansi) {
        None => Cleaned::plain(text),
        Some(first) => clean_odd(text, first, ansi),
    }
}

/// Where to cut so that the first part has at most `max` bytes and no character is cut. Never 0
/// for a text that is not empty: where not even one character fits, it is taken whole, so that
/// splitting always goes on.
#[must_use]
pub fn split_at_boundary(text: &str, max: usize) -> usize {
    match text.floor_char_boundary(max) {
        0 => text.chars().next().map_or(0, char::len_utf8),
        cut => cut,
    }
}

/// The first byte that may have to go.
fn first_odd(bytes: &[u8], ansi: StripAnsi) -> Option<usize> {
    match ansi {
        StripAnsi::Keep => memchr2(0, b'\r', bytes),
        StripAnsi::Strip => memchr3(0, b'\r', ESC, bytes),
    }
}

/// The slow way, for text with a NUL, a CR or an escape sequence, the first of them at `first`.
fn clean_odd(text: &str, first: usize, ansi: StripAnsi) -> Cleaned<'_> {
    let bytes = text.as_bytes();
    // Everything that is cut out begins and ends at an ASCII byte, so what stays is whole
    // characters; it is copied piece by piece.
    let mut kept = String::new();
    let mut nul_bytes = 0;
    let mut copied = 0;
    let mut at = first;
    while at < bytes.len() {
        let cut = match bytes[at] {
            0 => {
                let run = bytes[at..].iter().take_while(|&&byte| byte == 0).count();
                if run < NUL_RUN_MIN {
                    at += run;
                    continue;
                }
                nul_bytes += run;
                run
            }
            b'\r' if bytes.get(at + 1) == Some(&b'\n') => 1,
            ESC if ansi == StripAnsi::Strip => escape_bytes(&bytes[at..]),
            _ => {
                at += 1;
                continue;
            }
        };
        kept.push_str(&text[copied..at]);
        at += cut;
        copied = at;
    }
    let text = if copied == 0 {
        Cow::Borrowed(text)
    } else {
        kept.push_str(&text[copied..]);
        Cow::Owned(kept)
    };
    Cleaned {
        text,
        not_utf8: false,
        nul_bytes,
    }
}

/// The length of the escape sequence that begins here (ECMA-48). One that is not finished loses
/// only its ESC: what follows may be the program's words.
fn escape_bytes(bytes: &[u8]) -> usize {
    let count = |from: usize, range: std::ops::RangeInclusive<u8>| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter().take_while(|&byte| range.contains(byte)).count()
    };
    match bytes.get(1) {
        // CSI: parameters, intermediates, one final byte.
        Some(b'[') => {
            let parameters = count(2, 0x30..=0x3f);
            let end = 2 + parameters + count(2 + parameters, 0x20..=0x2f);
            match bytes.get(end) {
                Some(0x40..=0x7e) => end + 1,
                _ => 1,
            }
        }
        // OSC, DCS, SOS, PM, APC: up to BEL or ESC \.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            match memchr3(BEL, ESC, b'\n', &bytes[2..]).map(|at| at + 2) {
                Some(end) if bytes[end] == BEL => end + 1,
                Some(end) if bytes[end..].starts_with(b"\x1b\\") => end + 2,
                _ => 1,
            }
        }
        // Two bytes, or more with intermediates (character sets).
        _ => {
            let end = 1 + count(1, 0x20..=0x2f);
            match bytes.get(end) {
                Some(0x30..=0x7e) => end + 1,
                _ => 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(bytes: &[u8]) -> String {
        clean(bytes, StripAnsi::Keep).text.into_owned()
    }

    #[test]
    fn plain_text_is_not_copied() {
        // What needs no change is borrowed, shown by the variant of the Cow.
        for line in [
            "",
            "plain",
            "héllo ✓ 🚀",
            "\ttab",
            "a\x1b[31mb",
            "a\0b",
            "10%\r20%",
        ] {
            let cleaned = clean(line.as_bytes(), StripAnsi::Keep);
            assert!(
                matches!(cleaned.text, Cow::Borrowed(text) if text == line),
                "{line:?}"
            );
            assert!(!cleaned.not_utf8);
            assert_eq!(cleaned.nul_bytes, 0);
        }
    }

    #[test]
    fn carriage_returns_of_crlf_files_go() {
        // One CR before each line end goes, the CRs of progress bars stay, shown by a table.
        assert_eq!(kept(b"line\r"), "line");
        assert_eq!(kept(b"line\r\r"), "line\r");
        assert_eq!(kept(b"one\r\ntwo\r\nthree\r"), "one\ntwo\nthree");
        assert_eq!(kept(b"10%\r50%\r100%\r"), "10%\r50%\r100%");
        assert_eq!(kept(b"\r"), "");
    }

    #[test]
    fn long_runs_of_nul_go_and_are_counted() {
        // 16 NULs are a crash, 15 are a program's, wherever they stand.
        let run = |n: usize| vec![0; n];
        for (before, after) in [("", "x"), ("x", ""), ("é", "ü"), ("", "")] {
            let line = [before.as_bytes(), &run(16), after.as_bytes()].concat();
            let cleaned = clean(&line, StripAnsi::Keep);
            assert_eq!(cleaned.text, format!("{before}{after}"));
            assert_eq!(cleaned.nul_bytes, 16);
            let line = [before.as_bytes(), &run(15), after.as_bytes()].concat();
            let cleaned = clean(&line, StripAnsi::Keep);
            assert_eq!(cleaned.text.len(), line.len());
            assert_eq!(cleaned.nul_bytes, 0);
        }
        let line = [&run(4000)[..], b"after", &run(20), b"\xff", &run(3)].concat();
        let cleaned = clean(&line, StripAnsi::Strip);
        assert_eq!(cleaned.text, "after\u{fffd}\0\0\0");
        assert_eq!(cleaned.nul_bytes, 4020);
        assert!(cleaned.not_utf8);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        // Each broken sequence becomes one U+FFFD and is said, shown with Latin-1 and cut text.
        let cleaned = clean(b"caf\xe9\r", StripAnsi::Keep);
        assert_eq!(cleaned.text, "caf\u{fffd}");
        assert!(cleaned.not_utf8);
        assert_eq!(kept(b"\xf0\x9f\x9a"), "\u{fffd}");
    }

    #[test]
    fn escape_sequences_go_when_asked() {
        // Each kind of sequence goes whole, an unfinished one loses only its ESC.
        for (raw, plain) in [
            (
                "\x1b[31mred error\x1b[0m and \x1b[1;32mgreen\x1b[m",
                "red error and green",
            ),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b(Btext\x1b=\x1b7", "text"),
            ("\x1bP1$r0m\x1b\\text", "text"),
            ("\x1b[2K\x1b[1Gdone", "done"),
            ("end\x1b", "end"),
            ("end\x1b[31", "end[31"),
            ("end\x1b]0;never closed", "end]0;never closed"),
            ("\x1bé", "é"),
            ("\x1b[é", "[é"),
        ] {
            assert_eq!(
                clean(raw.as_bytes(), StripAnsi::Strip).text,
                plain,
                "{raw:?}"
            );
            assert_eq!(clean(raw.as_bytes(), StripAnsi::Keep).text, raw);
        }
    }

    proptest! {
        #[test]
        fn cleaning_never_panics_and_loses_only_what_it_may(
            bytes in prop::collection::vec(prop_oneof![
                4 => any::<u8>(), 2 => Just(0u8), 1 => Just(b'\r'), 1 => Just(b'\n'),
                2 => Just(ESC), 2 => Just(b'['), 1 => Just(0xc3u8), 1 => Just(0xa9u8),
            ], 0..200),
        ) {
            // Keeping ANSI, the text is the lossy text without some CR and NUL; stripping takes
            // only from that; and both ways in agree on valid text.
            let keep = clean(&bytes, StripAnsi::Keep);
            let lossy = String::from_utf8_lossy(&bytes);
            let bare = |text: &str| text.replace(['\0', '\r'], "");
            prop_assert_eq!(bare(&keep.text), bare(&lossy));
            let nul = |text: &str| text.bytes().filter(|&byte| byte == 0).count();
            prop_assert_eq!(nul(&keep.text) + keep.nul_bytes, nul(&lossy));
            prop_assert_eq!(keep.not_utf8, std::str::from_utf8(&bytes).is_err());
            let strip = clean(&bytes, StripAnsi::Strip);
            prop_assert!(!strip.text.contains('\x1b'));
            prop_assert!(strip.text.len() <= keep.text.len());
            prop_assert_eq!(&clean_valid(&lossy, StripAnsi::Keep).text, &keep.text);
        }

        #[test]
        fn what_is_before_the_next_odd_byte_is_plain(
            lines in prop::collection::vec("(a|\\x00{1,20}|\r|\u{1b}|é){0,6}", 0..20),
            back in 0_usize..20,
            ansi in prop_oneof![Just(StripAnsi::Keep), Just(StripAnsi::Strip)],
        ) {
            // A line that needs no cleaning is what cleaning makes of it, and each without an odd
            // byte is said to be one, in whatever order lines are asked for.
            let chunk = lines.join("\n");
            let mut odd = NextOdd::default();
            let mut ranges = Vec::new();
            let mut at = 0;
            for line in &lines {
                ranges.push((at..at + line.len(), line));
                at += line.len() + 1;
            }
            let again = ranges.iter().skip(back.min(ranges.len()));
            for (range, line) in ranges.iter().chain(again) {
                let is_plain = odd.is_behind(range.clone(), chunk.as_bytes(), ansi);
                prop_assert_eq!(is_plain, first_odd(line.as_bytes(), ansi).is_none());
                if is_plain {
                    let cleaned = clean(line.as_bytes(), ansi);
                    prop_assert_eq!(&cleaned.text, line.as_str());
                }
            }
        }

        #[test]
        fn a_split_text_is_whole_again(text in "\\PC{0,60}", max in 1usize..20) {
            // The parts are non-empty, at most `max` bytes unless one character is longer, and
            // joined they are the text.
            let mut rest = text.as_str();
            let mut joined = String::new();
            while !rest.is_empty() {
                let cut = split_at_boundary(rest, max);
                prop_assert!(cut > 0);
                prop_assert!(cut <= max || rest[..cut].chars().count() == 1);
                joined.push_str(&rest[..cut]);
                rest = &rest[cut..];
            }
            prop_assert_eq!(joined, text);
        }
    }
}
