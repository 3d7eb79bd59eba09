//! The agent's own directory of state: [`Store`] with system calls.
//!
//! Nobody else reads or writes it: directories are 0700, files 0600 (made so where they were found
//! wider), a lock keeps a second agent
//! out for as long as this one lives, and no link inside it is followed. A save is all or nothing
//! across a power cut: written beside, synced, renamed over, the folder synced. Every error names
//! the path it is about.

mod claim;
mod folder;
mod lock;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::beneath::file_type;
use crate::ports::{DAMAGED_MAX, Pieces, Store};
pub use claim::StoreError;
use claim::claim;
pub use folder::hand_over;
use folder::{
    close_to_others, exchange, listing, open_file, open_folder, rename, sweep, temporary, without,
    write_new, write_over,
};
use lock::LOCK_NAME;

/// Most that is ever loaded into memory at once; our own files are far below.
const LOAD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The real state directory, locked.
#[derive(Debug)]
pub struct OsStore {
    path: PathBuf,
    dir: OwnedFd,
    /// Holds the lock; the system frees it however the process ends.
    _lock: File,
}

impl OsStore {
    /// Opens the directory, makes it where it is missing, locks it, and removes what an
    /// interrupted save left behind.
    ///
    /// # Errors
    /// Where another agent has it, or it cannot be used safely.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (dir, lock) = claim(path)?;
        let store = Self {
            path: path.to_owned(),
            dir,
            _lock: lock,
        };
        store.sweep().map_err(|source| StoreError::Unusable {
            path: path.to_owned(),
            source,
        })?;
        Ok(store)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes temporary files, which only an interrupted save leaves, and closes to others what they
    /// could open.
    fn sweep(&self) -> io::Result<()> {
        sweep(&self.dir)?;
        for (name, kind) in listing(&self.dir)? {
            if kind == FileType::Directory {
                let folder = open_folder(&self.dir, &name)?;
                let meta = File::from(folder.try_clone()?).metadata()?;
                close_to_others(&folder, &meta, Mode::RWXU)?;
                sweep(&folder)?;
            }
        }
        Ok(())
    }

    /// The folder a name is in and its last component.
    fn place<'n>(&self, name: &'n str, missing: Missing) -> io::Result<(OwnedFd, &'n str)> {
        let (folder, file) = match name.split_once('/') {
            None => (None, name),
            Some((folder, file)) => (Some(folder), file),
        };
        if !is_plain(file) || folder.is_some_and(|folder| !is_plain(folder)) {
            let text = "not a name of the store";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let Some(folder) = folder else {
            return Ok((self.dir.try_clone()?, file));
        };
        match self.open_own(folder) {
            Err(error) if is_missing(&error) && missing == Missing::Make => {
                rustix::fs::mkdirat(&self.dir, folder, Mode::RWXU)?;
                rustix::fs::fsync(&self.dir)?;
                Ok((open_folder(&self.dir, folder)?, file))
            }
            answer => Ok((answer?, file)),
        }
    }

    /// Opens a folder of ours. What stands in its place and is none (a link, a file) is set aside, for
    /// without the folder nothing could start or be rescued.
    fn open_own(&self, folder: &str) -> io::Result<OwnedFd> {
        match open_folder(&self.dir, folder) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                for nth in 1..=DAMAGED_MAX {
                    let aside = format!("{folder}.damaged-{nth}");
                    let (dir, flags) = (&self.dir, RenameFlags::NOREPLACE);
                    if rustix::fs::renameat_with(dir, folder, dir, &aside, flags).is_ok() {
                        tracing::error!(name = folder, kept_as = %aside, "no folder of the state directory, set aside");
                        return Err(io::ErrorKind::NotFound.into());
                    }
                }
                Err(error)
            }
            answer => answer,
        }
    }

    fn find(&self, name: &str) -> io::Result<Option<File>> {
        let opened = self
            .place(name, Missing::Leave)
            .and_then(|(folder, file)| open_file(&folder, file, OFlags::RDONLY | OFlags::NONBLOCK));
        match opened {
            Err(error) if is_missing(&error) => Ok(None),
            answer => answer.map(Some),
        }
    }

    fn read_beginning(&self, name: &str, bytes: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.find(name)? else {
            return Ok(None);
        };
        let mut beginning = Vec::with_capacity(bytes);
        file.take(bytes as u64).read_to_end(&mut beginning)?;
        Ok(Some(beginning))
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.find(name)? else {
            return Ok(None);
        };
        let bytes = file.metadata()?.len().min(LOAD_BYTES_MAX);
        let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0) + 1);
        let read = file.take(LOAD_BYTES_MAX + 1).read_to_end(&mut content)?;
        if read as u64 > LOAD_BYTES_MAX {
            let text = format!("larger than {LOAD_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Some(content))
    }

    /// Replaces a file so that the new content outlives a power cut.
    fn replace(&self, name: &str, write: Pieces<'_>) -> io::Result<u64> {
        let (folder, file) = self.place(name, Missing::Make)?;
        let beside = temporary(file);
        let bytes = write_new(&folder, &beside, write)
            .and_then(|bytes| rename(&folder, &beside, file).map(|()| bytes))
            .map_err(|error| without(&folder, &beside, error))?;
        rustix::fs::fsync(&folder)?;
        Ok(bytes)
    }

    /// Replaces a file so that the new content outlives the process, which it must not wait for:
    /// two files take turns. Renaming one over the other would have ext4 write it out at once
    /// (2 ms), for the sake of power cuts; and even a new file for each note is dear.
    fn renew(&self, name: &str, write: Pieces<'_>) -> io::Result<u64> {
        let (folder, file) = self.place(name, Missing::Make)?;
        let beside = temporary(file);
        write_over(&folder, &beside, write)
            .and_then(|bytes| exchange(&folder, &beside, file).map(|()| bytes))
            .map_err(|error| without(&folder, &beside, error))
    }

    /// Appends whole or not at all, as far as the process lives: a full disk leaves no torn end.
    fn extend(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let (folder, file) = self.place(name, Missing::Make)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK;
        let file = open_file(&folder, file, flags)?;
        let end = file.metadata()?.len();
        file.write_all_at(content, end).inspect_err(|_| {
            // The write's error is what matters; readers of these files expect torn ends.
            let _cut = file.set_len(end);
        })
    }

    fn change_name(&self, from: &str, to: &str) -> io::Result<()> {
        let (from_folder, from) = self.place(from, Missing::Leave)?;
        let (to_folder, to) = self.place(to, Missing::Make)?;
        rustix::fs::renameat(&from_folder, from, &to_folder, to)?;
        rustix::fs::fsync(&to_folder)?;
        Ok(rustix::fs::fsync(&from_folder)?)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let removed = self
            .place(name, Missing::Leave)
            .and_then(|(folder, file)| Ok(rustix::fs::unlinkat(&folder, file, AtFlags::empty())?));
        match removed {
            Err(error) if is_missing(&error) => Ok(()),
            answer => answer,
        }
    }

    fn sizes(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let dir = match folder {
            "" => self.dir.try_clone(),
            folder => self
                .place(folder, Missing::Leave)
                .and_then(|(_, name)| self.open_own(name)),
        };
        let dir = match dir {
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            answer => answer?,
        };
        let mut names = Vec::new();
        for (name, _) in listing(&dir)? {
            if !is_plain(&name) {
                continue;
            }
            let stat = match rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                answer => answer?,
            };
            if file_type(&stat) == FileType::RegularFile {
                names.push((name, u64::try_from(stat.st_size).unwrap_or(0)));
            }
        }
        names.sort();
        Ok(names)
    }

    /// An error that says which path it is about.
    fn naming(&self, name: &str, error: &io::Error) -> io::Error {
        let path = self.path.join(name);
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    }
}

impl Store for OsStore {
    fn load(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.read(name).map_err(|error| self.naming(name, &error))
    }

    fn load_beginning(&mut self, name: &str, bytes: usize) -> io::Result<Option<Vec<u8>>> {
        self.read_beginning(name, bytes)
            .map_err(|error| self.naming(name, &error))
    }

    fn save(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.save_pieces(name, &mut |to| to.write_all(content))
            .map(drop)
    }

    fn note(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.note_pieces(name, &mut |to| to.write_all(content))
            .map(drop)
    }

    fn save_pieces(&mut self, name: &str, write: Pieces<'_>) -> io::Result<u64> {
        self.replace(name, write)
            .map_err(|error| self.naming(name, &error))
    }

    fn note_pieces(&mut self, name: &str, write: Pieces<'_>) -> io::Result<u64> {
        self.renew(name, write)
            .map_err(|error| self.naming(name, &error))
    }

    fn append(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.extend(name, content)
            .map_err(|error| self.naming(name, &error))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.change_name(from, to)
            .map_err(|error| self.naming(from, &error))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.delete(name).map_err(|error| self.naming(name, &error))
    }

    fn names(&mut self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.sizes(folder)
            .map_err(|error| self.naming(folder, &error))
    }
}

/// What to do about a folder that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Leave,
}

/// One component that is not hidden (ours are the temporary ones), not the lock, not a way out.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name != LOCK_NAME && !name.contains(['/', '\0'])
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    fn opened() -> (tempfile::TempDir, OsStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = OsStore::open(&dir.path().join("lib/state")).unwrap();
        (dir, store)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_is_saved_is_loaded_and_private() {
        // Content must come back whole, from the top and from a folder, readable by us alone; a
        // name that is not there is none: shown with the modes on disk.
        let (_dir, mut store) = opened();
        assert_eq!(store.load("checkpoints").unwrap(), None);
        assert_eq!(store.load("rescue/1.gz").unwrap(), None);
        store.save("checkpoints", b"one").unwrap();
        store.save("checkpoints", b"two").unwrap();
        store.save("rescue/1.gz", b"kept").unwrap();
        assert_eq!(store.load("checkpoints").unwrap().unwrap(), b"two");
        assert_eq!(store.load("rescue/1.gz").unwrap().unwrap(), b"kept");
        assert_eq!(mode(store.path()), 0o700);
        assert_eq!(mode(&store.path().join("rescue")), 0o700);
        for name in ["checkpoints", "rescue/1.gz", "lock"] {
            assert_eq!(mode(&store.path().join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn appended_renamed_removed_and_named() {
        // The remaining verbs must do what their names say: one life of a dead-letter file.
        let (_dir, mut store) = opened();
        assert_eq!(store.names("dead-letter").unwrap(), []);
        store.append("dead-letter/a", b"12").unwrap();
        store.append("dead-letter/a", b"345").unwrap();
        assert_eq!(store.load("dead-letter/a").unwrap().unwrap(), b"12345");
        store.save("dead-letter/b", b"").unwrap();
        store.rename("dead-letter/a", "dead-letter/c").unwrap();
        let names = [("b".to_owned(), 0), ("c".to_owned(), 5)];
        assert_eq!(store.names("dead-letter").unwrap(), names);
        store.rename("dead-letter/c", "dead-letter/b").unwrap();
        assert_eq!(store.names("dead-letter").unwrap(), [("b".to_owned(), 5)]);
        store.remove("dead-letter/b").unwrap();
        store.remove("dead-letter/b").unwrap();
        store.remove("nowhere/b").unwrap();
        assert_eq!(store.names("dead-letter").unwrap(), []);
        assert_eq!(store.names("").unwrap(), [], "the lock is not a name");
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        // Dots, absolute names, more than one folder, the lock and our temporary names must all be
        // refused, by every verb: a table.
        let (_dir, mut store) = opened();
        let bad = [
            "",
            ".",
            "..",
            "../x",
            "/etc/passwd",
            "a/b/c",
            "a/..",
            "a/",
            "lock",
            ".x.tmp",
            "x\0",
        ];
        for name in bad {
            assert!(store.save(name, b"").is_err(), "{name:?}");
            assert!(store.load(name).is_err(), "{name:?}");
            assert!(store.append(name, b"").is_err(), "{name:?}");
            assert!(store.rename(name, "x").is_err(), "{name:?}");
            assert!(store.remove(name).is_err(), "{name:?}");
        }
        assert!(store.names("..").is_err());
    }

    #[test]
    fn links_in_the_directory_are_not_followed() {
        // A link in place of a file must be refused or replaced, in place of a folder set aside, what it
        // points at left alone: shown with a victim outside.
        let (dir, mut store) = opened();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "mine").unwrap();
        symlink(&victim, store.path().join("file")).unwrap();
        symlink(dir.path(), store.path().join("folder")).unwrap();
        symlink(&victim, store.path().join(".new.tmp")).unwrap();
        assert!(store.load("file").is_err());
        assert!(store.append("file", b"x").is_err());
        assert_eq!(store.names("folder").unwrap(), []);
        symlink(dir.path(), store.path().join("folder")).unwrap();
        assert_eq!(store.load("folder/victim").unwrap(), None);
        std::fs::write(store.path().join("folder"), "a file").unwrap();
        store.save("folder/victim", b"x").unwrap();
        assert_eq!(store.load("folder/victim").unwrap().unwrap(), b"x");
        for nth in 1..=3 {
            let aside = store.path().join(format!("folder.damaged-{nth}"));
            assert!(aside.symlink_metadata().is_ok(), "{aside:?}");
        }
        store.save("new", b"fresh").unwrap();
        store.save("file", b"fresh").unwrap();
        assert_eq!(store.load("file").unwrap().unwrap(), b"fresh");
        assert_eq!(std::fs::read(&victim).unwrap(), b"mine");
    }

    /// What is handed to the owner of a directory is never given to him by way of a link of his: shown by
    /// one to a file that is not his, in the place of the text and of what is written beside it.
    #[test]
    fn what_is_handed_over_follows_no_link() {
        let (dir, mut store) = opened();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "mine").unwrap();
        std::fs::set_permissions(&victim, PermissionsExt::from_mode(0o644)).unwrap();
        for name in ["order", ".order.tmp"] {
            symlink(&victim, store.path().join(name)).unwrap();
        }
        hand_over(store.path(), "order", "suspend\n").unwrap();
        assert_eq!(store.load("order").unwrap().unwrap(), b"suspend\n");
        assert_eq!(mode(&store.path().join("order")), 0o600);
        assert_eq!(std::fs::read(&victim).unwrap(), b"mine");
        assert_eq!(mode(&victim), 0o644);
        let error = hand_over(&dir.path().join("none"), "order", "").unwrap_err();
        assert!(error.to_string().contains("none/order"), "{error}");
    }

    #[test]
    fn a_reader_sees_the_old_or_the_new_never_a_mixture() {
        // While one content replaces the other two hundred times, every load must give one of the
        // two whole: shown by a second thread that reads the file all the time.
        let (_dir, mut store) = opened();
        let contents = [vec![b'a'; 50_000], vec![b'b'; 70_000]];
        store.save("x", &contents[0]).unwrap();
        let path = store.path().join("x");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let seen = std::fs::read(&path).unwrap();
                    assert!(contents.contains(&seen), "{} bytes", seen.len());
                }
            });
            for round in 0..200 {
                if store.save("x", &contents[round % 2]).is_err() {
                    break;
                }
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        assert_eq!(store.load("x").unwrap().unwrap(), contents[1]);
    }

    #[test]
    fn a_note_is_whole_whenever_the_process_dies() {
        // Whether longer or shorter than the one before, beside a save or in a folder, the last
        // note must be what the next process finds, and no file must grow in number: shown by
        // opening the store anew behind each; a note that is half written is nobody's.
        let (_dir, mut store) = opened();
        let path = store.path().to_owned();
        for (round, bytes) in [5, 70_000, 3, 3, 50_000, 0, 9].into_iter().enumerate() {
            let content = vec![b'a' + round as u8; bytes];
            for name in ["x", "rescue/y"] {
                store.note(name, &content).unwrap();
                store.note(name, &content[bytes / 2..]).unwrap();
                store.note(name, &content).unwrap();
                assert_eq!(store.load(name).unwrap().unwrap(), content);
            }
            if round == 3 {
                store.save("x", &content).unwrap();
            }
            drop(store);
            std::fs::write(path.join(".x.tmp"), "half wri").unwrap();
            store = OsStore::open(&path).unwrap();
            assert_eq!(store.load("x").unwrap().unwrap(), content);
            assert_eq!(store.load("rescue/y").unwrap().unwrap(), content);
            assert_eq!(
                std::fs::read_dir(&path).unwrap().count(),
                3,
                "lock, x, rescue"
            );
        }
    }

    #[test]
    fn a_failed_save_leaves_the_old_content_and_no_rubbish() {
        // When the rename cannot succeed the target must stay as it was, the error name the path,
        // and nothing be left beside it: shown with a directory in the target's place.
        let (_dir, mut store) = opened();
        let target = store.path().join("x");
        std::fs::create_dir(&target).unwrap();
        let error = store.save("x", b"new").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("{}: ", target.display()))
        );
        assert!(target.is_dir());
        assert!(!store.path().join(".x.tmp").exists());
    }

    #[test]
    fn leftovers_of_an_interrupted_save_go_at_open() {
        // A temporary file of a killed agent must be gone after the next open, in folders too, and
        // the saved content stay.
        let (_dir, mut store) = opened();
        let path = store.path().to_owned();
        store.save("x", b"old").unwrap();
        store.save("rescue/y", b"old").unwrap();
        drop(store);
        for leftover in [".x.tmp", "rescue/.y.tmp"] {
            std::fs::write(path.join(leftover), "torn").unwrap();
        }
        let mut store = OsStore::open(&path).unwrap();
        assert!(!path.join(".x.tmp").exists() && !path.join("rescue/.y.tmp").exists());
        assert_eq!(store.load("x").unwrap().unwrap(), b"old");
        assert_eq!(store.load("rescue/y").unwrap().unwrap(), b"old");
    }

    #[test]
    fn two_agents_never_share_a_directory() {
        // The second must be refused in words that name the directory, the process and the remedy,
        // and be let in once the first is gone.
        let (_dir, store) = opened();
        let path = store.path().to_owned();
        let error = OsStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }));
        let text = error.to_string();
        let process = format!("process {}", std::process::id());
        for part in [&*path.to_string_lossy(), &process, "agent.state_dir"] {
            assert!(text.contains(part), "{text}");
        }
        drop(store);
        OsStore::open(&path).unwrap();
    }

    #[test]
    fn what_was_open_to_others_is_closed() {
        // Whatever the umask and the modes of what was there before, only the owner gets in: shown
        // by a store that is made under no umask, opened wide by hand and opened again.
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("state");
        let umask = rustix::process::umask(Mode::empty());
        let mut store = OsStore::open(&path).unwrap();
        for name in ["checkpoints", "rescue/1.gz"] {
            store.save(name, b"x").unwrap();
        }
        store.note("status", b"x").unwrap();
        store.append("dead-letter/events.ndjson", b"x").unwrap();
        let _restored = rustix::process::umask(umask);
        let private = || {
            let names = [
                ("", 0o700),
                ("rescue", 0o700),
                ("dead-letter", 0o700),
                ("lock", 0o600),
                ("checkpoints", 0o600),
                ("status", 0o600),
                ("rescue/1.gz", 0o600),
                ("dead-letter/events.ndjson", 0o600),
            ];
            names.map(|(name, mode)| (path.join(name), mode))
        };
        let assert_private = || {
            for (path, mode) in private() {
                let found = path.metadata().unwrap().permissions().mode() & 0o7777;
                assert_eq!(found, mode, "{}", path.display());
            }
        };
        assert_private();
        drop(store);
        for (path, mode) in private() {
            let wide = std::fs::Permissions::from_mode(mode | 0o055);
            std::fs::set_permissions(path, wide).unwrap();
        }
        let _store = OsStore::open(&path).unwrap();
        assert_private();
    }

    #[test]
    fn a_link_of_somebody_else_is_no_state_directory() {
        // Our own link (or root's) may lead to the directory; whoever else made it chose where we
        // write, and is named. Shown where this test may give a link away, that is, as root.
        let top = tempfile::tempdir().unwrap();
        let (real, link) = (top.path().join("real"), top.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        drop(OsStore::open(&link).unwrap());
        // No user of this number must exist.
        if std::os::unix::fs::lchown(&link, Some(4_321), None).is_err() {
            return;
        }
        let refused = OsStore::open(&link).unwrap_err();
        assert!(matches!(refused, StoreError::Foreign { owner: 4_321, .. }));
        let remedy =
            "systemd-run --pipe --wait --uid=4321 -p AmbientCapabilities=CAP_DAC_READ_SEARCH";
        assert!(refused.to_string().contains(remedy), "{refused}");
    }

    #[test]
    fn a_directory_of_others_is_refused_and_left_as_it_is() {
        // As /var/lib would be, or /etc: who names it by mistake shuts nobody out and loses nothing.
        // Shown by what is in one, its modes included, and by the remedy; what an agent or an operator
        // left of ours is no stranger.
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("lib");
        let [folder, file, draft] =
            ["apt", "apt/list", "apt/.edit.tmp"].map(|name| path.join(name));
        std::fs::create_dir_all(&folder).unwrap();
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        for file in [&file, &draft] {
            std::fs::write(file, "theirs").unwrap();
            open(file, 0o644);
        }
        let modes = || [mode(&path), mode(&folder), mode(&file), mode(&draft)];
        let before = [
            (&path, 0o755),
            (&folder, 0o755),
            (&file, 0o644),
            (&draft, 0o644),
        ];
        before.iter().for_each(|(path, mode)| open(path, *mode));
        let error = OsStore::open(&path).unwrap_err();
        assert!(matches!(&error, StoreError::Taken { name, .. } if name == "apt"));
        assert!(error.to_string().contains("agent.state_dir"), "{error}");
        assert_eq!(modes(), before.map(|(_, mode)| mode));
        // Others have a lock, too, and names that begin like ours.
        std::fs::write(path.join("lock"), "").unwrap();
        std::fs::write(path.join("bootstrap"), "").unwrap();
        let error = OsStore::open(&path).unwrap_err();
        assert!(matches!(&error, StoreError::Taken { name, .. } if name == "apt"));
        std::fs::remove_dir_all(&folder).unwrap();
        let error = OsStore::open(&path).unwrap_err();
        assert!(matches!(&error, StoreError::Taken { name, .. } if name == "bootstrap"));
        std::fs::remove_file(path.join("bootstrap")).unwrap();
        for name in ["alarms-order", "checkpoints.damaged-1", "boots"] {
            std::fs::write(path.join(name), "ours").unwrap();
        }
        std::fs::create_dir(path.join("lost+found")).unwrap();
        drop(OsStore::open(&path).unwrap());
        // Held once, it is ours whatever else comes in.
        std::fs::write(path.join("notes.txt"), "theirs").unwrap();
        OsStore::open(&path).unwrap();
    }

    #[test]
    fn a_directory_open_to_all_is_refused() {
        // /tmp as a state directory would let anyone plant things: refused, and a file in the
        // directory's place too.
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o1777)).unwrap();
        let error = OsStore::open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Shared { .. }));
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = OsStore::open(&file).unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains("agent.state_dir must be a directory"),
            "{error}"
        );
    }
}
