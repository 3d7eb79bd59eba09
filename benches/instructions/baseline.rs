//! The stored counts: `baseline.tsv`, a first line that says of which compiler, then a name and a number
//! a line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;

/// How far above the baseline a count may lie, as a share of it.
pub(crate) const ABOVE_MAX: f64 = 0.05;

/// What the counts were when they were last saved.
pub(crate) struct Baseline {
    /// The compiler of the program that was counted.
    compiler: String,
    counts: BTreeMap<String, f64>,
}

/// A count beside its baseline.
pub(crate) enum Verdict {
    /// There is no baseline for it yet.
    New,
    /// How much above the baseline it is, as a share of it.
    Above(f64),
}

impl Baseline {
    pub(crate) fn load() -> Result<Self, String> {
        let text = match std::fs::read_to_string(path()) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("failed to read {}: {error}", path().display())),
        };
        let (compiler, lines) = text.split_once('\n').unwrap_or_default();
        let entry = |line: &str| {
            let (name, count) = line.split_once('\t')?;
            Some((name.to_owned(), count.trim().parse().ok()?))
        };
        let counts = lines
            .lines()
            .map(|line| entry(line).ok_or_else(|| format!("not a line of a baseline: {line}")));
        Ok(Self {
            compiler: compiler.trim_start_matches("# ").to_owned(),
            counts: counts.collect::<Result<_, _>>()?,
        })
    }

    /// Of which other compiler it is than this one's, if it is of another: then it says nothing.
    pub(crate) fn foreign(&self) -> Result<Option<&str>, String> {
        let is_ours = self.compiler == compiler()?;
        let is_empty = self.counts.is_empty();
        Ok((!is_ours && !is_empty).then_some(&self.compiler))
    }

    pub(crate) fn judge(&self, name: &str, count: f64) -> Verdict {
        match self.counts.get(name) {
            None => Verdict::New,
            Some(before) => Verdict::Above(count / before - 1.0),
        }
    }

    pub(crate) fn note(&mut self, name: &str, count: f64) {
        self.counts.insert(name.to_owned(), count);
    }

    pub(crate) fn save(&self) -> Result<(), String> {
        let counts: String = self
            .counts
            .iter()
            .map(|(name, count)| format!("{name}\t{count:.1}\n"))
            .collect();
        std::fs::write(path(), format!("# {}\n{counts}", compiler()?))
            .map_err(|error| format!("failed to write {}: {error}", path().display()))
    }
}

impl Verdict {
    pub(crate) fn is_worse(&self) -> bool {
        matches!(self, Self::Above(share) if *share > ABOVE_MAX)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => write!(to, "no baseline"),
            Self::Above(share) => write!(to, "{:+.1} % to the baseline", share * 100.0),
        }
    }
}

/// What builds here: its version and the processor it builds for.
fn compiler() -> Result<String, String> {
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .map_err(|error| format!("failed to run rustc: {error}"))?;
    let version = String::from_utf8_lossy(&output.stdout);
    Ok(format!("{}, {}", version.trim(), std::env::consts::ARCH))
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/baseline.tsv")
}
