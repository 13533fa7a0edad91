//! What the audit branch remembers, taken over at the start.

use super::core::Controller;
use super::crons::Made;
use super::event::Restored;
use super::inputs::Applied;
use super::tree;
use super::work::{Numbers, Work};
use crate::apply::rollout::{JobMemory, RolloutMemory};
use crate::model::{CurrentObject, CurrentPods, Kind, NodeName, Object, ObjectKey, PruneBlock, TemplateHash};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Controller {
    /// Takes the cluster memory over. Changes nothing; a file that names an object which can no longer be read keeps its pods.
    pub(super) fn restore(&mut self, restored: Restored) {
        self.inputs.restored = true;
        self.inputs.has_memory = restored.notes.is_some();
        let notes = restored.notes.unwrap_or_default();
        for (name, node) in &notes.nodes {
            self.nodes.enter(name, node.created);
            self.network.restore(self.settings.network.as_ref(), name, node.pods);
        }
        self.members.restore(&notes.members);
        self.inputs.effective.revision.clone_from(&notes.revision);
        self.records.remember_notes(&notes);
        self.inputs.snapshots = restored.snapshots;
        for (key, current) in &restored.current {
            self.remember(key, current);
            if let Some(volume) = &current.volume {
                self.claims.restore(key, current, volume);
            }
            if !restored.objects.contains_key(key) && key.kind != Kind::PersistentVolumeClaim {
                self.inputs.unreadable.insert(key.clone());
            }
        }
        let made_by = |key: &ObjectKey| restored.current.get(key).and_then(|current| current.made_by.clone());
        for object in restored.objects.values() {
            if let Some(snapshot) = object.snapshot() {
                self.inputs.snapshots.insert(snapshot.hash.clone(), snapshot.clone());
            }
        }
        let (made, written) = restored.objects.into_iter().partition(|(key, _)| made_by(key).is_some());
        self.inputs.effective.objects = written;
        // What an approved commit has deleted already is not deleted once more.
        self.inputs.effective.objects.retain(|key, _| self.claims.volume(key).is_none_or(|volume| !volume.deleting));
        let made: BTreeMap<ObjectKey, Arc<Object>> = made;
        self.inputs.made =
            made.into_iter().filter_map(|(key, object)| Some((key.clone(), Made { by: made_by(&key)?, object }))).collect();
        self.restore_block();
        self.claim();
    }

    fn remember(&mut self, key: &ObjectKey, current: &CurrentObject) {
        self.records.remember(key, tree::text(current));
        if current.volume.as_ref().is_some_and(|volume| volume.made_by.is_some() || volume.deleting) {
            return;
        }
        let applied = Applied {
            commit: current.commit.clone(),
            path: current.path.clone(),
            unit: current.unit.clone(),
            blocked: current.deletion_blocked,
            created: current.created,
        };
        self.inputs.applied.insert(key.clone(), applied);
        if let Some(address) = current.address {
            self.inputs.addresses.restore(key, address);
        }
        self.inputs.node_ports.restore(key, &current.node_ports);
        if let Some(cron) = &current.cron {
            self.crons.insert(key.clone(), cron.clone());
        }
        if let Some(pods) = &current.pods {
            self.works.insert(key.clone(), work(pods));
        }
    }

    fn restore_block(&mut self) {
        let blocked = self.inputs.applied.iter().filter(|(_, applied)| applied.blocked);
        let objects: Vec<ObjectKey> = blocked.map(|(key, _)| key.clone()).collect();
        if !objects.is_empty() {
            let reason = "held back before the controller started".to_owned();
            let block = PruneBlock { objects, reason };
            self.records.remember_block(&block);
            self.inputs.block = Some(block);
        }
    }
}

/// The rollout of a workload as the memory tells it. Times start anew.
fn work(pods: &CurrentPods) -> Work {
    let hash = |text: &String| TemplateHash::new(text.clone());
    let targets = pods.sets.iter().map(|(text, set)| (hash(text), set.nodes.values().sum())).filter(|(_, count)| *count > 0);
    let origins = pods.sets.iter().filter_map(|(text, set)| Some((hash(text), set.commit.clone()?)));
    let job = JobMemory { run: pods.job.clone().unwrap_or_default(), ..JobMemory::default() };
    let remembered = if pods.job.is_some() { pods_by_node(pods) } else { BTreeMap::new() };
    Work {
        memory: RolloutMemory {
            targets: targets.collect(),
            remembered: true,
            replicas: Some(pods.replicas),
            promoted: pods.promoted.clone(),
            quarantined: pods.quarantined.clone(),
            job,
            ..RolloutMemory::default()
        },
        replicas: pods.replicas,
        autoscaled: pods.autoscaled,
        origins: origins.collect(),
        images: images(pods),
        remembered,
        numbers: Some(Numbers { replicas: pods.replicas, places: pods.places.clone(), leases: pods.leases.clone() }),
        ..Work::default()
    }
}

/// What the names of images stand for in each template.
fn images(pods: &CurrentPods) -> BTreeMap<TemplateHash, BTreeMap<String, String>> {
    let wanted = (&pods.template_hash, &pods.images);
    let all = pods.sets.iter().map(|(hash, set)| (hash, &set.images)).chain([wanted]);
    all.filter(|(_, images)| !images.is_empty()).map(|(hash, images)| (TemplateHash::new(hash.clone()), images.clone())).collect()
}

fn pods_by_node(pods: &CurrentPods) -> BTreeMap<NodeName, u32> {
    let mut by_node: BTreeMap<NodeName, u32> = BTreeMap::new();
    for (node, count) in pods.sets.values().flat_map(|set| &set.nodes) {
        *by_node.entry(node.clone()).or_default() += count;
    }
    by_node
}
