//! Lines that can be recognised wherever they turn up, whole or in pieces.
//!
//! The text of a line is a head (a time, a level) and then *units* with junk between them. A unit
//! `f3#17@120;` says: stream 3, line 17, and that this very byte is byte 120 of the line's text.
//! So any piece that holds a unit can be compared with what was written, byte for byte.

use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Index of a line in [`Lines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LineId(pub(crate) u32);

/// What kind of line to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// About so many bytes of plain text with quotes, colours and foreign letters.
    Text(usize),
    /// The same with bytes that are not UTF-8.
    Broken(usize),
    /// A line the service will not take.
    Poisoned,
}

/// One line ever written.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) stream: u32,
    pub(crate) number: u32,
    /// As it should arrive: UTF-8, no line end.
    pub(crate) text: String,
    pub(crate) dating: Dating,
}

/// Which date a line has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dating {
    /// It bears one.
    Own(i64),
    /// It goes on with a record, whose date it has if they are read together.
    OfRecord,
    /// None, nor has any line of its file: each is dated by when it was read.
    OfReading,
}

/// A run of a message that was recognised: bytes `from..to` of a line's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) line: LineId,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) proof: Proof,
}

/// How sure it is which line a run belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A unit says so.
    Certain,
    /// A head or an end of a torn line, too short to hold a unit: every line it fits gets it.
    Vague,
}

/// All lines ever written.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    all: Vec<Line>,
    streams: Vec<Vec<LineId>>,
    /// Text without units that may arrive, such as a logger's header.
    free: HashSet<String>,
    /// Lines of which less than the whole stands (or stood) at some place in some file, and where in
    /// their text pieces may begin.
    torn: BTreeMap<LineId, BTreeSet<usize>>,
}

impl Lines {
    pub(crate) fn get(&self, line: LineId) -> &Line {
        &self.all[line.0 as usize]
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn new_stream(&mut self) -> u32 {
        self.streams.push(Vec::new());
        u32::try_from(self.streams.len() - 1).expect("few streams")
    }

    pub(crate) fn allow(&mut self, text: &str) {
        self.free.insert(text.to_owned());
    }

    /// A line stands somewhere in pieces, one of which may begin at `at`.
    pub(crate) fn tear(&mut self, line: LineId, at: usize) {
        self.torn.entry(line).or_default().insert(at);
    }

    /// A piece of a line was read up to `at`: of a torn one, the next may begin there.
    pub(crate) fn read_until(&mut self, line: LineId, at: usize) {
        if let Some(begins) = self.torn.get_mut(&line) {
            begins.insert(at);
        }
    }

    /// Makes a line. Returns its id and its bytes, without a line end.
    pub(crate) fn make(
        &mut self,
        stream: u32,
        (head, dating): (&str, Dating),
        shape: Shape,
        rng: &mut fastrand::Rng,
    ) -> (LineId, Vec<u8>) {
        let id = LineId(u32::try_from(self.all.len()).expect("few lines"));
        let numbers = &mut self.streams[stream as usize];
        let number = u32::try_from(numbers.len()).expect("few lines");
        numbers.push(id);
        let mut text = head.to_owned();
        let mut raw = head.as_bytes().to_vec();
        let (bytes, broken) = match shape {
            Shape::Text(bytes) => (bytes, false),
            Shape::Broken(bytes) => (bytes, true),
            Shape::Poisoned => (40, false),
        };
        let junk_bytes = if bytes > 4096 { 1024 } else { 12 };
        loop {
            let unit = format!("f{stream}#{number}@{};", text.len());
            text.push_str(&unit);
            raw.extend_from_slice(unit.as_bytes());
            if shape == Shape::Poisoned && text.len() < head.len() + 16 {
                text.push_str(super::world::service::POISON);
                raw.extend_from_slice(super::world::service::POISON.as_bytes());
            }
            if text.len() >= bytes {
                break;
            }
            junk(rng.usize(0..junk_bytes), broken, rng, &mut text, &mut raw);
        }
        self.all.push(Line {
            stream,
            number,
            text,
            dating,
        });
        (id, raw)
    }

    /// Explains one line of a message as runs of lines that were written. `open` are the ends of
    /// pieces that arrived before in the same stream of the service and may go on here.
    pub(crate) fn explain(
        &self,
        message: &str,
        open: &[(LineId, u32)],
    ) -> Result<Vec<Run>, String> {
        let mut runs: Vec<Run> = Vec::new();
        let mut at = 0;
        let mut floor = 0;
        let mut next = self.find_unit(message, 0);
        while let Some((start, line, pos)) = next {
            let text = self.get(line).text.as_bytes();
            let mut back = common_end(&message.as_bytes()[at..start], &text[..pos]);
            if back == start - at && back < pos && runs.last().is_some_and(|run| run.line != line) {
                // Where a torn line and the next one lie glued together, letters between them may
                // fit both: they count for both.
                back = common_end(&message.as_bytes()[floor..start], &text[..pos]);
            }
            let loose = message.get(at..start - back).unwrap_or_default();
            self.explain_loose(loose, open, &mut runs)?;
            next = self.find_unit(message, start + 1);
            let end = next.map_or(message.len(), |(start, ..)| start);
            let here = &message.as_bytes()[start..end];
            let length = common_start(here, &text[pos..]);
            push_run(&mut runs, line, pos - back, pos + length);
            at = start + length;
            floor = start + 1;
        }
        let before = runs.len();
        if let Err(what) = self.explain_loose(&message[at..], open, &mut runs) {
            // The same before the head of a line that was torn as well.
            runs.truncate(before);
            let heads = (floor..at).rev().filter_map(|from| message.get(from..));
            let mut fitting = heads.map(|head| self.torn_heads(head));
            let glued = fitting.find(|runs| !runs.is_empty());
            runs.extend(glued.ok_or(what)?);
        }
        Ok(runs)
    }

    /// All torn lines that begin with this text.
    fn torn_heads(&self, head: &str) -> Vec<Run> {
        let lines = self.torn.keys();
        let begun = lines.filter(|line| self.get(**line).text.starts_with(head));
        begun.map(|line| Run::vague(*line, 0, head.len())).collect()
    }

    /// Text without a unit: nothing, a known text, the rest of a piece, or the head of a torn line.
    fn explain_loose(
        &self,
        text: &str,
        open: &[(LineId, u32)],
        runs: &mut Vec<Run>,
    ) -> Result<(), String> {
        // A power cut may leave the head of a known text.
        if text.is_empty() || text == "\r" || self.free.iter().any(|free| free.starts_with(text)) {
            return Ok(());
        }
        // A torn line may end within a letter.
        if let Some(rest) = text.strip_prefix(char::REPLACEMENT_CHARACTER)
            && runs.last().is_some_and(|run| self.ends_within_letter(*run))
        {
            return self.explain_loose(rest, &[], runs);
        }
        let bare = text.trim_end_matches('\r');
        let before = runs.len();
        for (line, from) in open {
            let from = *from as usize;
            let rest = &self.get(*line).text.as_bytes()[from..];
            if rest.starts_with(bare.as_bytes()) {
                runs.push(Run::vague(*line, from, from + bare.len()));
            }
        }
        let (piece, cut) = match bare.strip_suffix(char::REPLACEMENT_CHARACTER) {
            Some(piece) => (piece, true),
            None => (bare, false),
        };
        for (line, begins) in &self.torn {
            let whole = self.get(*line).text.as_bytes();
            for at in begins.iter().chain([&0]).filter(|at| **at < whole.len()) {
                let rest = whole[*at..].strip_prefix(piece.as_bytes());
                let fits = |rest: &[u8]| !cut || rest.first().is_some_and(|byte| !byte.is_ascii());
                if rest.is_some_and(fits) {
                    runs.push(Run::vague(*line, *at, at + piece.len()));
                }
            }
        }
        if runs.len() > before {
            return Ok(());
        }
        self.explain_shreds(bare, runs)
    }

    /// Whether a run of a torn line may have lost the rest of a letter of several bytes.
    fn ends_within_letter(&self, run: Run) -> bool {
        let next = self.get(run.line).text.as_bytes().get(run.to as usize);
        self.torn.contains_key(&run.line) && next.is_some_and(|byte| !byte.is_ascii())
    }

    /// Several power cuts leave several heads of torn lines glued together, each cut anywhere. The first
    /// may be that of a known text, or begin where a piece of its line may.
    fn explain_shreds(&self, text: &str, runs: &mut Vec<Run>) -> Result<(), String> {
        let bytes = text.as_bytes();
        // For each position that heads can fill up to: where the last of them begins, and what of whose
        // it is.
        type Shred = (usize, Option<(LineId, usize)>);
        let mut last: Vec<Option<Shred>> = vec![None; bytes.len() + 1];
        for start in 0..bytes.len() {
            if start > 0 && last[start].is_none() {
                continue;
            }
            let pieces = self.torn.iter().flat_map(|(line, begins)| {
                let begins = begins.iter().filter(|_| start == 0);
                begins.chain([&0]).map(|from| (*line, *from))
            });
            let fit = |(line, from): &(LineId, usize)| {
                let rest = self.get(*line).text.as_bytes().get(*from..);
                common_start(&bytes[start..], rest.unwrap_or_default())
            };
            if let Some(piece) = pieces.max_by_key(fit) {
                for length in 1..=fit(&piece) {
                    last[start + length].get_or_insert((start, Some(piece)));
                }
            }
            let free = self.free.iter().filter(|_| start == 0);
            let known = free.map(|free| common_start(bytes, free.as_bytes())).max();
            for end in last.iter_mut().skip(1).take(known.unwrap_or(0)) {
                end.get_or_insert((0, None));
            }
        }
        let mut end = bytes.len();
        while end > 0 {
            let Some((start, piece)) = last[end] else {
                return Err(format!("alien text {:?}", clip(text)));
            };
            runs.extend(piece.map(|(line, from)| Run::vague(line, from, from + end - start)));
            end = start;
        }
        Ok(())
    }

    /// The first unit at or behind `from`: where it begins, its line, its position in the line.
    fn find_unit(&self, message: &str, from: usize) -> Option<(usize, LineId, usize)> {
        let bytes = message.as_bytes();
        let mut at = from;
        while at < bytes.len() {
            at += bytes[at..].iter().position(|byte| *byte == b'f')?;
            if let Some((stream, number, pos)) = parse_unit(&bytes[at + 1..])
                && let Some(numbers) = self.streams.get(stream)
                && let Some(line) = numbers.get(number)
                && pos < self.get(*line).text.len()
            {
                return Some((at, *line, pos));
            }
            at += 1;
        }
        None
    }
}

/// At most so much of a text as is good to read in a failure.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}

fn push_run(runs: &mut Vec<Run>, line: LineId, from: usize, to: usize) {
    let from = u32::try_from(from).expect("lines are short");
    let to = u32::try_from(to).expect("lines are short");
    match runs.last_mut() {
        Some(last) if last.line == line && last.to == from && last.proof == Proof::Certain => {
            last.to = to;
        }
        _ => runs.push(Run {
            line,
            from,
            to,
            proof: Proof::Certain,
        }),
    }
}

impl Run {
    fn vague(line: LineId, from: usize, to: usize) -> Self {
        Self {
            line,
            from: u32::try_from(from).expect("lines are short"),
            to: u32::try_from(to).expect("lines are short"),
            proof: Proof::Vague,
        }
    }
}

fn parse_unit(bytes: &[u8]) -> Option<(usize, usize, usize)> {
    let (stream, bytes) = parse_number(bytes, b'#')?;
    let (number, bytes) = parse_number(bytes, b'@')?;
    let (pos, _) = parse_number(bytes, b';')?;
    Some((stream, number, pos))
}

fn parse_number(bytes: &[u8], end: u8) -> Option<(usize, &[u8])> {
    let length = bytes.iter().take(10).position(|byte| *byte == end)?;
    let digits = std::str::from_utf8(&bytes[..length]).ok()?;
    Some((digits.parse().ok()?, &bytes[length + 1..]))
}

fn common_start(one: &[u8], two: &[u8]) -> usize {
    one.iter().zip(two).take_while(|(a, b)| a == b).count()
}

fn common_end(one: &[u8], two: &[u8]) -> usize {
    let pairs = one.iter().rev().zip(two.iter().rev());
    pairs.take_while(|(a, b)| a == b).count()
}

const WORDS: [&str; 16] = [
    "a",
    "z",
    "\"",
    "\\",
    "\t",
    "é",
    "日本",
    "🦀",
    "\u{1b}[31m",
    "\u{2028}",
    "{}",
    " ",
    "</",
    "0",
    "-",
    "\u{7f}",
];

fn junk(bytes: usize, broken: bool, rng: &mut fastrand::Rng, text: &mut String, raw: &mut Vec<u8>) {
    let end = text.len() + bytes;
    while text.len() < end {
        if broken && rng.u8(0..4) == 0 {
            // Each is invalid by itself, and ASCII follows.
            let bad: &[u8] =
                [b"\xff-".as_slice(), b"\xc3(", b"\xe2\x82-", b"\x80-"][rng.usize(0..4)];
            raw.extend_from_slice(bad);
            text.push_str(&String::from_utf8_lossy(bad));
        } else {
            let word = WORDS[rng.usize(0..WORDS.len())];
            raw.extend_from_slice(word.as_bytes());
            text.push_str(word);
        }
    }
    // What follows a piece of junk is ASCII, and no junk ends a line in a blank.
    raw.push(b'.');
    text.push('.');
}

/// Any piece of any line is recognised, and a changed byte is not.
#[test]
fn pieces_are_recognised() {
    let mut lines = Lines::default();
    let mut rng = fastrand::Rng::with_seed(7);
    let stream = lines.new_stream();
    for shape in [Shape::Text(300), Shape::Broken(200), Shape::Text(9000)] {
        let (line, raw) = lines.make(
            stream,
            ("2026-11-21 head ", Dating::OfReading),
            shape,
            &mut rng,
        );
        let text = lines.get(line).text.clone();
        assert_eq!(String::from_utf8_lossy(&raw), text);
        let whole = lines.explain(&text, &[]);
        let to = u32::try_from(text.len()).expect("short");
        let proof = Proof::Certain;
        assert_eq!(
            whole,
            Ok(vec![Run {
                line,
                from: 0,
                to,
                proof
            }])
        );
        let cut = (1..text.len())
            .rev()
            .find(|at| text.is_char_boundary(*at) && *at < text.len() / 2)
            .expect("a boundary");
        let (head, tail) = text.split_at(cut);
        let runs = lines.explain(head, &[]).expect("a head");
        let open = (line, runs.last().expect("a run").to);
        assert_eq!(open.1 as usize, cut);
        let runs = lines.explain(tail, &[open]).expect("a tail");
        assert_eq!(runs.last().expect("a run").to, to);
        let changed = text.replacen(';', "!", 3);
        assert!(lines.explain(&changed, &[]).is_err());
    }
}

/// Where a line was torn right before the head of another torn line, letters that fit both are
/// recognised as the head's: shown on a unit torn before its number, which the date behind it seems
/// to go on with.
#[test]
fn glued_heads_are_recognised() {
    let mut lines = Lines::default();
    let mut rng = fastrand::Rng::with_seed(7);
    let stream = lines.new_stream();
    let date = ("2026-11-21 ", Dating::OfReading);
    let made = [(); 3].map(|()| lines.make(stream, date, Shape::Text(60), &mut rng).0);
    let text = |line: LineId| lines.get(line).text.clone();
    let (one, two) = (text(made[2]), text(made[1]));
    let cut = one.rfind("#2@").expect("its units say its number") + 1;
    let glued = format!("{}{}", &one[..cut], &two[..18]);
    assert!(lines.explain(&glued, &[]).is_err(), "nothing was torn");
    lines.tear(made[2], cut);
    lines.tear(made[1], 18);
    let runs = lines.explain(&glued, &[]).expect("two heads");
    assert_eq!(runs.last(), Some(&Run::vague(made[1], 0, 18)));
}

/// The middle of a line with the head of a torn line glued to it is recognised: shown on one whose head
/// went when its file was cut, and whose end by a power cut.
#[test]
fn a_torn_middle_is_recognised() {
    let mut lines = Lines::default();
    let mut rng = fastrand::Rng::with_seed(7);
    let stream = lines.new_stream();
    let date = ("2026-11-21 12:32:06.570 ", Dating::OfReading);
    let [one, two] = [(); 2].map(|()| lines.make(stream, date, Shape::Text(60), &mut rng).0);
    let glued = "32:06.2026-11-21 12:3";
    lines.tear(two, 15);
    assert!(lines.explain(glued, &[]).is_err(), "its head went nowhere");
    lines.tear(one, 14);
    let runs = lines.explain(glued, &[]).expect("two pieces");
    assert_eq!(runs.len(), 2);
    assert!(runs.contains(&Run::vague(one, 14, 20)), "{runs:?}");
}

/// The head of a known text with the head of a torn line glued to it is recognised, and nothing that
/// differs from either: shown on a logger's header.
#[test]
fn a_torn_header_is_recognised() {
    let mut lines = Lines::default();
    let mut rng = fastrand::Rng::with_seed(7);
    let stream = lines.new_stream();
    lines.allow("# Logfile created by logger.rb");
    let date = ("2026-11-21 ", Dating::OfReading);
    let (line, _) = lines.make(stream, date, Shape::Text(60), &mut rng);
    let glued = "# Logfile created by log2026-11";
    assert!(lines.explain(glued, &[]).is_err(), "nothing was torn");
    lines.tear(line, 7);
    assert_eq!(lines.explain(glued, &[]), Ok(vec![Run::vague(line, 0, 7)]));
    assert!(
        lines
            .explain("# Logfile cxeated by log2026-11", &[])
            .is_err()
    );
}
