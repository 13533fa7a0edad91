//! The commits between two revisions, with what their messages tell the controller.

use super::{Mirror, SyncError};
use crate::model::Revision;
use git2::{Commit, Oid, Repository, Sort};

/// At most so many commits of a range are read, the newest ones.
const COMMITS_MAX: usize = 10_000;

/// A commit of the watched branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id.
    pub revision: Revision,
    /// `Name <mail>` of its author.
    pub author: String,
    /// `Name <mail>` of its committer.
    pub committer: String,
    /// The first line of its message.
    pub subject: String,
    /// The trailers of its message, in order. A line that begins with `Driftless-` counts wherever it stands: a squash merge, as
    /// forges write it, leaves trailers in the middle of the body.
    pub trailers: Vec<(String, String)>,
}

impl Mirror {
    /// One commit.
    ///
    /// # Errors
    /// It is not in the mirror.
    pub fn commit(&self, revision: &Revision) -> Result<CommitInfo, SyncError> {
        let commit = parse(revision).and_then(|id| self.repo.find_commit(id));
        commit.map(|commit| info(&commit)).map_err(SyncError::objects(format!("cannot read commit {}", revision.short())))
    }

    /// The commit before, on the branch's own line; `None` at its beginning.
    #[must_use]
    pub fn first_parent(&self, revision: &Revision) -> Option<Revision> {
        let commit = parse(revision).and_then(|id| self.repo.find_commit(id)).ok()?;
        commit.parent_id(0).ok().map(|id| Revision::new(id.to_string()))
    }

    /// The commits that lead to `to` and not to `from`, on every side of a merge, oldest first. Without `from`, or where the mirror
    /// does not have it, `to` alone.
    ///
    /// # Errors
    /// `to` cannot be read.
    pub fn commits_between(&self, from: Option<&Revision>, to: &Revision) -> Result<Vec<CommitInfo>, SyncError> {
        let Some(from) = from.filter(|from| self.has(from)) else { return Ok(vec![self.commit(to)?]) };
        let what = format!("cannot list the commits between {} and {}", from.short(), to.short());
        range(&self.repo, from, to).map_err(SyncError::objects(what))
    }
}

fn range(repo: &Repository, from: &Revision, to: &Revision) -> Result<Vec<CommitInfo>, git2::Error> {
    let mut walk = repo.revwalk()?;
    walk.set_sorting(Sort::TOPOLOGICAL)?;
    walk.push(parse(to)?)?;
    walk.hide(parse(from)?)?;
    let newest_first = walk.take(COMMITS_MAX).map(|id| Ok(info(&repo.find_commit(id?)?)));
    let mut commits = newest_first.collect::<Result<Vec<CommitInfo>, git2::Error>>()?;
    commits.reverse();
    Ok(commits)
}

pub(super) fn parse(revision: &Revision) -> Result<Oid, git2::Error> {
    Oid::from_str(revision.as_str())
}

fn info(commit: &Commit<'_>) -> CommitInfo {
    let message = String::from_utf8_lossy(commit.message_bytes());
    CommitInfo {
        revision: Revision::new(commit.id().to_string()),
        author: person(&commit.author()),
        committer: person(&commit.committer()),
        subject: message.lines().next().unwrap_or("").to_owned(),
        trailers: trailers(&message),
    }
}

fn person(who: &git2::Signature<'_>) -> String {
    format!("{} <{}>", String::from_utf8_lossy(who.name_bytes()), String::from_utf8_lossy(who.email_bytes()))
}

/// The trailers of the last paragraph as git reads them, and lines of ours anywhere in the body.
fn trailers(message: &str) -> Vec<(String, String)> {
    let proper = git2::message_trailers_strs(message).ok();
    let proper = proper.iter().flat_map(|found| found.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut all: Vec<(String, String)> = proper.filter(|(name, _)| !is_ours(name)).collect();
    let ours = message.lines().skip(1).filter_map(|line| line.split_once(':')).filter(|(name, _)| is_ours(name));
    all.extend(ours.map(|(name, value)| (name.to_owned(), value.trim().to_owned())));
    all
}

fn is_ours(name: &str) -> bool {
    name.starts_with("Driftless-") && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: &[(&str, &str)]) {
        let expected: Vec<(String, String)> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(trailers(message), expected);
    }

    #[test]
    fn trailers_of_the_last_paragraph_are_found() {
        check(
            "Drop the old shop\n\nNobody uses it.\n\nSigned-off-by: Ada <ada@example.org>\nDriftless-Allow-Prune: 3\n",
            &[("Signed-off-by", "Ada <ada@example.org>"), ("Driftless-Allow-Prune", "3")],
        );
    }

    #[test]
    fn a_squashed_body_keeps_our_trailers() {
        check(
            "Drop the old shop (#12)\n\n* Drop it\n\nDriftless-Allow-Prune: all\n\n* Fix a typo\n\nmore text\n",
            &[("Driftless-Allow-Prune", "all")],
        );
    }

    #[test]
    fn a_sentence_about_a_trailer_is_none() {
        check("Docs\n\nSay what Driftless-Allow-Prune: all means.\n", &[]);
    }
}
