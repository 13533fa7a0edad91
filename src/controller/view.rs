//! The picture for status. Made when someone looks: it costs as much as there is to see.

use super::agents::spoken;
use super::core::Controller;
use super::placements::Placement;
use super::scale::SAMPLE_AGE_MAX;
use super::words;
use crate::model::{
    AutoscalerView, BudgetView, Health, Kind, Moment, NodeName, NodeView, Object, ObjectKey, PodReport, PodView, ProblemView,
    Progress, ServiceView, StalledBy, UnitState, View, WaitingOn, WorkloadView,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

impl Controller {
    /// A picture of everything that it knows, for status.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        let effective = &self.inputs.effective;
        let written = self.inputs.applied.iter().filter_map(|(key, applied)| Some((key.clone(), applied.created?)));
        Arc::new(View {
            version: self.version,
            at: self.now,
            cluster: self.settings.cluster.clone(),
            epoch: self.epoch,
            repo: self.settings.repo.clone(),
            branch: self.settings.branch.clone(),
            revision: effective.revision.clone(),
            health: self.health.clone(),
            objects: self.all_objects(),
            units: effective.units.clone(),
            workloads: self.workload_views(),
            crons: self.cron_views(),
            pods: self.pod_views(),
            templates: self.inputs.snapshots.clone(),
            created: written.chain(self.claims.created()).collect(),
            nodes: self.nodes.by_name.keys().map(|name| (name.clone(), self.node_view(name))).collect(),
            autoscalers: self.autoscaler_views(),
            budgets: self.budget_views(),
            claims: self.claims.views(),
            services: self.service_views(),
            ingress_addresses: self.ingress_addresses(),
            reconciles: self.records.ring.iter().cloned().collect(),
            events: self.happenings.all(self.now),
            problems: self.problems(),
            counters: self.counters,
            audit_queued: self.trouble.audit_queued,
        })
    }

    /// What git wants, and what CronJobs made.
    fn all_objects(&self) -> BTreeMap<ObjectKey, Arc<Object>> {
        let mut objects = self.inputs.effective.objects.clone();
        objects.extend(self.inputs.made.iter().map(|(key, made)| (key.clone(), Arc::clone(&made.object))));
        objects
    }

    fn workload_views(&self) -> BTreeMap<ObjectKey, WorkloadView> {
        let keys = self.inputs.effective.workloads().map(|(key, _)| key).chain(self.inputs.made.keys());
        keys.filter_map(|key| Some((key.clone(), self.workload_view(key)?))).collect()
    }

    fn workload_view(&self, key: &ObjectKey) -> Option<WorkloadView> {
        let workload = self.inputs.object(key)?.workload()?;
        let work = self.works.get(key)?;
        let min_ready = Duration::from_secs(u64::from(workload.min_ready_seconds));
        let (mut updated, mut ready, mut available, mut current) = (0, 0, 0, 0);
        let is_job = Self::is_job(key);
        let counts = |placement: &&Placement| placement.retired.is_none() && !(is_job && placement.ended_since.is_some());
        for placement in self.placements.of_workload(key).filter(counts) {
            current += 1;
            updated += u32::from(placement.run.hash == workload.snapshot.hash);
            if placement.is_serving() && self.nodes.get(&placement.node).is_some_and(|node| node.ready) {
                ready += 1;
                available += u32::from(placement.ready_since.is_some_and(|since| self.now >= since + min_ready));
            }
        }
        Some(WorkloadView {
            replicas: self.wanted(key, workload),
            hash: workload.snapshot.hash.clone(),
            updated,
            ready,
            available,
            current,
            progress: work.progress.clone(),
            promoted: work.memory.promoted.clone(),
            autoscaled: work.autoscaled,
            job: is_job.then(|| work.memory.job.run.clone()),
        })
    }

    fn pod_views(&self) -> Vec<PodView> {
        let told = self.placements.iter().map(|placement| PodView {
            node: placement.node.clone(),
            told: Some(placement.run.clone()),
            stopping: placement.retired.as_ref().map(|retired| retired.reason),
            report: placement.report.as_ref().map(|report| self.current_report(report, placement.ready_since, placement.since)),
            since: placement.since,
            usage: placement.usage.clone().filter(|(_, at)| self.is_fresh(*at)),
        });
        let unclaimed = self.placements.unclaimed.values().map(|(node, report)| PodView {
            node: node.clone(),
            told: None,
            stopping: None,
            report: Some(report.clone()),
            since: self.now - report.age,
            usage: None,
        });
        told.chain(unclaimed).collect()
    }

    /// A report with its durations as of now: agents report only what changes.
    fn current_report(
        &self,
        report: &PodReport,
        ready_since: Option<crate::model::Moment>,
        since: crate::model::Moment,
    ) -> PodReport {
        let ready_for = ready_since.map(|since| self.now.since(since)).unwrap_or_default();
        PodReport { ready_for, age: self.now.since(since).max(report.age), ..report.clone() }
    }

    fn node_view(&self, name: &NodeName) -> NodeView {
        let node = self.nodes.get(name);
        NodeView {
            facts: self.facts(name),
            ready: node.is_some_and(|node| node.ready),
            heard: node.and_then(|node| node.heard),
            created: node.and_then(|node| node.created),
            pods: self.placements.count_of_node(name),
            marks: self.marks(name),
            away_until: node.and_then(|node| node.away_until.filter(|until| self.now < *until)),
            conditions: node.map(|node| node.conditions.clone()).unwrap_or_default(),
            drain: node.and_then(|node| node.drain.clone()),
            usage: node.and_then(|node| node.usage).filter(|(_, at)| self.is_fresh(*at)),
        }
    }

    /// Whether a sample of that time still says something.
    fn is_fresh(&self, at: Moment) -> bool {
        self.now.since(at) < SAMPLE_AGE_MAX
    }

    fn autoscaler_views(&self) -> BTreeMap<ObjectKey, AutoscalerView> {
        let view = |(target, autoscaler): (&ObjectKey, &ObjectKey)| {
            let scaling = &self.works.get(target)?.scaling;
            let (last_scale, decision) = (scaling.last_scale, scaling.decision.clone());
            Some((autoscaler.clone(), AutoscalerView { target: target.clone(), last_scale, decision }))
        };
        self.inputs.autoscalers.iter().filter_map(view).collect()
    }

    fn budget_views(&self) -> BTreeMap<ObjectKey, BudgetView> {
        let budgets = self.inputs.effective.objects.keys().filter(|key| key.kind == Kind::PodDisruptionBudget);
        budgets.filter_map(|key| Some((key.clone(), self.budget(key)?))).collect()
    }

    fn service_views(&self) -> BTreeMap<ObjectKey, ServiceView> {
        let services = self.inputs.effective.objects.values().filter(|object| object.service().is_some());
        let addresses = || self.load_balancers().into_iter().filter_map(|name| Some(self.facts(&name)?.found_at()));
        let balancers: BTreeSet<String> = if self.inputs.balanced.is_empty() { BTreeSet::new() } else { addresses().collect() };
        let view = |key: &ObjectKey| {
            let ports = self.services.get(key).map(|service| service.set.ports.as_slice()).unwrap_or_default();
            let is_balanced = self.inputs.balanced.contains(key);
            ServiceView {
                address: self.inputs.addresses.get(key),
                backends: ports.first().map_or(0, |port| port.backends.len()),
                node_ports: self.inputs.node_ports.get(key),
                load_balancers: if is_balanced { balancers.clone() } else { BTreeSet::new() },
            }
        };
        services.map(|object| (object.key.clone(), view(&object.key))).collect()
    }

    /// Everything that wants a person's attention, worst first.
    fn problems(&self) -> Vec<ProblemView> {
        let mut found = self.troubles();
        found.extend(self.unit_problems());
        found.extend(self.block_problem());
        found.extend(self.workload_problems());
        found.extend(self.node_problems());
        found.extend(self.service_problems());
        found.extend(self.ingress_problems());
        found
    }

    fn troubles(&self) -> Vec<ProblemView> {
        let mut found = Vec::new();
        match &self.health {
            Health::StoodDown(epoch) => found.push(problem(
                "controller",
                format!("another controller reigns with epoch {}; this one changes nothing", epoch.0),
                Some("Stop one of the two. Two controllers must not steer one cluster."),
            )),
            Health::Holding(reason) => found.push(problem("controller", format!("holding: {reason}"), None)),
            Health::Starting | Health::Acting => {}
        }
        if let Some((message, hint)) = &self.trouble.sync {
            found.push(problem("repo", message.clone(), hint.as_deref()));
        }
        if let Some(error) = &self.trouble.audit {
            let message = format!("{} audit records are not pushed: {error}", self.trouble.audit_queued);
            found.push(problem("audit", message, Some("They are kept and pushed as soon as the remote takes them.")));
        }
        if let Some(difference) = &self.trouble.divergence {
            let hint = "This is a bug in Driftless; please report it. The full recompute is in force.";
            found.push(problem("controller", format!("a full recompute differed: {difference}"), Some(hint)));
        }
        found
    }

    fn unit_problems(&self) -> Vec<ProblemView> {
        let mut found = Vec::new();
        let desired = &self.inputs.effective;
        for (unit, state) in &desired.units {
            let about = match state {
                UnitState::Held { at: Some(at), .. } => format!("unit {unit}, held at {}", at.short()),
                UnitState::Held { at: None, .. } => format!("unit {unit}, held: it was never good"),
                UnitState::Loaded { .. } => format!("unit {unit}"),
            };
            let mut problems: Vec<_> = state.problems().iter().collect();
            problems.sort_by_key(|problem| !problem.is_error());
            found.extend(problems.into_iter().map(|problem| from_manifest(&about, problem)));
        }
        found.extend(desired.problems.iter().map(|problem| from_manifest("repo", problem)));
        found.sort_by_key(|view| !view.problem.as_ref().is_some_and(|problem| problem.is_error()));
        found
    }

    fn block_problem(&self) -> Option<ProblemView> {
        let block = self.inputs.block.as_ref()?;
        let names: Vec<String> = block.objects.iter().take(5).map(ToString::to_string).collect();
        let more = block.objects.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!("{}: {}{more}", words::blocked_subject(&block.objects), names.join(", "));
        Some(problem("prune", message, Some(&words::capitalized(&block.reason))))
    }

    fn workload_problems(&self) -> Vec<ProblemView> {
        let mut found = Vec::new();
        for (key, work) in &self.works {
            match &work.progress {
                Progress::Stalled(stalled) => {
                    let hint = match stalled {
                        StalledBy::Deadline(_) => "Undo the commit or push a fix; the old pods keep serving meanwhile.",
                        StalledBy::Quarantined(_) => "Change the template (an annotation will do) to try it again.",
                        StalledBy::JobFailed(..) => {
                            "Look at its log. Change the template (an annotation will do) to run it again."
                        }
                        StalledBy::Forgotten(_) => "Change the template (an annotation will do) to run it, or delete it.",
                    };
                    found.push(problem(&key.short(), words::stalled(stalled), Some(hint)));
                }
                Progress::Waiting(WaitingOn::Placement(refusals)) => {
                    found.push(problem(&key.short(), format!("no node can take a pod: {refusals}"), None));
                }
                Progress::Waiting(WaitingOn::Promotion(hash)) => {
                    let hint = format!("Set the annotation driftless.dev/promote: \"{}\" by a commit.", hash.short());
                    found.push(problem(&key.short(), "the new set is ready and waits for promotion".to_owned(), Some(&hint)));
                }
                Progress::Done | Progress::Progressing(_) | Progress::Waiting(_) => {}
            }
            if work.churn.is_contended() {
                let message = "its pods keep vanishing or ending; replacements are slowed down".to_owned();
                found.push(problem(&key.short(), message, Some("Someone or something else may be changing this.")));
            }
        }
        for key in &self.inputs.unreadable {
            let message = format!("{key} is remembered, but cannot be read at its recorded commit; its pods are kept");
            found.push(problem(&key.short(), message, Some("Put it back into the repo, or remove its pods by hand.")));
        }
        found
    }

    /// What agents that are heard say of Services.
    fn service_problems(&self) -> impl Iterator<Item = ProblemView> {
        self.nodes.ready().flat_map(|(name, node)| {
            let said = node.service_problems.iter();
            said.map(move |said| problem(&said.service.to_string(), format!("node {name}: {}", said.message), None))
        })
    }

    fn node_problems(&self) -> Vec<ProblemView> {
        let mut found = Vec::new();
        if self.nodes.is_braked() {
            let message = "most nodes are silent at once: probably this controller is cut off, so nothing is replaced".to_owned();
            found.push(problem("nodes", message, None));
        }
        for (name, node) in self.nodes.by_name.iter().filter(|(_, node)| !node.ready) {
            let message = match node.away_until.filter(|until| self.now < *until) {
                Some(until) => format!("away for {}, as it announced; it is waited for", spoken(until.since(self.now))),
                None if node.lost => "lost: its pods are replaced elsewhere".to_owned(),
                None => "not heard".to_owned(),
            };
            found.push(problem(&format!("node {name}"), message, None));
        }
        for (name, node) in self.nodes.ready() {
            let said = node.problems.iter();
            found.extend(said.map(|said| problem(&format!("node {name}"), said.message.clone(), None)));
        }
        for (name, node) in &self.nodes.by_name {
            let full = node.conditions.disk_pressure.iter();
            found.extend(full.map(|why| problem(&format!("node {name}"), format!("no new pods go there: {why}"), None)));
        }
        found.extend(self.drain_problems());
        let written = self.inputs.effective.objects.keys().filter(|key| key.kind == Kind::Node);
        for key in written.filter(|key| self.nodes.get(&NodeName::new(key.name.clone())).is_none()) {
            let hint = Some("Start an agent of this name, or remove the Node; what it says is in force once it joins.");
            found.push(problem(&format!("node {}", key.name), "no agent of this name has joined".to_owned(), hint));
        }
        for (node, report) in self.placements.unclaimed.values() {
            let message = format!("unclaimed on {node}: its workload {} is not known; it is kept running", report.workload);
            found.push(problem(
                &format!("pod {}", report.name),
                message,
                Some("Add its workload to the repo, or stop it by hand."),
            ));
        }
        found
    }

    /// What drains wait for that may take long, each once.
    fn drain_problems(&self) -> Vec<ProblemView> {
        let mut found = Vec::new();
        for (name, drain) in self.nodes.by_name.iter().filter_map(|(name, node)| Some((name, node.drain.as_ref()?))) {
            let reasons: BTreeSet<String> =
                drain.left.iter().filter(|(_, why)| why.is_obstacle()).map(|(_, why)| why.to_string()).collect();
            let waits = |why: &String| problem(&format!("node {name}"), format!("drain of {name} waits: {why}"), None);
            found.extend(reasons.iter().map(waits));
        }
        found
    }
}

pub(super) fn problem(about: &str, message: String, hint: Option<&str>) -> ProblemView {
    ProblemView { about: about.to_owned(), message, hint: hint.map(str::to_owned), problem: None }
}

fn from_manifest(about: &str, found: &crate::model::Problem) -> ProblemView {
    ProblemView {
        about: about.to_owned(),
        message: found.message.clone(),
        hint: found.hint.clone(),
        problem: Some(found.clone()),
    }
}
