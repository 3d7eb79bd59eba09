//! Where in a chunk a secret can be: what one search over the whole chunk found, so that lines
//! without a needle are not searched one by one.

use std::ops::Range;

use super::Redactor;
use super::needles::Needles;

/// Places that are kept; in a chunk with more, every line is looked at.
const PLACES_MAX: usize = 4096;

/// Bytes of a long chunk that are searched first, and bytes to a place in them at which the rest is not:
/// where most lines have a needle, one search of each line is cheaper than two.
const SAMPLE_BYTES: usize = 16 * 1024;
const BYTES_PER_PLACE_MIN: usize = 256;

/// The places of one chunk that need a look; its memory is used again for the next chunk.
#[derive(Debug, Default)]
pub struct Suspects {
    /// Where the needles begin, ascending.
    places: Vec<usize>,
    /// Those before it lie before what was asked for last.
    passed: usize,
    is_everywhere: bool,
}

impl Suspects {
    /// Nothing in the whole chunk needs one.
    #[must_use]
    pub fn are_none(&self) -> bool {
        !self.is_everywhere && self.places.is_empty()
    }

    /// Adds the places in a part of the chunk.
    fn search(&mut self, needles: &Needles, chunk: &[u8], part: Range<usize>) {
        let start = part.start;
        needles.find_each(&chunk[part], |_, found| {
            if self.places.len() == PLACES_MAX {
                self.is_everywhere = true;
            } else {
                self.places.push(start + found.start);
            }
        });
    }

    /// Whether whole lines of the chunk need a look. Cheapest in ascending order.
    pub fn are_in(&mut self, lines: Range<usize>) -> bool {
        if self.is_everywhere {
            return true;
        }
        if self.passed > 0 && self.places[self.passed - 1] >= lines.start {
            self.passed = 0;
        }
        let before = |place: &&usize| **place < lines.start;
        self.passed += self.places[self.passed..].iter().take_while(before).count();
        let next = self.places.get(self.passed);
        next.is_some_and(|place| *place < lines.end)
    }
}

impl Redactor {
    /// Looks over a chunk for the places where any rule could match. What it leaves out is a promise
    /// for these very bytes, as in [`Redactor::suspicious`]; a needle never lies across the end of a
    /// line, so it holds for each line.
    pub fn suspects(&self, chunk: &[u8], suspects: &mut Suspects) {
        suspects.places.clear();
        suspects.passed = 0;
        suspects.is_everywhere = !self.user.is_empty();
        let Some(needles) = &self.needles else {
            return;
        };
        if suspects.is_everywhere {
            return;
        }
        let sample = match chunk.len() > 2 * SAMPLE_BYTES {
            true => memchr::memrchr(b'\n', &chunk[..SAMPLE_BYTES]).map_or(0, |end| end + 1),
            false => 0,
        };
        suspects.search(needles, chunk, 0..sample);
        suspects.is_everywhere |= suspects.places.len() * BYTES_PER_PLACE_MIN > sample;
        if !suspects.is_everywhere {
            suspects.search(needles, chunk, sample..chunk.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Redact;
    use proptest::prelude::*;

    fn redactor() -> Redactor {
        Redactor::new(&Redact {
            builtin: true,
            rules: Vec::new(),
        })
    }

    proptest! {
        /// A line of a chunk is a suspect exactly if it is one alone, in whatever order the lines are
        /// asked for: lines of needles, halves of needles and other words.
        #[test]
        fn a_line_is_what_it_is_alone(
            lines in prop::collection::vec("(pass|Token|tok|en|xo|x|://|curl | |[a-z]|\u{e9}){0,8}", 0..40),
            back in 0_usize..40,
        ) {
            let redactor = redactor();
            let chunk = lines.join("\n");
            let mut suspects = Suspects::default();
            redactor.suspects(b"a token of the chunk before", &mut suspects);
            redactor.suspects(chunk.as_bytes(), &mut suspects);
            let mut ranges = Vec::new();
            let mut at = 0;
            for line in &lines {
                ranges.push((at..at + line.len(), line));
                at += line.len() + 1;
            }
            let again = ranges.iter().skip(back.min(ranges.len()));
            for (range, line) in ranges.iter().chain(again) {
                let alone = redactor.suspicious(line.as_bytes());
                prop_assert_eq!(suspects.are_in(range.clone()), alone, "{:?}", line);
            }
            prop_assert_eq!(suspects.are_none(), !redactor.suspicious(chunk.as_bytes()));
        }
    }

    /// A long chunk is searched to its end if few of its first lines have a needle, and every line of
    /// it is a suspect if many have.
    #[test]
    fn where_needles_are_dense_all_is_suspect() {
        let redactor = redactor();
        let mut suspects = Suspects::default();
        for (lines_between, is_everywhere) in [(0, true), (40, false)] {
            let block = format!("a token\n{}", "an innocent line\n".repeat(lines_between));
            let chunk = block.repeat(100_000 / block.len()) + "innocent";
            redactor.suspects(chunk.as_bytes(), &mut suspects);
            assert_eq!(suspects.are_in(chunk.len() - 8..chunk.len()), is_everywhere);
            let tokens = chunk.match_indices("token");
            for (at, _) in tokens {
                assert!(suspects.are_in(at - 2..at + 5), "{at}");
            }
        }
    }

    /// A chunk with more places than are kept is looked at everywhere, one with just as many is not.
    #[test]
    fn too_many_places_are_everywhere() {
        let redactor = redactor();
        let mut suspects = Suspects::default();
        for (needles, is_everywhere) in [(PLACES_MAX, false), (PLACES_MAX + 1, true)] {
            let chunk = "token ".repeat(needles) + "\ninnocent";
            redactor.suspects(chunk.as_bytes(), &mut suspects);
            let last = chunk.len() - 8..chunk.len();
            assert_eq!(suspects.are_in(last), is_everywhere, "{needles}");
        }
    }
}
