//! Audit commits: trees without a work tree, signed.

use super::AuditError;
use crate::model::{ClusterNotes, Epoch, Moment};
use crate::sync::{Identity, SyncError};
use git2::build::TreeUpdateBuilder;
use git2::{Commit, Delta, FileMode, ObjectType, Oid, Repository, Signature, Time, Tree, TreeWalkMode, TreeWalkResult};
use std::collections::BTreeMap;

/// Where the memory lies that belongs to no object.
pub(super) const MEMORY_PATH: &str = ClusterNotes::PATH;

/// Changes to a tree: path to blob, or `None` to remove the file.
pub(super) type Changes = BTreeMap<String, Option<Oid>>;

/// Wraps an error of libgit2.
pub(super) fn failed(what: &str) -> impl FnOnce(git2::Error) -> AuditError {
    let wrap = SyncError::objects(what);
    move |source| AuditError::Mirror(wrap(source))
}

/// Writes the texts as blobs.
///
/// # Errors
/// A path lies outside `current/`, or a blob cannot be written.
pub(super) fn write_blobs(repo: &Repository, texts: &BTreeMap<String, Option<String>>) -> Result<Changes, AuditError> {
    let mut changes = Changes::new();
    for (path, text) in texts {
        if !is_current_path(path) {
            return Err(AuditError::OutsideCurrent { path: path.clone() });
        }
        let blob = match text {
            Some(text) => Some(repo.blob(text.as_bytes()).map_err(failed("cannot write a file of current/"))?),
            None => None,
        };
        changes.insert(path.clone(), blob);
    }
    Ok(changes)
}

fn is_current_path(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("current")
        && path.contains('/')
        && parts.all(|part| !part.is_empty() && part != "." && part != ".." && part != ".git" && !part.contains('\0'))
}

/// The tree of `parent` with `changes`. Only the folders that change are written again.
pub(super) fn change_tree(repo: &Repository, parent: Option<&Commit<'_>>, changes: &Changes) -> Result<Oid, AuditError> {
    let base = match parent {
        Some(parent) => parent.tree().map_err(failed("cannot read the tip of the audit branch"))?,
        None => empty_tree(repo)?,
    };
    let mut update = TreeUpdateBuilder::new();
    for (path, blob) in changes {
        match blob {
            Some(blob) => {
                update.upsert(path.as_str(), *blob, FileMode::Blob);
            }
            // Removing what is not there is what was wanted.
            None if base.get_path(path.as_ref()).is_err() => {}
            None => {
                update.remove(path.as_str());
            }
        }
    }
    update.create_updated(repo, &base).map_err(failed("cannot write the tree of an audit record"))
}

fn empty_tree(repo: &Repository) -> Result<Tree<'_>, AuditError> {
    let id = repo.treebuilder(None).and_then(|builder| builder.write()).map_err(failed("cannot write an empty tree"))?;
    repo.find_tree(id).map_err(failed("cannot read an empty tree"))
}

/// Writes a signed commit and moves no ref.
pub(super) fn write(
    repo: &Repository,
    identity: &Identity,
    parent: Option<&Commit<'_>>,
    tree: Oid,
    message: &str,
    at: Moment,
) -> Result<Oid, AuditError> {
    let tree = repo.find_tree(tree).map_err(failed("cannot read the tree of an audit record"))?;
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    let who = Signature::new("Driftless", identity.cluster_id(), &Time::new(seconds, 0))
        .map_err(failed("cannot sign as the cluster"))?;
    let parents: Vec<&Commit<'_>> = parent.into_iter().collect();
    let buffer =
        repo.commit_create_buffer(&who, &who, message, &tree, &parents).map_err(failed("cannot make an audit commit"))?;
    let content = buffer.as_str().map_err(failed("cannot make an audit commit"))?;
    let signature = identity.sign(content.as_bytes()).map_err(AuditError::Sign)?;
    repo.commit_signed(content, &signature, Some("gpgsig")).map_err(failed("cannot write an audit commit"))
}

/// What a commit changed against its parent.
pub(super) fn changes_of(repo: &Repository, commit: &Commit<'_>) -> Result<Changes, AuditError> {
    let what = "cannot read a queued audit record";
    let tree = commit.tree().map_err(failed(what))?;
    let parent = commit.parent(0).ok().map(|parent| parent.tree()).transpose().map_err(failed(what))?;
    let diff = repo.diff_tree_to_tree(parent.as_ref(), Some(&tree), None).map_err(failed(what))?;
    let mut changes = Changes::new();
    for delta in diff.deltas() {
        let removed = delta.status() == Delta::Deleted;
        let file = if removed { delta.old_file() } else { delta.new_file() };
        if let Some(path) = file.path_bytes().and_then(|path| std::str::from_utf8(path).ok()) {
            changes.insert(path.to_owned(), (!removed).then(|| file.id()));
        }
    }
    Ok(changes)
}

/// The texts below `current/`, by path. What is not text is not ours and is left out.
pub(super) fn files(repo: &Repository, commit: Oid) -> Result<BTreeMap<String, String>, AuditError> {
    let what = "cannot read current/ on the audit branch";
    let tree = repo.find_commit(commit).and_then(|commit| commit.tree()).map_err(failed(what))?;
    let mut files = BTreeMap::new();
    let mut problem = None;
    let walked = tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
        if entry.kind() != Some(ObjectType::Blob) || !folder.starts_with("current/") {
            return TreeWalkResult::Ok;
        }
        match repo.find_blob(entry.id()) {
            Ok(blob) => {
                if let (Ok(name), Ok(text)) = (entry.name(), std::str::from_utf8(blob.content())) {
                    files.insert(format!("{folder}{name}"), text.to_owned());
                }
                TreeWalkResult::Ok
            }
            Err(error) => {
                problem = Some(error);
                TreeWalkResult::Abort
            }
        }
    });
    match problem {
        Some(error) => Err(failed(what)(error)),
        None => walked.map(|()| files).map_err(failed(what)),
    }
}

/// The memory at a commit; `None` if it has none.
pub(super) fn notes_at(repo: &Repository, commit: Oid) -> Result<Option<ClusterNotes>, AuditError> {
    let what = "cannot read the cluster memory";
    let tree = repo.find_commit(commit).and_then(|commit| commit.tree()).map_err(failed(what))?;
    let Ok(entry) = tree.get_path(MEMORY_PATH.as_ref()) else { return Ok(None) };
    let blob = repo.find_blob(entry.id()).map_err(failed(what))?;
    read_notes(&String::from_utf8_lossy(blob.content())).map(Some)
}

/// Reads `memory.yaml`.
pub(super) fn read_notes(text: &str) -> Result<ClusterNotes, AuditError> {
    serde_saphyr::from_str(text).map_err(|error| AuditError::Damaged { path: MEMORY_PATH.into(), detail: error.to_string() })
}

/// Writes `memory.yaml`.
pub(super) fn write_notes(notes: &ClusterNotes) -> Result<String, AuditError> {
    serde_saphyr::to_string(notes).map_err(|error| AuditError::Damaged { path: MEMORY_PATH.into(), detail: error.to_string() })
}

/// The epoch of a commit and who claimed it: zero and nobody where there is no memory.
pub(super) fn reign_at(repo: &Repository, commit: Option<Oid>) -> Result<(Epoch, String), AuditError> {
    let notes = match commit {
        Some(commit) => notes_at(repo, commit)?.unwrap_or_default(),
        None => ClusterNotes::default(),
    };
    Ok((Epoch(notes.epoch), notes.instance))
}
