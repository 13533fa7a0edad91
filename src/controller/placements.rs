//! Placements: what was told, to whom, and what is known of it.

use super::leases::Tenure;
use crate::apply::rollout::{PodEnd, PodState, Standing};
use crate::apply::schedule::Request;
use crate::model::{
    Generation, Kind, Moment, NodeName, ObjectKey, PodPhase, PodReport, PodRun, PodUid, PodUsage, Revision, StopOrder, StopReason,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One pod that a node was told to run, from the telling until its end is acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placement {
    /// What was told.
    pub(super) run: PodRun,
    /// The node.
    pub(super) node: NodeName,
    /// What is set aside for it there.
    pub(super) request: Arc<Request>,
    /// The first assignment that names it: 0 if it was adopted, `None` if there is none yet.
    pub(super) generation: Option<Generation>,
    /// True until its node is told of it: nobody would miss it.
    pub(super) untold: bool,
    /// When it was told or adopted.
    pub(super) since: Moment,
    /// What its agent last said of it.
    pub(super) report: Option<PodReport>,
    /// Since when it is ready.
    pub(super) ready_since: Option<Moment>,
    /// Since when it is known to have ended.
    pub(super) ended_since: Option<Moment>,
    /// What it uses, and when that was said.
    pub(super) usage: Option<(PodUsage, Moment)>,
    /// How long it may run without us.
    pub(super) tenure: Tenure,
    /// When its lease was last renewed in this reign.
    pub(super) renewed: Option<Moment>,
    /// True once its lease has run out on a lost node: its number is free, and it is never renewed again.
    pub(super) lapsed: bool,
    /// Set once it is to go.
    pub(super) retired: Option<Retired>,
}

/// A pod on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Retired {
    pub(super) reason: StopReason,
    pub(super) commit: Option<Revision>,
    /// True once it is in the `stop` list of its node.
    pub(super) told: bool,
}

impl Placement {
    /// A pod that was just decided.
    pub(super) fn new(node: NodeName, run: PodRun, request: Arc<Request>, now: Moment) -> Self {
        Self {
            run,
            node,
            request,
            generation: None,
            untold: true,
            since: now,
            report: None,
            ready_since: None,
            ended_since: None,
            usage: None,
            tenure: Tenure::Open,
            renewed: None,
            lapsed: false,
            retired: None,
        }
    }

    /// A pod that an agent brought with it.
    pub(super) fn adopted(
        node: &NodeName,
        report: PodReport,
        (request, images): (Arc<Request>, BTreeMap<String, String>),
        now: Moment,
    ) -> Self {
        let run = PodRun {
            uid: report.uid,
            name: report.name.clone(),
            workload: report.workload.clone(),
            slot: report.slot,
            hash: report.hash.clone(),
            revision: report.revision.clone(),
            images,
        };
        let stopping = report.phase == PodPhase::Stopping;
        let retired = stopping.then_some(Retired { reason: StopReason::Superseded, commit: None, told: true });
        let since = now - report.age;
        let mut placement =
            Self { generation: Some(Generation(0)), untold: false, retired, ..Self::new(node.clone(), run, request, since) };
        placement.hear(report, now);
        placement
    }

    /// Takes a report in. Returns whether it matters to a rollout or a Service.
    pub(super) fn hear(&mut self, report: PodReport, now: Moment) -> bool {
        let before = self.report.as_ref().map(essence);
        let matters = before.as_ref() != Some(&essence(&report));
        self.ready_since = match (self.ready_since, report.ready) {
            (Some(since), true) => Some(since),
            (None, true) => Some(now - report.ready_for),
            (_, false) => None,
        };
        self.ended_since = if report.phase.is_terminal() { self.ended_since.or(Some(now)) } else { None };
        self.report = Some(report);
        matters
    }

    /// True if what is set aside for it is needed: one that has ended is kept for its log only.
    pub(super) fn holds_capacity(&self) -> bool {
        self.ended_since.is_none()
    }

    /// True if it takes requests, as far as its agent says.
    pub(super) fn is_serving(&self) -> bool {
        let ready = |report: &PodReport| report.ready && report.phase == PodPhase::Running && report.address.is_some();
        self.retired.is_none() && self.report.as_ref().is_some_and(ready)
    }

    /// True if it runs and is to go on, ready or not.
    pub(super) fn is_running(&self) -> bool {
        let runs = |report: &PodReport| report.phase == PodPhase::Running && report.address.is_some();
        self.retired.is_none() && self.report.as_ref().is_some_and(runs)
    }

    fn is_ready(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.ready && report.phase == PodPhase::Running)
    }

    /// True if it is on its way out and its agent was not told to stop it yet.
    pub(super) fn is_draining(&self) -> bool {
        self.retired.as_ref().is_some_and(|retired| !retired.told)
    }

    /// True if its agent is to stop it now.
    pub(super) fn stop_order(&self) -> Option<StopOrder> {
        let retired = self.retired.as_ref().filter(|retired| retired.told)?;
        Some(StopOrder { uid: self.run.uid, reason: retired.reason, commit: retired.commit.clone() })
    }

    /// As a rollout sees it, given the state of its node. One that is `bound` to its node is never lost.
    pub(super) fn state(&self, node_ready: bool, node_lost: bool, bound: bool) -> PodState<'_> {
        PodState {
            uid: self.run.uid,
            slot: self.run.slot,
            hash: &self.run.hash,
            node: &self.node,
            heard: node_ready,
            bound,
            drained: false,
            standing: self.standing(node_ready, node_lost && !bound),
            retired: self.retired.is_some(),
            end: self.end(),
            restarts: self.report.as_ref().map_or(0, restarts),
            message: self.report.as_ref().map_or("", |report| report.message.as_str()),
        }
    }

    fn end(&self) -> Option<PodEnd<'_>> {
        let (report, at) = (self.report.as_ref()?, self.ended_since?);
        Some(PodEnd { succeeded: report.phase == PodPhase::Succeeded, at, containers: &report.containers })
    }

    fn standing(&self, node_ready: bool, node_lost: bool) -> Standing {
        if node_lost {
            return Standing::Lost;
        }
        match (&self.retired, &self.report) {
            (Some(retired), _) if retired.told => Standing::Stopping,
            (Some(retired), _) => {
                let may_return = retired.reason.is_negotiable() && node_ready && self.is_ready();
                Standing::Draining { since: self.ready_since.filter(|_| may_return) }
            }
            (None, Some(report)) if report.phase.is_terminal() => Standing::Ended,
            (None, Some(_)) if node_ready && self.is_ready() => {
                self.ready_since.map_or(Standing::Unready, |since| Standing::Ready { since })
            }
            (None, _) => Standing::Unready,
        }
    }
}

/// What of a report matters to decisions; the rest is for status.
fn essence(report: &PodReport) -> (PodPhase, bool, Option<std::net::IpAddr>, BTreeMap<u16, u16>, u32) {
    // A Job counts how often its containers were restarted on the spot.
    let restarts = if report.workload.kind == Kind::Job { restarts(report) } else { 0 };
    (report.phase, report.ready, report.address, report.ports.clone(), restarts)
}

fn restarts(report: &PodReport) -> u32 {
    report.containers.iter().map(|container| container.restarts).sum()
}

/// All placements, with the indexes that a pass needs.
#[derive(Debug, Default)]
pub(super) struct Placements {
    pods: BTreeMap<PodUid, Placement>,
    by_node: BTreeMap<NodeName, BTreeSet<PodUid>>,
    by_workload: BTreeMap<ObjectKey, BTreeSet<PodUid>>,
    /// Those that may have a lease.
    leased: BTreeMap<NodeName, BTreeSet<PodUid>>,
    /// Pods that agents run and whose workload nobody knows: kept running and shown, never stopped.
    pub(super) unclaimed: BTreeMap<PodUid, (NodeName, PodReport)>,
}

impl Placements {
    pub(super) fn insert(&mut self, placement: Placement) {
        let uid = placement.run.uid;
        self.by_node.entry(placement.node.clone()).or_default().insert(uid);
        self.by_workload.entry(placement.run.workload.clone()).or_default().insert(uid);
        if placement.tenure != Tenure::Open {
            self.leased.entry(placement.node.clone()).or_default().insert(uid);
        }
        self.pods.insert(uid, placement);
    }

    pub(super) fn remove(&mut self, uid: &PodUid) -> Option<Placement> {
        let placement = self.pods.remove(uid)?;
        drop_from(&mut self.by_node, &placement.node, uid);
        drop_from(&mut self.by_workload, &placement.run.workload, uid);
        drop_from(&mut self.leased, &placement.node, uid);
        Some(placement)
    }

    pub(super) fn get(&self, uid: &PodUid) -> Option<&Placement> {
        self.pods.get(uid)
    }

    pub(super) fn get_mut(&mut self, uid: &PodUid) -> Option<&mut Placement> {
        self.pods.get_mut(uid)
    }

    /// Whether it was this node that told of a pod that nobody knows.
    pub(super) fn is_unclaimed_on(&self, uid: &PodUid, node: &NodeName) -> bool {
        self.unclaimed.get(uid).is_some_and(|(holder, _)| holder == node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Placement> {
        self.pods.values()
    }

    pub(super) fn of_node(&self, node: &NodeName) -> impl Iterator<Item = &Placement> {
        self.by_node.get(node).into_iter().flatten().filter_map(|uid| self.pods.get(uid))
    }

    /// The pods on a node that may have a lease.
    pub(super) fn leased_on(&self, node: &NodeName) -> impl Iterator<Item = &Placement> {
        self.leased.get(node).into_iter().flatten().filter_map(|uid| self.pods.get(uid))
    }

    /// The same of every node.
    pub(super) fn leased(&self) -> impl Iterator<Item = &Placement> {
        self.leased.values().flatten().filter_map(|uid| self.pods.get(uid))
    }

    pub(super) fn of_workload(&self, workload: &ObjectKey) -> impl Iterator<Item = &Placement> {
        self.by_workload.get(workload).into_iter().flatten().filter_map(|uid| self.pods.get(uid))
    }

    /// The pods of one namespace.
    pub(super) fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Placement> {
        let first = ObjectKey::new(Kind::Namespace, namespace, "");
        let here = self.by_workload.range(first..).take_while(move |(key, _)| key.namespace == namespace);
        here.flat_map(|(_, uids)| uids).filter_map(|uid| self.pods.get(uid))
    }

    pub(super) fn count_of_node(&self, node: &NodeName) -> usize {
        self.by_node.get(node).map_or(0, BTreeSet::len)
    }

    /// A new epoch numbers its assignments anew.
    pub(super) fn untell(&mut self) {
        for placement in self.pods.values_mut().filter(|placement| placement.generation != Some(Generation(0))) {
            placement.generation = None;
        }
    }

    /// The workloads that have pods on a node.
    pub(super) fn workloads_of_node(&self, node: &NodeName) -> BTreeSet<ObjectKey> {
        self.of_node(node).map(|placement| placement.run.workload.clone()).collect()
    }

    /// Makes the indexes again and compares.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut fresh = Self::default();
        for placement in self.pods.values() {
            fresh.insert(placement.clone());
        }
        if fresh.by_node != self.by_node {
            return Err("the index from nodes to pods differs from the pods".to_owned());
        }
        if fresh.leased != self.leased {
            return Err("the index of pods with a lease differs from the pods".to_owned());
        }
        if fresh.by_workload != self.by_workload {
            return Err("the index from workloads to pods differs from the pods".to_owned());
        }
        Ok(())
    }
}

fn drop_from<K: Ord>(index: &mut BTreeMap<K, BTreeSet<PodUid>>, key: &K, uid: &PodUid) {
    if let Some(set) = index.get_mut(key) {
        set.remove(uid);
        if set.is_empty() {
            index.remove(key);
        }
    }
}
