//! What the user wrote, as a tree in which every value knows its file, line and column.
//!
//! We walk this tree ourselves (`section.rs`) instead of deriving serde types, because serde stops
//! at the first mistake and forgets where it was.

use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::mistake::{Place, Problem, Report};

/// Keys at the top whose tables add up over several files instead of replacing each other.
const LISTS: [&str; 3] = ["source", "metric", "alarm"];

/// A file that is not TOML tells nothing about its values.
const UNCHECKED: &str = "the rest of this file was not checked";

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What TOML knows.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Array(Vec<Node>),
    Table(Table),
    /// Dates, and integers beyond 64 bits: no key of ours takes one.
    Other(&'static str),
}

impl Value {
    /// The kind of value with its article, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// A table: keys in the order of their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) node: Node,
}

impl Table {
    /// Parses all files and lays them over each other; syntax errors go to the report.
    pub(super) fn from_files(files: &[(PathBuf, String)], report: &Report) -> Self {
        let mut merged = Self::default();
        for (file, (_, text)) in files.iter().enumerate() {
            let lines = Lines::new(file, text);
            match DeTable::parse(text) {
                Ok(table) => merged.merge(lines.table(table.get_ref()), Level::Top),
                Err(error) => {
                    let (place, problem) = lines.syntax_problem(&error);
                    report.mistake(place, "", problem);
                }
            }
        }
        merged
    }

    /// The entry of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// All entries, in the order of their keys.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn merge(&mut self, later: Self, level: Level) {
        for new in later.entries {
            let Some(old) = self.entries.iter_mut().find(|old| old.key == new.key) else {
                self.entries.push(new);
                continue;
            };
            match (&mut old.node.value, new.node.value) {
                (Value::Table(old), Value::Table(new)) => old.merge(new, Level::Below),
                (Value::Array(old), Value::Array(new_items))
                    if level == Level::Top && LISTS.contains(&new.key.as_str()) =>
                {
                    old.extend(new_items);
                }
                (_, value) => {
                    old.key_place = new.key_place;
                    old.node = Node {
                        place: new.node.place,
                        value,
                    };
                }
            }
        }
    }
}

/// How deep a merge is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Top,
    Below,
}

/// Turns byte offsets of one file into lines and columns.
struct Lines<'t> {
    file: usize,
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(file: usize, text: &'t str) -> Self {
        let newlines = memchr::memchr_iter(b'\n', text.as_bytes());
        let starts = std::iter::once(0)
            .chain(newlines.map(|at| at + 1))
            .collect();
        Self { file, text, starts }
    }

    fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let before = &self.text.as_bytes()[self.starts[line - 1]..offset];
        let column = String::from_utf8_lossy(before).chars().count() + 1;
        Place {
            file: self.file,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    fn syntax_problem(&self, error: &toml::de::Error) -> (Place, Problem) {
        let span = error.span().unwrap_or_default();
        let place = self.place(span.start);
        let reason = error.message().lines().next().unwrap_or_default();
        if reason == "duplicate key" {
            let key = self.text.get(span).unwrap_or_default();
            let what = format!("{key} is here a second time");
            return (place, Problem::new(what, format!("keep one; {UNCHECKED}")));
        }
        let what = format!("not valid TOML: {reason}");
        let remedy = format!(
            "correct the syntax (texts stand in quotes, one key = value a line); {UNCHECKED}"
        );
        (place, Problem::new(what, remedy))
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let entries = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                key_place: self.place(key.span().start),
                node: self.node(value.get_ref(), value.span().start),
            })
            .collect();
        Table { entries }
    }

    fn node(&self, value: &DeValue<'_>, offset: usize) -> Node {
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => {
                match i64::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(integer) => Value::Integer(integer),
                    Err(_) => Value::Other("an integer beyond 64 bits"),
                }
            }
            DeValue::Float(float) => match float.as_str().parse() {
                Ok(float) => Value::Float(float),
                Err(_) => Value::Other("a float beyond 64 bits"),
            },
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(array) => Value::Array(
                array
                    .iter()
                    .map(|item| self.node(item.get_ref(), item.span().start))
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node {
            place: self.place(offset),
            value,
        }
    }
}
