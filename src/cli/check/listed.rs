//! The files that are there right now, as `check` shows them: each with the source that ships it.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use super::super::terminal::escape;
use super::Watched;
use crate::event::FileKey;

/// Files shown for each source; `--json` has them all.
const FILES_SHOWN_MAX: usize = 10;

/// Leaves each file to the first source that names it, whatever name that is, as the agent does.
pub(super) fn share_out(watched: &mut [Watched]) {
    let mut shippers: HashMap<FileKey, Arc<str>> = HashMap::new();
    for watched in watched {
        let name = &watched.source.name;
        for (path, bytes, key) in std::mem::take(&mut watched.listed.0) {
            if let Some(shipper) = shippers.get(&key) {
                watched.elsewhere.push((path, Arc::clone(shipper)));
            } else {
                shippers.insert(key, Arc::clone(name));
                watched.listed.0.push((path, bytes, key));
            }
        }
    }
}

impl Watched {
    pub(super) fn write_files(&self, out: &mut dyn Write) -> io::Result<()> {
        let (files, unseen) = &self.listed;
        for place in unseen {
            writeln!(out, "  unseen    {}", escape(place))?;
        }
        if files.is_empty() && unseen.is_empty() && self.elsewhere.is_empty() {
            return writeln!(out, "  now       no such file yet");
        }
        let sizes = files
            .iter()
            .map(|(path, bytes, _)| format!("{} ({bytes} bytes)", path.display()));
        write_some(out, "now", sizes)?;
        let shippers = self
            .elsewhere
            .iter()
            .map(|(path, source)| format!("{}: source {source} ships it", path.display()));
        write_some(out, "elsewhere", shippers)
    }
}

fn write_some(
    out: &mut dyn Write,
    head: &str,
    lines: impl ExactSizeIterator<Item = String>,
) -> io::Result<()> {
    let more = lines.len().saturating_sub(FILES_SHOWN_MAX);
    for (index, line) in lines.take(FILES_SHOWN_MAX).enumerate() {
        let head = if index == 0 { head } else { "" };
        writeln!(out, "  {head:<9} {}", escape(&line))?;
    }
    match more {
        0 => Ok(()),
        more => writeln!(out, "            and {more} more"),
    }
}
