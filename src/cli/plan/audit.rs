//! What an audit branch tells a plan: what runs, and what should be gone and is not.

use super::super::{CliError, CliResult};
use super::clone::{LocalClone, unreadable};
use crate::diff::Observed;
use crate::manifest::DigestKey;
use crate::model::{CurrentObject, Object, ObjectKey, Revision};
use crate::sync::{Loader, read_current};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Reads what runs, for `--observed`. A ref is tried first, then a folder that holds `current/`, then a JSON file: an object of path
/// (`current/shop/Deployment/web.yaml`) to text.
pub(super) fn observed(clone: &LocalClone, place: &str) -> CliResult<Observed> {
    let files = match clone.current_files(place) {
        Some(found) => found.map_err(|error| CliError::with_source(format!("cannot read the tree of {place}"), error))?,
        None => from_disk(Path::new(place))?,
    };
    if files.is_empty() {
        return Err(CliError::new(format!("{place} holds no current/ tree"))
            .hint("name an audit branch, such as origin/driftless/audit, or a checkout of one"));
    }
    Ok(Observed::from_current(&memory(place, &files)?))
}

fn memory(place: &str, files: &BTreeMap<String, String>) -> CliResult<BTreeMap<ObjectKey, CurrentObject>> {
    let (current, unreadable) = read_current(files);
    match unreadable.into_iter().next() {
        Some(error) => Err(CliError::with_source(format!("cannot read {place}"), error)),
        None => Ok(current),
    }
}

/// The objects whose deletion is held back: the last applied revision does not have them, and they run on. The controller compares
/// with them, so a plan does too. Each is read from the commit that it was applied from; one whose commit is not here is left out.
pub(super) fn held_back(
    clone: &LocalClone,
    tip: &Revision,
    loader: &mut Loader,
    key: &DigestKey,
) -> CliResult<BTreeMap<ObjectKey, Arc<Object>>> {
    let files = clone.current_files(tip.as_str()).and_then(Result::ok).unwrap_or_default();
    let mut by_commit: BTreeMap<Revision, BTreeSet<ObjectKey>> = BTreeMap::new();
    for (object, current) in memory("the audit branch", &files)? {
        if let (true, Some(commit)) = (current.deletion_blocked, current.commit) {
            by_commit.entry(commit).or_default().insert(object);
        }
    }
    let mut found = BTreeMap::new();
    for (commit, keys) in by_commit {
        if loader.mirror().has(&commit) {
            let loaded = loader.load(&commit, &BTreeMap::new(), key).map_err(unreadable)?;
            found.extend(loaded.desired.objects.into_iter().filter(|(key, _)| keys.contains(key)));
        }
    }
    Ok(found)
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
