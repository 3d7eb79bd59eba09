//! Stand-ins for this folder's tests.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::event::{FileOrigin, Target};
use crate::ports::Store;
use crate::ship::Poison;

/// A state directory in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore(BTreeMap<String, Vec<u8>>);

impl Store for MemoryStore {
    fn load(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(name).cloned())
    }

    fn save(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.0.insert(name.to_owned(), content.to_vec());
        Ok(())
    }

    fn append(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let file = self.0.entry(name.to_owned()).or_default();
        file.extend_from_slice(content);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let content = self.0.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.0.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.remove(name);
        Ok(())
    }

    fn names(&mut self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let files = self.0.iter().filter_map(|(name, content)| {
            let name = name.strip_prefix(folder)?.strip_prefix('/')?;
            Some((name.to_owned(), content.len() as u64))
        });
        Ok(files.collect())
    }
}

/// A disk to which nothing can be added while it is full.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    store: MemoryStore,
    pub(crate) is_full: bool,
}

impl Disk {
    pub(crate) fn full() -> Self {
        Self {
            is_full: true,
            ..Self::default()
        }
    }
}

impl Store for Disk {
    fn load(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.store.load(name)
    }
    fn save(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.store.save(name, content)
    }
    fn append(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        match self.is_full {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => self.store.append(name, content),
        }
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.store.rename(from, to)
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.store.remove(name)
    }
    fn names(&mut self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.store.names(folder)
    }
}

/// An event that the service will not take, with everything in it that must be escaped.
pub(crate) fn poison(message: &str) -> Poison {
    Poison {
        target: Arc::new(Target {
            group: "/a".to_owned(),
            stream: "s\"".to_owned(),
        }),
        file: Arc::new(FileOrigin {
            source: "app".into(),
            path: Path::new("/var/log/a\n.log").into(),
        }),
        time_ms: 7,
        message: message.to_owned(),
        error: "InvalidParameterException: \"no\"".to_owned(),
    }
}
