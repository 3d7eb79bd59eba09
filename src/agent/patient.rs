//! Files that are asked again: a call that fails for a reason that may be gone in a moment (an I/O
//! error of a network disk, no free descriptor) is made a few times before the failure counts.
//!
//! An error never decides what a file is, it only delays; but what rotates quickly may be gone by
//! then, and a stop has no later.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use crate::event::Offset;
use crate::ports::{Files, Handle, Kind, Meta};

use super::Edges;

/// How often a call is made at most.
const TRIES_MAX: usize = 8;

/// Does some work on edges whose files are asked again.
pub(super) fn with<T>(edges: &mut Edges<'_>, work: impl FnOnce(&mut Edges<'_>) -> T) -> T {
    let edges = edges.again();
    work(&mut Edges {
        files: &mut Patient(edges.files),
        ..edges
    })
}

/// [`Files`] with patience.
struct Patient<'a>(&'a mut dyn Files);

impl Patient<'_> {
    fn ask<T>(&mut self, mut call: impl FnMut(&mut dyn Files) -> io::Result<T>) -> io::Result<T> {
        for _ in 1..TRIES_MAX {
            match call(self.0) {
                Err(error) if may_pass(&error) => {}
                answer => return answer,
            }
        }
        call(self.0)
    }
}

/// Whether an error says nothing about the file itself.
fn may_pass(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(EIO | ENFILE | EMFILE))
}

impl Files for Patient<'_> {
    fn list(&mut self, root: &Path, dir: &Path) -> io::Result<Vec<(OsString, Kind)>> {
        self.ask(|files| files.list(root, dir))
    }

    fn stat(&mut self, root: &Path, path: &Path) -> io::Result<Meta> {
        self.ask(|files| files.stat(root, path))
    }

    fn open(&mut self, root: &Path, path: &Path) -> io::Result<(Handle, Meta)> {
        self.ask(|files| files.open(root, path))
    }

    fn meta(&mut self, handle: Handle) -> io::Result<Meta> {
        self.ask(|files| files.meta(handle))
    }

    fn read_at(&mut self, handle: Handle, offset: Offset, into: &mut [u8]) -> io::Result<usize> {
        self.ask(|files| files.read_at(handle, offset, into))
    }

    fn close(&mut self, handle: Handle) {
        self.0.close(handle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of errors that the calls come to, then success.
    struct Moody(Vec<i32>);

    impl Moody {
        fn answer<T>(&mut self, good: T) -> io::Result<T> {
            match self.0.pop() {
                Some(code) => Err(io::Error::from_raw_os_error(code)),
                None => Ok(good),
            }
        }
    }

    impl Files for Moody {
        fn list(&mut self, _root: &Path, _dir: &Path) -> io::Result<Vec<(OsString, Kind)>> {
            self.answer(Vec::new())
        }

        fn stat(&mut self, _root: &Path, _path: &Path) -> io::Result<Meta> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn open(&mut self, _root: &Path, _path: &Path) -> io::Result<(Handle, Meta)> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn meta(&mut self, _handle: Handle) -> io::Result<Meta> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn read_at(&mut self, _: Handle, _: Offset, _: &mut [u8]) -> io::Result<usize> {
            self.answer(3)
        }

        fn close(&mut self, _handle: Handle) {}
    }

    /// Errors that may pass are outlasted up to the limit, all others count at once: shown on files
    /// that fail so many times.
    #[test]
    fn only_passing_errors_are_outlasted() {
        let read = |codes: Vec<i32>| {
            let mut moody = Moody(codes);
            let answer = Patient(&mut moody).read_at(Handle(1), Offset(0), &mut []);
            (answer.map_err(|error| error.raw_os_error()), moody.0.len())
        };
        assert_eq!(read(vec![5, 24, 23]), (Ok(3), 0));
        assert_eq!(read(vec![5; TRIES_MAX - 1]), (Ok(3), 0));
        assert_eq!(read(vec![5; TRIES_MAX + 1]), (Err(Some(5)), 1));
        assert_eq!(read(vec![5, 13]), (Err(Some(13)), 1));
    }
}
