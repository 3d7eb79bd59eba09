//! From the disk to a checked [`Config`]: the same for every command and for a reload.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::ExitCode;
use super::terminal::escape;
use crate::config::{Config, Mistake, Note};

/// Where the configuration is unless told otherwise.
pub const CONFIG_FILE: &str = "/etc/deploywatch/deploywatch.toml";

/// Folder beside the configuration whose `*.toml` are read after it.
const CONFIG_FOLDER: &str = "conf.d";

/// A file beyond this is no configuration.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder cannot be read.
    #[error(
        "failed to read {}: {}; {}",
        escape(&path.display().to_string()), escape(&source.to_string()), remedy(source.kind())
    )]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There are mistakes in it; [`fmt::Display`] tells them all, one a line.
    #[error("{}", Lines(.0))]
    Mistakes(Vec<Mistake>),
}

impl ConfigError {
    /// The code to exit with: whatever it is, trying again without a change is no use.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unreadable { .. } | Self::Mistakes(_) => ExitCode::BadConfig,
        }
    }
}

/// A configuration's files as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFiles {
    /// Names and texts, in the order in which they are laid over each other.
    pub files: Vec<(PathBuf, String)>,
    /// What is odd about them.
    pub notes: Vec<Note>,
}

/// Reads and checks the configuration at `path`, or the usual one. Only the usual one may be
/// missing: then all defaults hold, and a note says so.
///
/// # Errors
/// When something cannot be read, or with all mistakes there are.
pub fn load_config(path: Option<&Path>) -> Result<(Config, Vec<Note>), ConfigError> {
    let ConfigFiles { files, mut notes } = match path {
        Some(path) => read_files(path, Missing::Refused)?,
        None => read_files(Path::new(CONFIG_FILE), Missing::Allowed)?,
    };
    let (config, more) = Config::parse(&files).map_err(ConfigError::Mistakes)?;
    notes.extend(more);
    Ok((config, notes))
}

/// Whether the main file may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Yes: an installation without a configuration ships the CodeDeploy agent's logs.
    Allowed,
    /// No: somebody named it.
    Refused,
}

/// Reads the main file and the `conf.d/*.toml` beside it, in the order of their names. Files
/// whose names begin with a dot are left alone: editors put theirs there.
///
/// # Errors
/// When something that is there cannot be read.
pub fn read_files(main: &Path, missing: Missing) -> Result<ConfigFiles, ConfigError> {
    let mut read = ConfigFiles::default();
    match read_file(main) {
        Ok(text) => read.files.push((main.to_owned(), text)),
        Err(error) if missing == Missing::Allowed && error.kind() == io::ErrorKind::NotFound => {
            read.notes.push(Note {
                file: main.to_owned(),
                line: None,
                text: "no such file: all defaults apply".to_owned(),
            });
        }
        Err(error) => return Err(unreadable(main, error)),
    }
    let folder = main.with_file_name(CONFIG_FOLDER);
    for path in names(&folder).map_err(|error| unreadable(&folder, error))? {
        let text = read_file(&path).map_err(|error| unreadable(&path, error))?;
        read.files.push((path, text));
    }
    Ok(read)
}

fn names(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|end| end == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_file(path: &Path) -> io::Result<String> {
    // Looked at before it is opened: opening a FIFO would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let text = format!("longer than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].split(|byte| *byte == b'\n').count();
        let text = format!("line {line} is not UTF-8");
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// What to do about a file that cannot be read.
fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "put it there, or name another one with --config",
        io::ErrorKind::PermissionDenied => "ask with sudo, or let this user read it",
        io::ErrorKind::InvalidInput => "put a file there",
        io::ErrorKind::FileTooLarge => "spread it over several files in conf.d/",
        io::ErrorKind::InvalidData => "save the file as UTF-8",
        _ => "see to the disk and try again",
    }
}

fn unreadable(path: &Path, source: io::Error) -> ConfigError {
    ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

/// Mistakes, one a line; whatever stands in the file, none is more than that.
struct Lines<'a>(&'a [Mistake]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&escape(&mistake.to_string()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::metric::BuiltinMetric;

    fn conf() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")
    }

    /// The lines of a section of the default file, from its header to the next.
    fn section<'t>(text: &'t str, header: &str) -> Vec<&'t str> {
        let begins = |line: &str| line.trim_start_matches("# ").starts_with('[');
        text.lines()
            .skip_while(|line| line.trim_start_matches("# ") != header)
            .skip(1)
            .take_while(|line| !begins(line))
            .collect()
    }

    /// What the commented default file shows are the defaults: shown by taking away the `#` of
    /// every `#key = value` and comparing the result with `Config::default()`.
    #[test]
    fn the_commented_defaults_are_the_defaults() {
        let text = fs::read_to_string(conf().join("deploywatch.toml")).unwrap();
        let mut shown = 0;
        let uncommented: Vec<&str> = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => {
                    shown += 1;
                    rest
                }
                _ => line,
            })
            .collect();
        assert!(shown > 25, "only {shown} defaults are shown");
        let parse = |text: String| Config::parse(&[(PathBuf::from("a"), text)]).unwrap().0;
        let default = format!("{:?}", Config::default());
        assert_eq!(format!("{:?}", parse(uncommented.join("\n"))), default);
        assert_eq!(format!("{:?}", parse(text)), default);
    }

    /// Every metric can be found where people look for it: shown by the default file, the README and the
    /// manual page.
    #[test]
    fn every_metric_is_documented() {
        for paper in [
            "deploywatch.toml",
            "../README.md",
            "../packaging/deploywatch.8",
        ] {
            let text = fs::read_to_string(conf().join(paper)).unwrap();
            for metric in BuiltinMetric::ALL {
                let name = metric.name();
                assert!(text.contains(name), "{name} in {paper}");
            }
        }
    }

    /// The same for `[[source]]`: shown by comparing the source with everything written out with
    /// one that has only a name and paths.
    #[test]
    fn the_commented_source_shows_the_defaults() {
        let text = fs::read_to_string(conf().join("deploywatch.toml")).unwrap();
        let lines: Vec<&str> = section(&text, "[[source]]")
            .into_iter()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
            .collect();
        assert!(lines.len() >= 11, "{lines:?}");
        let parse = |lines: &[&str]| {
            let text = format!("[[source]]\n{}", lines.join("\n"));
            let (config, _) = Config::parse(&[(PathBuf::from("a"), text)]).unwrap();
            format!("{:?}", config.sources)
        };
        assert_eq!(parse(&lines), parse(&lines[..2]));
    }

    /// The same for `[[metric]]`: shown by comparing the metric with everything written out with
    /// one that has only a name, a source and a pattern.
    #[test]
    fn the_commented_metric_shows_the_defaults() {
        let text = fs::read_to_string(conf().join("deploywatch.toml")).unwrap();
        let lines: Vec<&str> = section(&text, "[[metric]]")
            .into_iter()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
            .collect();
        assert!(lines.len() >= 8, "{lines:?}");
        let parse = |lines: &[&str]| {
            let source = "[[source]]\nname = \"app\"\npaths = [\"/x/y\"]";
            let text = format!("{source}\n[[metric]]\n{}", lines.join("\n"));
            let (config, _) = Config::parse(&[(PathBuf::from("a"), text)]).unwrap();
            format!("{:?}", config.metrics.custom)
        };
        assert_eq!(parse(&lines), parse(&lines[..3]));
    }

    /// The same for `[[alarm]]`: shown by comparing the alarm with everything written out with one
    /// that has only name, metric, comparison and threshold.
    #[test]
    fn the_commented_alarm_shows_the_defaults() {
        let text = fs::read_to_string(conf().join("deploywatch.toml")).unwrap();
        let lines: Vec<&str> = section(&text, "[[alarm]]")
            .into_iter()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
            .collect();
        assert!(lines.len() >= 14, "{lines:?}");
        let parse = |lines: &[&str]| {
            let text = format!("[[alarm]]\n{}", lines.join("\n"));
            let (config, _) = Config::parse(&[(PathBuf::from("a"), text)]).unwrap();
            format!("{:?}", config.alarms.alarms)
        };
        assert_eq!(parse(&lines), parse(&lines[..4]));
    }

    /// No key is left out of the default file: shown by asking each section for a key that does
    /// not exist, and looking for every key it then offers.
    #[test]
    fn every_key_is_shown() {
        let text = fs::read_to_string(conf().join("deploywatch.toml")).unwrap();
        for header in [
            "[agent]",
            "[aws]",
            "[logs]",
            "[codedeploy]",
            "[[source]]",
            "[metrics]",
            "[[metric]]",
            "[events]",
            "[alarms]",
            "[[alarm]]",
        ] {
            let bad = format!("{header}\n\"\" = 0");
            let mistakes = Config::parse(&[(PathBuf::from("a"), bad)]).unwrap_err();
            let unknown = mistakes
                .iter()
                .find(|m| m.problem == "unknown key")
                .unwrap();
            let known = unknown
                .remedy
                .strip_prefix("remove it; known here: ")
                .unwrap();
            let mut lines = section(&text, header);
            if header == "[[source]]" {
                lines.extend(section(&text, "[logs]"));
            }
            for key in known.split(", ") {
                let shown = lines.iter().any(|line| {
                    let line = line.trim_start_matches(['#', ' ']);
                    line.strip_prefix(key)
                        .is_some_and(|rest| rest.starts_with(" = "))
                });
                let table = text.contains(&format!("\n[codedeploy.{key}]\n"));
                assert!(shown || table, "{key} is not shown in {header}");
            }
        }
    }

    /// Every file we ship as a configuration is good: shown by loading all of them.
    #[test]
    fn every_file_in_conf_loads() {
        let mut seen = 0;
        for folder in [conf(), conf().join("examples")] {
            for path in names(&folder).unwrap() {
                let (_, notes) = load_config(Some(&path)).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(notes, [], "{}", path.display());
                seen += 1;
            }
        }
        assert!(seen >= 5, "only {seen} files");
    }

    /// Whatever cannot be read is named with what to do about it, and nothing in a file's name or text
    /// reaches a terminal as a command: shown by one of each kind, and by a name and a key that are red.
    #[test]
    fn what_is_wrong_is_told_with_a_remedy_and_in_plain_text() {
        let dir = tempfile::tempdir().unwrap();
        let said = |name: &str| {
            let error = load_config(Some(&dir.path().join(name))).unwrap_err();
            error.to_string()
        };
        fs::create_dir(dir.path().join("folder")).unwrap();
        fs::write(dir.path().join("large"), vec![b'#'; 1024 * 1024 + 1]).unwrap();
        fs::write(dir.path().join("latin"), b"\xe9").unwrap();
        fs::write(dir.path().join("red"), "\"\\u001b[31m\" = 1\n").unwrap();
        for (name, remedy) in [
            (
                "\u{1b}[31mnone",
                "put it there, or name another one with --config",
            ),
            ("folder", "put a file there"),
            ("large", "spread it over several files in conf.d/"),
            ("latin", "save the file as UTF-8"),
            ("red", "known here"),
        ] {
            let text = said(name);
            assert!(text.contains(remedy), "{text}");
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }

    /// Every configuration in the README is good, but for the two keys that a reader is told to write,
    /// and there is one for each preset: shown by parsing each block.
    #[test]
    fn every_configuration_in_the_readme_is_good() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let text = fs::read_to_string(&path).unwrap();
        let blocks = text.split("```toml\n").skip(1);
        let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
        assert!(blocks.len() >= 4, "only {} blocks", blocks.len());
        for block in &blocks {
            let mut block = (*block).to_owned();
            if block.contains("[[alarm]]") {
                block.insert_str(0, "[alarms]\nallow_terminate = true\n");
            }
            let parsed = Config::parse(&[(path.clone(), block.clone())]);
            assert!(parsed.is_ok(), "{block}\n{parsed:?}");
        }
        for preset in crate::config::alarm::PRESETS {
            let line = format!("\npreset = \"{}\"\n", preset.name);
            assert!(blocks.iter().any(|block| block.contains(&line)), "{line}");
        }
    }

    /// The main file comes first, then conf.d in the order of names, without what is hidden or
    /// not TOML: shown by the names read from a folder.
    #[test]
    fn files_are_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("main.toml");
        let conf_d = folder.path().join(CONFIG_FOLDER);
        fs::create_dir(&conf_d).unwrap();
        fs::write(&main, "").unwrap();
        for name in ["20-b.toml", "10-a.toml", ".30-c.toml", "readme.txt"] {
            fs::write(conf_d.join(name), "").unwrap();
        }
        let read = read_files(&main, Missing::Refused).unwrap();
        let names: Vec<&str> = read
            .files
            .iter()
            .map(|(path, _)| path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["main.toml", "10-a.toml", "20-b.toml"]);
    }

    /// A missing file is all defaults with a note, unless somebody named it; what is no text is
    /// refused: shown one by one.
    #[test]
    fn what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("main.toml");
        let read = read_files(&main, Missing::Allowed).unwrap();
        assert_eq!(read.files, []);
        assert_eq!(read.notes.len(), 1);

        let reason = || match load_config(Some(&main)).unwrap_err() {
            ConfigError::Unreadable { path, source } if path == main => source.to_string(),
            other => panic!("{other}"),
        };
        assert!(reason().contains("No such file"));
        fs::write(&main, b"a = 1\nb = \"\xff\"").unwrap();
        assert_eq!(reason(), "line 2 is not UTF-8");
        fs::write(&main, vec![b'#'; 1024 * 1024 + 1]).unwrap();
        assert_eq!(reason(), "longer than 1048576 bytes");
        fs::remove_file(&main).unwrap();
        fs::create_dir(&main).unwrap();
        assert_eq!(reason(), "not a regular file");
    }

    /// An error shows all mistakes, one a line: shown by the text of one with two.
    #[test]
    fn an_error_tells_all_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("main.toml");
        fs::write(&main, "x = 1\ny = 2").unwrap();
        let text = load_config(Some(&main)).unwrap_err().to_string();
        assert_eq!(text.lines().count(), 2);
    }
}
