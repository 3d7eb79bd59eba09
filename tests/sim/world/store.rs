//! The agent's state directory in memory: atomic saves, appends that a power cut tears, full disks.

use std::collections::BTreeMap;
use std::io;

use deploywatch::ports::Store;

use super::fuse::{Fuse, Pulse};

/// What `save` promises, and a broken promise for the oracle's own tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// A save that returned survives a power cut.
    Durable,
    /// The save was never synced: a power cut brings the old content back.
    Lying,
}

/// One stored name.
#[derive(Clone, Debug, Default)]
struct Entry {
    content: Vec<u8>,
    /// How much of an appended file survives a power cut for certain.
    durable_bytes: usize,
    /// What a power cut leaves when saves lie; nothing where the name was new.
    before: Option<Option<Vec<u8>>>,
}

/// [`Store`] in memory.
#[derive(Debug)]
pub(crate) struct MemStore {
    entries: BTreeMap<String, Entry>,
    fuse: Fuse,
    rng: fastrand::Rng,
    /// Whether the disk is full.
    pub(crate) full: bool,
    /// What saves promise.
    pub(crate) durability: Durability,
    /// Grows with every change, so that the oracle need not look twice.
    pub(crate) version: u64,
    /// How many saves failed because the disk was full.
    pub(crate) refused: u64,
}

impl MemStore {
    pub(crate) fn new(seed: u64, fuse: Fuse) -> Self {
        Self {
            entries: BTreeMap::new(),
            fuse,
            rng: fastrand::Rng::with_seed(seed),
            full: false,
            durability: Durability::Durable,
            version: 0,
            refused: 0,
        }
    }

    /// The content as it lies on the disk, for the oracle.
    pub(crate) fn peek(&self, name: &str) -> Option<&[u8]> {
        self.entries.get(name).map(|entry| entry.content.as_slice())
    }

    /// The power fails: what was appended or noted and never synced is torn or full of NULs.
    /// Returns the names that lost bytes.
    pub(crate) fn power_cut(&mut self) -> Vec<String> {
        let mut torn = Vec::new();
        self.version += 1;
        self.entries.retain(|_, entry| match entry.before.take() {
            Some(None) => false,
            Some(Some(before)) => {
                entry.durable_bytes = before.len();
                entry.content = before;
                true
            }
            None => true,
        });
        for (name, entry) in &mut self.entries {
            if entry.durable_bytes >= entry.content.len() {
                continue;
            }
            let keep = self.rng.usize(entry.durable_bytes..=entry.content.len());
            if keep < entry.content.len() {
                torn.push(name.clone());
            }
            if self.rng.bool() {
                entry.content.truncate(keep);
            } else {
                entry.content[keep..].fill(0);
            }
            entry.durable_bytes = entry.content.len();
        }
        torn
    }

    /// Somebody else than the agent writes.
    pub(crate) fn place(&mut self, name: &str, content: &[u8]) {
        let entry = self.entries.entry(name.to_owned()).or_default();
        entry.content = content.to_vec();
        entry.durable_bytes = content.len();
        self.version += 1;
    }

    fn write_allowed(&mut self) -> io::Result<Pulse> {
        match self.fuse.pulse() {
            Pulse::Dead => Err(io::Error::other("the process is dead")),
            Pulse::Alive if self.full => {
                self.refused += 1;
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            pulse => Ok(pulse),
        }
    }
}

impl Store for MemStore {
    fn load(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.peek(name).map(<[u8]>::to_vec))
    }

    fn save(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let pulse = self.write_allowed()?;
        if pulse == Pulse::Dying && self.rng.bool() {
            return Err(io::Error::other("died before the rename"));
        }
        self.version += 1;
        let before = self.peek(name).map(<[u8]>::to_vec);
        let entry = self.entries.entry(name.to_owned()).or_default();
        if self.durability == Durability::Lying && entry.before.is_none() {
            entry.before = Some(before);
        }
        entry.content = content.to_vec();
        entry.durable_bytes = content.len();
        match pulse {
            Pulse::Dying => Err(io::Error::other("died after the rename")),
            _ => Ok(()),
        }
    }

    fn note(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let pulse = self.write_allowed()?;
        if pulse == Pulse::Dying && self.rng.bool() {
            return Err(io::Error::other("died before the rename"));
        }
        self.version += 1;
        let entry = self.entries.entry(name.to_owned()).or_default();
        entry.content = content.to_vec();
        entry.durable_bytes = 0;
        Ok(())
    }

    fn append(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let was_full = self.full;
        let pulse = match self.write_allowed() {
            Ok(pulse) => pulse,
            Err(error) => {
                // A full disk takes the part that still fits.
                if was_full && !self.fuse.is_dead() && self.rng.bool() && !content.is_empty() {
                    let part = self.rng.usize(0..content.len());
                    let entry = self.entries.entry(name.to_owned()).or_default();
                    entry.content.extend_from_slice(&content[..part]);
                    self.version += 1;
                }
                return Err(error);
            }
        };
        let part = match pulse {
            Pulse::Dying => self.rng.usize(0..=content.len()),
            _ => content.len(),
        };
        self.version += 1;
        let entry = self.entries.entry(name.to_owned()).or_default();
        entry.content.extend_from_slice(&content[..part]);
        match pulse {
            Pulse::Dying => Err(io::Error::other("died while appending")),
            _ => Ok(()),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        if self.fuse.pulse() == Pulse::Dead {
            return Err(io::Error::other("the process is dead"));
        }
        let entry = self
            .entries
            .remove(from)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        self.version += 1;
        self.entries.insert(to.to_owned(), entry);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        if self.fuse.pulse() == Pulse::Dead {
            return Err(io::Error::other("the process is dead"));
        }
        self.version += 1;
        self.entries.remove(name);
        Ok(())
    }

    fn names(&mut self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let head = if folder.is_empty() {
            String::new()
        } else {
            format!("{}/", folder.trim_end_matches('/'))
        };
        Ok(self
            .entries
            .iter()
            .filter_map(|(name, entry)| {
                let rest = name.strip_prefix(&head)?;
                (!rest.contains('/')).then(|| (rest.to_owned(), entry.content.len() as u64))
            })
            .collect())
    }
}
