//! Which files a source's patterns name right now.
//!
//! One walk lists directories component by component, so that a pattern like
//! `<root>/*/d-*/logs/scripts.log` touches only directories that can lead to a match. It returns
//! what it found and which directories it looked into: those are the ones worth watching. The
//! walk is the truth; a hint only says when to walk.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{Component, PathPattern, Source};
use crate::ports::{Files, Kind, Meta};

/// Directory entries one walk of a source looks at before it gives up and says so.
pub(crate) const ENTRIES_MAX: usize = 1_000_000;

/// Levels of directories a `**` descends.
const DEPTH_MAX: usize = 40;

/// A regular file that a pattern names.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The directory no symlink may lead out of.
    pub(crate) root: PathBuf,
    /// Its name now.
    pub(crate) path: PathBuf,
    /// What the system says of it.
    pub(crate) meta: Meta,
}

/// What one walk saw.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Files, in the order of their paths.
    pub(crate) found: Vec<Found>,
    /// Directories whose entries decide what the next walk finds.
    pub(crate) directories: Vec<PathBuf>,
    /// Roots that could not be listed: nothing can be concluded about files below them.
    pub(crate) blind: Vec<PathBuf>,
    /// What could not be read, in words.
    pub(crate) problems: Vec<String>,
    /// Entries looked at.
    pub(crate) entries: usize,
}

/// Walks all patterns of a source.
pub(crate) fn walk(files: &mut dyn Files, source: &Source) -> Walk {
    let mut walk = Walk::default();
    for pattern in &source.paths {
        Walker {
            files,
            source,
            pattern,
            walk: &mut walk,
        }
        .start();
    }
    walk.found.sort_by(|a, b| a.path.cmp(&b.path));
    walk.found.dedup_by(|a, b| a.path == b.path);
    walk.directories.sort();
    walk.directories.dedup();
    walk
}

/// The files a source's patterns name right now, with their sizes: for `check`.
pub fn list(files: &mut dyn Files, source: &Source) -> Vec<(PathBuf, u64)> {
    let walk = walk(files, source);
    walk.found
        .into_iter()
        .map(|found| (found.path, found.meta.size))
        .collect()
}

/// What a path is to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// A file the source names.
    File,
    /// A directory on the way to such files.
    Directory,
    /// Nothing.
    None,
}

/// What `path` is to `source`, by its name alone.
pub(crate) fn relation(source: &Source, path: &Path) -> Relation {
    let mut best = Relation::None;
    for pattern in &source.paths {
        match relation_to(pattern, path) {
            Relation::File if !excluded(source, path) => return Relation::File,
            Relation::File | Relation::Directory => best = Relation::Directory,
            Relation::None => {}
        }
    }
    best
}

fn relation_to(pattern: &PathPattern, path: &Path) -> Relation {
    if pattern.root.starts_with(path) {
        return Relation::Directory;
    }
    let Ok(rest) = path.strip_prefix(&pattern.root) else {
        return Relation::None;
    };
    let names: Vec<&OsStr> = rest.iter().collect();
    match_names(&pattern.components, &names)
}

fn match_names(components: &[Component], names: &[&OsStr]) -> Relation {
    match (components.split_first(), names.split_first()) {
        (None, None) => Relation::File,
        (Some(_), None) => Relation::Directory,
        (None, Some(_)) => Relation::None,
        (Some((Component::AnyDirectories, [])), Some(_)) => Relation::File,
        (Some((Component::AnyDirectories, rest)), Some((_, deeper))) => {
            match (match_names(rest, names), match_names(components, deeper)) {
                (Relation::File, _) | (_, Relation::File) => Relation::File,
                _ => Relation::Directory,
            }
        }
        (Some((Component::Name(glob), rest)), Some((name, deeper))) => {
            if glob.is_match(Path::new(name)) {
                match_names(rest, deeper)
            } else {
                Relation::None
            }
        }
    }
}

/// Whether the user told us to leave this file alone.
pub(crate) fn excluded(source: &Source, path: &Path) -> bool {
    source.exclude.iter().any(|exclude| {
        let whole = exclude.glob().glob().contains('/');
        let subject = if whole {
            path.as_os_str()
        } else {
            path.file_name().unwrap_or_default()
        };
        exclude.is_match(Path::new(subject))
    })
}

struct Walker<'a> {
    files: &'a mut dyn Files,
    source: &'a Source,
    pattern: &'a PathPattern,
    walk: &'a mut Walk,
}

impl Walker<'_> {
    fn start(&mut self) {
        let root = self.pattern.root.clone();
        match self.files.stat(&root, &root) {
            Ok(meta) if meta.kind == Kind::Directory => {
                self.descend(&root, &self.pattern.components, 0);
            }
            Ok(_) => self.problem(&root, "is not a directory"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.walk.blind.push(root.clone());
                self.watch_ancestor(&root);
            }
            Err(error) => self.unseen(&root, &error),
        }
    }

    /// A root that is not there yet appears in its nearest ancestor that is.
    fn watch_ancestor(&mut self, root: &Path) {
        for ancestor in root.ancestors().skip(1) {
            if self.files.stat(ancestor, ancestor).is_ok() {
                self.walk.directories.push(ancestor.to_path_buf());
                return;
            }
        }
    }

    fn descend(&mut self, dir: &Path, components: &[Component], depth: usize) {
        let Some((first, rest)) = components.split_first() else {
            return;
        };
        self.walk.directories.push(dir.to_path_buf());
        if let Some(name) = literal(first) {
            let path = dir.join(name);
            self.walk.entries += 1;
            match self.files.stat(&self.pattern.root, &path) {
                Ok(meta) => self.enter(path, meta.kind, rest, depth),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.unseen(&path, &error),
            }
            return;
        }
        for (name, kind) in self.list(dir) {
            if self.walk.entries >= ENTRIES_MAX {
                let limit =
                    format!("has more than {ENTRIES_MAX} entries below it; narrow the paths");
                let root = self.pattern.root.clone();
                return self.problem(&root, &limit);
            }
            self.walk.entries += 1;
            match first {
                Component::Name(glob) if glob.is_match(Path::new(&name)) => {
                    self.enter(dir.join(&name), kind, rest, depth);
                }
                Component::Name(_) => {}
                Component::AnyDirectories => self.any(dir.join(&name), kind, components, depth),
            }
        }
        if let (Component::AnyDirectories, false) = (first, rest.is_empty()) {
            self.descend(dir, rest, depth);
        }
    }

    /// An entry whose name matched the component before `rest`.
    fn enter(&mut self, path: PathBuf, kind: Kind, rest: &[Component], depth: usize) {
        match (kind, rest.is_empty()) {
            (Kind::File, true) => self.add(path),
            (Kind::Directory, false) => self.descend(&path, rest, depth + 1),
            _ => {}
        }
    }

    /// An entry below a `**`.
    fn any(&mut self, path: PathBuf, kind: Kind, components: &[Component], depth: usize) {
        match kind {
            Kind::Directory if depth < DEPTH_MAX => self.descend(&path, components, depth + 1),
            Kind::Directory => self.problem(&path, "lies too deep and is not looked into"),
            Kind::File if components.len() == 1 => self.add(path),
            Kind::File | Kind::Other => {}
        }
    }

    fn add(&mut self, path: PathBuf) {
        if excluded(self.source, &path) || is_compressed(&path) {
            return;
        }
        match self.files.stat(&self.pattern.root, &path) {
            Ok(meta) if meta.kind == Kind::File => {
                self.walk.found.push(Found {
                    root: self.pattern.root.clone(),
                    path,
                    meta,
                });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.unseen(&path, &error),
        }
    }

    /// Something that cannot be looked at now: nothing can be concluded about it or below it.
    fn unseen(&mut self, path: &Path, error: &io::Error) {
        self.walk.blind.push(path.to_path_buf());
        self.problem(path, &error.to_string());
    }

    fn list(&mut self, dir: &Path) -> Vec<(OsString, Kind)> {
        match self.files.list(&self.pattern.root, dir) {
            Ok(mut names) => {
                names.sort_by(|a, b| a.0.cmp(&b.0));
                names
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.unseen(dir, &error);
                Vec::new()
            }
        }
    }

    fn problem(&mut self, path: &Path, what: &str) {
        self.walk
            .problems
            .push(format!("{}: {what}", path.display()));
    }
}

/// The name a component stands for when it has no wildcard.
fn literal(component: &Component) -> Option<&str> {
    match component {
        Component::Name(glob) => {
            let text = glob.glob().glob();
            (!text.contains(['*', '?', '[', ']', '{', '}', '\\'])).then_some(text)
        }
        Component::AnyDirectories => None,
    }
}

/// Compressed rotations hold what was already read; as text they are noise.
pub(crate) fn is_compressed(path: &Path) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|extension| matches!(extension, "gz" | "bz2" | "xz" | "zst" | "zip" | "Z"))
}
