//! Files with secrets: mode 0600, whole or not there, and never written over by accident.

use super::TrustError;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// Makes a folder that only its owner may enter, unless it is there.
pub(super) fn make_folder(path: &Path) -> Result<(), TrustError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| TrustError::Io { what: "write", path: path.to_owned(), source })
}

/// The text of a file that nobody else may read; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<String>>, TrustError> {
    let failed = |source| TrustError::Io { what: "read", path: path.to_owned(), source };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TrustError::Exposed { path: path.to_owned(), mode });
    }
    fs::read_to_string(path).map(|text| Some(Zeroizing::new(text))).map_err(failed)
}

/// Writes a file that must not be there yet. False if it is.
pub(super) fn write_new(path: &Path, text: &str) -> Result<bool, TrustError> {
    let file = written(path, text)?;
    match file.persist_noclobber(path) {
        Ok(_) => sync_folder(path).map(|()| true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(TrustError::Io { what: "write", path: path.to_owned(), source: error.error }),
    }
}

/// Writes a file in the place of what was there.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), TrustError> {
    let file = written(path, text)?;
    file.persist(path).map_err(|error| TrustError::Io { what: "write", path: path.to_owned(), source: error.error })?;
    sync_folder(path)
}

/// The text beside its place. Temporary files have mode 0600.
fn written(path: &Path, text: &str) -> Result<NamedTempFile, TrustError> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(|source| TrustError::Io { what: "write", path: path.to_owned(), source })
}

fn sync_folder(path: &Path) -> Result<(), TrustError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| TrustError::Io { what: "write", path: path.to_owned(), source })
}
