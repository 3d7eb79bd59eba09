//! What is told to the user about a configuration: [`Mistake`]s, which stop it from being used,
//! and [`Note`]s, which do not.
//!
//! A mistake always says where (file, line, column, key), what is wrong, and what to do about it.
//! Only the modules of this folder make them; `cli/check.rs` prints them.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// Something in the configuration that must be changed before it can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The file as it was named when it was read.
    pub file: PathBuf,
    /// Line, from 1; `None` where the mistake is about the whole file.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// The key's path, such as `source[app].group`; empty for the file itself.
    pub key: String,
    /// What is wrong, a lower-case fragment that names the offending value.
    pub problem: String,
    /// What to do: the allowed values, or what was probably meant.
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.file, self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

/// Something worth saying about a configuration that can be used as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The file it is about.
    pub file: PathBuf,
    /// Line, from 1; `None` where it is about the whole file.
    pub line: Option<u32>,
    /// What there is to say.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.file, self.line, None)?;
        f.write_str(&self.text)
    }
}

fn write_place(
    f: &mut fmt::Formatter<'_>,
    file: &std::path::Path,
    line: Option<u32>,
    column: Option<u32>,
) -> fmt::Result {
    write!(f, "{}:", file.display())?;
    if let Some(line) = line {
        write!(f, "{line}:")?;
        if let Some(column) = column {
            write!(f, "{column}:")?;
        }
    }
    f.write_str(" ")
}

/// Where something stands: which of the files, line and column. Ordered as one reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Index into the files given to `Config::parse`.
    pub(super) file: usize,
    /// Line, from 1.
    pub(super) line: u32,
    /// Column in characters, from 1.
    pub(super) column: u32,
}

/// What is wrong with one value and what to do, before it is known where the value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// See [`Mistake::problem`].
    pub(super) what: String,
    /// See [`Mistake::remedy`].
    pub(super) remedy: String,
    /// The exact place, where it is not that of the whole value.
    pub(super) place: Option<Place>,
}

impl Problem {
    /// A problem with the value as a whole.
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
            place: None,
        }
    }

    /// The same, with a part of the value to point at.
    pub(super) fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }
}

/// Collects everything there is to say while a configuration is walked.
pub(super) struct Report {
    files: Vec<PathBuf>,
    mistakes: RefCell<Vec<(Option<Place>, Mistake)>>,
    notes: RefCell<Vec<(Place, Note)>>,
}

impl Report {
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        Self {
            files,
            mistakes: RefCell::default(),
            notes: RefCell::default(),
        }
    }

    /// Adds a mistake; `place` is where the key's value stands, the problem may know better.
    pub(super) fn mistake(&self, place: Place, key: impl Into<String>, problem: Problem) {
        let place = problem.place.unwrap_or(place);
        let mistake = Mistake {
            file: self.files[place.file].clone(),
            line: Some(place.line),
            column: Some(place.column),
            key: key.into(),
            problem: problem.what,
            remedy: problem.remedy,
        };
        self.mistakes.borrow_mut().push((Some(place), mistake));
    }

    /// Adds a note.
    pub(super) fn note(&self, place: Place, text: impl Into<String>) {
        let note = Note {
            file: self.files[place.file].clone(),
            line: Some(place.line),
            text: text.into(),
        };
        self.notes.borrow_mut().push((place, note));
    }

    /// Everything said, in the order of the files and lines.
    pub(super) fn finish(self) -> (Vec<Mistake>, Vec<Note>) {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|(place, _)| *place);
        let mut notes = self.notes.into_inner();
        notes.sort_by_key(|(place, _)| *place);
        (
            mistakes.into_iter().map(|(_, mistake)| mistake).collect(),
            notes.into_iter().map(|(_, note)| note).collect(),
        )
    }
}

/// The allowed word nearest to `written`, if it is near enough to have been meant.
pub(super) fn nearest<'a>(
    written: &str,
    allowed: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    /// Below this likeness a suggestion confuses more than it helps.
    const LIKENESS_MIN: f64 = 0.8;
    let written = written.to_ascii_lowercase();
    allowed
        .into_iter()
        .map(|word| (strsim::jaro_winkler(&written, word), word))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word)
}

/// `"a", "b" or "c"`.
pub(super) fn quoted_choice<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words
        .into_iter()
        .map(|word| format!("\"{word}\""))
        .collect();
    match words.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}
