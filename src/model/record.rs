//! Audit records: one reconcile, as a commit on the audit branch tells it.

use super::{ChangeCounts, Epoch, Revision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One record. Its Display forms and trailers are a contract: see `sync::audit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// `shop/web: rolled out 3 pods, nginx:1.26 → 1.27`
    pub subject: String,
    /// The plan as a person reads it, and what became of it.
    pub body: String,
    /// `Driftless-Revision`
    pub revision: Option<Revision>,
    /// `Driftless-Trigger`
    pub trigger: Trigger,
    /// `Driftless-Plan`
    pub plan: String,
    /// `Driftless-Outcome`
    pub outcome: Outcome,
    /// `Driftless-Changes`
    pub changes: ChangeCounts,
    /// `Driftless-Actor`
    pub actor: String,
    /// `Driftless-Epoch`
    pub epoch: Epoch,
    /// `Driftless-Duration-Ms`
    pub duration_ms: u64,
    /// Changes to the `current/` tree: path to new text, or `None` to remove the file.
    pub tree: BTreeMap<String, Option<String>>,
}

macro_rules! lower_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// As the trailer spells it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// Reads the spelling of the trailer.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

lower_enum! {
    /// What set a reconcile off.
    Trigger {
        /// The local repo changed.
        Push = "push",
        /// A poll found a new commit.
        Poll = "poll",
        /// A forge said so.
        Webhook = "webhook",
        /// The world moved though the revision did not.
        Drift = "drift",
        /// A node came, went or was lost.
        Node = "node",
        /// The autoscaler.
        Scale = "scale",
        /// The controller started.
        Startup = "startup",
        /// A commit that undoes one.
        Rollback = "rollback",
    }
}

lower_enum! {
    /// What became of a reconcile.
    Outcome {
        /// It has begun.
        Planned = "planned",
        /// All is as wanted.
        Converged = "converged",
        /// A rollout missed its deadline; the old replicas serve.
        Failed = "failed",
        /// A newer revision came first.
        Superseded = "superseded",
        /// The brake holds its deletions.
        Blocked = "blocked",
        /// A unit could not be read.
        Held = "held",
    }
}
