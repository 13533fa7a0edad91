//! Reading the audit branch back: from the mirror, or from anybody's clone.

use super::commit::failed;
use super::{AuditError, message};
use crate::model::{ChangeCounts, Epoch, Moment, Outcome, Revision, Trigger};
use git2::{Commit, Oid, Repository, Sort};
use ssh_key::{HashAlg, PublicKey, SshSig};

/// One commit of the audit branch, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The audit commit.
    pub commit: Revision,
    /// When it was made.
    pub time: Moment,
    /// Its first line.
    pub subject: String,
    /// Its text without the trailers.
    pub body: String,
    /// The source commit.
    pub revision: Option<Revision>,
    /// What set it off.
    pub trigger: Option<Trigger>,
    /// The digest of the intent.
    pub plan: Option<String>,
    /// What became of it.
    pub outcome: Option<Outcome>,
    /// How many changes.
    pub changes: ChangeCounts,
    /// Who.
    pub actor: Option<String>,
    /// The reign.
    pub epoch: Option<Epoch>,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// Whether it is signed, and by whom.
    pub signature: SignatureState,
}

/// What a commit's signature is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureState {
    /// It fits, and the key is the cluster's.
    Good {
        /// The key's fingerprint.
        key: String,
    },
    /// It fits; whose key it is cannot be told here, or it is not the cluster's.
    Unknown {
        /// The key's fingerprint.
        key: String,
    },
    /// It does not fit the commit.
    Bad,
    /// There is none.
    Unsigned,
}

impl SignatureState {
    /// One word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            SignatureState::Good { .. } => "good",
            SignatureState::Unknown { .. } => "unknown",
            SignatureState::Bad => "bad",
            SignatureState::Unsigned => "unsigned",
        }
    }
}

/// The tip of a cluster's audit branch in any repository: a local branch, or the newest that was fetched from a remote.
#[must_use]
pub fn audit_tip(repo: &Repository, branch: &str) -> Option<Oid> {
    let mut names = vec![format!("refs/heads/{branch}"), format!("refs/remotes/origin/{branch}")];
    for remote in
        repo.remotes().into_iter().flat_map(|remotes| remotes.iter().flatten().flatten().map(String::from).collect::<Vec<_>>())
    {
        names.push(format!("refs/remotes/{remote}/{branch}"));
    }
    let tips: Vec<Oid> = names.iter().filter_map(|name| repo.refname_to_id(name).ok()).collect();
    // Where one contains the other it is the newer; of two that differ the local one is preferred.
    tips.iter().copied().reduce(|best, tip| if repo.graph_descendant_of(tip, best).unwrap_or(false) { tip } else { best })
}

/// The entries from `tip` back, newest first, at most `limit`. `trusted` is the cluster's key, if it is known.
///
/// # Errors
/// A commit cannot be read.
pub fn read_history(
    repo: &Repository,
    tip: Oid,
    limit: usize,
    trusted: Option<&PublicKey>,
) -> Result<Vec<HistoryEntry>, AuditError> {
    let what = "cannot read the audit branch";
    let mut walk = repo.revwalk().map_err(failed(what))?;
    walk.set_sorting(Sort::TOPOLOGICAL).map_err(failed(what))?;
    walk.push(tip).map_err(failed(what))?;
    let mut entries = Vec::new();
    for id in walk.take(limit) {
        let commit = id.and_then(|id| repo.find_commit(id)).map_err(failed(what))?;
        entries.push(entry(repo, &commit, trusted));
    }
    Ok(entries)
}

fn entry(repo: &Repository, commit: &Commit<'_>, trusted: Option<&PublicKey>) -> HistoryEntry {
    let parsed = message::read(&String::from_utf8_lossy(commit.message_bytes()));
    let seconds = u64::try_from(commit.time().seconds()).unwrap_or(0);
    HistoryEntry {
        commit: Revision::new(commit.id().to_string()),
        time: Moment(seconds.saturating_mul(1000)),
        subject: parsed.subject,
        body: parsed.body,
        revision: parsed.revision,
        trigger: parsed.trigger,
        plan: parsed.plan,
        outcome: parsed.outcome,
        changes: parsed.changes,
        actor: parsed.actor,
        epoch: parsed.epoch,
        duration_ms: parsed.duration_ms,
        signature: verify(repo, commit.id(), trusted),
    }
}

fn verify(repo: &Repository, commit: Oid, trusted: Option<&PublicKey>) -> SignatureState {
    let Ok((pem, content)) = repo.extract_signature(&commit, Some("gpgsig")) else { return SignatureState::Unsigned };
    let Ok(signature) = SshSig::from_pem(&*pem) else { return SignatureState::Bad };
    let signer = PublicKey::from(signature.public_key().clone());
    if signer.verify("git", &content, &signature).is_err() {
        return SignatureState::Bad;
    }
    let key = signer.fingerprint(HashAlg::Sha256).to_string();
    match trusted {
        Some(trusted) if trusted.key_data() == signer.key_data() => SignatureState::Good { key },
        Some(_) | None => SignatureState::Unknown { key },
    }
}
