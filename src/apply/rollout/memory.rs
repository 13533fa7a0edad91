//! What a rollout carries from step to step: the targets of its templates, and what became of them.

use super::census::{self, Census};
use super::{Action, JobMemory, RolloutInput};
use crate::model::{Moment, PodUid, TemplateHash};
use std::collections::{BTreeMap, BTreeSet};

/// What a rollout carries from step to step. All of it can be rebuilt from the cluster memory or by observing again; the
/// times start anew after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RolloutMemory {
    /// How many pods each template is to have.
    pub targets: BTreeMap<TemplateHash, u32>,
    /// The number of pods that the last step was asked for.
    pub replicas: Option<u32>,
    /// The last progress of the rollout under way.
    pub mark: Option<Mark>,
    /// The template whose rollout was completed last.
    pub completed: Option<TemplateHash>,
    /// The template that missed its deadline, and the last thing seen of its pods.
    pub failed: Option<(TemplateHash, String)>,
    /// Templates that failed while an old one served; not tried again until they change.
    pub quarantined: BTreeSet<TemplateHash>,
    /// True if the targets come from the cluster memory, which is only as new as the last record: what runs by now counts.
    pub remembered: bool,
    /// Blue/green: the template that the active Service leads to.
    pub promoted: Option<TemplateHash>,
    /// Blue/green: when it was promoted.
    pub switched_at: Option<Moment>,
    /// Blue/green: since when the set of the wanted template is whole.
    pub whole_since: Option<(TemplateHash, Moment)>,
    /// Jobs: what became of the run so far.
    pub job: JobMemory,
}

/// A rollout's last progress, as Kubernetes counts it: more updated or available pods, or fewer old ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The template that is rolled out.
    pub hash: TemplateHash,
    /// Pods of it.
    pub updated: u32,
    /// Available pods of it.
    pub available: u32,
    /// Pods of other templates.
    pub old: u32,
    /// When that was reached.
    pub at: Moment,
}

impl RolloutMemory {
    /// How many pods a template is to have.
    #[must_use]
    pub fn target(&self, hash: &TemplateHash) -> u32 {
        self.targets.get(hash).copied().unwrap_or(0)
    }

    /// How many pods all templates but this one are to have.
    #[must_use]
    pub fn target_of_others(&self, hash: &TemplateHash) -> u32 {
        self.targets.iter().filter(|(other, _)| *other != hash).map(|(_, target)| target).sum()
    }

    pub(super) fn only(&self, hash: &TemplateHash) -> bool {
        self.target(hash) > 0 && self.target_of_others(hash) == 0
    }

    /// The template with the most pods among the others: the one that serves while the new one does not.
    pub(super) fn serving(&self, hash: &TemplateHash) -> Option<TemplateHash> {
        let others = self.targets.iter().filter(|(other, target)| *other != hash && **target > 0);
        others.max_by_key(|(_, target)| **target).map(|(other, _)| other.clone())
    }

    /// The template that pods have which do not get the wanted one yet: that of the last completed rollout, else the one that serves.
    pub(super) fn base(&self, input: &RolloutInput<'_>) -> TemplateHash {
        let wanted = input.hash();
        let known = |hash: &TemplateHash| hash == wanted || input.known.contains(hash);
        let completed = self.completed.clone().filter(known);
        completed.or_else(|| self.serving(wanted).filter(known)).unwrap_or_else(|| wanted.clone())
    }

    /// The template that new pods may have: the wanted one, unless it failed while another serves.
    pub(super) fn newest_allowed(&self, input: &RolloutInput<'_>) -> TemplateHash {
        if self.is_frozen(input) { self.base(input) } else { input.hash().clone() }
    }

    /// Sets the targets to what the actions lead to. What cannot be seen yet keeps its own.
    pub(super) fn aim_at(&mut self, input: &RolloutInput<'_>, census: &Census, actions: &[Action]) {
        let before = std::mem::take(&mut self.targets);
        self.targets = census.sets().map(|(hash, count)| (hash.clone(), count.alive)).collect();
        let template = |uid: &PodUid| input.pods.iter().find(|pod| pod.uid == *uid).map(|pod| (pod.hash, pod.standing));
        for action in actions {
            match action {
                Action::Create { hash, .. } => *self.targets.entry(hash.clone()).or_default() += 1,
                Action::Reinstate { uid } => {
                    if let Some((hash, _)) = template(uid) {
                        *self.targets.entry(hash.clone()).or_default() += 1;
                    }
                }
                Action::Retire { uid, .. } => {
                    if let Some((hash, standing)) = template(uid)
                        && census::is_alive(input, standing)
                        && let Some(target) = self.targets.get_mut(hash)
                    {
                        *target = target.saturating_sub(1);
                    }
                }
            }
        }
        for (hash, target) in before.into_iter().filter(|_| !input.unheard.is_empty()) {
            let now = self.targets.entry(hash).or_default();
            *now = target.max(*now);
        }
    }

    /// True if no new template may go out: paused, or this one failed while another serves.
    pub(super) fn is_frozen(&self, input: &RolloutInput<'_>) -> bool {
        let hash = input.hash();
        input.workload.paused || (self.quarantined.contains(hash) && self.target_of_others(hash) > 0)
    }
}
