//! The clone at hand: which revisions are meant, and its objects for reading.

use super::super::{CliError, CliResult};
use crate::model::Revision;
use crate::sync::{Mirror, RepoSpec, SyncError, audit_branch, audit_tip, read_history};
use git2::{ErrorCode, Oid, Repository};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// So many audit records are looked at for the last applied revision.
const RECORDS_MAX: usize = 1000;

/// Where the default branch may be, in this order.
const DEFAULT_BRANCHES: [&str; 5] = [
    "refs/remotes/origin/HEAD",
    "refs/remotes/origin/main",
    "refs/heads/main",
    "refs/remotes/origin/master",
    "refs/heads/master",
];

/// A repository on this host.
pub(super) struct LocalClone {
    repo: Repository,
}

/// What a plan starts from, and why.
pub(super) enum Origin {
    /// `--from`
    Asked(Revision),
    /// The last one on the audit branch, whose tip it also names.
    Applied { revision: Revision, branch: String, tip: Revision },
    /// Where the new revision left the default branch.
    MergeBase(Revision, String),
    /// Nothing has been applied.
    Nothing,
}

/// A mirror that reads the clone's objects where they are. The folder goes when it is dropped.
pub(super) struct Borrowed {
    pub(super) mirror: Mirror,
    _folder: TempDir,
}

impl Origin {
    pub(super) fn revision(&self) -> Option<&Revision> {
        match self {
            Origin::Asked(revision) | Origin::Applied { revision, .. } | Origin::MergeBase(revision, _) => Some(revision),
            Origin::Nothing => None,
        }
    }

    pub(super) fn describe(&self, to: &Revision) -> String {
        let to = to.short();
        match self {
            Origin::Asked(from) => format!("comparing {} with {to}", from.short()),
            Origin::Applied { revision, branch, .. } => {
                format!("comparing {}, the last applied on {branch}, with {to}", revision.short())
            }
            Origin::MergeBase(from, branch) => {
                format!("comparing {}, where it left {branch}, with {to} (the audit branch is not in this clone)", from.short())
            }
            Origin::Nothing => {
                format!("comparing nothing with {to} (the audit branch is not in this clone: --from names another start)")
            }
        }
    }
}

impl LocalClone {
    /// The repository that holds `place`.
    pub(super) fn open(place: &Path) -> CliResult<Self> {
        let repo = Repository::discover(place).map_err(|error| {
            let place = place.display();
            if error.code() == ErrorCode::NotFound {
                CliError::new(format!("{place} is not in a git repository")).hint("run it in a clone, or name one with --repo")
            } else if error.code() == ErrorCode::Owner {
                CliError::new(format!("the repository at {place} belongs to another user"))
                    .hint("git config --global --add safe.directory DIR, if you trust it")
            } else {
                CliError::with_source(format!("cannot open the repository at {place}"), error)
            }
        })?;
        Ok(Self { repo })
    }

    /// The commit that a name means.
    pub(super) fn revision(&self, name: &str) -> CliResult<Revision> {
        self.find(name).map(revision).ok_or_else(|| {
            let error = CliError::new(format!("there is no revision {name:?} in this clone"));
            match (self.repo.is_empty(), self.repo.is_shallow()) {
                (Ok(true), _) => error.hint("the repository has no commit yet"),
                (_, true) => {
                    error.hint("this clone is shallow: fetch its history (git fetch --unshallow, or fetch-depth: 0 in CI)")
                }
                _ => error.hint("fetch it, or check its name"),
            }
        })
    }

    /// What to start from: what was asked for, the last applied revision, the merge base with the default branch, or nothing.
    pub(super) fn origin(&self, asked: Option<&str>, to: &Revision, cluster: &str) -> CliResult<Origin> {
        if let Some(name) = asked {
            return self.revision(name).map(Origin::Asked);
        }
        let branch = audit_branch(cluster);
        if let Some((revision, tip)) = self.last_applied(&branch)? {
            return match self.find(revision.as_str()) {
                Some(_) => Ok(Origin::Applied { revision, branch, tip }),
                None => Err(CliError::new(format!("revision {}, the last applied, is not in this clone", revision.short()))
                    .hint("fetch the watched branch, or name a start with --from")),
            };
        }
        Ok(self.merge_base(to).unwrap_or(Origin::Nothing))
    }

    /// The last applied revision, and the tip of the audit branch that says so.
    fn last_applied(&self, branch: &str) -> CliResult<Option<(Revision, Revision)>> {
        let Some(tip) = audit_tip(&self.repo, branch) else { return Ok(None) };
        let records = read_history(&self.repo, tip, RECORDS_MAX, None)
            .map_err(|error| CliError::with_source(format!("cannot read {branch}"), error))?;
        let applied = records.into_iter().find_map(|record| record.revision);
        Ok(applied.map(|applied| (applied, revision(tip))))
    }

    /// Where `to` left the default branch. A commit that is on the default branch has not left it.
    fn merge_base(&self, to: &Revision) -> Option<Origin> {
        let (name, tip) = DEFAULT_BRANCHES.iter().find_map(|name| Some((*name, self.find(name)?)))?;
        let to = Oid::from_str(to.as_str()).ok()?;
        let base = self.repo.merge_base(tip, to).ok()?;
        let shown = name.trim_start_matches("refs/remotes/").trim_start_matches("refs/heads/");
        (base != to).then(|| Origin::MergeBase(revision(base), shown.to_owned()))
    }

    /// The text of every file below `current/` in the tree of a revision; `None` if there is no such revision.
    pub(super) fn current_files(&self, name: &str) -> Option<Result<BTreeMap<String, String>, git2::Error>> {
        let commit = self.find(name).and_then(|id| self.repo.find_commit(id).ok())?;
        let read = || {
            let mut files = BTreeMap::new();
            commit.tree()?.walk(git2::TreeWalkMode::PreOrder, |folder, entry| {
                let path = format!("{folder}{}", String::from_utf8_lossy(entry.name_bytes()));
                if let Ok(blob) = self.repo.find_blob(entry.id())
                    && path.starts_with("current/")
                {
                    files.insert(path, String::from_utf8_lossy(blob.content()).into_owned());
                }
                git2::TreeWalkResult::Ok
            })?;
            Ok(files)
        };
        Some(read())
    }

    /// A mirror for reading, made of this clone's objects: trees are read by the same code as in the controller, and nothing is
    /// copied or written here.
    pub(super) fn borrow_objects(&self, path: &str) -> CliResult<Borrowed> {
        let failed = |error| CliError::with_source("cannot make a temporary folder to read the clone from", error);
        let folder = tempfile::Builder::new().prefix("driftless-plan-").tempdir().map_err(failed)?;
        let bare = folder.path().join("repo.git");
        Repository::init_bare(&bare).map_err(|error| CliError::with_source("cannot read the clone", error))?;
        let objects = self.repo.commondir().join("objects");
        let objects = fs::canonicalize(&objects).unwrap_or(objects);
        fs::create_dir_all(bare.join("objects/info")).map_err(failed)?;
        fs::write(bare.join("objects/info/alternates"), format!("{}\n", objects.display())).map_err(failed)?;
        let shallow = self.repo.commondir().join("shallow");
        if shallow.exists() {
            fs::copy(shallow, bare.join("shallow")).map_err(failed)?;
        }
        let spec = RepoSpec { url: self.repo.path().display().to_string(), branch: None, path: path.to_owned() };
        let mirror = Mirror::open(folder.path(), &spec).map_err(unreadable)?;
        Ok(Borrowed { mirror, _folder: folder })
    }

    fn find(&self, name: &str) -> Option<Oid> {
        self.repo.revparse_single(name).ok()?.peel_to_commit().ok().map(|commit| commit.id())
    }
}

fn revision(id: Oid) -> Revision {
    Revision::new(id.to_string())
}

/// An error of reading a tree, with its hint.
pub(super) fn unreadable(error: SyncError) -> CliError {
    let hint = error.hint();
    let shown = CliError::new(error.to_string());
    match (std::error::Error::source(&error).map(ToString::to_string), hint) {
        (Some(cause), hint) => {
            let shown = CliError::with_source(error.to_string(), cause);
            hint.into_iter().fold(shown, CliError::hint)
        }
        (None, Some(hint)) => shown.hint(hint),
        (None, None) => shown,
    }
}
