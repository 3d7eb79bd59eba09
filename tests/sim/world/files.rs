//! The log files of the simulated machine: names, inodes, open handles, and what became of every
//! content ever written.
//!
//! A *life* is one content of one inode: truncation ends a life and begins the next, so does a
//! power cut that damages it. The oracle follows lives by the [`Fate`]s told here.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use deploywatch::event::{EpochMs, Offset};
use deploywatch::ports::{FileKey, Files, Handle, Kind, Meta};

use super::fuse::{Fuse, Pulse};
use super::watch::Touch;

/// One content of one inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LifeId(pub(crate) u32);

/// Why a content is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FreedBy {
    /// The last name went and nobody had it open.
    Unlink,
    /// The agent closed the last handle of a nameless file.
    Agent,
    /// The process that held a nameless file open ended.
    Exit,
}

/// How a content ends for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a newline, or it is empty.
    Whole,
    /// Within a line: what is written next is glued to it.
    Ragged,
}

/// What happened to a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A file was made, or its content began anew.
    Born {
        life: LifeId,
        key: FileKey,
        path: PathBuf,
    },
    /// A copy was made of the first `bytes`.
    Copied {
        from: LifeId,
        to: LifeId,
        bytes: u64,
    },
    /// It holds so many bytes now.
    Grown {
        life: LifeId,
        bytes: u64,
        ending: Ending,
    },
    /// Truncated in place: the content is destroyed.
    Cut(LifeId),
    /// The agent saw the file smaller than the `shown` bytes it had seen: it can know of the cut.
    CutSeen { life: LifeId, shown: u64 },
    /// The agent looked at this content for the first time.
    Seen(LifeId),
    /// It has another name now.
    Renamed { life: LifeId, path: PathBuf },
    /// It may or may not be read from now on.
    Readable { life: LifeId, readable: bool },
    /// The last name is gone; somebody has it open.
    Held(LifeId),
    /// The content is gone.
    Freed { life: LifeId, by: FreedBy },
    /// A power cut left only the first `keep` bytes (and perhaps NULs); the rest lives on as `next`.
    Damaged {
        life: LifeId,
        next: LifeId,
        keep: u64,
    },
}

#[derive(Clone, Debug)]
struct Inode {
    key: FileKey,
    life: LifeId,
    content: Vec<u8>,
    /// So much of it survives a power cut.
    synced: usize,
    modified_ms: EpochMs,
    links: u64,
    handles: u32,
    readable: bool,
    /// The life the agent looked at last, and the size it was shown.
    shown: Option<(LifeId, u64)>,
}

impl Inode {
    fn grown(&self) -> Fate {
        let is_ragged = self.content.last().is_some_and(|byte| *byte != b'\n');
        Fate::Grown {
            life: self.life,
            bytes: self.content.len() as u64,
            ending: if is_ragged {
                Ending::Ragged
            } else {
                Ending::Whole
            },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Directory,
    File(usize),
    /// A FIFO, a device, a symlink that leads away.
    Other,
}

/// [`Files`] in memory, and the hand that writes them.
#[derive(Debug)]
pub(crate) struct MemFiles {
    names: BTreeMap<PathBuf, Name>,
    inodes: Vec<Inode>,
    handles: BTreeMap<u32, usize>,
    next_handle: u32,
    next_life: u32,
    next_inode: u64,
    free_inodes: VecDeque<u64>,
    fuse: Fuse,
    rng: fastrand::Rng,
    /// Whether freed inode numbers are given to the next new file.
    pub(crate) reuse_inodes: bool,
    /// Chance of EIO, EMFILE and the like, per call of the agent.
    pub(crate) error_rate: f64,
    /// The machine's date, for modification times.
    pub(crate) wall_ms: EpochMs,
    /// What happened since the oracle looked.
    pub(crate) fates: Vec<Fate>,
    /// What happened since the watch looked.
    pub(crate) touched: Vec<Touch>,
    /// What the agent must not do and did.
    pub(crate) violations: Vec<String>,
    /// Bytes the agent has read, as a measure of progress.
    pub(crate) bytes_read: u64,
}

impl MemFiles {
    pub(crate) fn new(seed: u64, fuse: Fuse) -> Self {
        Self {
            names: BTreeMap::from([(PathBuf::from("/"), Name::Directory)]),
            inodes: Vec::new(),
            handles: BTreeMap::new(),
            next_handle: 3,
            next_life: 0,
            next_inode: 100,
            free_inodes: VecDeque::new(),
            fuse,
            rng: fastrand::Rng::with_seed(seed),
            reuse_inodes: false,
            error_rate: 0.0,
            wall_ms: 0,
            fates: Vec::new(),
            touched: Vec::new(),
            violations: Vec::new(),
            bytes_read: 0,
        }
    }

    /// How many files the agent has open.
    pub(crate) fn open_count(&self) -> usize {
        self.handles.len()
    }

    /// Whether a path names anything.
    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.names.contains_key(path)
    }

    /// An open descriptor of a writer: writes reach the file wherever it is renamed to.
    pub(crate) fn descriptor(&self, path: &Path) -> Option<Descriptor> {
        match self.names.get(path) {
            Some(Name::File(at)) => Some(Descriptor(*at, self.inodes[*at].key)),
            _ => None,
        }
    }

    /// Paths of the entries of a directory.
    pub(crate) fn entries(&self, dir: &Path) -> Vec<PathBuf> {
        self.names
            .range(dir.to_owned()..)
            .take_while(|(path, _)| path.starts_with(dir))
            .filter(|(path, _)| path.parent() == Some(dir))
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// Content of a path.
    pub(crate) fn content(&self, path: &Path) -> Option<&[u8]> {
        match self.names.get(path) {
            Some(Name::File(at)) => Some(&self.inodes[*at].content),
            _ => None,
        }
    }

    pub(crate) fn mkdir_p(&mut self, dir: &Path) {
        if self.names.contains_key(dir) {
            return;
        }
        if let Some(parent) = dir.parent() {
            self.mkdir_p(parent);
        }
        self.names.insert(dir.to_owned(), Name::Directory);
        self.touched.push(Touch::Made(dir.to_owned()));
    }

    /// A name that is neither file nor directory.
    pub(crate) fn make_other(&mut self, path: &Path) {
        self.names.insert(path.to_owned(), Name::Other);
        self.touched.push(Touch::Path(path.to_owned()));
    }

    /// Appends, creating the file where there is none. Returns the content and where in it the
    /// bytes begin.
    pub(crate) fn append(&mut self, path: &Path, bytes: &[u8]) -> (LifeId, u64) {
        let at = match self.names.get(path) {
            Some(Name::File(at)) => *at,
            _ => self.create(path),
        };
        self.touched.push(Touch::Path(path.to_owned()));
        self.write(at, bytes)
    }

    /// Appends through an open descriptor; `None` when the file has no name any more.
    pub(crate) fn append_to(&mut self, to: Descriptor, bytes: &[u8]) -> Option<(LifeId, u64)> {
        let inode = &self.inodes[to.0];
        if inode.links == 0 || inode.key != to.1 {
            return None;
        }
        let path = self
            .names
            .iter()
            .find(|(_, name)| **name == Name::File(to.0))
            .map(|(path, _)| path.clone())?;
        self.touched.push(Touch::Path(path));
        Some(self.write(to.0, bytes))
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) {
        let Some(Name::File(at)) = self.names.get(from).copied() else {
            return;
        };
        self.unlink(to);
        self.names.remove(from);
        self.names.insert(to.to_owned(), Name::File(at));
        self.touched.push(Touch::Path(from.to_owned()));
        self.touched.push(Touch::Path(to.to_owned()));
        self.fates.push(Fate::Renamed {
            life: self.inodes[at].life,
            path: to.to_owned(),
        });
    }

    pub(crate) fn copy(&mut self, from: &Path, to: &Path) {
        let Some(Name::File(at)) = self.names.get(from).copied() else {
            return;
        };
        self.unlink(to);
        let copy = self.create(to);
        let content = self.inodes[at].content.clone();
        self.fates.push(Fate::Copied {
            from: self.inodes[at].life,
            to: self.inodes[copy].life,
            bytes: content.len() as u64,
        });
        self.write(copy, &content);
        self.touched.push(Touch::Path(to.to_owned()));
    }

    pub(crate) fn truncate(&mut self, path: &Path) {
        let Some(Name::File(at)) = self.names.get(path).copied() else {
            return;
        };
        let next = self.new_life();
        let wall_ms = self.wall_ms;
        let inode = &mut self.inodes[at];
        if inode.content.is_empty() {
            return;
        }
        let old = std::mem::replace(&mut inode.life, next);
        inode.content.clear();
        inode.synced = 0;
        inode.modified_ms = wall_ms;
        let (key, readable) = (inode.key, inode.readable);
        self.fates.push(Fate::Cut(old));
        self.fates.push(Fate::Born {
            life: next,
            key,
            path: path.to_owned(),
        });
        if !readable {
            self.fates.push(Fate::Readable {
                life: next,
                readable,
            });
        }
        self.touched.push(Touch::Path(path.to_owned()));
    }

    pub(crate) fn unlink(&mut self, path: &Path) {
        match self.names.get(path).copied() {
            Some(Name::File(at)) => {
                self.names.remove(path);
                self.inodes[at].links -= 1;
                let life = self.inodes[at].life;
                if self.inodes[at].handles > 0 {
                    self.fates.push(Fate::Held(life));
                } else {
                    self.free(at, FreedBy::Unlink);
                }
            }
            Some(Name::Other) => {
                self.names.remove(path);
            }
            Some(Name::Directory) | None => return,
        }
        self.touched.push(Touch::Path(path.to_owned()));
    }

    /// `rm -rf`.
    pub(crate) fn remove_tree(&mut self, dir: &Path) {
        let below: Vec<PathBuf> = self
            .names
            .keys()
            .filter(|path| path.starts_with(dir))
            .cloned()
            .collect();
        for path in below.iter().rev() {
            if self.names.get(path) == Some(&Name::Directory) {
                self.names.remove(path);
                self.touched.push(Touch::Gone(path.clone()));
            } else {
                self.unlink(path);
            }
        }
    }

    /// Grants or takes away the permission to open.
    pub(crate) fn chmod(&mut self, path: &Path, readable: bool) {
        if let Some(Name::File(at)) = self.names.get(path).copied() {
            self.inodes[at].readable = readable;
            self.touched.push(Touch::Path(path.to_owned()));
            self.fates.push(Fate::Readable {
                life: self.inodes[at].life,
                readable,
            });
        }
    }

    /// Everybody may read everything again.
    pub(crate) fn chmod_all(&mut self) {
        let shut: Vec<PathBuf> = self
            .names
            .iter()
            .filter(|(_, name)| matches!(name, Name::File(at) if !self.inodes[*at].readable))
            .map(|(path, _)| path.clone())
            .collect();
        for path in shut {
            self.chmod(&path, true);
        }
    }

    /// The system writes its caches to the disk.
    pub(crate) fn sync(&mut self) {
        for inode in &mut self.inodes {
            inode.synced = inode.content.len();
        }
    }

    /// The process ends: its handles are closed.
    pub(crate) fn exit(&mut self) {
        let open: Vec<usize> = std::mem::take(&mut self.handles).into_values().collect();
        for at in open {
            self.let_go(at, FreedBy::Exit);
        }
        for inode in &mut self.inodes {
            inode.shown = None;
        }
    }

    /// The power fails: what was not synced is gone, or NULs.
    pub(crate) fn power_cut(&mut self) {
        self.exit();
        for at in 0..self.inodes.len() {
            let inode = &self.inodes[at];
            if inode.links == 0 || inode.synced >= inode.content.len() {
                continue;
            }
            let keep = self.rng.usize(inode.synced..=inode.content.len());
            if keep == inode.content.len() {
                self.inodes[at].synced = keep;
                continue;
            }
            let next = self.new_life();
            let nuls = self.rng.bool();
            let inode = &mut self.inodes[at];
            let life = std::mem::replace(&mut inode.life, next);
            if nuls {
                inode.content[keep..].fill(0);
            } else {
                inode.content.truncate(keep);
            }
            inode.synced = inode.content.len();
            self.fates.push(Fate::Damaged {
                life,
                next,
                keep: keep as u64,
            });
            let grown = inode.grown();
            self.fates.push(grown);
        }
    }

    fn new_life(&mut self) -> LifeId {
        self.next_life += 1;
        LifeId(self.next_life)
    }

    fn create(&mut self, path: &Path) -> usize {
        if let Some(dir) = path.parent() {
            self.mkdir_p(dir);
        }
        let inode = match self.free_inodes.pop_back() {
            Some(inode) if self.reuse_inodes => inode,
            _ => {
                self.next_inode += 1;
                self.next_inode
            }
        };
        let device = if path.starts_with("/opt") { 2 } else { 1 };
        let key = FileKey { device, inode };
        let life = self.new_life();
        self.inodes.push(Inode {
            key,
            life,
            content: Vec::new(),
            synced: 0,
            modified_ms: self.wall_ms,
            links: 1,
            handles: 0,
            readable: true,
            shown: None,
        });
        let at = self.inodes.len() - 1;
        self.names.insert(path.to_owned(), Name::File(at));
        self.fates.push(Fate::Born {
            life,
            key,
            path: path.to_owned(),
        });
        at
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> (LifeId, u64) {
        let inode = &mut self.inodes[at];
        let offset = inode.content.len() as u64;
        inode.content.extend_from_slice(bytes);
        inode.modified_ms = self.wall_ms;
        self.fates.push(inode.grown());
        (inode.life, offset)
    }

    fn let_go(&mut self, at: usize, by: FreedBy) {
        self.inodes[at].handles -= 1;
        if self.inodes[at].handles == 0 && self.inodes[at].links == 0 {
            self.free(at, by);
        }
    }

    fn free(&mut self, at: usize, by: FreedBy) {
        let inode = &mut self.inodes[at];
        inode.content = Vec::new();
        self.free_inodes.push_back(inode.key.inode);
        let life = inode.life;
        self.fates.push(Fate::Freed { life, by });
    }

    /// The agent is shown a file.
    fn show(&mut self, at: usize) -> Meta {
        let inode = &mut self.inodes[at];
        let size = inode.content.len() as u64;
        match inode.shown.replace((inode.life, size)) {
            None => self.fates.push(Fate::Seen(inode.life)),
            Some((life, before)) if life != inode.life => {
                if size < before {
                    self.fates.push(Fate::CutSeen {
                        life,
                        shown: before,
                    });
                }
                self.fates.push(Fate::Seen(inode.life));
            }
            Some(_) => {}
        }
        self.meta_of(at)
    }

    fn meta_of(&self, at: usize) -> Meta {
        let inode = &self.inodes[at];
        let size = inode.content.len() as u64;
        Meta {
            key: inode.key,
            kind: Kind::File,
            size,
            modified_ms: inode.modified_ms,
            links: inode.links,
        }
    }

    fn admit(&mut self, root: &Path, path: &Path) -> io::Result<()> {
        if !path.starts_with(root) {
            self.violations.push(format!(
                "left the root {}: {}",
                root.display(),
                path.display()
            ));
        }
        self.pulse()
    }

    fn pulse(&mut self) -> io::Result<()> {
        if self.fuse.pulse() != Pulse::Alive {
            return Err(io::Error::other("the process is dead"));
        }
        if self.error_rate > 0.0 && self.rng.f64() < self.error_rate {
            return Err(io::Error::from_raw_os_error(if self.rng.bool() {
                5
            } else {
                24
            }));
        }
        Ok(())
    }

    fn opened(&self, handle: Handle) -> io::Result<usize> {
        self.handles
            .get(&handle.0)
            .copied()
            .ok_or_else(|| io::Error::from_raw_os_error(9))
    }
}

/// A writer's open descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor(usize, FileKey);

impl Files for MemFiles {
    fn list(&mut self, root: &Path, dir: &Path) -> io::Result<Vec<(OsString, Kind)>> {
        self.admit(root, dir)?;
        match self.names.get(dir) {
            Some(Name::Directory) => {}
            Some(_) => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
            None => return Err(io::Error::from(io::ErrorKind::NotFound)),
        }
        let mut found = Vec::new();
        for path in self.entries(dir) {
            let kind = match self.names[&path] {
                Name::Directory => Kind::Directory,
                Name::File(_) => Kind::File,
                Name::Other => Kind::Other,
            };
            if let Some(name) = path.file_name() {
                found.push((name.to_owned(), kind));
            }
        }
        self.rng.shuffle(&mut found);
        Ok(found)
    }

    fn stat(&mut self, root: &Path, path: &Path) -> io::Result<Meta> {
        self.admit(root, path)?;
        match self.names.get(path).copied() {
            // Whether a program is alive is asked below `/`: who asks that reads no log.
            Some(Name::File(at)) if root == Path::new("/") => Ok(self.meta_of(at)),
            Some(Name::File(at)) => Ok(self.show(at)),
            Some(name) => Ok(Meta {
                key: FileKey {
                    device: 9,
                    inode: 0,
                },
                kind: if name == Name::Directory {
                    Kind::Directory
                } else {
                    Kind::Other
                },
                size: 0,
                modified_ms: 0,
                links: 1,
            }),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    fn open(&mut self, root: &Path, path: &Path) -> io::Result<(Handle, Meta)> {
        self.admit(root, path)?;
        match self.names.get(path).copied() {
            Some(Name::File(at)) if !self.inodes[at].readable => {
                Err(io::Error::from(io::ErrorKind::PermissionDenied))
            }
            Some(Name::File(at)) => {
                self.next_handle += 1;
                self.handles.insert(self.next_handle, at);
                self.inodes[at].handles += 1;
                Ok((Handle(self.next_handle), self.show(at)))
            }
            Some(_) => {
                let what = format!("opened what is no file: {}", path.display());
                self.violations.push(what);
                Err(io::Error::from(io::ErrorKind::InvalidInput))
            }
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    fn meta(&mut self, handle: Handle) -> io::Result<Meta> {
        self.pulse()?;
        let at = self.opened(handle)?;
        Ok(self.show(at))
    }

    fn read_at(&mut self, handle: Handle, offset: Offset, into: &mut [u8]) -> io::Result<usize> {
        self.pulse()?;
        let at = self.opened(handle)?;
        let content = &self.inodes[at].content;
        let from = usize::try_from(offset.0).map_or(content.len(), |at| at.min(content.len()));
        let mut bytes = into.len().min(content.len() - from);
        // The system may give less than was asked for.
        if bytes > 1 && self.rng.u8(0..16) == 0 {
            bytes = self.rng.usize(1..bytes);
        }
        into[..bytes].copy_from_slice(&content[from..from + bytes]);
        self.bytes_read += bytes as u64;
        Ok(bytes)
    }

    fn close(&mut self, handle: Handle) {
        if self.fuse.is_dead() {
            return;
        }
        if let Some(at) = self.handles.remove(&handle.0) {
            self.let_go(at, FreedBy::Agent);
        } else {
            self.violations
                .push(format!("closed a handle that is not open: {}", handle.0));
        }
    }
}
