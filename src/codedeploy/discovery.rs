//! Finds the CodeDeploy agent's configuration, and notices when it changes.

use std::io;
use std::path::{Path, PathBuf};

use super::layout::{CONFIG_PATHS, Layout, VERSION_PATH, parse, parse_version};
use crate::config::CodeDeployConfig;
use crate::event::Offset;
use crate::ports::{Files, Kind};

/// Most that is read of a configuration; real ones have a few hundred bytes.
const CONFIG_BYTES_MAX: usize = 64 * 1024;

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing new.
    Same,
    /// From now on the files are here. The first look always says so: where nothing is installed
    /// yet, with the defaults, whose patterns wait for files.
    Found(Layout),
    /// The configuration cannot be used, for this reason, told once; the layout stays as it is.
    Lost(String),
}

/// Looks for the CodeDeploy agent, again and again.
#[derive(Debug, Default)]
pub struct Discovery {
    /// The configuration that was looked for.
    config_file: PathBuf,
    layout: Layout,
    looked: Looked,
    /// Why the layout cannot be confirmed.
    problem: Option<String>,
    /// The last problem given as [`Change::Lost`].
    told: Option<String>,
    words: String,
}

/// Whether there was a look before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Looked {
    #[default]
    Never,
    Before,
}

/// What lies at the configuration's places.
enum Config {
    Usable(PathBuf, Layout),
    Broken(String),
    Missing,
}

impl Discovery {
    /// Looks at the configuration as it is now. Cheap: one small file.
    /// Where another one is to be looked for than before, what that one said is forgotten.
    pub fn look(&mut self, files: &mut dyn Files, config: &CodeDeployConfig) -> Change {
        if config.config_file != self.config_file {
            *self = Self {
                config_file: config.config_file.clone(),
                ..Self::default()
            };
        }
        let before = self.layout.clone();
        self.problem = None;
        let place = match find(files, &config.config_file) {
            Config::Usable(path, layout) => {
                self.layout = layout;
                format!(", configured by {}", path.display())
            }
            Config::Broken(why) => {
                let place = format!(" ({why})");
                self.problem = Some(why);
                place
            }
            Config::Missing => {
                self.fall_back(files);
                String::new()
            }
        };
        self.words = match is_there(files, &self.layout) {
            Some(dir) => {
                let version = version(files).unwrap_or_else(|| "CodeDeploy agent".to_owned());
                format!("{version} at {}{place}", dir.display())
            }
            None => format!("waiting for the CodeDeploy agent{place}"),
        };
        if self.looked == Looked::Never || self.layout != before {
            self.looked = Looked::Before;
            return Change::Found(self.layout.clone());
        }
        if self.problem == self.told {
            return Change::Same;
        }
        self.told.clone_from(&self.problem);
        match &self.problem {
            Some(why) => Change::Lost(why.clone()),
            None => Change::Same,
        }
    }

    /// Without a configuration the files stay where they were last seen: what they still hold is
    /// to be shipped. Only when nothing is left there and something at the usual places, an agent
    /// was installed anew.
    fn fall_back(&mut self, files: &mut dyn Files) {
        let usual = Layout::default();
        if is_there(files, &self.layout).is_none() && is_there(files, &usual).is_some() {
            self.layout = usual;
        }
    }

    /// The layout as last found; the defaults before the first look.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The CodeDeploy agent in words, for `status`.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Why its configuration cannot be used, as of the last look.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

fn find(files: &mut dyn Files, config_file: &Path) -> Config {
    let [default, fallback] = CONFIG_PATHS.map(Path::new);
    let places = match config_file == default {
        true => vec![default, fallback],
        false => vec![config_file],
    };
    for path in places {
        let broken = |why: &dyn std::fmt::Display| {
            Config::Broken(format!("{} cannot be used: {why}", path.display()))
        };
        match read(files, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return broken(&error),
            Ok(bytes) => {
                return match parse(&bytes) {
                    Ok(layout) => Config::Usable(path.to_owned(), layout),
                    Err(error) => broken(&error),
                };
            }
        }
    }
    Config::Missing
}

/// The directory that shows that an agent is or was here.
fn is_there(files: &mut dyn Files, layout: &Layout) -> Option<PathBuf> {
    [&layout.log_dir, &layout.root_dir]
        .into_iter()
        .find(|dir| {
            let stat = files.stat(Path::new("/"), dir);
            stat.is_ok_and(|meta| meta.kind == Kind::Directory)
        })
        .cloned()
}

fn version(files: &mut dyn Files) -> Option<String> {
    let bytes = read(files, Path::new(VERSION_PATH)).ok()?;
    parse_version(&String::from_utf8_lossy(&bytes))
}

/// Reads a small file. Its root is `/`: these few files belong to root, and where an
/// administrator put a link in their place it is meant.
fn read(files: &mut dyn Files, path: &Path) -> io::Result<Vec<u8>> {
    let (handle, _) = files.open(Path::new("/"), path)?;
    let mut bytes = vec![0; CONFIG_BYTES_MAX + 1];
    let mut filled = 0;
    let result = loop {
        match files.read_at(handle, Offset(filled as u64), &mut bytes[filled..]) {
            Ok(0) => break Ok(()),
            Ok(read) => filled += read,
            Err(error) => break Err(error),
        }
    };
    files.close(handle);
    result?;
    if filled > CONFIG_BYTES_MAX {
        let text = format!("larger than {CONFIG_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EpochMs;
    use crate::ports::{FileKey, Handle, Meta};
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    /// Files in memory; a directory is whatever a file lies in.
    #[derive(Default)]
    struct Memory {
        files: BTreeMap<PathBuf, Result<String, io::ErrorKind>>,
        open: Vec<Option<PathBuf>>,
    }

    impl Memory {
        fn put(&mut self, path: &str, content: &str) {
            self.files.insert(path.into(), Ok(content.to_owned()));
        }

        fn meta(kind: Kind) -> Meta {
            Meta {
                key: FileKey {
                    device: 1,
                    inode: 1,
                },
                kind,
                size: 0,
                modified_ms: EpochMs::default(),
                links: 1,
            }
        }
    }

    impl Files for Memory {
        fn list(&mut self, _: &Path, _: &Path) -> io::Result<Vec<(OsString, Kind)>> {
            unreachable!("nothing is searched for")
        }

        fn stat(&mut self, _: &Path, path: &Path) -> io::Result<Meta> {
            match self.files.keys().find(|name| name.starts_with(path)) {
                Some(name) if name == path => Ok(Self::meta(Kind::File)),
                Some(_) => Ok(Self::meta(Kind::Directory)),
                None => Err(io::ErrorKind::NotFound.into()),
            }
        }

        fn open(&mut self, _: &Path, path: &Path) -> io::Result<(Handle, Meta)> {
            match self.files.get(path) {
                None => Err(io::ErrorKind::NotFound.into()),
                Some(Err(kind)) => Err((*kind).into()),
                Some(Ok(_)) => {
                    self.open.push(Some(path.to_owned()));
                    let slot = u32::try_from(self.open.len() - 1).unwrap();
                    Ok((Handle(slot), Self::meta(Kind::File)))
                }
            }
        }

        fn meta(&mut self, _: Handle) -> io::Result<Meta> {
            Ok(Self::meta(Kind::File))
        }

        fn read_at(&mut self, handle: Handle, at: Offset, into: &mut [u8]) -> io::Result<usize> {
            let path = self.open[handle.0 as usize].as_ref().unwrap();
            let rest = &self.files[path].as_ref().unwrap().as_bytes()[at.0 as usize..];
            // In small pieces, as a system may.
            let read = rest.len().min(into.len()).min(7);
            into[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        }

        fn close(&mut self, handle: Handle) {
            self.open[handle.0 as usize] = None;
        }
    }

    fn config(config_file: &str) -> CodeDeployConfig {
        CodeDeployConfig {
            enabled: true,
            config_file: config_file.into(),
            sources: Vec::new(),
        }
    }

    fn found(change: Change) -> Layout {
        match change {
            Change::Found(layout) => layout,
            other => panic!("expected a layout, got {other:?}"),
        }
    }

    #[test]
    fn an_agent_is_waited_for_and_followed() {
        // From nothing through installation and a change of the configuration to removal: each look
        // must say what is new once, and the layout never be lost.
        let (mut files, mut discovery) = (Memory::default(), Discovery::default());
        let config = config(CONFIG_PATHS[0]);
        assert_eq!(
            found(discovery.look(&mut files, &config)),
            Layout::default()
        );
        assert_eq!(discovery.words(), "waiting for the CodeDeploy agent");
        assert_eq!(discovery.look(&mut files, &config), Change::Same);

        files.put("/var/log/aws/codedeploy-agent/codedeploy-agent.log", "");
        assert_eq!(discovery.look(&mut files, &config), Change::Same);
        assert_eq!(
            discovery.words(),
            "CodeDeploy agent at /var/log/aws/codedeploy-agent"
        );

        files.put(CONFIG_PATHS[1], ":log_dir: /data/log\n");
        files.put("/data/log/codedeploy-agent.log", "");
        files.put(VERSION_PATH, "agent_version: OFFICIAL_1.8.1-6_rpm\n");
        let layout = found(discovery.look(&mut files, &config));
        assert_eq!(layout.log_dir, Path::new("/data/log"));
        let words = format!("1.8.1 at /data/log, configured by {}", CONFIG_PATHS[1]);
        assert_eq!(discovery.words(), words);
        assert_eq!(discovery.look(&mut files, &config), Change::Same);

        files.put(CONFIG_PATHS[0], ":log_dir: /first\n");
        let layout = found(discovery.look(&mut files, &config));
        assert_eq!(layout.log_dir, Path::new("/first"));
        files.files.clear();
        assert_eq!(discovery.look(&mut files, &config), Change::Same);
        assert_eq!(discovery.layout().log_dir, Path::new("/first"));
        assert_eq!(discovery.words(), "waiting for the CodeDeploy agent");
        assert!(
            files.open.iter().all(Option::is_none),
            "a file was left open"
        );
    }

    #[test]
    fn a_broken_configuration_never_takes_the_layout_away() {
        // Broken, unreadable and oversized files must be told once, with path and reason, while the
        // layout stays; a repaired one must be followed.
        let (mut files, mut discovery) = (Memory::default(), Discovery::default());
        let config = config("/etc/own.yml");
        files.put("/etc/own.yml", ":log_dir: /data/log\n");
        found(discovery.look(&mut files, &config));

        files.put("/etc/own.yml", ":log_dir: [\n");
        let Change::Lost(why) = discovery.look(&mut files, &config) else {
            panic!("not told");
        };
        assert!(
            why.starts_with("/etc/own.yml cannot be used: it is not valid YAML"),
            "{why}"
        );
        assert_eq!(discovery.look(&mut files, &config), Change::Same);
        assert_eq!(discovery.problem(), Some(&*why));
        assert!(
            discovery.words().contains("/etc/own.yml"),
            "{}",
            discovery.words()
        );

        let denied = Err(io::ErrorKind::PermissionDenied);
        files.files.insert("/etc/own.yml".into(), denied);
        assert!(matches!(
            discovery.look(&mut files, &config),
            Change::Lost(_)
        ));
        files.put("/etc/own.yml", &"#".repeat(CONFIG_BYTES_MAX + 1));
        assert!(matches!(
            discovery.look(&mut files, &config),
            Change::Lost(_)
        ));
        assert_eq!(discovery.layout().log_dir, Path::new("/data/log"));

        files.put("/etc/own.yml", ":log_dir: /data/log2\n");
        let layout = found(discovery.look(&mut files, &config));
        assert_eq!(layout.log_dir, Path::new("/data/log2"));
        assert_eq!(discovery.problem(), None);
    }

    #[test]
    fn the_same_break_is_told_again_after_a_repair() {
        // A break that comes back must be told again, and one there from the start not be swallowed
        // by the first layout.
        let (mut files, mut discovery) = (Memory::default(), Discovery::default());
        let config = config("/etc/own.yml");
        files.put("/etc/own.yml", "words\n");
        assert_eq!(
            found(discovery.look(&mut files, &config)),
            Layout::default()
        );
        assert!(discovery.problem().is_some());
        for _ in 0..2 {
            files.put("/etc/own.yml", "words\n");
            assert!(matches!(
                discovery.look(&mut files, &config),
                Change::Lost(_)
            ));
            files.put("/etc/own.yml", "");
            assert_eq!(discovery.look(&mut files, &config), Change::Same);
        }
    }
}
