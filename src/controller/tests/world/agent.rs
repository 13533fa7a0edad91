//! Agents that do as they are told.

use super::World;
use super::language::{key, letter, node};
use crate::controller::Event;
use crate::model::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A pod as its agent has it.
#[derive(Debug, Clone)]
pub(crate) struct FakePod {
    pub(crate) run: PodRun,
    pub(crate) started: Moment,
    pub(crate) ready_since: Option<Moment>,
    pub(crate) stopping: Option<Moment>,
    /// Whether it succeeded, once it has ended.
    pub(crate) ended: Option<bool>,
    pub(crate) reported: Option<(PodPhase, bool)>,
    /// What the name of its image was resolved to, once it runs.
    pub(crate) digest: Option<String>,
    /// Its lease, if it has one, and until when that is.
    pub(crate) lease: Option<Lease>,
    pub(crate) until: Option<Moment>,
}

impl FakePod {
    /// Whether it runs, or may be in its grace.
    pub(crate) fn may_run(&self, now: Moment) -> bool {
        let in_time = |lease: Lease| self.until.is_some_and(|until| now < until + lease.grace);
        self.ended.is_none() && self.lease.is_none_or(in_time)
    }

    /// Whether its lease is over, or was never given.
    fn is_over(&self, now: Moment) -> bool {
        self.lease.is_some() && self.until.is_none_or(|until| now >= until)
    }
}

/// An agent that does as it is told.
#[derive(Debug, Default)]
pub(crate) struct FakeAgent {
    pub(crate) in_force: (Epoch, Generation),
    pub(crate) pods: BTreeMap<PodUid, FakePod>,
    pub(crate) endpoints: BTreeMap<ObjectKey, Arc<EndpointSet>>,
    pub(crate) fresh: BTreeMap<ObjectKey, u64>,
    pub(crate) gone: Vec<PodUid>,
    /// The volume claims whose data it has.
    pub(crate) volumes: BTreeSet<ObjectKey>,
    /// The network as it was last told.
    pub(crate) network: Option<Arc<NodeNetwork>>,
    /// Whether it serves Ingress, and what.
    pub(crate) serves_ingress: bool,
    pub(crate) ingress: Option<Arc<IngressTable>>,
    pub(crate) up: bool,
    /// Whether it stops pods whose lease runs out.
    pub(crate) keeps_leases: bool,
    pub(crate) acknowledges: bool,
    pub(crate) dirty: bool,
    /// What it says that its pods use, in every report.
    pub(crate) usage: BTreeMap<PodUid, PodUsage>,
}

impl FakeAgent {
    fn echo(&self) -> NetworkEcho {
        let echo = |network: &Arc<NodeNetwork>| NetworkEcho { version: network.version, pods: Some(network.pods) };
        self.network.as_ref().map(echo).unwrap_or_default()
    }

    /// An agent that is there, and has nothing yet.
    pub(crate) fn new() -> Self {
        Self { up: true, acknowledges: true, keeps_leases: true, ..Self::default() }
    }

    /// Takes an assignment on.
    pub(crate) fn assign(&mut self, assignment: &Assignment, now: Moment) {
        let told = (assignment.epoch, assignment.generation);
        assert!(told >= self.in_force, "an older assignment: {told:?} after {:?}", self.in_force);
        self.in_force = told;
        self.dirty = true;
        for (uid, run) in &assignment.run {
            let known = self.pods.contains_key(uid) || assignment.templates.contains_key(&run.hash);
            assert!(known, "the template of a new pod is not sent");
            let fresh = || FakePod {
                run: run.clone(),
                started: now,
                ready_since: None,
                stopping: None,
                ended: None,
                reported: None,
                digest: run.images.values().next().cloned(),
                lease: assignment.templates.get(&run.hash).and_then(|snapshot| Lease::of(&snapshot.template)),
                until: None,
            };
            self.pods.entry(*uid).or_insert_with(fresh);
            let template = assignment.templates.get(&run.hash).map(|snapshot| &snapshot.template.spec);
            self.volumes.extend(template.into_iter().flat_map(|spec| spec.claim_keys(&run.workload.namespace, &run.name)));
        }
        self.volumes.retain(|volume| !assignment.erase.contains(volume));
        for uid in assignment.stop.keys() {
            match self.pods.get_mut(uid) {
                Some(pod) => drop(pod.stopping.get_or_insert(now)),
                None => self.gone.push(*uid),
            }
        }
    }

    /// An answer to its heartbeat.
    pub(crate) fn renew(&mut self, renewal: &Renewal, now: Moment) {
        for (uid, pod) in &mut self.pods {
            let Some(lease) = pod.lease else { continue };
            let is_valid = pod.until.is_some_and(|until| now < until);
            if renewal.granted.contains(uid) || (is_valid && renewal.extended.contains(uid)) {
                pod.until = pod.until.max(Some(Moment(renewal.sent.0) + lease.term));
            }
        }
    }

    /// Its pods with a lease end, as in a reboot.
    pub(crate) fn end_pods(&mut self) {
        for pod in self.pods.values_mut() {
            (pod.until, pod.ready_since) = (None, None);
        }
    }

    /// Takes the endpoints of a Service on.
    pub(crate) fn lead(&mut self, set: Arc<EndpointSet>) {
        let known = self.endpoints.get(&set.service).map_or(0, |known| known.version);
        assert!(set.version >= known, "an older endpoint set of {}: {} after {known}", set.service, set.version);
        self.fresh.insert(set.service.clone(), set.version);
        self.dirty = true;
        self.endpoints.insert(set.service.clone(), set);
    }
}

/// The only container of a pod, of an image with a digest.
fn container_of(digest: &str) -> ContainerReport {
    ContainerReport {
        name: "main".to_owned(),
        id: String::new(),
        image_digest: Some(digest.to_owned()),
        state: ContainerState::Running,
        ready: true,
        restarts: 0,
        last_exit: None,
        started: true,
    }
}

impl World {
    pub(crate) fn greet(&mut self) {
        for name in self.agents.keys().cloned().collect::<Vec<_>>() {
            if self.agents[&name].up {
                self.hello(&name);
            }
        }
    }

    pub(crate) fn hello(&mut self, name: &NodeName) {
        self.hello_with(name, BTreeMap::new());
    }

    /// The same, of an agent that gives itself labels.
    pub(crate) fn hello_with(&mut self, name: &NodeName, labels: BTreeMap<String, String>) {
        let agent = &self.agents[name];
        let facts = NodeFacts {
            name: name.clone(),
            labels,
            capacity: self.capacity,
            allocatable: self.capacity,
            runtimes: [RuntimeKind::Docker, RuntimeKind::Process].into_iter().collect(),
            leases: if agent.keeps_leases { [RuntimeKind::Docker, RuntimeKind::Process].into() } else { BTreeSet::new() },
            allows: Allows::default(),
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
            kernel: String::new(),
            engine: None,
            agent_version: String::new(),
            address: "127.0.0.1".to_owned(),
            tunnel: Vec::new(),
            ingress: agent.serves_ingress,
        };
        let hello = Hello {
            facts,
            assignment: agent.in_force,
            pods: agent.pods.values().map(|pod| self.report_of(pod)).collect(),
            templates: BTreeMap::new(),
            endpoints: agent
                .endpoints
                .iter()
                .map(|(key, set)| (key.clone(), UsedEndpoints { version: set.version, pods: set.pods() }))
                .collect(),
            volumes: agent.volumes.clone(),
            network: agent.echo(),
            ingress: agent.ingress.as_ref().map_or(0, |table| table.version),
        };
        self.give(Event::AgentHello { node: name.clone(), hello: Box::new(hello) });
    }

    fn report_of(&self, pod: &FakePod) -> PodReport {
        let over = pod.is_over(self.now);
        let phase = match (pod.stopping, pod.ended, over || self.now.since(pod.started) < self.start) {
            (Some(_), ..) => PodPhase::Stopping,
            (None, Some(true), _) => PodPhase::Succeeded,
            (None, Some(false), _) => PodPhase::Failed,
            (None, None, true) => PodPhase::Starting,
            (None, None, false) => PodPhase::Running,
        };
        PodReport {
            uid: pod.run.uid,
            name: pod.run.name.clone(),
            workload: pod.run.workload.clone(),
            hash: pod.run.hash.clone(),
            slot: pod.run.slot,
            revision: pod.run.revision.clone(),
            phase,
            ready: pod.ready_since.is_some() && pod.stopping.is_none() && pod.ended.is_none() && !over,
            ready_for: pod.ready_since.map(|since| self.now.since(since)).unwrap_or_default(),
            age: self.now.since(pod.started),
            address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            ports: [(8080, 30000)].into_iter().collect(),
            init_containers: Vec::new(),
            containers: pod.digest.iter().map(|digest| container_of(digest)).collect(),
            reason: String::new(),
            message: if self.broken.contains(&letter(&pod.run.hash)) {
                "readiness probe fails".to_owned()
            } else {
                String::new()
            },
        }
    }

    /// One agent goes on by one tick and reports what changed.
    pub(super) fn act(&mut self, name: &NodeName) {
        let (now, start, stop) = (self.now, self.start, self.stop);
        let (broken, registry) = (self.broken.clone(), self.registry.clone());
        let agent = self.agents.get_mut(name).unwrap();
        let mut ended = Vec::new();
        for (uid, pod) in &mut agent.pods {
            let works = !broken.contains(&letter(&pod.run.hash));
            if now.since(pod.started) >= start {
                pod.digest = pod.digest.take().or_else(|| registry.clone());
            }
            if pod.ready_since.is_none() && works && now.since(pod.started) >= start {
                pod.ready_since = Some(now);
            }
            if pod.stopping.is_some_and(|at| now.since(at) >= stop) {
                ended.push(*uid);
            }
        }
        for uid in ended {
            agent.pods.remove(&uid);
            agent.gone.push(uid);
        }
        if !agent.up {
            return;
        }
        let pods: Vec<FakePod> = self.agents[name].pods.values().cloned().collect();
        let mut changed = Vec::new();
        for pod in pods {
            let report = self.report_of(&pod);
            let state = (report.phase, report.ready);
            if pod.reported != Some(state) {
                self.agents.get_mut(name).unwrap().pods.get_mut(&pod.run.uid).unwrap().reported = Some(state);
                changed.push(report);
            }
        }
        let agent = self.agents.get_mut(name).unwrap();
        let endpoints = if agent.acknowledges { std::mem::take(&mut agent.fresh) } else { BTreeMap::new() };
        let gone = std::mem::take(&mut agent.gone);
        let usage = agent.usage.clone();
        let dirty = std::mem::take(&mut agent.dirty);
        if changed.is_empty() && gone.is_empty() && endpoints.is_empty() && usage.is_empty() && !dirty {
            return self.beat(name);
        }
        let volumes = Some(agent.volumes.clone());
        let network = agent.network.as_ref().map_or(0, |network| network.version);
        let ingress = agent.ingress.as_ref().map_or(0, |table| table.version);
        let assignment = agent.in_force;
        let report = Report { assignment, network, ingress, pods: changed, gone, endpoints, usage, volumes, ..Report::default() };
        self.give(Event::AgentReport { node: name.clone(), report: Box::new(report) });
        self.beat(name);
    }

    /// An agent is heard. Its boot clock shows the time of these tests.
    fn beat(&mut self, name: &NodeName) {
        let sent = if self.agents[name].keeps_leases { BootMoment(self.now.0) } else { BootMoment::default() };
        self.give(Event::AgentHeartbeat { node: name.clone(), sent });
    }

    /// Of a StatefulSet with a lease no two pods of one name may run.
    pub(super) fn check_leases(&self) {
        let mut running = BTreeMap::new();
        for (node, agent) in &self.agents {
            for pod in agent.pods.values().filter(|pod| pod.lease.is_some() && pod.may_run(self.now)) {
                let first = running.insert(pod.run.name.clone(), node.clone());
                assert_eq!(first, None, "{} runs on {node} too", pod.run.name);
            }
        }
    }

    /// An agent says something beside what it says by itself.
    pub(crate) fn report(&mut self, name: &str, report: Report) {
        self.give(Event::AgentReport { node: node(name), report: Box::new(report) });
    }

    /// Removes a pod behind the agent's back.
    pub(crate) fn kill_one(&mut self, workload: &str) -> PodUid {
        let wanted = key(workload);
        for agent in self.agents.values_mut() {
            let found = agent.pods.values().find(|pod| pod.run.workload == wanted).map(|pod| pod.run.uid);
            if let Some(uid) = found {
                agent.pods.remove(&uid);
                agent.gone.push(uid);
                return uid;
            }
        }
        panic!("no pod of {workload}");
    }

    /// Lets one running pod of a Job end.
    pub(crate) fn end_one(&mut self, job: &str, succeeded: bool) {
        let wanted = key(job);
        let mut pods = self.agents.values_mut().flat_map(|agent| agent.pods.values_mut());
        let runs = |pod: &&mut FakePod| pod.run.workload == wanted && pod.ended.is_none() && pod.stopping.is_none();
        pods.find(runs).expect("a pod that runs").ended = Some(succeeded);
    }

    /// An agent loses its memory, and the pods that it ran.
    pub(crate) fn wipe(&mut self, name: &str) {
        let agent = self.agents.get_mut(&node(name)).unwrap();
        *agent = FakeAgent::new();
    }
}
