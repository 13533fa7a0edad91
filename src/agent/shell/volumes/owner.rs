//! The group of a pod's volumes (`fsGroup`), as the kubelet gives it: every file belongs to the group, which may do with it what the owner
//! may, and new files inherit it.

use super::beneath::proc_path;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, chownat, fstat, openat};
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What the group may do with files that the pod writes, and with files that are ours.
const WRITE: u32 = 0o660;
const READ: u32 = 0o440;

/// What a folder needs besides: to be entered, and to hand its group on.
const FOLDER: u32 = 0o2110;

/// Gives a folder that may be new. One that has the group already is left alone, with all that is in it.
pub(super) fn give_new(folder: &Path, group: Option<u32>) -> io::Result<()> {
    let Some(group) = group else { return Ok(()) };
    let file = open(folder)?;
    let found = fstat(&file)?;
    let has_all = found.st_gid == group && found.st_mode & (WRITE | FOLDER) == WRITE | FOLDER;
    if has_all { Ok(()) } else { give(&file, group, WRITE) }
}

/// Gives a folder and all that is in it.
pub(super) fn give_all(folder: &Path, group: Option<u32>) -> io::Result<()> {
    group.map_or(Ok(()), |group| give(&open(folder)?, group, WRITE))
}

/// Gives files of ours, which the group may read.
pub(super) fn give_readable(folder: &Path, group: Option<u32>) -> io::Result<()> {
    group.map_or(Ok(()), |group| give(&open(folder)?, group, READ))
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// By descriptor and never by name: whoever writes into the volume must not turn us to a file outside of it.
fn give(file: &OwnedFd, group: u32, rights: u32) -> io::Result<()> {
    let found = fstat(file)?;
    chownat(file, "", None, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH)?;
    let kind = FileType::from_raw_mode(found.st_mode);
    if kind == FileType::Symlink {
        return Ok(());
    }
    let is_folder = kind == FileType::Directory;
    let more = if is_folder { rights | FOLDER } else { rights };
    fs::set_permissions(proc_path(file), Permissions::from_mode((found.st_mode & 0o7777) | more))?;
    if is_folder {
        for name in names_in(file)? {
            let child = openat(file, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
            match child.map_err(io::Error::from) {
                // It went while we were looking.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                child => give(&child?, group, rights)?,
            }
        }
    }
    Ok(())
}

fn names_in(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    fs::read_dir(proc_path(folder))?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}
