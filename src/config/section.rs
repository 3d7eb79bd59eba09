//! Reading one table of the file, key by key.
//!
//! A [`Section`] remembers which keys it was asked for, so the list of known keys is written down
//! once, by the code that reads them; `finish` reports the rest as unknown.

use std::collections::BTreeMap;

use super::mistake::{Place, Problem, Report, nearest};
use super::tree::{Node, Table, Value};

/// One table while it is being read: `[logs]`, one `[[source]]`, or an absent one.
pub(super) struct Section<'t> {
    /// `None` for a section that is not there: every read yields nothing.
    table: Option<&'t Table>,
    /// Where it begins, for mistakes about what is missing in it.
    place: Option<Place>,
    /// Its path for people, `source[app]`.
    path: String,
    asked: Vec<&'static str>,
    report: &'t Report,
}

impl<'t> Section<'t> {
    /// The whole configuration.
    pub(super) fn top(table: &'t Table, report: &'t Report) -> Self {
        Self {
            table: Some(table),
            place: None,
            path: String::new(),
            asked: Vec::new(),
            report,
        }
    }

    /// Reads a key; a problem is reported at the value and yields nothing.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Node) -> Result<T, Problem>,
    ) -> Option<T> {
        let node = self.node(key)?;
        match parse(node) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.report.mistake(node.place, self.path_of(key), problem);
                None
            }
        }
    }

    /// Reads an array, every element by itself, so that every bad one is reported.
    pub(super) fn read_list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        mut parse: impl FnMut(&Node) -> Result<T, Problem>,
    ) -> Option<Vec<T>> {
        let node = self.node(key)?;
        let Value::Array(items) = &node.value else {
            let what = format!("expected an array, found {}", node.value.kind());
            let remedy = format!("write it in brackets, such as {key} = [{example}]");
            self.complain(key, node.place, Problem::new(what, remedy));
            return None;
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match parse(item) {
                Ok(value) => values.push(value),
                Err(problem) => self.complain(key, item.place, problem),
            }
        }
        Some(values)
    }

    /// Reads a table whose keys are the user's own words, every entry by itself.
    pub(super) fn read_map<T>(
        &mut self,
        key: &'static str,
        example: &str,
        mut parse: impl FnMut(&str, &Node) -> Result<T, Problem>,
    ) -> Option<BTreeMap<String, T>> {
        let node = self.node(key)?;
        let Value::Table(table) = &node.value else {
            let what = format!("expected a table, found {}", node.value.kind());
            let remedy = format!("write {key} = {{ {example} }}");
            self.complain(key, node.place, Problem::new(what, remedy));
            return None;
        };
        let mut values = BTreeMap::new();
        for entry in table.entries() {
            match parse(&entry.key, &entry.node) {
                Ok(value) => {
                    values.insert(entry.key.clone(), value);
                }
                Err(problem) => self.complain(key, entry.key_place, problem),
            }
        }
        Some(values)
    }

    /// A table below this one, absent if it is not there.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'t> {
        let node = self.node(key);
        let path = self.path_of(key);
        let table = node.and_then(|node| match &node.value {
            Value::Table(table) => Some(table),
            other => {
                let what = format!("expected a table, found {}", other.kind());
                let remedy = format!("write [{path}] on a line of its own and the keys below");
                self.complain(key, node.place, Problem::new(what, remedy));
                None
            }
        });
        Section {
            table,
            place: node.map(|node| node.place),
            path,
            asked: Vec::new(),
            report: self.report,
        }
    }

    /// The tables of a `[[list]]`, called by their `name` where they have one.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'t>> {
        let mut sections = Vec::new();
        let Some(node) = self.node(key) else {
            return sections;
        };
        let double = format!("write [[{key}]] on a line of its own and the keys below");
        let Value::Array(items) = &node.value else {
            let what = format!("expected a list of tables, found {}", node.value.kind());
            self.complain(key, node.place, Problem::new(what, double));
            return sections;
        };
        for (index, item) in items.iter().enumerate() {
            let Value::Table(table) = &item.value else {
                let what = format!("expected a table, found {}", item.value.kind());
                self.complain(key, item.place, Problem::new(what, double.clone()));
                continue;
            };
            let name = match table.get("name").map(|entry| &entry.node.value) {
                Some(Value::Text(name)) if !name.is_empty() => name.clone(),
                _ => format!("#{}", index + 1),
            };
            sections.push(Section {
                table: Some(table),
                place: Some(item.place),
                path: format!("{}[{name}]", self.path_of(key)),
                asked: Vec::new(),
                report: self.report,
            });
        }
        sections
    }

    /// Where a key's value stands, if it is there; makes the key known.
    pub(super) fn place_of(&mut self, key: &'static str) -> Option<Place> {
        self.node(key).map(|node| node.place)
    }

    /// Reports a problem with a key.
    pub(super) fn complain(&self, key: &str, place: Place, problem: Problem) {
        self.report.mistake(place, self.path_of(key), problem);
    }

    /// Reports a key that must be there and is not.
    pub(super) fn missing(&self, key: &str, remedy: &str) {
        if let Some(place) = self.place {
            let problem = Problem::new("missing", remedy);
            self.report.mistake(place, self.path_of(key), problem);
        }
    }

    /// Reports a problem with this section as a whole; nothing where it is not there.
    pub(super) fn complain_of_all(&self, problem: Problem) {
        if let Some(place) = self.place {
            self.report.mistake(place, self.path.clone(), problem);
        }
    }

    /// Says something about this section that is no mistake; nothing where it is not there.
    pub(super) fn note(&self, text: impl Into<String>) {
        if let Some(place) = self.place {
            self.report.note(place, text);
        }
    }

    /// Reports all keys nobody asked for. `hints` explain keys that users expect here in vain.
    pub(super) fn finish(self, hints: &[(&str, &str)]) {
        for entry in self.table.into_iter().flat_map(|table| table.entries()) {
            let key = entry.key.as_str();
            if self.asked.contains(&key) {
                continue;
            }
            let remedy = if let Some((_, hint)) = hints.iter().find(|(name, _)| *name == key) {
                (*hint).to_owned()
            } else if let Some(near) = nearest(key, self.asked.iter().copied()) {
                format!("did you mean {near}?")
            } else {
                let mut known = self.asked.clone();
                known.sort_unstable();
                format!("remove it; known here: {}", known.join(", "))
            };
            let problem = Problem::new("unknown key", remedy);
            self.complain(key, entry.key_place, problem);
        }
    }

    fn node(&mut self, key: &'static str) -> Option<&'t Node> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table?.get(key).map(|entry| &entry.node)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}
