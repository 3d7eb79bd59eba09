//! What tests of the tail have in common: a watch that never says anything, and files that are
//! pieces of memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::Tail;
use crate::config::Config;
use crate::event::{FileId, FileKey, FileRecord, Offset};
use crate::ports::{Files, Handle, Hints, Kind, Meta, Watch};

/// A table whose only source has this pattern.
pub(super) fn tail_of(
    records: Vec<FileRecord>,
    pattern: &str,
    files: &mut dyn Files,
    settled: &dyn Fn(FileId) -> Offset,
) -> Tail {
    let text = format!("[[source]]\nname = \"a\"\npaths = [\"{pattern}\"]\n");
    let (config, _) = Config::parse(&[("a.toml".into(), text)]).unwrap();
    let mut tail = Tail::new(records, None);
    tail.set_sources(config.sources.clone(), &|_| true, files, settled);
    tail
}

/// What a checkpoint would keep.
pub(super) fn records_of(
    tail: &mut Tail,
    files: &mut dyn Files,
    settled: &dyn Fn(FileId) -> Offset,
) -> Vec<FileRecord> {
    let mut records = Vec::new();
    tail.each_record(files, settled, &mut |record| records.push(record.clone()));
    records
}

/// A watch without hints: the scans find everything.
pub(crate) struct Silent {
    /// Whether it says that it watches.
    pub(crate) is_watching: bool,
}

impl Watch for Silent {
    fn watch(&mut self, _: &Path) -> bool {
        self.is_watching
    }

    fn unwatch(&mut self, _: &Path) {}

    fn take(&mut self) -> Hints {
        Hints::default()
    }
}

/// Reads from a file with this content, as [`crate::ports::Files::read_at`].
pub(super) fn read_at(content: &[u8], offset: Offset, into: &mut [u8]) -> usize {
    let rest = &content[usize::try_from(offset.0).unwrap().min(content.len())..];
    let got = rest.len().min(into.len());
    into[..got].copy_from_slice(&rest[..got]);
    got
}

/// Logs below `/l`: inode, content, and when that was written last.
#[derive(Default)]
pub(super) struct Logs {
    pub(super) names: Names,
    /// Inodes that are open.
    open: BTreeMap<u32, u64>,
    /// Those of them that their server does not know any more.
    stale: BTreeSet<u32>,
    /// How often one was opened.
    pub(super) opened: u64,
    /// How many more calls it takes until these are there.
    pub(super) to_come: Option<(usize, Names)>,
}

/// Names of logs, each with its inode, its content, and when that was written last.
type Names = BTreeMap<String, (u64, String, i64)>;

impl Logs {
    pub(super) fn put(&mut self, name: &str, inode: u64, content: &str, modified_ms: i64) {
        let log = (inode, content.to_owned(), modified_ms);
        self.names.insert(name.to_owned(), log);
    }

    /// Whatever is open is stale, as on a network file system.
    pub(super) fn go_stale(&mut self) {
        self.stale.extend(self.open.keys());
    }

    fn opened_inode(&self, handle: Handle) -> io::Result<u64> {
        match self.stale.contains(&handle.0) {
            true => Err(io::ErrorKind::StaleNetworkFileHandle.into()),
            false => Ok(self.open[&handle.0]),
        }
    }

    /// Notes that a call is made.
    fn called(&mut self) {
        self.to_come = match self.to_come.take() {
            Some((0, names)) => {
                self.names.extend(names);
                None
            }
            to_come => to_come.map(|(calls, names)| (calls - 1, names)),
        };
    }

    fn log(&self, inode: u64) -> io::Result<(&str, i64)> {
        let mut all = self.names.values();
        let found = all.find(|(number, ..)| *number == inode);
        let (_, content, modified_ms) = found.ok_or(io::ErrorKind::NotFound)?;
        Ok((content, *modified_ms))
    }

    fn meta_of(&self, inode: u64) -> io::Result<Meta> {
        let (content, modified_ms) = self.log(inode)?;
        Ok(Meta {
            key: FileKey { device: 1, inode },
            kind: Kind::File,
            size: content.len() as u64,
            modified_ms,
            links: 1,
        })
    }
}

impl Files for Logs {
    fn list(&mut self, _: &Path, _: &Path) -> io::Result<Vec<(OsString, Kind)>> {
        self.called();
        let names = self.names.keys().map(|name| name.into());
        Ok(names.map(|name| (name, Kind::File)).collect())
    }

    fn stat(&mut self, _: &Path, path: &Path) -> io::Result<Meta> {
        self.called();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        match self.names.get(name) {
            Some((inode, ..)) => self.meta_of(*inode),
            None if path == Path::new("/l") => Ok(Meta {
                key: FileKey::default(),
                kind: Kind::Directory,
                size: 0,
                modified_ms: 0,
                links: 1,
            }),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn open(&mut self, root: &Path, path: &Path) -> io::Result<(Handle, Meta)> {
        let meta = self.stat(root, path)?;
        self.opened += 1;
        let handle = self.open.last_key_value().map_or(1, |(last, _)| last + 1);
        self.open.insert(handle, meta.key.inode);
        Ok((Handle(handle), meta))
    }

    fn meta(&mut self, handle: Handle) -> io::Result<Meta> {
        self.called();
        self.meta_of(self.opened_inode(handle)?)
    }

    fn read_at(&mut self, handle: Handle, from: Offset, into: &mut [u8]) -> io::Result<usize> {
        self.called();
        let (content, _) = self.log(self.opened_inode(handle)?)?;
        Ok(read_at(content.as_bytes(), from, into))
    }

    fn close(&mut self, handle: Handle) {
        assert!(self.open.remove(&handle.0).is_some());
        self.stale.remove(&handle.0);
    }
}
