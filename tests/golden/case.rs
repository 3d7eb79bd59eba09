//! A case on disk: what it is made of, what it expects, how a difference is told.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use deploywatch::config::Config;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::machine::Arrived;

/// An expected file beyond this is packed.
const PLAIN_BYTES_MAX: usize = 200 * 1024;

/// Lines of a difference that are shown of either side.
const SHOWN_LINES_MAX: usize = 8;

/// Characters of a line that are shown.
const SHOWN_CHARS_MAX: usize = 300;

/// One folder of this one.
pub(crate) struct Case {
    pub(crate) name: String,
    folder: PathBuf,
    pub(crate) spec: Spec,
}

/// `case.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    /// What the case shows, for the reader of the file.
    #[serde(rename = "about")]
    _about: String,
    /// The zone of the machine, as POSIX writes it, so that no zone database is needed.
    #[serde(default = "utc")]
    pub(crate) zone: String,
    /// The standing clock.
    #[serde(default = "shortly_after_the_corpus")]
    now: String,
    /// Whether the date of a record depends on what is read together with it, so that only the
    /// texts can be compared between different ways of reading.
    #[serde(default)]
    pub(crate) dates: Dates,
    #[serde(default, rename = "file")]
    files: Vec<FileSpec>,
    #[serde(default)]
    scripts: Vec<String>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Dates {
    #[default]
    OfTheRecord,
    OfWhatIsReadTogether,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpec {
    /// A file of the case, or of `tests/corpus` when it begins with `corpus/`; `.gz` is unpacked.
    from: String,
    /// Where it lies on the machine.
    to: String,
    /// `false` for a file that is rotated away and therefore never grows.
    #[serde(default = "yes")]
    grows: bool,
}

/// A file on the machine.
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) grows: bool,
}

fn utc() -> String {
    "UTC0".to_owned()
}

fn yes() -> bool {
    true
}

fn shortly_after_the_corpus() -> String {
    "2026-11-21T06:00:00Z".to_owned()
}

impl Case {
    pub(crate) fn all() -> Vec<Self> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let mut folders: Vec<PathBuf> = std::fs::read_dir(golden)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
        folders.sort();
        folders.into_iter().map(Self::load).collect()
    }

    fn load(folder: PathBuf) -> Self {
        let text = std::fs::read_to_string(folder.join("case.toml"))
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let spec = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        Self { name, folder, spec }
    }

    pub(crate) fn zone(&self) -> TimeZone {
        TimeZone::posix(&self.spec.zone).unwrap()
    }

    /// What the standing clock shows.
    pub(crate) fn wall_ms(&self) -> i64 {
        let now: jiff::Timestamp = self.spec.now.parse().unwrap();
        now.as_millisecond()
    }

    /// The configuration on a machine whose files are all below `dir`.
    pub(crate) fn config(&self, dir: &Path) -> Config {
        let path = self.folder.join("source.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("@DIR@", dir.to_str().unwrap());
        let (config, _notes) = Config::parse(&[(path, text)])
            .unwrap_or_else(|mistakes| panic!("{}: {mistakes:?}", self.name));
        config
    }

    /// All files, with paths relative to the machine's folder.
    pub(crate) fn inputs(&self) -> Vec<Input> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let mut inputs = Vec::new();
        for file in &self.spec.files {
            let from = match file.from.starts_with("corpus/") {
                true => corpus.join(&file.from),
                false => self.folder.join(&file.from),
            };
            inputs.push(Input {
                path: PathBuf::from(&file.to),
                bytes: unpacked(&from),
                grows: file.grows,
            });
        }
        for folder in &self.spec.scripts {
            let mut paths: Vec<PathBuf> = std::fs::read_dir(corpus.join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            paths.sort();
            for path in paths {
                // GROUP__DEPLOYMENT.scripts.log
                let name = path.file_name().unwrap().to_str().unwrap();
                let (group, rest) = name.split_once("__").unwrap();
                let deployment = rest.split('.').next().unwrap();
                inputs.push(Input {
                    path: format!("root/{group}/{deployment}/logs/scripts.log").into(),
                    bytes: unpacked(&path),
                    grows: true,
                });
            }
        }
        inputs
    }

    /// What the stand-in for the CodeDeploy service was told, where it was kept.
    pub(crate) fn service_side(&self) -> Option<serde_json::Value> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let folders = self.spec.files.iter();
        let folders = folders.filter_map(|file| Path::new(&file.from).parent());
        let names = [
            "service-side-history.json",
            "service-side-ground-truth.json.gz",
        ];
        let mut paths = folders.flat_map(|folder| names.map(|name| corpus.join(folder).join(name)));
        let path = paths.find(|path| path.exists())?;
        Some(serde_json::from_slice(&unpacked(&path)).unwrap())
    }

    /// Compares what else came of it with a file, or writes that; no file: nothing is expected.
    pub(crate) fn compare_or_update_part(&self, name: &str, actual: &str) -> Result<(), String> {
        let path = self.folder.join(name);
        if std::env::var_os("GOLDEN_UPDATE").is_some() {
            if !actual.is_empty() {
                std::fs::write(path, actual).unwrap();
            }
            return Ok(());
        }
        compare(&std::fs::read_to_string(path).unwrap_or_default(), actual)
    }

    /// Compares everything, or writes it down as what is expected from now on.
    pub(crate) fn compare_or_update(&self, arrived: &[Arrived]) -> Result<(), String> {
        let actual: String = arrived.iter().map(Arrived::line).collect();
        if std::env::var_os("GOLDEN_UPDATE").is_some() {
            self.write_expected(&actual);
            return Ok(());
        }
        compare(&self.expected(), &actual)
    }

    /// Compares what arrived when the same files were read in another way.
    pub(crate) fn compare_variant(&self, arrived: &[Arrived]) -> Result<(), String> {
        let actual: String = arrived.iter().map(Arrived::line).collect();
        match self.spec.dates {
            Dates::OfTheRecord => compare(&self.expected(), &actual),
            Dates::OfWhatIsReadTogether => compare(&texts(&self.expected()), &texts(&actual)),
        }
    }

    fn expected(&self) -> String {
        let plain = self.folder.join("expected.ndjson");
        let path = if plain.exists() {
            plain
        } else {
            self.folder.join("expected.ndjson.gz")
        };
        String::from_utf8(unpacked(&path)).unwrap()
    }

    fn write_expected(&self, text: &str) {
        let plain = self.folder.join("expected.ndjson");
        let packed = self.folder.join("expected.ndjson.gz");
        for old in [&plain, &packed] {
            if old.exists() {
                if unpacked(old) == text.as_bytes() {
                    return;
                }
                std::fs::remove_file(old).unwrap();
            }
        }
        if text.len() <= PLAIN_BYTES_MAX {
            std::fs::write(plain, text).unwrap();
            return;
        }
        let file = std::fs::File::create(packed).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::best());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap();
    }
}

/// A file's content, unpacked where its name ends in `.gz`.
pub(crate) fn unpacked(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut content = Vec::new();
    flate2::read::GzDecoder::new(bytes.as_slice())
        .read_to_end(&mut content)
        .unwrap();
    content
}

/// The lines without their times, in the order of the texts.
fn texts(lines: &str) -> String {
    let mut texts: Vec<String> = lines
        .lines()
        .map(|line| {
            let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
            event.as_object_mut().unwrap().remove("time");
            format!("{event}\n")
        })
        .collect();
    texts.sort();
    texts.concat()
}

/// Tells the first place where two texts differ, as a short unified difference.
pub(crate) fn compare(expected: &str, actual: &str) -> Result<(), String> {
    if expected == actual {
        return Ok(());
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - head;
    let tail = (old.iter().rev().zip(new.iter().rev()).take(most))
        .take_while(|(a, b)| a == b)
        .count();
    let (gone, come) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut text = format!(
        "{} events expected, {} arrived\n@@ -{},{} +{},{} @@\n",
        old.len(),
        new.len(),
        head + 1,
        gone.len(),
        head + 1,
        come.len()
    );
    let mut show = |sign: char, lines: &[&str]| {
        for line in lines.iter().take(SHOWN_LINES_MAX) {
            let line: String = line.chars().take(SHOWN_CHARS_MAX).collect();
            writeln!(text, "{sign}{line}").unwrap();
        }
        if lines.len() > SHOWN_LINES_MAX {
            writeln!(text, "{sign}… {} more", lines.len() - SHOWN_LINES_MAX).unwrap();
        }
    };
    show(' ', &old[head.saturating_sub(2)..head]);
    show('-', gone);
    show('+', come);
    show(
        ' ',
        &old[old.len() - tail..old.len() - tail.saturating_sub(2)],
    );
    Err(text)
}
