//! Which files a source's patterns name right now.
//!
//! One walk lists directories component by component, so that a pattern like
//! `<root>/*/d-*/logs/scripts.log` touches only directories that can lead to a match. It returns
//! what it found and which directories it looked into, for those may be worth watching. The
//! walk is the truth; a hint only says when to walk.
//!
//! Applications can write to what is walked, so one walk has limits in entries, directories, files
//! and words. Where it meets one it says so, and concludes nothing about what it did not see.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Component, PathPattern, Source};
use crate::ports::{FileKey, Files, Kind, Meta};

use super::relation::{excluded, is_compressed};
use super::watching::way;

/// Directory entries one walk of a source looks at before it gives up and says so.
pub(crate) const ENTRIES_MAX: usize = 1_000_000;

/// Directories one walk of a source looks into: two for each log of a deployment, and half as many
/// without one.
pub(crate) const DIRECTORIES_MAX: usize = 3 * FILES_MAX;

/// Files of a source: each takes about a kilobyte for as long as it is there.
pub(crate) const FILES_MAX: usize = 20_000;

/// What one walk says of; the rest is only counted.
const PROBLEMS_MAX: usize = 20;

/// Places one walk keeps that it could not look into; with more, the whole root is one.
const BLIND_MAX: usize = 100;

/// Levels of directories a `**` descends.
const DEPTH_MAX: usize = 40;

/// A regular file that a pattern names.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The directory no symlink may lead out of.
    pub(crate) root: Arc<Path>,
    /// Its name now.
    pub(crate) path: Arc<Path>,
    /// What the system says of it.
    pub(crate) meta: Meta,
}

/// What one walk saw.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Files, in the order of their paths.
    pub(crate) found: Vec<Found>,
    /// Directories whose entries decide what the next walk finds, besides `straight` others that lead
    /// to a file that was found.
    pub(crate) directories: Vec<PathBuf>,
    /// How many these are.
    pub(crate) straight: usize,
    /// What could not be looked at: nothing can be concluded about files there or below.
    pub(crate) blind: Vec<PathBuf>,
    /// Directories with a name that could not be looked at: any file that was in them may have it now.
    pub(crate) half_seen: Vec<PathBuf>,
    /// What could not be read, in words.
    pub(crate) problems: Vec<String>,
    /// What a pattern without wildcards leads to and is never read, in words.
    pub(crate) no_files: Vec<String>,
    /// Entries looked at.
    pub(crate) entries: usize,
    /// Directories looked into or still to be.
    entered: usize,
    /// Problems that were only counted.
    unsaid: usize,
    /// Whether a limit was met: nothing more is looked at.
    is_cut: bool,
}

/// Walks all patterns of a source.
pub(crate) fn walk(files: &mut dyn Files, source: &Source) -> Walk {
    let mut walk = Walk::default();
    for pattern in &source.paths {
        Walker {
            files,
            source,
            pattern,
            walk: &mut walk,
            above: Vec::new(),
        }
        .start();
    }
    // A file that links lead to by several ways is one file: the shortest way is its name.
    let mut keys = HashSet::with_capacity(walk.found.len());
    if !walk.found.iter().all(|found| keys.insert(found.meta.key)) {
        let length = |found: &Found| found.path.iter().count();
        walk.found.sort_by(|a, b| {
            let by_length = || length(a).cmp(&length(b)).then_with(|| a.path.cmp(&b.path));
            a.meta.key.cmp(&b.meta.key).then_with(by_length)
        });
        walk.found.dedup_by(|a, b| {
            let is_same = a.meta.key == b.meta.key;
            if is_same {
                let leading = way(a).map(Path::to_path_buf);
                walk.directories.extend(leading);
            }
            is_same
        });
    }
    // The walk mostly comes by in this order; sorting takes memory for half of all.
    if !walk.found.is_sorted_by(|a, b| a.path <= b.path) {
        walk.found.sort_by(|a, b| a.path.cmp(&b.path));
    }
    walk.directories.sort();
    walk.directories.dedup();
    if walk.unsaid > 0 {
        let more = format!("and {} more places that cannot be looked at", walk.unsaid);
        walk.problems.push(more);
    }
    walk
}

/// The files a source's patterns name right now, with their sizes and inodes, and in words what could
/// not be looked at or is never read: for `check`.
pub fn list(files: &mut dyn Files, source: &Source) -> (Vec<(PathBuf, u64, FileKey)>, Vec<String>) {
    let mut walk = walk(files, source);
    walk.problems.append(&mut walk.no_files);
    let found = walk.found.into_iter();
    let found = found.map(|found| (found.path.to_path_buf(), found.meta.size, found.meta.key));
    (found.collect(), walk.problems)
}

struct Walker<'a> {
    files: &'a mut dyn Files,
    source: &'a Source,
    pattern: &'a PathPattern,
    walk: &'a mut Walk,
    /// The root, and what each `**` stands for so far, with how many components were left there: another
    /// one may be led to the same directory.
    above: Vec<(usize, FileKey)>,
}

impl Walker<'_> {
    fn start(&mut self) {
        let root = self.pattern.root.clone();
        if self.walk.is_cut {
            return self.blind(&root);
        }
        match self.files.stat(&root, &root) {
            Ok(meta) if meta.kind == Kind::Directory => {
                self.walk.entered += 1;
                let components = &self.pattern.components;
                self.above.push((components.len(), meta.key));
                self.descend(&root, components, 0);
            }
            Ok(_) => self.problem(&root, "is not a directory"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.blind(&root);
                self.watch_ancestor(&root);
            }
            Err(error) => self.unseen(&root, &error),
        }
    }

    /// A root that is not there yet appears in its nearest ancestor that is.
    fn watch_ancestor(&mut self, root: &Path) {
        for ancestor in root.ancestors().skip(1) {
            if self.files.stat(ancestor, ancestor).is_ok() {
                self.walk.directories.push(ancestor.to_path_buf());
                return;
            }
        }
    }

    fn descend(&mut self, dir: &Path, components: &[Component], depth: usize) {
        let Some((first, rest)) = components.split_first() else {
            return;
        };
        if self.walk.is_cut || self.is_kept_straight(dir, components) {
            return;
        }
        self.walk.directories.push(dir.to_path_buf());
        if let Some(name) = first.literal() {
            let path = dir.join(name);
            self.walk.entries += 1;
            match self.files.stat(&self.pattern.root, &path) {
                Ok(meta) => self.enter(path, meta, rest, depth),
                Err(error) => self.unseen(&path, &error),
            }
            return;
        }
        // The directories come last, so that of a listing only their names wait.
        let mut deeper = Vec::new();
        for (name, kind) in self.list(dir) {
            match (first, kind) {
                (Component::Name(glob), _) if !glob.is_match(Path::new(&name)) => {}
                (Component::Name(_), Kind::File) if rest.is_empty() => self.add(dir.join(name)),
                (Component::Name(_), Kind::Directory) if !rest.is_empty() => deeper.push(name),
                (Component::AnyDirectories, Kind::Directory) => deeper.push(name),
                _ => {}
            }
        }
        if let (Component::AnyDirectories, false) = (first, rest.is_empty()) {
            self.descend(dir, rest, depth);
        }
        self.walk.entered += deeper.len();
        if self.walk.entered > DIRECTORIES_MAX {
            return self.cut(DIRECTORIES_MAX, "directories");
        }
        for name in deeper {
            let path = dir.join(name);
            match first {
                _ if self.walk.is_cut => return,
                Component::Name(_) => self.descend(&path, rest, depth + 1),
                Component::AnyDirectories if depth < DEPTH_MAX => {
                    self.descend_anew(&path, components, depth + 1);
                }
                Component::AnyDirectories => {
                    self.blind(&path);
                    self.problem(&path, "lies too deep and is not looked into");
                }
            }
        }
    }

    /// Descends into a directory for a `**`, unless it lies in itself: a link led up, and round again.
    fn descend_anew(&mut self, dir: &Path, components: &[Component], depth: usize) {
        match self.files.stat(&self.pattern.root, dir) {
            Ok(meta) if self.above.contains(&(components.len(), meta.key)) => {}
            Ok(meta) => {
                self.above.push((components.len(), meta.key));
                self.descend(dir, components, depth);
                self.above.pop();
            }
            Err(error) => self.unseen(dir, &error),
        }
    }

    /// Takes the file that names without wildcards, two at least, lead to from a directory, if it is
    /// there: of thousands of old deployments that is one look for each instead of two.
    fn is_kept_straight(&mut self, dir: &Path, components: &[Component]) -> bool {
        let names: Option<Vec<&str>> = components.iter().map(Component::literal).collect();
        let Some([directories @ .., file]) = names.as_deref() else {
            return false;
        };
        if directories.is_empty() {
            return false;
        }
        let mut leading = vec![dir.to_path_buf()];
        for name in directories {
            leading.push(leading[leading.len() - 1].join(name));
        }
        let path = leading[leading.len() - 1].join(file);
        let meta = match self.files.stat(&self.pattern.root, &path) {
            Ok(meta) if meta.kind == Kind::File => meta,
            // What is in the way, the slower look tells.
            Ok(_) | Err(_) => return false,
        };
        self.walk.entered += directories.len();
        self.walk.entries += leading.len();
        if self.has_room_for(&path) {
            self.walk.straight += leading.len();
            self.keep(path, meta);
        } else {
            self.walk.directories.append(&mut leading);
        }
        true
    }

    /// The entry of a name without wildcards, before `rest`.
    fn enter(&mut self, path: PathBuf, meta: Meta, rest: &[Component], depth: usize) {
        match (meta.kind, rest.is_empty()) {
            (Kind::File, true) if self.has_room_for(&path) => self.keep(path, meta),
            (Kind::Directory, false) => {
                self.walk.entered += 1;
                self.descend(&path, rest, depth + 1);
            }
            (Kind::Directory | Kind::Other, true) if !excluded(self.source, &path) => {
                self.no_file(&path, meta.kind);
            }
            _ => {}
        }
    }

    /// What is never read, if somebody has named it in full.
    fn no_file(&mut self, path: &Path, kind: Kind) {
        let (here, root) = (path.display(), self.pattern.root.display());
        let what = match kind {
            _ if !self.pattern.is_literal() => return,
            Kind::Directory => {
                format!("{here}: is a directory; name the files in it, such as {here}/*.log")
            }
            _ => format!("{here}: is no file in {root}, but a FIFO, a device, or a link out of it"),
        };
        self.walk.no_files.push(what);
    }

    /// Ends the walk: there is more than it may look at.
    fn cut(&mut self, limit: usize, of_what: &str) {
        if !self.walk.is_cut {
            self.walk.is_cut = true;
            let root = self.pattern.root.clone();
            self.blind(&root);
            // Said whatever else was said before.
            let words = format!(
                "{}: has more than {limit} {of_what} below it, the rest is left alone; narrow the paths",
                root.display()
            );
            self.walk.problems.insert(0, words);
        }
    }

    /// Whether a file of that name is wanted, and not one too many.
    fn has_room_for(&mut self, path: &Path) -> bool {
        if self.walk.is_cut || excluded(self.source, path) || is_compressed(path) {
            return false;
        }
        let has_room = self.walk.found.len() < FILES_MAX;
        if !has_room {
            self.cut(FILES_MAX, "files");
        }
        has_room
    }

    fn keep(&mut self, path: PathBuf, meta: Meta) {
        self.walk.found.push(Found {
            root: Arc::clone(&self.pattern.root),
            path: path.into(),
            meta,
        });
    }

    fn add(&mut self, path: PathBuf) {
        if !self.has_room_for(&path) {
            return;
        }
        match self.files.stat(&self.pattern.root, &path) {
            Ok(meta) if meta.kind == Kind::File => self.keep(path, meta),
            Ok(_) => {}
            Err(error) => self.unseen(&path, &error),
        }
    }

    /// Something that cannot be looked at now, if it is there: nothing can be concluded about it or below
    /// it, nor, where that may pass, about what had another name beside it.
    fn unseen(&mut self, path: &Path, error: &io::Error) {
        let kind = error.kind();
        if kind == io::ErrorKind::NotFound {
            return;
        }
        if kind != io::ErrorKind::PermissionDenied && self.walk.half_seen.len() < BLIND_MAX {
            let directory = path.parent().map(Path::to_path_buf);
            self.walk.half_seen.extend(directory);
        }
        self.blind(path);
        self.problem(path, &error.to_string());
    }

    /// Nothing can be concluded about what is here or below.
    fn blind(&mut self, path: &Path) {
        let root = &self.pattern.root;
        match self.walk.blind.len() < BLIND_MAX {
            true => self.walk.blind.push(path.to_path_buf()),
            false if self.walk.blind.iter().any(|blind| **blind == **root) => {}
            false => self.walk.blind.push(root.to_path_buf()),
        }
    }

    fn list(&mut self, dir: &Path) -> Vec<(OsString, Kind)> {
        if self.walk.is_cut {
            return Vec::new();
        }
        match self.files.list(&self.pattern.root, dir) {
            Ok(mut names) => {
                self.walk.entries += names.len();
                if self.walk.entries > ENTRIES_MAX {
                    self.cut(ENTRIES_MAX, "entries");
                    return Vec::new();
                }
                names.sort_by(|a, b| a.0.cmp(&b.0));
                names
            }
            Err(error) => {
                self.unseen(dir, &error);
                Vec::new()
            }
        }
    }

    fn problem(&mut self, path: &Path, what: &str) {
        if self.walk.problems.len() < PROBLEMS_MAX {
            let words = format!("{}: {what}", path.display());
            self.walk.problems.push(words);
        } else {
            self.walk.unsaid += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{Hash, Hasher};

    use super::*;
    use crate::config::Config;
    use crate::event::{Now, Offset};
    use crate::ports::Handle;
    use crate::tail::testing::{Silent, tail_of};

    /// A tree that is made up as it is asked for, and counts what it was asked.
    struct Tree {
        entry: fn(&Path, usize) -> Option<(String, Kind)>,
        /// What is not there, though its directory is.
        lacks: fn(&Path) -> bool,
        listed: usize,
        named: usize,
        looked_at: usize,
    }

    impl Tree {
        fn new(entry: fn(&Path, usize) -> Option<(String, Kind)>) -> Self {
            Self {
                entry,
                lacks: |_| false,
                listed: 0,
                named: 0,
                looked_at: 0,
            }
        }
    }

    impl Files for Tree {
        fn list(&mut self, _: &Path, dir: &Path) -> io::Result<Vec<(OsString, Kind)>> {
            self.listed += 1;
            let names: Vec<_> = (0..)
                .map_while(|nth| (self.entry)(dir, nth))
                .map(|(name, kind)| (OsString::from(name), kind))
                .collect();
            self.named += names.len();
            match names.is_empty() {
                true => Err(io::ErrorKind::PermissionDenied.into()),
                false => Ok(names),
            }
        }

        fn stat(&mut self, root: &Path, path: &Path) -> io::Result<Meta> {
            self.looked_at += 1;
            if (self.lacks)(path) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let extension = path.extension().and_then(|extension| extension.to_str());
            let kind = match extension.filter(|_| root != path) {
                None => Kind::Directory,
                Some("fifo") => Kind::Other,
                Some(_) => Kind::File,
            };
            let mut hasher = std::hash::DefaultHasher::new();
            real(path).hash(&mut hasher);
            Ok(Meta {
                key: FileKey {
                    device: 1,
                    inode: hasher.finish(),
                },
                kind,
                size: 0,
                modified_ms: 0,
                links: 1,
            })
        }

        fn open(&mut self, _: &Path, _: &Path) -> io::Result<(Handle, Meta)> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn meta(&mut self, _: Handle) -> io::Result<Meta> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn read_at(&mut self, _: Handle, _: Offset, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn close(&mut self, _: Handle) {}
    }

    /// Where a path leads: what is named `self` is a link to the directory it stands in, and `up` one to
    /// that above it.
    fn real(path: &Path) -> PathBuf {
        let mut real = PathBuf::new();
        for part in path.iter().filter(|part| *part != "self") {
            match part == "up" {
                true => drop(real.pop()),
                false => real.push(part),
            }
        }
        real
    }

    fn source(paths: &str) -> std::sync::Arc<Source> {
        let text = format!("[[source]]\nname = \"a\"\npaths = [{paths}]\n");
        let (config, _) = Config::parse(&[("a.toml".into(), text)]).unwrap();
        config.sources[0].clone()
    }

    fn assert_said(walk: &Walk, words: &str) {
        assert!(walk.problems[0].contains(words), "{:?}", walk.problems);
        assert!(walk.problems.len() <= PROBLEMS_MAX + 2);
        assert!(walk.blind.contains(&PathBuf::from("/r")));
    }

    /// A directory without end costs a bounded walk and is said: shown by counting what is asked
    /// of trees that have no end in files, in directories, in depth, and in all three.
    #[test]
    fn endless_trees_cost_bounded_work() {
        let files =
            |_: &Path, nth: usize| (nth < 100_000).then(|| (format!("{nth:06}.log"), Kind::File));
        let mut tree = Tree::new(files);
        let result = walk(&mut tree, &source("\"/r/*.log\", \"/r/b/*.log\""));
        assert_eq!(result.found.len(), FILES_MAX);
        assert_said(&result, "more than 20000 files");
        assert!(
            result.blind.contains(&PathBuf::from("/r/b")),
            "never looked at"
        );
        assert_eq!(tree.listed, 1);

        let directories =
            |_: &Path, nth: usize| (nth < 1_000).then(|| (format!("{nth}"), Kind::Directory));
        let mut tree = Tree::new(directories);
        let result = walk(&mut tree, &source("\"/r/**/*.log\""));
        assert_said(&result, "more than 60000 directories");
        assert!(result.directories.len() <= DIRECTORIES_MAX);
        assert!(tree.named <= ENTRIES_MAX);

        let deep = |_: &Path, nth: usize| (nth == 0).then(|| ("d".to_owned(), Kind::Directory));
        let mut tree = Tree::new(deep);
        let result = walk(&mut tree, &source("\"/r/**/*.log\""));
        assert!(
            result.problems[0].contains("too deep"),
            "{:?}",
            result.problems
        );
        assert!(tree.listed <= 2 * (DEPTH_MAX + 1));

        let noise = |dir: &Path, nth: usize| match nth {
            0..3 => Some((format!("d{nth}"), Kind::Directory)),
            _ if dir.components().count() > 12 => None,
            _ => (nth < 90_000).then(|| (format!("{nth}.txt"), Kind::File)),
        };
        let mut tree = Tree::new(noise);
        let result = walk(&mut tree, &source("\"/r/**/*.log\""));
        assert_said(&result, "more than 1000000 entries");
        assert!(tree.named <= ENTRIES_MAX + 100_000);
    }

    /// Names without wildcards behind one are followed in one look, and where that fails one by one,
    /// with the same result: shown by deployments with a log, without, and without its directory.
    #[test]
    fn known_names_are_one_look() {
        let deployments = |dir: &Path, nth: usize| {
            let is_root = dir == Path::new("/r");
            (is_root && nth < 300).then(|| (format!("d-{nth:03}"), Kind::Directory))
        };
        let lacks = |path: &Path| {
            let path = path.to_str().unwrap();
            path.contains("1/logs/") || path.contains("2/logs")
        };
        let mut tree = Tree {
            lacks,
            ..Tree::new(deployments)
        };
        let result = walk(&mut tree, &source("\"/r/d-*/logs/scripts.log\""));
        assert_eq!((result.found.len(), result.problems.len()), (240, 0));
        let path = result.found[0].path.to_str();
        assert_eq!(path, Some("/r/d-000/logs/scripts.log"));
        assert_eq!(result.directories.len(), 1 + 60 + 30);
        assert_eq!(result.straight, 240 * 2);
        assert_eq!(tree.looked_at, 1 + 300 + 30 * 2 + 30);
    }

    /// A link that leads up adds nothing to a tree: shown by one in each of its directories.
    #[test]
    fn a_link_upwards_is_not_followed_round() {
        let looped = |dir: &Path, nth: usize| match nth {
            0 => Some(("1.log".to_owned(), Kind::File)),
            1 => Some(("self".to_owned(), Kind::Directory)),
            _ if dir.components().count() > 4 => None,
            _ => (nth < 4).then(|| (format!("d{nth}"), Kind::Directory)),
        };
        let mut tree = Tree::new(looped);
        let result = walk(&mut tree, &source("\"/r/**/*.log\""));
        assert_eq!(result.problems, [""; 0]);
        assert_eq!(result.found.len(), 1 + 2 + 4 + 8);
        assert_eq!(tree.listed, 2 * result.found.len());
    }

    /// A link that leads up may lead to what only it has a name for: shown by one that the second of two
    /// `**`, or one behind a `*`, meets.
    #[test]
    fn a_link_upwards_is_followed_where_it_is_the_only_way() {
        let looped = |dir: &Path, nth: usize| match (real(dir).to_str(), nth) {
            (_, 0) => Some(("1.log".to_owned(), Kind::File)),
            (Some("/r"), 1) => Some(("a".to_owned(), Kind::Directory)),
            (Some("/r/a"), 1) => Some(("b".to_owned(), Kind::Directory)),
            (Some("/r/a/b"), 1) => Some(("up".to_owned(), Kind::Directory)),
            _ => None,
        };
        for (pattern, expected) in [
            ("\"/r/**/b/**/*.log\"", ["/r/a/b/1.log", "/r/a/b/up/1.log"]),
            ("\"/r/a/*/**/*.log\"", ["/r/a/b/1.log", "/r/a/b/up/1.log"]),
        ] {
            let mut tree = Tree {
                lacks: |path| path.ends_with("b") && real(path) != Path::new("/r/a/b"),
                ..Tree::new(looped)
            };
            let result = walk(&mut tree, &source(pattern));
            let paths = result.found.iter().map(|found| found.path.to_str());
            assert!(paths.eq(expected.map(Some)), "{:?}", result.found);
            assert_eq!(result.problems, [""; 0]);
        }
    }

    /// What is named in full and is no file is said, unless it is excluded: shown by a directory, by what is
    /// never opened, and by what is not there.
    #[test]
    fn a_name_that_leads_to_no_file_is_said() {
        let nothing = |_: &Path, _: usize| None;
        let mut tree = Tree {
            lacks: |path| path.ends_with("later.log"),
            ..Tree::new(nothing)
        };
        let paths = ["app", "in.fifo", "later.log", "there.log", "old.fifo"];
        let paths = paths.map(|name| format!("\"/r/{name}\"")).join(", ");
        let source = Source {
            exclude: vec![globset::Glob::new("old.*").unwrap().compile_matcher()],
            ..(*source(&paths)).clone()
        };
        let result = walk(&mut tree, &source);
        assert_eq!(result.found.len(), 1);
        let [directory, other] = &result.no_files[..] else {
            panic!("{:?}", result.no_files);
        };
        assert_eq!(
            directory,
            "/r/app: is a directory; name the files in it, such as /r/app/*.log"
        );
        assert!(other.starts_with("/r/in.fifo: is no file in /r"), "{other}");
    }

    /// What a wildcard leads to need not be a file: shown by directories and FIFOs of the name of a log.
    #[test]
    fn what_a_wildcard_leads_to_is_not_said() {
        let applications = |dir: &Path, nth: usize| {
            let is_root = dir == Path::new("/r");
            (is_root && nth < 50).then(|| (format!("{nth}"), Kind::Directory))
        };
        let paths = "\"/r/*/log\", \"/r/*/in.fifo\", \"/r/*/there.log\"";
        let result = walk(&mut Tree::new(applications), &source(paths));
        assert_eq!((result.found.len(), result.problems.len()), (50, 0));
        assert_eq!(result.no_files, [""; 0]);
    }

    /// What is never read brings no scan forward: shown by a directory that is named in full.
    #[test]
    fn what_is_never_read_is_not_looked_for() {
        let mut tree = Tree::new(|_, _| None);
        let settled = |_| Offset(0);
        let mut tail = tail_of(Vec::new(), "/r/app", &mut tree, &settled);
        for mono_ms in [0, 1_000] {
            let (mut watch, wall_ms) = (Silent { is_watching: true }, 0);
            let now = Now { mono_ms, wall_ms };
            tail.look(&mut tree, &mut watch, &settled, now);
        }
        assert_eq!(tail.next_due(), Some(30_000));
        assert_eq!(tail.problems().count(), 1);
        assert!(!tail.is_blind());
    }

    /// What cannot be read is said a few times and counted: shown by a thousand closed directories.
    #[test]
    fn many_problems_are_few_words() {
        let closed = |dir: &Path, nth: usize| {
            let is_root = dir == Path::new("/r");
            (is_root && nth < 1_000).then(|| (format!("{nth}"), Kind::Directory))
        };
        let result = walk(&mut Tree::new(closed), &source("\"/r/*/*.log\""));
        assert_eq!(result.problems.len(), PROBLEMS_MAX + 1);
        assert_eq!(
            result.problems[PROBLEMS_MAX],
            "and 980 more places that cannot be looked at"
        );
        assert!(result.blind.len() <= BLIND_MAX + 1);
        assert!(result.blind.contains(&PathBuf::from("/r")));
    }
}
