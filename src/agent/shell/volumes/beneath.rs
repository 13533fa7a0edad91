//! Paths below a folder that others may write: symbolic links are followed within it and never out of it (openat2, Linux 5.6).

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Where a path below `root` really is.
///
/// # Errors
/// `NotFound`; `CrossesDevices` if it leads out of `root`.
pub(super) fn find(root: &Path, below: &Path) -> io::Result<PathBuf> {
    path_of(&open(&open_root(root)?, below)?)
}

/// Makes the folders of a path below `root` that are missing.
///
/// # Errors
/// What the kernel says; `CrossesDevices` if it leads out of `root`.
pub(super) fn make_folders(root: &Path, below: &Path, mode: u32) -> io::Result<()> {
    let root = open_root(root)?;
    let mut so_far = PathBuf::new();
    let mut parent = open(&root, Path::new("."))?;
    for component in below.components() {
        let Component::Normal(name) = component else { continue };
        so_far.push(name);
        parent = match open(&root, &so_far) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode))?;
                let made = open(&root, &so_far)?;
                // What the umask took away.
                fs::set_permissions(proc_path(&made), Permissions::from_mode(mode))?;
                made
            }
            found => found?,
        };
    }
    Ok(())
}

/// Makes an empty file below `root` if it is missing; its folder must be there.
///
/// # Errors
/// What the kernel says; `CrossesDevices` if it leads out of `root`.
pub(super) fn make_file(root: &Path, below: &Path, mode: u32) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat2(open_root(root)?, below, flags, Mode::from_raw_mode(mode), staying())?;
    Ok(())
}

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn open(root: &OwnedFd, below: &Path) -> io::Result<OwnedFd> {
    Ok(openat2(root, below, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), staying())?)
}

fn staying() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS
}

/// The path of what is open, without symbolic links.
pub(super) fn path_of(file: &OwnedFd) -> io::Result<PathBuf> {
    fs::read_link(proc_path(file))
}

/// A path that leads to what is open, whatever its name is by now.
pub(super) fn proc_path(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
