//! A small world for the core: agents that do as they are told, and a clock moved by hand.

use crate::controller::{Commit, Controller, Effect, Event, LoadedRevision, Restored, Settings};
use crate::model::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

mod agent;
mod language;

pub(super) use agent::FakeAgent;
pub(super) use language::{desired, hash, key, letter, node};

pub(super) const TICK: Duration = Duration::from_millis(500);

pub(super) struct World {
    pub(super) core: Controller,
    settings: Settings,
    pub(super) epoch: Epoch,
    pub(super) now: Moment,
    pub(super) agents: BTreeMap<NodeName, FakeAgent>,
    pub(super) records: Vec<AuditRecord>,
    pub(super) files: BTreeMap<String, String>,
    pub(super) objects: BTreeMap<ObjectKey, Arc<Object>>,
    pub(super) snapshots: BTreeMap<TemplateHash, Arc<PodSnapshot>>,
    pub(super) wake: Option<Moment>,
    /// Whom the core trusts.
    pub(super) roll: Arc<Roll>,
    pub(super) assigns: usize,
    pub(super) endpoint_effects: usize,
    /// Templates (by their letter) whose pods never become ready.
    pub(super) broken: BTreeSet<char>,
    /// The digest that names of images stand for just now, if the registry has one.
    pub(super) registry: Option<String>,
    pub(super) start: Duration,
    pub(super) stop: Duration,
    pub(super) revisions: u64,
    /// Checked after every event.
    pub(super) most_told: BTreeMap<ObjectKey, usize>,
    pub(super) capacity: Amounts,
}

impl World {
    /// A new cluster with a network of its own, otherwise as [`World::new`].
    pub(super) fn networked(nodes: &[&str], pods: &str) -> Self {
        let mut world = Self::bare(nodes);
        world.settings.network = Some(NetworkSettings {
            pods: pods.parse().unwrap(),
            node_prefix: NetworkSettings::NODE_PREFIX,
            services: "10.96.0.0/16".parse().unwrap(),
            domain: NetworkSettings::DOMAIN.to_owned(),
        });
        world.core = Controller::new(world.settings.clone(), world.epoch, world.now);
        world.give(Event::Restored(Box::default()));
        world.greet();
        world
    }

    /// A new cluster with these nodes, whose agents have said hello.
    pub(super) fn new(nodes: &[&str]) -> Self {
        let mut world = Self::bare(nodes);
        world.give(Event::Restored(Box::default()));
        world.greet();
        world
    }

    fn bare(nodes: &[&str]) -> Self {
        let now = Moment(1_000_000);
        let agents = nodes.iter().map(|name| (node(name), FakeAgent::new()));
        let settings = Settings { cluster: "test".to_owned(), ..Settings::default() };
        Self {
            core: Controller::new(settings.clone(), Epoch(1), now),
            settings,
            epoch: Epoch(1),
            now,
            agents: agents.collect(),
            records: Vec::new(),
            files: BTreeMap::new(),
            objects: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            wake: None,
            roll: Arc::default(),
            assigns: 0,
            endpoint_effects: 0,
            broken: BTreeSet::new(),
            registry: None,
            start: Duration::from_secs(1),
            stop: Duration::from_secs(1),
            revisions: 0,
            most_told: BTreeMap::new(),
            capacity: Amounts { cpu_milli: 4000, memory_bytes: 8 << 30 },
        }
    }

    /// Another controller begins: with the memory that was recorded, or (`wiped`) without one.
    pub(super) fn restart(&mut self, wiped: bool) {
        self.epoch = Epoch(self.epoch.0 + 1);
        self.core = Controller::new(self.settings.clone(), self.epoch, self.now);
        self.wake = None;
        let mut restored = if wiped { Restored::default() } else { self.memory() };
        let read = |(key, current): (&ObjectKey, &CurrentObject)| {
            let made = current.made_by.as_ref().map(|by| self.objects[&by.owner(&key.namespace)].made_job(by.due));
            let object = made.map_or_else(|| self.objects.get(key).cloned(), |made| made.map(Arc::new));
            Some((key.clone(), object?))
        };
        restored.objects = restored.current.iter().filter_map(read).collect();
        self.give(Event::Restored(Box::new(restored)));
    }

    /// The memory as it was recorded.
    fn memory(&self) -> Restored {
        let mut restored = Restored { snapshots: self.snapshots.clone(), ..Restored::default() };
        for (path, text) in &self.files {
            if path == "current/_cluster/memory.yaml" {
                restored.notes = Some(serde_saphyr::from_str(text).unwrap());
                continue;
            }
            let current = serde_saphyr::from_str(text).unwrap();
            restored.current.insert(ObjectKey::of_audit_path(path).unwrap(), current);
        }
        restored
    }

    /// Loads a revision. Trailers as `Name: value`.
    pub(super) fn push_with(&mut self, text: &str, trailers: &[(&str, &str)]) {
        self.revisions += 1;
        let revision = Revision::new(format!("{:040}", self.revisions));
        let desired = desired(text, &revision);
        self.load(desired, trailers);
    }

    /// Two commits in one push: one with trailers, and a later one without.
    pub(super) fn push_both(&mut self, first: &str, trailers: &[(&str, &str)], second: &str) {
        let revision = |count: u64| Revision::new(format!("{count:040}"));
        let (early, late) = (revision(self.revisions + 1), revision(self.revisions + 2));
        self.revisions += 2;
        let trailers = trailers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let objects = desired(first, &early).objects.into_keys().collect();
        let commit = Commit { revision: early, subject: "early".to_owned(), trailers, objects };
        let (desired, actor) = (desired(second, &late), "someone".to_owned());
        let loaded = LoadedRevision { desired, trigger: Trigger::Push, actor, commits: vec![commit] };
        self.give(Event::Loaded(Box::new(loaded)));
    }

    pub(super) fn push(&mut self, text: &str) {
        self.push_with(text, &[]);
    }

    pub(super) fn load(&mut self, desired: Desired, trailers: &[(&str, &str)]) {
        let revision = desired.revision.clone().unwrap();
        for object in desired.objects.values() {
            self.objects.insert(object.key.clone(), object.clone());
            if let Some(snapshot) = object.snapshot() {
                self.snapshots.insert(snapshot.hash.clone(), snapshot.clone());
            }
        }
        let trailers = trailers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let commit = Commit { revision, subject: "test".to_owned(), trailers, objects: BTreeSet::new() };
        let loaded = LoadedRevision { desired, trigger: Trigger::Push, actor: "someone".to_owned(), commits: vec![commit] };
        self.give(Event::Loaded(Box::new(loaded)));
    }

    /// Gives an event, and carries the effects out.
    pub(super) fn give(&mut self, event: Event) {
        let shown = format!("{event:.200?}");
        let effects = self.core.handle(event, self.now);
        for effect in effects {
            self.perform(effect);
        }
        if let Err(difference) = self.core.check() {
            panic!("after {shown}: {difference}");
        }
        self.count_told();
        self.check_leases();
    }

    fn count_told(&mut self) {
        let mut told: BTreeMap<ObjectKey, usize> = BTreeMap::new();
        for pod in &self.core.view().pods {
            if let Some(run) = &pod.told {
                *told.entry(run.workload.clone()).or_default() += 1;
            }
        }
        for (key, count) in told {
            let most = self.most_told.entry(key).or_default();
            *most = (*most).max(count);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Assign { node, assignment } => {
                self.assigns += 1;
                let noted = self.memory().notes.and_then(|notes| notes.nodes.get(&node).cloned());
                let agent = self.agents.get_mut(&node).unwrap();
                let is_idle = assignment.run.is_empty();
                assert!(noted.is_some() || is_idle, "{node} is told to run something before the memory names it");
                let lacks_range = noted.is_some_and(|notes| notes.pods.is_some()) && agent.network.is_none();
                assert!(!lacks_range || is_idle, "{node} is told to run something before it knows its range");
                agent.assign(&assignment, self.now);
            }
            Effect::Endpoints { node, set } => {
                self.endpoint_effects += 1;
                self.agents.get_mut(&node).unwrap().lead(set);
            }
            Effect::Ingress { node, table } => {
                let agent = self.agents.get_mut(&node).unwrap();
                (agent.ingress, agent.dirty) = (Some(table), true);
            }
            Effect::Network { node, network } => {
                let noted = self.memory().notes.and_then(|notes| notes.nodes.get(&node).cloned());
                assert_eq!(noted.and_then(|notes| notes.pods), Some(network.pods), "{node} is told before it is recorded");
                self.agents.get_mut(&node).unwrap().network = Some(network);
            }
            Effect::Trust(roll) => {
                let members = self.memory().notes.unwrap_or_default().members;
                let is_recorded =
                    |(name, key): (&NodeName, &KeyFingerprint)| members.get(name).is_some_and(|one| one.key == *key);
                assert!(roll.keys.iter().all(is_recorded), "a node is trusted before it is recorded");
                self.roll = roll;
            }
            Effect::Record(record) => {
                for (path, text) in &record.tree {
                    match text {
                        Some(text) => drop(self.files.insert(path.clone(), text.clone())),
                        None => drop(self.files.remove(path)),
                    }
                }
                self.records.push(*record);
            }
            Effect::Renew { node, renewal } => {
                let now = self.now;
                self.agents.get_mut(&node).unwrap().renew(&renewal, now);
            }
            Effect::WakeAt(at) => self.wake = Some(at),
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now = self.now + TICK;
            for name in self.agents.keys().cloned().collect::<Vec<_>>() {
                self.act(&name);
            }
            if self.wake.is_some_and(|at| at <= self.now) {
                self.wake = None;
                self.give(Event::Wake);
            }
        }
    }

    pub(super) fn seconds(&mut self, count: u64) {
        self.run(Duration::from_secs(count));
    }

    /// `2 v1 x1`: how many pods of a Job run, succeeded and failed, as far as agents keep them.
    pub(super) fn job_pods(&self, job: &str) -> String {
        let wanted = key(job);
        let pods = || self.agents.values().flat_map(|agent| agent.pods.values()).filter(|pod| pod.run.workload == wanted);
        let count = |ended: Option<bool>| pods().filter(|pod| pod.ended == ended).count();
        format!("{} v{} x{}", count(None), count(Some(true)), count(Some(false)))
    }

    /// The letters of the templates of the pods that run, one each, sorted: `aab`.
    pub(super) fn running(&self, workload: &str) -> String {
        let wanted = key(workload);
        let pods = self.agents.values().flat_map(|agent| agent.pods.values());
        let mut letters: Vec<char> =
            pods.filter(|pod| pod.run.workload == wanted && pod.stopping.is_none()).map(|pod| letter(&pod.run.hash)).collect();
        letters.sort_unstable();
        letters.into_iter().collect()
    }

    /// The same, of those that a Service leads to on a node.
    pub(super) fn behind(&self, service: &str) -> String {
        let wanted = key(&format!("Service/{service}"));
        let agent = self.agents.values().find(|agent| agent.up).unwrap();
        let Some(set) = agent.endpoints.get(&wanted) else { return String::new() };
        let backends = set.ports.iter().flat_map(|port| port.backends.iter().map(|backend| backend.pod));
        let pods = |uid: PodUid| self.agents.values().find_map(|agent| agent.pods.get(&uid));
        let mut letters: Vec<char> = backends.map(|uid| pods(uid).map_or('?', |pod| letter(&pod.run.hash))).collect();
        letters.sort_unstable();
        letters.into_iter().collect()
    }

    pub(super) fn uids(&self) -> BTreeSet<PodUid> {
        self.agents.values().flat_map(|agent| agent.pods.keys().copied()).collect()
    }

    pub(super) fn progress(&self, workload: &str) -> Progress {
        self.core.view().workloads[&key(workload)].progress.clone()
    }

    /// `planned converged`: the outcomes since the last call.
    pub(super) fn outcomes(&mut self) -> String {
        let records = std::mem::take(&mut self.records);
        records.iter().map(|record| record.outcome.as_str()).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn subjects(&mut self) -> Vec<String> {
        std::mem::take(&mut self.records).into_iter().map(|record| record.subject).collect()
    }
}
