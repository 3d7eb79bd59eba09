//! Resolves paths below a root so that nothing leads out of it, whatever is renamed meanwhile.
//!
//! The kernel does it in one call (`openat2` with `RESOLVE_BENEATH`). Where it cannot (kernels
//! before 5.6, a seccomp filter) or where it says "leads out" only because a link is written as an
//! absolute path, a walk takes over: one component at a time, none followed by the kernel, links
//! read and resolved by us, `..` answered from the directories already held open. Both are safe
//! against races: no name is looked up twice in a place that could have become another.
//!
//! The way to the root may hold links, too: `/var/log/app` may well be one to another disk. But who can
//! write above the root can put a link in its place, to have us read for him what he may not; and who
//! can write below it can link to a file there that is not his. So each link must lead to what its
//! maker could have put there himself ([`Untrusted`]).

use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Links followed on one way, as in the kernel (`MAXSYMLINKS`, path_resolution(7)).
const LINKS_MAX: usize = 40;
/// Directories a walk may hold open at once.
const DEPTH_MAX: usize = 128;
/// The system's root: `..` of it is itself.
const SYSTEM: &str = "/";

/// Who resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// `openat2`, the walk where that does not do.
    Kernel,
    /// The walk alone.
    Walk,
}

/// Opens things below roots; remembers what the kernel can do.
#[derive(Debug)]
pub(crate) struct Resolver {
    method: Cell<Method>,
}

/// An open directory from which nothing leads out.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

impl Root {
    /// Opens a root. Links on the way to it are followed where they are not [`Untrusted`].
    ///
    /// It is opened for each question and not kept: one system call more than a check whether it
    /// is still the same, and a file system we look at can be unmounted.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let no_links = ResolveFlags::NO_SYMLINKS;
        let fd = match rustix::fs::openat2(CWD, path, flags, Mode::empty(), no_links) {
            Err(Errno::LOOP) => open_by_trusted_links(path, flags)?,
            // Nobody to ask: an old kernel, a seccomp filter.
            Err(Errno::NOSYS | Errno::PERM) => match open_without_links(path, flags)? {
                Some(fd) => fd,
                None => open_by_trusted_links(path, flags)?,
            },
            answer => answer?,
        };
        let path = path.to_owned();
        Ok(Self { path, fd })
    }

    /// As it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What of `path` lies below the root.
    pub(crate) fn below<'p>(&self, path: &'p Path) -> io::Result<&'p Path> {
        path.strip_prefix(&self.path)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "path is not below its root"))
    }
}

impl Resolver {
    pub(crate) fn new(method: Method) -> Self {
        Self {
            method: Cell::new(method),
        }
    }

    /// Opens what `below` leads to, links inside the root followed. `EXDEV`: it leads out.
    pub(crate) fn open(&self, root: &Root, below: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        match self.by_kernel(root, below, flags, ResolveFlags::empty()) {
            Some(answer) => Ok(answer?),
            None => Ok(walk(root, below, flags)?),
        }
    }

    /// The same where no link on the way is [`Untrusted`]; one that is makes it an error.
    pub(crate) fn open_trusted(
        &self,
        root: &Root,
        below: &Path,
        flags: OFlags,
    ) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        match self.by_kernel(root, below, flags, ResolveFlags::NO_SYMLINKS) {
            Some(answer) => Ok(answer?),
            None => walk_trusted(root, below, flags),
        }
    }

    /// The kernel's answer; `None` where the walk has to give it.
    fn by_kernel(
        &self,
        root: &Root,
        below: &Path,
        flags: OFlags,
        more: ResolveFlags,
    ) -> Option<rustix::io::Result<OwnedFd>> {
        if self.method.get() == Method::Walk {
            return None;
        }
        match ask_kernel(root, below, flags, more) {
            Err(Errno::NOSYS) => {
                self.method.set(Method::Walk);
                None
            }
            // Leads out, or is an absolute link; a filter, or a real refusal (which the walk
            // meets again); something on the way was renamed just now; a link where none may be.
            Err(Errno::XDEV | Errno::PERM | Errno::AGAIN | Errno::LOOP) => None,
            answer => Some(answer),
        }
    }

    /// Finds the last component of `below` as it stands there, not followed if it is a link: to be
    /// looked at, not read.
    pub(crate) fn find_unfollowed(&self, root: &Root, below: &Path) -> io::Result<OwnedFd> {
        let (Some(parent), Some(name)) = (below.parent(), below.file_name()) else {
            return Err(Errno::XDEV.into());
        };
        let parent = self.open(root, parent, OFlags::PATH | OFlags::DIRECTORY)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?)
    }

    /// Finds what `below` leads to, and the directory its last name really stands in: who may write
    /// there decides what that name means. Always by the walk, which alone knows.
    pub(crate) fn find_in_directory(&self, root: &Root, below: &Path) -> io::Result<InDirectory> {
        let mut way = Way::new(root, below)?;
        let found = way.walk(OFlags::PATH | OFlags::CLOEXEC)?;
        Ok(InDirectory {
            found: rustix::fs::fstat(&found)?,
            directory: rustix::fs::fstat(way.here())?,
        })
    }
}

/// A thing and the directory it was found in.
pub(crate) struct InDirectory {
    /// The thing.
    pub(crate) found: Stat,
    /// The directory.
    pub(crate) directory: Stat,
}

fn ask_kernel(
    root: &Root,
    below: &Path,
    flags: OFlags,
    more: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | more;
    let below = if below.as_os_str().is_empty() {
        Path::new(".")
    } else {
        below
    };
    rustix::fs::openat2(&root.fd, below, flags, Mode::empty(), resolve)
}

/// Opens what a path of the system leads to, if that is what the kernel calls it: then no link was
/// followed. `None`: one was, or it will not say.
fn open_without_links(path: &Path, flags: OFlags) -> io::Result<Option<OwnedFd>> {
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let name = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    Ok(name.is_ok_and(|name| name == path).then_some(fd))
}

/// Opens what a path of the system leads to, where no link on the way is [`Untrusted`].
fn open_by_trusted_links(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let system = Root {
        path: SYSTEM.into(),
        fd: rustix::fs::openat(CWD, SYSTEM, flags, Mode::empty())?,
    };
    walk_trusted(&system, system.below(path)?, flags)
}

/// A link that leads to what its maker could not have put in its place. Root's links lead anywhere, and
/// our own; others' to what they own, and to files in directories of theirs: those they could move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Untrusted {
    maker: u32,
    owner: u32,
}

impl Untrusted {
    /// A link of `maker` to what belongs to the first of `owners`, if none of them made it: each could
    /// have put there what it leads to.
    fn check(maker: u32, owners: &[u32]) -> Option<Self> {
        let is_good = super::is_trusted(maker) || owners.contains(&maker);
        (!is_good).then_some(Self {
            maker,
            owner: owners[0],
        })
    }
}

impl From<Untrusted> for io::Error {
    fn from(Untrusted { maker, owner }: Untrusted) -> Self {
        let text = format!(
            "a symlink of uid {maker} leads to what belongs to uid {owner}; name in its source the path it \
             leads to, or give the link to root (chown -h root)"
        );
        Self::new(io::ErrorKind::PermissionDenied, text)
    }
}

/// A way that is being walked: the directories entered and the names still ahead, next one last.
struct Way<'r> {
    root: &'r Root,
    entered: Vec<OwnedFd>,
    ahead: Vec<OsString>,
    links: usize,
    /// Links that are being followed: whose each is, and how many names are ahead where it ends.
    followed: Vec<(u32, usize)>,
    /// The first link that is not trusted to lead where it does.
    untrusted: Option<Untrusted>,
}

fn walk(root: &Root, below: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    Way::new(root, below)?.walk(flags)
}

fn walk_trusted(root: &Root, below: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mut way = Way::new(root, below)?;
    let found = way.walk(flags)?;
    match way.untrusted {
        None => Ok(found),
        Some(untrusted) => Err(untrusted.into()),
    }
}

impl<'r> Way<'r> {
    fn new(root: &'r Root, below: &Path) -> rustix::io::Result<Self> {
        let mut way = Self {
            root,
            entered: Vec::new(),
            ahead: Vec::new(),
            links: 0,
            followed: Vec::new(),
            untrusted: None,
        };
        way.push(below)?;
        Ok(way)
    }

    fn walk(&mut self, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let unfollowed = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            if self.is_at_end_of_link() {
                let here = rustix::fs::fstat(self.here())?;
                self.end_links(&[here.st_uid]);
            }
            let Some(name) = self.ahead.pop() else {
                return rustix::fs::openat(self.here(), ".", flags, Mode::empty());
            };
            if name == ".." {
                if self.entered.pop().is_none() && self.root.path != Path::new(SYSTEM) {
                    return Err(Errno::XDEV);
                }
                continue;
            }
            let found =
                rustix::fs::openat(self.here(), &name, OFlags::PATH | unfollowed, Mode::empty())?;
            let stat = rustix::fs::fstat(&found)?;
            match file_type(&stat) {
                FileType::Symlink => self.follow(&found, &stat)?,
                FileType::Directory if self.entered.len() < DEPTH_MAX => self.entered.push(found),
                FileType::Directory => return Err(Errno::LOOP),
                _ if !self.ahead.is_empty() || flags.contains(OFlags::DIRECTORY) => {
                    return Err(Errno::NOTDIR);
                }
                _ => {
                    let here = rustix::fs::fstat(self.here())?;
                    self.end_links(&[stat.st_uid, here.st_uid]);
                    if flags.contains(OFlags::PATH) {
                        return Ok(found);
                    }
                    let flags = flags | unfollowed;
                    return rustix::fs::openat(self.here(), &name, flags, Mode::empty());
                }
            }
        }
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.entered
            .last()
            .map_or(self.root.fd.as_fd(), AsFd::as_fd)
    }

    /// Puts a relative path before what is ahead.
    fn push(&mut self, path: &Path) -> rustix::io::Result<()> {
        for component in path.components().rev() {
            match component {
                Component::Normal(name) => self.ahead.push(name.to_owned()),
                Component::ParentDir => self.ahead.push("..".into()),
                Component::CurDir => {}
                Component::RootDir | Component::Prefix(_) => return Err(Errno::XDEV),
            }
        }
        Ok(())
    }

    fn follow(&mut self, link: &OwnedFd, stat: &Stat) -> rustix::io::Result<()> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        self.followed.push((stat.st_uid, self.ahead.len()));
        let target = rustix::fs::readlinkat(link, "", Vec::new())?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            let inside = target
                .strip_prefix(&self.root.path)
                .map_err(|_| Errno::XDEV)?;
            self.entered.clear();
            self.push(inside)
        } else {
            self.push(&target)
        }
    }

    fn is_at_end_of_link(&self) -> bool {
        let last = self.followed.last();
        last.is_some_and(|(_, ahead)| *ahead == self.ahead.len())
    }

    /// The links that end here lead to what belongs to the first of `owners`.
    fn end_links(&mut self, owners: &[u32]) {
        while self.is_at_end_of_link()
            && let Some((maker, _)) = self.followed.pop()
        {
            let untrusted = Untrusted::check(maker, owners);
            self.untrusted = self.untrusted.or(untrusted);
        }
    }
}

/// The type in a `stat`'s mode.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    /// What becomes of one way: which inode, or which error.
    fn fate(answer: rustix::io::Result<OwnedFd>) -> Result<u64, Errno> {
        let file = std::fs::File::from(answer?);
        Ok(file.metadata().unwrap().ino())
    }

    fn part() -> impl Strategy<Value = &'static str> {
        // Not `.`: std takes it out of a path, so `file/.` is a file to the walk alone.
        prop::sample::select(vec!["a", "b", "c", ".."])
    }

    fn way() -> impl Strategy<Value = String> {
        prop::collection::vec(part(), 1..5).prop_map(|parts| parts.join("/"))
    }

    /// Without the kernel's help, too, a root is opened at once where no link is on the way, and only
    /// there: shown by the same directory with and without one.
    #[test]
    fn what_the_kernel_calls_otherwise_was_reached_by_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(dir.join("here/log")).unwrap();
        symlink("here", dir.join("there")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for (name, is_opened) in [("here/log", true), ("there/log", false), ("there", false)] {
            let fd = open_without_links(&dir.join(name), flags).unwrap();
            assert_eq!(fd.is_some(), is_opened, "{name}");
        }
        let missing = open_without_links(&dir.join("nowhere"), flags).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn the_walk_agrees_with_the_kernel(
            dirs in prop::collection::vec(way(), 0..4),
            links in prop::collection::vec((way(), way()), 0..5),
            files in prop::collection::vec(way(), 0..3),
            ways in prop::collection::vec(way(), 1..20),
        ) {
            // Our own resolution must end at the same inode or with the same refusal as the
            // kernel's: shown on random trees full of relative links, also ones that lead out.
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x/root");
            std::fs::create_dir_all(&path).unwrap();
            // Whatever cannot be made in this tree is simply not in it.
            for name in &dirs {
                let _made = std::fs::create_dir_all(path.join(name.replace("..", "b")));
            }
            for (name, target) in &links {
                let _made = symlink(target, path.join(name.replace("..", "c")));
            }
            for name in &files {
                let name = path.join(name.replace("..", "a"));
                let _made = std::fs::File::create_new(name);
            }
            let root = Root::open(&path).unwrap();
            let ask_kernel = |way, flags| ask_kernel(&root, way, flags, ResolveFlags::empty());
            if ask_kernel(Path::new(""), OFlags::PATH).err() == Some(Errno::NOSYS) {
                return Ok(());
            }
            for way in &ways {
                let way = Path::new(way);
                for flags in [OFlags::PATH, OFlags::RDONLY, OFlags::PATH | OFlags::DIRECTORY] {
                    let flags = flags | OFlags::CLOEXEC;
                    // "Again": somebody renamed something, anywhere, while `..` was resolved.
                    let kernel = loop {
                        match ask_kernel(way, flags) {
                            Err(Errno::AGAIN) => {}
                            answer => break fate(answer),
                        }
                    };
                    prop_assert_eq!(fate(walk(&root, way, flags)), kernel, "{:?}", way);
                }
            }
        }
    }
}
