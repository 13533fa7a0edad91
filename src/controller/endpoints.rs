//! Endpoints: for each Service who is behind it, which node knows, and which pods are on their way out of it.
//!
//! A pod that leaves a set is in use until every node that is heard has acknowledged the set without it, and for a drain
//! time after that, in which requests that were sent before end.

use crate::model::{EndpointSet, Epoch, Moment, NodeName, ObjectKey, PodUid, UsedEndpoints};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The time between the last acknowledgement and the stop of a pod: connections that the proxies made before are given
/// the time to send their request. What takes longer is the program's own graceful stop.
pub(super) const DRAIN: Duration = Duration::from_secs(2);

/// The endpoints of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// The newest set.
    pub(super) set: Arc<EndpointSet>,
    /// Pods that left the set.
    leaving: BTreeMap<PodUid, Leaving>,
}

impl Service {
    /// True if a pod that left it waits for somebody to acknowledge that.
    fn is_waited_for(&self) -> bool {
        self.leaving.values().any(|leaving| leaving.clear.is_none())
    }
}

/// A pod that left a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leaving {
    /// The first version without it.
    version: u64,
    /// Since when every node that is heard knows.
    clear: Option<Moment>,
}

/// Whether a pod is out of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Nobody is sent to it any more.
    Free,
    /// It will be free then, if nothing changes.
    Until(Moment),
    /// Some node has not acknowledged yet, or it is still in a set.
    Held,
}

/// All Services.
#[derive(Debug, Default)]
pub(super) struct Services {
    by_key: BTreeMap<ObjectKey, Service>,
    leaving_of: BTreeMap<PodUid, BTreeSet<ObjectKey>>,
    /// The pods in sets of earlier reigns that nodes use, of Services that have no set of this reign yet.
    inherited: BTreeMap<ObjectKey, BTreeSet<PodUid>>,
    /// The version that each node has acknowledged.
    acknowledged: BTreeMap<NodeName, BTreeMap<ObjectKey, u64>>,
    /// Counts versions within the reign.
    counter: u64,
    /// The Services that may select pods of a workload, and back.
    pub(super) of_workload: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    pub(super) workloads_of: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
}

impl Services {
    pub(super) fn keys(&self) -> BTreeSet<ObjectKey> {
        self.workloads_of.keys().chain(self.by_key.keys()).cloned().collect()
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Service> {
        self.by_key.get(key)
    }

    /// Takes a set over that has no version yet. Returns it with one if it differs from the last. The first set of a reign replaces
    /// those of earlier ones that nodes brought with them.
    pub(super) fn update(&mut self, new: EndpointSet, epoch: Epoch) -> Option<Arc<EndpointSet>> {
        let key = &new.service.clone();
        let old = self.by_key.get(key);
        if old.map_or(new.removed && !self.is_used(key), |old| is_same(&old.set, &new)) {
            return None;
        }
        let before = old.map_or_else(|| self.inherited.remove(key).unwrap_or_default(), |old| old.set.pods());
        let version = self.next_version(epoch);
        let set = Arc::new(EndpointSet { version, ..new });
        let after = set.pods();
        let leaving = self.by_key.remove(key).map(|old| old.leaving).unwrap_or_default();
        self.by_key.insert(key.clone(), Service { set: Arc::clone(&set), leaving });
        self.note_leaving(key, version, &before, &after);
        Some(set)
    }

    /// True if some node has a set of this Service.
    fn is_used(&self, key: &ObjectKey) -> bool {
        self.acknowledged.values().any(|known| known.get(key).is_some_and(|version| *version > 0))
    }

    /// Versions grow within an epoch by counting, and across epochs by the epoch itself.
    fn next_version(&mut self, epoch: Epoch) -> u64 {
        self.counter += 1;
        (epoch.0 << 32) + self.counter
    }

    fn note_leaving(&mut self, key: &ObjectKey, version: u64, before: &BTreeSet<PodUid>, after: &BTreeSet<PodUid>) {
        let Some(service) = self.by_key.get_mut(key) else { return };
        for back in after {
            if service.leaving.remove(back).is_some() {
                forget_one(&mut self.leaving_of, back, key);
            }
        }
        for gone in before.difference(after) {
            service.leaving.insert(*gone, Leaving { version, clear: None });
            self.leaving_of.entry(*gone).or_default().insert(key.clone());
        }
    }

    /// Notes what a node has acknowledged. Returns the Services for which that is news.
    pub(super) fn acknowledge(&mut self, node: &NodeName, versions: &BTreeMap<ObjectKey, u64>) -> Vec<ObjectKey> {
        if versions.is_empty() {
            return Vec::new();
        }
        let known = self.acknowledged.entry(node.clone()).or_default();
        let mut news = Vec::new();
        for (key, version) in versions {
            let last = known.entry(key.clone()).or_default();
            if version > last {
                *last = *version;
                news.push(key.clone());
            }
        }
        news
    }

    /// Begins anew with what a node says in its hello. A pod that all others know to be out of use may be in use there. Returns the
    /// Services that it uses and that have no set of this reign: one that says so is to be made.
    pub(super) fn restart(&mut self, node: &NodeName, endpoints: &BTreeMap<ObjectKey, UsedEndpoints>) -> Vec<ObjectKey> {
        let mut unknown = Vec::new();
        for (key, used) in endpoints {
            match self.by_key.get_mut(key) {
                Some(service) => {
                    for uid in used.pods.iter().filter(|uid| !has_member(&service.set, uid)) {
                        let version = service.leaving.get(uid).map_or(service.set.version, |leaving| leaving.version);
                        service.leaving.insert(*uid, Leaving { version, clear: None });
                        self.leaving_of.entry(*uid).or_default().insert(key.clone());
                    }
                }
                None => {
                    self.inherited.entry(key.clone()).or_default().extend(&used.pods);
                    unknown.push(key.clone());
                }
            }
        }
        let versions = endpoints.iter().map(|(key, used)| (key.clone(), used.version));
        self.acknowledged.insert(node.clone(), versions.collect());
        unknown
    }

    /// The sets that a node has not acknowledged.
    pub(super) fn behind(&self, node: &NodeName) -> Vec<Arc<EndpointSet>> {
        let known = self.acknowledged.get(node);
        let version = |key: &ObjectKey| known.and_then(|known| known.get(key)).copied().unwrap_or(0);
        let news = self.by_key.iter().filter(|(key, service)| {
            let version = version(key);
            // One that was removed matters only to those who had it, unless a pod waits for everybody's word.
            version < service.set.version && (version > 0 || !service.set.removed || service.is_waited_for())
        });
        news.map(|(_, service)| Arc::clone(&service.set)).collect()
    }

    /// Looks again at who has acknowledged. `heard` are the nodes that count. Returns the pods that became clear.
    pub(super) fn recheck(&mut self, key: &ObjectKey, heard: &[&NodeName], now: Moment) -> Vec<PodUid> {
        let Some(service) = self.by_key.get_mut(key) else { return Vec::new() };
        if service.leaving.values().all(|leaving| leaving.clear.is_some()) {
            return Vec::new();
        }
        let acknowledged = &self.acknowledged;
        let of_node = |name: &&NodeName| acknowledged.get(*name).and_then(|known| known.get(key)).copied().unwrap_or(0);
        let least = heard.iter().map(of_node).min().unwrap_or(u64::MAX);
        let mut cleared = Vec::new();
        for (uid, leaving) in &mut service.leaving {
            if leaving.clear.is_none() && leaving.version <= least {
                leaving.clear = Some(now);
                cleared.push(*uid);
            }
        }
        cleared
    }

    /// Services that somebody has not acknowledged and that a pod waits for.
    pub(super) fn waiting(&self) -> Vec<ObjectKey> {
        self.by_key.iter().filter(|(_, service)| service.is_waited_for()).map(|(key, _)| key.clone()).collect()
    }

    /// Whether a pod is out of use. `candidates` are the Services that may have it.
    pub(super) fn in_use(&self, uid: &PodUid, candidates: Option<&BTreeSet<ObjectKey>>, now: Moment) -> Use {
        let has = |key: &ObjectKey| self.by_key.get(key).is_some_and(|service| has_member(&service.set, uid));
        if candidates.into_iter().flatten().any(has) {
            return Use::Held;
        }
        let mut free_at = None;
        for key in self.leaving_of.get(uid).into_iter().flatten() {
            let leaving = self.by_key.get(key).and_then(|service| service.leaving.get(uid));
            match leaving.map(|leaving| leaving.clear) {
                Some(None) => return Use::Held,
                Some(Some(clear)) => free_at = free_at.max(Some(clear + DRAIN)),
                None => {}
            }
        }
        match free_at {
            Some(at) if at > now => Use::Until(at),
            Some(_) | None => Use::Free,
        }
    }

    /// Forgets what a node that is gone has acknowledged.
    pub(super) fn forget_node(&mut self, name: &NodeName) {
        self.acknowledged.remove(name);
    }

    /// Forgets a pod that is gone.
    pub(super) fn forget(&mut self, uid: &PodUid) {
        for key in self.leaving_of.remove(uid).into_iter().flatten() {
            if let Some(service) = self.by_key.get_mut(&key) {
                service.leaving.remove(uid);
            }
        }
    }
}

fn forget_one(leaving_of: &mut BTreeMap<PodUid, BTreeSet<ObjectKey>>, uid: &PodUid, key: &ObjectKey) {
    if let Some(keys) = leaving_of.get_mut(uid) {
        keys.remove(key);
        if keys.is_empty() {
            leaving_of.remove(uid);
        }
    }
}

fn has_member(set: &EndpointSet, uid: &PodUid) -> bool {
    let is_backend = || set.ports.iter().any(|port| port.backends.iter().any(|backend| backend.pod == *uid));
    set.members.iter().any(|member| member.pod == *uid) || is_backend()
}

/// True if two sets differ in their version at most.
pub(super) fn is_same(one: &EndpointSet, other: &EndpointSet) -> bool {
    *one == EndpointSet { version: one.version, ..other.clone() }
}
