//! Follows a file of the directory sink: one JSON object a line, appended while we look.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// The file, and how far it is read.
#[derive(Debug)]
pub(super) struct Followed {
    path: PathBuf,
    offset: u64,
    /// A line of which the end is not there yet.
    rest: Vec<u8>,
}

impl Followed {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            rest: Vec::new(),
        }
    }

    /// The file that is followed.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The lines that have got their end since the last call; none while there is no file.
    pub(super) fn read_on<T: DeserializeOwned>(&mut self) -> io::Result<Vec<T>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        self.offset += file.read_to_end(&mut self.rest)? as u64;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let open = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, open);
        let lines = whole.split(|byte| *byte == b'\n');
        lines
            .filter(|line| !line.is_empty())
            .map(|line| Ok(serde_json::from_slice(line)?))
            .collect()
    }
}
