//! Volume claims: whose data is on this host, and deleting what the controller orders to be deleted.
//!
//! A volume is never deleted while a pod here mounts it, nor before every runtime was listed: a pod may be found yet. A deletion that has
//! begun goes on, also when its order is withdrawn; a pod that comes with the claim meanwhile waits, and starts with an empty folder.

use super::agent::{Agent, RETRY};
use super::event::Effect;
use crate::model::{Moment, ObjectKey, PodEvent, PodRun, PodUid};
use std::collections::BTreeSet;

impl Agent {
    /// The claims of a pod that is to run have their data here from now on.
    pub(super) fn hold_claims(&mut self, run: &PodRun) {
        for volume in self.claims_of(run) {
            if self.volumes.insert(volume) {
                self.outbox.volumes = true;
                self.ledger_dirty = true;
            }
        }
    }

    /// The claims that a pod mounts; none as long as its template is not known.
    fn claims_of(&self, run: &PodRun) -> BTreeSet<ObjectKey> {
        let Some(snapshot) = self.templates.get(&run.hash) else { return BTreeSet::new() };
        snapshot.template.spec.claim_keys(&run.workload.namespace, &run.name)
    }

    /// Takes over what is ordered to be deleted.
    pub(super) fn order_erasures(&mut self, ordered: &BTreeSet<ObjectKey>) {
        self.erase.retain(|volume, _| ordered.contains(volume));
        for volume in ordered {
            self.erase.entry(volume.clone()).or_insert(Moment(0));
        }
    }

    /// Begins to delete what is due and in nobody's use.
    pub(super) fn erase_volumes(&mut self, now: Moment) {
        if self.erase.is_empty() || !self.hosts.values().all(|host| host.listed) {
            return;
        }
        let due = self.erase.iter().filter(|(volume, at)| **at <= now && self.volumes.contains(volume)).map(|(volume, _)| volume);
        let due: Vec<ObjectKey> =
            due.filter(|volume| !self.erasing.contains(volume) && !self.may_mount(volume)).cloned().collect();
        for volume in due {
            self.erasing.insert(volume.clone());
            self.effects.push(Effect::Erase(volume));
        }
    }

    /// True if a pod here has the volume, or may have it, since its template is not known.
    fn may_mount(&self, volume: &ObjectKey) -> bool {
        let mut pods = self.pods.values().filter(|pod| pod.run.workload.namespace == volume.namespace);
        pods.any(|pod| !self.templates.contains_key(&pod.run.hash) || self.claims_of(&pod.run).contains(volume))
    }

    /// What a pod waits for as long as one of its claims is being deleted.
    pub(super) fn erasure_under_way(&self, run: &PodRun) -> Option<String> {
        if self.erasing.is_empty() {
            return None;
        }
        let volume = self.claims_of(run).into_iter().find(|volume| self.erasing.contains(volume))?;
        Some(format!("waiting until the old data of {volume} is deleted"))
    }

    pub(super) fn erased(&mut self, volume: ObjectKey, outcome: Result<(), String>, now: Moment) {
        self.erasing.remove(&volume);
        let with_it = self.pods.values().map(|pod| &pod.run).filter(|run| self.claims_of(run).contains(&volume));
        let came: Vec<PodUid> = with_it.map(|run| run.uid).collect();
        let (warning, reason, message) = match outcome {
            Ok(()) => {
                self.erase.remove(&volume);
                if came.is_empty() {
                    self.volumes.remove(&volume);
                    self.outbox.volumes = true;
                    self.ledger_dirty = true;
                }
                (false, "VolumeDeleted", format!("the data of {volume} was deleted"))
            }
            Err(error) => {
                if let Some(at) = self.erase.get_mut(&volume) {
                    *at = now + RETRY;
                }
                (true, "VolumeFailedDelete", format!("the data of {volume} cannot be deleted: {error}"))
            }
        };
        self.dirty.extend(came);
        self.outbox.events.push(PodEvent { pod: None, warning, reason: reason.to_owned(), message });
    }

    /// When to try again to delete something.
    pub(super) fn next_erasure(&self, now: Moment) -> Option<Moment> {
        self.erase.values().copied().filter(|at| *at > now).min()
    }
}
