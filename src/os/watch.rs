//! Hints from inotify: [`Watch`] on the `notify` crate, and one sleeping thread of ours.
//!
//! `notify` reads the kernel's queue; what it tells is noted in `hints.rs`, whose limits hold here,
//! and the loop takes the notes and looks for itself. Our own opening and reading never wakes it.
//! The invariant of this file: a directory that is answered to be watched is watched, or a hint
//! names it.
//!
//! That takes some care, because `notify` knows directories by path: it lets go of one that is
//! renamed or removed, and of all below it, without a word; and two paths to one directory share a
//! watch that goes with either. So we keep which inode stands behind each path (`Directories`).
//! A directory that is gone under its name is forgotten and named in a hint, so that the next scan
//! asks for it again.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use notify::{Config, ErrorKind, INotifyWatcher, RecursiveMode, Watcher};

use super::hints::Shared;
use super::wake::SMALL_STACK_BYTES;
use crate::event::FileKey;
use crate::ports::{Hints, Interest, Watch};

/// File systems others may write to without this kernel noticing, by `f_type` (statfs(2) and the
/// kernel's `magic.h`): NFS, CIFS, SMB, SMB2, FUSE, 9p, AFS, Ceph, Coda, GFS2, OCFS2, Lustre.
const REMOTE: [u64; 12] = [
    0x6969,
    0xff53_4d42,
    0x517b,
    0xfe53_4d42,
    0x6573_5546,
    0x0102_1997,
    0x5346_414f,
    0x00c3_6400,
    0x7375_7245,
    0x0116_1970,
    0x7461_636f,
    0x0bd0_0bd0,
];

/// The real watch.
#[derive(Debug)]
pub struct NotifyWatch {
    /// `None` where this system has no inotify for us: nothing is watched, everything polled.
    live: Option<Live>,
    /// Complaints already made.
    said: HashSet<&'static str>,
    /// See [`Watch::is_full`].
    is_full: bool,
}

#[derive(Debug)]
struct Live {
    watcher: INotifyWatcher,
    directories: Directories,
    shared: Arc<Shared>,
    pacer: Option<JoinHandle<()>>,
}

/// A watcher whose thread is there. `notify` starts one, says nothing when the system refuses it
/// (a limit of tasks), and panics at the first use; this asks first.
fn with_thread<W: Watcher>(mut watcher: W) -> notify::Result<W> {
    match watcher.configure(Config::default()) {
        Ok(_) => Ok(watcher),
        Err(error) => {
            // Dropping it would panic for the same reason; what leaks is one inotify instance.
            std::mem::forget(watcher);
            Err(error)
        }
    }
}

/// What `notify` was told to watch.
#[derive(Debug, Default)]
struct Directories {
    /// Which directory stands behind each path.
    keys: HashMap<PathBuf, FileKey>,
    /// The paths of each directory; `notify` knows it by the last one.
    names: HashMap<FileKey, Vec<PathBuf>>,
}

impl NotifyWatch {
    /// Watches nothing yet; `waker` is called on every first hint. Where the system refuses
    /// (`fs.inotify.max_user_instances`) it says so once and every directory is to be polled.
    #[must_use]
    pub fn new(waker: Box<dyn Fn() + Send>) -> Self {
        let live = Live::start(waker)
            .inspect_err(|error| {
                tracing::warn!(%error, "no inotify, log directories are polled instead");
            })
            .ok();
        Self {
            live,
            said: HashSet::new(),
            is_full: false,
        }
    }

    fn say_refusal(&mut self, dir: &Path, error: &notify::Error) {
        let text = match &error.kind {
            // It will be polled until it is there: nothing to say.
            ErrorKind::PathNotFound => return,
            ErrorKind::MaxFilesWatch => {
                "out of inotify watches, polling instead: raise fs.inotify.max_user_watches"
            }
            _ => "directory cannot be watched, polling instead",
        };
        if self.said.insert(text) {
            tracing::warn!(dir = %dir.display(), %error, "{text}");
        }
    }
}

impl Watch for NotifyWatch {
    fn watch(&mut self, dir: &Path) -> bool {
        let Some(live) = &mut self.live else {
            return false;
        };
        self.is_full = false;
        match live.watch(dir) {
            Ok(Given::Hints) => true,
            Ok(Given::Nothing) => false,
            Err(error) => {
                self.is_full = matches!(error.kind, ErrorKind::MaxFilesWatch);
                self.say_refusal(dir, &error);
                false
            }
        }
    }

    fn is_full(&self) -> bool {
        self.is_full
    }

    fn unwatch(&mut self, dir: &Path) {
        if let Some(live) = &mut self.live {
            live.forget(dir);
        }
    }

    fn care_for(&mut self, interest: Interest) {
        if let Some(live) = &self.live {
            live.shared.lock().interest = Some(interest);
        }
    }

    fn take(&mut self) -> Hints {
        match &mut self.live {
            Some(live) => live.take(),
            None => Hints::default(),
        }
    }
}

/// What a directory that was asked for will give.
#[derive(Clone, Copy)]
enum Given {
    Hints,
    /// It is none, or one that must be polled.
    Nothing,
}

impl Live {
    fn start(waker: Box<dyn Fn() + Send>) -> notify::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let mut last = Instant::now();
        let on_event = move |event| {
            theirs.hear(event, &mut last);
        };
        let watcher = INotifyWatcher::new(on_event, Config::default())?;
        let watcher = with_thread(watcher)?;
        let theirs = Arc::clone(&shared);
        let pacer = std::thread::Builder::new()
            .name("hints".to_owned())
            .stack_size(SMALL_STACK_BYTES)
            .spawn(move || theirs.pace(&*waker))?;
        Ok(Self {
            watcher,
            directories: Directories::default(),
            shared,
            pacer: Some(pacer),
        })
    }

    fn watch(&mut self, dir: &Path) -> notify::Result<Given> {
        self.let_go_of_the_gone();
        let key = key_of(dir);
        match self.directories.keys.get(dir).copied() {
            known @ Some(_) if known == key => return Ok(Given::Hints),
            // Another one has its name, and no event told of it.
            Some(other) => self.lose(other),
            None => {}
        }
        let Some(key) = key.filter(|_| !is_remote(dir)) else {
            return Ok(Given::Nothing);
        };
        if let Some(name) = self.directories.known_as(key) {
            // The kernel has one watch for both names; `notify` is to know it by the new one.
            self.release(&name);
        }
        if let Err(error) = self.begin(dir) {
            self.lose(key);
            return Err(error);
        }
        self.directories.add(dir, key);
        self.tell_aliases();
        if key_of(dir) != Some(key) {
            // Replaced meanwhile: nobody knows which one is watched.
            self.forget(dir);
            return Ok(Given::Nothing);
        }
        Ok(Given::Hints)
    }

    /// No more hints under this name.
    fn forget(&mut self, dir: &Path) {
        let Some(key) = self.directories.keys.get(dir).copied() else {
            return;
        };
        let was_known_so = self.directories.known_as(key).as_deref() == Some(dir);
        self.directories.remove(dir, key);
        self.tell_aliases();
        if !was_known_so {
            return;
        }
        self.release(dir);
        if let Some(name) = self.directories.known_as(key)
            && self.begin(&name).is_err()
        {
            self.lose(key);
        }
    }

    fn take(&mut self) -> Hints {
        self.let_go_of_the_gone();
        let mut noted = self.shared.lock();
        let rescan = std::mem::take(&mut noted.rescan);
        // A set that once was large gives its memory back.
        let mut paths = std::mem::take(&mut noted.paths);
        drop(noted);
        if rescan {
            // Among the hints that were lost may be the end of any watch.
            let keys: Vec<FileKey> = self.directories.names.keys().copied().collect();
            for key in keys {
                paths.extend(self.drop_all_names(key));
            }
        }
        let mut all: Vec<PathBuf> = paths.into_iter().collect();
        for at in 0..all.len() {
            all.extend(self.directories.other_names(&all[at]));
        }
        Hints { paths: all, rescan }
    }

    /// Forgets directories whose names lead nowhere, or elsewhere, and those below them.
    fn let_go_of_the_gone(&mut self) {
        let gone = std::mem::take(&mut self.shared.lock().gone);
        for top in gone {
            if !self.directories.keys.contains_key(&top) {
                continue;
            }
            let below = self
                .directories
                .keys
                .iter()
                .filter(|(name, _)| name.starts_with(&top));
            let keys: HashSet<FileKey> = below.map(|(_, key)| *key).collect();
            for key in keys {
                self.lose(key);
            }
        }
    }

    /// A directory's watch is gone: hints name it, so that it is asked for again.
    fn lose(&mut self, key: FileKey) {
        let names = self.drop_all_names(key);
        if !names.is_empty() {
            self.shared.lock().add(names);
            self.shared.changed.notify_one();
        }
    }

    fn drop_all_names(&mut self, key: FileKey) -> Vec<PathBuf> {
        if let Some(name) = self.directories.known_as(key) {
            self.release(&name);
        }
        let names = self.directories.names.remove(&key).unwrap_or_default();
        for name in &names {
            self.directories.keys.remove(name);
        }
        self.tell_aliases();
        names
    }

    fn tell_aliases(&self) {
        let directories = &self.directories;
        self.shared.lock().is_aliased = directories.keys.len() > directories.names.len();
    }

    fn begin(&mut self, dir: &Path) -> notify::Result<()> {
        let watcher = &mut self.watcher;
        self.shared
            .asking(|| watcher.watch(dir, RecursiveMode::NonRecursive))
    }

    fn release(&mut self, dir: &Path) {
        let watcher = &mut self.watcher;
        // Fails when the kernel or `notify` let go of it before us.
        let _released = self.shared.asking(|| watcher.unwatch(dir));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(pacer) = self.pacer.take() {
            // It panicked or it ended: either way it is gone, which is all that is asked for.
            let _ended = pacer.join();
        }
    }
}

impl Directories {
    /// The path `notify` knows a directory by.
    fn known_as(&self, key: FileKey) -> Option<PathBuf> {
        self.names.get(&key).and_then(|names| names.last()).cloned()
    }

    fn add(&mut self, dir: &Path, key: FileKey) {
        self.keys.insert(dir.to_owned(), key);
        self.names.entry(key).or_default().push(dir.to_owned());
    }

    fn remove(&mut self, dir: &Path, key: FileKey) {
        self.keys.remove(dir);
        if let Some(names) = self.names.get_mut(&key) {
            names.retain(|name| name != dir);
            if names.is_empty() {
                self.names.remove(&key);
            }
        }
    }

    /// The same thing by the other names of its directory, or of itself.
    fn other_names(&self, path: &Path) -> Vec<PathBuf> {
        let names_of = |dir: &Path| self.keys.get(dir).and_then(|key| self.names.get(key));
        let others = |dir: &Path, below: Option<&std::ffi::OsStr>| -> Vec<PathBuf> {
            let Some(names) = names_of(dir).filter(|names| names.len() > 1) else {
                return Vec::new();
            };
            let named = |name: &PathBuf| match below {
                Some(below) => name.join(below),
                None => name.clone(),
            };
            names
                .iter()
                .filter(|name| *name != dir)
                .map(named)
                .collect()
        };
        let mut all = others(path, None);
        if let (Some(dir), Some(name)) = (path.parent(), path.file_name()) {
            all.extend(others(dir, Some(name)));
        }
        all
    }
}

/// Which directory a path leads to; nothing where it leads to none.
fn key_of(dir: &Path) -> Option<FileKey> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(dir)
        .ok()
        .filter(std::fs::Metadata::is_dir)?;
    Some(FileKey {
        device: meta.dev(),
        inode: meta.ino(),
    })
}

/// Whether writes by others may reach this directory unnoticed. Unknown counts as no: if the
/// directory is not there, watching it fails by itself.
fn is_remote(dir: &Path) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|stat| is_remote_type(stat.f_type as u64))
}

/// `f_type` is signed on some architectures and 32 bits wide on others.
fn is_remote_type(kind: u64) -> bool {
    REMOTE.contains(&(kind & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use super::super::hints::PACE;
    use super::*;
    use notify::{Event, EventKind};
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Write};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::{Duration, Instant};

    const LIMIT: Duration = Duration::from_secs(20);

    /// What `notify` leaves when it got no thread: every use fails, and so does its end.
    #[derive(Debug)]
    struct Threadless;

    impl Watcher for Threadless {
        fn new<F: notify::EventHandler>(_: F, _: Config) -> notify::Result<Self> {
            Ok(Self)
        }

        fn watch(&mut self, _: &Path, _: RecursiveMode) -> notify::Result<()> {
            panic!("the thread is gone")
        }

        fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
            panic!("the thread is gone")
        }

        fn configure(&mut self, _: Config) -> notify::Result<bool> {
            Err(notify::Error::generic("the thread is gone"))
        }

        fn kind() -> notify::WatcherKind {
            notify::WatcherKind::NullWatcher
        }
    }

    impl Drop for Threadless {
        fn drop(&mut self) {
            panic!("the thread is gone")
        }
    }

    /// A watcher without its thread is an error to fall back on, not a panic: shown on one that
    /// panics at any use; one with a thread passes.
    #[test]
    fn a_watcher_without_its_thread_is_refused() {
        assert!(with_thread(Threadless).is_err());
        let sound = INotifyWatcher::new(|_event| {}, Config::default()).unwrap();
        assert!(with_thread(sound).is_ok());
    }

    struct Place {
        dir: tempfile::TempDir,
        watch: NotifyWatch,
        woken: Receiver<()>,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (wake, woken) = channel();
            // The receiver may be gone at the end of a test.
            let mut watch = NotifyWatch::new(Box::new(move || {
                let _gone = wake.send(());
            }));
            assert!(watch.watch(dir.path()));
            Self { dir, watch, woken }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// Gathers hints until one speaks of `path`; every one comes with a wake.
        fn wait_for(&mut self, path: &Path) -> HashSet<PathBuf> {
            let begin = Instant::now();
            let mut seen = HashSet::new();
            while !seen.contains(path) {
                let left = LIMIT.saturating_sub(begin.elapsed());
                self.woken
                    .recv_timeout(left)
                    .unwrap_or_else(|_| panic!("no hint about {path:?}, only {seen:?}"));
                let hints = self.watch.take();
                assert!(!hints.rescan);
                seen.extend(hints.paths);
            }
            seen
        }
    }

    #[test]
    fn each_kind_of_change_wakes_and_names_its_path() {
        // A new file, an append, a rename (both names), a truncation, a new directory and a removal
        // must each give a hint with the path: one after the other in a watched directory.
        let mut place = Place::new();
        let (log, old) = (place.at("a.log"), place.at("a.log.1"));
        let mut file = File::create(&log).unwrap();
        place.wait_for(&log);
        file.write_all(b"line\n").unwrap();
        place.wait_for(&log);
        std::fs::rename(&log, &old).unwrap();
        let seen = place.wait_for(&old);
        assert!(seen.contains(&log) || place.watch.take().paths.contains(&log));
        file.write_all(b"late line\n").unwrap();
        place.wait_for(&old);
        file.set_len(0).unwrap();
        place.wait_for(&old);
        let sub = place.at("sub");
        std::fs::create_dir(&sub).unwrap();
        place.wait_for(&sub);
        std::fs::remove_file(&old).unwrap();
        place.wait_for(&old);
    }

    #[test]
    fn our_own_reading_makes_no_hint() {
        // Listing, opening, reading and closing must not wake us, or we would never rest: shown by
        // doing all of it many times and then one write, whose hint must be the first and only one.
        let mut place = Place::new();
        let (log, end) = (place.at("a.log"), place.at("end"));
        std::fs::write(&log, "line\n").unwrap();
        std::fs::write(&end, "").unwrap();
        place.wait_for(&end);
        // What the two writes made must be behind us: the kernel's queue is in order, so a marker
        // of its own is last.
        let marker = place.at("marker");
        std::fs::create_dir(&marker).unwrap();
        place.wait_for(&marker);
        let mut files = crate::os::files::OsFiles::new();
        for _ in 0..50 {
            use crate::ports::Files;
            let mut content = String::new();
            File::open(&log)
                .unwrap()
                .read_to_string(&mut content)
                .unwrap();
            let root = place.dir.path();
            files.list(root, root).unwrap();
            let (handle, _) = files.open(root, &log).unwrap();
            files
                .read_at(handle, crate::event::Offset(0), &mut [0; 9])
                .unwrap();
            files.close(handle);
        }
        OpenOptions::new()
            .append(true)
            .open(&end)
            .unwrap()
            .write_all(b"x")
            .unwrap();
        let seen = place.wait_for(&end);
        assert_eq!(seen, HashSet::from([end]));
    }

    #[test]
    fn a_directory_made_anew_is_watched_anew() {
        // When a directory is removed its watch must go with a hint about it, and asking again for
        // the new one of that name must work: shown by a write in the second one.
        let mut place = Place::new();
        let sub = place.at("sub");
        for round in ["first", "second"] {
            std::fs::create_dir(&sub).unwrap();
            assert!(place.watch.watch(&sub));
            assert!(place.watch.watch(&sub), "asking twice is no harm");
            let file = sub.join(round);
            std::fs::write(&file, "x").unwrap();
            place.wait_for(&file);
            std::fs::remove_dir_all(&sub).unwrap();
            place.wait_for(&sub);
        }
        assert!(!place.watch.watch(&sub), "there is none now");
    }

    #[test]
    fn a_directory_in_the_place_of_another_is_watched_when_asked_for() {
        // What takes the place of a directory without a word to its watch (a link on the way that leads
        // elsewhere now) must be watched when it is asked for again, with a hint to walk it once more, and
        // the old one no longer: shown by a write in each.
        let mut place = Place::new();
        let (link, next, log) = (place.at("link"), place.at("next"), place.at("link/sub"));
        for (name, link) in [("one", &link), ("two", &next)] {
            std::fs::create_dir_all(place.at(name).join("sub")).unwrap();
            std::os::unix::fs::symlink(name, link).unwrap();
        }
        place.watch.unwatch(place.dir.path());
        assert!(place.watch.watch(&log));
        std::fs::rename(&next, &link).unwrap();
        assert!(place.watch.watch(&log));
        place.wait_for(&log);
        std::fs::write(place.at("one/sub/old.log"), "x").unwrap();
        let file = log.join("a.log");
        std::fs::write(&file, "x").unwrap();
        let seen = place.wait_for(&file);
        assert!(!seen.contains(&log.join("old.log")), "{seen:?}");
    }

    #[test]
    fn a_renamed_directory_is_followed_by_its_new_name() {
        // Watching the new name before letting go of the old one (the kernel knows one watch for
        // both) must keep the hints coming, under the new name.
        let mut place = Place::new();
        let (old, new) = (place.at("old"), place.at("new"));
        std::fs::create_dir(&old).unwrap();
        assert!(place.watch.watch(&old));
        std::fs::rename(&old, &new).unwrap();
        place.wait_for(&new);
        assert!(place.watch.watch(&new));
        place.watch.unwatch(&old);
        let file = new.join("a.log");
        std::fs::write(&file, "x").unwrap();
        place.wait_for(&file);
        place.watch.unwatch(&new);
        let directories = &place.watch.live.as_ref().unwrap().directories;
        assert_eq!((directories.keys.len(), directories.names.len()), (1, 1));
    }

    #[test]
    fn ten_thousand_directories_are_watched_or_said_not_to_be() {
        // Every directory must either be watched or answer false, whatever the system's limit, and
        // after the limit the watch must still work: shown by a file in the last one.
        let mut place = Place::new();
        let mut watched = Vec::new();
        for number in 0..10_000 {
            let dir = place.at(&format!("d{number}"));
            std::fs::create_dir(&dir).unwrap();
            if place.watch.watch(&dir) {
                watched.push(dir);
            }
        }
        let last = watched.last().unwrap().join("a.log");
        std::fs::write(&last, "x").unwrap();
        let begin = Instant::now();
        loop {
            // The ten thousand new names themselves may have become a rescan.
            let hints = place.watch.take();
            if hints.rescan || hints.paths.contains(&last) {
                break;
            }
            assert!(begin.elapsed() < LIMIT, "no hint");
            place.woken.recv_timeout(LIMIT).unwrap();
        }
    }

    #[test]
    fn two_names_of_a_directory_both_get_hints_until_each_is_let_go() {
        // Through a symlink the kernel shows one watch for two paths: both must be named, the
        // second must outlive the first, and asking for either again must do no harm.
        let mut place = Place::new();
        let (real, link) = (place.at("real"), place.at("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        for dir in [&real, &link, &real] {
            assert!(place.watch.watch(dir));
        }
        std::fs::write(real.join("a.log"), "x").unwrap();
        let seen = place.wait_for(&real.join("a.log"));
        assert!(seen.contains(&link.join("a.log")));
        place.watch.unwatch(&link);
        std::fs::write(real.join("b.log"), "x").unwrap();
        place.wait_for(&real.join("b.log"));
        place.watch.unwatch(&real);
    }

    #[test]
    fn directories_below_a_renamed_one_are_named_so_that_they_are_asked_for_again() {
        // With a directory's name go the watches below it: each must be named in a hint, and
        // asking for it under its new name must work.
        let mut place = Place::new();
        let (old, new) = (place.at("old"), place.at("new"));
        std::fs::create_dir_all(old.join("sub")).unwrap();
        assert!(place.watch.watch(&old) && place.watch.watch(&old.join("sub")));
        std::fs::rename(&old, &new).unwrap();
        place.wait_for(&old.join("sub"));
        assert!(place.watch.watch(&new) && place.watch.watch(&new.join("sub")));
        let file = new.join("sub/a.log");
        std::fs::write(&file, "x").unwrap();
        place.wait_for(&file);
    }

    #[test]
    fn an_overflow_of_the_kernels_queue_is_a_rescan_that_names_every_directory() {
        // With the queue's overflow any hint may be lost, the end of a watch among them: all
        // directories must be named, and asked for again they must be watched again.
        let mut place = Place::new();
        let shared = Arc::clone(&place.watch.live.as_ref().unwrap().shared);
        let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        shared.hear(Ok(overflow), &mut Instant::now());
        place.woken.recv_timeout(LIMIT).unwrap();
        let hints = place.watch.take();
        let dir = place.dir.path().to_owned();
        assert!(hints.rescan && hints.paths.contains(&dir));
        assert!(place.watch.watch(&dir));
        let log = place.at("a.log");
        std::fs::write(&log, "x").unwrap();
        place.wait_for(&log);
    }

    #[test]
    fn remote_file_systems_are_polled() {
        // Writes on other machines give no events: NFS and SMB must be known by their numbers,
        // however wide or signed, and ext4, xfs, tmpfs and overlay not be taken for one.
        for remote in [0x6969, 0xff53_4d42, 0xffff_ffff_ff53_4d42, 0x6573_5546] {
            assert!(is_remote_type(remote), "{remote:x}");
        }
        for local in [0xef53, 0x5846_5342, 0x0102_1994, 0x794c_7630, 0x9123_683e] {
            assert!(!is_remote_type(local), "{local:x}");
        }
    }

    #[test]
    fn a_storm_of_writes_wakes_a_few_times() {
        // A thousand writes must not be a thousand wakes: shown by counting them; two writes
        // closer than the pace share one.
        let mut place = Place::new();
        let log = place.at("a.log");
        let mut file = File::create(&log).unwrap();
        let begin = Instant::now();
        for _ in 0..1_000 {
            file.write_all(b"line\n").unwrap();
        }
        let spent = begin.elapsed();
        drop(file);
        let marker = place.at("marker");
        std::fs::create_dir(&marker).unwrap();
        let begin = Instant::now();
        let mut wakes = 0;
        while !place.watch.take().paths.contains(&marker) {
            assert!(begin.elapsed() < LIMIT);
            place.woken.recv_timeout(LIMIT).unwrap();
            wakes += 1;
        }
        let allowed = 3 + spent.as_millis() / PACE.as_millis();
        assert!(wakes <= allowed, "{wakes} wakes in {spent:?}");
    }
}
