//! The last lines a script printed: kept for the day it fails.

use serde::{Deserialize, Serialize};

/// Most lines shown.
const LINES_MAX: usize = 20;
/// Most bytes kept; twice as many while lines keep coming.
const BYTES_MAX: usize = 2_048;

/// The last lines of the script that printed last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tail {
    /// The lifecycle event it belongs to; empty before the first.
    pub(super) event: String,
    text: String,
}

impl Tail {
    /// Another script's output follows.
    pub(super) fn begin(&mut self, event: &str) {
        self.text.clear();
        if self.event != event {
            self.event.clear();
            self.event.push_str(event);
        }
    }

    /// One more line. Called for every line of every hook: it copies at most what it may keep.
    pub(super) fn push(&mut self, line: &str) {
        let line = ending(line, BYTES_MAX - 1);
        if self.text.len() + line.len() + 1 > 2 * BYTES_MAX {
            let kept = ending(&self.text, BYTES_MAX - 1 - line.len()).len();
            self.text.drain(..self.text.len() - kept);
        }
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// The last lines, the oldest first; at most 20 and 2 KiB.
    pub(super) fn lines(&self) -> Vec<String> {
        last_lines(&self.text)
    }

    /// The same without what goes beyond the limits, for the state on disk.
    pub(super) fn trimmed(&self) -> Self {
        Self {
            event: self.event.clone(),
            text: ending(&self.text, BYTES_MAX).to_owned(),
        }
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// The last lines of a text, at most 20 and 2 KiB; a first line that was cut keeps its rest.
pub(super) fn last_lines(text: &str) -> Vec<String> {
    let lines: Vec<&str> = ending(text, BYTES_MAX).lines().collect();
    let from = lines.len().saturating_sub(LINES_MAX);
    lines[from..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

/// At most the last so many bytes, in whole characters.
fn ending(text: &str, bytes: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_last_lines_are_kept_within_bounds(
            lines in prop::collection::vec("[a-zé€]{0,90}", 0..60),
            long in prop::collection::vec(0..60_usize, 0..3)
        ) {
            // The lines shown must be the end of all lines printed (the first perhaps cut), and
            // memory stay bounded: compared with all lines joined.
            let mut lines = lines;
            for at in long.into_iter().filter(|at| *at < lines.len()).collect::<Vec<_>>() {
                lines[at] = "x€".repeat(1_000);
            }
            let mut tail = Tail::default();
            for line in &lines {
                tail.push(line);
                prop_assert!(tail.text.len() <= 2 * BYTES_MAX);
            }
            let shown = tail.lines();
            prop_assert!(shown.len() <= LINES_MAX);
            let all: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let text: String = shown.iter().map(|line| format!("{line}\n")).collect();
            prop_assert!(all.ends_with(&text));
            prop_assert!(text.len() >= all.len().min(20), "{} of {}", text.len(), all.len());
            prop_assert_eq!(tail.trimmed().lines(), shown);
        }
    }
}
