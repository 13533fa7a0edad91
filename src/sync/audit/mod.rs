//! The audit branch: what ran, when, why, and by whose commit.
//!
//! Role: an orphan branch (`driftless/audit`, or `driftless/audit-NAME`) with one signed commit per record, whose tree holds
//! `current/`: the world as it is, and the cluster's memory. In: [`AuditRecord`](crate::model::AuditRecord)s. Out: commits in the
//! local mirror, pushed to the remote when it is there; the memory and the history, read back.
//!
//! Invariants:
//! - What was pushed is never rewritten: every push is a fast-forward, and a refused one is how a race is noticed (the
//!   compare-and-swap of epochs).
//! - A record is safe in the local mirror before anybody is told; the remote being away never blocks. What the remote lacks is the
//!   queue: it needs no file of its own and survives a restart.
//! - Records that were never pushed may be put on top of a remote that moved under an *older* reign (a late push of a controller that
//!   has not heard of us). If the remote has a newer reign, or ours with another instance, we stand down.
//!
//! Deliberately absent: what a record says (that is the controller's), and any deletion.

mod commit;
mod history;
mod log;
mod message;
mod refusal;

pub use history::{HistoryEntry, SignatureState, audit_tip, read_history};
pub use log::{AuditLog, AuditSpec, AuditState, Claim, PushState};

use super::SyncError;
use crate::model::Epoch;
use thiserror::Error;

/// The branch of a cluster: `driftless/audit`, or `driftless/audit-NAME` for a cluster that was named.
#[must_use]
pub fn audit_branch(cluster: &str) -> String {
    match cluster {
        "" | "default" => "driftless/audit".to_owned(),
        name => format!("driftless/audit-{name}"),
    }
}

/// What can go wrong with the audit branch. Only [`AuditError::StoodDown`] is a reason to stop steering.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Another controller reigns.
    #[error("another controller ({instance}) has claimed epoch {}, ours is {}", theirs.0, ours.0)]
    StoodDown {
        /// Our epoch.
        ours: Epoch,
        /// The epoch on the remote.
        theirs: Epoch,
        /// The instance that claimed it.
        instance: String,
    },
    /// The claim lost the race again and again.
    #[error("the audit branch moved {tries} times while its epoch was being claimed")]
    Contended {
        /// How often it was tried.
        tries: u32,
    },
    /// A record was appended before an epoch was claimed.
    #[error("no epoch has been claimed yet")]
    Unclaimed,
    /// A record wants to write outside `current/`.
    #[error("{path} does not lie in current/")]
    OutsideCurrent {
        /// The path.
        path: String,
    },
    /// A file of ours on the branch cannot be read.
    #[error("{path} on the audit branch is damaged: {detail}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The commit cannot be signed.
    #[error("an audit commit cannot be signed")]
    Sign(#[source] ssh_key::Error),
    /// The mirror or the remote.
    #[error(transparent)]
    Mirror(#[from] SyncError),
}

impl AuditError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            AuditError::StoodDown { .. } => {
                Some("two controllers never steer one cluster: stop one, then restart the other".into())
            }
            AuditError::Contended { .. } => {
                Some("look for another controller that watches the same repository and cluster name".into())
            }
            AuditError::Damaged { .. } => Some("revert what changed it on the audit branch with a commit on top".into()),
            AuditError::Mirror(error) => error.hint(),
            AuditError::Unclaimed | AuditError::OutsideCurrent { .. } | AuditError::Sign(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
