//! Membership: whose key speaks for which node, the labels that a token gave it, and the way out of a node that a commit removes.
//!
//! A node is a member from the time that it joined with a token, whether or not it is heard. A Node in git with
//! `driftless.dev/removed: "true"` ends that at once: its key counts no more, and what ran there is taken for gone, data included, and is
//! replaced elsewhere, also what is otherwise bound to its node. Its name is free again when the annotation is gone.

use super::agents::about_node;
use super::core::Controller;
use super::event::Effect;
use super::happenings::Happening;
use super::timers::Timer;
use crate::model::{Health, JoinRefusal, KeyFingerprint, Kind, NodeMember, NodeName, NodeSpec, Object, ObjectKey, PodUid, Roll};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The members, and what the shell was last told of them.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_name: BTreeMap<NodeName, NodeMember>,
    told: Option<Arc<Roll>>,
    /// True if the roll may differ from what was told.
    stale: bool,
}

impl Members {
    /// Takes the members over from the memory.
    pub(super) fn restore(&mut self, members: &BTreeMap<NodeName, NodeMember>) {
        self.by_name.clone_from(members);
        self.stale = true;
    }

    /// What the memory is told.
    pub(super) fn all(&self) -> &BTreeMap<NodeName, NodeMember> {
        &self.by_name
    }

    /// The labels that a node's token gave it.
    pub(super) fn labels(&self, name: &NodeName) -> BTreeMap<String, String> {
        self.by_name.get(name).map(|member| member.labels.clone()).unwrap_or_default()
    }

    /// The key on record for a node.
    pub(super) fn key(&self, name: &NodeName) -> Option<&KeyFingerprint> {
        self.by_name.get(name).map(|member| &member.key)
    }
}

impl Controller {
    /// Whether a node of this name may come in with this key: true if they are on record, false if the name is free and a token is needed.
    ///
    /// # Errors
    /// Neither.
    pub fn admission(&self, name: &NodeName, key: &KeyFingerprint) -> Result<bool, JoinRefusal> {
        if let Some(reason) = self.cannot_admit() {
            return Err(JoinRefusal::NotNow(reason.to_owned()));
        }
        if self.is_removed(name) {
            return Err(JoinRefusal::Removed(name.clone()));
        }
        match self.members.key(name) {
            Some(known) if known == key => Ok(true),
            Some(_) => Err(JoinRefusal::NameTaken(name.clone())),
            // One that came in without a certificate, on the controller's own machine.
            None if self.nodes.get(name).is_some_and(|node| node.connected) => Err(JoinRefusal::NameTaken(name.clone())),
            None => Ok(false),
        }
    }

    fn cannot_admit(&self) -> Option<&'static str> {
        if matches!(self.health, Health::StoodDown(_)) {
            return Some("another controller reigns");
        }
        (!self.inputs.restored).then_some("it has not read its memory yet")
    }

    /// A node has joined; the memory is told before the node is.
    pub(super) fn join(&mut self, name: &NodeName, member: NodeMember, token: &str) {
        self.members.by_name.insert(name.clone(), member);
        self.members.stale = true;
        self.offer_again(name);
        self.gather_peers();
        self.note_admitted(name, token);
        let message = format!("node {name} has joined");
        let about = about_node(name);
        self.happenings.note(Happening { about: &about, pod: None, warning: false, reason: "NodeJoined", message }, self.now);
    }

    /// Its labels may be others than before.
    fn offer_again(&mut self, name: &NodeName) {
        if let Some(ready) = self.nodes.get(name).map(|node| node.ready && node.connected) {
            self.offer(name, ready);
        }
    }

    /// True if a commit says that the host is gone for good.
    pub(super) fn is_removed(&self, name: &NodeName) -> bool {
        self.inputs.object(&ObjectKey::new(Kind::Node, "", name.as_str())).is_some_and(|object| says_removed(object))
    }

    /// Nodes that a revision removes are forgotten, and so is what ran there.
    pub(super) fn strike_removed(&mut self) {
        let nodes = self.inputs.effective.objects.values().filter(|object| object.key.kind == Kind::Node);
        let removed: Vec<NodeName> =
            nodes.filter(|object| says_removed(object)).map(|object| NodeName::new(object.key.name.clone())).collect();
        for name in removed {
            self.members.by_name.remove(&name);
            self.strike(&name);
        }
        self.members.stale = true;
    }

    fn strike(&mut self, name: &NodeName) {
        if self.nodes.get(name).is_none() && self.placements.count_of_node(name) == 0 {
            return;
        }
        let pods: Vec<PodUid> = self.placements.of_node(name).map(|placement| placement.run.uid).collect();
        let count = pods.len();
        for uid in &pods {
            self.vanish(uid);
        }
        self.placements.unclaimed.retain(|_, (node, _)| node != name);
        self.lose_claims(name);
        self.forsake(name);
        for work in self.works.values_mut() {
            if let Some(lost) = work.remembered.remove(name) {
                work.memory.job.lose(lost, self.now);
            }
        }
        self.nodes.by_name.remove(name);
        self.nodes.draining.remove(name);
        self.capacity.remove(name);
        self.services.forget_node(name);
        self.network.forget(name);
        self.ingresses.forget(name);
        self.gather_peers();
        for timer in [Timer::Node(name.clone()), Timer::Resend(name.clone()), Timer::Evict(name.clone())] {
            self.timers.clear(&timer);
        }
        self.dirty.nodes.remove(name);
        self.dirty.workloads.append(&mut self.dirty.unplaced);
        self.touch_placed();
        for service in self.services.waiting() {
            self.recheck(&service);
        }
        let message = format!("node {name} was removed by a commit; {count} pods that ran there are replaced elsewhere");
        let about = about_node(name);
        self.happenings.note(Happening { about: &about, pod: None, warning: true, reason: "NodeRemoved", message }, self.now);
    }

    /// A pod is gone with its host.
    fn vanish(&mut self, uid: &PodUid) {
        let Some(placement) = self.placements.remove(uid) else { return };
        self.services.forget(uid);
        self.leave_claims(&placement);
        let workload = placement.run.workload.clone();
        self.touch_workload(&workload);
        self.records.touch(&workload);
    }

    /// Tells the shell whom to let in, if that has changed.
    pub(super) fn tell_roll(&mut self) {
        if !std::mem::take(&mut self.members.stale) {
            return;
        }
        let nodes = self.inputs.effective.objects.values().filter(|object| object.key.kind == Kind::Node);
        let removed: BTreeSet<NodeName> =
            nodes.filter(|object| says_removed(object)).map(|object| NodeName::new(object.key.name.clone())).collect();
        let keys = self.members.by_name.iter().map(|(name, member)| (name.clone(), member.key.clone())).collect();
        let roll = Arc::new(Roll { keys, removed });
        if self.members.told.as_ref() != Some(&roll) {
            self.members.told = Some(Arc::clone(&roll));
            self.out.push(Effect::Trust(roll));
        }
    }
}

fn says_removed(object: &Object) -> bool {
    object.meta.annotations.get(NodeSpec::REMOVED).is_some_and(|value| value == "true")
}
