//! Writes the folders and files of volumes. What is right already is left alone.

use crate::agent::runtime::{RuntimeError, VolumeContents, VolumeFile};
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Kubernetes' mode of an emptyDir: whoever the container runs as may write there.
const WRITABLE: u32 = 0o777;

/// The mode of a folder with files of ours. Who may come here at all is decided by the folder above, which is ours alone.
const READABLE: u32 = 0o755;

/// Makes every folder, with its files.
///
/// # Errors
/// The first that cannot be written.
pub(super) fn write(volumes: &[VolumeContents]) -> Result<(), RuntimeError> {
    volumes.iter().try_for_each(|volume| {
        let path = volume.folder.display();
        let failed = |error: io::Error| {
            if error.kind() == io::ErrorKind::StorageFull {
                return RuntimeError::NoSpace { path: path.to_string() };
            }
            RuntimeError::Failed { action: format!("cannot write {path}"), message: error.to_string() }
        };
        write_one(volume).map_err(failed)
    })
}

fn write_one(volume: &VolumeContents) -> io::Result<()> {
    if volume.writable {
        if !volume.folder.exists() {
            fs::create_dir_all(&volume.folder)?;
            fs::set_permissions(&volume.folder, Permissions::from_mode(WRITABLE))?;
        }
        return Ok(());
    }
    make_readable(&volume.folder)?;
    for (path, file) in &volume.files {
        let path = volume.folder.join(path);
        if let Some(parent) = path.parent().filter(|parent| *parent != volume.folder) {
            make_readable(parent)?;
        }
        write_file(&path, file)?;
    }
    Ok(())
}

fn make_readable(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(READABLE))
}

fn write_file(path: &Path, file: &VolumeFile) -> io::Result<()> {
    let there = fs::read(path).map(zeroize::Zeroizing::new);
    if there.is_ok_and(|bytes| bytes.as_slice() == file.bytes.expose()) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut written = tempfile::NamedTempFile::new_in(folder)?;
    written.write_all(file.bytes.expose())?;
    written.as_file().set_permissions(Permissions::from_mode(file.mode & 0o777))?;
    written.persist(path).map(|_| ()).map_err(|error| error.error)
}
