//! An emptyDir in memory with a size: a tmpfs of its own, which only root can mount.

use super::WRITABLE;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Mounts a tmpfs of so many bytes, unless one is there. The kernel rounds up to whole pages.
pub(super) fn mount(folder: &Path, bytes: u64) -> io::Result<()> {
    if is_mount(folder)? {
        return Ok(());
    }
    let options = CString::new(format!("size={bytes},mode={WRITABLE:o}"))?;
    rustix::mount::mount("tmpfs", folder, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?;
    Ok(())
}

/// Unmounts what was mounted for a pod, whose folder can then be deleted.
pub(in crate::agent::shell) fn release(pod_run: &Path) -> io::Result<()> {
    let volumes = match fs::read_dir(pod_run.join("volumes")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        volumes => volumes?,
    };
    for volume in volumes {
        let folder = volume?.path();
        if is_mount(&folder)? {
            rustix::mount::unmount(&folder, UnmountFlags::DETACH)?;
        }
    }
    Ok(())
}

fn is_mount(folder: &Path) -> io::Result<bool> {
    let own = fs::symlink_metadata(folder)?.dev();
    folder.parent().map_or(Ok(true), |parent| Ok(fs::metadata(parent)?.dev() != own))
}
