//! The folders of claims on this host's disk.
//!
//! A claim's data is there as a whole or not at all, whenever the host or the agent dies: to be deleted it is moved out of the way
//! first, which is one step of the file system, and what was moved is deleted at leisure.

use crate::agent::launch::Folders;
use crate::model::ObjectKey;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// The claims that have a folder here.
///
/// # Errors
/// Where the folder of all of them cannot be read.
pub(in crate::agent::shell) fn held_claims(folders: &Folders) -> io::Result<BTreeSet<ObjectKey>> {
    let entries = match fs::read_dir(folders.claims()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let mut held = BTreeSet::new();
    for entry in entries {
        held.extend(entry?.file_name().to_str().and_then(Folders::claim_named));
    }
    Ok(held)
}

/// Deletes the data of a claim; of one without data that has happened already.
///
/// # Errors
/// What cannot be moved away or deleted, with its path. After that it can be tried again.
pub(in crate::agent::shell) fn erase(folders: &Folders, claim: &ObjectKey) -> Result<(), String> {
    let folder = folders.claim(&claim.namespace, &claim.name);
    let doomed = folders.doomed(&claim.namespace, &claim.name);
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| format!("{path}: {error}")
    };
    remove(&doomed).map_err(at(&doomed))?;
    fs::create_dir_all(folders.doomed_claims()).map_err(at(&folders.doomed_claims()))?;
    unless_absent(fs::rename(&folder, &doomed)).map_err(at(&folder))?;
    remove(&doomed).map_err(at(&doomed))
}

/// Deletes in the background what an earlier agent did not come to delete.
pub(in crate::agent::shell) fn sweep(folders: Folders) {
    tokio::task::spawn_blocking(move || {
        // The folder itself stays: a deletion that begins meanwhile moves its data there.
        for left in fs::read_dir(folders.doomed_claims()).into_iter().flatten().flatten() {
            if let Err(error) = remove(&left.path()) {
                tracing::warn!(folder = %left.path().display(), %error, "the data of a deleted claim could not be removed");
            }
        }
    });
}

fn remove(folder: &Path) -> io::Result<()> {
    unless_absent(fs::remove_dir_all(folder))
}

fn unless_absent(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;
    use std::path::PathBuf;

    fn folders(at: &Path) -> Folders {
        Folders { run: at.join("run"), state: at.join("state") }
    }

    fn claim(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::PersistentVolumeClaim, "shop", name)
    }

    fn fill(folder: PathBuf) {
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join("rows"), "data").expect("written");
    }

    #[test]
    fn a_claim_that_is_erased_is_gone_and_the_others_are_held() {
        let at = tempfile::tempdir().expect("a folder");
        let folders = folders(at.path());
        assert_eq!(held_claims(&folders).expect("readable"), BTreeSet::new());
        fill(folders.claim("shop", "data"));
        fill(folders.claim("shop", "kept"));
        assert_eq!(held_claims(&folders).expect("readable"), BTreeSet::from([claim("data"), claim("kept")]));
        for _ in 0..2 {
            assert_eq!(erase(&folders, &claim("data")), Ok(()), "also when it is gone");
        }
        assert_eq!(held_claims(&folders).expect("readable"), BTreeSet::from([claim("kept")]));
        assert_eq!(fs::read(folders.claim("shop", "kept").join("rows")).expect("there"), b"data");
        assert_eq!(fs::read_dir(folders.doomed_claims()).expect("readable").count(), 0);
    }

    #[test]
    fn what_an_interrupted_deletion_left_is_no_data_and_in_nobodys_way() {
        let at = tempfile::tempdir().expect("a folder");
        let folders = folders(at.path());
        fill(folders.doomed("shop", "data"));
        assert_eq!(held_claims(&folders).expect("readable"), BTreeSet::new());
        fill(folders.claim("shop", "data"));
        assert_eq!(erase(&folders, &claim("data")), Ok(()));
        assert_eq!(fs::read_dir(folders.doomed_claims()).expect("readable").count(), 0);
    }
}
