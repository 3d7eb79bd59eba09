//! The files of one folder: no link is followed, nothing but regular files is opened.

use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use crate::ports::Pieces;

/// What is written at once.
const PIECE_BYTES: usize = 32 * 1024;

/// Writes a new file and waits for the disk; how many bytes it has.
pub(super) fn write_new(folder: &OwnedFd, name: &str, write: Pieces<'_>) -> io::Result<u64> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let file = open_file(folder, name, flags)?;
    let bytes = write_all_of(&file, write)?;
    file.sync_all()?;
    Ok(bytes)
}

/// Writes over what a file holds, or makes it; how many bytes it has.
pub(super) fn write_over(folder: &OwnedFd, name: &str, write: Pieces<'_>) -> io::Result<u64> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK;
    let file = open_file(folder, name, flags)?;
    let bytes = write_all_of(&file, write)?;
    file.set_len(bytes)?;
    Ok(bytes)
}

/// Writes a content from a file's beginning on; where it ends.
fn write_all_of(file: &File, write: Pieces<'_>) -> io::Result<u64> {
    let mut sheet = BufWriter::with_capacity(PIECE_BYTES, file);
    write(&mut sheet)?;
    let end = sheet.stream_position()?;
    sheet.flush()?;
    Ok(end)
}

/// Lets two files of a folder change places, or gives the one the other's name where there is no
/// other, or the file system cannot exchange.
pub(super) fn exchange(folder: &OwnedFd, one: &str, other: &str) -> io::Result<()> {
    match rustix::fs::renameat_with(folder, one, folder, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(_) => rename(folder, one, other),
    }
}

/// Gives a file of a folder another name there.
pub(super) fn rename(folder: &OwnedFd, from: &str, to: &str) -> io::Result<()> {
    Ok(rustix::fs::renameat(folder, from, folder, to)?)
}

/// Leaves a text in a state directory for the agent whose it is, whoever writes it: whole or not at all.
///
/// Who owns the directory can have nothing else written or given to him by this: what stands in the
/// way there is removed, never opened.
///
/// # Errors
/// As the system says, naming the path.
pub fn hand_over(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(rustix::fs::CWD, dir, flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|folder| give_to_owner(&folder, name, text))
        .map_err(|error| {
            let text = format!("{}: {error}", dir.join(name).display());
            io::Error::new(error.kind(), text)
        })
}

fn give_to_owner(folder: &OwnedFd, name: &str, text: &str) -> io::Result<()> {
    let beside = temporary(name);
    match rustix::fs::unlinkat(folder, &beside, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let owner = rustix::fs::fstat(folder)?;
    let (user, group) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut file = open_file(folder, &beside, flags)?;
    file.write_all(text.as_bytes())
        .and_then(|()| Ok(rustix::fs::fchown(&file, Some(user), Some(group))?))
        .and_then(|()| file.sync_all())
        .and_then(|()| rename(folder, &beside, name))
        .map_err(|error| without(folder, &beside, error))?;
    Ok(rustix::fs::fsync(folder)?)
}

/// Opens a regular file in a folder; a link or anything else in its place is an error.
pub(super) fn open_file(folder: &OwnedFd, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR);
    let file = match opened {
        Err(Errno::LOOP) => return Err(not_a_file()),
        answer => File::from(answer?),
    };
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(not_a_file())
    }
}

/// Takes from others what they may do with a file or folder that is there already, as far as it is ours
/// to say.
pub(super) fn close_to_others(what: impl AsFd, meta: &Metadata, mode: Mode) -> io::Result<()> {
    let is_ours = meta.uid() == rustix::process::geteuid().as_raw();
    if is_ours && meta.permissions().mode() & 0o7777 & !mode.as_raw_mode() != 0 {
        rustix::fs::fchmod(what, mode)?;
    }
    Ok(())
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

pub(super) fn open_folder(dir: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// Names that are UTF-8, as all of ours are; nothing of others is touched.
pub(super) fn listing(dir: &OwnedFd) -> io::Result<Vec<(String, FileType)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str() {
            names.push((name.to_owned(), entry.file_type()));
        }
    }
    names.retain(|(name, _)| name != "." && name != "..");
    Ok(names)
}

pub(super) fn sweep(folder: &OwnedFd) -> io::Result<()> {
    for (name, kind) in listing(folder)? {
        if kind != FileType::RegularFile {
            continue;
        }
        if name.starts_with('.') && name.ends_with(".tmp") {
            rustix::fs::unlinkat(folder, &name, AtFlags::empty())?;
            continue;
        }
        // What cannot be opened is found out by who needs it; the agent must start all the same.
        let _closed = open_file(folder, &name, OFlags::RDONLY | OFlags::NONBLOCK)
            .and_then(|file| close_to_others(&file, &file.metadata()?, Mode::RUSR | Mode::WUSR));
    }
    Ok(())
}

/// The name of a file that is written beside another.
pub(super) fn temporary(name: &str) -> String {
    format!(".{name}.tmp")
}

/// The error, after what a failed save left is removed.
pub(super) fn without(folder: &OwnedFd, beside: &str, error: io::Error) -> io::Error {
    // The error is what matters; a leftover goes with the next open.
    let _removed = rustix::fs::unlinkat(folder, beside, AtFlags::empty());
    error
}
