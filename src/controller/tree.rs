//! `current/` on the audit branch: the cluster memory as text. It is read back by [`crate::sync`].
//!
//! The text of a file depends on the object alone: fields in a fixed order, maps sorted, so that a file changes only when
//! the world does.

use super::core::Controller;
use super::placements::Placement;
use crate::model::{ClusterNotes, CurrentObject, CurrentPods, CurrentSet, JobRun, Kind, NodeName, Object, ObjectKey};
use std::collections::BTreeMap;

/// The text of an object's file.
pub(super) fn text(current: &CurrentObject) -> String {
    yaml(current)
}

/// The text of the notes.
pub(super) fn notes_text(notes: &ClusterNotes) -> String {
    yaml(notes)
}

/// YAML by way of JSON: every YAML reader reads it, and nothing of it depends on how a value was made. Our values have no
/// keys that are not texts, so this cannot fail; an empty text would be seen at once.
fn yaml<T: serde::Serialize>(value: &T) -> String {
    serde_saphyr::to_string(value).unwrap_or_default()
}

impl Controller {
    /// An object as it is recorded; `None` if it is gone.
    pub(super) fn current(&self, key: &ObjectKey) -> Option<CurrentObject> {
        if key.kind == Kind::PersistentVolumeClaim && self.inputs.object(key).is_none() {
            return self.claims.current(key);
        }
        let applied = self.inputs.applied.get(key)?;
        let object = self.inputs.object(key).or_else(|| self.inputs.pruned.get(key))?;
        Some(CurrentObject {
            commit: applied.commit.clone(),
            path: applied.path.clone(),
            unit: applied.unit.clone(),
            created: applied.created,
            applied: (*object.written).clone(),
            pods: object.workload().is_some().then(|| self.current_pods(object)),
            address: self.inputs.addresses.get(key),
            node_ports: self.inputs.node_ports.current(key),
            cron: self.crons.get(key).cloned(),
            made_by: self.inputs.made.get(key).map(|made| made.by.clone()),
            volume: self.claims.volume(key),
            deletion_blocked: self.inputs.is_blocked(key),
        })
    }

    fn current_pods(&self, object: &Object) -> CurrentPods {
        let key = &object.key;
        let work = self.works.get(key).cloned().unwrap_or_default();
        let wanted = object.snapshot().map(|snapshot| snapshot.hash.clone());
        let mut sets: BTreeMap<String, CurrentSet> = BTreeMap::new();
        let is_job = Self::is_job(key);
        let counts = |placement: &&Placement| placement.retired.is_none() && !(is_job && placement.ended_since.is_some());
        for placement in self.placements.of_workload(key).filter(counts) {
            let hash = &placement.run.hash;
            let commit = work.origins.get(hash).cloned().or_else(|| Some(placement.run.revision.clone()));
            // Those of the wanted template have a place of their own, also while it has no pods.
            let images = work.images.get(hash).filter(|_| wanted.as_ref() != Some(hash)).cloned().unwrap_or_default();
            let set = sets.entry(hash.as_str().to_owned());
            let set = set.or_insert_with(|| CurrentSet { commit, images, ..CurrentSet::default() });
            *set.nodes.entry(placement.node.clone()).or_default() += 1;
        }
        CurrentPods {
            template_hash: wanted.as_ref().map(|hash| hash.as_str().to_owned()).unwrap_or_default(),
            replicas: work.replicas,
            sets,
            places: self.current_places(key),
            leases: self.current_leases(key),
            images: wanted.as_ref().and_then(|hash| work.images.get(hash)).cloned().unwrap_or_default(),
            promoted: work.memory.promoted.clone(),
            quarantined: work.memory.quarantined.clone(),
            autoscaled: work.autoscaled,
            job: is_job.then(|| self.job_on_wall(work.memory.job.run)),
        }
    }

    /// Where the numbers of a StatefulSet are. One that may run on a node that was not heard of yet is where the memory says.
    fn current_places(&self, key: &ObjectKey) -> BTreeMap<u32, NodeName> {
        if key.kind != Kind::StatefulSet {
            return BTreeMap::new();
        }
        let unheard =
            self.inputs.object(key).and_then(|object| object.workload()).map(|workload| self.unheard_numbers(key, workload));
        let mut places = unheard.unwrap_or_default();
        // Of two pods of one number, that one counts which may still run.
        for lapsed in [true, false] {
            let of_workload = self.placements.of_workload(key).filter(|placement| placement.lapsed == lapsed);
            places.extend(of_workload.map(|placement| (placement.run.slot, placement.node.clone())));
        }
        places
    }

    /// What is remembered of a Job, in the time that another process would understand.
    fn job_on_wall(&self, mut run: JobRun) -> JobRun {
        run.started = run.started.map(|at| self.to_wall(at));
        if let Some(outcome) = &mut run.outcome {
            outcome.at = self.to_wall(outcome.at);
        }
        run
    }

    /// What belongs to no object.
    pub(super) fn notes(&self) -> ClusterNotes {
        let in_use = |name: &&NodeName| {
            self.network.range(name).is_some()
                || self.nodes.get(name).is_some_and(|node| node.ready || node.heard.is_none())
                || self.placements.count_of_node(name) > 0
        };
        ClusterNotes {
            cluster_id: self.settings.cluster_id.clone(),
            revision: self.inputs.effective.revision.clone(),
            epoch: self.epoch.0,
            instance: self.settings.instance.clone(),
            nodes: self.nodes.by_name.keys().filter(in_use).map(|name| (name.clone(), self.node_notes(name))).collect(),
            members: self.members.all().clone(),
        }
    }
}
