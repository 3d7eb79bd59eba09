//! The log files of this machine, read only: [`Files`] with system calls.
//!
//! Every path is resolved below its root by `beneath.rs`, so no link leads out of what the
//! user named. A thing is looked at (`O_PATH`, which has no side effect on a FIFO or a device)
//! before it is opened, and looked at again after; only regular files are kept. They are opened
//! without blocking, without becoming anyone's terminal, and without touching the access time
//! where we may ask for that.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Dir, FileType, OFlags};
use rustix::io::Errno;

use super::beneath::{Method, Resolver, Root};
use crate::event::Offset;
use crate::ports::{FileKey, Files, Handle, Kind, Meta};

/// Names read from one directory; more is an error. A log directory of this size is a mistake, and
/// listing it again and again would not be invisible.
pub const NAMES_MAX: usize = 100_000;

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
        }
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

    /// What a path leads to, or the link itself where that leads out.
    fn look(&self, root: &Root, below: &Path) -> io::Result<Meta> {
        let found = match self.resolver.open(root, below, OFlags::PATH) {
            Err(error) if leads_out(&error) => self.resolver.find_unfollowed(root, below)?,
            answer => answer?,
        };
        Ok(meta_of(&File::from(found).metadata()?))
    }

    /// The kind of one name of a listing; the directory says it for all but links.
    fn kind(&self, root: &Root, dir: &Path, name: &OsStr, listed: FileType) -> Kind {
        match listed {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink | FileType::Unknown => self
                .look(root, &dir.join(name))
                .map_or(Kind::Other, |meta| meta.kind),
            _ => Kind::Other,
        }
    }
}

impl Files for OsFiles {
    fn list(&mut self, root: &Path, dir: &Path) -> io::Result<Vec<(OsString, Kind)>> {
        let root = Root::open(root)?;
        let below = root.below(dir)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
        let mut entries = Dir::new(self.resolver.open(&root, below, flags)?)?;
        let mut names = Vec::new();
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
            let kind = self.kind(&root, below, name, entry.file_type());
            names.push((name.to_owned(), kind));
        }
        Ok(names)
    }

    fn stat(&mut self, root: &Path, path: &Path) -> io::Result<Meta> {
        let root = Root::open(root)?;
        self.look(&root, root.below(path)?)
    }

    fn open(&mut self, root: &Path, path: &Path) -> io::Result<(Handle, Meta)> {
        let root = Root::open(root)?;
        let below = root.below(path)?;
        regular(self.look(&root, below)?)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = match self.resolver.open(&root, below, flags | OFlags::NOATIME) {
            // Only a file's owner may ask for that.
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                self.resolver.open(&root, below, flags)?
            }
            answer => answer?,
        };
        let file = File::from(opened);
        let meta = regular(meta_of(&file.metadata()?))?;
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

fn leads_out(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::XDEV.raw_os_error())
}

fn regular(meta: Meta) -> io::Result<Meta> {
    if meta.kind == Kind::File {
        Ok(meta)
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
        size: meta.size(),
        modified_ms: meta.mtime().saturating_mul(1_000) + meta.mtime_nsec() / 1_000_000,
        links: meta.nlink(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};

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
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _end = End(&done);
            scope.spawn(|| {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                while !done.load(Ordering::Relaxed) {
                    for (one, other) in [("plain", "evil"), ("sub", "evil-dir")] {
                        let cwd = rustix::fs::CWD;
                        rustix::fs::renameat_with(cwd, at(one), cwd, at(other), exchange).unwrap();
                    }
                }
            });
            let mut good = 0;
            for mut files in both() {
                for _ in 0..3_000 {
                    for way in ["plain", "sub/secret"] {
                        if let Ok(bytes) = read(&mut files, &place.root, &at(way)) {
                            assert_eq!(bytes, b"inside");
                            good += 1;
                        }
                    }
                }
            }
            assert!(good > 0, "no open ever succeeded, so nothing was shown");
        });
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
