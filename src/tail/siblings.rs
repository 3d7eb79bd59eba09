//! The names beside a live file that rotation could have given it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Source;
use crate::ports::{Files, Kind};

use super::adopt::Unknown;
use super::discover::Found;
use super::relation::{self, Relation};
use super::{Look, Tail, rotation};

/// Rotated names looked at in one directory.
const ROTATED_NAMES_MAX: usize = 1_000;

impl Tail {
    /// Rotated names of a family that no pattern matches: the copy of a displaced file, or files
    /// that were born and rolled away since the last look.
    ///
    /// # Errors
    /// Where the family's directory cannot be listed now.
    pub(super) fn siblings(
        &mut self,
        source: &Source,
        (root, family, since_ms): (&Arc<Path>, &Path, i64),
        unknown: &mut Vec<Unknown>,
        look: &mut Look<'_>,
    ) -> io::Result<()> {
        for path in rotated_names(look.files, root, family)? {
            if relation::relation(source, &path) == Relation::File
                || relation::is_compressed(&path)
                || unknown.iter().any(|other| *other.found.path == *path)
            {
                continue;
            }
            let meta = match look.files.stat(root, &path) {
                Ok(meta) => meta,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let found = Found {
                root: Arc::clone(root),
                path: path.into(),
                meta,
            };
            if meta.kind == Kind::File && self.holder(&found, look).is_none() {
                unknown.push(Unknown {
                    found,
                    rolled_after_ms: Some(since_ms),
                });
            }
        }
        Ok(())
    }
}

/// The names beside a live file that rotation could have given it.
pub(super) fn rotated_names(
    files: &mut dyn Files,
    root: &Path,
    live: &Path,
) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (live.parent(), live.file_name()) else {
        return Ok(Vec::new());
    };
    let entries = match files.list(root, dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed?,
    };
    let rotated = entries
        .into_iter()
        .filter(|(entry, kind)| *kind == Kind::File && rotation::is_rotation_of(name, entry));
    let mut paths: Vec<PathBuf> = rotated
        .take(ROTATED_NAMES_MAX)
        .map(|(entry, _)| dir.join(entry))
        .collect();
    paths.sort();
    Ok(paths)
}
