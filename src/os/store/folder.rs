//! The files of one folder: no link is followed, nothing but regular files is opened.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Writes a new file and waits for the disk.
pub(super) fn write_new(folder: &OwnedFd, name: &str, content: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut file = open_file(folder, name, flags)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Writes over what a file holds, or makes it.
pub(super) fn write_over(folder: &OwnedFd, name: &str, content: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK;
    let file = open_file(folder, name, flags)?;
    file.write_all_at(content, 0)?;
    file.set_len(content.len() as u64)
}

/// Lets two files of a folder change places, or gives the one the other's name where there is no
/// other, or the file system cannot exchange.
pub(super) fn exchange(folder: &OwnedFd, one: &str, other: &str) -> io::Result<()> {
    match rustix::fs::renameat_with(folder, one, folder, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(_) => Ok(rustix::fs::renameat(folder, one, folder, other)?),
    }
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
