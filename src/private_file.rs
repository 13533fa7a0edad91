//! Files that nobody else may read: mode 0600, whole or not there, and never written over by accident.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// What can be wrong with such a file, or with its folder.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read it.
    #[error("{} may be read by others (mode {mode:04o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl FileError {
    /// It cannot be read.
    pub(crate) fn reading(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| FileError::Io { what: "read", path: path.to_owned(), source }
    }

    /// It cannot be written.
    pub(crate) fn writing(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| FileError::Io { what: "write", path: path.to_owned(), source }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            FileError::Io { .. } => "run Driftless as the owner of the state directory, on a disk with free space".to_owned(),
            FileError::Exposed { path, .. } => format!("chmod 600 {}", path.display()),
        }
    }
}

/// Makes a folder that only its owner may enter, unless it is there.
pub(crate) fn make_folder(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FileError::writing(path))
}

/// The text of a file that nobody else may read; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<String>>, FileError> {
    read_unless(path, 0o077)
}

/// The same of a credential of systemd's, in a folder that it guards: where an access list names the user of the service, its mask
/// shows as what the group may.
pub(crate) fn read_credential(path: &Path) -> Result<Option<Zeroizing<String>>, FileError> {
    read_unless(path, 0o037)
}

/// The text of a file whose mode has none of these bits.
fn read_unless(path: &Path, exposed: u32) -> Result<Option<Zeroizing<String>>, FileError> {
    let failed = FileError::reading(path);
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & exposed != 0 {
        return Err(FileError::Exposed { path: path.to_owned(), mode });
    }
    fs::read_to_string(path).map(|text| Some(Zeroizing::new(text))).map_err(failed)
}

/// Writes a file that must not be there yet. False if it is.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<bool, FileError> {
    let file = written(path, text)?;
    match file.persist_noclobber(path) {
        Ok(_) => sync_folder(path).map(|()| true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(FileError::writing(path)(error.error)),
    }
}

/// Writes a file in the place of what was there.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let file = written(path, text)?;
    file.persist(path).map_err(|error| FileError::writing(path)(error.error))?;
    sync_folder(path)
}

/// The text beside its place. Temporary files have mode 0600.
fn written(path: &Path, text: &str) -> Result<NamedTempFile, FileError> {
    let write = || {
        let mut file = NamedTempFile::new_in(folder_of(path))?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(FileError::writing(path))
}

fn sync_folder(path: &Path) -> Result<(), FileError> {
    File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(FileError::writing(path))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(read(&path).unwrap().is_none());
        assert!(write_new(&path, "one").unwrap());
        assert!(!write_new(&path, "two").unwrap(), "it is there");
        assert_eq!(read(&path).unwrap().unwrap().as_str(), "one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        replace(&path, "two").unwrap();
        assert_eq!(read(&path).unwrap().unwrap().as_str(), "two");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(&path), Err(FileError::Exposed { mode: 0o640, .. })));
    }
}
