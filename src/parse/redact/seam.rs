//! Lines that are cut because they are too long for one event, or because their end does not come.
//!
//! A rule sees one event at a time, so a secret that lies across the cut would be seen by none. Three
//! answers: the cut is moved before what begins ahead of it and ends behind ([`Redactor::cut_before`]); where that
//! is not possible, what is still a secret at the end of one part is one at the beginning of the
//! next ([`Carry`]); and after a restart the bytes before the position say what was remembered.

use std::ops::Range;

use super::needles::{Kind, Needles};
use super::value::{self, Quote};
use super::{RedactState, Redactor, Rule, Spans, look, pem};

/// How far around a cut a secret is looked for.
const WINDOW_BYTES: usize = 4_096;

/// Longest name before a word that belongs to it: `--`, `X-Amz-`, `<db:`.
const NAME_BYTES_MAX: usize = 96;

/// Words before a name that can make a setting of it where nothing but a blank stands behind it:
/// `login bob password x`.
const WORDS_BEFORE: usize = 2;

/// Longest such words.
const WORDS_BYTES_MAX: usize = 40;

/// What is put behind a part to see whether a secret would go on there.
const PROBE: &str = "q7ZpX9vK2mB4nT6w";

/// A secret that goes on in the next part of its line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carry {
    /// The number of its rule.
    pub(super) rule: usize,
    /// What closes it; `None`: what ends a value without quotes.
    quote: Option<Quote>,
}

impl Carry {
    /// How far it reaches into the next part.
    pub(super) fn end(self, text: &str) -> usize {
        let bytes = text.as_bytes();
        match self.quote {
            Some(quote) => value::closing(bytes, 0, &quote),
            None if self.rule == Rule::PrivateKey as usize => pem::material(bytes),
            None => value::bare(bytes, 0).end,
        }
    }
}

impl Redactor {
    /// Where to cut a line instead of at `cut`, so that no secret lies across: there or before.
    #[must_use]
    pub fn cut_before(&self, bytes: &[u8], cut: usize) -> usize {
        let from = cut.saturating_sub(WINDOW_BYTES);
        let to = bytes.len().min(cut + WINDOW_BYTES);
        let window = ascii(&bytes[from..to]);
        let zones = self.zones(&window);
        let mut at = cut - from;
        while let Some(zone) = zones.iter().find(|zone| zone.start < at && at < zone.end) {
            at = zone.start;
        }
        while at > 0 && from + at < bytes.len() && bytes[from + at] & 0xC0 == 0x80 {
            at -= 1;
        }
        // So long a secret is rather carried on than every part kept short.
        if from + at > cut / 2 { from + at } else { cut }
    }

    /// As [`Redactor::redact`], for a part of a line that goes on behind it.
    pub fn redact_part(&mut self, state: &mut RedactState, text: &str) -> Option<String> {
        self.find_in_part(state, text);
        self.without_spans(text)
    }

    /// Finds what must go from a part, and whether it goes on behind it.
    fn find_in_part(&mut self, state: &mut RedactState, text: &str) {
        let carried = state.carry;
        let probed = format!("{text}{PROBE}");
        self.find(&mut state.clone(), &probed);
        let crosses = |(range, _): &&(Range<usize>, usize)| range.end > text.len();
        let crossing = self.spans.found.iter().find(crosses).cloned();
        self.find(state, text);
        if let Some((range, rule)) = crossing {
            state.carry = match carried {
                Some(carried) if range.start == 0 => Some(carried),
                _ => Some(Carry {
                    rule,
                    quote: value::quote_before(text.as_bytes(), range.start.min(text.len())),
                }),
            };
            if range.start < text.len() {
                self.spans.add_numbered(range.start..text.len(), rule);
            }
        }
    }

    /// Learns from the bytes that lead up to a position what the text there depends on.
    pub fn recall(&mut self, state: &mut RedactState, leading: &[u8]) {
        if !self.suspicious(leading) {
            return;
        }
        for line in ascii(leading).split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    self.find(state, line);
                    state.end_line();
                }
                None => self.find_in_part(state, line),
            }
        }
    }

    /// What may not be cut in two: secrets with the words before them, and those words alone.
    fn zones(&self, window: &str) -> Vec<Range<usize>> {
        let mut zones = Vec::new();
        if let Some(needles) = &self.needles {
            zones_of(needles, window, &mut zones);
        }
        for rule in &self.user {
            zones.extend(rule.regex.find_iter(window).map(|found| found.range()));
        }
        zones
    }
}

fn zones_of(needles: &Needles, window: &str, zones: &mut Vec<Range<usize>>) {
    let mut end = 0;
    needles.find_each(window.as_bytes(), |kind, hit| {
        if hit.start < end {
            return;
        }
        let mut spans = Spans::default();
        look(
            kind,
            hit.clone(),
            window,
            &mut RedactState::default(),
            &mut spans,
        );
        let first = spans.found.first();
        let start = first.map_or(hit.start, |(range, _)| range.start);
        end = spans.end;
        let start = hit.start.min(start);
        let secret = first.map_or(start, |(range, _)| range.start);
        let mut start = name_start(window, start);
        if matches!(kind, Kind::Assigned(_) | Kind::SecureString) && is_apart(window, secret) {
            start = words_before(window, start);
        }
        // The byte behind can be what tells: the `@` of a URL.
        zones.push(start..hit.end.max(end) + 1);
    });
}

/// Where the name begins that ends here.
fn name_start(window: &str, end: usize) -> usize {
    let before = window.as_bytes()[..end].iter().rev().take(NAME_BYTES_MAX);
    end - before.take_while(|&&byte| !is_between(byte)).count()
}

/// Whether nothing but a blank stands between a name and what begins here.
fn is_apart(window: &str, at: usize) -> bool {
    let head = window[..at].strip_suffix(' ').unwrap_or_default();
    head.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// Where the words begin that can make a setting of the name that begins here, if they are short.
fn words_before(window: &str, start: usize) -> usize {
    (0..WORDS_BEFORE).fold(start, |at, _| {
        let begin = name_start(window, at.saturating_sub(1));
        if start - begin <= WORDS_BYTES_MAX {
            begin
        } else {
            at
        }
    })
}

/// What stands between two fields, so that nothing before it belongs to the next one's name.
fn is_between(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b',' | b';' | b'&' | b'|')
}

/// The same bytes as text of the same length: what is not ASCII is no part of any rule.
fn ascii(bytes: &[u8]) -> String {
    let plain = |byte: &u8| {
        if byte.is_ascii() {
            char::from(*byte)
        } else {
            '~'
        }
    };
    bytes.iter().map(plain).collect()
}
