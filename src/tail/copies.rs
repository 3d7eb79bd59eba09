//! Which new contents of one scan are copies of each other: of an original and its copies only the
//! longest is read.
//!
//! A scan may bring thousands of rotated logs of one family. Each one's beginning is read once, and kept
//! meanwhile; only those that begin alike are opened side by side.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use crate::event::{Fingerprint, Mark, Offset};
use crate::ports::{Handle, Meta};

use super::Look;
use super::adopt::related_families;
use super::discover::Found;
use super::file::File;
use super::fingerprint::{self, HEAD_BYTES_MAX};
use super::likeness;
use super::newborn::{Newborn, Rank};

/// What was read of the original of a copy, once it has left.
#[derive(Debug)]
pub(super) struct Original {
    heads: Vec<Fingerprint>,
    /// What is known to stand further on in it.
    mark: Option<Mark>,
    read: Offset,
}

impl Original {
    pub(super) fn of(file: &File) -> Self {
        Self {
            heads: file.heads.clone(),
            mark: file.evidence().or(file.marks.last().copied()),
            read: file.read,
        }
    }

    /// How far what is found was read in the original, if it is still the copy it was: its inode may have
    /// been given to another content.
    pub(super) fn read_in(&self, found: &Found, look: &mut Look<'_>) -> io::Result<Offset> {
        let (handle, meta) = match look.files.open(&found.root, &found.path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(Offset(0)),
            opened => opened?,
        };
        let is_it = self.stands_in(handle, look);
        look.files.close(handle);
        match meta.key == found.meta.key {
            true => Ok(if is_it? { self.read } else { Offset(0) }),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn stands_in(&self, handle: Handle, look: &mut Look<'_>) -> io::Result<bool> {
        let is_alike = fingerprint::begins_as_known(&self.heads, look.files, handle)?;
        match self.mark {
            Some(mark) if is_alike => {
                fingerprint::has_anchor(look.files, handle, mark.at, mark.print)
            }
            _ => Ok(false),
        }
    }
}

/// Finds newborns (the larger come first) that hold only what a larger one begins with.
pub(super) fn put_aside_copies(newborns: &mut [Newborn], look: &mut Look<'_>) -> Vec<String> {
    let mut originals = Originals {
        newborns,
        beginnings: Beginnings(vec![None; newborns.len()]),
        families: HashMap::new(),
    };
    let ranks = (0..newborns.len()).map(|nth| originals.rank(nth, look));
    let ranks: Vec<io::Result<Rank>> = ranks.collect();
    let mut problems = Vec::new();
    for (newborn, rank) in newborns.iter_mut().zip(ranks) {
        newborn.rank = rank.unwrap_or_else(|error| {
            problems.push(format!("{}: {error}", newborn.unknown.found.path.display()));
            Rank::Unclear
        });
    }
    problems
}

/// Those that are nobody's copy, as far as they have been looked at.
struct Originals<'a> {
    newborns: &'a [Newborn],
    beginnings: Beginnings,
    families: HashMap<&'a Path, Family>,
}

/// Those of one family.
#[derive(Default)]
struct Family {
    members: Vec<usize>,
    /// So many of them are in the table below.
    sorted: usize,
    by_beginning: BTreeMap<Arc<[u8]>, Vec<usize>>,
}

/// How the newborns begin, as far as anybody asked.
struct Beginnings(Vec<Option<Arc<[u8]>>>);

impl<'a> Originals<'a> {
    /// What a newborn is beside the larger ones.
    fn rank(&mut self, nth: usize, look: &mut Look<'_>) -> io::Result<Rank> {
        let newborn = &self.newborns[nth];
        for original in self.alike(nth, look)? {
            let (small, large) = (
                &newborn.unknown.found,
                &self.newborns[original].unknown.found,
            );
            if is_copy(small, large, look)? {
                return Ok(Rank::CopyOf(original));
            }
        }
        let family = self.families.entry(&newborn.family).or_default();
        family.members.push(nth);
        Ok(Rank::Own)
    }

    /// The larger ones that begin like a newborn.
    fn alike(&mut self, nth: usize, look: &mut Look<'_>) -> io::Result<BTreeSet<usize>> {
        let newborn = &self.newborns[nth];
        let mut families = related_families(&newborn.unknown.found.path);
        families.insert(newborn.family.to_path_buf());
        let mut alike = BTreeSet::new();
        for family in families {
            let Some(family) = self.families.get_mut(&*family) else {
                continue;
            };
            let beginning = self.beginnings.of(nth, self.newborns, look)?;
            if beginning.is_empty() {
                break;
            }
            family.sort(&mut self.beginnings, self.newborns, look)?;
            alike.extend(family.beginning_with(&beginning));
        }
        Ok(alike)
    }
}

impl Family {
    /// Sees to it that all members are found by how they begin.
    fn sort(
        &mut self,
        beginnings: &mut Beginnings,
        newborns: &[Newborn],
        look: &mut Look<'_>,
    ) -> io::Result<()> {
        while let Some(nth) = self.members.get(self.sorted).copied() {
            let beginning = beginnings.of(nth, newborns, look)?;
            self.by_beginning.entry(beginning).or_default().push(nth);
            self.sorted += 1;
        }
        Ok(())
    }

    fn beginning_with(&self, beginning: &[u8]) -> impl Iterator<Item = usize> {
        let range = (Bound::Included(beginning), Bound::Unbounded);
        let from = self.by_beginning.range::<[u8], _>(range);
        let alike = from.take_while(move |(other, _)| other.starts_with(beginning));
        alike.flat_map(|(_, members)| members.iter().copied())
    }
}

impl Beginnings {
    /// How a newborn begins. What may not be opened, or is empty, is nobody's copy and nobody's original.
    fn of(
        &mut self,
        nth: usize,
        newborns: &[Newborn],
        look: &mut Look<'_>,
    ) -> io::Result<Arc<[u8]>> {
        if let Some(known) = &self.0[nth] {
            return Ok(Arc::clone(known));
        }
        let beginning = beginning_of(&newborns[nth].unknown.found, look)?;
        Ok(Arc::clone(self.0[nth].insert(beginning)))
    }
}

fn beginning_of(found: &Found, look: &mut Look<'_>) -> io::Result<Arc<[u8]>> {
    let Some((handle, _)) = open(found, look)? else {
        return Ok([].into());
    };
    let mut beginning = [0; HEAD_BYTES_MAX];
    let got = fingerprint::read_full(look.files, handle, Offset(0), &mut beginning);
    look.files.close(handle);
    Ok(beginning[..got?].into())
}

/// Whether a file holds only what a larger one begins with. One that may not be opened is nobody's
/// copy and nobody's original.
fn is_copy(small: &Found, large: &Found, look: &mut Look<'_>) -> io::Result<bool> {
    let Some((small, small_meta)) = open(small, look)? else {
        return Ok(false);
    };
    let answer = open(large, look).and_then(|large| {
        let Some((large, large_meta)) = large else {
            return Ok(false);
        };
        let (one, other) = ((small, small_meta.size), (large, large_meta.size));
        let answer = likeness::is_beginning(look.files, one, other);
        look.files.close(large);
        answer
    });
    look.files.close(small);
    answer
}

/// Opens a file, if it may be opened.
fn open(found: &Found, look: &mut Look<'_>) -> io::Result<Option<(Handle, Meta)>> {
    match look.files.open(&found.root, &found.path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        opened => opened.map(Some),
    }
}
