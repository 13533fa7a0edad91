//! A pod as status shows it: what was told and what is reported, brought together once for the API, the page and the tables.

use super::words;
use crate::model::{
    ContainerReport, ContainerState, NodeName, ObjectKey, PodPhase, PodReport, PodRun, PodSnapshot, PodUid, PodView, Revision,
    TemplateHash, View,
};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A pod with everything that is known of it.
pub(super) struct ShownPod<'a> {
    /// Its uid.
    pub(super) uid: PodUid,
    /// Its name.
    pub(super) name: &'a str,
    /// Its workload.
    pub(super) workload: &'a ObjectKey,
    /// Its template's hash.
    pub(super) hash: &'a TemplateHash,
    /// The commit of its template.
    pub(super) revision: &'a Revision,
    /// Its node.
    pub(super) node: &'a NodeName,
    /// Its template, if the view has it.
    pub(super) snapshot: Option<&'a PodSnapshot>,
    /// What it is made from.
    pub(super) view: &'a PodView,
    /// Whether its node is heard.
    node_ready: bool,
}

/// The pods of a view, in the order of namespace and name.
pub(super) fn all(view: &View) -> Vec<ShownPod<'_>> {
    let mut pods: Vec<ShownPod<'_>> = view.pods.iter().filter_map(|pod| shown(view, pod)).collect();
    pods.sort_by(|a, b| (&a.workload.namespace, a.name, a.uid).cmp(&(&b.workload.namespace, b.name, b.uid)));
    pods
}

/// The same pods by their workload.
pub(super) fn by_workload<'p, 'a>(pods: &'p [ShownPod<'a>]) -> BTreeMap<&'a ObjectKey, Vec<&'p ShownPod<'a>>> {
    let mut by_workload: BTreeMap<&'a ObjectKey, Vec<&'p ShownPod<'a>>> = BTreeMap::new();
    for pod in pods {
        by_workload.entry(pod.workload).or_default().push(pod);
    }
    by_workload
}

fn shown<'a>(view: &'a View, pod: &'a PodView) -> Option<ShownPod<'a>> {
    let (uid, name, workload, hash, revision) = match (&pod.told, &pod.report) {
        (Some(told), _) => (told.uid, &told.name, &told.workload, &told.hash, &told.revision),
        (None, Some(report)) => (report.uid, &report.name, &report.workload, &report.hash, &report.revision),
        (None, None) => return None,
    };
    let current = || view.objects.get(workload).and_then(|object| object.snapshot()).filter(|snapshot| snapshot.hash == *hash);
    let snapshot = view.templates.get(hash).or_else(current).map(AsRef::as_ref);
    let node_ready = view.nodes.get(&pod.node).is_none_or(|node| node.ready);
    Some(ShownPod { uid, name, workload, hash, revision, node: &pod.node, snapshot, view: pod, node_ready })
}

impl<'a> ShownPod<'a> {
    /// What its agent says.
    pub(super) fn report(&self) -> Option<&'a PodReport> {
        self.view.report.as_ref()
    }

    /// Its namespace.
    pub(super) fn namespace(&self) -> &'a str {
        &self.workload.namespace
    }

    /// Its labels.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.snapshot.map(|snapshot| snapshot.template.metadata.labels.clone()).unwrap_or_default();
        labels.extend(self.own_labels());
        labels
    }

    /// Labels (and annotations) that it has beside those of its template.
    pub(super) fn own_labels(&self) -> BTreeMap<String, String> {
        self.view.told.as_ref().map(PodRun::own_labels).unwrap_or_default()
    }

    /// True if no assignment names it: it keeps running, and nobody will replace it.
    pub(super) fn is_unclaimed(&self) -> bool {
        self.view.told.is_none() && self.view.stopping.is_none()
    }

    /// True if it is being stopped.
    pub(super) fn is_stopping(&self) -> bool {
        self.view.stopping.is_some() || self.phase() == PodPhase::Stopping
    }

    /// Where it stands.
    pub(super) fn phase(&self) -> PodPhase {
        self.report().map_or(PodPhase::Pending, |report| report.phase)
    }

    /// True if it serves, as far as its agent can be believed.
    pub(super) fn is_ready(&self) -> bool {
        self.node_ready && self.report().is_some_and(|report| report.ready)
    }

    /// True if its agent is not heard, so that nothing is known of it now.
    pub(super) fn is_out_of_sight(&self) -> bool {
        !self.node_ready
    }

    /// `status.phase`, of which Kubernetes has five.
    pub(super) fn kubernetes_phase(&self) -> &'static str {
        match self.phase() {
            _ if self.is_out_of_sight() => "Unknown",
            PodPhase::Pending | PodPhase::Starting => "Pending",
            PodPhase::Running | PodPhase::CrashLoop if self.initializing().is_some() => "Pending",
            PodPhase::Running | PodPhase::CrashLoop | PodPhase::Stopping => "Running",
            PodPhase::Succeeded => "Succeeded",
            PodPhase::Failed => "Failed",
        }
    }

    /// The word in kubectl's STATUS column.
    pub(super) fn word(&self) -> Cow<'static, str> {
        let word = match self.phase() {
            _ if self.is_out_of_sight() => "Unknown",
            _ if self.is_stopping() => "Terminating",
            PodPhase::Pending => "Pending",
            PodPhase::Starting => return self.initializing().map_or("ContainerCreating".into(), Cow::Owned),
            PodPhase::Running | PodPhase::Stopping => "Running",
            PodPhase::CrashLoop => return self.initializing().map_or("CrashLoopBackOff".into(), Cow::Owned),
            PodPhase::Succeeded => "Completed",
            PodPhase::Failed => match self.report() {
                Some(report) if !report.reason.is_empty() => return report.reason.clone().into(),
                Some(_) | None => return self.initializing().map_or("Error".into(), Cow::Owned),
            },
        };
        word.into()
    }

    /// How far its init containers are, in kubectl's words (`Init:1/3`); `None` once they have done their work.
    pub(super) fn initializing(&self) -> Option<String> {
        let report = self.report()?;
        let begun = |container: &ContainerReport| container.state != ContainerState::Waiting && !container.id.is_empty();
        if report.phase != PodPhase::Failed && report.containers.iter().any(begun) {
            return None;
        }
        let has_done = |one: &ContainerReport| match one.state {
            ContainerState::Ended => ended_well(one),
            ContainerState::Running => self.is_sidecar(&one.name) && one.started,
            ContainerState::Waiting | ContainerState::BackOff => false,
        };
        let inits = &report.init_containers;
        let at = inits.iter().position(|one| !has_done(one))?;
        Some(match inits.get(at) {
            Some(one) if one.state == ContainerState::Ended => "Init:Error".to_owned(),
            Some(one) if one.state == ContainerState::BackOff && one.last_exit.is_some() => "Init:CrashLoopBackOff".to_owned(),
            Some(_) | None => format!("Init:{at}/{}", inits.len()),
        })
    }

    fn is_sidecar(&self, name: &str) -> bool {
        let mut sidecars = self.snapshot.into_iter().flat_map(|snapshot| &snapshot.template.spec.init_containers);
        sidecars.any(|container| container.name == name && container.is_sidecar())
    }

    /// The containers that go on once it is initialized, as its agent reports them.
    fn lasting(&self) -> impl Iterator<Item = &'a ContainerReport> {
        let report = self.report();
        let sidecars = report.into_iter().flat_map(|report| &report.init_containers).filter(|one| self.is_sidecar(&one.name));
        sidecars.chain(report.into_iter().flat_map(|report| &report.containers))
    }

    /// How many containers and sidecars it has, and how many of them are ready.
    pub(super) fn containers_ready(&self) -> (usize, usize) {
        let reported = self.lasting().count();
        let total = self.snapshot.map_or(reported, |snapshot| snapshot.template.spec.lasting_containers().count());
        (self.lasting().filter(|container| container.ready).count(), total.max(reported))
    }

    /// How often its containers were restarted: those that go on, and init containers while they are at work.
    pub(super) fn restarts(&self) -> u32 {
        let Some(report) = self.report() else { return 0 };
        let inits: u32 = report.init_containers.iter().map(|container| container.restarts).sum();
        if self.initializing().is_some() { inits } else { self.lasting().map(|container| container.restarts).sum() }
    }

    /// Why it is where it is, for people; empty if there is nothing to say.
    pub(super) fn message(&self) -> String {
        if self.is_out_of_sight() {
            return format!("node {} is not heard; this is its last word", self.node);
        }
        if let Some(reason) = self.view.stopping {
            return words::stop_reason(reason).into();
        }
        match self.report() {
            None => "its node has been told, and has not answered yet".into(),
            Some(report) if !report.message.is_empty() => report.message.clone(),
            Some(_) if self.is_unclaimed() => "no assignment names it: it keeps running".into(),
            Some(report) => report
                .init_containers
                .iter()
                .filter(|one| one.state != ContainerState::Ended || !ended_well(one))
                .chain(&report.containers)
                .find_map(last_end)
                .unwrap_or_default(),
        }
    }

    /// The names of its containers, in the order of the template, then those of its init containers.
    pub(super) fn container_names(&self) -> Vec<&'a str> {
        match (self.snapshot, self.report()) {
            (Some(snapshot), _) => {
                let spec = &snapshot.template.spec;
                spec.containers.iter().chain(&spec.init_containers).map(|container| container.name.as_str()).collect()
            }
            (None, Some(report)) => {
                report.containers.iter().chain(&report.init_containers).map(|one| one.name.as_str()).collect()
            }
            (None, None) => Vec::new(),
        }
    }
}

fn ended_well(container: &ContainerReport) -> bool {
    container.last_exit.as_ref().is_none_or(|exit| exit.code == 0)
}

/// How a container that is not running last ended.
fn last_end(container: &ContainerReport) -> Option<String> {
    let exit = container.last_exit.as_ref()?;
    (container.state != ContainerState::Running).then(|| format!("{}: {}, exit code {}", container.name, exit.reason, exit.code))
}
