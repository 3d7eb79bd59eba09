//! Text for people: colours, units and widths, and nothing a log or a path could smuggle into a
//! terminal. Pure but for the two questions to the system, [`Colour::detect`] and [`width`].

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

/// Columns where the terminal does not tell.
const DEFAULT_WIDTH: usize = 100;

/// Narrower is not drawn for, wider is hard to read.
const WIDTHS: std::ops::RangeInclusive<usize> = 80..=120;

/// Whether escape sequences may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// To a terminal.
    On,
    /// To a file or pipe, or because the user wishes so.
    Off,
}

impl Colour {
    /// On for a terminal on standard output, unless `NO_COLOR` is set to something or the
    /// terminal is a dumb one.
    #[must_use]
    pub fn detect() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stdout().is_terminal() && !refused && !dumb {
            Self::On
        } else {
            Self::Off
        }
    }

    /// The text in a style, or as it is.
    #[must_use]
    pub fn paint(self, style: Style, text: &str) -> String {
        match self {
            Self::On => format!("\x1b[{}m{text}\x1b[0m", style.code()),
            Self::Off => text.to_owned(),
        }
    }
}

/// What a piece of text is, rather than how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A title.
    Title,
    /// All is well.
    Good,
    /// Something needs a person.
    Bad,
    /// Worth a look.
    Warn,
    /// Beside the point.
    Faint,
    /// A name.
    Name,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Title => "1",
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Warn => "33",
            Self::Faint => "2",
            Self::Name => "36",
        }
    }
}

/// Columns to draw for: the terminal's, else `COLUMNS`, else 100; between 80 and 120.
#[must_use]
pub fn width() -> usize {
    let asked = rustix::termios::tcgetwinsize(std::io::stdout())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .or_else(|| std::env::var("COLUMNS").ok()?.parse().ok());
    asked
        .unwrap_or(DEFAULT_WIDTH)
        .clamp(*WIDTHS.start(), *WIDTHS.end())
}

/// The text with every control character made visible, so that none reaches the terminal.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_dangerous(c) {
            escape_one(c, &mut escaped);
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Where texts go that services, logs and others' files had a hand in: what they smuggle in is made
/// visible as by [`escape`], but for the ends of lines.
#[derive(Debug)]
pub struct Plain<W>(pub W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        for (nth, line) in text.split('\n').enumerate() {
            if nth > 0 {
                self.0.write_all(b"\n")?;
            }
            self.0.write_all(escape(line).as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// As JSON writes it, so that what is JSON stays so.
fn escape_one(c: char, into: &mut String) {
    match c {
        '\t' => into.push_str("\\t"),
        '\n' => into.push_str("\\n"),
        '\r' => into.push_str("\\r"),
        _ => into.push_str(&format!("\\u{:04x}", u32::from(c))),
    }
}

/// Control characters, and those that turn the direction of what follows.
fn is_dangerous(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text in at most `width` characters; what is left out is the middle, since both ends of a
/// path tell most.
#[must_use]
pub fn shorten(text: &str, width: usize) -> Cow<'_, str> {
    let length = text.chars().count();
    if length <= width {
        return Cow::Borrowed(text);
    }
    let kept = width.saturating_sub(1);
    let front = kept / 3;
    let head: String = text.chars().take(front).collect();
    let tail: String = text.chars().skip(length - (kept - front)).collect();
    Cow::Owned(format!("{head}…{tail}"))
}

/// Bytes as people read them: `0 B`, `940 B`, `1.2 KiB`, `34 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut unit = 0;
    let mut tenths = u128::from(count) * 10 / 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if tenths < 100 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", tenths / 10, UNITS[unit])
    }
}

/// A number with its thousands apart: `1,234,567`.
#[must_use]
pub fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A length of time in its two greatest units: `0 s`, `4 min 5 s`, `3 d 2 h`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// On which side a column's cells are flush.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Cells that are padded to the widest of their column.
#[derive(Debug)]
pub struct Table<const N: usize> {
    sides: [Side; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// An empty table.
    #[must_use]
    pub fn new(sides: [Side; N]) -> Self {
        Self {
            sides,
            rows: Vec::new(),
        }
    }

    /// One row more.
    pub fn row(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// The rows, two blanks between columns; what does not fit is cut from the last column.
    #[must_use]
    pub fn lines(&self, width: usize) -> Vec<String> {
        let widths: [usize; N] = std::array::from_fn(|column| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        });
        self.rows
            .iter()
            .map(|row| {
                let mut line = String::new();
                for (column, cell) in row.iter().enumerate() {
                    let pad = widths[column];
                    if column > 0 {
                        line.push_str("  ");
                    }
                    match self.sides[column] {
                        Side::Left => line.push_str(&format!("{cell:<pad$}")),
                        Side::Right => line.push_str(&format!("{cell:>pad$}")),
                    }
                }
                let line = line.trim_end();
                match line.char_indices().nth(width) {
                    Some(_) => line
                        .chars()
                        .take(width.saturating_sub(1))
                        .chain(['…'])
                        .collect(),
                    None => line.to_owned(),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a service says, only the ends of lines are obeyed: shown by a reason that would clear the
    /// screen, written as the commands write.
    #[test]
    fn what_others_say_is_only_shown() {
        let mut out = Plain(Vec::new());
        let (reason, turned) = ("\u{1b}[2Jgone\r\u{9b}", "\u{202e}");
        writeln!(out, "because {reason}{turned} – so\nnext").unwrap();
        let expected = "because \\u001b[2Jgone\\r\\u009b\\u202e – so\nnext\n";
        assert_eq!(String::from_utf8(out.0).unwrap(), expected);
    }

    #[test]
    fn units_are_human() {
        // Counts are shown in the greatest unit that fits; shown at the edges between units.
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10_239, "9.9 KiB"),
            (10_240, "10 KiB"),
            (1_048_575, "1023 KiB"),
            (1_048_576, "1.0 MiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(3_599), "59 min 59 s");
        assert_eq!(duration(90_000), "1 d 1 h");
    }

    #[test]
    fn no_control_character_passes() {
        // A path cannot move the cursor or turn the text; shown with an escape, a newline, a bidi
        // override.
        assert_eq!(escape("/a/ü b"), "/a/ü b");
        assert_eq!(escape("/a\x1b[2J\n\u{202e}"), "/a\\u001b[2J\\n\\u202e");
    }

    #[test]
    fn shortening_keeps_both_ends_and_the_width() {
        // A long path fits and still shows where it begins and ends; shown at its very width too.
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("0123456789", 7), "01…6789");
        assert_eq!(shorten("äöüäöüäöü", 4).chars().count(), 4);
    }

    #[test]
    fn colours_are_only_written_when_on() {
        // Nothing but the text goes into a pipe; shown in both modes.
        assert_eq!(Colour::Off.paint(Style::Bad, "x"), "x");
        assert_eq!(Colour::On.paint(Style::Bad, "x"), "\x1b[1;31mx\x1b[0m");
    }
}
