//! What git says of hosts: labels, cordons and taints, and whom a taint sends away.
//!
//! A Node object gives a host of its name labels, a cordon and taints; the host need not have joined yet. The labels that tell the host
//! itself are its agent's. A `NoExecute` taint sends pods away that do not tolerate it, or only for a while, counted from when this
//! controller first saw the taint or the pod. As in Kubernetes, disruption budgets are not asked: whoever writes the taint has decided.

use super::core::Controller;
use super::happenings::Happening;
use super::placements::Placement;
use super::records::Occasion;
use super::timers::Timer;
use crate::apply::schedule::Namespaces;
use crate::model::{Kind, Meta, Moment, NodeFacts, NodeName, NodeSpec, Object, ObjectKey, PodUid, StopReason, Taint};
use std::collections::{BTreeMap, BTreeSet};

/// Labels that only the agent of a host can give it.
const HOST_LABELS: [&str; 3] = ["kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch"];

/// The taint of a node whose disks are full.
const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";

impl Controller {
    /// What git says of a host.
    fn written_node(&self, name: &NodeName) -> Option<&Object> {
        self.inputs.object(&ObjectKey::new(Kind::Node, "", name.as_str())).map(AsRef::as_ref)
    }

    /// The cordon and the taints of a node: those of git, and as in Kubernetes one for full disks.
    pub(super) fn marks(&self, name: &NodeName) -> NodeSpec {
        let mut marks = self.written_node(name).and_then(|object| object.node()).cloned().unwrap_or_default();
        if self.nodes.get(name).is_some_and(|node| node.conditions.disk_pressure.is_some()) {
            let (key, effect) = (DISK_PRESSURE.to_owned(), Taint::NO_SCHEDULE.to_owned());
            marks.taints.push(Taint { key, value: String::new(), effect });
        }
        marks
    }

    /// What an agent says of its host, with the labels of its token and those of git over it. Other labels than those that tell the host
    /// itself do not count from an agent: it could draw pods, and their secrets, to itself.
    pub(super) fn facts(&self, name: &NodeName) -> Option<NodeFacts> {
        let facts = self.nodes.get(name)?.facts.clone()?;
        let mut labels = facts.labels;
        labels.retain(|key, _| HOST_LABELS.contains(&key.as_str()));
        labels.extend(self.members.labels(name));
        Some(match self.written_node(name) {
            Some(object) => NodeFacts { labels: merged(labels, &object.meta), ..facts },
            None => NodeFacts { labels, ..facts },
        })
    }

    /// Tells the scheduler what a node is.
    pub(super) fn offer(&mut self, name: &NodeName, ready: bool) {
        let marks = self.marks(name);
        if let Some(facts) = self.facts(name) {
            self.capacity.set(&facts, &marks, ready);
        }
        if marks.drain {
            self.nodes.draining.insert(name.clone());
        } else {
            self.nodes.draining.remove(name);
        }
        self.dirty.drains = true;
        self.dirty.services.extend(self.inputs.balanced.iter().cloned());
        self.reconsider_server(name);
        let now = self.now;
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.drain = node.drain.take().filter(|_| marks.drain);
        let sending: BTreeSet<Taint> = marks.taints.into_iter().filter(|taint| taint.effect == Taint::NO_EXECUTE).collect();
        node.tainted.retain(|taint, _| sending.contains(taint));
        for taint in sending {
            node.tainted.entry(taint).or_insert(now);
        }
    }

    /// What hosts, namespaces, priorities and budgets are may have changed: whoever waits for a node looks again, and whoever is sent
    /// away by a taint goes.
    pub(super) fn reconsider(&mut self, changed: &BTreeSet<ObjectKey>, first: bool) {
        let touches = |kind: Kind| first || changed.iter().any(|key| key.kind == kind);
        if first || !changed.is_empty() {
            self.inputs.rank();
            self.dirty.drains = true;
        }
        if touches(Kind::Namespace) {
            self.capacity.set_namespaces(self.namespaces());
        }
        let named = changed.iter().filter(|key| key.kind == Kind::Node).map(|key| NodeName::new(key.name.clone()));
        let all = self.nodes.by_name.keys().filter(|_| first).cloned();
        for name in named.chain(all).collect::<BTreeSet<NodeName>>() {
            let Some(ready) = self.nodes.get(&name).map(|node| node.ready && node.connected) else { continue };
            self.offer(&name, ready);
            self.evict(&name);
        }
        if touches(Kind::Node) {
            self.strike_removed();
            self.touch_placed();
        }
        if [Kind::Node, Kind::Namespace, Kind::PriorityClass, Kind::PodDisruptionBudget].into_iter().any(touches) {
            self.dirty.workloads.append(&mut self.dirty.unplaced);
        }
    }

    fn namespaces(&self) -> Namespaces {
        let objects = self.inputs.effective.objects.values().filter(|object| object.key.kind == Kind::Namespace);
        Namespaces(objects.map(|object| (object.key.name.clone(), object.meta.labels.clone())).collect())
    }

    /// Sends pods away that a taint of their node does not let stay, and looks again when the next one's time is over. A silent node
    /// is left alone: nobody would hear it.
    pub(super) fn evict(&mut self, name: &NodeName) {
        self.timers.clear(&Timer::Evict(name.clone()));
        let Some(node) = self.nodes.get(name).filter(|node| node.ready && !node.tainted.is_empty()) else { return };
        if !self.is_acting() {
            return;
        }
        let leaving = self.placements.of_node(name).filter_map(|placement| {
            let (at, taint) = leaves_at(placement, &node.tainted)?;
            Some((at, placement.run.uid, taint.clone()))
        });
        let (due, later): (Vec<_>, Vec<_>) = leaving.partition(|(at, _, _)| *at <= self.now);
        for (_, uid, taint) in due {
            self.send_away(name, &uid, &taint);
        }
        if let Some(at) = later.into_iter().map(|(at, _, _)| at).min() {
            self.timers.set(Timer::Evict(name.clone()), at);
        }
    }

    fn send_away(&mut self, name: &NodeName, uid: &PodUid, taint: &Taint) {
        let commit = self.inputs.effective.revision.clone();
        let Some(placement) = self.placements.get_mut(uid) else { return };
        let (workload, pod) = (placement.run.workload.clone(), placement.run.name.clone());
        if let Some(retired) = &mut placement.retired {
            (retired.reason, retired.commit) = (StopReason::Evicted, commit);
            return self.touch_workload(&workload);
        }
        let message =
            format!("{pod} leaves {name}: it does not tolerate the taint {{{}: {}}} (any more)", taint.key, taint.value);
        let happening = Happening {
            about: &workload,
            pod: Some(&pod),
            warning: true,
            reason: "TaintManagerEviction",
            message: message.clone(),
        };
        self.happenings.note(happening, self.now);
        self.batch(Occasion::Node, &workload, message);
        self.retire(uid, StopReason::Evicted, commit);
        self.touch_workload(&workload);
    }

    /// Whoever should have been sent away by now and was not.
    pub(super) fn overstays(&self, name: &NodeName) -> Option<&Placement> {
        let node = self.nodes.get(name).filter(|node| node.ready)?;
        self.placements.of_node(name).find(|placement| leaves_at(placement, &node.tainted).is_some_and(|(at, _)| at <= self.now))
    }
}

/// When a pod has to leave its node, and for which taint.
fn leaves_at<'a>(placement: &Placement, tainted: &'a BTreeMap<Taint, Moment>) -> Option<(Moment, &'a Taint)> {
    // One that is on its way out for another reason could be taken back.
    if placement.retired.as_ref().is_some_and(|retired| retired.told || !retired.reason.is_negotiable()) {
        return None;
    }
    let tolerations = &placement.request.rules.tolerations;
    let ends = tainted.iter().filter_map(|(taint, since)| {
        let patience = taint.patience(tolerations)?;
        Some(((*since).max(placement.since) + patience, taint))
    });
    ends.min()
}

/// Labels of git over those of an agent, but for those that tell the host itself.
fn merged(mut labels: BTreeMap<String, String>, written: &Meta) -> BTreeMap<String, String> {
    let over = written.labels.iter().filter(|(key, _)| !HOST_LABELS.contains(&key.as_str()));
    labels.extend(over.map(|(key, value)| (key.clone(), value.clone())));
    labels
}
