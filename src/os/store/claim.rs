//! Whether a directory may be the agent's own: made where it is missing, refused where somebody else
//! could mislead us by it, or where it is somebody else's whom we would shut out.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::Mode;
use rustix::io::Errno;

use super::super::is_trusted;
use super::folder::{close_to_others, listing};
use super::lock::{LOCK_NAME, is_lock_of_ours, lock, owner_text};

/// What may be found, also with more behind a dot, in a directory in which no agent ever ran: what an
/// operator brought back, an order that was left before the first start, and what a file system has.
const OURS: [&str; 8] = [
    "checkpoints",
    "boots",
    "rescue",
    "dead-letter",
    "alarms-order",
    "status.sock",
    // A full disk took no process's number.
    LOCK_NAME,
    "lost+found",
];

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another agent has it.
    #[error(
        "state directory {} is in use by another deploywatch{}: stop that one, or give this one \
         an agent.state_dir of its own", path.display(), owner_text(*owner)
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that has it, if it said.
        owner: Option<u32>,
    },
    /// Everybody may write into it.
    #[error(
        "state directory {} is writable by everyone: give agent.state_dir a directory of its own",
        path.display()
    )]
    Shared {
        /// The directory.
        path: PathBuf,
    },
    /// Another user may write into it.
    #[error("state directory {} {}", path.display(), foreign_text(*owner))]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// It holds what is not ours, and would be closed to everybody else.
    #[error(
        "state directory {} holds {name}, which is not deploywatch's: give agent.state_dir a \
         directory of its own", path.display()
    )]
    Taken {
        /// The directory.
        path: PathBuf,
        /// The first name that is not ours.
        name: String,
    },
    /// It can neither be opened nor made.
    #[error(
        "state directory {} cannot be used; agent.state_dir must be a directory in which user {} can \
         write", path.display(), rustix::process::geteuid().as_raw()
    )]
    Unusable {
        /// The directory, or what is wrong in it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Opens the directory, or makes it, and locks it.
pub(super) fn claim(path: &Path) -> Result<(OwnedFd, File), StoreError> {
    let unusable = |source| StoreError::Unusable {
        path: path.to_owned(),
        source,
    };
    make_private(path).map_err(unusable)?;
    let link = std::fs::symlink_metadata(path).map_err(unusable)?;
    let dir = File::open(path).map_err(unusable)?;
    let meta = dir.metadata().map_err(unusable)?;
    if !meta.is_dir() {
        return Err(unusable(Errno::NOTDIR.into()));
    }
    if meta.mode() & 0o002 != 0 {
        return Err(StoreError::Shared {
            path: path.to_owned(),
        });
    }
    // Also of a link in its place: who made it chose the directory.
    let mut owners = [link.uid(), meta.uid()].into_iter();
    if let Some(owner) = owners.find(|owner| !is_trusted(*owner)) {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
            owner,
        });
    }
    let dir = OwnedFd::from(dir);
    if let Some(name) = stranger(&dir).map_err(unusable)? {
        return Err(StoreError::Taken {
            path: path.to_owned(),
            name,
        });
    }
    close_to_others(&dir, &meta, Mode::RWXU).map_err(unusable)?;
    let lock = lock(&dir, path)?;
    Ok((dir, lock))
}

/// The first name in the directory that no agent made, where no agent ever held it.
fn stranger(dir: &OwnedFd) -> io::Result<Option<String>> {
    if is_lock_of_ours(dir) {
        return Ok(None);
    }
    let mut names: Vec<String> = listing(dir)?.into_iter().map(|(name, _)| name).collect();
    names.sort();
    let is_ours = |name: &String| {
        // One that is being written is hidden.
        let name = name.strip_prefix('.').unwrap_or(name);
        OURS.iter().any(|ours| {
            let rest = name.strip_prefix(ours);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    Ok(names.into_iter().find(|name| !is_ours(name)))
}

fn make_private(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        answer => answer,
    }
}

/// Why the state of another user is refused, and what to do. To root, who does not run the agent, it is
/// the package's.
fn foreign_text(owner: u32) -> String {
    if rustix::process::geteuid().is_root() {
        return format!(
            "belongs to user {owner}, who could mislead root: run the agent as that user, as its \
             unit does, or once by `systemd-run --pipe --wait --uid={owner} \
             -p AmbientCapabilities=CAP_DAC_READ_SEARCH deploywatch run --once`, or give \
             agent.state_dir another directory"
        );
    }
    format!(
        "belongs to user {owner}, who could mislead this agent: run it as that user, or give \
         agent.state_dir another directory"
    )
}
