//! Whom the controller lets in, and why not others.

use super::{KeyFingerprint, NodeName};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Whom the controller lets in with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roll {
    /// The key on record for each node.
    pub keys: BTreeMap<NodeName, KeyFingerprint>,
    /// Nodes that a commit has removed.
    pub removed: BTreeSet<NodeName>,
}

impl Roll {
    /// Whether a node with this name and key is let in.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, node: &NodeName, key: &KeyFingerprint) -> Result<(), JoinRefusal> {
        if self.removed.contains(node) {
            return Err(JoinRefusal::Removed(node.clone()));
        }
        match self.keys.get(node) {
            Some(known) if known == key => Ok(()),
            Some(_) => Err(JoinRefusal::NameTaken(node.clone())),
            None => Err(JoinRefusal::NoToken(node.clone())),
        }
    }
}

/// Why a node may not join, or not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// The node is not known, and showed no token.
    #[error("node {0} is not known to this cluster with this key, and showed no token")]
    NoToken(NodeName),
    /// No such token, or its secret is another one.
    #[error("the token is not known: it was revoked, or made by another controller")]
    TokenUnknown,
    /// The token is too old.
    #[error("the token expired {} ago", words(*.0))]
    TokenExpired(Duration),
    /// As many nodes as it was made for have joined with the token.
    #[error("the token is used up")]
    TokenUsedUp,
    /// The token was made for another node.
    #[error("the token is for node {0} only")]
    TokenForOther(NodeName),
    /// Another key is on record for the name.
    #[error("there is a node {0} already, with another key")]
    NameTaken(NodeName),
    /// The node was removed by a commit.
    #[error("node {0} was removed by a commit (driftless.dev/removed on its Node)")]
    Removed(NodeName),
    /// No node can have this name.
    #[error("no node can have this name: names are made of lower-case letters, digits and inner dashes, at most 63")]
    BadName,
    /// The clocks of the two hosts differ too much.
    #[error("the clock of this host is {} {} that of the controller", words(*.by), if *.ahead { "ahead of" } else { "behind" })]
    Clock {
        /// By how much.
        by: Duration,
        /// Whether the node's is ahead.
        ahead: bool,
    },
    /// Not now, and perhaps later.
    #[error("the controller cannot answer yet: {0}")]
    NotNow(String),
}

impl JoinRefusal {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        const CREATE: &str =
            "make one with `driftless token create` on the controller's machine, and start the agent with --token-file";
        Some(match self {
            JoinRefusal::NoToken(_) | JoinRefusal::TokenUnknown | JoinRefusal::TokenExpired(_) | JoinRefusal::TokenUsedUp => {
                CREATE.to_owned()
            }
            JoinRefusal::TokenForOther(node) => format!("start the agent with --node {node}, or make a token without --node"),
            JoinRefusal::NameTaken(node) => format!(
                "give this host another name with --node; if it takes the place of the old {node}, remove that one first: a commit with \
                 the annotation driftless.dev/removed: \"true\" on Node {node}, and then one without it"
            ),
            JoinRefusal::Removed(node) => format!(
                "take the annotation off Node {node} in the repository, and join with a new token; the agent's pods on this host are \
                 no longer the cluster's: stop them"
            ),
            JoinRefusal::Clock { .. } => "set the clock, and keep it right with NTP (timedatectl set-ntp true)".to_owned(),
            JoinRefusal::BadName => "name it with --node".to_owned(),
            JoinRefusal::NotNow(_) => return None,
        })
    }

    /// Whether it is worth asking again without doing anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, JoinRefusal::NotNow(_))
    }
}

/// A duration for people, to its largest unit.
fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7_200 => (seconds / 60, "min"),
        7_200..172_800 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}
