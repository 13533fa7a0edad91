//! What must hold at every step, whatever went wrong. They speak of what is done, not of what is wished for.

use driftless::model::{
    Assignment, AuditRecord, ClusterNotes, CurrentObject, Desired, DrainReason, EndpointSet, Epoch, Generation, Health, Hello,
    Kind, MadeBy, NodeName, NodeNetwork, NodeNotes, ObjectKey, PodPhase, PodUid, PodView, Progress, Report, StalledBy,
    StopReason, Strategy, TemplateHash, View, WaitingOn, Workload,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Default)]
pub struct Invariants {
    /// Every workload and claim that the revision in force wants.
    wanted: BTreeSet<ObjectKey>,
    /// Runs of Jobs whose end is recorded.
    over: BTreeMap<ObjectKey, TemplateHash>,
    /// Claims whose data a node was told to delete.
    erased: BTreeSet<(NodeName, ObjectKey)>,
    /// What each node was last told.
    told: BTreeMap<NodeName, Arc<Assignment>>,
    /// Pods whose end a node has acknowledged, or of which it has nothing any more.
    gone: BTreeSet<PodUid>,
    /// Every pod name that was ever given, and to whom.
    names: BTreeMap<(String, String), PodUid>,
    /// Stop orders that reached a node.
    orders: BTreeMap<NodeName, BTreeSet<PodUid>>,
    /// The newest assignment that reached a node.
    delivered: BTreeMap<NodeName, (Epoch, Generation)>,
    /// Every pod that was ever told to run, with its name, and to stop.
    told_to_run: BTreeMap<PodUid, String>,
    told_to_stop: BTreeSet<PodUid>,
    /// Those told so for the first time since the last view.
    fresh: BTreeSet<PodUid>,
    stopped_now: BTreeSet<PodUid>,
    /// The newest version of each Service's endpoints, and who was in each version.
    versions: BTreeMap<ObjectKey, u64>,
    members: BTreeMap<(ObjectKey, u64), BTreeSet<PodUid>>,
    /// Which version each node uses, as the controller has heard.
    in_use: BTreeMap<NodeName, BTreeMap<ObjectKey, u64>>,
    /// What the memory says of nodes.
    ranges: BTreeMap<NodeName, NodeNotes>,
    /// Pods that were seen to leave for a drain.
    leaves: BTreeSet<PodUid>,
    breach: Option<String>,
}

impl Invariants {
    pub fn desired(&mut self, desired: &Desired) {
        let is_ours = |key: &&ObjectKey| key.kind.is_workload() || key.kind == Kind::PersistentVolumeClaim;
        self.wanted = desired.objects.keys().filter(is_ours).cloned().collect();
        // One that is written anew runs anew.
        self.over.retain(|job, _| self.wanted.contains(job));
    }

    /// A node is told something: what is new in it, for the transcript.
    pub fn assigned(&mut self, node: &NodeName, assignment: &Arc<Assignment>) -> Vec<String> {
        let before = self.told.insert(node.clone(), assignment.clone());
        let mut lines = Vec::new();
        for (uid, run) in &assignment.run {
            if self.told_to_run.insert(*uid, run.name.clone()).is_none() {
                self.fresh.insert(*uid);
                lines.push(format!("{node} run {}", run.name));
                let name = (run.workload.namespace.clone(), run.name.clone());
                let owner = self.names.insert(name, *uid).filter(|owner| owner != uid);
                // A bare Pod keeps its own name over its incarnations, and so do the pods of a StatefulSet.
                if owner.is_some() && !matches!(run.workload.kind, Kind::Pod | Kind::StatefulSet) {
                    self.breach = Some(format!("two pods are called {}", run.name));
                }
            }
        }
        for (uid, order) in &assignment.stop {
            if self.told_to_stop.insert(*uid) {
                self.stopped_now.insert(*uid);
                let run = before.as_ref().and_then(|before| before.run.get(uid));
                let name = run.map_or_else(|| uid.to_string(), |run| run.name.clone());
                lines.push(format!("{node} stop {name}: {:?}", order.reason));
                if order.reason == StopReason::Pruned && run.is_some_and(|run| self.wanted.contains(&run.workload)) {
                    self.breach = Some(format!("{name} is pruned though the revision wants it"));
                }
            }
        }
        for claim in &assignment.erase {
            if self.erased.insert((node.clone(), claim.clone())) {
                lines.push(format!("{node} erase {}", claim.name));
                if self.wanted.contains(claim) {
                    self.breach = Some(format!("{node} is told to delete {claim}, which the revision wants"));
                }
            }
        }
        self.erased.retain(|(name, claim)| name != node || assignment.erase.contains(claim));
        if let Some(before) = before.filter(|before| before.epoch == assignment.epoch) {
            // A node that connects anew is told the same again.
            let again = assignment.generation == before.generation && *assignment == before;
            if assignment.generation <= before.generation && !again {
                self.breach =
                    Some(format!("{node} is told generation {:?} after {:?}", assignment.generation, before.generation));
            }
            for (uid, run) in &before.run {
                let kept = assignment.run.contains_key(uid) || assignment.stop.contains_key(uid) || self.gone.contains(uid);
                if !kept {
                    self.breach = Some(format!("{} is dropped from {node} without a word", run.name));
                }
            }
        }
        lines
    }

    /// Where a Service leads now, for the transcript; nothing if that was said.
    pub fn leads(&mut self, set: &EndpointSet) -> Option<String> {
        let last = self.versions.insert(set.service.clone(), set.version);
        if last == Some(set.version) {
            return None;
        }
        let pods: BTreeSet<PodUid> = set.ports.iter().flat_map(|port| &port.backends).map(|backend| backend.pod).collect();
        let mut names: Vec<&str> = pods.iter().map(|uid| self.told_to_run.get(uid).map_or("?", String::as_str)).collect();
        names.sort_unstable();
        let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        self.members.insert((set.service.clone(), set.version), pods);
        Some(format!("service {} leads to {names}", set.service.name))
    }

    /// A node is told the network: its range is its own, was recorded before, and never changes.
    pub fn networked(&mut self, node: &NodeName, network: &NodeNetwork) {
        let recorded = self.ranges.get(node).and_then(|notes| notes.pods);
        let shared = self.ranges.iter().find(|(other, notes)| *other != node && notes.pods == Some(network.pods));
        if recorded != Some(network.pods) {
            self.breach = Some(format!("{node} is told to have {}, and recorded is {recorded:?}", network.pods));
        } else if let Some((other, _)) = shared {
            self.breach = Some(format!("{node} and {other} have the same range {}", network.pods));
        }
    }

    pub fn recorded(&mut self, record: &AuditRecord) {
        for (path, text) in &record.tree {
            let notes = text.as_ref().filter(|_| path == ClusterNotes::PATH).and_then(|text| serde_saphyr::from_str(text).ok());
            if let Some(ClusterNotes { nodes, .. }) = notes {
                self.ranges = nodes;
            }
            let Some(key) = ObjectKey::of_audit_path(path).filter(|key| key.kind == Kind::Job) else { continue };
            let current: Option<CurrentObject> = text.as_ref().and_then(|text| serde_saphyr::from_str(text).ok());
            let Some(run) = current.and_then(|current| current.pods?.job) else { continue };
            match run.run {
                Some(hash) if run.outcome.is_some() => drop(self.over.insert(key, hash)),
                // A changed template is a new run, and so is the old one once more after that.
                Some(hash) if self.over.get(&key).is_some_and(|over| *over != hash) => drop(self.over.remove(&key)),
                Some(_) | None => {}
            }
        }
    }

    pub fn delivered(&mut self, node: &NodeName, assignment: &Assignment) {
        let newest = self.delivered.entry(node.clone()).or_default();
        *newest = (*newest).max((assignment.epoch, assignment.generation));
        self.orders.entry(node.clone()).or_default().extend(assignment.stop.keys().copied());
    }

    /// True if this node was ever told to stop this pod.
    pub fn ordered(&self, node: &NodeName, pod: &PodUid) -> bool {
        self.orders.get(node).is_some_and(|orders| orders.contains(pod))
    }

    /// Another host has taken the name of a lost one: what ran there is gone.
    pub fn replaced(&mut self, node: &NodeName) {
        self.gone.extend(self.told.get(node).into_iter().flat_map(|told| told.run.keys()));
    }

    /// An agent says hello from a host on which `here` has containers: what it neither names nor has is gone.
    pub fn greeted(&mut self, node: &NodeName, hello: &Hello, here: &BTreeSet<PodUid>) {
        let named: BTreeSet<PodUid> = hello.pods.iter().map(|pod| pod.uid).collect();
        let told = self.told.get(node).into_iter().flat_map(|told| told.run.keys());
        self.gone.extend(told.filter(|uid| !named.contains(uid) && !here.contains(uid)));
        let versions = hello.endpoints.iter().map(|(service, used)| (service.clone(), used.version));
        self.in_use.insert(node.clone(), versions.collect());
    }

    pub fn reported(&mut self, node: &NodeName, report: &Report) {
        self.in_use.entry(node.clone()).or_default().extend(report.endpoints.clone());
        self.gone.extend(report.gone.iter().copied());
        self.gone.extend(report.pods.iter().filter(|pod| pod.phase.is_terminal()).map(|pod| pod.uid));
    }

    /// The budgets, given what the controller knows.
    pub fn view(&mut self, view: &View) -> Result<(), String> {
        if let Some(breach) = self.breach.take() {
            return Err(breach);
        }
        let mut by_workload: BTreeMap<&ObjectKey, Vec<&PodView>> = BTreeMap::new();
        for pod in &view.pods {
            if let Some(run) = &pod.told {
                by_workload.entry(&run.workload).or_default().push(pod);
            }
        }
        for (key, pods) in &by_workload {
            if let Some(workload) = view.objects.get(*key).and_then(|object| object.workload()) {
                let replicas = view.workloads.get(*key).map_or(0, |state| state.replicas);
                self.budget(view, key, workload, replicas, pods)?;
            }
        }
        for (key, pods) in &by_workload {
            self.once(view, key, pods)?;
        }
        self.drained(view)?;
        for uid in &self.stopped_now {
            self.out_of_use(view, uid)?;
        }
        self.fresh.clear();
        self.stopped_now.clear();
        Ok(())
    }

    /// A pod that leaves its node for a drain leaves as many as its budgets ask for, as things are when it is decided.
    fn drained(&mut self, view: &View) -> Result<(), String> {
        for pod in view.pods.iter().filter(|pod| pod.stopping == Some(StopReason::Drained) && is_ready(pod)) {
            let Some(run) = pod.told.as_ref().filter(|run| self.leaves.insert(run.uid)) else { continue };
            let Some(template) = view.templates.get(&run.hash) else { continue };
            let covers = |key: &ObjectKey| {
                let selector = view.objects.get(key).and_then(|object| object.budget()).and_then(|rule| rule.selector.as_ref());
                let matches = selector.is_some_and(|selector| selector.matches(&template.template.metadata.labels));
                key.namespace == run.workload.namespace && matches
            };
            let broken = view.budgets.iter().find(|(key, state)| covers(key) && state.healthy < state.desired);
            if let Some((budget, state)) = broken {
                return Err(format!("{} is drained while {budget} has {} of {}", run.name, state.healthy, state.desired));
            }
        }
        Ok(())
    }

    /// A Job that is over runs nothing more, and no more at a time than it says; a DaemonSet one pod on a node.
    fn once(&self, view: &View, key: &ObjectKey, pods: &[&PodView]) -> Result<(), String> {
        let Some(workload) = view.objects.get(key).and_then(|object| object.workload()) else { return Ok(()) };
        let counts = |pod: &&&PodView| pod.stopping.is_none() && !has_ended(pod) && !is_lost(view, pod);
        let active: Vec<&&PodView> = pods.iter().filter(counts).collect();
        let fresh = active.iter().any(|pod| pod.told.as_ref().is_some_and(|run| self.fresh.contains(&run.uid)));
        let nodes: BTreeSet<&NodeName> = active.iter().map(|pod| &pod.node).collect();
        match &workload.strategy {
            Strategy::Job(spec) => {
                if fresh && self.over.get(key) == Some(&spec.run) {
                    return Err(format!("{key} is over and runs again: {}", names(&active)));
                }
                let most = workload.replicas.unwrap_or(1) as usize;
                if fresh && active.len() > most {
                    return Err(format!("{key}: more than {most} pods run at a time: {}", names(&active)));
                }
            }
            Strategy::Daemon(_) if fresh && nodes.len() < active.len() => {
                return Err(format!("{key}: two pods on one node: {}", names(&active)));
            }
            Strategy::Daemon(_)
            | Strategy::Stateful(_)
            | Strategy::Rolling { .. }
            | Strategy::Recreate
            | Strategy::OnDelete
            | Strategy::BlueGreen(_) => {}
        }
        Ok(())
    }

    /// A pod is stopped only when no node that is heard sends anybody to it.
    fn out_of_use(&self, view: &View, uid: &PodUid) -> Result<(), String> {
        let heard = self.in_use.iter().filter(|(node, _)| view.nodes.get(*node).is_some_and(|node| node.ready));
        for (node, used) in heard {
            let leads = |used: &(&ObjectKey, &u64)| {
                let members = self.members.get(&(used.0.clone(), *used.1));
                members.is_some_and(|members| members.contains(uid))
            };
            if let Some((service, _)) = used.iter().find(leads) {
                let name = self.told_to_run.get(uid).map_or("?", String::as_str);
                return Err(format!("{name} is stopped while {node} still sends people of {service} to it"));
            }
        }
        Ok(())
    }

    fn budget(&self, view: &View, key: &ObjectKey, workload: &Workload, replicas: u32, pods: &[&PodView]) -> Result<(), String> {
        let here: Vec<&&PodView> = pods.iter().filter(|pod| !is_lost(view, pod) && !has_ended(pod)).collect();
        let among = |set: &BTreeSet<PodUid>, pod: &PodView| pod.told.as_ref().is_some_and(|run| set.contains(&run.uid));
        let Strategy::Rolling { max_surge, max_unavailable } = &workload.strategy else { return Ok(()) };
        let (surge, unavailable) = Workload::rolling_bounds(max_surge, max_unavailable, replicas);
        let fresh = here.iter().filter(|pod| among(&self.fresh, pod)).count();
        // The pod that takes the place of one whose node is being drained comes first.
        let ahead = u32::from(view.nodes.values().any(|node| node.drain.is_some()));
        if fresh > 0 && here.len() > (replicas + surge + ahead) as usize {
            return Err(format!(
                "{key}: {} pods exist for {replicas} replicas and a surge of {surge}: {}",
                here.len(),
                names(&here)
            ));
        }
        let serving = here.iter().filter(|pod| pod.stopping.is_none() && is_ready(pod)).count();
        let retired =
            here.iter().any(|pod| among(&self.stopped_now, pod) && pod.stopping == Some(StopReason::Replaced) && is_ready(pod));
        if retired && serving < replicas.saturating_sub(unavailable) as usize {
            return Err(format!(
                "{key}: a pod is stopped and only {serving} of {replicas} serve (at most {unavailable} may not): {}",
                names(&here)
            ));
        }
        Ok(())
    }
}

/// On a node that is not heard: what runs there may be replaced elsewhere.
fn is_lost(view: &View, pod: &PodView) -> bool {
    view.nodes.get(&pod.node).is_none_or(|node| !node.ready)
}

fn has_ended(pod: &PodView) -> bool {
    pod.report.as_ref().is_some_and(|report| report.phase.is_terminal())
}

fn is_ready(pod: &PodView) -> bool {
    pod.report.as_ref().is_some_and(|report| report.ready && report.phase == PodPhase::Running)
}

fn names(pods: &[&&PodView]) -> String {
    let line = |pod: &&&PodView| {
        let name = pod.told.as_ref().map_or("?", |run| run.name.as_str());
        let state = pod.report.as_ref().map_or("untold".to_owned(), |report| format!("{:?}/{}", report.phase, report.ready));
        format!("{name}@{} {state} {:?}", pod.node, pod.stopping)
    };
    pods.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// True if pods of a finished rollout keep ending or never become ready (it was finished without any, and scaled up since), or a set
/// whose rollout has no deadline gets nowhere: that is what its template does, and nothing more will come of it.
fn loops(view: &View, key: &ObjectKey) -> bool {
    if matches!(key.kind, Kind::StatefulSet | Kind::DaemonSet) {
        return true;
    }
    let snapshot = view.objects.get(key).and_then(|object| object.snapshot());
    let mut containers = snapshot.iter().flat_map(|snapshot| &snapshot.template.spec.containers);
    if containers.any(|container| container.image.as_ref().is_some_and(|image| image.starts_with("unready:"))) {
        return true;
    }
    let reports = view.pods.iter().filter_map(|pod| pod.report.as_ref()).filter(|report| report.workload == *key);
    reports.flat_map(|report| &report.containers).any(|container| container.restarts >= 5)
}

/// What counts as settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// All is as wanted.
    Done,
    /// All is as wanted, has failed for good, or waits for a person or for capacity.
    Settled,
    /// The same, or a finished rollout's pods keep ending.
    Looping,
}

/// What is not settled yet, if anything.
pub fn unsettled(view: &View, patience: Patience) -> Option<String> {
    if view.health != Health::Acting {
        return Some(format!("the controller does not act: {:?}", view.health));
    }
    for (key, state) in &view.workloads {
        let settled = match &state.progress {
            Progress::Done => true,
            // Nothing more comes of a Job by the clock that has failed.
            Progress::Stalled(StalledBy::JobFailed(..)) if MadeBy::of_job(key).is_some() => true,
            _ if patience == Patience::Done => false,
            Progress::Stalled(_) => true,
            Progress::Waiting(on) => {
                matches!(on, WaitingOn::Promotion(_) | WaitingOn::Placement(_) | WaitingOn::Unpause | WaitingOn::Node(_))
                    || (patience == Patience::Looping && loops(view, key))
            }
            Progress::Progressing(_) => false,
        };
        if !settled {
            return Some(format!("{key}: {:?}", state.progress));
        }
    }
    if let Some(pod) = view.pods.iter().find(|pod| pod.stopping.is_some()) {
        return Some(format!("{:?} is still stopping", pod.told.as_ref().map(|run| &run.name)));
    }
    draining(view, patience)
}

/// A pod that leaves a drained node in its turn. One that serves waits for the others of its workload, and these may never be ready.
fn draining(view: &View, patience: Patience) -> Option<String> {
    let left = view.nodes.values().filter_map(|node| node.drain.as_ref()).flat_map(|drain| &drain.left);
    let serves = |name: &str| {
        let of_name = |pod: &&PodView| pod.told.as_ref().is_some_and(|run| run.name == name);
        view.pods.iter().find(of_name).is_some_and(is_ready)
    };
    let goes = |(name, why): &&(String, DrainReason)| !why.is_obstacle() && (patience != Patience::Looping || !serves(name));
    left.into_iter().find(goes).map(|(name, why)| format!("{name} is drained: {why}"))
}
