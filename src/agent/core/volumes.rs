//! Volume claims: whose data is on this host, and deleting what the controller orders to be deleted.
//!
//! A volume is never deleted while a pod here mounts it, nor before every runtime was listed: a pod may be found yet.

use super::agent::{Agent, RETRY};
use super::event::Effect;
use crate::model::{Kind, Moment, ObjectKey, PodEvent, PodRun};
use std::collections::BTreeSet;

impl Agent {
    /// The claims of a pod that is to run have their data here from now on.
    pub(super) fn hold_claims(&mut self, run: &PodRun) {
        let Some(snapshot) = self.templates.get(&run.hash) else { return };
        for claim in snapshot.template.spec.claims_of(&run.name) {
            let volume = ObjectKey::new(Kind::PersistentVolumeClaim, run.workload.namespace.clone(), claim);
            if self.volumes.insert(volume) {
                self.outbox.volumes = true;
                self.ledger_dirty = true;
            }
        }
    }

    /// Takes over what is ordered to be deleted; what is under way goes on.
    pub(super) fn order_erasures(&mut self, ordered: &BTreeSet<ObjectKey>) {
        self.erase.retain(|volume, _| ordered.contains(volume));
        for volume in ordered {
            self.erase.entry(volume.clone()).or_insert(Some(Moment(0)));
        }
    }

    /// Begins to delete what is due and in nobody's use.
    pub(super) fn erase_volumes(&mut self, now: Moment) {
        if self.erase.is_empty() || !self.hosts.values().all(|host| host.listed) {
            return;
        }
        let due = self.erase.iter().filter(|(_, at)| at.is_some_and(|at| at <= now)).map(|(volume, _)| volume.clone());
        let due: Vec<ObjectKey> = due.filter(|volume| self.volumes.contains(volume) && !self.is_mounted(volume)).collect();
        for volume in due {
            self.erase.insert(volume.clone(), None);
            self.effects.push(Effect::Erase(volume));
        }
    }

    /// True if a pod here has the volume, or may have it, since its template is not known.
    fn is_mounted(&self, volume: &ObjectKey) -> bool {
        let pods = self.pods.values().filter(|pod| pod.run.workload.namespace == volume.namespace);
        pods.into_iter().any(|pod| match self.templates.get(&pod.run.hash) {
            Some(snapshot) => snapshot.template.spec.claims_of(&pod.run.name).contains(&volume.name),
            None => true,
        })
    }

    pub(super) fn erased(&mut self, volume: ObjectKey, outcome: Result<(), String>, now: Moment) {
        let (warning, reason, message) = match outcome {
            Ok(()) => {
                self.volumes.remove(&volume);
                self.outbox.volumes = true;
                self.ledger_dirty = true;
                self.erase.remove(&volume);
                (false, "VolumeDeleted", format!("the data of {volume} was deleted"))
            }
            Err(error) => {
                if let Some(at) = self.erase.get_mut(&volume) {
                    *at = Some(now + RETRY);
                }
                (true, "VolumeFailedDelete", format!("the data of {volume} cannot be deleted: {error}"))
            }
        };
        self.outbox.events.push(PodEvent { pod: None, warning, reason: reason.to_owned(), message });
    }

    /// When to try again to delete something.
    pub(super) fn next_erasure(&self, now: Moment) -> Option<Moment> {
        self.erase.values().flatten().copied().filter(|at| *at > now).min()
    }
}
