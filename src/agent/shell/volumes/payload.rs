//! Files of ours in a volume, changed at once and as a whole, in Kubernetes' layout: each entry is a link into `..data`, which is itself a
//! link to the folder that holds the files. A change writes another such folder and turns `..data` to it.

use super::{READABLE, owner};
use crate::agent::runtime::VolumeFile;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// The link that is turned.
const DATA: &str = "..data";

/// What a link is called until it takes the place of another.
const NEXT: &str = "..data_tmp";

/// Brings a volume to exactly these files.
pub(super) fn write(folder: &Path, files: &BTreeMap<String, VolumeFile>, group: Option<u32>) -> io::Result<()> {
    make_readable(folder)?;
    let name = version(files, group);
    let current = fs::read_link(folder.join(DATA)).ok();
    if current.as_deref() != Some(Path::new(&name)) {
        write_version(&folder.join(&name), files, group)?;
        link(folder, &files_at_top(files))?;
        point(&folder.join(NEXT), &folder.join(DATA), Path::new(&name))?;
    }
    clear(folder, &files_at_top(files), &name)
}

/// The name of the folder for these files: another one whenever any of them differs.
fn version(files: &BTreeMap<String, VolumeFile>, group: Option<u32>) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(bytes);
    };
    part(format!("{group:?}").as_bytes());
    for (path, file) in files {
        part(path.as_bytes());
        part(&file.mode.to_le_bytes());
        part(file.bytes.expose());
    }
    format!("..{}", &hasher.finalize().to_hex()[..20])
}

fn write_version(folder: &Path, files: &BTreeMap<String, VolumeFile>, group: Option<u32>) -> io::Result<()> {
    // What an agent left that died half way.
    remove(folder)?;
    make_readable(folder)?;
    for (path, file) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            make_readable(parent)?;
        }
        let mut written = fs::File::create(&path)?;
        written.set_permissions(Permissions::from_mode(file.mode & 0o777))?;
        written.write_all(file.bytes.expose())?;
    }
    owner::give_readable(folder, group)
}

/// The first parts of the paths.
fn files_at_top(files: &BTreeMap<String, VolumeFile>) -> BTreeSet<&str> {
    files.keys().map(|path| path.split('/').next().unwrap_or(path)).collect()
}

fn link(folder: &Path, names: &BTreeSet<&str>) -> io::Result<()> {
    for name in names {
        let (at, target) = (folder.join(name), Path::new(DATA).join(name));
        if fs::read_link(&at).ok().as_deref() != Some(&target) {
            // A folder of an older layout; a file is replaced.
            if at.is_dir() && !at.is_symlink() {
                fs::remove_dir_all(&at)?;
            }
            point(&folder.join(NEXT), &at, &target)?;
        }
    }
    Ok(())
}

/// Makes `at` a link to `target`, in place of what was there.
fn point(next: &Path, at: &Path, target: &Path) -> io::Result<()> {
    remove(next)?;
    symlink(target, next)?;
    fs::rename(next, at)
}

/// Takes away what is no more.
fn clear(folder: &Path, names: &BTreeSet<&str>, version: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let known = name.to_str().is_some_and(|name| name == DATA || name == version || names.contains(name));
        if !known {
            remove(&folder.join(&name))?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn make_readable(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(READABLE))
}
