//! What can go wrong between us and a git repository, and what to do about it.

use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// An error of the mirror. No variant holds a credential: addresses are redacted before they get here. All of them leave
/// what runs as it is, and every one but [`SyncError::InvalidPath`] may heal by itself, so the caller tries again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SyncError {
    /// `git` cannot be started.
    #[error("the git program cannot be run")]
    NoGit {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The host does not answer.
    #[error("{repo} cannot be reached: {detail}")]
    Unreachable {
        /// The address, redacted.
        repo: String,
        /// What git said.
        detail: String,
    },
    /// There is no repository at the address.
    #[error("there is no git repository at {repo}")]
    MissingRepo {
        /// The address, redacted.
        repo: String,
    },
    /// Not allowed in.
    #[error("no permission for {repo}: {detail}")]
    Denied {
        /// The address, redacted.
        repo: String,
        /// What git said.
        detail: String,
    },
    /// The repository has no commit yet.
    #[error("{repo} has no commits yet")]
    EmptyRepo {
        /// The address, redacted.
        repo: String,
    },
    /// The branch is not there.
    #[error("{repo} has no branch {branch}")]
    MissingBranch {
        /// The address, redacted.
        repo: String,
        /// The branch that was asked for.
        branch: String,
        /// Branches that it has, the most similar first, at most five.
        near: Vec<String>,
    },
    /// The folder is not there at the revision.
    #[error("there is no folder {path} at revision {revision}")]
    MissingPath {
        /// The folder that was asked for.
        path: String,
        /// The first digits of the revision.
        revision: String,
        /// Folders that are there, the most similar first, at most five.
        near: Vec<String>,
    },
    /// The watched path is not a path inside a repository.
    #[error("{path} is not a path inside the repository")]
    InvalidPath {
        /// The path as given.
        path: String,
    },
    /// More files than we are willing to read.
    #[error("revision {revision} has more than {limit} files below the watched path")]
    TooManyFiles {
        /// The first digits of the revision.
        revision: String,
        /// The limit.
        limit: usize,
    },
    /// The disk under the state directory is full.
    #[error("the disk is full under {}", at.display())]
    DiskFull {
        /// The folder that was written to.
        at: PathBuf,
    },
    /// Git took too long and was stopped.
    #[error("{what} took more than {} s and was stopped", limit.as_secs())]
    Timeout {
        /// What was being done.
        what: String,
        /// The limit.
        limit: Duration,
    },
    /// The remote refused a push for a reason of its own (a hook, a protected branch).
    #[error("{repo} refused the push: {detail}")]
    PushRefused {
        /// The address, redacted.
        repo: String,
        /// What the remote said.
        detail: String,
    },
    /// Git failed in a way that we have no word for.
    #[error("{what} failed: {detail}")]
    Git {
        /// What was being done.
        what: String,
        /// What git said, redacted.
        detail: String,
    },
    /// An object of the mirror cannot be read or written.
    #[error("{what} in the local mirror")]
    Objects {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: git2::Error,
    },
    /// A file of the state directory cannot be read or written.
    #[error("{what} {}", path.display())]
    Io {
        /// What was being done, as `cannot create`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl SyncError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            SyncError::NoGit { .. } => Some("install git and make sure that it is in PATH; `driftless doctor` checks it".into()),
            SyncError::Unreachable { .. } => Some("what runs keeps running; it is tried again until the host answers".into()),
            SyncError::MissingRepo { .. } => Some("check --repo; a path must be a repository's root, bare or not".into()),
            SyncError::Denied { detail, .. } => Some(denied_hint(detail)),
            SyncError::EmptyRepo { .. } => Some("push a first commit; it is picked up by itself".into()),
            SyncError::MissingBranch { near, .. } => Some(near_hint("--branch", near)),
            SyncError::MissingPath { near, .. } => Some(near_hint("--path", near)),
            SyncError::InvalidPath { .. } => Some("--path is relative to the repository's root, without `..`".into()),
            SyncError::TooManyFiles { .. } => Some("point --path at the folder that holds the manifests".into()),
            SyncError::DiskFull { .. } => Some("free some space; what runs keeps running, and it is tried again".into()),
            SyncError::Timeout { .. } => Some("it is tried again; check the connection to the git host".into()),
            SyncError::PushRefused { .. } => {
                Some("let Driftless push to driftless/*, or name another repository with --audit-remote".into())
            }
            SyncError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run Driftless as the owner of the state directory".into())
            }
            SyncError::Git { .. } | SyncError::Objects { .. } | SyncError::Io { .. } => None,
        }
    }

    /// Wraps an error of libgit2, telling a full disk from the rest.
    pub(super) fn objects(what: impl Into<String>) -> impl FnOnce(git2::Error) -> SyncError {
        let what = what.into();
        move |source| {
            let full = source.message().contains("No space left") || source.message().contains("Disk quota");
            if full { SyncError::DiskFull { at: "the state directory".into() } } else { SyncError::Objects { what, source } }
        }
    }

    /// Wraps an error of the file system, telling a full disk from the rest.
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> SyncError {
        let path = path.into();
        move |source| {
            let full = matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
            if full { SyncError::DiskFull { at: path } } else { SyncError::Io { what, path, source } }
        }
    }
}

fn denied_hint(detail: &str) -> String {
    if detail.contains("Host key verification") {
        return "connect once by hand (`ssh -T git@HOST`) to accept the host's key, as the user that runs Driftless".into();
    }
    "give the user that runs Driftless access: an ssh key, a git credential helper, or read permission on the path".into()
}

fn near_hint(flag: &str, near: &[String]) -> String {
    if near.is_empty() { format!("check {flag}") } else { format!("check {flag}; there are: {}", near.join(", ")) }
}

/// The `count` names that are most like `wanted`, by edit distance, ties in name order.
pub(super) fn nearest(wanted: &str, names: impl IntoIterator<Item = String>, count: usize) -> Vec<String> {
    let mut ranked: Vec<(usize, String)> = names.into_iter().map(|name| (distance(wanted, &name), name)).collect();
    ranked.sort();
    ranked.into_iter().take(count).map(|(_, name)| name).collect()
}

/// The Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_names_come_first() {
        let names = ["main", "production", "man", "release"].map(String::from);
        assert_eq!(nearest("mian", names, 2), ["man", "main"].map(String::from));
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_missing_branch_names_those_that_are_there() {
        let error = SyncError::MissingBranch {
            repo: "/srv/shop.git".into(),
            branch: "mian".into(),
            near: vec!["main".into(), "dev".into()],
        };
        assert_eq!(error.to_string(), "/srv/shop.git has no branch mian");
        assert_eq!(error.hint().as_deref(), Some("check --branch; there are: main, dev"));
    }
}
