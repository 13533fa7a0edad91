//! Files and folders of the host: what must be there, what is made, and whether it is allowed after links were followed.

use super::{beneath, failed, refused};
use crate::agent::runtime::{HostPathKind, RuntimeError};
use rustix::fs::{FileType, Mode, OFlags};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The modes that Kubernetes makes missing ones with.
const FOLDER: u32 = 0o755;
const FILE: u32 = 0o644;

/// Where a path of the host really is; made first, if its type says so.
pub(super) fn real(path: &Path, kind: HostPathKind, allowed: &[PathBuf]) -> Result<PathBuf, RuntimeError> {
    if matches!(kind, HostPathKind::DirectoryOrCreate | HostPathKind::FileOrCreate) && !path.exists() {
        make(path, kind, allowed)?;
    }
    let (file, real) = open(path)?;
    let lies_within = allowed.iter().any(|folder| fs::canonicalize(folder).is_ok_and(|folder| real.starts_with(folder)));
    if !lies_within {
        let message = format!("hostPath {} leads to {}, which --allow host-path does not name", path.display(), real.display());
        return Err(refused(message));
    }
    let found = rustix::fs::fstat(&file).map_err(|error| failed(path, &error.into()))?;
    check(path, kind, FileType::from_raw_mode(found.st_mode))?;
    Ok(real)
}

fn open(path: &Path) -> Result<(OwnedFd, PathBuf), RuntimeError> {
    let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from);
    let found = opened.and_then(|file| beneath::path_of(&file).map(|real| (file, real)));
    found.map_err(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            return failed(path, &error);
        }
        let hint = "make it on the host, or write type: DirectoryOrCreate";
        refused(format!("hostPath {} does not exist; {hint}", path.display()))
    })
}

fn make(path: &Path, kind: HostPathKind, allowed: &[PathBuf]) -> Result<(), RuntimeError> {
    let Some(folder) = allowed.iter().find(|folder| path.starts_with(folder)) else {
        return Err(refused(format!("hostPath {}: --allow host-path does not name it", path.display())));
    };
    let below = path.strip_prefix(folder).unwrap_or(Path::new(""));
    let made = if kind == HostPathKind::FileOrCreate {
        beneath::make_file(folder, below, FILE)
    } else {
        // The host named this very folder, so that it may be made.
        fs::create_dir_all(folder).and_then(|()| beneath::make_folders(folder, below, FOLDER))
    };
    made.map_err(|error| {
        if error.kind() != io::ErrorKind::CrossesDevices {
            return failed(path, &error);
        }
        refused(format!("hostPath {} leaves {} by a symbolic link", path.display(), folder.display()))
    })
}

fn check(path: &Path, kind: HostPathKind, found: FileType) -> Result<(), RuntimeError> {
    let (wanted, word) = match kind {
        HostPathKind::Any => return Ok(()),
        HostPathKind::DirectoryOrCreate | HostPathKind::Directory => (FileType::Directory, "directory"),
        HostPathKind::FileOrCreate | HostPathKind::File => (FileType::RegularFile, "file"),
        HostPathKind::Socket => (FileType::Socket, "socket"),
        HostPathKind::CharDevice => (FileType::CharacterDevice, "character device"),
        HostPathKind::BlockDevice => (FileType::BlockDevice, "block device"),
    };
    if found == wanted { Ok(()) } else { Err(refused(format!("hostPath type check failed: {} is not a {word}", path.display()))) }
}
