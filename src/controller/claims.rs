//! Volume claims: which node has the data of each, which pods use it, and the way out of one that is deleted.
//!
//! A claim is a folder on one node: the one that first runs a pod with it. From then on its pods run there, and wait for the node while
//! it is away. Claims come from files of the repo, and from the templates of StatefulSets; what no file has is remembered here and in
//! `current/`. Where the memory is lost, agents say which folders they have.
//!
//! Data is deleted by an explicit order to its node, when no pod uses the claim any more, and the claim is gone when the node reports
//! that it does not have it. A claim that is on its way out takes no new pods.

use super::core::Controller;
use super::happenings::Happening;
use super::inputs::Applied;
use super::placements::Placement;
use super::records::Occasion;
use crate::model::{
    ClaimTemplate, ClaimView, CurrentObject, CurrentVolume, Moment, NodeName, Object, ObjectKey, PodUid, StopReason, Strategy,
    TemplateHash, WaitingOn,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One claim that has a place, or had one.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Claim {
    /// The node whose disk has the data.
    node: Option<NodeName>,
    /// The StatefulSet that made it, if no file of the repo did.
    made_by: Option<ObjectKey>,
    /// What is recorded of it where the revision does not have it.
    record: Option<CurrentObject>,
    /// True once it is to be deleted.
    deleting: bool,
}

/// All claims, and who uses them.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_key: BTreeMap<ObjectKey, Claim>,
    users: BTreeMap<ObjectKey, BTreeSet<PodUid>>,
    of_pod: BTreeMap<PodUid, BTreeSet<ObjectKey>>,
}

impl Claims {
    /// Takes a claim over from the memory.
    pub(super) fn restore(&mut self, key: &ObjectKey, current: &CurrentObject, volume: &CurrentVolume) {
        let is_ours = volume.made_by.is_some() || volume.deleting;
        let record = is_ours.then(|| CurrentObject { volume: None, ..current.clone() });
        let claim = Claim { node: volume.node.clone(), made_by: volume.made_by.clone(), record, deleting: volume.deleting };
        self.by_key.insert(key.clone(), claim);
    }

    pub(super) fn uses_any(&self, uid: &PodUid) -> bool {
        self.of_pod.contains_key(uid)
    }

    fn is_used(&self, key: &ObjectKey) -> bool {
        self.users.get(key).is_some_and(|users| !users.is_empty())
    }

    /// What `current/` says of where a claim is.
    pub(super) fn volume(&self, key: &ObjectKey) -> Option<CurrentVolume> {
        let claim = self.by_key.get(key)?;
        Some(CurrentVolume { node: claim.node.clone(), made_by: claim.made_by.clone(), deleting: claim.deleting })
    }

    /// The file of a claim that the revision does not have.
    pub(super) fn current(&self, key: &ObjectKey) -> Option<CurrentObject> {
        let record = self.by_key.get(key)?.record.clone()?;
        Some(CurrentObject { volume: self.volume(key), ..record })
    }

    /// When those were created that no file has.
    pub(super) fn created(&self) -> impl Iterator<Item = (ObjectKey, Moment)> {
        self.by_key.iter().filter_map(|(key, claim)| Some((key.clone(), claim.record.as_ref()?.created?)))
    }

    pub(super) fn views(&self) -> BTreeMap<ObjectKey, ClaimView> {
        let view = |(key, claim): (&ObjectKey, &Claim)| {
            let users = self.users.get(key).into_iter().flatten().copied().collect();
            let written = claim.record.as_ref().map(|record| record.applied.clone());
            let (node, made_by) = (claim.node.clone(), claim.made_by.clone());
            (key.clone(), ClaimView { node, made_by, written, deleting: claim.deleting, users })
        };
        self.by_key.iter().map(view).collect()
    }

    /// Makes the index from claims to pods again and compares; `exists` says whether a pod is known.
    pub(super) fn check(&self, exists: impl Fn(&PodUid) -> bool) -> Result<(), String> {
        let mut users: BTreeMap<ObjectKey, BTreeSet<PodUid>> = BTreeMap::new();
        for (uid, keys) in &self.of_pod {
            if !exists(uid) {
                return Err(format!("claims are used by {uid}, which is gone"));
            }
            for key in keys {
                users.entry(key.clone()).or_default().insert(*uid);
            }
        }
        if users == self.users { Ok(()) } else { Err("the index from claims to pods differs from the pods".to_owned()) }
    }

    fn enlist(&mut self, uid: PodUid, keys: BTreeSet<ObjectKey>) {
        for key in &keys {
            self.users.entry(key.clone()).or_default().insert(uid);
        }
        if !keys.is_empty() {
            self.of_pod.insert(uid, keys);
        }
    }

    fn discharge(&mut self, uid: &PodUid) -> BTreeSet<ObjectKey> {
        let keys = self.of_pod.remove(uid).unwrap_or_default();
        for key in &keys {
            if let Some(users) = self.users.get_mut(key) {
                users.remove(uid);
                if users.is_empty() {
                    self.users.remove(key);
                }
            }
        }
        keys
    }
}

impl Controller {
    /// The claims that a pod of a workload mounts.
    pub(super) fn claims_for(&self, workload: &ObjectKey, pod: &str, hash: &TemplateHash) -> BTreeSet<ObjectKey> {
        let Some(snapshot) = self.inputs.snapshot(workload, hash) else { return BTreeSet::new() };
        snapshot.template.spec.claim_keys(&workload.namespace, pod)
    }

    /// The node that has the data of these claims; `None` if none of them has a place yet. Else what a pod with them waits for.
    pub(super) fn node_of(&self, claims: &BTreeSet<ObjectKey>) -> Result<Option<NodeName>, WaitingOn> {
        let refused = |message: String| Err(WaitingOn::Placement(message));
        let mut found: Option<(&ObjectKey, &NodeName)> = None;
        for key in claims {
            let claim = self.claims.by_key.get(key);
            if claim.is_some_and(|claim| claim.deleting) {
                return refused(format!("{key} is being deleted"));
            }
            if self.is_for_one_pod(key) && self.claims.is_used(key) {
                return refused(format!("{key} is ReadWriteOncePod, and another pod uses it"));
            }
            match (found, claim.and_then(|claim| claim.node.as_ref())) {
                (Some((first, there)), Some(here)) if there != here => {
                    return refused(format!("the data of {first} is on {there}, that of {key} on {here}: no node has both"));
                }
                (None, Some(here)) => found = Some((key, here)),
                (_, _) => {}
            }
        }
        Ok(found.map(|(_, node)| node.clone()))
    }

    /// What was on a host that is gone for good is lost: its claims begin anew elsewhere, and those that were to be deleted are.
    pub(super) fn lose_claims(&mut self, name: &NodeName) {
        let there = self.claims.by_key.iter().filter(|(_, claim)| claim.node.as_ref() == Some(name));
        for key in there.map(|(key, _)| key.clone()).collect::<Vec<ObjectKey>>() {
            let deleting = self.claims.by_key.get(&key).is_some_and(|claim| claim.deleting);
            if deleting {
                self.claims.by_key.remove(&key);
            } else if let Some(claim) = self.claims.by_key.get_mut(&key) {
                claim.node = None;
            }
            self.records.touch(&key);
            let message = format!("its data was on {name}, which a commit has removed: it is lost");
            self.happenings.note(Happening { about: &key, pod: None, warning: true, reason: "DataLost", message }, self.now);
        }
    }

    fn is_for_one_pod(&self, key: &ObjectKey) -> bool {
        let spec = self.inputs.object(key).and_then(|object| object.claim());
        spec.is_some_and(|spec| spec.access_modes.iter().any(|mode| mode == "ReadWriteOncePod"))
    }

    /// A pod uses its claims from now on; those without a place get one on its node.
    pub(super) fn use_claims(&mut self, placement: &Placement) {
        let run = &placement.run;
        let claims = self.claims_for(&run.workload, &run.name, &run.hash);
        for key in &claims {
            self.settle_on(key, &placement.node);
            self.note_maker(key, &run.workload, run.slot);
        }
        self.claims.enlist(run.uid, claims);
    }

    /// A claim without a place has its data on this node from now on.
    fn settle_on(&mut self, key: &ObjectKey, node: &NodeName) {
        let claim = self.claims.by_key.entry(key.clone()).or_default();
        if claim.node.is_none() {
            claim.node = Some(node.clone());
            self.records.touch(key);
        }
    }

    /// Where no file has the claim, the StatefulSet of the pod made it from a template.
    fn note_maker(&mut self, key: &ObjectKey, set: &ObjectKey, slot: u32) {
        let is_known = |claim: &Claim| claim.record.is_some();
        if self.inputs.object(key).is_some() || self.claims.by_key.get(key).is_some_and(is_known) {
            return;
        }
        let Some(object) = self.inputs.object(set).cloned() else { return };
        let Some(template) = template_of(&object, key, slot) else { return };
        let applied = self.inputs.applied.get(set);
        let record = CurrentObject {
            commit: applied.and_then(|applied| applied.commit.clone()),
            path: applied.map(|applied| applied.path.clone()).unwrap_or_default(),
            unit: applied.map(|applied| applied.unit.clone()).unwrap_or_default(),
            created: Some(self.wall()),
            applied: document(key, template),
            ..CurrentObject::default()
        };
        if let Some(claim) = self.claims.by_key.get_mut(key) {
            claim.made_by = Some(set.clone());
            claim.record = Some(record);
            self.records.touch(key);
        }
    }

    /// A pod is gone. Of one that was too many, the claims may go with it.
    pub(super) fn leave_claims(&mut self, placement: &Placement) {
        let left = self.claims.discharge(&placement.run.uid);
        let scaled = placement.retired.as_ref().is_some_and(|retired| retired.reason == StopReason::ScaledDown);
        let set = &placement.run.workload;
        let goes =
            scaled && self.inputs.object(set).is_some_and(|object| deletes(object, |retention| retention.delete_when_scaled));
        for key in left {
            let made = self.claims.by_key.get(&key).is_some_and(|claim| claim.made_by.as_ref() == Some(set));
            if goes && made {
                self.delete_claim(&key);
            }
            self.dirty.nodes.extend(self.claims.by_key.get(&key).and_then(|claim| claim.node.clone()));
        }
    }

    /// A StatefulSet is gone: the claims that it made stay, unless it says otherwise.
    pub(super) fn delete_claims_of(&mut self, set: &Object) {
        if !deletes(set, |retention| retention.delete_when_deleted) {
            return;
        }
        let made = self.claims.by_key.iter().filter(|(_, claim)| claim.made_by.as_ref() == Some(&set.key));
        for key in made.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.delete_claim(&key);
        }
    }

    /// The revision does not have a claim any more, and its deletion is approved.
    pub(super) fn prune_claim(&mut self, object: &Object, applied: Option<&Applied>) {
        let Some(claim) = self.claims.by_key.get_mut(&object.key) else { return };
        claim.record = Some(CurrentObject {
            commit: applied.and_then(|applied| applied.commit.clone()),
            path: object.source.file.clone(),
            unit: object.source.unit.as_str().to_owned(),
            created: applied.and_then(|applied| applied.created),
            applied: (*object.written).clone(),
            ..CurrentObject::default()
        });
        self.delete_claim(&object.key);
    }

    fn delete_claim(&mut self, key: &ObjectKey) {
        let Some(claim) = self.claims.by_key.get_mut(key) else { return };
        claim.deleting = true;
        self.dirty.nodes.extend(claim.node.clone());
        self.records.touch(key);
        let message = "its data is deleted as soon as no pod uses it".to_owned();
        self.happenings.note(Happening { about: key, pod: None, warning: false, reason: "Deleting", message }, self.now);
    }

    /// The revision has a claim: it is not deleted after all, unless its node was told to.
    pub(super) fn keep_claim(&mut self, key: &ObjectKey) {
        let Some(claim) = self.claims.by_key.get(key) else { return };
        let node = claim.node.as_ref().and_then(|name| self.nodes.get(name));
        let told = node.and_then(|node| node.assignment.as_ref()).is_some_and(|last| last.erase.contains(key));
        if let Some(claim) = self.claims.by_key.get_mut(key) {
            claim.deleting &= told;
            claim.record = None;
            claim.made_by = None;
        }
    }

    /// The claims of which a node is to delete the data.
    pub(super) fn erasures(&self, name: &NodeName) -> BTreeSet<ObjectKey> {
        let due = self.claims.by_key.iter().filter(|(_, claim)| claim.deleting && claim.node.as_ref() == Some(name));
        due.map(|(key, _)| key).filter(|key| !self.claims.is_used(key)).cloned().collect()
    }

    /// A node says which claims it has the data of. What is not known from elsewhere has its place there.
    pub(super) fn hear_volumes(&mut self, name: &NodeName, volumes: BTreeSet<ObjectKey>) {
        for key in &volumes {
            self.settle_on(key, name);
        }
        if let Some(node) = self.nodes.get_mut(name) {
            node.volumes = volumes;
        }
    }

    /// Forgets the claims that a node has deleted.
    pub(super) fn settle_erasures(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get(name) else { return };
        let Some(told) = node.assignment.as_ref().filter(|told| node.acknowledged >= told.generation) else { return };
        let is_deleting = |key: &&ObjectKey| self.claims.by_key.get(*key).is_some_and(|claim| claim.deleting);
        let gone = told.erase.iter().filter(|key| !node.volumes.contains(*key)).filter(is_deleting);
        for key in &gone.cloned().collect::<Vec<ObjectKey>>() {
            self.claims.by_key.remove(key);
            self.records.touch(key);
            self.dirty.nodes.insert(name.clone());
            self.dirty.workloads.append(&mut self.dirty.unplaced);
            let message = format!("its data on {name} is deleted");
            self.batch(Occasion::Erasure, key, message.clone());
            self.happenings.note(Happening { about: key, pod: None, warning: false, reason: "Deleted", message }, self.now);
        }
    }
}

/// The claim template that a claim of a StatefulSet's pod comes from.
fn template_of<'a>(set: &'a Object, key: &ObjectKey, slot: u32) -> Option<&'a ClaimTemplate> {
    let Strategy::Stateful(spec) = &set.workload()?.strategy else { return None };
    spec.claims.iter().find(|claim| key.name == format!("{}-{}-{slot}", claim.name, set.key.name))
}

fn deletes(object: &Object, when: impl Fn(&crate::model::ClaimRetention) -> bool) -> bool {
    let strategy = object.workload().map(|workload| &workload.strategy);
    matches!(strategy, Some(Strategy::Stateful(spec)) if when(&spec.retention))
}

/// The claim as Kubernetes would have it.
fn document(key: &ObjectKey, template: &ClaimTemplate) -> Value {
    let mut metadata = json!(template.meta);
    metadata["name"] = json!(key.name);
    metadata["namespace"] = json!(key.namespace);
    json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template.spec })
}
