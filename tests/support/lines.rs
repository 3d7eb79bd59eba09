//! Log files whose every line is known by name and number, and rotation as it is done in the wild.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::fault::Dice;

/// How many lines of a name there must be: numbers 0 .. `count`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Name of the writer.
    pub(crate) id: String,
    /// How many lines it wrote.
    pub(crate) count: u64,
}

/// The text of one line: a tag that the oracle finds, then filler of a length of its own.
pub(crate) fn line(id: &str, number: u64) -> String {
    let mut dice = Dice::new(number);
    let filler = 20 + dice.below(160) as usize;
    let word = ["alpha ", "beta=1 ", "\"gamma\" ", "delta\\ "][dice.below(4) as usize];
    let text: String = word.chars().cycle().take(filler).collect();
    format!("<{id}:{number:08}> {}|", text.trim_end())
}

/// Appends numbered lines to one log, whatever rotation does to its files.
pub(crate) struct Writer {
    /// The live file's name.
    pub(crate) path: PathBuf,
    id: String,
    file: File,
    next: u64,
    head: fn() -> String,
}

impl Writer {
    /// Opens the log for appending, its directories made as needed.
    pub(crate) fn open(path: &Path, id: &str) -> Self {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        Self {
            path: path.to_owned(),
            id: id.to_owned(),
            file: append(path),
            next: 0,
            head: String::new,
        }
    }

    /// The same, each line behind a head, as the CodeDeploy agent writes its records.
    pub(crate) fn headed(path: &Path, id: &str, head: fn() -> String) -> Self {
        Self {
            head,
            ..Self::open(path, id)
        }
    }

    /// Writes so many lines with one call of the system.
    pub(crate) fn write(&mut self, lines: u64) {
        let head = (self.head)();
        let text: String = (self.next..self.next + lines)
            .map(|number| format!("{head}{}\n", line(&self.id, number)))
            .collect();
        self.file.write_all(text.as_bytes()).unwrap();
        self.next += lines;
    }

    /// What it has written so far.
    pub(crate) fn written(&self) -> Written {
        Written {
            id: self.id.clone(),
            count: self.next,
        }
    }

    /// Rotation by rename: `log` → `log.1` → `log.2` …, `kept` of them, then a new file. Returns
    /// when the next line goes to the new one.
    pub(crate) fn rotate_by_rename(&mut self, kept: usize) {
        shift(&self.path, 1, kept);
        self.file = append(&self.path);
    }

    /// Rotation as the Ruby CodeDeploy agent does it: copy to `._copy_`, truncate the live file,
    /// rename the copy to its dated name.
    pub(crate) fn rotate_by_copy(&mut self, dated: &Path) {
        let mut copy = self.path.clone().into_os_string();
        copy.push("._copy_");
        std::fs::copy(&self.path, &copy).unwrap();
        self.file.set_len(0).unwrap();
        std::fs::rename(&copy, dated).unwrap();
    }
}

/// Shifts `log` to `log.FIRST`, `log.FIRST` to the next number and so on; the one past `kept`
/// others is gone.
pub(crate) fn shift(log: &Path, first: usize, kept: usize) {
    let name = |number: usize| {
        let mut name = log.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (first..first + kept - 1).rev() {
        if name(number).exists() {
            std::fs::rename(name(number), name(number + 1)).unwrap();
        }
    }
    std::fs::rename(log, name(first)).unwrap();
}

/// Opens for appending.
pub(crate) fn append(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
