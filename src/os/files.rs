//! The log files of this machine, read only: [`Files`] with system calls.
//!
//! Every path is resolved below its root by `beneath.rs`, so no link leads out of what the
//! user named. A thing is looked at (`O_PATH`, which has no side effect on a FIFO or a device)
//! and that very thing is then opened, so nothing can be put in its place meanwhile; only regular
//! files on real file systems are. They are opened without blocking, without becoming anyone's
//! terminal, and without touching the access time where we may ask for that.
//!
//! A file with a second name can be one that someone else put into a watched directory, to have us
//! read for him what he may not. It is opened only where nobody but its owner and root could have
//! done that, or where the user says so: [`OsFiles::accept_hard_links`]. For symlinks see `beneath.rs`.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::beneath::{Method, Resolver, Root};
use crate::event::{EpochMs, Offset};
use crate::ports::{FileKey, Files, Handle, Kind, Meta};

/// Names read from one directory; more is an error. A log directory of this size is a mistake, and
/// listing it again and again would not be invisible.
pub const NAMES_MAX: usize = 100_000;

/// Bytes of the names read from one directory; more is an error, too.
pub const NAMES_BYTES_MAX: usize = 8 << 20;

/// Bits of a mode that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// No log is larger, 256 TiB; but who may write on some file systems (tmpfs, XFS) may give a file any
/// size without filling it, and what is counted of many such files must not overflow.
const SIZE_MAX: u64 = 1 << 48;

/// No log was written later than this, in about the year 10900, or as long before 1970; on tmpfs a
/// file may have any date, and a checkpoint believes none that is far beyond this one.
const MODIFIED_MS_MAX: EpochMs = 1 << 48;

/// File systems whose files the kernel makes up as they are read (`linux/magic.h`): what they say
/// is no log and may have no end. `/proc`, `/sys`, and what is mounted below them.
const MADE_UP: [u64; 13] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0xcafe_4a11, // bpf
    0x6165_676c, // pstore
    0xf97c_ff8c, // selinuxfs
    0x6265_6570, // configfs
    0x1cd1,      // devpts
    0xde5e_81e4, // efivarfs
];

/// The real files.
#[derive(Debug)]
pub struct OsFiles {
    resolver: Resolver,
    /// Open files by handle.
    slots: Vec<Option<File>>,
    /// Slots to use again.
    free: Vec<u32>,
    /// [`NAMES_MAX`], less in tests.
    names_max: usize,
    /// Roots below which a file may have other names, whoever made them.
    trusted_roots: BTreeSet<PathBuf>,
}

impl Default for OsFiles {
    fn default() -> Self {
        Self::new()
    }
}

impl OsFiles {
    /// No file open yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Method::Kernel)
    }

    fn with(method: Method) -> Self {
        Self {
            resolver: Resolver::new(method),
            slots: Vec::new(),
            free: Vec::new(),
            names_max: NAMES_MAX,
            trusted_roots: BTreeSet::new(),
        }
    }

    /// Below these roots, and no others, files are read also where others than their owner could
    /// have linked them to.
    pub fn accept_hard_links(&mut self, roots: impl IntoIterator<Item = PathBuf>) {
        self.trusted_roots = roots.into_iter().collect();
    }

    fn keep(&mut self, file: File) -> io::Result<Handle> {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(file);
            return Ok(Handle(slot));
        }
        let slot = u32::try_from(self.slots.len())
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.slots.push(Some(file));
        Ok(Handle(slot))
    }

    fn file(&self, handle: Handle) -> io::Result<&File> {
        self.slots
            .get(handle.0 as usize)
            .and_then(Option::as_ref)
            .ok_or_else(|| Errno::BADF.into())
    }

    /// What a path leads to, or the link itself where that leads out; only to be looked at.
    fn find(&self, root: &Root, below: &Path) -> io::Result<OwnedFd> {
        match self.resolver.open_trusted(root, below, OFlags::PATH) {
            Err(error) if leads_out(&error) => self.resolver.find_unfollowed(root, below),
            answer => answer,
        }
    }

    /// Refuses a file that others than its owner may have given this name.
    fn check_names(&self, root: &Root, below: &Path, meta: &Meta) -> io::Result<()> {
        if meta.links <= 1 || self.trusted_roots.contains(root.path()) {
            return Ok(());
        }
        let place = self.resolver.find_in_directory(root, below)?;
        if key_of(&place.found) != meta.key {
            return Err(io::Error::other("replaced while it was opened"));
        }
        if is_planted(&place.found, &place.directory) {
            let text = "it has another name, and others than its owner could have put it here; \
                        hard_links = \"allow\" in its source reads it all the same";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(())
    }

    /// The kind of one name of a listing; the directory says it for all but links. Which of those lead
    /// to what is not their maker's, is told where they are looked at.
    fn kind(&self, root: &Root, dir: &Path, name: &OsStr, listed: FileType) -> Kind {
        match listed {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink | FileType::Unknown => self
                .resolver
                .open(root, &dir.join(name), OFlags::PATH)
                .and_then(looked_at)
                .map_or(Kind::Other, |(_, meta)| meta.kind),
            _ => Kind::Other,
        }
    }
}

impl Files for OsFiles {
    fn list(&mut self, root: &Path, dir: &Path) -> io::Result<Vec<(OsString, Kind)>> {
        let root = Root::open(root)?;
        let below = root.below(dir)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
        let directory = self.resolver.open_trusted(&root, below, flags)?;
        if is_made_up(&directory)? {
            return Ok(Vec::new());
        }
        let mut entries = Dir::new(directory)?;
        let mut names = Vec::new();
        let mut bytes = 0;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if names.len() == self.names_max {
                let text = format!("directory has more than {} entries", self.names_max);
                return Err(io::Error::other(text));
            }
            bytes += name.len();
            if bytes > NAMES_BYTES_MAX {
                let text =
                    format!("the names in the directory have more than {NAMES_BYTES_MAX} bytes");
                return Err(io::Error::other(text));
            }
            let kind = self.kind(&root, below, name, entry.file_type());
            names.push((name.to_owned(), kind));
        }
        Ok(names)
    }

    fn stat(&mut self, root: &Path, path: &Path) -> io::Result<Meta> {
        let root = Root::open(root)?;
        let found = self.find(&root, root.below(path)?)?;
        looked_at(found).map(|(_, meta)| meta)
    }

    fn open(&mut self, root: &Path, path: &Path) -> io::Result<(Handle, Meta)> {
        let root = Root::open(root)?;
        let below = root.below(path)?;
        let (found, meta) = looked_at(self.find(&root, below)?)?;
        regular(&meta)?;
        self.check_names(&root, below, &meta)?;
        let opened = match open_found(&found) {
            // No /proc to open it by: by its name, and then it must be the same.
            Err(error) if is_absent(&error) => {
                open_quietly(|flags| self.resolver.open_trusted(&root, below, flags))
            }
            answer => answer,
        };
        let file = File::from(opened?);
        let opened = meta_of(&file.metadata()?);
        regular(&opened)?;
        if opened.key != meta.key {
            return Err(io::Error::other("replaced while it was opened"));
        }
        let meta = opened;
        Ok((self.keep(file)?, meta))
    }

    fn meta(&mut self, handle: Handle) -> io::Result<Meta> {
        Ok(meta_of(&self.file(handle)?.metadata()?))
    }

    fn read_at(&mut self, handle: Handle, offset: Offset, into: &mut [u8]) -> io::Result<usize> {
        let file = self.file(handle)?;
        loop {
            match file.read_at(into, offset.0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                answer => return answer,
            }
        }
    }

    fn close(&mut self, handle: Handle) {
        let slot = self.slots.get_mut(handle.0 as usize);
        if slot.and_then(Option::take).is_some() {
            self.free.push(handle.0);
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

fn leads_out(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::XDEV.raw_os_error())
}

/// Opens for reading what was found, and nothing that may have taken its place.
fn open_found(found: &OwnedFd) -> io::Result<OwnedFd> {
    let way = format!("/proc/self/fd/{}", found.as_raw_fd());
    open_quietly(|flags| Ok(rustix::fs::openat(CWD, way.as_str(), flags, Mode::empty())?))
}

/// Opens without touching the access time if we may: only a file's owner may ask for that.
fn open_quietly(open: impl Fn(OFlags) -> io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match open(flags | OFlags::NOATIME) {
        Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => open(flags),
        answer => answer,
    }
}

/// What was found, with what it is; files the kernel makes up are nothing we read.
fn looked_at(found: OwnedFd) -> io::Result<(OwnedFd, Meta)> {
    let file = File::from(found);
    let mut meta = meta_of(&file.metadata()?);
    let found = OwnedFd::from(file);
    if is_made_up(&found)? {
        meta.kind = Kind::Other;
    }
    Ok((found, meta))
}

/// Whether the kernel makes this up as it is read.
fn is_made_up(found: &impl AsFd) -> io::Result<bool> {
    // Such file systems have no device behind them, which is cheaper to see.
    if rustix::fs::major(rustix::fs::fstat(found)?.st_dev) != 0 {
        return Ok(false);
    }
    let system = rustix::fs::fstatfs(found)?;
    // The type is a word of the machine; the numbers have 32 bits.
    let magic = u64::from(system.f_type as u32);
    Ok(MADE_UP.contains(&magic))
}

/// Whether others than the file's owner (and root) could have given it its name here.
fn is_planted(file: &Stat, directory: &Stat) -> bool {
    let is_owners = directory.st_uid == file.st_uid || directory.st_uid == 0;
    let is_closed = directory.st_mode & OTHERS_WRITE == 0;
    file.st_nlink > 1 && !(is_owners && is_closed)
}

fn key_of(stat: &Stat) -> FileKey {
    FileKey {
        device: stat.st_dev,
        inode: stat.st_ino,
    }
}

fn regular(meta: &Meta) -> io::Result<()> {
    if meta.kind == Kind::File {
        Ok(())
    } else {
        let text = "not a regular file inside its root";
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

fn meta_of(meta: &Metadata) -> Meta {
    let kind = match meta.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Directory,
        _ => Kind::Other,
    };
    Meta {
        key: FileKey {
            device: meta.dev(),
            inode: meta.ino(),
        },
        kind,
        size: meta.size().min(SIZE_MAX),
        modified_ms: modified_ms(meta.mtime(), meta.mtime_nsec()),
        links: meta.nlink(),
    }
}

/// A file's date, as far as it is believed.
fn modified_ms(seconds: i64, nanoseconds: i64) -> EpochMs {
    let ms = seconds.saturating_mul(1_000);
    let ms = ms.saturating_add(nanoseconds / 1_000_000);
    ms.clamp(-MODIFIED_MS_MAX, MODIFIED_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Dates that nobody writes at are near enough to count with, others are what they are: shown at
    /// the ends of what a file system can keep.
    #[test]
    fn no_date_is_beyond_counting() {
        for (seconds, wanted) in [
            (i64::MAX, MODIFIED_MS_MAX),
            (i64::MAX / 1_000 + 1, MODIFIED_MS_MAX),
            (2_000_000_000_000_000, MODIFIED_MS_MAX),
            (1_795_000_000, 1_795_000_000_999),
            (-1, -1),
            (i64::MIN, -MODIFIED_MS_MAX),
        ] {
            assert_eq!(modified_ms(seconds, 999_999_999), wanted, "{seconds}");
        }
    }

    /// A root with something in it, beside a secret that is outside.
    struct Place {
        _dir: tempfile::TempDir,
        root: PathBuf,
        secret: PathBuf,
    }

    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let secret = dir.path().join("outside/secret");
        std::fs::create_dir_all(root.join("sub/deep")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(root.join("a.log"), "hello\n").unwrap();
        std::fs::write(root.join("sub/b.log"), "world\n").unwrap();
        std::fs::write(&secret, "secret").unwrap();
        Place {
            _dir: dir,
            root,
            secret,
        }
    }

    /// Ends the other thread also when an assertion fails.
    struct End<'a>(&'a AtomicBool);

    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// While another thread exchanges the names of each pair, and looks what that did, thousands of opens
    /// give what is inside or an error.
    fn race(
        root: &Path,
        pairs: &[(PathBuf, PathBuf)],
        opened: &[PathBuf],
        look: &(dyn Fn() + Sync),
    ) {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _end = End(&done);
            scope.spawn(|| {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                while !done.load(Ordering::Relaxed) {
                    for (one, other) in pairs {
                        rustix::fs::renameat_with(CWD, one, CWD, other, exchange).unwrap();
                        look();
                    }
                }
            });
            let mut good = 0;
            for mut files in both() {
                for _ in 0..3_000 {
                    for path in opened {
                        if let Ok(bytes) = read(&mut files, root, path) {
                            assert_eq!(bytes, b"inside");
                            good += 1;
                        }
                    }
                }
            }
            assert!(good > 0, "no open ever succeeded, so nothing was shown");
        });
    }

    fn make_fifo(path: &Path) {
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, mode, 0).unwrap();
    }

    fn both() -> [OsFiles; 2] {
        [OsFiles::with(Method::Kernel), OsFiles::with(Method::Walk)]
    }

    fn read(files: &mut OsFiles, root: &Path, path: &Path) -> io::Result<Vec<u8>> {
        let (handle, meta) = files.open(root, path)?;
        assert_eq!(meta.kind, Kind::File);
        let mut bytes = vec![0; 100];
        let read = files.read_at(handle, Offset(0), &mut bytes)?;
        files.close(handle);
        bytes.truncate(read);
        Ok(bytes)
    }

    #[test]
    fn a_listing_says_what_each_name_is() {
        // Files, directories and links inside the root (relative or absolute) must be what they
        // lead to, everything else left alone: a directory with one of each.
        let place = place();
        let at = |name: &str| place.root.join(name);
        symlink("a.log", at("link-file")).unwrap();
        symlink("sub", at("link-dir")).unwrap();
        symlink("sub/../a.log", at("link-round")).unwrap();
        symlink(at("a.log"), at("link-absolute")).unwrap();
        symlink("link-absolute", at("link-chain")).unwrap();
        symlink(&place.secret, at("link-out")).unwrap();
        symlink("../outside", at("link-dir-out")).unwrap();
        symlink("nowhere", at("link-broken")).unwrap();
        symlink("link-loop", at("link-loop")).unwrap();
        make_fifo(&at("fifo"));
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for mut files in both() {
            let listed = files.list(&place.root, &place.root).unwrap();
            let listed: BTreeMap<String, Kind> = listed
                .into_iter()
                .map(|(name, kind)| (name.into_string().unwrap(), kind))
                .collect();
            let expected = [
                ("a.log", Kind::File),
                ("fifo", Kind::Other),
                ("link-absolute", Kind::File),
                ("link-broken", Kind::Other),
                ("link-chain", Kind::File),
                ("link-dir", Kind::Directory),
                ("link-dir-out", Kind::Other),
                ("link-file", Kind::File),
                ("link-loop", Kind::Other),
                ("link-out", Kind::Other),
                ("link-round", Kind::File),
                ("socket", Kind::Other),
                ("sub", Kind::Directory),
            ];
            let expected = expected.map(|(name, kind)| (name.to_owned(), kind));
            assert_eq!(listed, BTreeMap::from(expected));
            for name in ["link-file", "link-round", "link-absolute", "link-chain"] {
                let bytes = read(&mut files, &place.root, &at(name)).unwrap();
                assert_eq!(bytes, b"hello\n", "{name}");
            }
            let through = read(&mut files, &place.root, &at("link-dir/b.log")).unwrap();
            assert_eq!(through, b"world\n");
        }
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        // A secret beside the root must not be read by a link, a linked directory or dots: each way
        // is tried with the kernel's and with our own resolution.
        let place = place();
        let at = |name: &str| place.root.join(name);
        symlink(&place.secret, at("absolute")).unwrap();
        symlink("../outside/secret", at("relative")).unwrap();
        symlink("../outside", at("dir")).unwrap();
        symlink("/proc/self/root", at("magic")).unwrap();
        let ways = [
            at("absolute"),
            at("relative"),
            at("dir/secret"),
            at("../outside/secret"),
            at("sub/../../outside/secret"),
            at("magic/etc/passwd"),
            place.secret.clone(),
        ];
        for mut files in both() {
            for way in &ways {
                assert!(read(&mut files, &place.root, way).is_err(), "{way:?}");
                let stat = files.stat(&place.root, way);
                assert!(
                    stat.is_err() || stat.unwrap().kind == Kind::Other,
                    "{way:?}"
                );
            }
            let error = files.open(&place.root, &at("absolute")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(files.list(&place.root, &at("dir")).is_err());
        }
    }

    #[test]
    fn a_race_does_not_lead_out_either() {
        // While another thread swaps a file and a directory for links to the outside, thousands of
        // opens must give the inside's bytes or an error, never the secret.
        let place = place();
        let at = |name: &str| place.root.join(name);
        std::fs::write(at("sub/secret"), "inside").unwrap();
        std::fs::write(at("plain"), "inside").unwrap();
        symlink(&place.secret, at("evil")).unwrap();
        symlink("../outside", at("evil-dir")).unwrap();
        let names = [("plain", "evil"), ("sub", "evil-dir")];
        let pairs = names.map(|(one, other)| (at(one), at(other)));
        race(
            &place.root,
            &pairs,
            &[at("plain"), at("sub/secret")],
            &|| (),
        );
    }

    #[test]
    fn fifos_and_devices_are_never_opened() {
        // A FIFO without a writer must not block us, nor a device be touched: both are refused as
        // not regular, and the test ends.
        let place = place();
        let fifo = place.root.join("fifo");
        make_fifo(&fifo);
        for mut files in both() {
            let error = files.open(&place.root, &fifo).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(files.stat(&place.root, &fifo).unwrap().kind, Kind::Other);
            let error = files.open(Path::new("/dev"), Path::new("/dev/null"));
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
            let error = files.open(&place.root, &place.root.join("sub"));
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    /// Opening is refused, in words that name the remedy.
    fn assert_refused(files: &mut OsFiles, place: &Place, name: &str) {
        let error = files.open(&place.root, &place.root.join(name)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}");
        assert!(error.to_string().contains("hard_links"), "{error}");
    }

    #[test]
    fn a_link_others_could_have_made_is_refused() {
        // A second name of a file is read only where nobody but its owner or root can write: shown
        // with a directory open to all, to a group, and to nobody else, also reached by a symlink,
        // and with a root that the user trusts.
        let place = place();
        let set_mode = |name: &str, mode: u32| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(place.root.join(name), mode).unwrap();
        };
        std::fs::hard_link(&place.secret, place.root.join("sub/linked")).unwrap();
        symlink("sub/linked", place.root.join("short")).unwrap();
        for mut files in both() {
            set_mode("sub", 0o755);
            for name in ["sub/linked", "short"] {
                let bytes = read(&mut files, &place.root, &place.root.join(name)).unwrap();
                assert_eq!(bytes, b"secret");
            }
            for mode in [0o777, 0o1777, 0o775] {
                set_mode("sub", mode);
                assert_refused(&mut files, &place, "sub/linked");
                assert_refused(&mut files, &place, "short");
                let alone = read(&mut files, &place.root, &place.root.join("sub/b.log"));
                assert_eq!(alone.unwrap(), b"world\n", "a file with one name");
            }
            files.accept_hard_links([place.root.clone()]);
            let bytes = read(&mut files, &place.root, &place.root.join("sub/linked")).unwrap();
            assert_eq!(bytes, b"secret");
            files.accept_hard_links([]);
            assert_refused(&mut files, &place, "sub/linked");
        }
    }

    #[test]
    fn a_link_to_another_owners_file_is_refused() {
        // Who owns the directory and not the file may have linked it there: shown on the two
        // owners, and as root with a real file of another owner.
        let stat = |uid: u32, mode: u32, links: u64| {
            let mut stat = rustix::fs::stat("/").unwrap();
            (stat.st_uid, stat.st_mode) = (uid, mode);
            stat.st_nlink = links as _;
            stat
        };
        let (app, root) = (1_000, 0);
        for (file, directory, mode, planted) in [
            (root, app, 0o755, true),
            (app, app, 0o755, false),
            (app, root, 0o755, false),
            (root, root, 0o755, false),
            (root, root, 0o1777, true),
            (app, app, 0o775, true),
            (app, 2_000, 0o700, true),
        ] {
            let directory = stat(directory, mode, 2);
            assert_eq!(is_planted(&stat(file, 0o644, 2), &directory), planted);
            assert!(!is_planted(&stat(file, 0o644, 1), &directory));
        }
        let place = place();
        std::fs::hard_link(&place.secret, place.root.join("sub/linked")).unwrap();
        if std::os::unix::fs::chown(place.root.join("sub"), Some(app), None).is_ok() {
            for mut files in both() {
                assert_refused(&mut files, &place, "sub/linked");
            }
        }
    }

    /// Makes a link that belongs to `maker`; `false` where we are not root.
    fn link_of(maker: u32, target: &Path, name: &Path) -> bool {
        symlink(target, name).unwrap();
        std::os::unix::fs::lchown(name, Some(maker), None).is_ok()
    }

    #[test]
    fn who_owns_what_is_above_a_root_cannot_lead_it_elsewhere() {
        // An application that owns the parent of a watched directory puts a link in its place, to have
        // us read what it may not: refused, also behind another link of its own; a link of root's
        // leads anywhere, and the application's to what is its own.
        let place = place();
        let dir = place.root.parent().unwrap();
        let at = |name: &str| dir.join(name);
        let (app, other) = (1_000, 2_000);
        let own = |name: &str, uid| std::os::unix::fs::chown(at(name), Some(uid), None);
        let outside = place.secret.parent().unwrap();
        if !link_of(app, outside, &at("planted")) {
            return;
        }
        assert!(link_of(app, &at("planted"), &at("chain")));
        assert!(link_of(app, Path::new("."), &at("dot")));
        assert!(link_of(0, outside, &at("roots")));
        std::fs::create_dir_all(at("apps/log")).unwrap();
        std::fs::write(at("apps/log/a.log"), "mine").unwrap();
        own("apps", app).unwrap();
        own("apps/log", other).unwrap();
        assert!(link_of(app, Path::new("apps"), &at("current")));
        for mut files in both() {
            for root in ["planted", "chain", "dot/roots", "dot/planted"] {
                let (root, name) = (at(root), at(root).join("secret"));
                for error in [
                    files.list(&root, &root).unwrap_err(),
                    files.stat(&root, &name).unwrap_err(),
                    files.open(&root, &name).unwrap_err(),
                ] {
                    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{root:?}");
                    assert!(error.to_string().contains("symlink of uid 1000"), "{error}");
                }
            }
            let roots = at("roots");
            let bytes = read(&mut files, &roots, &roots.join("secret")).unwrap();
            assert_eq!(bytes, b"secret", "a link of root's");
            let mine = at("current/log");
            let bytes = read(&mut files, &mine, &mine.join("a.log")).unwrap();
            assert_eq!(
                bytes, b"mine",
                "its own directory, which it could move here"
            );
        }
    }

    #[test]
    fn who_writes_below_a_root_cannot_link_to_others_files_there() {
        // By a link to another's file, or to a directory that holds it, an application could have
        // shipped what `exclude` leaves out: refused; its own files, those in its own directories,
        // and what root linked are read.
        let place = place();
        let at = |name: &str| place.root.join(name);
        let app = 1_000;
        if !link_of(app, Path::new("a.log"), &at("planted")) {
            return;
        }
        assert!(link_of(app, &at("a.log"), &at("absolute")));
        assert!(link_of(app, Path::new("sub"), &at("dir")));
        assert!(link_of(0, Path::new("a.log"), &at("roots")));
        std::fs::create_dir(at("apps")).unwrap();
        std::fs::write(at("apps/roots.log"), "moved").unwrap();
        std::os::unix::fs::chown(at("apps"), Some(app), None).unwrap();
        assert!(link_of(app, Path::new("apps/roots.log"), &at("mine")));
        for mut files in both() {
            // Also not looked at, or the link could be taken for the file's name instead of its own.
            for name in ["planted", "absolute", "dir/b.log"] {
                for error in [
                    files.open(&place.root, &at(name)).unwrap_err(),
                    files.stat(&place.root, &at(name)).unwrap_err(),
                ] {
                    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}");
                }
            }
            let error = files.list(&place.root, &at("dir")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            let listed = files.list(&place.root, &place.root).unwrap();
            // Not passed over in silence.
            assert!(
                listed.contains(&("planted".into(), Kind::File)),
                "{listed:?}"
            );
            for (name, text) in [
                ("roots", "hello\n"),
                ("mine", "moved"),
                ("a.log", "hello\n"),
            ] {
                let bytes = read(&mut files, &place.root, &at(name)).unwrap();
                assert_eq!(bytes, text.as_bytes(), "{name}");
            }
        }
    }

    #[test]
    fn links_as_they_are_usually_set_up_are_followed() {
        // The CodeDeploy agent's directories moved to another disk by root, with a link that climbs
        // more often than it is deep, too; an application's releases; a container's log. All are found
        // and read, from a root above the link and from one behind it.
        let place = place();
        let disk = place.root.parent().unwrap().join("disk");
        let (app, at) = (1_000, |name: &str| disk.join(name));
        let own = |name: &str| std::os::unix::fs::chown(at(name), Some(app), None);
        for file in [
            "data/log/aws/codedeploy-agent/x.log",
            "data/codedeploy-agent/deployment-logs/x.log",
            "home/app/releases/7/log/x.log",
            "var/lib/containers/x.log",
        ] {
            std::fs::create_dir_all(at(file).parent().unwrap()).unwrap();
            std::fs::write(at(file), "line\n").unwrap();
        }
        for dir in ["containers", "opt"] {
            std::fs::create_dir(at(dir)).unwrap();
        }
        let up = "../".repeat(30);
        let climbing = format!(
            "{up}{}",
            at("data/log").strip_prefix("/").unwrap().display()
        );
        symlink(at("data/log"), at("var/log")).unwrap();
        symlink(climbing, at("var/climbing")).unwrap();
        symlink(at("data/codedeploy-agent"), at("opt/codedeploy-agent")).unwrap();
        symlink("../var/lib/containers/x.log", at("containers/x.log")).unwrap();
        symlink("releases/7", at("home/app/current")).unwrap();
        let theirs = [
            "home/app",
            "home/app/releases",
            "home/app/releases/7",
            "home/app/releases/7/log",
            "home/app/releases/7/log/x.log",
        ];
        let is_root = theirs.iter().all(|name| own(name).is_ok())
            && std::os::unix::fs::lchown(at("home/app/current"), Some(app), None).is_ok();
        for mut files in both() {
            for (root, dir) in [
                (
                    "data/log/aws/codedeploy-agent",
                    "data/log/aws/codedeploy-agent",
                ),
                (
                    "var/log/aws/codedeploy-agent",
                    "var/log/aws/codedeploy-agent",
                ),
                ("var/climbing/aws", "var/climbing/aws/codedeploy-agent"),
                (
                    "opt/codedeploy-agent",
                    "opt/codedeploy-agent/deployment-logs",
                ),
                ("home/app/current/log", "home/app/current/log"),
                ("home/app", "home/app/current/log"),
                ("", "containers"),
            ] {
                if dir.starts_with("home") && !is_root {
                    continue;
                }
                let (root, dir) = (at(root), at(dir));
                let listed = files.list(&root, &dir).unwrap();
                assert_eq!(listed, [("x.log".into(), Kind::File)], "{dir:?}");
                let bytes = read(&mut files, &root, &dir.join("x.log")).unwrap();
                assert_eq!(bytes, b"line\n", "{dir:?}");
            }
        }
    }

    #[test]
    fn a_race_does_not_lead_to_others_files_either() {
        // While an application swaps a file of its own for a link to another's, thousands of opens must
        // give its own bytes or an error.
        let place = place();
        let at = |name: &str| place.root.join(name);
        std::fs::write(at("plain"), "inside").unwrap();
        if !link_of(1_000, Path::new("a.log"), &at("planted")) {
            return;
        }
        let pairs = [(at("plain"), at("planted"))];
        race(&place.root, &pairs, &[at("plain")], &|| ());
    }

    #[test]
    fn what_the_kernel_makes_up_is_never_opened() {
        // Files of /proc and /sys look regular and are none: not listed, not opened, below any
        // root and by either resolution.
        for mut files in both() {
            for (root, way) in [
                ("/", "/proc/self/environ"),
                ("/proc", "/proc/self/environ"),
                ("/proc/self", "/proc/self/cmdline"),
                ("/sys", "/sys/kernel/uevent_seqnum"),
            ] {
                let (root, way) = (Path::new(root), Path::new(way));
                if !way.exists() {
                    continue;
                }
                assert_eq!(files.stat(root, way).unwrap().kind, Kind::Other, "{way:?}");
                let error = files.open(root, way).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{way:?}");
                assert_eq!(files.list(root, way.parent().unwrap()).unwrap(), []);
            }
        }
    }

    #[test]
    fn what_was_looked_at_is_what_is_opened() {
        // While another thread puts a FIFO in a file's place and takes it away again, no open may
        // hang on it or give it: shown with a writer that would notice a reader.
        let place = place();
        let at = |name: &str| place.root.join(name);
        std::fs::write(at("plain"), "inside").unwrap();
        make_fifo(&at("fifo"));
        let write = OFlags::WRONLY | OFlags::NONBLOCK;
        let notice = || {
            for name in ["plain", "fifo"] {
                let is_fifo = std::fs::symlink_metadata(at(name)).is_ok_and(|meta| !meta.is_file());
                let writer = rustix::fs::openat(CWD, at(name), write, Mode::empty());
                // Without a reader a FIFO cannot be opened for writing.
                assert!(!(is_fifo && writer.is_ok()), "somebody reads the FIFO");
            }
        };
        let pairs = [(at("plain"), at("fifo"))];
        race(&place.root, &pairs, &[at("plain")], &notice);
    }

    #[test]
    fn long_names_are_bounded_together() {
        // Names of any number and length take bounded memory: shown with a directory of more bytes
        // of names than allowed, each name as long as the system lets it be.
        let place = place();
        let mut files = OsFiles::new();
        let count = NAMES_BYTES_MAX / 255 + 1;
        for nth in 0..count {
            let name = format!("{nth:0>255}");
            std::fs::File::create(place.root.join("sub/deep").join(name)).unwrap();
        }
        let error = files.list(&place.root, &place.root.join("sub/deep"));
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("more than 8388608 bytes")
        );
    }

    #[test]
    fn an_unlinked_file_stays_readable_while_it_is_open() {
        // Bytes of a deleted deployment must still be read through the handle, and the handle must
        // say that no name is left: shown by removing the whole root.
        let place = place();
        let mut files = OsFiles::new();
        let (handle, before) = files.open(&place.root, &place.root.join("a.log")).unwrap();
        assert_eq!((before.links, before.size), (1, 6));
        std::fs::remove_dir_all(&place.root).unwrap();
        let mut bytes = [0; 3];
        assert_eq!(files.read_at(handle, Offset(2), &mut bytes).unwrap(), 3);
        assert_eq!(&bytes, b"llo");
        let after = files.meta(handle).unwrap();
        assert_eq!((after.links, after.key), (0, before.key));
        assert_eq!(files.read_at(handle, Offset(6), &mut bytes).unwrap(), 0);
        let missing = files.list(&place.root, &place.root).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_replaced_root_is_seen_at_once() {
        // When the root is renamed away and made anew, the next look must be at the new one: shown
        // by a name only that one has.
        let place = place();
        let mut files = OsFiles::new();
        let name = place.root.join("a.log");
        let old = files.stat(&place.root, &name).unwrap();
        std::fs::rename(&place.root, place.root.with_extension("old")).unwrap();
        std::fs::create_dir(&place.root).unwrap();
        let missing = files.stat(&place.root, &name).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        std::fs::write(&name, "new").unwrap();
        assert_ne!(files.stat(&place.root, &name).unwrap().key, old.key);
        assert_eq!(files.list(&place.root, &place.root).unwrap().len(), 1);
    }

    #[test]
    fn handles_are_reused_only_after_close() {
        // Two open files must have two handles; a closed handle is an error, twice closed no harm,
        // and its number is used again so that the table does not grow.
        let place = place();
        let mut files = OsFiles::new();
        let open = |files: &mut OsFiles, name: &str| {
            files.open(&place.root, &place.root.join(name)).unwrap().0
        };
        let one = open(&mut files, "a.log");
        let two = open(&mut files, "sub/b.log");
        assert_ne!(one, two);
        files.close(one);
        files.close(one);
        assert!(files.read_at(one, Offset(0), &mut [0]).is_err());
        assert!(files.meta(Handle(99)).is_err());
        assert_eq!(open(&mut files, "a.log"), one);
        assert_ne!(open(&mut files, "a.log"), one);
        assert_eq!(files.slots.len(), 3);
    }

    #[test]
    fn an_endless_directory_is_an_error_that_says_so() {
        // More names than allowed must be refused in words, as many as allowed be given: shown with
        // a small limit.
        let place = place();
        let mut files = OsFiles::new();
        files.names_max = 2;
        assert_eq!(files.list(&place.root, &place.root).unwrap().len(), 2);
        std::fs::write(place.root.join("one too many"), "").unwrap();
        let error = files.list(&place.root, &place.root).unwrap_err();
        assert_eq!(error.to_string(), "directory has more than 2 entries");
    }

    #[test]
    fn the_root_of_the_system_is_a_root_too() {
        // Patterns like /*/x.log have the root `/`: a file must be found below it by its whole
        // path.
        let place = place();
        for mut files in both() {
            let path = place.root.canonicalize().unwrap().join("a.log");
            assert_eq!(read(&mut files, Path::new("/"), &path).unwrap(), b"hello\n");
        }
    }
}
