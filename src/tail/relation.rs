//! What a path is to a source, by its name alone: asked of hints, of scans, and of what an earlier run
//! knew.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use crate::config::{Fit, PathPattern, Source, is_excluded};
use crate::ports::Interest;

use super::rotation;

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
            Relation::File if !excluded(source, path) && !is_compressed(path) => {
                return Relation::File;
            }
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
    match pattern.fit(rest) {
        Fit::Whole => Relation::File,
        Fit::Beginning => Relation::Directory,
        Fit::Not => Relation::None,
    }
}

/// What is worth a hint: files the sources name, directories on the way to them, and the names that
/// rotation makes of such files.
#[must_use]
pub(crate) fn interest(sources: &[Arc<Source>]) -> Interest {
    let sources = sources.to_vec();
    let is_named = move |path: &Path| {
        let relates = |source: &Arc<Source>| relation(source, path) != Relation::None;
        sources.iter().any(relates)
    };
    Interest(Arc::new(move |path| {
        is_named(path) || rotation::live_names(path).any(|live| is_named(&live))
    }))
}

/// Whether the user told us to leave this file alone.
pub(crate) fn excluded(source: &Source, path: &Path) -> bool {
    is_excluded(&source.exclude, path)
}

/// Compressed rotations hold what was already read; as text they are noise.
pub(crate) fn is_compressed(path: &Path) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|extension| matches!(extension, "gz" | "bz2" | "xz" | "zst" | "zip" | "Z"))
}
