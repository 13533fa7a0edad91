//! The bare mirror: what the remote has, fetched by the `git` program and read with libgit2.

use super::error::nearest;
use super::git::{Git, Output, Remote, classify};
use super::{HeadWatch, Sighting, SyncError};
use crate::model::Revision;
use git2::{Oid, Repository};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one exchange with a remote may take.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(120);
/// How long the first fetch may take.
const FIRST_FETCH_LIMIT: Duration = Duration::from_secs(900);
/// A branch that nobody has: one that is there would have to be a forerunner of what is pushed.
const PROBED_REF: &str = "refs/heads/driftless/doctor";
/// How long a repack may take.
const REPACK_LIMIT: Duration = Duration::from_secs(900);

/// Which repository, branch and folder to watch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepoSpec {
    /// A URL, an scp-like address, or a path.
    pub url: String,
    /// The branch; `None` for the one that the remote's HEAD names.
    pub branch: Option<String>,
    /// The folder that holds the manifests, relative to the root; empty for the root.
    pub path: String,
}

/// What a fetch found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The branch.
    pub branch: String,
    /// The head that counts.
    pub revision: Revision,
    /// True if `revision` is another than at the fetch before.
    pub moved: bool,
    /// A head that does not descend from `revision`, seen once: fetch again soon, and it counts if it is still there.
    pub suspect: Option<Revision>,
}

/// A bare mirror of a repository in the state directory. It may be sent to another thread and belongs to one at a time; its calls
/// block.
pub struct Mirror {
    pub(super) repo: Repository,
    pub(super) git: Git,
    pub(super) dir: PathBuf,
    pub(super) path: String,
    source: Remote,
    asked_branch: Option<String>,
    branch: Option<String>,
    watch: HeadWatch,
}

impl Mirror {
    /// Opens or makes the mirror in `dir` (`repo.git` and what git needs to fetch into it). Nothing is fetched.
    ///
    /// # Errors
    /// The folder cannot be written, or `spec.path` is not a path inside a repository.
    pub fn open(dir: &Path, spec: &RepoSpec) -> Result<Self, SyncError> {
        let path = normal_path(&spec.path)?;
        let source = Remote::new("source", &spec.url);
        sweep(&dir.join("repo.git"));
        let (repo, git) = open_repo(dir, &source)?;
        let asked_branch = spec.branch.clone().map(|name| name.strip_prefix("refs/heads/").map(String::from).unwrap_or(name));
        let branch = asked_branch.clone();
        Ok(Self { repo, git, dir: dir.to_owned(), path, source, asked_branch, branch, watch: HeadWatch::default() })
    }

    /// Goes on from the head that counted before a restart, so that a jump of the branch while we were away is noticed.
    pub fn resume_from(&mut self, last: Option<Revision>) {
        self.watch = HeadWatch::resume(last);
    }

    /// The address as people may see it: credentials removed.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.source.shown
    }

    /// The repository's folder, if it is on this host: what [`super::watch_repo`] can watch.
    #[must_use]
    pub fn local_source(&self) -> Option<&Path> {
        self.source.address.local.as_deref()
    }

    /// The branch, once it is known.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.branch.as_deref()
    }

    /// Fetches the branch and says which head counts.
    ///
    /// # Errors
    /// Whatever keeps us from the branch; what was fetched before stays readable.
    pub fn fetch(&mut self) -> Result<Head, SyncError> {
        let branch = match &self.branch {
            Some(branch) => branch.clone(),
            None => self.default_branch()?,
        };
        let found = self.fetch_branch(&branch);
        if self.asked_branch.is_none() {
            // The remote's HEAD may name another branch by now.
            self.branch = found.is_ok().then(|| branch.clone());
        }
        let head = found?;
        let repo = &self.repo;
        let sighting = self.watch.see(&head, |old, new| descends(repo, old, new));
        let counted = self.watch.counted().cloned().unwrap_or_else(|| head.clone());
        let suspect = (sighting == Sighting::Suspect).then_some(head);
        Ok(Head { branch, revision: counted, moved: sighting == Sighting::Counts, suspect })
    }

    /// Asks whether `driftless/*` may be pushed, by a push that is not carried out. What a host checks only when something arrives
    /// (rules for branches, hooks) is not seen.
    ///
    /// # Errors
    /// It may not, or the remote cannot be reached.
    pub fn try_push(&self, revision: &Revision) -> Result<(), SyncError> {
        let refspec = format!("{}:{PROBED_REF}", revision.as_str());
        let what = format!("pushing {PROBED_REF} to {} for a try", self.source.shown);
        let args =
            ["push", "--dry-run", "--porcelain", "--no-verify", "--no-signed", "--no-follow-tags", self.source.name, &refspec];
        let output = self.run(&what, &args, EXCHANGE_LIMIT)?;
        if output.ok { Ok(()) } else { Err(classify(&what, &self.source, &output.stderr, &self.dir)) }
    }

    fn fetch_branch(&self, branch: &str) -> Result<Revision, SyncError> {
        let tracking = format!("refs/remotes/{}/{branch}", self.source.name);
        let refspec = format!("+refs/heads/{branch}:{tracking}");
        let known = self.repo.find_reference(&tracking).is_ok();
        let limit = if known { EXCHANGE_LIMIT } else { FIRST_FETCH_LIMIT };
        let what = format!("fetching {branch} from {}", self.source.shown);
        let args = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--update-shallow", self.source.name, &refspec];
        let output = self.run(&what, &args, limit)?;
        if output.stderr.contains("couldn't find remote ref") {
            return Err(self.no_such_branch(branch));
        }
        if !output.ok {
            return Err(classify(&what, &self.source, &output.stderr, &self.dir));
        }
        let id = self.repo.refname_to_id(&tracking).map_err(SyncError::objects(format!("cannot read {tracking}")))?;
        Ok(Revision::new(id.to_string()))
    }

    fn no_such_branch(&self, branch: &str) -> SyncError {
        match self.remote_heads() {
            Ok(heads) if heads.branches.is_empty() => SyncError::EmptyRepo { repo: self.source.shown.clone() },
            Ok(heads) => {
                let near = nearest(branch, heads.branches, 5);
                SyncError::MissingBranch { repo: self.source.shown.clone(), branch: branch.to_owned(), near }
            }
            Err(error) => error,
        }
    }

    fn default_branch(&self) -> Result<String, SyncError> {
        let heads = self.remote_heads()?;
        match heads.head {
            Some(head) if heads.branches.contains(&head) => Ok(head),
            _ if heads.branches.is_empty() => Err(SyncError::EmptyRepo { repo: self.source.shown.clone() }),
            head => {
                let branch = head.unwrap_or_else(|| "HEAD".into());
                let near = nearest(&branch, heads.branches, 5);
                Err(SyncError::MissingBranch { repo: self.source.shown.clone(), branch, near })
            }
        }
    }

    fn remote_heads(&self) -> Result<RemoteHeads, SyncError> {
        let what = format!("listing the branches of {}", self.source.shown);
        let output = self.run(&what, &["ls-remote", "--symref", self.source.name, "HEAD", "refs/heads/*"], EXCHANGE_LIMIT)?;
        if !output.ok {
            return Err(classify(&what, &self.source, &output.stderr, &self.dir));
        }
        Ok(RemoteHeads::parse(&output.stdout))
    }

    /// Runs git, having made sure that a local source is there at all: git's own message for that is the one for a typo too.
    fn run(&self, what: &str, args: &[&str], limit: Duration) -> Result<Output, SyncError> {
        check_local(&self.source)?;
        self.git.run(what, args, limit)
    }

    /// Asks the remote for a commit that the branch no longer leads to. Many hosts give it out; that one does not is no error.
    pub(super) fn fetch_commit(&self, revision: &Revision) -> Result<bool, SyncError> {
        if self.has(revision) {
            return Ok(true);
        }
        let refspec = format!("+{revision}:refs/driftless/kept/{revision}");
        let args = ["fetch", "--quiet", "--no-tags", self.source.name, &refspec];
        self.run("fetching an earlier commit", &args, EXCHANGE_LIMIT)?;
        Ok(self.has(revision))
    }

    /// Whether the mirror holds a commit.
    #[must_use]
    pub fn has(&self, revision: &Revision) -> bool {
        Oid::from_str(revision.as_str()).is_ok_and(|id| self.repo.find_commit(id).is_ok())
    }

    /// Whether `to` is `from` or has it among its ancestors. False if either is not in the mirror.
    #[must_use]
    pub fn descends(&self, from: &Revision, to: &Revision) -> bool {
        descends(&self.repo, from, to)
    }

    /// Packs loose objects if there are many, as `git gc --auto` does. Nothing is ever pruned: an older revision may be what runs.
    ///
    /// # Errors
    /// Git fails or takes too long.
    pub fn repack(&self) -> Result<(), SyncError> {
        repack(&self.git)
    }
}

/// Packs loose objects if there are many. Nothing is pruned.
pub(super) fn repack(git: &Git) -> Result<(), SyncError> {
    let args = ["-c", "gc.auto=2000", "-c", "gc.autoDetach=false", "-c", "gc.pruneExpire=never", "gc", "--auto", "--quiet"];
    let output = git.run("repacking the mirror", &args, REPACK_LIMIT)?;
    if output.ok { Ok(()) } else { Err(SyncError::Git { what: "repacking the mirror".into(), detail: output.stderr }) }
}

/// Removes what a git that was killed left behind: locks that would stop every later fetch, and halves of packs. The state directory is
/// ours alone, so at our start nobody holds them.
fn sweep(bare: &Path) {
    let mut folders = vec![bare.to_owned(), bare.join("objects/pack"), bare.join("refs")];
    while let Some(folder) = folders.pop() {
        // What is not there, or cannot be removed, is met again where it matters.
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let in_refs = path.starts_with(bare.join("refs"));
            if in_refs && path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".lock") || (folder.ends_with("objects/pack") && name.starts_with("tmp_")) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Makes or opens `dir/repo.git`, and git with a config that knows `remote`.
pub(super) fn open_repo(dir: &Path, remote: &Remote) -> Result<(Repository, Git), SyncError> {
    make_private_dir(dir)?;
    let bare = dir.join("repo.git");
    let repo = if bare.join("HEAD").exists() { Repository::open_bare(&bare) } else { Repository::init_bare(&bare) };
    let repo = repo.map_err(SyncError::objects(format!("cannot open {}", bare.display())))?;
    Ok((repo, Git::new(dir, remote)?))
}

fn make_private_dir(dir: &Path) -> Result<(), SyncError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(SyncError::io("cannot create", dir))
}

/// A local repository that is not there gets its own error, before git is asked.
pub(super) fn check_local(remote: &Remote) -> Result<(), SyncError> {
    match &remote.address.local {
        Some(path) => match path.try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err(SyncError::MissingRepo { repo: remote.shown.clone() }),
            Err(error) => Err(SyncError::Denied { repo: remote.shown.clone(), detail: error.to_string() }),
        },
        None => Ok(()),
    }
}

pub(super) fn descends(repo: &Repository, from: &Revision, to: &Revision) -> bool {
    let (Ok(from), Ok(to)) = (Oid::from_str(from.as_str()), Oid::from_str(to.as_str())) else { return false };
    from == to || repo.graph_descendant_of(to, from).unwrap_or(false)
}

/// A path as git's trees spell it: no leading, trailing or doubled slash, no `.`.
fn normal_path(path: &str) -> Result<String, SyncError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") || path.contains('\0') {
        return Err(SyncError::InvalidPath { path: path.to_owned() });
    }
    Ok(parts.join("/"))
}

/// What `git ls-remote --symref` says.
#[derive(Debug, PartialEq, Eq, Default)]
struct RemoteHeads {
    head: Option<String>,
    branches: Vec<String>,
}

impl RemoteHeads {
    fn parse(text: &str) -> Self {
        let mut heads = Self::default();
        for line in text.lines() {
            let Some((id, name)) = line.split_once('\t') else { continue };
            if name == "HEAD" {
                if let Some(target) = id.strip_prefix("ref: refs/heads/") {
                    heads.head = Some(target.to_owned());
                }
            } else if let Some(branch) = name.strip_prefix("refs/heads/") {
                heads.branches.push(branch.to_owned());
            }
        }
        heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_path_is_normalised_and_stays_inside() {
        assert_eq!(normal_path("./deploy//prod/").unwrap(), "deploy/prod");
        assert_eq!(normal_path("").unwrap(), "");
        assert!(matches!(normal_path("deploy/../../etc"), Err(SyncError::InvalidPath { .. })));
    }

    #[test]
    fn remote_heads_are_read_from_ls_remote() {
        let text = "ref: refs/heads/main\tHEAD\n0123\tHEAD\n0123\trefs/heads/main\n4567\trefs/heads/dev\n";
        let heads = RemoteHeads::parse(text);
        assert_eq!(heads, RemoteHeads { head: Some("main".into()), branches: vec!["main".into(), "dev".into()] });
    }
}
