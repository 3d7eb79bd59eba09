//! A machine on which no process can be seen.

use std::io;

use deploywatch::ports::{Process, Processes};

/// Sees nothing.
pub(crate) struct NoProcesses;

impl Processes for NoProcesses {
    fn process(&mut self, _id: u32) -> io::Result<Option<Process>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
