//! The pods of each workload: how many are on which node, and what they mean to others.

use super::request::{Profile, Request};
use crate::model::{NodeName, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The pods that are reserved, by workload.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    by_workload: BTreeMap<ObjectKey, Group>,
    /// Workloads with pods that keep others away.
    guarding: BTreeSet<ObjectKey>,
}

/// The pods of one workload.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    counts: BTreeMap<NodeName, u32>,
    /// The nodes by their count, which is never 0.
    levels: BTreeMap<u32, BTreeSet<NodeName>>,
    /// Its pods by what they mean to others: one entry, but for a rollout that changes labels.
    alike: Vec<(Arc<Profile>, BTreeMap<NodeName, u32>)>,
}

impl Groups {
    /// How many pods of a workload are reserved on a node.
    pub(super) fn count(&self, workload: &ObjectKey, name: &NodeName) -> u32 {
        self.by_workload.get(workload).and_then(|group| group.counts.get(name)).copied().unwrap_or(0)
    }

    /// The pods of one workload; `None` if it has none.
    pub(super) fn get(&self, workload: &ObjectKey) -> Option<&Group> {
        self.by_workload.get(workload)
    }

    /// Counts one more pod.
    pub(super) fn add(&mut self, name: &NodeName, request: &Request) {
        if !self.by_workload.contains_key(&request.workload) {
            self.by_workload.insert(request.workload.clone(), Group::default());
        }
        let Some(group) = self.by_workload.get_mut(&request.workload) else { return };
        group.add(name, &request.profile);
        if !request.profile.avoids.is_empty() {
            self.guarding.insert(request.workload.clone());
        }
    }

    /// Counts one pod fewer. Returns whether it was counted.
    pub(super) fn take(&mut self, name: &NodeName, request: &Request) -> bool {
        let Some(group) = self.by_workload.get_mut(&request.workload) else { return false };
        let taken = group.take(name, &request.profile);
        self.tidy(&request.workload);
        taken
    }

    /// Forgets all pods on a node.
    pub(super) fn clear(&mut self, name: &NodeName) {
        let here = self.by_workload.iter().filter(|(_, group)| group.counts.contains_key(name));
        let here: Vec<ObjectKey> = here.map(|(key, _)| key.clone()).collect();
        for workload in here {
            if let Some(group) = self.by_workload.get_mut(&workload) {
                group.set(name, 0);
                group.alike.retain_mut(|(_, counts)| {
                    counts.remove(name);
                    !counts.is_empty()
                });
            }
            self.tidy(&workload);
        }
    }

    /// Drops what is empty.
    fn tidy(&mut self, workload: &ObjectKey) {
        let Some(group) = self.by_workload.get(workload) else { return };
        if !group.alike.iter().any(|(profile, _)| !profile.avoids.is_empty()) {
            self.guarding.remove(workload);
        }
        if group.counts.is_empty() {
            self.by_workload.remove(workload);
        }
    }

    /// The pods that may mean something to a request: all of them if it is curious about others, else those that keep others away.
    pub(super) fn seen_by<'a>(
        &'a self,
        request: &Request,
        curious: bool,
    ) -> Box<dyn Iterator<Item = (&'a Profile, &'a BTreeMap<NodeName, u32>)> + 'a> {
        let alike = |group: &'a Group| group.alike.iter().map(|(profile, counts)| (profile.as_ref(), counts));
        if !curious {
            return Box::new(self.guarding.iter().filter_map(|key| self.by_workload.get(key)).flat_map(alike));
        }
        if request.rules.looks_abroad() || !self.guarding.is_empty() {
            return Box::new(self.by_workload.values().flat_map(alike));
        }
        let namespace = request.workload.namespace.clone();
        let first = ObjectKey::new(crate::model::Kind::Namespace, namespace.clone(), "");
        let own = self.by_workload.range(first..).take_while(move |(key, _)| key.namespace == namespace);
        Box::new(own.flat_map(move |(_, group)| alike(group)))
    }
}

impl Group {
    fn add(&mut self, name: &NodeName, profile: &Arc<Profile>) {
        self.set(name, self.counts.get(name).copied().unwrap_or(0).saturating_add(1));
        let index = self.alike.iter().position(|(known, _)| known == profile).unwrap_or_else(|| {
            self.alike.push((Arc::clone(profile), BTreeMap::new()));
            self.alike.len() - 1
        });
        let counts = &mut self.alike[index].1;
        if let Some(count) = counts.get_mut(name) {
            *count += 1;
        } else {
            counts.insert(name.clone(), 1);
        }
    }

    fn take(&mut self, name: &NodeName, profile: &Arc<Profile>) -> bool {
        let Some(index) = self.alike.iter().position(|(known, _)| known == profile) else { return false };
        let counts = &mut self.alike[index].1;
        let Some(count) = counts.get_mut(name) else { return false };
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
            if counts.is_empty() {
                self.alike.remove(index);
            }
        }
        self.set(name, self.counts.get(name).copied().unwrap_or(1) - 1);
        true
    }

    /// Sets the number of pods on a node and keeps the levels true.
    fn set(&mut self, name: &NodeName, count: u32) {
        if let Some(before) = self.counts.get(name)
            && let Some(names) = self.levels.get_mut(before)
        {
            names.remove(name);
            if names.is_empty() {
                self.levels.remove(before);
            }
        }
        if count == 0 {
            self.counts.remove(name);
            return;
        }
        self.levels.entry(count).or_default().insert(name.clone());
        if let Some(known) = self.counts.get_mut(name) {
            *known = count;
        } else {
            self.counts.insert(name.clone(), count);
        }
    }

    /// The nodes with exactly so many pods.
    pub(super) fn at(&self, level: u32) -> Option<&BTreeSet<NodeName>> {
        self.levels.get(&level)
    }

    /// The numbers of pods that nodes have, ascending; 0 is not among them.
    pub(super) fn levels(&self) -> impl Iterator<Item = u32> {
        self.levels.keys().copied()
    }

    /// How many nodes have pods.
    pub(super) fn nodes(&self) -> usize {
        self.counts.len()
    }
}
