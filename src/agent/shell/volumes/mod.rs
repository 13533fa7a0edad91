//! Makes what a launch mounts, and finds out where it really is.
//!
//! In: a launch whose paths are text. Out: the same with every mount source resolved, so that no symbolic link is left in it that a
//! container could turn elsewhere. What is right already is left alone. Needs Linux 5.6 (openat2) for `subPath` and what is made on
//! the host.
//!
//! What remains: between the look and the Engine's mount, a process that may already write into a volume can exchange a folder of the
//! path for a link. That takes another container of the same volume, at the right moment, on a `subPath` or an allowed host path.

mod beneath;
mod claims;
mod host;
mod owner;
mod payload;
mod tmpfs;

use crate::agent::runtime::{ContainerLaunch, RuntimeError, VolumeContents, VolumeKind};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(super) use claims::{erase, held_claims, sweep};
pub(super) use tmpfs::release;

/// Kubernetes' mode of an emptyDir: whoever the container runs as may write there.
const WRITABLE: u32 = 0o777;

/// The mode of a folder with files of ours. Who may come here at all is decided by the folder above, which is ours alone.
const READABLE: u32 = 0o755;

/// Makes every volume of a launch, and resolves its mounts.
///
/// # Errors
/// The first that cannot be made, or that is not what or where it should be.
pub fn prepare(launch: &mut ContainerLaunch) -> Result<(), RuntimeError> {
    let mut real: BTreeMap<&Path, PathBuf> = BTreeMap::new();
    for volume in &launch.volumes {
        real.insert(&volume.folder, make(volume)?);
    }
    for mount in &mut launch.mounts {
        // The volume that it is of: the innermost, should one lie within another.
        let volumes = launch.volumes.iter().filter(|volume| mount.source.starts_with(&volume.folder));
        let Some(volume) = volumes.max_by_key(|volume| volume.folder.as_os_str().len()) else { continue };
        let root = real.get(volume.folder.as_path()).unwrap_or(&volume.folder);
        let below = mount.source.strip_prefix(&volume.folder).unwrap_or(Path::new(""));
        mount.source = if below.as_os_str().is_empty() { root.clone() } else { part_of(volume, root, below)? };
    }
    Ok(())
}

/// Writes the files of volumes that change under a running container, each volume at once and as a whole.
///
/// # Errors
/// The first that cannot be written.
pub(super) fn rewrite(volumes: &[VolumeContents]) -> Result<(), RuntimeError> {
    let ours = volumes.iter().filter(|volume| matches!(volume.kind, VolumeKind::Files(_)));
    ours.map(make).try_for_each(|made| made.map(drop))
}

/// Makes a volume and says where it really is.
fn make(volume: &VolumeContents) -> Result<PathBuf, RuntimeError> {
    let folder = &volume.folder;
    let made = match &volume.kind {
        VolumeKind::Host { kind, allowed } => return host::real(folder, *kind, allowed),
        VolumeKind::Files(files) => payload::write(folder, files, volume.group),
        VolumeKind::Scratch { tmpfs_bytes: Some(bytes) } => {
            make_writable(folder).and_then(|()| tmpfs::mount(folder, *bytes)).and_then(|()| owner::give_new(folder, volume.group))
        }
        VolumeKind::Scratch { tmpfs_bytes: None } => make_writable(folder).and_then(|()| owner::give_new(folder, volume.group)),
        VolumeKind::Claim => make_writable(folder).and_then(|()| owner::give_all(folder, volume.group)),
    };
    made.map(|()| folder.clone()).map_err(|error| failed(folder, &error))
}

/// A `subPath`: made where it is missing, as in Kubernetes, unless the files are ours.
fn part_of(volume: &VolumeContents, root: &Path, below: &Path) -> Result<PathBuf, RuntimeError> {
    let found = match volume.kind {
        VolumeKind::Files(_) => beneath::find(root, below),
        VolumeKind::Scratch { .. } | VolumeKind::Claim | VolumeKind::Host { .. } => beneath::find(root, below).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            beneath::make_folders(root, below, mode_of(root)?)?;
            let made = beneath::find(root, below)?;
            owner::give_new(&made, volume.group)?;
            Ok(made)
        }),
    };
    found.map_err(|error| {
        let shown = below.display();
        if error.kind() == io::ErrorKind::NotFound {
            return refused(format!("subPath {shown}: the volume has no such file"));
        }
        if error.kind() == io::ErrorKind::CrossesDevices {
            return refused(format!("subPath {shown} leaves its volume by a symbolic link"));
        }
        failed(&root.join(below), &error)
    })
}

/// A new folder of a volume has the mode of the volume.
fn mode_of(folder: &Path) -> io::Result<u32> {
    Ok(fs::metadata(folder)?.permissions().mode() & 0o777)
}

fn make_writable(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(WRITABLE))
}

fn refused(message: String) -> RuntimeError {
    RuntimeError::Refused { message }
}

fn failed(path: &Path, error: &io::Error) -> RuntimeError {
    let shown = path.display();
    if error.kind() == io::ErrorKind::StorageFull {
        return RuntimeError::NoSpace { path: shown.to_string() };
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        return refused(format!(
            "{shown} cannot be made as the pod asks: only an agent that runs as root can give volumes to another group (fsGroup) or a \
             size (emptyDir in memory with sizeLimit)"
        ));
    }
    RuntimeError::Failed { action: format!("cannot write {shown}"), message: error.to_string() }
}

#[cfg(test)]
mod tests;
