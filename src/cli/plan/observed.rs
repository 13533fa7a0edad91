//! What `--observed` names: an audit branch, a checkout of one, or a file.

use super::super::{CliError, CliResult};
use super::clone::LocalClone;
use crate::diff::Observed;
use crate::model::{CurrentObject, ObjectKey};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Reads what runs. A ref is tried first, then a folder that holds `current/`, then a JSON file: an object of path
/// (`current/shop/Deployment/web.yaml`) to text.
pub(super) fn read(clone: &LocalClone, place: &str) -> CliResult<Observed> {
    let files = match clone.current_files(place) {
        Some(found) => found.map_err(|error| CliError::with_source(format!("cannot read the tree of {place}"), error))?,
        None => from_disk(Path::new(place))?,
    };
    if files.is_empty() {
        return Err(CliError::new(format!("{place} holds no current/ tree"))
            .hint("name an audit branch, such as origin/driftless/audit, or a checkout of one"));
    }
    let mut current: BTreeMap<ObjectKey, CurrentObject> = BTreeMap::new();
    for (path, text) in &files {
        let Some(key) = ObjectKey::of_audit_path(path) else { continue };
        let object = serde_saphyr::from_str(text).map_err(|error| {
            let reason: String = error.to_string().lines().take(1).collect();
            CliError::with_source(format!("cannot read {path} of {place}"), reason)
        })?;
        current.insert(key, object);
    }
    Ok(Observed::from_current(&current))
}

fn from_disk(place: &Path) -> CliResult<BTreeMap<String, String>> {
    let unreadable = |error| CliError::with_source(format!("cannot read {}", place.display()), error);
    if place.is_dir() {
        let mut files = BTreeMap::new();
        collect(place, "current", &mut files).map_err(unreadable)?;
        return Ok(files);
    }
    if !place.exists() {
        return Err(CliError::new(format!("{} is neither a revision of this clone nor a file", place.display()))
            .hint("git fetch origin driftless/audit:refs/remotes/origin/driftless/audit brings the audit branch here"));
    }
    let text = fs::read_to_string(place).map_err(unreadable)?;
    serde_json::from_str(&text)
        .map_err(|error| CliError::with_source(format!("{} is not a JSON object of path to text", place.display()), error))
}

/// The files below `folder` of `root`, by their path from `root`. What is not there is empty.
fn collect(root: &Path, folder: &str, files: &mut BTreeMap<String, String>) -> std::io::Result<()> {
    let place = root.join(folder);
    if !place.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(root, &path, files)?;
        } else {
            files.insert(path, fs::read_to_string(entry.path())?);
        }
    }
    Ok(())
}
