//! What agents say: hellos, reports, silence.

use super::core::Controller;
use super::happenings::Happening;
use super::nodes::Nodes;
use super::placements::Placement;
use super::records::Occasion;
use super::timers::Timer;
use crate::apply::schedule::Request;
use crate::model::{
    DriftPolicy, Epoch, Generation, Hello, Kind, NodeConditions, NodeName, NodeProblem, ObjectKey, PodEvent, PodReport, PodUid,
    Report, ServiceProblem, TemplateHash,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl Controller {
    /// An agent's stream begins: what it runs is taken over as it is.
    pub(super) fn hello(&mut self, name: &NodeName, hello: Hello) {
        let (epoch, generation) = hello.assignment;
        let now = self.now;
        let (reign, seen) = (self.epoch, self.wall());
        let node = self.nodes.enter(name, Some(seen));
        let is_first = node.heard.is_none();
        node.facts = Some(hello.facts.clone());
        node.connected = true;
        node.away_until = None;
        node.acknowledged = if epoch == reign { generation } else { Generation(0) };
        if epoch == reign && generation > node.generation() {
            node.floor = generation;
        }
        node.network = hello.network.version;
        node.ingress = hello.ingress;
        self.inputs.memory_lost |= !self.inputs.has_memory && epoch > Epoch(0) && is_first;
        self.offer(name, true);
        self.dirty.workloads.append(&mut self.dirty.unplaced);
        self.recall_jobs(name, &hello);
        self.touch_placed();
        self.join_network(name, hello.network.pods);
        let unknown = self.services.restart(name, &hello.endpoints);
        self.dirty.services.extend(unknown);
        let volumes = hello.volumes.clone();
        self.take_lapsed_back(name);
        self.take_pods(name, hello);
        self.hear_volumes(name, volumes);
        self.settle_erasures(name);
        self.doubt_forgotten_jobs();
        self.heard(name);
        self.timers.set(Timer::Node(name.clone()), now + super::nodes::SILENCE);
        self.dirty.nodes.insert(name.clone());
        self.dirty
            .retired
            .extend(self.placements.of_node(name).filter(|placement| placement.is_draining()).map(|placement| placement.run.uid));
        for service in self.services.waiting() {
            self.recheck(&service);
        }
        self.evict(name);
        if self.is_acting() {
            self.catch_up(name, (epoch, generation));
        }
    }

    /// Compares the pods of a hello with what the node was told.
    fn take_pods(&mut self, name: &NodeName, hello: Hello) {
        let brought: BTreeSet<PodUid> = hello.pods.iter().map(|report| report.uid).collect();
        let missing: Vec<PodUid> = self
            .placements
            .of_node(name)
            .filter(|placement| !brought.contains(&placement.run.uid) && self.was_heard_of(placement, hello.assignment))
            .map(|placement| placement.run.uid)
            .collect();
        for uid in missing {
            self.gone(&uid);
        }
        self.placements.unclaimed.retain(|uid, (node, _)| node != name || brought.contains(uid));
        for report in hello.pods {
            self.hear_pod(name, report, true);
        }
        self.claim();
    }

    /// True if the agent has known this pod, so that its absence means that it is gone.
    fn was_heard_of(&self, placement: &Placement, (epoch, generation): (Epoch, Generation)) -> bool {
        let told = placement.generation.is_some_and(|told| told == Generation(0) || (epoch == self.epoch && generation >= told));
        told || placement.report.is_some()
    }

    /// One pod's report. A pod that nobody told is adopted if it comes with a hello and its workload is known.
    fn hear_pod(&mut self, name: &NodeName, report: PodReport, adopt: bool) {
        let uid = report.uid;
        if self.placements.get(&uid).is_some_and(|placement| placement.node == *name) {
            self.learn_images(&report);
        }
        if let Some(placement) = self.placements.get_mut(&uid) {
            if placement.node == *name {
                let held = placement.holds_capacity();
                let news = placement.hear(report, self.now);
                let workload = placement.run.workload.clone();
                if held && !placement.holds_capacity() {
                    let request = Arc::clone(&placement.request);
                    self.free_capacity(name, &request);
                }
                if news {
                    self.touch_workload(&workload);
                }
            }
            return;
        }
        let is_known = self.placements.is_unclaimed_on(&uid, name);
        if self.placements.unclaimed.contains_key(&uid) && !is_known {
            // A pod is on one node, and the one that told of it first has it.
            return;
        }
        if adopt && self.inputs.knows(&report.workload) {
            self.adopt(name, report);
        } else if adopt || is_known {
            self.placements.unclaimed.insert(uid, (name.clone(), report));
        }
    }

    /// What an image is called is resolved once for each template: by the pod that says so first.
    fn learn_images(&mut self, report: &PodReport) {
        let containers = report.init_containers.iter().chain(&report.containers);
        let resolved: Vec<(&str, &String)> =
            containers.filter_map(|container| Some((container.name.as_str(), container.image_digest.as_ref()?))).collect();
        let Some(snapshot) = self.inputs.snapshot(&report.workload, &report.hash).filter(|_| !resolved.is_empty()) else {
            return;
        };
        let Some(work) = self.works.get_mut(&report.workload) else { return };
        let known = work.images.entry(report.hash.clone()).or_default();
        for (name, digest) in resolved {
            let container = snapshot.template.spec.all_containers().find(|container| container.name == name);
            if let Some(image) = container.and_then(|container| container.image.as_ref()) {
                known.entry(image.clone()).or_insert_with(|| digest.clone());
            }
        }
    }

    fn adopt(&mut self, name: &NodeName, report: PodReport) {
        let workload = report.workload.clone();
        let request = self.request(&workload, &report.hash);
        self.learn_images(&report);
        let images = self.works.get(&workload).and_then(|work| work.images.get(&report.hash)).cloned().unwrap_or_default();
        let tenure = self.tenure(&workload, &report.hash);
        let placement = Placement { tenure, ..Placement::adopted(name, report, (request, images), self.now) };
        if placement.holds_capacity() {
            self.capacity.reserve(name, &placement.request);
        }
        self.note_seen(&workload, placement.run.slot);
        self.use_claims(&placement);
        self.placements.insert(placement);
        self.touch_workload(&workload);
        self.records.touch(&workload);
    }

    /// Adopts pods whose workload has become known.
    pub(super) fn claim(&mut self) {
        let strangers: BTreeSet<ObjectKey> =
            self.placements.unclaimed.values().map(|(_, report)| report.workload.clone()).collect();
        for workload in &strangers {
            self.recognize_job(workload);
        }
        let known = |report: &PodReport| self.inputs.knows(&report.workload);
        let claimed = self.placements.unclaimed.iter().filter(|(_, (_, report))| known(report));
        let claimed: Vec<PodUid> = claimed.map(|(uid, _)| *uid).collect();
        for uid in claimed {
            if let Some((node, report)) = self.placements.unclaimed.remove(&uid) {
                self.dirty.nodes.insert(node.clone());
                self.adopt(&node, report);
            }
        }
    }

    /// What a pod of this template asks of a node; nothing if the template is not known any more.
    pub(super) fn request(&self, workload: &ObjectKey, hash: &TemplateHash) -> Arc<Request> {
        if let Some(sibling) = self.placements.of_workload(workload).find(|placement| placement.run.hash == *hash) {
            return Arc::clone(&sibling.request);
        }
        let snapshot = self.inputs.snapshot(workload, hash);
        let request = snapshot.map_or_else(|| Request::unknown(workload), |known| Request::of(workload, &known.template, hash));
        Arc::new(if workload.kind == Kind::DaemonSet { request.of_every_node() } else { request })
    }

    /// An agent reports.
    pub(super) fn report(&mut self, name: &NodeName, report: Report) {
        let reign = self.epoch;
        let Some(node) = self.nodes.get_mut(name).filter(|node| node.facts.is_some()) else { return };
        if report.assignment.0 == reign {
            node.acknowledged = node.acknowledged.max(report.assignment.1);
        }
        node.network = report.network;
        node.usage = report.host.map(|host| (host, self.now)).or(node.usage);
        node.ingress = report.ingress;
        self.heard(name);
        self.hear_absence(name, report.away);
        self.hear_conditions(name, report.conditions);
        for pod in report.pods {
            self.hear_pod(name, pod, false);
        }
        for (uid, usage) in report.usage {
            if let Some(placement) = self.placements.get_mut(&uid).filter(|placement| placement.node == *name) {
                placement.usage = Some((usage, self.now));
            }
        }
        for event in report.events {
            self.note_event(name, event);
        }
        if let Some(problems) = report.service_problems {
            self.note_service_problems(name, problems);
        }
        if let Some(problems) = report.node_problems {
            self.note_node_problems(name, problems);
        }
        for service in self.services.acknowledge(name, &report.endpoints) {
            self.recheck(&service);
        }
        if let Some(volumes) = report.volumes {
            self.hear_volumes(name, volumes);
        }
        for uid in report.gone {
            if self.placements.is_unclaimed_on(&uid, name) {
                self.placements.unclaimed.remove(&uid);
            }
            if self.placements.get(&uid).is_some_and(|placement| placement.node == *name) {
                self.gone(&uid);
            }
        }
        self.settle_erasures(name);
    }

    fn note_event(&mut self, name: &NodeName, event: PodEvent) {
        let PodEvent { pod, warning, reason, message } = event;
        let node = about_node(name);
        let own = |uid: PodUid| self.placements.get(&uid).filter(|placement| placement.node == *name);
        let (about, pod) = match pod.map(own) {
            None => (&node, None),
            Some(Some(placement)) => (&placement.run.workload, Some(placement.run.name.as_str())),
            Some(None) => return,
        };
        self.happenings.note_from(name, Happening { about, pod, warning, reason: &reason, message }, self.now);
    }

    /// A node that announces its absence is waited for; none at all takes that back.
    fn hear_absence(&mut self, name: &NodeName, away: Option<Duration>) {
        let (Some(away), now) = (away, self.now) else { return };
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.away_until = (!away.is_zero()).then_some(now + away);
        let message = match away.is_zero() {
            true => format!("node {name} stays"),
            false => format!("node {name} may be away for {}, and is waited for", spoken(away)),
        };
        let about = about_node(name);
        self.happenings.note(Happening { about: &about, pod: None, warning: false, reason: "NodeLeaves", message }, now);
    }

    /// What an agent says of its host's state: pods are kept away from full disks.
    fn hear_conditions(&mut self, name: &NodeName, conditions: Option<NodeConditions>) {
        let Some(conditions) = conditions else { return };
        let Some(node) = self.nodes.get_mut(name).filter(|node| node.conditions != conditions) else { return };
        node.conditions = conditions.clone();
        let ready = node.ready && node.connected;
        self.offer(name, ready);
        self.dirty.workloads.append(&mut self.dirty.unplaced);
        let about = about_node(name);
        let warning = conditions.disk_pressure.is_some();
        let (reason, message) = match conditions.disk_pressure {
            Some(why) => ("NodeHasDiskPressure", format!("no new pods go to {name}: {why}")),
            None => ("NodeHasNoDiskPressure", format!("{name} has room on its disks again")),
        };
        self.happenings.note(Happening { about: &about, pod: None, warning, reason, message }, self.now);
    }

    /// Each problem happens once, when it is new.
    fn note_service_problems(&mut self, name: &NodeName, problems: Vec<ServiceProblem>) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        for problem in problems.iter().filter(|problem| !node.service_problems.contains(problem)) {
            let message = format!("node {name}: {}", problem.message);
            let about = &problem.service;
            let happening = Happening { about, pod: None, warning: true, reason: "CannotListen", message };
            self.happenings.note_from(name, happening, self.now);
        }
        node.service_problems = problems;
    }

    /// Each problem happens once, when it is new.
    fn note_node_problems(&mut self, name: &NodeName, problems: Vec<NodeProblem>) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let about = &about_node(name);
        for NodeProblem { reason, message } in problems.iter().filter(|problem| !node.problems.contains(problem)) {
            let happening = Happening { about, pod: None, warning: true, reason, message: message.clone() };
            self.happenings.note(happening, self.now);
        }
        node.problems = problems;
    }

    /// A pod has ended and was removed: its slot is free.
    pub(super) fn gone(&mut self, uid: &PodUid) {
        let Some(placement) = self.placements.remove(uid) else { return };
        if placement.holds_capacity() {
            self.free_capacity(&placement.node, &placement.request);
        }
        self.services.forget(uid);
        self.leave_claims(&placement);
        let workload = placement.run.workload.clone();
        self.touch_workload(&workload);
        self.records.touch(&workload);
        self.dirty.nodes.insert(placement.node.clone());
        // Nobody misses a pod of a Job that has ended.
        let is_over = Self::is_job(&workload) && placement.ended_since.is_some();
        if placement.retired.is_none() && !is_over {
            self.drifted(&placement);
        }
    }

    /// What was set aside on a node is free: others may fit now.
    fn free_capacity(&mut self, node: &NodeName, request: &Request) {
        self.capacity.release(node, request);
        self.dirty.drains = true;
        self.dirty.workloads.append(&mut self.dirty.unplaced);
    }

    /// A pod vanished without our stop.
    fn drifted(&mut self, placement: &Placement) {
        let key = &placement.run.workload;
        let policy = self.inputs.object(key).map(|object| object.drift_policy()).unwrap_or_default();
        let now = self.now;
        let Some(work) = self.works.get_mut(key) else { return };
        let ending = match policy {
            _ if Self::is_job(key) => "counts as failed",
            DriftPolicy::Correct => {
                work.churn.note(now);
                self.counters.drift += 1;
                "is replaced"
            }
            DriftPolicy::Report | DriftPolicy::Ignore => {
                work.forgone += 1;
                "is not replaced (driftless.dev/drift)"
            }
        };
        if policy == DriftPolicy::Ignore {
            return;
        }
        let message = format!("pod {} was removed on {} behind our back and {ending}", placement.run.name, placement.node);
        self.batch(Occasion::Drift, key, message.clone());
        let name = placement.run.name.clone();
        self.happenings.note(Happening { about: key, pod: Some(&name), warning: true, reason: "Drift", message }, now);
    }

    /// A sign of life.
    pub(super) fn heard(&mut self, name: &NodeName) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(name).filter(|node| node.facts.is_some()) else { return };
        node.heard = Some(now);
        if !node.ready {
            self.judge();
            self.timers.set(Timer::Node(name.clone()), now + super::nodes::SILENCE);
        }
    }

    /// An agent's stream ended. Nothing follows from that until the silence has lasted: agents come back at once as a rule.
    pub(super) fn disconnected(&mut self, name: &NodeName) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.connected = false;
        }
        if self.nodes.get(name).is_some_and(|node| node.is_away(self.now)) {
            self.judge();
        }
        // Where to start a pod is decided for nodes that hear it at once.
        self.capacity.set_ready(name, false);
        self.timers.clear(&Timer::Resend(name.clone()));
    }

    /// The time has come to look whether a node is silent.
    pub(super) fn judge_node(&mut self, name: &NodeName) {
        let replace_after = self.inputs.newest_policy().replace_after;
        let Some(node) = self.nodes.get(name) else { return };
        let patience = self.placements.of_node(name).filter_map(|placement| self.patience(placement));
        let at = Nodes::judge_at(node, patience.chain([replace_after]), self.now);
        let at = at.into_iter().chain(self.next_lapse(name)).min();
        let silent = node.heard.is_none_or(|heard| self.now.since(heard) >= super::nodes::SILENCE);
        if let Some(at) = at {
            self.timers.set(Timer::Node(name.clone()), at);
        }
        if silent || !self.nodes.get(name).is_some_and(|node| node.ready) {
            self.judge();
            self.touch_impatient(name);
        }
    }

    /// Pods that wait for their silent node for a time of their own: their workloads look whether it is over.
    fn touch_impatient(&mut self, name: &NodeName) {
        let replace_after = Some(self.inputs.newest_policy().replace_after);
        let own = self.placements.of_node(name).filter(|placement| self.patience(placement) != replace_after);
        self.dirty.workloads.extend(own.map(|placement| placement.run.workload.clone()).collect::<Vec<_>>());
    }

    fn judge(&mut self) {
        let replace_after = self.inputs.newest_policy().replace_after;
        let braked = self.nodes.is_braked();
        for name in self.nodes.judge(replace_after, self.now) {
            self.node_changed(&name);
        }
        if self.nodes.is_braked() != braked {
            self.brake_changed();
        }
        self.lapse();
    }

    /// Services lead to pods of silent nodes again, or no more.
    fn brake_changed(&mut self) {
        let silent: Vec<NodeName> =
            self.nodes.by_name.iter().filter(|(_, node)| !node.ready).map(|(name, _)| name.clone()).collect();
        for name in silent {
            self.dirty.workloads.append(&mut self.placements.workloads_of_node(&name));
        }
    }

    /// A node became ready or silent, lost or found.
    fn node_changed(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get(name) else { return };
        let (ready, lost, away) = (node.ready, node.lost, node.is_away(self.now));
        self.capacity.set_ready(name, ready && node.connected);
        self.dirty.drains = true;
        let workloads = self.placements.workloads_of_node(name);
        if ready {
            self.dirty.workloads.append(&mut self.dirty.unplaced);
            self.evict(name);
        } else {
            self.forsake(name);
        }
        self.touch_placed();
        let (reason, message) = match (ready, lost) {
            (true, _) => ("NodeReady", format!("node {name} is heard")),
            (false, false) if away => ("NodeAway", format!("node {name} is away, as it announced")),
            (false, false) => ("NodeNotReady", format!("node {name} is silent")),
            (false, true) => {
                ("NodeLost", format!("node {name} has been silent for too long; pods that are not bound to it are replaced"))
            }
        };
        if lost {
            for workload in &workloads {
                let of_workload = self.placements.of_node(name).filter(|placement| placement.run.workload == *workload);
                let count = of_workload.filter(|placement| self.is_replaceable(placement)).count();
                if count == 0 {
                    continue;
                }
                self.batch(Occasion::Node, workload, format!("{count} pods on {name} are lost and replaced elsewhere"));
            }
        }
        let about = about_node(name);
        self.happenings.note(Happening { about: &about, pod: None, warning: !ready, reason, message }, self.now);
        self.dirty.workloads.extend(workloads);
        for service in self.services.waiting() {
            self.recheck(&service);
        }
        if ready && self.is_acting() {
            self.tell_missing(name);
        }
    }

    /// Marks a workload.
    pub(super) fn touch_workload(&mut self, key: &ObjectKey) {
        self.dirty.workloads.insert(key.clone());
    }
}

/// `10 min`, or `90 s`: whole seconds, begun ones counted.
pub(super) fn spoken(duration: Duration) -> String {
    match duration.as_millis().div_ceil(1_000) {
        seconds if seconds >= 60 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// What an event of a node is about, whether or not the repo has a manifest for it.
pub(super) fn about_node(name: &NodeName) -> ObjectKey {
    ObjectKey::new(Kind::Node, "", name.as_str())
}
