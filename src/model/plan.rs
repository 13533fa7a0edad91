//! Plans: the difference between what was and what is wanted, and what carrying it out means.

use super::{ObjectKey, Revision, Source, TemplateHash};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A plan. The intent is a function of git alone; the effects are an estimate from what is observed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The last applied revision, if there was one.
    pub from: Option<Revision>,
    /// The revision to apply.
    pub to: Option<Revision>,
    /// One per object that changes, in key order; unchanged ones are counted only.
    pub changes: Vec<Change>,
    /// How many objects stay as they are.
    pub unchanged: usize,
    /// `blake3:<hex>` over the intent.
    pub digest: String,
    /// Deletions that the brake holds back, and why; `None` if all may go.
    pub blocked: Option<PruneBlock>,
}

/// One object's change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The object.
    pub key: ObjectKey,
    /// What happens to it.
    pub action: Action,
    /// The fields that differ, in document order. Values of Secrets are `<redacted>`.
    pub fields: Vec<FieldChange>,
    /// Where the new (or, for a deletion, the old) one is written.
    pub source: Source,
    /// What it does to pods.
    pub effect: Effect,
    /// The object whose deletion and this creation look like one rename.
    pub renamed_from: Option<ObjectKey>,
}

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Create,
    /// It changes without replacing a pod.
    Update,
    /// It changes, and its pods are replaced.
    Replace,
    /// Only the number of its pods changes.
    Scale,
    /// It goes.
    Delete,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// `spec.template.spec.containers[web].image`: list items by name where they have one.
    pub path: String,
    /// What it was, `None` if absent.
    pub old: Option<serde_json::Value>,
    /// What it will be, `None` if absent.
    pub new: Option<serde_json::Value>,
}

/// What a change does to pods.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Effect {
    /// Pods that are started (replacements included).
    pub starts: u32,
    /// Pods that are stopped (replaced ones included).
    pub stops: u32,
    /// How it goes, as a person reads it: `3 pods replaced, one at a time, each ready before the next`.
    pub order: String,
    /// Whether there is a time in which nothing serves.
    pub downtime: bool,
    /// The template hash before and after, where pods are replaced.
    pub hashes: Option<(TemplateHash, TemplateHash)>,
    /// True if it rests on observed state and may change until it is carried out.
    pub estimate: bool,
}

/// Why deletions are held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneBlock {
    /// What is not deleted.
    pub objects: Vec<ObjectKey>,
    /// Which limit it exceeds, and how to approve it.
    pub reason: String,
}

/// How many creates, updates and deletes a plan has, for trailers and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChangeCounts {
    /// Creations.
    pub create: usize,
    /// Updates, replacements and scalings.
    pub update: usize,
    /// Deletions.
    pub delete: usize,
}

impl Plan {
    /// Counts by kind of change.
    #[must_use]
    pub fn counts(&self) -> ChangeCounts {
        let mut by_action: BTreeMap<Action, usize> = BTreeMap::new();
        for change in &self.changes {
            *by_action.entry(change.action).or_default() += 1;
        }
        let of = |action| by_action.get(&action).copied().unwrap_or(0);
        ChangeCounts {
            create: of(Action::Create),
            update: of(Action::Update) + of(Action::Replace) + of(Action::Scale),
            delete: of(Action::Delete),
        }
    }

    /// True if it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
