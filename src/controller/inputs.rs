//! What is wanted: the revision in force, what of it is held back, and what came before.

use super::addresses::Addresses;
use super::crons::Made;
use super::event::{Commit, LoadedRevision};
use super::node_ports::NodePorts;
use super::priority::Ranks;
use crate::model::{Cidr, Desired, Kind, Moment, Object, ObjectKey, PodSnapshot, Policy, PruneBlock, Revision, TemplateHash};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is wanted.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// True once the cluster memory was read.
    pub(super) restored: bool,
    /// True if there was none, and yet an agent has served an earlier controller.
    pub(super) memory_lost: bool,
    /// True if the audit branch has a memory.
    pub(super) has_memory: bool,
    /// What is carried out: the revision's objects, and those whose deletion is held back.
    pub(super) effective: Desired,
    /// True once a revision was taken over.
    pub(super) revised: bool,
    /// A revision that was read and is not taken over yet.
    waiting: Option<LoadedRevision>,
    /// Deletions that are held back.
    pub(super) block: Option<PruneBlock>,
    /// How each object came to be what it is.
    pub(super) applied: BTreeMap<ObjectKey, Applied>,
    /// Workloads that a commit deleted and that still have pods.
    pub(super) pruning: BTreeMap<ObjectKey, Pruning>,
    /// Jobs that CronJobs made: no commit has them.
    pub(super) made: BTreeMap<ObjectKey, Made>,
    /// What those workloads were.
    pub(super) pruned: BTreeMap<ObjectKey, Arc<Object>>,
    /// Objects that the memory names and that can no longer be read: their pods are kept.
    pub(super) unreadable: BTreeSet<ObjectKey>,
    /// The autoscaler of each workload that has one.
    pub(super) autoscalers: BTreeMap<ObjectKey, ObjectKey>,
    /// Every template that a pod may be made of.
    pub(super) snapshots: BTreeMap<TemplateHash, Arc<PodSnapshot>>,
    /// Priorities and disruption budgets.
    pub(super) ranks: Ranks,
    /// The stable addresses of Services.
    pub(super) addresses: Addresses,
    /// Their ports of every node.
    pub(super) node_ports: NodePorts,
    /// Those that have ports on the nodes labelled for it.
    pub(super) balanced: BTreeSet<ObjectKey>,
}

/// A deletion on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pruning {
    /// The commit that deletes.
    pub(super) commit: Option<Revision>,
    /// The workload that seems to be the same under a new name: it is ready before this one goes.
    pub(super) after: Option<ObjectKey>,
}

/// How an object came to be what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    /// The commit that changed it last.
    pub(super) commit: Option<Revision>,
    /// Its file then.
    pub(super) path: String,
    /// Its unit then.
    pub(super) unit: String,
    /// True if the memory says that its deletion is held back.
    pub(super) blocked: bool,
    /// When it was created, by the clock on the wall; `None` where nobody wrote that down.
    pub(super) created: Option<Moment>,
}

impl Inputs {
    /// Nothing yet; Services will have addresses of this range.
    pub(super) fn of(services: Option<Cidr>) -> Self {
        Self { addresses: Addresses::of(services), ..Self::default() }
    }

    /// Keeps a revision until it can be taken over. The commits of one that it overtakes are kept: their approvals count.
    pub(super) fn queue_revision(&mut self, mut loaded: LoadedRevision) {
        if let Some(overtaken) = self.waiting.take() {
            let known: BTreeSet<Revision> = loaded.commits.iter().map(|commit| commit.revision.clone()).collect();
            let mut commits: Vec<Commit> = overtaken.commits;
            commits.retain(|commit| !known.contains(&commit.revision));
            commits.append(&mut loaded.commits);
            loaded.commits = commits;
        }
        self.waiting = Some(loaded);
    }

    pub(super) fn take_revision(&mut self) -> Option<LoadedRevision> {
        self.waiting.take()
    }

    pub(super) fn has_revision(&self) -> bool {
        self.revised || self.waiting.is_some()
    }

    /// The policy of the newest revision that was read.
    pub(super) fn newest_policy(&self) -> &Policy {
        self.waiting.as_ref().map_or(&self.effective.policy, |waiting| &waiting.desired.policy)
    }

    pub(super) fn object(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.effective.objects.get(key).or_else(|| self.made.get(key).map(|made| &made.object))
    }

    /// A template, as far as it is known.
    pub(super) fn snapshot(&self, workload: &ObjectKey, hash: &TemplateHash) -> Option<&Arc<PodSnapshot>> {
        let waiting = || {
            let object = self.waiting.as_ref()?.desired.objects.get(workload)?;
            object.snapshot().filter(|snapshot| snapshot.hash == *hash)
        };
        self.snapshots.get(hash).or_else(waiting)
    }

    /// True if somebody wants, or a commit once wanted, this workload.
    pub(super) fn knows(&self, workload: &ObjectKey) -> bool {
        let waiting = || self.waiting.as_ref().is_some_and(|waiting| waiting.desired.objects.contains_key(workload));
        self.object(workload).is_some() || self.pruning.contains_key(workload) || self.unreadable.contains(workload) || waiting()
    }

    /// The objects of one namespace.
    pub(super) fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Object>> {
        let first = ObjectKey::new(Kind::Namespace, namespace, "");
        let rest = self.effective.objects.range(first..);
        rest.take_while(move |(key, _)| key.namespace == namespace).map(|(_, object)| object)
    }

    pub(super) fn is_blocked(&self, key: &ObjectKey) -> bool {
        self.block.as_ref().is_some_and(|block| block.objects.contains(key))
    }
}
