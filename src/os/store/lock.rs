//! The lock that keeps a second agent out of a state directory for as long as this one lives.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::StoreError;
use super::folder::open_file;

/// The file whose lock says that this directory is in use.
pub(super) const LOCK_NAME: &str = "lock";

/// Takes the lock, for as long as the file is open.
pub(super) fn lock(dir: &OwnedFd, path: &Path) -> Result<File, StoreError> {
    let unusable = |source| StoreError::Unusable {
        path: path.join(LOCK_NAME),
        source,
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
    let mut file = open_file(dir, LOCK_NAME, flags).map_err(unusable)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            return Err(StoreError::Locked {
                path: path.to_owned(),
                owner: read_owner(&file),
            });
        }
        answer => answer.map_err(|errno| unusable(errno.into()))?,
    }
    // The lock is what counts; the number in it is for people, so a full disk does not matter.
    let _noted = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Whether an agent has ever held the directory: others have files of that name, too, but no process's
/// number in it.
pub(super) fn is_lock_of_ours(dir: &OwnedFd) -> bool {
    let file = open_file(dir, LOCK_NAME, OFlags::RDONLY | OFlags::NONBLOCK);
    file.is_ok_and(|file| read_owner(&file).is_some())
}

fn read_owner(file: &File) -> Option<u32> {
    let mut owner = String::new();
    file.take(16).read_to_string(&mut owner).ok()?;
    owner.trim().parse().ok()
}

/// What is said of who has it.
pub(super) fn owner_text(owner: Option<u32>) -> String {
    owner.map_or_else(String::new, |pid| format!(" (process {pid})"))
}
