//! Small files of JSON of which a reader sees the old or the new, and never a part. They are not synced: after a power cut none may be left.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Puts a file of mode 0600 in the place of what was there. Its folder must be there.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, value)?;
    file.flush()?;
    file.persist(path).map(|_| ()).map_err(|error| error.error)
}

/// What a file says; `None` if it is not there, or not of this form.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
